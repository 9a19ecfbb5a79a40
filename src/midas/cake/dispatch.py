"""Tasks handed to whoever does them: threads of this process, or any executor of processes, here or on a cluster."""

from __future__ import annotations

import functools
import logging
import multiprocessing
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)

from midas.cake.file_task import FileResult, FileTask, Setup, named, run_task
from midas.errors import ClusterError, FormatError, MidasError

_log = logging.getLogger(__name__)

_AHEAD = 2  # tasks handed over for each that can run: a worker that is done finds the next one waiting

Numbered = tuple[int, FileResult]
Say = Callable[[int, int, str], None]
"""Called with what is done, of how many, and what these are."""


class _Stopped(Exception):  # noqa: N818  ends a thread's task, never shown
    """The run is over."""


class Counter:
    """Counts what is done of a run and says so, from whichever thread."""

    def __init__(self, n_tasks: int, say: Say | None) -> None:
        self._n_tasks, self._say = n_tasks, say
        self._lock = threading.Lock()
        self._start = time.monotonic()
        self._n_frames = self._n_done = 0
        self._begun: dict[int, int] = {}
        self.stopped = False
        """True: tasks in threads shall end."""

    @property
    def n_done(self) -> int:
        """Tasks done."""
        return self._n_done

    def frame(self, task: int, done: int, total: int) -> None:
        """Take note that a task has done some of its frames."""
        if self.stopped:
            raise _Stopped
        with self._lock:
            self._n_frames += done - self._begun.get(task, 0)
            self._begun[task] = done
            if self._say is not None and self._n_tasks == 1:
                self._say(done, total, "frames")
            else:
                self._tell()

    def task(self, task: int, result: FileResult) -> None:
        """Take note that a task is done."""
        with self._lock:
            self._n_frames += result.n_frames - self._begun.pop(task, 0)
            self._n_done += 1
            self._tell()

    def _tell(self) -> None:
        if self._say is not None and self._n_tasks > 1:
            rate = self._n_frames / max(time.monotonic() - self._start, 1e-6)
            self._say(self._n_done, self._n_tasks, f"files, {rate:.3g} frames/s")


def run_tasks(
    setup: Setup,
    tasks: Sequence[FileTask],
    *,
    counter: Counter,
    executor: Executor | None = None,
    n_workers: int = 1,
) -> Iterator[FileResult]:
    """Yield what becomes of each task, in their order; `counter` is told of them as they come.

    Without an executor as many threads of this process as `n_workers` do them. A task whose process is lost is done
    again, alone in a new process; where that is lost, too, it has failed.

    Raises
    ------
    OutputError
        The results cannot be written; what was not begun is not done.
    ClusterError
        The cluster behind the executor is gone.
    """
    if executor is not None:
        results = _elsewhere(setup, tasks, executor, n_workers, counter)
    elif n_workers > 1:
        results = _in_threads(setup, tasks, n_workers, counter)
    else:
        results = _here(setup, tasks, counter)
    yield from _in_order(_counted(results, counter))


def _here(setup: Setup, tasks: Sequence[FileTask], counter: Counter) -> Iterator[Numbered]:
    for k, task in enumerate(tasks):
        yield k, _outcome(task, functools.partial(run_task, setup, task, functools.partial(counter.frame, k)))


def _outcome(task: FileTask, get: Callable[[], FileResult]) -> FileResult:
    """Return what becomes of a task; what nobody thought of fails this one, not the others.

    Raises
    ------
    OutputError, BrokenExecutor
        The results cannot be written; the process is lost.
    """
    try:
        return get()
    except (MidasError, BrokenExecutor, _Stopped):
        raise
    except Exception as error:  # noqa: BLE001  of a library, or of an executor that gave the task up
        _log.debug("%s", named(task.images), exc_info=True)
        return _failed(task, f"{type(error).__name__}: {error}")


def _counted(results: Iterable[Numbered], counter: Counter) -> Iterator[Numbered]:
    for number, result in results:
        counter.task(number, result)
        yield number, result


def _in_order(results: Iterable[Numbered]) -> Iterator[FileResult]:
    early: dict[int, FileResult] = {}
    following = 0
    for number, result in results:
        early[number] = result
        while following in early:
            yield early.pop(following)
            following += 1


def _in_threads(setup: Setup, tasks: Sequence[FileTask], n_workers: int, counter: Counter) -> Iterator[Numbered]:
    with ThreadPoolExecutor(n_workers, thread_name_prefix="midas-cake") as threads:

        def start(number: int) -> Future[FileResult]:
            return threads.submit(run_task, setup, tasks[number], functools.partial(counter.frame, number))

        try:
            yield from _until_lost(tasks, deque(range(len(tasks))), start, n_workers)  # no thread is lost
        except BaseException:
            counter.stopped = True
            raise


def _elsewhere(
    setup: Setup, tasks: Sequence[FileTask], executor: Executor, n_workers: int, counter: Counter
) -> Iterator[Numbered]:
    def start_in(pool: Executor, number: int) -> Future[FileResult]:
        return pool.submit(run_task, setup, tasks[number])

    waiting = deque(range(len(tasks)))
    suspects = yield from _until_lost(tasks, waiting, functools.partial(start_in, executor), n_workers)
    while suspects or waiting:
        _log.warning("a worker process was lost; what it had in hand is done again")
        # Those that were in its hands go one by one: only what ends a process again is to blame.
        for number in suspects:
            with _own_pool(1) as pool:
                lost_again = yield from _until_lost(tasks, deque([number]), functools.partial(start_in, pool), 1)
            if lost_again:
                yield number, _failed(tasks[number], "its process was lost, and once more when it was tried again")
        with _own_pool(n_workers) as pool:
            suspects = yield from _until_lost(tasks, waiting, functools.partial(start_in, pool), n_workers)


def _until_lost(
    tasks: Sequence[FileTask], waiting: deque[int], start: Callable[[int], Future[FileResult]], n_workers: int
) -> Generator[Numbered, None, list[int]]:
    """Yield results as they come until all are there, or a process is lost; return what was in hand then.

    What was not started stays in `waiting`.
    """
    running: dict[Future[FileResult], int] = {}
    in_hand: list[int] = []
    is_lost = False
    gone: ClusterError | None = None
    try:
        while running or (waiting and not is_lost):
            while waiting and not is_lost and len(running) < _AHEAD * n_workers:
                try:
                    running[start(waiting[0])] = waiting[0]
                    waiting.popleft()
                except BrokenExecutor:
                    is_lost = True
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                number = running.pop(future)
                try:
                    yield number, _outcome(tasks[number], future.result)
                except BrokenExecutor:
                    is_lost = True
                    in_hand.append(number)
                except ClusterError as error:
                    gone = error
            if gone is not None:
                raise gone
    finally:
        for future in running:
            future.cancel()
    return sorted(in_hand)


def _own_pool(n_workers: int) -> ProcessPoolExecutor:
    # Spawned: a forked child hangs once this process has used OpenMP.
    # Ctrl-C in the terminal is for this process, which ends them.
    return ProcessPoolExecutor(
        n_workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_IGN),
    )


def _failed(task: FileTask, reason: str) -> FileResult:
    error = FormatError(f"{named(task.images)} could not be caked: {reason}; the file may be damaged, or memory short")
    return FileResult(task.images, task.target, "failed", error=error)
