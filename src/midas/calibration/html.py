"""A calibration as a small table for notebooks."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np

from midas.calibration.plot import COLORS
from midas.calibration.values import label_of, named_values, with_esd

if TYPE_CHECKING:
    from midas.calibration.result import Calibration


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
        f'<tr><th style="text-align:left">{escape(label)}</th><td>{value}</td><td>{unit}</td></tr>'
        for label, value, unit in _rows(calibration)
    )
    table = f"<table><tr><th></th><th>value(esd)</th><th></th></tr>{rows}</table>"
    return f"<div><p>{head}</p>{f'<ul>{reasons}</ul>' if reasons else ''}{table}</div>"


def _rows(calibration: Calibration) -> list[tuple[str, str, str]]:
    """Return (name, value with its standard uncertainty in brackets, unit) of what was refined."""
    rows = []
    for name, value in named_values(calibration.geometry).items():
        if name in calibration.esd:
            label, unit, factor = label_of(name)
            rows.append((label, with_esd(value * factor, calibration.esd[name] * factor), unit))
    return rows
