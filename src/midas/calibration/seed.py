"""The first guess from the image alone: beam centre, distance and tilt.

Rings are ridges of the image. For a set of tilts every ridge point votes for the beam centres its direction allows;
around the best centres all distances are tried, and the best of those are polished on the ridge points, from the inner
rings outward. Each is judged by how well the calibrant's rings explain where the ridge points are, against chance
(core/ring_search.hpp).
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import numpy as np

from midas import _core
from midas.calibration.centers import find_centers
from midas.calibration.hints import is_center_off, is_distance_off
from midas.calibration.prepare import PreparedImage
from midas.calibration.ridges import LINE_POINTS_A_SPOT, Ridges, find_ridges
from midas.calibration.signal import RingSignal, ring_signal
from midas.crystal import Rings
from midas.errors import FitError
from midas.geometry import FloatArray, Geometry

__all__ = ["Hypothesis", "RingSignal", "Seed", "find_seed", "ring_signal"]

logger = logging.getLogger(__name__)

_FEWEST_POINTS, _MOST_POINTS = 60, 12_000
_SAME_CENTER = 6.0  # cells
_SCANNED_POINTS, _SIFTED_POINTS, _JUDGED_POINTS = 250, 1000, 2500
_SIFTED = 12  # distances around a centre that are scored on more points
_SCAN_STEP = 0.006  # of the distance
_SCAN_SIGMA, _JUDGE_SIGMA = 2.0, 1.2  # cells
_ALL_RINGS = 1000
_POLISHES = (((3.0, 1.0), 4), ((2.0, 1.0), _ALL_RINGS))  # first and last sigma [cells], and rings to begin with
_OTHER_WAY, _TILTED = (1.0, 1.0, 1.0, -1.0, -1.0), 3.0  # a geometry tilted the other way, tried above so many deg
_FINE_POLISH, _FINE_SIGMA = (2.0, 0.5), 0.6  # cells
_POLISHED, _JUDGED = 12, 5  # starts polished on few points, of these on many
# Brightness over the brightest ring's at which half of a ring shows: what suits the image best is not known before.
_SCAN_FAINTEST, _POLISH_FAINTEST, _FAINTEST = (0.1, 0.01), (0.03,), (0.1, 0.01, 0.001)
_SMALLEST_RADIUS = 20.0  # cells: weights do not grow further toward the centre
_FEWEST_RINGS = 3  # for a distance that is beyond doubt
_ON_RING = 1.5  # cells from a ring within which a point is on it
_FEWEST_ON_RING, _SHARE_ON_RING = 10, 0.01  # points, and share of all, that make a ring seen
CHANCE = 25.0
"""Score that the best of all hypotheses may have by chance: a few hundred points, some 1e5 geometries."""
_SAME_DISTANCE = 0.02
_CLEAR, _CLEAR_SHARE = 15.0, 0.05  # by how much the best score has to lead, and by which share of itself
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

    @property
    def total(self) -> float:
        """Both log-likelihood ratios together: what hypotheses are ranked by."""
        return self.score + self.angular


@dataclass(frozen=True, eq=False)
class Seed:
    """What the image alone says of the geometry before any ring is fitted."""

    best: Hypothesis
    """The hypothesis chosen."""
    others: tuple[Hypothesis, ...]
    """Really different ones, best first."""
    n_points: int
    """Ridge points of the image."""
    n_rings: int
    """Rings of the calibrant that have ridge points."""

    @property
    def runner_up(self) -> Hypothesis | None:
        """The best of the others, None where there is none."""
        return self.others[0] if self.others else None

    @property
    def ambiguous(self) -> bool:
        """Whether the runner-up explains the image nearly as well as the best, or there are too few rings to tell."""
        if self.runner_up is None:
            return False
        return self.n_rings < _FEWEST_RINGS or not _clear(self.best, self.runner_up)

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
    coarse = signal if signal is not None else ring_signal(prepared, n_threads=n_threads)
    found = ridges if ridges is not None else find_ridges(coarse, n_threads=n_threads)
    if len(found) < _FEWEST_POINTS:
        raise FitError(
            f"no rings found: only {len(found)} cells of the image stand out of the background as pieces of lines; "
            "expected a calibrant's powder rings (is it the right image, does it need a dark, is it exposed?)"
        )
    n_points, found = len(found), found.capped(_MOST_POINTS)
    pattern = _pattern(rings)
    cell = pixel_size * coarse.binning  # µm
    candidates = find_centers(found, n_threads=n_threads)
    if beam_center is not None:
        at = [(v - 0.5 * (coarse.binning - 1)) / coarse.binning for v in beam_center]
        candidates = np.vstack([candidates, [candidates[0, 0], *at, 0.0, 0.0]])
    starts = _scan(found, candidates, pattern, (_DISTANCES[0] / cell, _DISTANCES[1] / cell), n_threads)
    geometries, scores = _polish(found, starts, pattern, n_threads)
    if len(geometries):
        geometries[0], scores[0] = _right_side(found, geometries[0], pattern)
    hypotheses = [_hypothesis(g, s, coarse, cell) for g, s in zip(geometries, scores, strict=True)]
    best = hypotheses[0] if hypotheses else None
    if best is None or best.score <= CHANCE:
        raise FitError(
            f"cannot tell the geometry: {n_points} pieces of lines were found but no distance and beam centre put "
            f"the rings of {rings.name} on them; check calibrant, wavelength and pixel size"
        )
    best = _agreeing(hypotheses, beam_center, distance)
    others = tuple(h for h in hypotheses if _different(h, best, coarse.binning))
    n_rings = _rings_seen(found, best, coarse, pattern, pixel_size)
    return Seed(best=best, others=others, n_points=n_points, n_rings=n_rings)


def _rings_seen(ridges: Ridges, best: Hypothesis, coarse: RingSignal, pattern: _Pattern, pixel_size: float) -> int:
    """Return how many rings of the pattern have ridge points on them."""
    geometry = Geometry(best.distance, best.beam_center, pixel_size, 1.0, tilts=(0.0, *best.tilts))
    radius, _, _ = geometry.to_polar(coarse.to_image(ridges.points[0]), coarse.to_image(ridges.points[1]), n_threads=1)
    expected = geometry.distance / pixel_size * pattern.tangent
    edges = 0.5 * (expected[1:] + expected[:-1])
    nearest = np.searchsorted(edges, radius)
    on = np.abs(radius - expected[nearest]) < _ON_RING * coarse.binning
    counts = np.bincount(nearest[on], minlength=len(expected))
    return int((counts >= max(_FEWEST_ON_RING, _SHARE_ON_RING * len(ridges))).sum())


def _clear(best: Hypothesis, other: Hypothesis) -> bool:
    return best.total - other.total > max(_CLEAR, _CLEAR_SHARE * best.score)


def _agreeing(
    hypotheses: list[Hypothesis], beam_center: tuple[float, float] | None, distance: float | None
) -> Hypothesis:
    """Return the best hypothesis; of those that explain the image as well, the one that agrees with the guesses."""
    best = hypotheses[0]
    equals = [h for h in hypotheses if not _clear(best, h)]
    agreeing = (
        h for h in equals if not (is_distance_off(distance, h.distance) or is_center_off(beam_center, h.beam_center))
    )
    return next(agreeing, best)


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


def _measured(ridges: Ridges, row: FloatArray, n: int) -> tuple[FloatArray, FloatArray]:
    """Return points and area in the measure in which every ring around a centre weighs the same, whatever its size."""

    def density(y: FloatArray, z: FloatArray) -> FloatArray:
        return np.asarray(1.0 / np.maximum(np.hypot(y - row[1], z - row[2]), _SMALLEST_RADIUS))

    area = ridges.area.copy()
    area[2] *= density(area[0], area[1])
    wanted = density(ridges.points[0], ridges.points[1])
    wanted[ridges.spots] *= LINE_POINTS_A_SPOT
    return ridges.thinned(wanted, n), np.ascontiguousarray(area)


def _scan(
    ridges: Ridges, candidates: FloatArray, pattern: _Pattern, limits: tuple[float, float], n_threads: int
) -> FloatArray:
    """Return the most promising (distance, beam, tilts) over all candidates and distances, best first."""
    rows, totals = [], []
    for candidate in candidates:
        points, area = _measured(ridges, candidate, _SCANNED_POINTS)
        distances = _distances(candidate, points, pattern, limits)
        if len(distances) == 0:
            continue
        candidate[0] = distances[0]
        trial = np.repeat(candidate[None, :], len(distances), axis=0)
        trial[:, 0] = distances
        score = _core.score_distances(
            candidate[None, :], distances, points, area, pattern.tangent, pattern.brightness,
            faintest=_SCAN_FAINTEST, sigma=_SCAN_SIGMA, n_threads=n_threads,
        )  # fmt: skip
        total = score[:, 0] + score[:, 1]
        peaks = np.flatnonzero((total >= np.roll(total, 1)) & (total >= np.roll(total, -1)))
        best = trial[peaks[np.argsort(-total[peaks])][:_SIFTED]]
        points, area = _measured(ridges, candidate, _SIFTED_POINTS)
        score = _core.score_geometries(
            best, points, area, pattern.tangent, pattern.brightness,
            faintest=_SCAN_FAINTEST, sigma=_SCAN_SIGMA, n_threads=n_threads,
        )  # fmt: skip
        rows.append(best)
        totals.append(score[:, 0] + score[:, 1])
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
    """Return the starts moved to where they explain the points best, best first, and their scores."""
    first = [_polished(ridges, s, pattern, _SIFTED_POINTS) for s in starts]
    ranked = sorted(first, key=lambda found: -float(found[1][0] + found[1][1]))
    chosen = [row for row, _ in _distinct(ranked)]
    chosen += [row * _OTHER_WAY for row in chosen if math.hypot(row[3], row[4]) > _TILTED]
    final = [_polished(ridges, row, pattern, _JUDGED_POINTS) for row in chosen]
    final.sort(key=lambda found: -float(found[1][0] + found[1][1]))
    rows, scores = [row for row, _ in final], [score for _, score in final]
    return np.asarray(rows).reshape(-1, 5), np.asarray(scores).reshape(-1, 3)


def _right_side(ridges: Ridges, row: FloatArray, pattern: _Pattern) -> tuple[FloatArray, FloatArray]:
    """Return the geometry, or the one tilted the other way where that fits better, polished once more, and its score.

    Far from the sample the two differ by perspective alone, which the votes do not see.
    """
    points, area = _measured(ridges, row, _JUDGED_POINTS)
    rings = (pattern.tangent, pattern.brightness)
    both = np.vstack([row, row * _OTHER_WAY])
    polished = _core.polish_geometries(
        both, points, area, *rings, faintest=_POLISH_FAINTEST, sigma=_FINE_POLISH, rings_first=_ALL_RINGS, n_threads=1
    )
    trials = np.vstack([row, polished])
    fine, usual = (
        _core.score_geometries(trials, points, area, *rings, faintest=_FAINTEST, sigma=sigma, n_threads=1)
        for sigma in (_FINE_SIGMA, _JUDGE_SIGMA)
    )
    best = int(np.argmax(fine[:, 0] + fine[:, 1]))
    return trials[best], usual[best]


def _distinct(ranked: list[tuple[FloatArray, FloatArray]]) -> list[tuple[FloatArray, FloatArray]]:
    """Return the first few that are not polished to the same place as a better one."""
    kept: list[tuple[FloatArray, FloatArray]] = []
    for row, score in ranked:
        if len(kept) < _JUDGED and not any(
            abs(row[0] / other[0] - 1.0) < 0.5 * _SAME_DISTANCE and math.dist(row[1:3], other[1:3]) < _SAME_CENTER
            for other, _ in kept
        ):
            kept.append((row, score))
    return kept


def _polished(ridges: Ridges, start: FloatArray, pattern: _Pattern, n: int) -> tuple[FloatArray, FloatArray]:
    """Return one start polished on n points, and its score.

    From the inner rings outward a wrong tilt does no harm, but where the inner rings are short arcs or crowded they
    lead astray; so it is also polished on all rings at once. What scores best is returned.
    """
    points, area = _measured(ridges, start, n)
    rings = (pattern.tangent, pattern.brightness)
    trials = [start[None, :]] + [
        _core.polish_geometries(
            start[None, :], points, area, *rings,
            faintest=_POLISH_FAINTEST, sigma=sigma, rings_first=rings_first, n_threads=1,
        )
        for sigma, rings_first in _POLISHES
    ]  # fmt: skip
    rows = np.vstack(trials)
    scores = _core.score_geometries(rows, points, area, *rings, faintest=_FAINTEST, sigma=_JUDGE_SIGMA, n_threads=1)
    best = int(np.argmax(scores[:, 0] + scores[:, 1]))
    return rows[best], scores[best]
