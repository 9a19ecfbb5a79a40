"""Powder patterns computed without any refinement program: gemmi's structure factors, profiles written out here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import gemmi
import numpy as np

from midas.units import HC_KEV_ANGSTROM

CEO2_CIF = """data_CeO2
_cell_length_a {a}
_cell_length_b {a}
_cell_length_c {a}
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'F m -3 m'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
_atom_site_U_iso_or_equiv
Ce Ce 0 0 0 1 0.003
O O 0.25 0.25 0.25 1 0.005
"""

SI_CIF = """data_Si
_cell_length_a {a}
_cell_length_b {a}
_cell_length_c {a}
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'F d -3 m :2'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
_atom_site_U_iso_or_equiv
Si Si 0.125 0.125 0.125 1 0.006
"""


LAB6_CIF = """data_LaB6
_cell_length_a {a}
_cell_length_b {a}
_cell_length_c {a}
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P m -3 m'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
_atom_site_U_iso_or_equiv
La La 0 0 0 1 0.005
B B 0.1997 0.5 0.5 1 0.005
"""


def write_cif(path: Path, text: str, a: float) -> Path:
    path.write_text(text.format(a=a), encoding="utf-8")
    return path


@dataclass(frozen=True)
class Profile:
    """Widths in centidegrees, as in the files."""

    u: float = 5.0
    v: float = -1.0
    w: float = 4.0
    x: float = 1.0
    y: float = 3.0
    sh_l: float = 0.002


def reflections(cif: str, wavelength: float, two_theta_max: float, eta: float) -> list[tuple[float, float]]:
    """Return 2θ [deg] and intensity of each powder line: multiplicity, |F|², Lorentz and polarization factors, 1 / V.

    The intensity is that of one unit cell, so that a mixture weighs it with weight fraction over mass of the cell.
    """
    structure = gemmi.make_small_structure_from_block(gemmi.cif.read_string(cif).sole_block())
    structure.change_occupancies_to_crystallographic()
    elements = {site.element.name: site.element for site in structure.sites}.values()
    energy = 1000.0 * HC_KEV_ANGSTROM / wavelength
    real, both = (gemmi.StructureFactorCalculatorX(structure.cell) for _ in range(2))
    for element in elements:
        f_prime, f_second = gemmi.cromer_liberman(z=element.atomic_number, energy=energy)
        real.addends.set(element, f_prime)
        both.addends.set(element, f_prime + f_second)  # the difference is the part of f'' alone
    group = gemmi.SpaceGroup(structure.spacegroup_hm)
    operations = group.operations().sym_ops
    d_min = wavelength / (2.0 * np.sin(np.radians(two_theta_max) / 2.0))
    lines: dict[float, float] = {}
    for miller in gemmi.make_miller_array(structure.cell, group, d_min):
        hkl = [int(i) for i in miller]
        scattered = real.calculate_sf_from_small_structure(structure, hkl)
        factor = abs(scattered + 1j * (both.calculate_sf_from_small_structure(structure, hkl) - scattered)) ** 2
        if factor < 1e-6:
            continue
        theta = np.arcsin(wavelength / (2 * structure.cell.calculate_d(hkl)))
        seen = {tuple(op.apply_to_hkl(hkl)) for op in operations}
        multiplicity = len(seen | {tuple(-np.array(h)) for h in seen})
        key = round(float(np.degrees(2 * theta)), 9)
        intensity = multiplicity * factor * lorentz_polarization(theta, eta) / structure.cell.volume
        lines[key] = lines.get(key, 0.0) + intensity
    return sorted(lines.items())


def lorentz_polarization(theta: float, eta: float, polarization: float = 0.99) -> float:
    """Return 1 / (sin²θ cosθ) times the polarization factor of a beam whose field is horizontal: eta ±90 loses most."""
    lost = polarization * np.sin(np.radians(eta)) ** 2 + (1.0 - polarization) * np.cos(np.radians(eta)) ** 2
    return float((1.0 - lost * np.sin(2 * theta) ** 2) / (np.sin(theta) ** 2 * np.cos(theta)))


def cell_mass(cif: str) -> float:
    """Return the mass of a unit cell [u]."""
    structure = gemmi.make_small_structure_from_block(gemmi.cif.read_string(cif).sole_block())
    return sum(site.occ * site.element.weight for site in structure.get_all_unit_cell_sites())


def axial_divergence(centre: float, sh_l: float, n: int = 12) -> list[tuple[float, float]]:
    """Return places [deg] and shares of a line smeared by axial divergence, S = H.

    Finger, Cox and Jephcoat, J. Appl. Cryst. 27 (1994) 892: height h on the detector counts with S + H - h and puts the
    line at cos(2phi) = cos(2theta) sqrt(1 + h²).
    """
    h = (np.arange(n) + 0.5) * sh_l / n
    share = (sh_l - h) / np.sum(sh_l - h)
    places = np.degrees(np.arccos(np.cos(np.radians(centre)) * np.sqrt(1.0 + h**2)))
    return list(zip(places.tolist(), share.tolist(), strict=True))


def pattern(
    cif: str, two_theta: np.ndarray, wavelength: float, *, eta: float = 0.0, profile: Profile = Profile()
) -> np.ndarray:
    """Return the pattern of one phase, Thompson-Cox-Hastings pseudo-Voigt peaks, its strongest point 1."""
    y = cell_pattern(cif, two_theta, wavelength, eta=eta, profile=profile)
    return y / y.max()


def mixture(
    parts: list[tuple[str, float]],
    two_theta: np.ndarray,
    wavelength: float,
    *,
    eta: float = 0.0,
    profile: Profile = Profile(),
) -> np.ndarray:
    """Return the pattern of phases given as (CIF, weight fraction), its strongest point 1."""
    y = sum(
        share / cell_mass(cif) * cell_pattern(cif, two_theta, wavelength, eta=eta, profile=profile)
        for cif, share in parts
    )
    return y / np.max(y)


def cell_pattern(
    cif: str, two_theta: np.ndarray, wavelength: float, *, eta: float = 0.0, profile: Profile = Profile()
) -> np.ndarray:
    """Return the pattern of one unit cell on an arbitrary scale."""
    y = np.zeros_like(two_theta)
    for centre, intensity in reflections(cif, wavelength, float(two_theta.max()) + 1.0, eta):
        t = np.radians(centre / 2.0)
        gauss = np.sqrt(8 * np.log(2) * (profile.u * np.tan(t) ** 2 + profile.v * np.tan(t) + profile.w)) / 100.0
        lorentz = (profile.x / np.cos(t) + profile.y * np.tan(t)) / 100.0
        terms = [gauss**5, 2.69269 * gauss**4 * lorentz, 2.42843 * gauss**3 * lorentz**2]
        terms += [4.47163 * gauss**2 * lorentz**3, 0.07842 * gauss * lorentz**4, lorentz**5]
        fwhm = sum(terms) ** 0.2
        r = lorentz / fwhm
        mix = 1.36603 * r - 0.47719 * r**2 + 0.11116 * r**3
        for place, share in axial_divergence(centre, profile.sh_l):
            z = (two_theta - place) / fwhm
            bell = np.sqrt(4 * np.log(2) / np.pi) * np.exp(-4 * np.log(2) * z**2) / fwhm
            tail = 2.0 / (np.pi * fwhm) / (1.0 + 4.0 * z**2)
            y += intensity * share * ((1 - mix) * bell + mix * tail)
    return y
