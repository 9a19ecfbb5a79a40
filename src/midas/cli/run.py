"""`midas run`: options of the whole line, what is printed at its end, and the exit status."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from midas.cli.files import add_dark, add_images, add_threshold, series_files
from midas.cli.progress import progress_bar
from midas.cli.recipe import add_recipe, print_recipe, recipe, warn_of_empty_pictures
from midas.cli.report import add_report, check, command_of
from midas.errors import InputError

if TYPE_CHECKING:
    from midas.pipeline import PipelineJob, PipelineResult

_STREAM_VALUES = ("--folder", "--pva-ip", "--output-h5", "--dark", "--stream-data-loc", "--zarr-output")
_STREAM_SWITCHES = ("--pva", "--compress", "--no-zarr")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand and its options."""
    parser = subparsers.add_parser(
        "run",
        help="calibrate, integrate and refine in one go",
        description="Raw data to refined structures in one folder: calibrates first when --calibrant-image is given, "
        "cakes the images, refines every lineout with GSAS-II, and leaves a table, pictures and manifest.json: what "
        "went in (with hashes), versions, settings, times. Without GSAS-II it ends after the integration and says so.",
        usage="%(prog)s FILE [FILE ...] --cif FILE [FILE ...] [options]",
        epilog="Example: midas run -dataFN scan_000001.h5 -startFileNr 1 -endFileNr 20 -paramFN ps.txt "
        "--calibrant-image ceo2.tif --cif CeO2.cif -resultFolder results\n"
        "Exit status: 0 done, 1 not good (doubtful calibration, images or histograms that failed, no GSAS-II), "
        "2 bad input, 3 no histogram could be refined.",
    )
    _add_images(parser.add_argument_group("images and parameters"))
    _add_calibration(parser.add_argument_group("calibration, first (only with --calibrant-image)"))
    _add_refinement(parser.add_argument_group("refinement"))
    _add_results(parser.add_argument_group("results"))
    _add_control(parser.add_argument_group("control"))
    _add_stream(parser.add_argument_group("stream backend"))


def _add_images(images: argparse._ArgumentGroup) -> None:
    add_images(images)
    images.add_argument("-paramFN", "--param-file", type=Path, metavar="FILE",
                        help="MIDAS parameter file with geometry, bins and scan (required, unless there is a "
                        "--calibrant-image)")  # fmt: skip
    add_dark(images)
    add_threshold(images)
    images.add_argument("--scan", choices=("auto", "one", "files"), default="auto",
                        help="one: all files are one scan, and sums go over the borders of files; files: each is its "
                        "own; auto: one where the files say that omega goes on (default: auto)")  # fmt: skip
    images.add_argument("-numFrameChunks", "--frames-per-block", dest="chunks", type=int, default=-1, metavar="N",
                        help="changes nothing: how many frames are in memory goes by their size "
                        "(default: -1)")  # fmt: skip


def _add_calibration(calibration: argparse._ArgumentGroup) -> None:
    calibration.add_argument(
        "--calibrant-image", metavar="FILE", help="image of a calibrant to calibrate with (default: no calibration)"
    )
    calibration.add_argument("--calibrant-dark", metavar="FILE",
                             help="its dark image (default: Dark of the parameters, or none)")  # fmt: skip
    calibration.add_argument("--calibrant", metavar="NAME",
                             help="CeO2, LaB6, ..., several with commas between, auto, or a CIF file (default: that of "
                             "the parameters, or CeO2)")  # fmt: skip
    calibration.add_argument("--wavelength", type=float, metavar="ANGSTROM",
                             help="wavelength [Å] (default: that of the parameters or the image)")  # fmt: skip
    calibration.add_argument(
        "--energy",
        type=float,
        metavar="KEV",
        help="photon energy [keV], instead of the wavelength (default: as for it)",
    )
    calibration.add_argument("--pixel-size", type=float, metavar="UM",
                             help="pixel size [µm] (default: that of the parameters or the image)")  # fmt: skip


def _add_refinement(refinement: argparse._ArgumentGroup) -> None:
    refinement.add_argument("-c", "--cif", nargs="+", default=(), metavar="FILE",
                            help="one CIF file per phase (required unless --skip-refinement)")  # fmt: skip
    refinement.add_argument("-i", "--instprm", metavar="FILE",
                            help="instrument parameters that win over the data's (default: none)")  # fmt: skip
    refinement.add_argument("--limits", type=float, nargs=2, metavar=("LOW", "HIGH"),
                            help="2theta range fitted [deg] (default: all)")  # fmt: skip
    refinement.add_argument("--exclude", type=float, nargs=2, action="append", metavar=("LOW", "HIGH"),
                            help="2theta region left out [deg]; may be given several times "
                            "(default: none)")  # fmt: skip
    add_recipe(refinement)
    refinement.add_argument("--no-export", action="store_true",
                            help="write summary, table and pictures only, no project, CIF or CSV")  # fmt: skip
    refinement.add_argument("--gsas2-python", metavar="PROGRAM",
                            help="Python that has GSAS-II (default: MIDAS_GSAS2_PYTHON, then this one)")  # fmt: skip


def _add_results(results: argparse._ArgumentGroup) -> None:
    results.add_argument("-resultFolder", "--result-folder", dest="result_folder", default="results", metavar="FOLDER",
                         help="folder for all that is written (default: results)")  # fmt: skip
    results.add_argument("-o", "--out", metavar="FOLDER",
                         help="folder of the refinement (default: refinement in the results)")  # fmt: skip
    results.add_argument("--plots", action="store_true", help="draw each histogram, too")
    add_report(results, "calibration, caked sums, and the refinement")
    results.add_argument("--json", action="store_true",
                         help="print one JSON object and nothing else on standard output")  # fmt: skip


def _add_control(control: argparse._ArgumentGroup) -> None:
    control.add_argument("-skipExisting", "--skip-existing", "--resume", dest="resume", action="store_true",
                         help="take up a run that did not end: calibration, caked files and refinements of the same "
                         "inputs are kept")  # fmt: skip
    control.add_argument("--skip-integration", action="store_true", help="refine --zarr-file as it is")
    control.add_argument("--zarr-file", metavar="FILE", help="caked file (.zarr.zip) to refine (default: none)")
    control.add_argument("--skip-refinement", action="store_true", help="stop after the integration")
    control.add_argument("-nCPUs", "--nCPUs", "--n-cpus", "--threads", dest="threads", type=int, default=0, metavar="N",
                         help="threads of the integration and histograms refined at the same time; 0 uses all cores "
                         "(default: 0; results are the same)")  # fmt: skip
    control.add_argument("-nCPUsLocal", "--local-threads", dest="local_threads", type=int, metavar="N",
                         help="the same as -nCPUs, which it overrides, for calibration and integration "
                         "(default: -nCPUs)")  # fmt: skip
    control.add_argument("-v", "--verbose", action="store_true", help="say what is done, and list every histogram")


def _add_stream(stream: argparse._ArgumentGroup) -> None:
    """Add the manual's flags of the stream backend, so that they are refused in one sentence."""
    stream.add_argument("--backend", choices=("batch", "stream"), default="batch",
                        help="batch; stream, frames from a detector as they come, is not there yet "
                        "(default: batch)")  # fmt: skip
    for flag in _STREAM_VALUES:
        stream.add_argument(flag, help=argparse.SUPPRESS)
    for flag in _STREAM_SWITCHES:
        stream.add_argument(flag, action="store_true", help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """Run the subcommand and return the exit status."""
    from midas.pipeline import run_pipeline

    if args.print_stages:
        print_recipe(args)
        return 0
    job = _job(args)
    check(args, job.out)
    warn_of_empty_pictures(args)
    if args.verbose:
        logging.getLogger("midas").setLevel(logging.INFO)
    with progress_bar("running") as progress:
        result = run_pipeline(job, progress=progress)
    page = _report(args, result, job)
    if args.json:
        print(json.dumps({**_as_json(result), **({} if page is None else {"report": str(page)})}, indent=1))
    else:
        print("\n".join([*_lines(result, job, verbose=args.verbose), *([] if page is None else [f"report: {page}"])]))
    return _exit_status(result)


def _report(args: argparse.Namespace, result: PipelineResult, job: PipelineJob) -> Path | None:
    """Write the report that was asked for."""
    if args.report is None:
        return None
    from midas.reporting import report_run

    return report_run(args.report, result, job, command_of(args))


def _exit_status(result: PipelineResult) -> int:
    from midas.refine.report import exit_status

    refined = 0 if result.summary is None else exit_status(result.summary)
    record = result.calibration_record
    good = (record is None or record["verdict"] == "good") and not result.stopped and not result.unusable
    return refined if good else max(refined, 1)


def _as_json(result: PipelineResult) -> dict[str, Any]:
    return {
        "calibration": result.calibration_record,
        "cake_files": [str(p) for p in result.cake_files],
        "failed": [{"images": [str(p) for p in f.images], "reason": f.reason} for f in result.unusable],
        "refinements": list(result.refinements),
        "kept": list(result.kept),
        "stopped": result.stopped,
    }


def _lines(result: PipelineResult, job: PipelineJob, *, verbose: bool) -> list[str]:
    """Return what is printed at the end."""
    from midas.manifest import MANIFEST_NAME
    from midas.refine.report import summary_lines, written_lines

    record = result.calibration_record
    lines = [f"kept of the earlier run: {', '.join(result.kept)}"] if result.kept else []
    if result.calibration is not None:
        lines.append(str(result.calibration))
    elif record is not None:
        lines.append("; ".join([f"calibration: {record['verdict']}", *record["reasons"]]))
    if result.cake_file is not None:
        lines.append(str(result.cake_file))
    caked = [str(p) for p in result.cake_files]
    lines.append(f"caked: {caked[0]}" if len(caked) == 1 else f"caked: {len(caked)} files in {job.out}")
    lines += [f"failed: {unusable.reason}" for unusable in result.unusable]
    if result.summary is not None:
        folder = job.refinement_folder or job.out / "refinement"
        lines += ["", *summary_lines(result.summary, verbose=verbose), "", *written_lines(folder)]
    if result.stopped:
        lines.append(result.stopped)
    return [*lines, f"what was done: {job.out / MANIFEST_NAME}"]


def _job(args: argparse.Namespace) -> PipelineJob:
    from midas.cake.series import SeriesOptions
    from midas.pipeline import PipelineJob
    from midas.refine.stages import stages_to_data

    _refuse(args)
    files = series_files(args) if _has_images(args) and not args.skip_integration else None
    return PipelineJob(
        out=Path(args.result_folder),
        files=files,
        params="" if args.param_file is None else str(args.param_file),
        calibrant_image=args.calibrant_image or "",
        calibrant_dark=args.calibrant_dark or "",
        calibration={k: getattr(args, k) for k in ("calibrant", "wavelength", "energy", "pixel_size")},
        zarr_file=Path(args.zarr_file) if args.zarr_file else None,
        cif_files=() if args.skip_refinement else tuple(args.cif),
        refinement_folder=Path(args.out) if args.out else None,
        refinement={
            "instprm": args.instprm,
            "bkg_terms": args.bkg_terms,
            "limits": tuple(args.limits) if args.limits else None,
            "exclude": args.exclude,
            "stages": stages_to_data(recipe(args)),
            "export": not args.no_export,
            "gsas2_python": args.gsas2_python,
            "n_cpus": args.threads,
        },
        integration=SeriesOptions(scan=args.scan, threshold=args.preprocess_threshold),
        plots=args.plots,
        resume=args.resume,
        n_threads=args.threads if args.local_threads is None else args.local_threads,
    )


def _has_images(args: argparse.Namespace) -> bool:
    return bool(args.data) or args.data_file is not None


def _refuse(args: argparse.Namespace) -> None:
    """Refuse what contradicts itself or is not there yet, in one sentence."""
    if args.backend == "stream":
        raise InputError("--backend stream is not there yet; write the frames to files and use the batch backend")
    for flag in (*_STREAM_VALUES, *_STREAM_SWITCHES):
        if getattr(args, flag.lstrip("-").replace("-", "_")):
            instead = "; the dark of image files is -darkFN" if flag == "--dark" else "; leave it out"
            raise InputError(f"{flag} belongs to the stream backend, which is not there yet{instead}")
    if args.skip_integration and args.skip_refinement:
        raise InputError("--skip-integration and --skip-refinement leave nothing to do; drop one; with the first one "
                         "name the caked file with --zarr-file")  # fmt: skip
    if args.skip_integration and not args.zarr_file:
        raise InputError("--skip-integration needs the caked file: name it with --zarr-file")
    if args.zarr_file and not args.skip_integration:
        inputs = (("-dataFN", _has_images(args)), ("--calibrant-image", args.calibrant_image))
        given = [flag for flag, value in inputs if value]
        if given:
            raise InputError(f"{given[0]} and --zarr-file are both given; drop one, or add --skip-integration")
    if args.zarr_file and args.skip_refinement:
        raise InputError("--zarr-file is there to be refined; drop it or --skip-refinement")
    if not args.cif and not args.skip_refinement:
        raise InputError(
            "the phases are missing; name their CIF files with --cif, or stop before with --skip-refinement"
        )
    for flag, value in (("-nCPUs", args.threads), ("-nCPUsLocal", args.local_threads)):
        if value is not None and value < 0:
            raise InputError(f"{flag} is {value}; expected 0 for all, or a number of threads")
    if args.chunks == 0 or args.chunks < -1:
        raise InputError(f"-numFrameChunks is {args.chunks}; expected -1 or a number of frames")
    for flag in ("calibrant", "calibrant_dark", "wavelength", "energy", "pixel_size"):
        if getattr(args, flag) is not None and not args.calibrant_image:
            elsewhere = "" if flag.startswith("calibrant") else ", or put it into the parameter file"
            raise InputError(
                f"--{flag.replace('_', '-')} is for the calibration; name its image with --calibrant-image{elsewhere}"
            )
