"""What a batch came to, as a table for a terminal of 80 characters."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

from midas.refine.pictures import PICTURES
from midas.refine.summary import SUMMARY_NAME, source_name
from midas.refine.table import NO_PARQUET, TABLE_NAME, has_parquet

WIDTH = 80
WORST = 5
"""Histograms that are named with their reasons."""
_MAX_REASON_LINES = 3
_COUNTS = ("succeeded", "partial", "failed", "skipped")
_CELL_UNITS = {**dict.fromkeys("abc", "Å"), **dict.fromkeys(("alpha", "beta", "gamma"), "deg")}
_BAD = ("failed", "partial", "skipped")


def summary_lines(summary: Mapping[str, Any], *, verbose: bool = False) -> list[str]:
    """Return the table of a batch: statuses, Rwp, the phases' mean values, and the five worst with their reasons.

    `verbose` lists every histogram with its stages in place of the five.

    Examples
    --------
    >>> empty = {"histograms": [], "phases": [], "mean_Rwp": None, "median_Rwp": None, "total_histograms": 0}
    >>> summary_lines({**empty, "succeeded": 0, "partial": 0, "failed": 0, "skipped": 0})[0]
    '0 histograms: 0 succeeded, 0 partial, 0 failed, 0 skipped'
    """
    counts = ", ".join(f"{summary[name]} {name}" for name in _COUNTS)
    name = source_name(summary)
    head = f"{summary['total_histograms']} histograms{' of ' if name else ''}{name}: {counts}"
    lines = textwrap.wrap(head, WIDTH, subsequent_indent="  ", break_long_words=False)
    lines.append(_rwp_line(summary))
    for note in summary.get("override_notes", ()):
        lines += textwrap.wrap(note, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    lines += [*_phase_lines(summary), *_remark_lines(summary.get("remarks", ()))]
    if verbose:
        return [*lines, *_histogram_lines("histogram", summary["histograms"], stages=True)]
    return [*lines, *_histogram_lines("worst", worst(summary))]


def _rwp_line(summary: Mapping[str, Any]) -> str:
    if summary["mean_Rwp"] is not None:
        return f"Rwp of the successes: mean {percent(summary['mean_Rwp'])}, median {percent(summary['median_Rwp'])}"
    partial = [h["Rwp"] for h in summary["histograms"] if h["status"] == "partial" and h["Rwp"] is not None]
    if not partial:
        return "Rwp: none, there is no success"
    return f"no success; Rwp of the partial ones: mean {percent(fmean(partial))}, median {percent(median(partial))}"


def percent(value: float | None) -> str:
    """Return an Rwp as text.

    Examples
    --------
    >>> percent(4.0), percent(None)
    ('4.00 %', 'none')
    """
    return "none" if value is None else f"{value:.2f} %"


def worst(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return up to five histograms that are not a success, the failed ones first, then by Rwp."""
    bad = [h for h in summary["histograms"] if h["status"] in _BAD]
    bad.sort(key=lambda h: (_BAD.index(h["status"]), -(h["Rwp"] or 0.0), h["histogram_index"]))
    return bad[:WORST]


def exit_status(summary: Mapping[str, Any]) -> int:
    """Return what a program ends with: 0 when nothing failed, 3 when nothing could be refined, 1 in between.

    Where no histogram is a success, each with a reservation, that is 1, too.
    """
    if summary["succeeded"] + summary["partial"] == 0:
        return 3
    return 1 if summary["failed"] or not summary["succeeded"] else 0


def written_lines(folder: Path) -> list[str]:
    """Return where the results lie, and in one line why there is no Parquet table where there is none."""
    names = [SUMMARY_NAME, *(f"{TABLE_NAME}.{end}" for end in ("csv", "parquet"))]
    there = [name for name in names if (folder / name).is_file()]
    pictures = PICTURES if any(folder.glob(PICTURES)) else ""
    lines = [f"written to {folder}:", f"  {', '.join([*there, *([pictures] if pictures else [])])}"]
    return lines if has_parquet() else [*lines, NO_PARQUET]


def phase_rows(summary: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return a heading, then mean, scatter and median esd over the successes of what was refined of each phase.

    Without a success they are over the partial ones.
    """
    phases = summary["phases"] or summary.get("partial_phases", ())
    rows: list[tuple[str, ...]] = [("phase", "", "mean", "scatter", "median esd", "of")]
    for phase in phases:
        name = _shortened(phase["name"], 22)
        for label, mean, scatter, esd in mean_quantities(phase, several=len(phases) > 1):
            digits = max((_digits(v) for v in (scatter, esd)), default=0)
            values = ["-" if v is None else f"{v:.{digits}f}" for v in (mean, scatter, esd)]
            rows.append((name, label, *values, str(phase["n"])))
            name = ""
    return rows


def _phase_lines(summary: Mapping[str, Any]) -> list[str]:
    """Return these rows as lines."""
    rows, only_partial = phase_rows(summary), not summary["phases"] and bool(summary.get("partial_phases"))
    if len(rows) == 1:
        return []
    widths = [max(len(row[i]) for row in rows) for i in range(6)]
    aligns = "<<>>>>"
    head = ["", "of partial fits only, each with its reservation:"] if only_partial else [""]
    return [
        *head,
        *("  ".join(f"{v:{a}{w}}" for v, a, w in zip(r, aligns, widths, strict=True)).rstrip() for r in rows),
    ]


def _remark_lines(remarks: Sequence[str]) -> list[str]:
    """Return what the fits say together, each sentence wrapped."""
    lines = [line for words in remarks for line in textwrap.wrap(words, WIDTH, subsequent_indent="  ")]
    return ["", *lines] if lines else []


def mean_quantities(
    phase: Mapping[str, Any], *, several: bool
) -> list[tuple[str, float | None, float | None, float | None]]:
    """Return label, mean, scatter and median esd of each refined cell parameter, b and c only where they differ."""
    mean, scatter, esd = phase["mean"], phase["scatter"], phase["median_esd"]
    found = [
        (f"{key} [{unit}]", mean[key], scatter[key], esd[key])
        for key, unit in _CELL_UNITS.items()
        if esd[key] is not None and not (key in "bc" and mean[key] == mean["a"])
    ]
    fraction = phase.get("weight_fraction")
    if several and fraction:
        found.append(("weight fraction", fraction["mean"], fraction["scatter"], fraction["median_esd"]))
    return found


def _digits(value: float | None) -> int:
    """Return the decimals that show two figures of an uncertainty."""
    return 0 if not value else min(max(0, 1 - math.floor(math.log10(abs(value)))), 8)


def _histogram_lines(title: str, entries: list[Any], *, stages: bool = False) -> list[str]:
    if not entries:
        return []
    lines = ["", f"{title:>9}  {'η [deg]':>8}  {'ω [deg]':>8}  {'status':8}  {'Rwp [%]':>7}"]
    for h in entries:
        places = [" " * 8 if h.get(name) is None else f"{h[name]:8.2f}" for name in ("eta", "omega")]
        rwp = "" if h["Rwp"] is None else f"{h['Rwp']:7.2f}"
        lines.append(f"{h['histogram_index']:9d}  {'  '.join(places)}  {h['status']:8}  {rwp}".rstrip())
        of_file = f"{Path(h['data_file']).name}: " if h.get("data_file") else ""  # of several
        lines += _wrapped(of_file + (h["reason"] or ""))
        if stages:
            lines += [f"{'':11}{s['name']}: {s['outcome']}, Rwp {percent(s['Rwp'])}" for s in h["stages"]]
    return lines


def _wrapped(reason: str) -> list[str]:
    return textwrap.wrap(
        " ".join(reason.split()),
        WIDTH,
        initial_indent=" " * 11,
        subsequent_indent=" " * 11,
        max_lines=_MAX_REASON_LINES,
        placeholder=" ...",
        break_on_hyphens=False,
    )


def _shortened(name: str, width: int) -> str:
    return name if len(name) <= width else name[: width - 3] + "..."
