"""Cakes of a stack, some frames at a time and in order: reading, unpacking, summing and what comes after overlap."""

from __future__ import annotations

import contextlib
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from midas import _core
from midas.cake.frame_source import Frame, check_source, check_whole, read_blocks
from midas.cake.pixels import check_shape
from midas.cake.prepared import BATCH, CakedFrames
from midas.errors import FormatError, InputError
from midas.io.frames import Frames
from midas.io.hdf5_chunks import ChunkedStack, PackedFrames

Apply = Callable[[Sequence[Frame] | PackedFrames, int], CakedFrames]
"""From frames and the number of threads to their cakes."""
ReadPacked = Callable[[range], PackedFrames | None]
"""From numbers of frames to these as they stand in their file; None where HDF5 must read them."""


def caked_blocks(
    apply: Apply,
    frames: Any,
    shape: tuple[int, int],
    size: int,
    *,
    look: Callable[[Frame], None] | None = None,
    whole: bool = False,
    n_threads: int = 0,
) -> Generator[CakedFrames, None, None]:
    """Return a generator of the cakes of a source's frames in order, at most `size` at a time.

    Close it where it is not used up: until then its threads live, even after an error of the caller.

    Frames that stand compressed in an HDF5 file, one to a chunk, are read, unpacked and summed by as many threads as
    asked for, each its own batch of 16, while the caller is busy with those that are done; of others the next block is
    read in advance. What lies in memory does not grow with the stack. Where a frame fails, those before it come first.

    Parameters
    ----------
    apply
        Cakes frames. May be called by several threads, then with one thread each.
    frames, shape, size, n_threads
        As `midas.cake.frame_source.read_blocks`.
    look
        Called with the first frame, before it is caked.
    whole
        True: nothing is caked of a stack of which frames were never written.

    Raises
    ------
    InputError, FormatError
        As `read_blocks`, and what `apply` raises.
    """
    check_source(frames)
    if whole:
        check_whole(frames)
    threads = n_threads or _core.max_threads()
    batch = min(BATCH, max(1, size // threads))
    read = _packed_reader(frames)
    if read is not None:
        check_shape(frames.shape, shape)
        n = int(frames.shape[0])
        if n >= batch * threads:
            parts = [range(k, min(n, k + batch)) for k in range(0, n, batch)]
            return _by_batches(apply, frames, shape, parts, read, look, threads)
    return _by_blocks(apply, read_blocks(frames, shape, size, n_threads=n_threads), look, n_threads)


def _by_blocks(
    apply: Apply, blocks: Iterator[list[Frame]], look: Callable[[Frame], None] | None, n_threads: int
) -> Generator[CakedFrames, None, None]:
    for block in blocks:
        if look is not None:
            look(block[0])
            look = None
        yield apply(block, n_threads)


def _by_batches(
    apply: Apply,
    frames: Any,
    shape: tuple[int, int],
    parts: Sequence[range],
    read: ReadPacked,
    look: Callable[[Frame], None] | None,
    threads: int,
) -> Generator[CakedFrames, None, None]:
    """Yield the cakes of packed frames, each part read, unpacked and summed by one of the threads."""

    def work(part: range) -> CakedFrames | None:
        packed = read(part)
        try:
            return None if packed is None else apply(packed if packed.for_core else packed.frames(n_threads=1), 1)
        except FormatError:
            return None

    if look is not None:
        # Whether or not its chunk was written; where the frame cannot be read, its error comes in its turn.
        with contextlib.suppress(FormatError, InputError):
            look(next(read_blocks(frames, shape, 1, part=range(1)))[0])
    waiting: deque[tuple[range, Future[CakedFrames | None]]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="midas batches")
    try:
        for k in range(len(parts) + threads):
            if k < len(parts):
                waiting.append((parts[k], pool.submit(work, parts[k])))
            if k < threads or not waiting:
                continue
            part, future = waiting.popleft()
            caked = future.result()
            if caked is not None:
                yield caked
            else:  # HDF5 finds out which frame it is and what is wrong
                yield from _by_blocks(apply, read_blocks(frames, shape, len(part), part=part), None, threads)
    finally:
        pool.shutdown(cancel_futures=True)


def _packed_reader(frames: Any) -> ReadPacked | None:
    """Return what reads frames as they stand in their file, or None where we cannot unpack them by ourselves.

    It returns None of frames that HDF5 must read, or of which it must say what is wrong.
    """
    h5py = sys.modules.get("h5py")  # imported, if this is a data set of its
    if isinstance(frames, Frames):
        packed: Callable[[int, int], PackedFrames | None] = frames.packed
        if not frames.is_packed:
            return None
    else:
        chunked = ChunkedStack.of([frames]) if h5py is not None and isinstance(frames, h5py.Dataset) else None
        if chunked is None:
            return None
        packed = chunked.read

    def read(part: range) -> PackedFrames | None:
        try:
            return packed(part.start, part.stop)
        except OSError:
            return None

    return read
