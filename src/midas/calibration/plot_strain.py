"""Strain in pictures: what is left between the points and the geometry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from midas.calibration.plot_rings import set_eta_limits
from midas.geometry import FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection

    from midas.calibration.result import Calibration

BLUE, ORANGE, GREY, RED = "#2563ab", "#e8730c", "#8a8f98", "#a11d33"
_DIVERGING = "RdBu_r"
_MICRO = 1e6


def strain_limit(strain: FloatArray) -> float:
    """Return the half range [µε] that shows the points used; 1 where there are none.

    Examples
    --------
    >>> strain_limit(np.array([1e-6, -2e-6, 2e-6]))
    2.6
    """
    finite = np.abs(strain[np.isfinite(strain)])
    return max(1.3 * float(np.percentile(finite, 99)) * _MICRO, 1e-3) if len(finite) else 1.0


def in_pixels(calibration: Calibration, strain: float) -> str:
    """Return what a strain [µε] is in pixels at the outermost point, for a title: patterns below 0.05 px do no harm."""
    radius = float(calibration.points.radius.max()) if len(calibration.points) else 0.0
    return f"{strain:.3g} µε is {strain * radius / _MICRO:.2g} px at the outer rings"


def draw_strain_against_two_theta(calibration: Calibration, axes: Axes) -> None:
    """Draw every point's strain against its ring's 2θ, the ring means, what was left out and the rings rejected."""
    points, used = calibration.points, calibration.used
    two_theta = np.degrees(np.arctan(points.tan_two_theta))
    strain = calibration.strain * _MICRO
    limit = strain_limit(calibration.strain[used])
    rejected = np.isin(points.ring, [r.number - 1 for r in calibration.ring_table if r.outlier])
    axes.plot(two_theta[used], strain[used], ".", color=BLUE, ms=3.5, alpha=0.6, mew=0, label="used")
    _draw_beyond(axes, two_theta, strain, limit, ~used & ~rejected, GREY, "x", "left out")
    _draw_beyond(axes, two_theta, strain, limit, rejected, RED, "1", "rejected ring")
    means = [(r.two_theta, r.bias * _MICRO) for r in calibration.ring_table if r.n_points and not r.outlier]
    axes.plot(*np.reshape(means, (-1, 2)).T, "_", color="black", ms=9, mew=2, label="ring mean")
    for ring in calibration.ring_table:
        if ring.outlier:
            axes.axvline(ring.two_theta, color=RED, lw=6, alpha=0.12, zorder=0)
    _finish(axes, limit, "2θ [deg]")
    axes.legend(
        fontsize=9, loc="upper center", ncols=4, handletextpad=0.2, columnspacing=0.9, framealpha=0.9, markerscale=1.6
    )
    axes.set_title("strain of each point", size=11, y=1.015)


def _draw_beyond(
    axes: Axes,
    x: FloatArray,
    strain: FloatArray,
    limit: float,
    chosen: npt.NDArray[np.bool_],
    color: str,
    marker: str,
    label: str,
) -> None:
    """Draw points that were not used; those beyond the limits as triangles at the edge."""
    if not chosen.any():
        return
    inside = chosen & (np.abs(strain) <= limit)
    axes.plot(x[inside], strain[inside], marker, color=color, ms=5, label=label, ls="none")
    for sign, shape in ((1.0, "^"), (-1.0, "v")):
        beyond = chosen & (sign * strain > limit)
        axes.plot(x[beyond], np.full(beyond.sum(), 0.96 * sign * limit), shape, color=color, ms=4, ls="none")


def draw_strain_against_eta(calibration: Calibration, axes: Axes) -> None:
    """Draw every used point's strain against eta, coloured by radius, with the mean of each azimuth bin."""
    points, used = calibration.points.select(calibration.used), calibration.used
    strain = calibration.strain[used] * _MICRO
    drawn = axes.scatter(points.eta, strain, c=points.radius, s=7, cmap="viridis", lw=0)
    _colorbar(axes, drawn, "R [px]")
    bins, place = np.unique(points.eta_bin, return_inverse=True)
    if len(bins):
        count = np.bincount(place)
        order = (np.bincount(place, points.eta) / count, np.bincount(place, strain) / count)
        axes.plot(*order, "_", color="black", ms=6, mew=1.5, label="mean of the azimuth")
        axes.legend(fontsize=9, loc="upper right", framealpha=0.9)
    set_eta_limits(axes, points.eta)
    limit = strain_limit(calibration.strain[used])
    _finish(axes, limit, "eta [deg] (0: to higher rows, 90: to higher columns)")
    axes.set_title(f"strain against azimuth; {in_pixels(calibration, limit)}", size=11, y=1.015)


def draw_residual_map(calibration: Calibration, axes: Axes) -> None:
    """Draw the used points over R and eta, coloured by strain."""
    points = calibration.points.select(calibration.used)
    drawn = _draw_coloured(calibration, axes, points.eta, points.radius)
    _colorbar(axes, drawn, "strain [µε]")
    set_eta_limits(axes, points.eta)
    low, high = (points.radius.min(), points.radius.max()) if len(points) else (0.0, 1.0)
    margin = max(0.05 * (high - low), 5.0)  # px: one ring is shown as one ring
    axes.set(xlabel="eta [deg]", ylabel="R [px]", ylim=(low - margin, high + margin))
    limit = strain_limit(calibration.strain[calibration.used]) / 1.3
    axes.set_title(f"strain, unrolled; {in_pixels(calibration, limit)}", size=11, y=1.015)


def draw_residuals_on_detector(calibration: Calibration, axes: Axes) -> None:
    """Draw the used points where they lie on the detector, coloured by strain; gaps in grey."""
    mask = calibration.image.mask
    points = calibration.points.select(calibration.used)
    n_z, n_y = mask.shape
    step = max(1, max(mask.shape) // 300)
    shade = np.where(mask[::step, ::step], 205, 255).astype(np.uint8)
    extent = (-0.5, n_y - 0.5, n_z - 0.5, -0.5)
    axes.imshow(np.repeat(shade[:, :, None], 3, axis=2), extent=extent, interpolation="nearest")
    _draw_coloured(calibration, axes, points.y, points.z)
    axes.set(xlim=(-0.5, n_y - 0.5), ylim=(n_z - 0.5, -0.5), xlabel="y, column [px]", ylabel="z, row [px]")
    axes.set_title("the same on the detector: steps mean panels", size=11, y=1.015)


def _draw_coloured(calibration: Calibration, axes: Axes, x: FloatArray, y: FloatArray) -> PathCollection:
    strain = calibration.strain[calibration.used]
    limit = strain_limit(strain) / 1.3
    value = strain * _MICRO
    return axes.scatter(x, y, c=value, s=11, cmap=_DIVERGING, vmin=-limit, vmax=limit, lw=0.2, edgecolors="0.4")


def _colorbar(axes: Axes, drawn: PathCollection, label: str) -> None:
    """Add a colour bar beside the axes without moving them."""
    from matplotlib.ticker import MaxNLocator

    inset = axes.inset_axes((1.02, 0.0, 0.025, 1.0))
    axes.figure.colorbar(drawn, cax=inset, ticks=MaxNLocator(4))
    inset.ticklabel_format(useOffset=False)
    inset.set_title(label, size=9, loc="left", y=1.02)
    inset.tick_params(labelsize=8.5)


def draw_ring_table(calibration: Calibration, axes: Axes) -> None:
    """Draw the mean |strain| of each ring, rejected ones marked, and how many points it has."""
    table = calibration.ring_table
    kept, rejected = ([r for r in table if r.outlier == is_out] for is_out in (False, True))
    axes.vlines([r.two_theta for r in kept], 0.0, [r.mean_strain * _MICRO for r in kept], color=BLUE, lw=3)
    if rejected:
        two_theta, strain = [r.two_theta for r in rejected], [r.mean_strain * _MICRO for r in rejected]
        axes.vlines(two_theta, 0.0, strain, color=RED, lw=3, linestyles=":")
        axes.plot(two_theta, strain, "x", color=RED, ms=8, mew=2, label="rejected ring")
    axes.axhline(calibration.mean_strain * _MICRO, color="black", lw=1, ls="--", label="mean of the points used")
    axes.legend(fontsize=9, loc="upper center", framealpha=0.9)
    highest = max((r.mean_strain * _MICRO for r in table), default=1.0)
    axes.set(xlabel="2θ [deg]", ylabel="mean |strain| [µε]", ylim=(0.0, 1.3 * highest))
    counts = axes.twinx()
    counts.plot([r.two_theta for r in table], [r.n_points for r in table], "o", color=GREY, ms=3, mfc="none")
    counts.set_ylim(0, 1.3 * max((r.n_points for r in table), default=1) + 1)
    counts.set_ylabel("○ points used", size=10, color="#5a5f68")
    counts.tick_params(labelsize=9)
    axes.set_title("ring by ring", size=11, y=1.015)


def draw_history(calibration: Calibration, axes: Axes) -> None:
    """Draw mean and median strain of each pass of the loop."""
    from matplotlib.ticker import LogLocator, NullLocator

    history = calibration.history
    number = [i.number for i in history]
    axes.semilogy(number, [i.mean_strain * _MICRO for i in history], "o-", color=BLUE, label="mean |strain|")
    axes.semilogy(number, [i.median_strain * _MICRO for i in history], "s--", color=ORANGE, ms=5, label="median")
    axes.set(xlabel="pass of the loop", ylabel="[µε]")
    step = max(1, len(number) // 8)
    axes.set_xticks(number[::step])
    axes.set_xlim(0.7, max(number, default=1) + 0.3)
    low, high = axes.get_ylim()
    axes.set_ylim(low / 1.2, high * 1.5)
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.legend(fontsize=9, loc="upper right")
    end = "ended by itself" if calibration.converged else "did not end by itself"
    axes.set_title(f"the loop {end}", size=11, y=1.015)


def draw_held_out(calibration: Calibration, axes: Axes) -> None:
    """Draw the strain of points the fit saw beside that of points it did not see."""
    values = [calibration.mean_strain * _MICRO, calibration.held_out_strain * _MICRO]
    axes.bar([0, 1], np.nan_to_num(values), color=[BLUE, ORANGE], width=0.6)
    for x, value in enumerate(values):
        text = f"{value:.1f}" if np.isfinite(value) else "too few\npoints"
        axes.text(x, float(np.nan_to_num(value)), text, ha="center", va="bottom", size=12)
    axes.set_xticks([0, 1], ["training", "held out"], size=10)
    axes.set(ylabel="mean |strain| [µε]", xlim=(-0.6, 1.6), ylim=(0.0, 1.2 * float(np.nanmax(values))))
    axes.set_title("alike means not overfitted", size=11, y=1.015)


def _finish(axes: Axes, limit: float, label: str) -> None:
    axes.set_ylim(-limit, limit)
    axes.axhline(0.0, color="0.3", lw=0.7)
    axes.set(xlabel=label, ylabel="pseudo-strain [µε]")
