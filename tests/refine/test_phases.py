"""CIF files that no engine could use: refused before anything starts."""

from __future__ import annotations

import shutil

import pytest

from midas.errors import InputError
from midas.refine.phases import check_phases


@pytest.fixture
def cif(synthetic, tmp_path):
    return synthetic.write_cif(tmp_path / "a.cif", synthetic.CEO2_CIF, 5.41)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "_cell_length_b 5.41",
            "_cell_length_b 0",
            "has the cell 5.41 0 5.41 90 90 90; expected three lengths above 0",
        ),
        ("_cell_length_b 5.41", "_cell_length_b -5", "the cell 5.41 -5 5.41"),
        ("_cell_angle_beta 90", "_cell_angle_beta 180", "90 180 90; expected"),
        ("5.41", "0.541", "looks like nm"),
        (
            "_cell_length_b 5.41",
            "_cell_length_b 5.6",
            "the cell 5.41 5.6 5.41 90 90 90 does not fit space group F m -3 m",
        ),
        ("0.25 0.25 0.25", "0.25 ? 0.25", "coordinates of atom O are not all numbers"),
    ],
)
def test_structures_that_cannot_be(old, new, words, cif):
    text = cif.read_text()
    assert old in text
    cif.write_text(text.replace(old, new))
    with pytest.raises(InputError, match=words):
        check_phases([cif])


def test_a_negative_displacement_is_told_of(cif, caplog):
    text = cif.read_text()
    assert " 0.005" in text
    cif.write_text(text.replace(" 0.005", " -0.005"))
    assert [p.name for p in check_phases([cif])] == ["a"]
    assert "Uiso of atom O is -0.005" in caplog.text


def test_a_folder_and_an_empty_file_are_no_cif(cif):
    with pytest.raises(InputError, match="is a folder; name the CIF files in it"):
        check_phases([cif.parent])
    cif.write_text(" \n")
    with pytest.raises(InputError, match="is empty"):
        check_phases([cif])


def test_the_same_phase_twice_cannot_be_told_apart(cif):
    with pytest.raises(InputError, match="is given twice; name each phase once"):
        check_phases([cif, cif])
    copy = shutil.copy(cif, cif.with_name("b.cif"))
    with pytest.raises(InputError, match=r"b\.cif holds the same as .*a\.cif"):
        check_phases([cif, copy])
