"""Rings of several calibrants in one exposure: one list that knows whose each ring is."""

from __future__ import annotations

import numpy as np
import pytest

from midas.crystal import calibrant, merged, reciprocal_vectors, rings
from midas.errors import InputError
from midas.io.hkls import write_hkls

CEO2, LAB6 = calibrant("CeO2"), calibrant("LaB6")


@pytest.fixture(scope="module")
def both():
    return rings((CEO2, LAB6), 0.2, d_min=1.0)


def test_the_first_rings_are_those_of_the_certificates(both):
    # d = a / sqrt(h² + k² + l²): LaB6 100 and 110, CeO2 111 and 200 with a = 4.156826 and 5.41165 Å
    expected = [4.156826, 5.41165 / np.sqrt(3), 4.156826 / np.sqrt(2), 5.41165 / 2]
    np.testing.assert_allclose(both.d_spacing[:4], expected, rtol=1e-9)
    assert [both.calibrant_of(k).name for k in range(4)] == ["LaB6", "CeO2", "LaB6", "CeO2"]
    assert both.name == "CeO2 + LaB6"


def test_nothing_is_lost_and_every_ring_is_as_in_its_own_list(both):
    assert (np.diff(both.d_spacing) <= 0).all()
    assert both.number.tolist() == list(range(1, len(both) + 1))
    for k, material in enumerate((CEO2, LAB6)):
        own, chosen = rings(material, 0.2, d_min=1.0), both.phase == k
        for name in ("d_spacing", "two_theta", "q", "hkl", "multiplicity", "intensity"):
            np.testing.assert_array_equal(getattr(both, name)[chosen], getattr(own, name))
        of_material = chosen[both.all_number - 1]
        np.testing.assert_array_equal(both.all_hkl[of_material], own.all_hkl)
        np.testing.assert_array_equal(both.reciprocal_vectors()[of_material], reciprocal_vectors(material, own.all_hkl))


def test_the_first_few_and_another_wavelength_keep_whose_they_are(both):
    few = both.first(3)
    assert len(few) == 3
    assert few.all_number.max() == 3
    assert [few.calibrant_of(k).name for k in range(3)] == ["LaB6", "CeO2", "LaB6"]
    longer = both.at_wavelength(0.4)
    np.testing.assert_allclose(np.sin(np.radians(longer.two_theta / 2)), 2 * np.sin(np.radians(both.two_theta / 2)))
    assert longer.phase is both.phase
    with pytest.raises(InputError, match="does not diffract"):
        both.at_wavelength(3.0)


def test_a_ring_list_of_both_can_be_written(both, tmp_path):
    lines = write_hkls(tmp_path / "hkls.csv", both, 1e6).read_text().splitlines()[1:]
    values = np.array([[float(v) for v in line.split()] for line in lines])
    np.testing.assert_allclose(np.linalg.norm(values[:, 5:8], axis=1), 1.0 / values[:, 3], rtol=1e-6)  # |g| = 1/d


def test_one_calibrant_in_a_list_is_that_calibrant():
    assert rings([CEO2], 0.2, d_min=2.0).phase is None


def test_bad_mixtures_are_refused(both):
    with pytest.raises(InputError, match="CeO2 is given twice"):
        rings((CEO2, LAB6, CEO2), 0.2, d_min=2.0)
    with pytest.raises(InputError, match="wavelengths"):
        merged([rings(CEO2, 0.2, d_min=2.0), rings(LAB6, 0.3, d_min=2.0)])
    with pytest.raises(InputError, match="no calibrant"):
        merged([])
