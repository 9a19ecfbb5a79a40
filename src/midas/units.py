"""Units and their conversions: the one place where a number changes its unit."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from midas.errors import InputError

FloatArray = npt.NDArray[np.float64]

HC_KEV_ANGSTROM = 12.398419843
"""Planck constant times speed of light [keV Å] (CODATA 2018, exact since the 2019 SI)."""

ENERGY_RANGE = (1.2, 1300.0)
"""Photon energies that diffract from crystals and reach a detector [keV]."""
UM_PER_MM = 1000.0
UM_PER_M = 1e6
UM_PER_UNIT = {
    "m": UM_PER_M, "cm": 1e4, "mm": UM_PER_MM, "um": 1.0, "µm": 1.0, "μm": 1.0, "micron": 1.0, "microns": 1.0,
    "micrometer": 1.0, "micrometre": 1.0, "meter": UM_PER_M, "metre": UM_PER_M, "meters": UM_PER_M,
    "millimeter": UM_PER_MM, "millimetre": UM_PER_MM,
}  # fmt: skip
"""Micrometres in a unit of length, by the names that files give it, in lower case."""
ANGSTROM_PER_UNIT = {
    "a": 1.0, "å": 1.0, "angstrom": 1.0, "angstroms": 1.0, "ang": 1.0, "nm": 10.0, "pm": 0.01, "m": 1e10,
}  # fmt: skip
"""Ångströms in a unit of wavelength, by the names that files give it, in lower case."""
KEV_PER_UNIT = {"kev": 1.0, "ev": 1e-3, "mev": 1e3}
"""keV in a unit of energy, by the names that files give it, in lower case."""
SECONDS_PER_UNIT = {
    "s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9, "min": 60.0,
}  # fmt: skip
"""Seconds in a unit of time, by the names that files give it, in lower case."""
MPA_PER_UNIT = {
    "pa": 1e-6, "kpa": 1e-3, "mpa": 1.0, "gpa": 1e3, "bar": 0.1, "mbar": 1e-4, "atm": 0.101325, "torr": 133.322368e-6,
}  # fmt: skip
"""MPa, GSAS-II's unit of pressure, in others, by the names that files give them, in lower case."""
CENTIDEGREE = 0.01
"""GSAS-II's unit of peak width [deg]."""
_ZERO_CELSIUS = 273.15  # K


def wavelength_from_energy(energy: float) -> float:
    """Return the wavelength [Å] of photons of an energy [keV].

    Raises
    ------
    InputError
        The energy is not between 1.2 and 1300 keV; the message says which unit it looks like.

    Examples
    --------
    >>> round(wavelength_from_energy(80.725), 6)
    0.153588
    """
    low, high = ENERGY_RANGE
    if not low <= energy <= high:
        looks = " looks like eV" if energy > high else " looks like a wavelength in Å" if energy > 0.0 else ""
        raise InputError(f"energy {energy:g}{looks}; midas takes keV, between {low:g} and {high:g}")
    return HC_KEV_ANGSTROM / energy


def energy_from_wavelength(wavelength: float) -> float:
    """Return the photon energy [keV] for a wavelength [Å].

    Examples
    --------
    >>> round(energy_from_wavelength(1.0), 4)
    12.3984
    """
    return HC_KEV_ANGSTROM / wavelength


def degrees_of(values: FloatArray, unit: str) -> FloatArray | None:
    """Return angles in degrees from a unit, in lower case; empty is degrees, None comes of one that is unknown.

    Examples
    --------
    >>> degrees_of(np.array([math.pi]), "rad").tolist(), degrees_of(np.array([1.0]), "px")
    ([180.0], None)
    """
    if unit in ("", "deg", "degs", "degree", "degrees", "°", "º"):
        return values
    return np.degrees(values) if unit in ("rad", "radian", "radians") else None


def kelvin_of(values: FloatArray, unit: str) -> FloatArray | None:
    """Return temperatures in K from a unit, in lower case; empty is K, None comes of one that is unknown.

    Examples
    --------
    >>> kelvin_of(np.array([20.0]), "degc").tolist()
    [293.15]
    """
    if unit in ("", "k", "kelvin", "kelvins"):
        return values
    celsius = ("c", "°c", "ºc", "degc", "deg c", "deg_c", "celsius", "degree_celsius", "degrees celsius")
    return values + _ZERO_CELSIUS if unit in celsius else None


def q_from_two_theta(two_theta: float, wavelength: float) -> float:
    """Return the scattering vector length q = 4π sin(θ)/λ [Å⁻¹] for 2θ [deg] and λ [Å].

    Examples
    --------
    >>> round(q_from_two_theta(60.0, 1.0), 6)
    6.283185
    """
    return 4.0 * math.pi * math.sin(math.radians(two_theta) / 2.0) / wavelength


def two_theta_from_d(d_spacing: float, wavelength: float) -> float:
    """Return Bragg's 2θ [deg] for a lattice spacing [Å] and λ [Å]; NaN where λ > 2d.

    Examples
    --------
    >>> round(two_theta_from_d(1.0, 1.0), 6)
    60.0
    """
    s = wavelength / (2.0 * d_spacing)
    return math.nan if s > 1.0 else math.degrees(2.0 * math.asin(s))
