"""Which calibrant it is, when nobody said.

The seed of one calibrant gives centre and tilt, which do not depend on the calibrant. Around them every built-in one
proposes a distance; the best few get a seed of their own and are judged by three log-likelihood ratios against chance:
rings that lie where they should, how closely, and how well their intensities agree. Rings of the same lattice type
differ only in scale, which the distance absorbs, and then only intensities or a distance can tell.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from midas.calibration.brightness import ring_brightness
from midas.calibration.loop import run_loop
from midas.calibration.options import CalibrationParams
from midas.calibration.pattern import best_distance, ring_peaks, score_distances, seen_rings
from midas.calibration.prepare import PreparedImage
from midas.calibration.residuals import held_out_rings
from midas.calibration.ridges import find_ridges
from midas.calibration.ring_lists import innermost_rings
from midas.calibration.seed import RingSignal, Seed, find_seed
from midas.crystal import CALIBRANT_NAMES, Calibrant, Rings, calibrant
from midas.errors import FitError, InputError
from midas.geometry import FloatArray, Geometry
from midas.units import UM_PER_MM

logger = logging.getLogger(__name__)

_COMPARED = 3  # candidates that are fitted
_WORTH_FITTING = 0.25  # score of the best distance over the best one's
_TIE = 6.0  # difference of log-likelihoods below which two candidates explain the image equally well
_LOOP = 5  # iterations of the full fit that break a tie
_FAR_BETTER = 3.0  # held-out strain over the best one's at which a tie is broken
_POSITION_BY_CHANCE = 2e-3  # scatter of offsets within the tolerance of a match, share of the radius
_POSITION_FLOOR = 5e-4  # a coarse cell's worth of error, and distortion that no coarse fit knows
_INTENSITY_BY_CHANCE = 0.4  # scatter of ln(observed/predicted) between patterns of related structures
_INTENSITY_FLOOR = 0.1  # grain statistics and texture, even of the best powders
_FAINT = 0.02  # of the strongest ring: below, rings count as equally faint
_SAME_RING = 4e-3  # share of the radius within which a peak is a ring's
_RING_HALF_WIDTH, _RING_CLEAR = 3.0, 7.0  # cells: of what is summed, and to the next ring
_DISTANCE_SPREAD = 0.03  # share by which people's distances are off
_MOST_BY_DISTANCE = 12.0  # log-likelihood that a distance guess can cost a candidate


@dataclass(frozen=True)
class Candidate:
    """A calibrant that was compared with the image."""

    name: str
    """Of the calibrant."""
    score: float | None
    """Log-likelihood ratio of the evidence against chance; None where no distance puts its rings on the image's."""
    distance: float | None = None
    """[µm]."""
    explained: float | None = None
    """Share of the image's rings that are its own, weighted by strength; None where it was not fitted."""
    position_scatter: float | None = None
    """Robust standard deviation of observed/predicted radius about a smooth trend; None where it was not fitted."""
    intensity_scatter: float | None = None
    """Root mean square of ln(observed/predicted) ring intensity about a smooth trend; None where not known."""
    held_out_strain: float | None = None
    """Mean |pseudo-strain| of rings that the full fit left out; None where there was no tie to break."""


@dataclass(frozen=True, eq=False)
class Choice:
    """The calibrant that explains the image best."""

    calibrant: Calibrant
    """The best one."""
    seed: Seed
    """Its seed."""
    candidates: tuple[Candidate, ...]
    """All that were compared, best first."""
    ties: tuple[Candidate, ...]
    """Which others explain the image equally well; empty when it stands alone."""

    @property
    def doubts(self) -> tuple[str, ...]:
        """A reason to doubt for each tie."""
        return tuple(
            f"{tie.name} at {(tie.distance or 0.0) / UM_PER_MM:.1f} mm explains the image as well as "
            f"{self.calibrant.name} at {self.seed.distance / UM_PER_MM:.1f} mm: these cannot be told apart without a "
            "distance; give one, or name the calibrant"
            for tie in self.ties
        )


@dataclass(frozen=True, eq=False)
class _Fitted:
    calibrant: Calibrant
    seed: Seed
    candidate: Candidate


def screen(prepared: PreparedImage, signal: RingSignal, options: CalibrationParams, n_threads: int) -> Choice:
    """Return the built-in calibrant that explains the image best, and the table of all.

    Raises
    ------
    FitError
        No rings stand out, or no calibrant explains those that do.
    """
    ridges = find_ridges(signal, n_threads=n_threads)
    lists = _ring_lists(options.wavelength)

    def seeded(name: str) -> Seed:
        return find_seed(
            prepared,
            lists[name],
            options.pixel_size,
            beam_center=options.beam_center,
            distance=options.distance,
            signal=signal,
            ridges=ridges,
            n_threads=n_threads,
        )

    first, seeds = _first_seed(lists, seeded)
    peaks = ring_peaks(signal, seed_geometry(first, options))
    cell = options.pixel_size * signal.binning  # µm
    proposed = {name: best_distance(peaks, rings) for name, rings in lists.items()}
    proposals = sorted(((score, distance * cell, name) for name, (distance, score) in proposed.items()), reverse=True)
    fitted, best = [], -math.inf
    for score, _, name in proposals[:_COMPARED]:
        if score <= 0.0 or score < _WORTH_FITTING * best:
            break
        try:
            seed = seeds.get(name) or seeded(name)
        except FitError as error:
            logger.info("calibrant %s: %s", name, error)
            continue
        fitted.append(_Fitted(lists[name].calibrant, seed, _judged(signal, seed, lists[name], options)))
        best = max(best, score)
    if not fitted:
        raise FitError(
            f"none of the built-in calibrants ({', '.join(CALIBRANT_NAMES)}) explains the rings of the image; check "
            "wavelength and pixel size, or name the calibrant, by a CIF if need be"
        )
    fitted.sort(key=lambda f: -(f.candidate.score or 0.0))
    tied = [f for f in fitted if (fitted[0].candidate.score or 0.0) - (f.candidate.score or 0.0) < _TIE]
    if len(tied) > 1:
        tied = _by_loop(prepared, tied, lists, options, n_threads)
        fitted = [*tied, *fitted[len(tied) :]]
    ties = [f for f in tied[1:] if _strain_of(f) <= _FAR_BETTER * _strain_of(tied[0])]
    return _chosen(fitted, ties, proposals)


def better_calibrant(
    prepared: PreparedImage,
    signal: RingSignal,
    told: Calibrant,
    seed: Seed,
    options: CalibrationParams,
    n_threads: int,
) -> str | None:
    """Return a sentence on the built-in calibrant that explains the image better than the one told; None without any.

    `seed` is the one that the calibrant told led to.
    """
    try:
        choice = screen(prepared, signal, options, n_threads)
    except FitError:
        return None
    best = choice.candidates[0]
    if choice.calibrant == told:
        return None
    own = next((c for c in choice.candidates if c.name in CALIBRANT_NAMES and calibrant(c.name) == told), None)
    if own is not None and own.explained is not None:
        worse = own not in choice.ties
    else:  # not among those that were fitted
        judged = _judged(signal, seed, innermost_rings(told, options.wavelength), options)
        worse = (best.score or 0.0) - (judged.score or 0.0) >= _TIE
    if not worse:
        return None
    return (
        f"{best.name} at {(best.distance or 0.0) / UM_PER_MM:.1f} mm explains the image better than {told.name}, "
        "by where its rings are and how bright; is it the calibrant? calibrant auto compares"
    )


def _by_loop(
    prepared: PreparedImage, tied: list[_Fitted], lists: dict[str, Rings], options: CalibrationParams, n_threads: int
) -> list[_Fitted]:
    """Return candidates that the coarse image cannot tell apart, by how well the full fit predicts rings it left out.

    Detectors distort by more than such candidates differ, so that all of them stay tied unless one is far better.
    """
    tried = []
    short = replace(options, max_iterations=_LOOP)
    for one in tied:
        try:
            loop = run_loop(
                prepared, seed_geometry(one.seed, options), lists[one.calibrant.name], short, n_threads=n_threads
            )
            strain = held_out_rings(loop.fit, loop.points).test
        except FitError as error:
            logger.info("calibrant %s: %s", one.calibrant.name, error)
            strain = math.nan
        tried.append(replace(one, candidate=replace(one.candidate, held_out_strain=strain)))
    tried.sort(key=_strain_of)
    return tried


def _strain_of(one: _Fitted) -> float:
    strain = one.candidate.held_out_strain
    return math.inf if strain is None or math.isnan(strain) else strain


def seed_geometry(seed: Seed, options: CalibrationParams) -> Geometry:
    """Return the geometry that a seed says."""
    return Geometry(
        distance=seed.distance,
        beam_center=seed.beam_center,
        pixel_size=options.pixel_size,
        wavelength=options.wavelength,
        tilts=(options.tilt_x, *seed.tilts),
        image_transforms=options.image_transforms,
    )


def _ring_lists(wavelength: float) -> dict[str, Rings]:
    """Return the rings of each built-in calibrant that has some at this wavelength."""
    lists = {}
    for name in CALIBRANT_NAMES:
        try:
            lists[name] = innermost_rings(calibrant(name), wavelength)
        except InputError as error:
            logger.info("calibrant %s is left out: %s", name, error)
    if not lists:
        raise InputError(
            f"no built-in calibrant has two rings at a wavelength of {wavelength:g} Å; midas takes Å: is it an energy?"
        )
    return lists


def _first_seed(lists: dict[str, Rings], seeded: Callable[[str], Seed]) -> tuple[Seed, dict[str, Seed]]:
    """Return the seed of the first calibrant that has one; its centre and tilt serve for all."""
    for name in lists:
        try:
            seed = seeded(name)
        except FitError as error:
            logger.info("calibrant %s: %s", name, error)
            last = error
            continue
        return seed, {name: seed}
    raise last


def _judged(signal: RingSignal, seed: Seed, rings: Rings, options: CalibrationParams) -> Candidate:
    """Return a candidate with all the evidence: positions, their scatter, intensities, and the distance guess."""
    geometry = seed_geometry(seed, options)
    peaks = ring_peaks(signal, geometry)
    covered = peaks.covered
    seen = seen_rings(rings)
    predicted = np.asarray(geometry.radius_of(rings.two_theta[seen]) / signal.binning)
    explained, position, n_rings = _positions(peaks.radii, peaks.strengths, predicted)
    shown = (predicted > covered[0] + _RING_CLEAR) & (predicted < covered[1] - _RING_CLEAR)
    brightness = ring_brightness(rings)[seen]
    intensity, n_intensities = _intensities(signal, peaks.radius_map, predicted[shown], brightness[shown])
    cells = np.array([geometry.distance / (geometry.pixel_size * signal.binning)])
    score = float(score_distances(peaks, rings, cells)[0]) - math.log(len(CALIBRANT_NAMES))
    score += n_rings * math.log(_POSITION_BY_CHANCE / max(position, _POSITION_FLOOR))
    if intensity is not None:
        score += n_intensities * math.log(_INTENSITY_BY_CHANCE / max(intensity, _INTENSITY_FLOOR))
    if options.distance is not None:
        off = math.log(geometry.distance / options.distance) / _DISTANCE_SPREAD
        score -= min(0.5 * off**2, _MOST_BY_DISTANCE)
    return Candidate(rings.calibrant.name, score, geometry.distance, explained, position, intensity)


def _positions(observed: FloatArray, strengths: FloatArray, predicted: FloatArray) -> tuple[float, float, int]:
    """Return the share of peaks explained, the scatter of their offsets about a trend, and on how many rings it rests.

    The trend of the relative offsets, linear in the squared radius, stands for radial distortion and for the distance.
    The curvature of tan 2θ looks like it: a pattern of another scale is not told by that.
    """
    if len(observed) == 0:
        return 0.0, _POSITION_BY_CHANCE, 0
    nearest = np.abs(observed[:, None] - predicted[None, :]).argmin(axis=1)
    offset = observed / predicted[nearest] - 1.0
    close = np.abs(offset) * predicted[nearest] < np.maximum(_SAME_RING * predicted[nearest], 1.0)
    weights = np.sqrt(strengths)
    explained = float(weights[close].sum() / weights.sum())
    if not close.any():
        return explained, _POSITION_BY_CHANCE, 0
    at, offset = observed[close] ** 2, offset[close]
    if len(at) > 3:
        offset = _without_trend(at, offset, (weights * observed)[close])
    scatter = 1.4826 * float(np.median(np.abs(offset)))
    return explained, scatter, max(0, len(np.unique(nearest[close])) - 2)


def _without_trend(at: FloatArray, values: FloatArray, weights: FloatArray) -> FloatArray:
    """Return values less their linear trend, which outliers do not pull."""
    kept = np.ones(len(at), dtype=bool)
    for _ in range(4):
        residual = values - np.polynomial.Polynomial.fit(at[kept], values[kept], 1, w=weights[kept])(at)
        kept = np.abs(residual) <= 4.0 * np.median(np.abs(residual))
        if kept.sum() < 4:
            break
    return np.asarray(residual)


def _intensities(
    signal: RingSignal, radius_map: FloatArray, predicted: FloatArray, brightness: FloatArray
) -> tuple[float | None, int]:
    """Return the scatter of ln(observed/predicted) about a trend, and how many rings it rests on beyond the trend.

    The trend, linear in the squared radius, stands for displacements (Debye-Waller), absorption and response, which
    nobody knows. Rings that are not alone are left out.
    """
    if len(predicted) < 4 or not np.isfinite(brightness).all():
        return None, 0
    gaps = np.diff(predicted, prepend=-np.inf, append=np.inf)
    alone = (gaps[:-1] > _RING_CLEAR) & (gaps[1:] > _RING_CLEAR)
    predicted, brightness = predicted[alone], brightness[alone]
    sums = ring_sums(signal, radius_map, predicted)
    known = np.isfinite(sums)
    if known.sum() < 4 or not (sums[known] > 0.0).any():
        return None, 0
    sums, brightness, predicted = sums[known], brightness[known], predicted[known]
    strongest = int(np.argmax(brightness))
    scale = np.array([np.maximum(sums, 0.0).max(), brightness[strongest]])
    ratio = np.log((np.maximum(sums, 0.0) / scale[0] + _FAINT) / (brightness / scale[1] + _FAINT))
    weights = np.sqrt(brightness / scale[1] + _FAINT)
    trend = np.polynomial.Polynomial.fit(predicted**2, ratio, 1, w=weights)
    residual = ratio - trend(predicted**2)
    return float(np.sqrt(np.average(residual**2, weights=weights**2))), len(ratio) - 2


def ring_sums(signal: RingSignal, radius_map: FloatArray, radii: FloatArray) -> FloatArray:
    """Return the counts over the background on each ring, summed over its width and averaged over its arc, shape (n,).

    NaN where less than 5 % of the ring is on the detector. Background is the mean of strips on both sides.
    """
    rows, columns = np.nonzero(~signal.mask & np.isfinite(radius_map))
    radius = radius_map[rows, columns]
    order = np.argsort(radius, kind="stable")
    radius, counts = radius[order], signal.counts[rows, columns][order].astype(np.float64)
    total = np.concatenate([[0.0], np.cumsum(counts)])

    def mean(start: FloatArray, end: FloatArray) -> tuple[FloatArray, npt.NDArray[np.int64]]:
        first, last = np.searchsorted(radius, start), np.searchsorted(radius, end)
        number = (last - first).astype(np.int64)
        return (total[last] - total[first]) / np.maximum(number, 1), number

    half, clear = _RING_HALF_WIDTH, _RING_CLEAR - 1.0
    inside, n_inside = mean(radii - half, radii + half)
    left, n_left = mean(radii - clear, radii - half)
    right, n_right = mean(radii + half, radii + clear)
    enough = (n_inside > 0.05 * 2.0 * math.pi * radii * 2.0 * half) & (n_left > 0) & (n_right > 0)
    return np.where(enough, (inside - 0.5 * (left + right)) * 2.0 * half, np.nan)


def _chosen(fitted: list[_Fitted], ties: list[_Fitted], proposals: list[tuple[float, float, str]]) -> Choice:
    """Return the best candidate, the table of all, and which others are as good."""
    best = fitted[0]
    table = [f.candidate for f in fitted]
    named = {c.name for c in table}
    penalty = math.log(len(CALIBRANT_NAMES))
    table += [
        Candidate(n, score - penalty, distance) for score, distance, n in proposals if n not in named and score > 0.0
    ]
    named = {c.name for c in table}
    table += [Candidate(name, None) for name in CALIBRANT_NAMES if name not in named]
    for c in table[: len(fitted)]:
        logger.info("calibrant %s: score %.1f at %.1f mm", c.name, c.score or 0.0, (c.distance or 0.0) / UM_PER_MM)
    return Choice(best.calibrant, best.seed, tuple(table), tuple(tie.candidate for tie in ties))
