"""A second try for lineouts whose fit failed, from where the fit of a good neighbour ended.

Only fits of the first try that succeeded are started from, so that the order of work changes nothing, and a result of
the first try is replaced only by one that is judged better, by the same rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from midas.refine.job import RefinementResult, Start
from midas.refine.lineouts import Lineout
from midas.refine.parameters import INSTRUMENT_NAMES
from midas.refine.summary import HistogramRecord

REACH = 3
"""A neighbour is at most this many sums and eta bins away, taken together."""
ORDER = ("success", "partial", "failed")


def nearest_good(lineout: Lineout, records: Iterable[HistogramRecord], n_eta: int) -> RefinementResult | None:
    """Return the successful fit nearest in eta (around the circle) and omega, or None without one in reach."""
    own = [r for r in records if r.result.started_from is None]
    good = [r for r in own if r.result.status == "success" and r.result.background]
    ranked = sorted((_distance(lineout, r.lineout, n_eta), r.lineout.index, k) for k, r in enumerate(good))
    return good[ranked[0][2]].result if ranked and ranked[0][0] <= REACH else None


def _distance(one: Lineout, other: Lineout, n_eta: int) -> int:
    around = abs(one.eta_index - other.eta_index)
    return abs(one.sum_index - other.sum_index) + min(around, n_eta - around)


def start_from(result: RefinementResult) -> Start:
    """Return where the fit of a neighbour ended, its phases that are not in the data left as they are in the CIF."""
    present = [p for p in result.phases if p.present]
    return Start(
        cells={p.name: tuple(p.cell[k].value for k in ("a", "b", "c", "alpha", "beta", "gamma")) for p in present},
        scales={p.name: p.scale.value for p in present},
        instrument={k: result.instrument[k].value for k in INSTRUMENT_NAMES if k in result.instrument},
        background=result.background,
    )


@dataclass(frozen=True)
class SecondTry:
    """Where a second try starts."""

    neighbour: int
    """Index of the histogram whose fit it starts from."""
    start: Start
    remark: str
    """Words on it for the record."""


def second_tries(
    records: Mapping[int, HistogramRecord], failed: Mapping[int, Lineout], n_eta: int
) -> dict[int, SecondTry]:
    """Return the failed lineouts worth a second try by index, with where to start."""
    tries = {}
    for index in sorted(failed):
        neighbour = nearest_good(failed[index], records.values(), n_eta)
        if neighbour is not None:
            remark = (
                f"second try, from the fit of histogram {neighbour.index}; the first: {records[index].result.reason}"
            )
            tries[index] = SecondTry(neighbour.index, start_from(neighbour), remark)
    return tries


def is_better(new: RefinementResult, old: RefinementResult) -> bool:
    """Return whether a second try is judged better than the first.

    Examples
    --------
    >>> is_better(RefinementResult(0, "partial"), RefinementResult(0, "failed"))
    True
    """
    return ORDER.index(new.status) < ORDER.index(old.status)
