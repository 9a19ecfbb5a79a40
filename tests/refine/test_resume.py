from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from midas.io.gsas_zarr import write_cake_file
from midas.refine.batch import BatchOptions, refine_cake
from midas.refine.job import Instrument, PhaseResult, RefinementResult, StageRecord, Value
from midas.refine.phases import check_phases
from midas.refine.records import are_whole, fingerprint, read_record, record_path, without_curves, write_record

X = np.arange(3.0, 6.0, 0.02)
N = 40


@pytest.fixture
def cif(synthetic, tmp_path):
    return synthetic.write_cif(tmp_path / "CeO2.cif", synthetic.CEO2_CIF, 5.41165)


@pytest.fixture
def cake(cake_of):
    return cake_of([np.full(len(X), 100.0 + i) if i % 7 else np.zeros(len(X)) for i in range(N)], X)


def but_for_times(path):
    summary = json.loads(path.read_text())
    for name in ("seconds", "output_dir", "data_file"):
        del summary[name]
    for h in summary["histograms"]:
        del h["seconds"], h["attempts"]
    return summary


def test_killed_at_any_moment_and_taken_up_again_the_summary_is_the_same(cake, cif, tmp_path):
    data = write_cake_file(tmp_path / "x.zarr.zip", cake)
    script = Path(__file__).with_name("fake_batch.py")

    def command(out):
        return [sys.executable, str(script), str(data), str(cif), str(out)]

    whole, out = tmp_path / "whole", tmp_path / "out"
    subprocess.run(command(whole), check=True)
    out.mkdir()
    (out / "diary.txt").touch()
    for enough in (3, 15):
        process = subprocess.Popen(command(out))
        while process.poll() is None and len(list(out.glob("hist_*.json"))) < enough:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (out / "refinement_summary.json").exists()
    subprocess.run(command(out), check=True)
    assert but_for_times(out / "refinement_summary.json") == but_for_times(whole / "refinement_summary.json")
    asked = [int(line) for line in (out / "diary.txt").read_text().split()]
    # Each kill loses at most what the two workers had in hand, or had answered and was not written yet.
    assert len(asked) - len(set(asked)) <= 2 * 4
    assert sorted(set(asked)) == [i for i in range(N) if i % 7]


def test_only_the_same_inputs_are_the_same(make_job, fake_engine, tmp_path):
    job = make_job(3)
    job.phases[0].path.write_text("data_a\n", encoding="utf-8")
    mark = fingerprint(job, fake_engine)
    assert fingerprint(replace(job, index=5, eta_index=5, output_dir=tmp_path / "b"), fake_engine) == mark
    changed = [
        replace(job, intensity=job.intensity * (1.0 + 1e-15)),
        replace(job, sigma=job.sigma * 2.0),
        replace(job, limits=(1.0, 2.0)),
        replace(job, stages=job.stages[:2]),
        replace(job, instrument=Instrument(0.5)),
        replace(job, azimuth=0.0),
        replace(job, background_terms=7),
    ]
    marks = {fingerprint(other, fake_engine) for other in changed}
    assert len(marks | {mark}) == len(changed) + 1
    assert fingerprint(job, replace(fake_engine, version="2")) != mark
    job.phases[0].path.write_text("data_b\n", encoding="utf-8")
    assert fingerprint(job, fake_engine) != mark
    job.phases[0].path.unlink()
    assert fingerprint(job, fake_engine) != mark


def result_of(index):
    cell = {k: Value(5.4, 1e-4) for k in "abc"}
    phase = PhaseResult("CeO2", cell, Value(1.0, None), Value(1.0), atoms=({"label": "Ce", "x": 0.0},))
    stage = StageRecord("unit cell", "kept", ("cell",), 4.0, 1.0, ("a problem",), 0.1)
    return RefinementResult(
        index,
        "partial",
        "a reason",
        4.0,
        phases=(phase,),
        instrument={"u": Value(1.0, 0.1)},
        background=(1.0, 2.0),
        stages=(stage,),
        correlations=(("a", "b", 0.99),),
        warnings=("a warning",),
        curves={"two_theta": [1.0, 2.0]},
        project=f"hist_{index:04d}.gpx",
        log="words",
    )


def test_a_record_gives_back_the_result(make_job, tmp_path):
    job, result = make_job(3), result_of(3)
    for name in ("hist_0003.gpx", "hist_0003_CeO2.cif"):
        (tmp_path / name).touch()
    write_record(result, "mark", tmp_path)
    found = read_record(job, "mark")
    assert found is not None
    assert found.n_points == 2
    assert without_curves(result) == found or vars(without_curves(result)) == vars(found)
    assert read_record(job, "another mark") is None
    (tmp_path / "hist_0003_CeO2.cif").unlink()
    assert read_record(job, "mark") is None


@pytest.mark.parametrize("name", ["hist_0003.gpx", "hist_0003_data.csv", "hist_0003_CeO2.cif"])
def test_a_file_cut_short_is_not_finished(name, make_job, tmp_path):
    for ending in (".gpx", "_CeO2.cif", "_data.csv"):
        (tmp_path / f"hist_0003{ending}").write_text("whole", encoding="utf-8")
    write_record(result_of(3), "mark", tmp_path)
    assert read_record(make_job(3), "mark") is not None
    assert are_whole(tmp_path, [3])
    (tmp_path / name).write_text("", encoding="utf-8")
    assert read_record(make_job(3), "mark") is None
    assert not are_whole(tmp_path, [3])
    assert not are_whole(tmp_path, [4])


def test_files_of_histograms_that_are_not_refined_are_told_of(cake, cif, fake_engine, tmp_path, caplog):
    options = BatchOptions(check_phases([cif]), tmp_path, time_limit=20)
    refine_cake(cake, Path("x.zarr.zip"), options, fake_engine, [1, 2, 3])
    assert "earlier run" not in caplog.text
    refine_cake(cake, Path("x.zarr.zip"), options, fake_engine, [1])
    assert "has files of 2 histograms (2 to 3) of an earlier run that this one does not refine" in caplog.text
    assert record_path(tmp_path, 3).exists()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"fingerprint": "mark"}', '{"fingerprint": "mark", "files": 3}'])
def test_a_damaged_record_is_none(text, make_job, tmp_path):
    record_path(tmp_path, 3).write_text(text, encoding="utf-8")
    assert read_record(make_job(3), "mark") is None


def test_what_broke_the_engine_is_tried_again(make_job, tmp_path):
    write_record(replace(result_of(3), status="failed", error="Traceback"), "mark", tmp_path)
    assert read_record(make_job(3), "mark") is None


def test_without_the_flag_everything_is_refined_again(cake, cif, fake_engine, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "diary.txt").touch()
    options = BatchOptions(check_phases([cif]), out, time_limit=20)
    for again in (False, False, True):
        refine_cake(cake, Path("x.zarr.zip"), replace(options, skip_existing=again), fake_engine, [1, 2])
    assert (out / "diary.txt").read_text().split() == ["1", "2", "1", "2"]
    refine_cake(cake, Path("x.zarr.zip"), replace(options, skip_existing=True, bkg_terms=3), fake_engine, [1, 2])
    assert (out / "diary.txt").read_text().split()[4:] == ["1", "2"]
