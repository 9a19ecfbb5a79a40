"""Frames in, cake out: mask, dark, corrections, sums over groups of frames, their variance."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from midas.cake.corrections import pixel_scale
from midas.cake.frame_source import are_names, are_transformed, check_source, known_shape
from midas.cake.map import CakeMap, build_map
from midas.cake.options import IntegrationOptions
from midas.cake.pixels import Dark, FrameInput, prepare_dark, prepare_mask
from midas.cake.prepared import CakedFrames, PreparedMap
from midas.cake.result import CONDITIONS, Cake
from midas.cake.robust import PreparedRobust, prepare_robust
from midas.cake.stream import Apply, caked_blocks
from midas.checks import check_type
from midas.detector import Detector, transform_image
from midas.errors import InputError
from midas.geometry import FloatArray, Geometry
from midas.grid import CakeGrid
from midas.io.frames import read_frames
from midas.io.hdf5_chunks import PackedFrames

_SUSPICIOUS_NEGATIVES = 0.2  # fraction of a float frame; gaps and bad pixels are a few per cent


def integrate(
    frames: Any,
    geometry: Geometry,
    grid: CakeGrid,
    *,
    dark: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
    detector: Detector | None = None,
    options: IntegrationOptions | None = None,
    n_threads: int = 0,
) -> Cake:
    """Return the cake of detector frames: intensity over radius and eta, summed over groups of frames.

    Normalised intensity of a frame is sum(area·(raw - dark)) / sum(area) over the valid pixels of a bin (SPEC
    section 5); n frames are summed into one pattern, and the number really summed is stored. Where a bin has no valid
    pixel in some frames of a group, the mean over the others stands for them; in none: NaN.

    Parameters
    ----------
    frames
        Shape (n_z, n_y) or (n_frames, n_z, n_y): an array, `midas.io` Frames, or anything of that shape that gives a
        2-D array for frames[i] (HDF5 and zarr data sets); a list of 2-D arrays; the name of an image file or a list of
        names, which `midas.read_frames` reads. As read from the file: the geometry's image transforms are applied here,
        except to Frames that say they have been.
    geometry, grid
        Where pixels are, and the bins.
    dark, mask
        Shape (n_z, n_y), laid out as the frames; a stack of darks is averaged; the mask is non-zero where a pixel must
        not be used.
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
    with _opened(frames) as stack:
        shape, transformed = _frame_shape(stack, geometry)
        transforms = () if transformed else geometry.image_transforms
        if detector is None:
            turned = (shape[2], shape[1]) if sum(t == 3 for t in transforms) % 2 else (shape[1], shape[2])
            detector = Detector(turned, geometry.pixel_size)
        cake_map = build_map(geometry, detector, grid, transformed=transformed, n_threads=n_threads)
        return _with_map(stack, cake_map, dark, mask, options, n_threads)


def integrate_with_map(
    frames: Any,
    cake_map: CakeMap,
    *,
    dark: npt.ArrayLike | None = None,
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
    with _opened(frames) as stack:
        return _with_map(stack, cake_map, dark, mask, options, n_threads)


def _with_map(
    frames: Any,
    cake_map: CakeMap,
    dark: npt.ArrayLike | None,
    mask: npt.ArrayLike | None,
    options: IntegrationOptions | None,
    n_threads: int,
) -> Cake:
    options = IntegrationOptions() if options is None else options
    check_type("options", options, IntegrationOptions, call="IntegrationOptions(frames_per_sum=10)")
    shape, transformed = _frame_shape(frames, cake_map.geometry)
    cake_map.check_transformed(transformed)
    transforms = () if cake_map.transformed else cake_map.geometry.image_transforms
    if shape[1:] != cake_map.frame_shape:
        raise InputError(
            f"the frames have {shape[1]} x {shape[2]} pixels but the detector's shape {cake_map.detector.shape} with "
            f"image transforms {transforms} needs {cake_map.frame_shape[0]} x {cake_map.frame_shape[1]}; check both"
        )
    mean_dark = prepare_dark(dark, cake_map.frame_shape, options.dark_frames)
    inputs = _prepare(cake_map, mean_dark, mask, transforms, options, n_threads)
    return _run(_Run(cake_map, inputs, mean_dark, options), frames, shape[0])


@dataclass(frozen=True, eq=False)
class _Run:
    cake_map: CakeMap
    inputs: FrameInput
    dark: Dark | None
    options: IntegrationOptions


def _frame_shape(frames: Any, geometry: Geometry) -> tuple[tuple[int, int, int], bool]:
    """Return (n_frames, rows, columns) and whether the image transforms are applied already."""
    check_source(frames)
    listed = isinstance(frames, list | tuple)
    if isinstance(frames, Iterator):
        raise InputError(
            f"frames is a {type(frames).__name__}, whose number is not known before it ends; give a list of frames, or "
            "cake them one by one with build_map(...).apply_each(frames)"
        )
    if not listed and not hasattr(frames, "shape"):
        raise InputError(
            f"frames is a {type(frames).__name__}; expected an array of shape (rows, columns) or "
            "(frames, rows, columns), a list of 2-D arrays, or names of files"
        )
    found = (len(frames), *(np.shape(frames[0]) if frames else ())) if listed else known_shape(frames)
    shape = (1, *found) if len(found) == 2 and not listed else found
    if len(shape) != 3 or min(shape) < 1:
        raise InputError(f"frames have shape {found}; expected (rows, columns) or (frames, rows, columns)")
    return (shape[0], shape[1], shape[2]), are_transformed(frames, geometry)


@contextmanager
def _opened(frames: Any) -> Iterator[Any]:
    """Yield frames; those of files while these are open."""
    if not are_names(frames):
        yield frames
        return
    with read_frames(frames) as stack:
        yield stack


def _prepare(
    cake_map: CakeMap,
    dark: Dark | None,
    mask: npt.ArrayLike | None,
    transforms: tuple[int, ...],
    options: IntegrationOptions,
    n_threads: int,
) -> FrameInput:
    masked = prepare_mask(mask, cake_map.frame_shape)
    scale = None
    if options.solid_angle or options.polarization is not None:
        scale = pixel_scale(
            cake_map.geometry,
            cake_map.detector.shape,
            solid_angle=options.solid_angle,
            polarization=options.polarization,
            polarization_axis=options.polarization_axis,
            n_threads=n_threads,
        )
        # Each transform is its own inverse: back to the layout of the frames as read.
        scale = transform_image(scale, transforms[::-1]).astype(np.float64, copy=False)
    return FrameInput(
        dark=None if dark is None else dark.counts,
        scale=scale,
        mask=masked if dark is None else dark.merged_mask(masked),
        bad_values=tuple(float(v) for v in options.bad_values),
        saturation=cake_map.detector.saturation,
        negative_counts=options.negative_counts,
        normalize=options.normalize,
        n_threads=n_threads,
    )


def _negative_fraction(frame: npt.NDArray[Any]) -> float:
    return float(np.count_nonzero(frame < 0)) / frame.size if frame.dtype.kind == "f" else 0.0


def _warn_of_negatives(fraction: float, options: IntegrationOptions) -> None:
    if fraction > _SUSPICIOUS_NEGATIVES and not options.negative_counts:
        warnings.warn(
            f"{100 * fraction:.0f} % of the pixels of the first frame are negative and are left out as bad pixels; if "
            "the dark was subtracted before, pass IntegrationOptions(negative_counts=True)",
            stacklevel=5,
        )


class _GroupSum:
    """The sum over the frames of a group, bin by bin."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.intensity = np.zeros(shape)
        self.variance = np.zeros(shape)
        self.emptied = np.zeros(shape)
        """In how many frames a bin has no valid pixel; bins that never have one are NaN."""

    def add(self, caked: CakedFrames) -> None:
        """Add one frame: one after another, so that the sum does not depend on how many are read at once."""
        _, empty = caked.valid.emptied()
        self.emptied.reshape(-1)[empty] += 1.0
        for total, values in ((self.intensity, caked.intensity), (self.variance, caked.variance)):
            if values is None:
                continue
            before = total.reshape(-1)[empty]
            np.add(total, values, out=total)
            total.reshape(-1)[empty] = before

    def total(
        self, n_frames: int, dark_variance: FloatArray | None, *, holds_dark: bool
    ) -> tuple[FloatArray, FloatArray]:
        """Return intensity and variance of the sum over n_frames; the error of the one dark adds up linearly.

        `holds_dark`: the variance of each frame includes the dark's.
        """
        n_valid = n_frames - self.emptied
        filled = np.divide(n_frames, n_valid, out=np.full(n_valid.shape, np.nan), where=n_valid > 0)
        variance = self.variance * filled**2
        if dark_variance is not None:
            variance += (n_frames**2 - n_frames * holds_dark) * dark_variance
        return self.intensity * filled, variance


def _caker(run: _Run) -> Apply:
    """Return what cakes frames in the way that the options ask for."""
    prepared: PreparedMap | PreparedRobust
    if run.options.robust is None:
        prepared = run.cake_map.prepare(run.inputs)
    else:
        prepared = prepare_robust(run.cake_map, run.options.robust, run.inputs)

    def apply(block: Sequence[npt.NDArray[Any]] | PackedFrames, threads: int) -> CakedFrames:
        if isinstance(prepared, PreparedMap):
            return prepared.apply(block, variance=run.options.variance, n_threads=threads)
        unpacked = block.frames(n_threads=threads) if isinstance(block, PackedFrames) else block
        return prepared.apply(unpacked, variance=run.options.variance, n_threads=threads)

    return apply


def _run(run: _Run, frames: Any, n: int) -> Cake:
    options, n_bins = run.options, run.cake_map.shape
    dark_variance = None
    if run.dark is not None and options.variance:
        dark_variance = run.cake_map.dark_variance(run.dark, run.inputs)
    holds_dark = options.robust is not None and options.robust.error_holds_dark
    groups = options.groups(n)
    intensity = np.empty((len(groups), *n_bins))
    variance = np.empty_like(intensity)
    individual = np.empty((n, *n_bins)) if options.individual else None
    area = np.zeros(n_bins)
    group = _GroupSum(n_bins)
    n_threads = run.inputs.n_threads
    negative: list[float] = []

    source = caked_blocks(
        _caker(run),
        frames,
        run.cake_map.frame_shape,
        run.cake_map.block_size(n_threads),
        whole=True,
        look=lambda frame: negative.append(_negative_fraction(frame)),
        n_threads=n_threads,
    )
    k = 0
    with closing(source) as blocks:
        for done, caked in enumerate((block[i] for block in blocks for i in range(len(block))), 1):
            if done == 1:
                _warn_of_negatives(max(negative, default=0.0), options)
            caked.valid.add_areas_to(area)
            if individual is not None:
                individual[done - 1] = caked.intensity
            group.add(caked)
            first, end = groups[k]
            if done == end:
                intensity[k], variance[k] = group.total(end - first, dark_variance, holds_dark=holds_dark)
                group, k = _GroupSum(n_bins), k + 1
            if options.progress is not None:
                options.progress(done, n)
    return _result(run, frames, groups, (intensity, variance, area / n), individual)


def _result(
    run: _Run,
    frames: Any,
    groups: list[tuple[int, int]],
    sums: tuple[FloatArray, FloatArray, FloatArray],
    individual: FloatArray | None,
) -> Cake:
    options, cake_map = run.options, run.cake_map
    intensity, variance, area = sums
    if not area.any():
        raise InputError(
            "no bin holds a valid pixel: the frames are masked or without counts over the range of the grid"
        )
    n = groups[-1][1]
    omega = np.asarray(options.omega_start + options.omega_step * np.arange(n), dtype=np.float64)
    first = np.array([g[0] for g in groups])
    last = np.array([g[1] - 1 for g in groups])
    return Cake(
        intensity=intensity,
        sigma=np.sqrt(variance) if options.variance else None,
        bin_area=area,
        radius=cake_map.grid.radius_centers(cake_map.geometry),
        radius_edges=cake_map.grid.radius_edges(cake_map.geometry),
        eta=cake_map.grid.eta_centers,
        eta_edges=cake_map.grid.eta_edges,
        geometry=cake_map.geometry,
        frames=last - first + 1,
        frame_numbers=last + options.first_frame_number,
        first_omega=omega[first],
        last_omega=omega[last],
        eta_overlap=np.asarray(cake_map.core.eta_overlap),
        normalized=options.normalize,
        individual=individual,
        individual_omega=omega if individual is not None else None,
        first_frame_number=options.first_frame_number,
        **_conditions(getattr(frames, "metadata", {}), groups),
    )


def _conditions(metadata: Mapping[str, Any], groups: list[tuple[int, int]]) -> dict[str, FloatArray]:
    """Return the means over each group of what the file says of temperature, pressure and ion chambers; NaN unknown."""
    found = {}
    by_name = {str(key).lower(): value for key, value in metadata.items()}
    n = groups[-1][1]
    for name in CONDITIONS:
        try:
            values = np.asarray(by_name.get(name, np.nan), dtype=np.float64).ravel()
        except (TypeError, ValueError):
            values = np.full(1, np.nan)
        if values.size not in (1, n):
            raise InputError(f"the file gives {values.size} values of {name} for {n} frames; expected 1 or {n}")
        per_frame = np.broadcast_to(values, n)
        found[name] = np.array([per_frame[a:b].mean() for a, b in groups])
    return found
