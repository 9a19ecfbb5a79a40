"""midas.units against values worked out by hand."""

from __future__ import annotations

import math

import pytest

from midas import units


def test_energy_and_wavelength():
    # h c in SI (exact) over the elementary charge and 1e-10 m * 1e3
    hc = 6.62607015e-34 * 299792458 / 1.602176634e-19 * 1e10 / 1e3
    assert pytest.approx(hc, rel=1e-9) == units.HC_KEV_ANGSTROM
    assert units.wavelength_from_energy(80.725) == pytest.approx(0.15358835, abs=1e-8)
    assert units.energy_from_wavelength(units.wavelength_from_energy(71.676)) == pytest.approx(71.676, rel=1e-15)


def test_q_and_bragg():
    assert units.q_from_two_theta(180.0, 2.0) == pytest.approx(2 * math.pi)
    d = 5.41165 / math.sqrt(3)  # CeO2 111
    two_theta = units.two_theta_from_d(d, 0.1839)
    assert units.q_from_two_theta(two_theta, 0.1839) == pytest.approx(2 * math.pi / d, rel=1e-14)
    assert math.isnan(units.two_theta_from_d(1.0, 2.1))
