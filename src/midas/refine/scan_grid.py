"""The results of a batch laid out over eta and omega, with what became of each place."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from midas.refine.table import BELIEVED

Entry = Mapping[str, Any]
Pair = tuple[float | None, float | None]
"""A value and its esd, None where there is none."""
_FULL_CIRCLE = 360.0


@dataclass(frozen=True, eq=False)
class Axis:
    """Places along one direction of a scan."""

    name: str
    values: NDArray[np.float64]
    """shape (n,), strictly ascending or descending"""
    indices: NDArray[np.int64]
    """shape (n,): `sum_index` or `eta_index` of each place"""

    @property
    def label(self) -> str:
        """What stands at the axis."""
        return {"eta": "η [deg]", "omega": "ω [deg]"}.get(self.name, self.name)

    def edges(self) -> NDArray[np.float64]:
        """Return the borders of the places, half-way between neighbours, shape (n + 1,)."""
        v = self.values
        if len(v) == 1:
            return np.array([v[0] - 0.5, v[0] + 0.5])
        middle = 0.5 * (v[1:] + v[:-1])
        return np.concatenate([[2 * v[0] - middle[0]], middle, [2 * v[-1] - middle[-1]]])


@dataclass(frozen=True, eq=False)
class ScanGrid:
    """The histograms of a batch by their places."""

    eta: Axis
    omega: Axis
    entries: dict[tuple[int, int], Entry]
    """(place in omega, place in eta) to the histogram there; places that were not asked for are missing."""

    @property
    def shape(self) -> tuple[int, int]:
        """Places in omega and in eta."""
        return len(self.omega.values), len(self.eta.values)

    def status(self) -> NDArray[np.str_]:
        """Return the status of each place, "" where no histogram was asked for."""
        found = np.full(self.shape, "", dtype="<U8")
        for place, entry in self.entries.items():
            found[place] = entry["status"]
        return found

    def values(self, take: Callable[[Entry], Pair]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return value and esd at each place; NaN where the fit is not believed, or has none."""
        found = np.full((2, *self.shape), np.nan)
        for place, entry in self.entries.items():
            if entry["status"] in BELIEVED:
                found[(slice(None), *place)] = [np.nan if v is None else v for v in take(entry)]
        return found[0], found[1]


def scan_grid(summary: Mapping[str, Any]) -> ScanGrid:
    """Return the grid of a summary's histograms.

    Bins of which every pixel is masked have no eta: they are put where their neighbours say. Sums that do not turn, or
    not in one direction, are told apart by their number.

    Examples
    --------
    >>> entry = {"sum_index": 0, "status": "success", "omega": 5.0}
    >>> histograms = [{**entry, "eta_index": i, "eta": eta} for i, eta in enumerate((-90.0, None, 90.0))]
    >>> grid = scan_grid({"histograms": histograms})
    >>> grid.shape, grid.eta.values.tolist()
    ((1, 3), [-90.0, 0.0, 90.0])
    """
    histograms = summary["histograms"]
    eta, omega = _eta_axis(histograms), _omega_axis(histograms)
    column = {int(i): k for k, i in enumerate(eta.indices)}
    row = {int(i): k for k, i in enumerate(omega.indices)}
    return ScanGrid(eta, omega, {(row[_sum(h)], column[h["eta_index"]]): h for h in histograms})


def _sum(h: Entry) -> int:
    """Return the number of a histogram's sum, over all files where there are several."""
    return int(h.get("scan_index", h["sum_index"]))


def _places(histograms: list[Entry], index: str, name: str) -> tuple[NDArray[np.int64], dict[int, float]]:
    """Return all places from the first to the last that was asked for, and the values of those that have one."""
    number = _sum if index == "sum_index" else operator.itemgetter(index)
    met = [number(h) for h in histograms]
    known = {number(h): float(h[name]) for h in histograms if h[name] is not None}
    return np.arange(min(met, default=0), max(met, default=-1) + 1), dict(sorted(known.items()))


def _filled(indices: NDArray[np.int64], at: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a value for each index: between the known ones by the line, beyond them by the common step."""
    step = float(np.median(np.diff(values) / np.diff(at)))
    inside = np.interp(indices, at, values)
    outside = np.minimum(indices - at[0], 0) + np.maximum(indices - at[-1], 0)
    return np.asarray(inside + step * outside, dtype=np.float64)


def _eta_axis(histograms: list[Entry]) -> Axis:
    indices, known = _places(histograms, "eta_index", "eta")
    at = np.array(list(known), dtype=np.int64)
    return _axis("eta", "number of the eta bin", indices, at, _unwrapped(np.array(list(known.values()))))


def _unwrapped(eta: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return azimuths without the jump at 180 deg; bins run upward, also over a gap of more than half a turn."""
    upward = np.cumsum(np.diff(eta, prepend=eta[:1]) % _FULL_CIRCLE)
    if upward.size and upward[-1] > _FULL_CIRCLE:
        return np.asarray(np.unwrap(eta, period=_FULL_CIRCLE), dtype=np.float64)
    return np.asarray(eta[:1] + upward, dtype=np.float64)


def _omega_axis(histograms: list[Entry]) -> Axis:
    indices, known = _places(histograms, "sum_index", "omega")
    at = np.array(list(known), dtype=np.int64)
    return _axis("omega", "number of the sum", indices, at, np.array(list(known.values())))


def _axis(
    name: str, otherwise: str, indices: NDArray[np.int64], at: NDArray[np.int64], values: NDArray[np.float64]
) -> Axis:
    steps = np.diff(values)
    if len(at) > 1 and ((steps > 0).all() or (steps < 0).all()):
        return Axis(name, _filled(indices, at, values), indices)
    if len(at) == len(indices) == 1:
        return Axis(name, values, indices)
    return Axis(otherwise, indices.astype(np.float64), indices)


def robust_range(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the range to show: all of the values but for outliers, which are few and far from the others.

    From the 5 % to the 95 % point, widened by half as much on either side, no further than the data reach.

    Examples
    --------
    >>> low, high = robust_range(np.append(np.linspace(1.0, 2.0, 99), 50.0))
    >>> low, high < 3.0
    (1.0, True)
    """
    known = values[np.isfinite(values)]
    if known.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(known, [5.0, 95.0])
    reach = 0.5 * (high - low)
    if reach == 0.0:  # nearly all are equal: what differs is all there is to see
        reach = float(np.ptp(known))
    shown = max(float(known.min()), float(low - reach)), min(float(known.max()), float(high + reach))
    if shown[1] > shown[0]:
        return shown
    margin = abs(shown[0]) * 1e-6 or 1.0
    return shown[0] - margin, shown[1] + margin
