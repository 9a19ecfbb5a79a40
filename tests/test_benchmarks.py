"""The benchmarks are programs of their own, run by hand: here they are only loaded, so that none goes stale unseen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
PROGRAMS = sorted(path.name for path in FOLDER.glob("*.py"))


@pytest.mark.skipif(not PROGRAMS, reason="the benchmarks are not here; run from a clone of the project")
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_benchmark_finds_what_it_imports(program):
    code = f"import runpy, sys; sys.path.insert(0, {str(FOLDER)!r}); runpy.run_path({str(FOLDER / program)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
