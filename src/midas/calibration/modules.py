"""The modules of a tiled detector in the evidence: how far they stand off their places, and what that does."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from midas.calibration.fit import BEAM_Y, BEAM_Z, DISTANCE, GeometryFit, fit_geometry, point_weights, radius_design
from midas.calibration.panels import with_panels
from midas.calibration.points import RingPoints
from midas.calibration.residuals import offsets
from midas.geometry import FloatArray
from midas.panels import PanelLayout

IntArray = npt.NDArray[np.int64]

LEAST_SHIFT = 0.07
"""[px]: how far modules are taken to stand off their places where less is seen; mounted ones hardly do better."""
_POINTS_A_MODULE = 8


@dataclass(frozen=True)
class ModuleEvidence:
    """What the modules of a detector do to a calibration; all zero for a detector of one piece."""

    step: float = 0.0
    """Root mean square of the offsets that a shift of each module explains [px]."""
    share: float = 0.0
    """Share of the mean square offset that it explains."""
    frame_beam: float = 0.0
    """Standard uncertainty of the beam centre against the nominal grid of the modules [px]."""
    frame_distance: float = 0.0
    """The same of the distance, relative."""


def module_evidence(fit: GeometryFit, points: RingPoints, layout: PanelLayout | None) -> ModuleEvidence:
    """Return what modules do to a fit of the points, whether their panels were refined or not."""
    if layout is None or len(layout) < 2:
        return ModuleEvidence()
    used = points.select(fit.used)
    module = module_of(fit, used, layout)
    step, share = module_steps(used, offsets(fit, points), module)
    return ModuleEvidence(step, share, *frame_uncertainty(fit, used, module))


def module_of(fit: GeometryFit, points: RingPoints, layout: PanelLayout) -> IntArray:
    """Return the number of the module that each point lies on, shape (n_points,)."""
    projection = with_panels(fit.geometry, layout).projection
    return projection.panel_at(np.ascontiguousarray(points.y), np.ascontiguousarray(points.z))


def module_steps(points: RingPoints, offset: FloatArray, module: IntArray) -> tuple[float, float]:
    """Return (displacement [px], share) that a shift for each module takes out of the offsets.

    `module` is each point's (`module_of`). The displacement is the root mean square over the points of what the shifts
    explain, the share that of their mean square, both less what as many parameters would take out of noise. Zero where
    fewer than two modules have enough points.
    """
    numbers, counts = np.unique(module, return_counts=True)
    numbers = numbers[counts >= _POINTS_A_MODULE]
    if len(numbers) < 2:
        return 0.0, 0.0
    outward = _outward(points)
    total = explained = 0.0
    chosen = 0
    for n in numbers:
        own = module == n
        fitted = outward[own] @ np.linalg.lstsq(outward[own], offset[own], rcond=None)[0]
        left = float(np.sum((offset[own] - fitted) ** 2))
        size = int(own.sum())
        total += float(np.sum(offset[own] ** 2))
        explained += float(np.sum(fitted**2)) - 2.0 * left / (size - 2)
        chosen += size
    if not explained > 0.0:
        return 0.0, 0.0
    return math.sqrt(explained / chosen), explained / total


def frame_uncertainty(fit: GeometryFit, points: RingPoints, module: IntArray) -> tuple[float, float]:
    """Return how well modules tell where the detector is: the beam centre [px], the distance (relative).

    `points` are those that the fit used.

    Beam centre and distance are those of the modules' nominal grid, and each module stands off its place on it. These
    are the standard uncertainties of the smooth geometry when every module is shifted at random, with the standard
    deviation that the residuals of a smooth fit show, at least `LEAST_SHIFT`; with panels refined they are a little
    better. With few modules, or the beam far off them, they are much larger than the fit's own uncertainties; where
    each pixel diffracts to does not suffer. Zero for points on one module.
    """
    if len(np.unique(module)) < 2:
        return 0.0, 0.0
    smooth = replace(fit.geometry, panels=None)
    design, parameters = radius_design(fit, points)
    flat = fit_geometry(smooth, points, parameters, rules=fit.rules)
    weight = point_weights(points, flat.scatter, flat.rules) / points.tan_two_theta
    size = np.maximum(np.linalg.norm(design, axis=0), 1e-300)
    answer = (
        np.linalg.pinv(design / size * weight[:, None]) * weight / size[:, None]
    )  # parameters for changes of radius
    shifts = _shifts(points, module) * smooth.pixel_size
    answers = answer @ shifts
    # What of a shift by a pixel the smooth fit leaves, root mean square over the points.
    left = math.sqrt(float(np.sum((shifts - design @ answers) ** 2)) / len(points)) / smooth.pixel_size
    step, _ = module_steps(points.select(flat.used), offsets(flat, points), module[flat.used])
    shift = max(LEAST_SHIFT, step / max(left, 1e-3))
    deviation = dict(zip(parameters, shift * np.linalg.norm(answers, axis=1), strict=True))
    beam = math.hypot(deviation.get(BEAM_Y, 0.0), deviation.get(BEAM_Z, 0.0))
    return beam, float(deviation.get(DISTANCE, 0.0)) / smooth.distance


def _shifts(points: RingPoints, module: IntArray) -> FloatArray:
    """Return how far each point moves outward by a shift of each module along y and along z, shape (n_points, 2 n)."""
    on = module[:, None] == np.unique(module)[None, :]
    return np.asarray((_outward(points)[:, None, :] * on[:, :, None]).reshape(len(points), -1))


def _outward(points: RingPoints) -> FloatArray:
    """Return how far a shift by a pixel along y and along z moves each point outward [px], shape (n_points, 2)."""
    eta = np.radians(points.eta)  # 90 deg toward increasing columns
    return np.stack([np.sin(eta), np.cos(eta)], axis=1)
