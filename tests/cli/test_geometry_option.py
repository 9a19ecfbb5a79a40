"""`midas integrate --geometry`: the geometry of another program's file wins over the parameter file's."""

from __future__ import annotations

import numpy as np
import pytest

import midas
from midas.cli import main

TRUTH = midas.Geometry(distance=2e5, beam_center=(30.0, 33.0), pixel_size=200.0, wavelength=0.2, tilts=(0.0, 8.0, -3.0))
TEXT = (
    "Lsd 5e5\nBC 10 10\npx 200\nWavelength 0.5\nRMin 2\nRMax 30\nRBinSize 4\nEtaBinSize 45\n"
    "NrPixelsY 64\nNrPixelsZ 72\ntz 5\nImTransOpt 1\n"
)


@pytest.mark.parametrize("suffix", [".poni", ".imctrl", ".nxs", ".json"])
def test_a_cake_by_another_programs_geometry(tmp_path, suffix):
    detector = midas.Detector((72, 64), 200.0)
    image = np.random.default_rng(5).integers(0, 500, (72, 64)).astype(np.uint16)
    np.save(tmp_path / "frame.npy", image)
    (tmp_path / "p.txt").write_text(TEXT)
    midas.write_geometry(tmp_path / f"g{suffix}", TRUTH, detector)
    words = ["integrate", str(tmp_path / "frame.npy"), "-paramFN", str(tmp_path / "p.txt"), "-logLevel", "ERROR"]
    assert main([*words, "--geometry", str(tmp_path / f"g{suffix}"), "-resultFolder", str(tmp_path / "out")]) == 0
    (written,) = (tmp_path / "out").glob("*.zarr.zip")
    cake = midas.read_cake_file(written)
    expected = midas.integrate(image[None], TRUTH, midas.CakeGrid(2, 30, 4, eta_step=45), detector=detector)
    np.testing.assert_allclose(cake.intensity[0], expected.intensity[0], rtol=1e-6)


def test_frames_of_another_detector_are_refused(tmp_path, capsys):
    np.save(tmp_path / "frame.npy", np.ones((70, 64), np.uint16))
    (tmp_path / "p.txt").write_text(TEXT)
    midas.write_geometry(tmp_path / "g.json", TRUTH, midas.Detector((72, 64), 200.0))
    words = ["integrate", str(tmp_path / "frame.npy"), "-paramFN", str(tmp_path / "p.txt")]
    assert main([*words, "--geometry", str(tmp_path / "g.json"), "-resultFolder", str(tmp_path / "out")]) == 2
    assert "70 x 64 pixels but the detector's shape (72, 64)" in capsys.readouterr().err


def test_a_geometry_that_cannot_be_read_is_bad_input(tmp_path, capsys):
    np.save(tmp_path / "frame.npy", np.ones((72, 64), np.uint16))
    (tmp_path / "p.txt").write_text(TEXT)
    words = ["integrate", str(tmp_path / "frame.npy"), "-paramFN", str(tmp_path / "p.txt"), "--geometry"]
    assert main([*words, str(tmp_path / "none.poni")]) == 2
    assert "expected a .poni file of pyFAI" in capsys.readouterr().err
