"""midas.CakeGrid: bin counts and edges."""

from __future__ import annotations

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
        ({"unit": "Q"}, "expected 'px' or 'q'"),
        ({"radius_max": float("nan")}, "max > min"),
    ],
)
def test_bad_grids_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        midas.CakeGrid(**{"radius_min": 10, "radius_max": 20, "radius_step": 1, **values})


def test_q_beyond_the_backscattering_limit_is_refused():
    geometry = midas.Geometry(1e6, (0, 0), 200, 0.18)
    with pytest.raises(InputError, match="90 deg"):
        midas.CakeGrid(1.0, 80.0, 1.0, unit="q").radius_edges(geometry)
