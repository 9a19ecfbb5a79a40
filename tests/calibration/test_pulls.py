"""Standard uncertainties are true: errors over simulated images scatter as the covariance says.

Over more images and with the whole calibration: benchmarks/calibration_pulls.py.
"""

from __future__ import annotations

import numpy as np
import pytest

from midas import Detector, Geometry, SimulationOptions, calibrant, simulate
from midas.calibration.fit import parameter_names
from midas.calibration.loop import run_loop
from midas.calibration.options import params_from
from midas.calibration.prepare import prepare_image
from midas.crystal import rings

N_IMAGES = 24
PLACE = ("distance", "beam_center_y", "beam_center_z", "tilt_y", "tilt_z")


@pytest.fixture(scope="module")
def errors_and_covariances() -> list[tuple[np.ndarray, np.ndarray]]:
    options = params_from({"wavelength": 0.2, "pixel_size": 200, "calibrant": "CeO2", "distortion": "none"})
    listed = rings(calibrant("CeO2"), 0.2, two_theta_max=13.0)
    rng = np.random.default_rng(5)
    found = []
    for seed in range(N_IMAGES):
        truth = Geometry(
            distance=float(rng.uniform(2.4e5, 2.6e5)),
            beam_center=(float(rng.uniform(180, 220)), float(rng.uniform(180, 220))),
            pixel_size=200,
            wavelength=0.2,
            tilts=(0.0, float(rng.normal(0.0, 0.5)), float(rng.normal(0.0, 0.5))),
        )
        look = SimulationOptions(peak_counts=150.0, background=30.0, dtype="int32")
        shot = simulate(truth, Detector((400, 400), 200), "CeO2", options=look, seed=100 + seed)
        fit = run_loop(prepare_image(shot.image), truth, listed, options).fit
        assert tuple(parameter_names(fit.parameters)) == PLACE
        g = fit.geometry
        values = [np.array([v.distance, *v.beam_center, *v.tilts[1:]]) for v in (g, truth)]
        found.append((values[0] - values[1], fit.covariance))
    return found


def test_errors_scatter_as_the_covariance_says(errors_and_covariances: list[tuple[np.ndarray, np.ndarray]]) -> None:
    # Squared errors in units of the covariance have mean 1 a parameter; 120 of them scatter by 0.13.
    squared = [float(d @ np.linalg.solve(c, d)) / len(d) for d, c in errors_and_covariances]
    assert 0.6 < np.mean(squared) < 1.5


@pytest.mark.parametrize("name", PLACE)
def test_no_parameter_is_off_on_average(errors_and_covariances: list[tuple[np.ndarray, np.ndarray]], name: str) -> None:
    k = PLACE.index(name)
    pulls = [float(d[k] / np.sqrt(c[k, k])) for d, c in errors_and_covariances]
    assert abs(np.mean(pulls)) < 0.7  # 24 images: standard deviation 0.20
    assert 0.6 < np.std(pulls, ddof=1) < 1.5
