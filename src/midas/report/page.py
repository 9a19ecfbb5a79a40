"""A report as one HTML file that needs nothing else: text, tables, figures, and the program that draws them."""

from __future__ import annotations

import html
import importlib.util
import json
import logging
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from midas.errors import InputError
from midas.io.atomic import atomic_path
from midas.report.encode import deflated
from midas.report.provenance import Provenance, provenance_html

SUFFIXES = (".html", ".htm")
LARGEST = 10_000_000
"""Bytes that a report should not exceed, so that it can be sent by mail."""
_SCRIPTS = ("arrays.js", "scales.js", "figures.js", "cakes.js", "fits.js", "table.js", "start.js")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Part:
    """A section of a report."""

    title: str
    body: str
    """HTML that can be read without any script; figures have their places in it."""
    figures: Mapping[str, Any] = field(default_factory=dict)
    """Id of the place to figure, as `midas.report.figures` makes them."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """What interactive parts need: "cakes" or "fits", each a dict by id."""
    status: str = ""
    """What came of it in a word or two, for the head of the page."""
    kind: str = "neutral"
    """Colour of the status: "good", "doubtful", "failed" or "neutral"."""


def check_report(path: Path | str, *, will_exist: Path | None = None) -> Path:
    """Return where a report goes, or say at once why it cannot be written: before hours are spent on what it tells.

    `will_exist` is a folder that is made on the way.

    Raises
    ------
    InputError
        The name does not end in .html, its folder is missing or cannot be written to, or plotly is not installed.

    Examples
    --------
    >>> check_report("report.pdf")
    Traceback (most recent call last):
        ...
    midas.errors.InputError: --report report.pdf: a report is HTML; name a file that ends in .html
    """
    file = Path(path)
    if file.suffix.lower() not in SUFFIXES:
        raise InputError(f"--report {path}: a report is HTML; name a file that ends in .html")
    if file.is_dir():
        raise InputError(f"--report {path}: a folder of that name is in the way; name another file")
    if not file.parent.is_dir() and (will_exist is None or file.parent.resolve() != will_exist.resolve()):
        raise InputError(f"the report {path}: its folder does not exist; create it or name another")
    if file.parent.is_dir() and not os.access(file.parent, os.W_OK):
        raise InputError(f"the report {path}: its folder cannot be written to; name another")
    _plotly()
    return file


def _plotly() -> Path:
    """Return the file of plotly.js that the Python package plotly brings."""
    found = importlib.util.find_spec("plotly")
    places = [] if found is None else [Path(p) for p in found.submodule_search_locations or ()]
    for place in places:
        script = place / "package_data" / "plotly.min.js"
        if script.is_file():
            return script
    raise InputError('a report needs the package plotly, which is not installed; pip install "midas-xrd[report]"')


def write_page(path: Path | str, title: str, parts: Sequence[Part], about: Provenance | None = None) -> Path:
    """Write a report and return its path; whole or not at all.

    Raises
    ------
    InputError
        As `check_report`.
    OutputError
        The file cannot be written.
    """
    file = check_report(path)
    page = page_text(title, parts, Provenance() if about is None else about)
    with atomic_path(file) as temporary:
        temporary.write_text(page, encoding="utf-8", errors="backslashreplace")
    size = file.stat().st_size
    if size > LARGEST:
        _log.warning("%s has %.1f MB, more than the %d MB meant for a report", file, size / 1e6, LARGEST // 1_000_000)
    return file


def page_text(title: str, parts: Sequence[Part], about: Provenance) -> str:
    """Return the page as text."""
    assets = Path(__file__).with_name("assets")
    style = (assets / "report.css").read_text(encoding="utf-8")
    script = "\n".join((assets / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    again = Part("How to do it again", provenance_html(about))
    sections = [*parts, again]
    data: dict[str, dict[str, Any]] = {"figures": {}, "cakes": {}, "fits": {}}
    for part in sections:
        data["figures"].update(part.figures)
        for kind, named in part.data.items():
            data[kind].update(named)
    links = "".join(_link(part, i) for i, part in enumerate(sections))
    body = "".join(
        f'<section id="part-{i}"><h2>{html.escape(p.title)}</h2>{p.body}</section>' for i, p in enumerate(sections)
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="icon" href="data:,">'  # else browsers ask for one
        f"<title>{html.escape(title)}</title>\n<style>\n{style}</style></head>\n<body>"
        f"<header><h1>{html.escape(title)}</h1><nav>{links}</nav></header>\n"
        '<p id="trouble" hidden></p><noscript><p>The plots need JavaScript; texts and tables do not.</p></noscript>'
        f"<main>{body}</main>\n"
        f'<script type="application/json" id="data">{_json(data)}</script>\n'
        f'<script type="text/plain" id="plotly">{deflated(_plotly().read_bytes())}</script>\n'
        f"<script>\n{script}</script></body></html>\n"
    )


def _link(part: Part, number: int) -> str:
    """Return the way to a section, with what came of it: a page of many sections must not hide a failed one."""
    status = f'<strong class="{part.kind}">{html.escape(part.status)}</strong>' if part.status else ""
    return f'<a href="#part-{number}">{html.escape(part.title)}</a>{status} '


def _json(data: Any) -> str:
    """Return data as JSON that can stand inside of a script element; null where a number is not finite."""
    text = json.dumps(finite(data), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def finite(value: Any) -> Any:
    """Return plain data with None for every number that is not finite, which JSON has no word for.

    Examples
    --------
    >>> finite({"a": [1.0, float("nan")]})
    {'a': [1.0, None]}
    """
    if isinstance(value, Mapping):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
