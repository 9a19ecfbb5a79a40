"""Whether cells hang on an axial divergence that the data cannot tell: a fit beside the fit, when all stages are done.

The asymmetry of the lines moves the first rings, so that a cell found from them depends on SH/L. Where it could not be
refined (few rings, or lines that are symmetric) and nobody measured it, the other value that it may well have is tried.
Like `judge.py` this imports nothing of midas: engine workers load it by its path, and hand in their model and judge.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

STAGE = "axial divergence"
SYMMETRIC = 0.0
USUAL = 0.002
"""SH/L to set beside symmetric lines: GSAS-II's own default, which files carry where nobody measured it."""


def settle(
    model: Any, kept: set[str], judge: Any, run_stage: Callable[..., Any]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Keep the better of two values of SH/L; return the record of it, where it is the other, and reservations.

    Where the data do not tell them apart lines are symmetric: arcs of an area detector have next to no divergence.
    `model.job["sh_l_known"]` says that it was measured, `kept` what the fit has free, `run_stage` is the worker's.
    """
    if model.job["sh_l_known"] or "sh_l" in model.without_idle({"sh_l"} & kept):
        return [], []
    value = model.axial_divergence
    other = max(float(model.job["instrument"]["sh_l"]), USUAL) if model.is_symmetric else SYMMETRIC
    lines = model.calculated - model.background
    bound = judge.axial_bound(model.two_theta, lines, model.weights, max(value, other))
    esds = model.cell_esds()
    moved = {name: bound / esd for name, esd in esds.items()}
    if not judge.axial_doubts(moved) and (model.is_symmetric or not any(by > 1.0 for by in moved.values())):
        return [], []
    start, chi2, cells, gof = model.state(), model.chi2(), model.cells(), model.noise()
    model.set_axial_divergence(other)
    stage = {"name": STAGE, "refine": sorted(kept - {"sh_l"}), "alternatives": [], "required": False, "max_cycles": 20}
    record, _ = run_stage(model, stage, set(), judge)
    if record["outcome"] != "kept":
        model.restore(start)
        return [], judge.axial_doubts(moved)
    gain, found = chi2 - model.chi2(), model.cells()
    better = gain > 0 if judge.is_needed(abs(gain), 0, gof) else other == SYMMETRIC
    if not better:
        model.restore(start)
    moved = {name: judge.largest_change(cells[name], found[name]) / esd for name, esd in esds.items()}
    return [record] if better else [], judge.axial_doubts(moved, gain, gof)
