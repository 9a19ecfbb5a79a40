"""`midas params`: keys explained, files checked, new files."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from midas.errors import InputError


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand and its own."""
    parser = subparsers.add_parser(
        "params",
        help="explain, check or write parameter files",
        description="Parameter files: explain their keys, check one, write a new one.",
        usage="%(prog)s (--explain [KEY ...] | check FILE ... | new FILE [options])",
        epilog="Example: midas params --explain RhoD",
    )
    parser.add_argument(
        "--explain",
        nargs="*",
        metavar="KEY",
        help="say what keys mean, their units, defaults, other names and use; without a key, list all (default: not)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", prog="midas params")
    _add_check(actions)
    _add_new(actions)


def _add_check(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = actions.add_parser(
        "check",
        help="say what is wrong or doubtful with parameter files",
        description="Say everything that is wrong or doubtful with parameter files.",
        usage="%(prog)s FILE [FILE ...] [options]",
        epilog="Example: midas params check ps.txt --for integrate\n"
        "Exit status: 0 fine (notes may be printed), 1 usable but something is probably not meant so (warnings), "
        "2 unusable (errors); of several files the worst.",
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="parameter file")
    parser.add_argument(
        "--for",
        dest="task",
        choices=("calibrate", "integrate"),
        help="make it an error if a key this needs is missing (default: neither)",
    )
    # SUPPRESS: without it this one would overrule the flag before the action.
    parser.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")


def _add_new(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = actions.add_parser(
        "new",
        help="write a new, commented parameter file",
        description="Write a new parameter file with a comment on every line. What is not given as a flag is taken "
        "from --image and --detector; what then lacks is asked for on a terminal.",
        usage="%(prog)s FILE [options]",
        epilog="Example: midas params new ps.txt --energy 80.725 --detector 'Pilatus 1M' --distance 657000",
    )
    _add_new_file(parser.add_argument_group("file"))
    _add_new_beam(parser.add_argument_group("beam and detector (default: as --image and --detector say, or asked for)"))
    _add_new_bins(parser.add_argument_group("bins and scan (default: those that midas params --explain KEY says)"))


def _add_new_file(file: argparse._ArgumentGroup) -> None:
    file.add_argument("file", type=Path, metavar="FILE", help="file to write")
    file.add_argument("--replace", action="store_true", help="replace FILE where it is there")
    file.add_argument(
        "--set", nargs="+", default=[], metavar="KEY=VALUE", help="any other key, such as SkipFrame=1 (default: none)"
    )


def _add_new_beam(known: argparse._ArgumentGroup) -> None:
    known.add_argument(
        "--image", type=Path, metavar="FILE", help="image whose shape and header are looked at (default: none)"
    )
    known.add_argument(
        "--detector", metavar="NAME", help="gives pixel size and shape, such as 'Pilatus 1M' (default: none)"
    )
    beam = known.add_mutually_exclusive_group()
    beam.add_argument("--wavelength", type=float, metavar="ANGSTROM", help="wavelength [Å]")
    beam.add_argument("--energy", type=float, metavar="KEV", help="photon energy [keV]")
    known.add_argument("--pixel-size", type=float, metavar="UM", help="pixel size [µm]")
    known.add_argument(
        "--shape", type=int, nargs=2, metavar=("ROWS", "COLUMNS"), help="of an image, as transformed [px]"
    )
    known.add_argument("--distance", type=float, metavar="UM", help="sample to detector [µm]")
    known.add_argument("--beam-center", type=float, nargs=2, metavar=("Y", "Z"), help="column and row of the beam [px]")
    known.add_argument("--calibrant", metavar="NAME", help="such as CeO2")
    known.add_argument("--image-transforms", type=int, nargs="+", metavar="N", help="ImTransOpt, in order")


def _add_new_bins(bins: argparse._ArgumentGroup) -> None:
    bins.add_argument(
        "--radius", type=float, nargs=3, metavar=("MIN", "MAX", "STEP"), help="radial bins [px]: RMin RMax RBinSize"
    )
    bins.add_argument(
        "--eta", type=float, nargs=3, metavar=("MIN", "MAX", "STEP"),
        help="azimuthal bins [deg]: EtaMin EtaMax EtaBinSize",
    )  # fmt: skip
    bins.add_argument("--omega", type=float, nargs=2, metavar=("START", "STEP"), help="of the frames [deg]")
    bins.add_argument("--frames-per-sum", type=int, metavar="N", help="OmegaSumFrames")


def run(args: argparse.Namespace) -> int:
    """Do what the action says and return the exit status."""
    if args.action == "check":
        return _check(args)
    if args.action == "new":
        return _new(args)
    if args.explain is None:
        raise InputError("nothing to do; give --explain, or one of the actions check FILE and new FILE")
    return _explain(args)


def _explain(args: argparse.Namespace) -> int:
    from midas.io.parameter_help import explain, find_by_any_name, key_as_data, list_keys
    from midas.io.parameter_table import PARAMETER_KEYS

    texts = [explain(key) for key in args.explain]
    if args.json:
        rows = [row for key in args.explain for row in find_by_any_name(key)] or list(PARAMETER_KEYS.values())
        print(json.dumps([key_as_data(row) for row in rows], indent=2, ensure_ascii=False))
    else:
        print("\n\n".join(texts) if texts else list_keys())
    return 0


def _check(args: argparse.Namespace) -> int:
    from midas.io.parameter_report import check_params

    checks = [check_params(file, task=args.task) for file in args.files]
    status = max(check.status for check in checks)
    if args.json:
        data = [
            {
                "file": check.name,
                "status": check.status,
                "ready_for": list(check.ready_for),
                "findings": [{"level": f.level, "line": f.line, "message": f.message} for f in check.findings],
            }
            for check in checks
        ]
        print(json.dumps(data, indent=2, ensure_ascii=False))
        return status
    for check in checks:
        word = ("fine", "usable, with warnings", "unusable")[check.status]
        ready = f"; has all that is needed to {' and to '.join(check.ready_for)}" if check.ready_for else ""
        print(f"{check.name}: {word}{ready}")
        for finding in check.findings:
            print(f"  {finding}")
    return status


def _new(args: argparse.Namespace) -> int:
    from midas.io.parameter_new import ask_for_missing, new_params
    from midas.io.parameter_report import check_params

    if args.file.exists() and not args.replace:
        raise InputError(f"{args.file} is there already; name another file, or give --replace")
    values, sources = _values(args)
    if sys.stdin is not None and sys.stdin.isatty():
        values = ask_for_missing(values, input, print)
    parameters = new_params(values, sources=sources)
    check = check_params(parameters)
    for finding in check.findings:
        if finding.level != "note":
            print(finding, file=sys.stderr)
    if check.status == 2:
        raise InputError(f"{args.file} is not written: correct the values above")
    print(f"wrote {parameters.write(args.file)}")
    return 0


def _values(args: argparse.Namespace) -> tuple[dict[str, object], dict[str, str]]:
    """Return what the flags give by name, and where the rest comes from; the more exact flag wins."""
    from midas.io.parameter_new import check_detector, values_of_detector, values_of_image, values_of_words

    sources: dict[str, str] = {}
    values: dict[str, object] = {}
    more: dict[str, Any] = values_of_words(args.set)
    transforms = tuple(more.get("ImTransOpt", args.image_transforms or ()))
    if args.image is not None:
        values, sources = values_of_image(args.image, transforms)
    if args.detector is not None:
        known = values_of_detector(args.detector, transforms)
        if args.image is not None:
            check_detector(args.detector, transforms, args.image, values["shape"])
            del known["shape"]  # the image's own is as it is read
        values |= known
        sources |= dict.fromkeys(known, args.detector)
    names = ("wavelength", "energy", "pixel_size", "shape", "distance", "beam_center", "calibrant", "image_transforms")
    given: dict[str, Any] = {name: getattr(args, name) for name in (*names, "frames_per_sum")}
    for flag, keys in (
        ("radius", ("min", "max", "step")),
        ("eta", ("min", "max", "step")),
        ("omega", ("start", "step")),
    ):
        given |= {f"{flag}_{part}": value for part, value in zip(keys, getattr(args, flag) or (), strict=False)}
    given = {name: value for name, value in given.items() if value is not None}
    if "energy" in given:
        values.pop("wavelength", None)
    values |= given | more
    return values, {name: source for name, source in sources.items() if name in values and name not in given}
