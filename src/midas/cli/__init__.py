"""The console program `midas`: argument definitions, printing and exit status; no logic."""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from collections.abc import Sequence

from midas.errors import MidasError
from midas.version import version

_COMMANDS = {
    "demo": "the main job on simulated data, to see what midas does: start here",
    "calibrate": "find the detector geometry from one image of a calibrant",
    "integrate": "cake frames into R-eta patterns and write a .zarr.zip",
    "refine": "refine the patterns of a .zarr.zip with GSAS-II",
    "run": "calibrate, integrate and refine in one go",
    "hkls": "list the powder rings of a calibrant",
    "simulate": "render a calibrant image with known geometry",
}

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""


class _ShowVersion(argparse.Action):
    """`--version`, looked up only when asked for: reading the package's metadata takes longer than parsing."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Print the version and end the program."""
        parser.exit(message=f"midas {version()}\n")


def build_parser(command: str | None = None) -> argparse.ArgumentParser:
    """Return the parser; with a command named, only that one's options are loaded (the others cost start-up time)."""
    parser = argparse.ArgumentParser(
        prog="midas",
        description="Powder diffraction with area detectors: calibrate, cake and refine.",
        epilog="New here? Run `midas demo`. Exit status: 0 done, 1 ran but the result is not good, 2 bad input.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_ShowVersion, nargs=0, help="show program's version number and exit")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, help_text in _COMMANDS.items():
        if command in (None, name):
            importlib.import_module(f"midas.cli.{name}").add_parser(subparsers)
        else:
            subparsers.add_parser(name, help=help_text, add_help=False)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status: 0 done, 1 the result is not good, 2 bad input."""
    words = list(sys.argv[1:] if argv is None else argv)
    command = next((w for w in words if w in _COMMANDS), "")
    args = build_parser(command).parse_args(words)
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(getattr(args, "log_level", logging.WARNING))
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    handler.addFilter(lambda record: not getattr(record, "in_result", False))  # printed with the result
    logging.getLogger().addHandler(handler)
    try:
        return int(importlib.import_module(f"midas.cli.{args.command}").run(args))
    except MidasError as error:
        print(f"midas {args.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            f"midas {args.command}: interrupted; each file in the results folder is whole, but some may be missing",
            file=sys.stderr,
        )
        return INTERRUPTED
    finally:
        logging.getLogger().removeHandler(handler)
