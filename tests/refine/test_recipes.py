"""Recipes other than the manual's against the real GSAS-II, on patterns computed independently of it."""

from __future__ import annotations

import numpy as np
import pytest

from midas.crystal import calibrant_from_cif, rings
from midas.io.gsas_zarr import write_cake_file
from midas.refine import Stage, default_stages, run_refinement

pytestmark = pytest.mark.gsas2

X = np.arange(3.0, 16.0, 0.01)
FRAMES, AREA = 20, 8.0
A = 5.41165
WAVELENGTH = 0.413263
KNOWN = {"U": 5.0, "V": -1.0, "W": 4.0, "X": 1.0, "Y": 3.0}


@pytest.fixture
def cif(synthetic, tmp_path):
    return synthetic.write_cif(tmp_path / "CeO2.cif", synthetic.CEO2_CIF, A)


@pytest.fixture
def refine(gsas2, cake_of, cif, tmp_path):
    """Return a function that refines one ideal pattern, with its counting noise, and returns its entry."""

    def run(ideal, *, seed=7, instrument=KNOWN, **options):
        column = np.random.default_rng(seed).poisson(ideal * AREA * FRAMES) / AREA
        cake = cake_of([column], X, frames=FRAMES, area=AREA)
        cake.instrument.update(instrument)
        path = write_cake_file(tmp_path / "x.zarr.zip", cake)
        arguments = {"cif_files": [cif], "output_dir": tmp_path / "out", "refine_atoms": False, **options}
        return run_refinement(path, **arguments)["histograms"][0]

    return run


@pytest.fixture
def textured(synthetic, cif, monkeypatch):
    """Return a function as `ideal`, of ceria with March's coefficient 0.7 and the axis along c."""
    plain = synthetic.reflections

    def reflections(*words):
        known = rings(calibrant_from_cif(cif), WAVELENGTH, two_theta_max=X[-1] + 1.0)
        factors = [march_dollase(known.all_hkl[known.all_number == n], 0.7) for n in known.number]
        return [(t, i * factors[int(np.argmin(np.abs(known.two_theta - t)))]) for t, i in plain(*words)]

    def run(**options):
        with monkeypatch.context() as patch:
            patch.setattr(synthetic, "reflections", reflections)
            return ideal(synthetic, **options)

    return run


def march_dollase(hkl, r):
    """Return the factor of a ring of a cubic crystal, the mean over its reflections: J. Appl. Cryst. 19 (1986) 267."""
    cosine = hkl[:, 2] / np.linalg.norm(hkl, axis=1)
    return np.mean((r**2 * cosine**2 + (1.0 - cosine**2) / r) ** -1.5)


def ideal(synthetic, *, text=None, a=A, peak=40.0, background=3.0, zero=0.0, **profile):
    lines = synthetic.pattern((text or synthetic.CEO2_CIF).format(a=a), X - zero, WAVELENGTH,
                              profile=synthetic.Profile(**profile))  # fmt: skip
    return background + peak * lines


def found(value, truth, sigmas=4.0):
    """Return whether a value lies within so many of its esds of the truth."""
    return abs(value["value"] - truth) < sigmas * value["esd"]


def test_march_coefficient_is_found(refine, textured):
    pattern = textured()
    plain = refine(pattern)
    recipe = default_stages(refine_atoms=False, texture="march")
    h = refine(pattern, stages=recipe)
    assert h["status"] == "success", h["reason"]
    assert h["stages"][-1]["outcome"] == "kept", h["stages"][-1]
    assert found(h["phases"][0]["texture"]["march"], 0.7)
    assert h["phases"][0]["texture"]["march"]["esd"] < 0.02
    assert h["GOF"] < 1.2 < plain["GOF"]


def test_harmonics_describe_a_march_texture(refine, textured):
    pattern = textured()
    h = refine(pattern, stages=default_stages(refine_atoms=False, texture="harmonics", texture_order=8))
    assert h["status"] == "success", h["reason"]
    coefficients = h["phases"][0]["texture"]
    assert len(coefficients) == 3  # C(4,1), C(6,1), C(8,1) in cubic symmetry
    assert abs(coefficients["C(4,1)"]["value"]) > 5.0 * coefficients["C(4,1)"]["esd"]
    assert h["GOF"] < 1.2


def test_harmonics_without_a_term_say_so(refine, synthetic):
    recipe = default_stages(refine_atoms=False, texture="harmonics", texture_order=2)
    h = refine(ideal(synthetic), stages=recipe)
    assert "harmonics of order 2 have no term in the symmetry of CeO2" in h["stages"][-1]["problems"]


def test_size_and_microstrain_apart_from_the_instrument(refine, synthetic):
    # X = 1.8 lambda / (pi size), Y = 0.018 microstrain / pi [centidegrees]: K = 1, size in um, microstrain in 1e-6.
    size, strain = 0.2, 800.0
    more = {"x": 1.0 + 1.8 * WAVELENGTH / (np.pi * size), "y": 3.0 + 0.018 * strain / np.pi}
    h = refine(ideal(synthetic, peak=400.0, **more), stages=default_stages(refine_atoms=False, broadening="sample"))
    assert h["status"] == "success", h["reason"]
    broadening = h["phases"][0]["broadening"]
    assert found(broadening["size"], size)
    assert found(broadening["microstrain"], strain)
    assert broadening["size"]["esd"] < 0.1 * size
    assert broadening["microstrain"]["esd"] < 0.1 * strain
    assert h["instrument"]["x"] == {"value": 1.0, "esd": None}
    assert h["warnings"] == []


def test_widths_that_nobody_measured_are_told_of(refine, synthetic):
    h = refine(ideal(synthetic), instrument={}, stages=default_stages(refine_atoms=False, broadening="sample"))
    assert "not measured" in h["warnings"][0]


def test_a_sample_that_broadens_nothing_is_no_reservation(refine, synthetic):
    h = refine(ideal(synthetic), stages=default_stages(refine_atoms=False, broadening="sample"))
    assert h["status"] in ("success", "partial")
    if h["stages"][2]["outcome"] != "kept":
        assert "end of its range" in h["stages"][2]["problems"][0] or "not positive" in h["stages"][2]["problems"][0]


def test_zero_is_found(refine, synthetic):
    recipe = [*default_stages(refine_atoms=False), Stage("zero", ("zero",))]
    h = refine(ideal(synthetic, zero=0.004), stages=recipe)
    assert h["status"] == "success", h["reason"]
    assert found(h["instrument"]["zero"], 0.004)
    assert found({"value": h["phases"][0]["cell"]["a"], "esd": h["phases"][0]["cell_esd"]["a"]}, A)


def test_one_phase_alone_is_textured(refine, synthetic, textured, cif, tmp_path):
    other = synthetic.write_cif(tmp_path / "LaB6.cif", synthetic.LAB6_CIF, 4.156826)
    both = textured() + ideal(synthetic, text=synthetic.LAB6_CIF, a=4.156826, background=0.0)
    recipe = [*default_stages(refine_atoms=False), Stage("of CeO2", ("march:CeO2",))]
    h = refine(both, stages=recipe, cif_files=[cif, other])
    assert h["status"] == "success", h["reason"]
    assert found(h["phases"][0]["texture"]["march"], 0.7)
    assert h["phases"][1]["texture"] == {}


def test_a_foreign_line_is_excluded(refine, synthetic):
    foreign = ideal(synthetic) + 60.0 * np.exp(-(((X - 5.1) / 0.03) ** 2))
    disturbed = refine(foreign)
    left_out = refine(foreign, exclude=[(5.0, 5.2)])
    assert left_out["GOF"] < 1.2 < disturbed["GOF"]
    assert left_out["n_points"] == np.count_nonzero((X < 5.0) | (X > 5.2))
    assert left_out["status"] == "success"


@pytest.mark.parametrize("n", [2, 9])
def test_the_data_choose_the_background(refine, synthetic, n):
    u = 2.0 * (X - X[0]) / (X[-1] - X[0]) - 1.0
    terms = [6.0, -1.5, 1.0, 0.8, 0.8, -0.7, 0.7, 0.6, -0.6][:n]
    pattern = ideal(synthetic, background=0.0) + np.polynomial.chebyshev.chebval(u, terms)
    h = refine(pattern, bkg_terms="auto")
    assert h["status"] == "success", h["reason"]
    assert len(h["background"]) == n
    assert h["stages"][-1]["name"] == "background terms"
    assert h["GOF"] < 1.2
    np.testing.assert_allclose(h["background"], terms, atol=0.1)
