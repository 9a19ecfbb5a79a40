"""A pool of warm engine processes: started, fed and watched over pipes, replaced when they crash or hang.

Nothing here knows an engine: it is a command that says hello in one JSON line, then answers each job with one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import queue
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from midas.errors import RefinementError
from midas.refine.job import RefinementJob, RefinementResult

ONE_THREAD = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "BLIS_NUM_THREADS",
)
START_SECONDS = 120.0
ATTEMPTS = 2
"""A histogram on which a worker is lost is tried this many times in all."""


@dataclass(frozen=True)
class EngineCommand:
    """How to start an engine's worker, and what it is."""

    argv: tuple[str, ...]
    """Command line; `--home FOLDER` is added for each worker."""
    name: str
    version: str | None = None
    folder: str | None = None


class WorkerLost(Exception):  # noqa: N818 - an event of the pool, never shown to users
    """The process ended, or was ended because it overran its time."""


class Worker:
    """One engine process with a private home, answering one job at a time; `greet` False leaves that to the caller."""

    def __init__(self, command: EngineCommand, home: Path, *, keep_home: bool = False, greet: bool = True) -> None:
        self.home = home
        self.hello: dict[str, Any] = {}
        home.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, **dict.fromkeys(ONE_THREAD, "1"), "MPLBACKEND": "Agg", "PYTHONUNBUFFERED": "1"}
        with (home / "errors.txt").open("wb") as errors:
            self.process = subprocess.Popen(
                [*command.argv, "--home", str(home)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                text=True,
                encoding="utf-8",
                start_new_session=True,  # Ctrl-C in the terminal is for this process, which ends them
            )
        if greet:
            self.greet(keep_home=keep_home)

    def greet(self, *, keep_home: bool = False) -> None:
        """Wait until it has its engine, and take down what it says; raise WorkerLost when it says nothing."""
        try:
            self.hello = self._exchange(None, START_SECONDS)
        except BaseException:
            self.close(at_once=True, keep_home=keep_home)
            raise

    def ask(self, job: RefinementJob, time_limit: float) -> dict[str, Any]:
        """Return the engine's answer to a job; raise WorkerLost when the process dies or overruns the limit [s]."""
        return self._exchange(json.dumps(job.to_message()), time_limit)

    def _exchange(self, line: str | None, time_limit: float) -> dict[str, Any]:
        late = threading.Event()

        def stop() -> None:
            late.set()
            self.process.kill()

        if self.process.stdin is None or self.process.stdout is None:
            raise WorkerLost("the worker has no pipes")
        timer = threading.Timer(min(time_limit, threading.TIMEOUT_MAX), stop)
        timer.daemon = True
        timer.start()
        try:
            if line is not None:
                self.process.stdin.write(line + "\n")
                self.process.stdin.flush()
            reply = self.process.stdout.readline()
            answer: dict[str, Any] = json.loads(reply) if reply.endswith("\n") else {}
        except (OSError, json.JSONDecodeError):
            answer = {}
        finally:
            timer.cancel()
        if not answer:
            self.process.kill()
            code = self.process.wait()
            how = f"it took longer than {time_limit:g} s" if late.is_set() else f"its process ended with status {code}"
            raise WorkerLost(how)
        return answer

    def last_words(self) -> str:
        """Return the end of what the process printed."""
        texts = [self.home / "output.txt", self.home / "errors.txt"]
        return "".join(t.read_text(encoding="utf-8", errors="replace") for t in texts if t.is_file())[-2000:]

    def dismiss(self) -> None:
        """Tell the process that there is no more to do, without waiting for its end."""
        with contextlib.suppress(OSError):
            if self.process.stdin is not None:
                self.process.stdin.close()

    def close(self, *, at_once: bool = False, keep_home: bool = False) -> None:
        """End the process and remove its folder."""
        if at_once:
            self.process.kill()
        self.dismiss()
        try:
            self.process.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            pass
        finally:  # also when Ctrl-C comes meanwhile
            self.process.kill()
            self.process.wait()
            if self.process.stdout is not None:
                self.process.stdout.close()
            if not keep_home:
                shutil.rmtree(self.home, ignore_errors=True)


def hire(command: EngineCommand, home: Path) -> tuple[dict[str, Any], Worker | None]:
    """Return what an engine's worker says of itself, and the worker, ready for jobs, where it has found its engine."""
    try:
        worker = Worker(command, home, keep_home=True)
    except WorkerLost as event:
        errors = home / "errors.txt"
        text = errors.read_text(encoding="utf-8", errors="replace") if errors.is_file() else ""
        words = text.strip().splitlines()[-1:] or ["no output"]
        shutil.rmtree(home, ignore_errors=True)
        return {"found": False, "problem": f"the worker does not start: {event}: {words[0]}"}, None
    except OSError as error:
        shutil.rmtree(home, ignore_errors=True)
        return {"found": False, "problem": str(error)}, None
    except BaseException:
        shutil.rmtree(home, ignore_errors=True)
        raise
    if worker.hello.get("found"):
        return worker.hello, worker
    worker.close(at_once=True)
    return worker.hello, None


class WorkerPool:
    """Warm workers behind a blocking `refine`, safe to call from as many threads as there are workers.

    `ready` are workers of the command that run already. Leaving the context ends every process and removes their
    folders.
    """

    def __init__(
        self, command: EngineCommand, n_workers: int, *, time_limit: float = 300.0, ready: Sequence[Worker] = ()
    ) -> None:
        self.command, self.n_workers, self.time_limit = command, n_workers, time_limit
        self._root = Path(tempfile.mkdtemp(prefix="midas-refine-"))
        self._idle: queue.LifoQueue[Worker | None] = queue.LifoQueue()
        for _ in range(n_workers - len(ready)):
            self._idle.put(None)
        self._lock = threading.Lock()
        self._alive: set[Worker] = set(ready)
        for worker in ready:
            self._idle.put(worker)
        self._started = 0
        self._closing = False

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._closing = True
            workers = list(self._alive)
            self._alive.clear()
        for worker in workers:
            worker.dismiss()  # all of them first: each takes a while to end
        for worker in workers:
            worker.close(at_once=kind is not None)
        shutil.rmtree(self._root, ignore_errors=True)

    def process_ids(self) -> list[int]:
        """Return the ids of the processes running now."""
        with self._lock:
            return [worker.process.pid for worker in self._alive]

    def refine(self, job: RefinementJob) -> RefinementResult:
        """Return the result of a job, whatever happens to the worker: lost ones are replaced, the job retried once."""
        worker = self._idle.get()
        lost: list[str] = []
        words = ""
        try:
            for number in range(1, ATTEMPTS + 1):
                if self._closing:
                    break
                worker = worker or self._start()
                try:
                    answer = worker.ask(job, self.time_limit)
                except WorkerLost as event:
                    lost.append(str(event))
                    words = worker.last_words()
                    self._discard(worker)
                    worker = None
                    continue
                result = RefinementResult.from_message(answer)
                remarks = tuple(f"attempt {i} was lost: {how}" for i, how in enumerate(lost, 1))
                return dataclasses.replace(result, attempts=number, warnings=(*result.warnings, *remarks))
        finally:
            self._idle.put(worker)
        reason = f"the worker was lost on it {len(lost)} times: {lost[-1]}" if lost else "the batch was ended"
        return RefinementResult(
            index=job.index,
            status="failed",
            reason=reason,
            error=reason,
            warnings=job.warnings,
            attempts=len(lost),
            log=words,
        )

    def _start(self) -> Worker:
        with self._lock:
            self._started += 1
            home = self._root / f"worker_{self._started:04d}"
        try:
            worker = Worker(self.command, home)
        except WorkerLost as event:
            raise RefinementError(f"a {self.command.name} worker does not start: {event}") from event
        with self._lock:
            self._alive.add(worker)
        if self._closing:  # meanwhile: whoever ended the others did not know of this one
            self._discard(worker)
            raise RefinementError("the batch was ended")
        if not worker.hello.get("found"):
            self._discard(worker)
            raise RefinementError(f"a {self.command.name} worker does not start: {worker.hello.get('problem')}")
        return worker

    def _discard(self, worker: Worker) -> None:
        with self._lock:
            self._alive.discard(worker)
        worker.close(at_once=True)


def refine_all(
    pool: WorkerPool, jobs: Iterable[RefinementJob], *, done: Callable[[RefinementResult], None] | None = None
) -> Iterator[tuple[RefinementJob, RefinementResult]]:
    """Yield each job with its result as they finish, not in order; jobs are made only as fast as they are taken."""
    waiting = iter(jobs)
    with ThreadPoolExecutor(pool.n_workers, thread_name_prefix="midas-refine") as threads:
        running: dict[Future[RefinementResult], RefinementJob] = {}
        try:
            while True:
                while len(running) <= pool.n_workers:
                    job = next(waiting, None)
                    if job is None:
                        break
                    running[threads.submit(pool.refine, job)] = job
                if not running:
                    return
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    job, result = running.pop(future), future.result()
                    if done is not None:
                        done(result)
                    yield job, result
        except BaseException:
            for future in running:
                future.cancel()
            pool.__exit__(RefinementError, None, None)
            raise
