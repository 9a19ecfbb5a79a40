"""The results of a batch as files: refinement_summary.json and the columns of each histogram."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from midas.io.atomic import atomic_path
from midas.refine.job import PhaseResult, RefinementResult, StageRecord, Value
from midas.refine.lineouts import Lineout
from midas.refine.remarks import batch_remarks

SUMMARY_NAME = "refinement_summary.json"
CELL = ("a", "b", "c", "alpha", "beta", "gamma", "volume")
COLUMNS = ("two_theta", "observed", "calculated", "difference", "background", "sigma")


@dataclass(frozen=True, eq=False)
class HistogramRecord:
    """A lineout with what became of it."""

    lineout: Lineout
    result: RefinementResult


def skipped_result(lineout: Lineout) -> RefinementResult:
    """Return the result of a lineout that was not worth a try."""
    n_points = len(lineout.two_theta)
    return RefinementResult(index=lineout.index, status="skipped", reason=lineout.skipped, n_points=n_points)


def summarise(data_file: Path, records: Iterable[HistogramRecord], about: dict[str, Any]) -> dict[str, Any]:
    """Return the summary of a batch as plain data, the manual's keys first; `mean_Rwp` is None without a success.

    Examples
    --------
    >>> summarise(Path("x.zarr.zip"), [], {})["total_histograms"]
    0
    """
    ordered = sorted(records, key=lambda r: r.lineout.index)
    return collect(str(data_file), [_histogram(r) for r in ordered], about)


def collect(data_file: str, histograms: list[dict[str, Any]], about: dict[str, Any]) -> dict[str, Any]:
    """Return the summary of histograms that are plain data already."""
    good = [h["Rwp"] for h in histograms if h["status"] == "success" and h["Rwp"] is not None]
    count = {s: sum(h["status"] == s for h in histograms) for s in ("success", "partial", "failed", "skipped")}
    return {
        "data_file": data_file,
        "total_histograms": len(histograms),
        "succeeded": count["success"],
        "failed": count["failed"],
        "skipped": count["skipped"],
        "histograms": histograms,
        "mean_Rwp": statistics.fmean(good) if good else None,
        "partial": count["partial"],
        "median_Rwp": statistics.median(good) if good else None,
        "phases": _phase_means(histograms),
        "remarks": batch_remarks(histograms, about.get("reference_cells", {})),
        "partial_phases": _phase_means(histograms, "partial"),
        **about,
    }


def _histogram(record: HistogramRecord) -> dict[str, Any]:
    lineout, result = record.lineout, record.result
    return {
        "histogram_index": result.index,
        "gpx": result.project,
        "status": result.status,
        "Rwp": result.r_wp,
        "phases": [_phase(p) for p in result.phases],
        "warnings": list(result.warnings),
        "error": result.error if result.error else (result.reason if result.status == "failed" else None),
        "reason": result.reason,
        "GOF": result.gof,
        "explained": result.explained,
        "sum_index": lineout.sum_index,
        "eta_index": lineout.eta_index,
        "eta": _number(lineout.eta),
        "omega": _number(lineout.omega),
        "temperature": lineout.temperature,
        "pressure": lineout.pressure,
        "n_points": len(result.curves.get("two_theta", ())) if result.n_points is None else result.n_points,
        "instrument": {name: _value(v) for name, v in result.instrument.items()},
        "background": list(result.background),
        "stages": [_stage(s) for s in result.stages],
        "correlations": [list(c) for c in result.correlations],
        "attempts": result.attempts,
        "seconds": round(result.seconds, 3),
    }


def source_name(summary: Mapping[str, Any]) -> str:
    """Return what a summary is of, in a word or two.

    Examples
    --------
    >>> source_name({"data_file": "far/x.zarr.zip"}), source_name({"data_files": ["a", "b"]})
    ('x.zarr.zip', '2 files')
    """
    files = summary.get("data_files")
    return f"{len(files)} files" if files else Path(summary.get("data_file") or "").name


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _value(value: Value) -> dict[str, float | None]:
    return {"value": value.value, "esd": value.esd}


def _phase(phase: PhaseResult) -> dict[str, Any]:
    return {
        "name": phase.name,
        "cell": {k: phase.cell[k].value for k in CELL if k in phase.cell},
        "cell_esd": {k: phase.cell[k].esd for k in CELL if k in phase.cell},
        "present": phase.present,
        "scale": _value(phase.scale),
        "weight_fraction": _value(phase.weight_fraction),
        "atoms": list(phase.atoms),
        "broadening": {name: _value(v) for name, v in phase.broadening.items()},
        "texture": {name: _value(v) for name, v in phase.texture.items()},
        "ring_scatter": phase.ring_scatter,
        "unlike_ring": phase.unlike_ring,
    }


def _stage(stage: StageRecord) -> dict[str, Any]:
    return {
        "name": stage.name,
        "outcome": stage.outcome,
        "refined": list(stage.refined),
        "Rwp": stage.r_wp,
        "GOF": stage.gof,
        "problems": list(stage.problems),
        "seconds": round(stage.seconds, 3),
    }


def _phase_means(histograms: list[dict[str, Any]], status: str = "success") -> list[dict[str, Any]]:
    """Return, per phase, mean, scatter (standard deviation) and median esd of cell and fraction over a status."""
    found: dict[str, list[dict[str, Any]]] = {}
    for histogram in histograms:
        for phase in histogram["phases"] if histogram["status"] == status else ():
            if phase["present"]:
                found.setdefault(phase["name"], []).append(phase)
    means = []
    for name, phases in found.items():
        row: dict[str, Any] = {"name": name, "n": len(phases), "mean": {}, "scatter": {}, "median_esd": {}}
        for key in CELL:
            values, esds = [p["cell"][key] for p in phases], [p["cell_esd"][key] for p in phases]
            row["mean"][key], row["scatter"][key], row["median_esd"][key] = _spread(values, esds)
        fractions = [p["weight_fraction"] for p in phases]
        spread = _spread([f["value"] for f in fractions], [f["esd"] for f in fractions])
        row["weight_fraction"] = dict(zip(("mean", "scatter", "median_esd"), spread, strict=True))
        means.append(row)
    return means


def _spread(values: list[float], esds: list[float | None]) -> tuple[float, float | None, float | None]:
    """Return mean, standard deviation and median esd, None where there are too few."""
    known = [e for e in esds if e is not None]
    scatter = statistics.stdev(values) if len(values) > 1 else None
    return statistics.fmean(values), scatter, statistics.median(known) if known else None


def write_summary(summary: dict[str, Any], folder: Path) -> Path:
    """Write `refinement_summary.json` beside its place and rename it there; return the path."""
    path = folder / SUMMARY_NAME
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(summary, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return path


def write_columns(result: RefinementResult, folder: Path) -> list[Path]:
    """Write `hist_NNNN_data.csv` (the pattern) and `hist_NNNN_reflections.csv`; return the paths."""
    stem = f"hist_{result.index:04d}"
    c = {name: np.asarray(values) for name, values in result.curves.items()}
    c["difference"] = c["observed"] - c["calculated"]
    table = np.column_stack([c[name] for name in COLUMNS])
    data = folder / f"{stem}_data.csv"
    with atomic_path(data) as temporary:
        np.savetxt(temporary, table, delimiter=",", header=",".join(COLUMNS), comments="", fmt="%.10g")
    lines = ["phase,h,k,l,multiplicity,d_spacing,two_theta,f2_observed,f2_calculated"]
    for name, rows in result.reflections.items():
        lines += [",".join([name, *(f"{v:g}" for v in row[:4]), *(f"{v:.8g}" for v in row[4:])]) for row in rows]
    ticks = folder / f"{stem}_reflections.csv"
    with atomic_path(ticks) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return [data, ticks]
