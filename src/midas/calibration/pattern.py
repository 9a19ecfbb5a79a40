"""Distances at which a calibrant's rings explain the radii seen on an image, from the radii alone.

Cheap enough to ask it of every calibrant, around a centre that is known already. Every (peak, ring) pair among the
stronger ones proposes a distance; each is scored by the log-likelihood ratio of the peaks matching its rings, and its
strong rings matching peaks, against doing so by chance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from midas.calibration.signal import RingSignal, ring_radii
from midas.crystal import Rings
from midas.geometry import FloatArray, Geometry

_TOLERANCES = (0.02, 0.008, 0.004)  # of the radius: for finding the distance, and the last for judging it
_SHARPEST = 0.8  # cells: no peak is better known
_PEAKS_EXPLAINED = 0.95  # share of the peaks that a right distance is expected to match
_RINGS_FOUND = 0.7  # share of the strong rings expected to show as peaks: texture smears some
_STRONG = 0.1  # brightness over the brightest at which a ring is expected to show
_FAINTEST = 0.03  # of the |F|² of rings nearby: fainter ones match by chance more often than they show
_NEARBY = 1.25  # ratio of radii
_RESOLUTION = 4.0  # cells within which two rings show as one peak
_PROPOSING_PEAKS, _PROPOSING_RINGS = 15, 25
_FARTHEST_RING = 85.0  # deg 2theta


@dataclass(frozen=True, eq=False)
class RingPeaks:
    """The peaks of the azimuthal mean of an image, in cells of the coarse grid."""

    radii: FloatArray
    """Shape (n,), ascending."""
    strengths: FloatArray
    """Shape (n,): prominence over the noise."""
    covered: tuple[float, float]
    """Smallest and largest radius that the detector covers."""
    radius_map: FloatArray
    """Shape of the coarse grid: radius of every cell."""


def ring_peaks(signal: RingSignal, geometry: Geometry) -> RingPeaks:
    """Return the peaks of the azimuthal mean about a geometry's beam centre, its tilts taken out."""
    z, y = np.mgrid[: signal.signal.shape[0], : signal.signal.shape[1]]
    radius_map = geometry.to_polar(signal.to_image(y), signal.to_image(z), n_threads=1)[0] / signal.binning
    radii, strengths, covered = ring_radii(signal, radius_map)
    return RingPeaks(radii, strengths, covered, radius_map)


def best_distance(peaks: RingPeaks, rings: Rings) -> tuple[float, float]:
    """Return (distance in cells, score) of the best of all distances; (nan, -inf) where there is nothing to match.

    Examples
    --------
    >>> from midas.crystal import calibrant, rings
    >>> found = rings(calibrant("CeO2"), 0.2, two_theta_max=12.0)
    >>> seen = 1000.0 * np.tan(np.radians(found.two_theta))
    >>> peaks = RingPeaks(seen, np.ones(len(seen)), (20.0, 210.0), np.zeros((1, 1)))
    >>> distance, score = best_distance(peaks, found)
    >>> round(distance), score > 10.0
    (1000, True)
    """
    tangent, _ = _tangents(rings)
    if len(peaks.radii) < 2 or len(tangent) < 2:
        return math.nan, -math.inf
    strong = peaks.radii[np.argsort(peaks.strengths)[::-1][:_PROPOSING_PEAKS]]
    proposals = np.unique(np.round((strong[:, None] / tangent[None, :_PROPOSING_RINGS]).ravel(), 2))
    distances = _refined(peaks, tangent, proposals)
    # The best of many tries is better than chance by chance: it has to beat them all.
    scores = score_distances(peaks, rings, distances) - math.log(len(proposals))
    k = int(np.argmax(scores))
    return float(distances[k]), float(scores[k])


def nearest_distance(peaks: RingPeaks, rings: Rings, distance: float) -> tuple[float, float]:
    """Return (distance in cells, score) of the rings moved onto the peaks from a distance that is roughly right."""
    tangent, _ = _tangents(rings)
    if len(peaks.radii) == 0 or len(tangent) < 2:
        return math.nan, -math.inf
    found = _refined(peaks, tangent, np.array([distance]))
    return float(found[0]), float(score_distances(peaks, rings, found)[0])


def _refined(peaks: RingPeaks, tangent: FloatArray, distances: FloatArray) -> FloatArray:
    """Return the distances moved so that the median peak near a ring lies on it."""
    log_distance, log_tangent, log_radii = np.log(distances), np.log(tangent), np.log(peaks.radii)
    for tolerance in _TOLERANCES:
        offset = _offset(log_radii[None, :] - log_distance[:, None], log_tangent)
        close = np.abs(offset) < tolerance
        some = close.any(axis=1)
        log_distance[some] += np.nanmedian(np.where(close, offset, np.nan)[some], axis=1)
    return np.exp(log_distance)


def score_distances(peaks: RingPeaks, rings: Rings, distances: FloatArray) -> FloatArray:
    """Return the log-likelihood ratio of each distance [cells] against chance, shape (n,); -inf below two rings."""
    tangent, brightness = _tangents(rings)
    predicted = distances[:, None] * tangent[None, :]
    low, high = peaks.covered
    visible = (predicted > low) & (predicted < high)
    enough = visible.sum(axis=1) >= 2
    if len(peaks.radii) < 2 or high <= low:
        return np.full(len(distances), -np.inf)
    span = high - low
    log_radii, log_tangent = np.log(peaks.radii), np.log(tangent)
    # Peaks on rings: a strong peak says more than a faint one, which may be noise or another phase.
    weights = np.clip(np.sqrt(peaks.strengths / np.median(peaks.strengths)), 0.3, 2.0)
    offset = _offset(log_radii[None, :] - np.log(distances)[:, None], log_tangent)
    matched = np.abs(offset) < np.maximum(_TOLERANCES[-1], _SHARPEST / peaks.radii)[None, :]
    reach = np.where(visible, 2.0 * np.maximum(_TOLERANCES[-1] * predicted, _SHARPEST), 0.0).sum(axis=1)
    by_peaks = _ratio(matched, np.broadcast_to(weights, matched.shape), _PEAKS_EXPLAINED, reach / span)
    # Strong rings on peaks.
    strong = _strong_rings(predicted, np.where(visible, brightness[None, :], 0.0))
    offset = _offset(np.log(predicted), log_radii)
    found = np.abs(offset) < np.maximum(_TOLERANCES[-1], _SHARPEST / predicted)
    reach_of_peaks = float(np.sum(2.0 * np.maximum(_TOLERANCES[-1] * peaks.radii, _SHARPEST)))
    chance = np.full(len(distances), reach_of_peaks / span)
    by_rings = _ratio(found, strong.astype(np.float64), _RINGS_FOUND, chance)
    return np.where(enough, by_peaks + by_rings, -np.inf)


def _tangents(rings: Rings) -> tuple[FloatArray, FloatArray]:
    """Return tan 2θ of the rings that a flat detector can show, and their brightness: power over circumference."""
    seen = seen_rings(rings)
    tangent = np.tan(np.radians(rings.two_theta[seen]))
    return tangent, np.nan_to_num(rings.intensity[seen], nan=1.0) / tangent


def seen_rings(rings: Rings) -> npt.NDArray[np.bool_]:
    """Return which rings a flat detector can show and a usual exposure does, shape (n,)."""
    near = rings.two_theta < _FARTHEST_RING
    intensity = np.where(near, np.nan_to_num(rings.intensity, nan=1.0), 0.0)
    first = np.searchsorted(rings.two_theta, rings.two_theta / _NEARBY)
    last = np.searchsorted(rings.two_theta, rings.two_theta * _NEARBY)
    strongest = np.array([intensity[i:j].max(initial=0.0) for i, j in zip(first, last, strict=True)])
    return np.asarray(near & (intensity > _FAINTEST * strongest))


def _offset(values: FloatArray, targets: FloatArray) -> FloatArray:
    """Return values less the target nearest to each; targets ascend."""
    right = np.clip(np.searchsorted(targets, values), 1, max(len(targets) - 1, 1)) if len(targets) > 1 else 0
    left = np.maximum(np.asarray(right) - 1, 0)
    to_left, to_right = values - targets[left], values - targets[right]
    return np.where(np.abs(to_left) <= np.abs(to_right), to_left, to_right)


def _ratio(hit: npt.NDArray[np.bool_], weights: FloatArray, expected: float, chance: FloatArray) -> FloatArray:
    """Return the log-likelihood ratio of hits where a share `expected` is right, against a share by chance."""
    chance = np.minimum(chance, 0.95)
    gain, loss = np.log(expected / chance), np.log((1.0 - expected) / (1.0 - chance))
    return np.asarray(np.sum(weights * np.where(hit, gain[:, None], loss[:, None]), axis=1))


def _strong_rings(predicted: FloatArray, brightness: FloatArray) -> npt.NDArray[np.bool_]:
    """Return which rings must show: bright against the others seen, and no shoulder of a brighter neighbour."""
    alone = np.ones(predicted.shape, dtype=bool)
    near = np.diff(predicted, axis=1) < _RESOLUTION
    alone[:, 1:] &= ~(near & (brightness[:, :-1] >= brightness[:, 1:]))
    alone[:, :-1] &= ~(near & (brightness[:, 1:] > brightness[:, :-1]))
    brightest = brightness.max(axis=1, keepdims=True)
    return np.asarray(alone & (brightness > _STRONG * brightest))
