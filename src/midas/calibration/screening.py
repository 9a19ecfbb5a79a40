"""Where the calibration starts: the seed checked against hints, and which calibrant it is when nobody said."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np

from midas.calibration.options import CalibrationParams
from midas.calibration.prepare import PreparedImage
from midas.calibration.seed import RingSignal, Seed, find_seed, ring_radii
from midas.crystal import Calibrants, Rings, rings
from midas.errors import FitError, InputError
from midas.geometry import Geometry
from midas.units import UM_PER_MM, energy_from_wavelength

logger = logging.getLogger(__name__)

_SEED_TWO_THETA = 80.0  # deg: no ring further out helps to find the distance
_MOST_RINGS = 120  # of the seed's hypotheses
_SAME_DISTANCE = 0.05  # share within which two distances are the same hypothesis
_STRONG_PEAK = 0.3  # of the strongest peak's height: the innermost such one is the "first ring" of people
_NOT_WORSE = 0.8  # score over the best one's at which a hint's hypothesis is believed


@dataclass(frozen=True)
class Candidate:
    """A calibrant that was compared with the image."""

    name: str
    """Of the calibrant."""
    distance: float | None
    """[µm]; None where no distance puts its rings on the image's."""
    score: float | None
    """Log-likelihood ratio of the seed against chance, less the logarithm of the number of calibrants tried."""


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
    seed, notes = _first_ring_checked(prepared, signal, candidates, options, seed)
    logger.info(
        "seed: distance %.2f mm, beam (%.2f, %.2f) px, tilts (%.2f, %.2f) deg, %.0f %% of %d ridge points explained",
        seed.distance / UM_PER_MM,
        *seed.beam_center,
        *seed.tilts,
        100.0 * seed.best.share,
        seed.n_points,
    )
    return Start(calibrant, seed, seed_geometry(seed, options), notes=notes)


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


def _first_ring_checked(
    prepared: PreparedImage, signal: RingSignal, candidates: Rings, options: CalibrationParams, seed: Seed
) -> tuple[Seed, tuple[str, ...]]:
    """Return the seed that the number of the first ring leads to where the image allows it, else the one found."""
    if options.first_ring is None:
        return seed, ()
    if options.first_ring > len(candidates):
        raise InputError(
            f"first_ring (-FirstRingNr) is {options.first_ring}; expected at most {len(candidates)}, the rings of "
            f"{candidates.name} within {_SEED_TWO_THETA:g} deg"
        )
    expected = _first_ring_distance(signal, candidates, options, seed)
    if abs(seed.distance / expected - 1.0) < _SAME_DISTANCE:
        return seed, ()
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
            return replace(hinted, runner_up=seed.best), (f"{said} decided the distance",)
    except FitError:
        pass  # the image does not allow it
    note = f"{said} is overruled: the image says {seed.distance / UM_PER_MM:.1f} mm"
    logger.warning("%s", note)
    return seed, (note,)


def _first_ring_distance(signal: RingSignal, candidates: Rings, options: CalibrationParams, seed: Seed) -> float:
    """Return the distance [µm] at which the innermost strong peak is the ring of the number given."""
    z, y = np.mgrid[: signal.signal.shape[0], : signal.signal.shape[1]]
    radius, _, _ = seed_geometry(seed, options).to_polar(signal.to_image(y), signal.to_image(z))
    radii, strengths, _ = ring_radii(signal, radius / signal.binning)
    first = float(radii[strengths >= _STRONG_PEAK * strengths.max()].min())
    assert options.first_ring is not None
    two_theta = float(candidates.two_theta[options.first_ring - 1])
    return first * signal.binning * options.pixel_size / float(np.tan(np.radians(two_theta)))


def innermost_rings(calibrant: Calibrants, wavelength: float) -> Rings:
    """Return the first rings, enough for every distance: to list all that short wavelengths allow takes seconds.

    Raises
    ------
    InputError
        Fewer than two rings lie within 80 deg.
    """
    limit = 10.0
    while True:
        found = rings(calibrant, wavelength, two_theta_max=limit)
        if len(found) >= _MOST_RINGS or limit >= _SEED_TWO_THETA:
            break
        limit = min(1.6 * limit, _SEED_TWO_THETA)
    if len(found) < 2:
        raise InputError(
            f"wavelength {wavelength:g} Å ({energy_from_wavelength(wavelength):.3g} keV) leaves {found.name} "
            f"{len(found)} rings within {_SEED_TWO_THETA:g} deg, two are needed; midas takes Å: is it an energy in keV?"
        )
    return found.first(_MOST_RINGS)
