"""What `--help` prints is written down in docs/cli, so that a change of a flag shows in a review.

To write the files again: MIDAS_WRITE_HELP=1 python -m pytest tests/cli/test_help.py
"""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path

import pytest

from midas.cli import _COMMANDS, build_parser, main

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "cli"
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
    text = f"$ COLUMNS=100 {command}\n{capsys.readouterr().out}"
    path = FOLDER / f"{name.replace(' ', '-')}.txt"
    if os.environ.get("MIDAS_WRITE_HELP"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return
    assert path.is_file(), f"{path} is missing; {AGAIN}"
    written = path.read_text(encoding="utf-8")
    assert written == text, f"{command} no longer prints what {path} holds; if that is meant, {AGAIN}"


def parsers() -> dict[str, argparse.ArgumentParser]:
    """Every command by its name."""
    found, waiting = {}, [("", build_parser())]
    while waiting:
        name, parser = waiting.pop()
        found[name] = parser
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                waiting += [(f"{name} {word}".strip(), command) for word, command in action.choices.items()]
    return found


PARSERS = {name: parser for name, parser in parsers().items() if name}
OPTIONS = [
    pytest.param(name, action, id=f"{name} {action.option_strings[-1]}")
    for name, parser in PARSERS.items()
    for action in parser._actions
    if action.option_strings and action.help != argparse.SUPPRESS
]
WITHOUT_UNIT = ("0 to 1", "strain", "times", "number of", "background terms", "p0..p14")
"""Words of quantities without a unit."""
LISTED_BY_GROUP = "params new"
"""Its groups say the defaults of all their options."""


def test_the_first_help_fits_a_terminal_and_lists_every_command(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines if line.startswith("  ")] == list(_COMMANDS)
    assert "`midas demo`" in lines[3]


def test_without_a_command_the_first_help_is_shown(capsys):
    assert main([]) == 2
    assert "`midas demo`" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "action"), OPTIONS)
def test_every_option_says_what_it_is_its_default_and_its_unit(name, action):
    assert action.help, "it has no help"
    if action.nargs == 0:
        return
    said = re.search(r"\(default: ([^()]*(\([^()]*\))?[^()]*)\)|\(required", action.help)
    assert said or name == LISTED_BY_GROUP, "its help ends without (default: ...) or (required)"
    if action.type is float:
        assert "[" in action.help or any(w in action.help for w in WITHOUT_UNIT), "its help says no unit in brackets"
    if said and said[1] and isinstance(action.default, int | float):
        number = re.match(r"-?[\d.]+", said[1])
        assert number is None or float(number[0]) == action.default, f"its default is {action.default}"


@pytest.mark.parametrize("name", [name for name, parser in PARSERS.items() if len(parser._actions) > 6])
def test_long_help_is_grouped_by_task(name):
    parser = PARSERS[name]
    loose = [a for a in parser._optionals._group_actions + parser._positionals._group_actions if a.dest != "help"]
    assert not loose, [a.dest for a in loose]
    assert len([g for g in parser._action_groups if g._group_actions]) > 2


@pytest.mark.parametrize("name", PARSERS)
def test_usage_is_one_line(name):
    usage = PARSERS[name].format_usage()
    assert usage.startswith(f"usage: midas {name} ")
    assert len(usage.splitlines()) == 1
    assert len(usage) <= 120


def test_nothing_else_is_written_down():
    assert {p.stem for p in FOLDER.glob("*.txt")} <= {
        "midas",
        *_COMMANDS,
        *(action.replace(" ", "-") for action in ACTIONS),
    }
