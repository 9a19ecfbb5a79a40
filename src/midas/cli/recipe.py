"""The options that say which parameters are refined, and the stages they stand for."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from midas.errors import InputError

if TYPE_CHECKING:
    from midas.refine import Stage

_log = logging.getLogger(__name__)


def add_recipe(parser: argparse._ActionsContainer) -> None:
    """Add the options that say which parameters are refined."""
    parser.add_argument(
        "--bkg-terms", type=background_terms, default=6, metavar="N",
        help="background terms, or auto: as many as the data ask for (default: 6)",
    )  # fmt: skip
    parser.add_argument("--no-atoms", action="store_true", help="leave coordinates and displacements as in the CIF")
    parser.add_argument(
        "--stages", type=Path, metavar="FILE", help="recipe: JSON, a list of stages (default: the manual's recipe)"
    )
    parser.add_argument(
        "--print-stages", action="store_true", help="print the recipe as JSON, to be changed and given to --stages; end"
    )
    parser.add_argument(
        "--broadening", choices=["instrument", "sample"], default="instrument",
        help="which widths are refined: the instrument's, or the sample's size and microstrain (default: instrument)",
    )  # fmt: skip
    parser.add_argument(
        "--texture", choices=["march", "sh"],
        help="refine preferred orientation at the end: March-Dollase or spherical harmonics (default: none)",
    )  # fmt: skip
    parser.add_argument(
        "--texture-axis", type=int, nargs=3, metavar=("H", "K", "L"),
        help="h k l of March-Dollase (default: 0 0 1)",
    )  # fmt: skip
    parser.add_argument("--texture-order", type=int, metavar="N", help="of the spherical harmonics, even (default: 4)")


def print_recipe(args: argparse.Namespace) -> None:
    """Print the stages that the arguments ask for as JSON, which `--stages` takes."""
    from midas.refine.stages import stages_to_data

    print(json.dumps(stages_to_data(recipe(args)), indent=1))


def warn_of_empty_pictures(args: argparse.Namespace) -> None:
    """Say that there will be no picture of a histogram, where both options are given that rule each other out."""
    if args.plots and args.no_export:
        _log.warning("--no-export leaves no data of single histograms to draw: --plots draws the scan as a whole only")


def background_terms(text: str) -> int | str:
    """Return the number of background terms, or "auto"."""
    if text == "auto":
        return text
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of terms; expected 1 to 36, or auto") from None


def recipe(args: argparse.Namespace) -> tuple[Stage, ...]:
    """Return the stages that the arguments ask for."""
    from midas.refine.stages import default_stages, read_stages

    for flag, value, kind in (("axis", args.texture_axis, "march"), ("order", args.texture_order, "sh")):
        if value is not None and args.texture != kind:
            raise InputError(f"--texture-{flag} is of --texture {kind}; add that, or leave it out")
    if args.stages is None:
        return default_stages(
            refine_atoms=not args.no_atoms,
            broadening=args.broadening,
            texture="harmonics" if args.texture == "sh" else args.texture,
            texture_axis=(0, 0, 1) if args.texture_axis is None else args.texture_axis,
            texture_order=4 if args.texture_order is None else args.texture_order,
        )
    if args.no_atoms or args.texture or args.broadening != "instrument":
        raise InputError(
            f"--stages {args.stages} is the whole recipe; leave out --no-atoms, --texture and --broadening, "
            "or put what they stand for into the file"
        )
    return read_stages(args.stages)
