"""Flags that say what diffracts and at which wavelength, shared by subcommands."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from midas.errors import InputError
from midas.units import wavelength_from_energy

if TYPE_CHECKING:
    from midas.crystal import Calibrant


def add_structure_flags(parser: argparse._ArgumentGroup) -> None:
    """Add --calibrant, --space-group with --lattice, and --cif."""
    parser.add_argument(
        "--calibrant", metavar="NAME", help="built-in calibrant by name, such as CeO2 or LaB6 (default: CeO2)"
    )
    parser.add_argument(
        "--space-group", metavar="GROUP", help="number or symbol, with --lattice (default: the calibrant's)"
    )
    parser.add_argument(
        "--lattice",
        type=float,
        nargs="+",
        metavar="V",
        help="a b c [Å] alpha beta gamma [deg]; a alone for cubic groups, a c for tetragonal and hexagonal ones "
        "(default: the calibrant's)",
    )
    parser.add_argument(
        "--cif", type=Path, metavar="FILE", help="CIF file of the structure (default: the calibrant instead)"
    )


def add_wavelength_flags(parser: argparse._ArgumentGroup) -> None:
    """Add --wavelength and --energy, one of them required."""
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--wavelength", type=float, metavar="ANGSTROM", help="wavelength [Å] (required, or --energy)")
    group.add_argument("--energy", type=float, metavar="KEV", help="photon energy [keV] (required, or --wavelength)")


def structure_from(args: argparse.Namespace) -> Calibrant:
    """Return the calibrant that the flags name.

    Raises
    ------
    InputError
        Two ways are mixed, or one is incomplete.
    """
    from midas.crystal import calibrant, calibrant_from_cell, calibrant_from_cif

    by_cell = args.space_group is not None or args.lattice is not None
    ways = [args.calibrant is not None, by_cell, args.cif is not None]
    if sum(ways) > 1:
        raise InputError("--calibrant, --space-group with --lattice, and --cif exclude each other; give one of them")
    if args.cif is not None:
        return calibrant_from_cif(args.cif)
    if by_cell:
        if args.space_group is None or args.lattice is None:
            missing = "--space-group" if args.space_group is None else "--lattice"
            raise InputError(f"{missing} is missing; give --space-group and --lattice together")
        return calibrant_from_cell(args.space_group, args.lattice)
    return calibrant(args.calibrant or "CeO2")


def wavelength_from(args: argparse.Namespace) -> float:
    """Return the wavelength [Å] that the flags give.

    Raises
    ------
    InputError
        The energy is out of range.
    """
    if args.energy is None:
        return float(args.wavelength)
    return wavelength_from_energy(args.energy)
