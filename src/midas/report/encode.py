"""Arrays as text in a page: bytes sorted by significance, deflated (RFC 1951), base64 (RFC 4648).

`assets/arrays.js` is the way back. Bytes of equal significance stand together, since they resemble one another
more than their neighbours in a number do: typical arrays take a third less space.
"""

from __future__ import annotations

import base64
import zlib
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

KINDS = {"u1": np.uint8, "u2": np.uint16, "i2": np.int16, "f4": np.float32, "f8": np.float64}
LEVELS = 1023
"""Levels of a logarithmic array; one more, the highest, stands for no value."""


def deflated(data: bytes) -> str:
    """Return bytes as base64 of their raw deflate stream.

    Examples
    --------
    >>> zlib.decompress(base64.b64decode(deflated(b"abc")), -15)
    b'abc'
    """
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return base64.b64encode(packer.compress(data) + packer.flush()).decode("ascii")


def packed(values: ArrayLike, kind: str, *, delta: bool = False) -> dict[str, Any]:
    """Return an array as plain data; `delta` stores differences, modulo the range of the integers: for smooth curves.

    Examples
    --------
    >>> packed([[1, 2, 3]], "u1")["n"]
    [1, 3]
    """
    array = np.ascontiguousarray(values, dtype=np.dtype(KINDS[kind]).newbyteorder("<"))
    shape = list(array.shape)
    flat = array.ravel()
    if delta:
        flat = np.diff(flat, prepend=flat.dtype.type(0))
    planes = flat.view(np.uint8).reshape(-1, flat.itemsize).T
    found: dict[str, Any] = {"k": kind, "n": shape, "z": deflated(np.ascontiguousarray(planes).tobytes())}
    return {**found, "d": 1} if delta else found


def packed_log(values: NDArray[Any], low: float, high: float) -> dict[str, Any]:
    """Return values in `LEVELS` even steps of their logarithm from `low` to `high`; what lies beyond is put at the end.

    NaN stays NaN. For intensities in pictures: over four decades a step is 0.9 %.

    Examples
    --------
    >>> packed_log(np.array([1.0, np.nan]), 1.0, 10.0)["n"]
    [2]
    """
    known = np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        step = np.log(np.maximum(values, low) / low) * (LEVELS / max(float(np.log(high / low)), 1e-12))
    code = np.where(known, np.clip(np.rint(np.nan_to_num(step)), 0, LEVELS), LEVELS + 1)
    return {**packed(code, "u2"), "log": [float(low), float(high), LEVELS]}


def log_range(values: NDArray[Any]) -> tuple[float, float]:
    """Return the range that `packed_log` keeps: half of what the lowest 1 % of the positive values reach, and the top.

    Examples
    --------
    >>> log_range(np.array([-1.0, 2.0, 8.0, np.nan]))
    (1.03, 8.0)
    """
    above = values[np.isfinite(values) & (values > 0.0)]
    if above.size == 0:
        return 1.0, 10.0
    high = float(above.max())
    low = max(0.5 * float(np.percentile(above, 1.0)), 1e-7 * high)
    return round(low, 12) or low, high


def shown_range(values: NDArray[Any], *, percentiles: tuple[float, float] = (1.0, 99.7)) -> list[float]:
    """Return the range of the colours: nearly all of the values above 0, but no outliers; of all where none is above.

    Examples
    --------
    >>> shown_range(np.arange(1.0, 101.0))
    [1.99, 99.703]
    """
    known = values[np.isfinite(values)]
    above = known[known > 0.0]
    of = above if above.size else known
    if of.size == 0:
        return [0.0, 1.0]
    low, high = (float(v) for v in np.percentile(of, percentiles))
    return [low, high if high > low else low + 1.0]


def joined(values: NDArray[Any], weights: NDArray[Any] | None, factor: int, axis: int) -> NDArray[np.float64]:
    """Return the weighted mean of `factor` neighbours along an axis, NaN where none has a value; a rest is one more.

    Examples
    --------
    >>> joined(np.array([1.0, 3.0, 5.0]), None, 2, 0).tolist()
    [2.0, 5.0]
    """
    if factor == 1:
        return np.asarray(values, dtype=np.float64)
    known = np.isfinite(values)
    weight = known * (1.0 if weights is None else np.broadcast_to(weights, values.shape))
    starts = np.arange(0, values.shape[axis], factor)
    total = np.add.reduceat(np.where(known, values, 0.0) * weight, starts, axis=axis)
    share = np.add.reduceat(weight, starts, axis=axis)
    return np.asarray(total / np.where(share > 0.0, share, np.nan))
