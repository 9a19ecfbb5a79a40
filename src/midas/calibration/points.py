"""Ring positions: which windows are fitted, and which fits are measurements."""

from __future__ import annotations

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
_MIN_SNR = 6.0
_MIN_COVERAGE = 0.4
_WIDTH_RANGE = (0.35, 2.5)  # of the median width of all fits

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
    """Standard uncertainty of `radius` [px], from the fit's covariance, inflated by chi-square where that exceeds 1."""
    height: FloatArray
    """Peak height over background [counts]."""
    fwhm: FloatArray
    """Full width at half maximum [px]."""
    snr: FloatArray
    """Height over its standard uncertainty."""
    chi2: FloatArray
    """Reduced chi-square of the profile fit with Poisson variances."""
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
    strong: float = _WEAKEST,
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
    seen = brightness > strong * brightness.max()
    usable, radius = usable[seen], radius[seen]
    windows: list[Window] = []
    for i, r in zip(usable.tolist(), radius.tolist(), strict=True):
        low, high = r - half_width, r + half_width
        if windows and low < windows[-1][1]:
            before = windows[-1]
            gap = r - before[2][-1]
            if gap < _MULTIPLET * fwhm:
                windows[-1] = (before[0], high, [*before[2], r], [*before[3], i])
                continue
            middle = r - 0.5 * gap
            windows[-1] = (before[0], middle, before[2], before[3])
            low = middle
        windows.append((low, high, [r], [i]))
    return [w for w in windows if _resolvable(w, fwhm) and not excluded.intersection(w[3])]


def _resolvable(window: Window, fwhm: float) -> bool:
    gaps = np.diff(window[2])
    return len(window[2]) <= _core.MAX_PEAKS and bool((gaps > _MERGED * fwhm).all())


def fit_points(
    geometry: Geometry,
    counts: npt.NDArray[np.float32],
    mask: npt.NDArray[np.uint8],
    rings: Rings,
    windows: list[Window],
    *,
    eta_step: float,
    fwhm: float,
    n_threads: int = 0,
) -> RingPoints:
    """Return the ring positions that pass the quality cuts.

    Used are fits that converged off their bounds, stand out of the noise (height at least 6 esd), have at least 40 % of
    their pixels valid, and a width like the others'.

    Raises
    ------
    FitError
        There is no window to fit.
    """
    if not windows:
        raise FitError("no ring of the calibrant falls on the detector; check calibrant, wavelength, pixel size and distance")
    widest = max(w[1] - w[0] for w in windows)
    found = _core.fit_rings(
        geometry.projection,
        counts,
        mask,
        windows,
        eta_step=eta_step,
        fwhm=fwhm,
        max_shift=widest,
        n_threads=n_threads,
    )
    good = found["converged"] & (found["snr"] > _MIN_SNR) & (found["coverage"] > _MIN_COVERAGE)
    good &= np.isfinite(found["y"]) & np.isfinite(found["radius_sigma"]) & (found["radius_sigma"] < 0.5 * found["fwhm"])
    if good.any():
        median = float(np.median(found["fwhm"][good]))
        good &= (found["fwhm"] > _WIDTH_RANGE[0] * median) & (found["fwhm"] < _WIDTH_RANGE[1] * median)
    tangent = np.tan(np.radians(rings.two_theta))
    columns = {name: found[name][good] for name in RingPoints.__dataclass_fields__ if name != "tan_two_theta"}
    return RingPoints(**columns, tan_two_theta=tangent[columns["ring"]])
