"""Panels joined to a converged geometry: refined together with it, and kept only where unseen points gain by it."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np

from midas import _core
from midas.calibration.fit import (
    BoolArray,
    GeometryFit,
    LoopResult,
    fit_geometry,
    iteration_of,
    measure_points,
    outlier_rings,
    pseudo_strain,
    ring_strains,
    settled,
)
from midas.calibration.options import CalibrationParams
from midas.calibration.panels import halves, layout_of, panel_parameters, with_panels
from midas.calibration.points import RingPoints
from midas.calibration.prepare import PreparedImage
from midas.calibration.residuals import held_out_strains
from midas.crystal import Rings
from midas.panels import PanelLayout

logger = logging.getLogger(__name__)

_MOST_PASSES = 5
_PROMISING = 1.0  # standard errors by which held-out points must gain before rings are fitted again
_SIGNIFICANT = 3.0  # and in the end
_WORTHWHILE = 0.02  # and this share of their strain
_POINTS_PER_PANEL = 4  # on average: fewer say little of a panel


@dataclass(frozen=True, eq=False)
class _Run:
    """What does not change while panels are fitted."""

    prepared: PreparedImage
    rings: Rings
    params: CalibrationParams
    n_threads: int


def fit_panels(
    prepared: PreparedImage, loop: LoopResult, rings: Rings, params: CalibrationParams, *, n_threads: int = 0
) -> LoopResult:
    """Return the loop's result with the panels of a tiled detector refined, or as it was where they gain nothing.

    The panels come from `params.panels`, a known detector, or the gaps in the image. Shifts and rotation of each are
    refined together with the geometry, on ring fits made again with the panels in place until nothing moves. Kept is
    what predicts azimuths that its fit did not see better, by more than chance: modules against the smooth geometry,
    then modules at distances of their own, then half modules.
    """
    layout = None if params.panels == "none" else layout_of(prepared, params)
    if layout is None:
        return loop
    run = _Run(prepared, rings, params, n_threads)
    best, distance = loop, params.panel_distance is True
    trial = _tried(run, best, layout, distance)
    if trial is None:
        return loop
    best = trial
    if params.panel_distance is None and (trial := _tried(run, best, layout, True)) is not None:
        best, distance = trial, True
    half = halves(layout) if params.panels == "auto" else None
    if half is not None and (trial := _tried(run, best, half, distance)) is not None:
        best = trial
    return best


def _tried(run: _Run, best: LoopResult, layout: PanelLayout, distance: bool) -> LoopResult | None:
    """Return the best loop carried on with these panels, logged; None where they gain nothing."""
    what = f"{len(layout)} panels{' at their own distances' if distance else ''}"
    few = len(best.points) < _POINTS_PER_PANEL * len(layout)
    trial = None if few else _refined(run, best, layout, distance)
    if few:
        logger.warning("%s: only %d ring positions, too few to refine them; left out", what, len(best.points))
    elif trial is None:
        logger.info("%s: held-out points gain nothing, left out", what)
    else:
        logger.info("%s: mean strain %.1f µε", what, trial.fit.mean_strain * 1e6)
    return trial


def _free(loop: LoopResult, layout: PanelLayout, distance: bool) -> tuple[int, ...]:
    """Return what a fit with panels refines: what the loop does of the geometry, and the panels."""
    smooth = tuple(k for k in loop.fit.parameters if k < _core.N_GEOMETRY_PARAMETERS)
    return smooth + panel_parameters(layout, distance=distance)


def _refined(run: _Run, loop: LoopResult, layout: PanelLayout, distance: bool) -> LoopResult | None:
    """Return the loop carried on with panels, or None where held-out points do not gain by them.

    First on the points there are: where they promise nothing, no pass through the rings is spent.
    """
    free, geometry = _free(loop, layout, distance), loop.fit.geometry
    if geometry.panels is None or geometry.panels.layout != layout:
        geometry = with_panels(geometry, layout)
    start = replace(loop.fit, geometry=geometry)
    fit = _fit(loop.outlier_rings, start, loop.points, free)
    if not _gains(loop, replace(loop, fit=fit), _PROMISING):
        return None
    fwhm, points, outliers = loop.fwhm, loop.points, loop.outlier_rings
    history = list(loop.history)
    done, fitted = False, loop.fitted_rings
    for _ in range(_MOST_PASSES):
        points, fitted = measure_points(
            run.prepared, fit.geometry, run.rings, run.params, fwhm=fwhm, before=points, n_threads=run.n_threads
        )
        fit = _fit(outliers, fit, points, free)
        # Rings may come back, but none goes: with panels in place what is left is the scatter of the positions, whose
        # strain grows as 1/R, and the rule would take the inner rings away for being inner.
        outliers &= outlier_rings(fit, points, run.params.mult_factor)
        fwhm = float(np.clip(np.median(points.fwhm), 1.0, 30.0))
        of_rings = ring_strains(fit, points, run.rings, run.params.mult_factor)
        history.append(iteration_of(len(history) + 1, fit, outliers, of_rings))
        done = len(history) > len(loop.history) + 1 and settled(history[-2], history[-1], fit)
        if done:
            break
    reason = f"{loop.reason.split(';')[0]}; {len(layout)} panels {'settled' if done else 'not settled'}"
    refined = replace(
        loop,
        fit=fit,
        points=points,
        history=tuple(history),
        outlier_rings=outliers,
        fitted_rings=fitted,
        fwhm=fwhm,
        converged=loop.converged and done,
        reason=reason,
    )
    return refined if _gains(loop, refined, _SIGNIFICANT) else None


def _fit(outliers: frozenset[int], start: GeometryFit, points: RingPoints, free: tuple[int, ...]) -> GeometryFit:
    """Return the fit to all rings but the outliers, with the strain of all points."""
    kept = ~np.isin(points.ring, list(outliers))
    fit = fit_geometry(start.geometry, points.select(kept), free, rules=start.rules)
    used = np.zeros(len(points), dtype=bool)
    used[kept] = fit.used
    return replace(fit, strain=pseudo_strain(fit.geometry, points), used=used)


def _gains(before: LoopResult, after: LoopResult, significance: float) -> bool:
    """Return whether held-out points are predicted better after than before, by so many standard errors.

    Both models are fitted to the same points, those found last, and compared over the points that both use.
    """
    earlier = _fit(after.outlier_rings, before.fit, after.points, before.fit.parameters)
    strains = [_everywhere(fit, after.points) for fit in (earlier, after.fit)]
    gain = np.abs(strains[0]) - np.abs(strains[1])
    known: BoolArray = np.isfinite(gain)
    if known.sum() < 2:
        return False
    mean, error = float(gain[known].mean()), float(gain[known].std()) / np.sqrt(known.sum())
    level = float(np.abs(strains[0][known]).mean())
    logger.info("held out: %.1f µε before, %.1f ± %.1f less with panels", level * 1e6, mean * 1e6, error * 1e6)
    return bool(mean > significance * error and mean > _WORTHWHILE * level)


def _everywhere(fit: GeometryFit, points: RingPoints) -> np.ndarray:
    """Return the held-out strain of every point, NaN where the fit does not use it."""
    strain = np.full(len(points), np.nan)
    strain[fit.used] = held_out_strains(fit, points)
    return strain
