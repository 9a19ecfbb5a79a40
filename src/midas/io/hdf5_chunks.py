"""Chunks of HDF5 files unpacked by ourselves: HDF5 unpacks one at a time, whatever the number of cores.

To add a filter, enter what undoes it in `_DECODERS`; it should let go of the GIL. Everything else is left to HDF5.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import os
import re
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from midas import _core
from midas.errors import FormatError

if TYPE_CHECKING:
    import h5py

# Numbers of filters as registered with the HDF Group.
_DEFLATE, _SHUFFLE, _BLOSC, _LZ4, _BITSHUFFLE = 1, 2, 32001, 32004, 32008
_BY_LZ4 = 2  # option of bitshuffle
COPY_AGAIN = "copy the file again, or leave the frame out"
"""What to do where a frame of a file is damaged."""
_NUMBER = re.compile(r"^compressed chunk \d+ ")
_END = 1 << 62  # no file is longer
_AT_ONCE = 1 << 28  # bytes of unpacked frames whose chunks are held at once

Filter = tuple[int, tuple[int, ...]]
"""A filter's number and options."""


@functools.cache
def lz4_address() -> int:
    """Return the address of LZ4_decompress_safe: hdf5plugin's, or the system's; 0 where there is neither."""
    import hdf5plugin

    names = [str(p) for p in sorted(Path(hdf5plugin.PLUGIN_PATH).glob("*h5lz4*"))]
    names += [name for name in [ctypes.util.find_library("lz4")] if name is not None]
    for name in names:
        try:
            function = ctypes.CDLL(name).LZ4_decompress_safe
        except (OSError, AttributeError):
            continue
        return ctypes.cast(function, ctypes.c_void_p).value or 0
    return 0


def _inflate(packed: bytes, n_bytes: int, item_bytes: int) -> bytes:
    inflate = zlib.decompressobj()
    # One byte more than expected, so that a longer chunk shows and none grows without bounds.
    unpacked = inflate.decompress(packed, n_bytes + 1)
    if not inflate.eof:
        raise ValueError("it does not end where it should")
    return unpacked


def _unshuffle(packed: bytes, n_bytes: int, item_bytes: int) -> bytes:
    """Undo HDF5's shuffle: first the first bytes of all elements, then the second ones."""
    return np.frombuffer(packed, np.uint8).reshape(item_bytes, -1).T.tobytes()


def _unpack_blosc(packed: bytes, n_bytes: int, item_bytes: int) -> bytes:
    from numcodecs import blosc

    # The header of a Blosc chunk: 4 bytes of versions and flags, then sizes unpacked, of a block, and packed.
    if len(packed) < 16 or (_little(packed[4:8]), _little(packed[12:16])) != (n_bytes, len(packed)):
        raise ValueError("its header does not give its sizes")
    return bytes(blosc.decompress(packed))


def _unpack_lz4(packed: bytes, n_bytes: int, item_bytes: int) -> bytearray:
    """Undo the LZ4 filter: 8 bytes of size, 4 of block size, then 4 bytes of size and the data of each block.

    All big-endian; a block that is not smaller than unpacked stands as it is. Source: "LZ4 filter format" in the HDF
    Group's registered filter plugins (RegisteredFilterPlugins, number 32004).
    """
    total, block = _big(packed[:8]), _big(packed[8:12])
    if len(packed) < 12 or total != n_bytes or block < 1:
        raise ValueError("its header does not give its size")
    decompress = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int)(
        lz4_address()
    )
    out = bytearray(total)
    to = ctypes.addressof(ctypes.c_char.from_buffer(out))
    given = np.frombuffer(packed, np.uint8)
    at = 12
    for done in range(0, total, block):
        n, size = min(block, total - done), _big(packed[at : at + 4])
        at += 4
        if at + size > len(packed):
            raise ValueError("it is cut short")
        if size == n:
            out[done : done + n] = packed[at : at + n]
        elif decompress(given.ctypes.data + at, to + done, size, n) != n:
            raise ValueError("it holds a block that LZ4 cannot unpack")
        at += size
    return out


def _big(value: bytes) -> int:
    return int.from_bytes(value, "big")


def _little(value: bytes) -> int:
    return int.from_bytes(value, "little")


_Decoder = Callable[[bytes, int, int], "bytes | bytearray"]
_DECODERS: MappingProxyType[int, _Decoder] = MappingProxyType(
    {_DEFLATE: _inflate, _SHUFFLE: _unshuffle, _BLOSC: _unpack_blosc, _LZ4: _unpack_lz4}
)
"""What undoes a filter: from a chunk, its bytes unpacked and those of an element to the bytes unpacked."""
_DECODING_ERRORS = (ValueError, RuntimeError, zlib.error)


@dataclass(frozen=True, eq=False)
class PackedFrames:
    """Frames as they stand in a file, compressed."""

    chunks: tuple[bytes, ...]
    """One a frame."""
    shape: tuple[int, int]
    """Rows and columns of each."""
    dtype: np.dtype[Any]
    filters: tuple[Filter, ...]
    """What was done to each, in this order."""

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.chunks)

    @property
    def for_core(self) -> bool:
        """Whether the core unpacks them: bitshuffled and packed with LZ4."""
        return _is_for_core(self.filters)

    def unpack(self, *, n_threads: int = 0) -> npt.NDArray[Any]:
        """Return the frames, shape (n, n_z, n_y).

        Raises
        ------
        FormatError
            A chunk is cut short or malformed.
        """
        out = np.empty((len(self), *self.shape), dtype=self.dtype)
        self._unpack_into(out, n_threads)
        return out

    def _unpack_into(self, out: npt.NDArray[Any], n_threads: int) -> None:
        if self.for_core:
            _core.unpack_bitshuffle_lz4(self.chunks, out, lz4_address(), n_threads=n_threads)
        else:
            for k, frame in enumerate(self._decoded(n_threads)):
                out[k] = frame

    def frames(self, *, n_threads: int = 0) -> Sequence[npt.NDArray[Any]]:
        """Return the frames as arrays of their own, which may be read-only."""
        if self.for_core:
            return list(self.unpack(n_threads=n_threads))
        return list(self._decoded(n_threads))

    def _decoded(self, n_threads: int) -> Iterator[npt.NDArray[Any]]:
        threads = min(len(self), n_threads if n_threads > 0 else _core.max_threads())
        if threads < 2:
            yield from map(self._decode, range(len(self)), self.chunks)
            return
        with ThreadPoolExecutor(threads, "midas chunks") as pool:
            yield from pool.map(self._decode, range(len(self)), self.chunks)

    def _decode(self, number: int, chunk: bytes) -> npt.NDArray[Any]:
        item_bytes = self.dtype.itemsize
        n_bytes = self.shape[0] * self.shape[1] * item_bytes
        unpacked: bytes | bytearray = chunk
        try:
            for filter_number, _ in reversed(self.filters):
                unpacked = _DECODERS[filter_number](bytes(unpacked), n_bytes, item_bytes)
            if len(unpacked) != n_bytes:
                raise ValueError(f"it unpacks to {len(unpacked)} bytes; expected {n_bytes}")
        except _DECODING_ERRORS as error:
            raise FormatError(f"compressed chunk {number} cannot be unpacked: {error}") from error
        return np.frombuffer(unpacked, dtype=self.dtype).reshape(self.shape)


class _Places:
    """Where the chunks of a data set lie in its file: read from there, threads do not wait for HDF5's one lock."""

    def __init__(self, path: str, table: npt.NDArray[np.int64]) -> None:
        self._table = table
        self._file = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))

    @classmethod
    def of(cls, dataset: h5py.Dataset) -> _Places | None:
        """Return those of a data set; None where only HDF5 knows, or the file may still change."""
        file = dataset.file
        on_disk = file.driver == "sec2" and file.userblock_size == 0 and Path(file.filename).is_file()
        if not on_disk or file.mode != "r" or file.swmr_mode or not hasattr(os, "pread"):
            return None
        if not hasattr(dataset.id, "chunk_iter"):
            return None
        table = np.full((len(dataset), 2), -1, dtype=np.int64)

        def note(chunk: Any) -> None:
            # Of a damaged file neither its place nor its number need make sense; HDF5 says so when it is read.
            there = chunk.byte_offset is not None and chunk.byte_offset < _END and chunk.chunk_offset[0] < len(table)
            if chunk.filter_mask == 0 and there:
                table[chunk.chunk_offset[0]] = (chunk.byte_offset, chunk.size)

        dataset.id.chunk_iter(note)
        return cls(file.filename, table)

    def read(self, i: int) -> bytes | None:
        """Return a chunk; None where there is none or it stands unfiltered. Raises OSError where the file is short."""
        at, size = (int(n) for n in self._table[i])
        if at < 0:
            return None
        there = min(size, max(0, os.fstat(self._file).st_size - at))
        chunk = os.pread(self._file, there, at)  # which makes room for as much as it is asked for
        if len(chunk) != size:
            raise OSError(f"{len(chunk)} of {size} bytes of chunk {i} are there")
        return chunk

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            os.close(self._file)


class ChunkedStack:
    """Data sets joined to one stack, each with one frame to a chunk, whose chunks can be read as they stand."""

    def __init__(self, parts: Sequence[h5py.Dataset], filters: tuple[Filter, ...]) -> None:
        """Take data sets that fit; use `ChunkedStack.of`."""
        self._parts = parts
        self._filters = filters
        self._starts = np.cumsum([0] + [len(part) for part in parts])
        self._places: dict[int, _Places | None] = {}
        self._lock = threading.Lock()
        self.shape = (int(self._starts[-1]), *(int(n) for n in parts[0].shape[1:]))
        self.dtype = parts[0].dtype

    @classmethod
    def of(cls, parts: Sequence[h5py.Dataset]) -> ChunkedStack | None:
        """Return a stack of data sets of one shape and type; None where HDF5 must read them."""
        found = [_filters(part) for part in parts]
        if not found or any(filters is None or filters != found[0] for filters in found):
            return None
        assert found[0] is not None
        return cls(parts, found[0])

    def read(self, first: int, end: int) -> PackedFrames | None:
        """Return frames `first` to `end` as they stand; None where a chunk was never written or stands unfiltered.

        Raises
        ------
        OSError
            A chunk cannot be read.
        """
        chunks = []
        for i in range(first, end):
            k = int(np.searchsorted(self._starts, i, side="right")) - 1
            chunk = self._read_chunk(k, i - int(self._starts[k]))
            if chunk is None:
                return None
            chunks.append(chunk)
        return PackedFrames(tuple(chunks), (self.shape[1], self.shape[2]), self.dtype, self._filters)

    def unpack_safely(self, first: int, end: int, *, n_threads: int = 0) -> npt.NDArray[Any] | None:
        """Return frames as `unpack`; None also where HDF5 can say better what is wrong with them.

        Raises
        ------
        FormatError
            A chunk of bitshuffle is malformed: HDF5's filter for it may crash on that.
        """
        try:
            return self.unpack(first, end, n_threads=n_threads)
        except OSError:
            return None
        except FormatError as error:
            if not self.for_core:
                return None
            # The number counts from the first frame asked for; who asked knows which that is.
            why = _NUMBER.sub("", str(error))
            raise FormatError(f"its compressed data are damaged: a chunk {why}; {COPY_AGAIN}") from error

    @property
    def for_core(self) -> bool:
        """Whether the core unpacks the frames: bitshuffled and packed with LZ4."""
        return _is_for_core(self._filters)

    def _read_chunk(self, part: int, i: int) -> bytes | None:
        with self._lock:
            if part not in self._places:
                self._places[part] = _Places.of(self._parts[part])
            places = self._places[part]
        if places is not None:
            return places.read(i)
        try:
            left_out, chunk = self._parts[part].id.read_direct_chunk((i, 0, 0))
        except (RuntimeError, KeyError):  # there is none
            return None
        return None if left_out else bytes(chunk)

    def unpack(self, first: int, end: int, *, n_threads: int = 0) -> npt.NDArray[Any] | None:
        """Return frames `first` to `end`, shape (end - first, n_z, n_y); None and errors as of `read` and `unpack`."""
        out = np.empty((end - first, *self.shape[1:]), dtype=self.dtype)
        step = max(1, _AT_ONCE // max(1, out[:1].nbytes))
        for start in range(first, end, step):
            stop = min(end, start + step)
            packed = self.read(start, stop)
            if packed is None:
                return None
            packed._unpack_into(out[start - first : stop - first], n_threads)
        return out


def _is_for_core(filters: tuple[Filter, ...]) -> bool:
    return bool(filters) and filters[0][0] == _BITSHUFFLE


def _filters(dataset: h5py.Dataset) -> tuple[Filter, ...] | None:
    """Return the filters of a data set that we can undo, with one frame to a chunk; None for others."""
    if dataset.chunks is None or dataset.ndim != 3 or dataset.chunks != (1, *dataset.shape[1:]):
        return None
    if dataset.dtype.kind not in "uif" or not dataset.dtype.isnative or dataset.is_virtual:
        return None
    created = dataset.id.get_create_plist()
    found = tuple((n, options) for n, _, options, _ in map(created.get_filter, range(created.get_nfilters())))
    if found and found[0][0] == _BITSHUFFLE:
        options = found[0][1]
        usable = len(found) == 1 and len(options) > 4 and options[4] == _BY_LZ4 and lz4_address() != 0
        return found if usable else None
    known = all(number in _DECODERS and (number != _LZ4 or lz4_address() != 0) for number, _ in found)
    return found if known else None
