"""Frames less their dark, in their own dtype: what `-preProcThresh` asks for (SPEC section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from midas.errors import InputError
from midas.io.archive import ImageStack
from midas.io.image_source import Image, valid_mask


class DarkSubtracted:
    """Frames from which a dark is subtracted as they are read: a stack of the same shape and dtype.

    A pixel below dark + threshold becomes 0, any other pixel - dark, to the nearest whole number where the dtype is
    one of integers. What is no count stays what it was; a pixel without a dark is marked as the dtype marks what is no
    count: the largest value of an unsigned one, -1 of a signed one, NaN.

    Parameters
    ----------
    frames
        Raw frames.
    dark
        Shape (n_z, n_y), the mean of the dark frames; NaN where there is none.
    threshold
        Counts above the dark, 0 or more.
    bad_values
        Further values that are no counts.

    Raises
    ------
    InputError
        The dark has another shape than a frame, or the threshold is negative.

    Examples
    --------
    >>> from midas.io.frames import Frames
    >>> raw = Frames.from_array(np.array([[[100, 107, 130, 65535]]], dtype=np.uint16))
    >>> DarkSubtracted(raw, np.full((1, 4), 100.0), threshold=10).several(0, 1).tolist()
    [[[0, 0, 30, 65535]]]
    """

    def __init__(
        self,
        frames: ImageStack,
        dark: npt.NDArray[np.floating[Any]],
        *,
        threshold: float,
        bad_values: Sequence[float] = (),
    ) -> None:
        if dark.shape != frames.shape[1:]:
            raise InputError(f"the dark has shape {dark.shape}; expected {frames.shape[1:]} as of the frames")
        if not threshold >= 0.0 or not np.isfinite(threshold):
            raise InputError(f"the threshold (-preProcThresh) is {threshold:g}; expected counts, 0 or more")
        self.shape, self.dtype = frames.shape, frames.dtype
        self._frames, self._bad_values, self._threshold = frames, tuple(bad_values), threshold
        self._unknown = ~np.isfinite(dark)
        self._dark = np.where(self._unknown, 0.0, dark).astype(np.float64)

    def several(self, first: int, end: int, *, n_threads: int = 0) -> Image:
        """Return frames `first` to `end`, shape (end - first, n_z, n_y)."""
        raw = self._frames.several(first, end, n_threads=n_threads)
        out = np.empty_like(raw)
        for k, frame in enumerate(raw):
            out[k] = self._subtracted(frame)
        return out

    def _subtracted(self, frame: Image) -> Image:
        counted = valid_mask(frame, bad_values=self._bad_values)
        net = np.where(counted, frame, 0).astype(np.float64) - self._dark
        net[net < self._threshold] = 0.0
        if self.dtype.kind != "f":
            np.rint(net, out=net)
        out: Image = np.where(counted, net, 0.0).astype(self.dtype)
        out[~counted] = frame[~counted]
        out[self._unknown & counted] = _no_count(self.dtype)
        return out


def _no_count(dtype: np.dtype[Any]) -> Any:
    if dtype.kind == "u":
        return np.iinfo(dtype).max
    return -1 if dtype.kind == "i" else np.nan
