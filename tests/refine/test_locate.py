from __future__ import annotations

import sys
from pathlib import Path

import pytest

from midas.errors import RefinementError
from midas.refine.gsas2_mends import DERIVATIVES, PROFILES
from midas.refine.gsas2_sharing import FOLLOWED
from midas.refine.locate import find_gsas2, package_parent


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """A home without GSAS-II."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("GSASII_PATH", "MIDAS_GSAS2_PYTHON", "PYTHONPATH"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_missing_is_one_sentence_with_the_way_out(bare):
    with pytest.raises(RefinementError) as caught:
        find_gsas2()
    message = str(caught.value)
    assert "\n" not in message
    for words in (
        "not installed",
        "https://advancedphotonsource.github.io/GSAS-II-tutorials/install.html",
        "GSASII_PATH",
        "--gsas2-python",
    ):
        assert words in message


def test_stated_path_without_gsas2_is_named(bare, monkeypatch):
    monkeypatch.setenv("GSASII_PATH", str(bare / "nothing"))
    with pytest.raises(RefinementError, match="nothing, but no GSAS-II is there"):
        find_gsas2()


def test_missing_interpreter_is_named(bare):
    with pytest.raises(RefinementError, match=r"no_python.*does not exist"):
        find_gsas2("no_python")


def pretend(folder: Path, path_module: str) -> Path:
    package = folder / "GSASII"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    for name in ("GSASIIscriptable", "GSASIIstrIO", "GSASIIfiles", "GSASIIElem"):
        (package / f"{name}.py").touch()
    followed = [(f"GSASII{module}", (FOLLOWED[module],)) for module in ("mapvars", "strMain")]
    for name, functions in (("GSASIIstrMath", DERIVATIVES), ("GSASIIpwd", PROFILES), *followed):
        lines = [f"def {function}(*given): pass" for function in functions]
        (package / f"{name}.py").write_text("\n".join(lines), encoding="utf-8")
    (package / "GSASIIpath.py").write_text(path_module, encoding="utf-8")
    return package


def test_root_and_package_folder_both_mean_the_root(tmp_path):
    package = pretend(tmp_path / "root", "")
    assert package_parent(tmp_path / "root") == tmp_path / "root"
    assert package_parent(package) == tmp_path / "root"
    assert package_parent(tmp_path) is None


def test_plain_modules_of_the_old_layout(tmp_path):
    (tmp_path / "GSASIIscriptable.py").touch()
    assert package_parent(tmp_path) == tmp_path


@pytest.mark.parametrize("spelling", ["", "GSASII"])
def test_found_without_binaries_is_not_called_working(bare, monkeypatch, spelling):
    root = bare / "root"
    pretend(root, "BinaryPathLoaded = False\n")
    monkeypatch.setenv("GSASII_PATH", str(root / spelling))
    with pytest.raises(RefinementError, match="compiled binaries"):
        find_gsas2()


def test_places_of_the_installers_are_probed(bare):
    pretend(bare / "g2main" / "GSAS-II", "BinaryPathLoaded = True\n")
    stub = bare / "g2main" / "GSAS-II" / "CifFile.py"
    stub.touch()
    found = find_gsas2(sys.executable)
    assert Path(found.folder) == (bare / "g2main" / "GSAS-II" / "GSASII").resolve()
    assert found.argv[0] == sys.executable


def test_worker_has_a_private_home_with_settings(bare):
    probe = "import os, pathlib\nassert (pathlib.Path.home() / '.GSASII' / 'config.ini').is_file()\n"
    probe += f"assert pathlib.Path.home() != pathlib.Path({str(bare)!r})\nBinaryPathLoaded = True\n"
    pretend(bare / "G2", probe)
    (bare / "G2" / "CifFile.py").touch()
    assert find_gsas2(sys.executable).name == "GSAS-II"
