"""Intensity corrections of each pixel: solid angle and polarization."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from midas.checks import number, yes_or_no
from midas.errors import InputError
from midas.geometry import FloatArray, Geometry


def solid_angle_factor(two_theta: FloatArray) -> FloatArray:
    """Return cos³(2θ), the solid angle of a pixel relative to one on the beam; two_theta [deg], any shape.

    The measured intensity is divided by it. For a detector perpendicular to the beam.

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
    horizontal, η = ±90 (Kahn et al., J. Appl. Cryst. 15 (1982) 330). The scripts before had it
    vertical (docs/decisions/horizontal-field.md).

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
    _check_fraction(polarization)
    sine = np.sin(np.radians(two_theta))
    cosine = np.cos(np.radians(np.asarray(eta) - axis))
    return np.asarray(1.0 - polarization * sine**2 * cosine**2)


def _check_fraction(polarization: float) -> None:
    expected = "a fraction from 0 to 1, or None"
    # True would be a beam polarized throughout, which nobody means who only wants the correction.
    if isinstance(polarization, bool | np.bool_) or not 0.0 <= number("polarization", polarization, expected) <= 1.0:
        raise InputError(f"polarization is {polarization}; expected {expected}")


@dataclass(frozen=True)
class Corrections:
    """By what the counts of each pixel are divided, from where the pixel is; the defaults change nothing.

    `solid_angle_factor` and `polarization_factor` (Kahn et al., J. Appl. Cryst. 15 (1982) 330) have the formulas.

    Parameters
    ----------
    solid_angle
        True: divide by cos³(2θ), see `solid_angle_factor`; default False.
    polarization
        Divide by 1 - f sin²(2θ) cos²(η - polarization_axis) with this f, from 0 to 1, see `polarization_factor`;
        default None, which does not.
    polarization_axis
        η of the beam's electric field [deg]; default 90.0, horizontal.

    Raises
    ------
    InputError
        A number is out of range.

    Examples
    --------
    >>> g = Geometry(distance=1e6, beam_center=(1, 1), pixel_size=200, wavelength=0.18)
    >>> bool((Corrections(solid_angle=True).pixel_scale(g, (3, 3)) >= 1.0).all())
    True
    """

    solid_angle: bool = False
    polarization: float | None = None
    polarization_axis: float = 90.0

    def __post_init__(self) -> None:
        """Check the values."""
        yes_or_no("solid_angle", self.solid_angle)
        axis = number("polarization_axis", self.polarization_axis, "a number [deg]")
        if not np.isfinite(axis):
            raise InputError(f"polarization_axis is {axis}; expected a finite number [deg]")
        if self.polarization is not None:
            _check_fraction(self.polarization)

    @property
    def any(self) -> bool:
        """Whether anything is corrected."""
        return self.solid_angle or self.polarization is not None

    def pixel_scale(self, geometry: Geometry, shape: tuple[int, int], *, n_threads: int = 0) -> FloatArray:
        """Return the number that multiplies each pixel's counts, shape (n_z, n_y), float64, in the geometry's frame.

        1 over the product of the factors asked for, at the pixel centres.
        """
        z, y = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float64)
        _, two_theta, eta = geometry.to_polar(y, z, n_threads=n_threads)
        factor = np.ones(shape)
        if self.solid_angle:
            factor *= solid_angle_factor(two_theta)
        if self.polarization is not None:
            factor *= polarization_factor(two_theta, eta, polarization=self.polarization, axis=self.polarization_axis)
        # A pixel behind the sample is in no bin; its factor only has to be finite.
        return np.divide(1.0, factor, out=np.ones(shape), where=factor > 0.0)
