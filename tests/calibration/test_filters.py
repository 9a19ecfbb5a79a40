"""The calibration's own filters of images are scipy's."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from scipy import ndimage

import midas
from midas.calibration.filters import grown, interpolated

RNG = np.random.default_rng(7)


@pytest.mark.parametrize("shape", [(40, 61), (41, 60), (1, 2), (3, 3)])
def test_interpolated(shape):
    coarse = RNG.normal(size=(-(-shape[0] // 2), -(-shape[1] // 2))).astype(np.float32)
    grid = np.meshgrid(*(np.arange(n) / 2.0 for n in shape), indexing="ij")
    expected = ndimage.map_coordinates(coarse, grid, order=1, mode="nearest")
    np.testing.assert_array_equal(interpolated(coarse, shape, 2), expected)
    assert interpolated(coarse, shape, 2).dtype == np.float32


def test_grown():
    mask = RNG.random((50, 70)) < 0.01
    before = mask.copy()
    np.testing.assert_array_equal(grown(mask, 3), ndimage.binary_dilation(mask, iterations=3))
    np.testing.assert_array_equal(mask, before)


def test_a_calibration_does_not_import_scipy(tmp_path):
    truth = midas.Geometry(distance=2e5, beam_center=(150, 150), pixel_size=200, wavelength=0.25)
    image = midas.simulate(truth, midas.Detector((300, 300), 200), "CeO2", seed=1).image.astype(np.int32)
    image[40:50] = -1  # a gap has its own code
    np.save(tmp_path / "image.npy", image)
    code = (
        f"import sys, midas\n"
        f"midas.calibrate({str(tmp_path / 'image.npy')!r}, "
        f"{{'wavelength': 0.25, 'pixel_size': 200, 'calibrant': 'CeO2'}})\n"
        f"print([m for m in sys.modules if m.partition('.')[0] == 'scipy'])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
