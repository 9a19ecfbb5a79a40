"""Peaks of the lineouts of a cake: positions, units, files."""

from __future__ import annotations

import csv
import dataclasses

import numpy as np
import pytest

import midas
from midas import InputError, PeakOptions

GEOMETRY = midas.Geometry(distance=1.5e5, beam_center=(128.2, 126.7), pixel_size=200.0, wavelength=0.2)
GRID = midas.CakeGrid(30, 110, 0.5, eta_step=30)


@pytest.fixture(scope="module")
def cake():
    image = midas.simulate(GEOMETRY, midas.Detector((256, 256), 200.0), "CeO2", seed=3).image
    return midas.integrate(np.stack([image, image]), GEOMETRY, GRID)


@pytest.fixture(scope="module")
def ring_list():
    return midas.rings(midas.calibrant("CeO2"), 0.2, d_min=1.5)


def smooth_cake(cake, peaks, background=50.0):
    """Return the cake with intensities of pseudo-Voigts (area, radius, fwhm, mixing) averaged over bins."""
    edges = np.arange(30.0, 110.25, 0.5)
    lineout = background + sum(
        a * midas._core.binned_profile(edges, center=c, fwhm=w, mixing=m) for a, c, w, m in peaks
    )
    intensity = np.broadcast_to(lineout[None, :, None], cake.intensity.shape).copy()
    return dataclasses.replace(cake, intensity=intensity, sigma=np.sqrt(intensity))


def test_rings_are_where_bragg_says(cake, ring_list):
    fits = cake.fit_peaks(ring_list)
    n_sums, _, n_eta = cake.intensity.shape
    assert len(fits) == n_sums * n_eta * len(ring_list)
    assert fits.converged.mean() > 0.95
    assert fits.reason[fits.converged].tolist() == [""] * int(fits.converged.sum())
    best = fits.select(fits.converged)
    ideal = ring_list.d_spacing[best.peak]
    np.testing.assert_allclose(best.d_spacing, ideal, rtol=2e-3)
    np.testing.assert_allclose(best.two_theta, GEOMETRY.two_theta_of(best.center), rtol=1e-12)
    assert set(best.eta.tolist()) <= set(cake.eta.tolist())
    assert repr(fits).startswith("PeakFits(")


def test_peaks_are_found_without_positions(cake, ring_list):
    fits = midas.fit_peaks(cake)
    strong = ring_list.two_theta[ring_list.intensity > 0.3]
    for k in range(cake.intensity.shape[2]):
        found = fits.select((fits.eta_bin == k) & (fits.sum == 0))
        assert (np.diff(found.center) > 0.0).all()
        assert all(np.abs(found.two_theta - t).min() < 0.05 for t in strong)  # deg, a pixel
    strongest = midas.fit_peaks(cake, options=PeakOptions(n_peaks=1))
    assert len(strongest) == cake.intensity.shape[0] * cake.intensity.shape[2]


def test_units_of_gsas2(cake):
    fwhm, mixing = 3.0, 0.4
    fits = smooth_cake(cake, [(1e3, 70.3, fwhm, mixing)]).fit_peaks([70.0])
    assert fits.converged.all()
    slope = (GEOMETRY.two_theta_of(70.3001) - GEOMETRY.two_theta_of(70.2999)) / 0.0002  # deg / px
    np.testing.assert_allclose(fits.fwhm, fwhm, rtol=1e-7)
    np.testing.assert_allclose(fits.mixing, mixing, rtol=1e-7)
    np.testing.assert_allclose(fits.area, 1e3, rtol=1e-7)
    np.testing.assert_allclose(fits.fwhm_two_theta, fwhm * slope, rtol=1e-6)
    gauss = np.sqrt(8.0 * np.log(2.0) * fits.sig)
    # the widths in centidegrees make up the total one: the fifth-power rule of Thompson, Cox & Hastings
    g, lorentz = gauss[0], fits.gam[0]
    terms = (1.0, 2.69269, 2.42843, 4.47163, 0.07842, 1.0)
    total = sum(c * g ** (5 - k) * lorentz**k for k, c in enumerate(terms)) ** 0.2
    assert total == pytest.approx(100.0 * fwhm * slope, rel=1e-6)
    step = 1e-4
    by_center = (
        GEOMETRY.wavelength / 2.0 / np.sin(np.radians(GEOMETRY.two_theta_of(70.3 + step)) / 2.0) - fits.d_spacing[0]
    ) / step
    np.testing.assert_allclose(fits.d_spacing_sigma, np.abs(by_center) * fits.center_sigma, rtol=1e-4)


def test_the_model_of_a_group_is_what_was_fitted(cake):
    peaks = [(1e3, 70.3, 3.0, 0.4), (5e2, 76.0, 3.0, 0.4)]
    drawn = smooth_cake(cake, peaks)
    fits = drawn.fit_peaks([70.0, 76.0])
    assert fits.group.max() == 0
    edges = np.arange(60.0, 85.0, 0.5)
    part = slice(60, 60 + len(edges) - 1)
    np.testing.assert_allclose(fits.model(edges), drawn.intensity[0, part, 0], rtol=1e-6)
    with pytest.raises(InputError, match="no fitted group 3"):
        fits.model(edges, group=3)


@pytest.mark.parametrize(("step", "eta_step"), [(0.5, 10), (1.0, 10), (1.0, 3), (2.0, 10)])
def test_uncertainties_are_the_scatter_of_many_frames(ring_list, step, eta_step):
    geometry = dataclasses.replace(GEOMETRY, beam_center=(80.2, 83.7))
    detector = midas.Detector((161, 161), 200.0)
    options = midas.SimulationOptions(noise=False, peak_counts=100.0, fwhm=4.0, mixing=0.5, dtype="float64")
    expected = midas.simulate(geometry, detector, "CeO2", options=options).expected.astype(float)
    images = np.random.default_rng(11).poisson(expected, (60, *expected.shape)).astype(np.float32)
    grid = midas.CakeGrid(30, 67, step, eta_step=eta_step)
    truth = midas.integrate(expected, geometry, grid).fit_peaks(ring_list.first(2))
    fits = midas.integrate(images, geometry, grid).fit_peaks(ring_list.first(2))
    assert fits.converged.mean() > 0.99
    # in columns 3 deg wide noise often leaves no Lorentzian width, and the area's uncertainty errs on the safe side
    limits = {"center": 0.03, "fwhm": 0.06 if step > 1.0 else 0.03, "area": 0.03 if eta_step > 3 else 0.08}
    for name, limit in limits.items():
        values, sigma = (getattr(fits, n).reshape(60, -1) for n in (name, f"{name}_sigma"))
        pulls = (values - getattr(truth, name)) / sigma
        assert abs(np.nanmean(pulls)) < 0.1, name
        assert np.nanstd(pulls) == pytest.approx(1.0, abs=limit), name
    assert fits.chi2.mean() == pytest.approx(1.0, abs=0.04)


def test_empty_lineouts_have_rows_that_say_so(cake):
    intensity = cake.intensity.copy()
    intensity[:, :, 4] = np.nan
    fits = dataclasses.replace(cake, intensity=intensity).fit_peaks([60.0, 80.0])
    empty = fits.select(fits.eta_bin == 4)
    assert len(empty) == 2 * cake.intensity.shape[0]
    assert not empty.converged.any()
    assert np.isnan(empty.area).all()
    assert np.isnan(empty.d_spacing).all()
    assert set(empty.reason.tolist()) == {"no bin with a value near the position"}


def test_bins_without_counts_count(cake):
    empty = np.zeros((256, 256), np.uint16)
    dark_cake = midas.integrate(empty, GEOMETRY, GRID)
    fits = dark_cake.fit_peaks([60.0])
    assert set(fits.reason.tolist()) == {"no peak above the background"}
    assert len(dark_cake.fit_peaks()) == 0


def test_the_table_as_csv_and_pandas(cake, tmp_path):
    fits = cake.fit_peaks([60.0, 80.0])
    path = fits.to_csv(tmp_path / "a.peaks.csv")
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(fits)
    assert list(rows[0]) == list(fits.columns())
    for name in ("center", "center_sigma", "area"):
        read = [float(row[name] or "nan") for row in rows]
        np.testing.assert_allclose(read, getattr(fits, name), rtol=1e-9)
    assert [row["converged"] for row in rows] == [str(v) for v in fits.converged]
    assert [p.name for p in tmp_path.iterdir()] == ["a.peaks.csv"]
    pytest.importorskip("pandas", reason="pandas is optional")
    assert list(fits.to_pandas().columns) == list(fits.columns())


def test_without_pandas_it_is_said(cake, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="pandas is not installed"):
        cake.fit_peaks([60.0]).to_pandas()


def test_results_are_read_only_and_the_same_for_any_number_of_threads(cake):
    one = cake.fit_peaks(n_threads=1)
    with pytest.raises(ValueError, match="read-only"):
        one.area[0] = 1.0
    for n in (2, 7):
        many = cake.fit_peaks(n_threads=n)
        assert all(
            a.tobytes() == b.tobytes() for a, b in zip(one.columns().values(), many.columns().values(), strict=True)
        )


def test_bad_input_is_refused(cake):
    with pytest.raises(InputError, match="no sigma"):
        dataclasses.replace(cake, sigma=None).fit_peaks()
    with pytest.raises(InputError, match="outside of the cake"):
        cake.fit_peaks([60.0, 500.0])
    with pytest.raises(InputError, match="no position lies within"):
        cake.fit_peaks([500.0])
    with pytest.raises(InputError, match="repeat 60 px"):
        cake.fit_peaks([60.0, 60.0])
    with pytest.raises(InputError, match="finite radius"):
        cake.fit_peaks([np.nan])
    for positions in ("abc", ["a"], object(), {"a": 1}):
        with pytest.raises(InputError, match=r"positions are .*; expected radii \[px\], midas.Rings, or None"):
            cake.fit_peaks(positions)
    with pytest.raises(InputError, match=r"options is a dict; expected a midas\.PeakOptions"):
        cake.fit_peaks(options={"n_peaks": 3})
    with pytest.raises(InputError, match=r"n_threads is 1\.5; expected 0 for all, or a whole number"):
        cake.fit_peaks(n_threads=1.5)
    with pytest.raises(InputError, match=r"cake is a ndarray; expected a midas\.Cake"):
        midas.fit_peaks(cake.intensity)
    with pytest.raises(InputError, match=r"n_threads is '2'; expected 0 for all, or a whole number"):
        midas.fit_peaks(cake, [60.0], n_threads="2")


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        *(("fwhm", v, r"a length above 0 \[px\], or None") for v in ("3", -1.0, 0, np.inf, np.nan, [3.0])),
        *(("max_shift", v, r"a length above 0 \[px\], or None") for v in ("3", 0.0, np.inf)),
        *(("window", v, "1 to 100 widths") for v in ("4", None, 0.5, 101, np.nan)),
        *(("min_prominence", v, "a number|standard deviations above 0") for v in ("6", None, 0.0, np.nan)),
        *(("smoothing", v, "an odd number of bins from 5, or 0") for v in ("5", 5.0, None, 3, 4, 6, -5)),
        *(("n_peaks", v, "1 or more, or None for all") for v in ("1", 1.5, 0, -1)),
    ],
)
def test_options_that_make_no_sense_are_refused(option, value, expected):
    with pytest.raises(InputError, match=rf"^{option} is .*; expected ({expected})$"):
        PeakOptions(**{option: value})


def test_options_may_be_numbers_of_numpy(cake):
    ints = {"smoothing": np.int64(5), "n_peaks": np.int32(1)}
    fits = cake.fit_peaks(options=PeakOptions(fwhm=np.float32(3.0), window=np.int64(4), **ints))
    assert len(fits) == cake.intensity.shape[0] * cake.intensity.shape[2]


def test_bins_of_any_edges(cake):
    """Profiles are averaged over the bins as they are: narrow ones on the peak, wide ones beside it."""
    edges = np.concatenate([np.arange(40, 58, 1.5), np.arange(58, 66, 0.4), np.arange(66, 90, 2.0)])
    grid = midas.CakeGrid.from_edges(edges, GRID.eta_edges)
    uneven = midas.integrate(np.ones((256, 256)), GEOMETRY, grid)
    truth = {"center": 62.3, "fwhm": 1.9, "mixing": 0.3}
    lineout = 50.0 + 4000.0 * midas._core.binned_profile(edges, **truth)
    intensity = np.broadcast_to(lineout[None, :, None], uneven.intensity.shape).copy()
    fits = dataclasses.replace(uneven, intensity=intensity, sigma=np.sqrt(intensity)).fit_peaks([62.0])
    assert fits.converged.all()
    for name, value in {**truth, "area": 4000.0}.items():
        np.testing.assert_allclose(getattr(fits, name), value, rtol=1e-6)
