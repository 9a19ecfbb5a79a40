"""The loop that turns a seed into a geometry: fit rings, fit the geometry, drop outlier rings, repeat."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from midas import _core
from midas.calibration.fit import (
    PLACE,
    TILTS,
    GeometryFit,
    Iteration,
    LoopResult,
    fit_geometry,
    iteration_of,
    measure_points,
    outlier_rings,
    pseudo_strain,
    ring_strains,
    settled,
)
from midas.calibration.options import DISTORTION_SETS, CalibrationParams
from midas.calibration.points import RingPoints
from midas.calibration.prepare import PreparedImage
from midas.calibration.residuals import held_out_strains
from midas.crystal import Rings
from midas.detector import Detector
from midas.errors import FitError
from midas.geometry import FloatArray, Geometry

logger = logging.getLogger(__name__)

_FIRST_PASSES = 2  # place and tilts alone, then distortion on rings that are not yet straight: neither is an answer
_FEWEST_RINGS = 3  # a distortion cannot be told from the distance with fewer
_SIGNIFICANT = 3.0  # standard errors by which a larger set must predict held-out points better
_WORTHWHILE = 0.03  # and this share of their strain


@dataclass
class _Choice:
    """Which distortion is refined, and what it was chosen by."""

    name: str
    trials: tuple[tuple[str, float], ...] = ()
    warned: bool = field(default=False, repr=False)


def run_loop(
    prepared: PreparedImage,
    start: Geometry,
    rings: Rings,
    params: CalibrationParams,
    *,
    n_threads: int = 0,
    progress: Callable[[int, int, str], None] | None = None,
) -> LoopResult:
    """Return the best iterate of: fit every (ring, eta) profile, fit the geometry, leave out outlier rings.

    Ends when an iteration finds no new outlier ring and the mean strain is below `stopping_strain`, when beam
    centre and distance move by less than three of their uncertainties, or at the cap.
    """
    geometry = _started(prepared, start, params)
    outliers: frozenset[int] = frozenset()
    fwhm, half_width = 3.0, _first_half_width(prepared.shape, params)
    history: list[Iteration] = []
    best: LoopResult | None = None
    choice = _Choice("none")
    points: RingPoints | None = None
    reason = ""
    for number in range(1, params.max_iterations + 1):
        points, fitted = measure_points(
            prepared, geometry, rings, params, fwhm=fwhm, half_width=half_width, before=points, n_threads=n_threads
        )
        if number == _FIRST_PASSES:
            choice = _chosen(choice, outliers, geometry, points, params)
        fit = _fit_without(outliers, geometry, points, params, choice if number > 1 else None)
        new = outlier_rings(fit, points, params.mult_factor) - outliers if number > 1 else frozenset()
        outliers |= new
        history.append(iteration_of(number, fit, outliers, ring_strains(fit, points, rings, params.mult_factor)))
        if progress is not None:
            progress(number, params.max_iterations, f"mean strain {fit.mean_strain * 1e6:.1f} µε")
        geometry = fit.geometry
        fwhm = float(np.clip(np.median(points.fwhm), 1.0, 30.0))
        half_width = None
        # Iterates are compared over the same rings and parameters: fewer rings always fit better.
        changed = bool(new) or number <= _FIRST_PASSES or best is None or best.distortion != choice.name
        if best is None or changed or fit.mean_strain < best.fit.mean_strain:
            best = LoopResult(fit, points, (), outliers, fitted, fwhm, False, "", choice.name, choice.trials)
        reason = "" if changed else _end(history, fit, params)
        if reason:
            again = _chosen(choice, outliers, geometry, points, params)
            best = replace(best, distortion_trials=again.trials)
            if again.name == choice.name:
                break
            choice, geometry, reason = again, _undistorted(geometry, params), ""
    assert best is not None
    converged = bool(reason)
    reason = reason or f"stopped at the cap of {params.max_iterations} iterations"
    return replace(best, history=tuple(history), converged=converged, reason=reason)


def _end(history: list[Iteration], fit: GeometryFit, params: CalibrationParams) -> str:
    """Return why the loop may end here, empty when it may not."""
    if fit.mean_strain < params.stopping_strain:
        return f"mean strain below the stopping strain of {params.stopping_strain * 1e6:g} µε"
    if settled(history[-2], history[-1], fit):
        return "settled: beam centre and distance move by less than their standard uncertainties allow"
    return ""


def _started(prepared: PreparedImage, start: Geometry, params: CalibrationParams) -> Geometry:
    """Return the geometry to start from: the seed without distortion, what is fixed at its value."""
    corner = Detector(prepared.shape, params.pixel_size).farthest_corner(start.beam_center)
    return _undistorted(replace(start, distortion_radius=corner, parallax=params.parallax), params)


def _undistorted(geometry: Geometry, params: CalibrationParams) -> Geometry:
    """Return the geometry without distortion, but for what is fixed."""
    return params.rules.applied(replace(geometry, distortion={}))


def _first_half_width(shape: tuple[int, ...], params: CalibrationParams) -> float | None:
    """Return how far to look at first [px]: the coarse fit is good to part of a cell, but it knows no distortion."""
    if params.width:
        return None
    return float(np.clip(max(shape) / 250.0, 6.0, 16.0))


def refinable(params: CalibrationParams, distortion: str) -> tuple[int, ...]:
    """Return the core indices that the options ask for with a distortion set, fixed or not."""
    terms = tuple(_core.FIRST_DISTORTION + k for k in DISTORTION_SETS[distortion])
    return PLACE + TILTS + terms + ((_core.PARALLAX,) if params.refine_parallax else ())


def _free(params: CalibrationParams, points: RingPoints, distortion: str) -> tuple[int, ...]:
    """Return the core indices to refine: what the options ask for, less what so few rings cannot tell apart."""
    n_rings = len(np.unique(points.ring))
    few = PLACE + (TILTS if n_rings >= 2 else ())
    free = refinable(params, distortion) if n_rings >= _FEWEST_RINGS else few
    return tuple(k for k in free if k not in params.rules.held)


def _fit_without(
    outliers: frozenset[int],
    geometry: Geometry,
    points: RingPoints,
    params: CalibrationParams,
    choice: _Choice | None,
) -> GeometryFit:
    """Return the fit to all rings but the outliers, with the strain of all points; no choice: place and tilts."""
    kept = ~np.isin(points.ring, list(outliers))
    chosen = points.select(kept)
    if choice is None:
        free = tuple(k for k in PLACE + TILTS if k not in params.rules.held)
    else:
        free = _free(params, chosen, choice.name)
    if len(chosen) <= len(free):
        raise FitError(
            f"only {len(chosen)} ring positions passed the quality cuts, for {len(free)} parameters; "
            "the image shows no rings, they are too weak, the calibrant is wrong, or the seed off"
        )
    if len(np.unique(chosen.ring)) < _FEWEST_RINGS:  # what more rings said of it before holds no longer
        geometry = _undistorted(geometry, params)
    fit = fit_geometry(geometry, chosen, free, rules=params.rules)
    used = np.zeros(len(points), dtype=bool)
    used[kept] = fit.used
    return replace(fit, strain=pseudo_strain(fit.geometry, points), used=used)


def _chosen(
    choice: _Choice, outliers: frozenset[int], geometry: Geometry, points: RingPoints, params: CalibrationParams
) -> _Choice:
    """Return the distortion set to refine: the one asked for, or the smallest that no larger one really improves on.

    "auto" fits each set to the same points and compares how well azimuths left out are predicted. A larger set is
    taken where the mean |strain| of held-out points falls by three standard errors and by 3 %.
    """
    few = len(np.unique(points.ring)) < _FEWEST_RINGS
    if few and params.distortion != "none":
        if not choice.warned:
            logger.warning("fewer than 3 rings: the distortion is held, it cannot be told from the distance")
        return _Choice("none", warned=True)
    if params.distortion != "auto":
        return _Choice(params.distortion)
    kept = points.select(~np.isin(points.ring, list(outliers)))
    plain = _undistorted(geometry, params)
    best, best_strain = "none", np.full(len(kept), np.nan)
    trials = []
    for name in DISTORTION_SETS:
        free = _free(params, kept, name)
        if len(kept) <= 2 * len(free):
            break
        fit = fit_geometry(plain, kept, free, rules=params.rules)
        strain = np.full(len(kept), np.nan)
        strain[fit.used] = np.abs(held_out_strains(fit, kept))
        if not np.isfinite(strain).any():
            break
        trials.append((name, float(np.nanmean(strain))))
        if name == "none" or _better(strain, best_strain):
            best, best_strain = name, strain
    words = ", ".join(f"{name} {strain * 1e6:.1f}" for name, strain in trials)
    logger.info("distortion %s: held-out strain [µε] %s", best, words)
    return _Choice(best, tuple(trials))


def _better(strain: FloatArray, than: FloatArray) -> bool:
    """Return whether held-out |strain| is smaller than another set's, over the points that both know."""
    known = np.isfinite(strain) & np.isfinite(than)
    if known.sum() < 2:
        return False
    gain = (than - strain)[known]
    error = float(gain.std()) / np.sqrt(len(gain))
    return bool(gain.mean() > max(_SIGNIFICANT * error, _WORTHWHILE * float(than[known].mean())))
