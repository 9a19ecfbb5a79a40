"""How much memory a process of its own took, for tests: all of it, the core's and the libraries' too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_PEAK = """
import pathlib, re
print(re.search(r"VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text())[1])
"""


def peak_memory(program: str, *arguments: object) -> float:
    """Return the largest resident set [MB] of a Python program, given these arguments, from its start to its end.

    The kernel's high-water mark of the process image: `ru_maxrss` would count the test runner's own, from which it was
    spawned. Pages of files that are mapped count, so that input should be read, not mapped.
    """
    if not Path("/proc/self/status").exists():
        pytest.skip("the peak of a process' memory is read from /proc; run it on Linux")
    command = [sys.executable, "-c", f"{program}\n{_PEAK}", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1]) / 1024.0
