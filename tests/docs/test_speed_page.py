"""The numbers of docs/testing-and-speed.md are those of the results that are committed.

To write them again: MIDAS_WRITE_HELP=1 python -m pytest tests/docs/test_speed_page.py
"""

from __future__ import annotations

import os
import re

import pytest
from doc_pages import DOCS
from doc_tables import RESULTS, TABLES, read

PAGE = DOCS / "testing-and-speed.md"
MARK = re.compile(r"<!-- table: (\w+) -->\n(.*?)<!-- end -->", re.DOTALL)

pytestmark = pytest.mark.skipif(not RESULTS.is_dir(), reason="benchmarks/results is not here; run from a clone")


def test_every_table_has_its_place():
    assert sorted(name for name, _ in MARK.findall(PAGE.read_text(encoding="utf-8"))) == sorted(TABLES)


@pytest.mark.parametrize("name", TABLES)
def test_the_page_has_the_numbers_of_the_results(name):
    page = PAGE.read_text(encoding="utf-8")
    made = "\n".join(["", *TABLES[name](), "", ""])
    if os.environ.get("MIDAS_WRITE_HELP"):
        PAGE.write_text(MARK.sub(lambda m: m[0].replace(m[2], made) if m[1] == name else m[0], page), encoding="utf-8")
        return
    written = dict(MARK.findall(page))[name]
    assert written == made, "write it with MIDAS_WRITE_HELP=1 python -m pytest tests/docs/test_speed_page.py"


def test_every_program_that_the_page_names_is_there():
    page = PAGE.read_text(encoding="utf-8")
    named = re.findall(r"python (benchmarks/\w+\.py)", page)
    assert len(named) >= 6
    assert [name for name in named if not (DOCS.parent / name).is_file()] == []


CAKING = (DOCS / "caking-speed.md").read_text(encoding="utf-8")
PROGRAMS = ("midas", "pyFAI full csr, engine", "pyFAI full csc, engine", "azint 4 x 4")


def rows_under(heading: str) -> list[tuple[str, bool, list[str]]]:
    """The rows of a table of docs/caking-speed.md: case, whether of a stack, cells."""
    part = CAKING.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    found, case = [], ""
    for label, *cells in (line.strip("| ").split(" | ") for line in part.splitlines() if ": a " in line):
        named, _, what = label.partition(": a ")
        case = case if named == "the same" else named.replace("4M", "Eiger 4M 2162 x 2068")
        full = case.replace("2880 x 2880", "panel 2880 x 2880").replace(", one eta", ", 1 px x one eta")
        found.append((full, what == "stack", cells))
    return found


def as_written(value: float, cell: str) -> bool:
    digits = len(cell.partition(".")[2])
    return abs(value - float(cell)) <= 0.5001 * 10.0**-digits


@pytest.mark.parametrize(("case", "stack", "cells"), rows_under("Beside others"))
def test_the_page_on_caking_has_the_peers_numbers(case, stack, cells):
    rows = {row["name"]: row for row in read("caking_speed")["rows"]}
    for program, cell in zip(PROGRAMS, cells, strict=True):
        assert as_written(rows[f"{case}: {program}"]["stack" if stack else "value"], cell)


@pytest.mark.parametrize(("case", "stack", "cells"), rows_under("One thread and two"))
def test_the_page_on_caking_has_the_numbers_of_threads(case, stack, cells):
    rows = {row["name"]: row for row in read("caking_threads")["rows"]}
    row = rows[f"{case}: {'stack' if stack else 'frame'}, 1 over 2 threads"]
    assert all(as_written(row[key], cell) for key, cell in zip(("one_ms", "several_ms", "value"), cells, strict=True))


def test_its_tables_were_found():
    assert (len(rows_under("Beside others")), len(rows_under("One thread and two"))) == (6, 4)
