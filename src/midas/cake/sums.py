"""From frames to sums over groups of frames, one after another: mask, dark, corrections, variance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from midas.cake.frame_source import are_transformed, check_source, known_shape
from midas.cake.inputs import PixelArrays, frame_input
from midas.cake.map import CakeMap
from midas.cake.options import IntegrationOptions
from midas.cake.pixels import Dark, FrameInput, check_area
from midas.cake.prepared import CakedFrames, Floats, PreparedMap
from midas.cake.robust import PreparedRobust, prepare_robust
from midas.cake.stream import Apply, caked_blocks
from midas.checks import check_type
from midas.errors import InputError
from midas.geometry import FloatArray, Geometry
from midas.io.hdf5_chunks import PackedFrames
from midas.io.image_source import CONDITIONS
from midas.messages import warn_caller

_SUSPICIOUS_NEGATIVES = 0.2  # fraction of a float frame; gaps and bad pixels are a few per cent
_MOST_MARKS = 8  # different negative values that a detector marks pixels with; noise below 0 has thousands
_LEAST_NOISE = 1e-3  # fraction of a float frame from which more values than that tell of a dark subtracted before


@dataclass(frozen=True)
class Segment:
    """Frames of a source that are a scan of their own: no sum goes over their border."""

    n_frames: int
    """How many."""
    omega_start: float | None = None
    """Omega of the first of them [deg]; None as the options say."""
    omega_step: float | None = None
    """Omega from frame to frame [deg]; None as the options say."""


@dataclass(frozen=True, eq=False)
class Run:
    """What frames of a source are summed with, and how."""

    cake_map: CakeMap
    inputs: FrameInput
    dark: Dark | None
    options: IntegrationOptions
    segments: tuple[Segment, ...]
    """The scans of the source, one after another."""

    @property
    def n_frames(self) -> int:
        """Frames of the source."""
        return sum(segment.n_frames for segment in self.segments)

    @property
    def groups(self) -> list[tuple[int, int]]:
        """The frames of each sum as (first, one past the last)."""
        lengths = [segment.n_frames for segment in self.segments]
        starts = np.cumsum([0, *lengths[:-1]]).tolist()
        return [(at + a, at + b) for at, n in zip(starts, lengths, strict=True) for a, b in self.options.groups(n)]

    @property
    def omega(self) -> FloatArray:
        """Shape (n_frames,): omega of each frame [deg]."""
        return np.concatenate([self._omega_of(segment) for segment in self.segments])

    def _omega_of(self, segment: Segment) -> FloatArray:
        start = self.options.omega_start if segment.omega_start is None else segment.omega_start
        step = self.options.omega_step if segment.omega_step is None else segment.omega_step
        return np.asarray(start + step * np.arange(segment.n_frames), dtype=np.float64)


class Results(Protocol):
    """Where the results of a run go, in order."""

    def add_frame(self, frame: int, intensity: Floats) -> None:
        """Take the intensity of a frame, counted from 0."""

    def add_sum(self, k: int, intensity: FloatArray, variance: FloatArray) -> None:
        """Take a sum, after its last frame; variance has no meaning unless the options ask for it."""


def prepare_run(
    frames: Any,
    cake_map: CakeMap,
    arrays: PixelArrays,
    options: IntegrationOptions | None,
    n_threads: int,
    segments: Sequence[Segment] | None = None,
) -> Run:
    """Return all that the frames of a source are summed with; options None takes the defaults, and has the corrections.

    `segments`: the scans in it; None: all are one.

    Raises
    ------
    InputError
        Shapes disagree, a dtype is unusable, image transforms disagree, options are of the wrong type, or the segments
        have more or fewer frames than the source.
    """
    options = IntegrationOptions() if options is None else options
    check_type("options", options, IntegrationOptions, call="IntegrationOptions(frames_per_sum=10)")
    shape, transformed = frame_shape(frames, cake_map.geometry)
    cake_map.check_transformed(transformed)
    transforms = () if cake_map.transformed else cake_map.geometry.image_transforms
    if shape[1:] != cake_map.frame_shape:
        done = tuple(getattr(frames, "image_transforms", ())) if transformed else ()
        turned = f", with image transforms {done} applied (ImTransOpt)," if done else ""
        needs = f" with image transforms {transforms} needs" if transforms else " needs"
        raise InputError(
            f"the frames have {shape[1]} x {shape[2]} pixels{turned} but the detector's shape "
            f"{cake_map.detector.shape}{needs} {cake_map.frame_shape[0]} x {cake_map.frame_shape[1]}; check both"
            f"{' (NrPixelsZ, NrPixelsY are rows and columns after the transforms)' if done else ''}"
        )
    mean_dark, inputs = frame_input(
        cake_map,
        replace(arrays, corrections=options.corrections),
        dark_frames=options.dark_frames,
        bad_values=options.bad_values,
        negative_counts=options.negative_counts,
        normalize=options.normalize,
        n_threads=n_threads,
    )
    run = Run(cake_map, inputs, mean_dark, options, (Segment(shape[0]),) if segments is None else tuple(segments))
    if run.n_frames != shape[0] or any(segment.n_frames < 1 for segment in run.segments):
        lengths = [segment.n_frames for segment in run.segments]
        raise InputError(f"the segments have {lengths} frames; expected 1 or more each, {shape[0]} together")
    return run


def frame_shape(frames: Any, geometry: Geometry) -> tuple[tuple[int, int, int], bool]:
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


def _suspicious_negatives(frame: npt.NDArray[Any]) -> float:
    """Return the fraction of negative pixels where they look like counts less a dark, 0 where they look like marks."""
    if frame.dtype.kind != "f":
        return 0.0
    negative = frame[frame < 0]
    fraction = float(len(negative)) / frame.size
    is_noise = fraction > _LEAST_NOISE and len(np.unique(negative)) > _MOST_MARKS
    return fraction if is_noise or fraction > _SUSPICIOUS_NEGATIVES else 0.0


def _warn_of_negatives(fraction: float, options: IntegrationOptions) -> None:
    if fraction > 0.0 and not options.negative_counts:
        warn_caller(
            f"{100 * fraction:.3g} % of the pixels of the first frame are negative and are left out as bad pixels; if "
            "the dark was subtracted before, that makes intensities too high: pass "
            "IntegrationOptions(negative_counts=True), or midas integrate --negative-counts"
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


def _caker(run: Run) -> Apply:
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


def sum_frames(run: Run, frames: Any, results: Results) -> tuple[FloatArray, FloatArray]:
    """Sum the frames of a source, hand over each result as it is there; return area and number of pixels of each bin.

    Both are those of valid pixels, mean over frames.

    Raises
    ------
    InputError
        No bin holds a valid pixel, or as `caked_blocks`.
    """
    options, n, n_bins = run.options, run.n_frames, run.cake_map.shape
    dark_variance = None
    if run.dark is not None and options.variance:
        dark_variance = run.cake_map.dark_variance(run.dark, run.inputs)
    holds_dark = options.robust is not None and options.robust.error_holds_dark
    groups = run.groups
    area, pixels = np.zeros(n_bins), np.zeros(n_bins)
    group = _GroupSum(n_bins)
    n_threads = run.inputs.n_threads
    negative: list[float] = []

    source = caked_blocks(
        _caker(run),
        frames,
        run.cake_map.frame_shape,
        run.cake_map.block_size(n_threads),
        whole=True,
        look=lambda frame: negative.append(_suspicious_negatives(frame)),
        n_threads=n_threads,
    )
    k = 0
    with closing(source) as blocks:
        for done, caked in enumerate((block[i] for block in blocks for i in range(len(block))), 1):
            if done == 1:
                _warn_of_negatives(max(negative, default=0.0), options)
            caked.valid.add_areas_to(area)
            caked.valid.add_pixels_to(pixels)
            results.add_frame(done - 1, caked.intensity)
            group.add(caked)
            first, end = groups[k]
            if done == end:
                results.add_sum(k, *group.total(end - first, dark_variance, holds_dark=holds_dark))
                group, k = _GroupSum(n_bins), k + 1
            if options.progress is not None:
                options.progress(done, n)
    check_area(area)
    return area / n, pixels / n


def about_sums(run: Run, frames: Any) -> dict[str, npt.NDArray[Any]]:
    """Return what is known of the sums before they are summed, under the names of the fields of `Cake`."""
    groups, omega = run.groups, run.omega
    first = np.array([g[0] for g in groups])
    last = np.array([g[1] - 1 for g in groups])
    return {
        "frames": last - first + 1,
        "frame_numbers": last + run.options.first_frame_number,
        "first_omega": omega[first],
        "last_omega": omega[last],
        **_conditions(getattr(frames, "metadata", {}), groups),
    }


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
