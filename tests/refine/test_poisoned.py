"""A batch with everything in it that goes wrong at a beamline: each gets its status and reason, the good ones stay."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

from midas.io.gsas_zarr import write_cake_file
from midas.refine import batch, run_refinement
from midas.refine.dispatch import WorkerPool

pytestmark = pytest.mark.gsas2

X = np.arange(3.0, 14.0, 0.01)
FRAMES, AREA = 20, 8.0
CIF_A, TRUE_A = 5.41165, 5.41165 * (1 + 3e-4)
WAVELENGTH = 0.413263
GOOD = (0, 4, 9)


@pytest.fixture
def cif(synthetic, tmp_path):
    return synthetic.write_cif(tmp_path / "CeO2.cif", synthetic.CEO2_CIF, CIF_A)


def stored(synthetic, seed, *, text=None, a=TRUE_A, peak=20.0, background=3.0):
    """Return a column as stored: Poisson counts over area, summed over the frames."""
    ideal = background + peak * synthetic.pattern((text or synthetic.CEO2_CIF).format(a=a), X, WAVELENGTH)
    return np.random.default_rng(seed).poisson(ideal * AREA * FRAMES) / AREA


def without_time(histogram):
    """Return a histogram's entry without what differs from run to run: seconds."""
    entry = json.loads(json.dumps(histogram))
    for part in (entry, *entry["stages"]):
        part.pop("seconds")
    return entry


def exported(folder, index):
    """Return the bytes of the columns and CIFs exported of a histogram."""
    found = sorted(folder.glob(f"hist_{index:04d}_*.csv")) + sorted(folder.glob(f"hist_{index:04d}_*.cif"))
    text = {p.name: p.read_text(encoding="utf-8") for p in found}
    dates = ("_pd_block_id", "_audit_creation_date")
    return {n: "\n".join(line for line in t.splitlines() if not line.startswith(dates)) for n, t in text.items()}


def test_poisoned_batch_and_the_good_ones_as_in_a_clean_one(gsas2, synthetic, cake_of, cif, tmp_path, monkeypatch):
    good = {i: stored(synthetic, 70 + i) for i in GOOD}
    nan, zero = np.full(len(X), np.nan), np.zeros(len(X))
    flat = np.random.default_rng(5).poisson(3.0 * AREA * FRAMES, len(X)) / AREA
    faint = stored(synthetic, 12, peak=0.001, background=3.0)
    other = stored(synthetic, 8, text=synthetic.LAB6_CIF, a=4.156826)
    few = np.where(np.arange(len(X)) % 40 == 0, 0.125, 0.0)  # single counts here and there
    columns = [good[0], nan, np.ones(len(X)), zero, good[4], flat, other, few, faint, good[9], np.ones(len(X))]
    cake = cake_of(columns, X, frames=FRAMES, area=AREA)
    cake.bin_area[15:, 2] = 0.0
    cake.bin_area[:, 10] = 0.0
    path = write_cake_file(tmp_path / "x.zarr.zip", cake)
    # midas writes no NaN, other programs do.
    monkeypatch.setattr("midas.io.gsas_zarr.read_cake_file", lambda _: cake)
    pools = []

    class Watched(WorkerPool):
        def __init__(self, *words, **options):
            super().__init__(*words, **options)
            pools.append(self)

    def kill_once(_done, _total, note):
        """Kill a worker in the midst of the batch, as the system does when memory ends."""
        if pools and note.endswith("success"):
            os.kill(pools.pop().process_ids()[0], 9)

    monkeypatch.setattr(batch, "WorkerPool", Watched)
    options = {"refine_atoms": False, "n_cpus": 2}
    summary = run_refinement(path, [cif], tmp_path / "poisoned", progress=kill_once, **options)
    monkeypatch.undo()
    by = {h["histogram_index"]: h for h in summary["histograms"]}
    expected = {
        1: ("skipped", "all 1100 unmasked bins are NaN"),
        2: ("skipped", "15 usable bins in the range; more than 20 are needed"),
        3: ("skipped", "no counts: all 1100 unmasked bins are zero or negative"),
        5: ("failed", "CeO2 is not in the data"),
        6: ("failed", "CeO2 is not in the data"),
        7: ("failed", "no signal above the background"),
        8: ("failed", "CeO2 is not in the data"),
        10: ("skipped", "no unmasked bin in the range"),
    }
    for i, (status, words) in expected.items():
        assert by[i]["status"] == status, (i, by[i])
        assert by[i]["reason"], i
        assert words in by[i]["reason"], (i, by[i]["reason"])
        assert not (tmp_path / "poisoned" / f"hist_{i:04d}_CeO2.cif").exists()
    assert [by[i]["status"] for i in GOOD] == ["success"] * 3, [by[i]["reason"] for i in GOOD]
    assert [summary[k] for k in ("succeeded", "partial", "failed", "skipped")] == [3, 0, 4, 4]
    assert sum(h["attempts"] == 2 for h in summary["histograms"]) == 1

    clean = [good.get(i, good[0]) for i in range(len(columns))]
    path = write_cake_file(tmp_path / "clean.zarr.zip", cake_of(clean, X, frames=FRAMES, area=AREA))
    alone = run_refinement(path, [cif], tmp_path / "clean", histograms=GOOD, refine_atoms=False)
    for h in alone["histograms"]:
        i = h["histogram_index"]
        ours, theirs = without_time(by[i]), without_time(h)
        for entry in (ours, theirs):
            entry.pop("attempts")
            entry["warnings"] = [w for w in entry["warnings"] if "was lost" not in w]
        assert ours == theirs
        assert exported(tmp_path / "poisoned", i) == exported(tmp_path / "clean", i)
        assert len(exported(tmp_path / "clean", i)) == 3


@pytest.mark.parametrize("factor", [0.98, 1.02])
def test_wavelength_wrong_by_two_per_cent_is_never_a_success(gsas2, synthetic, cake_of, cif, tmp_path, factor):
    cake = cake_of([stored(synthetic, 7)], X, frames=FRAMES, area=AREA)
    cake.instrument["Lam"] = WAVELENGTH * factor
    path = write_cake_file(tmp_path / "x.zarr.zip", cake)
    h = run_refinement(path, [cif], tmp_path / "out", refine_atoms=False)["histograms"][0]
    assert h["status"] == "failed" or (h["status"] == "partial" and "wavelength" in h["reason"]), h["reason"]


def test_cif_of_another_cell_is_named(gsas2, synthetic, cake_of, tmp_path):
    wrong = synthetic.write_cif(tmp_path / "wrong.cif", synthetic.CEO2_CIF, 5.8)
    path = write_cake_file(tmp_path / "x.zarr.zip", cake_of([stored(synthetic, 7)], X, frames=FRAMES, area=AREA))
    h = run_refinement(path, [wrong], tmp_path / "out", refine_atoms=False)["histograms"][0]
    assert h["status"] == "failed"
    assert "wrong is not in the data where its CIF puts it" in h["reason"]


def test_cell_off_by_more_than_a_per_cent_is_kept_with_a_reservation(gsas2, synthetic, cake_of, tmp_path):
    broad = synthetic.Profile(u=400.0, v=0.0, w=80.0)
    ideal = 3.0 + 20.0 * synthetic.pattern(synthetic.CEO2_CIF.format(a=TRUE_A), X, WAVELENGTH, profile=broad)
    column = np.random.default_rng(7).poisson(ideal * AREA * FRAMES) / AREA
    path = write_cake_file(tmp_path / "x.zarr.zip", cake_of([column], X, frames=FRAMES, area=AREA))
    other = synthetic.write_cif(tmp_path / "CeO2.cif", synthetic.CEO2_CIF, TRUE_A / 1.012)
    h = run_refinement(path, [other], tmp_path / "out", refine_atoms=False)["histograms"][0]
    assert h["status"] == "partial", h
    assert "from the CIF's" in h["reason"]
    assert h["phases"][0]["cell"]["a"] == pytest.approx(TRUE_A, rel=1e-3)


@pytest.mark.parametrize("limits", [(3.2, 3.6), (9.0, 9.3)])
def test_limits_without_peaks_say_so(gsas2, synthetic, cake_of, cif, tmp_path, limits):
    path = write_cake_file(tmp_path / "x.zarr.zip", cake_of([stored(synthetic, 7)], X, frames=FRAMES, area=AREA))
    h = run_refinement(path, [cif], tmp_path / "out", limits=limits, refine_atoms=False)["histograms"][0]
    assert h["status"] == "failed"
    assert h["reason"].startswith("no reflection of CeO2 lies within the range fitted")
