"""The geometry fit of the core: exact points give the exact geometry back."""

from __future__ import annotations

import numpy as np
import pytest

import midas
from midas import _core
from midas.errors import FitError, InputError

TRUTH = midas.Geometry(
    distance=3.1e5,
    beam_center=(512.3, 498.7),
    pixel_size=150.0,
    wavelength=0.2,
    tilts=(0.0, 0.8, -1.1),
    distortion={"p0": 2e-4, "p1": -3e-4, "p2": 5e-4, "p3": 0.0},
    distortion_radius=1.1e5,
)
CLASSIC = (0, 1, 2, 4, 5, *(6 + k for k in (0, 5, 9, 10)))
N = _core.N_GEOMETRY_PARAMETERS


def exact_points():
    two_theta = np.repeat([4.0, 6.0, 8.0, 11.0, 13.0], 60)
    eta = np.tile(np.arange(-180.0, 180.0, 6.0), 5)
    y, z = TRUTH.to_pixel(TRUTH.radius_of(two_theta), eta)
    return y, z, np.tan(np.radians(two_theta))


def start(**changes):
    values = {"distance": 3.0e5, "beam_center": (510.0, 501.0), "pixel_size": 150.0, "wavelength": 0.2} | changes
    return midas.Geometry(distortion_radius=1.1e5, **values).projection


def fit(points, *, free=CLASSIC, weight=None, robust=0.0, geometry=None):
    y, z, tangent = points
    return _core.fit_geometry(
        geometry or start(), y, z, tangent, np.full(len(y), 1e5) if weight is None else weight,
        free=[k in free for k in range(N)], lower=[-1e9] * N, upper=[1e9] * N, robust=robust,
    )  # fmt: skip


def test_exact_points_give_the_exact_geometry():
    found = fit(exact_points())
    assert found["converged"]
    assert found["distance"] == pytest.approx(TRUTH.distance, rel=1e-9)
    assert found["beam_center"] == pytest.approx(TRUTH.beam_center, abs=1e-6)
    assert found["tilts"] == pytest.approx(TRUTH.tilts, abs=1e-6)
    from midas.geometry import distortion_coefficients

    np.testing.assert_allclose(found["distortion"], distortion_coefficients(TRUTH.distortion), atol=1e-9)
    assert np.abs(found["strain"]).max() < 1e-9


def test_the_jacobian_of_the_strain_is_its_numeric_derivative():
    # With J J^T the covariance is (J^T J)^-1: compare with one built from finite differences of pseudo_strain.
    y, z, tangent = exact_points()
    weight = 1e5
    found = fit((y, z, tangent))
    steps = {0: 1.0, 1: 1e-3, 2: 1e-3, 4: 1e-3, 5: 1e-3}

    def strain(k, step):
        values = [
            TRUTH.distance,
            *TRUTH.beam_center,
            *TRUTH.tilts,
            *midas.geometry.distortion_coefficients(TRUTH.distortion),
        ]
        values[k] += step
        projection = _core.Projection(
            distance=values[0], beam_y=values[1], beam_z=values[2], pixel_size=150.0, tilts=values[3:6],
            distortion=values[6:], distortion_radius=1.1e5,
        )  # fmt: skip
        return _core.pseudo_strain(projection, y, z, tangent)

    columns = []
    for k in found["parameters"]:
        step = steps.get(k, 1e-5)
        columns.append(weight * (strain(k, step) - strain(k, -step)) / (2 * step))
    jacobian = np.stack(columns, axis=1)
    expected = np.linalg.inv(jacobian.T @ jacobian)
    sigma = np.sqrt(np.diag(expected))
    np.testing.assert_allclose(
        found["covariance"] / np.outer(sigma, sigma), expected / np.outer(sigma, sigma), atol=1e-5
    )


def test_a_robust_fit_ignores_outliers():
    y, z, tangent = exact_points()
    y = y.copy()
    y[::17] += 4.0
    plain, robust = fit((y, z, tangent)), fit((y, z, tangent), robust=3.0)
    assert abs(plain["beam_center"][0] - TRUTH.beam_center[0]) > 0.05
    assert abs(robust["beam_center"][0] - TRUTH.beam_center[0]) < 1e-3


def test_the_errors_predict_the_scatter():
    y, z, tangent = exact_points()
    rng = np.random.default_rng(7)
    pulls = []
    for _ in range(60):
        noisy = (y + rng.normal(0, 0.02, len(y)), z + rng.normal(0, 0.02, len(z)), tangent)
        radius = np.hypot(y - 512.3, z - 498.7)
        found = fit(noisy, weight=radius / 0.02)
        sigma = np.sqrt(np.diag(found["covariance"]))
        pulls.append([(found["distance"] - TRUTH.distance) / sigma[0], (found["beam_center"][0] - 512.3) / sigma[1]])
    spread = np.std(pulls, axis=0)
    assert ((spread > 0.75) & (spread < 1.3)).all(), spread  # 60 draws: known to 9 %


def test_bad_input_is_refused():
    y, z, tangent = exact_points()
    with pytest.raises(InputError, match="free"):
        fit((y, z, tangent), free=())
    with pytest.raises(FitError, match="only 3 ring positions"):
        fit((y[:3], z[:3], tangent[:3]))
    with pytest.raises(InputError, match="same number"):
        fit((y, z[:5], tangent))
