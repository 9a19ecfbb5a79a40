"""A powder image with known truth, from structure to counts."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from midas import _core
from midas.checks import thread_count
from midas.crystal import Calibrant, Rings, rings
from midas.crystal import calibrant as find_calibrant
from midas.detector import Detector
from midas.errors import InputError
from midas.geometry import Geometry
from midas.shown import html_table
from midas.simulation.options import FloatArray, SimulationOptions

_N_NOISE_BLOCKS = 32  # fixed, so that the noise does not depend on the number of threads
_ETA_BINS_PER_SPOT = 8
_MOST_PIXELS = 2**28
_TAIL = 0.5  # deg beyond the corner: rings there still reach in
_REFERENCE_MULTIPLICITY = 24.0
_LONGEST_ZINGER = 20  # px


@dataclass(frozen=True, eq=False)
class Simulation:
    """A simulated image and the truth behind it. Arrays are read-only.

    Examples
    --------
    >>> from midas.testing import calibrant_image
    >>> calibrant_image(seed=7)
    Simulation(256 x 256 px float64, 30 rings of CeO2, seed 7)
    """

    image: npt.NDArray[Any]
    """Shape (n_z, n_y), `options.dtype`: what the detector reads [counts]."""
    mask: npt.NDArray[np.bool_]
    """Shape (n_z, n_y), True where the reading is no count: gaps, dead and hot pixels, the detector's mask. The
    beamstop's shadow is not masked: there the expected counts are 0."""
    expected: npt.NDArray[np.float32]
    """Shape (n_z, n_y): mean counts, without noise, gaps and defects."""
    rings: Rings
    """The calibrant's rings, unstrained, over the detector's range."""
    geometry: Geometry
    """Where the detector truly stands."""
    detector: Detector
    """Its shape and pixels."""
    options: SimulationOptions
    """What was asked for."""
    seed: int
    """Of every random number."""

    def __repr__(self) -> str:
        """Say in one line what was simulated."""
        n_z, n_y = self.image.shape
        rings = f"{len(self.rings)} rings of {self.rings.name}"
        return f"Simulation({n_z} x {n_y} px {self.image.dtype}, {rings}, seed {self.seed})"

    def _repr_html_(self) -> str:
        """Return a table for notebooks."""
        rows = {
            "image": f"{self.image.shape[0]} x {self.image.shape[1]} px, {self.image.dtype}",
            "counts": f"{self.image.min():g} to {self.image.max():g}",
            "masked": f"{int(self.mask.sum())} px",
            "rings": repr(self.rings),
            "seed": str(self.seed),
        }
        return html_table("Simulation", rows)


def simulate(
    geometry: Geometry,
    detector: Detector,
    calibrant: Calibrant | str,
    *,
    options: SimulationOptions | None = None,
    seed: int = 0,
    frame: int = 0,
    n_threads: int = 0,
) -> Simulation:
    """Return a simulated powder image: rings, background, shadows, gaps, defects and noise.

    The mean counts per steradian of a ring at Bragg angle θ are proportional to m|F|² / (sin²θ cosθ) · φ(2θ): the share
    of grains in reflecting position (cosθ) times a grain's integrated reflectivity (1/sin2θ), spread over the cone's
    circumference on the unit sphere (sin2θ); Warren, X-ray Diffraction (1969), chapter 4. The profile φ has unit area
    in 2θ. A flat pixel takes cos³(2θ) of it and polarization leaves 1 - f sin²(2θ) sin²(η) (a horizontal field; how a
    tilt changes the solid angle across the detector is left out, as the correction leaves it out). Rings without known
    |F|² count as m|F|² = 1. How pixels are integrated: core/simulate.hpp.

    The same seed and frame give the same bytes for any number of threads.

    Parameters
    ----------
    geometry
        Where the detector stands.
    detector
        Shape and pixel size, and the mask and saturation where it has them.
    calibrant
        By name, or as a structure.
    options
        Widths, background, spots, defects, noise; default None, a clean powder.
    seed
        Of every random number; default 0.
    frame
        Number of the exposure of one sample and detector: spots and noise differ, dead and hot pixels stay; default 0.
    n_threads
        Threads; default 0, all.

    Raises
    ------
    InputError
        The pixel sizes disagree, no ring falls on the detector, or an option is impossible.

    Examples
    --------
    >>> g = Geometry(distance=2e5, beam_center=(64, 64), pixel_size=200, wavelength=0.2)
    >>> s = simulate(g, Detector(shape=(128, 128), pixel_size=200), "CeO2", seed=7)
    >>> s.image.shape, bool(s.image.max() > 500)
    ((128, 128), True)
    """
    options = SimulationOptions() if options is None else options
    calibrant = find_calibrant(calibrant) if isinstance(calibrant, str) else calibrant
    if detector.pixel_size != geometry.pixel_size:
        raise InputError(
            f"the detector's pixels are {detector.pixel_size:g} µm, the geometry's {geometry.pixel_size:g} µm; "
            "make them equal"
        )
    if detector.n_pixels > _MOST_PIXELS:
        raise InputError(f"the detector has {detector.n_pixels:.3g} pixels; expected at most {_MOST_PIXELS:.3g}")
    if seed < 0 or frame < 0:
        raise InputError(f"seed {seed} and frame {frame} were given; expected 0 or more")
    n_threads = thread_count(n_threads)
    defect_seed = np.random.SeedSequence(seed)
    texture_seed, noise_seed, zinger_seed = np.random.SeedSequence([seed, frame + 1]).spawn(3)
    found, expected = _expected(geometry, detector, calibrant, options, texture_seed, n_threads)
    expected[_shadow(geometry, detector, options)] = 0.0
    image = _counts(expected, options.noise, noise_seed, n_threads)
    image, mask = _read_out(image, detector, options, (defect_seed, zinger_seed))
    for array in (image, mask, expected):
        array.setflags(write=False)
    return Simulation(image, mask, expected, found, geometry, detector, options, int(seed))


def _expected(
    geometry: Geometry,
    detector: Detector,
    calibrant: Calibrant,
    options: SimulationOptions,
    texture_seed: np.random.SeedSequence,
    n_threads: int,
) -> tuple[Rings, npt.NDArray[np.float32]]:
    """Return the calibrant's rings on the detector and the mean counts (n_z, n_y) of every pixel."""
    farthest = two_theta_max(geometry, detector)
    limit = min(farthest + _TAIL, 179.0)
    found = rings(calibrant, geometry.wavelength, two_theta_max=limit)
    if not np.any(found.two_theta <= farthest):
        raise InputError(
            f"{calibrant.name} has no ring up to 2theta = {farthest:.3g} deg, where the detector ends; "
            "check distance, pixel size and wavelength"
        )
    listed = [(found, 1.0)] + [
        (rings(phase, geometry.wavelength, two_theta_max=limit), share) for phase, share in options.phases
    ]
    peaks, multiplicity = _peaks(listed, geometry, options)
    peaks[:, 3] *= options.peak_counts / _crest(peaks[peaks[:, 0] <= farthest], geometry)
    texture = _texture(multiplicity, options, texture_seed) if options.spottiness + options.texture > 0.0 else None
    n_z, n_y = detector.shape
    expected = _core.render_powder(
        geometry.projection,
        n_z,
        n_y,
        peaks=peaks,
        texture=texture,
        polarization=options.polarization,
        strain=options.strain_cos2,
        background=options.background,
        falloff=options.falloff,
        falloff_radius=options.falloff_radius or max(n_z, n_y) / 4.0,
        n_threads=n_threads,
    )
    if any(options.background_slope):
        over_y, over_z = (
            np.linspace(0.0, rise, n, dtype=np.float32)
            for rise, n in zip(options.background_slope, (n_y, n_z), strict=True)
        )
        expected += np.maximum(over_y[None, :] + over_z[:, None], -np.float32(options.background))
    return found, expected


def two_theta_max(geometry: Geometry, detector: Detector) -> float:
    """Return the largest 2θ [deg] on a detector: that of its farthest corner, below 90.

    Examples
    --------
    >>> g = Geometry(distance=1e5, beam_center=(0, 0), pixel_size=100, wavelength=0.2)
    >>> round(two_theta_max(g, Detector(shape=(1001, 1), pixel_size=100)), 3)
    45.014
    """
    n_z, n_y = detector.shape
    corners_y = np.array([-0.5, n_y - 0.5, -0.5, n_y - 0.5])
    corners_z = np.array([-0.5, -0.5, n_z - 0.5, n_z - 0.5])
    largest = float(geometry.to_polar(corners_y, corners_z)[1].max())
    return largest if math.isfinite(largest) else 89.9  # NaN: the panel reaches behind the sample


def _peaks(
    listed: list[tuple[Rings, float]], geometry: Geometry, options: SimulationOptions
) -> tuple[FloatArray, FloatArray]:
    """Return (center [deg], fwhm [deg], mixing, area) rows by rising 2θ, and the multiplicity of each."""
    rows, multiplicity = [], []
    for found, share in listed:
        # Bragg's law for the strained lattice: sinθ = λ / (2 d (1 + strain))
        sine = geometry.wavelength / (2.0 * found.d_spacing * (1.0 + options.strain))
        keep = sine < math.sin(math.pi / 4.0)  # a flat detector ends before 2θ = 90 deg
        theta = np.arcsin(sine[keep])
        two_theta = np.degrees(2.0 * theta)
        pixel_angle = np.degrees(np.cos(2.0 * theta) ** 2 * geometry.pixel_size / geometry.distance)  # dR = L d(tan 2θ)
        fwhm, mixing = options.widths_at(two_theta, pixel_angle)
        strength = np.where(np.isnan(found.intensity), 1.0, found.intensity)[keep]
        area = share * strength / (np.sin(theta) ** 2 * np.cos(theta))
        rows.append(np.stack([two_theta, fwhm, mixing, area], axis=1))
        multiplicity.append(found.multiplicity[keep])
    peaks, counts = np.concatenate(rows), np.concatenate(multiplicity).astype(np.float64)
    order = np.argsort(peaks[:, 0], kind="stable")
    return np.ascontiguousarray(peaks[order]), counts[order]


def _crest(peaks: FloatArray, geometry: Geometry) -> float:
    """Return the highest mean of a ring, of unit scale, over a pixel that it crosses squarely; solid angle included."""
    center, fwhm, mixing, area = peaks.T
    cosine = np.cos(np.radians(center))
    half = 0.5 * np.degrees(cosine**2 * geometry.pixel_size / geometry.distance) / fwhm  # half a pixel, in widths
    lorentz = 2.0 * np.arctan(2.0 * half) / math.pi
    gauss = np.array([math.erf(2.0 * math.sqrt(math.log(2.0)) * h) for h in half])
    share = mixing * lorentz + (1.0 - mixing) * gauss
    crest = float(np.max(area * cosine**3 * share / (2.0 * half * fwhm)))
    if not crest > 0.0:
        raise InputError("the rings on the detector have no intensity; widen its range of 2theta")
    return crest


def _texture(
    multiplicity: FloatArray, options: SimulationOptions, seed: np.random.SeedSequence
) -> npt.NDArray[np.float32]:
    """Return factors (n_peaks, n_eta), of mean 1 over many seeds: grains at random η, of exponential strength.

    Smooth texture multiplies them.
    """
    n_eta = 2 ** math.ceil(math.log2(360.0 * _ETA_BINS_PER_SPOT / options.spot_width))
    frequency = np.arange(n_eta // 2 + 1)
    sigma = math.radians(options.spot_width / math.sqrt(8.0 * math.log(2.0)))
    blur = np.exp(-0.5 * (frequency * sigma) ** 2)
    factors = np.empty((len(multiplicity), n_eta), dtype=np.float32)
    for k, (m, child) in enumerate(zip(multiplicity, seed.spawn(len(multiplicity)), strict=True)):
        rng = np.random.default_rng(child)
        mean = options.spots_per_ring * m / _REFERENCE_MULTIPLICITY
        n = rng.poisson(mean)
        spots = (
            np.bincount(rng.integers(n_eta, size=n), weights=rng.exponential(size=n), minlength=n_eta) * n_eta / mean
        )
        smooth = np.maximum(np.fft.irfft(np.fft.rfft(spots) * blur, n_eta), 0.0)
        factors[k] = 1.0 - options.spottiness + options.spottiness * smooth
        if options.texture > 0.0:
            eta = (np.arange(n_eta) + 0.5) / n_eta
            factors[k] *= 1.0 + options.texture * np.cos(2.0 * math.pi * (2.0 * eta - rng.random()))
    return factors


def _shadow(geometry: Geometry, detector: Detector, options: SimulationOptions) -> npt.NDArray[np.bool_] | slice:
    """Return where the beamstop and its arm stand before the detector."""
    if options.beamstop_radius <= 0.0 and options.beamstop_arm is None:
        return slice(0, 0)
    y = np.arange(detector.shape[1])[None, :] - geometry.beam_center[0]
    z = np.arange(detector.shape[0])[:, None] - geometry.beam_center[1]
    shadow: npt.NDArray[np.bool_] = y * y + z * z < options.beamstop_radius**2
    if options.beamstop_arm is not None:
        eta = math.radians(options.beamstop_arm)
        along = y * math.sin(eta) + z * math.cos(eta)
        across = y * math.cos(eta) - z * math.sin(eta)
        shadow |= (along > 0.0) & (np.abs(across) < 0.5 * options.beamstop_arm_width)
    return shadow


def _counts(expected: npt.NDArray[np.float32], noise: bool, seed: np.random.SeedSequence, n_threads: int) -> FloatArray:
    """Return counts (n_z, n_y), float64, drawn around the expected ones; the same for any number of threads."""
    if not noise:
        return expected.astype(np.float64)
    image = np.empty(expected.shape)
    blocks = np.array_split(np.arange(expected.shape[0]), _N_NOISE_BLOCKS)

    def draw(rows: npt.NDArray[np.int64], child: np.random.SeedSequence) -> None:
        if len(rows):
            part = slice(rows[0], rows[-1] + 1)
            image[part] = np.random.Generator(np.random.SFC64(child)).poisson(expected[part].astype(np.float64))

    with ThreadPoolExecutor(n_threads or _core.max_threads()) as pool:
        list(pool.map(draw, blocks, seed.spawn(_N_NOISE_BLOCKS)))
    return image


def _read_out(
    counts: FloatArray,
    detector: Detector,
    options: SimulationOptions,
    seeds: tuple[np.random.SeedSequence, np.random.SeedSequence],
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Return the image as its dtype holds it, with gaps and defects, and the mask of what is no count."""
    dtype = np.dtype(options.dtype)
    rng = np.random.default_rng(seeds[0])
    mask = np.zeros(detector.shape, dtype=bool)
    if options.zingers:
        _add_zingers(counts, mask, options, np.random.default_rng(seeds[1]))
    for fraction, hot in ((options.dead_fraction, False), (options.hot_fraction, True)):
        where = rng.integers(counts.size, size=rng.binomial(counts.size, fraction))
        reading = 10.0 * max(options.peak_counts, 1.0) * 100.0 ** rng.random(len(where)) if hot else 0.0
        counts.flat[where] = reading
        mask.flat[where] = True
    top = float(np.iinfo(dtype).max) if dtype.kind in "iu" else math.inf
    limit = min(v for v in (options.saturation, detector.saturation, top) if v is not None)
    if math.isfinite(limit):
        np.minimum(counts, limit, out=counts)
    if dtype.kind in "iu" and not options.noise:
        np.rint(counts, out=counts)
    if options.threshold > 0.0:
        counts[counts < options.threshold] = 0.0
    gaps = _gaps(detector, options)
    counts[gaps] = top if dtype.kind == "u" else -1.0
    mask |= gaps
    if detector.mask is not None:
        mask |= detector.mask
    return counts.astype(dtype, copy=False), mask


def _add_zingers(
    counts: FloatArray, mask: npt.NDArray[np.bool_], options: SimulationOptions, rng: np.random.Generator
) -> None:
    """Add straight tracks of random length and direction to the counts and mark them in the mask."""
    n = options.zingers
    angle, length = 2.0 * math.pi * rng.random(n), _LONGEST_ZINGER ** rng.random(n)
    step = np.arange(_LONGEST_ZINGER)
    rows = np.rint((rng.random(n) * counts.shape[0])[:, None] + step * np.sin(angle)[:, None]).astype(np.int64)
    columns = np.rint((rng.random(n) * counts.shape[1])[:, None] + step * np.cos(angle)[:, None]).astype(np.int64)
    hit = (step < length[:, None]) & (rows >= 0) & (rows < counts.shape[0])
    hit &= (columns >= 0) & (columns < counts.shape[1])
    deposit = 10.0 * max(options.peak_counts, 1.0) * 100.0 ** rng.random((n, _LONGEST_ZINGER))
    np.add.at(counts, (rows[hit], columns[hit]), np.rint(deposit[hit]))
    mask[rows[hit], columns[hit]] = True


def _gaps(detector: Detector, options: SimulationOptions) -> npt.NDArray[np.bool_]:
    """Return where modules leave gaps, shape (n_z, n_y)."""
    if options.module_shape is None:
        return np.zeros(detector.shape, dtype=bool)
    in_gap = [
        np.arange(n) % (module + gap) >= module
        for n, module, gap in zip(detector.shape, options.module_shape, options.module_gap, strict=True)
    ]
    return np.asarray(in_gap[0][:, None] | in_gap[1][None, :])
