"""The option --report, which every command that makes results has."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path


def add_report(group: argparse._ArgumentGroup | argparse.ArgumentParser, what: str) -> None:
    """Add the option."""
    group.add_argument(
        "--report",
        type=Path,
        metavar="FILE.html",
        help=f"one HTML page with {what}, to look into, send and print without a network; "
        "asks for pip install midas-xrd[report] (default: none)",
    )


def check(args: argparse.Namespace, folder: Path) -> None:
    """Refuse a report that could not be written, before the work; `folder` is made on the way."""
    if args.report is not None:
        from midas.report import check_report

        check_report(args.report, will_exist=folder)


def command_of(args: argparse.Namespace) -> str:
    """Return the command line as a shell takes it."""
    return shlex.join(["midas", *getattr(args, "words", ())])
