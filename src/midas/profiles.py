"""Small filters of profiles (1-D, evenly sampled), and the peaks in them.

They are scipy's, bit for bit or to rounding, without importing it: its ndimage and signal cost more start-up time than
a calibration or the start of a refinement spends in them. Profiles are finite, and have a sample.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_TRUNCATE = 4.0  # standard deviations at which a Gaussian ends


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


def running_percentile(profile: FloatArray, percentile: float, size: int, *, step: int = 1) -> FloatArray:
    """Return the percentile of the `size` (odd) samples around each, mirrored at the ends; no interpolation.

    With a `step` it is that of every so many samples, and straight lines between.

    Examples
    --------
    >>> running_percentile(np.array([0.0, 5.0, 1.0, 2.0]), 50, 3).tolist()
    [0.0, 1.0, 2.0, 2.0]
    """
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(profile, size // 2, mode="symmetric"), size)
    rank = int(size * percentile / 100.0)
    found = np.asarray(np.partition(windows[::step], rank, axis=1)[:, rank])
    return found if step == 1 else np.interp(np.arange(len(profile)), np.arange(0, len(profile), step), found)


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
    kept = kept[profile[kept] - np.min(profile, initial=np.inf) >= prominence]
    heights = np.array([_prominence(profile, k) for k in kept.tolist()])
    chosen = heights >= prominence
    return kept[chosen], heights[chosen]


def half_width_points(profile: FloatArray, peaks: IntArray, prominences: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return where, left and right of peaks of `find_peaks`, the profile falls by half their prominence [samples].

    Between samples it is taken as straight.

    Examples
    --------
    >>> left, right = half_width_points(np.array([0.0, 0.0, 4.0, 1.0, 0.0]), np.array([2]), np.array([4.0]))
    >>> left.tolist(), right.round(3).tolist()
    ([1.5], [2.667])
    """
    ends = np.empty((2, len(peaks)))
    for n, (k, prominence) in enumerate(zip(peaks.tolist(), prominences.tolist(), strict=True)):
        level = profile[k] - 0.5 * prominence
        low = np.flatnonzero(profile <= level)
        at = int(np.searchsorted(low, k))
        left, right = low[at - 1], low[at]
        ends[0, n] = left + (level - profile[left]) / (profile[left + 1] - profile[left])
        ends[1, n] = right - (level - profile[right]) / (profile[right - 1] - profile[right])
    return ends[0], ends[1]


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
    if distance <= 1:
        return peaks
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
