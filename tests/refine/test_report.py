"""The table on the terminal: what happened, in figures, within 80 characters a line."""

from __future__ import annotations

import pytest

from midas.refine import report
from midas.refine.report import exit_status, summary_lines, worst, written_lines

CELL = dict.fromkeys(("a", "b", "c"), 5.41165) | dict.fromkeys(("alpha", "beta", "gamma"), 90.0)


@pytest.mark.parametrize(
    ("counts", "status"),
    [
        ((3, 0, 0, 1), 0),
        ((2, 1, 0, 0), 0),
        ((2, 0, 1, 0), 1),
        ((0, 1, 2, 0), 1),
        ((0, 2, 0, 0), 1),
        ((0, 0, 3, 1), 3),
        ((0, 0, 0, 2), 3),
    ],
)
def test_exit_status(counts, status):
    assert exit_status(dict(zip(("succeeded", "partial", "failed", "skipped"), counts, strict=True))) == status


def entry(index, status, r_wp, reason):
    stages = [{"name": "unit cell", "outcome": "kept", "Rwp": r_wp}]
    return {"histogram_index": index, "status": status, "Rwp": r_wp, "reason": reason, "stages": stages,
            "eta": 30.0 * index, "omega": None if status == "skipped" else -5.25}  # fmt: skip


def phase(name, mean=CELL, fraction=0.7):
    scatter, esd = dict.fromkeys(mean, 2e-4), {**dict.fromkeys(mean), "a": 1e-4}
    shares = {"mean": fraction, "scatter": 0.01, "median_esd": 0.02}
    return {"name": name, "n": 2, "mean": mean, "scatter": scatter, "median_esd": esd, "weight_fraction": shares}


@pytest.fixture
def summary():
    entries = [entry(0, "success", 4.0, None), entry(1, "skipped", None, "no counts")]
    entries += [entry(i, "partial", 10.0 + i, "rolled back: atoms") for i in range(2, 7)]
    entries.append(entry(7, "failed", 60.0, "CeO2 is not in the data where its CIF puts it; " + "word " * 200))
    counts = {"succeeded": 1, "partial": 5, "failed": 1, "skipped": 1}
    return {"histograms": entries, "phases": [phase("CeO2")], "total_histograms": 8, "mean_Rwp": 4.0,
            "median_Rwp": 3.0, "data_file": "/data/" + "far/" * 30 + "x.zarr.zip", **counts}  # fmt: skip


def test_figures_and_the_worst_with_reasons(summary):
    lines = summary_lines(summary)
    assert lines[0] == "8 histograms of x.zarr.zip: 1 succeeded, 5 partial, 1 failed, 1 skipped"
    assert lines[1] == "Rwp of the successes: mean 4.00 %, median 3.00 %"
    [row] = [line.split() for line in lines if line.startswith("CeO2 ")]
    assert row == ["CeO2", "a", "[Å]", "5.41165", "0.00020", "0.00010", "2"]
    assert [e["histogram_index"] for e in worst(summary)] == [7, 6, 5, 4, 3]
    text = "\n".join(lines)
    assert "CeO2 is not in the data" in text
    assert "no counts" not in text
    assert max(map(len, lines)) <= 80
    assert len(lines) < 30


def test_several_phases_have_fractions_in_aligned_columns(summary):
    long = "a_phase_with_a_name_that_does_not_end"
    summary["phases"] = [phase("CeO2"), phase(long, {**CELL, "c": 12.991779}, 0.3)]
    lines = summary_lines(summary)
    rows = lines[lines.index("", 2) + 1 : lines.index("", 5)]
    ends = {line.index(figure) + len(figure) for line, figure in zip(rows[1:3], ("5.41165", "0.700"), strict=True)}
    assert len(ends) == 1
    assert [line.split()[-4:] for line in rows if "fraction" in line] == [
        ["0.700", "0.010", "0.020", "2"],
        ["0.300", "0.010", "0.020", "2"],
    ]
    assert max(map(len, lines)) <= 80


def test_verbose_lists_every_histogram_with_its_stages(summary):
    text = "\n".join(summary_lines(summary, verbose=True))
    assert text.count("unit cell: kept") == 8
    assert "no counts" in text


def test_nothing_refined_is_said(summary):
    failed = [e for e in summary["histograms"] if e["status"] == "failed"]
    nothing = {**summary, "mean_Rwp": None, "median_Rwp": None, "phases": [], "succeeded": 0, "histograms": failed}
    assert "Rwp: none, there is no success" in summary_lines(nothing)


def test_where_all_are_partial_their_means_are_shown_as_such(summary):
    partial = [e for e in summary["histograms"] if e["status"] == "partial"]
    only = {**summary, "mean_Rwp": None, "median_Rwp": None, "phases": [], "succeeded": 0, "histograms": partial}
    lines = summary_lines({**only, "partial_phases": [phase("CeO2")]})
    assert lines[1] == "no success; Rwp of the partial ones: mean 14.00 %, median 14.00 %"
    at = lines.index("of partial fits only, each with its reservation:")
    assert lines[at + 2].split() == ["CeO2", "a", "[Å]", "5.41165", "0.00020", "0.00010", "2"]
    both = summary_lines({**summary, "partial_phases": [phase("CeO2", fraction=0.1)]})
    assert both == summary_lines(summary)


def test_a_table_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "refinement_table.csv").touch()
    monkeypatch.setattr(report, "has_parquet", lambda: False)
    lines = written_lines(tmp_path)
    assert "midas-xrd[parquet]" in lines[-1]
    assert "refinement_table.csv" in lines[1]
    monkeypatch.setattr(report, "has_parquet", lambda: True)
    assert "pyarrow" not in "\n".join(written_lines(tmp_path))
