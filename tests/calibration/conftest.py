"""Points on rings, for tests of what is made of them."""

from __future__ import annotations

import numpy as np
import pytest

from midas import Geometry
from midas.calibration.points import RingPoints

GEOMETRY = Geometry(distance=3e5, beam_center=(255.3, 258.1), pixel_size=200, wavelength=0.2, distortion_radius=7.4e4)
TWO_THETA = np.linspace(3.0, 8.0, 8)


def _ring_points(
    geometry: Geometry = GEOMETRY,
    *,
    noise: float = 0.0,
    seed: int = 7,
    two_theta: np.ndarray = TWO_THETA,
    eta: np.ndarray | None = None,
    outward: np.ndarray | float = 0.0,
) -> RingPoints:
    """Return a point a ring and 5 deg of azimuth, moved outward by `outward` and by noise [px]."""
    eta = np.arange(-177.5, 180.0, 5.0) if eta is None else eta
    ring, step = np.divmod(np.arange(len(two_theta) * len(eta)), len(eta))
    angle = eta[step]
    radius = geometry.radius_of(two_theta[ring]) + outward
    radius = radius + np.random.default_rng(seed).normal(0.0, noise or 1e-9, len(ring))
    y, z = geometry.to_pixel(radius, angle)
    n = len(ring)
    return RingPoints(
        ring=ring.astype(np.int64),
        eta_bin=np.floor((angle + 180.0) / 5.0).astype(np.int64),
        y=y,
        z=z,
        eta=angle,
        radius=radius,
        radius_sigma=np.full(n, noise or 1e-3),
        height=np.full(n, 1000.0),
        fwhm=np.full(n, 3.0),
        mixing=np.full(n, 0.3),
        snr=np.full(n, 50.0),
        chi2=np.ones(n),
        graininess=np.zeros(n),
        tan_two_theta=np.tan(np.radians(two_theta[ring])),
    )


@pytest.fixture
def ring_points():
    """Return a function that makes points on eight rings of a geometry (`GEOMETRY`, unless told)."""
    return _ring_points
