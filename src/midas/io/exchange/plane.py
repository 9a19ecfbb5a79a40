"""A flat detector as other programs describe it: where its beam meets it and which way its rows and columns run.

The frame that pyFAI, GSAS-II and Fit2D share counts its axes 1 up, 2 along increasing columns of an untilted image and
3 along the beam; in it the azimuth atan2(axis 1, axis 2) is 90 deg - eta. The laboratory frame has X along the beam,
Y along decreasing columns and Z up (docs/physics/geometry.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from midas.errors import FormatError, InputError
from midas.geometry import FloatArray, Geometry

# Rows: axes 1, 2, 3 in laboratory coordinates (X, Y, Z).
_FROM_LAB = np.array([[0.0, 0.0, 1.0], [0.0, -1.0, 0.0], [1.0, 0.0, 0.0]])
_PLAIN_FIELDS = {
    "distance",
    "beam_center",
    "pixel_size",
    "wavelength",
    "tilts",
    "distortion_radius",
    "image_transforms",
}
"""What any program can hold; whatever else a geometry says bends the plane."""


@dataclass(frozen=True, eq=False)
class Plane:
    """A flat detector in the rows and columns of one layout of the image."""

    center: tuple[float, float]
    """Row and column where the beam meets it [px], integers are pixel centres."""
    pixel_size: float
    """[µm]."""
    distance: float
    """Sample to `center` along the beam [µm]."""
    directions: FloatArray
    """Shape (3, 3): columns are the directions of increasing rows, increasing columns and the third axis, in the frame
    (up, along columns, beam); a rotation unless the layout is mirrored."""
    wavelength: float
    """[Å]."""

    @property
    def mirrored(self) -> bool:
        """Whether the layout is a mirror image of what the sample sees."""
        return float(np.linalg.det(self.directions)) < 0.0

    @property
    def normal(self) -> FloatArray:
        """Cosines of the angles between the beam and rows, columns and third axis, shape (3,)."""
        return np.asarray(self.directions[2])


@dataclass(frozen=True, eq=False)
class Layout:
    """Maps (row, column) of the raw image after `transforms` to (row, column) of the image a geometry describes."""

    matrix: FloatArray
    """Shape (2, 2), a signed permutation."""
    offset: FloatArray
    """Shape (2,) [px]."""

    def to_geometry(self, position: npt.ArrayLike) -> FloatArray:
        """Return positions of the geometry's image, shape (2, n), for such of the layout."""
        return self.matrix @ np.asarray(position, dtype=np.float64) + self.offset[:, None]

    def from_geometry(self, position: npt.ArrayLike) -> FloatArray:
        """Return positions of the layout, shape (2, n), for such of the geometry's image."""
        return self.matrix.T @ (np.asarray(position, dtype=np.float64) - self.offset[:, None])


def raw_shape(shape: tuple[int, int], transforms: Sequence[int]) -> tuple[int, int]:
    """Return the shape of the raw image whose transformed image has this shape.

    Examples
    --------
    >>> raw_shape((100, 80), (3, 1))
    (80, 100)
    """
    return (shape[1], shape[0]) if sum(t == 3 for t in transforms) % 2 else shape


def _index_map(transforms: Sequence[int], shape: tuple[int, int] | None) -> tuple[FloatArray, FloatArray]:
    """Return (A, t): position in the transformed image = A · (row, column) of the raw image + t."""
    matrix, offset = np.eye(2), np.zeros(2)
    if not transforms:
        return matrix, offset
    if shape is None:
        raise InputError(
            f"the geometry has image transforms {tuple(transforms)}, which cannot be undone without the shape of the "
            "image; give the detector"
        )
    size = [float(n) for n in raw_shape(shape, transforms)]
    for t in transforms:
        if t == 3:
            matrix, offset, size = matrix[::-1], offset[::-1], size[::-1]
            continue
        axis = 1 if t == 1 else 0
        flip = np.diag([-1.0 if axis == k else 1.0 for k in (0, 1)])
        matrix, offset = flip @ matrix, flip @ offset
        offset[axis] += size[axis] - 1.0
    return np.array(matrix), np.array(offset)


def layout(geometry: Geometry, shape: tuple[int, int] | None, transforms: Sequence[int] = ()) -> Layout:
    """Return how the raw image after `transforms` maps to the image of the geometry, whose shape is given."""
    a, t = _index_map(geometry.image_transforms, shape)
    raw = None if shape is None else raw_shape(shape, geometry.image_transforms)
    framed = None if raw is None else raw_shape(raw, transforms)
    f, s = _index_map(transforms, framed)
    matrix = a @ f.T
    return Layout(matrix, t - matrix @ s)


def plane_of(geometry: Geometry, shape: tuple[int, int] | None, transforms: Sequence[int] = ()) -> Plane:
    """Return the flat detector of a geometry in the layout of the raw image after `transforms`.

    Examples
    --------
    >>> g = Geometry(distance=1e5, beam_center=(10.0, 20.0), pixel_size=100, wavelength=1.0)
    >>> plane_of(g, None).center
    (20.0, 10.0)
    """
    about_x, about_y, about_z = (_turn(angle, axis) for axis, angle in enumerate(np.radians(geometry.tilts)))
    lab = about_x @ about_y @ about_z  # T of docs/physics/geometry.md
    turned = _FROM_LAB @ lab @ _FROM_LAB.T
    mapping = layout(geometry, shape, transforms)
    in_plane = np.eye(3)
    in_plane[:2, :2] = mapping.matrix
    center = mapping.from_geometry(np.array([[geometry.beam_center[1]], [geometry.beam_center[0]]]))[:, 0]
    return Plane(
        center=(float(center[0]), float(center[1])),
        pixel_size=float(geometry.pixel_size),
        distance=float(geometry.distance),
        directions=turned @ in_plane,
        wavelength=float(geometry.wavelength),
    )


def geometry_of(plane: Plane, transforms: Sequence[int] = ()) -> Geometry:
    """Return the geometry of a flat detector: of the raw image after `transforms`, the layout of the plane."""
    from scipy.spatial.transform import Rotation

    lab = _FROM_LAB.T @ plane.directions @ _FROM_LAB
    tilts = Rotation.from_matrix(lab).as_euler("XYZ", degrees=True)
    return Geometry(
        distance=plane.distance,
        beam_center=(plane.center[1], plane.center[0]),
        pixel_size=plane.pixel_size,
        wavelength=plane.wavelength,
        tilts=(float(tilts[0]), float(tilts[1]), float(tilts[2])),
        image_transforms=tuple(transforms),
    )


def swing_and_twist(plane: Plane) -> tuple[float, float, float]:
    """Return (tilt, rotation of the tilt axis, twist about the beam) [deg]: two_theta depends on the first two alone.

    The plane is turned by `tilt` about an axis across the beam, which stands at `rotation` from the direction of
    increasing columns toward increasing rows, then by `twist` about the beam.
    """
    swap = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    m = swap @ plane.directions @ swap
    tilt = np.arctan2(np.hypot(m[2, 0], m[2, 1]), m[2, 2])
    rotation = -np.arctan2(m[2, 0], m[2, 1])
    swing = _swing(float(tilt), float(rotation))
    twisted = m @ swing.T
    twist = np.arctan2(twisted[1, 0], twisted[0, 0])
    return float(np.degrees(tilt)), float(np.degrees(rotation)), float(np.degrees(twist))


def directions_of(tilt: float, rotation: float, twist: float) -> FloatArray:
    """Return the directions of a plane from `swing_and_twist` [deg]: its inverse."""
    swap = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    m = _turn(np.radians(twist)) @ _swing(np.radians(tilt), np.radians(rotation))
    return np.asarray(swap @ m @ swap)


def _swing(tilt: float, rotation: float) -> FloatArray:
    turn = _turn(rotation)
    return np.asarray(turn @ _turn(tilt, 0) @ turn.T)


def _turn(angle: float, axis: int = 2) -> FloatArray:
    """Return the matrix of a right-handed turn [rad] about a coordinate axis."""
    matrix, first, second = np.eye(3), (axis + 1) % 3, (axis + 2) % 3
    matrix[first, first] = matrix[second, second] = np.cos(angle)
    matrix[second, first] = np.sin(angle)
    matrix[first, second] = -np.sin(angle)
    return matrix


def bent_by(geometry: Geometry) -> list[str]:
    """Return the names of the fields that keep a geometry from being a flat regular grid of pixels.

    Examples
    --------
    >>> flat = Geometry(distance=1e6, beam_center=(10, 20), pixel_size=200, wavelength=0.2, distortion={"p2": 0.0})
    >>> bent_by(flat)
    []
    """
    names = []
    for field in fields(geometry):
        value = getattr(geometry, field.name)
        says = any(value.values()) if isinstance(value, Mapping) else value is not None and bool(value)
        if field.name not in _PLAIN_FIELDS and says:
            names.append(field.name)
    return names


def flattened(geometry: Geometry) -> Geometry:
    """Return the flat regular detector of a geometry: its place, tilts and pixels alone."""
    return Geometry(**{name: getattr(geometry, name) for name in _PLAIN_FIELDS})


def require_flat(geometry: Geometry, program: str, instead: str) -> None:
    """Refuse a geometry that a format without distortion cannot hold."""
    names = bent_by(geometry)
    if names:
        raise InputError(f"{program} cannot hold the geometry's {' and '.join(names)}; {instead}")


def require_unmirrored(plane: Plane, geometry: Geometry, program: str) -> None:
    """Refuse a mirrored image where a format counts azimuths one way only."""
    if plane.mirrored:
        raise InputError(
            f"{program} cannot hold the image transforms {geometry.image_transforms}, which mirror the raw image; save "
            "the transformed image and write the geometry with image_transforms=()"
        )


def number_of(values: Mapping[str, str], key: str, source: str, default: float | None = None) -> float:
    """Return a number of a text file by its key."""
    text = values.get(key)
    if text is None or text in ("", "None"):
        if default is not None:
            return default
        raise FormatError(f"{source}: {key!r} is missing; a geometry needs it")
    try:
        number = float(text)
    except ValueError:
        number = np.nan
    if not np.isfinite(number):
        raise FormatError(f"{source}: {key!r} is {text!r}; expected a number")
    return number
