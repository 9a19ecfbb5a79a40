"""`midas integrate`: arguments and exit status."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from midas.cli.cluster import add_cluster, executor_of, warn_of_cores
from midas.cli.files import add_dark, add_images, add_threshold, series_files
from midas.cli.report import add_report, check, command_of
from midas.errors import InputError

if TYPE_CHECKING:
    from midas.cake.series import CakedSeries
    from midas.io.parameters import Parameters

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
LOG_NAME = "midas_integrate.log"
_MOST_LISTED = 20  # files of which each is named


def add_parser(subparsers: Any) -> None:
    """Add the subcommand and its options."""
    parser = subparsers.add_parser(
        "integrate",
        help="cake frames into R-eta patterns and write a .zarr.zip",
        description="Cake the frames of image files: sum them over bins of radius and eta with exact pixel areas, and "
        "write <name>.zarr.zip, which GSAS-II and midas refine open. All frames of a file are summed into one pattern, "
        "unless the parameter file says how many with OmegaSumFrames (1: a pattern for each frame; -1, the default: "
        "all). With DoPeakFit 1 in the parameter file the peaks of every lineout are fitted, at each PeakLocation or "
        "where they are found, and written to <name>.peaks.csv.",
        usage="%(prog)s FILE [FILE ...] -paramFN FILE [options]",
        epilog="Example: midas integrate scan_000012.h5 --param-file refined_MIDAS_params.txt --result-folder caked\n"
        "Exit status: 0 done, 1 some files could not be caked, 2 bad input.",
    )
    _add_inputs(parser)
    _add_results(parser)
    _add_controls(parser)
    add_cluster(parser)


def _add_parameters(files: argparse._ArgumentGroup) -> None:
    files.add_argument(
        "-paramFN",
        "--param-file",
        type=Path,
        metavar="FILE",
        help="MIDAS parameter file with geometry and bins (required)",
    )
    files.add_argument(
        "--geometry",
        type=Path,
        metavar="FILE",
        help="geometry that replaces the parameter file's: .poni (pyFAI), .imctrl (GSAS-II), .fit2d, .nxs or "
        "calibration.json (default: the parameter file's)",
    )


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    files = parser.add_argument_group("files")
    add_images(files)
    _add_parameters(files)
    add_dark(files)
    files.add_argument(
        "--flat-file", type=Path, metavar="FILE", help="flat field, 1 on average (default: Flat of the parameters)"
    )
    add_threshold(files)
    files.add_argument(
        "--negative-counts",
        action="store_true",
        help="negative values are counts (the dark is subtracted already), not marks of bad pixels",
    )


def _add_results(parser: argparse.ArgumentParser) -> None:
    results = parser.add_argument_group("results")
    results.add_argument(
        "-resultFolder",
        "--result-folder",
        type=Path,
        default=Path(),
        metavar="FOLDER",
        help="where the .zarr.zip files go, made when it is not there; or NAME.zarr.zip for all in one (default: here)",
    )
    results.add_argument(
        "--also",
        nargs="+",
        default=(),
        metavar="FORM",
        help="further forms of each cake: nexus (.nxs), xye, fxye, csv (profiles), mat (MATLAB) (default: none)",
    )
    add_report(results, "a browser of the caked sums and their profiles")
    results.add_argument(
        "-writeMat", "--write-mat", type=int, choices=(0, 1), default=0, help="1: the same as --also mat (default: 0)"
    )
    results.add_argument(
        "--scan",
        choices=("auto", "one", "files"),
        default="auto",
        help="one: all files are one scan, and sums go over the borders of files; files: each is its own; auto: one "
        "where the files say that omega goes on (default: auto)",
    )
    results.add_argument(
        "-skipExisting",
        "--skip-existing",
        "--resume",
        action="store_true",
        help="take up a run again: leave files alone that were made of the same images in the same way",
    )


def _report_on(args: argparse.Namespace, done: CakedSeries, parameters: Parameters) -> Path | None:
    """Write the report that was asked for."""
    if args.report is None:
        return None
    from midas.reporting import report_integration

    used = {"parameters": args.param_file, "geometry": args.geometry, "dark": args.dark_file, "flat": args.flat_file}
    return report_integration(args.report, done, parameters, used=used, command=command_of(args))


def _add_controls(parser: argparse.ArgumentParser) -> None:
    control = parser.add_argument_group("control")
    control.add_argument(
        "-nCPUs",
        "--threads",
        type=int,
        default=0,
        metavar="N",
        help="threads; 0 uses all (default: 0; results are the same)",
    )
    control.add_argument(
        "-nCPUsLocal",
        "--local-threads",
        type=int,
        metavar="N",
        help="the same as -nCPUs, which it overrides (default: -nCPUs)",
    )
    control.add_argument(
        "-logLevel",
        "--log-level",
        type=str.upper,
        choices=_LEVELS,
        default="INFO",
        help="how much to say on standard error (default: INFO)",
    )
    control.add_argument(
        "--log-file",
        type=Path,
        metavar="FILE",
        help=f"log, to whose end is added (default: {LOG_NAME} with the results of several files)",
    )
    control.add_argument(
        "--json", action="store_true", help="print one JSON object and nothing else on standard output"
    )
    _add_flags_of_scripts(control)


def _add_flags_of_scripts(control: argparse._ArgumentGroup) -> None:
    control.add_argument(
        "-numFrameChunks",
        "--frames-per-block",
        type=int,
        default=-1,
        metavar="N",
        help="changes nothing: how many frames are in memory goes by their size (default: -1)",
    )
    control.add_argument(
        "-convertFiles",
        "--convert-files",
        type=int,
        choices=(0, 1),
        default=1,
        help="changes nothing: files are read as they are, without conversion (default: 1)",
    )
    control.add_argument(
        "-mapDetector",
        "--map-detector",
        type=int,
        choices=(0, 1),
        default=1,
        help="0: take the map that is kept in the result folder, where it fits, and keep it there; 1: build it "
        "(default: 1)",
    )


def run(args: argparse.Namespace) -> int:
    """Cake the files; return 0, or 1 where some could not be caked."""
    from midas.cake.series import SeriesOptions, integrate_files
    from midas.cli.progress import progress_bar
    from midas.io.atomic import keep_inputs

    _check_numbers(args)
    logging.getLogger("midas").setLevel(args.log_level)
    warn_of_cores(args, "-nCPUs", args.threads or None)
    warn_of_cores(args, "-nCPUsLocal", args.local_threads or None)
    files = replace(series_files(args), flat=args.flat_file)
    if args.param_file is None:
        raise InputError(
            "no parameter file: give -paramFN FILE (or --param-file) with Lsd, BC, px, Wavelength and the bins"
        )
    folder = args.result_folder.parent if args.result_folder.name.endswith(".zip") else args.result_folder
    check(args, folder)
    options = SeriesOptions(
        skip_existing=args.skip_existing,
        scan=args.scan,
        also=(*args.also, *(("mat",) if args.write_mat else ())),
        map_folder=None if args.map_detector else folder,
        threshold=args.preprocess_threshold,
        negative_counts=args.negative_counts,
        n_threads=args.threads if args.local_threads is None else args.local_threads,
    )
    start = time.perf_counter()
    log = args.log_file or (folder / LOG_NAME if len(files.paths) > 1 else None)
    parameters = _parameters(args)
    if log is not None:
        used = [path for path in (files.dark, files.flat, args.param_file) if path is not None]
        keep_inputs([log], [*files.paths, *used])
    with _logged(log, folder), progress_bar("caking") as progress, executor_of(args) as (executor, n_workers):
        done = integrate_files(
            files,
            parameters,
            args.result_folder,
            options=options,
            executor=executor,
            n_workers=n_workers,
            progress=progress,
        )
    seconds = time.perf_counter() - start
    _report(done, seconds, as_json=args.json, page=_report_on(args, done, parameters))
    return 1 if done.failed else 0


@contextlib.contextmanager
def _logged(log: Path | None, folder: Path) -> Iterator[None]:
    """Add what is said to a log file, at any level that was asked for on the screen."""
    if log is None:
        yield
        return
    from midas.io.atomic import output_folder
    from midas.io.log_file import log_onto

    with output_folder(folder), log_onto(log):
        yield


def _report(done: CakedSeries, seconds: float, *, as_json: bool, page: Path | None) -> None:
    """Print what became of the files: all of it as JSON, or what was written and, last, what failed."""
    from midas.cake.file_task import PEAKS_SUFFIX

    if as_json:
        report = {
            "written": [str(p) for p in done.written],
            "skipped": [str(p) for p in done.skipped],
            "failed": [{"images": [str(p) for p in f.images], "reason": f.reason} for f in done.failed],
            "also": [str(p) for p in done.also],
            "peaks": [str(p) for p in done.also if p.name.endswith(PEAKS_SUFFIX)],
            "frames": sum(f.n_frames for f in done.files),
            "seconds": seconds,
            **({"report": str(page)} if page is not None else {}),
        }
        print(json.dumps(report))
        return
    if len(done.files) <= _MOST_LISTED:
        for path in done.skipped:
            print(f"{path} is there already: skipped")
        if done.last_file is not None:
            print(done.last_file)
        for path in (*done.written, *done.also):
            print(f"wrote {path}")
    if len(done.files) > 1:
        frames = sum(f.n_frames for f in done.files)
        print(
            f"{len(done.written)} files written, {len(done.skipped)} skipped, {len(done.failed)} failed: {frames} "
            f"frames in {seconds:.1f} s"
        )
    if page is not None:
        print(f"report: {page}")
    for failed in done.failed:
        print(f"failed: {failed.reason}")


def _parameters(args: argparse.Namespace) -> Parameters:
    """Return the parameters, with the geometry of another file where one is given."""
    from midas.io.exchange import read_geometry
    from midas.io.parameters import read_params

    parameters = read_params(args.param_file)
    if args.geometry is None:
        return parameters
    pixel_size = parameters.pixel_size if any(k in parameters for k in ("px", "pxY")) else None
    geometry, detector = read_geometry(args.geometry, pixel_size=pixel_size)
    if geometry.panels is not None:
        raise InputError(
            f"{args.geometry}: its panels cannot join another parameter file; give the refined_MIDAS_params.txt "
            "beside it as -paramFN"
        )
    parameters = parameters.with_geometry(geometry)
    if detector is None:
        return parameters
    rows, columns = detector.shape  # so that frames of another detector are refused
    return parameters.updated({"NrPixelsY": columns, "NrPixelsZ": rows})


def _check_numbers(args: argparse.Namespace) -> None:
    for flag, value in (("-nCPUs", args.threads), ("-nCPUsLocal", args.local_threads)):
        if value is not None and value < 0:
            raise InputError(f"{flag} is {value}; expected 0 for all, or a number of threads")
    if args.frames_per_block == 0 or args.frames_per_block < -1:
        raise InputError(f"-numFrameChunks is {args.frames_per_block}; expected -1 or a number of frames")
