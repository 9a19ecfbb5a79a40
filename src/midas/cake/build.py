"""Building the map of pixel areas per bin, or reading it where it is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from midas import _core
from midas.cake.map import CakeMap
from midas.cake.map_file import keep_map, load_or_none, map_key, map_path
from midas.cake.pixels import RawLayout
from midas.checks import check_type, thread_count
from midas.detector import Detector
from midas.errors import InputError
from midas.geometry import Geometry, doubtful_distance
from midas.grid import CakeGrid
from midas.messages import warn_caller

_PIXEL_SIZE_TOLERANCE = 1e-6  # relative


def build_map(
    geometry: Geometry,
    detector: Detector,
    grid: CakeGrid,
    *,
    transformed: bool = False,
    cache: Path | str | None = None,
    n_threads: int = 0,
) -> CakeMap:
    """Return the map of pixel areas per bin for a geometry, a detector and a grid.

    The weight of a pixel in a bin is the exact area of the pixel's quadrilateral cut by two arcs and two rays, once its
    corners are mapped to (R, η) with R = (L/px) tan(2θ) [px]: px² for grids in 2θ and q, too. Bins past a full turn
    from the first eta edge are cut there, so no pixel counts twice. Source: core/polygon.hpp, docs/physics/areas.md.

    Parameters
    ----------
    geometry, grid
        Where pixels are, and the bins.
    detector
        Shape and mask in the geometry's frame, that is, after its image transforms; masked pixels are left out.
    transformed
        False: the frames to come are as read from the file, and the geometry's `image_transforms` are built into the
        map. True: they are transformed already.
    cache
        Where the map is kept: a folder, which holds any number of maps, or a name ending in `.cakemap`. A map there
        that was made of the same geometry, detector, mask and grid by the same version of midas is read, which is much
        faster; one that was not, or is damaged, is built again and replaced, and the log says why.
    n_threads
        0 uses all; the map is the same for any number.

    Raises
    ------
    InputError
        The pixel sizes disagree, every pixel is masked, or no pixel lies in the bins; `cache` is a file of another
        name; an argument is of the wrong type.

    Warns
    -----
    UserWarning
        The map cannot be written to `cache`; it is returned all the same. The distance looks like mm.

    Examples
    --------
    >>> g = Geometry(distance=1e6, beam_center=(10, 10), pixel_size=200, wavelength=0.18)
    >>> build_map(g, Detector((21, 21), 200), CakeGrid(0, 9, 1, eta_step=45)).shape
    (9, 8)
    """
    call = "build_map(geometry, midas.Detector(shape, pixel_size), grid)"
    check_type("geometry", geometry, Geometry, call=call)
    check_type("detector", detector, Detector, call=call)
    check_type("grid", grid, CakeGrid, call=call)
    n_threads = thread_count(n_threads)
    if abs(detector.pixel_size - geometry.pixel_size) > _PIXEL_SIZE_TOLERANCE * geometry.pixel_size:
        raise InputError(
            f"the detector's pixel_size is {detector.pixel_size:g} µm and the geometry's {geometry.pixel_size:g} µm; "
            "expected the same"
        )
    if doubt := doubtful_distance(geometry):
        warn_caller(doubt)
    if detector.mask is not None and detector.mask.all():
        raise InputError("every pixel of the detector is masked; check the sense of the mask: True leaves a pixel out")
    layout = RawLayout.of(detector.shape, () if transformed else geometry.image_transforms)
    key = map_key(geometry, detector, grid, layout)
    path = None if cache is None else map_path(cache, key)
    core = None
    if path is not None:
        core = load_or_none(path, key=key, shape=grid.shape, frame_shape=layout.shape, n_threads=n_threads)
    if core is None:
        core = _cut(geometry, detector, grid, layout, n_threads)
        if path is not None:
            keep_map(core, path, key=key, frame_shape=layout.shape)
    return CakeMap(geometry, detector, grid, transformed, key, core, layout)


def _cut(geometry: Geometry, detector: Detector, grid: CakeGrid, layout: RawLayout, n_threads: int) -> _core.CakeMap:
    """Return the compiled map, cut anew."""
    mask = detector.mask
    core = _core.CakeMap(
        geometry.projection,
        shape=detector.shape,
        layout=(layout.first, layout.step_z, layout.step_y),
        radius_edges=grid.radius_edges(geometry),
        eta_edges=grid.eta_edges,
        mask=None if mask is None else mask.view(np.uint8),
        n_threads=n_threads,
    )
    if core.n_entries == 0:
        raise InputError(
            f"no pixel lies in the bins, {grid}; check the range of the grid and the beam centre {geometry.beam_center}"
        )
    return core
