"""Points of a lineout share pixels: how strongly they are correlated, and that uncertainties allow for it."""

from __future__ import annotations

import csv
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import midas
from midas.io.gsas_zarr import INDEPENDENT, read_cake_file, write_cake_file
from midas.refine.gsas2_sharing import DONE, SharedPixels
from midas.refine.lineouts import iterate_lineouts
from midas.refine.sharing import shared_by_points
from midas.testing import cif_file

GEOMETRY = midas.Geometry(distance=700_000.0, beam_center=(255.3, 257.8), pixel_size=200.0, wavelength=0.18)
DETECTOR = midas.Detector((512, 512), 200.0)


def cake_file(step, path, image=None):
    image = np.ones((512, 512), dtype=np.uint16) if image is None else image
    grid = midas.CakeGrid(60, 240, step, eta_step=10)
    cake = midas.integrate(image, GEOMETRY, grid, detector=DETECTOR)
    return cake.to_zarr(path / "a.zarr.zip", instrument={"SH_L": 0.0})


@pytest.mark.parametrize("step", [0.25, 0.5, 1.0, 2.0])
def test_correlations_are_those_of_the_areas(tmp_path, step):
    content = read_cake_file(cake_file(step, tmp_path))
    lineout = next(iterate_lineouts(content, [7]))
    grid = midas.CakeGrid(60, 240, step, eta_step=10)
    areas = midas.build_map(GEOMETRY, DETECTOR, grid).to_scipy()[7 :: grid.shape[1]]
    shared = (areas @ areas.T).toarray()
    size = np.sqrt(np.diag(shared))
    exact = shared / size / size[:, None]
    assert len(lineout.sharing) >= 1
    for k, band in enumerate(lineout.sharing[:3], 1):
        # The exact ones vary with where borders cut the pixels; their mean is what counts in a sum over many bins.
        assert band[:-k].mean() == pytest.approx(np.diag(exact, k).mean(), abs=0.02)
        assert (band[-k:] == 0.0).all()


def test_points_beside_a_gap_keep_what_they_share_over_it(tmp_path):
    content = read_cake_file(cake_file(0.5, tmp_path))
    whole = shared_by_points(content, 0, 10.0, np.arange(20))
    gap = shared_by_points(content, 0, 10.0, np.array([0, 1, 3, 4, 10]))
    assert gap[0].tolist() == [whole[0, 0], whole[1, 1], whole[0, 3], 0.0, 0.0]


def test_bins_that_are_independent_share_nothing(tmp_path):
    content = read_cake_file(cake_file(0.5, tmp_path))
    computed = replace(content, metadata={INDEPENDENT: True})
    assert shared_by_points(computed, 0, 10.0, np.arange(20)).shape == (0, 20)
    unordered = replace(content, radius=content.radius[::-1])
    assert shared_by_points(unordered, 0, 10.0, np.arange(20)).shape == (0, 20)


def test_the_covariance_is_that_of_fits_to_correlated_noise():
    """Of a straight line and a peak through points that a moving mean of independent noise has correlated."""
    rng, x = np.random.default_rng(7), np.linspace(-1.0, 1.0, 200)
    model = np.array([np.ones_like(x), x, np.exp(-((x / 0.1) ** 2))])
    kernel = np.array([1.0, 2.0, 2.0, 1.0])
    covariance_of_noise = np.correlate(kernel, kernel, "full")[3:] / np.sum(kernel**2)
    noise = rng.normal(size=(4000, 203))
    data = np.array([np.convolve(row, kernel, "valid") for row in noise]) / np.sqrt(np.sum(kernel**2))
    inverse = np.linalg.inv(model @ model.T)
    scatter = (data @ model.T @ inverse).std(axis=0)
    shared = SharedPixels()
    bands = [np.r_[np.full(200 - k, covariance_of_noise[k]), np.zeros(k)] for k in range(1, 4)]
    shared.begin(x.tolist(), [1.0] * 200, bands)

    def refine_core():
        followed = shared.noted(lambda varied, dependent, derivatives: None)
        shared.placed(lambda args: None)([None, x])
        followed(None, None, np.ma.array(model))
        return True, {"GOF": 1.2}, None, inverse * 1.2**2, np.sqrt(np.diag(inverse)) * 1.2, None

    *_, covariance, sig, _ = shared.corrected(refine_core)()
    # 4000 fits know a standard deviation to 1.1 %
    assert sig / 1.2 == pytest.approx(scatter, rel=0.04)
    assert np.sqrt(np.diag(covariance)) == pytest.approx(sig)
    assert sig[0] / (1.2 * np.sqrt(inverse[0, 0])) == pytest.approx(np.sqrt(shared.spread), rel=0.03)
    derivatives, first = shared.fit
    np.testing.assert_array_equal(derivatives, model)
    assert first == x[0]


def test_it_is_noted_whether_the_covariance_allows_for_them():
    shared = SharedPixels()
    shared.begin([0.0, 1.0, 2.0], [1.0] * 3, [[0.5, 0.5, 0.0]])
    noted = {"GOF": 1.0}
    *_, covariance, sig, _ = shared.corrected(lambda: (True, noted, None, np.array([[7.0]]), [2.6], None))()
    assert noted == {"GOF": 1.0, DONE: False}  # no derivatives were seen
    assert covariance.tolist() == [[7.0]]
    assert sig == pytest.approx([np.sqrt(7.0)])


@pytest.mark.parametrize(("gof", "grown"), [(0.8, 1.0 / 0.8), (1.0, 1.0), (1.7, 1.0)])
def test_a_fit_better_than_counts_allow_makes_no_esd_smaller(gof, grown):
    shared = SharedPixels()
    shared.begin([0.0, 1.0], [1.0] * 2, [])
    *_, covariance, sig, _ = shared.corrected(lambda: (True, {"GOF": gof}, None, np.array([[9.0]]), [3.0], None))()
    assert sig == pytest.approx([3.0 * grown])
    assert covariance[0, 0] == pytest.approx(9.0 * grown**2)


def test_derivatives_of_another_fit_change_nothing():
    shared = SharedPixels()
    shared.begin([0.0, 1.0, 2.0], [1.0] * 3, [[0.5, 0.5, 0.0]])
    shared.first, shared.derivatives = 0.0, np.array([[1.0, 1.0, 1.0]])
    other = np.array([[7.0]])  # not s² / (J J^T), which is 1/3
    assert shared.scaled_derivatives(other, 1.0) is None


@pytest.mark.gsas2
@pytest.mark.parametrize("step", [0.25, 1.0])
def test_esds_of_a_cake_are_the_scatter_of_its_lineouts(gsas2, tmp_path, step):
    options = midas.SimulationOptions(fwhm=3.0)
    image = midas.simulate(GEOMETRY, DETECTOR, "CeO2", options=options, seed=3).image
    files = {"as it is": cake_file(step, tmp_path, image)}
    content = read_cake_file(files["as it is"])
    as_if = replace(content, metadata={**content.metadata, INDEPENDENT: True})
    files["as if independent"] = write_cake_file(tmp_path / "b.zarr.zip", as_if)
    cif = cif_file(tmp_path / "CeO2.cif", "CeO2")
    pulls = {}
    for name, path in files.items():
        out = tmp_path / name
        summary = midas.run_refinement(path, [cif], out, n_cpus=2, refine_atoms=False, export=False)
        assert summary["succeeded"] == 36
        assert not any("do not allow for the pixels" in w for h in summary["histograms"] for w in h["warnings"])
        with (out / "refinement_table.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        scale, esd = (np.array([float(row[key]) for row in rows]) for key in ("scale", "scale_esd"))
        cell, cell_esd = (np.array([float(row[key]) for row in rows]) for key in ("a", "a_esd"))
        pulls[name] = SimpleNamespace(scale=scale.std(ddof=1) / esd.mean(), cell=cell.std(ddof=1) / cell_esd.mean())
    # A standard deviation of 36 values is known to 12 %. Polarization and form factors leave the scales a little more.
    assert 0.7 < pulls["as it is"].cell < 1.35
    assert 0.7 < pulls["as it is"].scale < 1.4
    assert pulls["as if independent"].scale > {0.25: 1.6, 1.0: 1.0}[step]
