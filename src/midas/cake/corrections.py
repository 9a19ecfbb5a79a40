"""Intensity corrections of each pixel: solid angle and polarization."""

from __future__ import annotations

import numpy as np

from midas.errors import InputError
from midas.geometry import FloatArray, Geometry


def solid_angle_factor(two_theta: FloatArray) -> FloatArray:
    """Return cos³(2θ), the solid angle of a pixel relative to one on the beam; two_theta [deg], any shape.

    The measured intensity is divided by it (SPEC section 5). For a detector perpendicular to the beam.

    Examples
    --------
    >>> round(float(solid_angle_factor(np.array([60.0]))[0]), 6)
    0.125
    """
    return np.asarray(np.cos(np.radians(two_theta)) ** 3)


def polarization_factor(
    two_theta: FloatArray, eta: FloatArray, *, polarization: float = 0.99, axis: float = 90.0
) -> FloatArray:
    """Return 1 - f sin²(2θ) cos²(η - axis), by which the measured intensity is divided.

    A dipole does not radiate along its field: scattering is weakest toward the field, which in a storage ring's beam is
    horizontal, η = ±90 (Kahn et al., J. Appl. Cryst. 15 (1982) 330). SPEC section 5 has the field vertical.

    Parameters
    ----------
    two_theta, eta
        [deg], of one shape.
    polarization
        The fraction f of the beam whose electric field lies along `axis`, 0 to 1.
    axis
        The η of the electric field [deg]: 90 is horizontal.

    Examples
    --------
    >>> polarization_factor(np.array([90.0, 90.0]), np.array([0.0, 90.0]), polarization=1.0).round(9).tolist()
    [1.0, 0.0]
    """
    if not 0.0 <= polarization <= 1.0:
        raise InputError(f"polarization is {polarization:g}; expected a fraction from 0 to 1")
    sine = np.sin(np.radians(two_theta))
    cosine = np.cos(np.radians(np.asarray(eta) - axis))
    return np.asarray(1.0 - polarization * sine**2 * cosine**2)


def pixel_scale(
    geometry: Geometry,
    shape: tuple[int, int],
    *,
    solid_angle: bool = False,
    polarization: float | None = None,
    polarization_axis: float = 90.0,
    n_threads: int = 0,
) -> FloatArray:
    """Return the number that multiplies each pixel's counts, shape (n_z, n_y), float64, in the geometry's frame.

    1 over the product of the factors asked for, at the pixel centres.

    Examples
    --------
    >>> g = Geometry(distance=1e6, beam_center=(1, 1), pixel_size=200, wavelength=0.18)
    >>> bool((pixel_scale(g, (3, 3), solid_angle=True) >= 1.0).all())
    True
    """
    z, y = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float64)
    _, two_theta, eta = geometry.to_polar(y, z, n_threads=n_threads)
    factor = np.ones(shape)
    if solid_angle:
        factor *= solid_angle_factor(two_theta)
    if polarization is not None:
        factor *= polarization_factor(two_theta, eta, polarization=polarization, axis=polarization_axis)
    # A pixel behind the sample is in no bin; its factor only has to be finite.
    return np.divide(1.0, factor, out=np.ones(shape), where=factor > 0.0)
