"""NeXus: a flat detector as NXdetector with NXtransformations, and a map of pixel corners as pyFAI reads it.

Source: the NeXus manual (NXtransformations, NXdetector_module, the McStas frame: z along the beam, y up, x = y × z).
A position is the module's offset plus multiples of the fast and slow pixel directions, moved by each transformation of
the `depends_on` chain in turn. The offset is that of the outer corner of the first pixel, as in NXmx.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from midas.detector import Detector
from midas.errors import FormatError, InputError
from midas.geometry import FloatArray, Geometry
from midas.io.atomic import atomic_path
from midas.io.exchange import pixel_map
from midas.io.exchange.plane import Layout, Plane, geometry_of, layout, raw_shape, require_flat

# Rows: axes (up, along columns, beam) in NeXus coordinates (x, y, z).
_FROM_NEXUS = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
_BLOCK = 64  # rows of corners worked on at a time
_ONE_GRID = 1e-4  # px: corners nearer than this to a regular grid are one
_METRES = {"m": 1.0, "mm": 1e-3, "um": 1e-6, "µm": 1e-6, "nm": 1e-9}
_ANGSTROM = {"angstrom": 1.0, "a": 1.0, "å": 1.0, "nm": 10.0, "m": 1e10}


@dataclass(frozen=True, eq=False)
class Corners:
    """Pixel positions of an NXdetector."""

    shape: tuple[int, int]
    """Rows and columns."""
    pixel_size: float
    """[µm]."""
    origin: tuple[float, float]
    """What the file calls the corner of the image, along rows and columns [m]."""
    position: FloatArray
    """Shape (2, n): rows and columns of samples [px]."""
    flat: FloatArray | None
    """Shape (2, n): where they are on a regular grid [px]; None where the grid is regular."""


def write_nexus(path: Path, geometry: Geometry, detector: Detector | None) -> list[Path]:
    """Write the detector of the raw image as a NeXus file and return it.

    Raises
    ------
    InputError
        The geometry is distorted, or the detector is not given.
    """
    import h5py

    require_flat(geometry, "the NeXus description", "write a .poni, which takes a map of pixel positions, or a .txt")
    if detector is None:
        raise InputError("a NeXus description needs the shape of the detector; give the detector")
    mapping = layout(geometry, detector.shape)
    size = geometry.pixel_size / 1e6
    # In the plane, before any turn: x along decreasing columns of the geometry's image, y along increasing rows.
    down, across = mapping.matrix[:, 0], mapping.matrix[:, 1]
    first = mapping.to_geometry([[-0.5], [-0.5]])[:, 0]
    offset = np.array([geometry.beam_center[0] - first[1], first[0] - geometry.beam_center[1], 0.0]) * size
    rows, columns = raw_shape(detector.shape, geometry.image_transforms)
    center = mapping.from_geometry([[geometry.beam_center[1]], [geometry.beam_center[0]]])[:, 0]
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        entry = _group(file, "entry", "NXentry")
        file.attrs["default"] = "entry"
        beam = _group(_group(entry, "sample", "NXsample"), "beam", "NXbeam")
        _value(beam, "incident_wavelength", float(geometry.wavelength), "angstrom")
        group = _group(_group(entry, "instrument", "NXinstrument"), "detector", "NXdetector")
        for name in ("x_pixel_size", "y_pixel_size"):
            _value(group, name, size, "m")
        _value(group, "distance", geometry.distance / 1e6, "m")
        for name, value in zip(("beam_center_y", "beam_center_x"), center, strict=True):
            _value(group, name, float(value) + 0.5, "pixel")
        chain = group.name + "/transformations"
        group["depends_on"] = f"{chain}/tilt_z"
        moves = _group(group, "transformations", "NXtransformations")
        turns = zip(("tilt_z", "tilt_y", "tilt_x"), ((0, 1, 0), (1, 0, 0), (0, 0, 1)), (2, 1, 0), strict=True)
        after = {"tilt_z": "tilt_y", "tilt_y": "tilt_x", "tilt_x": "distance"}
        for name, axis, k in turns:
            _move(moves, name, geometry.tilts[k], "deg", "rotation", axis, f"{chain}/{after[name]}")
        _move(moves, "distance", geometry.distance / 1e6, "m", "translation", (0, 0, 1), ".")
        module = _group(group, "module", "NXdetector_module")
        module["data_origin"], module["data_size"] = np.zeros(2, dtype=int), np.array([rows, columns])
        _move(module, "module_offset", 1.0, "m", "translation", offset, f"{chain}/tilt_z", unit_vector=False)
        for name, way in (("slow_pixel_direction", down), ("fast_pixel_direction", across)):
            _move(module, name, size, "m", "translation", (-way[1], way[0], 0.0), module.name + "/module_offset")
    return [path]


def _group(parent: Any, name: str, kind: str) -> Any:
    group = parent.create_group(name)
    group.attrs["NX_class"] = kind
    return group


def _value(parent: Any, name: str, value: float, unit: str) -> None:
    parent[name] = value
    parent[name].attrs["units"] = unit


def _move(
    parent: Any, name: str, value: float, unit: str, kind: str, vector: Any, then: str, *, unit_vector: bool = True
) -> None:
    """Write one transformation; without a unit vector its value is one and the vector an `offset`."""
    _value(parent, name, value if unit_vector else 0.0, unit)
    attributes = parent[name].attrs
    attributes["transformation_type"], attributes["depends_on"] = kind, then
    attributes["vector"] = np.asarray(vector if unit_vector else (1.0, 0.0, 0.0), dtype=float)
    if not unit_vector:
        attributes["offset"], attributes["offset_units"] = np.asarray(vector, dtype=float), unit


def read_nexus(path: Path) -> tuple[Geometry, Detector]:
    """Return geometry and detector of the first NXdetector with a module and pixel directions.

    Raises
    ------
    FormatError
        There is no such detector, or something that its place depends on is missing.
    """
    import h5py

    try:
        file = h5py.File(path, "r")
    except OSError:
        raise FormatError(f"{path}: the file cannot be read; expected a NeXus file (HDF5)") from None
    with file:
        try:
            return _read_module(file, path)
        except KeyError as error:
            raise FormatError(f"{path}: {error.args[0]}; a NeXus description needs it") from None


def _read_module(file: Any, path: Path) -> tuple[Geometry, Detector]:
    group = _find(file, "NXdetector")
    module = _find(group, "NXdetector_module") if group is not None else None
    if module is None:
        raise FormatError(
            f"{path}: no NXdetector with an NXdetector_module; expected a NeXus description of a detector"
        )
    shape = tuple(int(n) for n in np.ravel(module["data_size"][()])[-2:])
    slow, fast = (_FROM_NEXUS @ _direction(file, module[f"{k}_pixel_direction"]) for k in ("slow", "fast"))
    origin = _FROM_NEXUS @ _chained(file, module["fast_pixel_direction"].attrs["depends_on"], module)[:3, 3]
    size = float(np.linalg.norm(slow))
    if abs(float(np.linalg.norm(fast)) / size - 1.0) > 1e-9 or abs(float(slow @ fast)) > 1e-9 * size**2:
        raise FormatError(f"{path}: its pixels are no squares; midas takes square pixels")
    beam = _find(file, "NXbeam")
    if beam is None or "incident_wavelength" not in beam:
        raise FormatError(f"{path}: no incident_wavelength in an NXbeam; a geometry needs it")
    wavelength = beam["incident_wavelength"]
    scale = _ANGSTROM.get(_text(wavelength.attrs.get("units", "angstrom")).lower())
    if scale is None:
        raise FormatError(f"{path}: incident_wavelength is in {wavelength.attrs['units']!r}; expected angstrom")
    transforms: tuple[int, ...] = ()
    slow, fast = slow / size, fast / size
    normal = np.cross(slow, fast)
    if normal[2] < 0.0:  # a mirror image: count the rows from the other end
        origin, slow, normal, transforms = origin + slow * size * shape[0], -slow, -normal, (2,)
    if normal[2] <= 0.0:
        raise FormatError(f"{path}: the detector stands along the beam; expected tilts under 90 deg")
    distance = float(normal @ origin) / float(normal[2])
    to_beam = np.array([0.0, 0.0, distance]) - origin
    plane = Plane(
        center=(float(to_beam @ slow) / size - 0.5, float(to_beam @ fast) / size - 0.5),
        pixel_size=round(size * 1e6, 7),
        distance=distance * 1e6,
        directions=np.stack([slow, fast, normal], axis=1),
        wavelength=float(np.ravel(wavelength[()])[0]) * scale,
    )
    return geometry_of(plane, transforms), Detector((shape[0], shape[1]), plane.pixel_size)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _find(group: Any, kind: str) -> Any:
    """Return the first group of an NX_class below, None where there is none."""
    found: list[Any] = []

    def look(_: str, item: Any) -> None:
        if not found and _text(item.attrs.get("NX_class", "")) == kind:
            found.append(item)

    group.visititems(look)
    return found[0] if found else None


def _length(item: Any, attribute: str = "units") -> float:
    unit = _text(item.attrs.get(attribute, "m")).lower()
    if unit not in _METRES:
        raise KeyError(f"{item.name} is in {unit!r} and not in a length that midas knows (m, mm, um, nm)")
    return _METRES[unit]


def _direction(file: Any, item: Any) -> FloatArray:
    """Return one step of a pixel direction in the laboratory, shape (3,) [m]."""
    turn = _chained(file, item.attrs["depends_on"], item.parent)[:3, :3]
    step = float(np.ravel(item[()])[0]) * _length(item)
    return np.asarray(turn @ np.asarray(item.attrs["vector"], dtype=float) * step)


def _chained(file: Any, name: Any, beside: Any) -> FloatArray:
    """Return the 4 x 4 matrix of a chain of transformations, the first applied first."""
    total = np.eye(4)
    for _ in range(50):
        name = _text(name)
        if name == ".":
            return total
        item = file[name] if name.startswith("/") else beside[name]
        total = _matrix(item) @ total
        name, beside = item.attrs.get("depends_on", "."), item.parent
    raise FormatError(f"{name}: its chain of depends_on does not end")


def _matrix(item: Any) -> FloatArray:
    from scipy.spatial.transform import Rotation

    matrix = np.eye(4)
    vector = np.asarray(item.attrs["vector"], dtype=float)
    value = float(np.ravel(item[()])[0])
    if _text(item.attrs["transformation_type"]) == "rotation":
        degrees = _text(item.attrs.get("units", "deg")).lower().startswith("deg")
        matrix[:3, :3] = Rotation.from_rotvec(vector / np.linalg.norm(vector) * value, degrees=degrees).as_matrix()
    else:
        matrix[:3, 3] = vector * value * _length(item)
    if "offset" in item.attrs:
        attribute = "offset_units" if "offset_units" in item.attrs else "units"
        matrix[:3, 3] += np.asarray(item.attrs["offset"], dtype=float) * _length(item, attribute)
    return matrix


def write_corners(path: Path, geometry: Geometry, mapping: Layout, shape: tuple[int, int], plane: Plane) -> Path:
    """Write where each pixel's corners are on the flat plane, in the NXdetector that pyFAI reads; return the file.

    Corners (slow, fast, corner, (along the normal, along rows, along columns)) [m], counted from the beam.
    """
    import h5py

    size = plane.pixel_size / 1e6
    center = np.array(plane.center)
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        entry = _group(file, "entry", "NXentry")
        entry["start_time"] = datetime.now(timezone.utc).isoformat(timespec="seconds")  # pyFAI passes over others
        group = _group(_group(entry, "instrument", "NXinstrument"), "detector", "NXdetector")
        group["API_VERSION"] = np.bytes_("1.1")
        group["IS_FLAT"], group["IS_CONTIGUOUS"], group["CORNERS"], group["force_pixel"] = True, False, 4, False
        group["pixel_size"] = np.array([size, size])
        group["shape"] = group["max_shape"] = np.array(shape, dtype=np.int32)
        for name, value in zip(("beam_center_y", "beam_center_x"), plane.center, strict=True):
            _value(group, name, value + 0.5, "pixel")
        corners = group.create_dataset(
            "pixel_corners",
            (*shape, 4, 3),
            np.float32,
            chunks=(min(_BLOCK, shape[0]), min(_BLOCK, shape[1]), 4, 3),
            compression="gzip",
            compression_opts=1,  # shuffled first, smooth float32 takes twice as long and no less room
        )
        corners.attrs["interpretation"] = "vertex"
        for first in range(0, shape[0], _BLOCK):
            rows = range(first, min(first + _BLOCK, shape[0]))
            block = np.zeros((len(rows), shape[1], 4, 3), dtype=np.float32)
            block[..., 1:] = (pixel_map.corner_block(geometry, mapping, rows, shape[1]) - center) * size
            corners[rows.start : rows.stop] = block
    return path


def read_corners(path: Path) -> Corners:
    """Return the pixel positions of an NXdetector, sampled.

    Raises
    ------
    FormatError
        The file has no such detector, or it is not flat.
    """
    import h5py

    try:
        file = h5py.File(path, "r")
    except OSError:
        raise FormatError(f"{path}: the detector's file cannot be read; put it beside the .poni") from None
    with file:
        group = _find(file, "NXdetector")
        if group is None or "pixel_size" not in group:
            raise FormatError(f"{path}: no NXdetector with a pixel_size; expected a detector file of pyFAI")
        sizes = np.ravel(group["pixel_size"][()])
        corners = group.get("pixel_corners")
        size = float(sizes[0])
        if "IS_FLAT" in group and not bool(group["IS_FLAT"][()]):
            raise FormatError(f"{path}: the detector is not flat; midas takes flat detectors")
        if abs(size / float(sizes[1]) - 1.0) > 1e-9:
            raise FormatError(f"{path}: its pixels are no squares; midas takes square pixels")
        key = "pixel_corners" if corners is not None else "shape" if "shape" in group else "max_shape"
        if key not in group:
            raise FormatError(f"{path}: the shape of the detector is missing; expected shape or max_shape")
        shape = tuple(int(n) for n in (corners.shape[:2] if corners is not None else group[key][()]))
        rows, columns = pixel_map.samples((shape[0], shape[1]))
        position = np.stack([v.ravel() for v in np.meshgrid(rows, columns, indexing="ij")])
        origin, flat = np.zeros(2), None
        if corners is not None:
            if "beam_center_y" in group:
                center = np.array([float(group[f"beam_center_{k}"][()]) for k in ("y", "x")])
                origin = -center * size
            chosen = corners[rows.astype(int).tolist()][:, columns.astype(int)].astype(float)
            middle = chosen.mean(axis=2)[..., 1:]
            flat = (np.moveaxis(middle, -1, 0).reshape(2, -1) - origin[:, None]) / size - 0.5
            flat = None if np.abs(flat - position).max() < _ONE_GRID else flat
    return Corners((shape[0], shape[1]), round(size * 1e6, 7), (float(origin[0]), float(origin[1])), position, flat)
