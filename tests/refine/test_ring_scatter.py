"""Rings beside the esds of a cell: of simulated fits whose truth is known, and of ones with a foreign line."""

from __future__ import annotations

import numpy as np
import pytest

from midas.io.gsas_zarr import write_cake_file
from midas.refine import run_refinement
from midas.refine.ring_scatter import is_more_than_chance, ring_bounds, ring_scatter

PLACES = np.linspace(2.0, 9.0, 10)
X = np.arange(1.0, 10.0, 0.01)


def lines_and_slopes():
    """Ten lines of different heights, and the derivatives by a common shift (times the place), a scale, a level."""
    shapes = [h * np.exp(-(((X - p) / 0.03) ** 2)) for h, p in zip(range(20, 10, -1), PLACES, strict=True)]
    lines = np.sum(shapes, axis=0)
    shift = np.sum([2.0 * (X - p) / 0.03**2 * p * s for p, s in zip(PLACES, shapes, strict=True)], axis=0)
    return lines, np.array([shift, lines, np.ones_like(X)])


def fits(residuals, slopes):
    """Return what least squares leave of residuals, the covariance scaled by their goodness of fit."""
    normal = np.linalg.inv(slopes @ slopes.T)
    left = residuals - slopes.T @ (normal @ (slopes @ residuals))
    return left, normal * np.sum(left**2) / (len(left) - len(slopes))


def test_rings_are_parted_where_the_pattern_falls():
    lines, _ = lines_and_slopes()
    bounds = ring_bounds(lines)
    assert len(bounds) == 11
    assert np.all(np.searchsorted(bounds, np.searchsorted(X, PLACES)) == np.arange(1, 11))
    assert ring_bounds(np.zeros(5)) == [0, 5]
    assert ring_bounds(np.convolve(lines, np.ones(120), "same"))[1:-1] == []  # all in one


def test_the_factor_is_1_on_noise_and_seldom_told():
    lines, slopes = lines_and_slopes()
    rng, bounds = np.random.default_rng(3), ring_bounds(lines)
    found = []
    for _ in range(500):
        left, covariance = fits(rng.normal(size=len(X)), slopes)
        found.append(ring_scatter(slopes, left, bounds, [0], covariance)[0][:2])
    factors, counts = np.transpose(found)
    assert np.sqrt(np.mean(factors**2)) == pytest.approx(1.0, abs=0.05)
    assert not any(is_more_than_chance(*pair) for pair in found)
    assert 5.0 < counts[0] < 9.0  # of ten rings the outer ones say most of a common shift


def test_the_factor_is_the_error_over_the_esd_where_rings_are_shifted():
    lines, slopes = lines_and_slopes()
    rng, bounds = np.random.default_rng(5), ring_bounds(lines)
    errors, esds, factors = [], [], []
    for _ in range(500):
        strain = rng.normal(0.0, 5e-4, 10)  # each ring has its own
        wrong = np.sum([s * slopes[0] * (np.abs(X - p) < 0.35) for s, p in zip(strain, PLACES, strict=True)], axis=0)
        data = wrong + rng.normal(size=len(X))
        left, covariance = fits(data, slopes)
        errors.append((np.linalg.inv(slopes @ slopes.T) @ (slopes @ data))[0])
        esds.append(np.sqrt(covariance[0, 0]))
        factors.append(ring_scatter(slopes, left, bounds, [0], covariance)[0].factor)
    esd, factor = np.mean(esds), np.sqrt(np.mean(np.square(factors)))
    assert factor > 2.0
    assert np.std(errors) / (esd * factor) == pytest.approx(1.0, abs=0.15)


def test_the_worst_ring_is_named():
    lines, slopes = lines_and_slopes()
    extra = 10.0 * np.exp(-(((X - PLACES[7] - 0.03) / 0.03) ** 2))
    left, covariance = fits(extra + np.random.default_rng(1).normal(size=len(X)), slopes)
    [found] = ring_scatter(slopes, left, ring_bounds(lines), [0], covariance)
    assert abs(X[found.point] - PLACES[7]) < 0.05
    assert is_more_than_chance(found.factor, found.n)


def test_each_parameter_of_a_cell_has_its_own_factor():
    """Rings alternate between two parameters, as 00l and hk0 do; those of the second alone are strained."""
    lines, slopes = lines_and_slopes()
    of_first = np.array([np.abs(PLACES[::2] - x).min() < np.abs(PLACES[1::2] - x).min() for x in X])
    slopes = np.array([slopes[0] * of_first, slopes[0] * ~of_first, *slopes[1:]])
    rng, errors, found = np.random.default_rng(2), [], []
    for _ in range(300):
        strain = rng.normal(0.0, 5e-4, 10)
        wrong = np.sum([s * slopes[1] * (np.abs(X - p) < 0.35) for s, p in zip(strain, PLACES, strict=True)], axis=0)
        data = wrong + rng.normal(size=len(X))
        left, covariance = fits(data, slopes)
        esd = np.sqrt(np.diag(covariance)[:2])
        errors.append((np.linalg.inv(slopes @ slopes.T) @ (slopes @ data))[:2] / esd)
        found.append([s.factor for s in ring_scatter(slopes, left, ring_bounds(lines), [0, 1], covariance)])
    scatter, factors = np.std(errors, axis=0), np.sqrt(np.mean(np.square(found), axis=0))
    assert factors[0] < 1.1
    assert factors[1] > 1.5
    assert scatter / factors == pytest.approx([1.0, 1.0], abs=0.25)


def test_what_cannot_be_told_is_no_factor():
    lines, slopes = lines_and_slopes()
    left, covariance = fits(np.random.default_rng(4).normal(size=len(X)), slopes)
    twice = np.array([*slopes, slopes[0] + slopes[1]])  # singular
    for j, bounds, esds in (
        (twice, ring_bounds(lines), np.eye(4)),
        (slopes, [0, len(X)], covariance),
        (slopes, ring_bounds(lines), 0.0 * covariance),
        (0.0 * slopes, ring_bounds(lines), covariance),
        (slopes[:, :2], [0, 1, 2], covariance),
    ):
        [found] = ring_scatter(j, left[: j.shape[1]], bounds, [0], esds)
        assert np.isnan(found.factor)
        assert not is_more_than_chance(found.factor, found.n)


@pytest.mark.gsas2
def test_a_foreign_line_beside_a_ring_is_told(gsas2, synthetic, cake_of, tmp_path):
    x, a, wavelength = np.arange(3.0, 18.0, 0.01), 5.4133, 0.413263
    pure = 100.0 + 3000.0 * synthetic.pattern(synthetic.CEO2_CIF.format(a=a), x, wavelength)
    ring = x[np.argmax(pure)]
    foreign = 0.1 * pure.max() * np.exp(-4 * np.log(2) * ((x - ring - 0.03) / 0.03) ** 2)
    columns = [np.random.default_rng(7 + i).poisson((pure + i * foreign) * 160.0) / 8.0 for i in (0, 1)]
    path = write_cake_file(tmp_path / "x.zarr.zip", cake_of(columns, x, frames=20, area=8.0))
    cif = synthetic.write_cif(tmp_path / "CeO2.cif", synthetic.CEO2_CIF, 5.41165)
    summary = run_refinement(path, [cif], tmp_path / "out", refine_atoms=False, export=False)
    clean, foul = (h["phases"][0] for h in summary["histograms"])
    assert 0.4 < clean["ring_scatter"] < 2.0
    assert clean["unlike_ring"] is None
    assert foul["unlike_ring"] == pytest.approx(ring, abs=0.02)
    off, esd = abs(foul["cell"]["a"] - a), foul["cell_esd"]["a"]
    assert off < 3.0 * esd
    assert off > 8.0 * esd / foul["ring_scatter"]  # of GSAS-II's own esds
    assert summary["histograms"][1]["GOF"] < 4.0
    assert any("the rings do not agree on the cell of CeO2" in w for w in summary["histograms"][1]["warnings"])
    assert any("rings differ on the cell of CeO2 in 1 of 2 fits" in r for r in summary["remarks"])
