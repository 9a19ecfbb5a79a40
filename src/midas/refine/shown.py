"""The summary of a batch as a prompt or a notebook shows it: a table in place of a page for each histogram."""

from __future__ import annotations

from typing import Any

from midas.refine.report import percent, summary_lines, worst
from midas.shown import html_rows

_NEEDED = ("total_histograms", "succeeded", "partial", "failed", "skipped", "histograms", "phases", "mean_Rwp")


class RefinementSummary(dict[str, Any]):
    """A summary of a refinement: a dictionary in all but how it is shown.

    Examples
    --------
    >>> RefinementSummary({"x": 1})["x"]
    1
    """

    def __repr__(self) -> str:
        """Return the table that `midas refine` ends with; one that lacks what it tells is shown as a dictionary."""
        if not self._is_whole():
            return dict.__repr__(self)
        return "\n".join(summary_lines(self))

    def _repr_html_(self) -> str:
        """Return the mean values of each phase and the worst histograms as tables for notebooks."""
        if not self._is_whole():
            return html_rows("Refinement", ("what", "value"), [(str(k), str(v)[:200]) for k, v in self.items()])
        head = ", ".join(f"{self[name]} {name}" for name in ("succeeded", "partial", "failed", "skipped"))
        caption = f"Refinement of {self['total_histograms']} histograms: {head}; mean Rwp {percent(self['mean_Rwp'])}"
        phases = [
            (str(phase["name"]), name, _number(phase["mean"][name]), _number(phase["scatter"][name]), _number(esd))
            for phase in self["phases"]
            for name, esd in phase["median_esd"].items()
            if esd is not None
        ]
        tables = html_rows(caption, ("phase", "", "mean", "scatter", "median esd"), phases)
        bad = [(str(h["histogram_index"]), h["status"], percent(h["Rwp"]), str(h["reason"] or "")) for h in worst(self)]
        return tables + (html_rows("The worst", ("histogram", "status", "Rwp", "reason"), bad) if bad else "")

    def _is_whole(self) -> bool:
        return all(name in self for name in (*_NEEDED, "median_Rwp"))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
