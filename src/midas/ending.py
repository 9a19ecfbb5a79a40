"""What is said when work ends before its time, by Ctrl-C or with its cluster: what is kept, and how to go on."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

from midas.errors import ClusterError


@contextlib.contextmanager
def saying_what_is_kept(
    count: Callable[[], int], total: int, things: str, place: str | os.PathLike[str]
) -> Iterator[None]:
    """Let the errors that end work before its time say how much of it is done, where it lies and how to go on.

    Examples
    --------
    >>> try:
    ...     with saying_what_is_kept(lambda: 3, 12, "histograms", "out"):
    ...         raise KeyboardInterrupt
    ... except KeyboardInterrupt as error:
    ...     print(error)
    3 of 12 histograms are finished and kept in out; the same command with --resume goes on from there
    """
    try:
        yield
    except KeyboardInterrupt as error:
        if error.args:
            raise
        raise KeyboardInterrupt(_words(count(), total, things, place)) from None
    except ClusterError as error:
        if error.n_done is not None:
            raise
        said = ClusterError(f"{error}; {_words(count(), total, things, place)}")
        said.n_done = count()
        raise said from error


def _words(n_done: int, total: int, things: str, place: str | os.PathLike[str]) -> str:
    if n_done == 0:
        lost = "nothing" if total == 1 else f"none of {total} {things}"
        return f"{lost} was finished; the same command begins again"
    return (
        f"{n_done} of {total} {things} are finished and kept in {os.fspath(place)}; the same command with "
        "--resume goes on from there"
    )
