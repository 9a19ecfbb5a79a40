"""Nothing but the console program prints or ends the process; all else logs."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import midas

FOLDER = Path(midas.__file__).parent
SPEAK = ("refine/worker.py",)
"""A program of its own, which answers on standard output."""
FILES = [
    path
    for path in sorted(FOLDER.rglob("*.py"))
    if path.relative_to(FOLDER).parts[0] != "cli" and path.relative_to(FOLDER).as_posix() not in SPEAK
]


def spoken(text: str) -> list[str]:
    """Calls of print and pprint, writes to the standard streams, exits, and the root logger."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            bare = name in ("print", "pprint", "pprint.pprint", "exit", "quit", "sys.exit", "os._exit", "input")
            root = name.startswith("logging.") and name.removeprefix("logging.") in (
                "debug", "info", "warning", "error", "exception", "critical", "basicConfig",
            )  # fmt: skip
            if bare or root or name in ("sys.stdout.write", "sys.stderr.write", "sys.__stdout__.write"):
                found.append(f"line {node.lineno}: {name}")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(FOLDER).as_posix())
def test_the_library_logs_and_does_not_print(path):
    assert spoken(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "line", ["print(1)", "sys.exit(2)", "logging.info('x')", "sys.stderr.write('x')", "logging.basicConfig()"]
)
def test_what_speaks_is_found(line):
    assert len(spoken(f"def f():\n    {line}\n")) == 1
    assert spoken(f'"""{line}"""\n# {line}\nlogger.info("x")\n') == []


def test_there_are_files():
    assert len(FILES) > 100
