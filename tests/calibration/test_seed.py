"""The first guess from the image alone."""

from __future__ import annotations

import math

import numpy as np
import pytest

import midas
from midas.calibration.prepare import prepare_image
from midas.calibration.ridges import find_ridges
from midas.calibration.seed import find_seed
from midas.calibration.signal import ring_signal
from midas.crystal import calibrant, rings

SHAPE = (640, 600)
CEO2 = rings(calibrant("CeO2"), 0.2, two_theta_max=40.0)


def shot(seed=3, calibrant="CeO2", options=None, **changes):
    values = {"distance": 3e5, "beam_center": (300.0, 320.0), "pixel_size": 200.0, "wavelength": 0.2} | changes
    truth = midas.Geometry(**values)
    look = {"peak_counts": 1500.0, "spottiness": 0.2, "dtype": "uint32"} | (options or {})
    detector = midas.Detector(SHAPE, 200.0)
    return truth, midas.simulate(truth, detector, calibrant, options=midas.SimulationOptions(**look), seed=seed).image


def check(found, truth, beam=1.0, distance=2e-3):
    assert math.dist(found.beam_center, truth.beam_center) < beam  # px
    assert abs(found.distance / truth.distance - 1.0) < distance


@pytest.mark.parametrize("center", [(300.0, 320.0), (60.0, 590.0), (-150.0, 320.0), (700.0, -80.0), (-550.0, 300.0)])
def test_the_beam_is_found_on_and_off_the_panel(center):
    truth, image = shot(beam_center=center)
    check(find_seed(prepare_image(image), CEO2, 200.0), truth, beam=3.0, distance=5e-3)


@pytest.mark.parametrize("distance", [1.2e5, 6e5])
def test_the_distance_is_found_from_few_rings_and_many(distance):
    truth, image = shot(distance=distance)
    found = find_seed(prepare_image(image), CEO2, 200.0)
    check(found, truth)
    assert not found.ambiguous
    assert found.runner_up is not None
    assert abs(found.runner_up.distance / truth.distance - 1.0) > 0.02


@pytest.mark.parametrize("tilts", [(0.0, 25.0, 0.0), (0.0, -12.0, 30.0), (0.0, 20.0, -33.0)])
def test_a_strong_tilt_is_found(tilts):
    truth, image = shot(tilts=tilts, distance=2.2e5)
    found = find_seed(prepare_image(image), CEO2, 200.0)
    check(found, truth)
    assert found.tilts == pytest.approx(tilts[1:], abs=0.3)  # deg


def test_rings_of_spots_alone_are_found():
    look = {"spottiness": 1.0, "spots_per_ring": 60.0, "peak_counts": 5000.0}
    truth, image = shot(options=look)
    check(find_seed(prepare_image(image), CEO2, 200.0), truth)


def test_saturated_rings_are_found_in_the_holes_they_leave():
    truth, image = shot(options={"peak_counts": 3e5, "dtype": "uint16", "background": 100.0, "spottiness": 0.0})
    assert (image == 65535).mean() > 0.01
    check(find_seed(prepare_image(image), CEO2, 200.0), truth)


def test_a_guess_does_not_overrule_the_image():
    truth, image = shot()
    found = find_seed(prepare_image(image), CEO2, 200.0, beam_center=(200.0, 100.0), distance=5e5)
    check(found, truth)


def test_a_right_guess_is_quiet(caplog):
    truth, image = shot()
    check(find_seed(prepare_image(image), CEO2, 200.0, beam_center=(303.0, 318.0), distance=3.05e5), truth)
    assert "guess" not in caplog.text


def test_the_seed_is_the_same_for_any_number_of_threads():
    _, image = shot()
    prepared = prepare_image(image)
    seeds = [find_seed(prepared, CEO2, 200.0, n_threads=n) for n in (1, 2, 7)]
    for other in seeds[1:]:
        assert other.best.distance == seeds[0].best.distance
        assert other.best.beam_center == seeds[0].best.beam_center
        assert other.best.score == seeds[0].best.score


def test_ridge_points_lie_on_the_rings_and_point_at_the_beam():
    truth, image = shot(options={"spottiness": 0.0})
    ridges = find_ridges(ring_signal(prepare_image(image)))
    y, z, ny, nz, _ = ridges.points
    radius = np.hypot(y - 300.0, z - 320.0)
    expected = truth.radius_of(CEO2.two_theta)
    offset = np.abs(radius[:, None] - expected[None, :]).min(axis=1)
    assert np.median(offset) < 0.15  # px
    sine = np.abs((y - 300.0) * nz - (z - 320.0) * ny) / radius
    assert np.median(sine) < 0.05


def test_noise_has_no_rings():
    image = np.random.default_rng(5).poisson(30.0, SHAPE)
    with pytest.raises(midas.FitError, match="no rings"):
        find_seed(prepare_image(image), CEO2, 200.0)


def test_lines_that_are_no_rings_are_refused():
    z, y = np.mgrid[: SHAPE[0], : SHAPE[1]]
    stripes = 50.0 + 200.0 * (np.sin(y / 6.0 + 0.3 * np.sin(z / 40.0)) > 0.9)
    image = np.random.default_rng(5).poisson(stripes)
    with pytest.raises(midas.FitError, match="cannot tell"):
        find_seed(prepare_image(image), CEO2, 200.0)
