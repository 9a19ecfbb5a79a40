from __future__ import annotations

from dataclasses import replace

import pytest

from midas.crystal import CALIBRANT_NAMES, Calibrant, calibrant, calibrant_from_cell, calibrant_from_cif
from midas.errors import FormatError, InputError

CIF = """data_ceria
_cell_length_a 5.41165
_cell_length_b 5.41165
_cell_length_c 5.41165
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'F m -3 m'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_U_iso_or_equiv
Ce1 Ce 0 0 0 0.0034
O1 O 0.25 0.25 0.25 0.0060
"""


@pytest.mark.parametrize(
    ("name", "a", "c", "number"),
    [
        ("CeO2", 5.41165, 5.41165, 225),
        ("LaB6", 4.156826, 4.156826, 221),
        ("Si", 5.431144, 5.431144, 227),
        ("Al2O3", 4.759091, 12.991779, 167),
    ],
)
def test_certified_cells_are_those_of_the_certificates(name: str, a: float, c: float, number: int) -> None:
    found = calibrant(name)
    assert (found.cell[0], found.cell[2], found.space_group_number) == (a, c, number)
    assert "NIST SRM" in found.citation


def test_every_built_in_is_valid_cited_and_found_whatever_the_case() -> None:
    assert len(CALIBRANT_NAMES) == 11
    for name in CALIBRANT_NAMES:
        found = calibrant(name.upper())
        assert found == calibrant(name)
        assert found.name == name
        assert found.citation
        assert found.is_lamellar or found.sites


def test_unknown_name_names_the_nearest() -> None:
    with pytest.raises(InputError, match=r"'CeO' is unknown; did you mean CeO2\?"):
        calibrant("CeO")


def test_a_cell_may_be_given_short_for_its_crystal_system() -> None:
    assert calibrant_from_cell(225, [5.4]).cell == (5.4, 5.4, 5.4, 90.0, 90.0, 90.0)
    assert calibrant_from_cell("P 42/m n m", [4.5, 2.9]).cell == (4.5, 4.5, 2.9, 90.0, 90.0, 90.0)
    assert calibrant_from_cell(167, [4.7, 12.9]).cell == (4.7, 4.7, 12.9, 90.0, 90.0, 120.0)


def test_rhombohedral_axes_are_recognised() -> None:
    assert calibrant_from_cell(167, [4.759, 4.759, 12.99, 90, 90, 120]).space_group == "R -3 c:H"
    assert calibrant_from_cell(167, [5.128, 5.128, 5.128, 55.28, 55.28, 55.28]).space_group == "R -3 c:R"


@pytest.mark.parametrize(
    ("space_group", "cell", "message"),
    [
        (231, [5.4], "space group 231 does not exist"),
        ("F q", [5.4], "space group 'F q' is unknown"),
        (225, [5.4, 5.4, 5.5, 90, 90, 90], "does not fit space group"),
        (225, [0.541165], "looks like nm"),
        (225, ["a"], "expected numbers"),
        (2, [5.4, 5.4], "not enough for the triclinic"),
        (2, [5, 6, 7, 90, 90, 200], "expected degrees"),
        (2, [5, 6, 7, 30, 60, 150], "no volume"),
    ],
)
def test_impossible_cells_are_refused(space_group: int | str, cell: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        calibrant_from_cell(space_group, cell)


def test_a_replaced_cell_is_checked_again() -> None:
    with pytest.raises(InputError, match="does not fit"):
        replace(calibrant("Si"), cell=(5.4, 5.4, 5.6, 90, 90, 90))


def test_a_cif_gives_the_same_calibrant(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "ceria.cif"
    path.write_text(CIF)
    found = calibrant_from_cif(path)
    known = calibrant("CeO2")
    assert isinstance(found, Calibrant)
    assert (found.cell, found.space_group, found.sites) == (known.cell, known.space_group, known.sites)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not a cif at all", "not a readable CIF"),
        ("data_empty\n_cell_length_z 1\n", "no data block with a unit cell"),
        (CIF.replace("'F m -3 m'", "'F q'"), "no known space group"),
        (CIF[: CIF.index("loop_")], "no atoms"),
    ],
)
def test_bad_cif_files_are_refused(tmp_path, text: str, message: str) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "bad.cif"
    path.write_text(text)
    with pytest.raises(FormatError, match=message):
        calibrant_from_cif(path)


def test_a_missing_cif_is_named(tmp_path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(FormatError, match="no such file"):
        calibrant_from_cif(tmp_path / "absent.cif")
