"""`midas simulate`: a powder image with known truth."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from midas.cli.structure import add_structure_flags, add_wavelength_flags, structure_from, wavelength_from

_OPTION_FLAGS = (  # flag, type, meaning; the name of the option is the flag's
    ("peak-counts", float, "counts per pixel at the crest of the strongest ring"),
    ("fwhm", float, "radial width of the rings [px]"),
    ("fwhm-deg", float, "width of the rings in 2theta [deg], instead of --fwhm"),
    ("mixing", float, "Lorentzian share of the profile, 0 to 1"),
    ("polarization", float, "polarization of the beam, 0 to 1"),
    ("background", float, "constant background [counts]"),
    ("falloff", float, "background added at the beam, falling outward [counts]"),
    ("strain", float, "isotropic lattice strain, 0.001 for 1000 microstrain"),
    ("strain-cos2", float, "amplitude of a strain that varies as cos(2 eta)"),
    ("spottiness", float, "share of the rings in single-grain spots, 0 to 1"),
    ("spots-per-ring", float, "mean number of spots on a ring of multiplicity 24"),
    ("texture", float, "amplitude of smooth texture along the rings, 0 to 1"),
    ("beamstop-radius", float, "[px]"),
    ("beamstop-arm", float, "eta of the beamstop's arm [deg]"),
    ("zingers", int, "number of bright specks and tracks"),
    ("threshold", float, "counts below which a pixel reads 0"),
    ("dead-fraction", float, "share of pixels that read 0"),
    ("hot-fraction", float, "share of pixels that read far too much"),
    ("saturation", float, "counts at which pixels saturate"),
)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "simulate",
        help="simulate a calibrant image with known truth",
        description="Simulate the powder image of a calibrant, and write the truth beside it as <image>.truth.json.",
        epilog="example: midas simulate --out ceo2.tif --energy 80 --distance 1000000 --pixel-size 200 --seed 1",
        allow_abbrev=False,
    )
    parser.add_argument("--out", type=Path, required=True, help="image to write: .tif, .npy or .h5")
    add_structure_flags(parser)
    add_wavelength_flags(parser)
    parser.add_argument("--distance", type=float, required=True, help="sample to detector [µm]")
    parser.add_argument("--pixel-size", type=float, required=True, help="[µm]")
    parser.add_argument(
        "--shape", type=int, nargs=2, default=(2048, 2048), metavar=("ROWS", "COLUMNS"), help="default 2048 2048"
    )
    parser.add_argument(
        "--beam-center",
        type=float,
        nargs=2,
        metavar=("Y", "Z"),
        help="column and row of the beam [px] (default middle)",
    )
    parser.add_argument(
        "--tilts", type=float, nargs=3, default=(0.0, 0.0, 0.0), metavar=("TX", "TY", "TZ"), help="[deg], default 0 0 0"
    )
    parser.add_argument(
        "--distortion", nargs="+", default=[], metavar="PN=VALUE", help="distortion parameters, such as p0=1e-4 p2=2e-4"
    )
    parser.add_argument("--distortion-radius", type=float, help="RhoD [µm] (default: beam to the farthest corner)")
    for flag, kind, meaning in _OPTION_FLAGS:
        parser.add_argument(f"--{flag}", type=kind, help=meaning)
    parser.add_argument(
        "--module-shape", type=int, nargs=2, metavar=("ROWS", "COLUMNS"), help="of a tiled detector [px]"
    )
    parser.add_argument("--module-gap", type=int, nargs=2, metavar=("ROWS", "COLUMNS"), help="between modules [px]")
    parser.add_argument("--no-noise", action="store_true", help="write the expected counts, without Poisson noise")
    parser.add_argument(
        "--dtype", default="uint16", help="uint16, uint32, int32, float32 or float64 (default %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers (default %(default)s)")
    parser.add_argument("--threads", type=int, default=0, help="0 takes all (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print the truth as JSON")


def run(args: argparse.Namespace) -> int:
    """Write the image and its truth, and return the exit status."""
    from midas.detector import Detector
    from midas.simulation import check_target, save_simulation, simulate, truth_of

    check_target(args.out)
    simulation = simulate(
        _geometry_from(args),
        Detector(shape=tuple(args.shape), pixel_size=args.pixel_size),
        structure_from(args),
        options=_options_from(args),
        seed=args.seed,
        n_threads=args.threads,
    )
    image, truth = save_simulation(simulation, args.out)
    if args.json:
        print(json.dumps({"image": str(image), "truth": str(truth), **truth_of(simulation)}, indent=2))
    else:
        found = simulation.rings
        print(f"{found.calibrant.name}, {len(found)} rings, {simulation.image.shape} {simulation.image.dtype}")
        print(f"wrote {image} and {truth}")
    return 0


def _geometry_from(args: argparse.Namespace) -> Any:
    from midas.detector import Detector
    from midas.geometry import Geometry

    rows, columns = args.shape
    center = tuple(args.beam_center) if args.beam_center else ((columns - 1) / 2.0, (rows - 1) / 2.0)
    distortion = _distortion_from(args.distortion)
    radius = args.distortion_radius
    if distortion and radius is None:
        radius = Detector((rows, columns), args.pixel_size).farthest_corner(center)
    return Geometry(
        distance=args.distance,
        beam_center=center,
        pixel_size=args.pixel_size,
        wavelength=wavelength_from(args),
        tilts=tuple(args.tilts),
        distortion=distortion,
        distortion_radius=radius,
    )


def _distortion_from(pairs: list[str]) -> dict[str, float]:
    from midas.errors import InputError

    distortion = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        try:
            distortion[name] = float(value)
        except ValueError:
            raise InputError(
                f"--distortion {pair!r} is not understood; expected a name and a number: p0=1e-4"
            ) from None
    return distortion


def _options_from(args: argparse.Namespace) -> Any:
    from midas.simulation import SimulationOptions

    names = [flag.replace("-", "_") for flag, _, _ in _OPTION_FLAGS]
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    for name in ("module_shape", "module_gap"):
        if getattr(args, name) is not None:
            given[name] = tuple(getattr(args, name))
    return SimulationOptions(noise=not args.no_noise, dtype=args.dtype, **given)
