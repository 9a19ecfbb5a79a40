from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from midas.io.gsas_zarr import write_cake_file
from midas.refine import run_refinement
from midas.refine.batch import BatchOptions, refine_cake
from midas.refine.executors import refine_elsewhere
from midas.refine.phases import check_phases

X = np.arange(3.0, 6.0, 0.02)


@pytest.fixture
def batch(synthetic, cake_of, fake_engine, tmp_path):
    """Return a function that refines six columns with the engine that refines nothing."""
    cif = synthetic.write_cif(tmp_path / "CeO2.cif", synthetic.CEO2_CIF, 5.41165)
    cake = cake_of([np.full(len(X), 100.0 + i) if i != 2 else np.zeros(len(X)) for i in range(6)], X)

    def run(name, executor=None):
        out = tmp_path / name
        out.mkdir()
        options = BatchOptions(check_phases([cif]), out, n_cpus=2, time_limit=20)
        return refine_cake(cake, Path("x.zarr.zip"), options, fake_engine, list(range(6)), executor=executor)

    return run


def histograms(summary):
    return [{k: v for k, v in h.items() if k != "seconds"} for h in summary["histograms"]]


def test_processes_and_threads_give_what_the_plain_run_gives(batch):
    plain = histograms(batch("plain"))
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as processes:
        assert histograms(batch("processes", processes)) == plain
    with ThreadPoolExecutor(2) as threads:
        assert histograms(batch("threads", threads)) == plain


def test_dask_gives_what_the_plain_run_gives(batch):
    pytest.importorskip("distributed", reason="dask is not installed: pip install midas-xrd[cluster]")
    from midas.cake.cluster import cluster_executor

    with cluster_executor(cluster="local", n_workers=2) as (executor, n_workers):
        assert n_workers == 2
        assert histograms(batch("dask", executor)) == histograms(batch("plain"))


def test_a_broken_executor_loses_nothing(fake_engine, make_job):
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes:
        processes.submit(os._exit, 3)
        jobs = [make_job(i) for i in range(7)]
        options = {"n_workers": 1, "time_limit": 20.0}
        found = {job.index: r for job, r in refine_elsewhere(processes, fake_engine, jobs, **options)}
    assert sorted(found) == list(range(7))
    assert {r.status for r in found.values()} == {"success"}


@pytest.mark.gsas2
def test_processes_refine_to_the_same_numbers(gsas2, synthetic, cake_of, tmp_path):
    cif = synthetic.write_cif(tmp_path / "CeO2.cif", synthetic.CEO2_CIF, 5.41165)
    x = np.arange(3.0, 18.0, 0.01)
    ideal = 3.0 + 20.0 * synthetic.pattern(synthetic.CEO2_CIF.format(a=5.413), x, 0.413263)
    columns = [np.random.default_rng(i).poisson(ideal * 160.0) / 8.0 for i in range(2)]
    path = write_cake_file(tmp_path / "x.zarr.zip", cake_of(columns, x))
    found = []
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes:
        for name, executor in (("here", None), ("there", processes)):
            found.append(run_refinement(path, [cif], tmp_path / name, executor=executor, refine_atoms=False))
    here, there = ([h["phases"] for h in summary["histograms"]] for summary in found)
    assert here == there
    assert all(h["status"] == "success" for h in found[1]["histograms"])
    assert (tmp_path / "there" / "hist_0001.gpx").is_file()
