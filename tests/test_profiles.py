"""The filters of profiles are scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage, signal

from midas.profiles import find_peaks, half_width_points, running_percentile, smoothed

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


@pytest.mark.parametrize("profile", PROFILES)
def test_half_width_points(profile):
    index, height = find_peaks(profile, prominence=0.3)
    _, _, left, right = signal.peak_widths(profile, index, rel_height=0.5)
    found = half_width_points(profile, index, height)
    np.testing.assert_allclose(found, (left, right), atol=1e-12)


def test_a_step_of_a_running_percentile_changes_little():
    slow = 100.0 + 20.0 * np.sin(np.arange(20000) / 3000.0)
    profile = RNG.poisson(slow).astype(float)
    fine, coarse = (running_percentile(profile, 20, 2001, step=step) for step in (1, 100))
    np.testing.assert_array_equal(coarse[::100], fine[::100])
    assert np.abs(coarse - fine).max() <= 1.0
