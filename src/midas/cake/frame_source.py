"""Frames from wherever they are, a block at a time: arrays, data sets, buffers, iterators."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from midas.cake.pixels import check_shape, native_frame
from midas.errors import FormatError, InputError, MidasError
from midas.geometry import Geometry
from midas.io.frames import Frames, read_frames
from midas.io.hdf5_chunks import COPY_AGAIN, ChunkedStack
from midas.io.hdf5_written import WrittenFrames
from midas.io.tree_formats import list_datasets

Frame = npt.NDArray[Any]

_MOST_NAMED = 6  # data sets that a message names


def read_blocks(
    frames: Any, shape: tuple[int, int], size: int, *, part: range | None = None, n_threads: int = 0
) -> Iterator[list[Frame]]:
    """Yield the frames of a source ready for the core, at most `size` of one dtype at a time.

    Data sets in chunks are read by whole chunks, the next ones by another thread while the present ones are in use.
    Where a frame fails, those before it come first.

    Parameters
    ----------
    frames
        Something with a shape that slices to arrays (numpy, HDF5, zarr, dask, `midas.Frames`), something of the buffer
        or array interface, or something that gives one frame after another. One frame of two axes is a stack of one.
    shape
        Rows and columns that each must have.
    size
        Frames in a block.
    part
        Which frames of a stack; None: all.
    n_threads
        Threads that may unpack compressed frames; 0 for all.

    Raises
    ------
    InputError
        It is nothing of these, or has no frame; or a frame, which is named by its number, cannot be read or used. An
        error of midas keeps its type.
    """
    return _prepared(numbered_frames(frames, shape, size, part, n_threads), shape, size)


def numbered_frames(
    frames: Any, shape: tuple[int, int], size: int, part: range | None = None, n_threads: int = 0
) -> Iterator[tuple[int, Any]]:
    """Return an iterator over the numbers and frames of a source, which is checked as far as it can be."""
    source = as_source(frames)
    if not hasattr(source, "shape"):
        return _of_iterator(iter(source), isinstance(source, Iterator))
    found = known_shape(source)
    check_shape(found, shape)
    if len(found) == 2:
        source = np.asanyarray(source[:])[None]
    return _of_stack(source, part or range(1 if len(found) == 2 else found[0]), _step(source, size), n_threads)


def as_source(frames: Any) -> Any:
    """Return frames as something that has a shape and slices to arrays, or else as an iterable of frames."""
    check_source(frames)
    if hasattr(frames, "shape") and hasattr(frames, "__getitem__") and not isinstance(frames, memoryview):
        return _Dataset.of(frames) or frames
    if any(hasattr(frames, name) for name in ("__array__", "__array_interface__")):
        return np.asarray(frames)
    try:
        return np.asarray(memoryview(frames))
    except TypeError:
        pass
    if isinstance(frames, Iterable) and not isinstance(frames, str):
        return frames
    raise InputError(
        f"the frames are a {type(frames).__name__}; expected an array, a data set that slices to arrays, or an "
        "iterable of 2-D arrays; read files with midas.read_frames"
    )


def check_source(frames: Any, what: str = "the frames are") -> None:
    """Raise InputError of what holds frames, but is none: a name, a file or group, a data set whose file is closed."""
    if are_names(frames):
        several = f"{len(frames)} names" if isinstance(frames, list | tuple) else f"the name {str(frames)!r}"
        raise InputError(f"{what} {several}; expected arrays: read files with midas.read_frames")
    for module in ("h5py", "zarr"):
        group = getattr(sys.modules.get(module), "Group", None)
        if group is not None and isinstance(frames, group):
            raise InputError(_name_datasets(frames, what))
    if _is_closed(frames):
        raise InputError(f"{what} {_CLOSED}")


def check_whole(frames: Any) -> None:
    """Raise InputError where a frame was never written: for what takes all frames or none, before it begins."""
    source = frames if isinstance(frames, Frames) else _Dataset.of(frames)
    if source is not None:
        source.check_readable(0, len(source))


def are_names(frames: Any) -> bool:
    """Return whether frames are the name of a file, or a list of names."""
    if isinstance(frames, list | tuple):
        return len(frames) > 0 and all(isinstance(name, str | os.PathLike) for name in frames)
    return isinstance(frames, str | os.PathLike)


@contextmanager
def opened(frames: Any) -> Iterator[Any]:
    """Yield frames; those of files while these are open."""
    if not are_names(frames):
        yield frames
        return
    with read_frames(frames) as stack:
        yield stack


def known_shape(source: Any) -> tuple[int, ...]:
    """Return the shape of a source of frames; raise InputError where it is not known, as of some dask arrays."""
    shape = tuple(source.shape)
    if any(math.isnan(n) for n in shape):
        raise InputError(
            f"the frames have shape {shape}, whose nan is not known yet; with dask, call compute_chunk_sizes() first"
        )
    return tuple(int(n) for n in shape)


_CLOSED = "in an HDF5 file that is closed; keep it open until the last frame is read, or use midas.read_frames"


def _is_closed(frames: Any) -> bool:
    h5py = sys.modules.get("h5py")  # imported, if this is a data set of its
    return h5py is not None and isinstance(frames, h5py.Dataset) and not frames


def _name_datasets(group: Any, what: str) -> str:
    """Say which data sets of a file or group may be meant."""
    what = f"{what} a {type(group).__module__.partition('.')[0]}.{type(group).__name__}"
    if not group and type(group).__module__.startswith("h5py"):
        return f"{what} that is closed; open it, and give one of its data sets"
    found = sorted(list_datasets(group), key=lambda entry: -len(entry[1]))[:_MOST_NAMED]
    if not found:
        return f"{what} without a data set of two or three axes; give a data set, or read files with midas.read_frames"
    names = ", ".join(f"[{name!r}] {shape}" for name, shape in found)
    return f"{what}; expected one of its data sets: {names}; or read the file with midas.read_frames"


def as_stack(frames: Any) -> Frame:
    """Return frames as one array, whatever they are; raise InputError where they do not form one."""
    check_source(frames)
    source = frames if isinstance(frames, list | tuple) else as_source(frames)
    if not hasattr(source, "shape") and not isinstance(source, list | tuple):
        raise InputError(f"the frames are a {type(frames).__name__}; expected an array; apply_each takes any iterable")
    try:
        return _as_array(source)
    except MidasError:
        raise
    except ValueError as error:
        raise InputError(f"the frames do not form one array: {error}") from error


def as_pixels(given: Any, what: str) -> Frame:
    """Return what comes beside the frames, the `what`, as an array; raise InputError where it is none."""
    if isinstance(given, str | os.PathLike):
        raise InputError(f"the {what} is the name {str(given)!r}; expected an array: read it with midas.read_image")
    check_source(given, f"the {what} is")
    try:
        return _as_array(given)
    except MidasError:
        raise
    except (ValueError, TypeError, OSError) as error:
        raise InputError(f"the {what} forms no array: {' '.join(str(error).split())}") from error


def _as_array(source: Any) -> Frame:
    if isinstance(source, list | tuple) and any(isinstance(frame, np.ma.MaskedArray) for frame in source):
        return np.ma.stack([np.ma.asanyarray(frame) for frame in source])  # numpy's own functions drop the masks
    # Data sets give an array when sliced; of some, asking for the array would go through it value by value.
    slices = hasattr(source, "__getitem__") and not isinstance(source, memoryview)
    return np.asanyarray(source[:] if slices and len(getattr(source, "shape", ())) > 0 else source)


def are_transformed(frames: Any, geometry: Geometry, what: str = "frames") -> bool:
    """Return whether the image transforms are applied to frames already, or there are none.

    Raises
    ------
    InputError
        Other transforms than the geometry's are applied.
    """
    done = tuple(getattr(frames, "image_transforms", ()))
    if done and done != geometry.image_transforms:
        raise InputError(
            f"the image transforms (ImTransOpt) of the {what} are {done}, the geometry was found with "
            f"{geometry.image_transforms}; read the {what} with the geometry's, or without any"
        )
    return bool(done) or not geometry.image_transforms


def _prepared(numbered: Iterable[tuple[int, Any]], shape: tuple[int, int], size: int) -> Iterator[list[Frame]]:
    """Yield frames ready for the core, in lists of one dtype and at most `size`; before an error, those that are."""
    kept: list[Frame] = []
    number = -1
    try:
        for number, given in numbered:
            try:
                frame = native_frame(given, shape)
            except (ValueError, TypeError) as error:
                raise _explained(error, number) from error
            if kept and (len(kept) == size or frame.dtype != kept[0].dtype):
                yield kept
                kept = []
            kept.append(frame)
    except Exception:
        if kept:
            yield kept
        raise
    if number < 0:
        raise InputError("there is no frame; expected at least one")
    yield kept


def _of_iterator(frames: Iterator[Any], only_once: bool) -> Iterator[tuple[int, Any]]:
    number = 0
    while True:
        try:
            frame = next(frames)
            if only_once:  # the next one may come in the same memory
                frame = np.array(frame, subok=True)
        except StopIteration:
            return
        except Exception as error:
            raise _explained(error, number) from error
        yield number, frame
        number += 1


class _Dataset:
    """A data set of an HDF5 file, of which no frame is taken that was never written.

    Bitshuffled frames we unpack: HDF5's filter may crash on a damaged one.
    """

    def __init__(self, dataset: Any) -> None:
        stack = ChunkedStack.of([dataset])
        self._dataset, self._stack = dataset, stack if stack is not None and stack.for_core else None
        self._written = WrittenFrames([dataset])
        self.shape, self.dtype, self.chunks = dataset.shape, dataset.dtype, dataset.chunks

    @classmethod
    def of(cls, frames: Any) -> _Dataset | None:
        """Return a data set of HDF5; None of anything else."""
        h5py = sys.modules.get("h5py")  # imported, if this is a data set of its
        return cls(frames) if h5py is not None and isinstance(frames, h5py.Dataset) else None

    def __len__(self) -> int:
        """Return the number of frames."""
        return int(self.shape[0]) if len(self.shape) == 3 else 1

    def check_readable(self, first: int, end: int) -> None:
        """Raise InputError where the file was closed, or one of the frames `first` to `end` was never written to it."""
        if _is_closed(self._dataset):
            raise InputError(f"the frames are {_CLOSED}")
        self._written.check(first, end)

    def several(self, first: int, end: int, n_threads: int) -> Frame:
        """Return frames `first` to `end`."""
        self.check_readable(first, end)
        found = None if self._stack is None else self._stack.unpack_safely(first, end, n_threads=n_threads)
        try:
            return np.asanyarray(self._dataset[first:end]) if found is None else found
        except OSError as error:
            text = " ".join(str(error).split())
            raise FormatError(f"HDF5 cannot read it ({text}): the file is damaged there; {COPY_AGAIN}") from error

    def __getitem__(self, item: int | slice) -> Frame:
        """Return a frame or some; of one of two axes, all of it."""
        if len(self.shape) != 3:
            self.check_readable(0, 1)
            return np.asanyarray(self._dataset[item])
        if isinstance(item, slice):
            first, end, _ = item.indices(self.shape[0])
            try:
                return self.several(first, end, 0)
            except FormatError:
                for i in range(first, end):  # to find out which it is
                    _single(self, i)
                raise
        frame: Frame = self.several(item, item + 1, 1)[0]
        return frame


def _of_stack(source: Any, part: range, step: int, n_threads: int) -> Iterator[tuple[int, Any]]:
    n = part.stop
    # What has chunks (HDF5, zarr, dask) may be read by several threads; other things perhaps not, and whoever asked for
    # these frames may be reading some, too.
    in_advance = hasattr(source, "chunks")
    ahead: Future[Frame] | None = None
    with ThreadPoolExecutor(1, thread_name_prefix="midas frames") as reader:
        for first in range(part.start, n, step):
            end = min(first + step, n)
            try:
                block = _block(source, first, end, n_threads) if ahead is None else ahead.result()
            except Exception as error:
                for i in range(first, end):  # to find out which it is
                    yield i, _single(source, i)
                raise _explained(error, first) from error
            if in_advance and end < n:
                ahead = reader.submit(_block, source, end, min(end + step, n), n_threads)
            yield from enumerate(block, first)


def _block(source: Any, first: int, end: int, n_threads: int) -> Frame:
    if isinstance(source, Frames | _Dataset):
        return source.several(first, end, n_threads=n_threads)
    block: Frame = np.asanyarray(source[first:end])
    if len(block) != end - first:
        raise InputError(f"{len(block)} frames came of the {end - first} from {first} on")
    return block


def _single(source: Any, i: int) -> Frame:
    try:
        frame: Frame = np.asanyarray(source[i])
    except Exception as error:
        if isinstance(source, Frames) and isinstance(error, MidasError):  # which says file and frame itself
            raise
        raise _explained(error, i) from error
    return frame


def _explained(error: Exception, number: int) -> MidasError:
    """Return an error that says the frame's number; one of midas keeps its type."""
    if isinstance(error, MidasError):
        return type(error)(f"frame {number}: {error}")
    text = " ".join(str(error).split())
    return InputError(f"frame {number} cannot be read: {type(error).__name__}{': ' if text else ''}{text}")


def _step(source: Any, size: int) -> int:
    """Return how many frames to read at once: whole chunks, so that none is decoded twice."""
    chunks = getattr(source, "chunks", None)
    along = chunks[0] if chunks else 1
    chunk = int(along[0] if isinstance(along, tuple) else along)
    return chunk * max(1, size // max(1, chunk))
