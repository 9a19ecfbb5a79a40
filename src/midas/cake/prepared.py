"""A map made ready for frames, and what frames become."""

from __future__ import annotations

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

BoolArray = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.floating[Any]]


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
    bin_area: FloatArray
    """Shape of `intensity`: area of the valid pixels in each bin [px²]."""
    bin_pixels: npt.NDArray[np.int32]
    """Shape of `intensity`: number of valid pixels with a part in each bin."""

    def __getitem__(self, frame: int | slice) -> CakedFrames:
        """Return some frames of a stack."""
        variance = None if self.variance is None else self.variance[frame]
        return CakedFrames(self.intensity[frame], variance, self.bin_area[frame], self.bin_pixels[frame])

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
        intensity, variances, area, pixels, differs = found
        own = differs.astype(bool)
        return CakedFrames(
            intensity.reshape(-1, *self.shape),
            None if variances is None else variances.reshape(-1, *self.shape),
            self._of_frames(area, self.core.bin_area, own),
            self._of_frames(pixels, self.core.bin_pixels, own),
        )

    def _of_frames(self, values: npt.NDArray[Any], common: npt.NDArray[Any], own: BoolArray) -> npt.NDArray[Any]:
        """Return the values of frames that have their own, and the common ones of the others."""
        if not own.any():
            return np.broadcast_to(common.reshape(self.shape), (len(own), *self.shape))
        values[~own] = common
        return values.reshape(-1, *self.shape)


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
