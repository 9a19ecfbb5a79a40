"""The phases of a refinement: CIF files, checked before anything starts."""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from midas.errors import InputError
from midas.refine.job import PhaseFile

_log = logging.getLogger(__name__)

_SMALLEST_CELL = 1.5  # Å: no crystal has a cell with every edge below that; in nm most have


def check_phases(cif_files: Sequence[str | os.PathLike[str]]) -> tuple[PhaseFile, ...]:
    """Return the phases, named for their files.

    Raises
    ------
    InputError
        A file is missing, twice the same, no CIF, or without a cell, a space group or atoms that can be used.
    """
    files = [cif_files] if isinstance(cif_files, (str, os.PathLike)) else list(cif_files)
    if not files:
        raise InputError("no phase to refine: name at least one CIF file (--cif)")
    phases: list[PhaseFile] = []
    contents: dict[bytes, Path] = {}
    for file in files:
        path = Path(file)
        content = _content(path)
        if content in contents:
            same = "is given twice" if contents[content] == path else f"holds the same as {contents[content]}"
            raise InputError(f"the CIF file {path} {same}; name each phase once: two of the same cannot be told apart")
        contents[content] = path
        structure = _read(path)
        _check_structure(structure, path)
        stem = re.sub(r"[^\w.+-]", "_", path.stem) or "phase"
        taken = [p.name for p in phases]
        name = next(n for n in (stem, *(f"{stem}_{i}" for i in range(2, len(files) + 2))) if n not in taken)
        phases.append(PhaseFile(name, path.resolve(), tuple(structure.cell.parameters)))
    return tuple(phases)


def _content(path: Path) -> bytes:
    if path.is_dir():
        raise InputError(f"{path} is a folder; name the CIF files in it, one for each phase")
    if not path.is_file():
        raise InputError(f"the CIF file {path} does not exist")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"the CIF file {path} cannot be read: {error.strerror}") from error
    if not content.strip():
        raise InputError(f"the CIF file {path} is empty; name the CIF of a structure")
    return content


def _read(path: Path) -> Any:
    import gemmi

    try:
        return gemmi.read_small_structure(str(path))
    except (ValueError, RuntimeError, OSError, IndexError) as error:
        words = (str(error).splitlines() or ["it is damaged"])[0]
        raise InputError(f"{path} cannot be read as CIF: {words}; name the CIF of a structure") from error


def _check_structure(structure: Any, path: Path) -> None:
    import gemmi

    if not structure.sites or not structure.cell.is_crystal():
        raise InputError(f"{path} has no unit cell or no atoms; a refinement needs a CIF of a structure")
    _check_cell(structure.cell, path)
    if gemmi.find_spacegroup_by_name(structure.spacegroup_hm) is None and not structure.symops:
        raise InputError(
            f"{path} has the space group {structure.spacegroup_hm!r}, which is not known; give it in the CIF as in "
            "the International Tables, such as 'F m -3 m'"
        )
    space_group = structure.spacegroup or gemmi.find_spacegroup_by_name(structure.spacegroup_hm)
    if space_group is not None and not structure.cell.is_compatible_with_spacegroup(space_group, eps=1e-3):
        cell = " ".join(f"{v:g}" for v in structure.cell.parameters)
        raise InputError(f"{path}: the cell {cell} does not fit space group {space_group.hm}; check both")
    for site in structure.sites:
        if site.element.atomic_number == 0:
            raise InputError(f"{path}: the element of atom {site.label} is not known; correct the CIF")
        if not all(math.isfinite(v) for v in site.fract.tolist()):
            raise InputError(f"{path}: the coordinates of atom {site.label} are not all numbers; correct the CIF")
        if not site.occ >= 0.0:
            raise InputError(f"{path}: the occupancy of atom {site.label} is {site.occ:g}; expected 0 to 1")
        if site.u_iso < 0.0:
            _log.warning(
                "%s: Uiso of atom %s is %g Å², which is negative and impossible; correct the CIF",
                path, site.label, site.u_iso,
            )  # fmt: skip
    if not any(site.occ > 0.0 for site in structure.sites):
        raise InputError(f"{path}: every atom has the occupancy 0, so that nothing scatters; correct the CIF")


def _check_cell(cell: Any, path: Path) -> None:
    lengths, angles = (cell.a, cell.b, cell.c), (cell.alpha, cell.beta, cell.gamma)
    words = f"{path} has the cell {' '.join(f'{v:g}' for v in (*lengths, *angles))}"
    possible = all(math.isfinite(v) and v > 0.0 for v in lengths) and all(0.0 < v < 180.0 for v in angles)
    if not possible or not (math.isfinite(cell.volume) and cell.volume > 0.0):
        raise InputError(f"{words}; expected three lengths above 0 Å, and angles in deg that close a cell")
    if max(lengths) < _SMALLEST_CELL:
        raise InputError(f"{words}, which looks like nm; a CIF has Å")
