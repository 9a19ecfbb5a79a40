"""Single frames looked at: what their values are, whether they are bright, empty, saturated."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from midas.inspection.result import FloatImage, FrameLook
from midas.io.image_source import valid_mask

MOST_LOOKED_AT = 8
"""Frames of a stack that are looked at."""

_LOW = 0.1  # %
_BRIGHT = 5.0  # times the median: where a detector saturates, the pixels beside are brighter than this
_MANY = 5  # pixels with the same, largest value: noise gives that to one or two
_LEAST_SATURATION = 1000.0  # counts: no detector saturates below
_MARKS = (-1, -2)
_PICTURE = 640  # px of the longer edge


def spread_over(numbers: list[int]) -> list[int]:
    """Return a few of some frame numbers, ends included.

    Examples
    --------
    >>> spread_over(list(range(1000)))
    [0, 143, 285, 428, 571, 714, 856, 999]
    """
    places = np.linspace(0, len(numbers) - 1, min(len(numbers), MOST_LOOKED_AT)).round()
    return [numbers[int(i)] for i in places]


def look_at(frame: npt.NDArray[Any], index: int) -> FrameLook:
    """Return what a frame, shape (n_z, n_y), looks like.

    Examples
    --------
    >>> look = look_at(np.array([[1, 2, 3], [-1, 3, -7]], dtype=np.int32), 0)
    >>> look.median, look.maximum, look.at_maximum, round(look.marked, 3), round(look.negative, 3)
    (2.5, 3.0, 2, 0.333, 0.167)
    """
    valid = valid_mask(frame)
    values = frame[valid]
    digest = hashlib.blake2b(np.ascontiguousarray(frame).tobytes(), digest_size=8).hexdigest()
    negative = 0.0
    if frame.dtype.kind in "if":
        with np.errstate(invalid="ignore"):
            negative = float(((frame < 0) & ~np.isin(frame, _MARKS)).mean())
    marked = float(1.0 - valid.mean())
    if values.size == 0:
        nan = math.nan
        return FrameLook(index, nan, nan, nan, nan, nan, marked, negative, 0, 0.0, digest)
    maximum = values.max()
    at_maximum = int((values == maximum).sum())
    low, median = np.percentile(values, [_LOW, 50.0])
    return FrameLook(
        index=index,
        low=float(low),
        minimum=float(values.min()),
        median=float(median),
        mean=float(values.mean(dtype=np.float64)),
        maximum=float(maximum),
        marked=marked,
        negative=negative,
        at_maximum=at_maximum,
        saturated=_saturated(frame, valid, float(median), float(maximum), at_maximum),
        digest=digest,
    )


def _saturated(
    frame: npt.NDArray[Any], valid: npt.NDArray[np.bool_], median: float, maximum: float, at_maximum: int
) -> float:
    """Return the share of saturated pixels: many with the largest value, or the type's largest amid bright ones."""
    bright = _BRIGHT * max(median, 1.0)
    share = 0.0
    if at_maximum >= _MANY and maximum >= _LEAST_SATURATION and maximum > bright:
        share = at_maximum / frame.size
    if frame.dtype.kind != "u" or valid.all():
        return share
    # Gaps between modules have the same value, but ordinary pixels beside them.
    lit = valid & (frame > max(bright, 0.1 * maximum))
    beside = np.zeros_like(lit)
    beside[1:] |= lit[:-1]
    beside[:-1] |= lit[1:]
    beside[:, 1:] |= lit[:, :-1]
    beside[:, :-1] |= lit[:, 1:]
    n = int((beside & ~valid).sum())
    return share + n / frame.size if n >= _MANY else share


def small_picture(frame: npt.NDArray[Any]) -> FloatImage:
    """Return a picture of a frame with at most 640 pixels an edge: means of blocks, NaN where none holds counts.

    Examples
    --------
    >>> small_picture(np.ones((2000, 10), dtype=np.uint16)).shape
    (500, 3)
    """
    step = max(1, -(-max(frame.shape) // _PICTURE))
    rows, columns = (-(-n // step) for n in frame.shape)
    total = np.zeros((rows, columns))
    count = np.zeros((rows, columns))
    for z in range(step):
        for y in range(step):
            part = frame[z::step, y::step]
            valid = valid_mask(part)
            n, m = part.shape
            np.add(total[:n, :m], part, out=total[:n, :m], where=valid)
            count[:n, :m] += valid
    with np.errstate(invalid="ignore"):
        return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)
