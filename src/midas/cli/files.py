"""Options of the commands that read image files, and the files that they name."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from midas.errors import InputError

if TYPE_CHECKING:
    from midas.cake.series import SeriesFiles


def add_images(files: argparse._ArgumentGroup) -> None:
    """Add what names the image files of a command, and the places inside them."""
    files.add_argument(
        "data",
        nargs="*",
        type=Path,
        metavar="FILE",
        help="image files, a folder of them or a quoted pattern; one is as -dataFN",
    )
    files.add_argument(
        "-dataFN",
        "--data-file",
        type=Path,
        metavar="FILE",
        help="image file (.h5, .ge*, .tif, .cbf, .MIDAS.zip, .npy ...) (default: the FILEs)",
    )
    files.add_argument(
        "-startFileNr",
        "--first-file-number",
        type=int,
        default=-1,
        metavar="N",
        help="first number of a series: the last group of digits in the name (default: -1, the one file)",
    )
    files.add_argument(
        "-endFileNr",
        "--last-file-number",
        type=int,
        default=-1,
        metavar="N",
        help="last number of the series (default: -1)",
    )
    files.add_argument(
        "-dataLoc",
        "--data-location",
        metavar="PATH",
        help="images inside an HDF5 or zarr file (default: exchange/data, then where NeXus puts them)",
    )


def add_dark(files: argparse._ArgumentGroup) -> None:
    """Add what names the dark."""
    files.add_argument(
        "-darkFN",
        "--dark-file",
        type=Path,
        metavar="FILE",
        help="dark image, or the counts of a constant one (default: Dark of the parameters, or the one inside the "
        "image file)",
    )
    files.add_argument(
        "-darkLoc",
        "--dark-location",
        metavar="PATH",
        help="dark inside an HDF5 or zarr file (default: exchange/dark where there is one)",
    )


def add_threshold(group: argparse._ArgumentGroup) -> None:
    """Add the threshold above the dark."""
    group.add_argument(
        "-preProcThresh",
        "--preprocess-threshold",
        type=float,
        default=-1.0,
        metavar="COUNTS",
        help="0 or more [counts]: subtract the dark and set pixels less than this above it to 0 (default: -1, off)",
    )


def series_files(args: argparse.Namespace) -> SeriesFiles:
    """Return the files that a command was given."""
    from midas.cake.series import SeriesFiles

    if args.data and args.data_file is not None and args.data != [args.data_file]:
        raise InputError(
            f"image files were given twice, {args.data[0]} and {args.data_file}; give one, or a range of file numbers"
        )
    data = args.data or [args.data_file]
    if data == [None]:
        raise InputError("no image file: name one, or give -dataFN FILE")
    return SeriesFiles(
        data=data[0] if len(data) == 1 else data,
        dark=args.dark_file,
        data_location=args.data_location,
        dark_location=args.dark_location,
        first_number=None if args.first_file_number < 0 else args.first_file_number,
        last_number=None if args.last_file_number < 0 else args.last_file_number,
    )
