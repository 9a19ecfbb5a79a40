"""README.md tells the truth: its commands exist, its Python compiles, its links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).resolve().parents[1] / "README.md"
TEXT = README.read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[str]:
    return [code for kind, code in BLOCKS if kind == language]


@pytest.mark.parametrize("code", blocks("python"))
def test_python_compiles_and_names_what_exists(code):
    import midas

    compile(code, "README.md", "exec")
    for name in re.findall(r"\bmidas\.(\w+)", code):
        assert hasattr(midas, name), f"README.md uses midas.{name}, which does not exist"


@pytest.mark.parametrize("command", sorted(set(re.findall(r"\bmidas ([a-z]+)\b", "\n".join(blocks("bash"))))))
def test_commands_exist(command):
    run = subprocess.run([sys.executable, "-m", "midas.cli", command, "--help"], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert command in run.stdout


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", TEXT))))
def test_links_lead_somewhere(link):
    assert (README.parent / link).exists(), f"README.md links to {link}, which does not exist"
