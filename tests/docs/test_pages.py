"""Every example of the documentation runs and prints what the page says.

To write what is printed into the pages again: MIDAS_WRITE_HELP=1 python -m pytest tests/docs/test_pages.py
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from doc_pages import DOCS, ENGINE, PageRun, blocks_of, same_text

from midas.errors import RefinementError
from midas.refine.locate import find_gsas2

PAGES = sorted(
    str(path.relative_to(DOCS).as_posix())
    for path in DOCS.rglob("*.md")
    if "_build" not in path.parts and blocks_of(path.read_text(encoding="utf-8"))
)


@pytest.fixture(scope="module")
def engine() -> str:
    """Why nothing can be refined; empty where GSAS-II is there."""
    try:
        find_gsas2()
    except RefinementError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", PAGES)
def test_examples_run_and_print_what_the_page_says(name, engine, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = PageRun(DOCS / name, engine=not engine, write=bool(os.environ.get("MIDAS_WRITE_HELP")))
    run.run()
    again = "MIDAS_WRITE_HELP=1 python -m pytest tests/docs/test_pages.py writes what is printed into the pages"
    assert run.write or not run.problems, "\n".join([*run.problems, again])
    if run.left_out:
        pytest.skip(f"{run.left_out} blocks were left out, all others are right: {engine}")


def test_a_page_that_prints_otherwise_is_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = Path("page.md")
    page.write_text("```python\nprint(1.25, 7)\n```\n\n```text\n1.26 7\n```\n\nand\n\n```python\nprint(2)\n```\n")
    run = PageRun(page, engine=False)
    run.run()
    assert run.problems == []
    page.write_text(page.read_text().replace("1.26 7", "1.26 8"))
    run = PageRun(page, engine=False, write=True)
    run.run()
    assert "prints\n1.25 7\n\nnot\n1.26 8" in run.problems[0]
    assert "```text\n1.25 7\n```" in page.read_text()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("```bash\nls\n```\n", "only calls of midas"),
        ("```bash\nmidas hkls --calibrant CeO2\n```\n", "SystemExit"),
        ("<!-- exit status 1 -->\n```bash\nmidas params --explain Lsd\n```\n", "ends with 0, not 1"),
        ("<!-- run twice -->\n```python\n1\n```\n", "comment 'run twice'"),
        ("```sh\nsrun midas refine x\nmidas refine --nope\n```\n", "SystemExit"),
    ],
)
def test_a_page_that_does_not_run_is_found(code, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("page.md").write_text(code)
    with pytest.raises((AssertionError, SystemExit)) as stop:
        PageRun(Path("page.md"), engine=False).run()
    assert message in f"{type(stop.value).__name__}: {stop.value}"


def test_blocks_that_refine_are_counted_without_an_engine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("page.md").write_text(f"<!-- {ENGINE} -->\n```bash\nmidas refine nothing\n```\n")
    run = PageRun(Path("page.md"), engine=False)
    run.run()
    assert run.left_out == 1


@pytest.mark.parametrize(
    ("printed", "expected", "same"),
    [
        ("a 1.234 in 3 s", "a 1.235 in ...", True),
        ("a 1.234", "a 1.27", False),
        ("12 rings", "13 rings", False),
        ("± 0.0005", "± 0.0007", True),
        ("a\nb", "a", False),
    ],
)
def test_texts_are_compared_as_the_page_means_them(printed, expected, same):
    assert same_text(printed, expected) is same
