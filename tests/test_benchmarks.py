"""The benchmarks are programs of their own, run by hand: here they are loaded, so that none goes stale unseen."""

from __future__ import annotations

import json
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


@pytest.mark.skipif(not PROGRAMS, reason="the benchmarks are not here; run from a clone of the project")
def test_caking_is_right_at_small_sizes(tmp_path):
    command = [
        sys.executable,
        str(FOLDER / "caking.py"),
        "--quick",
        "--no-peer",
        "--out",
        str(tmp_path / "caking.json"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {row["group"] for row in json.loads((tmp_path / "caking.json").read_text())["rows"]} == {
        "speed",
        "bandwidth",
        "threads",
        "map",
        "accuracy",
    }


@pytest.mark.skipif(not PROGRAMS, reason="the benchmarks are not here; run from a clone of the project")
def test_throughput_is_measured_at_small_sizes(tmp_path):
    command = [sys.executable, str(FOLDER / "throughput.py"), "--quick", "--no-peer"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "throughput.json")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads((tmp_path / "throughput.json").read_text())["rows"]
    assert {row["group"] for row in rows} == {"rate", "memory", "stage"}
    assert all(row["value"] > 0.0 for row in rows if row["group"] in ("rate", "memory"))
