"""`midas doctor`: what is printed, and the exit status."""

from __future__ import annotations

import argparse
import json
import shutil
import textwrap
from dataclasses import asdict
from typing import TYPE_CHECKING

from midas.cli.progress import progress_bar

if TYPE_CHECKING:
    from midas.doctor import Diagnosis
    from midas.self_test import SelfTest

_MARGIN = 25
_WIDEST = 110


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "doctor",
        help="what is installed, and a self-test of five seconds",
        description="Say what is installed and works: packages, codecs, threads, memory, folders, GSAS-II, and a "
        "self-test that calibrates and cakes a small simulated image and compares with the truth.",
        usage="%(prog)s [options]",
        epilog="Exit status: 0 all that is needed works (notes may be printed), 1 something does not.",
    )
    parser.add_argument(
        "--gsas2-python", metavar="PROGRAM", help="Python that has GSAS-II (default: MIDAS_GSAS2_PYTHON, then this one)"
    )
    parser.add_argument("-nCPUs", "--threads", dest="threads", type=int, default=0, metavar="N",
                        help="threads of the self-test (default: 0, all cores)")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else on standard output")


def run(args: argparse.Namespace) -> int:
    """Look, print what was found and return the exit status."""
    from midas.doctor import diagnose

    with progress_bar("looking") as progress:
        progress(0, 1, "")
        found = diagnose(gsas2_python=args.gsas2_python, n_threads=args.threads)
    if args.json:
        print(json.dumps(_as_data(found), indent=1))
    else:
        print("\n".join(_lines(found)))
    return 1 if found.problems else 0


def _as_data(found: Diagnosis) -> dict[str, object]:
    tested = found.self_test
    return {
        "status": "problem" if found.problems else "ok",
        "findings": [asdict(f) for f in found.findings],
        "self_test": None if tested is None else {**asdict(tested), "passed": tested.passed},
    }


def _lines(found: Diagnosis) -> list[str]:
    width = min(shutil.get_terminal_size((_WIDEST, 24)).columns, _WIDEST)
    lines = []
    for finding in found.findings:
        head = f"{finding.status:8}{finding.name:14}"
        text = finding.said + (f". To do: {finding.advice}" if finding.advice else "")
        lines += textwrap.wrap(
            text, width, initial_indent=head, subsequent_indent=" " * len(head),
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip
    if found.self_test is not None:
        lines += ["", *_table(found.self_test)]
    bad = [f.name for f in found.problems]
    notes = sum(f.status == "note" for f in found.findings)
    end = f"{len(bad)} of these must be mended: {', '.join(bad)}" if bad else "all that midas needs is here and works"
    return [*lines, "", end + (f"; {notes} note{'s'[: notes > 1]} above" if notes and not bad else "")]


def _table(tested: SelfTest) -> list[str]:
    lines = [f"{'self-test':{_MARGIN}}{'found':>14}{'true':>14}{'difference':>13}{'allowed':>11}"]
    for q in tested.quantities:
        lines.append(
            f"{f'{q.name} [{q.unit}]':{_MARGIN}}{q.found:14.6f}{q.true:14.6f}{q.found - q.true:13.1e}"
            f"{q.allowed:11.1e}{'' if q.good else '  NOT GOOD'}"
        )
    return [*lines, f"verdict of the calibration: {tested.verdict}"]
