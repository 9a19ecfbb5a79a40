"""A map made ready for frames, and what frames become."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from midas import _core
from midas.cake.pixels import NATIVE, native_frame
from midas.geometry import FloatArray
from midas.io.hdf5_chunks import PackedFrames, lz4_address

BATCH = 16
"""Frames that the core sums side by side."""

Floats = npt.NDArray[np.floating[Any]]
IntArray = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, eq=False)
class ValidPixels:
    """Area and number of the valid pixels of each bin: those of all frames, and bins of single frames that differ."""

    area: FloatArray
    """Shape (n_radius, n_eta), or with a leading axis of frames [px²]."""
    pixels: npt.NDArray[np.int32]
    """Shape of `area`: number of valid pixels with a part in the bin."""
    n_frames: int
    own_frame: IntArray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    """Shape (n,): frame of each bin that differs, ascending."""
    own_bin: IntArray = field(default_factory=lambda: np.empty(0, dtype=np.int32))
    """Shape (n,): its number, radius·n_eta + eta."""
    own_pixels: npt.NDArray[np.int32] = field(default_factory=lambda: np.empty(0, dtype=np.int32))
    own_area: FloatArray = field(default_factory=lambda: np.empty(0))

    def __getitem__(self, frames: slice) -> ValidPixels:
        """Return those of some frames."""
        numbers = np.arange(self.n_frames)[frames]
        full = self.area.ndim == 3
        place = np.full(self.n_frames, -1)
        place[numbers] = np.arange(len(numbers))
        chosen = place[self.own_frame] >= 0
        return ValidPixels(
            self.area[frames] if full else self.area,
            self.pixels[frames] if full else self.pixels,
            len(numbers),
            place[self.own_frame][chosen],
            self.own_bin[chosen],
            self.own_pixels[chosen],
            self.own_area[chosen],
        )

    def all_areas(self) -> FloatArray:
        """Return the areas of every frame, shape (n_frames, n_radius, n_eta)."""
        return self._of_frames(self.area, self.own_area)

    def all_pixels(self) -> npt.NDArray[np.int32]:
        """Return the numbers of pixels of every frame, shape (n_frames, n_radius, n_eta)."""
        return self._of_frames(self.pixels, self.own_pixels)

    def total_area(self) -> FloatArray:
        """Return the sum of the areas over the frames, shape (n_radius, n_eta)."""
        if self.area.ndim == 3:
            return np.asarray(self.area.sum(axis=0))
        total = self.area * self.n_frames
        np.add.at(total.reshape(-1), self.own_bin, self.own_area - self.area.reshape(-1)[self.own_bin])
        return total

    def emptied(self) -> tuple[IntArray, IntArray]:
        """Return frame and number of the bins without a valid pixel; not those that have none in any frame."""
        if self.area.ndim == 3:
            frame, number = np.nonzero(self.area.reshape(self.n_frames, -1) == 0.0)
            return frame, number
        empty = self.own_pixels == 0
        return self.own_frame[empty], self.own_bin[empty]

    def _of_frames(self, common: npt.NDArray[Any], own: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if common.ndim == 3:
            return common
        every = np.broadcast_to(common, (self.n_frames, *common.shape))
        if len(own):
            every = every.copy()
            every.reshape(self.n_frames, -1)[self.own_frame, self.own_bin] = own
        return every


@dataclass(frozen=True, eq=False)
class CakedFrames:
    """Frames summed over the bins of a map; with a leading axis of frames where a stack was given.

    A bin without a valid pixel has intensity and variance NaN and area 0.
    """

    intensity: Floats
    """Shape (n_radius, n_eta) or (n_frames, n_radius, n_eta): sum(area·(raw - dark)) / sum(area), counts per px²; not
    divided with normalize=False [counts]."""
    variance: Floats | None
    """Shape of `intensity`: its variance, sum(area²·raw) / sum(area)² plus the dark's; None unless asked for."""
    valid: ValidPixels = field(repr=False)
    """Which pixels are counts in each frame, without an array for every frame."""

    @functools.cached_property
    def bin_area(self) -> FloatArray:
        """Shape of `intensity`: area of the valid pixels in each bin [px²]."""
        return self.valid.all_areas().reshape(self.intensity.shape)

    @functools.cached_property
    def bin_pixels(self) -> npt.NDArray[np.int32]:
        """Shape of `intensity`: number of valid pixels with a part in each bin."""
        return self.valid.all_pixels().reshape(self.intensity.shape)

    def __getitem__(self, frame: int | slice) -> CakedFrames:
        """Return some frames of a stack."""
        variance = None if self.variance is None else self.variance[frame]
        if not isinstance(frame, slice):
            number = range(len(self))[frame]
            return CakedFrames(self.intensity[frame], variance, self.valid[number : number + 1])
        return CakedFrames(self.intensity[frame], variance, self.valid[frame])

    def __len__(self) -> int:
        """Return the number of frames of a stack."""
        return len(self.intensity)


@dataclass(frozen=True, eq=False)
class PreparedMap:
    """A map and all that its frames are combined with: dark, mask, corrections, which values are counts."""

    core: _core.Integrator = field(repr=False)
    shape: tuple[int, int]
    """Number of bins (n_radius, n_eta)."""
    frame_shape: tuple[int, int]
    """Rows and columns of the frames."""

    def apply(
        self,
        frames: npt.NDArray[Any] | Sequence[npt.NDArray[Any]] | PackedFrames,
        *,
        variance: bool = False,
        single: bool = False,
        n_threads: int = 0,
    ) -> CakedFrames:
        """Return frames of one dtype summed over the bins; no variance of the dark.

        `single` gives intensity and variance in single precision. Of packed frames only strips are unpacked at a time.
        """
        if isinstance(frames, PackedFrames):
            if frames.for_core and frames.dtype.name in NATIVE:
                return self._caked(
                    self.core.apply_packed(
                        frames.chunks,
                        dtype=frames.dtype,
                        decompress=lz4_address(),
                        variance=variance,
                        single=single,
                        n_threads=n_threads,
                    )
                )
            frames = frames.frames(n_threads=n_threads)
        arrays = [native_frame(frame, self.frame_shape) for frame in frames]
        return self._caked(self.core.apply(arrays, variance=variance, single=single, n_threads=n_threads))

    def _caked(self, found: _core.IntegratorResult) -> CakedFrames:
        intensity, variances, (frame, number, pixels, area) = found
        return CakedFrames(
            intensity.reshape(-1, *self.shape),
            None if variances is None else variances.reshape(-1, *self.shape),
            ValidPixels(
                self.core.bin_area.reshape(self.shape),
                self.core.bin_pixels.reshape(self.shape),
                len(intensity),
                frame,
                number,
                pixels,
                area,
            ),
        )


@dataclass(frozen=True, eq=False)
class Recipe:
    """A prepared map and how it is applied."""

    prepared: PreparedMap
    variance: bool
    dark_variance: FloatArray | None
    n_threads: int

    single: bool = False
    """Intensity and variance in single precision."""

    def apply(
        self, frames: npt.NDArray[Any] | Sequence[npt.NDArray[Any]] | PackedFrames, n_threads: int | None = None
    ) -> CakedFrames:
        """Return frames of one dtype summed over the bins, with the variance of the dark; n_threads None: its own."""
        threads = self.n_threads if n_threads is None else n_threads
        result = self.prepared.apply(frames, variance=self.variance, single=self.single, n_threads=threads)
        if result.variance is None or self.dark_variance is None:
            return result
        return replace(result, variance=result.variance + self.dark_variance)
