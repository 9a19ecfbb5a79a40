"""Lines that the edge of a pattern cuts are left out of the fit, or spoken of."""

from __future__ import annotations

import numpy as np
import pytest

import midas
from midas.io.gsas_zarr import read_cake_file
from midas.refine.edges import TAIL, rings_about, uncut_limits
from midas.refine.expected import ExpectedRing
from midas.refine.lineouts import Lineout
from midas.refine.phases import check_phases
from midas.testing import cif_file

WIDTH = 0.05


def lineout(low, high, places):
    x = np.arange(low, high, 0.005)
    y = 20.0 + sum(1000.0 * np.exp(-4 * np.log(2) * ((x - p) / WIDTH) ** 2) for p in places)
    return Lineout(0, 0, 0, x, y, np.sqrt(y), 0.0, 0.0, None, None)


def ring(place):
    return ExpectedRing("CeO2", (4, 0, 0), place, 0.5)


PLACES = [4.0, 5.0, 7.0, 9.1]


def test_nothing_is_cut_where_no_line_is_near_an_edge():
    assert uncut_limits(lineout(3.0, 8.0, PLACES), [ring(p) for p in PLACES], None) == (None, None)


def test_a_line_just_beyond_the_end_shortens_the_range():
    limits, remark = uncut_limits(lineout(3.0, 9.05, PLACES), [ring(p) for p in PLACES], None)
    assert limits == pytest.approx((3.0, 9.1 - TAIL * WIDTH), abs=0.03)  # deg, an eighth of what is cut off
    assert (
        remark
        == f"fitted from 3.000 to {limits[1]:.3f} deg: the edge of the data cuts the line 4 0 0 of CeO2 at 9.100 deg"
    )


def test_a_line_just_below_the_start_does_so_too():
    limits, remark = uncut_limits(lineout(4.02, 8.0, PLACES), [ring(p) for p in PLACES], None)
    assert limits == pytest.approx((4.0 + TAIL * WIDTH, 8.0), abs=0.03)
    assert "at 4.000 deg" in remark


def test_the_next_line_within_keeps_its_half():
    places = [4.0, 5.0, 8.9, 9.1]
    limits, _ = uncut_limits(lineout(3.0, 9.05, places), [ring(p) for p in places], None)
    assert limits[1] == pytest.approx(9.0, abs=0.006)


def test_nothing_is_left_out_where_the_next_line_within_is_as_near():
    places = [4.0, 5.0, 8.96, 9.1]
    assert uncut_limits(lineout(3.0, 9.03, places), [ring(p) for p in places], None) == (None, None)


def test_limits_of_the_user_are_kept_and_spoken_of():
    limits, remark = uncut_limits(lineout(3.0, 12.0, PLACES), [ring(p) for p in PLACES], (3.5, 9.0))
    assert limits == (3.5, 9.0)
    assert remark.startswith(
        "beyond the limits the line 4 0 0 of CeO2 at 9.100 deg reaches into the range: 3.500 to 8.8"
    )


def test_a_short_range_is_not_taken_apart():
    places = [4.0, 4.2, 4.4, 4.62]
    limits, remark = uncut_limits(lineout(4.02, 4.6, places), [ring(p) for p in places], None)
    assert limits is None
    assert remark.startswith("the edge of the data cuts the line 4 0 0 of CeO2 at 4.000 deg and the line")
    assert remark.endswith("set --limits")


@pytest.mark.gsas2
def test_a_cut_line_no_longer_spoils_the_fit(gsas2, tmp_path):
    geometry = midas.Geometry(distance=700_000.0, beam_center=(255.3, 257.8), pixel_size=200.0, wavelength=0.18)
    detector = midas.Detector((512, 512), 200.0)
    image = midas.simulate(geometry, detector, "CeO2", options=midas.SimulationOptions(fwhm=4.0), seed=3).image
    cif = cif_file(tmp_path / "CeO2.cif", "CeO2")
    places = midas.rings(midas.calibrant("CeO2"), 0.18, two_theta_max=8.0).two_theta
    radius = 3500.0 * np.tan(np.radians(places[places > 5.0]))[0]  # of the third ring
    grid = midas.CakeGrid(60, float(radius) - 4.0, 0.5, eta_step=90)
    cake = midas.integrate(image, geometry, grid, detector=detector)
    path = cake.to_zarr(tmp_path / "a.zarr.zip", instrument={"SH_L": 0.0})
    content = read_cake_file(path)
    beyond = [r for r in rings_about(content, check_phases([cif]), 0.18) if r.two_theta > content.two_theta.max()]
    assert beyond[0].two_theta < content.two_theta.max() + 0.1
    out = tmp_path / "out"
    summary = midas.run_refinement(path, [cif], out, n_cpus=2, refine_atoms=False, export=False)
    for histogram in summary["histograms"]:
        assert histogram["GOF"] < 2.0, histogram["reason"]
        assert any("the edge of the data cuts the line 2 2 0 of CeO2" in w for w in histogram["warnings"])
