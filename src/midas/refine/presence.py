"""Whether phases are in the data, asked again when all stages are done: of those left out, and of those still in.

Like `judge.py` this imports nothing of midas: engine workers load it by its path, and hand in their model and judge.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def look_again(model: Any, kept: set[str], judge: Any, run_stage: Callable[..., Any]) -> dict[str, dict[str, Any]]:
    """Try phases that were absent before cells and widths were fitted once more.

    Return the record of the fit with each that is there after all, by its name.

    A phase of some percent is not seen while the other's lines are misfitted by more, or its own lie beside their
    places, as with a wavelength that is off.
    """
    found: dict[str, dict[str, Any]] = {}
    stage = {"name": "presence", "refine": sorted(kept), "alternatives": [], "required": False, "max_cycles": 20}
    for name in sorted(model.left_out):
        start, chi2, noise, free = model.state(), model.chi2(), model.noise(), model.n_free()
        model.bring_back(name)
        if name in model.phases_without_reflections():
            model.restore(start)
            continue
        model.linear_scales(judge.linear_fit)
        record, _ = run_stage(model, stage, set(), judge)
        gained = max(model.n_free() - free, 1)
        there = record["outcome"] == "kept" and judge.is_present(*model.scales()[name])
        if there and judge.is_needed(chi2 - model.chi2(), gained, noise):
            found[name] = record
        else:
            model.restore(start)
    return found


def drop_ghosts(
    model: Any, kept: set[str], judge: Any, run_stage: Callable[..., Any], missed: list[dict[str, Any]]
) -> tuple[list[str], set[str], list[dict[str, Any]]]:
    """Leave out phases that the data do not ask for, the least significant first.

    Return what to say of each, the parameters free afterwards, and the records of `missed` stages that are kept then.

    A scale well above zero is no proof where a phase's lines lie under another's: the fit without it is, together with
    the stages that could not be kept while it was there, whose part it may have taken. One that no such fit could do
    without (`judge.is_certain`) is not put to that test.
    """
    gone: list[str] = []
    records: list[dict[str, Any]] = []
    for name in sorted(model.active, key=lambda n: model.significance().get(n, 0.0)):
        if len(model.active) == 1 or judge.is_certain(model.significance().get(name, 0.0), model.gof() or 1.0):
            break
        stage = {"name": "presence", "refine": sorted(kept), "alternatives": [], "required": True, "max_cycles": 20}
        start, chi2, noise, free = model.state(), model.chi2(), model.noise(), model.n_free()
        model.leave_out([name])
        record, names = run_stage(model, stage, set(), judge)
        again = []
        for other in missed if record["outcome"] == "kept" else ():
            found, names = run_stage(model, other, names, judge)
            again += [found] if found["outcome"] == "kept" else []
        lost = max(free - model.n_free(), 1)
        if record["outcome"] == "kept" and not judge.is_needed(model.chi2() - chi2, lost, noise):
            gone.append(f"{name} is not in the data: the fit is as good without it")
            kept, records = names, [*records, *again]
            continue
        model.restore(start)
        break
    return gone, kept, records
