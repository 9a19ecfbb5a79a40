"""Progress on a terminal; silence elsewhere."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_asked_to_end = threading.Event()


def end(*_: object) -> None:
    """End the command, as the handler of a signal: by KeyboardInterrupt, here or where it next tells its progress.

    Python drops an exception that is raised in a finalizer, which may be what a signal happens to interrupt.
    """
    _asked_to_end.set()
    raise KeyboardInterrupt


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
