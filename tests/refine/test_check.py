from __future__ import annotations

import json

import numpy as np
import pytest

from midas.cli import main
from midas.errors import InputError
from midas.io.gsas_zarr import write_cake_file
from midas.refine.batch import check_calibration

X = np.arange(5.0, 22.0, 0.01)
A, WAVELENGTH = 5.41165, 0.413263
ETAS = np.arange(12) * 30.0 - 30.0


@pytest.fixture
def cif(synthetic, tmp_path):
    return synthetic.write_cif(tmp_path / "CeO2.cif", synthetic.CEO2_CIF, A)


@pytest.fixture
def scan(synthetic, cake_of, tmp_path):
    """Return a function that writes a cake of twelve azimuths, 2θ shifted by what the argument gives [deg]."""

    def write(shift=lambda x, eta: 0.0, *, wavelength=WAVELENGTH, peak=40.0):
        rng = np.random.default_rng(7)
        fine = np.arange(4.5, 22.5, 0.005)
        lines = synthetic.pattern(synthetic.CEO2_CIF.format(a=A), fine, WAVELENGTH)
        ideal = [3.0 + peak * np.interp(X - shift(X, eta), fine, lines) for eta in ETAS]
        cake = cake_of([rng.poisson(y * 160.0) / 8.0 for y in ideal], X, frames=20, area=8.0)
        cake.instrument["Lam"] = wavelength
        return write_cake_file(tmp_path / "x.zarr.zip", cake)

    return write


def test_good_calibration_is_consistent_and_shifts_are_within_their_errors(scan, cif):
    found = check_calibration(scan(), [cif])
    assert found.consistent, found.verdict
    strong = [r for r in found.rings if r.found == 12]
    assert len(strong) >= 6
    # A symmetric profile fitted to one with the axial divergence of 0.002: 7e-4 deg at 3.8 deg, less further out.
    assert all(abs(r.shift) < 1e-3 for r in strong)
    assert abs(found.common) < 1e-4


@pytest.mark.parametrize("shift", [0.006, -0.008])
def test_zero_shift_is_measured_and_called(scan, cif, shift):
    found = check_calibration(scan(lambda x, eta: shift), [cif])
    assert not found.consistent
    assert "rings differ" in found.verdict
    for ring in found.rings:
        if ring.found == 12:
            assert abs(ring.shift - shift) < 1e-3
            assert ring.d_shift == pytest.approx(
                -np.radians(ring.shift) / 2 / np.tan(np.radians(ring.two_theta / 2)), rel=2e-2
            )


@pytest.mark.parametrize("factor", [0.995, 1.01, 1.02])
def test_wrong_wavelength_shifts_all_rings_alike(scan, cif, factor):
    found = check_calibration(scan(wavelength=WAVELENGTH * factor), [cif])
    assert not found.consistent
    assert "all rings lie" in found.verdict
    if abs(factor - 1.0) < 0.015:  # beyond, the outer rings are taken for their neighbours
        assert found.common == pytest.approx(factor - 1.0, abs=3e-4)


def test_beam_centre_shows_over_eta(scan, cif):
    found = check_calibration(scan(lambda x, eta: 0.004 * np.cos(np.radians(eta))), [cif])
    assert not found.consistent
    assert "with eta" in found.verdict


def test_wrong_phase_is_not_found(scan, synthetic, tmp_path):
    other = synthetic.write_cif(tmp_path / "LaB6.cif", synthetic.LAB6_CIF, 4.156826)
    found = check_calibration(scan(), [other])
    assert not found.consistent


def test_no_signal_is_no_consistency(scan, cif):
    found = check_calibration(scan(peak=0.0), [cif])
    assert not found.consistent
    assert "0 of" in found.verdict


def test_nothing_to_check_is_refused(scan, cif):
    with pytest.raises(InputError, match="no lineout holds data"):
        check_calibration(scan(), [cif], exclude=[(1.0, 25.0)])


def test_command_prints_a_table_or_json_and_says_it_by_its_status(scan, cif, tmp_path, capsys):
    words = ["refine", str(scan()), "--cif", str(cif), "--check", "-o", str(tmp_path / "out")]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "CeO2" in text
    assert "1 1 1" in text
    assert "consistent: rings agree" in text
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["consistent"] is True
    scan(wavelength=WAVELENGTH * 1.01)
    assert main(words) == 1
    assert "NOT consistent: all rings lie +1.0" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()
