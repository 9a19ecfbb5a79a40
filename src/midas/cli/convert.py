"""`midas convert`: arguments and exit status."""

from __future__ import annotations

import argparse
import json
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from midas.cli.files import add_dark, add_images, add_threshold, series_files
from midas.errors import InputError

if TYPE_CHECKING:
    from midas.io.convert import Conversion, ConvertOptions


def add_parser(subparsers: Any) -> None:
    """Add the subcommand and its options."""
    parser = subparsers.add_parser(
        "convert",
        help="write image files of any format as .MIDAS.zip, or as HDF5",
        description="Write the frames of image files anew, each with its dark, its mask and its parameters, as "
        "<name>.MIDAS.zip (zarr format 2) or as HDF5 (bitshuffle and LZ4). No pixel changes, no image is transformed "
        "and no frame is skipped: ImTransOpt and SkipFrame are stored beside them and applied by whoever reads the "
        "file. Of several files each is converted to one of its own. With -preProcThresh the dark is subtracted, and "
        "the one stored is zero.",
        usage="%(prog)s FILE [FILE ...] [options]",
        epilog="Example: midas convert scan_000012.ge3 --param-file ps.txt --dark-file dark_000011.ge3\n"
        "Exit status: 0 done, 1 some files failed, 2 bad input.",
    )
    _add_files(parser)
    _add_output(parser)


def _add_files(parser: argparse.ArgumentParser) -> None:
    files = parser.add_argument_group("files")
    add_images(files)
    files.add_argument(
        "-paramFN",
        "--param-file",
        type=Path,
        metavar="FILE",
        help="MIDAS parameter file, stored beside the frames (default: what the image file has)",
    )
    add_dark(files)


def _add_output(parser: argparse.ArgumentParser) -> None:
    output = parser.add_argument_group("output")
    output.add_argument(
        "-resultFolder",
        "--result-folder",
        type=Path,
        default=Path(),
        metavar="FOLDER",
        help="where the files go, made when it is not there (default: here)",
    )
    output.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="name of the file to write, .MIDAS.zip or .h5, in place of a folder (default: by the image's)",
    )
    output.add_argument("--to", choices=("zip", "h5"), help="format to write (default: zip, and h5 of a .MIDAS.zip)")
    add_threshold(output)
    output.add_argument(
        "-numFrameChunks",
        "--frames-per-block",
        type=int,
        default=-1,
        metavar="N",
        help="frames in memory at a time (default: -1, by their size)",
    )
    output.add_argument(
        "-nCPUs", "--threads", type=int, default=0, metavar="N", help="threads; 0 uses all (default: 0)"
    )
    output.add_argument("--json", action="store_true", help="print one JSON object and nothing else on standard output")


def run(args: argparse.Namespace) -> int:
    """Convert the files; return 0, or 1 where some of them failed."""
    from midas.cli.progress import progress_bar
    from midas.io.convert import convert_files, target_path

    paths = series_files(args).paths
    if args.out is not None and (len(paths) > 1 or args.to is not None):
        other = f"{len(paths)} files" if len(paths) > 1 else "--to"
        raise InputError(f"--out {args.out} names one file and its format; leave it out with {other}")
    targets = [target_path(path, args.result_folder, args.to) for path in paths]
    if args.out is not None:
        targets = [args.result_folder / args.out]
    start = time.perf_counter()
    with progress_bar("converting") as progress:
        done = convert_files(paths, targets, _options(args), progress=progress)
    return _report(done, time.perf_counter() - start, as_json=args.json)


def _options(args: argparse.Namespace) -> ConvertOptions:
    from midas.io.convert import ConvertOptions
    from midas.io.parameters import read_params

    return ConvertOptions(
        parameters=None if args.param_file is None else read_params(args.param_file),
        dark=args.dark_file,
        data_location=args.data_location,
        dark_location=args.dark_location,
        threshold=args.preprocess_threshold,
        frames_per_block=args.frames_per_block,
        n_threads=args.threads,
    )


def _report(done: Conversion, seconds: float, *, as_json: bool) -> int:
    if as_json:
        failed = [{"file": str(path), "reason": reason} for path, reason in done.failed]
        written = [str(path) for path in done.written]
        print(json.dumps({"written": written, "failed": failed, "frames": done.n_frames, "seconds": seconds}))
    else:
        for path in done.written:
            print(f"wrote {path}")
        if done.failed:
            print(f"{len(done.failed)} of {len(done.failed) + len(done.written)} files failed")
    logging.getLogger(__name__).debug("%d frames in %.1f s", done.n_frames, seconds)
    return 1 if done.failed else 0
