"""Pictures of refined quantities over eta and omega: maps of a scan, lines where it has one direction only.

Places whose fit failed, was skipped or has a reservation are marked as such and never look like data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from midas.io.atomic import atomic_path
from midas.notebooks import shown_in_notebooks
from midas.refine.parameters import INSTRUMENT_PARAMETERS
from midas.refine.scan_grid import Axis, Entry, Pair, ScanGrid, robust_range, scan_grid
from midas.refine.summary import CELL
from midas.refine.table import BELIEVED, phase_names, sample_values

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GOOD, PARTIAL, FAILED, SKIPPED = "#2c6fbb", "#d98c00", "#c0392b", "#7f7f7f"
NO_VALUE = "0.88"
"""Grey of the places without a believed value."""
_PANEL = (5.2, 3.1)  # inches
_LINE = (8.6, 2.3)
_DPI = 130
_UNITS = {**dict.fromkeys("abc", "Å"), **dict.fromkeys(("alpha", "beta", "gamma"), "deg"), "volume": "Å³"}
_NAMES = {"alpha": "α", "beta": "β", "gamma": "γ", "volume": "volume"}
_SAMPLE = {"size": "µm", "microstrain": "1e-6", "march": ""}
MARKS = {"partial": ("+", "k"), "absent": ("_", "k"), "failed": ("x", FAILED), "skipped": (".", SKIPPED)}
"""Marker and colour of what is no plain success; absent: the fit is believed, but has no such value."""
_WORDS = {"absent": "without it", "beyond": "beyond the scale"}


@dataclass(frozen=True)
class Quantity:
    """Something that is drawn: what it is called, its unit, and where it stands in a histogram's entry."""

    name: str
    unit: str
    take: Callable[[Entry], Pair]
    is_refined: bool = True
    """True: a value without esd was not refined there, is what the fit started from, and is not drawn."""

    @property
    def label(self) -> str:
        """Name and unit."""
        return f"{self.name} [{self.unit}]" if self.unit else self.name


def _pair(found: Mapping[str, Any] | None) -> Pair:
    return (None, None) if not found else (found.get("value"), found.get("esd"))


def _of_phase(name: str, take: Callable[[Mapping[str, Any]], Pair]) -> Callable[[Entry], Pair]:
    def pick(entry: Entry) -> Pair:
        phase = next((p for p in entry["phases"] if p["name"] == name), None)
        return take(phase) if phase is not None and phase["present"] else (None, None)

    return pick


def _of_histogram(key: str) -> Callable[[Entry], Pair]:
    return lambda entry: _pair(entry["instrument"].get(key))


def _of_sample(key: str) -> Callable[[Mapping[str, Any]], Pair]:
    return lambda phase: _pair(sample_values(phase).get(key))


def _cell_pair(key: str) -> Callable[[Mapping[str, Any]], Pair]:
    return lambda phase: (phase["cell"].get(key), phase["cell_esd"].get(key))


def quality_quantities() -> list[Quantity]:
    """Return what says how good each fit is."""
    return [
        Quantity("Rwp", "%", lambda entry: (entry["Rwp"], None), is_refined=False),
        Quantity("GOF", "", lambda entry: (entry["GOF"], None), is_refined=False),
    ]


def phase_quantities(summary: Mapping[str, Any], name: str) -> list[Quantity]:
    """Return what was refined of a phase in any histogram; of cell lengths that are always equal the first only."""
    cells = [Quantity(_NAMES.get(k, k), _UNITS[k], _of_phase(name, _cell_pair(k))) for k in CELL if k != "volume"]
    lengths = [[q.take(h)[0] for h in summary["histograms"]] for q in cells[:3]]
    cells = [q for i, q in enumerate(cells) if i in (0, *range(3, 6)) or lengths[i] not in lengths[:i]]
    found = [q for q in cells if _is_refined(summary, q)]
    if len(phase_names(summary)) > 1:
        fraction = _of_phase(name, lambda phase: _pair(phase["weight_fraction"]))
        found.append(Quantity("weight fraction", "", fraction, is_refined=False))
    for key, unit in _SAMPLE.items():
        quantity = Quantity(key, unit, _of_phase(name, _of_sample(key)))
        found += [quantity] if _is_refined(summary, quantity) else []
    return found


def width_quantities(summary: Mapping[str, Any]) -> list[Quantity]:
    """Return the parameters of the instrument's profile that were refined in any histogram."""
    found = [Quantity(p.label, p.short_unit, _of_histogram(p.name)) for p in INSTRUMENT_PARAMETERS]
    return [q for q in found if _is_refined(summary, q)]


def _is_refined(summary: Mapping[str, Any], quantity: Quantity) -> bool:
    return any(quantity.take(h)[1] is not None for h in summary["histograms"] if h["phases"])


def plot_results(
    summary: Mapping[str, Any], quantities: Sequence[Quantity], *, title: str = "", path: Path | None = None
) -> Figure | None:
    """Return a figure of quantities over eta and omega, written to `path` too; None for a single histogram.

    A scan of two directions gives a map each, one of one direction a line with error bars of one esd. The scales leave
    outliers out, and say so: by the pointed ends of the colour bar, or triangles at the edge.
    """
    grid = scan_grid(summary)
    if max(grid.shape) < 2 or not quantities:
        return None
    figure = _maps(grid, quantities) if min(grid.shape) > 1 else _lines(grid, quantities)
    figure.suptitle(title, fontsize="medium", x=0.01, ha="left")
    if path is not None:
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=_DPI)
    return figure


def _values(grid: ScanGrid, quantity: Quantity) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    values, esds = grid.values(quantity.take)
    if quantity.is_refined:
        values[~np.isfinite(esds)] = np.nan
    return values, esds


def _maps(grid: ScanGrid, quantities: Sequence[Quantity]) -> Figure:
    from matplotlib.figure import Figure

    n_columns = 1 if len(quantities) == 1 else 2
    n_rows = math.ceil(len(quantities) / n_columns)
    figure = shown_in_notebooks(Figure(figsize=(_PANEL[0] * n_columns, _PANEL[1] * n_rows + 0.7), layout="constrained"))
    panels = figure.subplots(n_rows, n_columns, squeeze=False, sharex=True, sharey=True).ravel().tolist()
    for axes, quantity in zip(panels, quantities, strict=False):
        _draw_map(figure, axes, grid, quantity)
    for axes in panels[len(quantities) :]:
        axes.set_axis_off()
        panels[panels.index(axes) - n_columns].tick_params(labelbottom=True)
    for i, axes in enumerate(panels[: len(quantities)]):
        if i % n_columns == 0:
            axes.set_ylabel(grid.omega.label)
        if i + n_columns >= len(quantities):
            axes.set_xlabel(grid.eta.label)
            axes.tick_params(labelbottom=True)
    _legend(figure, grid, quantities, line=False)
    return figure


def _draw_map(figure: Figure, axes: Axes, grid: ScanGrid, quantity: Quantity) -> None:
    from matplotlib.ticker import ScalarFormatter

    values, esds = _values(grid, quantity)
    low, high = _colour_range(values, esds)
    status = grid.status()
    x, y = grid.eta.edges(), grid.omega.edges()
    grey = np.ma.masked_where((status == "") | np.isfinite(values), np.ones(grid.shape))
    axes.pcolormesh(x, y, grey, cmap=_single_colour(NO_VALUE), vmin=0, vmax=1, rasterized=True)
    image = np.ma.masked_invalid(values)
    mesh = axes.pcolormesh(x, y, image, cmap="viridis", vmin=low, vmax=high, rasterized=True)
    if np.isfinite(values).any():
        below, above = bool((values < low).any()), bool((values > high).any())
        ends = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}
        plain = ScalarFormatter(useOffset=False)
        plain.set_powerlimits((-4, 6))
        figure.colorbar(mesh, ax=axes, pad=0.01, extend=ends[below, above], label=quantity.unit, format=plain)
    size = _mark_size(grid)
    for name, where in _marked(status, values).items():
        marker, colour = MARKS[name]
        rows, columns = np.nonzero(where)
        at = grid.eta.values[columns], grid.omega.values[rows]
        if name == "partial":  # seen on every colour
            axes.scatter(*at, s=1.6 * size, c="w", marker=marker, lw=2.4)
        axes.scatter(*at, s=size, c=colour, marker=marker, lw=0.9)
    axes.set_title(_title(quantity, esds), fontsize="small", loc="left")
    _lay_out(axes, grid.eta)


def _single_colour(colour: str) -> Any:
    from matplotlib.colors import ListedColormap

    return ListedColormap([colour])


def _marked(status: NDArray[np.str_], values: NDArray[np.float64]) -> dict[str, NDArray[np.bool_]]:
    """Return the places that want a mark, by its name."""
    known = np.isfinite(values)
    return {
        "partial": (status == "partial") & known,
        "absent": np.isin(status, BELIEVED) & ~known,
        "failed": status == "failed",
        "skipped": status == "skipped",
    }


def _colour_range(values: NDArray[np.float64], esds: NDArray[np.float64]) -> tuple[float, float]:
    """Return the range of the colours: robust, and no less than four esds, so that noise alone looks even."""
    low, high = robust_range(values)
    known = esds[np.isfinite(esds)]
    missing = max(0.0, 4.0 * float(np.median(known)) - (high - low)) if known.size else 0.0
    return low - missing / 2.0, high + missing / 2.0


def _mark_size(grid: ScanGrid) -> float:
    """Return an area [points²] that fits into a place of the map."""
    width, height = (inches * 60 for inches in _PANEL)
    place = min(width / grid.shape[1], height / grid.shape[0])
    return float(np.clip(0.6 * place, 2.5, 7.0) ** 2)


def _title(quantity: Quantity, esds: NDArray[np.float64]) -> str:
    known = esds[np.isfinite(esds)]
    unit = f" {quantity.unit}" if quantity.unit else ""
    return quantity.name + (f", median esd {np.median(known):.2g}{unit}" if known.size else "")


def _lines(grid: ScanGrid, quantities: Sequence[Quantity]) -> Figure:
    from matplotlib.figure import Figure

    along = grid.eta if grid.shape[0] == 1 else grid.omega
    figure = shown_in_notebooks(Figure(figsize=(_LINE[0], _LINE[1] * len(quantities) + 0.7), layout="constrained"))
    panels = figure.subplots(len(quantities), 1, squeeze=False, sharex=True).ravel().tolist()
    for axes, quantity in zip(panels, quantities, strict=True):
        _draw_line(axes, grid, along, quantity)
    panels[-1].set_xlabel(along.label)
    _legend(figure, grid, quantities, line=True)
    return figure


def _line_range(values: NDArray[np.float64], esds: NDArray[np.float64]) -> tuple[float, float]:
    """Return the range of an axis: robust, with room for error bars and for the marks at its foot."""
    low, high = robust_range(values)
    known = esds[np.isfinite(esds)]
    margin = 0.08 * (high - low) + (float(np.percentile(known, 90.0)) if known.size else 0.0)
    return low - margin, high + margin


def _draw_line(axes: Axes, grid: ScanGrid, along: Axis, quantity: Quantity) -> None:
    from matplotlib.transforms import blended_transform_factory

    values, esds = (v.ravel() for v in _values(grid, quantity))
    status = grid.status().ravel()
    low, high = _line_range(values, esds)
    below, above = values < low, values > high
    axes.plot(along.values, np.where(below | above, np.nan, values), "-", lw=0.6, color="0.7", zorder=1)
    for name, face in (("success", GOOD), ("partial", "w")):
        of = (status == name) & np.isfinite(values)
        colour = GOOD if name == "success" else PARTIAL
        bars = np.where(np.isfinite(esds[of]), esds[of], 0.0)
        axes.errorbar(along.values[of], values[of], bars, fmt="o", ms=4, color=colour, mfc=face, lw=1.0, zorder=2)
    axes.set_ylim(low, high)
    foot = blended_transform_factory(axes.transData, axes.transAxes)
    for name, where in _marked(status, values).items():
        if name != "partial":
            (marker, colour), at = MARKS[name], along.values[where]
            axes.scatter(at, np.full(len(at), 0.05), s=24, c=colour, marker=marker, lw=1.2, transform=foot, zorder=3)
    for beyond, height, marker in ((below, 0.02, "v"), (above, 0.98, "^")):
        at = along.values[beyond]
        axes.scatter(at, np.full(len(at), height), s=24, c="k", marker=marker, transform=foot, clip_on=False, zorder=3)
    axes.set_ylabel(quantity.label)
    axes.ticklabel_format(axis="y", useOffset=False)
    axes.grid(alpha=0.3)
    if quantity.unit == "Å" and np.isfinite(values).any():
        _add_strain(axes, float(np.nanmedian(values)))
    _lay_out(axes, along)


def _add_strain(axes: Axes, middle: float) -> None:
    """Add an axis on the right: the length relative to its median."""

    def strain(length: Any) -> Any:
        return 1e6 * (length / middle - 1.0)

    def length(strain: Any) -> Any:
        return middle * (1.0 + strain / 1e6)

    right = axes.secondary_yaxis("right", functions=(strain, length))
    right.set_ylabel("from the median [1e-6]", fontsize="small")


def _lay_out(axes: Axes, along: Axis) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator

    edges = along.edges()
    axes.set_xlim(float(edges.min()), float(edges.max()))
    if along.name != "eta":
        if along.name != "omega":
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        return
    if np.ptp(edges) > 180.0:
        axes.xaxis.set_major_locator(MultipleLocator(45.0))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{_eta_within(v):g}"))


def _eta_within(eta: float) -> float:
    return eta if abs(eta) <= 180.0 else (eta + 180.0) % 360.0 - 180.0


def _legend(figure: Figure, grid: ScanGrid, quantities: Sequence[Quantity], *, line: bool) -> None:
    """Say below the panels what the marks mean, and how many of each there are."""
    from matplotlib.lines import Line2D

    found = [_values(grid, q) for q in quantities]
    counts = {name: max(int(_marked(grid.status(), v)[name].sum()) for v, _ in found) for name in MARKS}
    looks = {name: (marker, colour, colour) for name, (marker, colour) in MARKS.items()}
    if line:
        counts = {"success": int((grid.status() == "success").sum()), **counts}
        looks = {"success": ("o", GOOD, GOOD), **looks, "partial": ("o", PARTIAL, "w")}
        ranges = [_line_range(*pair) for pair in found]
        beyond = [(v < low) | (v > high) for (v, _), (low, high) in zip(found, ranges, strict=True)]
        counts["beyond"], looks["beyond"] = int(np.sum(beyond)), ("^", "k", "k")
    handles = [
        Line2D([], [], ls="", marker=marker, color=colour, mfc=face, label=f"{counts[name]} {_WORDS.get(name, name)}")
        for name, (marker, colour, face) in looks.items()
        if counts[name]
    ]
    if handles:
        figure.legend(handles=handles, loc="outside lower left", ncols=len(handles), frameon=False, fontsize="small")


def plot_rwp(summary: Mapping[str, Any], *, path: Path | None = None) -> Figure | None:
    """Return a histogram of Rwp by status, written to `path` too; None where no histogram has one."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    found = {
        name: np.array([h["Rwp"] for h in summary["histograms"] if h["status"] == name and h["Rwp"] is not None])
        for name in ("success", "partial", "failed")
    }
    every = np.concatenate(list(found.values()))
    if every.size == 0:
        return None
    high = robust_range(every)[1]
    shown = {name: np.minimum(v, high) for name, v in found.items() if v.size}
    n_bins = int(np.clip(math.sqrt(every.size) * 1.5, 8, 60))
    low = float(every.min())
    edges = np.linspace(low, high if high > low else low + 1.0, n_bins + 1)
    figure = shown_in_notebooks(Figure(figsize=(6.4, 3.8), layout="constrained"))
    axes = figure.subplots()
    colours = {"success": GOOD, "partial": PARTIAL, "failed": FAILED}
    labels = [f"{len(found[name])} {name}" for name in shown]
    axes.hist(list(shown.values()), bins=edges.tolist(), stacked=True, color=[colours[n] for n in shown], label=labels)
    beyond = int((every > high).sum())
    if beyond:
        axes.annotate(f"{beyond} above {high:.3g} %,\nup to {every.max():.3g} % →", (0.985, 0.6), ha="right",
                      xycoords="axes fraction", fontsize="small")  # fmt: skip
    if summary["median_Rwp"] is not None:
        label = f"median of the successes, {summary['median_Rwp']:.2f} %"
        axes.axvline(summary["median_Rwp"], color="k", lw=1.0, ls="--", label=label)
    without = len(summary["histograms"]) - every.size
    axes.set_title(f"without an Rwp: {without}" if without else "", fontsize="small", loc="left")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("Rwp [%]")
    axes.set_ylabel("histograms")
    figure.legend(loc="outside lower left", ncols=4, frameon=False, fontsize="small")
    if path is not None:
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=_DPI)
    return figure
