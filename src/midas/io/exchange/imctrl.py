"""GSAS-II's image controls `.imctrl`: lines of key:value.

Source: GSAS-II, GSASIIfiles.WriteControls (the keys) and GSASIIimage.GetTthAzmG (the formula). x counts columns and y
rows, in mm from the image's corner. The position (x, y) - center is turned by `tilt` about an axis in the plane at
`rotation` from x, and moved along the beam by distance / cos(tilt), so that `distance` is along the detector's normal.
The azimuth atan2(y, x) + azmthOff is 90 deg - eta; azmthOff holds what turns the detector about the beam.
"""

from __future__ import annotations

import ast
import math
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


def write_imctrl(path: Path, geometry: Geometry, detector: Detector | None) -> list[Path]:
    """Write image controls of the raw image and return the file.

    Raises
    ------
    InputError
        The geometry is distorted or its image mirrored, which image controls cannot hold.
    """
    require_flat(geometry, "GSAS-II's .imctrl", "write a .poni, which takes a map of pixel positions, or a .txt")
    shape = None if detector is None else detector.shape
    plane = plane_of(geometry, shape)
    require_unmirrored(plane, geometry, "GSAS-II's .imctrl")
    tilt, rotation, twist = swing_and_twist(plane)
    distance = plane.distance / UM_PER_MM
    edge = plane.pixel_size / UM_PER_MM
    values: dict[str, object] = {
        "type": "PWDR",
        "wavelength": plane.wavelength,
        "distance": distance * math.cos(math.radians(tilt)),
        "center": [(plane.center[1] + 0.5) * edge, (plane.center[0] + 0.5) * edge],
        "tilt": tilt,
        "rotation": rotation,
        "azmthOff": twist,
        "setdist": distance,
        "DetDepth": 0.0,
        # GSAS-II takes these two from the image and passes over them here.
        "pixelSize": [plane.pixel_size, plane.pixel_size],
    }
    if shape is not None:
        rows, columns = raw_shape(shape, geometry.image_transforms)
        values["size"] = [columns, rows]
    with atomic_path(path) as temporary:
        temporary.write_text("".join(f"{key}:{value}\n" for key, value in values.items()), encoding="ascii")
    return [path]


def read_imctrl(path: Path, pixel_size: float | None = None) -> tuple[Geometry, Detector | None]:
    """Return the geometry and, where the file tells its shape, the detector of image controls.

    Files of GSAS-II itself do not tell the pixel size: give it [µm].

    Raises
    ------
    FormatError
        A value is missing or malformed, or the file corrects for what midas models in another way.
    """
    values: dict[str, str] = {}
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise FormatError(f"{path}: the file cannot be read; expected image controls of GSAS-II") from None
    for line in text.splitlines():
        if not line.startswith("#") and ":" in line:
            key, value = line.split(":", 1)
            values[key.strip()] = value.strip()
    source = str(path)
    for key in ("DetDepth", "det2theta", "sag"):
        if number_of(values, key, source, 0.0) != 0.0:
            raise FormatError(
                f"{path}: {key} is {values[key]}; midas has no such correction, calibrate again with it 0"
            )
    size = _pixel_size(values, path, pixel_size)
    tilt, rotation = number_of(values, "tilt", source), number_of(values, "rotation", source)
    center = _pair(values, "center", path)
    matrix = directions_of(tilt, rotation, number_of(values, "azmthOff", source, 0.0))
    along = math.cos(math.radians(tilt))
    if along <= 0.0:
        raise FormatError(f"{path}: tilt is {tilt:g} deg; expected less than 90")
    plane = Plane(
        center=(center[1] * 1000.0 / size - 0.5, center[0] * 1000.0 / size - 0.5),
        pixel_size=size,
        distance=number_of(values, "distance", source) / along * 1000.0,
        directions=matrix,
        wavelength=number_of(values, "wavelength", source),
    )
    shape = _pair(values, "size", path) if "size" in values else None
    detector = None if shape is None else Detector((int(shape[1]), int(shape[0])), size)
    return geometry_of(plane), detector


def _pixel_size(values: dict[str, str], path: Path, given: float | None) -> float:
    if "pixelSize" not in values:
        if given is None:
            raise FormatError(f"{path}: image controls do not tell the pixel size; give pixel_size [µm]")
        return float(given)
    across, along = _pair(values, "pixelSize", path)
    if abs(across / along - 1.0) > 1e-9:
        raise FormatError(f"{path}: pixels of {across:g} by {along:g} µm; midas takes square pixels")
    return across


def _pair(values: dict[str, str], key: str, path: Path) -> tuple[float, float]:
    """Return two numbers of a list, also as newer numpy prints them and without commas."""
    text = values.get(key, "")
    plain = text.replace("np.float64(", "").replace("np.float32(", "").replace(")", "").replace("(", "")
    words = plain.strip("[] ").replace(",", " ").split()
    try:
        numbers = [float(ast.literal_eval(word)) for word in words]
    except (ValueError, SyntaxError, TypeError):
        numbers = []
    if len(numbers) != 2 or not all(math.isfinite(v) for v in numbers):
        raise FormatError(f"{path}: {key} is {text!r}; expected two numbers")
    return numbers[0], numbers[1]
