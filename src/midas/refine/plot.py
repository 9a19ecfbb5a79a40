"""A picture of one refined histogram: observed, calculated, difference, and ticks where the reflections are."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from midas.errors import FormatError
from midas.io.atomic import atomic_path
from midas.notebooks import shown_in_notebooks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = ("two_theta", "observed", "calculated", "background", "sigma")
TICK_COLOURS = ("#d95f02", "#1b7837", "#7570b3", "#e7298a", "#666666")
STATUS_COLOURS = {"failed": "#c0392b", "partial": "#b36b00"}
MAX_GAP = 4.5
"""A step in 2θ more than this many times the common one is a gap."""
MAX_REASON = 120
"""Characters of a reason that fit on the picture."""
OBSERVED, CALCULATED, BACKGROUND, DIFFERENCE = "#4d4d4d", "#c0392b", "#999999", "#2c6fbb"


@dataclass(frozen=True, eq=False)
class Pattern:
    """What is drawn."""

    two_theta: NDArray[np.float64]
    """shape (n,) [deg]"""
    observed: NDArray[np.float64]
    calculated: NDArray[np.float64]
    background: NDArray[np.float64]
    sigma: NDArray[np.float64]
    ticks: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    """Phase name to 2θ of its reflections [deg]."""


def pattern_of(curves: Mapping[str, ArrayLike], reflections: Mapping[str, Sequence[Sequence[float]]]) -> Pattern:
    """Return what to draw of a result's curves and reflections.

    Examples
    --------
    >>> curve = dict.fromkeys(("two_theta", "observed", "calculated", "background", "sigma"), [1.0, 2.0])
    >>> pattern_of(curve, {"CeO2": []}).two_theta.tolist()
    [1.0, 2.0]
    """
    ticks = {phase: np.array([row[5] for row in rows]) for phase, rows in reflections.items()}
    x, o, c, b, sigma = (np.asarray(curves[n], dtype=np.float64) for n in COLUMNS)
    return Pattern(x, o, c, b, sigma, ticks)


def read_pattern(folder: Path, index: int) -> Pattern:
    """Return what to draw of a histogram exported earlier."""
    data = folder / f"hist_{index:04d}_data.csv"
    if not data.is_file():
        raise FormatError(f"{data} does not exist; histogram {index} was not exported there")
    with data.open(encoding="utf-8") as text:
        names = text.readline().strip().split(",")
        table = dict(zip(names, np.loadtxt(text, delimiter=",", ndmin=2).T, strict=True))
    ticks: dict[str, list[float]] = {}
    lines = folder / f"hist_{index:04d}_reflections.csv"
    if lines.is_file():
        with lines.open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                ticks.setdefault(row["phase"], []).append(float(row["two_theta"]))
    x, o, c, b, sigma = (table[n] for n in COLUMNS)
    return Pattern(x, o, c, b, sigma, {name: np.array(values) for name, values in ticks.items()})


def plot_histogram(
    pattern: Pattern, *, title: str = "", status: str = "", reason: str = "", path: Path | None = None
) -> Figure:
    """Return the figure, written to `path` too when one is given; sqrt of the intensity, so that weak lines show.

    `status` colours the title, so that a failed fit never passes for a good one; `reason` stands below it.
    """
    from matplotlib.figure import Figure

    figure = shown_in_notebooks(Figure(figsize=(9.0, 5.6)))
    upper, lower = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [3.2, 1.0], "hspace": 0.05})
    figure.subplots_adjust(left=0.085, right=0.985, top=0.9 if reason else 0.935, bottom=0.09)
    x = pattern.two_theta
    floor = float(min(pattern.observed.min(), 0.0))
    scaled = [np.sqrt(np.maximum(v - floor, 0.0)) for v in (pattern.observed, pattern.calculated, pattern.background)]
    upper.plot(x, scaled[0], ".", ms=3, color=OBSERVED, label="observed")
    upper.plot(*_broken(x, scaled[1]), "-", lw=1.0, color=CALCULATED, label="calculated")
    upper.plot(*_broken(x, scaled[2]), "-", lw=0.8, color=BACKGROUND, label="background")
    _draw_ticks(upper, pattern, float(scaled[0].max()), float(scaled[0].min()))
    upper.set_ylabel("sqrt(intensity)" if floor == 0 else "sqrt(intensity - minimum)")
    upper.legend(loc="upper right", frameon=False, fontsize="small")
    colour = STATUS_COLOURS.get(status, "k")
    figure.text(0.085, 0.985, title, fontsize="medium", va="top", color=colour, parse_math=False)
    figure.text(0.085, 0.948, _shortened(reason), fontsize="small", va="top", color=colour, parse_math=False)
    upper.tick_params(labelbottom=False)
    _draw_difference(lower, pattern)
    lower.set_xlim(float(x.min()), float(x.max()))
    if path is not None:
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=130)
    return figure


def _draw_difference(axes: Axes, pattern: Pattern) -> None:
    difference = (pattern.observed - pattern.calculated) / pattern.sigma
    axes.plot(*_broken(pattern.two_theta, difference), "-", lw=0.7, color=DIFFERENCE)
    axes.axhspan(-3, 3, color=DIFFERENCE, alpha=0.12, lw=0)
    known = difference[np.isfinite(difference)]
    reach = max(5.0, 1.1 * float(np.max(np.abs(known), initial=0.0)))
    axes.set_ylim(-reach, reach)
    axes.set_ylabel("(obs - calc) / σ")
    axes.set_xlabel("2θ [deg]")


def _broken(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return a curve with a break at each gap, such as an excluded region or masked bins, which has no model."""
    steps = np.diff(x)
    if len(steps) == 0:
        return x, y
    gaps = np.flatnonzero(steps > MAX_GAP * float(np.median(steps))) + 1
    return np.insert(x, gaps, x[gaps]), np.insert(y, gaps, np.nan)


def _shortened(reason: str) -> str:
    words = " ".join(reason.split())
    return words if len(words) <= MAX_REASON else words[: MAX_REASON - 3] + "..."


def _draw_ticks(axes: Axes, pattern: Pattern, top: float, bottom: float) -> None:
    """Draw a row of ticks per phase below the curves."""
    span = max(top - bottom, 1e-12)
    rows = list(pattern.ticks.items())
    for i, (phase, positions) in enumerate(rows):
        level = bottom - span * (0.05 + 0.05 * i)
        inside = positions[(positions >= pattern.two_theta.min()) & (positions <= pattern.two_theta.max())]
        colour = TICK_COLOURS[i % len(TICK_COLOURS)]
        axes.vlines(inside, level - 0.016 * span, level + 0.016 * span, color=colour, lw=1.0, label=phase)
    axes.set_ylim(bottom - span * (0.05 + 0.05 * max(len(rows), 1)), top + 0.06 * span)
