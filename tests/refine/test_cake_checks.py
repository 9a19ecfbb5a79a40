"""Numbers of a caked file that cannot be: one sentence, before an engine is started or a folder made."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from midas.cli import main
from midas.errors import FormatError
from midas.io.gsas_zarr import write_cake_file
from midas.refine.cake_checks import check_cake

X = np.arange(3.0, 6.0, 0.02)


@pytest.fixture
def cake(cake_of):
    return cake_of([np.full(len(X), 100.0), np.full(len(X), 90.0)], X)


def test_a_good_file_passes_and_what_is_not_known_is_no_error(cake, tmp_path, caplog):
    check_cake(cake, tmp_path)
    cake.intensity[0, 3, 0] = np.nan
    cake.two_theta[5, 1], cake.eta[5, 1], cake.bin_area[5, 1] = np.nan, np.nan, 0.0  # masked
    variance = np.ones_like(cake.intensity)
    variance[0, 7, 0] = np.nan
    nowhere = np.full(1, np.nan)
    check_cake(replace(cake, variance=variance, first_omega=nowhere, last_omega=nowhere), tmp_path)
    turned = {name: getattr(cake, name)[::-1].copy() for name in ("radius", "two_theta", "eta", "bin_area")}
    check_cake(replace(cake, **turned), tmp_path)  # from the outside in
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("Lam", np.nan, "wavelength nan"),
        ("Lam", np.inf, "wavelength inf"),
        ("Lam", 0.0, "wavelength 0"),
        ("Lam", -0.4, "wavelength -0.4"),
        ("Lam", 30.0, "wavelength 30"),
        ("Distance", np.nan, "distance nan"),
        ("Distance", np.inf, "distance inf"),
        ("Distance", 0.0, "distance 0"),
        ("Distance", -1e6, "distance -1e"),
        ("Distance", 1.0, "distance 1 looks like metres"),
        ("Polariz", 1.5, "polarization 1.5"),
        ("Polariz", np.nan, "not numbers: Polariz"),
        ("SH_L", -0.1, "divergence -0.1"),
        ("U", np.inf, "not numbers: U"),
    ],
)
def test_instrument_parameters_that_cannot_be(key, value, words, cake, tmp_path):
    cake.instrument[key] = value
    with pytest.raises(FormatError, match=words):
        check_cake(cake, tmp_path / "x.zarr.zip")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("two_theta", np.nan, "the 2theta is nan deg; expected between 0 and 180 .bin 7, azimuth 1; 1 in all"),
        ("two_theta", -1.0, "the 2theta is -1 deg"),
        ("two_theta", 200.0, "the 2theta is 200 deg"),
        ("two_theta", 4.0, "out of order in azimuth 1: 3.16 deg in bin 8 follows 4"),
        ("two_theta", 3.12, "out of order in azimuth 1: 3.12 deg in bin 7 follows 3.12"),
        ("eta", np.inf, "the eta is inf deg"),
        ("bin_area", -3.0, "the bin area is -3 px²; expected 0 .masked. or more"),
        ("bin_area", np.inf, "the bin area is inf"),
    ],
)
def test_maps_that_cannot_be(name, value, words, cake, tmp_path):
    getattr(cake, name)[7, 1] = value
    with pytest.raises(FormatError, match=words):
        check_cake(cake, tmp_path / "x.zarr.zip")


@pytest.mark.parametrize(
    ("value", "words"), [(-1.0, "the variance of sum 0 is -1; expected 0 or more"), (np.inf, "inf")]
)
def test_variances_that_cannot_be(value, words, cake, tmp_path):
    variance = np.ones_like(cake.intensity)
    variance[0, 7, 1] = value
    with pytest.raises(FormatError, match=words):
        check_cake(replace(cake, variance=variance), tmp_path / "x.zarr.zip")


def test_an_omega_that_cannot_be(cake, tmp_path):
    with pytest.raises(FormatError, match="omega of sum 0 is inf"):
        check_cake(replace(cake, last_omega=np.full(1, np.inf)), tmp_path / "x.zarr.zip")


def test_infinite_intensities_are_left_out_and_told_of(cake, tmp_path, caplog):
    cake.intensity[0, 7:9, 1] = np.inf
    check_cake(cake, tmp_path / "x.zarr.zip")
    assert "2 intensities are infinite, the first in sum 0, bin 7, azimuth 1" in caplog.text


@pytest.mark.parametrize("check", [[], ["--check"]])
def test_the_program_says_it_in_one_sentence_and_makes_no_folder(check, cake, synthetic, tmp_path, capsys):
    cif = synthetic.write_cif(tmp_path / "CeO2.cif", synthetic.CEO2_CIF, 5.41165)
    cake.instrument["Distance"] = np.nan
    data = write_cake_file(tmp_path / "x.zarr.zip", cake)
    assert main(["refine", str(data), "--cif", str(cif), "--out", str(tmp_path / "out"), *check]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()
