"""The text tables of a calibration: ring list, per-iteration report and fitted points.

Formats: docs/files.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from midas.geometry import DISTORTION_NAMES, FloatArray
from midas.io.atomic import atomic_path
from midas.io.hkls import write_hkls

if TYPE_CHECKING:
    from midas.calibration.fit import Iteration
    from midas.calibration.result import Calibration

HKLS_NAME = "hkls.csv"
SCREEN_NAME = "calibrant_screen_out.csv"
POINT_COLUMNS = ("Eta", "Strain", "RadFit", "EtaCalc", "DiffCalc", "RadCalc", "Ideal2Theta")
"""Columns of the table of points; the file's header has % before the first."""


def point_columns(calibration: Calibration) -> dict[str, FloatArray]:
    """Return the table of points by column, each of shape (n_used,): the points of the final fit.

    Eta [deg]; Strain, the pseudo-strain 1 - RadFit / RadCalc with its sign; RadFit, the radius found [µm]; EtaCalc, the
    same as Eta: radii are compared along the point's own ray; DiffCalc, RadFit less RadCalc [µm]; RadCalc, the ideal
    radius L·tan(2θ) [µm]; Ideal2Theta, Bragg's angle [deg].
    """
    g, points = calibration.geometry, calibration.points.select(calibration.used)
    radius, _, eta = g.to_polar(points.y, points.z, n_threads=1)
    ideal = g.distance * points.tan_two_theta
    found = radius * g.pixel_size
    return {
        "Eta": eta,
        "Strain": calibration.strain[calibration.used],
        "RadFit": found,
        "EtaCalc": eta,
        "DiffCalc": found - ideal,
        "RadCalc": ideal,
        "Ideal2Theta": np.degrees(np.arctan(points.tan_two_theta)),
    }


def write_points(path: Path, calibration: Calibration) -> Path:
    """Write `<image>.corr.csv`, a row per point of the final fit, and return its path."""
    columns = point_columns(calibration)
    formats = ("{:.6f}", "{:.10f}", "{:.6f}", "{:.6f}", "{:.6f}", "{:.6f}", "{:.8f}")
    rows = zip(*(columns[name].tolist() for name in POINT_COLUMNS), strict=True)
    lines = ["%" + " ".join(POINT_COLUMNS)]
    lines += [" ".join(f.format(v) for f, v in zip(formats, row, strict=True)) for row in rows]
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="ascii")
    return path


def write_screen_output(path: Path, calibration: Calibration) -> Path:
    """Write `calibrant_screen_out.csv`: what each iteration found, then the block `Mean Values`; return its path."""
    lines: list[str] = []
    for iteration in calibration.history:
        lines += [*_iteration_lines(iteration), ""]
    g = calibration.geometry
    lines += [f"Ended after {len(calibration.history)} iterations: {calibration.reason}", "", "Mean Values"]
    lines += [f"Lsd {g.distance:.12g}", "BC {:.12g} {:.12g}".format(*g.beam_center)]
    lines += [f"ty {g.tilts[1]:.12g}", f"tz {g.tilts[2]:.12g}"]
    lines += _distortion_lines(dict(g.distortion))
    lines += [f"MeanStrain {calibration.mean_strain:.12g}", f"StdStrain {calibration.std_strain:.12g}"]
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _iteration_lines(iteration: Iteration) -> list[str]:
    lines = [
        f"Iteration {iteration.number}",
        f"Number of points {iteration.n_points}",
        f"Lsd {iteration.distance:.12g}",
        "BC {:.12g} {:.12g}".format(*iteration.beam_center),
        f"ty {iteration.tilts[1]:.12g}",
        f"tz {iteration.tilts[2]:.12g}",
        *_distortion_lines(dict(iteration.distortion)),
        f"MeanStrain {iteration.mean_strain:.12g}",
        f"MedianStrain {iteration.median_strain:.12g}",
    ]
    if iteration.outlier_rings:
        lines.append("RingsExcluded " + " ".join(str(n) for n in iteration.outlier_rings))
    for two_theta, strain in zip(iteration.ring_two_theta, iteration.ring_strain, strict=True):
        lines.append(f"Ring2Theta {two_theta:.6f} MeanStrain {strain:.6g}")
    return lines


def _distortion_lines(distortion: dict[str, float]) -> list[str]:
    """Return p0 to p3, and every further term that is not 0."""
    written = [n for k, n in enumerate(DISTORTION_NAMES) if k < 4 or distortion.get(n, 0.0) != 0.0]
    return [f"{name} {distortion.get(name, 0.0):.12g}" for name in written]


def write_tables(folder: Path, calibration: Calibration, image_name: str) -> list[Path]:
    """Write ring list, report and points into a folder and return their paths."""
    return [
        write_hkls(folder / HKLS_NAME, calibration.rings, calibration.geometry.distance),
        write_screen_output(folder / SCREEN_NAME, calibration),
        write_points(folder / f"{image_name}.corr.csv", calibration),
    ]
