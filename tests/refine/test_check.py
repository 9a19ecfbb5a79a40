from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from midas.cli import main
from midas.errors import InputError
from midas.io.gsas_zarr import write_cake_file
from midas.refine.batch import check_calibration
from midas.refine.check import RingShift, check_rings, judge_shifts

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


@pytest.mark.parametrize("factor", [0.975, 0.995, 1.01, 1.02])
def test_wrong_wavelength_shifts_all_rings_alike(scan, cif, factor):
    found = check_calibration(scan(wavelength=WAVELENGTH * factor), [cif])
    assert not found.consistent
    assert "all rings lie" in found.verdict
    assert found.common == pytest.approx(factor - 1.0, abs=1e-4)


@pytest.fixture
def mixed(synthetic, cake_of, cif, tmp_path):
    """Return a cake of ceria and LaB6, of whose rings many lie under one another, and both CIFs."""

    def write(wavelength=WAVELENGTH, extra=lambda x: 0.0):
        other = synthetic.write_cif(tmp_path / "LaB6.cif", synthetic.LAB6_CIF, 4.156826)
        rng = np.random.default_rng(7)
        parts = [(synthetic.CEO2_CIF.format(a=A), 0.6), (synthetic.LAB6_CIF.format(a=4.156826), 0.4)]
        ideal = 3.0 + 60.0 * synthetic.mixture(parts, X, WAVELENGTH) + extra(X)
        cake = cake_of([rng.poisson(ideal * 160.0) / 8.0 for _ in ETAS], X, frames=20, area=8.0)
        cake.instrument["Lam"] = wavelength
        return write_cake_file(tmp_path / "mixed.zarr.zip", cake), [cif, other]

    return write


def test_rings_under_those_of_another_phase_raise_no_alarm(mixed):
    found = check_calibration(*mixed())
    assert found.consistent, found.verdict
    assert abs(found.common) < 1e-4
    assert any(r.overlapped for r in found.rings)


def test_rings_of_two_phases_tell_a_wrong_wavelength(mixed):
    found = check_calibration(*mixed(wavelength=WAVELENGTH * 0.98))
    assert not found.consistent
    assert found.common == pytest.approx(-0.02, abs=1e-4)


def test_a_foreign_line_beside_a_ring_is_no_verdict(mixed):
    alone = next(r for r in check_calibration(*mixed()).rings if not r.overlapped and r.strength > 0.3)
    found = check_calibration(*mixed(extra=lambda x: 30.0 * np.exp(-(((x - alone.two_theta - 0.03) / 0.02) ** 2))))
    assert found.consistent, found.verdict
    moved = next(r for r in found.rings if r.two_theta == alone.two_theta)
    assert abs(moved.d_shift - found.common) > 5e-4


def test_strongest_rings_that_are_not_there_are_named():
    def ring(two_theta, strength, found):
        values = (1e-3, 1e-4, 2e-5, 1e-5) if found else (None, None, None, None)
        return RingShift("Si", (1, 1, 1), two_theta, 4 if found else 0, 4, *values, None, strength=strength)

    shifts = [ring(5.0, 1.0, False), ring(6.0, 0.8, False), ring(7.0, 0.7, False)]
    shifts += [ring(8.0 + k, 0.3 - 0.05 * k, True) for k in range(4)]
    verdict = judge_shifts(shifts).verdict
    assert "only 2 of the 5 strongest rings of Si are there" in verdict
    shown = [replace(s, strength=0.01) if not s.found else s for s in shifts]
    assert judge_shifts(shown).consistent


def test_two_rings_are_too_few_to_check(scan, cif):
    found = check_calibration(scan(), [cif], limits=(7.0, 9.0))
    assert not found.consistent
    assert "take wider limits" in found.verdict


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
    with pytest.raises(InputError, match="leave nothing of the data"):
        check_calibration(scan(), [cif], exclude=[(1.0, 25.0)])
    with pytest.raises(InputError, match="no lineout holds data"):
        check_rings([], [], 0.2)


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
