"""How each image format is opened: one class a format, one table from suffix to class.

To add a format, write a `FrameSource` and enter its suffixes in `FORMATS`. A source may raise whatever its library
raises: `midas.io.frames` turns it into one `FormatError` that names the file.
"""

from __future__ import annotations

import bz2
import gzip
import logging
import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from midas.errors import FormatError, InputError
from midas.io.hdf5_chunks import ChunkedStack
from midas.io.headers import header_hints, tree_hints
from midas.io.library_log import ErrorsOf

if TYPE_CHECKING:
    import h5py

Image = npt.NDArray[Any]

CBF_MARK = b"\x0c\x1a\x04\xd5"
"""Bytes before the binary section of a CBF (imgCIF/CBF definition, section "Binary sections")."""

DEFAULT_LOCATION = "exchange/data"
DARK_LOCATION = "exchange/dark"
MASK_LOCATION = "exchange/mask"
CONDITIONS = ("temperature", "pressure", "i", "i0")
"""Scan parameters that may differ from frame to frame, as `Frames.metadata` calls them (SPEC section 4)."""
GE_SHAPE = (2048, 2048)
"""Rows and columns of a GE 41RT panel, assumed where the parameters give no shape."""

RAW_DTYPES = MappingProxyType({1: "<u2", 2: "<f8", 3: "<f4", 4: "<u4", 5: "<i4"})
"""`DataType` of headerless frames (SPEC section 3); 6 to 10 name file formats that know their own type."""


@dataclass(frozen=True)
class ReadOptions:
    """What a file may not say about itself."""

    data_location: str | None = None
    """Dataset inside an HDF5 or zarr file; None looks in `exchange/data`, then where NeXus puts it."""
    head_size: int = 8192
    """Bytes before the first frame of a GE file (`HeadSize`)."""
    frame_shape: tuple[int, int] | None = None
    """Rows and columns of a GE frame, before any transform; None takes 2048 x 2048."""
    data_type: int = 1
    """Pixel type of a GE file (`DataType`): 1 uint16, 2 float64, 3 float32, 4 uint32, 5 int32."""


class FrameSource(ABC):
    """An open file: knows shape and dtype without reading pixels, reads one frame when asked."""

    shape: tuple[int, int, int]
    """Frames, rows, columns."""
    dtype: np.dtype[Any]
    files: tuple[Path, ...] = ()
    chunked: ChunkedStack | None = None
    """The frames as they stand in the file, compressed, where we can unpack them."""
    metadata: Mapping[str, object] = MappingProxyType({})
    """What the file says of itself, beside `format`; of `CONDITIONS` a number or an array of one for each frame; of the
    instrument `hints`, a tuple of `midas.io.headers.Hint`."""

    @abstractmethod
    def read(self, index: int) -> Image:
        """Return frame `index`, shape (n_z, n_y)."""

    def read_several(self, first: int, end: int, n_threads: int) -> Image | None:
        """Return frames `first` to `end`, shape (n, n_z, n_y), where that is quicker than one by one; else None."""
        return None

    def read_mask(self) -> Image | None:
        """Return the mask that the file holds beside its images, shape (n_z, n_y), not 0 where masked; None without."""
        return None

    def has_dark(self) -> bool:
        """Return whether the file holds a dark beside its images, at `exchange/dark`."""
        return False

    def close(self) -> None:  # noqa: B027  most sources hold nothing open
        """Let go of the file."""


def stack_shape(shape: tuple[int, ...], what: str) -> tuple[int, int, int]:
    """Return (frames, rows, columns) of an image or a stack; anything else is a FormatError saying so.

    Examples
    --------
    >>> stack_shape((4, 3), "array")
    (1, 4, 3)
    """
    if len(shape) == 2:
        shape = (1, *shape)
    if len(shape) != 3:
        raise FormatError(
            f"the {what} has shape {shape}; expected an image (rows, columns) or a stack (frames, rows, columns)"
        )
    if min(shape) < 1:
        raise FormatError(f"the {what} has shape {shape}, so it holds no pixel; expected at least one frame")
    return (int(shape[0]), int(shape[1]), int(shape[2]))


class ArraySource(FrameSource):
    """Frames of an array in memory, or of one mapped from a file."""

    def __init__(self, array: Image, what: str = "array") -> None:
        """Take an image or a stack."""
        self.shape = stack_shape(array.shape, what)
        self.dtype = array.dtype
        self._array = array.reshape(self.shape)

    def read(self, index: int) -> Image:
        """Return frame `index`."""
        return np.array(self._array[index])


class GeSource(ArraySource):
    """GE panels: a header of fixed size, then frames row by row, little endian (SPEC section 4)."""

    def __init__(self, path: Path, options: ReadOptions) -> None:
        if options.data_type not in RAW_DTYPES:
            raise InputError(f"DataType is {options.data_type}; expected 1 to 5 for a GE file")
        if options.head_size < 0:
            raise InputError(f"HeadSize is {options.head_size}; expected 0 or more bytes")
        dtype = np.dtype(RAW_DTYPES[options.data_type])
        rows, columns = options.frame_shape or GE_SHAPE
        frame_bytes = rows * columns * dtype.itemsize
        payload = path.stat().st_size - options.head_size
        n_frames = payload // frame_bytes
        if n_frames < 1 or payload % frame_bytes:
            given = "as given" if options.frame_shape else "as of a GE panel; NrPixelsZ and NrPixelsY change it"
            raise FormatError(
                f"it has {payload} bytes after a header of {options.head_size}: {payload / frame_bytes:.3f} frames of "
                f"{rows} x {columns} {dtype.name} ({given}), expected a whole number; the file is truncated, or the "
                "shape, DataType or HeadSize are not its own"
            )
        shape = (n_frames, rows, columns)
        super().__init__(np.memmap(path, dtype=dtype, mode="r", offset=options.head_size, shape=shape))
        self.metadata = {"format": "GE"}


class NumpySource(ArraySource):
    """`.npy` files, mapped."""

    def __init__(self, path: Path, options: ReadOptions) -> None:
        super().__init__(np.load(path, mmap_mode="r", allow_pickle=False))
        self.metadata = {"format": "NumPy"}


class TiffSource(FrameSource):
    """TIFF: single or multi-page, compressed or not, ImageJ stacks included."""

    def __init__(self, path: Path, options: ReadOptions) -> None:
        import tifffile

        self._path = path
        self._lock = threading.Lock()
        with ErrorsOf("tifffile", only=r"page offset|offset to page|corrupted|circular") as errors:
            self._file = tifffile.TiffFile(path)
            all_series = list(self._file.series)  # newer versions look at the pages only now
        try:
            errors.refuse()
            series = all_series[0]
            if "S" in series.axes:
                raise FormatError(f"it is a colour picture of shape {series.shape}; expected one number a pixel")
            self.shape = stack_shape(series.shape, "TIFF")
            self.dtype = np.dtype(series.dtype)
            self._series = series
            self._check_whole(0)
            self._check_whole(self.shape[0] - 1)
        except BaseException:
            self._file.close()
            raise
        self.metadata = {"format": "TIFF"}
        if description := str(getattr(series.keyframe, "description", "")):
            self.metadata = {"format": "TIFF", "description": description}
            self.metadata |= {"hints": header_hints(self.metadata)}
        others = len(all_series) - 1
        if others:
            logging.getLogger(__name__).warning("%s holds %d more images of another shape, left out", path, others)

    def _page(self, index: int) -> Any:
        pages = self._series.pages
        return pages[index] if len(pages) == self.shape[0] else pages[0]

    def _check_whole(self, index: int) -> None:
        """Refuse a page that reaches past the end of the file: the library would fill it with zeros."""
        page, size = self._page(index), self._path.stat().st_size
        end = max((o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=False)), default=0)
        if end > size:
            raise FormatError(f"page {index} ends at byte {end}, the file has {size}: it is truncated, copy it again")

    def read(self, index: int) -> Image:
        """Return page `index`."""
        with self._lock:
            if len(self._series.pages) != self.shape[0]:
                stack: Image = np.asarray(self._series.asarray()).reshape(self.shape)
                return np.asarray(stack[index])
            self._check_whole(index)
            try:
                return np.asarray(self._page(index).asarray())
            except ValueError as error:
                if "imagecodecs" not in str(error):
                    raise
                return self._read_with_pillow(index)

    def _read_with_pillow(self, index: int) -> Image:
        """Read compressions (LZW, JPEG, ...) for which tifffile needs a package that midas does not require."""
        from PIL import Image as Pillow

        with Pillow.open(self._path) as image:
            image.seek(index)
            pixels = np.asarray(image)
        if pixels.shape != self.shape[1:] or pixels.dtype.itemsize != self.dtype.itemsize:
            raise FormatError("its compression cannot be read here; install imagecodecs (pip install imagecodecs)")
        # Pillow knows no uint32 and calls the same bits int32.
        native = self.dtype.newbyteorder("=")
        return pixels if pixels.dtype.kind == native.kind else pixels.view(native)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def hdf5_files(dataset: h5py.Dataset) -> tuple[Path, ...]:
    """Return the files that hold a data set's values: its own, then those that it refers to."""
    own = Path(dataset.file.filename)
    named = [source.file_name for source in dataset.virtual_sources()] if dataset.is_virtual else []
    named += [name for name, _, _ in dataset.external or ()]
    return tuple(dict.fromkeys((own, *(own.parent / name for name in named if name != "."))))


class Hdf5Source(FrameSource):
    """HDF5: one dataset, or the numbered `data_000001`.. of an Eiger master file joined."""

    def __init__(self, path: Path, options: ReadOptions) -> None:
        import h5py
        import hdf5plugin  # noqa: F401  registers bitshuffle, LZ4, Blosc and others with HDF5

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
            parts = [_get(node, name) for name in sorted(node) if re.fullmatch(r"data_\d+", name)]
        else:
            parts = [] if node is None else [node]
        if not parts:
            raise FormatError(_no_dataset(where, _datasets(self._file)))
        shapes = [stack_shape(part.shape, f"dataset {part.name}") for part in parts]
        if len({(s[1:], p.dtype) for s, p in zip(shapes, parts, strict=True)}) != 1:
            raise FormatError(f"the datasets under {where} differ in shape or type: {shapes}")
        self._parts = parts
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
            **_scan_parameters(self._file),
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
        part = self._parts[k]
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

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class ZarrSource(FrameSource):
    """zarr: a `.MIDAS.zip` (SPEC section 4) or a zarr folder; zarr 2 and 3 of the library."""

    def __init__(self, path: Path, options: ReadOptions) -> None:
        import zarr

        self._store = zarr.storage.ZipStore(str(path), mode="r") if path.is_file() else None
        try:
            root: Any = zarr.open(self._store if self._store is not None else str(path), mode="r")
            self._find(root, options.data_location)
        except BaseException:
            self.close()
            raise

    def _find(self, root: Any, location: str | None) -> None:
        where = location or DEFAULT_LOCATION
        array = root if hasattr(root, "shape") else _get(root, where)
        if array is None and "REtaMap" in root:
            raise FormatError("it is a caked file (it has REtaMap); expected detector images under exchange/data")
        if array is None or not hasattr(array, "shape"):
            raise FormatError(_no_dataset(where, _datasets(root)))
        self.shape = stack_shape(array.shape, f"array {where}")
        self.dtype = np.dtype(array.dtype)
        self._array = array
        self._root: Any = None if array is root else root
        self._where = "" if array is root else where
        scan = {} if array is root else {"hints": tree_hints(root), **_scan_parameters(root)}
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

    def close(self) -> None:
        """Close the archive."""
        if self._store is not None:
            self._store.close()


class FabioSource(FrameSource):
    """CBF, EDF, MAR, Raxis and the rest that fabio reads."""

    def __init__(self, path: Path, options: ReadOptions) -> None:
        import fabio

        self._lock = threading.Lock()
        if ".cbf" in path.name.lower():
            _refuse_cbf_without_data(path)
        with ErrorsOf("fabio") as errors:
            self._image = fabio.open(str(path))
            first = self._image.data
        errors.refuse()
        if getattr(self._image, "incomplete_file", False):
            raise FormatError("its last frame is incomplete; the file is truncated, copy it again")
        self.shape = (int(self._image.nframes), *stack_shape(first.shape, "image")[1:])
        self.dtype = first.dtype
        header = {str(k): str(v) for k, v in self._image.header.items()}
        self.metadata = {"format": type(self._image).__name__.removesuffix("Image").upper(), **header}
        self.metadata |= {"hints": header_hints(self.metadata)}

    def read(self, index: int) -> Image:
        """Return frame `index`."""
        with self._lock, ErrorsOf("fabio") as errors:
            data = np.asarray(self._image.data if self.shape[0] == 1 else self._image.get_frame(index).data)
        errors.refuse()
        return data

    def close(self) -> None:
        """Close the file."""
        self._image.close()


def _refuse_cbf_without_data(path: Path) -> None:
    """Refuse a CBF that ends before its binary section: fabio would look for the section's mark for ever."""
    opener: Any = {".gz": gzip.open, ".bz2": bz2.open}.get(path.suffix, open)
    with opener(path, "rb") as file:
        if CBF_MARK not in file.read():
            raise FormatError("it has no binary section; the file is truncated or no CBF, copy it again")


def _get(group: Any, where: str) -> Any:
    """Return what lies at a path in an HDF5 or zarr group, None when nothing does."""
    try:
        return group[where]
    except KeyError as error:
        if hasattr(group, "file") and group.get(where, getlink=True) is not None:  # h5py: the link is there
            raise FormatError(
                f"{where} is a link to data that cannot be opened ({error}); put the linked file beside it"
            ) from error
        return None


def _default_location(file: Any) -> str:
    """Return where the images are when nobody said: `exchange/data`, then NeXus, then the only stack there is."""
    for where in (DEFAULT_LOCATION, "entry/data/data", "entry/instrument/detector/data"):
        if where in file:
            return where
    group = file.get("entry/data")
    if group is not None and any(re.fullmatch(r"data_\d+", name) for name in group):
        return "entry/data"
    stacks = [name for name, shape in _datasets(file) if len(shape) == 3]
    return stacks[0] if len(stacks) == 1 else DEFAULT_LOCATION


def _datasets(group: Any) -> list[tuple[str, tuple[int, ...]]]:
    """Return (path, shape) of the arrays of rank 2 and 3 in an HDF5 or zarr group."""
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


def _scan_parameters(group: Any) -> dict[str, object]:
    """Return omega start and step [deg] and the conditions of a MIDAS file, where it has them, by our names."""
    found: dict[str, object] = {}
    names = {"omega_start": "start", "omega_step": "step", "i": "I", "i0": "I0"}
    for key in ("omega_start", "omega_step", *CONDITIONS):
        node = _get(group, f"measurement/process/scan_parameters/{names.get(key, key.capitalize())}")
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


def _has_dark(group: Any, where: str) -> bool:
    node = _get(group, DARK_LOCATION) if where.startswith("exchange/") and where != DARK_LOCATION else None
    return node is not None and hasattr(node, "shape")


def _mask(group: Any, where: str, shape: tuple[int, int, int]) -> Image | None:
    """Return the mask beside the images at `where`, not 0 where any of its frames masks; None where there is none."""
    node = _get(group, MASK_LOCATION) if where.startswith("exchange/") else None
    if node is None or not hasattr(node, "shape"):
        return None
    mask = np.asarray(node[...])
    if mask.ndim not in (2, 3) or mask.shape[-2:] != shape[1:]:
        raise FormatError(f"{MASK_LOCATION} has shape {mask.shape}; expected {shape[1:]} as of the images at {where}")
    return np.asarray((mask.reshape(-1, *shape[1:]) != 0).any(axis=0))


# fmt: off
FABIO_SUFFIXES = (
    ".cbf", ".edf", ".cor", ".mccd", ".img", ".osc", ".sfrm", ".gfrm", ".kcd", ".f2d", ".msk", ".mpa",
    ".mrc", ".spe", ".esper", ".dm3", ".spr", ".stl", ".pgm", ".pnm",
    ".mar1200", ".mar1600", ".mar1800", ".mar2000", ".mar2300",
    ".mar2400", ".mar3000", ".mar3450",
)
# fmt: on
_GE = (".ge", ".ge1", ".ge2", ".ge3", ".ge4", ".ge5")

Opener = Callable[[Path, ReadOptions], FrameSource]

FORMATS: Mapping[str, Opener] = MappingProxyType(
    {
        **dict.fromkeys((".tif", ".tiff"), TiffSource),
        **dict.fromkeys((".h5", ".hdf5", ".hdf", ".nxs", ".nx5"), Hdf5Source),
        **dict.fromkeys(_GE, GeSource),
        ".npy": NumpySource,
        **dict.fromkeys((".zip", ".zarr"), ZarrSource),
        **dict.fromkeys(FABIO_SUFFIXES, FabioSource),
        **{f"{suffix}{packed}": FabioSource for suffix in (".cbf", ".edf") for packed in (".gz", ".bz2")},
    }
)
"""Suffix (lower case) to the class that opens it."""
