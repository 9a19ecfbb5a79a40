"""What `midas doctor` says of a machine on which all is well, something optional is missing, or something is broken."""

from __future__ import annotations

import importlib
import json
import math
import sys
from importlib import metadata

import pytest

from midas import doctor
from midas.cli import doctor as program
from midas.cli import main
from midas.errors import MidasError, RefinementError
from midas.refine import locate
from midas.self_test import Quantity, SelfTest

PASSED = SelfTest((Quantity("distance", "mm", 204.3101, 204.31, 0.01),), "good", 2.0)


@pytest.fixture
def quick(monkeypatch):
    """No self-test and no GSAS-II, which take seconds."""
    monkeypatch.setattr(doctor, "run_self_test", lambda **_: PASSED)

    def nowhere(python):
        raise locate.MissingEngineError("GSAS-II is not installed where midas looks; get it at x")

    monkeypatch.setattr(locate, "find_gsas2", nowhere)


def named(name, found):
    return [f for f in found.findings if f.name == name]


def test_the_self_test_finds_what_is_true(capsys, monkeypatch):
    """The whole command, without the engine."""
    monkeypatch.setattr(doctor, "_engine", lambda python: doctor.Finding("GSAS-II", "ok", "there"))
    assert main(["doctor", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["status"] == "ok"
    tested = data["self_test"]
    assert tested["passed"]
    assert tested["verdict"] == "good"
    assert tested["seconds"] < 60
    found = {q["name"]: q for q in tested["quantities"]}
    assert found["distance"]["found"] != found["distance"]["true"]
    assert abs(found["distance"]["found"] - found["distance"]["true"]) < 0.01  # mm


def test_a_machine_without_the_engine_is_well_and_told_how_to_get_it(quick, capsys):
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    line = next(row for row in said.splitlines() if "GSAS-II" in row and row.startswith("note"))
    assert "not installed" in line
    assert "midas refine needs it" in " ".join(said.split())
    assert "not used: midas computes on the processor alone" in said
    assert "204.310100    204.310000      1.0e-04" in said
    assert "all that midas needs is here and works" in said
    assert max(map(len, said.splitlines())) <= 110


def test_an_engine_that_does_not_work_is_a_problem(quick, monkeypatch, capsys):
    def broken(python):
        raise RefinementError("GSAS-II is there but does not work (no module wx); install it")

    monkeypatch.setattr(locate, "find_gsas2", broken)
    assert main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert "problem GSAS-II" in said
    assert "1 of these must be mended: GSAS-II" in said


def test_a_package_that_is_missing_or_too_old_is_named_with_the_remedy(quick, monkeypatch):
    real = importlib.import_module

    def without_fabio(name, *rest):
        if name == "fabio":
            raise ImportError("No module named 'fabio'")
        return real(name, *rest)

    monkeypatch.setattr(doctor.importlib, "import_module", without_fabio)
    monkeypatch.setattr(doctor, "required_packages", lambda: [("fabio", "2024.4"), ("h5py", "99.1"), ("numpy", "1.24")])
    found = doctor.diagnose()
    assert {f.name for f in found.problems} == {"fabio", "h5py"}
    assert named("fabio", found)[0].advice == "pip install 'fabio>=2024.4'"
    assert "too old" in named("h5py", found)[0].said
    assert named("packages", found)[0].said.startswith("numpy ")


def test_codecs_that_hdf5_lacks_are_named(quick, monkeypatch):
    import h5py

    monkeypatch.setattr(h5py.h5z, "filter_avail", lambda number: number != 32008)
    assert named("codecs", doctor.diagnose())[0].said == "HDF5 lacks bitshuffle"
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)
    assert named("codecs", doctor.diagnose())[0].status == "problem"


def test_packages_that_may_be_missing_are_a_note(quick, monkeypatch):
    def nothing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor, "required_packages", list)
    monkeypatch.setattr(doctor.metadata, "version", nothing)
    (finding,) = [f for f in doctor._packages() if f.name == "optional"]
    assert finding.status == "note"
    assert "pip install 'midas-xrd[parquet]'" in finding.said


def test_a_self_test_that_fails_or_cannot_run_is_a_problem(quick, monkeypatch, capsys):
    wrong = SelfTest((Quantity("distance", "mm", 205.0, 204.31, 0.01),), "good", 2.0)
    monkeypatch.setattr(doctor, "run_self_test", lambda **_: wrong)
    assert main(["doctor"]) == 1
    assert "NOT GOOD" in capsys.readouterr().out

    def refuses(**_):
        raise MidasError("no rings")

    monkeypatch.setattr(doctor, "run_self_test", refuses)
    found = doctor.diagnose()
    assert found.self_test is None
    assert "it did not run: no rings" in named("self-test", found)[0].said
    assert not Quantity("x", "px", math.nan, 1.0, 1.0).good


def test_a_folder_that_cannot_be_written_to_is_said(tmp_path):
    finding = doctor.folder_finding("temp folder", tmp_path / "none", "problem", "set TMPDIR")
    assert finding.status == "problem"
    assert "cannot be written to: No such file" in finding.said
    assert doctor.folder_finding("here", tmp_path, "problem", "").status == "ok"


@pytest.mark.parametrize(
    ("flags", "level"),
    [
        ("fpu sse2 avx2 fma bmi2 avx512f avx512bw avx512dq avx512vl", "AVX-512"),
        ("fpu sse2 avx2 fma bmi2 avx512f", "AVX2"),
        ("fpu sse2 avx2", "SSE2"),
        (None, "does not say which"),
    ],
)
def test_the_instruction_set_follows_the_rule_of_the_core(flags, level, tmp_path, monkeypatch):
    path = tmp_path / "cpuinfo"
    if flags:
        path.write_text(f"processor\t: 0\nflags\t\t: {flags}\nbugs : spectre_v1\n")
    found = doctor.processor_flags(path)
    assert found == set((flags or "").split())
    monkeypatch.setattr(doctor, "processor_flags", lambda: found)
    monkeypatch.setattr(doctor.platform, "machine", lambda: "x86_64")
    assert level in doctor._instruction_set().said


def test_required_packages_are_those_of_the_metadata():
    names = dict(doctor.required_packages())
    assert names["numpy"] == "1.24"
    assert "pytest" not in names
    assert "pyarrow" not in names
    assert program._lines(doctor.Diagnosis((), None))[-1] == "all that midas needs is here and works"
