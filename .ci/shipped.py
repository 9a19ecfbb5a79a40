"""Check what an sdist and a wheel hold: all that is needed, nothing else, and not too much of it."""

from __future__ import annotations

import re
import sys
import tarfile
import zipfile
from pathlib import Path

WHEEL_LIMIT = 10e6  # bytes
SDIST_TOP = {
    *("CMakeLists.txt", "pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "PKG-INFO"),
    *(
        ".clang-format",
        ".clang-tidy",
        ".gitignore",
        "src",
        "tests",
        "benchmarks",
        "docs",
        "CONTRIBUTING.md",
        ".pre-commit-config.yaml",
    ),
}
SDIST_NEEDS = ("src/cpp/core/geometry.cpp", "src/midas/py.typed", "src/midas/_core.pyi", "tests/conftest.py", "LICENSE")
WHEEL_NEEDS = (
    "midas/__init__.py",
    "midas/py.typed",
    "midas/_core.pyi",
    "midas/report/assets/start.js",
    r"midas/_core\..*\.(so|pyd)",
    r".*/entry_points.txt",
)


def sdist(path: str) -> list[str]:
    """Return what is wrong with a source archive."""
    with tarfile.open(path) as archive:
        names = [member.name.split("/", 1)[-1] for member in archive if member.isfile()]
    problems = [f"it holds {n}" for n in names if n.split("/")[0] not in SDIST_TOP or n.endswith((".so", ".pyc"))]
    return problems + [f"it lacks {n}" for n in SDIST_NEEDS if n not in names]


def wheel(path: str) -> list[str]:
    """Return what is wrong with a wheel."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    problems = [
        f"it holds {n}" for n in names if not re.match(r"(midas|midas_xrd-[^/]*\.dist-info|midas_xrd\.libs)/", n)
    ]
    problems += [f"it holds {n}" for n in names if n.endswith((".pyc", ".cpp", ".hpp", ".a"))]
    problems += [f"it lacks {n}" for n in WHEEL_NEEDS if not any(re.fullmatch(n, name) for name in names)]
    size = Path(path).stat().st_size
    if size > WHEEL_LIMIT:
        problems.append(f"it has {size / 1e6:.1f} MB; at most {WHEEL_LIMIT / 1e6:.0f} are allowed")
    return problems


failed = False
for path in sys.argv[1:]:
    found = wheel(path) if path.endswith(".whl") else sdist(path)
    print(f"{Path(path).name}: {Path(path).stat().st_size / 1e6:.2f} MB, {'; '.join(found) or 'as it should be'}")
    failed |= bool(found)
sys.exit(failed)
