"""How results are shown: small tables for notebooks (escaped text, no script, no style sheet), some things of many."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any


def html_table(caption: str, rows: Mapping[str, str], remarks: Iterable[str] = ()) -> str:
    """Return a table of names and values, and a list of remarks below it; all text is escaped.

    Examples
    --------
    >>> html_table("Frames", {"pixels": "2 x 2 < 5"})
    '<div><table><caption>Frames</caption><tr><th style="text-align:left">pixels</th>\
<td style="text-align:left">2 x 2 &lt; 5</td></tr></table></div>'
    """
    lines = "".join(
        f'<tr><th style="text-align:left">{escape(name)}</th><td style="text-align:left">{escape(value)}</td></tr>'
        for name, value in rows.items()
    )
    listed = "".join(f"<li>{escape(remark)}</li>" for remark in remarks)
    return (
        f"<div><table><caption>{escape(caption)}</caption>{lines}</table>{f'<ul>{listed}</ul>' if listed else ''}</div>"
    )


def html_rows(caption: str, head: Iterable[str], rows: Iterable[Iterable[str]], more: str = "") -> str:
    """Return a table with a head, a row for each of `rows`, and a line of `more` below it; all text is escaped.

    Examples
    --------
    >>> html_rows("Rings", ["d [Å]"], [["3.12"]]).count("<tr>")
    2
    """
    style = ' style="text-align:left;padding:0 .6em"'
    names = "".join(f"<th{style}>{escape(name)}</th>" for name in head)
    lines = "".join(f"<tr>{''.join(f'<td{style}>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    below = f"<p>{escape(more)}</p>" if more else ""
    return f"<div><table><caption>{escape(caption)}</caption><tr>{names}</tr>{lines}</table>{below}</div>"


def range_of(first: float, last: float, unit: str, digits: int = 3) -> str:
    """Return a range as text.

    Examples
    --------
    >>> range_of(1.95, 13.73, "deg")
    '1.950 to 13.730 deg'
    """
    return f"{first:.{digits}f} to {last:.{digits}f} {unit}"


def evenly(things: Sequence[Any], most: int | None) -> list[Any]:
    """Return at most so many of the things, the first and the last among them, at even distances; None: all.

    Examples
    --------
    >>> evenly("abcde", 3), evenly("ab", 3), evenly("abc", 1)
    (['a', 'c', 'e'], ['a', 'b'], ['a'])
    """
    if most is None or len(things) <= most:
        return list(things)
    return [things[round(k * (len(things) - 1) / max(most - 1, 1))] for k in range(most)]
