"""Progress on a terminal; silence elsewhere."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import ExtensionFileLoader
from types import FrameType

_asked_to_end = threading.Event()
_LATER = 0.05  # s


def end(number: int = signal.SIGINT, frame: FrameType | None = None) -> None:
    """End the command, as the handler of a signal: by KeyboardInterrupt, here or where it next tells its progress.

    Python drops an exception that is raised in a finalizer, which may be what a signal happens to interrupt. A compiled
    module that is being imported may end the process on one (gemmi's does): then the signal is sent again a little
    later.
    """
    _asked_to_end.set()
    if in_compiled_import(frame):
        again = threading.Timer(_LATER, os.kill, (os.getpid(), number))
        again.daemon = True
        again.start()
        return
    raise KeyboardInterrupt


def in_compiled_import(frame: FrameType | None) -> bool:
    """Return whether a frame runs within the import of a compiled module."""
    while frame is not None:
        if isinstance(frame.f_locals.get("self"), ExtensionFileLoader):
            return True
        frame = frame.f_back
    return False


def forget_end() -> None:
    """Forget that a command was asked to end."""
    _asked_to_end.clear()


def _heed_end() -> None:
    if _asked_to_end.is_set():
        raise KeyboardInterrupt


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[int, int, str], None]]:
    """Give a function progress(done, total, message) that draws a bar on standard error when that is a terminal."""
    if not sys.stderr.isatty():
        yield _silent
        return
    from tqdm import tqdm

    with tqdm(
        desc=title, leave=False, bar_format="{desc}: {bar} {n_fmt}/{total_fmt} [{elapsed}<{remaining}]{postfix}"
    ) as bar:

        def update(done: int, total: int, message: str = "") -> None:
            _heed_end()
            bar.total = total
            bar.set_postfix_str(message, refresh=False)
            bar.update(done - bar.n)
            bar.refresh()

        yield update


def _silent(done: int, total: int, message: str = "") -> None:
    _heed_end()
