"""A calibration as a small table for notebooks."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np

from midas.calibration.plot import COLORS
from midas.geometry import HARMONIC_TERMS

if TYPE_CHECKING:
    from midas.calibration.result import Calibration

_LABELS = {
    "distance": ("distance", "mm", 1e-3),
    "beam_center_y": ("beam centre, column", "px", 1.0),
    "beam_center_z": ("beam centre, row", "px", 1.0),
    "tilt_y": ("tilt y", "deg", 1.0),
    "tilt_z": ("tilt z", "deg", 1.0),
    "parallax": ("parallax", "µm", 1.0),
}
_PHASES = frozenset(phase for _, phase, _ in HARMONIC_TERMS)


def calibration_html(calibration: Calibration) -> str:
    """Return an HTML fragment: the verdict and its reasons, the strains, and each refined value with its esd."""
    colour = COLORS[calibration.verdict]
    held_out = calibration.held_out_strain
    strain = f"mean strain {calibration.mean_strain * 1e6:.1f} µε"
    if np.isfinite(held_out):
        strain += f" (held out {held_out * 1e6:.1f} µε)"
    head = (
        f'<b style="color:{colour}">{escape(calibration.verdict)}</b> &middot; {strain} &middot; '
        f"{int(calibration.used.sum())} points of {len(calibration.ring_table)} rings of "
        f"{escape(calibration.calibrant)}"
    )
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in calibration.reasons)
    rows = "".join(
        f'<tr><th style="text-align:left">{escape(label)}</th><td>{value}</td><td>{sigma}</td><td>{unit}</td></tr>'
        for label, value, sigma, unit in _rows(calibration)
    )
    table = f"<table><tr><th></th><th>value</th><th>esd</th><th></th></tr>{rows}</table>"
    return f"<div><p>{head}</p>{f'<ul>{reasons}</ul>' if reasons else ''}{table}</div>"


def _rows(calibration: Calibration) -> list[tuple[str, str, str, str]]:
    """Return (name, value, standard uncertainty, unit) of what was refined."""
    g = calibration.geometry
    values: dict[str, float] = {
        "distance": g.distance,
        "beam_center_y": g.beam_center[0],
        "beam_center_z": g.beam_center[1],
        "tilt_y": g.tilts[1],
        "tilt_z": g.tilts[2],
        "parallax": g.parallax,
        **g.distortion,
    }
    rows = []
    for name, sigma in calibration.esd.items():
        if name not in values:
            continue
        label, unit, scale = _LABELS.get(name, (name, "deg" if name in _PHASES else "", 1.0))
        value, error = _with_digits(values[name] * scale, sigma * scale)
        rows.append((label, value, error, unit))
    return rows


def _with_digits(value: float, sigma: float) -> tuple[str, str]:
    """Return value and standard uncertainty to two digits of the latter."""
    if not np.isfinite(sigma) or sigma <= 0.0:
        return f"{value:.6g}", "&ndash;"
    digits = 1 - int(np.floor(np.log10(sigma)))
    if 0 <= digits <= 7:
        return f"{value:.{digits}f}", f"{sigma:.{digits}f}"
    wide = max(0, int(np.floor(np.log10(max(abs(value), sigma)))) + digits)
    return f"{value:.{wide}e}", f"{sigma:.1e}"
