"""Where the calibration starts: the calibrant, and the seed checked against hints."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from midas.calibration.options import CalibrationParams
from midas.calibration.pattern import nearest_distance, ring_peaks
from midas.calibration.prepare import PreparedImage
from midas.calibration.ring_lists import SEED_TWO_THETA, innermost_rings
from midas.calibration.screening import Candidate, screen, seed_geometry
from midas.calibration.seed import CHANCE, RingSignal, Seed, find_seed
from midas.crystal import Calibrants, Rings
from midas.errors import InputError
from midas.geometry import Geometry
from midas.messages import IN_RESULT
from midas.units import UM_PER_MM

logger = logging.getLogger(__name__)

_SAME_DISTANCE = 0.05  # share within which two distances are the same hypothesis
_STRONG_PEAK = 0.3  # of the strongest peak's height: the innermost such one is the "first ring" of people
_NOT_WORSE = 0.8  # score over the best one's at which a hint's hypothesis is believed


@dataclass(frozen=True, eq=False)
class Start:
    """What the fit starts from."""

    calibrant: Calibrants
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
    calibrant: Calibrants
    if options.finds_calibrant:
        choice = screen(prepared, signal, options, n_threads)
        calibrant, seed, compared, doubts = choice.calibrant, choice.seed, choice.candidates, choice.doubts
        candidates = innermost_rings(calibrant, options.wavelength)
    else:
        calibrant = options.resolve_calibrant()
        candidates = innermost_rings(calibrant, options.wavelength)
        seed = find_seed(
            prepared,
            candidates,
            options.pixel_size,
            beam_center=options.beam_center,
            distance=options.distance,
            signal=signal,
            n_threads=n_threads,
        )
    seed, notes = _first_ring_checked(signal, candidates, options, seed)
    logger.info(
        "seed: distance %.2f mm, beam (%.2f, %.2f) px, tilts (%.2f, %.2f) deg, %.0f %% of %d ridge points explained",
        seed.distance / UM_PER_MM,
        *seed.beam_center,
        *seed.tilts,
        100.0 * seed.best.share,
        seed.n_points,
    )
    return Start(calibrant, seed, seed_geometry(seed, options), compared, notes, doubts)


def alternatives(start: Start, options: CalibrationParams) -> Iterator[Start]:
    """Yield starts from the seed's other hypotheses, best first, each without those before it."""
    for k, other in enumerate(start.seed.others):
        if other.score <= CHANCE:
            return
        seed = replace(start.seed, best=other, others=start.seed.others[k + 1 :])
        first = f"{start.seed.distance / UM_PER_MM:.1f} mm"
        note = f"the distance that lines on the image favoured, {first}, is left: it does not explain the image's rings"
        yield replace(start, seed=seed, geometry=seed_geometry(seed, options), notes=(*start.notes, note))


def _first_ring_checked(
    signal: RingSignal, candidates: Rings, options: CalibrationParams, seed: Seed
) -> tuple[Seed, tuple[str, ...]]:
    """Return the seed that the number of the first ring leads to where the image allows it, else the one found."""
    if options.first_ring is None:
        return seed, ()
    if options.first_ring > len(candidates):
        raise InputError(
            f"first_ring (-FirstRingNr) is {options.first_ring}; expected at most {len(candidates)}, the rings of "
            f"{candidates.name} within {SEED_TWO_THETA:g} deg"
        )
    peaks = ring_peaks(signal, seed_geometry(seed, options))
    if len(peaks.radii) == 0:
        return seed, ()
    cell = options.pixel_size * signal.binning  # µm
    first = float(peaks.radii[peaks.strengths >= _STRONG_PEAK * peaks.strengths.max()].min())
    expected = first * cell / math.tan(math.radians(float(candidates.two_theta[options.first_ring - 1])))
    if abs(seed.distance / expected - 1.0) < _SAME_DISTANCE:
        return seed, ()
    said = f"ring {options.first_ring} as the innermost strong ring (a distance of {expected / UM_PER_MM:.0f} mm)"
    distance, score = nearest_distance(peaks, candidates, expected / cell)
    found = nearest_distance(peaks, candidates, seed.distance / cell)[1]
    if score > max(0.0, _NOT_WORSE * found):
        hinted = replace(seed.best, distance=distance * cell)
        return replace(seed, best=hinted, others=(seed.best, *seed.others)), (f"{said} decided the distance",)
    note = f"{said} is overruled: the image says {seed.distance / UM_PER_MM:.1f} mm"
    logger.warning("%s", note, extra={IN_RESULT: True})
    return seed, (note,)
