from __future__ import annotations

import numpy as np
import pytest

from midas.errors import InputError
from midas.refine.job import Instrument
from midas.refine.lineouts import (
    Lineout,
    empty_bins,
    intensity_and_sigma,
    iterate_lineouts,
    read_instrument,
    with_observed_width,
)

X = np.arange(3.0, 6.0, 0.02)


def test_weights_are_frames_times_area_over_y():
    stored, area = np.array([200.0, 0.0, -1.0]), np.array([5.0, 5.0, 5.0])
    y, sigma = intensity_and_sigma(stored, area, 20.0, None)
    assert y[0] == 10.0
    assert 1.0 / sigma[0] ** 2 == pytest.approx(20.0 * 5.0 / 10.0, rel=1e-14)
    assert np.isnan(sigma[1:]).all()


def test_poisson_sigma_is_the_scatter_of_simulated_counts():
    rng = np.random.default_rng(7)
    frames, area, truth = 20, 4.0, 3.0
    stored = rng.poisson(truth * area, size=(frames, 20000)).sum(axis=0) / area
    y, sigma = intensity_and_sigma(stored, np.full(20000, area), frames, None)
    assert np.std(y) == pytest.approx(np.mean(sigma), rel=0.02)


def test_variance_of_the_file_is_used():
    _, sigma = intensity_and_sigma(np.array([10.0, -4.0]), np.ones(2), 4.0, np.array([64.0, 16.0]))
    assert sigma.tolist() == [2.0, 1.0]


def test_numbering_azimuth_and_conditions(cake_of):
    cake = cake_of([np.full(len(X), 100.0)] * 3, X)
    lineouts = list(iterate_lineouts(cake))
    assert [(o.index, o.sum_index, o.eta_index) for o in lineouts] == [(0, 0, 0), (1, 0, 1), (2, 0, 2)]
    assert [o.eta for o in lineouts] == [-30.0, 0.0, 30.0]
    assert lineouts[0].omega == 5.0
    assert (lineouts[0].temperature, lineouts[0].pressure) == (301.0, 0.2)
    assert lineouts[0].intensity[0] == 5.0


def test_bad_bins_are_dropped_and_bad_lineouts_marked(cake_of):
    fine, nan, zero = (np.full(len(X), v) for v in (100.0, np.nan, 0.0))
    fine[3] = np.nan
    short = fine.copy()
    cake = cake_of([fine, nan, zero, short, fine], X)
    cake.bin_area[15:, 3] = 0.0
    cake.bin_area[:, 4] = 0.0
    reasons = [o.skipped for o in iterate_lineouts(cake)]
    assert reasons[0] is None
    assert "NaN" in reasons[1]
    assert "no counts" in reasons[2]
    assert reasons[3] == "14 usable bins in the range; more than 20 are needed"
    assert "no unmasked bin" in reasons[4]
    assert len(next(iterate_lineouts(cake)).two_theta) == len(X) - 1


@pytest.mark.parametrize(("n", "skipped"), [(20, True), (21, False)])
def test_more_than_twenty_bins_are_needed(cake_of, n, skipped):
    cake = cake_of([np.full(len(X), 100.0)], X)
    cake.bin_area[n:, 0] = 0.0
    assert (next(iterate_lineouts(cake)).skipped is not None) == skipped


def test_limits_count(cake_of):
    cake = cake_of([np.full(len(X), 100.0)], X)
    assert (
        next(iterate_lineouts(cake, limits=(3.0, 3.1))).skipped == "6 usable bins in the range; more than 20 are needed"
    )
    assert next(iterate_lineouts(cake, limits=(3.0, 5.0))).skipped is None


def test_instrument_comes_from_the_file_and_nonsense_is_refused():
    instrument, radius_mm = read_instrument(
        {"Lam": 0.3, "Polariz": 0.95, "SH_L": 0.004, "U": 1.0, "V": 2.0, "W": 3.0, "X": 4.0, "Y": 5.0, "Z": 6.0}
        | {"Distance": 1.5e6}
    )
    assert instrument == Instrument(0.3, 0.95, 0.004, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
    assert radius_mm == 1500.0
    with pytest.raises(InputError, match="wavelength"):
        read_instrument({"Distance": 1e6})
    with pytest.raises(InputError, match="W"):
        read_instrument({"Lam": 0.3, "W": float("nan")})


def lineout_of(fwhm):
    x = np.arange(3.0, 12.0, 0.01)
    y = 50.0 + sum(1e4 * np.exp(-4 * np.log(2) * ((x - c) / fwhm) ** 2) for c in (4.0, 6.0, 8.0, 10.0))
    return Lineout(0, 0, 0, x, y, np.sqrt(y), 0.0, 0.0, None, None)


def test_start_width_comes_from_the_data_only_where_the_file_is_far_off():
    started, remark = with_observed_width(Instrument(0.4), lineout_of(0.06))
    assert remark is not None
    assert started.w == pytest.approx(6.0**2 / (8 * np.log(2)), rel=0.05)
    near = Instrument(0.4, u=0.0, v=0.0, w=6.5)
    assert with_observed_width(near, lineout_of(0.06)) == (near, None)


def test_many_bins_without_counts_are_spoken_of(cake_of):
    x = np.linspace(2.0, 8.0, 200)
    column = np.full(200, 40.0)
    column[20:60] = 0.0
    few = np.full(200, 40.0)
    few[:3] = 0.0
    many, some = iterate_lineouts(cake_of([column, few], x))
    assert many.n_empty == 40
    assert empty_bins(many).startswith("40 of 200 bins have no counts, so no weight, and are left out")
    assert some.n_empty == 3
    assert empty_bins(some) is None
