"""What can be chosen about an integration."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from midas.cake.robust import RobustOptions
from midas.checks import check_type, number, whole_number
from midas.errors import InputError


@dataclass(frozen=True)
class IntegrationOptions:
    """How frames are grouped, corrected and normalised. The defaults change nothing about the counts.

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
    """Frames summed into one pattern (`OmegaSumFrames`); -1 sums all. The last group may be shorter."""
    omega_start: float = 0.0
    """Omega of the first frame [deg]."""
    omega_step: float = 0.0
    """Omega from frame to frame [deg]."""
    first_frame_number: int = 0
    """Number of the first frame in the file, counted from 0: that of frames skipped."""
    variance: bool = True
    """Also give sigma."""
    individual: bool = False
    """Keep each frame's cake too (`SaveIndividualFrames`)."""
    normalize: bool = True
    """Divide by the area of the valid pixels; False gives plain weighted sums (`Normalize 0`)."""
    solid_angle: bool = False
    """Divide by cos³(2θ)."""
    polarization: float | None = None
    """Divide by 1 - f sin²(2θ) cos²(η - polarization_axis) with this f; None does not correct."""
    polarization_axis: float = 90.0
    """η of the beam's electric field [deg]; see `midas.cake.corrections.polarization_factor`."""
    bad_values: tuple[float, ...] = ()
    """Pixel values that are no counts (`GapIntensity`, `BadPxIntensity`), beside the marks that are always left out."""
    negative_counts: bool = False
    """True: negative values are counts, as in frames whose dark is subtracted, and not marks of bad pixels."""
    dark_frames: int = 1
    """Frames that the dark is the mean of; its variance is dark / dark_frames."""
    robust: RobustOptions | None = None
    """A robust statistic of each bin's pixels, frame by frame, in place of their mean; None takes the mean. A method's
    name stands for its defaults."""
    progress: Callable[[int, int], None] | None = None
    """Called with (frames done, frames in all) after each frame."""

    def __post_init__(self) -> None:
        """Check the values."""
        for name in ("frames_per_sum", "first_frame_number", "dark_frames"):
            whole_number(name, getattr(self, name))
        for name in ("omega_start", "omega_step", "polarization_axis"):
            number(name, getattr(self, name), "a number [deg]")
        if self.frames_per_sum == 0 or self.frames_per_sum < -1:
            raise InputError(f"frames_per_sum is {self.frames_per_sum}; expected a number of frames, or -1 for all")
        if not (math.isfinite(self.omega_start) and math.isfinite(self.omega_step)):
            raise InputError(
                f"omega starts at {self.omega_start} in steps of {self.omega_step}; expected finite degrees"
            )
        if self.dark_frames < 1:
            raise InputError(f"dark_frames is {self.dark_frames}; expected 1 or more")
        between = "a fraction from 0 to 1, or None"
        if self.polarization is not None and not 0.0 <= number("polarization", self.polarization, between) <= 1.0:
            raise InputError(f"polarization is {self.polarization:g}; expected {between}")
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
