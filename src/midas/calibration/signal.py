"""The rings of an image on a coarser grid, background removed: what the first guess is made from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from midas.calibration.filters import block_sums
from midas.calibration.prepare import BoolImage, FloatImage, PreparedImage, local_median
from midas.geometry import FloatArray
from midas.profiles import find_peaks, running_percentile, smoothed

_TARGET_EDGE = 640  # the search works on an image binned to about this many pixels
_MEASURABLE = 4.0  # counts of background in a cell from which its noise is measured


@dataclass(frozen=True, eq=False)
class RingSignal:
    """The rings of an image, background removed, on a coarser grid."""

    signal: FloatImage
    """Shape (n_z, n_y): standard deviations above the background, 0 where masked."""
    mask: BoolImage
    """Shape (n_z, n_y): True where fewer than half the pixels of a cell are usable."""
    counts: FloatImage
    """Shape (n_z, n_y): mean counts of the usable pixels of each cell."""
    background: FloatImage
    """Shape (n_z, n_y): the local median of `counts`."""
    binning: int
    """Pixels of the image along an edge of a cell."""

    def to_image(self, position: Any) -> Any:
        """Return the image coordinate [px] of a coordinate on the coarse grid."""
        return position * self.binning + 0.5 * (self.binning - 1)


def ring_signal(prepared: PreparedImage, *, threshold: float = 0.0, n_threads: int = 0) -> RingSignal:
    """Return the image binned to about 640 px, over its local median in units of the local noise.

    Pixels less than `threshold` [counts of the image given] above the background count as background; 0 takes all.
    """
    binning = max(1, round(max(prepared.counts.shape) / _TARGET_EDGE))
    counts, mask = _binned(prepared, binning)
    background = local_median(counts, mask, max(counts.shape) // 25, n_threads=n_threads)
    excess = counts - background
    usable = ~mask
    # Noise grows as the square root of the counts whatever the gain: its factor is measured, not assumed, where there
    # is background enough to see it. One count in a cell is never more than one standard deviation.
    single = 1.0 / binning**2
    root = np.sqrt(np.maximum(background, single))
    seen = usable & (background > _MEASURABLE * single)
    factor = 1.4826 * float(np.median(np.abs(excess[seen]) / root[seen])) if seen.any() else 0.0
    noise = root * (factor if factor > 0.1 / binning else 1.0 / binning)
    if threshold > 0.0:
        excess = _excess_above(prepared, background, binning, threshold / prepared.gain)
    signal = np.where(usable, excess / noise, 0.0).astype(np.float32)
    return RingSignal(signal=signal, mask=mask, counts=counts, background=background, binning=binning)


def _excess_above(prepared: PreparedImage, background: FloatImage, binning: int, threshold: float) -> FloatImage:
    """Return the mean excess over the background of each cell, of the pixels that exceed it by the threshold alone."""
    n_z, n_y = background.shape
    cut = (slice(n_z * binning), slice(n_y * binning))
    excess = prepared.counts[cut] - np.repeat(np.repeat(background, binning, axis=0), binning, axis=1)
    excess[(excess < threshold) | prepared.mask[cut]] = 0.0
    return np.asarray(block_sums(excess, binning) / np.maximum(block_sums(~prepared.mask, binning), 1.0))


def _binned(prepared: PreparedImage, binning: int) -> tuple[FloatImage, BoolImage]:
    count = block_sums(~prepared.mask, binning)
    mask = count * 2.0 < binning * binning
    mean = block_sums(prepared.counts, binning) / np.maximum(count, 1.0)
    return np.where(mask, 0.0, mean).astype(np.float32), mask


def ring_radii(rings: RingSignal, radius_map: FloatArray) -> tuple[FloatArray, FloatArray, tuple[float, float]]:
    """Return (radii, strengths, covered range) of the peaks of the azimuthal mean, on the coarse grid.

    `radius_map` gives the radius of every cell. A radius is covered where at least 3 % of its circumference lies on
    usable cells.
    """
    rows, columns = np.nonzero(~rings.mask & np.isfinite(radius_map))
    radius = radius_map[rows, columns]
    step = 0.5
    index = (radius / step).astype(np.int64)
    count = np.bincount(index)
    value = np.clip(rings.signal[rows, columns], -5.0, 20.0)  # spots and zingers count as little more than arcs
    profile = np.bincount(index, weights=value) / np.maximum(count, 1)
    covered = count > np.maximum(12.0, 0.03 * 2.0 * math.pi * step * step * np.arange(len(count)))
    profile = smoothed(np.where(covered, profile, 0.0), 1.5)
    baseline = running_percentile(profile, 30, 61)
    flat = np.where(covered, profile - baseline, 0.0)
    noise = 1.4826 * float(np.median(np.abs(flat[covered]))) if covered.any() else 1.0
    peaks, prominences = find_peaks(flat, prominence=max(4.0 * noise, 0.08), distance=4)
    if not covered.any():
        return np.empty(0), np.empty(0), (0.0, 0.0)
    inside = np.flatnonzero(covered) * step
    refined = np.array([_parabola(flat, int(k)) for k in peaks]) * step + 0.5 * step
    return refined, prominences, (float(inside[0]), float(inside[-1]))


def _parabola(values: FloatArray, k: int) -> float:
    left, middle, right = values[k - 1], values[k], values[k + 1]
    curvature = left - 2.0 * middle + right
    return k + (0.5 * (left - right) / curvature if curvature < 0.0 else 0.0)
