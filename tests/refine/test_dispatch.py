from __future__ import annotations

import sys
import time
from dataclasses import replace

import pytest

from midas.errors import RefinementError
from midas.refine.dispatch import EngineCommand, WorkerPool, hire, refine_all


@pytest.mark.parametrize("n_workers", [1, 2])
def test_all_jobs_come_back_with_their_own_answers(fake_engine, make_job, n_workers):
    jobs = [make_job(i) for i in range(7)]
    with WorkerPool(fake_engine, n_workers, time_limit=20) as pool:
        found = {job.index: result for job, result in refine_all(pool, jobs)}
        assert 1 <= len(pool.process_ids()) <= n_workers
    assert sorted(found) == list(range(7))
    assert [found[i].r_wp for i in range(7)] == [sum(job.intensity.tolist()) for job in jobs]
    assert {r.log for r in found.values()} == {"threads 1"}
    assert pool.process_ids() == []


def test_crashed_worker_is_replaced_and_the_histogram_retried(fake_engine, make_job, tmp_path):
    (tmp_path / "die_once_1").touch()
    with WorkerPool(fake_engine, 1, time_limit=20) as pool:
        results = {job.index: r for job, r in refine_all(pool, [make_job(i) for i in range(3)])}
    assert [results[i].status for i in range(3)] == ["success"] * 3
    assert [results[i].attempts for i in range(3)] == [1, 2, 1]
    assert "ended with status 9" in results[1].warnings[0]


def test_no_time_limit_is_one_too(fake_engine, make_job):
    with WorkerPool(fake_engine, 1, time_limit=float("inf")) as pool:
        assert pool.refine(make_job(0)).status == "success"


def test_hung_worker_is_ended_at_the_limit_and_the_histogram_retried(fake_engine, make_job, tmp_path):
    (tmp_path / "hang_once_0").touch()
    begin = time.monotonic()
    with WorkerPool(fake_engine, 1, time_limit=1.0) as pool:
        result = pool.refine(make_job(0))
    assert (result.status, result.attempts) == ("success", 2)
    assert "longer than 1 s" in result.warnings[0]
    assert time.monotonic() - begin < 20


def test_histogram_that_kills_twice_fails_alone(fake_engine, make_job, tmp_path):
    (tmp_path / "die_1").touch()
    with WorkerPool(fake_engine, 2, time_limit=20) as pool:
        results = {job.index: r for job, r in refine_all(pool, [make_job(i) for i in range(4)])}
    assert {i: r.status for i, r in results.items()} == {0: "success", 1: "failed", 2: "success", 3: "success"}
    assert "lost on it 2 times" in results[1].reason
    assert "last words" in results[1].log


def test_worker_that_cannot_start_is_an_error(fake_engine, make_job):
    broken = replace(fake_engine, argv=(*fake_engine.argv, "--broken"))
    with WorkerPool(broken, 1) as pool, pytest.raises(RefinementError, match="it is broken"):
        list(refine_all(pool, [make_job(0)]))


def test_greeting_reports_a_program_that_says_nothing(tmp_path):
    answer, worker = hire(EngineCommand((sys.executable, "-c", "raise SystemExit('no luck')"), "x"), tmp_path / "home")
    assert worker is None
    assert not answer["found"]
    assert not (tmp_path / "home").exists()
    assert "no luck" in answer["problem"]


def test_a_worker_that_runs_already_gets_the_first_job(fake_engine, make_job, tmp_path):
    answer, worker = hire(fake_engine, tmp_path / "home")
    assert answer["found"]
    with WorkerPool(fake_engine, 2, time_limit=20, ready=[worker]) as pool:
        assert pool.process_ids() == [worker.process.pid]
        assert pool.refine(make_job(0)).status == "success"
        assert pool.process_ids() == [worker.process.pid]
    assert worker.process.returncode is not None
    assert not (tmp_path / "home").exists()
