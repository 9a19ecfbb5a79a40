"""Distortion as a map of pixel positions, for programs that hold no p-terms: a spline file, or corners in HDF5.

Each pixel is given the place on the flat tilted plane where its ray (two_theta, eta) passes. Smooth maps become a
bicubic spline in the text format of Fit2D ("SPATIAL DISTORTION SPLINE INTERPOLATION COEFFICIENTS"), which pyFAI reads;
what a spline cannot follow, such as shifted panels, the corners of each pixel in the NXdetector that pyFAI reads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from midas import _core
from midas.detector import Detector
from midas.errors import FormatError
from midas.geometry import ALL_TERMS, SMALLEST_RADIUS, FloatArray, Geometry, distortion_parameters
from midas.io.atomic import atomic_path
from midas.io.exchange.plane import Layout, flattened

_GOOD_SPLINE = 2e-6  # px: more knots would not show through the file's eight digits
_USABLE_SPLINE = 1e-4  # px: a spline that misses by more does not describe the map
_MOST_INTERVALS = 64
_MOST_MISFIT = 0.01  # px: a map that p-terms miss by more is refused
_SAMPLES = 61  # along each edge, to find the p-terms of a map
_CELL = 16  # px: edge of the squares whose pixels are taken to be alike in shape
_WORD = 14  # characters of a number in a spline file
_HEADINGS = ("VALID REGION", "GRID SPACING, X-PIXEL SIZE, Y-PIXEL SIZE", "X-DISTORTION", "Y-DISTORTION")

SplineTerms = tuple[FloatArray, FloatArray, FloatArray]
"""Knots along columns, knots along rows, coefficients."""


@dataclass(frozen=True, eq=False)
class Spline:
    """Displacements [px] of pixel positions counted from the image's corner, as bicubic splines."""

    shape: tuple[int, int]
    """Rows and columns."""
    pixel_size: tuple[float, float]
    """Along rows and along columns [µm]."""
    columns: SplineTerms
    """Displacement along columns."""
    rows: SplineTerms
    """Displacement along rows."""

    def displaced(self, rows: FloatArray, columns: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the flat positions (rows, columns) [px, integers are pixel centres] of a grid of positions.

        Shape (n_rows, n_columns), for rows of shape (n_rows,) and columns of shape (n_columns,), both ascending.
        """

        def value(terms: SplineTerms) -> FloatArray:
            of_columns, of_rows = _basis(terms[0], columns + 0.5), _basis(terms[1], rows + 0.5)
            return of_rows @ terms[2].reshape(of_columns.shape[1], of_rows.shape[1]).T @ of_columns.T

        return rows[:, None] + value(self.rows), columns[None, :] + value(self.columns)


def flat_positions(geometry: Geometry, layout: Layout, rows: FloatArray, columns: FloatArray) -> FloatArray:
    """Return the (row, column) [px] where the flat detector sees what the real one sees at these, shape (2, ...)."""
    shape = np.broadcast_shapes(rows.shape, columns.shape)
    position = np.stack([np.broadcast_to(v, shape).ravel() for v in (rows, columns)])
    z, y = layout.to_geometry(position)
    _, two_theta, eta = geometry.to_polar(y, z)
    flat = flattened(geometry)
    y, z = flat.to_pixel(flat.radius_of(two_theta), eta)
    return layout.from_geometry(np.stack([z, y])).reshape(2, *shape)


def find_spline(geometry: Geometry, layout: Layout, shape: tuple[int, int]) -> Spline | None:
    """Return splines that follow the map to 1e-4 px or better, None where none does."""
    intervals = 8
    best: tuple[float, Spline] | None = None
    while intervals <= _MOST_INTERVALS and intervals <= min(shape) // 2:
        # Whole numbers: the readers keep knots in single precision.
        rows, columns = (np.unique(np.rint(np.linspace(0, n, intervals + 1))) for n in shape)
        move = _displacement(geometry, layout, rows, columns)
        if not np.isfinite(move).all():
            return None
        terms = [_interpolating(columns, rows, part) for part in (move[0], move[1])]
        size = float(geometry.pixel_size)
        spline = Spline(shape, (size, size), columns=terms[1], rows=terms[0])
        error = _spline_error(spline, geometry, layout, rows, columns)
        if best is None or error < best[0]:
            best = (error, spline)
        if error < _GOOD_SPLINE:
            break
        intervals *= 2
    return best[1] if best is not None and best[0] < _USABLE_SPLINE else None


def _interpolating(columns: FloatArray, rows: FloatArray, values: FloatArray) -> SplineTerms:
    """Return the bicubic spline through values of shape (len(rows), len(columns)), with no knot beside the ends."""
    knots = [np.concatenate([np.full(4, v[0]), v[2:-2], np.full(4, v[-1])]) for v in (columns, rows)]
    of_columns, of_rows = (_basis(t, v) for t, v in zip(knots, (columns, rows), strict=True))
    coefficients = np.linalg.solve(of_columns, np.linalg.solve(of_rows, values).T)
    return _single(knots[0]), _single(knots[1]), _single(coefficients.ravel())


def _basis(knots: FloatArray, at: FloatArray) -> FloatArray:
    """Return the cubic B-splines on the knots at ascending places, shape (len(at), len(knots) - 4).

    De Boor, A Practical Guide to Splines (1978), chapter X, equation 5; places beyond the last knots count as there.
    Written out because scipy.interpolate takes as long to import as a calibration takes.
    """
    x = np.clip(at, knots[3], knots[-4])[:, None]
    interval = np.clip(np.searchsorted(knots, x[:, 0], side="right") - 1, 3, len(knots) - 5)
    basis = (np.arange(len(knots) - 1) == interval[:, None]).astype(np.float64)
    for degree in (1, 2, 3):
        first, last = knots[: -degree - 1], knots[degree + 1 :]
        rise, fall = knots[degree:-1] - first, last - knots[1:-degree]
        left, right = (np.divide(1.0, w, out=np.zeros_like(w), where=w > 0.0) for w in (rise, fall))
        basis = (x - first) * left * basis[:, :-1] + (last - x) * right * basis[:, 1:]
    return np.asarray(basis, dtype=np.float64)


def _single(numbers: npt.ArrayLike) -> FloatArray:
    """Return numbers as the readers of the file keep them."""
    return np.asarray(np.asarray(numbers, dtype=np.float32), dtype=np.float64)


def _displacement(geometry: Geometry, layout: Layout, rows: FloatArray, columns: FloatArray) -> FloatArray:
    """Return the displacement (rows, columns) [px] on a grid of positions counted from the corner."""
    grid = np.broadcast_arrays(rows[:, None] - 0.5, columns[None, :] - 0.5)
    return np.asarray(flat_positions(geometry, layout, *grid) - np.stack(grid))


def _spline_error(spline: Spline, geometry: Geometry, layout: Layout, rows: FloatArray, columns: FloatArray) -> float:
    """Return the largest error [px] between the knots."""
    between = [np.sort(np.concatenate([v[:-1] + f * np.diff(v) for f in (0.27, 0.5, 0.81)])) for v in (rows, columns)]
    true = _displacement(geometry, layout, between[0], between[1])
    got = spline.displaced(between[0] - 0.5, between[1] - 0.5)
    nominal = (between[0][:, None] - 0.5, between[1][None, :] - 0.5)
    return float(max(np.max(np.abs(g - n - t)) for g, n, t in zip(got, nominal, true, strict=True)))


def write_spline(path: Path, spline: Spline) -> Path:
    """Write a spline file of Fit2D and return its path."""
    lines = ["SPATIAL DISTORTION SPLINE INTERPOLATION COEFFICIENTS", "", f"  {_HEADINGS[0]}"]
    lines += [_words((0.0, 0.0, spline.shape[1], spline.shape[0])), "", f"  {_HEADINGS[1]}"]
    knots = np.unique(spline.columns[0])
    grid = float(np.max(np.diff(knots)))
    lines += [_words((grid, spline.pixel_size[1], spline.pixel_size[0])), ""]
    for heading, terms in zip(_HEADINGS[2:], (spline.columns, spline.rows), strict=True):
        lines += [f"  {heading}", f"{len(terms[0]):6d}{len(terms[1]):6d}"]
        numbers = np.concatenate(terms)
        lines += [_words(numbers[i : i + 5]) for i in range(0, len(numbers), 5)]
        lines += [""]
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="ascii")
    return path


def _words(numbers: FloatArray | tuple[float, ...]) -> str:
    return "".join(f"{v:{_WORD}.7E}" for v in numbers)


def read_spline(path: Path) -> Spline:
    """Return the splines of a spline file of Fit2D.

    Raises
    ------
    FormatError
        The file is not one.
    """
    try:
        lines = [line.rstrip() for line in path.read_text(encoding="ascii", errors="replace").splitlines()]
    except OSError as error:
        raise FormatError(
            f"{path}: the spline file cannot be read ({error.strerror}); put it beside the .poni"
        ) from None
    found: dict[str, list[str]] = {}
    for i, line in enumerate(lines):
        heading = line.strip().upper()
        if heading in _HEADINGS:
            end = next((k for k in range(i + 1, len(lines)) if not lines[k]), len(lines))
            found[heading] = lines[i + 1 : end]
    try:
        region = _numbers(found[_HEADINGS[0]])
        sizes = _numbers(found[_HEADINGS[1]])
        terms = [_spline_terms(found[name]) for name in _HEADINGS[2:]]
        shape = (round(region[3] - region[1]), round(region[2] - region[0]))
        return Spline(shape, (float(sizes[2]), float(sizes[1])), columns=terms[0], rows=terms[1])
    except (KeyError, ValueError, IndexError):
        raise FormatError(f"{path}: this is no spline file of Fit2D; expected blocks {', '.join(_HEADINGS)}") from None


def _numbers(lines: list[str]) -> FloatArray:
    words = [line[i : i + _WORD] for line in lines for i in range(0, len(line), _WORD)]
    return np.array([float(word) for word in words])


def _spline_terms(lines: list[str]) -> SplineTerms:
    n, m = (int(word) for word in lines[0].split())
    numbers = _numbers(lines[1:])
    if len(numbers) != n + m + (n - 4) * (m - 4):
        raise ValueError("the number of coefficients does not match the knots")
    return numbers[:n], numbers[n : n + m], numbers[n + m :]


def corner_block(geometry: Geometry, layout: Layout, rows: range, n_columns: int) -> FloatArray:
    """Return the flat corners (row, column) [px] of some rows of pixels, shape (len(rows), n_columns, 4, 2).

    The middle of each pixel is exact; how far its corners lie from it is taken from one pixel in 16 x 16, as it changes
    little over that. Corners run (first row, first column), (last, first), (last, last), (first, last).
    """
    row, column = np.meshgrid(np.array(rows, dtype=float), np.arange(n_columns, dtype=float), indexing="ij")
    middle = flat_positions(geometry, layout, row, column)
    cells = [np.arange(n) // _CELL for n in row.shape]
    at = [np.minimum(np.arange(c[-1] + 1) * _CELL + _CELL // 2, len(c) - 1) for c in cells]
    chosen = np.ix_(*at)
    corners = np.empty((*row.shape, 4, 2))
    for k, (down, across) in enumerate(((-1, -1), (1, -1), (1, 1), (-1, 1))):
        # Taken inside the pixel and carried to its edge, so that a corner belongs to the panel of its own pixel.
        inside = flat_positions(geometry, layout, row[chosen] + 0.25 * down, column[chosen] + 0.25 * across)
        reach = 2.0 * (inside - middle[:, chosen[0], chosen[1]])
        corners[:, :, k] = np.moveaxis(middle + reach[:, cells[0][:, None], cells[1][None, :]], 0, -1)
    return corners


def with_distortion(
    flat: Geometry, shape: tuple[int, int], position: FloatArray, target: FloatArray, source: str
) -> Geometry:
    """Return the flat geometry with the p-terms that put pixels at `position` where the flat ones at `target` are.

    Both have shape (2, n): rows and columns [px]. The distortion is linear in its coefficients: d radius / d
    coefficient of the flat geometry is each one's share.

    Raises
    ------
    FormatError
        No p-terms describe the map to a hundredth of a pixel.
    """
    rows, columns = (np.ascontiguousarray(v) for v in position)
    scaled = replace(flat, distortion_radius=reference_radius(flat, shape))
    radius, _, straight = scaled.to_polar(columns, rows)
    wanted, _, eta = scaled.to_polar(target[1], target[0])
    basis = scaled.projection.radius_gradient(columns, rows)[:, _core.FIRST_DISTORTION :] / flat.pixel_size
    known = np.isfinite(basis).all(axis=1) & np.isfinite(wanted)
    coefficients, *_ = np.linalg.lstsq(basis[known], (wanted - radius)[known], rcond=1e-12)
    along = np.abs(basis @ coefficients + radius - wanted)[known]
    across = (wanted * np.abs(np.sin(np.radians(eta - straight))))[known]
    worst = float(max(along.max(), across.max()))
    if not worst < _MOST_MISFIT:
        raise FormatError(
            f"{source}: its pixel positions differ by up to {worst:.3g} px from any distortion {ALL_TERMS}; midas "
            "cannot hold such a map, calibrate the image again with midas"
        )
    return replace(scaled, distortion=distortion_parameters(np.asarray(coefficients, dtype=np.float64)))


def reference_radius(flat: Geometry, shape: tuple[int, int]) -> float:
    """Return the length that normalises the distortion [µm]: to the farthest corner, or the smallest allowed."""
    farthest = Detector(shape, flat.pixel_size).farthest_corner(flat.beam_center)
    return max(farthest, math.nextafter(SMALLEST_RADIUS * flat.pixel_size, math.inf))


def samples(shape: tuple[int, int]) -> tuple[FloatArray, FloatArray]:
    """Return the rows and columns, ascending, at which a map is compared with p-terms."""
    rows, columns = (np.linspace(0.0, n - 1.0, min(n, _SAMPLES)).round() for n in shape)
    return rows, columns
