"""Pictures are drawn whatever becomes of the process that helps with them."""

from __future__ import annotations

import shutil
import signal
import sys

import pytest

import midas
from midas.calibration import pictures as module
from midas.calibration.files import PICTURE_NAMES
from midas.calibration.pictures import Artist, hire_artist
from midas.simulation import SimulationOptions

TRUTH = midas.Geometry(distance=2.2e5, beam_center=(125.3, 130.8), pixel_size=200.0, wavelength=0.2)


@pytest.fixture(scope="module")
def calibration():
    look = SimulationOptions(peak_counts=3000.0, background=20.0)
    image = midas.simulate(TRUTH, midas.Detector((256, 256), 200.0), "CeO2", options=look, seed=3).image
    return midas.calibrate(image, {"wavelength": 0.2, "pixel_size": 200.0, "calibrant": "CeO2"})


def drawn(artist, calibration, folder):
    files = {which: folder / name for which, name in PICTURE_NAMES.items()}
    with artist.drawing(calibration, files):
        pass
    return {which: file.read_bytes() for which, file in files.items()}


@pytest.fixture(scope="module")
def expected(calibration, tmp_path_factory):
    return drawn(Artist(), calibration, tmp_path_factory.mktemp("here"))


def test_a_helper_draws_the_same_pictures_one_calibration_after_the_other(calibration, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "draw", lambda *_: pytest.fail("drawn here"))
    with hire_artist(2) as artist:
        assert type(artist) is not Artist
        for _ in range(2):
            assert drawn(artist, calibration, tmp_path) == expected


@pytest.mark.parametrize("before", [True, False])
def test_the_pictures_of_a_killed_helper_are_drawn_here(calibration, expected, tmp_path, before):
    files = {which: tmp_path / name for which, name in PICTURE_NAMES.items()}
    with hire_artist(2) as artist:
        if before:
            artist._helper.kill()
            artist._helper.wait()
        with artist.drawing(calibration, files):
            artist._helper.kill()
        assert {which: file.read_bytes() for which, file in files.items()} == expected
        assert drawn(artist, calibration, tmp_path) == expected  # and the next ones, too


def test_a_helper_that_hangs_is_not_waited_for(calibration, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_PATIENCE", 0.2)
    with hire_artist(2) as artist:
        artist._helper.send_signal(signal.SIGSTOP)
        assert drawn(artist, calibration, tmp_path) == expected


def test_an_error_ends_the_helper_before_the_files_go(calibration, tmp_path):
    files = {which: tmp_path / name for which, name in PICTURE_NAMES.items()}
    with hire_artist(2) as artist, pytest.raises(ZeroDivisionError), artist.drawing(calibration, files):
        _ = 1 / 0
    assert artist._helper.returncode is not None


@pytest.mark.parametrize("program", ["", "/nowhere/python", shutil.which("false") or ""])
def test_without_a_second_python_pictures_are_drawn_here(calibration, expected, tmp_path, monkeypatch, program):
    monkeypatch.setattr(sys, "executable", program)
    with hire_artist(2) as artist:
        assert drawn(artist, calibration, tmp_path) == expected


def test_one_thread_means_no_helper():
    with hire_artist(1) as alone:
        assert type(alone) is Artist


def test_no_helper_outlives_its_job():
    with hire_artist(2) as artist:
        helper = artist._helper
        assert helper.poll() is None
    assert helper.returncode is not None
