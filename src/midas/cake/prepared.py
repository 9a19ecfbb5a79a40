"""A map made ready for frames, and what frames become."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from midas import _core
from midas.cake.pixels import NATIVE, check_shape, native_frame
from midas.checks import yes_or_no
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
    """Number of frames."""
    own_frame: IntArray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    """Shape (n,): frame of each bin that differs; ascending."""
    own_bin: IntArray = field(default_factory=lambda: np.empty(0, dtype=np.int32))
    """Shape (n,): its number, radius·n_eta + eta."""
    own_pixels: npt.NDArray[np.int32] = field(default_factory=lambda: np.empty(0, dtype=np.int32))
    """Shape (n,): valid pixels in it."""
    own_area: FloatArray = field(default_factory=lambda: np.empty(0))
    """Shape (n,): their area in it [px²]; 0 where none is left."""

    def __getitem__(self, frames: slice) -> ValidPixels:
        """Return those of some frames."""
        numbers = np.arange(self.n_frames)[frames]
        full = self.area.ndim == 3
        place = np.full(self.n_frames, -1)
        place[numbers] = np.arange(len(numbers))
        chosen = np.flatnonzero(place[self.own_frame] >= 0)
        if frames.step is not None and frames.step < 0:
            chosen = chosen[np.argsort(place[self.own_frame[chosen]], kind="stable")]
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

    def add_areas_to(self, total: FloatArray) -> None:
        """Add the areas to `total`, shape (n_radius, n_eta), C-contiguous, frame by frame: the same for any blocks."""
        ends = np.searchsorted(self.own_frame, np.arange(self.n_frames + 1))
        bins = total.reshape(-1)
        for i in range(self.n_frames):
            of_frame = slice(ends[i], ends[i + 1])
            numbers = self.own_bin[of_frame]
            with_own = bins[numbers] + self.own_area[of_frame]
            total += self.area[i] if self.area.ndim == 3 else self.area
            bins[numbers] = with_own

    def add_pixels_to(self, total: FloatArray) -> None:
        """Add the numbers of pixels to `total`, as `add_areas_to`, but at once: they are exact in any order."""
        if self.pixels.ndim == 3:
            total += self.pixels.sum(axis=0, dtype=np.float64)
            return
        total += self.pixels * float(self.n_frames)
        np.add.at(total.reshape(-1), self.own_bin, self.own_pixels - self.pixels.reshape(-1)[self.own_bin])

    def emptied(self) -> tuple[IntArray, IntArray]:
        """Return frame and number of the bins without a valid pixel.

        Of areas common to all frames, bins that never have one are left out: their intensity is NaN.
        """
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
    """Shape (n_radius, n_eta) or (n_frames, n_radius, n_eta): sum(area·s·(raw - dark)) / sum(area), counts per px²; not
    divided with normalize=False [counts]. s is 1 over the flat and the factors of the corrections, 1 without any."""
    variance: Floats | None
    """Shape of `intensity`: its variance, sum(area²·s²·raw) / sum(area)² plus the dark's, which is one for all frames;
    None unless asked for. Single precision where it comes from sums of counts alone."""
    valid: ValidPixels = field(repr=False)
    """Which pixels are counts in each frame, without an array for every frame."""

    def __repr__(self) -> str:
        """Say in one line what is in it."""
        *frames, n_radius, n_eta = self.intensity.shape
        n = frames[0] if frames else 1
        how_many = f"{n} frame{'s' if n != 1 else ''}"
        return (
            f"CakedFrames({how_many}, {n_radius} radius x {n_eta} eta bins, {self.intensity.dtype}, "
            f"{'with' if self.variance is not None else 'without'} variance)"
        )

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
        self._check_is_stack()
        variance = None if self.variance is None else self.variance[frame]
        if not isinstance(frame, slice):
            number = range(len(self))[frame]
            return CakedFrames(self.intensity[frame], variance, self.valid[number : number + 1])
        return CakedFrames(self.intensity[frame], variance, self.valid[frame])

    def __len__(self) -> int:
        """Return the number of frames of a stack."""
        self._check_is_stack()
        return len(self.intensity)

    def _check_is_stack(self) -> None:
        if self.intensity.ndim != 3:
            raise TypeError("these are the cakes of one frame, not of a stack; give apply a stack of one")


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
            check_shape((len(frames), *frames.shape), self.frame_shape)
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

    @functools.cached_property
    def _common(self) -> tuple[FloatArray, npt.NDArray[np.int32]]:
        """Area and pixels of the bins, copied: the core's own would keep the whole map alive for as long as a cake."""
        area, pixels = self.core.bin_area.reshape(self.shape).copy(), self.core.bin_pixels.reshape(self.shape).copy()
        area.flags.writeable = pixels.flags.writeable = False
        return area, pixels

    def _caked(self, found: _core.IntegratorResult) -> CakedFrames:
        intensity, variances, (frame, number, pixels, area) = found
        return CakedFrames(
            intensity.reshape(-1, *self.shape),
            None if variances is None else variances.reshape(-1, *self.shape),
            ValidPixels(
                *self._common,
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

    def __post_init__(self) -> None:
        """Refuse a variance that is neither True nor False."""
        yes_or_no("variance", self.variance)

    def apply(
        self, frames: npt.NDArray[Any] | Sequence[npt.NDArray[Any]] | PackedFrames, n_threads: int | None = None
    ) -> CakedFrames:
        """Return frames of one dtype summed over the bins, with the variance of the dark; n_threads None: its own."""
        threads = self.n_threads if n_threads is None else n_threads
        result = self.prepared.apply(frames, variance=self.variance, single=self.single, n_threads=threads)
        if result.variance is None or self.dark_variance is None:
            return result
        return replace(result, variance=result.variance + self.dark_variance)
