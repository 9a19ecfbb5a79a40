"""The modules of a tiled detector in the evidence: how far they stand off their places, and what that does."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from midas.calibration.fit import BEAM_Y, BEAM_Z, DISTANCE, GeometryFit, radius_design
from midas.calibration.panels import shift_sigma
from midas.calibration.points import RingPoints
from midas.calibration.prepare import BoolImage
from midas.geometry import FloatArray
from midas.panels import PanelLayout

IntArray = npt.NDArray[np.int64]

LEAST_SHIFT = 0.05
"""[px]: how far modules stand off their places where nothing is known of them; mounted ones hardly do better."""
_BARRED = 0.95  # share of a row or column masked from which it parts modules
_SMALLEST_MODULE = 16  # px
_POINTS_A_MODULE = 8


def module_steps(points: RingPoints, offset: FloatArray, module: IntArray) -> tuple[float, float]:
    """Return (displacement [px], share) that a shift for each module takes out of the offsets.

    `module` is each point's (`module_of`). The displacement is the root mean square over the points of what the shifts
    explain, the share that of their mean square, both less what as many parameters would take out of noise. Zero where
    the detector is in one piece.
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


def frame_uncertainty(
    fit: GeometryFit, points: RingPoints, layout: PanelLayout | None, step: float
) -> tuple[float, float]:
    """Return how well the modules tell where the detector is: of the beam centre [px], of the distance (relative).

    Beam centre and distance are those of the modules' nominal grid, and each module stands off its place on it. These
    are the standard uncertainties of the smooth geometry when every module is shifted at random, with the standard
    deviation of the shifts that were found or, without panels, of the `step` that the residuals show (`module_steps`),
    at least `LEAST_SHIFT`. With few modules, or the beam far off them, they are much larger than the fit's own
    uncertainties; where each pixel diffracts to does not suffer. Zero on a detector of one piece.
    """
    if layout is None:
        return 0.0, 0.0
    module = _panel_of(points, layout)
    panels, g = fit.geometry.panels, fit.geometry
    shift = max(LEAST_SHIFT, step if panels is None else shift_sigma(panels))
    design, parameters = radius_design(fit, points)
    weight = fit.weights(points) / points.tan_two_theta
    size = np.maximum(np.linalg.norm(design, axis=0), 1e-300)
    answer = (
        np.linalg.pinv(design / size * weight[:, None]) / size[:, None] * weight
    )  # of the fit to a change of radius
    moved = shift * g.pixel_size * _outward(points)
    variance = np.zeros(len(parameters))
    for n in np.unique(module):
        variance += np.sum((answer[:, module == n] @ moved[module == n]) ** 2, axis=1)
    of = dict(zip(parameters, variance.tolist(), strict=True))
    beam = math.sqrt(of.get(BEAM_Y, 0.0) + of.get(BEAM_Z, 0.0))
    return beam, math.sqrt(of.get(DISTANCE, 0.0)) / g.distance


def _outward(points: RingPoints) -> FloatArray:
    """Return how far a shift by a pixel along y and along z moves each point outward [px], shape (n_points, 2)."""
    eta = np.radians(points.eta)  # 90 deg toward increasing columns
    return np.stack([np.sin(eta), np.cos(eta)], axis=1)


def module_of(points: RingPoints, mask: BoolImage) -> IntArray:
    """Return a number for the module that each point lies on, shape (n_points,).

    Modules lie between rows and columns that are masked from edge to edge.
    """
    return _cell_of(points, _starts(mask.mean(axis=1) > _BARRED), _starts(mask.mean(axis=0) > _BARRED))


def _panel_of(points: RingPoints, layout: PanelLayout) -> IntArray:
    return _cell_of(points, *(np.array([first for first, _ in spans]) for spans in (layout.rows, layout.columns)))


def _cell_of(points: RingPoints, rows: IntArray, columns: IntArray) -> IntArray:
    """Return a number for the cell of a grid, whose rows and columns begin there, that each point lies in."""
    across = np.searchsorted(columns, points.y, side="right")
    return np.asarray(np.searchsorted(rows, points.z, side="right") * (len(columns) + 1) + across, dtype=np.int64)


def _starts(barred: npt.NDArray[np.bool_]) -> IntArray:
    """Return where a module begins, from the rows or columns that are masked throughout."""
    edge = np.flatnonzero(np.diff(np.concatenate([[True], barred, [True]]).astype(np.int8)))
    begin, end = edge[::2], edge[1::2]
    return np.asarray(begin[end - begin >= _SMALLEST_MODULE], dtype=np.int64)
