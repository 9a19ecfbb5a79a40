"""As many rings of a calibrant as a step needs: to list all that short wavelengths allow takes seconds."""

from __future__ import annotations

import math

from midas.crystal import Calibrants, Rings, rings
from midas.errors import InputError
from midas.units import energy_from_wavelength

SEED_TWO_THETA = 80.0
"""No ring further out helps to find the distance [deg]."""
_MOST_RINGS = 120  # of the seed's hypotheses


def innermost_rings(calibrant: Calibrants, wavelength: float) -> Rings:
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
        # Their number grows about as the square of the limit.
        limit = min(limit * min(1.05 * math.sqrt(_MOST_RINGS / max(len(found), 1)), 4.0), SEED_TWO_THETA)
    if len(found) < 2:
        raise InputError(
            f"wavelength {wavelength:g} Å ({energy_from_wavelength(wavelength):.3g} keV) leaves {found.name} "
            f"{len(found)} rings within {SEED_TWO_THETA:g} deg, two are needed; midas takes Å: is it an energy in keV?"
        )
    return found.first(_MOST_RINGS)
