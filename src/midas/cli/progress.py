"""Progress on a terminal; silence elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


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
            bar.total = total
            bar.set_postfix_str(message, refresh=False)
            bar.update(done - bar.n)
            bar.refresh()

        yield update


def _silent(done: int, total: int, message: str = "") -> None:
    pass
