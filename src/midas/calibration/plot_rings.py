"""The rings in pictures: the image with the rings that the geometry predicts, and the image unrolled."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from midas.calibration.filters import block_sums
from midas.calibration.prepare import BoolImage, FloatImage
from midas.geometry import FloatArray, Geometry

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from midas.calibration.result import Calibration

Rgb = npt.NDArray[np.uint8]

PREDICTED = "#e8730c"
"""Predicted rings: orange stands out of grey for every kind of colour vision."""
_MISSING = "#a11d33"
_GAP = (205, 222, 240)  # what no pixel shows: pale blue, no shade of the grey scale
_BEAM = "#0550ae"
_SECTOR = 15.0  # deg: rings are drawn in every other one
_MOST_CELLS = 800  # of the image, along its longer edge
_CAKE_CELLS = (300, 360)  # radius, eta
_OVERSAMPLING = (3, 2)
_NEAR = 0.3  # of the panel: a beam no further off it is shown where it is
_PERCENTILES = (1.0, 99.7)


def draw_image(calibration: Calibration, axes: Axes) -> None:
    """Draw the image on a logarithmic scale with the predicted rings and the beam."""
    image = calibration.image
    n_z, n_y = image.shape
    level = np.log(_positive(binned(image.counts, image.mask, max(1, round(max(n_z, n_y) / _MOST_CELLS)))))
    low, high = level_limits(level)
    axes.imshow(
        grey(level, low, high), extent=(-0.5, n_y - 0.5, n_z - 0.5, -0.5), interpolation="antialiased", aspect="equal"
    )
    _draw_predicted(calibration, axes)
    _draw_beam(calibration.geometry.beam_center, (n_z, n_y), axes)
    axes.set(xlabel="y, column [px]", ylabel="z, row [px]")
    axes.set_title("image (log scale); orange: predicted rings, in every other sector", size=11, y=1.015)


def binned(counts: FloatImage, mask: BoolImage, binning: int) -> FloatArray:
    """Return the mean of the usable pixels of each cell of binning x binning pixels, NaN where there is none."""
    count = block_sums(~mask, binning)
    with np.errstate(invalid="ignore"):  # masked pixels are 0
        return np.asarray(block_sums(counts, binning) / np.where(count > 0, count, np.nan), dtype=np.float64)


def grey(level: FloatArray, low: float, high: float) -> Rgb:
    """Return an image of white (low) to black (high), pale blue where the level is NaN; shape (n_z, n_y, 3)."""
    with np.errstate(invalid="ignore"):
        shade = 255.0 - np.clip((level - low) * (245.0 / max(high - low, 1e-9)), 0.0, 245.0)
        shades = np.nan_to_num(shade).astype(np.uint8)
    rgb = np.repeat(shades[:, :, None], 3, axis=2)
    rgb[np.isnan(level)] = _GAP
    return rgb


def _positive(values: FloatArray) -> FloatArray:
    """Return the values with a floor that a logarithm can bear: a tenth of the lower values above 0."""
    above = values[values > 0.0]
    floor = 0.1 * float(np.percentile(above, 5.0)) if len(above) else 1.0
    return np.where(np.isnan(values), np.nan, np.maximum(values, floor))


def level_limits(level: FloatArray) -> tuple[float, float]:
    """Return the range of a picture's shades: nearly all levels, but no outliers."""
    finite = level[np.isfinite(level)]
    if len(finite) == 0:
        return 0.0, 1.0
    low, high = np.percentile(finite, _PERCENTILES)
    return float(low), float(high)


def in_sectors(eta: FloatArray) -> npt.NDArray[np.bool_]:
    """Where a drawn arc ends the ring itself shows, and whether it goes on in line."""
    return np.asarray((np.floor(eta / _SECTOR) % 2 == 0) & (eta < 180.0))


def predicted_arcs(calibration: Calibration) -> tuple[FloatArray, FloatArray]:
    """Return the rings as one line on the image, y and z [px], shape (n,).

    NaN breaks it at the panel's edges, in every other sector, and from ring to ring.
    """
    n_z, n_y = calibration.image.shape
    eta = np.arange(-180.0, 180.0, 1.0)
    radius = np.array([ring.radius for ring in calibration.ring_table])
    if len(radius) == 0:
        return np.zeros(0), np.zeros(0)
    y, z = calibration.geometry.to_pixel(radius[:, None], eta[None, :], n_threads=1)
    with np.errstate(invalid="ignore"):
        shown = in_sectors(eta) & (y > -0.5) & (y < n_y - 0.5) & (z > -0.5) & (z < n_z - 0.5)
    cut = np.full((len(radius), 1), np.nan)
    y, z = (np.hstack([np.where(shown, v, np.nan), cut]).ravel() for v in (y, z))
    kept = np.isfinite(y) | np.isfinite(np.roll(y, 1))  # one break is as good as many
    return y[kept], z[kept]


def _draw_predicted(calibration: Calibration, axes: Axes) -> None:
    """Draw the rings as one line, cut where it leaves the panel."""
    y, z = predicted_arcs(calibration)
    if len(y):
        axes.plot(y, z, "-", color=PREDICTED, lw=0.9)


def _draw_beam(center: tuple[float, float], shape: tuple[int, int], axes: Axes) -> None:
    """Mark the beam; one far off the panel by an arrow that says how far."""
    (y, z), (n_z, n_y) = center, shape
    off_y, off_z = max(-0.5 - y, y - n_y + 0.5, 0.0), max(-0.5 - z, z - n_z + 0.5, 0.0)
    if off_y < _NEAR * n_y and off_z < _NEAR * n_z:
        axes.plot([y], [z], "+", color="white", ms=17, mew=5, zorder=4, clip_on=False)
        axes.plot([y], [z], "+", color=_BEAM, ms=15, mew=2.2, zorder=5, clip_on=False)
        axes.set_xlim(min(-0.5, y - 0.03 * n_y), max(n_y - 0.5, y + 0.03 * n_y))
        axes.set_ylim(max(n_z - 0.5, z + 0.03 * n_z), min(-0.5, z - 0.03 * n_z))
        return
    tip = (min(max(y, 0.02 * n_y), 0.98 * n_y), min(max(z, 0.02 * n_z), 0.98 * n_z))
    away = math.hypot(y - tip[0], z - tip[1])
    tail = tuple(t - 0.16 * max(n_y, n_z) * (c - t) / away for t, c in zip(tip, center, strict=True))
    axes.annotate(
        f"beam, {math.hypot(off_y, off_z):.0f} px off the panel",
        xy=tip,
        xytext=(tail[0], tail[1]),
        color=_BEAM,
        size=11,
        ha="center" if abs(y - tip[0]) < abs(z - tip[1]) else "left" if y < tip[0] else "right",
        va="center",
        arrowprops={"arrowstyle": "->", "color": _BEAM, "lw": 2.5},
        bbox={"facecolor": "white", "alpha": 0.85, "edgecolor": "none"},
    )
    axes.set(xlim=(-0.5, n_y - 0.5), ylim=(n_z - 0.5, -0.5))


def draw_cake(calibration: Calibration, axes: Axes) -> None:
    """Draw the image unrolled, R against eta over the background, with the predicted rings: straight is right."""
    cake, (smallest, largest) = unrolled_rings(calibration)
    level = over_background(cake)
    low, high = level_limits(level)
    axes.imshow(
        grey(level, max(low, -0.7), high),
        extent=(-180.0, 180.0, smallest, largest),
        origin="lower",
        aspect="auto",
        interpolation="nearest",
    )
    centers = -180.0 + (np.arange(cake.shape[1]) + 0.5) * 360.0 / cake.shape[1]
    set_eta_limits(axes, centers[np.isfinite(cake).any(axis=0)])
    _draw_levels(calibration, cake, (smallest, largest), axes)
    for radius in missing_rings(calibration):
        axes.axhline(radius, color=_MISSING, ls=(0, (2, 3)), lw=1.3)
    _label_rings(calibration, axes, (smallest, largest))
    axes.set(xlabel="eta [deg] (0: to higher rows, 90: to higher columns)", ylabel="R [px]", ylim=(smallest, largest))
    title = "unrolled: straight on orange is right; red dots: a bright ring was expected, none found"
    axes.set_title(title, size=11, y=1.015)


def unrolled_rings(calibration: Calibration) -> tuple[FloatArray, tuple[float, float]]:
    """Return the image unrolled over the radii of its rings, as `unrolled`, and their range [px]."""
    table = calibration.ring_table
    largest = 1.04 * max((ring.radius for ring in table), default=100.0)
    smallest = min(0.85 * min((ring.radius for ring in table), default=0.0), 0.4 * largest)
    image = calibration.image
    return unrolled(calibration.geometry, image.counts, image.mask, (smallest, largest)), (smallest, largest)


def over_background(cake: FloatArray) -> FloatArray:
    """Return the logarithm of an unrolled image over the background of its radius."""
    return np.asarray(np.log(_positive(cake) / _background(cake)[:, None]))


def missing_rings(calibration: Calibration) -> list[float]:
    """Return the radii [px] of the bright rings that the verdict misses."""
    rings, missing = calibration.rings, calibration.evidence.missing
    named = [k for k, hkl in enumerate(rings.hkl) if "{} {} {}".format(*hkl) in missing]
    return [float(r) for r in calibration.geometry.radius_of(rings.two_theta[named])]


def _draw_levels(calibration: Calibration, cake: FloatArray, limits: tuple[float, float], axes: Axes) -> None:
    """Draw the predicted radii where the detector shows them, in the same sectors as on the image."""
    radius = np.array([ring.radius for ring in calibration.ring_table])
    row = ((radius - limits[0]) / (limits[1] - limits[0]) * cake.shape[0]).astype(np.int64)
    eta = np.linspace(-180.0, 180.0, cake.shape[1] + 1)
    near = np.isfinite(cake[np.clip(row, 0, cake.shape[0] - 1)])
    shown = in_sectors(eta) & np.hstack([near, near[:, -1:]])
    shown[:, -1] = False  # and so no line leads from a ring to the next
    level = np.where(shown, radius[:, None], np.nan)
    axes.plot(np.tile(eta, len(radius)), level.ravel(), "-", color=PREDICTED, lw=0.9)


def set_eta_limits(axes: Axes, eta: FloatArray) -> None:
    """Show all azimuths, or those seen [deg] alone where they are less than half a turn: a panel beside the beam."""
    if len(eta) > 0 and float(np.ptp(eta)) < 180.0:
        axes.set_xlim(max(float(eta.min()) - 3.0, -180.0), min(float(eta.max()) + 3.0, 180.0))
    else:
        axes.set_xlim(-180.0, 180.0)
        axes.set_xticks(np.arange(-180, 181, 60))


def unrolled(geometry: Geometry, counts: FloatImage, mask: BoolImage, radius_range: tuple[float, float]) -> FloatArray:
    """Return mean counts over cells of radius and eta, NaN where no usable pixel is met; shape `_CAKE_CELLS`.

    A picture's accuracy: pixels are taken at their nearest, positions interpolated between arcs of 1 deg, which is off
    by R (1 - cos 0.5 deg), a twentieth of a pixel at 1400 px.
    """
    (n_radius, n_eta), (fine_radius, fine_eta) = _CAKE_CELLS, _OVERSAMPLING
    radius, eta = np.linspace(*radius_range, 41), np.arange(-180.0, 181.0, 1.0)
    position = geometry.to_pixel(radius[:, None], np.where(eta < 180.0, eta, -180.0)[None, :], n_threads=1)
    at_radius = (np.arange(n_radius * fine_radius) + 0.5) * (len(radius) - 1) / (n_radius * fine_radius)
    at_eta = (np.arange(n_eta * fine_eta) + 0.5) * (len(eta) - 1) / (n_eta * fine_eta)
    y, z = (_interpolated(_interpolated(p, at_radius, 0), at_eta, 1) for p in position)
    with np.errstate(invalid="ignore"):
        on = (y > -0.5) & (y < counts.shape[1] - 0.5) & (z > -0.5) & (z < counts.shape[0] - 0.5)
    index = np.rint(z[on]).astype(np.int64) * counts.shape[1] + np.rint(y[on]).astype(np.int64)
    usable = ~mask.ravel()[index]
    value, weight = np.zeros(on.shape, np.float32), np.zeros(on.shape, np.float32)
    value[on], weight[on] = np.where(usable, counts.ravel()[index], 0.0), usable
    cells = (n_radius, fine_radius, n_eta, fine_eta)
    total, count = (v.reshape(cells).sum(axis=(1, 3), dtype=np.float64) for v in (value, weight))
    return np.asarray(total / np.where(count > 0, count, np.nan))


def _interpolated(values: FloatArray, at: FloatArray, axis: int) -> FloatArray:
    """Return values at fractional indices along an axis, linearly."""
    left = np.minimum(at.astype(np.int64), values.shape[axis] - 2)
    share = (at - left)[:, None] if axis == 0 else (at - left)[None, :]
    low, high = np.take(values, left, axis=axis), np.take(values, left + 1, axis=axis)
    return np.asarray(low + share * (high - low))


def _background(cake: FloatArray) -> FloatArray:
    """Return the level between the rings at each radius: the lower quartile nearby of the means over eta."""
    count = np.isfinite(cake).sum(axis=1)
    profile = np.nansum(cake, axis=1) / np.maximum(count, 1)
    profile = np.interp(np.arange(len(profile)), np.flatnonzero(count), profile[count > 0]) if count.any() else profile
    reach = len(profile) // 20
    nearby = np.lib.stride_tricks.sliding_window_view(np.pad(profile, reach, mode="edge"), 2 * reach + 1)
    level = np.asarray(np.quantile(nearby, 0.25, axis=1))
    return np.asarray(np.maximum(level, max(1e-3 * float(level.max()), 1e-12)))


def _label_rings(calibration: Calibration, axes: Axes, limits: tuple[float, float]) -> None:
    """Name rings by hkl at the right edge, as many as have room."""
    room = 0.05 * (limits[1] - limits[0])
    last = -math.inf
    for ring in calibration.ring_table:
        if ring.radius - last > room:
            name = " ".join(str(i) for i in ring.hkl) if max(ring.hkl) > 9 else "".join(str(i) for i in ring.hkl)
            axes.annotate(
                name,
                xy=(1.0, ring.radius),
                xycoords=("axes fraction", "data"),
                xytext=(4, 0),
                textcoords="offset points",
                size=8.5,
                va="center",
            )
            last = ring.radius


def panel_shifts(geometry: Geometry) -> tuple[FloatArray, FloatArray] | None:
    """Return (centres, shifts) of the panels, each shape (n, 2) as (y, z) [px]; None for a detector of one piece."""
    panels = geometry.panels
    if panels is None:
        return None
    return panels.layout.centers, np.stack([panels.shift_y, panels.shift_z], axis=1)


def draw_panel_shifts(axes: Axes, centers: FloatArray, shifts: FloatArray) -> None:
    """Draw how far each panel is off its nominal place, enlarged, with a key.

    `centers` and `shifts` have shape (n, 2): (y, z) [px].
    """
    length = np.hypot(shifts[:, 0], shifts[:, 1])
    longest = float(length.max()) if len(length) else 0.0
    if longest == 0.0:
        return
    shown = float(f"{longest:.0e}")  # one digit
    # Half the spacing of the panels is the longest arrow that stays with its panel.
    span = math.sqrt(float(np.ptp(centers[:, 0]) + 1.0) * float(np.ptp(centers[:, 1]) + 1.0) / len(centers))
    arrows = axes.quiver(
        centers[:, 0],
        centers[:, 1],
        shifts[:, 0],
        shifts[:, 1],
        angles="xy",
        scale_units="xy",
        scale=2.0 * longest / max(span, 1.0),
        color="black",
        width=0.006,
        zorder=6,
    )
    axes.quiverkey(arrows, 1.16, 0.95, shown, f"panel shift\n{shown:g} px", labelpos="S", coordinates="axes")
