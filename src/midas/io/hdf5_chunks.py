"""Chunks of HDF5 files unpacked in parallel: HDF5 itself unpacks one at a time, whatever the number of cores."""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from midas import _core

if TYPE_CHECKING:
    import h5py

_BITSHUFFLE = 32008  # the filter's number, registered with the HDF Group
_BY_LZ4 = 2
_AT_MOST = 1 << 30  # bytes unpacked at once


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


def is_unpackable(dataset: h5py.Dataset) -> bool:
    """Return whether `read_packed` can read a dataset: one frame a chunk, bitshuffled and packed with LZ4."""
    if dataset.chunks is None or dataset.ndim != 3 or dataset.chunks != (1, *dataset.shape[1:]):
        return False
    if dataset.dtype.kind not in "uif" or not dataset.dtype.isnative or dataset.is_virtual:
        return False
    created = dataset.id.get_create_plist()
    if created.get_nfilters() != 1:
        return False
    number, _, options, _ = created.get_filter(0)
    return bool(number == _BITSHUFFLE and len(options) > 4 and options[4] == _BY_LZ4 and lz4_address())


def read_packed(dataset: h5py.Dataset, first: int, end: int, *, n_threads: int = 0) -> npt.NDArray[Any] | None:
    """Return frames `first` to `end` of a dataset that `is_unpackable`, shape (end - first, n_z, n_y).

    None where a chunk was never written or stands unfiltered, which HDF5 reads better.

    Raises
    ------
    FormatError
        A chunk is cut short or malformed.
    """
    frame_bytes = int(np.prod(dataset.shape[1:])) * dataset.dtype.itemsize
    out = np.empty((end - first, *dataset.shape[1:]), dtype=dataset.dtype)
    step = max(1, _AT_MOST // frame_bytes)
    for start in range(first, end, step):
        chunks = []
        for i in range(start, min(end, start + step)):
            if dataset.id.get_chunk_info_by_coord((i, 0, 0)).byte_offset is None:
                return None
            left_out, chunk = dataset.id.read_direct_chunk((i, 0, 0))
            if left_out:
                return None
            chunks.append(chunk)
        part = out[start - first : start - first + len(chunks)]
        _core.unpack_bitshuffle_lz4(chunks, part, lz4_address(), n_threads=n_threads)
    return out
