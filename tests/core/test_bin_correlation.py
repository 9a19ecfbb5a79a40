"""What bins share, against integrals done by hand."""

from __future__ import annotations

import numpy as np
import pytest

from midas import _core
from midas.errors import InputError

FAR = {"radius": 1e6, "eta_low": -1e-3, "eta_high": 1e-3}  # edges of bins along those of pixels, 35 px long


@pytest.mark.parametrize(("width", "expected"), [(1.0, 1.0 / 4.0), (4.0, 1.0 / 22.0)])
def test_bins_along_the_pixels_edges_share_what_two_triangles_do(width, expected):
    # A pixel and its shifted copy overlap by 1 - |u|, two bins of width b at a distance n b by b - |u - n b|:
    # C_00 = b - 1/3, C_01 = 1/6.
    bands = _core.bin_correlation(np.arange(6) * width, **FAR)
    np.testing.assert_allclose(bands[0], 1.0)
    np.testing.assert_allclose(bands[1, :-1], expected, atol=1e-3)  # what the integral along the arc is right to


def test_a_quarter_turn_changes_nothing():
    edges = np.linspace(95.0, 105.0, 21)
    one = _core.bin_correlation(edges, radius=100.0, eta_low=10.0, eta_high=20.0)
    other = _core.bin_correlation(edges, radius=100.0, eta_low=100.0, eta_high=110.0)
    np.testing.assert_allclose(one, other, atol=1e-12)


@pytest.mark.parametrize(
    "edges",
    [[1.0], [1.0, 1.0], [2.0, 1.0], [1.0, np.nan, 3.0], [np.nan, 1.0]],
    ids=["one", "no width", "falling", "unknown", "unknown first"],
)
def test_edges_that_do_not_ascend_are_refused(edges):
    with pytest.raises(InputError, match="edges and azimuths that ascend"):
        _core.bin_correlation(np.array(edges), radius=100.0, eta_low=0.0, eta_high=5.0)


@pytest.mark.parametrize("place", [{"radius": -1.0}, {"radius": np.nan}, {"eta_high": 0.0}, {"eta_high": np.nan}])
def test_places_that_cannot_be_are_refused(place):
    with pytest.raises(InputError, match="a radius of 0 or more"):
        _core.bin_correlation(np.arange(5.0), **{"radius": 100.0, "eta_low": 0.0, "eta_high": 5.0, **place})
