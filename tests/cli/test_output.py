"""Where the program's words go: closed or full standard output, repeated warnings, a polite end."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

import midas
from midas.cli import main, progress

TRUTH = midas.Geometry(distance=2.2e5, beam_center=(125.3, 130.8), pixel_size=200.0, wavelength=0.2)
PROGRAM = [sys.executable, "-m", "midas.cli"]
FULL = Path("/dev/full")
KNOWN = ["--wavelength", "0.2", "--pixel-size", "200", "--calibrant", "CeO2"]


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    path = tmp_path_factory.mktemp("image") / "shot_90keV.npy"
    np.save(path, midas.simulate(TRUTH, midas.Detector((256, 256), 200.0), "CeO2", seed=1).image)
    return path


def test_a_warning_that_the_result_repeats_is_shown_once(image, tmp_path, capsys):
    assert main(["calibrate", str(image), *KNOWN, "--out", str(tmp_path / "out")]) in (0, 1)
    captured = capsys.readouterr()
    assert captured.out.count("contradict") == 1
    assert "contradict" not in captured.err


def test_a_warning_without_a_result_is_shown(tmp_path, capsys):
    path = tmp_path / "noise_90keV.npy"
    np.save(path, np.random.default_rng(1).poisson(20.0, (256, 256)))
    assert main(["calibrate", str(path), *KNOWN, "--out", str(tmp_path / "out")]) == 2
    assert "contradict" in capsys.readouterr().err


def test_warnings_of_the_library_are_lines_of_the_log(tmp_path):
    """As a user has them: in a process of its own, where warnings are shown and no errors."""
    np.save(tmp_path / "a.npy", np.full((32, 32), -5.0, dtype=np.float32))
    (tmp_path / "p.txt").write_text(
        "Lsd 300000\nBC 15 16\npx 200\nWavelength 0.2\nRMin 2\nRMax 14\nRBinSize 1\nEtaBinSize 60\nBadPxIntensity 7\n"
    )
    log = tmp_path / "log.txt"
    files = [tmp_path / "a.npy", "-paramFN", tmp_path / "p.txt", "-resultFolder", tmp_path, "--log-file", log]
    done = subprocess.run([*PROGRAM, "integrate", *map(str, files)], capture_output=True, text=True, check=False)
    assert "WARNING: 100 % of the pixels of the first frame are negative" in done.stderr
    assert "UserWarning" not in done.stderr
    assert "sys.exit" not in done.stderr
    assert " - WARNING - 100 % of the pixels of the first frame are negative" in log.read_text()


@pytest.mark.filterwarnings("default::RuntimeWarning", "default::midas.messages.CallerWarning")
def test_warnings_are_shown_as_before_once_a_command_has_ended(monkeypatch, capsys):
    from midas.cli import inspect
    from midas.messages import warn_caller

    def run(args):
        warn_caller("the flat is doubtful")
        warnings.warn("divide by zero", RuntimeWarning, stacklevel=1)
        return 0

    monkeypatch.setattr(inspect, "run", run)
    before = warnings.showwarning
    assert main(["inspect", "a.npy"]) == 0
    assert warnings.showwarning is before
    assert capsys.readouterr().err.startswith(
        "WARNING: the flat is doubtful\nWARNING: RuntimeWarning: divide by zero ("
    )


def test_a_command_leaves_the_level_of_the_log_as_it_was(tmp_path):
    before = logging.getLogger("midas").level
    main(["integrate", str(tmp_path / "missing.h5"), "-paramFN", str(tmp_path / "missing.txt"), "--log-level", "ERROR"])
    assert logging.getLogger("midas").level == before


def test_standard_output_may_be_closed(image, tmp_path):
    command = [*PROGRAM, "calibrate", str(image), *KNOWN, "--out", str(tmp_path / "out")]
    done = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", *command], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "out" / "calibration.json").exists()


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full, a device that is always full")
def test_a_full_standard_output_is_named():
    with FULL.open("w") as full:
        command = [*PROGRAM, "hkls", "--calibrant", "CeO2", "--energy", "80"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "midas hkls: cannot write to standard output: No space left on device\n"


def test_a_reader_that_has_seen_enough_is_no_error():
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m midas.cli hkls --calibrant CeO2 --energy 80 | head -n 1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


def test_a_terminated_run_leaves_nothing_half_written(image, tmp_path):
    folder = tmp_path / "out"
    process = subprocess.Popen(
        [*PROGRAM, "calibrate", str(image), *KNOWN, "--out", str(folder)], stderr=subprocess.PIPE
    )
    while not (folder.exists() and any(folder.iterdir())) and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    _, words = process.communicate()
    assert process.returncode == 130
    assert b"interrupted" in words
    assert not folder.exists() or not [p for p in folder.iterdir() if p.name.startswith(".writing")]


def test_a_signal_that_a_finalizer_swallows_ends_the_command_all_the_same():
    progress.forget_end()
    try:
        with progress.progress_bar("caking") as say:
            say(1, 3, "frames")
            with pytest.raises(KeyboardInterrupt):
                progress.end()
            with pytest.raises(KeyboardInterrupt):
                say(2, 3, "frames")
    finally:
        progress.forget_end()
