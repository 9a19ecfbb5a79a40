"""All pictures of a batch: the scan as a whole, and each histogram."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from midas.refine.maps import phase_quantities, plot_results, plot_rwp, quality_quantities, width_quantities
from midas.refine.plot import plot_histogram, read_pattern
from midas.refine.summary import source_name
from midas.refine.table import phase_names, read_summary

PICTURES = "refinement_*.png"
"""The pictures of the batch as a whole; each histogram has its own."""
Progress = Callable[[int, int, str], None]

_log = logging.getLogger(__name__)


def draw_results(summary: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draw what was found over eta and omega, and the histogram of Rwp; return the pictures written.

    `refinement_phase_<name>.png` has the cell, the weight fraction and what else was refined of a phase,
    `refinement_widths.png` the profile, `refinement_quality.png` Rwp and GOF, and `refinement_rwp.png` how Rwp is
    distributed. What there is nothing to draw of is not written, and one of an earlier run is removed.
    """
    head = f"{source_name(summary)}: "
    wanted = {
        f"refinement_phase_{name}.png": (phase_quantities(summary, name), head + name) for name in phase_names(summary)
    }
    wanted["refinement_widths.png"] = width_quantities(summary), f"{head}profile of the instrument"
    wanted["refinement_quality.png"] = quality_quantities(), f"{head}quality of the fits"
    remove_old_pictures(folder)
    written = [
        folder / name
        for name, (quantities, title) in wanted.items()
        if plot_results(summary, quantities, title=title, path=folder / name) is not None
    ]
    rwp = folder / "refinement_rwp.png"
    if len(summary["histograms"]) > 1 and plot_rwp(summary, path=rwp) is not None:
        return [*written, rwp]
    return written


def remove_old_pictures(folder: Path) -> None:
    """Remove the pictures of an earlier batch, which would pass for those of the next."""
    for old in folder.glob(PICTURES):
        old.unlink()


def draw_histograms(summary: Mapping[str, Any], folder: Path, *, progress: Progress | None = None) -> list[Path]:
    """Draw every histogram that was exported, as `hist_NNNN.png`; return the pictures written."""
    written = []
    entries = summary["histograms"]
    for done, entry in enumerate(entries, 1):
        index = entry["histogram_index"]
        if (folder / f"hist_{index:04d}_data.csv").is_file():
            written.append(folder / f"hist_{index:04d}.png")
            plot_histogram(
                read_pattern(folder, index),
                title=histogram_title(entry),
                status=entry["status"],
                reason=entry["reason"] or "",
                path=written[-1],
            )
        if progress is not None:
            progress(done, len(entries), f"picture of histogram {index}")
    return written


def histogram_title(entry: Mapping[str, Any]) -> str:
    """Return what stands above a histogram's picture.

    Examples
    --------
    >>> histogram_title({"histogram_index": 3, "status": "success", "Rwp": 4.5, "eta": 30.0, "omega": 5.0})
    'histogram 3, η 30 deg, ω 5 deg: success, Rwp 4.50 %'
    """
    words = [f"histogram {entry['histogram_index']}"]
    words += [f"{name} {entry[key]:g} deg" for key, name in (("eta", "η"), ("omega", "ω")) if entry[key] is not None]
    rwp = "no Rwp" if entry["Rwp"] is None else f"Rwp {entry['Rwp']:.2f} %"
    return f"{', '.join(words)}: {entry['status']}, {rwp}"


def draw_pictures(folder: Path | str, *, progress: Progress | None = None) -> list[Path]:
    """Draw all pictures of a finished batch from the files in its folder; return those written.

    Raises
    ------
    FormatError
        The folder holds no summary.
    """
    folder = Path(folder)
    summary = read_summary(folder)
    return [*draw_results(summary, folder), *draw_histograms(summary, folder, progress=progress)]
