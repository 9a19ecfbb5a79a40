"""Lines of the MIDAS parameter text and the values that stand on them.

Format: docs/files.md; the keys are in `midas.io.parameter_table`.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from midas.errors import FormatError, InputError
from midas.geometry import DISTORTION_NAMES, Geometry
from midas.io.parameter_table import PARAMETER_KEYS, ParameterKey, find_key, nearest_key
from midas.units import wavelength_from_energy

Value = float | int | str
BYTE_ORDER_MARK = "\ufeff"
Values = Value | tuple[Value, ...] | tuple[tuple[Value, ...], ...]


@dataclass(frozen=True)
class ParameterLine:
    """One line of a parameter file."""

    text: str
    """As it stands in the file, with its line end."""
    key: str | None = None
    """First name of the key; the spelling itself for an unknown key; None for a comment or an empty line."""
    spelling: str = ""
    """The key as the line spells it."""
    values: tuple[Value, ...] = ()
    """The values; for an unknown key the words that follow it."""
    known: bool = False
    """True when the key is in the table."""
    remark: str = ""
    """What is doubtful about the line, without where it stands; empty where nothing is."""


def split_lines(text: str) -> list[str]:
    r"""Return the lines of a text with their ends; unlike `str.splitlines` only where files end lines: \n, \r\n, \r.

    Examples
    --------
    >>> split_lines("a\r\nb\x0cc\n")
    ['a\r\n', 'b\x0cc\n']
    """
    return re.findall(r"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+", text)


def parse_line(text: str, where: str) -> ParameterLine:
    """Return a line understood; `where` names it in messages.

    Raises
    ------
    FormatError
        A value is malformed.

    Examples
    --------
    >>> parse_line("PixelSize 200; # um", "ps.txt, line 1").values
    (200.0,)
    """
    content = _content(text)
    if not content:
        return ParameterLine(text)
    spelling, *words = content.split()
    row = find_key(spelling)
    if row is None:
        remark = f"unknown key {spelling} is kept but not used{did_you_mean(spelling)}"
        return ParameterLine(text, spelling, spelling, tuple(words), remark=remark)
    if row.kind is str:
        values: tuple[Value, ...] = (content[len(spelling) :].strip(),)
        if not words:
            raise FormatError(f"{where}: {spelling} has no value; expected {row.meaning}")
        return ParameterLine(text, row.name, spelling, values, known=True)
    if len(words) < row.count:
        raise FormatError(
            f"{where}: {spelling} has {len(words)} values; expected {row.count}: {row.meaning}"
            + (f" [{row.unit}]" if row.unit else "")
        )
    # One line may hold several values of a repeatable key; of another, what follows is someone's remark.
    n = len(words) if row.repeatable and row.count == 1 else row.count
    extra = f"{spelling} takes {n} values; {' '.join(words[n:])!r} is not used" if len(words) > n else ""
    numbers = tuple(_number(w, row, where) for w in words[:n])
    return ParameterLine(text, row.name, spelling, numbers, known=True, remark=extra)


def _content(text: str) -> str:
    """Return a line without comment, surrounding space and the mark that some editors put before a text."""
    return text.removeprefix(BYTE_ORDER_MARK).split("#", 1)[0].strip().rstrip(";").strip()


def with_values(line: ParameterLine, values: tuple[Value, ...]) -> ParameterLine:
    r"""Return a line of a known key with other values; spelling, spaces, comment and line end stay.

    Raises
    ------
    InputError
        The values cannot stand in a parameter file, such as a file name with a #.

    Examples
    --------
    >>> with_values(parse_line("  pxY\t200; # GE\n", ""), (100.0,)).text
    '  pxY\t100.0; # GE\n'
    """
    if [(type(v), v) for v in values] == [(type(v), v) for v in line.values]:
        return line
    body = line.text.split("#", 1)[0]
    words = list(re.finditer(r"\S+", body.removeprefix(BYTE_ORDER_MARK)))
    shift = len(body) - len(body.removeprefix(BYTE_ORDER_MARK))
    row = find_key(line.spelling)
    is_text = row is None or row.kind is str
    n = len(words) - 1 if row is None or is_text or (row.repeatable and row.count == 1) else row.count
    first, end = words[1].start() + shift, words[n].end() + shift
    end = first + len(body[first:end].rstrip(";" if is_text else ",;").rstrip())
    return _checked(line.text[:first] + _words(values) + line.text[end:], line.spelling, values)


def new_line(spelling: str, values: tuple[Value, ...], end: str = "\n") -> ParameterLine:
    r"""Return a line of a known key.

    Raises
    ------
    InputError
        The values cannot stand in a parameter file.

    Examples
    --------
    >>> new_line("BC", (10.0, 20.0)).text
    'BC 10.0 20.0\n'
    """
    return _checked(f"{spelling} {_words(values)}{end}", spelling, values)


def _checked(text: str, spelling: str, values: tuple[Value, ...]) -> ParameterLine:
    try:
        line = parse_line(text, "value given")
    except FormatError:
        line = ParameterLine(text)
    if line.values != values or len(split_lines(text)) != 1:
        shown = repr(values[0] if len(values) == 1 else values)
        raise InputError(
            f"{spelling} is {shown}, which cannot stand in a parameter file: # begins a comment, a value is on one "
            "line and has no space nor ; at its ends; choose another name"
        )
    return line


def _words(values: tuple[Value, ...]) -> str:
    return " ".join(format_value(v) for v in values)


def updated_lines(lines: Sequence[ParameterLine], row: ParameterKey, value: object) -> list[ParameterLine]:
    """Return lines in which a key has a new value: in its own place, or at the end where it has none.

    Of a key that is there several times and of which the last one wins, the last of each spelling changes. The lines
    of a repeatable key take the new values in order; those that are too many go, more follow the last one.
    """
    wanted = as_rows(row, value)
    places = [i for i, line in enumerate(lines) if line.key == row.name]
    result = list(lines)
    if not row.repeatable:
        chosen = sorted({line.spelling: i for i, line in enumerate(lines) if i in places}.values())
        for i in chosen:
            result[i] = with_values(result[i], wanted[0])
        return result if chosen else _appended(result, [new_line(row.name, wanted[0], _line_end(result))])
    if [v for i in places for v in lines[i].values] == [v for r in wanted for v in r]:
        return result
    end = _line_end(result)
    for i, r in zip(places, wanted, strict=False):
        result[i] = with_values(result[i], r)
    more = wanted[len(places) :]
    spelling = lines[places[-1]].spelling if places else row.name
    fresh = [new_line(spelling, r, end) for r in more]
    at = places[-1] + 1 if places else len(result)
    result = [*_appended(result[:at], fresh), *result[at:]]
    dropped = set(places[len(wanted) :])
    return [line for i, line in enumerate(result) if i not in dropped]


def _appended(lines: list[ParameterLine], fresh: list[ParameterLine]) -> list[ParameterLine]:
    """Return lines and fresh ones after them, on lines of their own."""
    if fresh and lines and not lines[-1].text.endswith(("\n", "\r")):
        lines = [*lines[:-1], replace(lines[-1], text=lines[-1].text + _line_end(lines))]
    return [*lines, *fresh]


def _line_end(lines: Sequence[ParameterLine]) -> str:
    """Return how the lines of a file end."""
    text = lines[0].text if lines else ""
    return next((end for end in ("\r\n", "\n", "\r") if text.endswith(end)), "\n")


def _number(word: str, row: ParameterKey, where: str) -> Value:
    try:
        value = float(word.rstrip(",;"))
    except ValueError:
        raise FormatError(f"{where}: {row.name} has the value {word!r}; expected a number: {row.meaning}") from None
    if not math.isfinite(value):
        raise FormatError(f"{where}: {row.name} is {word}; expected a finite number: {row.meaning}")
    if row.kind is int:
        if value != int(value):
            raise FormatError(f"{where}: {row.name} is {word}; expected a whole number: {row.meaning}")
        return int(value)
    return value


def did_you_mean(spelling: str) -> str:
    """Return the end of a message that names the nearest known key, empty where none is near."""
    near = nearest_key(spelling)
    return f"; did you mean {near}?" if near else ""


def format_value(value: Value) -> str:
    """Return a value as text that reads back as the same double."""
    return repr(float(value)) if isinstance(value, float | np.floating) else str(value)


def geometry_pairs(geometry: Geometry) -> list[tuple[str, object]]:
    """Return the file's keys and values for all that a geometry says, but its image transforms.

    Examples
    --------
    >>> geometry_pairs(Geometry(distance=1e6, beam_center=(10, 20), pixel_size=200, wavelength=0.18))[0]
    ('Lsd', 1000000.0)
    """
    distortion = {name: float(geometry.distortion.get(name, 0.0)) for name in DISTORTION_NAMES}
    written = [name for i, name in enumerate(DISTORTION_NAMES) if i < 4 or distortion[name] != 0.0]
    radius = geometry.distortion_radius
    return [
        ("Lsd", geometry.distance),
        ("BC", geometry.beam_center),
        *zip(("tx", "ty", "tz"), geometry.tilts, strict=True),
        *((name, distortion[name]) for name in written),
        *([] if radius is None else [("RhoD", float(radius))]),
        ("Wavelength", float(geometry.wavelength)),
        ("px", float(geometry.pixel_size)),
    ]


def panel_pairs(geometry: Geometry) -> list[tuple[str, object]]:
    """Return the file's keys and values for the panels' layout and the parallax; nothing where there is neither.

    Examples
    --------
    >>> g = Geometry(distance=1e6, beam_center=(10, 20), pixel_size=200, wavelength=0.18, parallax=80)
    >>> panel_pairs(g)
    [('Parallax', 80.0)]
    """
    pairs: list[tuple[str, object]] = [("Parallax", geometry.parallax)] if geometry.parallax else []
    if geometry.panels is None:
        return pairs
    layout = geometry.panels.layout
    pairs += [
        ("NPanelsY", len(layout.columns)),
        ("NPanelsZ", len(layout.rows)),
        ("PanelSizeY", layout.size[1]),
        ("PanelSizeZ", layout.size[0]),
    ]
    pairs += [(key, gaps) for key, gaps in (("PanelGapsY", layout.gaps_y), ("PanelGapsZ", layout.gaps_z)) if gaps]
    if layout.origin != (0, 0):
        pairs.append(("PanelOrigin", (layout.origin[1], layout.origin[0])))
    return pairs


def as_rows(row: ParameterKey, value: object) -> list[tuple[Value, ...]]:
    """Return the values of each line that a Python value makes."""
    if isinstance(value, str | Path) or not isinstance(value, Iterable):
        rows: list[tuple[object, ...]] = [(value,)]
    elif row.repeatable:
        rows = [tuple(v) if isinstance(v, Iterable) and not isinstance(v, str) else (v,) for v in value]
    else:
        rows = [tuple(value)]
    for r in rows:
        if len(r) != row.count:
            raise InputError(f"{row.name} is {value!r}; expected {row.count} values: {row.meaning}")
    return [tuple(_cast(v, row) for v in r) for r in rows]


def _cast(value: object, row: ParameterKey) -> Value:
    if row.kind is str:
        return str(value)
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise InputError(f"{row.name} is {value!r}; expected a number: {row.meaning}") from None
    if not math.isfinite(number):
        raise InputError(f"{row.name} is {number}; expected a finite number: {row.meaning}")
    return int(number) if row.kind is int and number == int(number) else number


_OWN_SEQUENCES = {"tilts": ("tx", "ty", "tz"), "shape": ("NrPixelsZ", "NrPixelsY")}
_OWN_NAMES = {
    row.own: row.name
    for row in PARAMETER_KEYS.values()
    if row.own and row.own != "distortion" and row.own not in _OWN_SEQUENCES
}


def file_pairs(name: str, value: object) -> list[tuple[str, object]]:
    """Return the file's keys and values for one of midas's own names."""
    if name == "energy":
        energy = _cast(value, ParameterKey("energy", float, "photon energy [keV]"))
        if not isinstance(energy, float) or not energy > 0.0:
            raise InputError(f"energy is {value!r}; expected keV above 0")
        return [("Wavelength", wavelength_from_energy(energy))]
    if name in _OWN_SEQUENCES:
        keys = _OWN_SEQUENCES[name]
        numbers = tuple(value) if isinstance(value, Iterable) else ()
        if len(numbers) != len(keys):
            raise InputError(f"{name} is {value!r}; expected {len(keys)} numbers, for {', '.join(keys)}")
        return list(zip(keys, numbers, strict=True))
    if name == "distortion" and isinstance(value, Mapping):
        return list(value.items())
    if name not in _OWN_NAMES and find_key(name) is None:
        near = difflib.get_close_matches(name, [*_OWN_NAMES, *_OWN_SEQUENCES, "energy", "distortion"], n=1)
        hint = f"; did you mean {near[0]}?" if near else did_you_mean(name)
        raise InputError(f"unknown parameter {name!r}{hint}")
    return [(_OWN_NAMES.get(name, name), value)]


def read_text(path: Path) -> str:
    """Return the text of a parameter file, bytes that are no UTF-8 included: `Parameters.write` gives them back.

    Raises
    ------
    FormatError
        The file is missing or is not text.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise FormatError(f"{path}: no such file; check the name of the parameter file") from None
    except OSError as error:
        raise FormatError(f"{path}: the parameter file cannot be read: {error.strerror or error}") from None
    if b"\0" in content:
        raise FormatError(f"{path}: it is not text; expected a parameter file of lines 'Key value'")
    # Old files hold comments in other encodings: their bytes are kept as they are.
    return content.decode("utf-8", errors="surrogateescape")


def described_line(line: ParameterLine) -> tuple[str, str, str, str]:
    """Return key, value, unit and meaning of a line, for people."""
    row = find_key(line.key) if line.key is not None else None
    value = " ".join(format_value(v) for v in line.values)
    return line.spelling, value, row.unit if row else "", row.meaning if row else "not known to midas"
