"""A refinement as part of a report: the table of its histograms, each fit, and maps of what was refined."""

from __future__ import annotations

import html
import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np
from numpy.typing import NDArray

from midas.errors import FormatError
from midas.io.gsas_zarr import SUFFIX
from midas.refine.maps import Quantity, phase_quantities, quality_quantities, width_quantities
from midas.refine.plot import MAX_GAP, TICK_COLOURS, Pattern, read_pattern
from midas.refine.report import percent, phase_rows, worst
from midas.refine.scan_grid import robust_range, scan_grid
from midas.refine.summary import source_name
from midas.refine.table import BELIEVED, phase_names
from midas.report import Part
from midas.report.encode import packed
from midas.report.figures import buttons, plot, table, verdict
from midas.shown import evenly

CURVE_POINTS = 1_200_000
"""Points of all curves that a report holds."""
_FEWEST_POINTS = 700
"""Patterns are not made coarser than this to make room for others."""
_NOISE_STEP = 0.05
"""Differences are kept to this fraction of sigma."""
_EVERY = 8
"""The background is smooth: one point of so many is kept."""
_STATUSES = ("success", "partial", "failed", "skipped")
_log = logging.getLogger(__name__)


def refinement_part(summary: Mapping[str, Any], folder: Path, *, place: str = "fit") -> Part:
    """Return the section of a refinement from its summary and the files of its folder."""
    entries = summary["histograms"]
    quantities = _quantities(summary)
    kept, factor, n_exported = _which_curves(summary, folder)
    curves = _curves(summary, folder, kept, factor)
    grid = scan_grid(summary)
    places = {(row, column): entry for (row, column), entry in grid.entries.items()}
    of_entry = {id(entry): where for where, entry in places.items()}
    data: dict[str, Any] = {
        "index": [e["histogram_index"] for e in entries],
        "file": [Path(e["data_file"]).name for e in entries] if summary.get("data_files") else None,
        "eta": packed([_number(e["eta"]) for e in entries], "f8"),
        "omega": packed([_number(e["omega"]) for e in entries], "f8"),
        "status": [e["status"] for e in entries],
        "reason": ["; ".join([*([e["reason"]] if e["reason"] else []), *e.get("warnings", ())]) for e in entries],
        "rwp": packed([_number(e["Rwp"]) for e in entries], "f8"),
        "gof": packed([_number(e["GOF"]) for e in entries], "f8"),
        "stages": [_stages(e) for e in entries],
        "place": [list(of_entry[id(e)]) for e in entries],
        "quantities": [_values(q, label, entries) for label, q in quantities],
        "columns": [i for i, (label, q) in enumerate(quantities) if q.name not in ("Rwp", "GOF")],
        "grid": {"eta": packed(grid.eta.values, "f8"), "omega": packed(grid.omega.values, "f8"),
                 "eta_label": grid.eta.label, "omega_label": grid.omega.label},
        "first": _first(summary),
        "phases": list(phase_names(summary)),
        "colours": list(TICK_COLOURS),
        "gap": MAX_GAP,
        **curves,
    }  # fmt: skip
    status, kind = _status(summary)
    return Part(
        "Refinement",
        _html(summary, place, data, factor, len(kept), n_exported),
        data={"fits": {place: data}},
        status=status,
        kind=kind,
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _first(summary: Mapping[str, Any]) -> int:
    """Return the place in the list of the histogram that is shown first: the worst, of whatever status."""
    entries = summary["histograms"]
    if not entries:
        return -1
    bad = worst(summary)
    found = bad[0] if bad else max(entries, key=lambda e: -1.0 if e["Rwp"] is None else e["Rwp"])
    return next(i for i, e in enumerate(entries) if e is found)


def _stages(entry: Mapping[str, Any]) -> str:
    """Return in a few words how far a refinement came."""
    said = []
    for stage in entry.get("stages") or ():
        rwp = "" if stage.get("Rwp") is None else f" {stage['Rwp']:.2f} %"
        said.append(f"{stage['name']}: {stage['outcome']}{rwp}")
    return "; ".join(said)


def _quantities(summary: Mapping[str, Any]) -> list[tuple[str, Quantity]]:
    """Return what is drawn and listed, with the name it has on the page."""
    names = phase_names(summary)
    found = [(f"{n} {q.name}" if len(names) > 1 else q.name, q) for n in names for q in phase_quantities(summary, n)]
    found += [(q.name, q) for q in width_quantities(summary)]
    return [*found, *((q.name, q) for q in quality_quantities())]


def _values(quantity: Quantity, label: str, entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a quantity of each histogram, NaN where the fit is not believed or the value was not refined."""
    pairs = np.full((2, len(entries)), np.nan)
    for k, entry in enumerate(entries):
        if entry["status"] in BELIEVED:
            pairs[:, k] = [_number(v) for v in quantity.take(entry)]
    if quantity.is_refined:
        pairs[0, ~np.isfinite(pairs[1])] = np.nan
    low, high = robust_range(pairs[0])
    known = pairs[1][np.isfinite(pairs[1])]
    missing = max(0.0, 4.0 * float(np.median(known)) - (high - low)) if known.size else 0.0
    return {
        "label": label, "unit": quantity.unit, "value": packed(pairs[0], "f8"), "esd": packed(pairs[1], "f4"),
        "range": [low - missing / 2.0, high + missing / 2.0],
        "median_esd": float(np.median(known)) if known.size else None,
    }  # fmt: skip


def _folder_of(entry: Mapping[str, Any], summary: Mapping[str, Any], folder: Path) -> Path:
    """Return where the files of a histogram are: of several caked files each has a folder of its own."""
    if len(summary.get("data_files") or ()) < 2:
        return folder
    return folder / Path(entry["data_file"]).name.removesuffix(SUFFIX)


def _which_curves(summary: Mapping[str, Any], folder: Path) -> tuple[list[int], int, int]:
    """Return the places of the histograms whose curves are kept, how many points become one, and how many there are.

    Those that are no success come first, then the worst and, at even distances, the others.
    """
    entries = summary["histograms"]
    there = [
        k for k, e in enumerate(entries)
        if (_folder_of(e, summary, folder) / f"hist_{e['histogram_index']:04d}_data.csv").is_file()
    ]  # fmt: skip
    sizes = [int(entries[k].get("n_points") or 0) or 1500 for k in there]
    total, typical = sum(sizes), float(np.median(sizes)) if sizes else 0.0
    factor = 1
    while total / factor > CURVE_POINTS and typical / (factor + 1) >= _FEWEST_POINTS:
        factor += 1
    room = int(CURVE_POINTS * factor / max(typical, 1.0))
    if len(there) <= room:
        return there, factor, len(there)
    bad = [k for k in there if entries[k]["status"] != "success"][: room // 2]
    rest = sorted((k for k in there if k not in set(bad)), key=lambda k: -(entries[k]["Rwp"] or 0.0))
    left = room - len(bad)
    chosen = [*bad, *rest[: left // 4]]
    others = sorted(set(there) - set(chosen))
    chosen += evenly(others, left - left // 4)
    return sorted(set(chosen)), factor, len(there)


def _curves(summary: Mapping[str, Any], folder: Path, kept: Sequence[int], factor: int) -> dict[str, Any]:
    """Return the curves of the histograms; axes that are equal are stored once."""
    axes: dict[bytes, int] = {}
    stored_axes: list[Any] = []
    curves: dict[str, Any] = {}
    for k in kept:
        entry = summary["histograms"][k]
        try:
            pattern = read_pattern(_folder_of(entry, summary, folder), entry["histogram_index"])
        except (FormatError, ValueError) as error:
            _log.warning("the curves of histogram %d are not in the report: %s", entry["histogram_index"], error)
            continue
        pattern = _coarser(pattern, factor)
        key = pattern.two_theta.astype(np.float32).tobytes()
        if key not in axes:
            axes[key] = len(stored_axes)
            stored_axes.append(packed(pattern.two_theta, "f4"))
        curves[str(k)] = {"x": axes[key], **_stored(pattern)}
    return {"axes": stored_axes, "curves": curves}


def _coarser(pattern: Pattern, factor: int) -> Pattern:
    """Return the pattern with each `factor` points as their mean; a point never spans a gap."""
    if factor == 1:
        return pattern
    x = pattern.two_theta
    steps = np.diff(x)
    run = np.concatenate([[0], np.cumsum(steps > MAX_GAP * float(np.median(steps)))]) if len(steps) else np.zeros(1)
    first = np.searchsorted(run, run)
    new = (np.arange(len(x)) - first) % factor == 0
    starts = np.flatnonzero(new)
    n = np.diff(np.append(starts, len(x)))

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.add.reduceat(values, starts) / n)

    sigma = np.sqrt(np.add.reduceat(pattern.sigma**2, starts)) / n
    return Pattern(
        mean(x), mean(pattern.observed), mean(pattern.calculated), mean(pattern.background), sigma, pattern.ticks
    )


def _stored(pattern: Pattern) -> dict[str, Any]:
    """Return curves as the page keeps them: the model on a root scale, differences in steps of sigma, log of sigma.

    Steps are small beside the noise: the observed intensity comes back to a twentieth of sigma.
    """
    calc, back, sigma = pattern.calculated, pattern.background, pattern.sigma
    usable = np.isfinite(sigma) & (sigma > 0.0)
    floor_sigma = float(sigma[usable].min()) if usable.any() else 1.0
    sigma = np.where(usable, sigma, floor_sigma)
    low, top = float(np.nanmin(calc)), float(np.nanmax(calc))
    root = np.sqrt(np.maximum(calc - low, 0.0))
    step = max(float(np.sqrt(max(top - low, 0.0))) / 65000.0, 1e-12)
    model = np.rint(np.nan_to_num(root) / step)
    shown = low + (model * step) ** 2
    log_low, log_high = math.log(floor_sigma), math.log(max(float(sigma.max()), floor_sigma * 1.0001))
    level = np.rint((np.log(sigma) - log_low) / (log_high - log_low) * 254.0)
    coarse = np.exp(log_low + level / 254.0 * (log_high - log_low))
    ratio = np.nan_to_num((pattern.observed - shown) / coarse)
    unit = max(_NOISE_STEP, float(np.abs(ratio).max(initial=0.0)) / 32000.0)
    ends = np.unique(np.append(np.arange(0, len(calc), _EVERY), max(len(calc) - 1, 0)))
    return {
        "c": packed(model, "u2", delta=True), "low": low, "step": step,
        "s": packed(level, "u1"), "s_log": [log_low, log_high],
        "r": packed(np.rint(ratio / unit), "i2"), "unit": unit,
        "b": packed(back[ends], "f4"), "every": _EVERY,
        "t": [packed(pattern.ticks.get(name, np.zeros(0)), "f4") for name in pattern.ticks],
        "t_names": list(pattern.ticks),
    }  # fmt: skip


def _html(
    summary: Mapping[str, Any], place: str, data: Mapping[str, Any], factor: int, n_kept: int, n_exported: int
) -> str:
    entries = summary["histograms"]
    told = _banner(summary)
    note = _said_of_curves(len(entries), n_exported, n_kept, factor)
    scale = buttons(f"{place}-plot", (("sqrt", "root"), ("linear", "linear"), ("log", "log")), "sqrt", "scale")
    move = (
        f'<button type="button" id="{place}-previous">◀ previous</button> '
        f'<button type="button" id="{place}-next">next ▶</button>'
    )
    fit = (
        f'<h3>Fit</h3><p class="controls">{scale} {move}</p>'
        f'<p class="fit-name" id="{place}-name" aria-live="polite"></p>'
        + plot(f"{place}-plot", "Observed, calculated and background, ticks where reflections are, and below "
               f"(observed - calculated) / σ with a band of ±3. {note}", shape="tall", label="fit of a histogram")
    )  # fmt: skip
    filters = "".join(f'<option value="{s}">{s}</option>' for s in ("all", *_STATUSES))
    listed = (
        f'<h3>Histograms</h3><p class="controls"><label>show <select id="{place}-filter">{filters}</select></label>'
        f' <span id="{place}-pages"></span></p><p class="hint">Click a heading to sort, a row to see its fit.</p>'
        f'<div class="scroll listing"><table class="numbers fits" id="{place}-table"></table></div>'
    )
    maps = ""
    if len(entries) > 1 and data["quantities"]:
        choice = "".join(f'<option value="{i}">{_label(q)}</option>' for i, q in enumerate(data["quantities"]))
        caption = (
            "Over azimuth and rotation. × failed, + partial (has a reservation), · skipped, – without a value; grey: "
            "no value that is believed. The scale leaves outliers out. Click a place to see its fit."
        )
        maps = (
            f'<h3>Maps</h3><p class="controls"><label>quantity <select id="{place}-quantity">{choice}</select>'
            f'</label> <output id="{place}-esd"></output></p>'
            + plot(f"{place}-map", caption, shape="tall", label="map of a refined quantity")
            + plot(f"{place}-rwp", "How Rwp is distributed.", shape="low", label="histogram of Rwp")
        )
    return told + maps + fit + listed + _about(summary)


def _label(quantity: Mapping[str, Any]) -> str:
    words = f"{quantity['label']} [{quantity['unit']}]" if quantity["unit"] else str(quantity["label"])
    return html.escape(words)


def _banner(summary: Mapping[str, Any]) -> str:
    counts = [(s, sum(e["status"] == s for e in summary["histograms"])) for s in _STATUSES]
    said = ", ".join(f"{n} {s}" for s, n in counts if n or s == "success")
    name = source_name(summary)
    words = f"{len(summary['histograms'])} histograms{f' of {name}' if name else ''}: {said}; Rwp of the successes: "
    words += f"mean {percent(summary.get('mean_Rwp'))}, median {percent(summary.get('median_Rwp'))}"
    reasons = [
        shorten(
            f"histogram {h['histogram_index']}, {h['status']}: {h['reason'] or h['error']}", 200, placeholder=" ..."
        )
        for h in worst(summary)
    ]
    status, kind = _status(summary)
    return verdict(status, words, [*summary.get("remarks", ()), *reasons], kind=kind)


def _status(summary: Mapping[str, Any]) -> tuple[str, str]:
    """Return what came of a batch in a word or two, and its colour."""
    n = Counter(e["status"] for e in summary["histograms"])
    if n["success"] + n["partial"] == 0:
        return "NONE REFINED", "failed"
    if n["failed"]:
        return f"{n['failed']} FAILED", "failed"
    if n["partial"]:
        return f"{n['partial']} PARTIAL", "doubtful"
    return "DONE", "good"


def _said_of_curves(n: int, n_exported: int, n_kept: int, factor: int) -> str:
    said = []
    if factor > 1:
        said.append(f"To keep the file small each point is the mean of {factor} of the data.")
    if n_kept < n_exported:
        said.append(
            f"This file holds the curves of {n_kept} of {n_exported} histograms: those that are no success, the worst, "
            "and others at even distances; all are in hist_NNNN_data.csv."
        )
    elif n_exported < n:
        said.append(f"{n - n_exported} of {n} histograms left no curves (skipped, failed early, or not exported).")
    return " ".join(said)


def _about(summary: Mapping[str, Any]) -> str:
    """Return mean, scatter and median esd of what was refined of each phase."""
    head, *rows = phase_rows(summary)
    return "<h3>Means over the successes</h3>" + table(head, rows, css="numbers") if rows else ""
