"""Single frames looked at: what their values are, whether they are bright, empty, saturated."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from midas.inspection.result import FloatImage, FrameLook
from midas.inspection.saturation import find_saturation
from midas.io.image_source import valid_mask

MOST_LOOKED_AT = 8
"""Frames of a stack that are looked at."""

_LOW = 0.1  # %
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
        return FrameLook(index, nan, nan, nan, nan, nan, marked, negative, 0, 0.0, nan, digest)
    maximum = values.max()
    at_maximum = int((values == maximum).sum())
    saturation = find_saturation(frame, valid)
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
        saturated=saturation.share,
        saturation=saturation.value,
        digest=digest,
    )


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
