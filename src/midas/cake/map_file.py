"""Files that keep a map of pixel areas, so that it is cut once and read ever after.

A file (little-endian) is a start of 24 bytes, a header in JSON, and the arrays of the core's map, each from a multiple
of 64 bytes on:

    8 bytes  b"midasmap"
    uint32   version of the format
    uint32   CRC-32 of the header
    uint64   length of the header
    header   key, program, shape, frame_shape, size (of the file), arrays: {name: [dtype, count, offset, CRC-32]}
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from midas import _core
from midas.cake.pixels import RawLayout
from midas.checks import file_path
from midas.detector import Detector
from midas.errors import FormatError, InputError, OutputError
from midas.geometry import Geometry
from midas.grid import CakeGrid
from midas.io.atomic import atomic_path, output_folder
from midas.messages import warn_caller
from midas.version import version

SUFFIX = ".cakemap"

_log = logging.getLogger(__name__)

_ALGORITHM = 4  # goes up when a change of the core moves the areas
_FILE_ENDING = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,8}")  # "maps_80.7keV" and "2026.11" are names of folders
_MAGIC = b"midasmap"
_FORMAT = 1
_START = struct.Struct("<8sIIQ")
_ALIGNMENT = 64
_LONGEST_HEADER = 1 << 16
_THREADS = 4  # for checksums, which let other threads run

Shape = tuple[int, int]


class StaleMapError(FormatError):
    """The file holds the map of something else."""


def map_key(geometry: Geometry, detector: Detector, grid: CakeGrid, layout: RawLayout) -> str:
    """Return a SHA-256 over everything that changes the map."""
    # repr of a float is exact, so two geometries share a key only when every bit agrees.
    panels = geometry.panels
    shape = {
        "algorithm": _ALGORITHM,
        "distance": geometry.distance,
        "beam_center": geometry.beam_center,
        "pixel_size": float(geometry.pixel_size),
        "tilts": geometry.tilts,
        "distortion": sorted((k, v) for k, v in geometry.distortion.items() if v != 0.0),
        "distortion_radius": geometry.distortion_radius,
        "parallax": geometry.parallax,
        "panels": None if panels is None else (panels.layout.columns, panels.layout.rows, panels.table.tolist()),
        "layout": (layout.first, layout.step_z, layout.step_y),
        "detector": detector.shape,
    }
    digest = hashlib.sha256(json.dumps(shape, sort_keys=True).encode())
    for array in (grid.radius_edges(geometry), grid.eta_edges):
        digest.update(b"edges" + array.tobytes())
    if detector.mask is not None:
        digest.update(b"mask" + np.packbits(detector.mask).tobytes())
    return digest.hexdigest()


def map_path(place: Path | str, key: str, name: str = "cache") -> Path:
    """Return the file for a map: `place` itself where its name ends in `.cakemap`, else one named for the key in it.

    `name` is what the place is called in messages.

    Raises
    ------
    InputError
        It is a file, or a new folder would have the name of one: `a.npz`.

    Examples
    --------
    >>> map_path("maps", "0123456789abcdef").as_posix(), map_path("maps/a.cakemap", "0123").as_posix()
    ('maps/0123456789abcdef.cakemap', 'maps/a.cakemap')
    """
    place = file_path(name, place, f"a folder, or a name ending in {SUFFIX}")
    # No other name is taken for a file: a cache must never replace somebody's data.
    if place.suffix == SUFFIX and not place.is_dir():
        return place
    if place.is_file():
        raise InputError(f"{place} is a file; expected a folder, or the name of a map ending in {SUFFIX}")
    if _FILE_ENDING.fullmatch(place.suffix) and not place.is_dir():
        raise InputError(
            f"{place} ends in {place.suffix} as a file does; expected a name ending in {SUFFIX}, or a folder: make one "
            "of that name first if it is meant"
        )
    return place / f"{key[:32]}{SUFFIX}"


def write_map(core: _core.CakeMap, path: Path, *, key: str, frame_shape: Shape) -> None:
    """Write a map with the key of what shaped it; the file appears whole or not at all.

    Raises
    ------
    OutputError
        The folder cannot be made or written to, or the disk is full.
    """
    arrays = {name: _little(values) for name, values in core.arrays.items()}
    with ThreadPoolExecutor(_THREADS) as pool:
        checksums = list(pool.map(zlib.crc32, arrays.values()))
    table: dict[str, list[object]] = {}
    # Offsets count from where the arrays begin, which depends on the header's length.
    offset = 0
    for (name, values), checksum in zip(arrays.items(), checksums, strict=True):
        table[name] = [values.dtype.str, values.size, offset, checksum]
        offset = _aligned(offset + values.nbytes)
    header = json.dumps(
        {
            "key": key,
            "program": version(),
            "shape": core.shape,
            "frame_shape": frame_shape,
            "size": offset,
            "arrays": table,
        }
    ).encode()
    with output_folder(path.parent), atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(_START.pack(_MAGIC, _FORMAT, zlib.crc32(header), len(header)))
        file.write(header)
        begin = _aligned(_START.size + len(header))
        for (_, _, at, _), values in zip(table.values(), arrays.values(), strict=True):
            assert isinstance(at, int)
            file.write(bytes(begin + at - file.tell()))
            file.write(values.data)
        file.write(bytes(begin + offset - file.tell()))


def read_map(path: Path, *, key: str, shape: Shape, frame_shape: Shape, n_threads: int = 0) -> _core.CakeMap:
    """Return the map of a file, everything in it checked.

    Raises
    ------
    StaleMapError
        It was made of something else, or by another version of midas.
    FormatError
        It is no such file, truncated or corrupt.
    OSError
        It cannot be read.
    """
    with path.open("rb") as file:
        header, begin = _read_header(file)
        if header["program"] != version():
            raise StaleMapError(f"it was made by midas {header['program']}, this is {version()}")
        if header["key"] != key:
            raise StaleMapError("geometry, detector, mask or grid have changed")
        if (tuple(header["shape"]), tuple(header["frame_shape"])) != (shape, frame_shape):
            raise FormatError(f"its shapes are {header['shape']} and {header['frame_shape']}")
        size = os.fstat(file.fileno()).st_size
        if size != begin + header["size"]:
            raise FormatError(f"it has {size} bytes of {begin + header['size']}")
        arrays = {name: _read_array(file, begin, entry, size) for name, entry in header["arrays"].items()}
    with ThreadPoolExecutor(_THREADS) as pool:
        if list(pool.map(zlib.crc32, arrays.values())) != [entry[3] for entry in header["arrays"].values()]:
            raise FormatError("its checksum is wrong")
    try:
        return _core.CakeMap.from_arrays(
            shape=shape, frame_shape=frame_shape, arrays={k: _native(v) for k, v in arrays.items()}, n_threads=n_threads
        )
    except InputError as error:
        raise FormatError(str(error)) from error


def load_or_none(path: Path, *, key: str, shape: Shape, frame_shape: Shape, n_threads: int) -> _core.CakeMap | None:
    """Return the map of a file; None, and why in the log, where it must be built."""
    try:
        core = read_map(path, key=key, shape=shape, frame_shape=frame_shape, n_threads=n_threads)
    except FileNotFoundError:
        _log.info("%s: no map yet; it is built", path)
    except StaleMapError as error:
        _log.info("%s: the map is stale and built again: %s", path, error)
    # The last four: a header with a good checksum that is none of ours.
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        _log.warning("%s: the map cannot be used and is built again: %s", path, error)
    else:
        _log.info("%s: the map is read", path)
        return core
    return None


def keep_map(core: _core.CakeMap, path: Path, *, key: str, frame_shape: Shape) -> None:
    """Write a map as `write_map`; a place that cannot be written to is a warning: the map is there all the same."""
    try:
        write_map(core, path, key=key, frame_shape=frame_shape)
    except OutputError as error:
        warn_caller(f"the map is not kept for the next time: {error}")


def read_map_header(path: Path) -> dict[str, Any]:
    """Return what a file says of its map: key, program, shape, frame_shape, size, arrays; the areas are not read.

    Raises
    ------
    StaleMapError
        Another version of midas wrote it, in another format.
    FormatError
        It is no such file, or truncated.
    OSError
        It cannot be read.
    """
    with path.open("rb") as file:
        header, begin = _read_header(file)
        size = os.fstat(file.fileno()).st_size
    if size != begin + header["size"]:
        raise FormatError(f"it has {size} bytes of {begin + header['size']}")
    return header


def _read_header(file: Any) -> tuple[dict[str, Any], int]:
    """Return the header and where the arrays begin."""
    start = file.read(_START.size)
    if len(start) < _START.size or not start.startswith(_MAGIC):
        raise FormatError("it is no map of midas")
    _, form, checksum, length = _START.unpack(start)
    if form != _FORMAT:
        raise StaleMapError(f"its format is {form}, this midas writes {_FORMAT}")
    text = file.read(min(length, _LONGEST_HEADER))
    if len(text) != length or zlib.crc32(text) != checksum:
        raise FormatError("its header is truncated or corrupt")
    header: dict[str, Any] = json.loads(text)
    return header, _aligned(_START.size + length)


def _read_array(file: Any, begin: int, entry: list[Any], size: int) -> npt.NDArray[np.generic]:
    kind, count, offset, _ = entry
    dtype = np.dtype(kind)
    if dtype.hasobject or offset < 0 or count < 0 or begin + offset + count * dtype.itemsize > size:
        raise FormatError("an array reaches beyond its end")
    file.seek(begin + offset)
    values = np.empty(count, dtype=dtype)
    # Read and not mapped: a file that a network drops, or someone cuts short, would otherwise kill the process.
    if count and file.readinto(values.data.cast("B")) != values.nbytes:
        raise FormatError("it is cut short")
    return values


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGNMENT) * _ALIGNMENT


def _little(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return values.astype(values.dtype.newbyteorder("<"), copy=False)


def _native(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return values.astype(values.dtype.newbyteorder("="), copy=False)
