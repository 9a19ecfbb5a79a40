"""The tidy table of a batch: nothing missing, nothing of a bad fit, the same in CSV and Parquet."""

from __future__ import annotations

import csv
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest

from midas.errors import FormatError
from midas.refine import table
from midas.refine.batch import BatchOptions, refine_cake
from midas.refine.job import PhaseFile
from midas.refine.table import COLUMNS, describe_columns, read_summary, table_columns, table_rows, write_table

PAGE = Path(__file__).resolve().parents[2] / "docs" / "refinement-table.md"
MARK = "tests/refine/test_table.py -->\n"


def pair(value, esd=None):
    return {"value": value, "esd": esd}


def phase(name, a, fraction, *, present=True):
    cell = dict.fromkeys("abc", a) | dict.fromkeys(("alpha", "beta", "gamma"), 90.0) | {"volume": a**3}
    esds = dict.fromkeys("abc", 1e-4) | dict.fromkeys(("alpha", "beta", "gamma")) | {"volume": 3e-2}
    return {"name": name, "cell": cell, "cell_esd": esds, "present": present, "scale": pair(2.0, 0.1), "atoms": [],
            "weight_fraction": pair(fraction, 0.01 if fraction else None)}  # fmt: skip


def entry(index, status, phases=(), **more):
    widths = {"u": pair(5.0, 0.5), "v": pair(-1.0), "w": pair(4.0), "x": pair(0.1), "y": pair(3.0), "z": pair(0.0)}
    known = {"reason": None, "Rwp": 4.5, "GOF": 1.1, "sum_index": 0, "eta_index": index, "eta": 30.0 * index}
    known |= {"omega": 5.0, "temperature": 301.0, "pressure": None, "instrument": {**widths, "sh_l": pair(0.002)}}
    return {"histogram_index": index, "status": status, "phases": list(phases), **known, **more}


@pytest.fixture
def summary():
    strained = {"broadening": {"microstrain": pair(900.0, 20.0)}, "texture": {"march": pair(0.8, 0.01)}}
    first = entry(0, "success", [strained | phase("CeO2", 5.4112345678901234, 0.7), phase("LaB6", 4.157, 0.3)])
    second = entry(1, "partial", [phase("CeO2", 5.412, 1.0), phase("LaB6", 4.1, 0.0, present=False)], reason="LaB6, no")
    third = entry(2, "failed", [phase("CeO2", 0.007, 1.0), phase("LaB6", 9.9, 0.0)], reason="not\nconverged", Rwp=99.0)
    fourth = entry(3, "skipped", reason='"no" counts', Rwp=None, GOF=None, eta=None, instrument={})
    return {"data_file": "x.zarr.zip", "phase_names": ["CeO2", "LaB6"], "histograms": [first, second, third, fourth]}


def test_every_histogram_has_a_row_for_each_phase(summary):
    rows = table_rows(summary)
    assert [(r["histogram"], r["phase"]) for r in rows] == [(i, name) for i in range(4) for name in ("CeO2", "LaB6")]
    assert all(list(r) == [c.name for c in COLUMNS] for r in rows)
    assert (rows[0]["a"], rows[0]["a_esd"], rows[1]["weight_fraction"]) == (5.4112345678901234, 1e-4, 0.3)
    assert (rows[0]["microstrain"], rows[0]["microstrain_esd"], rows[0]["march"]) == (900.0, 20.0, 0.8)
    assert (rows[0]["size"], rows[1]["march"]) == (None, None)
    assert (rows[0]["u"], rows[0]["u_esd"], rows[0]["v_esd"]) == (5.0, 0.5, None)


def test_values_of_a_failed_fit_and_the_cell_of_an_absent_phase_are_left_out(summary):
    rows = table_rows(summary)
    for row in rows[4:]:
        assert {row[c.name] for c in COLUMNS[13:]} == {None}
    assert (rows[4]["r_wp"], rows[4]["reason"]) == (99.0, "not\nconverged")
    absent = rows[3]
    assert (absent["present"], absent["a"], absent["a_esd"], absent["weight_fraction"]) == (False, None, None, 0.0)
    assert rows[2]["a"] == 5.412


def test_columns_of_numbers_have_nan_where_nothing_is_known(summary):
    columns = table_columns(summary)
    assert columns["histogram"].dtype == np.int64
    assert np.isfinite(columns["a"]).tolist() == [True, True, True, False, False, False, False, False]
    assert np.isnan(columns["eta"][6:]).all()
    assert columns["present"].tolist() == [True, True, True, False, None, None, None, None]
    assert columns["reason"][0] == ""


def test_csv_is_read_back_to_the_last_digit(summary, tmp_path):
    with write_table(summary, tmp_path)[0].open(encoding="utf-8", newline="") as stream:
        read = list(csv.DictReader(stream))
    for row, expected in zip(read, table_rows(summary), strict=True):
        for column in COLUMNS:
            text, value = row[column.name], expected[column.name]
            if value is None:
                assert text == ""
            elif column.kind == "float":
                assert float(text) == value
            else:
                assert text == (str(value).lower() if column.kind == "bool" else str(value))


def test_parquet_holds_the_same_with_units(summary, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason='pip install "midas-xrd[parquet]"', exc_type=ImportError)
    written = write_table(summary, tmp_path)
    assert [p.name for p in written] == ["refinement_table.csv", "refinement_table.parquet"]
    found = parquet.read_table(written[1])
    assert found.to_pylist() == table_rows(summary)
    assert found.schema.field("a").metadata[b"unit"].decode() == "Å"
    about = json.loads(found.schema.metadata[b"midas"])
    assert about["columns"]["u"]["unit"] == "centidegree²"
    assert about["data_file"] == "x.zarr.zip"


def test_without_pyarrow_no_older_parquet_is_left(summary, tmp_path, monkeypatch):
    monkeypatch.setattr(table, "has_parquet", lambda: False)
    stale = tmp_path / "refinement_table.parquet"
    stale.touch()
    assert write_table(summary, tmp_path) == [tmp_path / "refinement_table.csv"]
    assert not stale.exists()


def test_a_batch_writes_it(fake_engine, cake_of, tmp_path):
    x = np.arange(3.0, 6.0, 0.02)
    cake = cake_of([np.full(len(x), 100.0), np.zeros(len(x))], x)
    options = BatchOptions((PhaseFile("CeO2", tmp_path / "CeO2.cif"),), tmp_path, time_limit=20)
    summary = refine_cake(cake, tmp_path / "x.zarr.zip", options, fake_engine, [0, 1])
    assert summary["phase_names"] == ["CeO2"]
    with (tmp_path / "refinement_table.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [(r["status"], r["phase"], r["a"], r["temperature"]) for r in rows] == [
        ("success", "CeO2", "", "301.0"),
        ("skipped", "CeO2", "", "301.0"),
    ]
    assert read_summary(tmp_path) == summary
    assert math.isclose(float(rows[1]["eta"]), 0.0)


@pytest.mark.parametrize(("text", "words"), [(None, "does not exist"), ("{", "no JSON"), ("[]", "no histograms")])
def test_what_is_no_summary_is_refused(text, words, tmp_path):
    if text is not None:
        (tmp_path / "refinement_summary.json").write_text(text, encoding="utf-8")
    with pytest.raises(FormatError, match=words):
        read_summary(tmp_path)


def test_every_column_is_documented():
    before, _, written = PAGE.read_text(encoding="utf-8").partition(MARK)
    assert before
    if os.environ.get("MIDAS_WRITE_HELP"):
        PAGE.write_text(f"{before}{MARK}\n{describe_columns()}\n", encoding="utf-8")
        return
    assert written.strip() == describe_columns()


def test_a_name_that_is_not_utf_8_is_written_with_escapes(tmp_path):
    entry = {"histogram_index": 0, "status": "skipped", "reason": "no counts", "eta": 0.0, "phases": []}
    write_table({"histograms": [entry], "phase_names": ["CeO2"], "data_file": "s\udcff.zarr.zip"}, tmp_path)
    assert (
        (tmp_path / "refinement_table.csv")
        .read_text(encoding="utf-8")
        .splitlines()[1]
        .startswith(r"s\udcff.zarr.zip,0")
    )
