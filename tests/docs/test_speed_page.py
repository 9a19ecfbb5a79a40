"""The numbers of docs/testing-and-speed.md are those of the results that are committed.

To write them again: MIDAS_WRITE_HELP=1 python -m pytest tests/docs/test_speed_page.py
"""

from __future__ import annotations

import os
import re

import pytest
from doc_pages import DOCS
from doc_tables import RESULTS, TABLES

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
