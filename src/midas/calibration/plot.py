"""Pictures of a calibration, for people: an overview that says whether to trust it, and the details behind."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from midas.calibration.values import read_out
from midas.errors import InputError
from midas.notebooks import shown_in_notebooks
from midas.units import UM_PER_MM

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from midas.calibration.result import Calibration

PICTURES = ("overview", "details")
"""What can be drawn."""

COLORS = {"good": "#1a7f37", "doubtful": "#9a6700", "failed": "#b3261e"}
"""Background of the verdict; the word is written on it, so that nobody needs to tell the colours apart."""
_SIZE = (16.0, 9.0)  # inches, at 100 px each
_BANNER = 0.6  # inches
_LINE = 0.23  # inches, of a reason
_MOST_REASONS = 5
_X_LABEL, _Y_LABEL = 0.32, 0.48  # inches from the axes
_MOST_STEPS = 5  # between the ticks of an axis
_WIDTH = 170  # characters of a reason on a line


def plot_calibration(calibration: Calibration, which: str = "overview") -> Figure:
    """Return a figure that belongs to no window; notebooks show it, `savefig` writes it.

    "overview": verdict and reasons, image with predicted rings, the image unrolled (R against eta), strain against 2θ,
    the numbers. "details": residuals over R and eta, over the detector and against eta, held-out against training
    strain, the loop's history, the rings one by one, and the shifts of panels where there are any.

    Raises
    ------
    InputError
        There is no such picture.
    """
    if which not in PICTURES:
        raise InputError(f"there is no picture {which!r} of a calibration; expected 'overview' or 'details'")
    figure = _new_figure()
    top = _draw_banner(calibration, figure)
    if which == "overview":
        _draw_overview(calibration, figure, top)
    else:
        _draw_details(calibration, figure, top)
    return figure


def _new_figure() -> Figure:
    from matplotlib.figure import Figure

    return shown_in_notebooks(Figure(figsize=_SIZE, dpi=100))


def _axes(figure: Figure, left: float, bottom: float, width: float, height: float, **options: Any) -> Axes:
    """Add axes at a place in inches: fixed places cost no layout passes, and pictures of many runs line up.

    Ticks are few: each costs a millisecond or two.
    """
    from matplotlib.ticker import MaxNLocator

    place = (left / _SIZE[0], bottom / _SIZE[1], width / _SIZE[0], height / _SIZE[1])
    axes = figure.add_axes(place, **options)
    axes.xaxis.set_label_coords(0.5, -_X_LABEL / height)
    axes.yaxis.set_label_coords(-_Y_LABEL / width, 0.5)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(_MOST_STEPS, steps=(1, 2, 2.5, 5, 10)))
    return axes


def _draw_banner(calibration: Calibration, figure: Figure) -> float:
    """Write verdict, result and reasons across the top; return the height [inches] that is left below."""
    from matplotlib.patches import Rectangle

    g = calibration.geometry
    color = COLORS[calibration.verdict]
    bottom = 1.0 - _BANNER / _SIZE[1]
    middle = 1.0 - 0.5 * _BANNER / _SIZE[1]
    figure.add_artist(Rectangle((0.0, bottom), 1.0, 1.0 - bottom, color=color, transform=figure.transFigure))
    figure.text(0.012, middle, calibration.verdict.upper(), color="white", size=22, weight="bold", va="center")
    figure.text(
        0.155,
        middle,
        f"{calibration.rings.name}    distance {g.distance / UM_PER_MM:.3f} mm    beam y {g.beam_center[0]:.2f}, "
        f"z {g.beam_center[1]:.2f} px    mean strain {calibration.mean_strain * 1e6:.1f} µε "
        f"(held out {calibration.held_out_strain * 1e6:.1f})",
        color="white",
        size=14,
        va="center",
    )
    lines = _reason_lines(calibration.reasons)
    for i, line in enumerate(lines):
        y = 1.0 - (_BANNER + (i + 0.7) * _LINE) / _SIZE[1]
        figure.text(0.012, y, line, size=11, color=color, va="center")
    return _SIZE[1] - _BANNER - _LINE * (len(lines) + 0.3 * bool(lines))


def _reason_lines(reasons: tuple[str, ...]) -> list[str]:
    lines = [f"• {reason}" for reason in reasons[:_MOST_REASONS]]
    if len(reasons) > _MOST_REASONS:
        lines.append(f"... and {len(reasons) - _MOST_REASONS} more, see calibration.json")
    return [part for line in lines for part in textwrap.wrap(line, _WIDTH, subsequent_indent="   ")]


def _draw_overview(calibration: Calibration, figure: Figure, top: float) -> None:
    from midas.calibration import plot_rings, plot_strain

    plot_rings.draw_image(calibration, _axes(figure, 0.75, 0.6, 6.5, top - 1.05))
    height = 0.5 * (top - 1.95)
    plot_rings.draw_cake(calibration, _axes(figure, 8.2, top - 0.4 - height, 7.2, height))
    plot_strain.draw_strain_against_two_theta(calibration, _axes(figure, 8.2, 0.6, 4.5, height))
    _draw_numbers(calibration, _axes(figure, 12.95, 0.2, 3.0, height + 0.55))


def _draw_details(calibration: Calibration, figure: Figure, top: float) -> None:
    from midas.calibration import plot_rings, plot_strain

    height = 0.5 * (top - 1.95)
    low, high = 0.6, top - 0.4 - height
    plot_strain.draw_residual_map(calibration, _axes(figure, 0.85, high, 5.1, height))
    plot_strain.draw_strain_against_eta(calibration, _axes(figure, 0.85, low, 5.1, height))
    on_detector = _axes(figure, 7.75, high, 3.4, height)
    plot_strain.draw_residuals_on_detector(calibration, on_detector)
    plot_strain.draw_ring_table(calibration, _axes(figure, 7.75, low, 4.0, height))
    plot_strain.draw_history(calibration, _axes(figure, 13.0, high, 2.7, height))
    plot_strain.draw_held_out(calibration, _axes(figure, 13.4, low, 2.3, height))
    shifts = plot_rings.panel_shifts(calibration.geometry)
    if shifts is not None:
        plot_rings.draw_panel_shifts(on_detector, *shifts)


def _draw_numbers(calibration: Calibration, axes: Axes) -> None:
    """Write every parameter with its standard uncertainty and unit."""
    axes.set_axis_off()
    rows = [f"{name:10}{value:>16}  {unit}" for name, value, unit in read_out(calibration)]
    size = 9.5 if len(rows) <= 17 else 9.5 * 17 / len(rows)
    axes.text(0.0, 1.0, "\n".join(rows), family="monospace", size=size, va="top", linespacing=1.3)
