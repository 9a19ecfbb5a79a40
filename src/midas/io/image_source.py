"""What an open image file is to the library, whatever its format."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from midas.errors import FormatError, InputError
from midas.io.hdf5_chunks import ChunkedStack

Image = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]

CONDITIONS: Mapping[str, str] = MappingProxyType(
    {"temperature": "Temperature", "pressure": "Pressure", "i": "I", "i0": "I0"}
)
"""Scan parameters that may differ from frame to frame: how we call them, and MIDAS files (docs/files.md)."""


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
    image_transforms: tuple[int, ...] = ()
    """Transforms (`ImTransOpt`) that its frames have had already."""
    segments: tuple[int, ...] = ()
    """Frames of each file of several that follow one another; empty for one file."""
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

    def has(self, location: str) -> bool:
        """Return whether the file holds something at a path inside it."""
        return False

    def read_values(self, group: str) -> dict[str, Image]:
        """Return the small arrays of a group inside the file by name, numbers as they are and text as bytes."""
        return {}

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


def valid_mask(image: Image, *, bad_values: Sequence[float] = ()) -> Mask:
    """Return True where a pixel of a raw image holds counts, shape as the image.

    Never counts (docs/files.md): negative values (-1 gap and -2 bad on Pilatus), the largest value of an unsigned type
    (Eiger's 65535 and 4294967295), NaN and infinities, and `bad_values` (`BadPxIntensity`, `GapIntensity`). Give it the
    raw image: after subtracting a dark, negative values are ordinary.

    Examples
    --------
    >>> valid_mask(np.array([-2, -1, 0, 7], dtype=np.int32)).tolist()
    [False, False, True, True]
    >>> valid_mask(np.array([0, 9, 65535], dtype=np.uint16), bad_values=[9]).tolist()
    [True, False, False]
    """
    image = np.asarray(image)
    kind = image.dtype.kind
    if kind == "u":
        valid = np.asarray(image != np.iinfo(image.dtype).max)
    elif kind == "i":
        valid = np.asarray(image >= 0)
    elif kind == "f":
        with np.errstate(invalid="ignore"):
            valid = np.asarray((image >= 0) & (image < np.inf))
    else:
        raise InputError(f"the image has type {image.dtype}; expected integers or floating point numbers")
    for value in bad_values:
        valid &= image != value
    return valid


def is_counted(image: Image) -> Mask:
    """Return True where a pixel of a dark or a flat holds a number, shape as the image.

    As `valid_mask`, but negative floating point numbers do: a dark may be what is left of others.

    Examples
    --------
    >>> is_counted(np.array([-0.5, np.nan])).tolist(), is_counted(np.array([7, 65535], dtype=np.uint16)).tolist()
    ([True, False], [True, False])
    """
    return np.asarray(np.isfinite(image)) if image.dtype.kind == "f" else valid_mask(image)
