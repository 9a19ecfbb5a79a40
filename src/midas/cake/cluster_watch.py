"""An executor that says when its cluster is gone, where dask's own leaves its futures cancelled, or waits for ever."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, InvalidStateError
from typing import Any

from midas.errors import ClusterError

_SECONDS = 0.5  # between two looks at the connection
_PATIENCE = 30.0  # seconds without any worker before somebody is told
_TALKATIVE = ("distributed", "tornado", "asyncio")
_log = logging.getLogger(__name__)


class WatchedExecutor(Executor):
    """Tasks of a dask client whose futures fail with ClusterError when the connection to its scheduler is lost.

    Parameters
    ----------
    client
        The dask client.
    inner
        Its executor.
    name
        What the cluster is called in messages.
    """

    def __init__(self, client: Any, inner: Executor, name: str) -> None:
        self._client, self._inner, self._name = client, inner, name
        self._lock = threading.Lock()
        self._open: dict[Future[Any], Future[Any]] = {}
        self._lost = False
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="midas-cluster", daemon=True)
        self._watcher.start()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Hand a task to the cluster.

        Raises
        ------
        ClusterError
            It is gone.
        """
        if self._lost:
            raise self._error()
        outer: Future[Any] = Future()
        try:
            inner = self._inner.submit(fn, *args, **kwargs)
        except (OSError, RuntimeError) as error:
            if self._client.status == "running" and not self._lost:
                raise
            raise self._error() from error
        with self._lock:
            self._open[outer] = inner
        outer.add_done_callback(self._forget)
        inner.add_done_callback(lambda done: self._hand_on(done, outer))
        if self._lost:  # meanwhile: the watch may have looked before this one was there
            self._end(outer, self._error())
        return outer

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the watch; the client is whose it is."""
        self._over.set()
        self._watcher.join(timeout=5.0)

    def _forget(self, outer: Future[Any]) -> None:
        with self._lock:
            inner = self._open.pop(outer, None)
        if outer.cancelled() and inner is not None:
            inner.cancel()

    def _hand_on(self, inner: Future[Any], outer: Future[Any]) -> None:
        # dask cancels what it lost sight of; what was cancelled here is done already.
        if inner.cancelled():
            self._end(outer, self._error())
        elif (error := inner.exception()) is not None:
            self._end(outer, error)
        else:
            with contextlib.suppress(InvalidStateError):
                outer.set_result(inner.result())

    @staticmethod
    def _end(outer: Future[Any], error: BaseException) -> None:
        with contextlib.suppress(InvalidStateError):  # it is done already, or was cancelled meanwhile
            outer.set_exception(error)

    def _error(self) -> ClusterError:
        return ClusterError(f"the connection to {self._name} is lost: its scheduler ended, or cannot be reached")

    def _watch(self) -> None:
        alone = 0.0
        while not self._over.wait(_SECONDS):
            if self._client.status != "running":
                self._lost = True
                with self._lock:
                    left = list(self._open)
                for outer in left:
                    self._end(outer, self._error())
                return
            known = self._client.scheduler_info().get("workers", {})
            told, alone = alone >= _PATIENCE, 0.0 if known else alone + _SECONDS
            if alone >= _PATIENCE and not told:
                _log.warning("%s has no worker left; waiting for one, Ctrl-C ends", self._name)


@contextlib.contextmanager
def without_chatter() -> Iterator[None]:
    """Keep dask's tracebacks off the terminal: what they mean for the run is said by who waits for its results."""
    names = [n for n in logging.root.manager.loggerDict if n.split(".")[0] in _TALKATIVE]
    levels = {logging.getLogger(name): logging.getLogger(name).level for name in {*_TALKATIVE, *names}}
    for logger in levels:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)


@contextlib.contextmanager
def deaf_children() -> Iterator[None]:
    """Let processes that are started meanwhile ignore Ctrl-C, which the terminal sends to all: this one ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
