"""A refinement that ends before its time: Ctrl-C, a parent that is killed, a cluster that is gone."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import Executor, Future
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from midas.cli import main
from midas.errors import ClusterError, InputError
from midas.io.gsas_zarr import write_cake_file
from midas.refine.batch import BatchOptions, open_workers, refine_cake, run_refinement
from midas.refine.dispatch import hire
from midas.refine.phases import check_phases

X = np.arange(3.0, 6.0, 0.02)
HERE = Path(__file__).parent


@pytest.fixture
def cif(synthetic, tmp_path):
    return synthetic.write_cif(tmp_path / "CeO2.cif", synthetic.CEO2_CIF, 5.41165)


@pytest.fixture
def cake(cake_of):
    return cake_of([np.full(len(X), 100.0 + i) for i in range(8)], X)


@pytest.fixture
def options(cif, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    return BatchOptions(check_phases([cif]), out, n_cpus=2, time_limit=20, skip_existing=True)


class GoneAfter(Executor):
    """A cluster that does so many histograms, and is gone."""

    def __init__(self, n_tasks):
        self.left = n_tasks

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        self.left -= 1
        if self.left < 0:
            future.set_exception(ClusterError("it is lost"))
        else:
            future.set_result(fn(*args, **kwargs))
        return future


def test_a_lost_cluster_keeps_what_it_finished_and_the_run_goes_on_from_there(cake, options, fake_engine):
    diary = options.output_dir / "diary.txt"
    diary.touch()
    with pytest.raises(ClusterError, match=r"it is lost; 3 of 8 histograms are finished and kept in .*out; ") as caught:
        refine_cake(cake, Path("x"), options, fake_engine, list(range(8)), executor=GoneAfter(3))
    assert caught.value.n_done == 3
    assert not (options.output_dir / "refinement_summary.json").exists()
    assert refine_cake(cake, Path("x"), options, fake_engine, list(range(8)))["succeeded"] == 8
    assert sorted(int(line) for line in diary.read_text().split()) == list(range(8))


@pytest.mark.parametrize(("n_done", "status"), [(0, 3), (2, 1)])
def test_the_exit_status_of_a_lost_cluster_says_whether_anything_is_done(n_done, status, monkeypatch, capsys):
    def lost(*_, **__):
        error = ClusterError("it is lost")
        error.n_done = n_done
        raise error

    monkeypatch.setattr("midas.refine.run_refinement", lost)
    assert main(["refine", "x.zarr.zip", "--cif", "a.cif"]) == status
    assert capsys.readouterr().err == "midas refine: it is lost\n"


def test_one_pool_serves_several_files(cake, options, fake_engine):
    with open_workers(fake_engine, 2) as workers:
        seen = []
        for _ in range(3):
            again = replace(options, skip_existing=False)
            refine_cake(cake, Path("x"), again, fake_engine, [0, 1, 2, 3], workers=workers)
            seen.append(set(workers.process_ids()))
        assert seen[0] == seen[1] == seen[2]
        assert 1 <= len(seen[0]) <= 2
        (process, *_) = seen[0]
        os.kill(process, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_the_first_worker_ends_where_the_folder_cannot_be_cleared(cake, options, fake_engine, tmp_path, monkeypatch):
    def denied(folder):
        raise PermissionError(13, "denied", str(folder))

    monkeypatch.setattr("midas.refine.batch.remove_old_results", denied)
    (tmp_path / "home").mkdir()
    _, worker = hire(fake_engine, tmp_path / "home")
    with pytest.raises(PermissionError):
        refine_cake(cake, Path("x"), options, fake_engine, [0], ready=[worker])
    assert worker.process.poll() is not None


def test_two_that_refine_are_refused(cif):
    with pytest.raises(InputError, match="executor and workers were both given"):
        run_refinement("x.zarr.zip", [cif], executor=GoneAfter(0), workers=object())


def begun(cake, cif, tmp_path):
    """Return a batch that hangs, in a process group of its own, and the ids of its workers, which are there."""
    data, out = write_cake_file(tmp_path / "x.zarr.zip", cake), tmp_path / "out"
    out.mkdir()
    for index in (2, 3):
        (out / f"hang_once_{index}").touch()
    command = [sys.executable, str(HERE / "fake_batch.py"), str(data), str(cif), str(out)]
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True)
    limit = time.monotonic() + 60.0
    while (any(out.glob("hang_once_*")) or len(list(out.glob("hist_*.json"))) < 2) and time.monotonic() < limit:
        time.sleep(0.02)
    task = Path(f"/proc/{process.pid}/task")
    children = (
        {int(i) for t in task.iterdir() for i in (t / "children").read_text().split()} if task.is_dir() else set()
    )
    return process, children


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="signals of terminals are those of POSIX")
def test_ctrl_c_ends_the_batch_and_its_workers(cake, cif, tmp_path):
    process, workers = begun(cake, cif, tmp_path)
    os.killpg(process.pid, signal.SIGINT)
    _, words = process.communicate(timeout=20)
    # The record of the second is there a moment before it is counted.
    assert re.search("[12] of 8 histograms are finished and kept in", words), words
    assert words.count("Traceback") <= 1  # that of the program of this test, which is not midas's own
    for worker in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(worker, 0)


WATCHED = """
import importlib.util, os, pathlib, sys, time
spec = importlib.util.spec_from_file_location("worker", sys.argv[1])
worker = importlib.util.module_from_spec(spec)
spec.loader.exec_module(worker)
worker.end_with_parent(pathlib.Path(sys.argv[2]), os.getppid(), 0.05)
print(os.getpid(), flush=True)
while True:
    sum(range(1000))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="a process without parent keeps its number there")
def test_a_worker_ends_within_its_job_when_its_parent_is_killed(tmp_path):
    home = tmp_path / "midas-refine-x" / "worker_0001"
    home.mkdir(parents=True)
    worker = HERE.parents[1] / "src" / "midas" / "refine" / "worker.py"
    start = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {WATCHED!r}, *sys.argv[1:]])"
    parent = subprocess.Popen([sys.executable, "-c", start, str(worker), str(home)], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    limit = time.monotonic() + 20.0
    while time.monotonic() < limit:
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            break
        time.sleep(0.02)
    parent.stdout.close()
    assert not home.parent.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
