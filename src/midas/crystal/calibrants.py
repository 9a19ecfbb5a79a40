"""Calibrants: what a known powder is made of, with the source of every cell."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from midas.errors import FormatError, InputError
from midas.shown import html_table

_Cell = tuple[float, float, float, float, float, float]
LAMELLAR = "lamellar"
"""Space group of a layered material that shows (00l) rings only; its cell is (inf, inf, spacing, 90, 90, 90)."""


@dataclass(frozen=True)
class Site:
    """One atom of the asymmetric unit."""

    element: str
    """Chemical symbol, neutral atom."""
    x: float
    """Fractional coordinate."""
    y: float
    """Fractional coordinate."""
    z: float
    """Fractional coordinate."""
    u_iso: float
    """Isotropic mean-square displacement [Å²]."""
    occupancy: float = 1.0
    """Share of the site that is filled, 0 to 1."""


@dataclass(frozen=True)
class Calibrant:
    """A powder of known structure. Change one with `dataclasses.replace`, for instance its cell.

    Raises
    ------
    InputError
        The space group is unknown, or the cell is impossible or does not fit the space group.

    Examples
    --------
    >>> from dataclasses import replace
    >>> replace(calibrant("CeO2"), cell=(5.4115, 5.4115, 5.4115, 90, 90, 90)).cell[0]
    5.4115
    """

    name: str
    """What people call it."""
    space_group: str
    """Hermann-Mauguin symbol with its setting ("R -3 c:H"), or "lamellar" for (00l) spacings only."""
    cell: tuple[float, float, float, float, float, float]
    """a, b, c [Å], alpha, beta, gamma [deg]."""
    sites: tuple[Site, ...] = ()
    """Atoms of the asymmetric unit; empty when unknown, and then rings have no intensity."""
    citation: str = ""
    """Where cell and atoms come from."""
    uncertainty: float | None = None
    """Of the cell, as a share of it, so of every distance found with it; None when unknown."""

    def __post_init__(self) -> None:
        """Check the cell against the space group."""
        try:
            cell = tuple(float(v) for v in self.cell)
        except (TypeError, ValueError):
            cell = ()
        if len(cell) != 6:
            raise InputError(f"the cell is {self.cell!r}; expected six numbers: a b c [Å] alpha beta gamma [deg]")
        object.__setattr__(self, "cell", cell)
        object.__setattr__(self, "sites", tuple(self.sites))
        if self.is_lamellar:
            if not 1.0 < cell[2] < 1e4:
                raise InputError(f"the layer spacing is {cell[2]:g} Å; expected between 1 and 10000")
            return
        if not all(1.5 < v < 1000.0 for v in cell[:3]):
            hint = " (it looks like nm)" if min(cell[:3]) > 0.1 and max(cell[:3]) < 3.0 else ""
            raise InputError(f"lattice constants are {cell[:3]}{hint}; midas takes Å, between 1.5 and 1000")
        if not all(1.0 < v < 179.0 for v in cell[3:]):
            raise InputError(f"cell angles are {cell[3:]}; expected degrees, between 1 and 179")
        unit_cell = gemmi_cell(self)
        if not unit_cell.volume > 0.0:
            raise InputError(f"the cell {cell} has no volume; check its angles")
        if not unit_cell.is_compatible_with_spacegroup(find_space_group(self.space_group), eps=1e-3):
            raise InputError(f"the cell {cell} does not fit space group {self.space_group}; check both")

    @property
    def is_lamellar(self) -> bool:
        """True for a layered material with (00l) rings only."""
        return self.space_group == LAMELLAR

    @property
    def space_group_number(self) -> int | None:
        """Number in International Tables, 1 to 230; None for a lamellar calibrant."""
        return None if self.is_lamellar else int(find_space_group(self.space_group).number)

    def _repr_html_(self) -> str:
        """Return a table for notebooks."""
        a, b, c, *angles = self.cell
        rows = {
            "space group": self.space_group,
            "cell": f"{a:.6g} {b:.6g} {c:.6g} Å, {' '.join(f'{angle:g}' for angle in angles)} deg",
            "atoms": ", ".join(f"{s.element} ({s.x:.4g} {s.y:.4g} {s.z:.4g})" for s in self.sites) or "unknown",
            "from": self.citation or "unknown",
        }
        return html_table(self.name, rows)


def find_space_group(space_group: int | str) -> Any:
    """Return gemmi's space group for a number (1 to 230) or Hermann-Mauguin symbol.

    A bare number or symbol means gemmi's first setting: hexagonal axes for rhombohedral groups.

    Raises
    ------
    InputError
        There is no such space group.

    Examples
    --------
    >>> find_space_group("Fm-3m").number
    225
    """
    import gemmi

    text = str(space_group).strip()
    if text.isdigit():
        number = int(text)
        if not 1 <= number <= 230:
            raise InputError(f"space group {number} does not exist; expected 1 to 230")
        return gemmi.find_spacegroup_by_number(number)
    found = gemmi.find_spacegroup_by_name(text)
    if found is None:
        raise InputError(f"space group {text!r} is unknown; expected a number 1 to 230 or a symbol such as 'F m -3 m'")
    return found


def gemmi_cell(calibrant: Calibrant) -> Any:
    """Return gemmi's unit cell of a calibrant that is not lamellar.

    Examples
    --------
    >>> round(gemmi_cell(calibrant("Si")).volume, 3)
    160.204
    """
    import gemmi

    return gemmi.UnitCell(*calibrant.cell)


def _cubic(a: float) -> _Cell:
    return (a, a, a, 90.0, 90.0, 90.0)


def _hexagonal(a: float, c: float) -> _Cell:
    return (a, a, c, 90.0, 90.0, 120.0)


def _tetragonal(a: float, c: float) -> _Cell:
    return (a, a, c, 90.0, 90.0, 90.0)


# Displacements are room-temperature literature values; they set relative intensities only, never ring positions.
# Uncertainties: the certificate's standard uncertainty where it is known, else by how much the sources named disagree.
# Of SRM 674b no certificate was at hand: its values are those of pyFAI (calibration/*.D) and GSAS-II, compared with the
# older SRM 674 in International Tables C (2006), table 5.2.11.1. Intensities of CeO2, LaB6, Al2O3, Cr2O3, TiO2, ZnO, Ni
# and Au agree with the ones listed in pyFAI's files.
_BUILT_IN: dict[str, tuple[str, _Cell, tuple[Site, ...], str, float | None]] = {
    "CeO2": (
        "F m -3 m",
        _cubic(5.41165),
        (Site("Ce", 0.0, 0.0, 0.0, 0.0034), Site("O", 0.25, 0.25, 0.25, 0.0060)),
        "NIST SRM 674b certificate: a = 5.41165 Å; fluorite structure",
        3e-5,
    ),
    "LaB6": (
        "P m -3 m",
        _cubic(4.156826),
        (Site("La", 0.0, 0.0, 0.0, 0.0055), Site("B", 0.19927, 0.5, 0.5, 0.0045)),
        "NIST SRM 660c certificate: a = 4.156826(40) Å at 22.5 deg C",
        1e-5,
    ),
    "Si": (
        "F d -3 m:1",
        _cubic(5.431144),
        (Site("Si", 0.0, 0.0, 0.0, 0.0058),),
        "NIST SRM 640f certificate: a = 5.431144 Å at 22.5 deg C",
        1e-5,
    ),
    "Al2O3": (
        "R -3 c:H",
        _hexagonal(4.759091, 12.991779),
        (Site("Al", 0.0, 0.0, 0.35216, 0.0033), Site("O", 0.30624, 0.0, 0.25, 0.0038)),
        "NIST SRM 676a certificate: a = 4.759091, c = 12.991779 Å (a later issue of it: 4.759355, 12.99231); "
        "atoms: Lewis et al., Acta Cryst. A38 (1982) 733",
        6e-5,
    ),
    "Cr2O3": (
        "R -3 c:H",
        _hexagonal(4.958979, 13.59592),
        (Site("Cr", 0.0, 0.0, 0.34751, 0.0030), Site("O", 0.3058, 0.0, 0.25, 0.0045)),
        "NIST SRM 674b as listed by pyFAI and Dawn; atoms: Newnham, de Haan, Z. Kristallogr. 117 (1962) 235",
        6e-5,
    ),
    "TiO2": (
        "P 42/m n m",
        _tetragonal(4.593927, 2.958875),
        (Site("Ti", 0.0, 0.0, 0.0, 0.0060), Site("O", 0.3049, 0.3049, 0.0, 0.0055)),
        "Rutile: NIST SRM 674b as listed by pyFAI (SRM 674: 4.59365, 2.95874); "
        "atoms: Burdett et al., J. Am. Chem. Soc. 109 (1987) 3639",
        6e-5,
    ),
    "Ni": (
        "F m -3 m",
        _cubic(3.5238),
        (Site("Ni", 0.0, 0.0, 0.0, 0.0046),),
        "Swanson, Tatge, NBS Circular 539 vol. I (1953) 13: a = 3.5238 Å at 25 deg C; Taylor, "
        "J. Inst. Met. 77 (1950) 585: 3.5239; GSAS-II: 3.52475; not a certified standard",
        3e-4,
    ),
    "Au": (
        "F m -3 m",
        _cubic(4.0786),
        (Site("Au", 0.0, 0.0, 0.0, 0.0079),),
        "Swanson, Tatge, NBS Circular 539 vol. I (1953) 33: a = 4.0786 Å at 26 deg C; Maeland, Flanagan, "
        "Can. J. Phys. 42 (1964) 2364: 4.0782; not a certified standard",
        1e-4,
    ),
    "AgBehenate": (
        LAMELLAR,
        (math.inf, math.inf, 58.380, 90.0, 90.0, 90.0),
        (),
        "Silver behenate: Huang, Toraya, Blanton, Wu, J. Appl. Cryst. 26 (1993) 180: d(001) = 58.380(3) Å",
        5e-5,
    ),
    "Y2O3": (
        "I a -3",
        _cubic(10.604),
        (
            Site("Y", 0.25, 0.25, 0.25, 0.0041),
            Site("Y", -0.0327, 0.0, 0.25, 0.0040),
            Site("O", 0.3907, 0.1520, 0.3804, 0.0055),
        ),
        "Paton, Maslen, Acta Cryst. 19 (1965) 307: a = 10.604 Å; Maslen, Streltsov, Ishizawa, "
        "Acta Cryst. B52 (1996) 414: 10.5981(7); not a certified standard",
        6e-4,
    ),
    "ZnO": (
        "P 63 m c",
        _hexagonal(3.249897, 5.20653),
        (Site("Zn", 1.0 / 3.0, 2.0 / 3.0, 0.0, 0.0080), Site("O", 1.0 / 3.0, 2.0 / 3.0, 0.3825, 0.0080)),
        "NIST SRM 674b as listed by pyFAI (SRM 674: 3.24981, 5.20653); "
        "atoms: Kihara, Donnay, Can. Mineral. 23 (1985) 647",
        3e-5,
    ),
}

CALIBRANT_NAMES: tuple[str, ...] = tuple(_BUILT_IN)
"""Names of the built-in calibrants."""
_BY_KEY = {name.lower(): name for name in CALIBRANT_NAMES} | {"agbh": "AgBehenate"}


def calibrant(name: str) -> Calibrant:
    """Return a built-in calibrant by name, whatever the case of its letters.

    Cells are those of the certificates, where there is one: the calibrant's `citation` says which.

    Raises
    ------
    InputError
        The name is unknown; the message names the nearest one.

    Examples
    --------
    >>> calibrant("ceo2").cell[0]
    5.41165
    """
    key = str(name).strip().lower()
    if key in _BY_KEY:
        known = _BY_KEY[key]
        return Calibrant(known, *_BUILT_IN[known])
    near = difflib.get_close_matches(key, _BY_KEY, n=1, cutoff=0.4)
    hint = f"did you mean {_BY_KEY[near[0]]}? " if near else ""
    raise InputError(
        f"calibrant {name!r} is unknown; {hint}built in are {', '.join(CALIBRANT_NAMES)}; "
        "for others give a space group and a cell, or a CIF file"
    )


def calibrant_from_cell(space_group: int | str, cell: Sequence[float], *, name: str = "custom") -> Calibrant:
    """Return a calibrant of a space group and cell, without atoms: its rings have positions but no intensity.

    Parameters
    ----------
    space_group
        Number (1 to 230) or Hermann-Mauguin symbol, such as "R -3 c:H".
    cell
        a b c [Å] alpha beta gamma [deg], or only a (cubic groups), or a and c (tetragonal, trigonal and hexagonal
        groups). A rhombohedral group with a = b = c and equal angles other than 90 and 120 deg is read in
        rhombohedral axes.
    name
        What to call it; default "custom".

    Raises
    ------
    InputError
        The space group is unknown or the cell does not fit it.

    Examples
    --------
    >>> calibrant_from_cell(225, [5.41165]).cell
    (5.41165, 5.41165, 5.41165, 90.0, 90.0, 90.0)
    """
    group = find_space_group(space_group)
    try:
        values = [float(v) for v in cell]
    except (TypeError, ValueError):
        raise InputError(f"the cell is {cell!r}; expected numbers: a b c [Å] alpha beta gamma [deg]") from None
    full = _complete_cell(values, group.crystal_system_str(), space_group)
    symbol = str(group.xhm())
    if symbol.endswith(":H") and full[0] == full[1] == full[2] and full[3] == full[4] == full[5]:
        symbol = symbol[:-1] + "R"
    return Calibrant(name, symbol, full)


def _complete_cell(values: list[float], system: str, space_group: int | str) -> _Cell:
    if len(values) == 1 and system == "cubic":
        return _cubic(values[0])
    if len(values) == 2 and system == "tetragonal":
        return _tetragonal(values[0], values[1])
    if len(values) == 2 and system in ("trigonal", "hexagonal"):
        return _hexagonal(values[0], values[1])
    if len(values) != 6:
        raise InputError(
            f"the cell {values} has {len(values)} numbers, not enough for the {system} space group {space_group}; "
            "expected a b c [Å] alpha beta gamma [deg]"
        )
    return (values[0], values[1], values[2], values[3], values[4], values[5])


def calibrant_from_cif(path: str | Path) -> Calibrant:
    """Return the calibrant that a CIF file describes (its first block with a cell).

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    FormatError
        The file is missing, is not CIF, or holds no cell, space group or atoms.

    Examples
    --------
    >>> import tempfile
    >>> from midas.testing import cif_file
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     calibrant_from_cif(cif_file(f"{folder}/LaB6.cif", "LaB6")).space_group
    'P m -3 m'
    """
    import gemmi

    path = Path(path)
    if not path.is_file():
        raise FormatError(f"{path}: no such file; expected a CIF of the calibrant's structure")
    try:
        document = gemmi.cif.read(str(path))
    except (ValueError, RuntimeError) as error:
        raise FormatError(f"{path}: not a readable CIF ({error})") from error
    for block in document:
        structure = gemmi.make_small_structure_from_block(block)
        if structure.cell.is_crystal():
            return _from_small_structure(structure, path)
    raise FormatError(f"{path}: no data block with a unit cell; expected _cell_length_a and the like")


def _from_small_structure(structure: Any, path: Path) -> Calibrant:
    group = structure.spacegroup
    if group is None:
        raise FormatError(f"{path}: no known space group; expected _space_group_name_H-M_alt or symmetry operators")
    if not structure.sites:
        raise FormatError(f"{path}: no atoms; expected an _atom_site loop")
    sites = tuple(
        Site(s.element.name, s.fract.x, s.fract.y, s.fract.z, _u_iso(structure.cell, s), s.occ) for s in structure.sites
    )
    name = structure.name or path.stem
    return Calibrant(name, group.xhm(), tuple(structure.cell.parameters), sites, f"CIF file {path.name}")


def _u_iso(cell: Any, site: Any) -> float:
    # Equivalent isotropic displacement of an anisotropic one: a third of the trace.
    return float(cell.calculate_u_eq(site.aniso)) if site.aniso.nonzero() else float(site.u_iso)
