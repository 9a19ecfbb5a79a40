"""`midas inspect`: what is in a file, and what is obviously wrong with it."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from midas.errors import InputError, MidasError


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "inspect",
        help="say what is in a file and what is wrong with it",
        description="Say what is in images, stacks, MIDAS archives, cakes (.zarr.zip), maps (.cakemap) and parameter "
        "files, and what is obviously wrong: saturated, empty, in need of a dark, transposed, never written. Of a "
        "stack eight frames are looked at.",
        usage="%(prog)s FILE [FILE ...] [options]",
        epilog="Example: midas inspect scan.h5 --plot scan.png\n"
        "Exit status: 0 nothing seems wrong, 1 something does, 2 a file cannot be read.",
    )
    looked_at = parser.add_argument_group("what to look at")
    looked_at.add_argument("files", nargs="+", type=Path, metavar="FILE", help="file, or zarr folder")
    reading = parser.add_argument_group("how to read it")
    reading.add_argument(
        "-dataLoc", "--data-location", metavar="PATH", help="images inside an HDF5 or zarr file (default: found)"
    )
    reading.add_argument(
        "--image-transforms", type=int, nargs="+", default=[], metavar="N", help="ImTransOpt, in order (default: none)"
    )
    reading.add_argument(
        "--shape", type=int, nargs=2, metavar=("ROWS", "COLUMNS"), help="of a GE frame [px] (default: 2048 2048)"
    )
    reading.add_argument(
        "--head-size", type=int, default=8192, metavar="BYTES", help="bytes before a GE file's frames (default: 8192)"
    )
    reading.add_argument(
        "--data-type", type=int, default=1, metavar="N", help="DataType of a GE file (default: 1, uint16)"
    )
    output = parser.add_argument_group("output")
    output.add_argument(
        "--plot",
        type=Path,
        metavar="PLACE",
        help="picture to write, on a logarithmic scale: a name ending in .png, or a folder for <file>.png "
        "(default: none)",
    )
    output.add_argument("--json", action="store_true", help="print a JSON list, an object for each file")


def run(args: argparse.Namespace) -> int:
    """Print what is found and return the exit status."""
    from midas.inspection import inspect

    folder = args.plot is not None and args.plot.is_dir()
    if args.plot is not None and len(args.files) > 1 and not folder:
        raise InputError(f"--plot {args.plot} is one picture for {len(args.files)} files; name a folder that is there")
    options = {
        "data_location": args.data_location,
        "image_transforms": tuple(args.image_transforms),
        "frame_shape": None if args.shape is None else tuple(args.shape),
        "head_size": args.head_size,
        "data_type": args.data_type,
    }
    status = 0
    found: list[dict[str, Any]] = []
    for file in args.files:
        try:
            inspection = inspect(file, **options)
        except MidasError as error:
            status = _failed(error)
            found.append({"file": str(file), "error": str(error)})
            continue
        status = max(status, 1 if inspection.problems else 0)
        found.append(inspection.as_data())
        if not args.json:
            print(inspection)
        if args.plot is None or (folder and inspection.picture is None):
            continue
        try:
            picture = inspection.save_plot(args.plot / f"{file.name}.png" if folder else args.plot)
        except MidasError as error:
            status = _failed(error)
            continue
        found[-1]["picture"] = str(picture)
        if not args.json:
            print(f"  wrote {picture}")
    if args.json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    return status


def _failed(error: MidasError) -> int:
    print(f"midas inspect: {error}", file=sys.stderr)
    return 2
