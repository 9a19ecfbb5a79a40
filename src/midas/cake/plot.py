"""The picture of a cake."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midas.errors import InputError
from midas.notebooks import shown_in_notebooks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from midas.cake.result import Cake
    from midas.geometry import FloatArray

_LABELS = {"2theta": "2θ [deg]", "q": "q [Å⁻¹]", "d": "d [Å]", "px": "radius [px]"}
_GREY = "0.85"
_TIMES = tuple(m * 10**k for k in range(6) for m in (1, 2, 5))  # sigma may be drawn enlarged by
_SEEN = 0.01  # of the profile's range: a band that is mostly less high than this is hidden by the line
_MOST_D = 10.0  # times the smallest d: from there on 1/R puts next to nothing on the rest of the axis


def plot_cake(cake: Cake, *, index: int = 0, unit: str = "2theta") -> Figure:
    """Return a figure of one sum of a cake: intensity over the axis and eta, above its profile with its sigma.

    The colour scale is that of the square root and ends at the 0.2 and 99.8 % points, so weak rings show beside strong
    ones; bins without a pixel are grey. The band around the profile is one sigma, or as many as it takes to be seen,
    which the legend says. An axis of d is logarithmic and shows ten times the smallest d: nine tenths of the radii.
    """
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure
    from matplotlib.ticker import MultipleLocator

    if not -len(cake.intensity) <= index < len(cake.intensity):
        raise InputError(f"index is {index} of {len(cake.intensity)} sums; expected 0 to {len(cake.intensity) - 1}")
    edges = cake.edges(unit)
    shown = np.isfinite(edges[1:]) & np.isfinite(edges[:-1])
    if not shown.any():
        raise InputError(f"the only bin reaches the beam, where {unit} is infinite; choose another unit")
    # On the beam d is infinite: a first bin that reaches it has no place in the picture.
    edges = edges[np.argmax(shown) :]
    image = np.ma.masked_invalid(cake.intensity[index][shown].T)
    values = image.compressed()
    if values.size == 0:
        raise InputError(f"sum {index} of the cake has no bin with a valid pixel; there is nothing to plot")
    low, high = np.percentile(values, [0.2, 99.8])
    figure = shown_in_notebooks(Figure(figsize=(9.0, 6.5), layout="constrained"))
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    top.set_facecolor(_GREY)
    mesh = top.pcolormesh(
        edges,
        cake.eta_edges,
        image,
        norm=PowerNorm(0.5, vmin=float(low), vmax=float(max(high, low + 1e-12))),
        cmap="viridis",
        rasterized=True,
    )
    label = "counts / px²" if cake.normalized else "counts"
    figure.colorbar(mesh, ax=top, label=label, pad=0.01, extend="both")
    top.set_ylabel("η [deg]")
    if np.ptp(cake.eta_edges) > 180.0:
        top.yaxis.set_major_locator(MultipleLocator(45.0))
    top.set_title(_title(cake, index), fontsize="medium")
    _draw_profile(cake, index, bottom, edges)
    if unit == "d":
        _lay_out_d(bottom, edges)
    bottom.set_xlabel(_LABELS[unit])
    bottom.set_ylabel(label)
    return figure


def _draw_profile(cake: Cake, index: int, axes: Axes, edges: FloatArray) -> None:
    """Draw the last bins of the profile, those between the edges, as steps: bins may differ in width."""
    profile = cake.profile()
    n = len(edges) - 1
    intensity = profile.intensity[index, -n:]
    axes.stairs(intensity, edges, baseline=None, color="C0", lw=0.9, label="profile", zorder=3)
    if profile.sigma is not None:
        sigma = profile.sigma[index, -n:]
        times = _enlarged(intensity, sigma)
        axes.stairs(
            intensity + times * sigma,
            edges,
            baseline=intensity - times * sigma,
            fill=True,
            color="C1",
            alpha=0.5,
            lw=0,
            label=f"±{times} σ",
        )
        axes.legend(frameon=False, loc="upper right")
    axes.grid(alpha=0.3)
    axes.margins(x=0)
    axes.use_sticky_edges = False  # the band's lowest point would lie on the frame


def _enlarged(intensity: FloatArray, sigma: FloatArray) -> int:
    """Return the round number of sigmas at which most of the band is seen beside the line."""
    known = np.isfinite(intensity) & np.isfinite(sigma)
    if not known.any():
        return 1
    needed = _SEEN * float(np.ptp(intensity[known]))
    common = float(np.median(sigma[known]))
    return next((times for times in _TIMES if times * common >= needed), 1)


def _lay_out_d(axes: Axes, edges: FloatArray) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    low = float(edges.min())
    axes.set_xscale("log")
    axes.set_xlim(low, min(float(edges.max()), _MOST_D * low))
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _title(cake: Cake, index: int) -> str:
    frames = int(cake.frames[index])
    omega = f", ω {cake.omega[index]:g} deg" if cake.first_omega[0] != cake.last_omega[-1] else ""
    last = int(cake.frame_numbers[index])
    return f"frame {last}{omega}" if frames == 1 else f"sum of {frames} frames, {last - frames + 1} to {last}{omega}"
