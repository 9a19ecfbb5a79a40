"""The first guess from the image alone."""

from __future__ import annotations

import numpy as np
import pytest

import midas
from midas.calibration.prepare import prepare_image
from midas.calibration.seed import find_seed, ring_signal
from midas.crystal import calibrant, rings

SHAPE = (640, 600)


def shot(seed=3, **changes):
    values = {"distance": 3e5, "beam_center": (300.0, 320.0), "pixel_size": 200.0, "wavelength": 0.2} | changes
    truth = midas.Geometry(**values)
    options = midas.SimulationOptions(peak_counts=1500.0, spottiness=0.2, dtype="uint32")
    return truth, midas.simulate(truth, midas.Detector(SHAPE, 200.0), "CeO2", options=options, seed=seed).image


@pytest.mark.parametrize("center", [(300.0, 320.0), (60.0, 590.0), (-150.0, 320.0), (700.0, -80.0)])
def test_the_centre_is_found_on_and_off_the_panel(center):
    truth, image = shot(beam_center=center)
    prepared = prepare_image(image)
    signal = ring_signal(prepared)
    y, z = (signal.to_image(v) for v in find_center(signal))
    assert np.hypot(y - center[0], z - center[1]) < 4.0  # px: the fit that follows reaches 15 cells

    found = find_seed(prepared, rings(calibrant("CeO2"), 0.2, two_theta_max=40.0), 200.0, signal=signal)
    assert abs(found.distance / truth.distance - 1.0) < 0.01


@pytest.mark.parametrize("distance", [1.2e5, 6e5, 3e6])
def test_the_distance_is_found_from_ratios_of_radii(distance):
    found = rings(calibrant("LaB6"), 0.2, two_theta_max=40.0)
    radii = distance / 200.0 * np.tan(np.radians(found.two_theta))
    seen = np.arange(len(radii)) < 12
    top = float(radii[seen].max()) + 20.0
    hypotheses = find_distance(radii[seen], np.ones(seen.sum()), (5.0, top), found, (10.0, 1e6))
    assert abs(hypotheses[0].distance * 200.0 / distance - 1.0) < 1e-3
    other = next(h for h in hypotheses if abs(h.distance / hypotheses[0].distance - 1.0) > 0.02)
    assert other.score < hypotheses[0].score


def test_peaks_at_random_radii_explain_no_calibrant():
    rng = np.random.default_rng(7)
    found = rings(calibrant("CeO2"), 0.2, two_theta_max=20.0)
    wins = 0
    for _ in range(20):
        radii = np.sort(rng.uniform(50.0, 500.0, 9))
        hypotheses = find_distance(radii, np.ones(9), (10.0, 520.0), found, (100.0, 1e4))
        wins += hypotheses[0].score > 0.0
    assert wins <= 2


def test_noise_has_no_rings():
    image = np.random.default_rng(5).poisson(30.0, SHAPE)
    with pytest.raises(midas.FitError, match="no rings|cannot tell"):  # noqa: RUF043
        find_seed(prepare_image(image), rings(calibrant("CeO2"), 0.2, two_theta_max=40.0), 200.0)
