"""One tidy table of a batch: a row for each histogram and phase, as CSV and Parquet, each column with its unit."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from midas.errors import FormatError
from midas.io.atomic import atomic_path
from midas.refine.parameters import INSTRUMENT_PARAMETERS
from midas.version import version

TABLE_NAME = "refinement_table"
NO_PARQUET = 'no .parquet: pyarrow is not installed; pip install "midas-xrd[parquet]"'
BELIEVED = ("success", "partial")
"""Statuses whose values stand in the table; those of a failed fit are left empty, so that no mean takes them in."""

_ANGSTROM, _DEGREE = "Å", "deg"


@dataclass(frozen=True)
class Column:
    """A column of the table."""

    name: str
    kind: str
    """int, float, bool or text"""
    unit: str
    """Empty where the column has none."""
    meaning: str


def _with_esd(name: str, unit: str, meaning: str) -> tuple[Column, Column]:
    esd = Column(f"{name}_esd", "float", unit, f"standard uncertainty of {name}; empty where it was not refined")
    return Column(name, "float", unit, meaning), esd


_CELL = {
    **dict.fromkeys("abc", (_ANGSTROM, "length of the cell")),
    **dict.fromkeys(("alpha", "beta", "gamma"), (_DEGREE, "angle of the cell")),
    "volume": ("Å³", "volume of the cell"),
}
_PHASE_VALUES = {
    "scale": ("", "scale factor of the phase"),
    "weight_fraction": ("", "share of the mass of all phases, 0 to 1; 0 for a phase that is not in the data"),
}
_RING_COLUMNS = (
    Column(
        "ring_scatter",
        "float",
        "",
        "scatter of the cell from ring to ring over what its esd says, about 1 where rings agree; empty where there is "
        "one ring; where rings do not agree "
        "(`unlike_ring`) the esds of the cell have been multiplied by it",
    ),
    Column("unlike_ring", "float", _DEGREE, "2theta of the ring that differs most, where rings do by more than chance"),
)
_SAMPLE_VALUES = {
    "size": ("µm", "size of the crystallites; empty where it was not refined"),
    "microstrain": ("1e-6", "spread of d within the sample, relative; empty where it was not refined"),
    "march": ("", "March-Dollase coefficient, 1 without preferred orientation; empty where it was not refined"),
}
_INSTRUMENT_VALUES = {p.name: (p.unit, p.meaning) for p in INSTRUMENT_PARAMETERS}
COLUMNS: tuple[Column, ...] = (
    Column("data_file", "text", "", "name of the caked file"),
    Column("histogram", "int", "", "number of the histogram, sum by sum and eta by eta, as in the names of the files"),
    Column("sum_index", "int", "", "number of the sum of frames"),
    Column("eta_index", "int", "", "number of the azimuthal bin"),
    Column(
        "eta",
        "float",
        _DEGREE,
        "azimuth: 0 toward increasing row, 90 toward increasing column; empty where every bin is masked",
    ),
    Column("omega", "float", _DEGREE, "middle of the rotation that was summed"),
    Column("temperature", "float", "as in the data", "mean over the frames; empty where the data do not say"),
    Column("pressure", "float", "as in the data", "mean over the frames; empty where the data do not say"),
    Column("status", "text", "", "success, partial, failed or skipped"),
    Column("reason", "text", "", "why it is not a success"),
    Column("r_wp", "float", "%", "Rwp of the last state of the fit, also of a failed one"),
    Column("gof", "float", "", "sqrt(chi² / degrees of freedom)"),
    Column("phase", "text", "", "name of the phase, from its CIF"),
    Column("present", "bool", "", "false: the phase is not in the data and was taken out of the model"),
    *(column for name, about in _CELL.items() for column in _with_esd(name, *about)),
    *_RING_COLUMNS,
    *(column for name, about in _PHASE_VALUES.items() for column in _with_esd(name, *about)),
    *(column for name, about in _SAMPLE_VALUES.items() for column in _with_esd(name, *about)),
    *(column for name, about in _INSTRUMENT_VALUES.items() for column in _with_esd(name, *about)),
)
"""Every column of the table, in order. Below `phase` there are values for success and partial only; an absent phase has
no cell."""

_ENTRY_KEYS = {"histogram": "histogram_index", "r_wp": "Rwp", "gof": "GOF"}
_OF_HISTOGRAM = tuple(c.name for c in COLUMNS[1:12])


def table_rows(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of a summary's table, one for each histogram and phase; None stands for what is not known.

    Examples
    --------
    >>> entry = {"histogram_index": 4, "status": "skipped", "reason": "no counts", "eta": 30.0, "phases": []}
    >>> [row] = table_rows({"histograms": [entry], "phase_names": ["CeO2"]})
    >>> row["histogram"], row["phase"], row["reason"], row["a"]
    (4, 'CeO2', 'no counts', None)
    """
    names: list[str | None] = [*phase_names(summary)] or [None]
    rows = []
    for entry in summary["histograms"]:
        found = {phase["name"]: phase for phase in entry["phases"]}
        of_histogram = {name: entry.get(_ENTRY_KEYS.get(name, name)) for name in _OF_HISTOGRAM}
        file_name = Path(entry.get("data_file") or summary.get("data_file") or "").name
        of_histogram["data_file"] = file_name.encode("utf-8", "backslashreplace").decode("utf-8")
        believed = entry["status"] in BELIEVED
        for name in names:
            row = dict.fromkeys((column.name for column in COLUMNS), None) | of_histogram | {"phase": name}
            if believed and name in found:
                row |= _phase_values(found[name]) | _pairs(entry["instrument"], _INSTRUMENT_VALUES)
            rows.append(row)
    return rows


def phase_names(summary: Mapping[str, Any]) -> list[str]:
    """Return the names of the phases of a batch, also where not one histogram was refined.

    Examples
    --------
    >>> phase_names({"histograms": [], "phase_names": ["CeO2"]})
    ['CeO2']
    """
    met = dict.fromkeys(phase["name"] for entry in summary["histograms"] for phase in entry["phases"])
    return list(summary.get("phase_names") or met)


def _phase_values(phase: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {"present": phase["present"], **_pairs(phase, _PHASE_VALUES)}
    if phase["present"]:
        values |= _pairs(sample_values(phase), _SAMPLE_VALUES)
        cell, esds = phase["cell"], phase["cell_esd"]
        values |= {column.name: phase.get(column.name) for column in _RING_COLUMNS}
        values |= {name: cell.get(name) for name in _CELL} | {f"{name}_esd": esds.get(name) for name in _CELL}
    return values


def sample_values(phase: Mapping[str, Any]) -> dict[str, Any]:
    """Return value and esd of what a phase has beside structure, cell and scale: size, microstrain, texture.

    Examples
    --------
    >>> sample_values({"broadening": {"size": {"value": 0.3, "esd": 0.02}}})["size"]["value"]
    0.3
    """
    return {**phase.get("broadening", {}), **phase.get("texture", {})}


def _pairs(source: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, Any]:
    """Return value and esd of each name, None where the source has none."""
    values: dict[str, Any] = {}
    for name in names:
        pair = source.get(name) or {}
        values[name], values[f"{name}_esd"] = pair.get("value"), pair.get("esd")
    return values


def table_columns(summary: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Return the table as columns, fit for `pandas.DataFrame`: NaN for a number, "" for a text that is not known.

    `present` is an array of objects, True, False or None: of a histogram that failed nothing is known.

    Examples
    --------
    >>> table_columns({"histograms": [], "phase_names": ["CeO2"]})["eta"].shape
    (0,)
    """
    rows = table_rows(summary)
    columns: dict[str, NDArray[Any]] = {}
    for column in COLUMNS:
        values = [row[column.name] for row in rows]
        if column.kind == "float":
            columns[column.name] = np.array([np.nan if v is None else v for v in values], dtype=np.float64)
        elif column.kind == "int":
            columns[column.name] = np.array(values, dtype=np.int64)
        elif column.kind == "text":
            columns[column.name] = np.array(["" if v is None else v for v in values], dtype=np.str_)
        else:
            columns[column.name] = np.array(values, dtype=object)
    return columns


def write_table(summary: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write `refinement_table.csv`, and `.parquet` where pyarrow is installed; return the files written.

    Where it is not, a `.parquet` of an earlier run is removed: it would pass for this one's.
    """
    rows = table_rows(summary)
    table = folder / f"{TABLE_NAME}.csv"
    with atomic_path(table) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([column.name for column in COLUMNS])
        writer.writerows([[_cell_text(row[column.name]) for column in COLUMNS] for row in rows])
    parquet = folder / f"{TABLE_NAME}.parquet"
    if not has_parquet():
        parquet.unlink(missing_ok=True)
        return [table]
    _write_parquet(rows, summary, parquet)
    return [table, parquet]


def _cell_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)


def has_parquet() -> bool:
    """Return whether Parquet files can be written here."""
    import importlib.util

    return importlib.util.find_spec("pyarrow") is not None


def _write_parquet(rows: list[dict[str, Any]], summary: Mapping[str, Any], path: Path) -> None:
    """Write the rows; each field's metadata, and `midas` of the file's, have unit and meaning of each column."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {"int": pa.int64(), "float": pa.float64(), "bool": pa.bool_(), "text": pa.string()}
    about = {c.name: {"unit": c.unit, "meaning": c.meaning} for c in COLUMNS}
    fields = [pa.field(c.name, kinds[c.kind], metadata=about[c.name]) for c in COLUMNS]
    source = {"version": version(), "data_file": str(summary.get("data_file", "")), "columns": about}
    schema = pa.schema(fields, metadata={"midas": json.dumps(source)})
    table = pa.Table.from_pylist(rows, schema=schema)
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_summary(folder: Path | str) -> dict[str, Any]:
    """Return the summary that a batch left in its folder (or of its file), for the functions that take a summary.

    Raises
    ------
    FormatError
        There is none, or it is no summary.
    """
    from midas.refine.shown import RefinementSummary
    from midas.refine.summary import SUMMARY_NAME

    path = Path(folder)
    path = path / SUMMARY_NAME if path.is_dir() else path
    if not path.is_file():
        raise FormatError(f"{path} does not exist; name the folder that midas refine wrote its results to")
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FormatError(f"{path} is no JSON ({error}); run midas refine again") from error
    if not isinstance(summary, dict) or "histograms" not in summary:
        raise FormatError(f"{path} has no histograms; expected the summary that midas refine writes")
    return RefinementSummary(summary)


def describe_columns() -> str:
    """Return the columns as a table of Markdown, which docs/refinement-table.md holds.

    Examples
    --------
    >>> describe_columns().splitlines()[0]
    '| column | unit | meaning |'
    """
    lines = ["| column | unit | meaning |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| `{c.name}` | {c.unit} | {c.meaning} |" for c in COLUMNS)])
