"""What is needed to do it again: command, settings, versions, and the inputs with their hashes."""

from __future__ import annotations

import html
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from midas.io.file_hash import hash_file
from midas.report.figures import table
from midas.version import version

MOST_HASHED = 2_000_000_000
"""Bytes of all inputs together up to which a report hashes them; reading more would take minutes."""


@dataclass(frozen=True)
class Provenance:
    """Where a result comes from."""

    command: str = ""
    """The command line, or empty where there was none."""
    inputs: Sequence[Mapping[str, Any]] = ()
    """`input_entry` of each file: role, path, bytes, sha256 (None: not read for it)."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Programs beside midas, Python and numpy, such as the engine of a refinement."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Title to what was set; plain data, or the text of a parameter file."""


def input_entry(role: str, path: Path | str, *, hashed: bool = True) -> dict[str, Any]:
    """Return what is noted of an input file."""
    file = Path(path).resolve()
    files = [p for p in file.rglob("*") if p.is_file()] if file.is_dir() else [file]
    size = sum(p.stat().st_size for p in files)
    return {"role": role, "path": str(file), "bytes": size, "sha256": hash_file(file) if hashed else None}


def input_entries(named: Sequence[tuple[str, Path | str | None]]) -> list[dict[str, Any]]:
    """Return the entries of files; with hashes where reading them all takes no minutes.

    One that is gone by now is named all the same, with None as its bytes.
    """
    entries: list[dict[str, Any]] = []
    for role, path in named:
        if path and Path(path).exists():
            entries.append(input_entry(role, path, hashed=False))
        elif path:
            entries.append({"role": role, "path": str(path), "bytes": None, "sha256": None})
    if sum(e["bytes"] or 0 for e in entries) > MOST_HASHED:
        return entries
    return [e if e["bytes"] is None else {**e, "sha256": hash_file(Path(e["path"]))} for e in entries]


def provenance_html(about: Provenance) -> str:
    """Return the section."""
    import numpy

    versions = {
        "midas": version(),
        "Python": platform.python_version(),
        "numpy": numpy.__version__,
        **about.versions,
        "machine": platform.platform(),
        "written": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
    }
    parts = []
    if about.command:
        parts.append(f"<h3>Command</h3><pre>{html.escape(about.command)}</pre>")
    parts.append("<h3>Versions</h3>" + table((), list(versions.items()), css="pairs"))
    if about.inputs:
        unread = any(e["sha256"] is None and e["bytes"] is not None for e in about.inputs)
        rows = [_input_row(entry) for entry in about.inputs]
        why = "<p>Together the inputs are too large to be hashed for a report.</p>" if unread else ""
        shown = table(("input", "file", "bytes", "SHA-256"), rows, css="inputs")
        many = len(rows) > 12
        parts.append(f"<h3>Inputs</h3>{why}" + (_folded(f"{len(rows)} files", shown) if many else shown))
    for title, value in about.settings.items():
        text = value if isinstance(value, str) else json.dumps(value, indent=1, ensure_ascii=False, default=str)
        parts.append(_folded(title, f"<pre>{html.escape(text)}</pre>"))
    return "".join(parts)


def _input_row(entry: Mapping[str, Any]) -> tuple[str, str, str, str]:
    if entry["bytes"] is None:
        return entry["role"], entry["path"], "", "not there when the report was written"
    return entry["role"], entry["path"], f"{entry['bytes']:,}", entry["sha256"] or "not read for it"


def _folded(title: str, inside: str) -> str:
    return f"<details><summary>{html.escape(title)}</summary>{inside}</details>"
