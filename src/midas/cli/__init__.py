"""The console program `midas`: argument definitions, printing and exit status; no logic."""

from __future__ import annotations

import argparse
import contextlib
import errno
import importlib
import io
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TextIO

from midas.cli.parser import CommandParser
from midas.errors import ClusterError, MidasError
from midas.messages import IN_RESULT, CallerWarning
from midas.version import version

_COMMANDS = {
    "demo": "the whole job on simulated data, beside what is true",
    "doctor": "what is installed, and a self-test of five seconds",
    "calibrate": "find the detector geometry from an image of a calibrant",
    "integrate": "cake frames into R-eta patterns and write a .zarr.zip",
    "refine": "refine the patterns of a .zarr.zip with GSAS-II",
    "run": "calibrate, integrate and refine in one go",
    "inspect": "say what is in a file and what is wrong with it",
    "params": "explain, check or write parameter files",
    "convert": "write image files of any format as .MIDAS.zip, or as HDF5",
    "hkls": "list the powder rings of a calibrant",
    "simulate": "render a calibrant image with known geometry",
    "completion": "print what makes a shell complete commands and options",
}
_GROUPS = {
    "start here": ("demo", "doctor"),
    "the job": ("calibrate", "integrate", "refine", "run"),
    "files": ("inspect", "params", "convert"),
    "more": ("hkls", "simulate", "completion"),
}
"""The commands as `midas --help` shows them."""

_KEPT = "files that were finished are whole, others were not begun"
_WITHOUT_RESULTS = ("doctor", "hkls", "inspect", "params", "completion")
_PRINT_NOTES = ("calibrate",)
"""Commands whose result says all that was warned of."""
INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""


class _ShowVersion(argparse.Action):
    """`--version`, looked up only when asked for: reading the package's metadata takes longer than parsing."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Print the version and end the program."""
        parser.exit(message=f"midas {version()}\n")


class _Program(CommandParser):
    """The parser of the program itself, whose help is one screen."""

    def format_help(self) -> str:
        """Return 24 lines of at most 80 columns: what to run first, and every command."""
        lines = [
            "usage: midas COMMAND [options]      midas COMMAND --help explains one",
            "",
            "Powder diffraction with area detectors: calibrate, cake and refine.",
            "New here? Run `midas demo`; is something amiss? `midas doctor`.",
        ]
        lines.append("")
        for title, names in _GROUPS.items():
            lines += [f"{title}:", *(f"  {name:12}{_COMMANDS[name]}" for name in names)]
        return "\n".join(
            [*lines, "", "midas --version says the version. Exit status: 0 done, 1 not good, 2 bad input.", ""]
        )


def build_parser(command: str | None = None) -> CommandParser:
    """Return the parser; with a command named, only that one's options are loaded (the others cost start-up time)."""
    parser = _Program(prog="midas")
    parser.add_argument("--version", action=_ShowVersion, nargs=0, help="show program's version number and exit")
    subparsers = parser.add_subparsers(
        dest="command", metavar="COMMAND", required=True, prog="midas", parser_class=CommandParser
    )
    for name, help_text in _COMMANDS.items():
        if command in (None, name):
            importlib.import_module(f"midas.cli.{name}").add_parser(subparsers)
        else:
            subparsers.add_parser(name, help=help_text, add_help=False)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status: 0 done, 1 the result is not good, 2 bad input."""
    words = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):  # a terminal that has no µ or η, and names that are not UTF-8
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if not words:
        build_parser("").print_help(sys.stderr)
        return 2
    command = next((w for w in words if w in _COMMANDS), "")
    if argv is None and command == "calibrate":
        # In a process of its own, before OpenMP is loaded: see docs/decisions/pictures-in-a-second-process.md.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        args = build_parser(command).parse_args(words)
    except KeyboardInterrupt:
        return INTERRUPTED
    args.words = words
    with _messages(args) as withheld, _ended_politely():
        try:
            status = int(importlib.import_module(f"midas.cli.{args.command}").run(args))
        except MidasError as error:
            withheld()
            print(f"midas {args.command}: {error}", file=sys.stderr)
            status = _status_of(error, args.command)
        except KeyboardInterrupt as error:
            kept = str(error) or (_KEPT if args.command not in _WITHOUT_RESULTS else "")
            print(f"midas {args.command}: interrupted{'; ' if kept else ''}{kept}", file=sys.stderr)
            status = INTERRUPTED
        except OSError as error:
            if error.filename is None:
                _give_up_output(args.command, error)
            else:
                withheld()
                refused = f"{error.filename}: {error.strerror or error}"
                advice = "see to it that it is there, and may be read and written"
                print(f"midas {args.command}: {refused}; {advice}", file=sys.stderr)
            status = 2
    return status if _output_written(args.command) else 2


def _status_of(error: MidasError, command: str) -> int:
    """Return 2 for bad input; where a cluster was lost on the way, 1, or 3 where nothing could be refined."""
    if not isinstance(error, ClusterError):
        return 2
    return 3 if command == "refine" and not error.n_done else 1


@contextlib.contextmanager
def _messages(args: argparse.Namespace) -> Iterator[Callable[[], None]]:
    """Show log records on standard error; yield what shows those withheld because the result will say them again."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(getattr(args, "log_level", logging.WARNING))
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    repeated: list[logging.LogRecord] = []

    def withhold(record: logging.LogRecord) -> bool:
        again = args.command in _PRINT_NOTES and bool(getattr(record, IN_RESULT, False))
        if again:
            repeated.append(record)
        return not again

    def show() -> None:
        for record in repeated:
            handler.emit(record)

    handler.addFilter(withhold)
    of_midas = logging.getLogger("midas")
    level = of_midas.level
    logging.getLogger().addHandler(handler)
    try:
        with _warnings_logged(of_midas):
            yield show
    finally:
        logging.getLogger().removeHandler(handler)
        of_midas.setLevel(level)  # which a command may have set for itself


@contextlib.contextmanager
def _warnings_logged(logger: logging.Logger) -> Iterator[None]:
    """Make log records of Python's warnings, so that they look as all else and are in log files, too."""
    before = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, CallerWarning):
            logger.warning("%s", message)
        else:  # of another package: whoever looks into it wants to know where
            logger.warning("%s: %s (%s, line %d)", category.__name__, message, filename, lineno)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = before


@contextlib.contextmanager
def _ended_politely() -> Iterator[None]:
    """Take the signal by which batch systems end a program as Ctrl-C: what is half written is removed."""
    from midas.cli.progress import end, forget_end

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    forget_end()
    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    say = sys.unraisablehook

    def say_unless_interrupted(dropped: sys.UnraisableHookArgs) -> None:
        if not isinstance(dropped.exc_value, KeyboardInterrupt):  # which `end` has kept
            say(dropped)

    sys.unraisablehook = say_unless_interrupted
    try:
        yield
    finally:
        sys.unraisablehook = say
        for number, handler in before.items():
            signal.signal(number, handler)


def _output_written(command: str) -> bool:
    """Return whether all that was printed has reached standard output; it may be closed."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        _give_up_output(command, error)
        return False
    return True


def _give_up_output(command: str, error: OSError) -> None:
    """Say that standard output cannot be written to, and keep Python from trying again at its end."""
    if error.errno != errno.EPIPE:  # whoever read it has seen enough, as `head`
        print(f"midas {command}: cannot write to standard output: {error.strerror or error}", file=sys.stderr)
    with contextlib.suppress(OSError, ValueError):  # no file, as in tests
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
