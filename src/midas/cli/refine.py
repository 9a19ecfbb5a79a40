"""`midas refine`: arguments, the table at the end and the exit status."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import Any

from midas.cli.cluster import add_cluster, executor_of, warn_of_cores
from midas.cli.recipe import add_recipe, print_recipe, recipe, warn_of_empty_pictures
from midas.cli.report import add_report, check, command_of
from midas.errors import InputError


def add_parser(subparsers: Any) -> None:
    """Add the subcommand and its options."""
    parser = subparsers.add_parser(
        "refine",
        help="refine the patterns of a .zarr.zip with GSAS-II",
        description="Refine every lineout of a caked file with GSAS-II, stage by stage, judging each fit.",
        usage="%(prog)s CAKED_FILE --cif FILE [FILE ...] [options]",
        epilog="Example: midas refine --data x.zarr.zip --cif CeO2.cif --limits 3 15\n"
        "Exit status: 0 done, 1 some failed or none is a success, 2 bad input or no GSAS-II, 3 none could be refined.",
    )
    _add_data(parser.add_argument_group("data and phases"))
    _add_fitted(parser.add_argument_group("what is fitted"))
    add_recipe(parser.add_argument_group("recipe"))
    _add_control(parser.add_argument_group("control"))
    add_cluster(parser)
    _add_results(parser.add_argument_group("results"))
    parser.set_defaults(parser=parser)


def _add_data(data: argparse._ArgumentGroup) -> None:
    data.add_argument(
        "data_file", nargs="?", type=Path, metavar="CAKED_FILE", help="caked file (.zarr.zip); the same as --data"
    )
    data.add_argument("-d", "--data", type=Path, metavar="FILE", help="the same (default: CAKED_FILE)")
    data.add_argument("-c", "--cif", type=Path, nargs="+", metavar="FILE", help="one CIF file per phase (required)")
    data.add_argument(
        "-i",
        "--instprm",
        type=Path,
        metavar="FILE",
        help="instrument parameters that win over the file's (default: x.zarr.instprm or x.instprm beside the data)",
    )


def _add_fitted(fitted: argparse._ArgumentGroup) -> None:
    fitted.add_argument(
        "--limits", type=float, nargs=2, metavar=("LOW", "HIGH"), help="2theta range fitted [deg] (default: all)"
    )
    fitted.add_argument(
        "--exclude", type=float, nargs=2, action="append", metavar=("LOW", "HIGH"),
        help="2theta region left out [deg]; may be given several times (default: none)",
    )  # fmt: skip
    fitted.add_argument(
        "--histograms", type=int, nargs="+", metavar="N",
        help="refine these only, numbered sum by sum and eta by eta (default: all)",
    )  # fmt: skip
    fitted.add_argument(
        "--omega",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="refine sums with their middle in this range [deg] (default: all)",
    )
    fitted.add_argument(
        "--eta", type=float, nargs=2, metavar=("FROM", "TO"),
        help="refine azimuths in this range [deg], e.g. 170 -170 (default: all)",
    )  # fmt: skip


def _add_control(control: argparse._ArgumentGroup) -> None:
    control.add_argument(
        "--nCPUs", "-nCPUs", "--n-cpus", dest="n_cpus", type=int, metavar="N",
        help="histograms refined at the same time, 0 for every core; a cluster has its own number (default: 1)",
    )  # fmt: skip
    control.add_argument(
        "--engine", choices=["gsas2"], default="gsas2", help="what refines (default: gsas2, the only one so far)"
    )
    control.add_argument(
        "--time-limit", type=float, default=300.0, metavar="SECONDS", help="for one histogram [s] (default: 300)"
    )
    control.add_argument(
        "-skipExisting",
        "--skip-existing",
        "--resume",
        dest="skip_existing",
        action="store_true",
        help="take up a run again: leave histograms alone that were refined from the same inputs in the same way",
    )
    control.add_argument(
        "--gsas2-python", metavar="PROGRAM", help="Python that has GSAS-II (default: MIDAS_GSAS2_PYTHON, then this one)"
    )
    control.add_argument(
        "--check", action="store_true",
        help="refine nothing: where the rings lie beside where they should; is the calibration consistent?",
    )  # fmt: skip


def _add_results(results: argparse._ArgumentGroup) -> None:
    results.add_argument(
        "-o", "--out", type=Path, default=Path("refinement"), metavar="FOLDER", help="results (default: refinement)"
    )
    results.add_argument(
        "--no-export", action="store_true", help="write summary and table only, no project, CIF or CSV"
    )
    results.add_argument("--plots", action="store_true", help="draw results over eta and omega, Rwp and each histogram")
    add_report(results, "the table of all histograms, each fit, and maps")
    results.add_argument("-v", "--verbose", action="store_true", help="list every histogram, with its stages")
    results.add_argument("--json", action="store_true", help="print the summary as JSON and nothing else")


_CHOOSING = ("data_file", "data", "cif", "limits", "exclude", "histograms", "omega", "eta")
_USED_BY_CHECK = (*_CHOOSING, "help", "check", "json", "out")  # a command to which --check is added names its folder


def run(args: argparse.Namespace) -> int:
    """Refine and return the exit status."""
    from midas.cli.progress import progress_bar
    from midas.refine import draw_pictures, run_refinement
    from midas.refine.report import exit_status, summary_lines, written_lines
    from midas.reporting import report_refinement

    if args.print_stages:
        print_recipe(args)
        return 0
    data = args.data or args.data_file
    if args.data is not None and args.data_file not in (None, args.data):
        raise InputError(f"two caked files were given, {args.data_file} and --data {args.data}; give one")
    if data is None:
        raise InputError("no caked file: give --data FILE.zarr.zip")
    if not args.cif:
        raise InputError("no phase to refine: name at least one CIF file with --cif")
    if args.check:
        _refuse_beside_check(args)
        return run_check(args, data)
    check(args, args.out)
    warn_of_empty_pictures(args)
    warn_of_cores(args, "--nCPUs", args.n_cpus)
    if args.verbose:
        logging.getLogger("midas").setLevel(logging.INFO)
    with progress_bar("refining") as progress, executor_of(args) as (executor, n_workers):
        summary = run_refinement(
            data,
            args.cif,
            args.out,
            instprm=args.instprm,
            bkg_terms=args.bkg_terms,
            limits=args.limits,
            n_cpus=n_workers if executor is not None else 1 if args.n_cpus is None else args.n_cpus,
            executor=executor,
            exclude=args.exclude,
            stages=recipe(args),
            export=not args.no_export,
            engine=args.engine,
            gsas2_python=args.gsas2_python,
            histograms=args.histograms,
            omega=args.omega,
            eta=args.eta,
            time_limit=args.time_limit,
            skip_existing=args.skip_existing,
            progress=progress,
        )
    if args.plots:
        with progress_bar("drawing") as progress:
            draw_pictures(args.out, progress=progress)
    page = None if args.report is None else str(report_refinement(args.report, args.out, command_of(args)))
    if args.json:
        print(json.dumps(summary if page is None else {**summary, "report": page}, allow_nan=False))
    else:
        told = [*summary_lines(summary, verbose=args.verbose), "", *written_lines(args.out)]
        print("\n".join(told if page is None else [*told, f"  report: {page}"]))
    return exit_status(summary)


def _refuse_beside_check(args: argparse.Namespace) -> None:
    """Refuse every flag that a check has no use for: it refines nothing, and runs here."""
    words = set(getattr(args, "words", ()))
    for action in args.parser._actions:
        if action.dest in _USED_BY_CHECK or getattr(args, action.dest, action.default) == action.default:
            continue
        flag = next((name for name in action.option_strings if name in words), action.option_strings[0])
        raise InputError(f"--check refines nothing, and has no use for {flag}; drop one of them")


def run_check(args: argparse.Namespace, data: Path) -> int:
    """Print the shift of every ring and the verdict; return 0 when the calibration is consistent, else 1."""
    from midas.refine.batch import check_calibration

    found = check_calibration(
        data,
        args.cif,
        limits=args.limits,
        exclude=args.exclude,
        histograms=args.histograms,
        omega=args.omega,
        eta=args.eta,
    )
    if args.json:
        print(json.dumps(found.to_data(), allow_nan=False))
        return 0 if found.consistent else 1
    print("phase         h k l     expected     shift [deg]        shift of d      found in")
    for r in found.rings:
        moved = f"{'not found':>27s}" if r.shift is None else f"{r.shift:+.5f} ± {r.shift_sigma:.5f}   {r.d_shift:+.2e}"
        hkl = " ".join(str(i) for i in r.hkl)
        hidden = ", overlapped" if r.overlapped else ""
        print(f"{r.phase:12s}  {hkl:8s}  {r.two_theta:8.4f}   {moved:32s}  {r.found} of {r.lineouts}{hidden}")
    print(f"{'consistent' if found.consistent else 'NOT consistent'}: {found.verdict}")
    return 0 if found.consistent else 1
