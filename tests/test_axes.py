"""midas.axes: px, 2theta, q and d of one another."""

from __future__ import annotations

import numpy as np
import pytest

from midas import Geometry, units
from midas.axes import UNITS, axis_of_radius, radius_of_axis
from midas.errors import InputError

GEOMETRY = Geometry(distance=1e5, beam_center=(0, 0), pixel_size=200, wavelength=0.3)


def test_units_agree_with_the_formulas_for_one_value():
    for radius in np.random.default_rng(7).uniform(1, 2000, 50):
        two_theta = np.degrees(np.arctan(radius * 200 / 1e5))
        q = units.q_from_two_theta(two_theta, 0.3)
        expected = {"px": radius, "2theta": two_theta, "q": q, "d": 2 * np.pi / q}
        for unit in UNITS:
            assert float(axis_of_radius(radius, unit, GEOMETRY)) == pytest.approx(expected[unit], rel=1e-14)


@pytest.mark.parametrize("unit", ["px", "2theta", "q"])
def test_radius_of_an_axis_is_its_inverse(unit):
    radius = np.linspace(0, 5000, 777)
    there = axis_of_radius(radius, unit, GEOMETRY)
    np.testing.assert_allclose(radius_of_axis(there, unit, GEOMETRY), radius, rtol=1e-11)


def test_d_is_infinite_on_the_beam():
    assert axis_of_radius([0.0, 1.0], "d", GEOMETRY)[0] == np.inf


@pytest.mark.parametrize(("unit", "last"), [("2theta", 90.0), ("q", 29.7), ("q", 100.0)])
def test_bins_end_below_a_right_angle(unit, last):
    with pytest.raises(InputError, match=r"2theta.* 90 deg.*lower"):
        radius_of_axis([1.0, last], unit, GEOMETRY)


def test_an_unknown_unit_is_refused():
    with pytest.raises(InputError, match="unit is 'nm'"):
        axis_of_radius([1.0], "nm", GEOMETRY)
