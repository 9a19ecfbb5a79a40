"""Cakes of any number of frames written to HDF5 as they come, one NXdata (https://manual.nexusformat.org, NXdata)."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from midas.axes import axis_of_radius
from midas.cake.pixels import check_area
from midas.cake.prepared import CakedFrames
from midas.checks import file_path
from midas.geometry import FloatArray, Geometry
from midas.grid import CakeGrid
from midas.io.atomic import atomic_path, keep_inputs
from midas.io.frames import Frames
from midas.io.tree_formats import hdf5_files
from midas.version import version

if TYPE_CHECKING:
    import h5py

_CHUNK_BYTES = 1 << 20
_WHERE = "entry/cake"


def write_cakes(
    path: Path | str,
    blocks: Iterator[CakedFrames],
    grid: CakeGrid,
    geometry: Geometry,
    *,
    normalized: bool,
    sources: Sequence[Path] = (),
) -> Path:
    """Write cakes to an HDF5 file, which is there whole or not at all, and return its path.

    See `CakeMap.apply_to_file` for what is in it.

    Raises
    ------
    InputError
        No bin of any frame holds a valid pixel, or `path` is one of `sources`, the files that the frames come from.
    OutputError
        The folder is missing or cannot be written to, or the disk is full.
    """
    import h5py

    path = file_path("path", path, "the name of the HDF5 file to write")
    keep_inputs([path], sources)
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        group = file.create_group(_WHERE)
        area, pixels, n = _write_blocks(group, blocks, grid.shape)
        check_area(area)
        _write_axes(group, grid, geometry, n)
        bin_area = group.create_dataset("bin_area", data=area / n)
        bin_area.attrs.update({"units": "pixel^2", "long_name": "area of the valid pixels, mean over frames"})
        bin_pixels = group.create_dataset("bin_pixels", data=pixels / n)
        bin_pixels.attrs["long_name"] = "number of valid pixels, mean over frames"
        _write_attributes(file, group, geometry, normalized, sources[0] if sources else None)
    return path


def files_of(frames: Any) -> tuple[Path, ...]:
    """Return the files that frames come from, where they say so: first the one that was opened."""
    if isinstance(frames, Frames):
        return frames.files
    h5py = sys.modules.get("h5py")  # imported, if this is a data set of its
    return hdf5_files(frames) if h5py is not None and isinstance(frames, h5py.Dataset) else ()


def _write_blocks(
    group: h5py.Group, blocks: Iterator[CakedFrames], shape: tuple[int, int]
) -> tuple[FloatArray, FloatArray, int]:
    """Write the cakes of all frames; return the sums of their areas and numbers of pixels, and how many they were."""
    n, area, pixels = 0, np.zeros(shape), np.zeros(shape)
    for caked in blocks:
        end = n + len(caked)
        _append(group, "intensity", caked.intensity, n)
        if caked.variance is not None:
            _append(group, "sigma", np.sqrt(caked.variance), n)
        caked.valid.add_areas_to(area)
        caked.valid.add_pixels_to(pixels)
        n = end
    return area, pixels, n


def _append(group: h5py.Group, name: str, values: Any, at: int) -> None:
    if name not in group:
        shape = values.shape[1:]
        along = max(1, min(64, _CHUNK_BYTES // (4 * max(1, int(np.prod(shape))))))
        group.create_dataset(name, (0, *shape), "f4", maxshape=(None, *shape), chunks=(along, *shape))
    dataset = group[name]
    dataset.resize(at + len(values), axis=0)
    dataset[at:] = values.astype(np.float32, copy=False)


def _write_axes(group: h5py.Group, grid: CakeGrid, geometry: Geometry, n_frames: int) -> None:
    centers, edges = grid.radius_centers(geometry), grid.radius_edges(geometry)
    frame = group.create_dataset("frame", data=np.arange(n_frames))
    frame.attrs["long_name"] = "number of the frame, from 0"
    for name, unit, units in (("radius", "px", "pixel"), ("two_theta", "2theta", "deg"), ("q", "q", "1/angstrom")):
        group.create_dataset(name, data=axis_of_radius(centers, unit, geometry)).attrs["units"] = units
        group.create_dataset(f"{name}_edges", data=axis_of_radius(edges, unit, geometry)).attrs["units"] = units
        group.attrs[f"{name}_indices"] = 1
    group.create_dataset("eta", data=grid.eta_centers).attrs["units"] = "deg"
    group.create_dataset("eta_edges", data=grid.eta_edges).attrs["units"] = "deg"
    group.attrs.update({"frame_indices": 0, "eta_indices": 2})


def _write_attributes(
    file: h5py.File, group: h5py.Group, geometry: Geometry, normalized: bool, source: Path | None
) -> None:
    import h5py

    file.attrs.update({"NX_class": "NXroot", "default": "entry", "creator": "midas", "creator_version": version()})
    file.attrs["HDF5_version"] = h5py.version.hdf5_version
    file["entry"].attrs.update({"NX_class": "NXentry", "default": "cake"})
    group.attrs.update({"NX_class": "NXdata", "signal": "intensity", "axes": ["frame", "radius", "eta"]})
    group.attrs.update({"geometry": json.dumps(geometry.as_record()), "normalized": normalized})
    if source is not None:
        group.attrs["source"] = str(source)
    group["intensity"].attrs["units"] = "counts/pixel^2" if normalized else "counts"
    group["intensity"].attrs["long_name"] = "intensity"
    if "sigma" in group:
        group["sigma"].attrs["units"] = group["intensity"].attrs["units"]
        group["intensity_errors"] = group["sigma"]  # the name by which NXdata finds it
