"""midas.CakeGrid: bin counts, edges, units, edges of their own."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest

import midas
from midas.errors import InputError


@pytest.mark.parametrize(
    ("low", "high", "step", "n"),
    [(10, 20, 1, 10), (10, 20.1, 1, 11), (0, 1, 0.1, 10), (10, 2880, 0.5, 5740), (0, 0.3, 0.1, 3), (0, 1, 2, 1)],
)
def test_number_of_bins_is_the_range_over_the_step_rounded_up(low, high, step, n):
    assert midas.CakeGrid(low, high, step).shape == (n, 72)


def test_edges_are_min_plus_i_steps():
    grid = midas.CakeGrid(10, 12.4, 1, eta_min=-10, eta_max=10, eta_step=7)
    geometry = midas.Geometry(1e6, (0, 0), 200, 0.18)
    assert grid.shape == (3, 3)
    assert grid.radius_edges(geometry).tolist() == [10, 11, 12, 13]
    assert grid.eta_edges.tolist() == [-10, -3, 4, 11]


@pytest.mark.parametrize(("step", "last", "center"), [(100, 120, 150.0), (7, 177, 178.5), (5, 175, 177.5)])
def test_the_last_eta_bin_ends_where_the_turn_does(step, last, center):
    grid = midas.CakeGrid(10, 20, 1, eta_step=step)
    assert grid.eta_edges[-2:].tolist() == [last, 180.0]
    assert grid.eta_centers[-1] == center
    assert grid.eta_centers[0] == -180.0 + step / 2
    assert len(grid.eta_edges) == len(grid.eta_centers) + 1 == grid.shape[1] + 1


def test_eta_bins_of_less_than_a_turn_are_all_as_wide():
    grid = midas.CakeGrid(10, 20, 1, eta_min=-10, eta_max=10, eta_step=7)
    assert grid.eta_centers.tolist() == [-6.5, 0.5, 7.5]


def test_q_edges_are_uniform_in_q():
    geometry = midas.Geometry(1e6, (0, 0), 200, 0.18)
    edges = midas.CakeGrid(1.0, 5.0, 0.01, unit="q").radius_edges(geometry)
    two_theta = np.arctan(edges * 200 / 1e6)
    q = 4 * np.pi * np.sin(two_theta / 2) / 0.18
    np.testing.assert_allclose(q, 1.0 + 0.01 * np.arange(401), rtol=1e-12)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"radius_step": 0}, "step above 0"),
        ({"eta_step": 0}, "step above 0"),
        ({"radius_max": 5}, "max > min"),
        ({"radius_min": -1}, "0 or more"),
        ({"eta_max": 270}, "full turn"),
        ({"unit": "Q"}, "expected 'px', '2theta' or 'q'"),
        ({"unit": "2theta", "radius_max": 90}, "2theta reaches 90 deg"),
        ({"unit": "2theta", "radius_max": 88, "radius_step": 45}, "2theta reaches 100 deg"),
        ({"radius_bounds": (10, 15, 25)}, "CakeGrid.from_edges"),
        ({"radius_bounds": (10, 20)}, "CakeGrid.from_edges"),
        ({"eta_bounds": (-180, 0, 10)}, "CakeGrid.from_edges"),
        ({"radius_max": float("nan")}, "max > min"),
    ],
)
def test_bad_grids_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        midas.CakeGrid(**{"radius_min": 10, "radius_max": 20, "radius_step": 1, **values})


@pytest.mark.parametrize("unit", ["px", "2theta", "q"])
@pytest.mark.parametrize("step", [1e-9, 1e-310])
def test_bins_beyond_counting_are_refused_before_their_edges_are_made(unit, step):
    with pytest.raises(InputError, match=r"radius_step 1e-\d+ and eta_step 5 make .* bins; expected fewer than 2\^31"):
        midas.CakeGrid(10, 20, step, unit=unit)


@pytest.mark.parametrize("values", [{"radius_min": "10"}, {"radius_step": None}, {"eta_max": [180, 0]}], ids=str)
def test_what_is_no_number_is_refused(values):
    with pytest.raises(InputError, match=f"{next(iter(values))} is .*; expected a number"):
        midas.CakeGrid(**{"radius_min": 10, "radius_max": 20, "radius_step": 1, **values})


def test_q_beyond_the_backscattering_limit_is_refused():
    geometry = midas.Geometry(1e6, (0, 0), 200, 0.18)
    with pytest.raises(InputError, match="90 deg"):
        midas.CakeGrid(1.0, 80.0, 1.0, unit="q").radius_edges(geometry)


def test_two_theta_edges_are_uniform_in_two_theta():
    geometry = midas.Geometry(1e6, (0, 0), 200, 0.18)
    grid = midas.CakeGrid(0.5, 80, 0.25, unit="2theta")
    two_theta = 0.5 + 0.25 * np.arange(319)
    np.testing.assert_allclose(grid.radius_edges(geometry), 1e6 / 200 * np.tan(np.radians(two_theta)), rtol=1e-14)
    centers = 1e6 / 200 * np.tan(np.radians(two_theta[:-1] + 0.125))
    np.testing.assert_allclose(grid.radius_centers(geometry), centers, rtol=1e-14)


@pytest.mark.parametrize("unit", ["px", "2theta", "q"])
def test_edges_given_are_those_of_the_uniform_bins_they_come_from(unit):
    rng = np.random.default_rng(7)
    geometry = midas.Geometry(1e6, (0, 0), 200, 0.18)
    for _ in range(50):
        low, step, n = rng.uniform(0, 10), rng.uniform(0.001, 0.2), int(rng.integers(1, 200))
        uniform = midas.CakeGrid(low, low + n * step, step, eta_min=-170, eta_max=rng.uniform(-150, 190), unit=unit)
        own = midas.CakeGrid.from_edges(low + step * np.arange(n + 1), uniform.eta_edges, unit=unit)
        assert uniform.shape == own.shape == (n, len(uniform.eta_edges) - 1)
        assert own.radius_edges(geometry).tolist() == uniform.radius_edges(geometry).tolist()
        assert own.eta_edges.tolist() == uniform.eta_edges.tolist()
        np.testing.assert_allclose(own.radius_centers(geometry), uniform.radius_centers(geometry), rtol=1e-14)
        np.testing.assert_allclose(own.eta_centers, uniform.eta_centers, rtol=0, atol=1e-12)
        assert uniform.uniform
        assert not own.uniform


def test_edges_of_their_own_say_their_range_and_mean_width():
    grid = midas.CakeGrid.from_edges([10, 20, 40, 85], [-90, 0, 10], unit="px")
    assert grid.shape == (3, 2)
    assert (grid.radius_min, grid.radius_max, grid.radius_step) == (10, 85, 25)
    assert (grid.eta_min, grid.eta_max, grid.eta_step) == (-90, 10, 50)
    assert grid.radius_centers(midas.Geometry(1e6, (0, 0), 200, 0.18)).tolist() == [15, 30, 62.5]
    assert grid.eta_centers.tolist() == [-45, 5]
    assert str(grid) == "radius 10 to 85 px in 3 bins, eta -90 to 10 deg in 2 bins"
    assert repr(grid).endswith("unit='px', radius_bounds=<4 edges>, eta_bounds=<3 edges>)")
    assert midas.CakeGrid.from_edges([10, 20]).eta_edges.tolist() == midas.CakeGrid(10, 20, 10).eta_edges.tolist()


def test_edges_of_their_own_are_values():
    edges = np.array([1.0, 2.0, 4.0])
    grid = midas.CakeGrid.from_edges(edges, unit="q")
    edges[0] = 1.5
    again = pickle.loads(pickle.dumps(grid))
    assert again == grid == midas.CakeGrid.from_edges((1, 2, 4), unit="q")
    assert hash(again) == hash(grid)
    assert (
        len({grid, again, midas.CakeGrid.from_edges([1, 2.5, 4], unit="q"), midas.CakeGrid(1, 4, 1.5, unit="q")}) == 3
    )
    with pytest.raises(InputError, match="change the edges"):
        dataclasses.replace(grid, radius_step=1.0)


@pytest.mark.parametrize(
    ("radius", "eta", "unit", "message"),
    [
        ([5], None, "px", "radius edges have shape \\(1,\\)"),
        (5, None, "px", "2 or more"),
        ([[1, 2], [3, 4]], None, "px", "2 or more"),
        ("ab", None, "px", "expected ascending numbers"),
        ([1, 3, 3], None, "px", "radius edges 1 and 2 are 3 and 3"),
        ([3, 2, 1], None, "px", "ascending"),
        ([1, float("nan"), 3], None, "px", "finite"),
        ([1, float("inf")], None, "px", "finite"),
        ([-1, 2], None, "px", "0 or more"),
        ([1, 2], [0], "px", "eta edges have shape"),
        ([1, 2], [10, 0], "px", "eta edges 0 and 1"),
        ([1, 2], [-180, 0, 181], "px", "full turn"),
        ([1, 2], None, "d", "grid unit is 'd'"),
        ([1, 90], None, "2theta", "2theta reaches 90 deg"),
    ],
)
def test_edges_that_make_no_bins_are_refused(radius, eta, unit, message):
    with pytest.raises(InputError, match=message):
        midas.CakeGrid.from_edges(radius, eta, unit=unit)


def test_eta_edges_may_pass_the_half_turn():
    assert midas.CakeGrid.from_edges([1, 2], [170, 190, 300, 530]).eta_edges.tolist() == [170, 190, 300, 530]
