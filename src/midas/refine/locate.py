"""Finding GSAS-II: where it may lie, which interpreter it needs, and one clear sentence when it is not there."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from midas.errors import RefinementError
from midas.refine.dispatch import EngineCommand, Worker, WorkerLost, hire

PLACES = ("g2main", "G2", "gsas2full", "gsas2pkg")
"""Folders of the home directory that GSAS-II's installers use."""
ADVICE = (
    "install it as https://advancedphotonsource.github.io/GSAS-II-tutorials/install.html says, "
    "then set GSASII_PATH to its folder or "
    "name the Python that has it with --gsas2-python"
)


class MissingEngineError(RefinementError):
    """The engine is nowhere; what is broken is a plain RefinementError."""


def find_gsas2(python: str | os.PathLike[str] | None = None) -> EngineCommand:
    """Return the command that starts a GSAS-II worker, tried once; see `start_gsas2`."""
    command, workers = start_gsas2(python)
    for worker in workers:
        worker.close()
    return command


def start_gsas2(
    python: str | os.PathLike[str] | None = None, n_workers: int = 1
) -> tuple[EngineCommand, tuple[Worker, ...]]:
    """Return the command that starts a GSAS-II worker, and the first of them, up to so many, running.

    The interpreter is the one given, else MIDAS_GSAS2_PYTHON, else this one and then those of the installers. The
    environment variable GSASII_PATH may name GSAS-II's root or its `GSASII` folder and wins over every other place.

    Raises
    ------
    RefinementError
        GSAS-II is nowhere, or is there and does not work; the message says which and what to do.
    """
    named = os.fspath(python) if python is not None else os.environ.get("MIDAS_GSAS2_PYTHON", "")
    if named and not Path(named).expanduser().is_file():
        raise RefinementError(f"the interpreter for GSAS-II, {named}, does not exist; check --gsas2-python")
    broken = []
    for interpreter, folder in _candidates(str(Path(named).expanduser()) if named else None):
        command = EngineCommand(_argv(interpreter, folder), "GSAS-II")
        answer, workers = _hire_several(command, n_workers)
        if workers:
            return EngineCommand(command.argv, "GSAS-II", answer.get("version"), answer.get("folder")), workers
        if not answer.get("missing") or folder is not None:
            broken.append(f"{folder or interpreter}: {answer.get('problem')}")
    if broken:
        raise RefinementError(f"GSAS-II is there but does not work ({'; '.join(broken)}); {ADVICE}")
    raise MissingEngineError(f"GSAS-II is not installed where midas looks; {ADVICE}")


def _hire_several(command: EngineCommand, n: int) -> tuple[dict[str, Any], tuple[Worker, ...]]:
    """Return what the first of n workers that start together says of itself, and those that found their engine."""
    others: list[Worker] = []
    try:
        with contextlib.suppress(OSError):  # the first says what is wrong
            others += [Worker(command, _folder(), greet=False) for _ in range(n - 1)]
        answer, worker = hire(command, _folder())
        ready = [] if worker is None else [worker]
        while worker is not None and others:
            with contextlib.suppress(WorkerLost):  # the pool starts another
                others[-1].greet()
                ready.append(others[-1])
            others.pop()
    except BaseException:
        for other in others:
            other.close(at_once=True)
        raise
    for other in others:
        other.close(at_once=True)
    return answer, tuple(ready)


def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="midas-refine-"))


def _argv(interpreter: str, folder: Path | None) -> tuple[str, ...]:
    worker = str(Path(__file__).with_name("worker.py"))
    return (interpreter, worker) if folder is None else (interpreter, worker, "--path", str(folder))


def _candidates(interpreter: str | None) -> Iterator[tuple[str, Path | None]]:
    """Yield (interpreter, folder to put on the path) in the order of preference; None for what is installed."""
    own = interpreter or sys.executable
    stated = os.environ.get("GSASII_PATH")
    if stated:
        folder = package_parent(Path(stated).expanduser())
        if folder is None:
            raise RefinementError(f"GSASII_PATH is {stated}, but no GSAS-II is there; name its root folder; {ADVICE}")
        yield own, folder
        return
    yield own, None
    for name in PLACES:
        for place in (Path.home() / name, Path.home() / name / "GSAS-II"):
            folder = package_parent(place)
            if folder is None:
                continue
            yield own, folder
            theirs = Path.home() / name / "bin" / "python"
            if interpreter is None and theirs.is_file():
                yield str(theirs), folder


def package_parent(place: Path) -> Path | None:
    """Return the folder to put on the path for a GSAS-II that lies in `place` (its root or its package), or None.

    Examples
    --------
    >>> package_parent(Path("nowhere")) is None
    True
    """
    if (place / "GSASII" / "GSASIIscriptable.py").is_file():
        return place
    if (place / "GSASIIscriptable.py").is_file():
        # A package folder since 2025, put on the path by its parent; before that a folder of plain modules.
        return place.parent if (place / "__init__.py").is_file() and place.name == "GSASII" else place
    return None
