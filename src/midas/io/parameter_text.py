"""Lines of the MIDAS parameter text and the values that stand on them.

Format: SPEC section 3; the keys are in `midas.io.parameter_table`.
"""

from __future__ import annotations

import difflib
import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from midas.errors import FormatError, InputError
from midas.geometry import DISTORTION_NAMES, Geometry
from midas.io.parameter_table import ParameterKey, find_key, nearest_key
from midas.units import wavelength_from_energy

_log = logging.getLogger(__name__)

Value = float | int | str
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


def parse_line(text: str, where: str) -> ParameterLine:
    """Return a line understood; `where` names it in messages.

    Examples
    --------
    >>> parse_line("PixelSize 200; # um", "ps.txt, line 1").values
    (200.0,)
    """
    content = text.split("#", 1)[0].strip().rstrip(";").strip()
    if not content:
        return ParameterLine(text)
    spelling, *words = content.split()
    row = find_key(spelling)
    if row is None:
        _log.warning("%s: unknown key %s is kept but not used%s", where, spelling, did_you_mean(spelling))
        return ParameterLine(text, spelling, spelling, tuple(words))
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
    if len(words) > n:
        _log.warning("%s: %s takes %d values; %r is not used", where, spelling, n, " ".join(words[n:]))
    return ParameterLine(text, row.name, spelling, tuple(_number(w, row, where) for w in words[:n]), known=True)


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


_OWN_NAMES = {
    "distance": "Lsd",
    "beam_center": "BC",
    "pixel_size": "px",
    "wavelength": "Wavelength",
    "distortion_radius": "RhoD",
    "image_transforms": "ImTransOpt",
    "calibrant": "Calibrant",
    "space_group": "SpaceGroup",
    "lattice": "LatticeConstant",
    "radius_min": "RMin",
    "radius_max": "RMax",
    "radius_step": "RBinSize",
    "eta_min": "EtaMin",
    "eta_max": "EtaMax",
    "eta_step": "EtaBinSize",
    "frames_per_sum": "OmegaSumFrames",
    "omega_start": "OmegaStart",
    "omega_step": "OmegaStep",
    "skip_frames": "SkipFrame",
}

_OWN_SEQUENCES = {"tilts": ("tx", "ty", "tz"), "shape": ("NrPixelsZ", "NrPixelsY")}


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
