"""What of midas is installed and works on this machine: `midas doctor`."""

from __future__ import annotations

import importlib
import os
import platform
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from midas.errors import MidasError, RefinementError
from midas.self_test import SelfTest, run_self_test
from midas.version import version

DISTRIBUTION = "midas-xrd"
OK, NOTE, PROBLEM = "ok", "note", "problem"
_OPTIONAL = {
    "pyarrow": "the table of a refinement as .parquet; pip install 'midas-xrd[parquet]'",
    "dask": "integration and refinement on a cluster; pip install 'midas-xrd[cluster]'",
    "plotly": "reports (--report, midas.write_report); pip install 'midas-xrd[report]'",
    "imagecodecs": "TIFF files with LZW, JPEG or Zstandard; pip install imagecodecs",
}
"""Packages that may be missing, and what for."""
_FILTERS = {32008: "bitshuffle", 32004: "LZ4", 32015: "Zstandard", 32001: "Blosc", 32026: "Blosc2", 1: "gzip"}
"""Filters of HDF5 by their registered numbers, support.hdfgroup.org/documentation, that detectors' files use."""
_GIB = 1024**3
_LITTLE_MEMORY = 2.0  # GiB: a scan of an Eiger 16M needs about this much
_LITTLE_SPACE = 1.0  # GiB
_LEVELS = (
    ("AVX-512 (x86-64-v4)", {"avx512f", "avx512bw", "avx512dq", "avx512vl"}),
    ("AVX2 (x86-64-v3)", {"avx2", "fma", "bmi2"}),
)
"""The rule by which the core chooses its kernels: core/instruction_set.cpp."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    status: str
    """"ok", "note" (something optional is missing) or "problem" (midas does not work as it should)."""
    said: str
    advice: str = ""
    """What to do; empty where nothing needs to be done."""


@dataclass(frozen=True)
class Diagnosis:
    """What `midas doctor` found."""

    findings: tuple[Finding, ...]
    self_test: SelfTest | None
    """None where it could not run; a finding says why."""

    @property
    def problems(self) -> tuple[Finding, ...]:
        """What keeps midas from working as it should."""
        return tuple(f for f in self.findings if f.status == PROBLEM)


def diagnose(*, gsas2_python: str | None = None, n_threads: int = 0) -> Diagnosis:
    """Return what is installed and whether it works, after a calibration of a small simulated image.

    A missing optional part, as GSAS-II, is a note; a broken one is a problem. Nothing is left behind.
    """
    findings = [
        _program(),
        *_packages(),
        _codecs(),
        _core(),
        _instruction_set(),
        Finding("GPU", OK, "not used: midas computes on the processor alone"),
        _memory(),
        *_folders(),
        _engine(gsas2_python),
    ]
    try:
        tested = run_self_test(n_threads=n_threads)
    except (MidasError, ImportError, OSError, RuntimeError, ValueError) as error:
        findings.append(Finding("self-test", PROBLEM, f"it did not run: {error}", _REINSTALL))
        return Diagnosis(tuple(findings), None)
    good = "found what is true" if tested.passed else "did NOT find what is true, see the table"
    status = OK if tested.passed else PROBLEM
    findings.append(
        Finding("self-test", status, f"{good}; {tested.seconds:.1f} s", "" if tested.passed else _REINSTALL)
    )
    return Diagnosis(tuple(findings), tested)


_REINSTALL = f"install anew in a fresh environment: pip install --force-reinstall {DISTRIBUTION}"


def _program() -> Finding:
    python = platform.python_version()
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    return Finding("midas", OK, f"{version()}, Python {python} ({sys.executable}), {system}")


def _packages() -> Iterator[Finding]:
    """Yield a finding for all required packages, and one for each that is missing or too old; then the optional."""
    fine = []
    for name, lowest in required_packages():
        try:
            importlib.import_module(name)
            found = metadata.version(name)
        except (ImportError, AttributeError, OSError, ValueError) as error:  # also of one built for another numpy
            yield Finding(name, PROBLEM, f"cannot be imported: {error}", f"pip install '{name}>={lowest}'")
            continue
        if _numbers(found) < _numbers(lowest):
            yield Finding(name, PROBLEM, f"{found} is too old", f"pip install '{name}>={lowest}'")
        else:
            fine.append(f"{name} {found}")
    yield Finding("packages", OK, ", ".join(fine) or "none")
    there, missing = [], []
    for name, purpose in _OPTIONAL.items():
        try:
            there.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(f"{name} ({purpose})")
    if there:
        yield Finding("optional", OK, ", ".join(there))
    if missing:
        yield Finding("optional", NOTE, f"not installed: {'; '.join(missing)}")


def required_packages() -> list[tuple[str, str]]:
    """Return (name, lowest version) of what midas cannot do without, as its metadata say."""
    lines = [line for line in metadata.requires(DISTRIBUTION) or [] if "extra" not in line.partition(";")[2]]
    found = [re.match(r"([\w.-]+)\s*(?:>=\s*([\w.]+))?", line) for line in lines]
    return [(m[1], m[2] or "0") for m in found if m is not None]


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", text.split("+")[0])[:3])


def _codecs() -> Finding:
    try:
        import h5py
        import hdf5plugin  # noqa: F401 - registers its filters
    except (ImportError, AttributeError, OSError, ValueError) as error:
        return Finding("codecs", PROBLEM, f"HDF5 cannot be read: {error}", "pip install h5py hdf5plugin")
    lacking = [name for number, name in _FILTERS.items() if not h5py.h5z.filter_avail(number)]
    if lacking:
        return Finding("codecs", PROBLEM, f"HDF5 lacks {', '.join(lacking)}", "pip install --upgrade hdf5plugin")
    return Finding("codecs", OK, f"HDF5 {h5py.version.hdf5_version} with {', '.join(_FILTERS.values())}")


def _core() -> Finding:
    from midas import _core

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = _core.max_threads()
    if not _core.HAS_OPENMP:
        said = f"without OpenMP: one thread of {cores} cores"
        return Finding("threads", NOTE, said, "install a wheel, or build with a compiler that has OpenMP")
    limit = os.environ.get("OMP_NUM_THREADS")
    why = f", as OMP_NUM_THREADS={limit} says" if limit else ""
    return Finding("threads", OK, f"OpenMP with {threads} of {cores} cores{why}")


def _instruction_set() -> Finding:
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return Finding("SIMD", OK, f"the baseline of {platform.machine()}")
    flags = processor_flags()
    if not flags:
        return Finding("SIMD", OK, "the best that the processor has; this system does not say which")
    name = next((name for name, needed in _LEVELS if needed <= flags), "SSE2 (x86-64 baseline)")
    return Finding("SIMD", OK, f"{name}, by the processor's flags")


def processor_flags(path: Path = Path("/proc/cpuinfo")) -> set[str]:
    """Return what Linux says that the processor can do; nothing on other systems."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return set()
    found = re.search(r"^flags\s*:(.*)$", text, flags=re.MULTILINE)
    return set(found[1].split()) if found else set()


def _memory() -> Finding:
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return Finding("memory", OK, "this system does not say how much there is")
    sizes = {key: int(kib) * 1024 / _GIB for key, kib in re.findall(r"^(\w+):\s+(\d+) kB", text, flags=re.MULTILINE)}
    free = sizes.get("MemAvailable", sizes.get("MemFree", 0.0))
    said = f"{free:.1f} of {sizes.get('MemTotal', 0.0):.1f} GiB are free"
    if free < _LITTLE_MEMORY:
        return Finding("memory", NOTE, said, "large detectors may need more; close other programs")
    return Finding("memory", OK, said)


def _folders() -> Iterator[Finding]:
    """Yield whether the folder of temporary files and the one here can be written to, and how much is free."""
    try:
        place = Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        yield Finding("temp folder", PROBLEM, str(error), "set TMPDIR to a folder that can be written to")
    else:
        yield folder_finding("temp folder", place, PROBLEM, "set TMPDIR to another folder")
    yield folder_finding("this folder", Path.cwd(), NOTE, "name another for results, as --out FOLDER")


def folder_finding(name: str, place: Path, when_unwritable: str, advice: str) -> Finding:
    """Return whether a folder can be written to and how much space it has."""
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"midas")
    except OSError as error:
        return Finding(name, when_unwritable, f"{place} cannot be written to: {error.strerror or error}", advice)
    free = shutil.disk_usage(place).free / _GIB
    if free < _LITTLE_SPACE:
        return Finding(name, NOTE, f"{place} has {free:.2f} GiB left", advice)
    return Finding(name, OK, f"{place} can be written to, {free:.0f} GiB free")


def _engine(python: str | None) -> Finding:
    """Start a worker of the refinement's engine, as a refinement does."""
    from midas.refine.locate import MissingEngineError, find_gsas2

    start = time.perf_counter()
    try:
        command = find_gsas2(python)
    except MissingEngineError as error:
        return Finding("GSAS-II", NOTE, f"{error}; midas refine needs it, all else does not")
    except RefinementError as error:
        return Finding("GSAS-II", PROBLEM, str(error))
    seconds = time.perf_counter() - start
    return Finding(
        "GSAS-II",
        OK,
        f"{command.version} in {command.folder}, by {command.argv[0]}; a worker starts in {seconds:.1f} s",
    )
