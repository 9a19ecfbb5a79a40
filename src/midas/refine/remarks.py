"""What the fits of a batch say together and none says alone: cells off alike, parameters that go together."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from midas.refine.check import COMMON_LIMIT
from midas.refine.ring_scatter import CAUSES

ALIKE = 0.2
"""Cells are off alike when histograms, axes and phases differ by less than this share of what they are off by."""
LEAST_ESD = 1e-4
"""Relative; phases whose cells are better known than this count alike."""
RINGS_BY_CHANCE = 0.1
"""Share of the fits in which rings may differ before there is a remark on it."""
FEWEST_ETAS, WIDEST_GAP, ONCE_AROUND = 6, 120.0, 1e-4
"""Azimuths, the widest gap [deg] and the smallest relative change of a cell, to tell one that goes once around."""
SAME_RING = 0.02
"""2θ [deg] within which rings of different histograms are the same."""
NAMED = 3
"""Pairs of correlated parameters that are named."""
_BELIEVED = ("success", "partial")


@dataclass(frozen=True)
class Offset:
    """How far the cells of a phase lie from its CIF's over a batch."""

    phase: str
    change: float
    """Median relative change of a, b and c."""
    esd: float
    """Median of its relative esd."""
    spread: float
    """Half of what lies between histograms (scatter) or between axes, whichever is more; relative."""


def cell_offsets(
    histograms: Sequence[Mapping[str, Any]], reference_cells: Mapping[str, Mapping[str, float]]
) -> list[Offset]:
    """Return how far the refined cells of each phase lie from those of the CIFs."""
    found = []
    for name, reference in reference_cells.items():
        rows = []
        for h in histograms:
            for p in h["phases"] if h["status"] in _BELIEVED else ():
                if p["name"] == name and p["present"] and p["cell_esd"].get("a"):
                    changes = [p["cell"][k] / reference[k] - 1.0 for k in "abc"]
                    rows.append((changes, p["cell_esd"]["a"] / p["cell"]["a"]))
        if rows:
            means = [statistics.fmean(changes) for changes, _ in rows]
            middle = statistics.median(means)
            scatter = 1.4826 * statistics.median(abs(v - middle) for v in means)
            axes = statistics.median(max(changes) - min(changes) for changes, _ in rows) / 2.0
            found.append(Offset(name, middle, statistics.median(esd for _, esd in rows), max(scatter, axes)))
    return found


def cell_remark(
    histograms: Sequence[Mapping[str, Any]], reference_cells: Mapping[str, Mapping[str, float]]
) -> str | None:
    """Return a sentence where all cells of a batch are off their CIFs by the same share, as a wrong wavelength does.

    More than 0.1 % is asked for, as `check_rings` does: cells of one substance differ by as much, from sample to sample
    and with 100 K. No fit can tell such an error, its Rwp is the same.

    Examples
    --------
    >>> phase = {"name": "Si", "present": True, "cell": dict.fromkeys("abc", 5.4581), "cell_esd": {"a": 1e-4}}
    >>> cell_remark([{"status": "success", "phases": [phase]}], {"Si": dict.fromkeys("abc", 5.43094)})
    'all cells of Si are 0.50 % larger than in the CIF: wavelength or distance? Or temperature, pressure, composition'
    """
    offsets = cell_offsets(histograms, reference_cells)
    if not offsets:
        return None
    common = statistics.fmean([o.change for o in offsets], [1.0 / max(o.esd, LEAST_ESD) ** 2 for o in offsets])
    for o in offsets:
        apart = abs(o.change - common)
        if abs(o.change) <= COMMON_LIMIT or o.spread > ALIKE * abs(common):
            return None
        if apart > max(ALIKE * abs(common), 3.0 * o.esd):
            return None
    names = [o.phase for o in offsets]
    size = f"{abs(common):.2%} {'larger' if common > 0 else 'smaller'}".replace("%", " %")
    if len(names) == 1:
        return (
            f"all cells of {names[0]} are {size} than in the CIF: wavelength or distance? "
            "Or temperature, pressure, composition"
        )
    listed = f"{', '.join(names[:-1])} and {names[-1]}"
    return (
        f"all cells, of {listed} alike, are {size} than in their CIFs: wavelength or distance? "
        "Phases seldom change by the same share of themselves"
    )


def batch_remarks(
    histograms: Sequence[Mapping[str, Any]], reference_cells: Mapping[str, Mapping[str, float]]
) -> list[str]:
    """Return the sentences on a batch: cells off alike, or once around the beam, rings that differ, correlations.

    Examples
    --------
    >>> batch_remarks([], {})
    []
    """
    found = (
        cell_remark(histograms, reference_cells),
        *eta_remarks(histograms),
        *ring_remarks(histograms),
        correlation_remark(histograms),
    )
    return [words for words in found if words is not None]


def eta_remarks(histograms: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a sentence for each phase whose cells change once around the beam, as where its centre is off.

    Strain is a tensor: it is the same in opposite directions, so that it changes twice around. Asked of six azimuths
    and more all around, in medians over the sums; more than 1e-4 and five of its esds, and more than what is left.

    Examples
    --------
    >>> etas = range(-150, 180, 60)
    >>> cells = [{"a": 4.0 * (1 + 5e-4 * math.cos(math.radians(eta - 30)))} for eta in etas]
    >>> phases = [{"name": "Ni", "present": True, "cell": cell, "cell_esd": {"a": 1e-4}} for cell in cells]
    >>> fits = [{"status": "success", "eta": e, "phases": [p]} for e, p in zip(etas, phases, strict=True)]
    >>> eta_remarks(fits)[0].partition(":")[0]
    'cells of Ni change by 5.0e-04 once around the beam, largest at η = 30 deg'
    """
    fits = [(h["eta"], p) for h in histograms if h["status"] in _BELIEVED and h["eta"] is not None for p in h["phases"]]
    remarks = []
    for name in dict.fromkeys(p["name"] for _, p in fits):
        rows: dict[float, list[tuple[float, float]]] = {}
        for eta, p in fits:
            if p["name"] == name and p["present"] and p["cell_esd"].get("a"):
                rows.setdefault(round(eta, 3), []).append((p["cell"]["a"], p["cell_esd"]["a"]))
        etas = np.array(sorted(rows))
        if len(etas) < FEWEST_ETAS or np.diff([*etas, etas[0] + 360.0]).max() > WIDEST_GAP:
            continue
        a = np.array([statistics.median(v for v, _ in rows[eta]) for eta in etas.tolist()])
        esd = [statistics.median(e for _, e in row) / math.sqrt(len(row)) for row in rows.values()]
        t = np.radians(etas)
        design = np.stack([np.ones_like(t), np.cos(t), np.sin(t), np.cos(2 * t), np.sin(2 * t)], axis=1)
        found = np.linalg.lstsq(design, a, rcond=None)[0]
        size, left = math.hypot(found[1], found[2]), float(np.std(a - design @ found))
        least = max(ONCE_AROUND * found[0], 5.0 * statistics.median(esd) * math.sqrt(2.0 / len(a)), 2.0 * left)
        if size > least:
            remarks.append(
                f"cells of {name} change by {size / found[0]:.1e} once around the beam, largest at η = "
                f"{math.degrees(math.atan2(found[2], found[1])):.0f} deg: the beam centre or a tilt, strain changes "
                "twice around"
            )
    return remarks


def ring_remarks(histograms: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a sentence for each phase on whose cell rings differ by more than chance in a tenth of the fits, and more.

    Examples
    --------
    >>> phase = {"name": "Si", "ring_scatter": 3.31, "unlike_ring": 7.3612}
    >>> ring_remarks([{"status": "success", "phases": [phase]}])[0].partition(";")[0]
    'rings differ on the cell of Si in 1 of 1 fits, mostly that at 7.36 deg: its esds were made 3.3 times as large'
    """
    phases = [p for h in histograms if h["status"] in _BELIEVED for p in h["phases"]]
    remarks = []
    for name in dict.fromkeys(p["name"] for p in phases):
        fits = [p for p in phases if p["name"] == name and p.get("ring_scatter") is not None]
        told = [p for p in fits if p.get("unlike_ring") is not None]
        if told and len(told) >= RINGS_BY_CHANCE * len(fits):
            places = [p["unlike_ring"] for p in told]
            ring = max(places, key=lambda place: sum(abs(place - other) < SAME_RING for other in places))
            factor = statistics.median(p["ring_scatter"] for p in told)
            remarks.append(
                f"rings differ on the cell of {name} in {len(told)} of {len(fits)} fits, mostly that at {ring:.2f} "
                f"deg: its esds were made {factor:.1f} times as large; {CAUSES}"
            )
    return remarks


def correlated_pairs(histograms: Sequence[Mapping[str, Any]]) -> list[tuple[str, int]]:
    """Return the pairs of parameters correlated by more than 0.95, with the number of histograms, most first.

    Examples
    --------
    >>> correlated_pairs([{"status": "success", "correlations": [["u", "w", -0.98]]}])
    [('u and w', 1)]
    """
    counts = Counter(
        f"{a} and {b}" for h in histograms if h["status"] in _BELIEVED for a, b, _ in h.get("correlations", ())
    )
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def correlation_remark(histograms: Sequence[Mapping[str, Any]]) -> str | None:
    """Return a sentence that names the pairs correlated in most histograms, or None without any.

    Examples
    --------
    >>> correlation_remark([{"status": "success", "correlations": [["u", "w", -0.98]]}])
    'correlated by more than 0.95: u and w (1 of 1)'
    """
    pairs = correlated_pairs(histograms)
    if not pairs:
        return None
    fitted = sum(h["status"] in _BELIEVED for h in histograms)
    words = ", ".join(f"{names} ({n} of {fitted})" for names, n in pairs[:NAMED])
    more = f"; {len(pairs) - NAMED} more pairs in the summary" if len(pairs) > NAMED else ""
    return f"correlated by more than 0.95: {words}{more}"
