"""`midas refine`: arguments, the table at the end and the exit status."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import Any, TextIO

from midas.errors import InputError

WORST = 5


def add_parser(subparsers: Any) -> None:
    """Add the subcommand and its options."""
    parser = subparsers.add_parser(
        "refine",
        help="refine the patterns of a .zarr.zip with GSAS-II",
        description="Refine every lineout of a caked file with GSAS-II, stage by stage, judging each fit.",
        epilog="Exit status: 0 done, 1 some histograms failed, 2 bad input or no GSAS-II, 3 none could be refined. "
        "Example: midas refine --data x.zarr.zip --cif CeO2.cif --limits 3 15",
        allow_abbrev=False,
    )
    parser.add_argument("data_file", nargs="?", type=Path, help="caked file (.zarr.zip); the same as --data")
    parser.add_argument("-d", "--data", type=Path, metavar="FILE", help="caked file (.zarr.zip)")
    parser.add_argument("-c", "--cif", type=Path, nargs="+", metavar="FILE", help="one CIF file per phase (required)")
    parser.add_argument(
        "-o", "--out", type=Path, default=Path("refinement"), metavar="FOLDER", help="results (default: refinement)"
    )
    parser.add_argument(
        "-i",
        "--instprm",
        type=Path,
        metavar="FILE",
        help="instrument parameters that win over the file's (default: x.zarr.instprm or x.instprm beside the data)",
    )
    parser.add_argument("--bkg-terms", type=int, default=6, metavar="N", help="background terms (default: 6)")
    parser.add_argument(
        "--limits", type=float, nargs=2, metavar=("LOW", "HIGH"), help="2theta range fitted [deg] (default: all)"
    )
    parser.add_argument(
        "--nCPUs", "-nCPUs", "--n-cpus", dest="n_cpus", type=int, default=1, metavar="N",
        help="histograms refined at the same time, 0 for every core (default: 1)",
    )  # fmt: skip
    parser.add_argument("--no-atoms", action="store_true", help="leave coordinates and displacements as in the CIF")
    parser.add_argument("--no-export", action="store_true", help="write the summary only, no project, CIF or CSV")
    parser.add_argument(
        "--histograms", type=int, nargs="+", metavar="N", help="refine these only, numbered sum by sum and eta by eta"
    )
    parser.add_argument(
        "--time-limit", type=float, default=300.0, metavar="SECONDS", help="for one histogram (default: 300)"
    )
    parser.add_argument(
        "-skipExisting",
        "--skip-existing",
        "--resume",
        dest="skip_existing",
        action="store_true",
        help="take up a run again: leave histograms alone that were refined from the same inputs in the same way",
    )
    parser.add_argument(
        "--gsas2-python", metavar="PROGRAM", help="Python that has GSAS-II (default: MIDAS_GSAS2_PYTHON, then this one)"
    )
    cluster = parser.add_argument_group("where one machine is not enough (pip install midas-xrd[cluster])")
    cluster.add_argument("--scheduler", metavar="ADDRESS", help="a running dask cluster: tcp://host:8786, or its .json")
    cluster.add_argument(
        "--cluster",
        metavar="KIND",
        help="start a dask cluster: local, slurm, pbs, lsf, sge or htcondor (set up in dask's jobqueue.yaml)",
    )
    cluster.add_argument(
        "--workers", type=int, default=2, metavar="N", help="workers of the cluster that is started (default: 2)"
    )
    parser.add_argument("--plots", action="store_true", help="draw every refined histogram as hist_NNNN.png")
    parser.add_argument("-v", "--verbose", action="store_true", help="list every histogram, with its stages")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON and nothing else")


def run(args: argparse.Namespace) -> int:
    """Refine and return the exit status."""
    from midas.cli.integrate import executor_of
    from midas.cli.progress import progress_bar
    from midas.refine import run_refinement

    data = args.data or args.data_file
    if data is None:
        raise InputError("no caked file: give --data FILE.zarr.zip")
    if not args.cif:
        raise InputError("no phase to refine: name at least one CIF file with --cif")
    if args.plots and args.no_export:
        raise InputError("--plots draws the exported patterns; leave out --no-export")
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
            n_cpus=n_workers if executor is not None else args.n_cpus,
            executor=executor,
            refine_atoms=not args.no_atoms,
            export=not args.no_export,
            gsas2_python=args.gsas2_python,
            histograms=args.histograms,
            time_limit=args.time_limit,
            skip_existing=args.skip_existing,
            progress=progress,
        )
    if args.plots:
        draw(summary, args.out)
    if args.json:
        print(json.dumps(summary, allow_nan=False))
    else:
        print_summary(summary, verbose=args.verbose)
        print(f"written: {args.out / 'refinement_summary.json'}")
    return exit_status(summary)


def exit_status(summary: dict[str, Any]) -> int:
    """Return 0 when nothing failed, 3 when nothing could be refined, 1 in between."""
    if summary["succeeded"] + summary["partial"] == 0:
        return 3
    return 1 if summary["failed"] else 0


def draw(summary: dict[str, Any], folder: Path) -> None:
    """Draw every histogram that was exported."""
    from midas.refine.plot import plot_histogram, read_pattern

    for entry in summary["histograms"]:
        index = entry["histogram_index"]
        if (folder / f"hist_{index:04d}_data.csv").is_file():
            title = f"histogram {index}: {entry['status']}, Rwp {_percent(entry['Rwp'])}"
            title += "" if entry["eta"] is None else f", eta {entry['eta']:.1f} deg"
            plot_histogram(read_pattern(folder, index), title=title, path=folder / f"hist_{index:04d}.png")


def _percent(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f} %"


def print_summary(summary: dict[str, Any], *, verbose: bool = False, stream: TextIO | None = None) -> None:
    """Print how many of each status, Rwp, the mean cells, and the five worst with their reasons."""
    out = stream or sys.stdout
    counts = [f"{summary[k]} {k}" for k in ("succeeded", "partial", "failed", "skipped")]
    print(f"{summary['total_histograms']} histograms: {', '.join(counts)}", file=out)
    print(
        f"Rwp of the successes: mean {_percent(summary['mean_Rwp'])}, median {_percent(summary['median_Rwp'])}",
        file=out,
    )
    for phase in summary["phases"]:
        for key in ("a", "b", "c", "alpha", "beta", "gamma"):
            esd, scatter = phase["median_esd"][key], phase["scatter"][key]
            same_as_a = key in ("b", "c") and phase["mean"][key] == phase["mean"]["a"]
            if esd is None or same_as_a:
                continue
            unit = "Å" if len(key) == 1 else "deg"
            spread = "" if scatter is None else f", scatter {scatter:.2g}"
            print(f"{phase['name']}: {key} = {phase['mean'][key]:.6f} {unit}{spread}, esd {esd:.2g}", file=out)
    for entry in summary["histograms"] if verbose else worst(summary):
        words = f"  {entry['histogram_index']:5d}  {entry['status']:8s} Rwp {_percent(entry['Rwp'])}"
        print(f"{words}  {entry['reason'] or ''}".rstrip(), file=out)
        if verbose:
            for stage in entry["stages"]:
                print(f"         {stage['name']}: {stage['outcome']}, Rwp {_percent(stage['Rwp'])}", file=out)


def worst(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """Return up to five histograms that are not a success, the failed ones first, then by Rwp."""
    order = ("failed", "partial", "skipped")
    bad = [h for h in summary["histograms"] if h["status"] in order]
    bad.sort(key=lambda h: (order.index(h["status"]), -(h["Rwp"] or 0.0), h["histogram_index"]))
    return bad[:WORST]
