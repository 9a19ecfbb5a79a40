"""Darks: constant ones, and frames less their dark in their own dtype, which `-preProcThresh` asks for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from midas.checks import number
from midas.errors import InputError
from midas.io.frames import Frames
from midas.io.image_source import FrameSource, Image, is_counted, valid_mask


def constant_dark(dark: Path | str) -> float | None:
    """Return the counts that stand in place of a dark's file name, the same for every pixel; None for a file.

    Examples
    --------
    >>> constant_dark("100"), constant_dark("dark_000011.ge3") is None
    (100.0, True)
    """
    try:
        counts = float(str(dark))
    except ValueError:
        return None
    if Path(dark).exists():
        return None
    if not math.isfinite(counts) or counts < 0.0:
        raise InputError(f"the dark is {dark}; expected the name of a file, or counts of every pixel, 0 or more")
    return counts


def check_threshold(threshold: float) -> None:
    """Raise InputError of a threshold above the dark that is neither counts from 0 nor -1, which stands for none.

    Examples
    --------
    >>> check_threshold(-1), check_threshold(10)
    (None, None)
    """
    if not 0.0 <= number("threshold", threshold) < math.inf and threshold != -1:
        raise InputError(f"the threshold (-preProcThresh) is {threshold:g}; expected -1 or counts from 0")


def less_dark(
    frames: Frames, dark: npt.ArrayLike | None, *, threshold: float, bad_values: Sequence[float] = ()
) -> Frames:
    """Return frames from which a dark is subtracted as they are read, in their own dtype.

    A pixel below dark + threshold becomes 0, any other pixel - dark, to the nearest whole number where the dtype is
    one of integers. What is no count stays what it was; a pixel without a dark is marked as the dtype marks what is no
    count: the largest value of an unsigned one, -1 of a signed one, NaN.

    Parameters
    ----------
    frames
        Raw frames; they are closed with what is returned.
    dark
        Shape (n_z, n_y), one dark frame as it is or the mean of several, laid out as the frames; a pixel that is not
        `is_counted` has none. None subtracts nothing.
    threshold
        Counts above the dark, 0 or more.
    bad_values
        Further values that are no counts.

    Raises
    ------
    InputError
        The dark has another shape than a frame, the threshold is negative, or 0 is said to be no count.

    Examples
    --------
    >>> raw = Frames.from_array(np.array([[[100, 107, 130, 65535]]], dtype=np.uint16))
    >>> less_dark(raw, np.full((1, 4), 100.0), threshold=10)[0].tolist()
    [[0, 0, 30, 65535]]
    """
    mean = np.zeros(frames.shape[1:]) if dark is None else np.asarray(dark)
    if mean.shape != frames.shape[1:]:
        raise InputError(f"the dark has shape {mean.shape}; expected {frames.shape[1:]} as of the frames")
    if not threshold >= 0.0 or not np.isfinite(threshold):
        raise InputError(f"the threshold (-preProcThresh) is {threshold:g}; expected counts, 0 or more")
    if 0.0 in bad_values:
        raise InputError(
            "the parameters say that 0 is no count (GapIntensity, BadPxIntensity), but pixels below the threshold "
            "(-preProcThresh) become 0; leave out the threshold"
        )
    return Frames(_LessDark(frames, mean, threshold, tuple(bad_values)))


class _LessDark(FrameSource):
    """The frames of `less_dark`."""

    def __init__(self, frames: Frames, dark: npt.NDArray[Any], threshold: float, bad_values: tuple[float, ...]) -> None:
        self.shape, self.dtype, self.files = frames.shape, frames.dtype, frames.files
        self.segments, self.metadata = frames.segments, frames.metadata
        self.image_transforms = frames.image_transforms
        self._frames, self._bad_values, self._threshold = frames, bad_values, threshold
        self._unknown = ~is_counted(dark)
        self._dark = np.where(self._unknown, 0.0, dark.astype(np.float64))

    def read(self, index: int) -> Image:
        return self._subtracted(self._frames[index])

    def read_several(self, first: int, end: int, n_threads: int) -> Image:
        raw = self._frames.several(first, end, n_threads=n_threads)
        out = np.empty_like(raw)
        for k, frame in enumerate(raw):
            out[k] = self._subtracted(frame)
        return out

    def read_mask(self) -> Image | None:
        mask = self._frames.mask
        return None if mask is None else mask.astype(np.uint8)

    def close(self) -> None:
        self._frames.close()

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
