"""The library's log in a file."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from midas.errors import OutputError
from midas.io.atomic import atomic_path

_FORMAT = "%(asctime)s - %(name)s - %(levelname)s - %(message)s"


@contextlib.contextmanager
def log_to(path: Path) -> Iterator[None]:
    """Send the library's log to a file (`autocal.log`) while the block runs; it is there when the block ends well."""
    with atomic_path(path) as temporary, _logging_to(temporary):
        yield


@contextlib.contextmanager
def log_onto(path: Path) -> Iterator[None]:
    """Add the library's log to the end of a file while the block runs: for runs that are killed and taken up again.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    try:
        with path.open("a", encoding="utf-8"):
            pass
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}; name another file") from error
    with _logging_to(path):
        yield


@contextlib.contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter(_FORMAT))
    logger = logging.getLogger("midas")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(min(level or logging.INFO, logging.INFO))  # what was asked for beyond stays
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        handler.close()
