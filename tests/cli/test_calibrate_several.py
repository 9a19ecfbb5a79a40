"""`midas calibrate` with several images, and with several calibrants in one."""

from __future__ import annotations

import json

import pytest

import midas
from midas.cli import main
from midas.simulation import SimulationOptions, save_simulation

KNOWN = ["--pixel-size", "200", "--calibrant", "CeO2"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    look = SimulationOptions(peak_counts=3000.0, background=20.0, dtype="uint32")
    for name, distance in (("near", 2.5e5), ("far", 3.5e5)):
        truth = midas.Geometry(distance=distance, beam_center=(240.0, 221.0), pixel_size=200.0, wavelength=0.2)
        image = midas.simulate(truth, midas.Detector((448, 480), 200.0), "CeO2", options=look, seed=3)
        save_simulation(image, folder / f"{name}.tif")
    return [str(folder / "near.tif"), str(folder / "far.tif")]


def test_two_images_at_known_steps_give_the_wavelength(files, tmp_path, capsys):
    words = ["--detector-positions", "0", "100000", "--refine-wavelength", "--wavelength", "0.2002"]
    status = main(["calibrate", *files, *KNOWN, *words, "--out", str(tmp_path), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert status == 0, found["reasons"]
    assert found["wavelength"] == pytest.approx(0.2, rel=1e-4)
    assert [i["name"] for i in found["images"]] == ["near", "far"]
    for name in ("near", "far"):
        assert (tmp_path / name / "refined_MIDAS_params.txt").is_file()
    assert json.loads((tmp_path / "calibration.json").read_text())["wavelength"] == found["wavelength"]
    assert (tmp_path / "autocal.log").is_file()


def test_wrong_uses_end_with_one_sentence_and_nothing_written(files, tmp_path, capsys):
    out = tmp_path / "out"
    start = ["calibrate", *KNOWN, "--wavelength", "0.2", "--out", str(out)]
    for words, message in (
        ([*files, "--refine-wavelength"], "two or more different"),
        ([*files, "--detector-positions", "0", "1", "2"], "3 values for 2 images"),
        ([files[0], "--refine-wavelength"], "several images"),
        ([files[0], "--calibrant", "CeO2,CeO3"], "did you mean CeO2"),
    ):
        assert main([*start, *words]) == 2
        assert message in capsys.readouterr().err
        assert not out.exists()
