"""Whether a misfit is a background's or the peaks'."""

from __future__ import annotations

import numpy as np
import pytest

from midas.io.gsas_zarr import write_cake_file
from midas.refine import run_refinement
from midas.refine.judge import MAX_AUTO_TERMS
from midas.refine.residual import SMOOTH_TERMS, background_advice, smooth_share

X = np.arange(3.0, 16.0, 0.01)
SIGMA = 2.0


def peaks(width):
    return sum(100.0 * np.exp(-4.0 * np.log(2.0) * ((X - place) / width) ** 2) for place in (4.5, 6.0, 8.2, 11.0, 13.7))


def noise():
    return np.random.default_rng(7).normal(0.0, SIGMA, len(X))


def share(misfit):
    return smooth_share(X, misfit + noise(), np.zeros_like(X), np.full_like(X, SIGMA**-2))


def test_humps_are_smooth_and_peaks_are_not():
    hump = 60.0 * np.exp(-0.5 * ((X - 5.0) / 1.2) ** 2)
    assert share(hump) > 0.98
    assert share(hump + 0.3 * peaks(0.06)) > 0.5
    assert share(peaks(0.06)) < 0.15
    assert share(-peaks(0.02)) < 0.15
    assert share(0.0 * X) == 0.0


def test_too_few_points_say_nothing():
    few = X[:20]
    assert smooth_share(few, few**2, 0 * few, 1e6 + 0 * few) == 0.0


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_what_is_no_number_gives_no_advice(wrong):
    observed = 30.0 * np.exp(-((X - 6.0) ** 2))
    observed[5] = wrong
    with np.errstate(invalid="ignore"):
        assert background_advice(X, observed, 0 * X, 1.0 + 0 * X) is None


@pytest.mark.gsas2
def test_a_fit_over_a_hump_advises_more_terms(gsas2, synthetic, cake_of, tmp_path):
    cif = synthetic.write_cif(tmp_path / "CeO2.cif", synthetic.CEO2_CIF, 5.41165)
    x = np.arange(3.0, 18.0, 0.01)
    ideal = 3.0 + 20.0 * synthetic.pattern(synthetic.CEO2_CIF.format(a=5.413), x, 0.413263)
    ideal += 300.0 * np.exp(-0.5 * ((x - 6.0) / 0.9) ** 2)
    path = write_cake_file(tmp_path / "x.zarr.zip", cake_of([np.random.default_rng(1).poisson(ideal * 160.0) / 8.0], x))
    plain, auto = (
        run_refinement(path, [cif], tmp_path / f"{terms}", refine_atoms=False, export=False, bkg_terms=terms)
        for terms in (3, "auto")
    )
    assert plain["histograms"][0]["status"] != "success"
    assert (
        "far broader than peaks, as of a hump in the background: try --bkg-terms auto"
        in plain["histograms"][0]["reason"]
    )
    assert "--bkg-terms" not in (auto["histograms"][0]["reason"] or "")


def test_smooth_is_what_a_background_chosen_by_the_data_could_take_in():
    assert SMOOTH_TERMS == MAX_AUTO_TERMS
