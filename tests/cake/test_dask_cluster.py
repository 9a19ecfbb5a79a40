"""A series on a dask cluster, which loses a worker, or is not there."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from series_files import PARAMETERS, contents, write_files

from midas import InputError
from midas.cake import integrate_files


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """Yield the address of a dask scheduler and the processes of two workers of one thread each."""
    pytest.importorskip("distributed", reason="dask is optional; pip install midas-xrd[cluster]")
    address = f"tcp://127.0.0.1:{free_port()}"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def start(*words: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "distributed.cli." + words[0], *words[1:]]
        return subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL, env=environment)

    scheduler = start("dask_scheduler", "--host", address, "--no-dashboard")
    common = ("dask_worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory")
    workers = [start(*common, str(tmp_path / f"worker-{k}")) for k in range(2)]
    try:
        yield address, workers
    finally:
        for process in (*workers, scheduler):
            process.kill()
            process.wait()


def test_a_dask_cluster_that_loses_a_worker_gives_the_same_bytes(
    tmp_path: Path, cluster: tuple[str, list[subprocess.Popen[bytes]]]
) -> None:
    from midas.cake.cluster import cluster_executor

    address, workers = cluster
    files = write_files(tmp_path / "in", 40, frames=20, bad=(11,))
    expected = integrate_files(files, PARAMETERS, tmp_path / "expected")

    def kill_one(done: int, total: int, what: str) -> None:
        if done == 8:
            workers[0].kill()

    with cluster_executor(scheduler=address) as (executor, n_workers):
        done = integrate_files(
            files, PARAMETERS, tmp_path / "out", executor=executor, n_workers=n_workers, progress=kill_one
        )
    assert workers[0].poll() is not None
    assert workers[1].poll() is None
    assert [f.reason for f in done.failed] == [f.reason for f in expected.failed]
    assert len(done.written) == len(expected.written) == 39
    assert contents(tmp_path / "out") == contents(tmp_path / "expected")


def test_workers_that_are_still_to_come_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("distributed", reason="dask is optional; pip install midas-xrd[cluster]")
    from midas.cake import cluster

    class Queue(distributed.LocalCluster):
        """Has one worker running when the others still stand in the queue."""

        def __init__(self) -> None:
            super().__init__(n_workers=0, threads_per_worker=2, processes=False, dashboard_address=None)

        def scale(self, n: int) -> None:
            super().scale(min(n, 1))

    monkeypatch.setattr(distributed, "Queue", Queue, raising=False)
    monkeypatch.setitem(cluster.CLUSTERS, "slurm", ("distributed", "Queue"))
    with cluster.cluster_executor(cluster="slurm", n_workers=5) as (executor, at_once):
        assert at_once == 10
        assert executor.submit(abs, -1).result(timeout=60) == 1


def test_a_scheduler_file_that_is_not_there(tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="dask is optional; pip install midas-xrd[cluster]")
    from midas.cake.cluster import cluster_executor

    with pytest.raises(InputError, match=r"none\.json is not there"), cluster_executor(scheduler="none.json"):
        pass


def test_a_scheduler_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="dask is optional; pip install midas-xrd[cluster]")
    from midas.cake import cluster

    monkeypatch.setattr(cluster, "_SECONDS", 1)
    with (
        pytest.raises(InputError, match="does not answer or has no worker"),
        cluster.cluster_executor(scheduler=f"tcp://127.0.0.1:{free_port()}"),
    ):
        pass
    with (
        pytest.raises(InputError, match="cluster is 'cloud'; expected one of local"),
        cluster.cluster_executor(cluster="cloud"),
    ):
        pass
