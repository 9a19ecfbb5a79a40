"""pyFAI's `.poni`: the point of normal incidence, the distance along the detector's normal and three rotations.

Source: pyFAI's documentation (Geometry; detector orientation), PONI-file versions 1 to 3. pyFAI turns the position
(p1 - poni1, p2 - poni2, dist) by rot3 · rot2 · rot1, of which rot1 and rot2 are left-handed, and counts p1, p2 from the
corner of the image: the centre of pixel 0 is at 0.5. Its chi is 90 deg - eta. With an orientation other than 3 the rows
(2), the columns (4) or both (1) are counted from the other end: the image transforms 2, 1 and (1, 2).

Distortion goes into a spline file beside it, or, where a spline cannot follow (shifted panels), into an NXdetector.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from midas.detector import Detector
from midas.errors import FormatError, InputError
from midas.geometry import Geometry
from midas.io.atomic import atomic_path
from midas.io.exchange import nexus, pixel_map
from midas.io.exchange.plane import Plane, bent_by, geometry_of, layout, number_of, plane_of, raw_shape

TRANSFORMS = {1: (1, 2), 2: (2,), 3: (), 4: (1,)}
"""Image transforms that do what each orientation of pyFAI says."""

_DETECTORS = {  # rows, columns, pixel [µm]: the makers' data sheets
    "pilatus100k": (195, 487, 172.0),
    "pilatus200k": (407, 487, 172.0),
    "pilatus300k": (619, 487, 172.0),
    "pilatus300kw": (195, 1475, 172.0),
    "pilatus1m": (1043, 981, 172.0),
    "pilatus2m": (1679, 1475, 172.0),
    "pilatus6m": (2527, 2463, 172.0),
    "pilatuscdte300k": (619, 487, 172.0),
    "pilatuscdte1m": (1043, 981, 172.0),
    "pilatuscdte2m": (1679, 1475, 172.0),
    "eiger500k": (514, 1030, 75.0),
    "eiger1m": (1065, 1030, 75.0),
    "eiger4m": (2167, 2070, 75.0),
    "eiger9m": (3269, 3110, 75.0),
    "eiger16m": (4371, 4150, 75.0),
    "eiger2500k": (512, 1028, 75.0),
    "eiger21m": (1062, 1028, 75.0),
    "eiger24m": (2162, 2068, 75.0),
    "eiger29m": (3262, 3108, 75.0),
    "eiger216m": (4362, 4148, 75.0),
}


def write_poni(path: Path, geometry: Geometry, detector: Detector | None) -> list[Path]:
    """Write a `.poni` of version 2.1, with a map of pixel positions where the geometry is distorted; return the files.

    Raises
    ------
    InputError
        The shape of the detector is needed and not given.
    """
    shape = None if detector is None else detector.shape
    orientation = _orientation(geometry, shape)
    frame = TRANSFORMS[orientation]
    plane = plane_of(geometry, shape, frame)
    size = plane.pixel_size / 1e6
    config: dict[str, Any] = {"pixel1": size, "pixel2": size, "orientation": orientation}
    files, name, at_beam = [path], "Detector", [(c + 0.5) * size for c in plane.center]
    if shape is not None:
        config["max_shape"] = list(_framed(geometry, shape, frame))
    if bent_by(geometry):
        files.append(_write_map(path, geometry, shape, frame, plane))
        if files[1].suffix == ".spline":
            config["splineFile"] = str(files[1].resolve())
        else:
            # Corners are stored from the beam: pyFAI reads them in single precision, which is finest near zero.
            name, at_beam = "NexusDetector", [0.0, 0.0]
            config = {"filename": str(files[1].resolve()), "orientation": orientation}
    poni = [at_beam[k] - plane.distance / 1e6 * float(plane.normal[k]) for k in (0, 1)]
    lines = [
        "# Written by midas. 1 is the slow axis (rows), 2 the fast axis (columns).",
        "poni_version: 2.1",
        f"Detector: {name}",
        f"Detector_config: {json.dumps(config)}",
        f"Distance: {plane.distance / 1e6 * float(plane.normal[2])!r}",
        *(f"Poni{k + 1}: {value!r}" for k, value in enumerate(poni)),
        *(f"Rot{k + 1}: {angle!r}" for k, angle in enumerate(_rotations(plane))),
        f"Wavelength: {plane.wavelength / 1e10!r}",
    ]
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return files


def _framed(geometry: Geometry, shape: tuple[int, int], frame: tuple[int, ...]) -> tuple[int, int]:
    return raw_shape(raw_shape(shape, geometry.image_transforms), frame)


def _write_map(
    path: Path, geometry: Geometry, shape: tuple[int, int] | None, frame: tuple[int, ...], plane: Plane
) -> Path:
    """Write the pixel positions of a bent geometry beside the `.poni`: a spline where one follows, else corners.

    No spline follows the steps from panel to panel.
    """
    if shape is None:
        raise InputError(
            f"the geometry's {' and '.join(bent_by(geometry))} goes into a map of pixel positions, which needs the "
            "shape of the detector; give it"
        )
    mapping, framed = layout(geometry, shape, frame), _framed(geometry, shape, frame)
    spline = pixel_map.find_spline(geometry, mapping, framed) if geometry.panels is None else None
    if spline is not None:
        return pixel_map.write_spline(path.with_suffix(".spline"), spline)
    return nexus.write_corners(path.with_suffix(".detector.h5"), geometry, mapping, framed, plane)


def _orientation(geometry: Geometry, shape: tuple[int, int] | None) -> int:
    """Return the orientation that leaves no mirror image to the rotations."""
    matrix = layout(geometry, shape).matrix
    if matrix[0, 1] == 0.0:
        flips = (matrix[0, 0] < 0.0, matrix[1, 1] < 0.0)
        return {(False, False): 3, (True, False): 2, (False, True): 4, (True, True): 1}[flips]
    return 3 if np.linalg.det(matrix) > 0.0 else 2


def _rotations(plane: Plane) -> tuple[float, float, float]:
    """Return rot1, rot2, rot3 [rad]: directions = turn about axis 3 by rot3, about 2 by -rot2, about 1 by -rot1."""
    d = plane.directions
    rot3 = math.atan2(d[1, 0], d[0, 0])
    rot2 = math.atan2(d[2, 0], math.hypot(d[0, 0], d[1, 0]))
    rot1 = -math.atan2(d[2, 1], d[2, 2])
    return rot1, rot2, rot3


def _turned(rot1: float, rot2: float, rot3: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    from scipy.spatial.transform import Rotation

    return np.asarray(Rotation.from_euler("ZYX", (rot3, -rot2, -rot1)).as_matrix())


def read_poni(path: Path, pixel_size: float | None = None) -> tuple[Geometry, Detector | None]:
    """Return the geometry and, where the file tells its shape, the detector of a `.poni` of any version.

    Raises
    ------
    FormatError
        A value is missing or not a number, the detector is unknown, or its distortion is none that midas holds.
    """
    values = _read_lines(path)
    name = values.get("detector", "Detector")
    config = _config(values, path)
    orientation = config.get("orientation", 3) or 3
    if orientation not in TRANSFORMS:
        raise FormatError(f"{path}: orientation {orientation} is unknown; expected 1 to 4")
    if values.get("parallax", "").lower() == "true":
        raise FormatError(
            f"{path}: it corrects parallax, which midas models in another way; calibrate again with midas"
        )
    corners = spline = None
    at_beam = (0.0, 0.0)
    shape: tuple[int, int] | None
    if name.lower() == "nexusdetector":
        corners = nexus.read_corners(_beside(str(config.get("filename", "")), path))
        size, shape, at_beam = corners.pixel_size, corners.shape, corners.origin
    else:
        spline = _spline(config, values, path)
        if spline is not None and pixel_size is None:
            pixel_size = spline.pixel_size[0]
        size, shape = _pixels(name, config, values, path, pixel_size)
    plane = _plane(values, path, size, at_beam)
    geometry = geometry_of(plane, TRANSFORMS[orientation])
    if corners is not None and corners.flat is not None:
        geometry = pixel_map.with_distortion(geometry, corners.shape, corners.position, corners.flat, str(path))
    elif spline is not None:
        shape = spline.shape
        rows, columns = pixel_map.samples(shape)
        position = np.stack([v.ravel() for v in np.meshgrid(rows, columns, indexing="ij")])
        target = np.stack([v.ravel() for v in spline.displaced(rows, columns)])
        geometry = pixel_map.with_distortion(geometry, shape, position, target, str(path))
    return geometry, None if shape is None else Detector(shape, size)


def _plane(values: dict[str, str], path: Path, size: float, at_beam: tuple[float, float]) -> Plane:
    """Return the flat detector; `at_beam` is what the file calls the corner of the image [m]."""
    matrix = _turned(*(number_of(values, f"rot{k}", str(path), 0.0) for k in (1, 2, 3)))
    along_normal = number_of(values, "distance" if "distance" in values else "dist", str(path))
    if matrix[2, 2] <= 0.0:
        raise FormatError(f"{path}: the detector is turned away from the beam; expected rotations under 90 deg")
    distance = along_normal / float(matrix[2, 2])
    row, column = (
        (number_of(values, f"poni{k + 1}", str(path)) + distance * float(matrix[2, k]) - at_beam[k]) / size * 1e6
        for k in (0, 1)
    )
    return Plane(
        center=(row - 0.5, column - 0.5),
        pixel_size=size,
        distance=distance * 1e6,
        directions=matrix,
        wavelength=number_of(values, "wavelength", str(path)) * 1e10,
    )


def _spline(config: dict[str, Any], values: dict[str, str], path: Path) -> pixel_map.Spline | None:
    """Return the distortion that the file names, None where it names none."""
    name = str(config.get("splineFile") or config.get("splinefile") or values.get("splinefile") or "none")
    return None if name.lower() == "none" else pixel_map.read_spline(_beside(name, path))


def _read_lines(path: Path) -> dict[str, str]:
    values: dict[str, str] = {}
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise FormatError(f"{path}: the file cannot be read; expected a .poni file of pyFAI") from None
    for line in text.splitlines():
        if not line.startswith("#") and ":" in line:
            key, value = line.split(":", 1)
            values[key.strip().lower()] = value.strip()
    return values


def _config(values: dict[str, str], path: Path) -> dict[str, Any]:
    text = values.get("detector_config", "") or "{}"
    try:
        config = json.loads(text)
    except json.JSONDecodeError:
        config = None
    if not isinstance(config, dict):
        raise FormatError(f"{path}: Detector_config is {text!r}; expected a JSON object")
    return config


def _pixels(
    name: str, config: dict[str, Any], values: dict[str, str], path: Path, pixel_size: float | None
) -> tuple[float, tuple[int, int] | None]:
    """Return pixel size [µm] and shape, from the file, from the detector's name, or as the caller says."""
    known = _DETECTORS.get("".join(ch for ch in name.lower() if ch.isalnum()))
    shape = config.get("max_shape") or config.get("shape")
    shape = (known[0], known[1]) if shape is None and known is not None else shape
    sizes = [config.get(k, values.get(k)) for k in ("pixel1", "pixel2")]
    sizes = [values.get(f"pixelsize{k + 1}") if sizes[k] is None else sizes[k] for k in (0, 1)]
    given = [
        None if s in (None, "", "None") else number_of({"pixel size": str(s)}, "pixel size", str(path)) * 1e6
        for s in sizes
    ]
    if given[0] is None and known is not None:
        given = [known[2], known[2]]
    if given[0] is None or given[1] is None:
        given = [pixel_size, pixel_size]
    if given[0] is None or given[1] is None:
        raise FormatError(f"{path}: the pixel size of detector {name!r} is not known; give pixel_size [µm]")
    if not (given[0] > 0.0 and abs(given[1] / given[0] - 1.0) < 1e-9):
        raise FormatError(f"{path}: pixels of {given[0]:g} by {given[1]:g} µm; midas takes square pixels")
    # A ten-millionth of a µm: what metres written in binary leave over.
    size = round(given[0], 7)
    if shape is None:
        return size, None
    if not (isinstance(shape, (list, tuple)) and len(shape) == 2 and all(isinstance(n, int) and n > 0 for n in shape)):
        raise FormatError(f"{path}: the shape of the detector is {shape!r}; expected rows and columns")
    return size, (shape[0], shape[1])


def _beside(name: str, poni: Path) -> Path:
    """Return the file that a .poni names; where that is gone, one of the same name in the .poni's folder."""
    named = Path(name)
    return named if named.is_file() else poni.parent / named.name
