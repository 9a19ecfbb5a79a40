"""What a stage may free: each parameter's name, and for the instrument's also unit, meaning and what people call it.

To add one of the instrument, enter it here, and its name in the engine's program in `gsas2_model.INSTRUMENT`: stages,
table, pictures and the starts from neighbours follow.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class InstrumentParameter:
    """A number that belongs to the pattern as a whole."""

    name: str
    """In stages, results and the table."""
    unit: str
    meaning: str
    """What the column of the table says."""
    label: str
    """In pictures."""

    @property
    def short_unit(self) -> str:
        """The unit as pictures have room for."""
        return self.unit.replace("centidegree", "cdeg")


_GAUSSIAN = "Gaussian variance u tan²θ + v tanθ + w"
_LORENTZIAN = "Lorentzian FWHM x / cosθ + y tanθ + z"
INSTRUMENT_PARAMETERS = (
    InstrumentParameter("u", "centidegree²", _GAUSSIAN, "U"),
    InstrumentParameter("v", "centidegree²", "the same", "V"),
    InstrumentParameter("w", "centidegree²", "the same", "W"),
    InstrumentParameter("x", "centidegree", _LORENTZIAN, "X"),
    InstrumentParameter("y", "centidegree", "the same", "Y"),
    InstrumentParameter("z", "centidegree", "the same", "Z"),
    InstrumentParameter("sh_l", "", "axial divergence (S + H) / L", "(S + H)/L"),
    InstrumentParameter("zero", "deg", "zero of the 2θ axis", "zero of 2θ"),
)
INSTRUMENT_NAMES = tuple(p.name for p in INSTRUMENT_PARAMETERS)
PHASE_PARAMETERS = ("cell", "coordinates", "uiso", "size", "microstrain", "march", "harmonics")
PARAMETERS = ("background", "scale", *INSTRUMENT_NAMES, *PHASE_PARAMETERS)
"""What a stage may free: Chebyshev background, scale factors, the Gaussian widths u, v, w and the Lorentzian widths
x, y, z of the instrument, its axial divergence sh_l and zero; and of each phase (or of one, as "march:CeO2") the cell,
the atoms' coordinates and isotropic displacements, the size of its domains and its microstrain (both isotropic,
Lorentzian), and preferred orientation after March and Dollase or by spherical harmonics."""
