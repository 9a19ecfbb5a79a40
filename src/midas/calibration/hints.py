"""What is told of an experiment beside the parameters: by the file's name and by its headers. Used, checked, named.

What the user says wins for wavelength, pixel size and calibrant, which an image cannot correct; for distance and beam
centre the image wins. Every contradiction is logged and travels with the result.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from midas.crystal import CALIBRANT_NAMES
from midas.io.headers import Hint, number_hint
from midas.messages import IN_RESULT
from midas.units import UM_PER_MM, wavelength_from_energy

if TYPE_CHECKING:
    from midas.geometry import Geometry

logger = logging.getLogger(__name__)

_NAME_TOLERANCE = 1e-3  # of a number in a file name, beside half of its last digit
_NAME_DISTANCES = (50.0, 20_000.0)  # mm: other lengths in file names are slits and positions
_ALIASES = {"agbh": "AgBehenate", "agbeh": "AgBehenate", "behenate": "AgBehenate", "ceria": "CeO2",
            "alumina": "Al2O3", "corundum": "Al2O3", "rutile": "TiO2", "silicon": "Si", "nickel": "Ni",
            "gold": "Au"}  # fmt: skip
_DISTANCE_OFF = 0.05  # share by which a guess may miss before it counts as overruled
_CENTER_OFF = 20.0  # px
_USER = "given"


def name_hints(path: str | Path) -> tuple[Hint, ...]:
    """Return what a file name says: `71p676keV`, `80725eV`, `657mm`, `CeO2`; a name that says two things says neither.

    The letter p stands for the decimal point, as beamlines write it.

    Examples
    --------
    >>> [h.describe() for h in name_hints("LaB6_71p676keV_657mm_000012.ge3")]  # doctest: +NORMALIZE_WHITESPACE
    ['wavelength 0.172979 Å (file name, 71p676keV)', 'distance 657 mm (file name, 657mm)',
     'calibrant LaB6 (file name)']
    """
    name = Path(path).name
    energies = [(word, value) for word, value in _numbers(name, "kev")]
    energies += [(word, value / 1000.0) for word, value in _numbers(name, "ev") if value >= 1000.0]
    found: list[Hint | None] = []
    for word, value in _only(energies):
        if 1.2 <= value <= 1300.0:
            found.append(_from_name("wavelength", wavelength_from_energy(value), word))
    distances = [(w, v) for w, v in _numbers(name, "mm") if _NAME_DISTANCES[0] <= v <= _NAME_DISTANCES[1]]
    found += [_from_name("distance", value * UM_PER_MM, word) for word, value in _only(distances)]
    known = {key.lower(): key for key in CALIBRANT_NAMES} | _ALIASES
    words = [w for w in re.split(r"[^A-Za-z0-9]+", Path(path).name.lower()) if w]
    calibrants = {known[w] for w in words if w in known}
    if len(calibrants) == 1:
        found.append(Hint("calibrant", calibrants.pop(), "file name"))
    return tuple(hint for hint in found if hint is not None)


def _numbers(name: str, unit: str) -> list[tuple[str, float]]:
    """Return (the words, the number) of each number with a unit in a name."""
    found = []
    for match in re.finditer(rf"(\d+(?:[pP.]\d+)?)[_-]?{unit}(?![A-Za-z])", name, re.IGNORECASE):
        found.append((match[0], float(match[1].lower().replace("p", "."))))
    return found


def _only(found: list[tuple[str, float]]) -> list[tuple[str, float]]:
    return found[:1] if len({value for _, value in found}) == 1 else []


def _from_name(name: str, value: float, word: str) -> Hint | None:
    digits = re.match(r"\d+(?:[pP.](\d+))?", word)
    assert digits is not None
    number = float(digits[0].lower().replace("p", "."))
    half_digit = 0.5 * 10.0 ** -len(digits[1] or "")
    return number_hint(name, value, f"file name, {word}", _NAME_TOLERANCE + half_digit / number)


def merge_hints(
    given: Mapping[str, Any], hints: Sequence[Hint], *, shape: tuple[int, int] | None = None
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the parameters completed by hints, and notes of what was taken from where and what contradicts it.

    Parameters
    ----------
    given
        Parameters by the field names of `CalibrationParams`, None or absent where the user gave none.
    hints
        The more trusted first: header, then file name.
    shape
        Rows and columns of the image as stored; without it a centre of the header is not used.

    Examples
    --------
    >>> values, notes = merge_hints({"pixel_size": 200.0}, [Hint("wavelength", 0.1536, "file name")])
    >>> values["wavelength"], notes
    (0.1536, ('wavelength 0.1536 Å (file name) is used',))
    """
    values = {key: value for key, value in given.items() if value is not None}
    if "energy" in values and "wavelength" not in values:
        values["wavelength"] = wavelength_from_energy(float(values.pop("energy")))
    sources = dict.fromkeys(values, _USER)
    tolerances: dict[str, float] = {}
    notes: list[str] = []
    for hint in _transformed(hints, values.get("image_transforms", ()), shape):
        if hint.name == "detector":
            notes.append(f"{hint.describe()}")
        elif hint.name not in values:
            values[hint.name], sources[hint.name] = hint.value, hint.source
            tolerances[hint.name] = hint.tolerance
            notes.append(f"{hint.describe()} is used")
        elif _contradicts(hint, values[hint.name], tolerances.get(hint.name, 0.0)):
            notes.append(_contradiction(hint, values[hint.name], sources[hint.name]))
            logger.warning("%s", notes[-1], extra={IN_RESULT: True})
            continue
        else:
            continue
        logger.info("%s", notes[-1])
    return values, tuple(notes)


def _transformed(hints: Sequence[Hint], transforms: Sequence[int], shape: tuple[int, int] | None) -> list[Hint]:
    """Return the hints with a centre of the stored image as one of the transformed image (`ImTransOpt`)."""
    turned = []
    for hint in hints:
        if hint.name != "raw_beam_center":
            turned.append(hint)
        elif shape is not None and isinstance(hint.value, tuple):
            (y, z), (n_z, n_y) = hint.value, shape
            for code in transforms:
                if code == 1:
                    y = n_y - 1 - y
                elif code == 2:
                    z = n_z - 1 - z
                elif code == 3:
                    y, z, n_y, n_z = z, y, n_z, n_y
            turned.append(Hint("beam_center", (y, z), hint.source))
    return turned


def _contradicts(hint: Hint, value: Any, tolerance: float) -> bool:
    if hint.name == "calibrant":
        name = getattr(value, "name", value)
        return str(name).lower() not in ("auto", str(hint.value).lower()) and str(name) in CALIBRANT_NAMES
    if isinstance(hint.value, tuple):
        return is_center_off(hint.value, value)
    if hint.name == "distance":
        tolerance = max(tolerance, _DISTANCE_OFF)
    assert isinstance(hint.value, float)
    return abs(hint.value / float(value) - 1.0) > max(tolerance, hint.tolerance)


def _contradiction(hint: Hint, value: Any, source: str) -> str:
    kept = Hint(hint.name, getattr(value, "name", value), source).describe()
    rule = {
        "distance": "only a guess: the image decides",
        "beam_center": "only a guess: the image decides",
    }.get(hint.name, "check which is right")
    return f"{hint.describe()} contradicts {kept}, which is used; {rule}"


def is_distance_off(guess: float | None, found: float) -> bool:
    """Return whether there is a guess of the distance, and it misses the one found by more than 5 %."""
    return guess is not None and abs(guess / found - 1.0) > _DISTANCE_OFF


def is_center_off(guess: tuple[float, float] | None, found: tuple[float, float]) -> bool:
    """Return whether there is a guess of the beam centre, and it misses the one found by more than 20 px."""
    return guess is not None and math.dist(guess, found) > _CENTER_OFF


def check_guesses(
    distance: float | None, beam_center: tuple[float, float] | None, geometry: Geometry
) -> tuple[str, ...]:
    """Return a note for each guess that the image overruled: more than 5 % or 20 px from what was found.

    Examples
    --------
    >>> from midas import Geometry
    >>> found = Geometry(distance=1e6, beam_center=(500, 500), pixel_size=200, wavelength=0.2)
    >>> check_guesses(1.5e6, (501, 499), found)
    ('the distance guess 1500 mm is overruled: the image says 1000.00 mm',)
    """
    notes = []
    if distance is not None and is_distance_off(distance, geometry.distance):
        notes.append(
            f"the distance guess {distance / UM_PER_MM:g} mm is overruled: "
            f"the image says {geometry.distance / UM_PER_MM:.2f} mm"
        )
    if beam_center is not None and is_center_off(beam_center, geometry.beam_center):
        y, z = geometry.beam_center
        swapped = math.dist(beam_center[::-1], geometry.beam_center) <= _CENTER_OFF
        notes.append(
            f"the beam centre guess y {beam_center[0]:g}, z {beam_center[1]:g} px is overruled: the image says "
            f"y {y:.1f}, z {z:.1f} px" + ("; the guess is swapped, column comes first" if swapped else "")
        )
    return tuple(notes)
