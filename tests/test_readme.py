"""README.md tells the truth: its commands exist, its Python compiles, its links lead somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

import midas.cli

README = Path(__file__).resolve().parents[1] / "README.md"
TEXT = README.read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[str]:
    return [code for kind, code in BLOCKS if kind == language]


@pytest.mark.parametrize("code", blocks("python"))
def test_python_compiles_and_names_what_exists(code):
    compile(code, "README.md", "exec")
    for name in re.findall(r"\bmidas\.(\w+)", code):
        assert hasattr(midas, name), f"README.md uses midas.{name}, which does not exist"


def midas_commands() -> list[list[str]]:
    """The words of every call of midas in the bash blocks, without the program's own name."""
    lines = "\n".join(blocks("bash")).replace("\\\n", " ").splitlines()
    calls = [shlex.split(call, comments=True) for line in lines for call in re.split(r"&&|;|\|", line)]
    return [words[1:] for words in calls if words and Path(words[0]).name == "midas"]


def test_there_are_commands():
    assert len(midas_commands()) >= 6


@pytest.mark.parametrize("words", midas_commands(), ids=" ".join)
def test_commands_are_understood(words):
    assert midas.cli.build_parser(words[0]).parse_args(words).command == words[0]


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", TEXT))))
def test_links_lead_somewhere(link):
    assert (README.parent / link).exists(), f"README.md links to {link}, which does not exist"
