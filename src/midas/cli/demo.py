"""`midas demo`: the main job on simulated data."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from midas.cli.progress import progress_bar
from midas.cli.report import add_report, check, command_of

if TYPE_CHECKING:
    from midas.demo import Demo


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "demo",
        help="the whole job on simulated data, beside what is true",
        description="Simulates a calibrant image and a sample scan with known truth, calibrates, cakes, refines when "
        "GSAS-II is there, and prints what was found beside what is true. Under a minute; needs no input.",
        usage="%(prog)s [options]",
        epilog="Exit status: 0 done, 1 something is not good, 2 the folder cannot be used.",
    )
    parser.add_argument(
        "--out", default="midas-demo", metavar="FOLDER", help="folder for the results (default: midas-demo)"
    )
    parser.add_argument("-nCPUs", "--threads", dest="threads", type=int, default=0, metavar="N",
                        help="cores (default: 0, all)")  # fmt: skip
    parser.add_argument("--gsas2-python", default=None, metavar="PROGRAM",
                        help="Python that has GSAS-II (default: MIDAS_GSAS2_PYTHON, then this one)")  # fmt: skip
    add_report(parser, "all that was found")
    parser.add_argument("--json", action="store_true", help="print the result as JSON on standard output")


def run(args: argparse.Namespace) -> int:
    """Run the subcommand and return the exit status."""
    from midas.demo import run_demo

    check(args, Path(args.out))
    with progress_bar("demo") as progress:
        demo = run_demo(args.out, n_threads=args.threads, gsas2_python=args.gsas2_python, progress=progress)
    if args.report is not None:
        from midas.reporting import write_report

        parts = [] if demo.refinement is None else [Path(args.out) / "refinement"]
        title = "midas demo, on simulated data"
        write_report(args.report, demo.calibration, demo.cake, *parts, title=title, command=command_of(args))
    if args.json:
        found = {"table": [asdict(r) for r in demo.table], "stopped": demo.stopped, "seconds": demo.seconds}
        print(json.dumps(found if args.report is None else {**found, "report": str(args.report)}))
    else:
        _print(demo)
        if args.report is not None:
            print(f"report: {args.report}")
    refined = demo.refinement is None or demo.refinement["succeeded"] == demo.refinement["total_histograms"]
    return 0 if demo.calibration.verdict == "good" and refined else 1


def _print(demo: Demo) -> None:
    print(f"{'':20} {'found':>14} {'true':>14} {'esd':>11}  unit   (found-true)/esd")
    for row in demo.table:
        print(f"{row.name:20} {row.found:14.6f} {row.true:14.6f} {row.esd:11.6f}  {row.unit:6} {row.pull:6.1f}")
    print(f"\ncalibration: {demo.calibration.verdict}, mean strain {demo.calibration.mean_strain * 1e6:.1f} µε")
    print(f"cake: {demo.cake}")
    if demo.refinement is not None:
        s = demo.refinement
        print(f"refinement: {s['succeeded']} of {s['total_histograms']} lineouts, mean Rwp {s['mean_Rwp']:.2f} %")
    else:
        print(f"refinement: left out. {demo.stopped}")
    print(f"\n{demo.seconds:.1f} s; results in {demo.files[0].parent}/: " + ", ".join(p.name for p in demo.files))
    print("look at calibration.png and cake.png first")
