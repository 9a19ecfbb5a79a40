"""What image files say of the instrument beside their pixels: headers of CBF, TIFF, EDF, ADSC; NeXus and MIDAS trees.

Nothing here is trusted blindly: a value that cannot be is left out, and whoever uses one names its source.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from midas.units import ANGSTROM_PER_UNIT, KEV_PER_UNIT, UM_PER_MM, UM_PER_UNIT, wavelength_from_energy

ANALYSIS_GROUP = "analysis/process/analysis_parameters"
"""Where MIDAS files have the parameters of a parameter file (docs/files.md)."""

_PLAUSIBLE = {  # in our units; outside is a field left at its default, or in a unit that the file does not say
    "wavelength": (0.03, 15.0),
    "distance": (1.5e4, 1e8),
    "pixel_size": (1.0, 2000.0),
}
_HEADER_TOLERANCE = 1e-3  # of a value, beyond which two sources contradict each other


@dataclass(frozen=True)
class Hint:
    """One thing that a file says of the instrument.

    Examples
    --------
    >>> Hint("wavelength", 0.1536, "file name").describe()
    'wavelength 0.1536 Å (file name)'
    """

    name: str
    """`wavelength` [Å], `pixel_size` [µm], `distance` [µm], `beam_center` (y, z) [px] after image transforms,
    `raw_beam_center` (y, z) [px] as stored, `calibrant`, `detector` (names)."""
    value: float | str | tuple[float, float]
    """In the unit of `name`."""
    source: str
    """Where it stands, for people."""
    tolerance: float = _HEADER_TOLERANCE
    """Share of the value by which another source may differ without contradicting it."""

    def describe(self) -> str:
        """Return the hint in words: name, value, unit and source."""
        if isinstance(self.value, tuple):
            return f"beam centre y {self.value[0]:g}, z {self.value[1]:g} px ({self.source})"
        if isinstance(self.value, str):
            return f"{self.name} {self.value} ({self.source})"
        if self.name == "distance":
            return f"distance {self.value / UM_PER_MM:g} mm ({self.source})"
        unit = {"wavelength": "Å", "pixel_size": "µm"}[self.name]
        return f"{self.name.replace('_', ' ')} {self.value:g} {unit} ({self.source})"


def number_hint(name: str, value: float, source: str, tolerance: float = _HEADER_TOLERANCE) -> Hint | None:
    """Return a hint of a number in our unit, None where it cannot be one: not finite, or left at a default.

    Examples
    --------
    >>> number_hint("distance", 0.0, "header") is None
    True
    """
    low, high = _PLAUSIBLE[name]
    return Hint(name, float(value), source, tolerance) if math.isfinite(value) and low <= value <= high else None


def header_hints(metadata: Mapping[str, object]) -> tuple[Hint, ...]:
    r"""Return what a text header says: Dectris' lines in CBF and TIFF, ESRF's keys in EDF, ADSC's keys.

    Sources: CBF mini header of Dectris ("# Wavelength 1.0 A", "# Beam_xy (243.12, 309.12) pixels"); SAXS keywords of
    ESRF (`SampleDistance`, `PSize_1`, `WaveLength` in metres, `Center_1`, `Center_2` in pixels from the corner); ADSC
    (`WAVELENGTH` Å, `DISTANCE` and `PIXEL_SIZE` mm).

    Examples
    --------
    >>> [h.value for h in header_hints({"description": "# Pixel_size 172e-6 m x 172e-6 m\n# Wavelength 1.0 A"})]
    [1.0, 172.0]
    """
    found: list[Hint | None] = []
    for key in ("_array_data.header_contents", "description"):
        if isinstance(text := metadata.get(key), str):
            found += _dectris_hints(text)
    keys = {str(k).lower(): str(v) for k, v in metadata.items() if isinstance(v, str)}
    if metadata.get("format") == "EDF":
        found += _edf_hints(keys)
    elif metadata.get("format") == "ADSC":
        source = "ADSC header"
        found.append(_scaled("wavelength", keys.get("wavelength"), 1.0, f"{source} WAVELENGTH"))
        found.append(_scaled("distance", keys.get("distance"), UM_PER_UNIT["mm"], f"{source} DISTANCE"))
        found.append(_scaled("pixel_size", keys.get("pixel_size"), UM_PER_UNIT["mm"], f"{source} PIXEL_SIZE"))
    return _first_of_each(found)


def _dectris_hints(text: str) -> list[Hint | None]:
    number = r"\s+([-+\d.eE]+)\s*"
    rows = (
        ("wavelength", rf"Wavelength{number}A", 1.0),
        ("distance", rf"Detector_distance{number}m\b", UM_PER_UNIT["m"]),
        ("pixel_size", rf"Pixel_size{number}m\b", UM_PER_UNIT["m"]),
    )
    found: list[Hint | None] = []
    for name, pattern, factor in rows:
        if match := re.search(pattern, text):
            found.append(_scaled(name, match[1], factor, f"image header {match[0].split()[0]}"))
    if match := re.search(r"Beam_xy\s*\(\s*([-+\d.eE]+)\s*,\s*([-+\d.eE]+)\s*\)\s*pixels", text):
        found.append(_center(match[1], match[2], "image header Beam_xy"))
    if match := re.search(r"Detector:\s*([^,\r\n]+)", text):
        found.append(Hint("detector", match[1].strip(), "image header Detector"))
    return found


def _edf_hints(keys: Mapping[str, str]) -> list[Hint | None]:
    metre = UM_PER_UNIT["m"]
    found = [
        _scaled("wavelength", keys.get("wavelength"), ANGSTROM_PER_UNIT["m"], "EDF header WaveLength"),
        _scaled("distance", keys.get("sampledistance"), metre, "EDF header SampleDistance"),
        _scaled("pixel_size", keys.get("psize_1"), metre, "EDF header PSize_1"),
    ]
    if "center_1" in keys and "center_2" in keys:
        found.append(_center(keys["center_1"], keys["center_2"], "EDF header Center_1, Center_2", corner=0.5))
    return found


def _scaled(name: str, text: str | None, factor: float, source: str) -> Hint | None:
    value = _number(text)
    return None if value is None else number_hint(name, value * factor, source)


def _number(text: str | None) -> float | None:
    """Return the number a text starts with ("1.72e-04 m"), None without."""
    match = re.match(r"\s*([-+]?\d+\.?\d*(?:[eE][-+]?\d+)?)", text or "")
    return float(match[1]) if match else None


def _center(y: str | float | None, z: str | float | None, source: str, *, corner: float = 0.0) -> Hint | None:
    """Return a centre counted from the centre of the first pixel, or from its corner when `corner` is 0.5."""
    pair = [_number(v) if isinstance(v, str) else v for v in (y, z)]
    if any(v is None or not math.isfinite(v) for v in pair) or not any(pair):
        return None
    return Hint("raw_beam_center", (float(pair[0] or 0.0) - corner, float(pair[1] or 0.0) - corner), source)


# NeXus: https://manual.nexusformat.org, NXdetector, NXbeam, NXmonochromator; the data-exchange layout of APS puts the
# same names under measurement/instrument. Name: paths below an entry, unit where the file gives none ("" is decided by
# the size of the number).
_NEXUS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    (
        "wavelength",
        ("instrument/beam/incident_wavelength", "sample/beam/incident_wavelength",
         "instrument/monochromator/wavelength", "instrument/source/wavelength"),
        "angstrom",
    ),
    (
        "energy",
        ("instrument/beam/incident_energy", "sample/beam/incident_energy", "instrument/monochromator/energy",
         "instrument/source/beam_energy"),
        "",
    ),
    ("distance", ("instrument/detector/distance", "instrument/detector/detector_distance"), "m"),
    (
        "pixel_size",
        ("instrument/detector/x_pixel_size", "instrument/detector/pixel_size_x", "instrument/detector/pixel_size"),
        "m",
    ),
)  # fmt: skip
_MOST_ENTRIES = 8


def tree_hints(root: Any) -> tuple[Hint, ...]:
    """Return what an HDF5 or zarr tree says of the instrument: NeXus, APS data exchange, or a MIDAS archive."""
    found = list(_midas_hints(root))
    for entry in _entries(root):
        for name, paths, default in _NEXUS:
            found += [_tree_number(root, f"{entry}/{path}", name, default) for path in paths]
        where = f"{entry}/instrument/detector"
        y, z = (_scalar(root, f"{where}/beam_center_{axis}") for axis in "xy")
        if y is not None and z is not None and all(u in ("", "pixel", "pixels", "px") for u in (y[1], z[1])):
            found.append(_center(y[0], z[0], f"{where}/beam_center_x, _y"))
    return _first_of_each(found)


def _entries(root: Any) -> Iterator[str]:
    """Yield the groups at the top that have an instrument, or a sample with a beam."""
    names = [str(name) for name in root]
    for name in sorted(names, key=lambda n: (n != "entry", n))[:_MOST_ENTRIES]:
        try:
            inside = root[name]
        except KeyError:
            continue  # a link whose target is missing
        if not hasattr(inside, "shape") and "instrument" in inside:
            yield name


def _tree_number(root: Any, path: str, name: str, default: str) -> Hint | None:
    found = _scalar(root, path)
    if found is None:
        return None
    value, unit = found
    unit = unit or default
    if name == "energy":
        # Where no unit is given: nobody calibrates an area detector beyond a MeV, nor below a keV.
        unit = unit or ("ev" if value > 1000.0 else "kev")
        energy = value * KEV_PER_UNIT.get(unit, math.nan)
        return number_hint("wavelength", wavelength_from_energy(energy), path) if 1.2 <= energy <= 1300.0 else None
    table = ANGSTROM_PER_UNIT if name == "wavelength" else UM_PER_UNIT
    return number_hint(name, value * table.get(unit, math.nan), path)


def _scalar(root: Any, path: str) -> tuple[float, str] | None:
    """Return the number at a path and its unit in lower case; None where there is none."""
    try:
        node = root[path]
    except KeyError:
        return None
    if node is None or getattr(node, "shape", None) not in ((), (1,)) or np.dtype(node.dtype).kind not in "uif":
        return None
    unit = node.attrs.get("units", "")
    text = unit.decode() if isinstance(unit, bytes) else str(unit)
    return float(np.asarray(node[...]).ravel()[0]), text.strip().lower()


def _midas_hints(root: Any) -> Iterator[Hint | None]:
    """Yield what the parameters stored in a MIDAS archive say (docs/files.md): our units already."""
    for name, key in (("wavelength", "Wavelength"), ("pixel_size", "PixelSize"), ("distance", "Lsd")):
        if (found := _scalar(root, f"{ANALYSIS_GROUP}/{key}")) is not None:
            yield number_hint(name, found[0], f"{ANALYSIS_GROUP}/{key}")
    y, z = (_scalar(root, f"{ANALYSIS_GROUP}/{axis}Cen") for axis in "YZ")
    if y is not None and z is not None and (y[0], z[0]) != (0.0, 0.0):
        yield Hint("beam_center", (y[0], z[0]), f"{ANALYSIS_GROUP}/YCen, ZCen")


def _first_of_each(found: list[Hint | None]) -> tuple[Hint, ...]:
    kept: dict[str, Hint] = {}
    for hint in found:
        if hint is not None:
            kept.setdefault(hint.name, hint)
    return tuple(sorted(kept.values(), key=lambda hint: _ORDER.index(hint.name)))


_ORDER = ("wavelength", "pixel_size", "distance", "beam_center", "raw_beam_center", "calibrant", "detector")
