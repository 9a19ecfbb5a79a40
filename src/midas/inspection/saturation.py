"""Saturated pixels of a frame: bright areas that hold the type's largest value, or one largest value many times.

Gaps, borders, dead chips and hot pixels may hold these values, too; they have ordinary pixels beside them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]

_GAP = 0.9  # of a row or column without counts: a gap between modules, or a border
_AREA = 3  # px that touch; hot and dead pixels are mostly alone
_BRIGHT_SHARE = 0.7  # of the pixels around an area
_BRIGHT_PERCENTILE = 75.0
_OF_BRIGHTEST = 0.1  # of what one in a thousand pixels exceeds: around what is saturated is more
_FEW = 5  # px; noise gives one largest value to one or two
_LEAST_CLIPPED = 100.0  # counts: below, noise alone gives one largest value to many
_LEAST_BRIGHT = 1000.0  # counts of a largest value that is far above the others, as of saturated spots
_FAR_ABOVE = 5.0  # times the median
_NOTICEABLE = 10  # px of the type's largest value
_NOTICEABLE_CLIPPED = 20  # px of another
_PILE = 3.0  # times as many pixels with the largest value as just below it
_JUST_BELOW = 0.01  # of the largest value


@dataclass(frozen=True)
class Saturation:
    """What is saturated in a frame."""

    share: float = 0.0
    """Of its pixels."""
    value: float = math.nan
    """That they hold [counts]; NaN where none is."""


def find_saturation(frame: npt.NDArray[Any], valid: Mask) -> Saturation:
    """Return how many pixels of a frame, shape (n_z, n_y), are saturated; `valid` is True where it holds counts.

    Examples
    --------
    >>> z, y = np.mgrid[:60, :60]
    >>> spot = (20000 * np.exp(-((z - 30) ** 2 + (y - 30) ** 2) / 200)).astype(np.uint16)
    >>> find_saturation(spot, spot >= 0).share, find_saturation(np.minimum(spot, 9000), spot >= 0).value
    (0.0, 9000.0)
    """
    values = frame[valid]
    if values.size == 0:
        return Saturation()
    found = []
    if frame.dtype.kind == "u" and not valid.all():
        largest = np.iinfo(frame.dtype).max
        n = _bright_pixels(frame, _without_gaps(frame == largest, valid), valid, values)
        if n >= _NOTICEABLE:
            found.append(Saturation(n / frame.size, float(largest)))
    maximum = float(values.max())
    at_maximum = valid & (frame == maximum)
    if np.count_nonzero(at_maximum) >= _FEW and maximum >= _LEAST_CLIPPED:
        n = _bright_pixels(
            frame, _without_gaps(at_maximum, valid & ~at_maximum), valid & ~at_maximum, values[values < maximum]
        )
        if _is_clipped(values, maximum, n):
            found.append(Saturation(n / frame.size, maximum))
    return max(found, key=lambda each: each.share, default=Saturation())


def _is_clipped(values: npt.NDArray[Any], maximum: float, n: int) -> bool:
    """Return whether n pixels with one largest value are more than noise gives."""
    if n >= _FEW and maximum >= _LEAST_BRIGHT and maximum > _FAR_ABOVE * max(float(np.median(values)), 1.0):
        return True
    below = int(np.count_nonzero((values < maximum) & (values >= maximum - max(1.0, _JUST_BELOW * maximum))))
    return n >= _NOTICEABLE_CLIPPED and n >= _PILE * below


def _without_gaps(marked: Mask, valid: Mask) -> Mask:
    """Return marked pixels without those of rows and columns that hold hardly anything else, and around a round sensor.

    A round sensor leaves the corners of the image, or of what is between its borders, without counts.
    """
    from scipy.ndimage import label

    rows, columns = (np.flatnonzero((~valid).mean(axis=axis) <= _GAP) for axis in (1, 0))
    kept = np.zeros_like(marked)
    if rows.size == 0 or columns.size == 0:
        return kept
    inner = np.ix_(rows, columns)
    areas, _ = label(marked[inner])
    corners = np.unique(areas[[0, 0, -1, -1], [0, -1, 0, -1]])
    kept[inner] = marked[inner] & ~np.isin(areas, corners[corners > 0])
    return kept


def _bright_pixels(frame: npt.NDArray[Any], marked: Mask, valid: Mask, values: npt.NDArray[Any]) -> int:
    """Return how many marked pixels are in areas amid bright ones; single ones count where most single ones do."""
    if values.size == 0 or not marked.any():
        return 0
    from scipy.ndimage import label

    areas, n_areas = label(marked)
    percentile, brightest = np.percentile(values, [_BRIGHT_PERCENTILE, 99.9])
    bright = valid & (frame > max(percentile, _OF_BRIGHTEST * brightest))
    around = np.zeros(n_areas + 1)
    lit = np.zeros(n_areas + 1)
    for here, beside in _neighbours():
        pairs = (areas[here] > 0) & valid[beside]
        around += np.bincount(areas[here][pairs], minlength=n_areas + 1)
        lit += np.bincount(areas[here][pairs & bright[beside]], minlength=n_areas + 1)
    size = np.bincount(areas.ravel(), minlength=n_areas + 1)
    size[0] = 0
    amid_bright = (around > 0) & (lit >= _BRIGHT_SHARE * around)
    large = int(size[amid_bright & (size >= _AREA)].sum())
    single = int(size[amid_bright & (size < _AREA)].sum())
    return large + (single if 2 * single > int(size[size < _AREA].sum()) else 0)


def _neighbours() -> tuple[tuple[tuple[slice, slice], tuple[slice, slice]], ...]:
    """Return slices of all pixels that have a neighbour above, below, left, right, and of these neighbours."""
    every, first, last = slice(None), slice(None, -1), slice(1, None)
    pairs = (((last, every), (first, every)), ((every, last), (every, first)))
    return (*pairs, *((b, a) for a, b in pairs))
