"""The first guess from the image alone: beam centre, distance and tilt.

Rings are ridges of the image. For a set of tilts every ridge point votes for the beam centres that its direction allows;
around the best centres all distances are tried, and the best of those are polished on the ridge points, from the inner
rings outward. Each is judged by how well the calibrant's rings explain where the ridge points are, against chance
(core/ring_search.hpp).
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from midas import _core
from midas.calibration.prepare import PreparedImage
from midas.calibration.ridges import Ridges, find_ridges
from midas.calibration.signal import RingSignal, ring_radii, ring_signal
from midas.crystal import Rings
from midas.errors import FitError
from midas.geometry import FloatArray

__all__ = ["Hypothesis", "RingSignal", "Seed", "find_seed", "ring_radii", "ring_signal"]

logger = logging.getLogger(__name__)

_FEWEST_POINTS = 60
_VOTERS = 1500
_VOTE_CELL = 4.0  # cells
_TILTS = ((10.0, 6), (20.0, 10), (30.0, 12), (40.0, 14))  # deg, and directions tried
_PERSPECTIVES = (0.0, 0.7, 1.6, 3.0)  # longer panel edge over distance
_SAME_CENTER = 6.0  # cells
_CENTERS = 12  # kept from the votes
_SCANNED_POINTS, _JUDGED_POINTS = 700, 2500
_SCAN_STEP = 0.006  # of the distance
_SCAN_SIGMA, _JUDGE_SIGMA = 2.0, 1.2  # cells
_POLISH_SIGMA = (3.0, 1.0)  # cells
_POLISHED = 24
_FAINTEST = (0.1, 0.01, 0.001)  # brightness over the brightest ring's at which half of a ring shows
_SMALLEST_RADIUS = 20.0  # cells: weights do not grow further toward the centre
_EFFECTIVE = 400.0  # independent points that the ridge points count as: neighbours along a ring say the same
_SAME_DISTANCE = 0.02
_DISTANCES = (2e3, 3e7)  # µm
_FARTHEST_RING = 85.0  # deg 2theta


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """A geometry and how well the calibrant's rings explain the image on it."""

    distance: float
    """[µm]."""
    beam_center: tuple[float, float]
    """(y, z) [px]."""
    tilts: tuple[float, float]
    """(tilt_y, tilt_z) [deg]."""
    score: float
    """Log-likelihood ratio of the ridge points' radii against chance; above 0 the rings are better than chance."""
    angular: float
    """The same of their directions."""
    share: float
    """Share of the ridge points that lie on predicted rings."""


@dataclass(frozen=True, eq=False)
class Seed:
    """What the image alone says of the geometry before any ring is fitted."""

    best: Hypothesis
    """The hypothesis chosen."""
    runner_up: Hypothesis | None
    """The best really different one, None where there is none."""
    n_points: int
    """Ridge points of the image."""

    @property
    def beam_center(self) -> tuple[float, float]:
        """(y, z) [px]."""
        return self.best.beam_center

    @property
    def distance(self) -> float:
        """[µm]."""
        return self.best.distance

    @property
    def tilts(self) -> tuple[float, float]:
        """(tilt_y, tilt_z) [deg]."""
        return self.best.tilts


@dataclass(frozen=True, eq=False)
class _Pattern:
    """The calibrant's rings as the core takes them."""

    tangent: FloatArray
    brightness: FloatArray


def find_seed(
    prepared: PreparedImage,
    rings: Rings,
    pixel_size: float,
    *,
    beam_center: tuple[float, float] | None = None,
    distance: float | None = None,
    signal: RingSignal | None = None,
    ridges: Ridges | None = None,
    n_threads: int = 0,
) -> Seed:
    """Return beam centre, distance and tilt found from the image.

    A guess of the beam centre [px] or the distance [µm] is one more hypothesis, which the image may overrule.

    Raises
    ------
    FitError
        No rings stand out, or no geometry puts the calibrant's rings on those that do.
    """
    coarse = signal if signal is not None else ring_signal(prepared)
    found = ridges if ridges is not None else find_ridges(coarse, n_threads=n_threads)
    if len(found) < _FEWEST_POINTS:
        raise FitError(
            f"no rings found: only {len(found)} cells of the image stand out of the background as pieces of lines; "
            "expected a calibrant's powder rings (is it the right image, does it need a dark, is it exposed?)"
        )
    pattern = _pattern(rings)
    cell = pixel_size * coarse.binning  # µm
    candidates = _centers(found, n_threads)
    if beam_center is not None:
        at = [(v - 0.5 * (coarse.binning - 1)) / coarse.binning for v in beam_center]
        candidates = np.vstack([candidates, [math.inf, *at, 0.0, 0.0]])
    starts = _scan(found, candidates, pattern, (_DISTANCES[0] / cell, _DISTANCES[1] / cell), n_threads)
    geometries, scores = _polish(found, starts, pattern, n_threads)
    order = np.argsort(-(scores[:, 0] + scores[:, 1]))
    hypotheses = [_hypothesis(geometries[k], scores[k], coarse, cell) for k in order]
    best = hypotheses[0] if hypotheses else None
    if best is None or best.score <= math.log(1e4):
        raise FitError(
            f"cannot tell the geometry: {len(found)} pieces of lines were found but no distance and beam centre put "
            f"the rings of {rings.calibrant.name} on them; check calibrant, wavelength and pixel size"
        )
    runner_up = next((h for h in hypotheses[1:] if _different(h, best, coarse.binning)), None)
    return Seed(best=best, runner_up=runner_up, n_points=len(found))


def _hypothesis(row: FloatArray, score: FloatArray, coarse: RingSignal, cell: float) -> Hypothesis:
    return Hypothesis(
        distance=float(row[0] * cell),
        beam_center=(float(coarse.to_image(row[1])), float(coarse.to_image(row[2]))),
        tilts=(float(row[3]), float(row[4])),
        score=float(score[0]),
        angular=float(score[1]),
        share=float(score[2]),
    )


def _different(one: Hypothesis, other: Hypothesis, binning: int) -> bool:
    apart = math.dist(one.beam_center, other.beam_center)
    return abs(one.distance / other.distance - 1.0) > _SAME_DISTANCE or apart > 4.0 * _SAME_CENTER * binning


def _pattern(rings: Rings) -> _Pattern:
    near = rings.two_theta < _FARTHEST_RING
    tangent = np.tan(np.radians(rings.two_theta[near]))
    intensity = rings.intensity[near]
    known = np.isfinite(intensity).all()
    # Counts per pixel: a ring's power is spread over its circumference and falls with the Lorentz factor.
    brightness = intensity / tangent**2 if known else np.ones_like(tangent)
    return _Pattern(np.ascontiguousarray(tangent), np.ascontiguousarray(brightness))


def _centers(ridges: Ridges, n_threads: int) -> FloatArray:
    """Return candidates (distance in cells, beam_y, beam_z, tilt_y, tilt_z), shape (n, 5), most votes first."""
    directions = [(0.0, 0.0, 0.0)]
    tilts = [(0.0, 0.0)]
    edge = float(max(ridges.shape))
    for tilt, n in _TILTS:
        for perspective in _PERSPECTIVES:
            # Without perspective opposite directions look the same.
            turns = np.arange(n) * (math.pi if perspective == 0.0 else 2.0 * math.pi) / n
            for phi in turns:
                u_y, u_z = math.sin(math.radians(tilt)) * math.cos(phi), math.sin(math.radians(tilt)) * math.sin(phi)
                directions.append((u_y, u_z, perspective / edge))
                tilt_y = math.asin(u_z)
                tilts.append((math.degrees(tilt_y), math.degrees(math.asin(u_y / math.cos(tilt_y)))))
    chosen = _thinned(ridges.points[:, :], np.ones(len(ridges)), _VOTERS)
    n_z, n_y = ridges.shape
    guesses = np.asarray(directions)
    found = _core.vote_centers(
        chosen,
        guesses,
        low=(-1.0 * n_y, -1.0 * n_z),
        shape=(int(3 * n_z / _VOTE_CELL) + 1, int(3 * n_y / _VOTE_CELL) + 1),
        cell=_VOTE_CELL,
        n_threads=n_threads,
    )
    kept: list[int] = []
    for k in np.argsort(-found[:, 2]):
        same = [
            j
            for j in kept
            if math.dist(found[j, :2], found[k, :2]) < _SAME_CENTER and math.dist(tilts[j], tilts[k]) < 12.0
        ]
        if not same:
            kept.append(int(k))
        if len(kept) == _CENTERS:
            break
    if 0 not in kept:
        kept.append(0)
    with np.errstate(divide="ignore"):
        rows = [[1.0 / guesses[k, 2], *found[k, :2], *tilts[k]] for k in kept]
    return np.asarray(rows)


def _thinned(points: FloatArray, density: FloatArray, n: int) -> FloatArray:
    """Return about n of the points (5, m), each as often as its density asks, as (y, z, normal_y, normal_z, weight)."""
    steps = np.cumsum(density) / np.sum(density)
    picked = np.searchsorted(steps, (np.arange(n) + 0.5) / n)
    index, counts = np.unique(np.minimum(picked, points.shape[1] - 1), return_counts=True)
    out = points[:, index].copy()
    out[4] = counts * (_EFFECTIVE / n)
    return np.ascontiguousarray(out)


def _measured(
    ridges: Ridges, row: FloatArray, n: int, rng_order: npt.NDArray[np.int64]
) -> tuple[FloatArray, FloatArray]:
    """Return points and area in the measure in which every ring around a centre weighs the same, whatever its size."""

    def density(y: FloatArray, z: FloatArray) -> FloatArray:
        return np.asarray(1.0 / np.maximum(np.hypot(y - row[1], z - row[2]), _SMALLEST_RADIUS))

    shuffled = ridges.points[:, rng_order]
    area = ridges.area.copy()
    area[2] *= density(area[0], area[1])
    return _thinned(shuffled, density(shuffled[0], shuffled[1]), n), np.ascontiguousarray(area)


def _scan(
    ridges: Ridges, candidates: FloatArray, pattern: _Pattern, limits: tuple[float, float], n_threads: int
) -> FloatArray:
    """Return the most promising (distance, beam, tilts) over all candidates and distances, best first."""
    rows, totals = [], []
    order = np.random.default_rng(7).permutation(len(ridges))
    for candidate in candidates:
        points, area = _measured(ridges, candidate, _SCANNED_POINTS, order)
        distances = _distances(candidate, points, pattern, limits)
        if len(distances) == 0:
            continue
        trial = np.repeat(candidate[None, :], len(distances), axis=0)
        trial[:, 0] = distances
        score = _core.score_geometries(
            trial, points, area, pattern.tangent, pattern.brightness,
            faintest=_FAINTEST[1], sigma=_SCAN_SIGMA, n_threads=n_threads,
        )  # fmt: skip
        total = score[:, 0] + score[:, 1]
        peak = (total >= np.roll(total, 1)) & (total >= np.roll(total, -1))
        best = np.flatnonzero(peak)
        best = best[np.argsort(-total[best])][:6]
        rows.append(trial[best])
        totals.append(total[best])
    if not rows:
        return np.empty((0, 5))
    all_rows, all_totals = np.vstack(rows), np.concatenate(totals)
    return all_rows[np.argsort(-all_totals)][:_POLISHED]


def _distances(candidate: FloatArray, points: FloatArray, pattern: _Pattern, limits: tuple[float, float]) -> FloatArray:
    """Return the distances to try: at least two rings within the points, no more than the pattern lists."""
    radius = np.hypot(points[0] - candidate[1], points[1] - candidate[2])
    largest = float(np.quantile(radius, 0.98))
    low = max(limits[0], largest / pattern.tangent[-1] * 0.7)
    high = min(limits[1], largest / pattern.tangent[1] * 1.3)
    if high <= low:
        return np.empty(0)
    n = int(math.log(high / low) / _SCAN_STEP) + 1
    return np.asarray(low * np.exp(np.arange(n) * _SCAN_STEP))


def _polish(ridges: Ridges, starts: FloatArray, pattern: _Pattern, n_threads: int) -> tuple[FloatArray, FloatArray]:
    """Return the starts moved to where they explain the points best, and their scores."""
    geometries, scores = [], []
    order = np.random.default_rng(7).permutation(len(ridges))
    for start in starts:
        row = start[None, :].copy()
        for _ in range(2):
            points, area = _measured(ridges, row[0], _JUDGED_POINTS, order)
            row = _core.polish_geometries(
                row, points, area, pattern.tangent, pattern.brightness,
                faintest=_FAINTEST[1], sigma=_POLISH_SIGMA, n_threads=1,
            )  # fmt: skip
        trials = [
            _core.score_geometries(
                row, points, area, pattern.tangent, pattern.brightness,
                faintest=faintest, sigma=_JUDGE_SIGMA, n_threads=1,
            )[0]
            for faintest in _FAINTEST
        ]  # fmt: skip
        geometries.append(row[0])
        scores.append(max(trials, key=lambda s: float(s[0])))
    return np.asarray(geometries).reshape(-1, 5), np.asarray(scores).reshape(-1, 3)
