from __future__ import annotations

import numpy as np
import pytest

from midas.crystal import CALIBRANT_NAMES, calibrant, calibrant_from_cell, reciprocal_vectors, rings
from midas.errors import InputError


def test_fluorite_by_hand() -> None:
    found = rings(calibrant("CeO2"), 0.1839, d_min=1.0)
    by_hand = [  # hkl, multiplicity; 333 and 511 share a ring
        ([1, 1, 1], 8),
        ([2, 0, 0], 6),
        ([2, 2, 0], 12),
        ([3, 1, 1], 24),
        ([2, 2, 2], 8),
        ([4, 0, 0], 6),
        ([3, 3, 1], 24),
        ([4, 2, 0], 24),
        ([4, 2, 2], 24),
        ([5, 1, 1], 32),
    ]
    assert found.hkl.tolist() == [h for h, _ in by_hand]
    assert found.multiplicity.tolist() == [m for _, m in by_hand]
    np.testing.assert_allclose(found.d_spacing, 5.41165 / np.sqrt((found.hkl**2).sum(axis=1)), rtol=1e-13)
    np.testing.assert_allclose(found.two_theta[0], 2 * np.degrees(np.arcsin(0.1839 / 2 / 3.124418)), rtol=1e-6)
    np.testing.assert_allclose(found.q, 2 * np.pi / found.d_spacing, rtol=1e-13)


def test_positions_of_corundum_are_those_of_the_literature() -> None:
    # Cu Ka1, SRM 676a: 25.574, 35.149, 37.773 deg (NIST certificate's cell, Bragg's law)
    found = rings(calibrant("Al2O3"), 1.5405929, two_theta_max=40.0)
    assert found.hkl.tolist() == [[0, 1, 2], [1, 0, 4], [1, 1, 0]]
    np.testing.assert_allclose(found.two_theta, [25.576, 35.150, 37.776], atol=3e-3)


def test_intensities_agree_with_gemmi_and_with_the_literature() -> None:
    gemmi = pytest.importorskip("gemmi")
    material = calibrant("Al2O3")
    structure = gemmi.SmallStructure()
    structure.cell = gemmi.UnitCell(*material.cell)
    structure.spacegroup_hm = material.space_group
    for atom in material.sites:
        site = gemmi.SmallStructure.Site()
        site.element = gemmi.Element(atom.element)
        site.fract = gemmi.Fractional(atom.x, atom.y, atom.z)
        site.u_iso = atom.u_iso
        site.occ = {"Al": 12 / 36, "O": 18 / 36}[atom.element]  # gemmi wants crystallographic occupancies
        structure.add_site(site)
    structure.determine_and_set_spacegroup("H1")
    structure.setup_cell_images()
    calculator = gemmi.StructureFactorCalculatorX(structure.cell)
    found = rings(material, 0.4, two_theta_max=25.0)
    expected = np.array(
        [
            sum(
                abs(calculator.calculate_sf_from_small_structure(structure, h.tolist())) ** 2
                for h in found.all_hkl[found.all_number == n]
            )
            for n in found.number
        ]
    )
    np.testing.assert_allclose(found.intensity, expected / expected.max(), rtol=1e-5, atol=1e-9)


def test_a_ring_that_only_the_structure_extinguishes_is_kept_with_no_intensity() -> None:
    found = rings(calibrant("Si"), 0.4, d_min=1.5)
    k = [h.tolist() for h in found.hkl].index([2, 2, 2])
    assert found.intensity[k] == 0.0
    assert found.intensity.max() == 1.0


def test_every_built_in_lists_whole_friedel_pairs_once() -> None:
    for name in CALIBRANT_NAMES:
        found = rings(calibrant(name), 0.5, d_min=0.9)
        assert np.all(np.diff(found.d_spacing) < 0)
        assert found.number.tolist() == list(range(1, len(found) + 1))
        assert found.multiplicity.sum() == len(found.all_hkl)
        listed = {tuple(h) for h in found.all_hkl.tolist()}
        assert len(listed) == len(found.all_hkl)
        assert {tuple(-v for v in h) for h in listed} == listed
        lengths = np.linalg.norm(reciprocal_vectors(found.calibrant, found.all_hkl), axis=1)
        np.testing.assert_allclose(1 / lengths, found.d_spacing[found.all_number - 1], rtol=2e-7)


def test_rhombohedral_and_hexagonal_axes_give_the_same_rings() -> None:
    a, c = 4.759091, 12.991779
    edge = np.sqrt(a**2 / 3 + c**2 / 9)
    angle = np.degrees(2 * np.arcsin(3 / (2 * np.sqrt(3 + (c / a) ** 2))))
    hexagonal = rings(calibrant_from_cell(167, [a, c]), 0.5, d_min=0.8)
    rhombohedral = rings(calibrant_from_cell(167, [edge] * 3 + [angle] * 3), 0.5, d_min=0.8)
    np.testing.assert_allclose(hexagonal.d_spacing, rhombohedral.d_spacing, rtol=1e-9)
    assert hexagonal.multiplicity.tolist() == rhombohedral.multiplicity.tolist()


def test_layers_have_001_rings_without_intensity() -> None:
    found = rings(calibrant("AgBehenate"), 1.0, d_min=10.0)
    np.testing.assert_allclose(found.d_spacing, 58.380 / np.arange(1, 6))
    assert found.hkl.tolist() == [[0, 0, n] for n in range(1, 6)]
    assert np.isnan(found.intensity).all()


def test_without_atoms_there_is_no_intensity() -> None:
    assert np.isnan(rings(calibrant_from_cell(225, [5.4]), 0.5, d_min=1.0).intensity).all()


def test_limits_above_the_first_ring_give_none() -> None:
    for name in ("CeO2", "AgBehenate"):
        found = rings(calibrant(name), 0.5, d_min=100.0)
        assert len(found) == 0
        assert found.hkl.shape == (0, 3)


def test_arrays_are_read_only() -> None:
    found = rings(calibrant("Ni"), 0.5, d_min=1.0)
    with pytest.raises(ValueError, match="read-only"):
        found.two_theta[0] = 0.0


@pytest.mark.parametrize(
    ("wavelength", "limits", "message"),
    [
        (0.5, {}, "no end"),
        (80.7, {"d_min": 1.0}, "looks like an energy"),
        (float("nan"), {"d_min": 1.0}, "out of range"),
        (0.5, {"d_min": -1.0}, "d_min is -1"),
        (0.5, {"d_min": float("nan")}, "d_min is nan"),
        (0.5, {"two_theta_max": 200.0}, "two_theta_max is 200"),
        (0.01, {"two_theta_max": 180.0}, "reflections down to"),
    ],
)
def test_bad_limits_are_refused(wavelength: float, limits: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        rings(calibrant("Y2O3"), wavelength, **limits)


def test_a_name_is_no_calibrant() -> None:
    with pytest.raises(InputError, match="calibrant"):
        rings("CeO2", 0.2, two_theta_max=10.0)  # type: ignore[arg-type]
