"""Distances from the radii of rings alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from midas.calibration.pattern import RingPeaks, best_distance, nearest_distance, score_distances
from midas.crystal import calibrant, rings

WAVELENGTH = 0.2
CEO2 = rings(calibrant("CeO2"), WAVELENGTH, two_theta_max=30.0)
COVERED = (20.0, 300.0)


def peaks_of(name, distance, *, covered=COVERED):
    found = rings(calibrant(name), WAVELENGTH, two_theta_max=30.0)
    radii = distance * np.tan(np.radians(found.two_theta))
    shown = (radii > covered[0]) & (radii < covered[1]) & (np.nan_to_num(found.intensity, nan=1.0) > 1e-3)
    return RingPeaks(radii[shown], np.ones(int(shown.sum())), covered, np.zeros((1, 1)))


@pytest.mark.parametrize("distance", [1000.0, 1500.0, 2500.0])
def test_the_distance_is_found(distance):
    found, score = best_distance(peaks_of("CeO2", distance), CEO2)
    assert found == pytest.approx(distance, rel=1e-4)
    assert score > 10.0


def test_scale_of_radii_is_scale_of_distance():
    peaks = peaks_of("CeO2", 1500.0)
    scaled = replace(peaks, radii=peaks.radii * 2.0, covered=(40.0, 600.0))
    assert best_distance(scaled, CEO2)[0] == pytest.approx(3000.0, rel=1e-4)


def test_another_calibrant_scores_less():
    for name in ("LaB6", "Al2O3", "AgBehenate"):
        other = best_distance(peaks_of(name, 1500.0), CEO2)[1]
        assert other < 0.5 * best_distance(peaks_of(name, 1500.0), rings(calibrant(name), 0.2, two_theta_max=30.0))[1]


def test_a_missing_strong_ring_and_a_foreign_peak_cost():
    peaks = peaks_of("CeO2", 1500.0)
    at = np.array([1500.0])
    whole = score_distances(peaks, CEO2, at)[0]
    missing = replace(peaks, radii=peaks.radii[1:], strengths=peaks.strengths[1:])
    assert score_distances(missing, CEO2, at)[0] < whole
    foreign = replace(peaks, radii=np.sort([*peaks.radii, 142.0]), strengths=np.ones(len(peaks.radii) + 1))
    assert score_distances(foreign, CEO2, at)[0] < whole


def test_a_rough_distance_moves_onto_the_peaks():
    peaks = peaks_of("CeO2", 1500.0)
    assert nearest_distance(peaks, CEO2, 1512.0)[0] == pytest.approx(1500.0, rel=1e-4)


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_peaks_say_nothing(n):
    peaks = replace(peaks_of("CeO2", 1500.0), radii=np.full(n, 100.0), strengths=np.ones(n))
    assert best_distance(peaks, CEO2)[1] == -np.inf
    assert not nearest_distance(replace(peaks, covered=(0.0, 0.0)), CEO2, 1500.0)[1] > 0.0
