"""Formats that hold named data sets in a tree, HDF5 and zarr: where the images are and what lies beside them."""

from __future__ import annotations

import contextlib
import math
import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from midas.errors import FormatError
from midas.io.hdf5_chunks import ChunkedStack
from midas.io.hdf5_heaps import check_heaps
from midas.io.headers import ANALYSIS_GROUP, tree_hints
from midas.io.image_source import CONDITIONS, FrameSource, Image, ReadOptions, stack_shape
from midas.io.scan_trees import tree_scan
from midas.io.scan_values import SOURCES, merged

if TYPE_CHECKING:
    import h5py

DEFAULT_LOCATION = "exchange/data"
DARK_LOCATION = "exchange/dark"
BRIGHT_LOCATION = "exchange/bright"
MASK_LOCATION = "exchange/mask"
SCAN_GROUP = "measurement/process/scan_parameters"
THRESHOLD_KEY = "preProcThresh"
"""Analysis parameter of files whose frames are stored without their dark: the threshold above it."""
HDF5_SUFFIXES = (".h5", ".hdf5", ".hdf", ".nxs", ".nx5")
ZARR_SUFFIXES = (".zip", ".zarr")
_PART = re.compile(r"data_\d+")
"""Data sets of an Eiger master file, joined."""
_MOST_VALUES = 1 << 24  # numbers of a scan or analysis parameter; a scan has fewer frames
_MOST_TRANSFORMS = 64
_MOST_CHUNK_BYTES = 1 << 30


def hdf5_files(dataset: h5py.Dataset) -> tuple[Path, ...]:
    """Return the files that hold a data set's values: its own, then those that it refers to."""
    own = Path(dataset.file.filename)
    named = [source.file_name for source in dataset.virtual_sources()] if dataset.is_virtual else []
    named += [name for name, _, _ in dataset.external or ()]
    return tuple(dict.fromkeys((own, *(own.parent / name for name in named if name != "."))))


class Hdf5Source(FrameSource):
    """HDF5: one dataset, or the numbered `data_000001`.. of an Eiger master file joined."""

    parts: Sequence[h5py.Dataset]
    """The data sets, one after another."""

    def __init__(self, path: Path, options: ReadOptions) -> None:
        import h5py
        import hdf5plugin  # noqa: F401  registers bitshuffle, LZ4, Blosc and others with HDF5

        check_heaps(path)
        self._file = h5py.File(path, "r", locking=False)
        try:
            self._find(options.data_location)
        except BaseException:
            self._file.close()
            raise

    def _find(self, location: str | None) -> None:
        where = location or _default_location(self._file)
        node = _get(self._file, where)
        if node is not None and not hasattr(node, "shape"):
            parts = [_get(node, name) for name in sorted(filter(_PART.fullmatch, node), key=_part_number)]
        else:
            parts = [] if node is None else [node]
        if not parts:
            raise FormatError(_no_dataset(where, list_datasets(self._file)))
        shapes = [stack_shape(part.shape, f"dataset {part.name}") for part in parts]
        if len({(s[1:], p.dtype) for s, p in zip(shapes, parts, strict=True)}) != 1:
            raise FormatError(f"the datasets under {where} differ in shape or type: {shapes}")
        self.parts = parts
        self._where = where
        self.files = tuple(dict.fromkeys(file for part in parts for file in hdf5_files(part)))
        self.chunked = ChunkedStack.of(parts)
        self._starts = np.cumsum([0] + [s[0] for s in shapes])
        self.shape = (int(self._starts[-1]), *shapes[0][1:])
        self.dtype = parts[0].dtype
        self.metadata = {
            "format": "HDF5",
            "data_location": where,
            "hints": tree_hints(self._file),
            **_scan(self._file, where, self.shape[0]),
            **_recorded(self._file),
        }

    def read(self, index: int) -> Image:
        """Return frame `index`."""
        if self.chunked is not None and self.chunked.for_core:
            try:
                found = self.read_several(index, index + 1, 1)
            except FormatError as error:
                raise FormatError(f"frame {index} cannot be read: {error}") from error
            if found is not None:
                return np.asarray(found[0])
        k = int(np.searchsorted(self._starts, index, side="right")) - 1
        part = self.parts[k]
        return np.asarray(part[index - int(self._starts[k])] if part.ndim == 3 else part[()])

    def read_several(self, first: int, end: int, n_threads: int) -> Image | None:
        """Return frames whose chunks can be unpacked in parallel; None where HDF5 must read them."""
        return None if self.chunked is None else self.chunked.unpack_safely(first, end, n_threads=n_threads)

    def read_mask(self) -> Image | None:
        """Return `exchange/mask`."""
        return _mask(self._file, self._where, self.shape)

    def has_dark(self) -> bool:
        """Return whether there is something at `exchange/dark`."""
        return _has_dark(self._file, self._where)

    def has(self, location: str) -> bool:
        """Return whether there is something at a path."""
        return self._file is not None and _get(self._file, location) is not None

    def read_values(self, group: str) -> dict[str, Image]:
        """Return the small arrays of a group."""
        return _values(self._file, group)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class ZarrSource(FrameSource):
    """zarr: a `.MIDAS.zip` (docs/files.md) or a zarr folder; zarr 2 and 3 of the library."""

    def __init__(self, path: Path, options: ReadOptions) -> None:
        import zarr

        if path.is_file() and not zipfile.is_zipfile(path):
            raise FormatError(
                "it is no zip archive, or lacks its end; the file is truncated or misnamed, copy it again"
            )
        self._store = zarr.storage.ZipStore(str(path), mode="r") if path.is_file() else None
        try:
            root: Any = zarr.open(self._store if self._store is not None else str(path), mode="r")
            self._find(root, options.data_location)
        except BaseException:
            self.close()
            raise

    def _find(self, root: Any, location: str | None) -> None:
        is_array = hasattr(root, "shape")
        if not is_array and location is None and "REtaMap" in root:
            raise FormatError("it is a caked file (it has REtaMap); expected detector images under exchange/data")
        where = location or (DEFAULT_LOCATION if is_array else _default_location(root))
        array = root if is_array else _get(root, where)
        if array is None or not hasattr(array, "shape"):
            raise FormatError(_no_dataset(where, list_datasets(root)))
        _check_chunks(array, where)
        self.shape = stack_shape(array.shape, f"array {where}")
        self.dtype = np.dtype(array.dtype)
        self._array = array
        self._root: Any = None if array is root else root
        self._where = "" if array is root else where
        scan: dict[str, object] = {}
        if array is not root:
            scan = {"hints": tree_hints(root), **_scan(root, where, self.shape[0]), **_recorded(root)}
        self.metadata = {"format": "zarr", "data_location": where, **scan}

    def read(self, index: int) -> Image:
        """Return frame `index`."""
        return np.asarray(self._array[index] if self._array.ndim == 3 else self._array[...])

    def read_mask(self) -> Image | None:
        """Return `exchange/mask`."""
        return _mask(self._root, self._where, self.shape)

    def has_dark(self) -> bool:
        """Return whether there is something at `exchange/dark`."""
        return _has_dark(self._root, self._where)

    def has(self, location: str) -> bool:
        """Return whether there is something at a path."""
        return self._root is not None and _get(self._root, location) is not None

    def read_values(self, group: str) -> dict[str, Image]:
        """Return the small arrays of a group."""
        return _values(self._root, group)

    def close(self) -> None:
        """Close the archive."""
        if self._store is not None:
            with contextlib.suppress(AttributeError):  # zarr 3 could not open it
                self._store.close()


def _check_chunks(array: Any, where: str) -> None:
    """Refuse chunks that no image has: zarr would make room for one before it looks at what is there."""
    n_bytes = math.prod(array.chunks) * np.dtype(array.dtype).itemsize
    if n_bytes > _MOST_CHUNK_BYTES:
        raise FormatError(f"the chunks of {where} are {array.chunks} {array.dtype}; the file is corrupt, copy it again")


def _get(group: Any, where: str) -> Any:
    """Return what lies at a path in an HDF5 or zarr group, None when nothing does."""
    try:
        return group[where]
    except KeyError as error:
        link = group.get(where, getlink=True) if hasattr(group, "file") else None  # h5py: the link is there
        if link is None:
            return None
        raise FormatError(_broken_link(group, where, link, error)) from error


def _broken_link(group: Any, where: str, link: Any, error: Exception) -> str:
    """Say which file a link of HDF5 needs."""
    target = getattr(link, "filename", None)
    if target is None:
        return f"{where} is a link to {getattr(link, 'path', 'data')}, which cannot be opened ({error}); copy it again"
    file = Path(group.file.filename).parent / target
    if not file.exists():
        return f"its data file {file} is not there ({where} is a link to it); put it beside this file"
    return (
        f"its data file {file} cannot be opened, or holds nothing at {link.path} ({where} is a link to it): it is "
        "truncated, corrupt or being written; copy it again"
    )


def _default_location(root: Any) -> str:
    """Return where the images are when nobody said: `exchange/data`, where NeXus says, or the only stack there is."""
    if DEFAULT_LOCATION in root:
        return DEFAULT_LOCATION
    for where in (_nexus_default(root), "entry/data/data", "entry/instrument/detector/data"):
        if where is not None and where in root:
            return where
    group = root.get("entry/data")
    if group is not None and not hasattr(group, "shape") and any(_PART.fullmatch(name) for name in group):
        return "entry/data"
    stacks = [name for name, shape in list_datasets(root) if len(shape) == 3]
    return stacks[0] if len(stacks) == 1 else DEFAULT_LOCATION


def _part_number(name: str) -> int:
    return int(name.rpartition("_")[2])


def _nexus_default(root: Any) -> str | None:
    """Return the images that the attributes of a NeXus file lead to; None where they lead to none.

    From the root `default` names an entry, from there an NXdata group, whose `signal` names the data set
    (manual.nexusformat.org, "Find the plottable data"). Files that leave `default` out have one entry and NXdata group.
    """
    where, node = "", root
    for kind in ("NXentry", "NXdata"):
        name = _text(node, "default")
        if name is None:
            found = [str(child) for child in node if _class_of(node, child) == kind]
            name = found[0] if len(found) == 1 else None
        if name is None:
            break
        where, node = f"{where}{name}/".lstrip("/"), _get(node, name)
        if node is None or hasattr(node, "shape"):
            return None
    signal = _text(node, "signal")
    if signal is not None and _PART.fullmatch(signal):
        return where.rstrip("/") or None  # an Eiger master: all of the data sets, not this one alone
    array: Any = None if signal is None else _get(node, signal)
    is_image = hasattr(array, "shape") and len(array.shape) in (2, 3) and np.dtype(array.dtype).kind in "uif"
    return f"{where}{signal}" if is_image else None


def _text(node: Any, attribute: str) -> str | None:
    value = node.attrs.get(attribute)
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    return value if isinstance(value, str) and value else None


def _class_of(node: Any, name: str) -> str | None:
    try:
        return _text(node[name], "NX_class")
    except KeyError:
        return None  # a link whose target is missing


def list_datasets(group: Any) -> list[tuple[str, tuple[int, ...]]]:
    """Return (path, shape) of the arrays of rank 2 and 3 in an HDF5 or zarr group.

    Examples
    --------
    >>> import h5py
    >>> with h5py.File("a.h5", "w", driver="core", backing_store=False) as file:
    ...     file["entry/data"], file["energy"] = np.zeros((2, 3, 4)), 80.7
    ...     list_datasets(file)
    [('entry/data', (2, 3, 4))]
    """
    return [(name, shape) for name, shape in _walk(group, "") if len(shape) in (2, 3)]


def _walk(group: Any, prefix: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    for name in sorted(group):
        try:
            node = group[name]
        except KeyError:
            continue  # a link whose target is missing
        if hasattr(node, "shape"):
            yield prefix + name, tuple(node.shape)
        elif prefix.count("/") < 8:  # links can make a circle
            yield from _walk(node, f"{prefix}{name}/")


def _no_dataset(where: str, found: list[tuple[str, tuple[int, ...]]]) -> str:
    listing = ", ".join(f"{name} {shape}" for name, shape in found[:12]) or "none"
    return (
        f"it has no images at {where}; datasets of rank 2 or 3 in it: {listing}; name one with -dataLoc (data_location)"
    )


def _scan(root: Any, where: str, n_frames: int) -> dict[str, object]:
    """Return what a file says of its scan: a MIDAS file in its own place, others where NeXus and Dectris put it."""
    own = _scan_parameters(root)
    others = tree_scan(root, where, n_frames)
    if "omega_start" in own or "omega_step" in own:
        others = {key: value for key, value in others.items() if not key.startswith("omega_")}
    return merged(others, {**own, SOURCES: dict.fromkeys(own, SCAN_GROUP)} if own else {})


def _scan_parameters(group: Any) -> dict[str, object]:
    """Return omega start and step [deg] and the conditions of a MIDAS file, where it has them, by our names."""
    found: dict[str, object] = {}
    for key, name in {"omega_start": "start", "omega_step": "step", **CONDITIONS}.items():
        node = _get(group, f"{SCAN_GROUP}/{name}")
        if node is None or not hasattr(node, "shape"):
            continue
        values = np.asarray(node[...]).ravel()
        if values.dtype.kind not in "uif" or values.size == 0:
            continue
        if key in CONDITIONS and values.size > 1:
            values = values.astype(np.float64)
            values.flags.writeable = False
            found[key] = values
        else:
            found[key] = float(values[0])
    return found


def _recorded(group: Any) -> dict[str, object]:
    """Return what a MIDAS file says was, or was not, done to its frames."""
    found: dict[str, object] = {}
    for key in ("ImTransOpt", THRESHOLD_KEY):
        node = _get(group, f"{ANALYSIS_GROUP}/{key}")
        if node is None or not hasattr(node, "shape") or np.dtype(node.dtype).kind not in "uif":
            continue
        values = np.asarray(node[...]).ravel()[:_MOST_TRANSFORMS]
        if key == "ImTransOpt":
            found["recorded_transforms"] = tuple(int(t) for t in values if t != 0)
        elif values.size and values[0] >= 0:
            found["dark_subtracted"] = True
    return found


def _values(root: Any, group: str) -> dict[str, Image]:
    node = None if root is None else _get(root, group)
    if node is None or hasattr(node, "shape"):
        return {}
    found = {}
    for name in sorted(node):
        array = _get(node, name)
        if array is None or not hasattr(array, "shape"):
            continue
        if np.prod(array.shape) > _MOST_VALUES:
            raise FormatError(f"{group}/{name} has shape {array.shape}; expected a few numbers or one a frame")
        values = np.asarray(array[...])
        if values.dtype.kind in "OU":
            values = np.array([v if isinstance(v, bytes) else str(v).encode() for v in values.ravel()], dtype=np.bytes_)
        if values.dtype.kind in "uifbS" and values.size:
            found[name] = values.reshape(array.shape or (1,))
    return found


def _has_dark(group: Any, where: str) -> bool:
    return where not in ("", DARK_LOCATION) and _get(group, DARK_LOCATION) is not None


def _mask(group: Any, where: str, shape: tuple[int, int, int]) -> Image | None:
    """Return the mask beside the images at `where`, not 0 where any of its frames masks; None where there is none."""
    node = _get(group, MASK_LOCATION) if where.startswith("exchange/") else None
    if node is None or not hasattr(node, "shape"):
        return None
    mask = np.asarray(node[...])
    if mask.ndim not in (2, 3) or mask.shape[-2:] != shape[1:]:
        raise FormatError(f"{MASK_LOCATION} has shape {mask.shape}; expected {shape[1:]} as of the images at {where}")
    return np.asarray((mask.reshape(-1, *shape[1:]) != 0).any(axis=0))
