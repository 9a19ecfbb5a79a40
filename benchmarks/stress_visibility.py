"""What can be seen of the rings of a case of stress_cases.py.

It is worked out from the expected image, without noise, at the true ring positions. In bins of 5 deg of azimuth a ring
is visible where

* at least half of its samples (every 0.5 deg) lie on usable pixels, below saturation and above a threshold;
* its contrast c, the crest over the mean of both sides 1.8 widths away (so other rings' flanks and crowding count
  against it), is at least half the standard deviation of one pixel's counts there;
* no other ring at least a third as bright lies within two widths of it: blended rings are no rings of their own;
* the bin's signal S = 1.06 c w l (w the width, l the length of arc in it) over sqrt(S + 2 w l b), b the counts beside
  the ring, is at least 8.

A ring counts as visible when it is so over at least 60 deg. The rule of the benchmark is at least four such rings.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from stress_cases import BIN, MIN_ARC, MIN_RINGS, Case

from midas import Geometry
from midas.calibration.brightness import ring_brightness
from midas.simulation import Simulation

SAMPLES = 10  # per bin
MIN_CONTRAST = 0.5  # standard deviations of a pixel
MIN_SNR = 8.0  # per ring and bin


@dataclass(frozen=True, eq=False)
class Visible:
    """What of a case's rings can be seen."""

    n_rings: int
    """Rings visible over at least 60 deg."""
    arc: float
    """Azimuth [deg] over which any ring is visible."""
    y: np.ndarray
    """Column of each visible (ring, bin)'s middle [px]."""
    z: np.ndarray
    """Row of it [px]."""
    ring: np.ndarray
    """Its ring index."""
    beam_esd: float
    """Smallest standard uncertainty of the beam centre [px] that counting statistics allow, with place and tilts
    free and nothing else (Cramer-Rao), and 0.02 px of every point's own error; NaN where singular."""
    distance_esd: float
    """The same of the distance, relative."""

    @property
    def enough(self) -> bool:
        """Whether the benchmark's rule holds: at least four rings over 60 deg."""
        return self.n_rings >= MIN_RINGS


def visible_rings(case: Case, shot: Simulation) -> Visible:
    """Return what can be seen of the rings, by the rules at the top of this file."""
    g, w = replace(case.geometry, panels=None), case.options.fwhm or 3.0
    eta = -180.0 + (np.arange(int(360.0 / BIN) * SAMPLES) + 0.5) * BIN / SAMPLES
    two_theta = shot.rings.two_theta[shot.rings.two_theta < 80.0]
    radius = g.radius_of(two_theta)
    usable = ~shot.mask
    crest, y, z = _sample(g, shot.expected, usable, radius, eta)
    inner, outer = (_sample(g, shot.expected, usable, radius + s * 1.8 * w, eta)[0] for s in (-1.0, 1.0))
    beside = 0.5 * (np.where(np.isnan(inner), outer, inner) + np.where(np.isnan(outer), inner, outer))
    contrast = crest - beside
    top = _saturation(case)
    seen = np.isfinite(contrast) & (contrast > MIN_CONTRAST * np.sqrt(np.maximum(crest, 1e-9))) & (crest < top)
    seen &= crest > case.options.threshold
    seen &= _resolved(radius, ring_brightness(shot.rings, unknown=1.0)[: len(radius)], 2.0 * w)[:, None]
    length = np.hypot(np.diff(y, append=y[:, :1]), np.diff(z, append=z[:, :1]))
    signal = np.where(seen, 1.06 * contrast * w * length, 0.0)
    noise = np.where(seen, signal + 2.0 * w * length * beside, 0.0)
    shape = (len(radius), -1, SAMPLES)
    in_bin = seen.reshape(shape).sum(axis=2)
    total = np.nansum(signal.reshape(shape), axis=2)
    snr = total / np.sqrt(np.maximum(np.nansum(noise.reshape(shape), axis=2), 1e-9))
    good = (in_bin * 2 >= SAMPLES) & (snr >= MIN_SNR)
    ring, at = np.nonzero(good)
    middle = at * SAMPLES + SAMPLES // 2
    n_rings = int((good.sum(axis=1) * BIN >= MIN_ARC).sum())
    points = (np.ascontiguousarray(y[ring, middle]), np.ascontiguousarray(z[ring, middle]))
    keep = np.isfinite(points[0]) & np.isfinite(points[1])
    points = (points[0][keep], points[1][keep])
    sigma = np.hypot(w / 2.355 / snr[ring, at][keep], 0.02)
    beam_esd, distance_esd = _bounds(g, points, sigma)
    return Visible(n_rings, float(good.any(axis=0).sum() * BIN), *points, ring[keep], beam_esd, distance_esd)


def _resolved(radius: np.ndarray, brightness: np.ndarray, reach: float) -> np.ndarray:
    """Return which rings have no other at least a third as bright within reach."""
    near = np.abs(radius[:, None] - radius[None, :]) < reach
    np.fill_diagonal(near, False)
    return ~np.any(near & (brightness[None, :] > brightness[:, None] / 3.0), axis=1)


def _saturation(case: Case) -> float:
    dtype = np.dtype(case.options.dtype)
    top = float(np.iinfo(dtype).max) if dtype.kind in "iu" else math.inf
    return min(top, case.options.saturation or math.inf)


def _sample(
    g: Geometry, image: np.ndarray, usable: np.ndarray, radius: np.ndarray, eta: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the largest of the nine pixels around each (radius, eta), NaN off the usable panel, and the place."""
    y, z = g.to_pixel(radius[:, None], np.broadcast_to(eta, (len(radius), len(eta))), n_threads=1)
    on = np.isfinite(y) & np.isfinite(z)
    column, row = np.rint(np.where(on, y, -9)).astype(int), np.rint(np.where(on, z, -9)).astype(int)
    on &= (column >= 1) & (column < image.shape[1] - 1) & (row >= 1) & (row < image.shape[0] - 1)
    on[on] = usable[row[on], column[on]]
    value = np.full(y.shape, np.nan)
    nine = [image[row[on] + i, column[on] + j] for i in (-1, 0, 1) for j in (-1, 0, 1)]
    value[on] = np.max(nine, axis=0) if on.any() else 0.0
    return value, y, z


def _bounds(g: Geometry, points: tuple[np.ndarray, np.ndarray], sigma: np.ndarray) -> tuple[float, float]:
    """Return the smallest standard uncertainties of the beam centre [px] and the relative distance."""
    if len(sigma) < 6:
        return math.nan, math.nan
    gradient = g.projection.radius_gradient(*points)[:, [0, 1, 2, 4, 5]] / g.pixel_size
    radius = g.to_polar(*points, n_threads=1)[0]
    gradient[:, 0] -= radius / g.distance  # of R - L tan(2theta)
    scale = np.array([g.distance, 1.0, 1.0, 1.0, 1.0])
    design = gradient * scale / sigma[:, None]
    _, s, v = np.linalg.svd(design, full_matrices=False)
    if s[-1] < 1e-12 * s[0]:
        return math.nan, math.nan
    covariance = (v.T / s**2) @ v
    return float(math.sqrt(covariance[1, 1] + covariance[2, 2])), float(math.sqrt(covariance[0, 0]))
