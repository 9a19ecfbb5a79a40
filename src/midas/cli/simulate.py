"""`midas simulate`: a powder image with known truth."""

from __future__ import annotations

import argparse
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from midas.cli.structure import add_structure_flags, add_wavelength_flags, structure_from, wavelength_from

_LOOK = (  # flag, type, value, meaning; the name of the option is the flag's, and its default the option's
    ("peak-counts", float, "COUNTS", "crest of the strongest ring [counts per pixel]"),
    ("fwhm", float, "PX", "radial width of the rings [px] (default: 3)"),
    ("fwhm-deg", float, "DEG", "width of the rings in 2theta [deg], instead of --fwhm (default: none)"),
    ("mixing", float, "SHARE", "Lorentzian share of the profile, 0 to 1"),
    ("polarization", float, "SHARE", "share of the beam with a horizontal field, 0 to 1"),
    ("background", float, "COUNTS", "constant background [counts]"),
    ("falloff", float, "COUNTS", "background added at the beam, falling outward [counts]"),
)
_SAMPLE = (
    ("strain", float, "STRAIN", "isotropic lattice strain, 0.001 for 1000 microstrain"),
    ("strain-cos2", float, "STRAIN", "amplitude of a strain that varies as cos(2 eta)"),
    ("spottiness", float, "SHARE", "share of the rings in single-grain spots, 0 to 1"),
    ("spots-per-ring", float, "N", "mean number of spots on a ring of multiplicity 24"),
    ("texture", float, "SHARE", "amplitude of smooth texture along the rings, 0 to 1"),
)
_FLAWS = (
    ("beamstop-radius", float, "PX", "radius of the beamstop's shadow [px]"),
    ("beamstop-arm", float, "DEG", "eta of the beamstop's arm [deg] (default: none)"),
    ("zingers", int, "N", "number of bright specks and tracks"),
    ("threshold", float, "COUNTS", "counts below which a pixel reads 0 [counts]"),
    ("dead-fraction", float, "SHARE", "share of pixels that read 0, 0 to 1"),
    ("hot-fraction", float, "SHARE", "share of pixels that read far too much, 0 to 1"),
    ("saturation", float, "COUNTS", "counts at which pixels saturate [counts] (default: the type's largest)"),
)
_OPTION_FLAGS = (*_LOOK, *_SAMPLE, *_FLAWS)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "simulate",
        help="simulate a calibrant image with known truth",
        description="Simulate the powder image of a calibrant, and write the truth beside it as <image>.truth.json.",
        usage="%(prog)s --out FILE (--wavelength A | --energy KEV) --distance UM --pixel-size UM [options]",
        epilog="Example: midas simulate --out ceo2.tif --energy 80 --distance 1000000 --pixel-size 200 --seed 1",
    )
    add_structure_flags(parser.add_argument_group("what diffracts"))
    add_wavelength_flags(parser.add_argument_group("beam, one of the two"))
    _add_geometry(parser.add_argument_group("detector"))
    for title, flags in (("rings and background", _LOOK), ("the sample's flaws", _SAMPLE)):
        _add_flags(parser.add_argument_group(title), flags)
    flaws = parser.add_argument_group("the detector's flaws")
    _add_flags(flaws, _FLAWS)
    flaws.add_argument(
        "--module-shape", type=int, nargs=2, metavar=("ROWS", "COLUMNS"),
        help="of a tiled detector [px] (default: one piece)",
    )  # fmt: skip
    flaws.add_argument(
        "--module-gap", type=int, nargs=2, metavar=("ROWS", "COLUMNS"), help="between modules [px] (default: 17 7)"
    )
    flaws.add_argument("--no-noise", action="store_true", help="write the expected counts, without Poisson noise")
    _add_output(parser.add_argument_group("output"))


def _add_geometry(detector: argparse._ArgumentGroup) -> None:
    detector.add_argument(
        "--distance", type=float, required=True, metavar="UM", help="sample to detector [µm] (required)"
    )
    detector.add_argument("--pixel-size", type=float, required=True, metavar="UM", help="pixel size [µm] (required)")
    detector.add_argument(
        "--shape", type=int, nargs=2, default=(2048, 2048), metavar=("ROWS", "COLUMNS"),
        help="of the image [px] (default: 2048 2048)",
    )  # fmt: skip
    detector.add_argument(
        "--beam-center", type=float, nargs=2, metavar=("Y", "Z"),
        help="column and row of the beam [px] (default: the middle)",
    )  # fmt: skip
    detector.add_argument(
        "--tilts", type=float, nargs=3, default=(0.0, 0.0, 0.0), metavar=("TX", "TY", "TZ"),
        help="tilts [deg] (default: 0 0 0)",
    )  # fmt: skip
    detector.add_argument(
        "--distortion", nargs="+", default=[], metavar="PN=VALUE",
        help="distortion parameters, such as p0=1e-4 p2=2e-4 (default: none)",
    )  # fmt: skip
    detector.add_argument(
        "--distortion-radius", type=float, metavar="UM", help="RhoD [µm] (default: beam to the farthest corner)"
    )


def _add_flags(group: argparse._ArgumentGroup, flags: tuple[tuple[str, type, str, str], ...]) -> None:
    from midas.simulation import SimulationOptions

    defaults = {f.name: f.default for f in fields(SimulationOptions)}
    for flag, kind, value, meaning in flags:
        default = "" if "(default" in meaning else f" (default: {defaults[flag.replace('-', '_')]:g})"
        group.add_argument(f"--{flag}", type=kind, metavar=value, help=meaning + default)


def _add_output(output: argparse._ArgumentGroup) -> None:
    output.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="image to write: .tif, .npy or .h5 (required)"
    )
    output.add_argument(
        "--dtype", default="uint16", metavar="TYPE",
        help="uint16, uint32, int32, float32 or float64 (default: %(default)s)",
    )  # fmt: skip
    output.add_argument("--seed", type=int, default=0, metavar="N", help="of the random numbers (default: %(default)s)")
    output.add_argument("--threads", type=int, default=0, metavar="N", help="threads; 0 takes all (default: 0)")
    output.add_argument("--json", action="store_true", help="print the truth as JSON")


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

    names = [flag.replace("-", "_") for flag, *_ in _OPTION_FLAGS]
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    for name in ("module_shape", "module_gap"):
        if getattr(args, name) is not None:
            given[name] = tuple(getattr(args, name))
    return SimulationOptions(noise=not args.no_noise, dtype=args.dtype, **given)
