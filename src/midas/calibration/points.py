"""Ring positions: which windows are fitted, and which fits are measurements."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from midas import _core
from midas.crystal import Rings
from midas.errors import FitError
from midas.geometry import FloatArray, Geometry

_WEAKEST = 1e-3  # rings fainter than this share of the strongest one seen are not looked for
_MERGED = 1.5  # rings closer than this many widths cannot be told apart: neither is used
_MULTIPLET = 4.0  # rings closer than this many widths are fitted together
MIN_SNR = 6.0
"""Significance against counting noise that a fit needs to be a measurement."""
_MIN_COVERAGE = 0.4
_WIDTH_RANGE = (0.35, 2.5)  # of the median width of all fits
_UNCERTAIN = 4.0  # times its ring's median uncertainty: an edge, a shadow or a spot disturbs the profile

Window = tuple[float, float, list[float], list[int]]


@dataclass(frozen=True, eq=False)
class RingPoints:
    """Fitted positions of rings, one a (ring, eta bin). All arrays have shape (n,)."""

    ring: npt.NDArray[np.int64]
    """Index into the ring list, from 0."""
    eta_bin: npt.NDArray[np.int64]
    """Index of the azimuthal bin, from 0 at -180 deg."""
    y: FloatArray
    """Column [px]."""
    z: FloatArray
    """Row [px]."""
    eta: FloatArray
    """[deg]."""
    radius: FloatArray
    """[px]."""
    radius_sigma: FloatArray
    """Standard uncertainty of `radius` [px], from the scatter of the pixels about the fit."""
    height: FloatArray
    """Peak height over background [counts]."""
    fwhm: FloatArray
    """Full width at half maximum as the pixels show it, their own extent included [px]."""
    mixing: FloatArray
    """Lorentzian share of the profile, 0 to 1."""
    snr: FloatArray
    """Significance of the ring against counting noise, in standard deviations."""
    chi2: FloatArray
    """Reduced chi-square of the profile fit with Poisson variances."""
    graininess: FloatArray
    """Relative scatter of the ring's intensity from pixel to pixel beyond counting noise: 0 for a smooth powder."""
    tan_two_theta: FloatArray
    """Tangent of the ring's Bragg angle."""

    def __len__(self) -> int:
        """Return the number of points."""
        return len(self.ring)

    def select(self, chosen: npt.NDArray[np.bool_]) -> RingPoints:
        """Return the points where `chosen` is True."""
        return RingPoints(**{name: getattr(self, name)[chosen] for name in self.__dataclass_fields__})


def ring_windows(
    geometry: Geometry,
    rings: Rings,
    *,
    half_width: float,
    fwhm: float,
    radius_range: tuple[float, float],
    excluded: frozenset[int] = frozenset(),
) -> list[Window]:
    """Return the radius windows (low, high, radii, ring indices) [px] to fit, ascending and disjoint.

    Rings nearer than four widths share a window and are fitted together; nearer than 1.5 widths they are left out.
    """
    usable = np.nonzero(rings.two_theta < 88.0)[0]
    radius = geometry.radius_of(rings.two_theta[usable])
    inside = (radius > radius_range[0] + half_width) & (radius < radius_range[1])
    usable, radius = usable[inside], radius[inside]
    if len(usable) == 0:
        return []
    brightness = np.nan_to_num(rings.intensity[usable], nan=1.0) / radius
    seen = brightness > _WEAKEST * brightness.max()
    usable, radius = usable[seen], radius[seen]
    windows: list[Window] = []
    for first, last in _chains(radius, fwhm):
        low, high = radius[first] - half_width, radius[last - 1] + half_width
        if first > 0:
            low = max(low, 0.5 * (radius[first - 1] + radius[first]))
        if last < len(radius):
            high = min(high, 0.5 * (radius[last - 1] + radius[last]))
        if not excluded.intersection(usable[first:last].tolist()):
            windows.append((float(low), float(high), radius[first:last].tolist(), usable[first:last].tolist()))
    return windows


def _chains(radius: FloatArray, fwhm: float) -> list[tuple[int, int]]:
    """Return runs (first, one past last) of rings to fit together; rings that cannot be told apart are in none.

    A run too long for one fit, or that holds an unresolved pair, is cut at its widest gap until its parts fit.
    """
    gaps = np.diff(radius)
    cuts = np.flatnonzero(gaps >= _MULTIPLET * fwhm) + 1
    pending = list(itertools.pairwise([0, *cuts.tolist(), len(radius)]))
    chains = []
    while pending:
        first, last = pending.pop()
        inner = gaps[first : last - 1]
        if last - first <= _core.MAX_PEAKS and bool((inner > _MERGED * fwhm).all()):
            chains.append((first, last))
        elif inner.max() > _MERGED * fwhm:
            cut = first + int(np.argmax(inner)) + 1
            pending += [(first, cut), (cut, last)]
    return sorted(chains)


def fit_points(
    geometry: Geometry,
    counts: npt.NDArray[np.float32],
    mask: npt.NDArray[np.uint8],
    rings: Rings,
    windows: list[Window],
    *,
    eta_step: float,
    fwhm: float,
    before: RingPoints | None = None,
    n_threads: int = 0,
) -> RingPoints:
    """Return the ring positions that pass the quality cuts.

    With the points of an earlier pass (`before`), under each ring lie the tails of all others as they were found there.

    Used are fits that converged off their bounds, stand out of the counting noise (by 6 standard deviations), have at
    least 40 % of their pixels valid, a width like the others', and are not far less certain than their ring elsewhere.

    Raises
    ------
    FitError
        There is no window to fit.
    """
    if not windows:
        raise FitError(
            "no ring of the calibrant falls on the detector; check calibrant, wavelength, pixel size and distance"
        )
    widest = max(w[1] - w[0] for w in windows)
    found = _core.fit_rings(
        geometry.projection,
        counts,
        mask,
        windows,
        eta_step=eta_step,
        fwhm=fwhm,
        max_shift=widest,
        known=None if before is None else _known_rings(geometry, rings, windows, before, eta_step),
        n_threads=n_threads,
    )
    good = found["converged"] & (found["snr"] > MIN_SNR) & (found["coverage"] > _MIN_COVERAGE)
    good &= np.isfinite(found["y"]) & np.isfinite(found["radius_sigma"]) & (found["radius_sigma"] < 0.5 * found["fwhm"])
    if good.any():
        median = float(np.median(found["fwhm"][good]))
        good &= (found["fwhm"] > _WIDTH_RANGE[0] * median) & (found["fwhm"] < _WIDTH_RANGE[1] * median)
        good &= found["radius_sigma"] <= _UNCERTAIN * _ring_medians(found["radius_sigma"], found["ring"], good)
    tangent = np.tan(np.radians(rings.two_theta))
    columns = {name: found[name][good] for name in RingPoints.__dataclass_fields__ if name != "tan_two_theta"}
    return RingPoints(**columns, tan_two_theta=tangent[columns["ring"]])


def _known_rings(
    geometry: Geometry, rings: Rings, windows: list[Window], points: RingPoints, eta_step: float
) -> tuple[list[int], list[float], list[float], list[float], npt.NDArray[np.float32]] | None:
    """Return (index, radius [px], width [px], mixing) of the rings and their heights [counts] in each azimuth bin.

    A ring that was not measured in a bin has its median height there, times how the others fare in it: nothing where
    none was, as in a shadow. A ring looked for and not found adds nothing; one that was not looked for (too close to
    another, beyond the edge) what the structure says beside its neighbours.
    """
    if len(points) == 0:
        return None
    numbers = np.nonzero(rings.two_theta < 88.0)[0]
    radius = geometry.radius_of(rings.two_theta[numbers])
    n_eta = _core.eta_bins(eta_step)
    heights, widths = np.full((len(numbers), n_eta), np.nan), np.full(len(numbers), np.nan)
    median = np.full(len(numbers), np.nan)
    for k in np.unique(points.ring):
        own = points.ring == k
        heights[k, points.eta_bin[own]] = points.height[own]
        median[k], widths[k] = np.median(points.height[own]), np.median(points.fwhm[own])
    found = np.isfinite(median)
    brightness = rings.intensity[numbers] / radius
    looked_for = np.isin(numbers, [k for window in windows for k in window[3]])
    scale = np.interp(radius, radius[found], median[found] / brightness[found])
    expected = np.where(looked_for | ~np.isfinite(scale), 0.0, scale * np.nan_to_num(brightness))
    seen = np.isfinite(heights).any(axis=0)
    share = np.zeros(n_eta)
    share[seen] = np.nanmedian(heights[:, seen] / median[:, None], axis=0)
    typical = np.where(found, median, expected)
    heights = np.where(np.isnan(heights), typical[:, None] * share, heights).astype(np.float32)
    widths = np.interp(radius, radius[found], widths[found])
    mixing = [float(np.median(points.mixing))] * len(numbers)
    return numbers.tolist(), radius.tolist(), widths.tolist(), mixing, heights


def _ring_medians(values: FloatArray, ring: npt.NDArray[np.int64], chosen: npt.NDArray[np.bool_]) -> FloatArray:
    """Return for each value the median over the chosen ones of its ring, infinite where there are none."""
    medians = np.full(int(ring.max()) + 1, np.inf)
    for n in np.unique(ring[chosen]):
        medians[n] = np.median(values[chosen & (ring == n)])
    return medians[ring]
