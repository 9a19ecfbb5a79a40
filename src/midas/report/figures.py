"""Figures as plain data, in the form that plotly.js draws, with one look for all."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from midas.report.encode import packed

Figure = dict[str, Any]

FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', Arial, sans-serif"
"""Fonts that are there already: nothing is fetched."""
GAP = "#cddef0"
"""What no pixel shows: pale blue, no shade of the grey scale or of viridis."""


def axis(title: str, **more: Any) -> dict[str, Any]:
    """Return an axis that looks as all others do."""
    look = {"zeroline": False, "ticks": "outside", "automargin": True, "showline": True, "mirror": True}
    return {"title": {"text": title}, "gridcolor": "#e3e6ea", "linecolor": "#8a8f98", **look, **more}


def layout(x: Mapping[str, Any], y: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Return the layout of a figure of one pair of axes."""
    look = {
        "font": {"family": FONT, "size": 13, "color": "#1c2128"},
        "margin": {"l": 56, "r": 14, "t": 34, "b": 46},
        "paper_bgcolor": "#ffffff",
        "plot_bgcolor": "#ffffff",
        "legend": {"orientation": "h", "x": 0, "y": 1.01, "xanchor": "left", "yanchor": "bottom"},
        "hovermode": "closest",
        "uirevision": "kept",
    }
    return {**look, "xaxis": dict(x), "yaxis": dict(y), **more}


def line(x: Any, y: Any, name: str, color: str, *, width: float = 1.5, **more: Any) -> dict[str, Any]:
    """Return a line of numbers; NaN breaks it."""
    trace = {"type": "scatter", "mode": "lines", "x": packed(x, "f4"), "y": packed(y, "f4"), "name": name}
    return {**trace, "line": {"color": color, "width": width}, **more}


def points(x: Any, y: Any, name: str, color: Any, *, size: float = 5.0, symbol: str = "circle", **more: Any) -> Figure:
    """Return points; `color` may be numbers, packed, with `marker` of `more` to say on which scale."""
    marker = {"color": color, "size": size, "symbol": symbol, **more.pop("marker", {})}
    trace = {"type": "scatter", "mode": "markers", "x": packed(x, "f4"), "y": packed(y, "f4"), "name": name}
    return {**trace, "marker": marker, **more}


def colorbar(title: str, **more: Any) -> dict[str, Any]:
    """Return a colour bar with its unit above it."""
    return {"title": {"text": title, "side": "top"}, "thickness": 12, "len": 1.0, "outlinewidth": 0, **more}


def plot(name: str, caption: str, *, shape: str = "", label: str = "") -> str:
    """Return the place of a figure in a page, with its caption; `shape` is one of the style sheet's."""
    says = f' role="img" aria-label="{html.escape(label or caption, quote=True)}"'
    css = f"plot {shape}".strip()
    return (
        f'<figure><div class="{css}" id="{name}"{says}></div><figcaption>{html.escape(caption)}</figcaption></figure>'
    )


def buttons(target: str, choices: Sequence[tuple[str, str]], chosen: str, label: str) -> str:
    """Return a row of buttons, one of which is pressed; `choices` are (value, what is written)."""
    made = "".join(
        f'<button type="button" data-value="{value}" aria-pressed="{"true" if value == chosen else "false"}">'
        f"{html.escape(words)}</button>"
        for value, words in choices
    )
    words = html.escape(label)
    return f'<span class="choice" data-for="{target}" role="group" aria-label="{words}">{words} {made}</span>'


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, css: str = "") -> str:
    """Return a table of texts, which scrolls by itself where it is too wide."""
    top = "".join(f"<th>{html.escape(h)}</th>" for h in head)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(str(v))}</td>" for v in row) + "</tr>" for row in rows)
    above = f"<thead><tr>{top}</tr></thead>" if head else ""
    return f'<div class="scroll"><table class="{css}">{above}<tbody>{body}</tbody></table></div>'


def verdict(status: str, words: str, reasons: Sequence[str], *, kind: str) -> str:
    """Return the banner that stands first: the verdict in a word, what it is about, and why."""
    listed = "".join(f"<li>{html.escape(reason)}</li>" for reason in reasons)
    listed = f"<ul>{listed}</ul>" if listed else ""
    return (
        f'<div class="verdict {kind}"><p><strong>{html.escape(status)}</strong> {html.escape(words)}</p>{listed}</div>'
    )
