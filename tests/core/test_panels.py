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
    z = np.array([0.0, 39.4, 41.4, 41.5, 200.0, 86.0, 43.0, 130.0])
    # the gap of columns is 60..69: 60..64 are nearer to the first, 65..69 to the second; of rows 40..43
    # (42, 43 to the second) and 84..89 (84..86 to the second)
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


def test_the_derivative_by_parallax_is_its_numeric_difference(rng):
    y, z = pixels(rng)
    gradient = geometry(shifts()).projection.radius_gradient(y, z)[:, _core.PARALLAX]
    up, down = (geometry(shifts(), parallax=120.0 + s).to_polar(y, z)[0] * 150.0 for s in (1.0, -1.0))
    np.testing.assert_allclose(gradient, (up - down) / 2.0, rtol=1e-6)


def test_the_derivatives_of_the_other_parameters_hold_on_moved_panels(rng):
    y, z = rng.uniform(3, 56, 50) + 70, rng.uniform(3, 36, 50) + 44
    gradient = geometry(shifts()).projection.radius_gradient(y, z)
    for k, (name, step) in enumerate((("distance", 1.0), ("beam_center", 1e-3))):
        ends = []
        for sign in (1, -1):
            value = 2e5 + sign * step if name == "distance" else (20.3 + sign * step, -31.0)
            ends.append(geometry(shifts(), **{name: value}).to_polar(y, z)[0] * 150.0)
        np.testing.assert_allclose(gradient[:, k], (ends[0] - ends[1]) / (2 * step), rtol=1e-5, atol=1e-7)


def test_the_jacobian_of_a_panel_is_its_numeric_derivative(rng):
    # Exact points: the fit stays where it starts and its covariance is (J^T J)^-1 there.
    y, z = rng.uniform(3, 56, 80) + 70, rng.uniform(3, 36, 80) + 44  # all on panel 4
    table = shifts()
    tangent = np.tan(np.radians(geometry(table).to_polar(y, z)[1]))
    free = np.zeros((6, 5), dtype=bool)
    free[4] = True
    n = _core.N_GEOMETRY_PARAMETERS
    found = _core.fit_geometry(
        geometry(table).projection, y, z, tangent, np.full(80, 1e5),
        free=[False] * n, lower=[-1e9] * n, upper=[1e9] * n, panel_free=free,
    )  # fmt: skip
    assert found["parameters"] == [n + 1 + 3 + 5 * 4 + k for k in range(5)]
    columns = []
    for k, step in enumerate((1e-3, 1e-3, 1e-3, 1.0, 1e-5)):
        ends = []
        for sign in (1, -1):
            moved = table.copy()
            moved[4, k] += sign * step
            ends.append(_core.pseudo_strain(geometry(moved).projection, y, z, tangent))
        columns.append(1e5 * (ends[0] - ends[1]) / (2 * step))
    jacobian = np.stack(columns, axis=1)
    expected = np.linalg.inv(jacobian.T @ jacobian)
    sigma = np.sqrt(np.diag(expected))
    np.testing.assert_allclose(
        found["covariance"] / np.outer(sigma, sigma), expected / np.outer(sigma, sigma), atol=1e-4
    )


def test_rows_of_the_map_sum_to_the_pixels_areas(n_threads):
    # Each pixel's corners moved with its own panel, mapped, and the quadrilateral's area by the shoelace formula.
    g = geometry(shifts(), beam_center=(64.2, 65.1))
    y, z = np.meshgrid(np.arange(SHAPE[1]), np.arange(SHAPE[0]))
    projection = g.projection
    panel = projection.panel_at(y.astype(float), z.astype(float))
    corners = []
    for dy, dz in ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)):
        # a corner belongs to the pixel's panel: move it a panel's worth by hand, then project without panels
        c = LAYOUT.centers[panel]
        t = g.panels.table[panel]
        turn = np.radians(t[..., 2])
        u, v = y + dy - c[..., 0], z + dz - c[..., 1]
        moved_y = c[..., 0] + u * np.cos(turn) - v * np.sin(turn) + t[..., 0]
        moved_z = c[..., 1] + u * np.sin(turn) + v * np.cos(turn) + t[..., 1]
        corners.append((moved_y, moved_z))
    flat = shifts()
    flat[:, 3:] = 0.0
    g = geometry(flat, beam_center=(64.2, 65.1))
    plain = geometry(beam_center=(64.2, 65.1))
    x = []
    for moved_y, moved_z in corners:
        radius, _, eta = plain.to_polar(moved_y, moved_z)
        x.append(radius * np.exp(1j * np.radians(eta)))
    area = np.abs(sum((x[i].conj() * x[(i + 1) % 4]).imag for i in range(4))) / 2
    cake_map = midas.build_map(
        g, midas.Detector(SHAPE, 150.0), midas.CakeGrid(0, 200, 7, eta_step=11), n_threads=n_threads
    )
    found = np.asarray(cake_map.to_scipy().sum(axis=0)).reshape(SHAPE)
    np.testing.assert_allclose(found, area, atol=2e-6)  # px^2, stored as float32


def test_the_map_is_the_same_for_any_number_of_threads():
    g, detector = geometry(shifts(), beam_center=(64.2, 65.1)), midas.Detector(SHAPE, 150.0)
    grid = midas.CakeGrid(0, 90, 1, eta_step=10)
    one = midas.build_map(g, detector, grid, n_threads=1)
    for n in (2, 7):
        other = midas.build_map(g, detector, grid, n_threads=n)
        assert other.core.arrays["area"].tobytes() == one.core.arrays["area"].tobytes()
        assert other.core.arrays["pixel"].tobytes() == one.core.arrays["pixel"].tobytes()
    assert one.key != midas.build_map(geometry(beam_center=(64.2, 65.1)), detector, grid).key


def test_a_shifted_panel_shows_its_ring_shifted():
    # A whole pixel too far along +Y: the panel's pixels see what their right neighbours would.
    plain = {"tilts": (0, 0, 0), "distortion": {}, "parallax": 0.0, "beam_center": (-50.0, 63.5)}
    table = np.zeros((6, 5))
    table[4, 0] = 1.0
    options = midas.SimulationOptions(noise=False, background=0.0, polarization=0.0)
    still, moved = (
        midas.simulate(g, midas.Detector(SHAPE, 150.0), "CeO2", options=options).image
        for g in (geometry(**plain), geometry(table, **plain))
    )
    rows, columns = slice(*np.add(LAYOUT.rows[1], (0, 1))), slice(*np.add(LAYOUT.columns[1], (0, 1)))
    neighbour = np.roll(still, -1, axis=1)
    crest = still.max()
    inside = (rows, slice(columns.start, columns.stop - 1))
    np.testing.assert_allclose(moved[inside], neighbour[inside], atol=2e-3 * crest)
    assert np.abs(moved[inside] - still[inside]).max() > 0.1 * crest
    np.testing.assert_allclose(moved[:, :60], still[:, :60], atol=2e-3 * crest)
    np.testing.assert_allclose(moved[: LAYOUT.rows[0][1]], still[: LAYOUT.rows[0][1]], atol=2e-3 * crest)


@pytest.mark.parametrize(
    ("columns", "rows", "message"),
    [
        ([(0, 9), (9, 20)], [(0, 9)], "columns must ascend"),
        ([], [(0, 9)], "no columns"),
        ([(0, 9)], [(5, 4)], "rows must ascend"),
        ([(0, 9)], [(0, 2**21)], "at most 2"),
        ([(0, 9)], [(0, 9)], "shape"),
    ],
)
def test_impossible_panels_are_refused(columns, rows, message):
    with pytest.raises(InputError, match=message):
        _core.Projection(
            distance=1e5, beam_y=0, beam_z=0, pixel_size=100, tilts=[0, 0, 0], distortion=[0.0] * 15,
            distortion_radius=1e4, panels=(columns, rows, np.zeros((3, 5))),
        )  # fmt: skip


def test_numbers_that_are_not_finite_are_refused():
    with pytest.raises(GeometryError, match="finite"):
        _core.Projection(
            distance=1e5, beam_y=0, beam_z=0, pixel_size=100, tilts=[0, 0, 0], distortion=[0.0] * 15,
            distortion_radius=1e4, panels=([(0, 9)], [(0, 9)], np.full((1, 5), np.nan)),
        )  # fmt: skip
    with pytest.raises(GeometryError, match="parallax"):
        geometry(parallax=np.nan)
