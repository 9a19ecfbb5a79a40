"""What can be chosen about an integration."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from midas.cake.corrections import Corrections
from midas.cake.robust import RobustOptions
from midas.checks import check_type, number, whole_number, yes_or_no
from midas.errors import InputError


@dataclass(frozen=True)
class IntegrationOptions:
    """How frames are grouped, corrected and normalised. The defaults change nothing about the counts.

    Parameters
    ----------
    frames_per_sum
        Frames summed into one pattern (`OmegaSumFrames`); -1 sums all; default 1. The last group may be shorter.
    omega_start
        Omega of the first frame [deg]; default 0.0.
    omega_step
        Omega from frame to frame [deg]; default 0.0.
    first_frame_number
        Number of the first frame in the file, counted from 0: that of frames skipped; default 0.
    variance
        True: also give sigma; default True.
    individual
        True: keep each frame's cake too (`SaveIndividualFrames`); default False.
    normalize
        True: divide by the area of the valid pixels, counts / px²; False gives plain weighted sums, counts
        (`Normalize 0`); default True.
    corrections
        Solid angle and polarization: `Corrections`; default None, neither.
    bad_values
        Pixel values that are no counts (`GapIntensity`, `BadPxIntensity`), beside the marks that are always left out;
        default ().
    negative_counts
        True: negative values are counts, as in frames whose dark is subtracted, and not marks of bad pixels; default
        False.
    dark_frames
        Frames that the dark is the mean of; its variance is dark / dark_frames; default 1.
    robust
        A robust statistic of each bin's pixels, frame by frame, in place of their mean: `RobustOptions`, or the name of
        a method with its defaults; default None, the mean.
    progress
        Called with (frames done, frames in all) after each frame; default None.

    Raises
    ------
    InputError
        A number is out of range.

    Examples
    --------
    >>> IntegrationOptions(frames_per_sum=-1).groups(5)
    [(0, 5)]
    >>> IntegrationOptions(frames_per_sum=2).groups(5)
    [(0, 2), (2, 4), (4, 5)]
    """

    frames_per_sum: int = 1
    omega_start: float = 0.0
    omega_step: float = 0.0
    first_frame_number: int = 0
    variance: bool = True
    individual: bool = False
    normalize: bool = True
    corrections: Corrections | None = None
    bad_values: tuple[float, ...] = ()
    negative_counts: bool = False
    dark_frames: int = 1
    robust: RobustOptions | None = None
    progress: Callable[[int, int], None] | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        for name in ("frames_per_sum", "first_frame_number", "dark_frames"):
            whole_number(name, getattr(self, name))
        for name in ("individual", "normalize", "variance", "negative_counts"):
            yes_or_no(name, getattr(self, name))
        for name in ("omega_start", "omega_step"):
            number(name, getattr(self, name), "a number [deg]")
        if self.frames_per_sum == 0 or self.frames_per_sum < -1:
            raise InputError(f"frames_per_sum is {self.frames_per_sum}; expected a number of frames, or -1 for all")
        if not (math.isfinite(self.omega_start) and math.isfinite(self.omega_step)):
            raise InputError(
                f"omega starts at {self.omega_start} in steps of {self.omega_step}; expected finite degrees"
            )
        if self.dark_frames < 1:
            raise InputError(f"dark_frames is {self.dark_frames}; expected 1 or more")
        if self.corrections is not None:
            check_type("corrections", self.corrections, Corrections, call="Corrections(solid_angle=True)")
        if not isinstance(self.bad_values, Iterable) or isinstance(self.bad_values, str):
            raise InputError(f"bad_values are {self.bad_values!r}; expected a tuple of numbers")
        object.__setattr__(self, "bad_values", tuple(number("a bad value", v) for v in self.bad_values))
        if self.progress is not None and not callable(self.progress):
            raise InputError(f"progress is {self.progress!r}; expected a function of (frames done, frames), or None")
        if isinstance(self.robust, str):
            object.__setattr__(self, "robust", RobustOptions(self.robust))
        if self.robust is not None:
            check_type("robust", self.robust, RobustOptions, call='or the name of a method, such as "median"')
        if self.robust is not None and not self.normalize:
            raise InputError("robust statistics are intensities per area; expected normalize=True, or robust=None")

    def groups(self, n_frames: int) -> list[tuple[int, int]]:
        """Return the frames of each sum as (first, one past the last)."""
        size = n_frames if self.frames_per_sum == -1 else self.frames_per_sum
        return [(first, min(first + size, n_frames)) for first in range(0, n_frames, size)]
