"""Small filters of the calibration on coarse images and profiles.

They are scipy's, bit for bit or to rounding, without importing it: its ndimage and signal cost more start-up time than
the calibration spends in them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from midas import _core

BoolImage = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_TRUNCATE = 4.0  # standard deviations at which a Gaussian ends


def nearest_usable(mask: BoolImage, *, n_threads: int = 0) -> IntArray:
    """Return for each cell the flat index of the nearest one that is not masked, shape as `mask`.

    Examples
    --------
    >>> nearest_usable(np.array([[False, True, True, False]])).tolist()
    [[0, 0, 3, 3]]
    """
    return _core.nearest_usable(np.ascontiguousarray(mask).view(np.uint8), n_threads=n_threads)


def distance_to(index: IntArray) -> FloatArray:
    """Return the distance of each cell to the cell of the flat index given for it, shape as `index`.

    Examples
    --------
    >>> distance_to(np.array([[0, 0], [0, 0]])).round(3).tolist()
    [[0.0, 1.0], [1.0, 1.414]]
    """
    z, y = np.divmod(index, index.shape[1])
    return np.hypot(z - np.arange(index.shape[0])[:, None], y - np.arange(index.shape[1]))


def grown(mask: BoolImage, steps: int) -> BoolImage:
    """Return the mask grown by so many steps along rows and columns.

    Examples
    --------
    >>> grown(np.array([[True, False, False, False]]), 2).tolist()
    [[True, True, True, False]]
    """
    result = mask.copy()
    for _ in range(steps):
        before = result.copy()
        result[1:] |= before[:-1]
        result[:-1] |= before[1:]
        result[:, 1:] |= before[:, :-1]
        result[:, :-1] |= before[:, 1:]
    return result


def block_sums(values: npt.NDArray[Any], edge: int) -> npt.NDArray[np.float32]:
    """Return the sums over squares of `edge` x `edge` cells; cells left over at the far edges are dropped.

    Examples
    --------
    >>> block_sums(np.arange(10).reshape(2, 5), 2).tolist()
    [[12.0, 20.0]]
    """
    n_z, n_y = (n // edge for n in values.shape)
    rows = values[: n_z * edge].reshape(n_z, edge, values.shape[1]).sum(axis=1, dtype=np.float32)
    return np.asarray(sum(rows[:, k : n_y * edge : edge] for k in range(edge)), dtype=np.float32)


def interpolated(values: npt.NDArray[np.float32], shape: tuple[int, int], step: int) -> npt.NDArray[np.float32]:
    """Return values of every `step`-th row and column on all of them, interpolated; beyond the last it is kept.

    Examples
    --------
    >>> interpolated(np.array([[0.0, 4.0]], dtype=np.float32), (2, 4), 2).tolist()
    [[0.0, 2.0, 4.0, 4.0], [0.0, 2.0, 4.0, 4.0]]
    """
    for n in shape:  # rows first, then columns as the rows of the transpose
        position = np.arange(n, dtype=np.float32) / np.float32(step)
        above = np.minimum(position.astype(np.int64), len(values) - 1)
        below = np.minimum(above + 1, len(values) - 1)
        share = (position - above)[:, None]
        values = (values[above] * (1.0 - share) + values[below] * share).T
    return np.ascontiguousarray(values, dtype=np.float32)


def smoothed(profile: FloatArray, sigma: float) -> FloatArray:
    """Return the profile convolved with a Gaussian of `sigma` samples, mirrored at its ends.

    Examples
    --------
    >>> smoothed(np.ones(9), 1.5).round(12).tolist()[0]
    1.0
    """
    reach = int(_TRUNCATE * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return np.convolve(np.pad(profile, reach, mode="symmetric"), weights / weights.sum(), mode="valid")


def running_percentile(profile: FloatArray, percentile: float, size: int) -> FloatArray:
    """Return the percentile of the `size` (odd) samples around each, mirrored at the ends; no interpolation.

    Examples
    --------
    >>> running_percentile(np.array([0.0, 5.0, 1.0, 2.0]), 50, 3).tolist()
    [0.0, 1.0, 2.0, 2.0]
    """
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(profile, size // 2, mode="symmetric"), size)
    rank = int(size * percentile / 100.0)
    return np.asarray(np.partition(windows, rank, axis=1)[:, rank])


def find_peaks(profile: FloatArray, *, prominence: float, distance: int = 1) -> tuple[IntArray, FloatArray]:
    """Return indices and prominences of the local maxima that stand out by at least `prominence`.

    Of maxima fewer than `distance` samples apart the highest is kept. The prominence is the height over the higher of
    the two lowest points between the peak and the next higher sample (or the end) on either side.

    Examples
    --------
    >>> index, prominence = find_peaks(np.array([0.0, 3.0, 1.0, 2.0, 0.0]), prominence=0.5)
    >>> index.tolist(), prominence.tolist()
    ([1, 3], [3.0, 1.0])
    """
    kept = _apart(profile, _maxima(profile), distance)
    heights = np.array([_prominence(profile, k) for k in kept.tolist()])
    chosen = heights >= prominence
    return kept[chosen], heights[chosen]


def _maxima(profile: FloatArray) -> IntArray:
    """Return the indices of local maxima, of flat tops the middle; the ends are none."""
    changes = np.flatnonzero(np.diff(profile))  # the last sample of each run of equal ones
    first, last = np.append(0, changes + 1), np.append(changes, len(profile) - 1)
    level = profile[first]
    top = np.zeros(len(level), dtype=bool)
    top[1:-1] = (level[1:-1] > level[:-2]) & (level[1:-1] > level[2:])
    return np.asarray((first[top] + last[top]) // 2, dtype=np.int64)


def _apart(profile: FloatArray, peaks: IntArray, distance: int) -> IntArray:
    """Return the peaks left when each, the highest first, removes lower ones nearer than `distance`."""
    kept = np.ones(len(peaks), dtype=bool)
    for k in np.argsort(profile[peaks])[::-1]:
        if kept[k]:
            kept &= np.abs(peaks - peaks[k]) >= distance
            kept[k] = True
    return peaks[kept]


def _prominence(profile: FloatArray, k: int) -> float:
    higher = np.flatnonzero(profile > profile[k])
    at = int(np.searchsorted(higher, k))
    left = higher[at - 1] + 1 if at > 0 else 0
    right = higher[at] if at < len(higher) else len(profile)
    return float(profile[k] - max(profile[left : k + 1].min(), profile[k:right].min()))
