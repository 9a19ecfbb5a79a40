"""What residuals say: by hand, on points of known displacement, and against noise alone."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from midas import Geometry
from midas.calibration.fit import PLACE, TILTS, fit_geometry
from midas.calibration.residuals import (
    held_out_azimuths,
    held_out_rings,
    held_out_strains,
    offsets,
    pairs,
    ring_biases,
    shared_by_neighbours,
    stray_rings,
)

GEOMETRY = Geometry(distance=3e5, beam_center=(255.3, 258.1), pixel_size=200, wavelength=0.2, distortion_radius=7.4e4)
TWO_THETA = np.linspace(3.0, 8.0, 8)
FREE = PLACE + TILTS


def test_neighbours_by_hand() -> None:
    one, other = pairs(np.array([2, 2, 2, 5, 5]), np.array([1, 0, 3, 7, 8]))
    assert sorted(zip(one.tolist(), other.tolist(), strict=True)) == [(1, 0), (3, 4)]


def test_a_pattern_is_measured_and_noise_is_not_one(ring_points) -> None:
    points = ring_points()
    wave = 0.4 * np.cos(2.0 * np.radians(points.eta))
    noise = np.random.default_rng(3).normal(0.0, 0.4, len(points))
    assert shared_by_neighbours(points, wave) == pytest.approx(0.4 / math.sqrt(2.0), rel=0.02)
    assert shared_by_neighbours(points, noise) == 0.0
    assert shared_by_neighbours(points, wave + noise) == pytest.approx(0.4 / math.sqrt(2.0), rel=0.2)


def test_ring_biases_by_hand(ring_points) -> None:
    points = ring_points()
    offset = np.where(points.ring % 2 == 0, 0.3, -0.3)
    assert ring_biases(points, offset) == pytest.approx(0.3)
    assert ring_biases(points, np.random.default_rng(5).normal(0.0, 1.0, len(points))) < 0.1


def test_strays_are_off_their_place_and_not_only_noisy(ring_points) -> None:
    points = ring_points()
    strain = np.zeros(len(points))
    strain[points.ring == 2] = 0.2 / points.radius[points.ring == 2]
    noisy = points.ring == 5
    strain[noisy] = np.random.default_rng(6).normal(0.0, 0.5, int(noisy.sum())) / points.radius[noisy]
    assert stray_rings(points, strain, frozenset({2, 5}), 0.05) == 1
    assert stray_rings(points, strain, frozenset({5}), 0.05) == 0
    assert stray_rings(points, strain, frozenset({2}), 0.25) == 0


def test_offsets_point_outward(ring_points) -> None:
    points = ring_points(outward=0.25)
    fit = replace(fit_geometry(GEOMETRY, ring_points(), FREE), strain=-0.25 / points.radius)
    assert offsets(fit, points) == pytest.approx(0.25)


def test_points_left_out_are_predicted_as_well_as_the_others(ring_points) -> None:
    points = ring_points(noise=0.05)
    fit = fit_geometry(GEOMETRY, points, FREE)
    for held in (held_out_azimuths(fit, points), held_out_rings(fit, points)):
        assert held.test == pytest.approx(held.train, rel=0.05)
        esd = math.sqrt(fit.covariance[1, 1] + fit.covariance[2, 2])
        assert 0.3 * esd < held.beam < 3.0 * esd  # four folds: the jackknife is rough
        assert 0.3 < held.distance * GEOMETRY.distance / math.sqrt(fit.covariance[0, 0]) < 4.0
    strain = held_out_strains(fit, points)
    assert strain.shape == (int(fit.used.sum()),)
    assert np.mean(np.abs(strain)) == pytest.approx(held_out_azimuths(fit, points).test)


def test_too_many_parameters_show_on_what_is_left_out(ring_points) -> None:
    points = ring_points(noise=0.05, two_theta=np.array([4.0, 5.0, 6.0]), eta=np.arange(0.0, 60.0, 5.0))
    rich = fit_geometry(GEOMETRY, points, FREE + tuple(range(6, 14)))
    held = held_out_azimuths(rich, points)
    assert held.test > 1.3 * held.train  # 13 parameters, 36 points


def test_a_wrong_wavelength_shows_on_rings_left_out(ring_points) -> None:
    right = ring_points(noise=0.01, two_theta=np.linspace(5.0, 30.0, 4))
    theta = 0.5 * np.arctan(right.tan_two_theta)
    wrong = replace(right, tan_two_theta=np.tan(2.0 * np.arcsin(1.02 * np.sin(theta))))
    fits = [fit_geometry(GEOMETRY, p, FREE) for p in (right, wrong)]
    biases = [ring_biases(p.select(f.used), offsets(f, p)) for f, p in zip(fits, (right, wrong), strict=True)]
    assert biases[0] < 0.01
    assert biases[1] > 0.2
    assert held_out_rings(fits[1], wrong).test > 1.15 * held_out_rings(fits[1], wrong).train


def test_too_few_points_give_no_figure(ring_points) -> None:
    points = ring_points(two_theta=np.array([4.0]), eta=np.arange(0.0, 40.0, 5.0))
    fit = fit_geometry(GEOMETRY, ring_points(), FREE)
    held = held_out_azimuths(replace(fit, used=np.ones(len(points), dtype=bool), strain=np.zeros(len(points))), points)
    assert math.isnan(held.test)
    assert math.isnan(held.beam)
