"""The summary of a batch as a prompt or a notebook shows it: a table in place of a page for each histogram."""

from __future__ import annotations

from typing import Any

from midas.refine.report import mean_quantities, percent, summary_lines, worst
from midas.shown import html_rows


class RefinementSummary(dict[str, Any]):
    """A summary of a refinement: a dictionary in all but how it is shown.

    Examples
    --------
    >>> RefinementSummary({"x": 1})["x"]
    1
    """

    def __repr__(self) -> str:
        """Return the table that `midas refine` ends with; one that lacks what it tells is shown as a dictionary."""
        try:
            return "\n".join(summary_lines(self))
        except (KeyError, TypeError):
            return dict.__repr__(self)

    def _repr_html_(self) -> str:
        """Return the mean values of each phase and the worst histograms as tables for notebooks."""
        try:
            return self._tables()
        except (KeyError, TypeError):
            return html_rows("Refinement", ("what", "value"), [(str(k), str(v)[:200]) for k, v in self.items()])

    def _tables(self) -> str:
        head = ", ".join(f"{self[name]} {name}" for name in ("succeeded", "partial", "failed", "skipped"))
        caption = f"Refinement of {self['total_histograms']} histograms: {head}; mean Rwp {percent(self['mean_Rwp'])}"
        phases = [
            (str(phase["name"]), label, *(_number(value) for value in values))
            for phase in self["phases"]
            for label, *values in mean_quantities(phase, several=len(self["phases"]) > 1)
        ]
        tables = html_rows(caption, ("phase", "", "mean", "scatter", "median esd"), phases)
        bad = [(str(h["histogram_index"]), h["status"], percent(h["Rwp"]), str(h["reason"] or "")) for h in worst(self)]
        return tables + (html_rows("The worst", ("histogram", "status", "Rwp", "reason"), bad) if bad else "")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
