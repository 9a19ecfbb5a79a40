from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from midas.io.gsas_zarr import write_cake_file
from midas.refine import run_refinement
from midas.refine.job import PhaseResult, RefinementResult, Value
from midas.refine.lineouts import Lineout
from midas.refine.neighbours import is_better, nearest_good, second_tries
from midas.refine.summary import HistogramRecord

X = np.arange(3.0, 14.0, 0.01)
N_ETA = 8


def record(sum_index, eta_index, status="success"):
    index = sum_index * N_ETA + eta_index
    lineout = Lineout(index, sum_index, eta_index, X, X, X, 0.0, 0.0, None, None)
    cell = {k: Value(5.4 + 0.001 * index) for k in ("a", "b", "c")} | {
        k: Value(90.0) for k in ("alpha", "beta", "gamma")
    }
    phase = PhaseResult("CeO2", cell, Value(2.0), Value(1.0))
    instrument = {"wavelength": Value(0.2), "w": Value(3.0)}
    result = RefinementResult(index, status, "why", phases=(phase,), instrument=instrument, background=(1.0, 0.5))
    return HistogramRecord(lineout, result)


def test_nearest_goes_around_the_circle_and_over_omega():
    records = [record(0, 3), record(0, 7), record(2, 0), record(1, 1, "partial")]
    assert nearest_good(record(0, 0).lineout, records, N_ETA).index == 7
    assert nearest_good(record(3, 0).lineout, records, N_ETA).index == 16
    assert nearest_good(record(9, 0).lineout, records, N_ETA) is None
    assert nearest_good(record(0, 5).lineout, records, N_ETA).index == 3  # of two as near the lower number


def test_second_tries_do_not_depend_on_the_order():
    records = [record(0, 0, "failed"), record(0, 1), record(0, 2, "failed"), record(0, 3)]
    lineouts = {r.lineout.index: r.lineout for r in records if r.result.status == "failed"}
    forward = second_tries({r.lineout.index: r for r in records}, lineouts, N_ETA)
    backward = second_tries({r.lineout.index: r for r in records[::-1]}, dict(reversed(lineouts.items())), N_ETA)
    assert forward == backward
    start, remark = forward[0].start, forward[0].remark
    assert start.cells == {"CeO2": (*[5.4 + 0.001] * 3, 90.0, 90.0, 90.0)}
    assert (start.scales, start.instrument, start.background) == ({"CeO2": 2.0}, {"w": 3.0}, (1.0, 0.5))
    assert remark == "second try, from the fit of histogram 1; the first: why"
    assert [tried.neighbour for tried in forward.values()] == [1, 1]
    # What a second try of an earlier run found is no start: it would depend on when that run was stopped.
    again = {r.lineout.index: r for r in records}
    again[0] = replace(again[0], result=replace(record(0, 0).result, started_from=1))
    assert second_tries(again, {2: lineouts[2]}, N_ETA)[2].neighbour == 1


def test_phases_that_are_absent_are_not_started_from():
    result = record(0, 1).result
    gone = replace(result, phases=(replace(result.phases[0], present=False),))
    failed = record(0, 0, "failed")
    tries = second_tries({0: failed, 1: HistogramRecord(record(0, 1).lineout, gone)}, {0: failed.lineout}, N_ETA)
    assert tries[0].start.cells == {}


@pytest.mark.parametrize(
    ("new", "old", "better"), [("partial", "failed", True), ("failed", "failed", False), ("success", "partial", True)]
)
def test_only_a_better_verdict_replaces(new, old, better):
    assert is_better(RefinementResult(0, new), RefinementResult(0, old)) == better


@pytest.mark.gsas2
def test_failed_lineout_is_refined_from_its_neighbour(gsas2, synthetic, cake_of, tmp_path):
    """The second lineout lies 1.3 % from the CIF, too far for a start there, and near to the first, which is not."""
    cif = synthetic.write_cif(tmp_path / "CeO2.cif", synthetic.CEO2_CIF, 5.41165)
    cells = (5.41165 * 1.0065, 5.41165 * 1.013)
    ideal = [3.0 + 20.0 * synthetic.pattern(synthetic.CEO2_CIF.format(a=a), X, 0.413263) for a in cells]
    columns = [np.random.default_rng(7 + k).poisson(y * 160.0) / 8.0 for k, y in enumerate(ideal)]
    path = write_cake_file(tmp_path / "x.zarr.zip", cake_of(columns, X, frames=20, area=8.0))
    alone = run_refinement(path, [cif], tmp_path / "alone", refine_atoms=False, histograms=[1])["histograms"][0]
    first, second = run_refinement(path, [cif], tmp_path / "out", refine_atoms=False)["histograms"]
    assert first["status"] == "success"
    assert alone["status"] == "failed"
    assert second["status"] == "partial"
    assert "from the CIF's" in second["reason"]
    assert second["warnings"][-1].startswith(
        "second try, from the fit of histogram 0; the first: CeO2 is not in the data"
    )
    assert abs(second["phases"][0]["cell"]["a"] - cells[1]) < 4.0 * second["phases"][0]["cell_esd"]["a"]
    assert (tmp_path / "out" / "hist_0001_CeO2.cif").is_file()
