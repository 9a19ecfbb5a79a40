"""The detector: its shape, its pixels and which of them count."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

import numpy as np
import numpy.typing as npt

from midas.checks import number, whole_number
from midas.errors import InputError
from midas.shown import html_table

MaskArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Detector:
    """A flat area detector as the (transformed) image shows it.

    Raises
    ------
    InputError
        The shape is not two positive numbers, or the mask has another shape.

    Examples
    --------
    >>> Detector(shape=(2048, 2048), pixel_size=200).n_pixels
    4194304
    """

    shape: tuple[int, int]
    """Rows and columns (n_z, n_y)."""
    pixel_size: float
    """Edge of the square pixels [µm]."""
    mask: MaskArray | None = None
    """Shape (n_z, n_y), bool, True where a pixel must not be used; None uses all."""
    saturation: float | None = None
    """Counts at and above which a pixel is not trusted; None where unknown."""

    def __post_init__(self) -> None:
        """Check shape and mask; store the mask as read-only bool."""
        if not isinstance(self.shape, Sequence | np.ndarray) or isinstance(self.shape, str):
            raise InputError(f"detector shape is {self.shape!r}; expected (rows, columns)")
        shape = tuple(whole_number("detector shape", n, "(rows, columns), whole numbers") for n in self.shape)
        number("pixel_size", self.pixel_size, "a number [µm]")
        if len(shape) != 2 or min(shape) < 1:
            raise InputError(f"detector shape is {self.shape!r}; expected (rows, columns), both at least 1")
        object.__setattr__(self, "shape", shape)
        if self.saturation is not None and not (isinstance(self.saturation, Real) and self.saturation > 0.0):
            raise InputError(f"saturation is {self.saturation!r}; expected counts above 0, or None")
        if self.mask is not None:
            mask = np.ascontiguousarray(np.asarray(self.mask) != 0)
            if mask.shape != shape:
                raise InputError(f"the mask has shape {mask.shape}; expected the detector's {shape}")
            mask.setflags(write=False)
            object.__setattr__(self, "mask", mask)

    def farthest_corner(self, beam_center: Sequence[float]) -> float:
        """Return the distance [µm] from a beam centre (y, z) [px] to the farthest corner: the `distortion_radius`.

        Examples
        --------
        >>> Detector(shape=(80, 60), pixel_size=100.0).farthest_corner((29.5, 39.5))
        5000.0
        """
        y = max(abs(beam_center[0] + 0.5), abs(self.shape[1] - 0.5 - beam_center[0]))
        z = max(abs(beam_center[1] + 0.5), abs(self.shape[0] - 0.5 - beam_center[1]))
        return math.hypot(y, z) * self.pixel_size

    @property
    def n_pixels(self) -> int:
        """Rows times columns."""
        return self.shape[0] * self.shape[1]

    def __repr__(self) -> str:
        """Say in one line what makes it; of a mask how much it takes away."""
        mask = "None" if self.mask is None else f"<{100.0 * self.mask.mean():.3g} % masked>"
        pixels = f"shape={self.shape!r}, pixel_size={self.pixel_size!r}"
        return f"Detector({pixels}, mask={mask}, saturation={self.saturation!r})"

    def _repr_html_(self) -> str:
        """Return a table for notebooks."""
        rows = {"pixels": f"{self.shape[0]} rows x {self.shape[1]} columns", "pixel size": f"{self.pixel_size:g} µm"}
        rows["masked"] = "none" if self.mask is None else f"{int(self.mask.sum())} px, {100.0 * self.mask.mean():.3g} %"
        rows["saturation"] = "unknown" if self.saturation is None else f"{self.saturation:g} counts"
        return html_table("Detector", rows)


def transform_image(image: npt.NDArray[np.generic], transforms: Sequence[int]) -> npt.NDArray[np.generic]:
    """Return the image with `ImTransOpt` transforms applied in order, C-contiguous.

    Works on the last two axes, so a stack (n_frames, n_z, n_y) is transformed frame by frame. 0 none, 1 flip columns,
    2 flip rows, 3 transpose (docs/files.md). The same function serves image, dark and mask.

    Examples
    --------
    >>> transform_image(np.array([[1, 2], [3, 4]]), [1]).tolist()
    [[2, 1], [4, 3]]
    """
    for t in transforms:
        if t == 1:
            image = image[..., ::-1]
        elif t == 2:
            image = image[..., ::-1, :]
        elif t == 3:
            image = np.swapaxes(image, -1, -2)
        elif t != 0:
            raise InputError(f"image transform {t} is unknown; expected 0, 1, 2 or 3")
    return np.ascontiguousarray(image)
