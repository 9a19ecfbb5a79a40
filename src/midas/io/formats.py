"""How each image format is opened: one class a format, one table from suffix to class.

To add a format, write a `FrameSource` and enter its suffixes in `FORMATS`. A source may raise whatever its library
raises: `midas.io.frames` turns it into one `FormatError` that names the file.
"""

from __future__ import annotations

import difflib
import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from midas.errors import FormatError, InputError
from midas.io.cbf import CbfSource
from midas.io.fabio_checks import check_damage
from midas.io.headers import header_hints
from midas.io.image_source import ArraySource, FrameSource, Image, ReadOptions, stack_shape
from midas.io.library_log import ErrorsOf
from midas.io.scan_values import dectris_scan, edf_scan
from midas.io.tree_formats import HDF5_SUFFIXES, ZARR_SUFFIXES, Hdf5Source, ZarrSource

_CBF_START = b"###CBF"

GE_SHAPE = (2048, 2048)
"""Rows and columns of a GE 41RT panel, assumed where the parameters give no shape."""

RAW_DTYPES = MappingProxyType({1: "<u2", 2: "<f8", 3: "<f4", 4: "<u4", 5: "<i4"})
"""`DataType` of headerless frames (docs/files.md); 6 to 10 name file formats that know their own type."""


class RawSource(FrameSource):
    """Frames one after another as they are in memory; read, not mapped: what was read is let go, however long it is."""

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], offset: int) -> None:
        self.shape, self.dtype = stack_shape(shape, "array"), dtype
        self._offset, self._lock = offset, threading.Lock()
        self._file = path.open("rb", buffering=0)

    def read(self, index: int) -> Image:
        """Return frame `index`."""
        return np.asarray(self.read_several(index, index + 1, 1)[0])

    def read_several(self, first: int, end: int, n_threads: int) -> Image:
        """Return frames `first` to `end`."""
        stack = np.empty((end - first, *self.shape[1:]), dtype=self.dtype)
        left = memoryview(stack.data).cast("B")
        with self._lock:
            self._file.seek(self._offset + first * stack[0].nbytes)
            while len(left):
                n_read = self._file.readinto(left)
                if not n_read:
                    raise FormatError("it ends before its last frame; the file is truncated, copy it again")
                left = left[n_read:]
        return stack

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class GeSource(RawSource):
    """GE panels: a header of fixed size, then frames row by row, little endian (docs/files.md)."""

    def __init__(self, path: Path, options: ReadOptions) -> None:
        if options.data_type not in RAW_DTYPES:
            raise InputError(f"DataType is {options.data_type}; expected 1 to 5 for a GE file")
        if options.head_size < 0:
            raise InputError(f"HeadSize is {options.head_size}; expected 0 or more bytes")
        dtype = np.dtype(RAW_DTYPES[options.data_type])
        rows, columns = options.frame_shape or GE_SHAPE
        frame_bytes = rows * columns * dtype.itemsize
        payload = path.stat().st_size - options.head_size
        if payload <= 0:
            raise FormatError(
                f"it has {path.stat().st_size} bytes, no more than its header of {options.head_size} (HeadSize), so it "
                "holds no frame: the file is truncated, or HeadSize is not its own"
            )
        n_frames = payload // frame_bytes
        if n_frames < 1 or payload % frame_bytes:
            given = "as given" if options.frame_shape else "as of a GE panel; NrPixelsZ and NrPixelsY change it"
            raise FormatError(
                f"it has {payload} bytes after a header of {options.head_size}: {payload / frame_bytes:.3f} frames of "
                f"{rows} x {columns} {dtype.name} ({given}), expected a whole number; the file is truncated, or the "
                "shape, DataType or HeadSize are not its own"
            )
        super().__init__(path, (n_frames, rows, columns), dtype, options.head_size)
        self.metadata = {"format": "GE"}


def open_numpy(path: Path, options: ReadOptions) -> FrameSource:
    """Return the source of a `.npy` file."""
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    source: FrameSource
    if isinstance(array, np.memmap) and array.flags.c_contiguous:
        source = RawSource(path, array.shape, array.dtype, int(array.offset))
    else:
        source = ArraySource(np.asarray(array))
    source.metadata = {"format": "NumPy"}
    return source


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
            self.metadata |= {"hints": header_hints(self.metadata), **dectris_scan(description, self.shape[0])}
        others = len(all_series) - 1
        if others:
            logging.getLogger(__name__).warning("%s holds %d more images of another shape, left out", path, others)

    def _page(self, index: int) -> Any:
        pages = self._series.pages
        return pages[index] if len(pages) == self.shape[0] else pages[0]

    def _check_whole(self, index: int) -> None:
        """Refuse a page that reaches past the end of the file: the library would fill it with zeros."""
        page, size = self._page(index), self._path.stat().st_size
        counts = page.databytecounts
        end = max((o + n for o, n in zip(page.dataoffsets, counts, strict=False)), default=0)
        if page.compression == 1 and sum(counts) < self.shape[1] * self.shape[2] * self.dtype.itemsize:
            raise FormatError(f"page {index} has {sum(counts)} bytes for its pixels, too few: the file is corrupt")
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


class FabioSource(FrameSource):
    """EDF, MAR, Raxis and the rest that fabio reads."""

    def __init__(self, path: Path, options: ReadOptions) -> None:
        import fabio

        self._lock = threading.Lock()
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
        if self.metadata["format"] == "EDF":
            self.metadata |= edf_scan(self._headers())

    def _headers(self) -> list[dict[str, str]]:
        """Return the header of each frame of an EDF file."""
        if self.shape[0] == 1:
            return [dict(self._image.header)]
        return [dict(self._image.get_frame(k).header) for k in range(self.shape[0])]

    def read(self, index: int) -> Image:
        """Return frame `index`."""
        with self._lock, ErrorsOf("fabio") as errors:
            data = np.asarray(self._image.data if self.shape[0] == 1 else self._image.get_frame(index).data)
        errors.refuse()
        return data

    def close(self) -> None:
        """Close the file."""
        self._image.close()


def open_by_fabio(path: Path, options: ReadOptions) -> FrameSource:
    """Open what fabio knows, a CBF by our own reader, whatever it is called."""
    with path.open("rb") as file:
        if file.read(len(_CBF_START)) == _CBF_START:
            return CbfSource(path, options)
    check_damage(path)
    return FabioSource(path, options)


# fmt: off
FABIO_SUFFIXES = (
    ".edf", ".cor", ".mccd", ".img", ".osc", ".sfrm", ".gfrm", ".kcd", ".f2d", ".msk", ".mpa",
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
        **dict.fromkeys(HDF5_SUFFIXES, Hdf5Source),
        **dict.fromkeys(_GE, GeSource),
        ".npy": open_numpy,
        **dict.fromkeys(ZARR_SUFFIXES, ZarrSource),
        **dict.fromkeys((".cbf", ".cbf.gz", ".cbf.bz2"), CbfSource),
        **dict.fromkeys((*FABIO_SUFFIXES, ".edf.gz", ".edf.bz2"), open_by_fabio),
    }
)
"""Suffix (lower case) to the class that opens it."""


def opener_of(path: Path) -> Opener:
    """Return what opens a file of this name; raise FormatError where its suffix is of no known format."""
    name = path.name.lower()
    for n in (2, 1):
        suffix = "".join(Path(name).suffixes[-n:])
        if suffix in FORMATS:
            return FORMATS[suffix]
    suffix = Path(name).suffix
    near = difflib.get_close_matches(suffix, list(FORMATS), n=1)
    hint = f" (nearest: {near[0]})" if near else ""
    raise FormatError(
        f"{path}: unknown image suffix {suffix!r}{hint}; expected .tif, .h5, .ge to .ge5, .cbf, .edf, .npy, .zip, "
        ".zarr or another format that fabio reads"
    )
