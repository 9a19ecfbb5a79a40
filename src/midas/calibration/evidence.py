"""All that speaks for or against a calibration, gathered once; `verdict` holds the rules."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from midas import _core
from midas.calibration.fit import (
    BEAM_Y,
    BEAM_Z,
    DISTANCE,
    GeometryFit,
    LoopResult,
    parameter_bounds,
    parameter_names,
    radius_design,
)
from midas.calibration.modules import module_evidence
from midas.calibration.options import CalibrationParams
from midas.calibration.orientation import mirrored
from midas.calibration.panels import layout_of
from midas.calibration.points import RingPoints
from midas.calibration.prepare import PreparedImage
from midas.calibration.presence import brightness_scatter, explained_share, strong_rings
from midas.calibration.residuals import (
    HeldOut,
    held_out_azimuths,
    held_out_rings,
    offsets,
    ring_biases,
    shared_by_neighbours,
    stray_rings,
)
from midas.calibration.seed import Seed
from midas.calibration.signal import RingSignal
from midas.calibration.values import correlations
from midas.crystal import Rings
from midas.geometry import RADIAL_TERMS, distortion_coefficients

STRAY = 0.05
"""[px]: a ring left out of the fit that lies off by no more than this is only noisy."""
_CORRELATED = 0.99
_MOST_PAIRS = 3
_AT_BOUND = 5e-4  # of the allowed range, from its ends
_UNDETERMINED = 2e-7  # ratio of singular values below which a combination of parameters is not determined
_TAKES_PART = 0.3  # of the undetermined combination's length


@dataclass(frozen=True)
class Evidence:
    """What a calibration shows of its own trustworthiness. The defaults are those of a flawless one."""

    n_points: int
    """Ring positions used."""
    n_rings: int
    """Rings with positions used."""
    arc: float
    """Azimuth with positions used [deg]."""
    found: float
    """Share of the calibrant's strong rings that were found."""
    explained: float
    """Share of the height of the rings on the image that belongs to the calibrant."""
    missing: tuple[str, ...] = ()
    """Reflections (h k l) of bright rings that are not on the image at all."""
    brightness_scatter: float = math.nan
    """Standard deviation of ln(brightness seen / that of the structure) over the rings; NaN where not known."""
    brightness_noise: float = math.nan
    """How much of it the grains on each ring may do."""
    calibrant: str = "the calibrant"
    """Its name."""
    fwhm: float = 3.0
    """Median width of the rings [px]."""
    offset_widths: float = 0.0
    """Median distance of the points from their rings, in widths of the rings."""
    held_out_strain: float = math.nan
    """Mean |strain| of azimuths that the fit did not see."""
    training_strain: float = math.nan
    """Mean |strain| of the other azimuths, in the same fits."""
    radius: float = 0.0
    """Median radius of the points [px]: turns a strain into an offset."""
    held_out_rings: float = math.nan
    """Mean |strain| of rings that the fit did not see."""
    training_rings: float = math.nan
    """Mean |strain| of the other rings, in the same fits."""
    beam_uncertainty: float = 0.0
    """Standard uncertainty of the beam centre [px]: the largest of covariance, azimuths and rings left out."""
    distance_uncertainty: float = 0.0
    """The same of the distance, relative."""
    pattern: float = 0.0
    """Root mean square of the offsets that neighbouring points share [px]."""
    ring_bias: float = 0.0
    """Root mean square of the rings' mean offsets, beyond noise [px]."""
    module_step: float = 0.0
    """Root mean square of the offsets that a shift of each module explains [px]; 0 on a detector of one piece."""
    module_share: float = 0.0
    """Share of the mean square offset that it explains."""
    frame_beam: float = 0.0
    """Standard uncertainty of the beam centre [px] against the nominal grid of modules that stand off their places."""
    frame_distance: float = 0.0
    """The same of the distance, relative."""
    correlated: tuple[tuple[str, str, float], ...] = ()
    """Pairs of parameters whose correlation exceeds 0.99 in size, strongest first, at most three."""
    unidentifiable: tuple[str, ...] = ()
    """Parameters of combinations that the points do not determine."""
    at_bounds: tuple[str, ...] = ()
    """Parameters at the edge of their range."""
    n_stray_rings: int = 0
    """Rings left out as outliers that really lie off their place."""
    n_fitted_rings: int = 0
    """Rings looked for."""
    fit_converged: bool = True
    """Whether the least squares converged."""
    loop_converged: bool = True
    """Whether the loop ended by itself."""
    loop_reason: str = ""
    """How it ended."""
    runner_up: float | None = None
    """A really different distance [µm] that explains the image nearly as well; None where there is none."""
    radial_distortion: float = 0.0
    """Largest change of a point's radius by the distortion that is the same at all azimuths, relative."""
    beam_drift: float = 0.0
    """Distance between the seed's and the fit's beam centre, as a share of the panel's longer side."""
    distance_drift: float = 0.0
    """Relative change of the distance from the seed to the fit."""
    mirrored: str | None = None
    """Why the image seems mirrored or transposed; None where nothing says so."""


def gather_evidence(
    loop: LoopResult, seed: Seed, signal: RingSignal, prepared: PreparedImage, rings: Rings, params: CalibrationParams
) -> Evidence:
    """Return the evidence for and against the best iterate of a calibration's loop."""
    fit, points, mask = loop.fit, loop.points, prepared.mask
    used = points.select(fit.used)
    offset = offsets(fit, points)
    azimuths, by_rings = held_out_azimuths(fit, points), held_out_rings(fit, points)
    beam, distance = _uncertainties(fit, azimuths, by_rings)
    strong = strong_rings(loop, rings, mask, params.eta_step)
    modules = module_evidence(fit, points, layout_of(prepared, params))
    scatter, noise = brightness_scatter(used, rings)
    g, fwhm = fit.geometry, float(np.median(used.fwhm))
    return Evidence(
        n_points=len(used),
        n_rings=len(np.unique(used.ring)),
        arc=azimuthal_arc(used, params.eta_step),
        found=strong.share,
        missing=strong.missing,
        explained=explained_share(signal, g, rings, fwhm),
        brightness_scatter=scatter,
        brightness_noise=noise,
        calibrant=rings.calibrant.name,
        fwhm=fwhm,
        offset_widths=float(np.median(np.abs(offset) / used.fwhm)),
        held_out_strain=azimuths.test,
        training_strain=azimuths.train,
        radius=float(np.median(used.radius)),
        held_out_rings=by_rings.test,
        training_rings=by_rings.train,
        beam_uncertainty=beam,
        distance_uncertainty=distance,
        pattern=shared_by_neighbours(used, offset),
        ring_bias=ring_biases(used, offset),
        module_step=modules.step,
        module_share=modules.share,
        frame_beam=modules.frame_beam,
        frame_distance=modules.frame_distance,
        correlated=_correlated(fit),
        unidentifiable=_unidentifiable(fit, used),
        at_bounds=_at_bounds(fit),
        n_stray_rings=stray_rings(points, fit.strain, loop.outlier_rings, STRAY),
        n_fitted_rings=len(loop.fitted_rings),
        fit_converged=fit.converged,
        loop_converged=loop.converged,
        loop_reason=loop.reason,
        runner_up=seed.runner_up.distance if seed.runner_up is not None and seed.ambiguous else None,
        radial_distortion=_radial_distortion(fit, used),
        beam_drift=math.dist(g.beam_center, seed.beam_center) / max(mask.shape),
        distance_drift=abs(g.distance / seed.distance - 1.0),
        mirrored=mirrored(mask, params.image_transforms, params.beam_center, g.beam_center),
    )


def _radial_distortion(fit: GeometryFit, used: RingPoints) -> float:
    """Return the largest relative change of radius by refined terms that are the same at all azimuths."""
    g = fit.geometry
    terms = {name: g.distortion.get(name, 0.0) for name in RADIAL_TERMS if name not in fit.rules.fixed}
    y, z = np.ascontiguousarray(used.y), np.ascontiguousarray(used.z)
    radius, plain = (replace(g, distortion=d, panels=None).to_polar(y, z, n_threads=1)[0] for d in (terms, {}))
    return float(np.nanmax(np.abs(radius / plain - 1.0)))


def azimuthal_arc(points: RingPoints, eta_step: float) -> float:
    """Return how much of the circle has points [deg]."""
    return len(np.unique(points.eta_bin)) * 360.0 / _core.eta_bins(eta_step)


def _uncertainties(fit: GeometryFit, *held_out: HeldOut) -> tuple[float, float]:
    """Return the largest standard uncertainties of the beam centre [px] and the distance (relative).

    The covariance takes the points' errors as independent; leaving out parts of the detector does not.
    """
    variance = {k: float(fit.covariance[i, i]) for i, k in enumerate(fit.parameters)}
    beam = _root(variance.get(BEAM_Y, 0.0) + variance.get(BEAM_Z, 0.0))
    distance = _root(variance.get(DISTANCE, 0.0)) / fit.geometry.distance
    return (
        max([beam, *(h.beam for h in held_out if not math.isnan(h.beam))]),
        max([distance, *(h.distance for h in held_out if not math.isnan(h.distance))]),
    )


def _root(variance: float) -> float:
    """Return the standard uncertainty of a variance: infinite where the fit could not tell it."""
    return math.inf if math.isnan(variance) else math.sqrt(max(0.0, variance))


def _correlated(fit: GeometryFit) -> tuple[tuple[str, str, float], ...]:
    names = parameter_names(fit.parameters)
    r = np.nan_to_num(correlations(fit.covariance))
    # That a panel may slide along the rings is no news: its shifts are told apart by their prior.
    panel = np.array([name.startswith("panel_") for name in names])
    rows, columns = np.nonzero(np.triu((np.abs(r) > _CORRELATED) & ~np.outer(panel, panel), 1))
    pairs = [(names[i], names[j], float(r[i, j])) for i, j in zip(rows, columns, strict=True)]
    return tuple(sorted(pairs, key=lambda p: -abs(p[2]))[:_MOST_PAIRS])


def _unidentifiable(fit: GeometryFit, used: RingPoints) -> tuple[str, ...]:
    """Return the parameters of the combinations that leave every ring position where it is."""
    design, parameters = radius_design(fit, used)
    length = np.linalg.norm(design, axis=0)
    names = np.asarray(parameter_names(parameters))
    without = length == 0.0
    unit = design[:, ~without] / length[~without]
    # From the normal matrix, without BLAS: its threads would wake for so little, and spin where other work waits.
    size, combinations = np.linalg.eigh(np.einsum("ij,ik->jk", unit, unit))
    free = combinations.T[size < _UNDETERMINED**2 * size[-1]] if len(size) else np.empty((0, 0))
    part = np.any(np.abs(free) > _TAKES_PART, axis=0) if len(free) else np.zeros(int((~without).sum()), dtype=bool)
    return (*names[without].tolist(), *names[~without][part].tolist())


def _at_bounds(fit: GeometryFit) -> tuple[str, ...]:
    g = fit.geometry
    lower, upper = fit.rules.narrowed(*parameter_bounds(g))
    values = dict(enumerate((g.distance, *g.beam_center, *g.tilts, *distortion_coefficients(g.distortion), g.parallax)))
    stuck = tuple(
        k
        for k in fit.parameters
        if k in values and min(values[k] - lower[k], upper[k] - values[k]) <= _AT_BOUND * (upper[k] - lower[k])
    )
    return tuple(parameter_names(stuck))
