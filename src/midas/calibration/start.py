"""Where the calibration starts: the calibrant, the seed checked against hints, and the coarse fit."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np

from midas.calibration.fit import fit_coarse
from midas.calibration.options import CalibrationParams
from midas.calibration.prepare import PreparedImage
from midas.calibration.ring_lists import SEED_TWO_THETA, innermost_rings
from midas.calibration.screening import Candidate, screen
from midas.calibration.seed import RingSignal, Seed, find_seed, radii_around, ring_radii
from midas.crystal import Calibrant, Rings
from midas.errors import FitError, InputError
from midas.geometry import Geometry
from midas.units import UM_PER_MM

logger = logging.getLogger(__name__)

_SAME_DISTANCE = 0.05  # share within which two distances are the same hypothesis
_STRONG_PEAK = 0.3  # of the strongest peak's height: the innermost such one is the "first ring" of people
_NOT_WORSE = 0.8  # score over the best one's at which a hint's hypothesis is believed


@dataclass(frozen=True, eq=False)
class Start:
    """What the fit starts from."""

    calibrant: Calibrant
    """The one named, or the one that explains the image best."""
    seed: Seed
    """The first guess, with its runner-up."""
    geometry: Geometry
    """Fitted to the coarse image."""
    candidates: tuple[Candidate, ...] = ()
    """Calibrants compared, best first; empty when it was named."""
    notes: tuple[str, ...] = ()
    """Hints that the image overruled."""
    doubts: tuple[str, ...] = ()
    """Reasons why the verdict cannot be good."""


def find_start(prepared: PreparedImage, signal: RingSignal, options: CalibrationParams, n_threads: int) -> Start:
    """Return the start of the fit: calibrant, seed and coarse geometry.

    Raises
    ------
    InputError
        The calibrant has no rings at this wavelength.
    FitError
        The image shows no rings, or none that the calibrant explains.
    """
    compared: tuple[Candidate, ...] = ()
    doubts: tuple[str, ...] = ()
    if options.finds_calibrant:
        choice = screen(prepared, signal, options, n_threads)
        calibrant, seed, geometry = choice.calibrant, choice.seed, choice.geometry
        compared, doubts = choice.candidates, choice.doubts
        candidates = innermost_rings(calibrant, options.wavelength)
    else:
        calibrant = options.resolve_calibrant()
        candidates = innermost_rings(calibrant, options.wavelength)
        seed, geometry = _seeded(prepared, signal, candidates, options, n_threads)
    seed, geometry, notes = _first_ring_checked(prepared, signal, candidates, options, seed, geometry, n_threads)
    logger.info(
        "seed: distance %.2f mm, beam (%.2f, %.2f) px, %d of %d peaks explained",
        seed.distance / UM_PER_MM,
        *seed.beam_center,
        seed.best.n_matched,
        len(seed.radii),
    )
    return Start(calibrant, seed, geometry, compared, notes, doubts)


def _seeded(
    prepared: PreparedImage, signal: RingSignal, candidates: Rings, options: CalibrationParams, n_threads: int
) -> tuple[Seed, Geometry]:
    """Return the seed and the coarse geometry; a guess that does not lead to rings is overruled, loudly."""
    guess = {"beam_center": options.beam_center, "distance": options.distance}
    try:
        seed = find_seed(prepared, candidates, options.pixel_size, signal=signal, **guess)  # type: ignore[arg-type]
        geometry = fit_coarse(signal, seed, candidates, options, n_threads)
    except FitError:
        if options.beam_center is None and options.distance is None:
            raise
        logger.warning("%s; searching without it", _guess_in_words(options))
        seed = find_seed(prepared, candidates, options.pixel_size, signal=signal)
        geometry = fit_coarse(signal, seed, candidates, options, n_threads)
    return seed, geometry


def _first_ring_checked(
    prepared: PreparedImage,
    signal: RingSignal,
    candidates: Rings,
    options: CalibrationParams,
    seed: Seed,
    geometry: Geometry,
    n_threads: int,
) -> tuple[Seed, Geometry, tuple[str, ...]]:
    """Return the seed that the number of the first ring leads to where the image allows it, else the one found."""
    if options.first_ring is None:
        return seed, geometry, ()
    if options.first_ring > len(candidates):
        raise InputError(
            f"first_ring (-FirstRingNr) is {options.first_ring}; expected at most {len(candidates)}, the rings of "
            f"{candidates.calibrant.name} within {SEED_TWO_THETA:g} deg"
        )
    expected = _first_ring_distance(signal, candidates, options, seed)
    if abs(seed.distance / expected - 1.0) < _SAME_DISTANCE:
        return seed, geometry, ()
    said = f"ring {options.first_ring} as the innermost strong ring (a distance of {expected / UM_PER_MM:.0f} mm)"
    try:
        hinted = find_seed(
            prepared,
            candidates,
            options.pixel_size,
            beam_center=seed.beam_center,
            distance=expected,
            signal=signal,
        )
        if abs(hinted.distance / expected - 1.0) < _SAME_DISTANCE and hinted.best.score > _NOT_WORSE * seed.best.score:
            geometry = fit_coarse(signal, hinted, candidates, options, n_threads)
            return replace(hinted, runner_up=seed.best), geometry, (f"{said} decided the distance",)
    except FitError:
        pass  # the image does not allow it
    note = f"{said} is overruled: the image says {seed.distance / UM_PER_MM:.1f} mm"
    logger.warning("%s", note)
    return seed, geometry, (note,)


def _first_ring_distance(signal: RingSignal, candidates: Rings, options: CalibrationParams, seed: Seed) -> float:
    """Return the distance [µm] at which the innermost strong peak is the ring of the number given."""
    shift = 0.5 * (signal.binning - 1)
    center = tuple((c - shift) / signal.binning for c in seed.beam_center)
    radii, strengths, _ = ring_radii(signal, radii_around(signal, (center[0], center[1])))
    first = float(radii[strengths >= _STRONG_PEAK * strengths.max()].min())
    assert options.first_ring is not None
    two_theta = float(candidates.two_theta[options.first_ring - 1])
    return first * signal.binning * options.pixel_size / float(np.tan(np.radians(two_theta)))


def _guess_in_words(options: CalibrationParams) -> str:
    words = []
    if options.beam_center is not None:
        words.append("the beam centre guess y {:g}, z {:g} px".format(*options.beam_center))
    if options.distance is not None:
        words.append(f"the distance guess {options.distance / UM_PER_MM:g} mm")
    hint = " (column first: are they swapped?)" if options.beam_center is not None else ""
    return f"the image shows no rings where {' and '.join(words)}{hint} would have them"
