"""Pictures are drawn whatever becomes of the process that helps with them."""

from __future__ import annotations

import shutil
import sys

import pytest

import midas
from midas.calibration import pictures as module
from midas.calibration.files import PICTURE_NAMES
from midas.calibration.pictures import Pictures, pictures
from midas.simulation import SimulationOptions

TRUTH = midas.Geometry(distance=2.2e5, beam_center=(125.3, 130.8), pixel_size=200.0, wavelength=0.2)


@pytest.fixture(scope="module")
def calibration():
    look = SimulationOptions(peak_counts=3000.0, background=20.0)
    image = midas.simulate(TRUTH, midas.Detector((256, 256), 200.0), "CeO2", options=look, seed=3).image
    return midas.calibrate(image, {"wavelength": 0.2, "pixel_size": 200.0, "calibrant": "CeO2"})


def drawn(pictures, calibration, folder):
    files = {which: folder / name for which, name in PICTURE_NAMES.items()}
    with pictures.drawing(calibration, files):
        pass
    return {which: file.read_bytes() for which, file in files.items()}


@pytest.fixture(scope="module")
def expected(calibration, tmp_path_factory):
    return drawn(Pictures(), calibration, tmp_path_factory.mktemp("here"))


def test_a_helper_draws_the_same_pictures_one_calibration_after_the_other(calibration, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "draw", lambda *_: pytest.fail("drawn here"))
    with pictures(2) as helped:
        assert type(helped) is not Pictures
        for _ in range(2):
            assert drawn(helped, calibration, tmp_path) == expected


@pytest.mark.parametrize("before", [True, False])
def test_the_pictures_of_a_killed_helper_are_drawn_here(calibration, expected, tmp_path, before):
    with pictures(2) as helped:
        files = {which: tmp_path / name for which, name in PICTURE_NAMES.items()}
        if before:
            helped._helper.kill()
            helped._helper.wait()
        with helped.drawing(calibration, files):
            helped._helper.kill()
        assert {which: file.read_bytes() for which, file in files.items()} == expected


@pytest.mark.parametrize("program", ["", "/nowhere/python", shutil.which("false") or ""])
def test_without_a_second_python_pictures_are_drawn_here(calibration, expected, tmp_path, monkeypatch, program):
    monkeypatch.setattr(sys, "executable", program)
    with pictures(2) as helped:
        assert drawn(helped, calibration, tmp_path) == expected


def test_one_thread_means_no_helper():
    with pictures(1) as alone:
        assert type(alone) is Pictures


def test_no_helper_outlives_its_job():
    with pictures(2) as helped:
        helper = helped._helper
        assert helper.poll() is None
    assert helper.returncode is not None
