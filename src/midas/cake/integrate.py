"""Frames in, cake out: all patterns in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from midas.cake.build import build_map
from midas.cake.corrections import Corrections
from midas.cake.frame_source import opened
from midas.cake.inputs import PixelArrays
from midas.cake.map import CakeMap
from midas.cake.options import IntegrationOptions
from midas.cake.prepared import Floats
from midas.cake.result import Cake, axes_of
from midas.cake.sums import Run, about_sums, frame_shape, prepare_run, sum_frames
from midas.checks import check_type
from midas.detector import Detector
from midas.geometry import FloatArray, Geometry
from midas.grid import CakeGrid


def integrate(
    frames: Any,
    geometry: Geometry,
    grid: CakeGrid,
    *,
    dark: npt.ArrayLike | None = None,
    flat: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
    detector: Detector | None = None,
    options: IntegrationOptions | None = None,
    n_threads: int = 0,
) -> Cake:
    """Return the cake of detector frames: intensity over radius and eta, summed over groups of frames.

    Normalised intensity of a frame is sum(area·s·(raw - dark)) / sum(area) over the valid pixels of a bin, s being 1
    over the flat and the factors of `IntegrationOptions.corrections`, areas exact (core/polygon.hpp and
    docs/physics/areas.md); n frames are summed into one pattern, and the number really summed is stored. Where a bin
    has no valid pixel in some frames of a group, the mean over the others stands for them; in none: NaN.

    Parameters
    ----------
    frames
        Shape (n_z, n_y) or (n_frames, n_z, n_y): an array, `midas.io` Frames, or anything of that shape that gives a
        2-D array for frames[i] (HDF5 and zarr data sets); a list of 2-D arrays; the name of an image file or a list of
        names, which `midas.read_frames` reads. As read from the file: the geometry's image transforms are applied here,
        except to Frames that say they have been.
    geometry, grid
        Where pixels are, and the bins.
    dark, flat, mask
        Shape (n_z, n_y), laid out as the frames; a stack of darks is averaged; the flat is the response of each pixel,
        1 for the mean one, and is divided by; the mask is non-zero where a pixel must not be used.
    detector
        Its mask and saturation count, in the geometry's frame; None takes the shape from the frames.
    options
        `IntegrationOptions`; None takes the defaults.
    n_threads
        0 uses all; the result is the same for any number.

    Raises
    ------
    InputError
        Shapes disagree, a dtype is unusable, image transforms disagree, or nothing is left after masking; an argument
        is of the wrong type, or frames of an HDF5 file were never written.
    FormatError
        A file cannot be read.

    Examples
    --------
    >>> g = Geometry(distance=1e6, beam_center=(20, 20), pixel_size=200, wavelength=0.18)
    >>> cake = integrate(np.full((3, 41, 41), 5.0), g, CakeGrid(2, 18, 2, eta_step=90),
    ...                  options=IntegrationOptions(frames_per_sum=2))
    >>> cake.intensity.shape, cake.frames.tolist(), cake.intensity[:, 0, 0].round(6).tolist()
    ((2, 8, 4), [2, 1], [10.0, 5.0])
    """
    check_type("geometry", geometry, Geometry, call="integrate(frames, geometry, grid)")
    with opened(frames) as stack:
        shape, transformed = frame_shape(stack, geometry)
        transforms = () if transformed else geometry.image_transforms
        if detector is None:
            turned = (shape[2], shape[1]) if sum(t == 3 for t in transforms) % 2 else (shape[1], shape[2])
            detector = Detector(turned, geometry.pixel_size)
        cake_map = build_map(geometry, detector, grid, transformed=transformed, n_threads=n_threads)
        return _in_memory(prepare_run(stack, cake_map, PixelArrays(dark, flat, mask), options, n_threads), stack)


def integrate_with_map(
    frames: Any,
    cake_map: CakeMap,
    *,
    dark: npt.ArrayLike | None = None,
    flat: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
    options: IntegrationOptions | None = None,
    n_threads: int = 0,
) -> Cake:
    """Return the cake of detector frames by a map that exists: as `integrate`, for one frame file after another.

    Examples
    --------
    >>> g = Geometry(distance=1e6, beam_center=(20, 20), pixel_size=200, wavelength=0.18)
    >>> cake_map = build_map(g, Detector((41, 41), 200), CakeGrid(2, 18, 2, eta_step=90))
    >>> integrate_with_map(np.full((41, 41), 5.0), cake_map).intensity.shape
    (1, 8, 4)
    """
    check_type("cake_map", cake_map, CakeMap, call="made by build_map")
    with opened(frames) as stack:
        return _in_memory(prepare_run(stack, cake_map, PixelArrays(dark, flat, mask), options, n_threads), stack)


def _in_memory(run: Run, frames: Any) -> Cake:
    about, sums = about_sums(run, frames), _InMemory(run)
    bin_area, bin_pixels = sum_frames(run, frames, sums)
    options, cake_map, omega = run.options, run.cake_map, run.omega
    return Cake(
        intensity=sums.intensity,
        sigma=np.sqrt(sums.variance) if options.variance else None,
        bin_area=bin_area,
        bin_pixels=bin_pixels,
        eta_overlap=np.asarray(cake_map.core.eta_overlap),
        normalized=options.normalize,
        individual=sums.individual,
        individual_omega=None if sums.individual is None else omega,
        first_frame_number=options.first_frame_number,
        corrections=options.corrections or Corrections(),
        geometry=cake_map.geometry,
        **axes_of(cake_map.grid, cake_map.geometry),
        **about,
    )


class _InMemory:
    """All sums of a run, and each frame where the options ask for them."""

    def __init__(self, run: Run) -> None:
        bins = run.cake_map.shape
        self.intensity = np.empty((len(run.groups), *bins))
        self.variance = np.empty_like(self.intensity)
        self.individual = np.empty((run.n_frames, *bins)) if run.options.individual else None

    def add_frame(self, frame: int, intensity: Floats) -> None:
        if self.individual is not None:
            self.individual[frame] = intensity

    def add_sum(self, k: int, intensity: FloatArray, variance: FloatArray) -> None:
        self.intensity[k], self.variance[k] = intensity, variance
