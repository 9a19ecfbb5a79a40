"""`midas calibrate`: options of the calibration."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from midas.cli.progress import progress_bar
from midas.cli.report import add_report, check, command_of
from midas.errors import InputError

if TYPE_CHECKING:
    from midas.calibration import Calibration, JointCalibration
    from midas.calibration.job import CalibrationJob

_NO_DISTANCE = 1_000_000.0  # the manual's way of writing "no guess"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "calibrate",
        help="find the detector geometry from images of a calibrant",
        description="Find the detector geometry from one image of a calibrant, or from several together. Needs the "
        "wavelength (or energy) and the pixel size, from the options, the parameter file, the image's headers or its "
        "name (80p725keV); finds the rest from the image.",
        usage="%(prog)s IMAGE [IMAGE ...] [options]",
        epilog="Example: midas calibrate ceo2.tif --energy 80.725 --pixel-size 200 --calibrant CeO2\n"
        "Exit status: 0 the verdict is good, 1 it is not, 2 bad input.",
    )
    _add_data(parser.add_argument_group("data"))
    _add_known(parser.add_argument_group("what is known"))
    _add_fit(parser.add_argument_group("fit"))
    _add_joint(parser.add_argument_group("several images of one detector"))
    _add_output(parser.add_argument_group("output"))


def _add_data(data: argparse._ArgumentGroup) -> None:
    """Add what says where image, dark and mask are."""
    data.add_argument("image", nargs="*", metavar="IMAGE",
                      help="image of the calibrant (.tif .h5 .ge* .cbf .edf .npy .zip); several of "
                      "one detector are calibrated together")  # fmt: skip
    data.add_argument("-dataFN", "--data", dest="data", nargs="+", default=[], metavar="FILE",
                      help="the same, as the manual spells it (default: the IMAGEs)")  # fmt: skip
    data.add_argument("-ConvertFile", "--format", dest="format", type=int, choices=(0, 1, 2, 3), default=None,
                      help="0 zarr, 1 HDF5, 2 GE, 3 TIFF (default: found from the file)")  # fmt: skip
    data.add_argument("-darkFN", "--dark", dest="dark", default="", metavar="FILE", help="dark image, subtracted "
                      "(default: Dark of the parameters, or the one in the image file)")  # fmt: skip
    data.add_argument("-dataLoc", "--data-location", dest="data_location", default=None, metavar="PATH",
                      help="dataset inside the HDF5 file (default: exchange/data)")  # fmt: skip
    data.add_argument("--mask", default="", metavar="FILE", help="mask image: 0 = use, anything else = masked; "
                      "joined to those of parameters and image file (default: those alone)")  # fmt: skip
    data.add_argument("-ImTransOpt", "--image-transforms", dest="transforms", type=int, nargs="+", default=None,
                      metavar="N",
                      help="image transforms in order: 1 flip columns, 2 flip rows, 3 transpose "
                      "(default: ImTransOpt of the parameters, or none)")  # fmt: skip
    data.add_argument("-BadPxIntensity", "--bad-value", dest="bad_value", type=float, default=None,
                      metavar="COUNTS", help="value of bad pixels [counts] (default: BadPxIntensity)")  # fmt: skip
    data.add_argument("-GapIntensity", "--gap-value", dest="gap_value", type=float, default=None,
                      metavar="COUNTS", help="value of pixels in gaps [counts] (default: GapIntensity)")  # fmt: skip
    data.add_argument("--negative-counts", action="store_true", default=None,
                      help="negative values are counts (the dark is subtracted already), not marks")  # fmt: skip


def _add_known(known: argparse._ArgumentGroup) -> None:
    """Add what is known before: beam, pixels, calibrant, guesses."""
    known.add_argument("-paramFN", "--params", dest="params", default="", metavar="FILE",
                       help="MIDAS parameter file (default: none needed)")  # fmt: skip
    known.add_argument("--wavelength", type=float, default=None, metavar="ANGSTROM",
                       help="wavelength [Å] (default: that of the parameters, the header or the name)")  # fmt: skip
    known.add_argument("--energy", type=float, default=None, metavar="KEV",
                       help="photon energy [keV], instead of the wavelength (default: as for it)")  # fmt: skip
    known.add_argument("--pixel-size", type=float, default=None, metavar="UM",
                       help="pixel size [µm] (default: that of the parameters or the header)")  # fmt: skip
    known.add_argument("--calibrant", default=None, metavar="NAME",
                       help="built-in calibrant (default: CeO2), several with commas between, auto to find which one, "
                       "or a CIF file")  # fmt: skip
    known.add_argument("-LsdGuess", "--distance-guess", dest="distance", type=float, default=_NO_DISTANCE,
                       metavar="UM", help="distance guess [µm] (default: 1000000, which means none)")  # fmt: skip
    known.add_argument("-BCGuess", "--beam-center-guess", dest="beam_center", type=float, nargs=2, default=(0.0, 0.0),
                       metavar=("Y", "Z"), help="beam centre guess, column then row [px] "
                       "(default: 0 0, none)")  # fmt: skip
    known.add_argument("-FirstRingNr", "--first-ring", dest="first_ring", type=int, default=None, metavar="N",
                       help="number of the innermost strong ring on the image; a hint (default: found)")  # fmt: skip


def _add_fit(fit: argparse._ArgumentGroup) -> None:
    """Add how the geometry is fitted."""
    fit.add_argument(
        "--distortion",
        default=None,
        metavar="SET",
        help="none, classic (p0..p3), full (p0..p14) or auto: what predicts unseen azimuths best (default: classic)",
    )
    fit.add_argument("--fix", nargs="+", default=[], metavar="NAME=VALUE",
                     help="parameters held at a value: distance, parallax [µm], beam_center_y, beam_center_z [px], "
                     "tilt_y, tilt_z [deg], p0..p14 (an amplitude with its phase) (default: none)")  # fmt: skip
    fit.add_argument("--panels", choices=("auto", "none"), default=None,
                     help="auto: modules, from the gaps or the detector's name, where they help "
                     "(default: auto)")  # fmt: skip
    fit.add_argument("-EtaBinSize", "--eta-step", dest="eta_step", type=float, default=None, metavar="DEG",
                     help="azimuthal bin of the fit [deg] (default: 5)")  # fmt: skip
    fit.add_argument("-StoppingStrain", "--stopping-strain", dest="stopping_strain", type=float, default=None,
                     metavar="STRAIN", help="mean pseudo-strain at which the loop may end "
                     "(default: 0.00004)")  # fmt: skip
    fit.add_argument("-MultFactor", "--mult-factor", dest="mult_factor", type=float, default=None, metavar="X",
                     help="leave out rings beyond this many times the median strain (default: 2.5)")  # fmt: skip
    fit.add_argument("-Threshold", "--threshold", dest="threshold", type=float, default=None,
                     metavar="COUNTS", help="height over the background below which a pixel takes no part in finding "
                     "rings [counts] (default: 0, chosen)")  # fmt: skip
    fit.add_argument("-nCPUs", "--threads", dest="threads", type=int, default=0, metavar="N",
                     help="threads; results do not depend on it (default: 0, all cores)")  # fmt: skip
    fit.add_argument("--parallax", type=float, default=None, metavar="UM",
                     help="depth at which a thick sensor converts [µm] (default: 0)")  # fmt: skip
    fit.add_argument("--refine-parallax", dest="refine_parallax", action="store_true", default=None,
                     help="refine the parallax; best with several images")  # fmt: skip


def _add_output(out: argparse._ArgumentGroup) -> None:
    """Add what is written and shown."""
    out.add_argument("-resultFolder", "--out", dest="out", default=".", metavar="FOLDER",
                     help="folder for the results (default: here)")  # fmt: skip
    out.add_argument("-MakePlots", "--show", dest="show", type=int, nargs="?", const=1, default=0, choices=(0, 1),
                     help="1: show the pictures in windows at the end (default: 0)")  # fmt: skip
    out.add_argument("-SavePlotsHDF", "--save-hdf5", dest="save_hdf5", default="",
                     metavar="FILE", help="HDF5 file to write, with all intermediate arrays "
                     "(default: none)")  # fmt: skip
    out.add_argument("--export", nargs="+", default=[], metavar="FILE",
                     help="files to write the geometry to for other programs: .poni .imctrl .fit2d .nxs "
                     "(default: none beside those in the folder)")  # fmt: skip
    add_report(out, "image, rings, strains, parameters and verdict")
    out.add_argument("--json", action="store_true", help="print the result as JSON on standard output")


def _add_joint(joint: argparse._ArgumentGroup) -> None:
    """Add what concerns several images calibrated together."""
    joint.add_argument("--detector-positions", dest="detector_positions", type=float, nargs="+", default=None,
                       metavar="UM", help="reading of the detector's stage for each image [µm], growing away from the "
                       "sample; their common offset is refined (default: not known)")  # fmt: skip
    joint.add_argument("--known-distances", dest="known_distances", type=float, nargs="+", default=None, metavar="UM",
                       help="distance of each image [µm] (default: not known)")  # fmt: skip
    joint.add_argument("--distance-sigma", dest="distance_sigma", type=float, default=None, metavar="UM",
                       help="how well positions or distances are known [µm] (default: 0, exactly)")  # fmt: skip
    joint.add_argument("--refine-wavelength", dest="refine_wavelength", action="store_true", default=None,
                       help="refine the wavelength; needs two positions or distances")  # fmt: skip
    joint.add_argument("--shared-beam-center", dest="shared_beam_center", action="store_true", default=None,
                       help="one beam centre for all images (default: each its own)")  # fmt: skip


def _fixed(words: list[str]) -> dict[str, float] | None:
    """Return what `--fix` holds at which values, None where nothing."""
    values = {}
    for word in words:
        name, _, value = word.partition("=")
        try:
            values[name] = float(value)
        except ValueError:
            raise InputError(f"--fix {word}: expected NAME=VALUE, such as tilt_y=0") from None
    return values or None


def run(args: argparse.Namespace) -> int:
    """Run the subcommand and return the exit status."""
    from midas.calibration import Calibration
    from midas.calibration.job import export, run_job, run_joint_job
    from midas.reporting import report_job

    if args.data and args.image:
        raise InputError(f"the image is given as {args.image[0]} and with -dataFN as {args.data[0]}; give one of them")
    images = args.data or args.image
    job = _job(args, images)
    check(args, job.out)
    with progress_bar("calibrating") as progress:
        calibration: Calibration | JointCalibration
        if len(images) > 1:
            calibration, written = run_joint_job(job, images, n_threads=args.threads, progress=progress)
        else:
            calibration, written = run_job(job, n_threads=args.threads, progress=progress)
        page = None if args.report is None else report_job(args.report, job, images, calibration, command_of(args))
    if args.json:
        print(json.dumps({**calibration.as_dict(), **({} if page is None else {"report": str(page)})}, indent=1))
    else:
        _say(calibration, written if page is None else [*written, page])
    if isinstance(calibration, Calibration) and (exported := export(job, calibration)) and not args.json:
        print("  exported " + ", ".join(str(p) for p in exported))
    if args.show:
        _show(calibration)
    return 0 if calibration.verdict == "good" else 1


def _job(args: argparse.Namespace, images: list[str]) -> CalibrationJob:
    from midas.calibration.job import CalibrationJob
    from midas.calibration.options import JOINT_FIELDS

    return CalibrationJob(
        image=images[0] if images else "",
        params=args.params,
        dark=args.dark,
        mask=args.mask,
        data_location=args.data_location,
        file_format=args.format,
        save_hdf5=args.save_hdf5,
        export=tuple(args.export),
        out=Path(args.out),
        settings={
            "wavelength": args.wavelength,
            "energy": args.energy,
            "pixel_size": args.pixel_size,
            "calibrant": args.calibrant,
            "distance": None if args.distance == _NO_DISTANCE else args.distance,
            "beam_center": None if tuple(args.beam_center) == (0.0, 0.0) else tuple(args.beam_center),
            "first_ring": args.first_ring,
            "threshold": args.threshold,
            "distortion": args.distortion,
            "fixed": _fixed(args.fix),
            "panels": args.panels,
            "eta_step": args.eta_step,
            "stopping_strain": args.stopping_strain,
            "mult_factor": args.mult_factor,
            "image_transforms": None if args.transforms is None else tuple(args.transforms),
            "negative_counts": args.negative_counts,
            "bad_value": args.bad_value,
            "gap_value": args.gap_value,
            **{name: getattr(args, name) for name in ("parallax", "refine_parallax", *JOINT_FIELDS)},
        },
    )


def _say(calibration: Calibration | JointCalibration, written: list[Path]) -> None:
    """Print the result for people."""
    from midas.calibration import Calibration

    print(calibration)
    for note in calibration.notes:
        print(f"  note: {note}")
    if isinstance(calibration, Calibration):
        print(f"  {calibration.reason}; {len(calibration.history)} iterations, {calibration.seconds:.1f} s")
    print("  wrote " + ", ".join(str(p) for p in written))


def _show(calibration: Calibration | JointCalibration) -> None:
    """Show the pictures in windows."""
    from midas.calibration import Calibration
    from midas.plot import show

    if isinstance(calibration, Calibration):
        show(*(calibration.plot(which) for which in ("overview", "details")))
    else:
        show(calibration.plot())
