"""Panels and parallax in the compiled detector model: hand cases, inverse, derivatives, map and simulation."""

from __future__ import annotations

import numpy as np
import pytest

import midas
from midas import _core
from midas.errors import GeometryError, InputError

LAYOUT = midas.PanelLayout(size=(40, 60), gaps_z=(4, 6), gaps_y=(10,))  # 2 columns of 3 panels
SHAPE = LAYOUT.shape  # (130, 130)


def shifts(seed: int = 3, scale: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(len(LAYOUT), 5)) * np.array([0.4, 0.4, 0.3, 80.0, 1e-3]) * scale


def geometry(table: np.ndarray | None = None, **changes: object) -> midas.Geometry:
    values = {
        "distance": 2e5, "beam_center": (20.3, -31.0), "pixel_size": 150.0, "wavelength": 0.3,
        "tilts": (3.0, 4.0, -6.0), "distortion": {"p0": 1e-3, "p2": -2e-3, "p7": 5e-4, "p8": 20.0},
        "distortion_radius": 2.5e4, "parallax": 120.0,
    } | changes  # fmt: skip
    panels = None if table is None else midas.Panels.from_table(LAYOUT, table)
    return midas.Geometry(panels=panels, **values)


def pixels(rng: np.random.Generator, n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    return rng.uniform(-5, 135, n), rng.uniform(-5, 135, n)


def test_panels_are_numbered_down_the_columns_and_gaps_go_to_the_nearest():
    p = geometry(shifts()).projection
    y = np.array([0.0, 59.4, 64.4, 64.5, 200.0, -9.0, 70.0, 70.0])
    z = np.array([0.0, 39.4, 41.4, 41.5, 200.0, 87.0, 43.0, 130.0])
    # the gap of columns is 60..69: 60..64 are nearer to the first, 65..69 to the second; of rows 40..43
    assert p.panel_at(y, z).tolist() == [0, 0, 0, 4, 5, 1, 4, 5]


def test_a_position_moves_as_its_panel_does():
    # One panel off: the others stay; a turned and shifted pixel sees what its moved position sees without panels.
    table = np.zeros((6, 5))
    table[4] = [0.5, -0.25, 2.0, 0.0, 0.0]
    bent, flat = geometry(table), geometry()
    center = LAYOUT.centers[4]
    assert center.tolist() == [99.5, 63.5]
    dy, dz, turn = 12.0, -7.0, np.radians(2.0)
    moved_y = center[0] + dy * np.cos(turn) - dz * np.sin(turn) + 0.5
    moved_z = center[1] + dy * np.sin(turn) + dz * np.cos(turn) - 0.25
    np.testing.assert_allclose(
        bent.to_polar(center[0] + dy, center[1] + dz), flat.to_polar(moved_y, moved_z), rtol=1e-13
    )
    assert bent.to_polar(10.0, 10.0) == flat.to_polar(10.0, 10.0)


def test_the_distance_of_a_panel_by_hand():
    # An untilted panel 1 % farther off: the same pixel is seen at a 1 % smaller tangent.
    table = np.zeros((6, 5))
    table[0, 3] = 2000.0
    plain = {"tilts": (0, 0, 0), "distortion": {}, "parallax": 0.0}
    near, far = geometry(**plain).to_polar(30.0, 9.0), geometry(table, **plain).to_polar(30.0, 9.0)
    assert far[0] * 1.01 == pytest.approx(near[0], rel=1e-12)
    assert far[2] == near[2]


def test_parallax_by_hand():
    plain = {"tilts": (0, 0, 0), "distortion": {}, "beam_center": (0.0, 0.0)}
    measured = 100 * 150.0  # um: a hundred pixels
    radius, two_theta, _ = geometry(**plain).to_polar(100.0, 0.0)
    expected = measured + 120.0 * np.sin(np.arctan(measured / 2e5))
    assert radius * 150.0 == pytest.approx(expected, rel=1e-13)
    assert two_theta == pytest.approx(np.degrees(np.arctan(expected / 2e5)), rel=1e-13)


def test_shifts_of_zero_change_nothing(rng):
    y, z = pixels(rng)
    for one, other in zip(geometry(np.zeros((6, 5))).to_polar(y, z), geometry().to_polar(y, z), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-13)


def test_the_inverse_comes_back_to_the_pixel(rng, n_threads):
    g = geometry(shifts())
    # well inside a panel: at a border the moved panel may hide another's pixel
    y = rng.uniform(3, 56, 300) + 70 * rng.integers(0, 2, 300)
    z = rng.uniform(3, 36, 300) + 44 * rng.integers(0, 2, 300)
    radius, _, eta = g.to_polar(y, z)
    back = g.to_pixel(radius, eta, n_threads=n_threads)
    np.testing.assert_allclose(back[0], y, atol=1e-8)  # px
    np.testing.assert_allclose(back[1], z, atol=1e-8)


def test_every_thread_count_gives_the_same_bytes(rng):
    g = geometry(shifts())
    y, z = pixels(rng, 5001)
    one = [a.tobytes() for a in g.to_polar(y, z, n_threads=1)]
    for n in (2, 7):
        assert [a.tobytes() for a in g.to_polar(y, z, n_threads=n)] == one


def test_gradients_by_parallax_and_panel_equal_numeric_differences(rng):
    y, z = rng.uniform(3, 56, 50) + 70, rng.uniform(3, 36, 50) + 44  # all on panel 4
    table = shifts()
    g = geometry(table)
    tangent = np.full(50, 0.1)
    free = np.zeros((6, 5), dtype=bool)
    free[4] = True
    gradient = g.projection.radius_gradient(y, z)[:, _core.PARALLAX]
    up, down = (geometry(table, parallax=120.0 + s).to_polar(y, z)[0] * 150.0 for s in (1.0, -1.0))
    np.testing.assert_allclose(gradient, (up - down) / 2.0, rtol=1e-7)
    # The normal matrix of the fit holds the panel's columns: with weight 1 its inverse is the covariance.
    none = [False] * _core.N_GEOMETRY_PARAMETERS
    found = _core.fit_geometry(
        g.projection, y, z, tangent, np.ones(50), free=none, lower=[-1e9] * len(none), upper=[1e9] * len(none),
        panel_free=free, panel_sigma=[1e-9] * 5,
    )  # fmt: skip
    assert found["parameters"] == [_core.N_GEOMETRY_PARAMETERS + 1 + 3 + 5 * 4 + k for k in range(5)]
    columns = []
    steps = [1e-3, 1e-3, 1e-3, 1.0, 1e-5]
    at = found["panel_shifts"]
    for k, step in enumerate(steps):
        strain = []
        for sign in (1, -1):
            moved = at.copy()
            moved[4, k] += sign * step
            strain.append(_core.pseudo_strain(geometry(moved).projection, y, z, tangent))
        columns.append(-(strain[0] - strain[1]) / (2 * step))
    jacobian = np.stack(columns, axis=1)
    loose = _core.fit_geometry(
        geometry(at).projection, y, z, -g.projection.to_polar(y, z)[0] / 1e300 + tangent, np.ones(50), free=none,
        lower=[-1e9] * len(none), upper=[1e9] * len(none), panel_free=free, panel_sigma=[1e-9] * 5,
    )  # fmt: skip
    information = np.linalg.inv(loose["covariance"]) - np.diag([1e18] * 5)
    scale = np.sqrt(np.outer(np.diag(jacobian.T @ jacobian), np.diag(jacobian.T @ jacobian)))
    assert information.shape == scale.shape
