"""Frames, darks and masks made ready for the core: layout, dtype, validity."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from midas.checks import thread_count, yes_or_no
from midas.errors import InputError
from midas.geometry import FloatArray
from midas.io.image_source import is_counted
from midas.messages import warn_caller

Bytes = npt.NDArray[np.uint8]

NATIVE = ("uint8", "uint16", "uint32", "int16", "int32", "float32", "float64")
"""Types of pixels that the core reads as they are."""

_FAR_FROM_1 = 5.0  # the response of a pixel relative to the mean one is nearer
_LEAST_FLAT = 1e-15  # single precision holds the square of 1 / flat, by which variances are multiplied, up to 1e38


@dataclass(frozen=True)
class RawLayout:
    """Where the pixel (y, z) of the geometry's frame lies in a frame as stored: element first + y·step_y + z·step_z."""

    shape: tuple[int, int]
    """Rows and columns of the stored frame."""
    first: int
    step_z: int
    step_y: int

    @classmethod
    def of(cls, shape: tuple[int, int], transforms: Sequence[int]) -> RawLayout:
        """Return the layout of a stored frame that `transforms`, applied in order, turn into one of `shape`.

        Examples
        --------
        >>> RawLayout.of((2, 3), [1])
        RawLayout(shape=(2, 3), first=2, step_z=3, step_y=-1)
        """
        stored = shape if sum(t == 3 for t in transforms) % 2 == 0 else (shape[1], shape[0])
        (rows, columns), first, step_z, step_y = stored, 0, stored[1], 1
        for t in transforms:
            if t == 1:
                first, step_y = first + (columns - 1) * step_y, -step_y
            elif t == 2:
                first, step_z = first + (rows - 1) * step_z, -step_z
            else:
                rows, columns, step_z, step_y = columns, rows, step_y, step_z
        return cls(stored, first, step_z, step_y)


@dataclass(frozen=True, eq=False)
class FrameInput:
    """What every frame of a run is combined with; arrays have the frames' shape and the dtype of the core."""

    dark: FloatArray | None = None
    """Counts, finite."""
    scale: FloatArray | None = None
    """Multiplies the counts less the dark."""
    mask: Bytes | None = None
    """Non-zero leaves a pixel out."""
    bad_values: tuple[float, ...] = ()
    """Values that mark a pixel without counts."""
    saturation: float | None = None
    """Counts at and above which a pixel is left out."""
    negative_counts: bool = False
    """Negative values are counts."""
    normalize: bool = True
    """Divide by the area."""
    n_threads: int = 0

    def __post_init__(self) -> None:
        """Refuse what is no number of threads, or neither True nor False: all that sums frames passes here."""
        thread_count(self.n_threads)
        yes_or_no("negative_counts", self.negative_counts)
        yes_or_no("normalize", self.normalize)

    def of_core(self) -> dict[str, Any]:
        """Return the arguments of the core's integrators, beside the number of threads."""
        return {
            "dark": self.dark,
            "scale": self.scale,
            "mask": self.mask,
            "bad_values": self.bad_values,
            "saturation": np.inf if self.saturation is None else self.saturation,
            "negative_counts": self.negative_counts,
            "normalize": self.normalize,
        }

    @property
    def plain_key(self) -> tuple[Any, ...] | None:
        """What tells inputs without arrays apart; None of those that have one."""
        if self.dark is not None or self.scale is not None or self.mask is not None:
            return None
        return self.bad_values, self.saturation, self.negative_counts, self.normalize

    def for_dark(self) -> FrameInput:
        """Return the input with which a dark is caked as if it were a frame, for its variance."""
        return replace(self, dark=None, saturation=None, bad_values=(), negative_counts=True)


class _HasVariance(Protocol):
    @property
    def variance(self) -> npt.NDArray[np.floating[Any]] | None: ...


@dataclass(frozen=True, eq=False)
class Dark:
    """A dark frame: the mean of `n_frames`."""

    counts: FloatArray
    """Shape (n_z, n_y), float64; 0 where invalid."""
    invalid: Bytes
    """Shape (n_z, n_y): 1 where the dark has no count."""
    n_frames: int

    def variance(self, apply: Callable[[npt.NDArray[Any]], _HasVariance]) -> FloatArray:
        """Return what the dark adds to the variance of each bin of one frame: its own Poisson noise over n_frames."""
        variance = apply(self.counts).variance
        assert variance is not None
        return np.asarray(variance / self.n_frames, dtype=np.float64)


def check_shape(found: tuple[int, ...], shape: tuple[int, int], what: str = "the frames have") -> None:
    """Raise InputError unless `found` is that of a frame, or of a stack of one or more, of `shape`."""
    if len(found) not in (2, 3) or found[-2:] != shape:
        raise InputError(
            f"{what} shape {found}; expected (rows, columns) {shape}, or a stack of them"
            + (" (rows and columns are swapped)" if found[-2:] == shape[::-1] else "")
        )
    if found[0] == 0:
        raise InputError("there is no frame; expected at least one")


def check_area(area: FloatArray) -> None:
    """Raise InputError unless some bin holds a valid pixel; `area` is that of the valid pixels of each."""
    if not area.any():
        raise InputError(
            "no bin holds a valid pixel: the frames are masked or without counts over the range of the grid"
        )


def native_frame(frame: npt.ArrayLike, shape: tuple[int, int]) -> npt.NDArray[Any]:
    """Return a frame in a dtype of the core, C-contiguous; the same array where it is that already."""
    frame = np.asanyarray(frame)
    if frame.shape != shape:
        raise InputError(f"a frame has shape {frame.shape}; expected {shape}")
    kind = frame.dtype.kind
    if kind not in "uif":
        raise InputError(f"the frame has dtype {frame.dtype}; expected integers or floating point numbers")
    masked = np.ma.getmask(frame)
    frame = np.asarray(frame)
    if frame.dtype.name in NATIVE and not masked.any():
        return np.ascontiguousarray(frame, dtype=frame.dtype.newbyteorder("="))
    wide = frame.astype(np.float64, order="C")
    if kind == "u":
        wide[frame == np.iinfo(frame.dtype).max] = np.nan
    wide[masked] = np.nan
    return wide


def prepare_mask(mask: npt.NDArray[Any], shape: tuple[int, int]) -> Bytes:
    """Return a mask as bytes, 1 where a pixel is left out; raise InputError for another shape or one that masks all."""
    if mask.shape != shape:
        raise InputError(f"the mask has shape {mask.shape}; expected {shape}, that of the frames")
    if mask.dtype.kind not in "buif":
        raise InputError(f"the mask has dtype {mask.dtype}; expected True and False, or numbers that are not 0 or are")
    masked = np.ma.filled(mask != 0, fill_value=True)
    if masked.all():
        raise InputError("the mask leaves out every pixel; expected 0 (False) where a pixel is used")
    return np.ascontiguousarray(masked).view(np.uint8)


def prepare_dark(images: npt.NDArray[Any], shape: tuple[int, int], n_frames: int = 1) -> Dark:
    """Return the dark as float64 counts; a stack is averaged, each pixel over the frames in which it counts.

    A pixel is invalid where it is not finite, negative in an integer dtype, or at the largest value of an unsigned one.
    """
    if images.ndim == 3 and len(images) == 0:
        raise InputError(f"the dark has shape {images.shape}, no frame; expected at least one, or None for no dark")
    check_shape(images.shape, shape, "the dark has")
    if images.dtype.kind not in "uif":
        raise InputError(f"the dark has dtype {images.dtype}; expected integers or floating point numbers")
    if isinstance(images, np.ma.MaskedArray):
        images = np.ma.filled(images.astype(np.float64), np.nan)
    stack = [images] if images.ndim == 2 else images
    total, count = np.zeros(shape), np.zeros(shape, dtype=np.int64)
    for image in stack:
        valid = is_counted(image)
        np.add(total, image, out=total, where=valid)
        count += valid
    invalid = count == 0
    if invalid.all():
        raise InputError("the dark has no valid pixel; expected counts")
    counts = np.divide(total, count, out=np.zeros(shape), where=~invalid)
    return Dark(counts, invalid.view(np.uint8), n_frames if images.ndim == 2 else len(images))


def prepare_flat(image: npt.NDArray[Any], shape: tuple[int, int]) -> tuple[FloatArray, Bytes]:
    """Return what multiplies the counts of each pixel, 1 / flat, and 1 where the flat says nothing, shape `shape` each.

    A pixel is without a flat where that is not finite, 0 or less, or the largest value of an unsigned type; or 1e-15 or
    less, as what divisions leave of 0.

    Warns
    -----
    UserWarning
        The median is far from 1: the flat is in counts.
    """
    if image.shape != shape:
        raise InputError(f"the flat has shape {image.shape}; expected {shape}, that of the frames")
    if image.dtype.kind not in "uif":
        raise InputError(f"the flat has dtype {image.dtype}; expected integers or floating point numbers")
    if isinstance(image, np.ma.MaskedArray):
        image = np.ma.filled(image.astype(np.float64), np.nan)
    valid = is_counted(image) & (image > _LEAST_FLAT)
    if not valid.any():
        raise InputError("the flat has no pixel above 0; expected the response of each pixel, about 1")
    median = float(np.median(image[valid]))
    if not 1.0 / _FAR_FROM_1 <= median <= _FAR_FROM_1:
        warn_caller(
            f"the median of the flat is {median:g}, and the intensities are divided by it; for a flat relative to the "
            f"mean pixel pass flat / {image[valid].mean(dtype=np.float64):g}, with 0 for pixels that do not work"
        )
    scale = np.divide(1.0, image, out=np.ones(shape), where=valid, dtype=np.float64)
    return scale, (~valid).view(np.uint8)
