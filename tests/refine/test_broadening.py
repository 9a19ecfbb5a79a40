from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import nnls

from midas.refine.broadening import _positive_pair, lorentzian_width, observed_broadening, with_override
from midas.refine.job import Instrument
from midas.refine.lineouts import Lineout, model_width

X = np.arange(3.0, 16.0, 0.01)
WAVELENGTH = 0.413263
KNOWN = Instrument(WAVELENGTH, u=5.0, v=-1.0, w=4.0, x=1.0, y=3.0)


@pytest.fixture
def lineout_of(synthetic):
    def make(x, y):
        profile = synthetic.Profile(x=x, y=y)
        ideal = 3.0 + 400.0 * synthetic.pattern(synthetic.CEO2_CIF.format(a=5.41165), X, WAVELENGTH, profile=profile)
        counts = np.random.default_rng(7).poisson(160.0 * ideal) / 160.0
        return Lineout(0, 0, 0, X, counts, np.sqrt(counts / 160.0), 0.0, 0.0, None, None)

    return make


@pytest.mark.parametrize(("size", "strain"), [(0.08, 1500.0), (0.4, 3000.0), (0.06, 300.0)])
def test_start_is_near_what_broadens(lineout_of, size, strain):
    found = observed_broadening(
        KNOWN, lineout_of(1.0 + 1.8 * WAVELENGTH / (np.pi * size), 3.0 + 0.018 * strain / np.pi)
    )
    assert size / 1.6 < found["size"] < size * 1.6
    assert abs(found["microstrain"] - strain) < max(0.3 * strain, 600.0)  # 600: a tenth of the width at the end


def test_peaks_no_wider_than_the_instrument_give_no_start(lineout_of):
    wide = Instrument(WAVELENGTH, u=5.0, v=-1.0, w=25.0, x=4.0, y=9.0)
    assert observed_broadening(wide, lineout_of(1.0, 3.0)) == {}


def test_no_peaks_no_start():
    flat = Lineout(0, 0, 0, X, np.full_like(X, 5.0), np.ones_like(X), 0.0, 0.0, None, None)
    assert observed_broadening(KNOWN, flat) == {}


def test_lorentzian_width_undoes_the_width_of_the_model():
    wide = Instrument(WAVELENGTH, u=0.0, v=0.0, w=4.0, x=6.0)
    width = 100.0 * model_width(wide, 8.0)
    found = lorentzian_width(np.array([width]), np.array([4.0 * 8.0 * np.log(2.0)]))
    assert found[0] == pytest.approx(6.0 / np.cos(np.radians(4.0)), rel=1e-9)


def test_widths_of_an_override_win(tmp_path):
    path = tmp_path / "x.instprm"
    path.write_text("#GSAS-II instrument parameter file\nU:7.5\nX:2.0\nZero:0.1\n", encoding="utf-8")
    found = with_override(KNOWN, path)
    assert (found.u, found.x, found.w, found.zero) == (7.5, 2.0, 4.0, 0.0)
    assert with_override(KNOWN, None) is KNOWN


def test_two_coefficients_that_are_not_negative_are_those_of_nnls():
    rng = np.random.default_rng(7)
    for n in (2, 3, 10):
        for _ in range(100):
            design, target = rng.uniform(0.1, 1.0, (n, 2)), np.maximum(rng.normal(0.0, 1.0, n), 0.0)
            np.testing.assert_allclose(_positive_pair(design, target), nnls(design, target)[0], atol=1e-12)
