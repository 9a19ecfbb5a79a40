"""What `--help` prints is written down in docs/cli, so that a change of a flag shows in a review.

To write the files again: MIDAS_WRITE_HELP=1 python -m pytest tests/cli/test_help.py
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from midas.cli import _COMMANDS, main

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "cli"
PYTHON = f"Python {sys.version_info.major}.{sys.version_info.minor}"
AGAIN = "write it with MIDAS_WRITE_HELP=1 python -m pytest tests/cli/test_help.py"


ACTIONS = ("params check", "params new")


@pytest.mark.parametrize("name", ["midas", *_COMMANDS, *ACTIONS])
def test_help_is_as_written_down(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")
    words = [] if name == "midas" else name.split()
    with pytest.raises(SystemExit) as stop:
        main([*words, "--help"])
    assert stop.value.code == 0
    command = " ".join(["midas", *words, "--help"])
    text = f"$ COLUMNS=100 {command}  # {PYTHON}\n{capsys.readouterr().out}"
    path = FOLDER / f"{name.replace(' ', '-')}.txt"
    if os.environ.get("MIDAS_WRITE_HELP"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return
    assert path.is_file(), f"{path} is missing; {AGAIN}"
    written = path.read_text(encoding="utf-8")
    first_line = written.partition("\n")[0]
    if not first_line.endswith(f"# {PYTHON}"):
        pytest.skip(f"written by {first_line.rpartition('# ')[2]}, whose argparse lays help out differently")
    assert written == text, f"{command} no longer prints what {path} holds; if that is meant, {AGAIN}"


def test_nothing_else_is_written_down():
    assert {p.stem for p in FOLDER.glob("*.txt")} <= {
        "midas",
        *_COMMANDS,
        *(action.replace(" ", "-") for action in ACTIONS),
    }
