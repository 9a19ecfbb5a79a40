"""What about the values of a parameter file, each good by itself, cannot be or is doubtful beside the others."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from midas.detector import Detector
from midas.errors import GeometryError
from midas.units import UM_PER_M, UM_PER_MM

if TYPE_CHECKING:
    from midas.io.parameters import Parameters


def doubtful_values(parameters: Parameters) -> tuple[str, ...]:
    """Return what looks wrong but may be meant, a sentence each.

    Examples
    --------
    >>> from midas.io.parameters import parse_params
    >>> doubtful_values(parse_params("PeakLocation 300"))
    ('PeakLocation without DoPeakFit 1: no peaks are fitted',)
    """
    found = []
    if parameters.shape is not None and "BC" in parameters and "RMax" in parameters:
        reach = Detector(parameters.shape, 1.0).farthest_corner(parameters.numbers("BC"))  # px
        # Tilt and distortion move a corner by some percent.
        if parameters.number("RMax") > 1.1 * reach:
            found.append(
                f"RMax is {parameters.number('RMax'):g} px but the farthest corner is {reach:.0f} px from the beam: "
                "bins beyond it stay empty"
            )
    if _is_set(parameters, "PeakLocation") and not _is_set(parameters, "DoPeakFit"):
        found.append("PeakLocation without DoPeakFit 1: no peaks are fitted")
    locations = parameters.peak_locations
    if len(locations) > 1 and not _is_set(parameters, "MultiplePeaks"):
        found.append(f"{len(locations)} PeakLocation without MultiplePeaks 1: all are fitted nevertheless")
    return tuple(found)


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
