from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from midas.errors import InputError
from midas.io.gsas_zarr import write_cake_file
from midas.refine.batch import BatchOptions, refine_cake, run_refinement
from midas.refine.job import PhaseFile, PhaseResult, RefinementResult, Value
from midas.refine.lineouts import Lineout
from midas.refine.phases import check_phases
from midas.refine.plot import pattern_of, plot_histogram, read_pattern
from midas.refine.summary import HistogramRecord, summarise, write_columns, write_summary

X = np.arange(3.0, 6.0, 0.02)
KEYS = ["data_file", "total_histograms", "succeeded", "failed", "skipped", "histograms", "mean_Rwp"]
HISTOGRAM_KEYS = ["histogram_index", "gpx", "status", "Rwp", "phases", "warnings", "error"]


@pytest.fixture
def cif(synthetic, tmp_path):
    return synthetic.write_cif(tmp_path / "CeO2.cif", synthetic.CEO2_CIF, 5.41165)


@pytest.fixture
def data_file(cake_of, tmp_path):
    fine = np.full(len(X), 100.0)
    return write_cake_file(tmp_path / "x.zarr.zip", cake_of([fine, np.zeros_like(fine), fine], X))


def test_batch_with_an_engine_that_answers_anything(fake_engine, cake_of, tmp_path):
    fine, short = np.full(len(X), 100.0), np.full(len(X), 100.0)
    cake = cake_of([fine, short, fine], X)
    cake.bin_area[15:, 1] = 0.0
    out = tmp_path / "out"
    out.mkdir()
    (out / "die_2").touch()
    stale = [out / name for name in ("hist_0001_CeO2.cif", "hist_0002.png", "refinement_quality.png")]
    for path in stale:
        path.touch()
    seen = []
    options = BatchOptions((PhaseFile("CeO2", tmp_path / "CeO2.cif"),), out, time_limit=20)
    summary = refine_cake(
        cake,
        tmp_path / "x.zarr.zip",
        options,
        fake_engine,
        [0, 1, 2],
        lambda done, total, _: seen.append((done, total)),
    )
    assert [h["status"] for h in summary["histograms"]] == ["success", "skipped", "failed"]
    assert [summary[k] for k in ("total_histograms", "succeeded", "failed", "skipped")] == [3, 1, 1, 1]
    assert summary["histograms"][1]["reason"].startswith("15 usable bins")
    assert "lost on it" in summary["histograms"][2]["error"]
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert not any(path.exists() for path in stale)
    assert json.loads((out / "refinement_summary.json").read_text()) == summary
    assert list(summary)[:7] == KEYS
    assert all(list(h)[:7] == HISTOGRAM_KEYS for h in summary["histograms"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cif_files": []}, "no phase"),
        ({"cif_files": ["nowhere.cif"]}, "nowhere.cif does not exist"),
        ({"limits": (9.0, 3.0)}, "limits"),
        ({"bkg_terms": 0}, "bkg_terms is 0"),
        ({"n_cpus": -1}, "n_cpus"),
        ({"histograms": [7]}, "0 to 2"),
        ({"instprm": "nowhere.instprm"}, "nowhere.instprm does not exist"),
        ({"time_limit": 0}, "time_limit"),
    ],
)
def test_bad_input_is_named_and_leaves_nothing(change, words, cif, data_file, tmp_path):
    arguments = {"data_file": data_file, "cif_files": [cif], "output_dir": tmp_path / "out", **change}
    with pytest.raises(InputError, match=words):
        run_refinement(**arguments)
    assert not (tmp_path / "out").exists()


def test_cif_without_atoms_is_refused(tmp_path):
    empty = tmp_path / "empty.cif"
    empty.write_text("data_x\n_cell_length_a 5\n", encoding="utf-8")
    with pytest.raises(InputError, match="no unit cell or no atoms"):
        check_phases([empty])
    text = tmp_path / "text.cif"
    text.write_text("this is not a CIF\n", encoding="utf-8")
    with pytest.raises(InputError, match="cannot be read as CIF"):
        check_phases([text])


def test_phases_get_distinct_names(cif, synthetic, tmp_path):
    (tmp_path / "b").mkdir()
    other = synthetic.write_cif(tmp_path / "b" / "CeO2.cif", synthetic.CEO2_CIF, 5.5)
    assert [p.name for p in check_phases([cif, other])] == ["CeO2", "CeO2_2"]


def success(index, a):
    cell = {k: Value(a, 1e-4) for k in "abc"} | {k: Value(90.0) for k in ("alpha", "beta", "gamma")}
    phase = PhaseResult("CeO2", cell | {"volume": Value(a**3, 1e-2)}, Value(1.0, 0.1), Value(1.0))
    rows = (np.eye(5) + 1.0).tolist()
    curves = dict(zip(("two_theta", "observed", "calculated", "background", "sigma"), rows, strict=True))
    reflections = {"CeO2": [[1, 1, 1, 8, 3.1, 1.5, 10.0, 11.0]]}
    return RefinementResult(index, "success", None, 4.0, phases=(phase,), curves=curves, reflections=reflections)


def test_mean_cell_counts_successes_only():
    lineout = Lineout(0, 0, 0, X, X, X, 0.0, 0.0, None, None)
    results = [success(0, 5.41), success(1, 5.43), replace(success(2, 0.007), status="failed")]
    records = [HistogramRecord(replace(lineout, index=r.index), r) for r in results]
    summary = summarise("x.zarr.zip", records, {})
    assert summary["phases"][0]["n"] == 2
    assert summary["phases"][0]["mean"]["a"] == pytest.approx(5.42)
    assert summary["phases"][0]["median_esd"]["a"] == 1e-4
    assert summary["mean_Rwp"] == 4.0
    assert summary["histograms"][0]["phases"][0]["cell"]["volume"] == pytest.approx(5.41**3)


def test_nothing_to_average_is_null(tmp_path):
    summary = summarise("x.zarr.zip", [], {})
    assert summary["mean_Rwp"] is None
    assert json.loads(write_summary(summary, tmp_path).read_text())["total_histograms"] == 0


def test_columns_are_read_back_and_drawn(tmp_path):
    result = success(3, 5.41)
    write_columns(result, tmp_path)
    pattern = read_pattern(tmp_path, 3)
    for name, values in result.curves.items():
        assert getattr(pattern, name).tolist() == values
    assert pattern.ticks["CeO2"].tolist() == [1.5]
    figure = plot_histogram(pattern, title="histogram 3", path=tmp_path / "hist_0003.png")
    assert (tmp_path / "hist_0003.png").stat().st_size > 5000
    assert figure.axes[0].get_legend_handles_labels()[1] == ["observed", "calculated", "background", "CeO2"]
    assert pattern_of(result.curves, result.reflections).ticks["CeO2"].tolist() == [1.5]


def test_a_polarization_that_is_corrected_already_is_told_of(fake_engine, cake_of, cif, tmp_path, caplog):
    cake = cake_of([np.full(len(X), 100.0)], X)
    options = BatchOptions((PhaseFile("CeO2", cif),), tmp_path)
    for corrections, told in ((None, False), ({"polarization": None}, False), ({"polarization": 0.99}, True)):
        caplog.clear()
        metadata = {} if corrections is None else {"corrections": corrections}
        refine_cake(replace(cake, metadata=metadata), tmp_path / "x.zarr.zip", options, fake_engine, [0])
        assert ("corrected for polarization already" in caplog.text) == told


def test_a_folder_is_no_caked_file(cif, tmp_path):
    with pytest.raises(InputError, match="is a folder; name a caked file"):
        run_refinement(tmp_path, [cif], tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("space group", "space group 'Q m m m', which is not known"),
        ("element", "element of atom Xx1 is not known"),
    ],
)
def test_cifs_that_no_engine_could_use(synthetic, tmp_path, text, message):
    path = synthetic.write_cif(tmp_path / "a.cif", synthetic.CEO2_CIF, 5.41)
    content = path.read_text()
    if text == "space group":
        content = content.replace("F m -3 m", "Q m m m")
    elif text == "element":
        content = content.replace("Ce Ce 0", "Xx1 Xx 0")
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        check_phases([path])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Lam:abc", "Lam is abc; expected a number"),
        ("U:nan", "U is nan"),
        ("Type:PNT", "Type is PNT"),
        ("Lam:30", "Lam"),
    ],
)
def test_overrides_that_are_no_numbers(data_file, cif, tmp_path, line, message):
    path = tmp_path / "a.instprm"
    path.write_text(f"#GSAS-II instrument parameter file\n{line}\n")
    with pytest.raises(InputError, match=message):
        run_refinement(data_file, [cif], tmp_path / "out", instprm=path)
