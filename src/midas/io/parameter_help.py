"""The table of parameter keys for people: one key explained, and the page `docs/parameters.md`."""

from __future__ import annotations

from typing import Any

from midas.errors import InputError
from midas.io.parameter_table import PARAMETER_KEYS, ParameterKey, find_key, nearest_keys

_KINDS = {float: "number", int: "whole number", str: "text"}
_UNITS = {"um": "µm", "A": "Å", "A, deg": "Å, deg"}

_HEAD = """# Parameter files

<!-- Made from midas.io.parameter_table. To write it again:
MIDAS_WRITE_HELP=1 python -m pytest tests/io/test_parameter_help.py -->

A text file, one key on a line: `Key value...`, separated by spaces; `#` begins a comment anywhere, a `;` at the end of
a line is passed over. Of a key that stands there twice the last one wins, unless it says *each line counts*. Unknown
keys are kept and warned about. Numbers are in the unit given, always.

- `midas params check FILE` says what is wrong or doubtful with a file, all at once.
- `midas params new FILE` writes a commented file from flags or answers.
- `midas params --explain KEY` says what is written here.
- In Python: `midas.read_params(path)`, `.updated({"Lsd": 1e6})`, `.write(path)` (comments, order and unknown keys
  stay); `midas.io.parameter_report.check_params(path)`. The name after *Python* is what mappings of parameters take in
  its place.
- Keys `tol...` are read and kept: they belong to the programs of MIDAS.
"""


def find_by_any_name(name: str) -> tuple[ParameterKey, ...]:
    """Return the keys of a spelling of the file, in any case, or of midas's own name for them; none where unknown.

    Examples
    --------
    >>> [row.name for row in find_by_any_name("tilts")], find_by_any_name("pixelsize")[0].name
    (['tx', 'ty', 'tz'], 'px')
    """
    row = find_key(name)
    if row is not None:
        return (row,)
    rows = tuple(row for row in PARAMETER_KEYS.values() if name == row.own)
    if rows:
        return rows
    lower = name.lower()
    return tuple(r for r in PARAMETER_KEYS.values() if lower in [s.lower() for s in (r.name, *r.aliases)])


def explain(name: str) -> str:
    """Return what a key means, its values, unit, default, other names and where it is used, a line each.

    Raises
    ------
    InputError
        There is no such key; the message names the nearest ones.

    Examples
    --------
    >>> print(explain("PixelSize"))
    px: edge of the square pixels
      value    number [µm]
      default  none
      also     PixelSize, pxY, pxZ; in Python pixel_size
      used by  calibrate, integrate
    """
    rows = find_by_any_name(name)
    if not rows:
        near = nearest_keys(name)
        hint = f"; did you mean {' or '.join(near)}?" if near else "; midas params --explain alone lists all keys"
        raise InputError(f"unknown parameter key {name!r}{hint}")
    return "\n".join(_explained(row) for row in rows)


def key_as_data(row: ParameterKey) -> dict[str, Any]:
    """Return a key as JSON holds it.

    Examples
    --------
    >>> key_as_data(find_key("EtaBinSize"))["default"]
    5.0
    """
    return {
        "key": row.name,
        "meaning": row.meaning,
        "type": _KINDS[row.kind],
        "count": row.count,
        "unit": row.unit or None,
        "default": row.default,
        "other_names": list(row.aliases),
        "python": row.own or None,
        "repeatable": row.repeatable,
        "used_by": row.used,
        "section": row.section,
    }


def list_keys() -> str:
    """Return every key and its meaning, a line each, by section.

    Examples
    --------
    >>> list_keys().splitlines()[:2]
    ['Geometry', '  Lsd              distance from sample to detector along the beam [µm]']
    """
    lines: list[str] = []
    section = ""
    for row in PARAMETER_KEYS.values():
        if row.section != section:
            section = row.section
            lines.append(section)
        lines.append(f"  {row.name:<16} {row.meaning}{_in_brackets(row)}")
    return "\n".join(lines)


def parameters_page() -> str:
    """Return the page `docs/parameters.md`.

    Examples
    --------
    >>> parameters_page().splitlines()[0]
    '# Parameter files'
    """
    parts = [_HEAD]
    section = ""
    for row in PARAMETER_KEYS.values():
        if row.section != section:
            section = row.section
            parts.append(f"\n## {section}\n\n| key | value | default | meaning | used by |\n|---|---|---|---|---|\n")
        names = [f"`{row.name}`", *(f"`{alias}`" for alias in row.aliases)]
        own = f"<br>Python `{row.own}`" if row.own else ""
        cells = (", ".join(names) + own, _value(row), _default(row), row.meaning, row.used)
        parts.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |\n")
    return "".join(parts)


def _explained(row: ParameterKey) -> str:
    names = ", ".join(row.aliases)
    own = f"in Python {row.own}" if row.own else ""
    lines = [
        f"{row.name}: {row.meaning}",
        f"  value    {_value(row)}",
        f"  default  {_default(row)}",
        f"  also     {'; '.join(part for part in (names, own) if part) or 'no other names'}",
        f"  used by  {row.used}",
    ]
    return "\n".join(lines)


def _value(row: ParameterKey) -> str:
    kind = _KINDS[row.kind]
    many = f"{row.count} {kind}s" if row.count > 1 else kind
    return f"{many}{_in_brackets(row)}" + ("; each line counts" if row.repeatable else "")


def _in_brackets(row: ParameterKey) -> str:
    return f" [{_UNITS.get(row.unit, row.unit)}]" if row.unit else ""


def _default(row: ParameterKey) -> str:
    if row.default is None:
        return "none"
    return f"{row.default:g}" if isinstance(row.default, float) else str(row.default)
