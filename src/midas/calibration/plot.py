"""Pictures of a calibration, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from midas.calibration.result import Calibration

COLORS = {"good": "#1a7f37", "doubtful": "#9a6700", "failed": "#cf222e"}
_MOST_PIXELS = 1200


def plot_calibration(calibration: Calibration) -> Figure:
    """Return a figure: the image with the predicted rings, the strain against 2θ, and against eta.

    The figure belongs to no window; notebooks show it, `savefig` writes it.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 7.5), layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=(1.15, 1.0))
    draw_image(calibration, figure.add_subplot(grid[:, 0]))
    draw_strain_against_two_theta(calibration, figure.add_subplot(grid[0, 1]))
    draw_strain_against_eta(calibration, figure.add_subplot(grid[1, 1]))
    g = calibration.geometry
    figure.suptitle(
        f"{calibration.verdict.upper()}: {calibration.rings.name}, distance {g.distance / 1000:.3f} mm, "
        f"beam ({g.beam_center[0]:.2f}, {g.beam_center[1]:.2f}) px, "
        f"mean strain {calibration.mean_strain * 1e6:.1f} µε",
        color=COLORS[calibration.verdict],
    )
    return figure


def draw_image(calibration: Calibration, axes: Axes) -> None:
    """Draw the image on a logarithmic scale with the predicted rings and the points used."""
    image = calibration.image
    step = max(1, max(image.counts.shape) // _MOST_PIXELS)
    shown = np.where(image.mask, np.nan, image.counts)[::step, ::step]
    low, high = np.nanpercentile(shown, [2, 99.7])
    level = np.log1p(np.clip(shown - low, 0.0, None))
    n_z, n_y = image.counts.shape
    axes.imshow(
        level,
        cmap="gray",
        vmax=float(np.log1p(max(high - low, 1.0))),
        extent=(-0.5, n_y - 0.5, n_z - 0.5, -0.5),
        interpolation="nearest",
    )
    eta = np.linspace(-180.0, 180.0, 721)
    # Every other sector of 15 deg: where a drawn arc ends the ring itself shows, and whether it goes on in line.
    drawn = (np.floor(eta / 15.0) % 2 == 0) & (eta < 180.0)
    for ring in calibration.ring_table:
        y, z = calibration.geometry.to_pixel(np.full_like(eta, ring.radius), eta)
        outside = (y < -0.5) | (y > n_y - 0.5) | (z < -0.5) | (z > n_z - 0.5)
        y[outside | ~drawn] = np.nan
        axes.plot(y, z, lw=0.5, color="#ff5c5c" if ring.outlier else "#38bdf8", alpha=0.9)
    y0, z0 = calibration.geometry.beam_center
    axes.plot(y0, z0, "+", color="#facc15", ms=12, mew=1.5)
    axes.set(xlim=(-0.5, n_y - 0.5), ylim=(n_z - 0.5, -0.5), xlabel="y, column [px]", ylabel="z, row [px]")
    axes.set_title("image (log); predicted rings in every other sector", fontsize=10)


def draw_strain_against_two_theta(calibration: Calibration, axes: Axes) -> None:
    """Draw every point's strain against its ring's 2θ, with the ring means; points left out in grey."""
    points, used = calibration.points, calibration.used
    two_theta = np.degrees(np.arctan(points.tan_two_theta))
    strain = calibration.strain * 1e6
    if not used.all():
        axes.plot(two_theta[~used], strain[~used], ".", color="0.7", ms=3, label="left out")
    axes.plot(two_theta[used], strain[used], ".", color="#2563eb", ms=2.5, alpha=0.5, label="used")
    axes.plot(
        [r.two_theta for r in calibration.ring_table],
        [r.bias * 1e6 for r in calibration.ring_table],
        "_",
        color="#f97316",
        ms=10,
        mew=2,
        label="ring mean",
    )
    _finish(axes, strain[used], "2θ [deg]")
    axes.legend(fontsize=8, loc="upper right", ncols=3)


def draw_strain_against_eta(calibration: Calibration, axes: Axes) -> None:
    """Draw every point's strain against eta, coloured by radius."""
    points, used = calibration.points, calibration.used
    strain = calibration.strain * 1e6
    drawn = axes.scatter(points.eta[used], strain[used], c=points.radius[used], s=4, cmap="viridis")
    axes.figure.colorbar(drawn, ax=axes, label="radius [px]")
    axes.set_xlim(-180, 180)
    axes.set_xticks(np.arange(-180, 181, 60))
    _finish(axes, strain[used], "eta [deg] (0 is up, 90 is right)")


def _finish(axes: Axes, strain: np.ndarray, label: str) -> None:
    limit = 1.3 * float(np.percentile(np.abs(strain), 99)) if len(strain) else 1.0
    axes.set_ylim(-limit, limit)
    axes.axhline(0.0, color="0.3", lw=0.7)
    axes.set(xlabel=label, ylabel="pseudo-strain [µε]")
