"""What a tired person types: each is one clear sentence, exit status 2, and nothing is written."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import tifffile

import midas
from midas.cli import main


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    truth = midas.Geometry(distance=3.2e5, beam_center=(200.3, 188.6), pixel_size=200.0, wavelength=0.2)
    options = midas.SimulationOptions(peak_counts=2000.0, dtype="uint16")
    path = tmp_path_factory.mktemp("image") / "shot.tif"
    tifffile.imwrite(path, midas.simulate(truth, midas.Detector((400, 400), 200.0), "CeO2", options=options).image)
    return path


def refused(capsys, tmp_path, *words):
    out = tmp_path / "out"
    before = sorted(tmp_path.rglob("*"))
    assert main(["calibrate", *map(str, words), "--out", str(out)]) == 2
    assert sorted(tmp_path.rglob("*")) == before
    message = [line for line in capsys.readouterr().err.splitlines() if line.startswith("midas calibrate: ")]
    assert len(message) == 1
    assert "Traceback" not in message[0]
    return message[0]


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--wavelength", 61.99], ["61.99", "keV", "Å"]),
        (["--wavelength", 8.05], ["8.05", "keV", "Å"]),
        (["--wavelength", 0.02], ["0.02 Å", "nm"]),
        (["--wavelength", 2e-11], ["2e-11", "metres", "Å"]),
        (["--wavelength", "nan"], ["wavelength", "finite"]),
        (["--wavelength", -0.2], ["-0.2", "Å"]),
        (["--energy", 61990], ["61990", "eV"]),
        (["--energy", 0.2], ["0.2", "Å"]),
        (["--wavelength", 0.2, "--pixel-size", 0.2], ["0.2", "mm", "µm"]),
        (["--wavelength", 0.2, "--pixel-size", 0.0002], ["0.0002", "metres", "µm"]),
        (["--wavelength", 0.2, "--pixel-size", "nan"], ["pixel_size", "finite"]),
        (["--wavelength", 0.2, "-LsdGuess", 320], ["320", "mm", "µm"]),
        (["--wavelength", 0.2, "-LsdGuess", 1050], ["1050", "mm", "µm"]),
        (["--wavelength", 0.2, "-LsdGuess", 0.32], ["0.32", "metres", "µm"]),
        (["--wavelength", 0.2, "-BCGuess", "nan", 3], ["beam_center", "finite"]),
        (["--wavelength", 0.2, "--calibrant", "Ceria2"], ["Ceria2", "built in are"]),
        (["--wavelength", 0.2, "--calibrant", "nowhere.cif"], ["nowhere.cif", "no such file"]),
        (["--wavelength", 0.2, "-FirstRingNr", 0], ["first_ring is 0"]),
        (["--wavelength", 0.2, "-FirstRingNr", 5000], ["first_ring is 5000"]),
        (["--wavelength", 0.2, "-Threshold", -5], ["threshold is -5"]),
        (["--wavelength", 0.2, "-Threshold", 1e9], ["rings"]),
        (["--wavelength", 0.2, "-EtaBinSize", 0], ["eta_step is 0"]),
        (["--wavelength", 0.2, "-MultFactor", 0.5], ["mult_factor is 0.5"]),
        (["--wavelength", 0.2, "-StoppingStrain", -1], ["stopping_strain is -1"]),
    ],
)
def test_settings(capsys, tmp_path, image, words, parts):
    size = [] if "--pixel-size" in words else ["--pixel-size", 200]
    message = refused(capsys, tmp_path, image, *words, *size)
    for part in parts:
        assert part in message


def test_images(capsys, tmp_path):
    known = ["--wavelength", 0.2, "--pixel-size", 200]
    rings = np.zeros((100, 100, 3), np.uint8)
    tifffile.imwrite(tmp_path / "colour.tif", rings, photometric="rgb")
    assert "colour" in refused(capsys, tmp_path, tmp_path / "colour.tif", *known)
    np.save(tmp_path / "text.npy", np.array([["a"] * 50] * 50))
    assert "text.npy" in refused(capsys, tmp_path, tmp_path / "text.npy", *known)
    np.save(tmp_path / "complex.npy", np.ones((50, 50), complex))
    assert "complex" in refused(capsys, tmp_path, tmp_path / "complex.npy", *known)
    (tmp_path / "cut.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 100)
    assert "cut.h5" in refused(capsys, tmp_path, tmp_path / "cut.h5", *known)
    with h5py.File(tmp_path / "empty.h5", "w") as file:
        file["something"] = 1
    assert "exchange/data" in refused(capsys, tmp_path, tmp_path / "empty.h5", *known)
    (tmp_path / "cut.ge3").write_bytes(b"\0" * 9000)
    assert "truncated" in refused(capsys, tmp_path, tmp_path / "cut.ge3", *known)


def test_a_dark_of_another_shape_in_the_file(capsys, tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["exchange/data"] = np.ones((1, 60, 60), np.uint16)
        file["exchange/dark"] = np.ones((1, 50, 60), np.uint16)
    message = refused(capsys, tmp_path, tmp_path / "a.h5", "--wavelength", 0.2, "--pixel-size", 200)
    assert "dark has shape (50, 60)" in message


def test_a_wrong_calibrant_or_wavelength_is_never_good(tmp_path, image):
    for k, words in enumerate((["--wavelength", 2.0], ["--wavelength", 0.2, "--calibrant", "Al2O3"])):
        status = main(
            ["calibrate", str(image), *map(str, words), "--pixel-size", "200", "--out", str(tmp_path / str(k))]
        )
        assert status in (1, 2)


def test_a_file_that_the_system_refuses_is_one_sentence(monkeypatch, capsys):
    def refuse(args):
        raise PermissionError(13, "Permission denied", "/data/results/refinement_summary.json")

    monkeypatch.setattr("midas.cli.hkls.run", refuse)
    assert main(["hkls", "--calibrant", "CeO2", "--energy", "80"]) == 2
    assert capsys.readouterr().err == (
        "midas hkls: /data/results/refinement_summary.json: Permission denied; see to it that it is there, and may be "
        "read and written\n"
    )
