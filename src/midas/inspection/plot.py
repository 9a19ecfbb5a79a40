"""The picture of an inspection: the image, how its values are distributed, and what is wrong."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np

from midas.notebooks import shown_in_notebooks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from midas.inspection.result import Fact, FloatImage, Inspection

_GREY = "0.85"
_LIMITS = (2.0, 99.8)  # % of the values: a few hot pixels do not make the rest black
_LINE = 60  # characters beside the picture
_DECADES = 100.0  # of largest to smallest value: a logarithmic axis has two labels or more
_NARROW = 5.0
_LEAST_SPAN = 1.05  # of a logarithmic scale


def plot_inspection(found: Inspection) -> Figure:
    """Return a figure of an inspection that has a picture.

    The colour scale is logarithmic from the 2nd to the 99.8th percentile of the positive values; pixels without counts
    are grey.
    """
    from matplotlib.figure import Figure

    assert found.picture is not None
    cake = found.kind == "cake"
    figure = shown_in_notebooks(Figure(figsize=(11.0, 6.0)))
    # left, bottom, width, height: a layout that looks at texts would make room for the long ones.
    _draw_picture(figure, figure.add_axes((0.065, 0.09, 0.54, 0.80)), found, cake=cake)
    _draw_histogram(figure.add_axes((0.69, 0.57, 0.29, 0.32)), found.picture, "intensity" if cake else "counts")
    _write_text(figure.add_axes((0.645, 0.03, 0.34, 0.44)), found)
    figure.suptitle(f"{found.path.name}: {found._headline()}", fontsize="medium")
    return figure


def color_limits(picture: FloatImage) -> tuple[float, float]:
    """Return the ends of a logarithmic colour scale, both above 0.

    Examples
    --------
    >>> low, high = color_limits(np.array([[0.0, 1.0], [10.0, np.nan]], dtype=np.float32))
    >>> 1.0 <= low < high <= 10.0
    True
    """
    positive = picture[np.isfinite(picture) & (picture > 0)]
    if positive.size == 0:
        return 0.1, 1.0
    low, high = (float(v) for v in np.percentile(positive, _LIMITS))
    return low, max(high, _LEAST_SPAN * low)


def _draw_picture(figure: Figure, axes: Axes, found: Inspection, *, cake: bool) -> None:
    from matplotlib.colors import LogNorm

    assert found.picture is not None
    low, high = color_limits(found.picture)
    axes.set_facecolor(_GREY)  # seen where pixels hold no counts
    shown = np.where(found.picture > 0, found.picture, np.where(np.isfinite(found.picture), low, np.nan))
    image = axes.imshow(
        np.ma.masked_invalid(shown),
        norm=LogNorm(low, high),
        cmap="viridis",
        extent=found.extent,
        origin="lower" if cake else "upper",
        aspect="auto" if cake else "equal",
        interpolation="nearest",
    )
    bar = figure.colorbar(
        image, ax=axes, shrink=0.8, pad=0.02, label="counts / px²" if cake else "counts", extend="both"
    )
    if high < _NARROW * low:  # 48 is read more easily than 4.8 x 10^1
        bar.ax.yaxis.set_major_formatter("{x:g}")
        bar.ax.yaxis.set_minor_formatter("{x:g}")
    axes.set_xlabel("radius [px]" if cake else "column y [px]")
    axes.set_ylabel("η [deg]" if cake else "row z [px]")
    axes.set_title(found.picture_name, fontsize="small")


def _draw_histogram(axes: Axes, picture: FloatImage, label: str) -> None:
    values = picture[np.isfinite(picture)]
    positive = values[values > 0]
    if positive.size == 0 or positive.min() == positive.max():
        text = "no counts above 0" if positive.size == 0 else f"one value above 0: {positive[0]:g}"
        axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes)
        axes.set_axis_off()
        return
    wide = positive.max() > _DECADES * positive.min()
    edges = (np.geomspace if wide else np.linspace)(positive.min(), positive.max(), 80)
    axes.stairs(np.histogram(positive, edges)[0], edges, fill=True, color="C0")
    if wide:
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter("")  # between few powers of ten they lie over each other
    else:
        axes.locator_params(axis="x", nbins=5)
    axes.set_yscale("log")
    axes.yaxis.set_minor_formatter("")
    zero = 1.0 - positive.size / values.size
    axes.set_title(f"values of the picture's pixels, {zero:.2%} are 0 or less", fontsize="small")
    axes.set_xlabel(label)
    axes.set_ylabel("pixels")
    axes.grid(alpha=0.3)


def _said(fact: Fact) -> str:
    return f"{fact.name}: {fact.text}" + (f" ({fact.source})" if fact.source else "")


def _write_text(axes: Axes, found: Inspection) -> None:
    axes.set_axis_off()
    lines = [line for problem in found.problems for line in textwrap.wrap(f"! {problem}", _LINE)]
    n = len(lines)
    lines += [line for fact in found.facts for line in textwrap.wrap(_said(fact), _LINE)]
    room = 18
    if len(lines) > room:
        lines = [*lines[: room - 1], "..."]
    for i, line in enumerate(lines):
        color = "#b22222" if i < n else "0.2"
        axes.text(0.0, 1.0 - i / room, line, fontsize=8, color=color, va="top", transform=axes.transAxes)
