"""The first guess from the image alone: beam centre, ring radii, distance.

Rings are ridges of the image; the normals of all ridges meet where the beam does. Around that centre the azimuthal mean
shows rings as peaks, and the distance is the one whose predicted rings explain the peaks best, judged by a likelihood
ratio against chance coincidence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from midas.calibration.prepare import BoolImage, FloatImage, PreparedImage, local_median
from midas.crystal import Rings
from midas.errors import FitError
from midas.geometry import FloatArray

_TARGET_EDGE = 640  # the search works on an image binned to about this many pixels
_SIGNIFICANT = 3.0  # standard deviations above background at which a binned pixel may belong to a ring
_MOST_VOTERS = 6000
_MOST_POINTS = 60_000
_MIN_RING_PIXELS = 150
_MATCH_TOLERANCES = (0.02, 0.008)  # of the radius: first for finding the distance, then for judging it
_PEAKS_EXPLAINED = 0.9  # share of the peaks that a right hypothesis is expected to match
_RINGS_FOUND = 0.7  # share of the strong rings expected to show as peaks: tilt and texture smear some
_STRONG = 0.1  # brightness over the brightest at which a ring is expected to show
_RESOLUTION = 4.0  # cells within which two rings show as one peak


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


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """A distance and how well its rings explain the peaks that were seen."""

    distance: float
    """[µm]."""
    score: float
    """Log-likelihood ratio against chance coincidence; above 0 the rings are better than chance."""
    n_matched: int
    """Peaks that lie on a predicted ring."""
    found: float
    """Share of the predicted strong rings with a peak."""


@dataclass(frozen=True, eq=False)
class Seed:
    """What the image alone says of the geometry before any ring is fitted."""

    beam_center: tuple[float, float]
    """(y, z) [px]."""
    distance: float
    """[µm]."""
    radii: FloatArray
    """Radii of the peaks of the azimuthal mean, shape (n,) [px]."""
    best: Hypothesis
    """The hypothesis chosen."""
    runner_up: Hypothesis | None
    """The best one at another distance, None where there is none."""


def ring_signal(prepared: PreparedImage) -> RingSignal:
    """Return the image binned to about 640 px, over its local median in units of the local noise."""
    binning = max(1, round(max(prepared.counts.shape) / _TARGET_EDGE))
    counts, mask = _binned(prepared, binning)
    background = local_median(counts, mask, max(counts.shape) // 25)
    excess = counts - background
    usable = ~mask
    # Noise grows as the square root of the counts whatever the gain: its factor is measured, not assumed.
    root = np.sqrt(np.maximum(background, 1e-3 * float(np.mean(counts[usable]))) + 1e-6)
    factor = 1.4826 * float(np.median(np.abs(excess[usable]) / root[usable]))
    noise = root * max(factor, 1e-6)
    signal = np.where(usable, excess / noise, 0.0).astype(np.float32)
    return RingSignal(signal=signal, mask=mask, counts=counts, background=background, binning=binning)


def _binned(prepared: PreparedImage, binning: int) -> tuple[FloatImage, BoolImage]:
    n_z, n_y = (n // binning for n in prepared.counts.shape)
    cells = (n_z, binning, n_y, binning)
    cut = (slice(n_z * binning), slice(n_y * binning))
    total = prepared.counts[cut].reshape(cells).sum(axis=(1, 3), dtype=np.float32)
    count = (~prepared.mask[cut]).reshape(cells).sum(axis=(1, 3))
    mask = count * 2 < binning * binning
    return np.where(mask, 0.0, total / np.maximum(count, 1)).astype(np.float32), mask


def find_center(rings: RingSignal) -> tuple[float, float]:
    """Return the point (y, z) on the coarse grid about which the ring signal is most nearly circular.

    Raises
    ------
    FitError
        Too few pixels stand out of the background to be rings.
    """
    points, normals, weights = _ridges(rings)
    start = _vote(points, normals, weights, rings.signal.shape)
    rows, columns = np.nonzero(rings.signal > _SIGNIFICANT)
    if len(rows) > _MOST_POINTS:
        chosen = np.random.default_rng(7).choice(len(rows), _MOST_POINTS, replace=False)
        rows, columns = rows[chosen], columns[chosen]
    strength = np.minimum(np.sqrt(rings.signal[rows, columns]), 5.0).astype(np.float64)
    return _sharpen(start, columns.astype(np.float64), rows.astype(np.float64), strength)


def _ridges(rings: RingSignal) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Positions (n, 2), unit normals (n, 2) and weights (n,) of the cells that look like pieces of a ring."""
    from scipy import ndimage

    clipped = np.clip(rings.signal, 0.0, 30.0)
    smooth = ndimage.gaussian_filter(np.sqrt(clipped), 1.0)
    gz, gy = np.gradient(smooth)
    near_gap = ndimage.binary_dilation(rings.mask, iterations=3)
    gz[near_gap] = gy[near_gap] = 0.0
    jyy, jzz, jyz = (ndimage.gaussian_filter(p, 2.0) for p in (gy * gy, gz * gz, gy * gz))
    angle = 0.5 * np.arctan2(2.0 * jyz, jyy - jzz)
    trace = jyy + jzz
    coherence = np.hypot(jyy - jzz, 2.0 * jyz) / np.maximum(trace, 1e-12)
    usable = (rings.signal > _SIGNIFICANT) & (coherence > 0.5) & ~near_gap
    rows, columns = np.nonzero(usable)
    if len(rows) < _MIN_RING_PIXELS:
        raise FitError(
            f"no rings found: only {len(rows)} cells of the image stand out of the background as pieces of lines; "
            "expected a calibrant's powder rings (is it the right image, does it need a dark, is it exposed?)"
        )
    if len(rows) > _MOST_VOTERS:
        chosen = np.random.default_rng(7).choice(len(rows), _MOST_VOTERS, replace=False)
        rows, columns = rows[chosen], columns[chosen]
    normals = np.stack([np.cos(angle[rows, columns]), np.sin(angle[rows, columns])], axis=1)
    points = np.stack([columns, rows], axis=1).astype(np.float64)
    return points, normals.astype(np.float64), coherence[rows, columns].astype(np.float64)


def _vote(points: FloatArray, normals: FloatArray, weights: FloatArray, shape: tuple[int, ...]) -> tuple[float, float]:
    """Where the normals meet: each point votes along its normal, over the panel and one panel width around it."""
    from scipy import ndimage

    cell = 2.0
    n_z, n_y = shape
    low = np.array([-n_y, -n_z], dtype=np.float64)
    n_cells = (int(3 * n_z / cell) + 1, int(3 * n_y / cell) + 1)
    votes = np.zeros(n_cells[0] * n_cells[1])
    reach = 1.5 * math.hypot(n_z, n_y)
    distances = np.arange(-reach, reach, cell)
    distances = distances[np.abs(distances) > 8.0]  # closer in, any curved edge votes for itself
    for chunk in np.array_split(distances, 30):
        at = ((points[:, None, :] + chunk[None, :, None] * normals[:, None, :] - low) / cell).astype(np.int64)
        inside = (at[..., 0] >= 0) & (at[..., 0] < n_cells[1]) & (at[..., 1] >= 0) & (at[..., 1] < n_cells[0])
        # An error of the normal's angle spreads the vote over a width that grows with the distance.
        share = (weights[:, None] / (1.0 + np.abs(chunk) / 100.0)[None, :])[inside]
        votes += np.bincount(at[..., 1][inside] * n_cells[1] + at[..., 0][inside], weights=share, minlength=len(votes))
    smooth = ndimage.gaussian_filter(votes.reshape(n_cells), 1.5)
    z, y = np.unravel_index(int(np.argmax(smooth)), n_cells)
    return float(low[0] + (y + 0.5) * cell), float(low[1] + (z + 0.5) * cell)


def _sharpen(start: tuple[float, float], y: FloatArray, z: FloatArray, weights: FloatArray) -> tuple[float, float]:
    """Move the centre to where the histogram of radii is sharpest, by pattern search with finer and finer steps."""

    def sharpness(center: tuple[float, float], width: float) -> float:
        radius = np.hypot(y - center[0], z - center[1])
        histogram = np.bincount((radius / width).astype(np.int64), weights=weights)
        expected = 1.0 + np.arange(len(histogram))  # a longer circumference collects more pixels by chance
        return float(np.sum(histogram**2 / expected))

    center = start
    for step, width in ((8.0, 4.0), (4.0, 3.0), (2.0, 2.0), (1.0, 1.5), (0.5, 1.0), (0.25, 1.0)):
        best = sharpness(center, width)
        for _ in range(40):
            trials = [
                (center[0] + i * step, center[1] + j * step) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)
            ]
            values = [sharpness(trial, width) for trial in trials]
            if max(values) <= best:
                break
            best = max(values)
            center = trials[int(np.argmax(values))]
    return center


def radii_around(rings: RingSignal, center: tuple[float, float]) -> FloatArray:
    """Return the distance of every cell from a point (y, z) of the coarse grid, shape as `signal`."""
    z, y = np.mgrid[: rings.signal.shape[0], : rings.signal.shape[1]]
    return np.asarray(np.hypot(y - center[0], z - center[1]), dtype=np.float64)


def ring_radii(rings: RingSignal, radius_map: FloatArray) -> tuple[FloatArray, FloatArray, tuple[float, float]]:
    """Return (radii, strengths, covered range) of the peaks of the azimuthal mean, on the coarse grid.

    `radius_map` gives the radius of every cell. A radius is covered where at least 3 % of its circumference lies on
    usable cells.
    """
    from scipy import ndimage, signal

    rows, columns = np.nonzero(~rings.mask & np.isfinite(radius_map))
    radius = radius_map[rows, columns]
    step = 0.5
    index = (radius / step).astype(np.int64)
    count = np.bincount(index)
    value = np.clip(rings.signal[rows, columns], -5.0, 20.0)  # spots and zingers count as little more than arcs
    profile = np.bincount(index, weights=value) / np.maximum(count, 1)
    covered = count > np.maximum(12.0, 0.03 * 2.0 * math.pi * step * step * np.arange(len(count)))
    profile = ndimage.gaussian_filter1d(np.where(covered, profile, 0.0), 1.5)
    baseline = ndimage.percentile_filter(profile, 30, size=61)
    flat = np.where(covered, profile - baseline, 0.0)
    noise = 1.4826 * float(np.median(np.abs(flat[covered]))) if covered.any() else 1.0
    peaks, found = signal.find_peaks(flat, prominence=max(4.0 * noise, 0.08), distance=4)
    if not covered.any():
        return np.empty(0), np.empty(0), (0.0, 0.0)
    inside = np.flatnonzero(covered) * step
    refined = np.array([_parabola(flat, int(k)) for k in peaks]) * step + 0.5 * step
    return refined, np.asarray(found["prominences"], dtype=np.float64), (float(inside[0]), float(inside[-1]))


def _parabola(values: FloatArray, k: int) -> float:
    left, middle, right = values[k - 1], values[k], values[k + 1]
    curvature = left - 2.0 * middle + right
    return k + (0.5 * (left - right) / curvature if curvature < 0.0 else 0.0)


def find_distance(
    radii: FloatArray, strengths: FloatArray, covered: tuple[float, float], rings: Rings, limits: tuple[float, float]
) -> list[Hypothesis]:
    """Return hypotheses of the distance, best first, in the unit of the radii.

    Every (peak, ring) pair among the stronger ones proposes a distance; each is scored by the log-likelihood ratio of
    the peaks matching its rings, and its strong rings matching peaks, against doing so by chance.
    """
    tangent = np.tan(np.radians(rings.two_theta[rings.two_theta < 85.0]))
    intensity = np.nan_to_num(rings.intensity[: len(tangent)], nan=1.0)
    strong_peaks = radii[np.argsort(strengths)[::-1][:15]]
    proposals = (strong_peaks[:, None] / tangent[None, :25]).ravel()
    proposals = proposals[(proposals >= limits[0]) & (proposals <= limits[1])]
    hypotheses = []
    proposals = np.unique(np.round(proposals, 2))
    for proposal in proposals:
        refined = float(proposal)
        for tolerance in _MATCH_TOLERANCES:
            refined = _rescaled(refined, radii, tangent, tolerance)
        hypotheses.append(_judge(refined, radii, strengths, covered, tangent, intensity))
    # The best of many tries is better than chance by chance: it has to beat them all.
    penalty = math.log(max(1, len(proposals)))
    hypotheses = [replace(h, score=h.score - penalty) for h in hypotheses]
    hypotheses.sort(key=lambda h: -h.score)
    return hypotheses


def _nearest(values: FloatArray, targets: FloatArray) -> npt.NDArray[np.int64]:
    """Index of the target nearest to each value; targets ascend."""
    right = (
        np.clip(np.searchsorted(targets, values), 1, len(targets) - 1)
        if len(targets) > 1
        else np.zeros(len(values), int)
    )
    left = np.maximum(right - 1, 0)
    return np.where(np.abs(values - targets[left]) <= np.abs(values - targets[right]), left, right)


def _rescaled(distance: float, radii: FloatArray, tangent: FloatArray, tolerance: float) -> float:
    ratio = radii / (distance * tangent[_nearest(radii, distance * tangent)])
    close = np.abs(ratio - 1.0) < tolerance
    return distance * float(np.median(ratio[close])) if close.any() else distance


def _judge(
    distance: float,
    radii: FloatArray,
    strengths: FloatArray,
    covered: tuple[float, float],
    tangent: FloatArray,
    intensity: FloatArray,
) -> Hypothesis:
    predicted = distance * tangent
    visible = (predicted > covered[0]) & (predicted < covered[1])
    if visible.sum() < 2 or len(radii) < 2:
        return Hypothesis(distance, -math.inf, 0, 0.0)
    shown = predicted[visible]
    # Powder rings fade as their power spreads over the circumference; a ring counts as strong against the others seen.
    brightness = intensity[visible] / tangent[visible]
    strong = shown[_resolved(shown, brightness) & (brightness > _STRONG * brightness.max())]
    span = covered[1] - covered[0]

    def ratio(
        values: FloatArray, targets: FloatArray, weights: FloatArray, expected: float
    ) -> tuple[float, npt.NDArray[np.bool_]]:
        width = np.maximum(_MATCH_TOLERANCES[-1] * values, 1.0)
        matched = np.abs(values - targets[_nearest(values, targets)]) < width
        reach = np.maximum(_MATCH_TOLERANCES[-1] * targets, 1.0)
        chance = min(0.95, float(np.sum(2.0 * reach)) / span)
        gain, loss = math.log(expected / chance), math.log((1.0 - expected) / (1.0 - chance))
        return float(np.sum(weights * np.where(matched, gain, loss))), matched

    # A strong peak says more than a faint one, which may be noise or another phase.
    weights = np.clip(np.sqrt(strengths / np.median(strengths)), 0.3, 2.0)
    by_peaks, matched = ratio(radii, shown, weights, _PEAKS_EXPLAINED)
    by_rings, found = ratio(strong, radii, np.ones(len(strong)), _RINGS_FOUND)
    return Hypothesis(distance, by_peaks + by_rings, int(matched.sum()), float(found.mean()) if len(strong) else 0.0)


def _resolved(radii: FloatArray, brightness: FloatArray) -> npt.NDArray[np.bool_]:
    """Return which rings have no brighter one so near that they show as its shoulder; radii ascend."""
    alone = np.ones(len(radii), dtype=bool)
    gaps = np.diff(radii) < _RESOLUTION
    alone[1:] &= ~(gaps & (brightness[:-1] >= brightness[1:]))
    alone[:-1] &= ~(gaps & (brightness[1:] > brightness[:-1]))
    return alone


def find_seed(
    prepared: PreparedImage,
    rings: Rings,
    pixel_size: float,
    *,
    beam_center: tuple[float, float] | None = None,
    distance: float | None = None,
    signal: RingSignal | None = None,
) -> Seed:
    """Return beam centre and distance found from the image, or checked against it where they are given.

    Raises
    ------
    FitError
        No rings stand out, or no distance explains the rings that do.
    """
    coarse = signal if signal is not None else ring_signal(prepared)
    if beam_center is None:
        center = find_center(coarse)
    else:
        shift = 0.5 * (coarse.binning - 1)
        center = ((beam_center[0] - shift) / coarse.binning, (beam_center[1] - shift) / coarse.binning)
    radii, strengths, covered = ring_radii(coarse, radii_around(coarse, center))
    cell = pixel_size * coarse.binning  # µm
    limits = (2e3 / cell, 3e7 / cell) if distance is None else (0.7 * distance / cell, 1.4 * distance / cell)
    hypotheses = find_distance(radii, strengths, covered, rings, limits)
    if not hypotheses or hypotheses[0].score <= 0.0 or hypotheses[0].n_matched < 2:
        raise FitError(
            f"cannot tell the distance: {len(radii)} rings were found around ({coarse.to_image(center[0]):.0f}, "
            f"{coarse.to_image(center[1]):.0f}) px but no distance puts {rings.name} on them; check "
            "calibrant, wavelength and pixel size, or give a distance and a beam centre"
        )
    best = hypotheses[0]
    other = next((h for h in hypotheses[1:] if abs(h.distance / best.distance - 1.0) > 0.02), None)
    scaled = [
        None if h is None else Hypothesis(h.distance * cell, h.score, h.n_matched, h.found) for h in (best, other)
    ]
    assert scaled[0] is not None
    return Seed(
        beam_center=(coarse.to_image(center[0]), coarse.to_image(center[1])),
        distance=best.distance * cell,
        radii=radii * coarse.binning,
        best=scaled[0],
        runner_up=scaled[1],
    )
