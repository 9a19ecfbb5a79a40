"""What users' own tests are built from: the simulated truth is true, and the comparisons fail when they should."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import midas
from midas import testing
from midas.errors import InputError, OutputError


@pytest.fixture(scope="module")
def cake():
    return testing.caked_scan(testing.scan([0.0, 1e-3], seed=3, peak_counts=5000.0))


def test_it_needs_no_test_framework():
    code = "import sys, midas.testing; print('pytest' in sys.modules, 'scipy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_the_same_seed_gives_the_same_bytes_and_another_others():
    first, again, other = (testing.calibrant_image(seed=seed).image for seed in (7, 7, 8))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_options_of_the_simulation_are_taken_and_misspelt_ones_refused():
    shot = testing.calibrant_image(peak_counts=50.0, noise=False, background=0.0)
    assert shot.expected.max() == pytest.approx(50.0, rel=0.05)  # counts: the crest of the strongest ring
    with pytest.raises(InputError, match="peak_count is no option of a simulation; did you mean peak_counts"):
        testing.calibrant_image(peak_count=50.0)
    with pytest.raises(InputError, match="strains are 'a'; expected one for each frame"):
        testing.scan("a")


def test_strain_of_the_scan_is_that_of_the_cake(cake):
    fits = midas.fit_peaks(cake)
    spacing = [
        np.mean(fits.d_spacing[(fits.sum == s) & (np.abs(fits.d_spacing - 1.913) < 0.03)]) for s in (0, 1)
    ]  # 220
    assert spacing[0] == pytest.approx(5.41165 / np.sqrt(8.0), rel=5e-4)  # 0.03 px
    assert spacing[1] / spacing[0] - 1.0 == pytest.approx(1e-3, abs=1e-4)


def test_a_caked_file_is_one_that_midas_reads(tmp_path, cake):
    path = testing.caked_file(tmp_path / "x.zarr.zip", [0.0, 1e-3], seed=3, peak_counts=5000.0)
    read = midas.read_cake_file(path)
    np.testing.assert_allclose(read.intensity, cake.to_cake_file().intensity, rtol=1e-6)
    with pytest.raises(InputError, match=r"\.zarr\.zip"):
        testing.caked_file(tmp_path / "x.h5")


def test_a_cif_is_one_that_midas_reads(tmp_path):
    path = testing.cif_file(tmp_path / "LaB6.cif", "LaB6")
    assert midas.calibrant_from_cif(path).cell[0] == pytest.approx(midas.calibrant("LaB6").cell[0], abs=1e-5)
    with pytest.raises(OutputError):
        testing.cif_file(tmp_path / "none" / "LaB6.cif", "LaB6")


@pytest.mark.parametrize(
    ("change", "tolerance", "row"),
    [
        ({"distance": 101_400.0}, {"distance": 99.0}, "distance"),
        ({"beam_center": (130.37, 124.90)}, {"beam_center": 0.05}, "beam z"),
        ({"tilts": (0.0, 0.31, -0.20)}, {"tilts": 0.01}, "tilt z"),
        ({"wavelength": 0.2067}, {"wavelength": 5e-5}, "wavelength"),
        ({"parallax": 30.0}, {"parallax": 10.0}, "parallax"),
    ],
)
def test_geometries_that_differ_are_told_apart(change, tolerance, row):
    other = replace(testing.TRUTH, **change)
    with pytest.raises(AssertionError, match=rf"(?m)^{row} .*<-$") as failed:
        testing.assert_geometry_close(other, testing.TRUTH, **tolerance)
    assert str(failed.value).count("<-") == 1
    testing.assert_geometry_close(other, testing.TRUTH, **{name: 1e6 for name in tolerance})


def test_comparing_nothing_is_refused():
    with pytest.raises(InputError, match="nothing is compared"):
        testing.assert_geometry_close(testing.TRUTH, testing.TRUTH)


def test_cakes_that_differ_are_told_apart(cake):
    testing.assert_cakes_close(cake, cake)
    one_off = cake.intensity.copy()
    one_off[1, 30, 2] += 5.0
    with pytest.raises(AssertionError, match=r"differ in 1 of \d+ bins, most in \(sum, radius, eta\) \(1, 30, 2\)"):
        testing.assert_cakes_close(replace(cake, intensity=one_off), cake)
    testing.assert_cakes_close(replace(cake, intensity=one_off), cake, atol=5.1)
    one_off[1, 30, 2] = np.nan
    with pytest.raises(AssertionError, match=r"\(1, 30, 2\): nan instead of"):
        testing.assert_cakes_close(replace(cake, intensity=one_off), cake, rtol=10.0)
    with pytest.raises(AssertionError, match="other bins: their eta_edges differ"):
        testing.assert_cakes_close(replace(cake, eta_edges=cake.eta_edges + 1.0), cake)
    short = testing.caked_scan(testing.scan([0.0]))
    with pytest.raises(AssertionError, match="have shapes"):
        testing.assert_cakes_close(short, cake)
