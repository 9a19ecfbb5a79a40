"""The fit beside the fit: what becomes of cells that hang on an axial divergence that nobody measured."""

from __future__ import annotations

import numpy as np
import pytest

from midas.refine import axial, judge
from midas.refine.worker import run_stage

X = np.linspace(2.0, 4.0, 200)
LINES = sum(100.0 * np.exp(-(((X - c) / 0.03) ** 2)) for c in (2.8, 3.25))


class TwoFits:
    """A model that knows chi² and cell for symmetric lines and for SH/L 0.002."""

    weights = np.ones_like(X)
    two_theta, calculated, background = X, LINES + 1.0, np.ones_like(X)

    def __init__(self, chi2, cells, *, sh_l=1e-4, known=False, converges=True):
        self.job = {"sh_l_known": known, "instrument": {"sh_l": 0.002}}
        self.of, self.a, self.axial_divergence = chi2, cells, sh_l
        self.converges, self.fits = converges, 0

    @property
    def is_symmetric(self):
        return self.axial_divergence <= 1e-4

    def without_idle(self, names):
        return names - {"sh_l"} if self.is_symmetric else names

    def set_axial_divergence(self, value):
        self.axial_divergence = max(value, 1e-4)

    def state(self):
        return self.axial_divergence

    def restore(self, state):
        self.axial_divergence = state

    def begin_broadening(self, stage, names):
        pass

    def chi2(self):
        return self.of[not self.is_symmetric]

    def cells(self):
        return {"CeO2": (self.a[not self.is_symmetric],) * 3 + (90.0,) * 3}

    def cell_esds(self):
        return {"CeO2": 1e-5}

    def gof(self):
        return 1.0

    def noise(self):
        return 1.0

    def r_wp(self):
        return 5.0

    def refine(self, names, cycles):
        self.fits += 1
        return {"converged": self.converges, "r_wp": 5.0}


FREE = {"background", "scale", "cell", "x", "y", "sh_l"}


def settle(model, kept=FREE):
    return axial.settle(model, set(kept), judge, run_stage)


def test_a_cell_that_hangs_on_it_is_a_reservation_and_lines_stay_symmetric():
    model = TwoFits((100.0, 99.0), (5.4113, 5.4095))
    records, doubts = settle(model)
    assert model.is_symmetric
    assert records == []
    (words,) = doubts
    assert "the cell of CeO2 may be off by 33 esds" in words
    assert "--instprm" in words


def test_held_at_the_default_it_turns_symmetric_where_that_fits_as_well():
    model = TwoFits((100.0, 99.0), (5.4113, 5.4095), sh_l=0.002)
    records, doubts = settle(model, FREE - {"sh_l"})
    assert model.is_symmetric
    assert records[0]["name"] == "axial divergence"
    assert "may be off by 33 esds" in doubts[0]


def test_the_data_may_tell():
    symmetric = TwoFits((100.0, 250.0), (5.4113, 5.4095))  # twelve standard deviations for 33 esds
    assert settle(symmetric) == ([], [])
    assert symmetric.is_symmetric
    asymmetric = TwoFits((250.0, 100.0), (5.4113, 5.4095))
    records, doubts = settle(asymmetric)
    assert (len(records), doubts, asymmetric.axial_divergence) == (1, [], 0.002)


@pytest.mark.parametrize("kept", [FREE, FREE - {"sh_l"}])
def test_no_second_fit_without_need(kept):
    known = TwoFits((100.0, 99.0), (5.4113, 5.4095), known=True)
    assert settle(known, kept) == ([], [])
    refined = TwoFits((100.0, 99.0), (5.4113, 5.4095), sh_l=0.0008)
    if "sh_l" in kept:
        assert settle(refined, kept) == ([], [])
        assert refined.fits == 0
    precise = TwoFits((100.0, 99.0), (5.4113, 5.4095), sh_l=1e-4 if "sh_l" in kept else 0.002)
    precise.cell_esds = lambda: {"CeO2": 1e-2}
    assert settle(precise, kept) == ([], [])
    assert known.fits + precise.fits == 0


def test_a_second_fit_that_fails_leaves_the_doubt():
    model = TwoFits((100.0, 99.0), (5.4113, 5.4095), converges=False)
    records, doubts = settle(model)
    assert (records, model.is_symmetric) == ([], True)
    assert "may be off by" in doubts[0]


def test_a_value_told_by_the_data_may_still_be_too_uncertain_for_the_cell():
    model = TwoFits((100.0, 116.0), (5.4113, 5.4095))  # four standard deviations for 33 esds
    assert "may be off by 8 esds" in settle(model)[1][0]


def test_the_bound_falls_with_the_angle_and_with_the_square():
    low = judge.axial_bound(X, LINES, np.ones_like(X), 0.002)
    assert judge.axial_bound(X, LINES, np.ones_like(X), 0.001) == pytest.approx(low / 4.0)
    assert judge.axial_bound(X + 8.0, LINES, np.ones_like(X), 0.002) < low / 10.0
    assert judge.axial_bound(X, 0.0 * LINES, np.ones_like(X), 0.002) == 0.0
