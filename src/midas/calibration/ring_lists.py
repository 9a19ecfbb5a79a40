"""As many rings of a calibrant as a step needs: to list all that short wavelengths allow takes seconds."""

from __future__ import annotations

from dataclasses import replace

from midas.crystal import Calibrant, Rings, rings
from midas.errors import InputError
from midas.units import energy_from_wavelength

SEED_TWO_THETA = 80.0
"""No ring further out helps to find the distance [deg]."""
_MOST_RINGS = 60  # of the seed's hypotheses


def innermost_rings(calibrant: Calibrant, wavelength: float) -> Rings:
    """Return the first rings of a calibrant, enough to find any distance.

    Raises
    ------
    InputError
        Fewer than two rings lie within 80 deg.
    """
    limit = 10.0
    while True:
        found = rings(calibrant, wavelength, two_theta_max=limit)
        if len(found) >= _MOST_RINGS or limit >= SEED_TWO_THETA:
            break
        limit = min(1.6 * limit, SEED_TWO_THETA)
    if len(found) < 2:
        raise InputError(
            f"wavelength {wavelength:g} Å ({energy_from_wavelength(wavelength):.3g} keV) leaves {calibrant.name} "
            f"{len(found)} rings within {SEED_TWO_THETA:g} deg, two are needed; midas takes Å: is it an energy in keV?"
        )
    return first_rings(found, _MOST_RINGS)


def first_rings(found: Rings, n: int) -> Rings:
    """Return the first n rings."""
    if len(found) <= n:
        return found
    cut = {
        name: getattr(found, name)[:n]
        for name in ("number", "d_spacing", "two_theta", "q", "hkl", "multiplicity", "intensity")
    }
    kept = found.all_number <= n
    return replace(found, **cut, all_hkl=found.all_hkl[kept], all_number=found.all_number[kept])
