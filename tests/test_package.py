"""The package as a whole: quick to import, complete, typed."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import midas

HEAVY = ("scipy", "matplotlib", "zarr", "h5py", "hdf5plugin", "fabio", "tifffile", "diplib", "gemmi", "tqdm", "GSASII")


def imported_by(statement: str) -> set[str]:
    code = f"import sys, json; {statement}; print(json.dumps(sorted(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(out.stdout))


def test_import_loads_nothing_heavy():
    assert imported_by("import midas").isdisjoint(HEAVY)


def test_command_line_loads_nothing_heavy_before_it_has_work():
    assert imported_by("import midas.cli").isdisjoint(HEAVY)


def test_version_is_that_of_the_metadata():
    assert midas.__version__ == version("midas-xrd")


def test_asking_for_the_version_leaves_the_module_of_that_name():
    code = "import midas; midas.__version__; import midas.version; print(midas.version.__name__)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "midas.version"


def test_every_exported_name_is_there_and_documented():
    for name in midas.__all__:
        assert hasattr(midas, name), name
        assert name == "__version__" or getattr(midas, name).__doc__, name


@pytest.mark.parametrize("kind", [midas.CakeGrid, midas.IntegrationOptions, midas.PeakOptions, midas.RobustOptions])
def test_help_of_options_says_meaning_and_default_of_each_field(kind):
    section = inspect.getdoc(kind).partition("Parameters\n----------\n")[2].partition("\nRaises\n")[0]
    said = dict(re.findall(r"^(\w+)\n((?:    .*\n)+)", section, re.MULTILINE))
    fields = dataclasses.fields(kind)
    assert list(said) == [field.name for field in fields]
    for field in fields:
        if field.default is not dataclasses.MISSING:
            default = re.escape(repr(field.default).replace("'", '"'))
            assert re.search(rf"default {default}[.,]", " ".join(said[field.name].split())), field.name


def test_names_that_are_imported_late_are_offered_for_completion():
    code = "import midas; print(set(midas.__all__) ^ set(dir(midas)), 'midas.cake' in __import__('sys').modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["set()", "False"]


def test_types_travel_with_the_package():
    folder = Path(midas.__file__).parent
    assert (folder / "py.typed").exists()
    assert (folder / "_core.pyi").exists()
