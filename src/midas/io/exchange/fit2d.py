"""The numbers that Fit2D asks for, as text: one line for each of its menu's entries.

Source: pyFAI's documentation of Fit2D's geometry (direct-beam distance in mm, beam centre in px from the corner, angle
of tilt and rotation of the tilt plane in deg). The tilt plane stands at 90 deg from the axis of the tilt. Fit2D has no
turn about the beam: the file says it in a comment that midas reads back.
"""

from __future__ import annotations

from pathlib import Path

from midas.detector import Detector
from midas.errors import FormatError
from midas.geometry import Geometry
from midas.io.atomic import atomic_path
from midas.io.exchange.plane import (
    Plane,
    directions_of,
    geometry_of,
    number_of,
    plane_of,
    raw_shape,
    require_flat,
    require_unmirrored,
    swing_and_twist,
)
from midas.units import UM_PER_MM

_TWIST = "# AZIMUTH OFFSET (DEGREES)"


def write_fit2d(path: Path, geometry: Geometry, detector: Detector | None) -> list[Path]:
    """Write the Fit2D description of the raw image and return the file.

    Raises
    ------
    InputError
        The geometry is distorted or its image mirrored, which Fit2D's numbers cannot hold.
    """
    require_flat(geometry, "Fit2D's description", "write a .poni, which takes a map of pixel positions, or a .txt")
    shape = None if detector is None else detector.shape
    plane = plane_of(geometry, shape)
    require_unmirrored(plane, geometry, "Fit2D's description")
    tilt, rotation, twist = swing_and_twist(plane)
    values: dict[str, float] = {
        "X-PIXEL SIZE (MICRONS)": plane.pixel_size,
        "Y-PIXEL SIZE (MICRONS)": plane.pixel_size,
        "DISTANCE (MM)": plane.distance / UM_PER_MM,
        "WAVELENGTH (ANGSTROMS)": plane.wavelength,
        "X-BEAM CENTRE (PIXELS)": plane.center[1] + 0.5,
        "Y-BEAM CENTRE (PIXELS)": plane.center[0] + 0.5,
        "TILT ROTATION (DEGREES)": (rotation + 270.0) % 360.0 - 180.0,
        "ANGLE OF TILT (DEGREES)": tilt,
        _TWIST: twist,
    }
    if shape is not None:
        rows, columns = raw_shape(shape, geometry.image_transforms)
        values |= {"# X-PIXELS": columns, "# Y-PIXELS": rows}
    with atomic_path(path) as temporary:
        temporary.write_text("".join(f"{key} = {value!r}\n" for key, value in values.items()), encoding="ascii")
    return [path]


def read_fit2d(path: Path, pixel_size: float | None = None) -> tuple[Geometry, Detector | None]:
    """Return the geometry and, where the file tells its shape, the detector of a Fit2D description.

    Raises
    ------
    FormatError
        A value is missing or not a number.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise FormatError(f"{path}: the file cannot be read; expected a Fit2D description") from None
    parts = (line.partition("=") for line in lines if "=" in line)
    values = {key.strip(): value.strip() for key, _, value in parts}
    source = str(path)
    size = number_of(values, "X-PIXEL SIZE (MICRONS)", source, pixel_size)
    if number_of(values, "Y-PIXEL SIZE (MICRONS)", source, size) != size:
        raise FormatError(f"{path}: its pixels are no squares; midas takes square pixels")
    tilt = number_of(values, "ANGLE OF TILT (DEGREES)", source, 0.0)
    rotation = number_of(values, "TILT ROTATION (DEGREES)", source, 0.0) - 90.0
    if not -90.0 < tilt < 90.0:
        raise FormatError(f"{path}: the angle of tilt is {tilt:g} deg; expected less than 90")
    plane = Plane(
        center=tuple(number_of(values, f"{k}-BEAM CENTRE (PIXELS)", source) - 0.5 for k in "YX"),  # type: ignore[arg-type]
        pixel_size=size,
        distance=number_of(values, "DISTANCE (MM)", source) * 1000.0,
        directions=directions_of(tilt, rotation, number_of(values, _TWIST, source, 0.0)),
        wavelength=number_of(values, "WAVELENGTH (ANGSTROMS)", source),
    )
    shape = [int(number_of(values, f"# {k}-PIXELS", source, 0.0)) for k in "YX"]
    detector = Detector((shape[0], shape[1]), size) if shape[0] and shape[1] else None
    return geometry_of(plane), detector
