"""The table of keys for people: one key explained, and the page in docs that is made of it.

To write the page again: MIDAS_WRITE_HELP=1 python -m pytest tests/io/test_parameter_help.py
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from midas.errors import InputError
from midas.io.parameter_help import explain, find_by_any_name, list_keys, parameters_page
from midas.io.parameter_table import PARAMETER_KEYS
from midas.io.parameters import Parameters

PAGE = Path(__file__).resolve().parents[2] / "docs" / "parameters.md"
SOURCE = Path(__file__).resolve().parents[2] / "src" / "midas"


def test_the_page_is_as_the_table():
    if os.environ.get("MIDAS_WRITE_HELP"):
        PAGE.write_text(parameters_page(), encoding="utf-8")
        return
    again = "write it with MIDAS_WRITE_HELP=1 python -m pytest tests/io/test_parameter_help.py"
    assert PAGE.read_text(encoding="utf-8") == parameters_page(), again


def test_every_key_has_its_row_and_every_row_its_cells():
    page = parameters_page()
    rows = re.findall(r"^\| `(\w+)`.*$", page, re.MULTILINE)
    assert rows == list(PARAMETER_KEYS)
    assert {line.count("|") for line in page.splitlines() if line.startswith("|")} == {6}
    for row in PARAMETER_KEYS.values():
        assert row.used, row.name
        assert row.section, row.name
        assert explain(row.name).startswith(f"{row.name}: {row.meaning}")
        for alias in row.aliases:
            assert explain(alias) == explain(row.name)
            assert f"`{alias}`" in page
    assert len(list_keys().splitlines()) == len(PARAMETER_KEYS) + len({r.section for r in PARAMETER_KEYS.values()})


def test_keys_said_to_be_used_are_named_in_the_program():
    """A key of which the table says that something uses it is named outside of the table, and the other way round."""
    tables = [f"parameter_{name}.py" for name in ("table", "help", "new", "report", "checks")]
    code = "".join(p.read_text(encoding="utf-8") for p in sorted(SOURCE.rglob("*.py")) if p.name not in tables)
    for row in PARAMETER_KEYS.values():
        if not row.used.startswith("nothing") and not re.fullmatch(r"p\d+", row.name):
            assert re.search(rf"[\"'`(, ]{row.name}[\"'`), ]", code), row.name


def test_own_names_are_those_that_mappings_take():
    values = {"distance": 1e6, "beam_center": (1, 2), "tilts": (0, 1, 2), "shape": (10, 20), "radius_min": 3}
    parameters = Parameters.from_dict(values)
    for name in values:
        assert all(row.name in parameters for row in find_by_any_name(name)), name
    for row in PARAMETER_KEYS.values():
        if row.own and row.own not in ("tilts", "shape", "distortion"):
            value = {str: "CeO2", int: 1, float: 1.0}[row.kind]
            made = Parameters.from_dict({row.own: (value,) * row.count if row.count > 1 else value})
            assert row.name in made, row.own


@pytest.mark.parametrize(("name", "near"), [("wavelenght", "Wavelength"), ("Lds", "Lsd"), ("EtaBin", "EtaBinSize")])
def test_an_unknown_key_names_the_nearest(name, near):
    with pytest.raises(InputError, match=f"unknown parameter key '{name}'; did you mean .*{near}"):
        explain(name)
    with pytest.raises(InputError, match="lists all keys"):
        explain("qqqqq")


def test_a_key_is_found_in_any_case():
    assert explain("LSD") == explain("Lsd")
    assert "how far Lsd may move" in explain("tolLsd")
