"""What about the values of a parameter file, each good by itself, cannot be or is doubtful beside the others."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from midas.detector import Detector
from midas.detector_table import KNOWN_DETECTORS, find_known_detector
from midas.errors import GeometryError, MidasError
from midas.geometry import DISTORTION_NAMES, PHASES
from midas.units import UM_PER_M, UM_PER_MM, energy_from_wavelength

if TYPE_CHECKING:
    from midas.io.parameters import Parameters

_MORE_THAN_CORNER = 1.1  # tilt and distortion move a corner by some percent
_WAVELENGTHS = (0.05, 3.0)  # Å, 4 to 250 keV: what area detectors see powders with
_EDGES = (3e3, 2e6)  # µm: from a single chip to the largest arrays
_LARGEST_TERM = 0.1  # of an amplitude: a tenth of the radius
_SAME_DETECTOR = 0.02  # share by which two files' pixel sizes may differ
_SAME_PLACE = 0.2  # share by which two files' distances may differ before they are of different set-ups


def doubtful_values(parameters: Parameters) -> tuple[str, ...]:
    """Return what looks wrong but may be meant, a sentence each.

    Examples
    --------
    >>> from midas.io.parameters import parse_params
    >>> doubtful_values(parse_params("PeakLocation 300"))
    ('PeakLocation without DoPeakFit 1: no peaks are fitted',)
    """
    return (
        *_doubtful_reach(parameters),
        *_doubtful_center(parameters),
        *_doubtful_pixels(parameters),
        *_doubtful_beam(parameters),
        *_doubtful_orientation(parameters),
        *_doubtful_peaks(parameters),
    )


def farthest_corner(parameters: Parameters) -> float | None:
    r"""Return how far [px] the farthest corner is from the beam centre; None where the file does not say.

    Examples
    --------
    >>> from midas.io.parameters import parse_params
    >>> farthest_corner(parse_params("BC 29.5 39.5\nNrPixelsY 60\nNrPixelsZ 80"))
    50.0
    """
    if parameters.shape is None or min(parameters.shape) < 1 or "BC" not in parameters:
        return None
    return Detector(parameters.shape, 1.0).farthest_corner(parameters.numbers("BC"))


def _doubtful_reach(parameters: Parameters) -> Iterator[str]:
    reach = farthest_corner(parameters)
    if reach is not None and "RMax" in parameters and parameters.number("RMax") > _MORE_THAN_CORNER * reach:
        yield (
            f"RMax is {parameters.number('RMax'):g} px but the farthest corner is {reach:.0f} px from the beam: "
            "bins beyond it stay empty"
        )


def _doubtful_center(parameters: Parameters) -> Iterator[str]:
    shape = parameters.shape
    if shape is None or min(shape) < 1 or "BC" not in parameters:
        return
    y, z = parameters.numbers("BC")
    rows, columns = shape

    def off(y: float, z: float) -> float:
        return max(-y, y - columns, -z, z - rows, 0.0)

    where = f"BC is {y:g} {z:g} px, off the image of {columns} columns x {rows} rows"
    if off(y, z) > 0.0 and off(z, y) == 0.0:
        yield f"{where}, but {z:g} {y:g} is on it: BC is column, then row"
    elif off(y, z) > max(shape):
        yield f"{where} by more than its width: BC is in px, not µm"


def _doubtful_pixels(parameters: Parameters) -> Iterator[str]:
    said = [parameters.get("NrPixels"), parameters.get("NrPixelsY"), parameters.get("NrPixelsZ")]
    for name, other in zip(("NrPixelsY", "NrPixelsZ"), said[1:], strict=True):
        if said[0] is not None and other is not None and said[0] != other:
            yield f"NrPixels is {said[0]} and {name} is {other}: the one that stands last in the file is taken"
    shape = parameters.shape
    if shape is None or min(shape) < 1 or "px" not in parameters:
        return
    pixel_size = parameters.number("px")
    edge = pixel_size * max(shape)
    size = f"{shape[0]} rows x {shape[1]} columns"
    if not _EDGES[0] <= edge <= _EDGES[1]:
        yield f"px {pixel_size:g} µm and {size} make a detector of {edge / UM_PER_MM:g} mm: one of them looks wrong"
    if find_known_detector(shape, pixel_size) is None:
        for known in KNOWN_DETECTORS:
            if find_known_detector(shape, known.pixel_size) is known:
                yield (
                    f"px is {pixel_size:g} µm, but {size} are those of a {known.name}, whose pixels are "
                    f"{known.pixel_size:g} µm"
                )
                return


def _doubtful_beam(parameters: Parameters) -> Iterator[str]:
    if "Wavelength" in parameters:
        wavelength = parameters.number("Wavelength")
        if 0.01 <= wavelength < _WAVELENGTHS[0]:  # outside of the limits of a geometry it is an error
            yield (
                f"Wavelength {wavelength:g} Å is {energy_from_wavelength(wavelength):.0f} keV: it looks like nm; midas "
                "takes Å"
            )
        elif _WAVELENGTHS[1] < wavelength <= 10.0:
            yield (
                f"Wavelength {wavelength:g} Å is {energy_from_wavelength(wavelength):.3g} keV: it looks like an energy "
                "in keV; midas takes Å"
            )
    if "Polariz" in parameters and not -1.0 <= parameters.number("Polariz") <= 1.0:
        yield f"Polariz is {parameters.number('Polariz'):g}; expected a share, 0.99 at most synchrotrons"
    for name in DISTORTION_NAMES:
        if name not in PHASES and name in parameters and abs(parameters.number(name)) > _LARGEST_TERM:
            value = parameters.number(name)
            yield f"{name} is {value:g}, a distortion of {100.0 * abs(value):.3g} % of the radius: it looks wrong"


def _doubtful_orientation(parameters: Parameters) -> Iterator[str]:
    own = parameters.image_transforms
    for a, b in itertools.pairwise(own):
        if a == b:
            yield f"ImTransOpt has {a} twice in a row, which undo each other: is one line of them too many?"
            break
    if parameters.path is None:
        return
    for name, read in (("calibration.json", _of_record), ("refined_MIDAS_params.txt", _of_refined)):
        path = parameters.path.parent / name
        if path.name == parameters.path.name or not path.is_file():
            continue
        found = read(path, parameters)
        if found is not None and found != own:
            yield (
                f"ImTransOpt is {_codes(own)}, but the calibration in {path} was made with {_codes(found)}: the "
                "geometry holds only for images turned as at the calibration"
            )
            return


def _codes(transforms: tuple[int, ...]) -> str:
    return " ".join(map(str, transforms or (0,)))


def _of_record(path: Path, parameters: Parameters) -> tuple[int, ...] | None:
    """Return the transforms of a `calibration.json`; None where it is of another set-up, or failed, or no such file."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        geometry = record["geometry"]
        transforms = tuple(int(t) for t in geometry["image_transforms"] if t)
        same = _same_set_up(parameters, float(geometry["pixel_size"]), float(geometry["distance"]))
        return transforms if same and record.get("verdict") != "failed" else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def _of_refined(path: Path, parameters: Parameters) -> tuple[int, ...] | None:
    from midas.io.parameter_text import parse_line, split_lines

    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
        lines = tuple(parse_line(line, str(path)) for line in split_lines(text))
        other = type(parameters)(lines, path)
        same = _same_set_up(parameters, other.number("px"), other.number("Lsd"))
        return other.image_transforms if same else None
    except (OSError, MidasError):
        return None


def _same_set_up(parameters: Parameters, pixel_size: float, distance: float) -> bool:
    """Return whether a calibration is of these parameters' detector, as far as they say."""
    for key, value, share in (("px", pixel_size, _SAME_DETECTOR), ("Lsd", distance, _SAME_PLACE)):
        if key in parameters and abs(parameters.number(key) - value) > share * abs(value):
            return False
    return True


def _doubtful_peaks(parameters: Parameters) -> Iterator[str]:
    if _is_set(parameters, "PeakLocation") and not _is_set(parameters, "DoPeakFit"):
        yield "PeakLocation without DoPeakFit 1: no peaks are fitted"
    locations = parameters.peak_locations
    if len(locations) > 1 and not _is_set(parameters, "MultiplePeaks"):
        yield f"{len(locations)} PeakLocation without MultiplePeaks 1: all are fitted nevertheless"


def _is_set(parameters: Parameters, key: str) -> bool:
    return any(line.key == key and any(line.values) for line in parameters.lines)


def check_distortion_radius(parameters: Parameters, radius: float | None) -> None:
    r"""Raise GeometryError where the radius of the distortion [µm] is not of the order of the detector.

    Examples
    --------
    >>> from midas.io.parameters import parse_params
    >>> check_distortion_radius(parse_params("px 200\nNrPixels 2048"), 2e5)
    """
    shape = parameters.shape
    if radius is None or shape is None:
        return
    # Six tenths to three times covers any beam position up to one panel width off the detector.
    expected = parameters.pixel_size * max(0.5 * math.hypot(*shape), 1.0)
    if 0.3 * expected <= radius <= 6.0 * expected:
        return
    units = {"px": parameters.pixel_size, "mm": UM_PER_MM, "m": UM_PER_M}
    unit = next((u for u, um in units.items() if 0.3 * expected <= radius * um <= 6.0 * expected), "")
    looks = f" looks like {unit}" if unit else " is not of the order of the detector"
    raise GeometryError(
        f"{parameters.name}: RhoD {radius:g}{looks}; midas takes µm, here about {expected:.0f}, half the diagonal"
    )
