"""The calibration's own filters are scipy's."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from scipy import ndimage, signal

import midas
from midas.calibration.filters import find_peaks, grown, interpolated, running_percentile, smoothed

RNG = np.random.default_rng(7)
PROFILES = [
    RNG.normal(size=700),
    np.round(4 * ndimage.gaussian_filter1d(RNG.normal(size=500), 3.0), 1),  # flat tops
    np.repeat(RNG.integers(0, 4, 60), 3).astype(float),
    RNG.poisson(0.3, 41).astype(float),
    np.zeros(30),
    np.arange(20.0),
]


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("sigma", [0.7, 1.5])
def test_smoothed(profile, sigma):
    np.testing.assert_allclose(smoothed(profile, sigma), ndimage.gaussian_filter1d(profile, sigma), atol=1e-13)


@pytest.mark.parametrize("profile", PROFILES)
def test_running_percentile(profile):
    for percentile, size in ((30, 61), (50, 5), (99, 7)):
        expected = ndimage.percentile_filter(profile, percentile, size=size)
        np.testing.assert_array_equal(running_percentile(profile, percentile, size), expected)


@pytest.mark.parametrize("profile", [p for p in PROFILES if len(set(p.tolist())) == len(p) or len(p) == 30])
@pytest.mark.parametrize(("prominence", "distance"), [(0.0, 1), (0.8, 4), (2.0, 9)])
def test_find_peaks(profile, prominence, distance):
    index, height = find_peaks(profile, prominence=prominence, distance=distance)
    expected, found = signal.find_peaks(profile, prominence=prominence, distance=distance)
    np.testing.assert_array_equal(index, expected)
    np.testing.assert_array_equal(height, found["prominences"])


@pytest.mark.parametrize("profile", PROFILES)
def test_find_flat_peaks(profile):
    # Which of two equal peaks that are too near is kept is up to the order of a sort: none is too near here.
    index, height = find_peaks(profile, prominence=0.3, distance=1)
    expected, found = signal.find_peaks(profile, prominence=0.3, distance=1)
    np.testing.assert_array_equal(index, expected)
    np.testing.assert_array_equal(height, found["prominences"])


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
