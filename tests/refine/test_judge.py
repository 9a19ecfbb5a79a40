from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from midas.refine import judge
from midas.refine.judge import (
    FitFacts,
    StageFacts,
    explained_fraction,
    is_needed,
    is_present,
    linear_fit,
    stage_problems,
    verdict,
)

GOOD = StageFacts(
    r_wp=5.0,
    r_wp_before=6.0,
    cells={"CeO2": (5.412, 5.412, 5.412, 90.0, 90.0, 90.0)},
    reference_cells={"CeO2": (5.411, 5.411, 5.411, 90.0, 90.0, 90.0)},
    uiso={"CeO2": 0.004},
)


def test_good_stage_has_no_problems():
    assert stage_problems(GOOD) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"fresh": False}, "without a covariance"),
        ({"converged": False}, "not converged"),
        ({"max_shift_esd": None}, "shifts are not finite"),
        ({"max_shift_esd": math.nan}, "shifts are not finite"),
        ({"singular": 2}, "singular in 2 directions"),
        ({"dropped": ("u",)}, "dropped: u"),
        ({"r_wp": math.nan}, "not a finite number"),
        ({"r_wp": None}, "not a finite number"),
        ({"r_wp": 6.1}, "Rwp grew"),
        ({"cells": {"CeO2": (0.007, 0.007, 0.007, 90.0, 90.0, 90.0)}}, "implausible"),
        ({"cells": {"CeO2": (math.nan,) * 6}}, "implausible"),
        ({"uiso": {"CeO2": -0.001}}, "Uiso"),
        ({"gaussian_variance": -1.0}, "Gaussian variance"),
        ({"lorentzian_width": -0.5}, "Lorentzian width"),
        ({"sh_l": -0.004}, "SH/L"),
    ],
)
def test_each_fault_is_named(change, words):
    problems = stage_problems(replace(GOOD, **change))
    assert len(problems) == 1
    assert words in problems[0]


def test_presence_is_three_esds_above_zero():
    assert is_present(3.1, 1.0)
    assert not is_present(2.9, 1.0)
    assert not is_present(-9.0, 1.0)
    assert not is_present(1.0, math.nan)
    assert not is_present(1.0, 0.0)


def test_a_phase_must_lower_chi2_by_more_than_its_parameters_do():
    assert is_needed(17.1, 2, 1.0)
    assert not is_needed(16.9, 2, 1.0)
    assert not is_needed(17.1, 2, 1.1)


def test_explained_fraction_sees_what_rwp_hides():
    rng = np.random.default_rng(7)
    x = np.linspace(0, 1, 2000)
    peaks = 200.0 * np.exp(-(((x % 0.2) - 0.1) ** 2) / 2e-5)
    o = rng.normal(1e5 + peaks, 10.0)
    flat, w = np.full(2000, 1e5), np.full(2000, 0.01)
    assert judge.r_wp(o, flat, w) < 1.0
    assert explained_fraction(o, flat, flat, w) == pytest.approx(0.0, abs=1e-9)
    assert explained_fraction(o, flat + peaks, flat, w) > 0.99
    assert explained_fraction(rng.normal(1e5, 10.0, 2000), flat, flat, w) is None


def test_linear_fit_finds_scales_within_their_esds():
    rng = np.random.default_rng(7)
    x = np.linspace(2.0, 9.0, 3000)
    first, second = (sum(np.exp(-(((x - c) / 0.03) ** 2)) for c in centres) for centres in ((3, 5, 8), (4, 5, 7)))
    truth = 40.0 - 3.0 * (x - 2.0) + 25.0 * first
    observed = rng.poisson(truth).astype(float)
    background, scales = linear_fit(x, observed, 1.0 / truth, [first, second], 4)
    assert abs(scales[0][0] - 25.0) < 3.0 * scales[0][1]
    assert 0.0 < scales[0][1] < 1.5
    assert not is_present(*scales[1])
    np.testing.assert_allclose(background, [29.5, -10.5, 0.0, 0.0], atol=1.0)  # counts, 5 esd


def test_linear_fit_of_a_pattern_that_is_nowhere_has_no_scale():
    x = np.linspace(2.0, 9.0, 300)
    _, scales = linear_fit(x, np.full(300, 4.0), np.ones(300), [np.zeros(300)], 2)
    assert not is_present(*scales[0])


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("height", [0.0, 50.0, 20000.0])
def test_a_background_of_n_terms_asks_for_n(n, height):
    u = np.linspace(-1.0, 1.0, 1500)
    coefficients = [400.0, -90.0, 60.0, 50.0, 45.0, 40.0, -35.0, 35.0][:n]
    peaks = height * sum(1.0 / (1.0 + ((u - c) / 0.005) ** 2) for c in np.arange(-0.9, 1.0, 0.13))
    truth = np.polynomial.chebyshev.chebval(u, coefficients) + peaks
    for seed in (7, 8, 9):
        observed = np.random.default_rng(seed).poisson(truth).astype(float)
        found, terms = judge.background_terms(8.0 + u, observed, 1.0 / truth, 1.02 * peaks)
        assert found == n
        np.testing.assert_allclose(terms, coefficients, atol=4.0)  # counts, about 5 esd


def test_a_misfit_of_the_peaks_asks_for_no_more_background():
    u = np.linspace(-1.0, 1.0, 1500)
    line = sum(np.exp(-(((u - c) / 0.01) ** 2)) for c in np.arange(-0.9, 1.0, 0.13))
    shifted = sum(np.exp(-(((u - c - 0.002) / 0.012) ** 2)) for c in np.arange(-0.9, 1.0, 0.13))
    truth = 400.0 - 90.0 * u + 5000.0 * line
    observed = np.random.default_rng(7).poisson(truth).astype(float)
    assert judge.background_terms(u, observed, 1.0 / truth, 5000.0 * shifted)[0] <= 2


def test_cells_far_from_the_cif_are_doubtful():
    near, far = (5.44, 5.44, 5.44), (5.41, 5.41, 5.52)
    assert judge.doubtful_cells({"CeO2": near}, {"CeO2": (5.41,) * 3}) == []
    (words,) = judge.doubtful_cells({"CeO2": near, "x": far}, {"CeO2": (5.41,) * 3, "x": (5.41,) * 3})
    assert words.startswith("x: c = 5.52 Å lies 2.03 % from the CIF's 5.41")


def test_stopped_without_signal_says_so():
    stopped = replace(FIT, stopped="unit cell: not converged", explained=None)
    assert verdict(stopped) == ("failed", "there is no signal above the background to fit; unit cell: not converged")


FIT = FitFacts(r_wp=5.0, gof=1.2, explained=0.99)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({}, "success"),
        ({"stopped": "unit cell: not converged"}, "failed"),
        ({"absent": ("CeO2 is not in the data",)}, "failed"),
        ({"absent": ("LaB6 is not in the data",), "n_phases": 2}, "partial"),
        ({"rolled_back": ("atoms",)}, "partial"),
        ({"explained": None}, "failed"),
        ({"explained": 0.3}, "failed"),
        ({"doubtful": ("CeO2: a = 5.52 Å lies 2.0 % from the CIF's",)}, "partial"),
        ({"explained": 0.8}, "partial"),
        ({"explained": 0.989, "gof": 3.6}, "partial"),  # lines of a phase that is not given
        ({"explained": 0.989, "gof": 2.9}, "success"),
        ({"explained": 0.995, "gof": 3.6}, "success"),
        ({"r_wp": 99.0, "gof": 30.0}, "failed"),
        ({"r_wp": 99.0, "gof": 1.0}, "partial"),
        ({"r_wp": None}, "failed"),
    ],
)
def test_verdict(change, status):
    found, reason = verdict(replace(FIT, **change))
    assert found == status
    assert (reason is None) == (status == "success")
