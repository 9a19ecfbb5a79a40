"""`midas run`: options of the whole line."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from midas.cli.progress import progress_bar
from midas.errors import InputError

if TYPE_CHECKING:
    from midas.pipeline import PipelineJob


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "run",
        help="calibrate, integrate and refine in one go",
        description="Raw data to refined structures: calibrates first when --calibrant-image is given, integrates, "
        "refines with GSAS-II when CIF files are given. Without GSAS-II it stops after the integration and says so.",
        epilog="example: midas run -dataFN scan.h5 -paramFN ps.txt --calibrant-image ceo2.tif --cif CeO2.cif "
        "-resultFolder results",
        allow_abbrev=False,
    )
    data = parser.add_argument_group("integration")
    data.add_argument("--backend", choices=("batch", "stream"), default="batch", help="batch (default) or stream")
    data.add_argument("-dataFN", "--data", dest="data", default="", help="images of the sample")
    data.add_argument("-paramFN", "--params", dest="params", default="", help="MIDAS parameter file")
    data.add_argument("-resultFolder", "--result-folder", dest="result_folder", default="results",
                      help="folder for everything that is written (default: results)")  # fmt: skip
    data.add_argument("-startFileNr", "--start-file-number", dest="start", type=int, default=-1,
                      help="first number of a file series (default: -1, one file)")  # fmt: skip
    data.add_argument("-endFileNr", "--end-file-number", dest="end", type=int, default=-1,
                      help="last number of a file series")  # fmt: skip
    data.add_argument("-numFrameChunks", "--frame-chunks", dest="chunks", type=int, default=-1,
                      help="changes nothing: how many frames are in memory goes by their size")  # fmt: skip
    data.add_argument("-preProcThresh", "--threshold", dest="threshold", type=float, default=-1.0,
                      help="only -1, off, is available")  # fmt: skip
    data.add_argument("-darkFN", "--dark", dest="dark", default="", help="dark images")
    data.add_argument("-dataLoc", "--data-location", dest="data_location", default=None,
                      help="dataset of the images (default: exchange/data)")  # fmt: skip
    data.add_argument("-darkLoc", "--dark-location", dest="dark_location", default=None, help="dataset of the dark")
    calibration = parser.add_argument_group("calibration")
    calibration.add_argument("--calibrant-image", default="", help="image of a calibrant to calibrate with first")
    calibration.add_argument("--calibrant", default=None, help="calibrant (default: CeO2)")
    calibration.add_argument("--wavelength", type=float, default=None, help="wavelength [Å]")
    calibration.add_argument("--energy", type=float, default=None, help="photon energy [keV]")
    calibration.add_argument("--pixel-size", type=float, default=None, help="pixel size [µm]")
    refinement = parser.add_argument_group("refinement")
    refinement.add_argument("--cif", "-c", nargs="+", default=(), help="CIF files of the phases")
    refinement.add_argument(
        "--out", "-o", default="", help="folder of the refinement (default: refinement in the results)"
    )
    refinement.add_argument("--instprm", "-i", default=None, help="instrument parameter file that wins over the data's")
    refinement.add_argument("--bkg-terms", type=int, default=6, help="background terms (default: 6)")
    refinement.add_argument("--limits", type=float, nargs=2, default=None, metavar=("LOW", "HIGH"), help="2theta [deg]")
    refinement.add_argument("--no-atoms", action="store_true", help="do not refine atoms")
    refinement.add_argument("--no-export", action="store_true", help="write no CIF and CSV files")
    refinement.add_argument("--gsas2-python", default=None, help="interpreter that has GSAS-II")
    control = parser.add_argument_group("control")
    control.add_argument("--skip-integration", action="store_true", help="refine --zarr-file as it is")
    control.add_argument("--zarr-file", default="", help="caked file to refine")
    control.add_argument("--skip-refinement", action="store_true", help="stop after the integration")
    control.add_argument(
        "-nCPUs", "-nCPUsLocal", "--threads", dest="threads", type=int, default=0, help="cores (default: all)"
    )
    control.add_argument("-v", "--verbose", action="store_true", help="say more")
    _add_stream(parser.add_argument_group("stream (not there yet)"))
    control.add_argument("--json", action="store_true", help="print the result as JSON on standard output")


def _add_stream(stream: argparse._ArgumentGroup) -> None:
    """Add the manual's flags of the stream backend, so that --backend stream is refused in one sentence."""
    for flag in ("--param-file", "--folder", "--pva-ip", "--output-h5", "--stream-data-loc", "--zarr-output"):
        stream.add_argument(flag, default=None, help=argparse.SUPPRESS)
    for flag in ("--pva", "--compress", "--no-zarr"):
        stream.add_argument(flag, action="store_true", help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """Run the subcommand and return the exit status."""
    from midas.pipeline import run_pipeline

    job = _job(args)
    with progress_bar("running") as progress:
        result = run_pipeline(job, progress=progress)
    if args.json:
        print(
            json.dumps(
                {
                    "calibration": None if result.calibration is None else result.calibration.as_dict(),
                    "cake_files": [str(p) for p in result.cake_files],
                    "failed": [{"images": [str(p) for p in f.images], "reason": f.reason} for f in result.unusable],
                    "refinements": list(result.refinements),
                    "stopped": result.stopped,
                },
                indent=1,
            )
        )
    else:
        for part in (result.calibration, result.cake_file):
            if part is not None:
                print(part)
        print("caked: " + ", ".join(str(p) for p in result.cake_files))
        for summary in result.refinements:
            from midas.refine.report import summary_lines

            print("\n".join(summary_lines(summary)))
        if result.stopped:
            print(result.stopped)
        for unusable in result.unusable:
            print(f"failed: {unusable.reason}")
    calibrated = result.calibration is None or result.calibration.verdict == "good"
    failed = sum(int(summary["failed"]) for summary in result.refinements)
    return 0 if calibrated and failed == 0 and not result.stopped and not result.unusable else 1


def _job(args: argparse.Namespace) -> PipelineJob:
    from midas.cake.series import SeriesFiles
    from midas.pipeline import PipelineJob

    if args.backend == "stream":
        raise InputError("--backend stream is not there yet; use batch")
    if args.skip_integration and not args.zarr_file:
        raise InputError("--skip-integration needs the caked file: name it with --zarr-file")
    if not args.cif and not args.skip_refinement:
        raise InputError(
            "the phases are missing; name their CIF files with --cif, or stop before with --skip-refinement"
        )
    if args.threshold >= 0.0:
        raise InputError(f"-preProcThresh is {args.threshold:g}; only -1 (off) is available, leave it out")
    files = SeriesFiles(
        data=Path(args.data),
        dark=Path(args.dark) if args.dark else None,
        data_location=args.data_location,
        dark_location=args.dark_location,
        first_number=args.start if args.start >= 0 else None,
        last_number=args.end if args.end >= 0 else None,
    )
    return PipelineJob(
        out=Path(args.result_folder),
        files=files if args.data and not args.skip_integration else None,
        params=args.params,
        calibrant_image=args.calibrant_image,
        calibration={k: getattr(args, k) for k in ("calibrant", "wavelength", "energy", "pixel_size")},
        zarr_file=Path(args.zarr_file) if args.zarr_file else None,
        cif_files=() if args.skip_refinement else tuple(args.cif),
        refinement_folder=Path(args.out) if args.out else None,
        refinement={
            "instprm": args.instprm,
            "bkg_terms": args.bkg_terms,
            "limits": tuple(args.limits) if args.limits else None,
            "refine_atoms": not args.no_atoms,
            "export": not args.no_export,
            "gsas2_python": args.gsas2_python,
            "n_cpus": args.threads or 1,
        },
        n_threads=args.threads,
    )
