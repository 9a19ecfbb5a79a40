"""Least squares of the geometry on ring points, and what a loop of them records."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from midas import _core
from midas.calibration.options import CalibrationParams
from midas.calibration.panels import moved_panels, panel_name, panel_options
from midas.calibration.points import RingPoints, fit_points, ring_windows
from midas.calibration.prepare import PreparedImage
from midas.calibration.rules import FREE, FitRules
from midas.crystal import Rings
from midas.geometry import FloatArray, Geometry, distortion_coefficients, distortion_parameters

logger = logging.getLogger(__name__)

BoolArray = npt.NDArray[np.bool_]

DISTANCE, BEAM_Y, BEAM_Z, TILT_X, TILT_Y, TILT_Z = range(6)
PLACE = (DISTANCE, BEAM_Y, BEAM_Z)
TILTS = (TILT_Y, TILT_Z)

CAUCHY = 3.0  # scale of the robust loss in standard deviations
OUTLIER = 5.0  # a point further out than this many standard deviations is left out of the final fit
MAX_TILT = 80.0
"""Largest tilt that a fit may reach [deg]."""
MAX_DISTORTION = 0.2
"""Largest distortion coefficient that a fit may reach, in size."""
_MOST_ROUNDS = 8  # of fits, each with the scatter that the one before found
_SAME_SCATTER = 0.01  # relative change at which it is found
_MAX_PARALLAX = 5000.0  # µm
_SETTLED = 3.0  # the loop has nothing more to gain when place and distance move by less than this many esd


@dataclass(frozen=True, eq=False)
class GeometryFit:
    """One least-squares fit of the geometry to ring points."""

    geometry: Geometry
    """The geometry found."""
    parameters: tuple[int, ...]
    """Core indices of the refined parameters, in the order of `covariance`."""
    covariance: FloatArray
    """Shape (n, n), in the units of the parameters (µm, px, deg, 1)."""
    strain: FloatArray
    """Pseudo-strain 1 - R_obs/R_ideal of every point given, shape (n_points,)."""
    used: BoolArray
    """Points that the final fit used, shape (n_points,)."""
    converged: bool
    """Whether the least squares converged."""
    scatter: float
    """Scatter of the strain beyond the profile fits' own uncertainties, with which the points were weighted."""
    rules: FitRules = FREE
    """The constraints and weights it obeyed."""

    @property
    def mean_strain(self) -> float:
        """Mean |strain| over the used points."""
        return float(np.mean(np.abs(self.strain[self.used])))


@dataclass(frozen=True)
class Iteration:
    """One pass of the loop."""

    number: int
    """From 1."""
    mean_strain: float
    """Mean |strain| over the used points."""
    median_strain: float
    """Median |strain| over the used points."""
    n_points: int
    """Points used."""
    distance: float
    """[µm]."""
    beam_center: tuple[float, float]
    """[px]."""
    outlier_rings: tuple[int, ...]
    """Numbers (from 1) of the rings left out so far."""
    tilts: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """[deg]."""
    distortion: Mapping[str, float] = field(default_factory=dict)
    """p-terms, phases in deg."""
    ring_two_theta: tuple[float, ...] = ()
    """Bragg angle of each ring with points [deg]."""
    ring_strain: tuple[float, ...] = ()
    """Mean |strain| of each ring with points."""
    ring_threshold: float = math.nan
    """Mean |strain| beyond which a ring is an outlier."""


@dataclass(frozen=True, eq=False)
class LoopResult:
    """The best iterate of the loop and how it ended."""

    fit: GeometryFit
    """The geometry; its `strain` and `used` are over all `points`."""
    points: RingPoints
    """Every ring position that passed the quality cuts."""
    history: tuple[Iteration, ...]
    """All iterations."""
    outlier_rings: frozenset[int]
    """Indices of the rings left out of the fit."""
    fitted_rings: frozenset[int]
    """Indices of the rings that had a window: on the detector and apart from their neighbours."""
    fwhm: float
    """Median width of the rings [px]."""
    converged: bool
    """Whether the loop ended by itself."""
    reason: str
    """How it ended."""
    distortion: str = ""
    """Which of `DISTORTION_SETS` was refined."""
    distortion_trials: tuple[tuple[str, float], ...] = ()
    """Held-out mean |strain| with each set compared; empty when the set was given."""


def fit_geometry(
    geometry: Geometry, points: RingPoints, free: tuple[int, ...], *, rules: FitRules = FREE
) -> GeometryFit:
    """Return the geometry that puts the points on their Bragg angles.

    Points are weighted by 1/(σ² + s²): σ from the profile fits, s the scatter that the points show beyond it (the
    detector's own distortion, grain statistics), found by iteration. A robust (Cauchy) fit marks points beyond five
    standard deviations; the final fit is plain least squares on the rest, its covariance scaled by the reduced
    chi-square.
    """
    sigma = points.radius_sigma / points.radius
    typical = float(np.median(sigma))
    strain = pseudo_strain(geometry, points)
    # From far away every point would be an outlier to its own sigma, and the loss flat.
    extra = max(typical, 1.4826 * float(np.median(np.abs(strain))))
    for _ in range(_MOST_ROUNDS):
        weight = point_weights(points, extra, rules)
        result = _least_squares(geometry, points, free, weight, CAUCHY, rules)
        geometry, strain = _moved(geometry, result), np.asarray(result["strain"])
        scatter = 1.4826 * float(np.median(np.abs(strain)))
        before, extra = extra, math.sqrt(max(scatter**2 - typical**2, (0.1 * scatter) ** 2))
        if abs(extra - before) <= _SAME_SCATTER * extra:
            break
    used = np.abs(strain) < OUTLIER * np.hypot(sigma, extra)
    if used.sum() <= len(free):
        used[:] = True
    return _final_fit(geometry, points, free, used, extra, rules)


def refit(fit: GeometryFit, points: RingPoints) -> GeometryFit:
    """Return the same parameters fitted to a part of the points that a fit used, weighted as they were there.

    Leaving points out is the only difference, so no point is an outlier anew; and it takes a quarter of the time.
    """
    every = np.ones(len(points), dtype=bool)
    return _final_fit(fit.geometry, points, fit.parameters, every, fit.scatter, fit.rules)


def _final_fit(
    start: Geometry, points: RingPoints, free: tuple[int, ...], used: BoolArray, scatter: float, rules: FitRules
) -> GeometryFit:
    """Return the plain least-squares fit to the points used, with the strain of all."""
    weight = point_weights(points, scatter, rules)
    result = _least_squares(start, points.select(used), free, weight[used], 0.0, rules)
    geometry = _moved(start, result)
    strain = pseudo_strain(geometry, points)
    freedom = max(1, int(used.sum()) - len(free))
    chi2 = float(np.sum((strain[used] * weight[used]) ** 2)) / freedom
    return GeometryFit(
        geometry=geometry,
        parameters=tuple(result["parameters"]),
        covariance=np.asarray(result["covariance"]) * chi2,
        strain=strain,
        used=used,
        converged=bool(result["converged"]),
        scatter=scatter,
        rules=rules,
    )


def point_weights(points: RingPoints, scatter: float, rules: FitRules) -> FloatArray:
    """Return the weight of each point's strain: 1 / its uncertainty, with a scatter beyond its profile fit's."""
    return rules.weights(points, 1.0 / np.hypot(points.radius_sigma / points.radius, scatter))


def radius_design(fit: GeometryFit, points: RingPoints) -> tuple[FloatArray, tuple[int, ...]]:
    """Return how each point's distance R - L tan 2θ from its ring [µm] changes with each parameter, and which they are.

    Shape (n_points, n): the geometry's refined parameters, without those of panels, which are held by their priors.
    """
    g = fit.geometry
    gradient = g.projection.radius_gradient(np.ascontiguousarray(points.y), np.ascontiguousarray(points.z))
    gradient[:, DISTANCE] -= points.tan_two_theta
    parameters = tuple(k for k in fit.parameters if k < gradient.shape[1])
    return gradient[:, list(parameters)], parameters


def pseudo_strain(geometry: Geometry, points: RingPoints) -> FloatArray:
    """Return 1 - R_obs/R_ideal of each point (docs/physics/geometry.md), shape (n,)."""
    return _core.pseudo_strain(geometry.projection, *_columns(points))


def _columns(points: RingPoints) -> tuple[FloatArray, FloatArray, FloatArray]:
    return tuple(np.ascontiguousarray(c) for c in (points.y, points.z, points.tan_two_theta))  # type: ignore[return-value]


def parameter_bounds(geometry: Geometry) -> tuple[FloatArray, FloatArray]:
    """Return the lower and upper bounds of the core's geometry parameters, shape (n,) each, in Python's units."""
    n = _core.N_GEOMETRY_PARAMETERS
    lower, upper = np.full(n, -MAX_DISTORTION), np.full(n, MAX_DISTORTION)
    lower[DISTANCE], upper[DISTANCE] = 0.5 * geometry.distance, 2.0 * geometry.distance
    lower[[BEAM_Y, BEAM_Z]], upper[[BEAM_Y, BEAM_Z]] = -1e5, 1e5
    lower[[TILT_Y, TILT_Z]], upper[[TILT_Y, TILT_Z]] = -MAX_TILT, MAX_TILT
    lower[_core.PARALLAX], upper[_core.PARALLAX] = -_MAX_PARALLAX, _MAX_PARALLAX
    return lower, upper


def _least_squares(
    geometry: Geometry, points: RingPoints, free: tuple[int, ...], weight: FloatArray, robust: float, rules: FitRules
) -> dict[str, Any]:
    lower, upper = rules.narrowed(*parameter_bounds(geometry))
    return _core.fit_geometry(
        geometry.projection,
        *_columns(points),
        np.ascontiguousarray(weight),
        free=[k in free for k in range(_core.N_GEOMETRY_PARAMETERS)],
        lower=lower.tolist(),
        upper=upper.tolist(),
        robust=robust,
        **panel_options(geometry, free),
    )


def _moved(geometry: Geometry, result: dict[str, Any]) -> Geometry:
    return replace(
        geometry,
        distance=result["distance"],
        beam_center=result["beam_center"],
        tilts=result["tilts"],
        distortion=distortion_parameters(np.asarray(result["distortion"])),
        parallax=result["parallax"],
        panels=moved_panels(geometry, result["panel_shifts"]),
    )


def radius_range(geometry: Geometry, mask: BoolArray) -> tuple[float, float]:
    """Return the smallest and largest radius [px] at which the detector has usable pixels."""
    rows, columns = (np.unique(np.append(np.arange(0, n, max(1, n // 128)), n - 1)) for n in mask.shape)
    at_row, at_column = np.nonzero(~mask[np.ix_(rows, columns)])
    radius, _, _ = geometry.to_polar(columns[at_column].astype(float), rows[at_row].astype(float), n_threads=1)
    return float(np.nanmin(radius)), float(np.nanmax(radius))


def measure_points(
    prepared: PreparedImage,
    geometry: Geometry,
    rings: Rings,
    params: CalibrationParams,
    *,
    fwhm: float,
    half_width: float | None = None,
    before: RingPoints | None = None,
    n_threads: int = 0,
) -> tuple[RingPoints, frozenset[int]]:
    """Return the ring positions found where a geometry puts the rings, and the indices of the rings looked for.

    `fwhm` is the rings' width [px]; without `half_width` [px] the windows are as wide as it asks for. `before` are the
    points of an earlier pass, from which the tails of neighbouring rings are known.
    """
    if half_width is None:
        half_width = params.width / params.pixel_size if params.width else float(np.clip(3.0 * fwhm + 1.5, 4.5, 60.0))
    windows = ring_windows(
        geometry,
        rings,
        half_width=half_width,
        fwhm=fwhm,
        radius_range=radius_range(geometry, prepared.mask),
        excluded=frozenset(n - 1 for n in params.rings_to_exclude),
    )
    points = fit_points(
        geometry,
        prepared.counts,
        prepared.mask.astype(np.uint8),
        rings,
        windows,
        eta_step=params.eta_step,
        fwhm=fwhm,
        before=before,
        n_threads=n_threads,
    )
    return points, frozenset(k for w in windows for k in w[3])


def outlier_rings(fit: GeometryFit, points: RingPoints, mult_factor: float) -> frozenset[int]:
    """Return the rings whose mean |strain| exceeds mult_factor times the median over rings."""
    numbers = np.unique(points.ring)
    means = np.array([np.mean(np.abs(fit.strain[points.ring == n])) for n in numbers])
    return frozenset(int(n) for n in numbers[means > mult_factor * np.median(means)])


def iteration_of(number: int, fit: GeometryFit, outliers: frozenset[int], of_rings: Mapping[str, Any]) -> Iteration:
    """Return the record of one pass of the loop, with what `ring_strains` says of the rings; logged."""
    logger.info("iteration %d: mean strain %.1f µε over %d points", number, fit.mean_strain * 1e6, int(fit.used.sum()))
    return Iteration(
        number=number,
        mean_strain=fit.mean_strain,
        median_strain=float(np.median(np.abs(fit.strain[fit.used]))),
        n_points=int(fit.used.sum()),
        distance=fit.geometry.distance,
        beam_center=fit.geometry.beam_center,
        outlier_rings=tuple(sorted(n + 1 for n in outliers)),
        tilts=fit.geometry.tilts,
        distortion=dict(fit.geometry.distortion),
        **of_rings,
    )


def settled(before: Iteration, after: Iteration, fit: GeometryFit) -> bool:
    """Return whether beam centre and distance, where refined, moved less than a few of their standard uncertainties."""
    esd = dict(zip(fit.parameters, np.sqrt(np.diag(fit.covariance)), strict=True))
    moved = {
        DISTANCE: after.distance - before.distance,
        BEAM_Y: after.beam_center[0] - before.beam_center[0],
        BEAM_Z: after.beam_center[1] - before.beam_center[1],
    }
    return all(abs(step) < _SETTLED * esd[k] for k, step in moved.items() if k in esd)


def ring_strains(fit: GeometryFit, points: RingPoints, rings: Rings, mult_factor: float) -> dict[str, Any]:
    """Return what an iteration records of each ring: its angle [deg], its mean |strain| and the outliers' threshold."""
    numbers = np.unique(points.ring)
    means = [float(np.mean(np.abs(fit.strain[points.ring == n]))) for n in numbers]
    return {
        "ring_two_theta": tuple(rings.two_theta[numbers].tolist()),
        "ring_strain": tuple(means),
        "ring_threshold": mult_factor * float(np.median(means)),
    }


def parameter_names(parameters: tuple[int, ...]) -> list[str]:
    """Return a name for each core index, distortion coefficients as c2(2)... see core/distortion.hpp."""
    place = ("distance", "beam_center_y", "beam_center_z", "tilt_x", "tilt_y", "tilt_z")
    names = (*place, *(f"distortion_{k}" for k in range(_core.PARALLAX - _core.FIRST_DISTORTION)), "parallax")
    return [panel_name(k) or names[k] for k in parameters]


def file_parameter_esds(fit: GeometryFit) -> dict[str, float]:
    """Return the standard uncertainty of each refined parameter by its name, amplitudes and phases for p-terms.

    Cosine and sine coefficients become amplitude and phase [deg] by linear propagation; the phase of a vanishing
    amplitude has no meaning and gets NaN.
    """
    from midas.geometry import HARMONIC_TERMS, RADIAL_TERMS

    sigma = np.sqrt(np.diag(fit.covariance))
    position = {k: i for i, k in enumerate(fit.parameters)}
    esds = {
        name: float(sigma[position[k]])
        for k, name in enumerate(("distance", "beam_center_y", "beam_center_z", "tilt_x", "tilt_y", "tilt_z"))
        if k in position
    }
    coefficients = distortion_coefficients(fit.geometry.distortion)
    if _core.PARALLAX in position:
        esds["parallax"] = float(sigma[position[_core.PARALLAX]])
    for name, k in RADIAL_TERMS.items():
        if _core.FIRST_DISTORTION + k in position:
            esds[name] = float(sigma[position[_core.FIRST_DISTORTION + k]])
    for amplitude_name, phase_name, k in HARMONIC_TERMS:
        cosine, sine = _core.FIRST_DISTORTION + k, _core.FIRST_DISTORTION + k + 1
        if cosine not in position:
            continue
        if sine not in position:
            esds[amplitude_name] = float(sigma[position[cosine]])
            continue
        pair = [position[cosine], position[sine]]
        block = fit.covariance[np.ix_(pair, pair)]
        c, s = coefficients[k], coefficients[k + 1]
        amplitude = math.hypot(c, s)
        if amplitude == 0.0:
            esds[amplitude_name], esds[phase_name] = float(math.sqrt(block[0, 0])), math.nan
            continue
        along = np.array([c, s]) / amplitude
        across = np.array([s, -c]) / amplitude**2
        esds[amplitude_name] = float(math.sqrt(along @ block @ along))
        esds[phase_name] = math.degrees(math.sqrt(across @ block @ across))
    return esds
