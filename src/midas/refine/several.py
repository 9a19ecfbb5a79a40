"""The summaries of several caked files of one scan as one: one table, one map, one list of the worst."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from midas.refine.pictures import draw_results
from midas.refine.summary import collect, write_summary
from midas.refine.table import write_table

_SHARED = ("engine", "cif_files", "phase_names", "reference_cells", "instprm", "limits", "bkg_terms", "stages", "sigma")


def joined_summary(summaries: Sequence[Mapping[str, Any]], folder: Path) -> dict[str, Any]:
    """Return one summary of all, in the order given; each histogram says which `data_file` it is of.

    `histogram_index` stays the number in the histogram's own file; `scan_index` numbers the sums over all files.

    Examples
    --------
    >>> entry = {"sum_index": 0, "status": "skipped", "Rwp": None, "phases": []}
    >>> one = {"data_file": "a.zarr.zip", "histograms": [entry]}
    >>> [h["scan_index"] for h in joined_summary([one, {**one, "data_file": "b.zarr.zip"}], Path("out"))["histograms"]]
    [0, 1]
    """
    histograms: list[dict[str, Any]] = []
    first = 0
    for summary in summaries:
        of_file = summary["histograms"]
        for h in of_file:
            histograms.append({**h, "data_file": summary["data_file"], "scan_index": first + h["sum_index"]})
        first += 1 + max((h["sum_index"] for h in of_file), default=-1)
    about = {key: summaries[0].get(key) for key in _SHARED if key in summaries[0]}
    files = [summary["data_file"] for summary in summaries]
    notes = dict.fromkeys(note for summary in summaries for note in summary.get("override_notes", ()))
    return collect(str(folder), histograms, {**about, "override_notes": list(notes), "data_files": files})


def write_joined(summaries: Sequence[Mapping[str, Any]], folder: Path) -> dict[str, Any]:
    """Write summary, table and pictures of all files into the folder and return the summary; of one file, only draw."""
    if len(summaries) == 1:
        summary = dict(summaries[0])
    else:
        summary = joined_summary(summaries, folder)
        write_summary(summary, folder)
        write_table(summary, folder)
    draw_results(summary, folder)
    return summary
