"""`midas hkls`: the ring list of a calibrant or of any cell."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from midas.cli.structure import add_structure_flags, add_wavelength_flags, structure_from, wavelength_from
from midas.errors import InputError

_ROWS_SHOWN = 40


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "hkls",
        help="list the powder rings of a calibrant",
        description="List the powder rings of a calibrant, of a space group and cell, or of a CIF; with --distance "
        "also write hkls.csv, one row for each reflection.",
        usage="%(prog)s (--wavelength ANGSTROM | --energy KEV) [options]",
        epilog="Example: midas hkls --calibrant LaB6 --energy 60 --distance 1000000",
    )
    add_structure_flags(parser.add_argument_group("what diffracts"))
    add_wavelength_flags(parser.add_argument_group("beam, one of the two"))
    rings = parser.add_argument_group("rings")
    rings.add_argument(
        "--distance",
        type=float,
        metavar="UM",
        help="sample to detector [µm], for the radii of hkls.csv (default: none, and no file)",
    )
    rings.add_argument(
        "--two-theta-max", type=float, default=30.0, metavar="DEG", help="largest 2theta [deg] (default: %(default)s)"
    )
    output = parser.add_argument_group("output")
    output.add_argument("--out", type=Path, metavar="FILE", help="file to write, needs --distance (default: hkls.csv)")
    output.add_argument("--json", action="store_true", help="print the rings as JSON instead of a table")


def run(args: argparse.Namespace) -> int:
    """Print the ring list, write it where the distance is known, and return the exit status."""
    from midas.crystal import rings
    from midas.io.hkls import write_hkls

    if args.out is not None and args.distance is None:
        raise InputError(f"{args.out} cannot be written without the radii; give --distance in µm, or leave out --out")
    found = rings(structure_from(args), wavelength_from(args), two_theta_max=args.two_theta_max)
    path = None if args.distance is None else write_hkls(args.out or Path("hkls.csv"), found, args.distance)
    if args.json:
        print(json.dumps(_as_data(found, path), indent=2))
    else:
        _print_table(found, path)
    return 0


def _as_data(found: Any, path: Path | None) -> dict[str, Any]:
    material = found.calibrant
    rows = zip(
        found.number.tolist(),
        found.hkl.tolist(),
        found.multiplicity.tolist(),
        found.d_spacing.tolist(),
        found.two_theta.tolist(),
        found.q.tolist(),
        found.intensity.tolist(),
        strict=True,
    )
    names = ("number", "hkl", "multiplicity", "d_spacing", "two_theta", "q")
    return {
        "calibrant": material.name,
        "space_group": material.space_group,
        "cell": [v if abs(v) < float("inf") else None for v in material.cell],
        "wavelength": found.wavelength,
        "file": None if path is None else str(path),
        "rings": [{**dict(zip(names, row, strict=False)), "intensity": _or_none(row[-1])} for row in rows],
    }


def _or_none(value: float) -> float | None:
    return value if value == value else None  # JSON has no NaN


def _print_table(found: Any, path: Path | None) -> None:
    material = found.calibrant
    print(f"{material.name} ({material.space_group}), {len(found)} rings at {found.wavelength:.6f} Å")
    if material.citation:
        print(material.citation)
    print(f"{'ring':>5} {'h k l':>10} {'mult':>5} {'d [Å]':>10} {'2theta [deg]':>13} {'q [1/Å]':>10} {'m|F|² [%]':>10}")
    for i in range(min(len(found), _ROWS_SHOWN)):
        hkl = " ".join(str(v) for v in found.hkl[i].tolist())
        strength = "" if found.intensity[i] != found.intensity[i] else f"{100.0 * found.intensity[i]:.2f}"
        print(
            f"{found.number[i]:>5} {hkl:>10} {found.multiplicity[i]:>5} {found.d_spacing[i]:>10.5f} "
            f"{found.two_theta[i]:>13.5f} {found.q[i]:>10.5f} {strength:>10}"
        )
    if len(found) > _ROWS_SHOWN:
        print(f"... and {len(found) - _ROWS_SHOWN} more")
    if path is None:
        print("give --distance to write hkls.csv")
    else:
        print(f"wrote {path} ({len(found.all_hkl)} reflections)")
