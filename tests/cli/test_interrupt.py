"""Ctrl-C ends a command in one sentence with status 130, and nothing is left half-written."""

from __future__ import annotations

import signal
import subprocess
import sys
import sysconfig
import time
from importlib.machinery import ExtensionFileLoader
from types import SimpleNamespace

import numpy as np
import pytest

from midas import testing
from midas.cli import main, progress
from midas.simulation import files


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "shot.npy"
    np.save(path, testing.calibrant_image(seed=1).image)
    return path


def interrupted(capsys, *words):
    assert main([str(word) for word in words]) == 130
    said = capsys.readouterr()
    assert said.err.count("\n") == 1, said.err
    kept = "" if words[0] == "inspect" else "; "  # which leaves no files to speak of
    assert said.err.startswith(f"midas {words[0]}: interrupted{kept}")
    return said.out


def half_then_ctrl_c(write):
    """What writes a file, but is interrupted in the middle."""

    def writing(path, *rest, **options):
        write(path, *rest, **options)
        with open(path, "r+b") as file:  # noqa: PTH123 - may be a name or a path
            file.truncate(20)
        signal.raise_signal(signal.SIGINT)

    return writing


def after(calls, monkeypatch):
    """Interrupt when a command tells its progress for the n-th time."""
    seen = []

    def tell(done, total, message=""):
        seen.append(done)
        if len(seen) == calls:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(progress, "_silent", tell)
    return seen


def test_simulate(image, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(files._WRITERS, ".npy", half_then_ctrl_c(files._write_npy))
    out = tmp_path / "out"
    out.mkdir()
    words = ["--wavelength", 0.2, "--distance", 1e5, "--pixel-size", 200, "--shape", 64, 64]
    assert interrupted(capsys, "simulate", "--out", out / "x.npy", *words) == ""
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("form", ["zip", "h5"])
def test_convert(tmp_path, monkeypatch, capsys, form):
    np.save(tmp_path / "stack.npy", np.ones((6, 32, 32), np.uint16))
    seen = after(2, monkeypatch)
    out = tmp_path / "out"
    interrupted(capsys, "convert", tmp_path / "stack.npy", "--result-folder", out, "--to", form,
                "--frames-per-block", 2)  # fmt: skip
    assert len(seen) == 2
    assert not out.exists() or list(out.iterdir()) == []


def test_inspect(image, tmp_path, monkeypatch, capsys):
    from matplotlib.figure import Figure

    draw = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **k: half_then_ctrl_c(lambda p: draw(self, p, **k))(path))
    out = tmp_path / "out"
    out.mkdir()
    assert "256 x 256" in interrupted(capsys, "inspect", image, "--plot", out)
    assert list(out.iterdir()) == []


def test_calibrate(image, tmp_path, monkeypatch, capsys):
    seen = after(3, monkeypatch)
    out = tmp_path / "out"
    known = ["--wavelength", testing.TRUTH.wavelength, "--pixel-size", 200]
    interrupted(capsys, "calibrate", image, *known, "--out", out)
    assert len(seen) == 3
    assert not out.exists() or {p.name for p in out.iterdir()} <= {"autocal.log"}


def test_demo(tmp_path, monkeypatch, capsys):
    seen = after(2, monkeypatch)
    out = tmp_path / "out"
    interrupted(capsys, "demo", "--out", out)
    assert len(seen) == 2
    assert {p.name for p in out.iterdir()} == {"calibrant.tif", "scan.h5", "CeO2.cif"}
    assert not list(tmp_path.rglob(".writing*"))


def test_what_a_finalizer_swallows_is_not_told_of(image, monkeypatch, capsys):
    """Python prints such exceptions; the command ends all the same, at the next word on its progress."""
    from midas.cli import inspect

    class Swallows:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    def run(args):
        Swallows()
        with progress.progress_bar("x") as tell:
            tell(1, 2, "")
        return 0

    monkeypatch.setattr(inspect, "run", run)
    interrupted(capsys, "inspect", image)


def test_a_compiled_module_is_imported_to_its_end_before_the_command_ends(monkeypatch):
    """An exception in the middle of gemmi's import ends the process."""
    sent = []
    monkeypatch.setattr(
        progress.threading, "Timer", lambda s, f, args: SimpleNamespace(start=lambda: sent.append(args))
    )
    loader = ExtensionFileLoader("x", f"x{sysconfig.get_config_var('EXT_SUFFIX')}")
    within = SimpleNamespace(f_locals={}, f_back=SimpleNamespace(f_locals={"self": loader}, f_back=None))
    try:
        progress.end(signal.SIGINT, within)
        assert [args[1] for args in sent] == [signal.SIGINT]
        with pytest.raises(KeyboardInterrupt):
            progress.end(signal.SIGINT, SimpleNamespace(f_locals={"self": 1}, f_back=None))
    finally:
        progress.forget_end()


def test_from_the_keyboard_of_a_terminal(tmp_path):
    """To the whole group of processes, as a terminal sends it."""
    np.save(tmp_path / "stack.npy", np.zeros((40, 512, 512), np.uint16))
    command = [sys.executable, "-m", "midas.cli", "convert", "stack.npy", "--result-folder", "out"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, start_new_session=True, text=True)
    while not (tmp_path / "out").exists() and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    if process.returncode != 0:  # it may have been done already
        assert process.returncode in (130, -signal.SIGINT)  # 130 for a shell, both
        assert said.count("\n") == 1
        assert [p for p in (tmp_path / "out").glob("*")] == []
