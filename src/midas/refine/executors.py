"""Histograms refined by an executor of processes, here or on a cluster: each process keeps a warm engine of its own."""

from __future__ import annotations

import atexit
import logging
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait

from midas.errors import ClusterError
from midas.refine.dispatch import EngineCommand, WorkerPool, refine_all
from midas.refine.job import RefinementJob, RefinementResult

_log = logging.getLogger(__name__)
_AHEAD = 2  # jobs handed over for each that can run: a process that is done finds the next one waiting
_MOST_THREADS = 256  # of one process, each of which has its own engine; engines are started as they are needed

_pools: dict[tuple[EngineCommand, float], WorkerPool] = {}
_lock = threading.Lock()


def refine_here(command: EngineCommand, job: RefinementJob, time_limit: float) -> RefinementResult:
    """Return the result of a job, refined by an engine of this process that stays warm until the process ends."""
    key = (command, time_limit)
    with _lock:
        if key not in _pools:
            _pools[key] = WorkerPool(command, _MOST_THREADS, time_limit=time_limit)
            atexit.register(_pools[key].__exit__, None, None, None)
        pool = _pools[key]
    return pool.refine(job)


def refine_elsewhere(
    executor: Executor, command: EngineCommand, jobs: Iterable[RefinementJob], *, n_workers: int, time_limit: float
) -> Iterator[tuple[RefinementJob, RefinementResult]]:
    """Yield each job with its result as they finish, not in order; jobs are made only as fast as they are taken.

    What an executor had in hand when it broke, and what comes after, is refined by workers of this process.

    Raises
    ------
    ClusterError
        The cluster behind the executor is gone; what it had sent back is yielded before.
    """
    waiting = iter(jobs)
    running: dict[Future[RefinementResult], RefinementJob] = {}
    in_hand: list[RefinementJob] = []
    gone: ClusterError | None = None
    try:
        while True:
            while len(running) < _AHEAD * n_workers and not in_hand:
                job = next(waiting, None)
                if job is None:
                    break
                try:
                    running[executor.submit(refine_here, command, job, time_limit)] = job
                except BrokenExecutor:
                    in_hand.append(job)
            if not running:
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                job = running.pop(future)
                try:
                    result = future.result()
                except BrokenExecutor:
                    in_hand.append(job)
                    continue
                except ClusterError as error:
                    gone = error
                    continue
                yield job, result
            if gone is not None:
                raise gone
    finally:
        for future in running:
            future.cancel()
    if in_hand:
        _log.warning("the executor broke: %d histograms and those to come are refined on this machine", len(in_hand))
        with WorkerPool(command, n_workers, time_limit=time_limit) as pool:
            yield from refine_all(pool, _chained(in_hand, waiting))


def _chained(first: list[RefinementJob], then: Iterator[RefinementJob]) -> Iterator[RefinementJob]:
    yield from first
    yield from then
