"""What becomes of tasks when their cluster is gone: a client that stops running, in place of dask's."""

from __future__ import annotations

import logging
import signal
from concurrent.futures import CancelledError, Executor, Future, wait

import pytest

from midas.cake import cluster_watch
from midas.cake.cluster_watch import WatchedExecutor, deaf_children, without_chatter
from midas.ending import saying_what_is_kept
from midas.errors import ClusterError


class Client:
    def __init__(self):
        self.status, self.workers = "running", {"a": 1}

    def scheduler_info(self):
        return {"workers": self.workers}


class Inner(Executor):
    """Keeps what it is given; a test says what becomes of it."""

    def __init__(self):
        self.futures = []

    def submit(self, fn, /, *args, **kwargs):
        self.futures.append(Future())
        return self.futures[-1]


@pytest.fixture
def watched(monkeypatch):
    monkeypatch.setattr(cluster_watch, "_SECONDS", 0.01)
    client, inner = Client(), Inner()
    executor = WatchedExecutor(client, inner, "the cluster at x:1")
    yield client, inner, executor
    executor.shutdown()


def test_results_and_errors_are_handed_on(watched):
    _, inner, executor = watched
    good, bad, cancelled = (executor.submit(len, "abc") for _ in range(3))
    inner.futures[0].set_result(3)
    inner.futures[1].set_exception(ValueError("x"))
    assert good.result() == 3
    with pytest.raises(ValueError, match="x"):
        bad.result()
    assert cancelled.cancel()
    assert inner.futures[2].cancelled()


def test_a_lost_cluster_fails_what_is_out_and_takes_no_more(watched):
    client, inner, executor = watched
    waiting, dropped = executor.submit(len, "abc"), executor.submit(len, "abc")
    inner.futures[1].cancel()  # as dask does with what it lost sight of
    client.status = "connecting"
    done, _ = wait([waiting, dropped], timeout=20)
    assert len(done) == 2
    for future in done:
        assert not isinstance(future.exception(), CancelledError)
        with pytest.raises(ClusterError, match="connection to the cluster at x:1 is lost"):
            future.result()
    with pytest.raises(ClusterError):
        executor.submit(len, "abc")


def test_a_task_that_goes_out_while_the_cluster_is_lost_fails_too(watched, monkeypatch):
    client, inner, executor = watched

    def lose(*_):
        client.status = "connecting"
        executor._watcher.join(timeout=20)  # which has looked at what is out before this task is among it
        inner.futures.append(Future())
        return inner.futures[-1]

    monkeypatch.setattr(inner, "submit", lose)
    assert isinstance(executor.submit(len, "abc").exception(timeout=20), ClusterError)


def test_a_cluster_without_workers_is_told_of_once(watched, monkeypatch, caplog):
    client, _, executor = watched
    monkeypatch.setattr(cluster_watch, "_PATIENCE", 0.05)
    client.workers = {}
    executor._watcher.join(timeout=0.5)
    assert caplog.text.count("has no worker left") == 1


def test_dask_is_quiet_meanwhile_and_as_before_afterwards(caplog):
    logger = logging.getLogger("distributed.client")
    before = logger.level
    with without_chatter():
        logger.error("a traceback")
    logger.error("another")
    assert "a traceback" not in caplog.text
    assert "another" in caplog.text
    assert logger.level == before


def test_children_are_deaf_only_if_started_meanwhile():
    before = signal.getsignal(signal.SIGINT)
    with deaf_children():
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    assert signal.getsignal(signal.SIGINT) == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, lambda: ClusterError("it is lost")])
def test_what_is_kept_is_said_once(error):
    with (
        pytest.raises((KeyboardInterrupt, ClusterError)) as caught,
        saying_what_is_kept(lambda: 9, 9, "runs", "top"),
        saying_what_is_kept(lambda: 2, 5, "files", "out"),
    ):
        raise error()
    assert str(caught.value).endswith(
        "2 of 5 files are finished and kept in out; the same command with --resume goes on from there"
    )
    assert getattr(caught.value, "n_done", 2) == 2


def test_nothing_finished_promises_nothing():
    words = "none of 5 files was finished; the same command begins again"
    with pytest.raises(KeyboardInterrupt, match=words), saying_what_is_kept(lambda: 0, 5, "files", "out"):
        raise KeyboardInterrupt
