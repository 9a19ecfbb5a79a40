"""The axes of a powder pattern: radius on the detector, 2θ, q and d, and the way from each to another."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from midas.errors import InputError
from midas.geometry import FloatArray, Geometry

UNITS = ("2theta", "q", "d", "px")
"""Axes a picture or a pattern can have: 2θ [deg], q [Å⁻¹], d [Å], radius [px]."""

_LARGEST_TWO_THETA = 90.0  # deg: from here on a ray never meets a plane across the beam


class RadialAxes:
    """Bin centres and bin edges in every unit, for a result that has both in px and a geometry."""

    radius: FloatArray
    radius_edges: FloatArray
    geometry: Geometry

    @property
    def two_theta(self) -> FloatArray:
        """2θ of the bin centres, shape (n_radius,) [deg]."""
        return self.axis("2theta")

    @property
    def q(self) -> FloatArray:
        """4π sin(θ)/λ of the bin centres, shape (n_radius,) [Å⁻¹]."""
        return self.axis("q")

    @property
    def d_spacing(self) -> FloatArray:
        """λ/(2 sin θ) of the bin centres, shape (n_radius,) [Å]; infinite on the beam."""
        return self.axis("d")

    def axis(self, unit: str) -> FloatArray:
        """Return the bin centres in a unit, shape (n_radius,): "2theta" [deg], "q" [Å⁻¹], "d" [Å] or "px"."""
        return axis_of_radius(self.radius, unit, self.geometry)

    def edges(self, unit: str) -> FloatArray:
        """Return the bin edges in a unit, shape (n_radius + 1,), in the order of the bins: "d" descends from infinity.

        Units as in `axis`. Bins share their edges: bin i lies between edges i and i + 1.
        """
        return axis_of_radius(self.radius_edges, unit, self.geometry)


def axis_of_radius(radius: npt.ArrayLike, unit: str, geometry: Geometry) -> FloatArray:
    """Return radii [px] in a unit: "2theta" [deg], "q" [Å⁻¹], "d" [Å] (infinite on the beam) or "px".

    Raises
    ------
    InputError
        The unit is unknown.

    Examples
    --------
    >>> g = Geometry(distance=1e6, beam_center=(0, 0), pixel_size=200, wavelength=0.18)
    >>> axis_of_radius([0, 500], "2theta", g).round(4).tolist()
    [0.0, 5.7106]
    >>> axis_of_radius([0, 500], "d", g).round(4).tolist()
    [inf, 1.8067]
    """
    if unit not in UNITS:
        raise InputError(f"unit is {unit!r}; expected one of {', '.join(UNITS)}")
    if unit == "px":
        return np.asarray(radius, dtype=np.float64)
    two_theta = geometry.two_theta_of(radius)
    if unit == "2theta":
        return two_theta
    q = np.asarray(4.0 * np.pi * np.sin(np.radians(two_theta) / 2.0) / geometry.wavelength)
    if unit == "q":
        return q
    with np.errstate(divide="ignore"):
        return np.asarray(2.0 * np.pi / q)


def radius_of_axis(values: npt.ArrayLike, unit: str, geometry: Geometry) -> FloatArray:
    """Return the radius [px] of ascending values in px, 2θ [deg] or q [Å⁻¹]: the inverse of `axis_of_radius`.

    R = (L/px) tan(2θ), for q with 2θ = 2 asin(qλ/4π), from q = 4π sinθ/λ.

    Raises
    ------
    InputError
        The last value reaches 2θ = 90 deg.

    Examples
    --------
    >>> g = Geometry(distance=1e6, beam_center=(0, 0), pixel_size=200, wavelength=0.18)
    >>> radius_of_axis([0, 45], "2theta", g).round(6).tolist()
    [0.0, 5000.0]
    """
    positions = np.asarray(values, dtype=np.float64)
    if unit == "px":
        return positions
    if unit == "2theta":
        check_two_theta(float(positions[-1]))
        return geometry.radius_of(positions)
    sine = positions * geometry.wavelength / (4.0 * np.pi)
    two_theta = np.degrees(2.0 * np.arcsin(np.clip(sine, 0.0, 1.0)))
    if sine[-1] > 1.0 or two_theta[-1] >= _LARGEST_TWO_THETA:
        raise InputError(
            f"q reaches {positions[-1]:g} Å⁻¹, beyond 2theta = 90 deg at wavelength {geometry.wavelength:g} Å; "
            "lower the last edge (radius_max)"
        )
    return geometry.radius_of(two_theta)


def check_two_theta(two_theta: float) -> None:
    """Raise InputError where bins end at a 2θ [deg] that has no radius on a detector across the beam."""
    if two_theta >= _LARGEST_TWO_THETA:
        raise InputError(
            f"2theta reaches {two_theta:g} deg; expected less than 90 deg, where rings have a radius on the "
            "detector; lower the last edge (radius_max)"
        )
