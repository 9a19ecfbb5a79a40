"""The seat of a refinement engine: what it is given, what it gives back, and nothing of how it does it.

An engine takes one `RefinementJob` and returns one `RefinementResult`, both plain data in the words of midas; it judges
every stage by the rules of `judge.py`, so that a status means the same whatever engine gave it. GSAS-II takes the seat
as a pool of worker processes (`dispatch.WorkerPool`, started as `locate` says); one that is built in would be an object
with the same method.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from midas.errors import InputError
from midas.refine.job import RefinementJob, RefinementResult

ENGINES = ("gsas2",)
"""Names for `--engine`."""


@runtime_checkable
class Engine(Protocol):
    """What refines histograms, one at a time per caller and as many callers at once as `n_workers`."""

    n_workers: int

    def refine(self, job: RefinementJob) -> RefinementResult:
        """Return what became of a histogram; a fit that fails is a result, not an exception."""
        ...


def check_engine(name: str) -> str:
    """Return the name of an engine.

    Raises
    ------
    InputError
        There is none of that name.

    Examples
    --------
    >>> check_engine("gsas2")
    'gsas2'
    """
    if name not in ENGINES:
        raise InputError(f"the engine is {name!r}; expected one of {', '.join(ENGINES)}")
    return name
