from __future__ import annotations

import pytest

from midas.refine.gsas2_text import plain_name, with_esd

OWN = {"SH/L": "sh_l", "Size;i": "size", "MD": "march"}


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        (":0:Back;3", "background 3"),
        (":0:SH/L", "sh_l"),
        ("1::A0", "LaB6 cell A0"),
        ("1::dAx:1", "LaB6 B x"),
        ("0::AUiso:0", "CeO2 Ce uiso"),
        ("0:0:Scale", "CeO2 scale"),
        ("1:0:Size;i", "LaB6 size"),
        ("0:0:MD", "CeO2 march"),
        ("0:0:C(4,1)", "CeO2 c(4,1)"),
    ],
)
def test_names_of_gsas2_become_those_of_the_job(variable, expected):
    assert plain_name(variable, OWN, ["CeO2", "LaB6"], [["Ce", "O"], ["La", "B"]]) == expected


def test_numbers_with_esd():
    assert (with_esd(5.41165, 0.00012), with_esd(90.0, 30.0)) == ("5.41165(12)", "90(30)")
