"""Median, trimmed mean and sigma clipping of the pixels of each bin: for spotty or contaminated rings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from midas import _core
from midas.cake.pixels import FrameInput, native_frame
from midas.cake.prepared import CakedFrames, ValidPixels
from midas.checks import number, whole_number
from midas.errors import InputError

if TYPE_CHECKING:
    from midas.cake.map import CakeMap

METHODS = ("median", "trimmed_mean", "sigma_clip")
SIGMAS = ("scatter", "poisson")


@dataclass(frozen=True)
class RobustOptions:
    """Which robust statistic stands for a bin: of its valid pixels, each with the weight of its area in the bin.

    - "median": the area-weighted median. Half of the area may be wrong. Counts are whole numbers, and so is their
      median, about 1/3 below the mean of Poisson counts: below some 20 counts a pixel take "trimmed_mean".
    - "trimmed_mean": the mean without the fractions `trim` of the area with the lowest and the highest values; the
      pixels at the two quantiles keep just the part of their area that is left.
    - "sigma_clip": from the median on, pixels more than `threshold` sigma from the mean of those kept are dropped for
      good, until an iteration drops no more than `tolerance` of the area.

    Standard errors (equations and sources in `robust.hpp`): of the median from the quantiles two standard deviations
    off (Woodruff 1952, Price and Bonett 2001) and, for integers, the rounding of 1/12 count²; of the trimmed mean from
    the winsorised variance (Tukey and McLaughlin 1963); of the clipped mean from the scatter of the pixels kept, or
    from Poisson counts. Scatter includes what texture and slopes within the bin do. Where it cannot be known (less than
    2 pixels), the error is Poisson's.

    pyFAI differs. Its `medfilt1d_ng` takes the pixel nearest to the quantile, or the mean of whole pixels between two
    quantiles; here the two values that share the half are averaged, and pixels are cut at the quantile. Its
    `sigma_clip_ng` starts from the mean, which zingers drag along, should be used without pixel splitting and uses
    Poisson sigma unless told otherwise; here the start is the median, pixels count by area, and sigma is the scatter by
    default. Errors there are those of the mean of the pixels kept.

    Parameters
    ----------
    method
        "median", "trimmed_mean" or "sigma_clip"; default "median".
    trim
        Fractions of the area that "trimmed_mean" cuts off at the low and at the high end; default (0.1, 0.1).
    threshold
        Deviation beyond which "sigma_clip" drops a pixel [sigma]; default 5.0.
    sigma
        What sigma "sigma_clip" means: "scatter", that of the pixels kept (for counts well above one a pixel: outliers
        of more than 1 / (threshold² + 1) of the area hide themselves), or "poisson", the square root of the mean, at
        least one count (drops texture and slopes too); default "scatter".
    max_iterations
        Iterations of "sigma_clip" at most; default 10.
    tolerance
        "sigma_clip" ends when an iteration drops no more than this fraction of the area; default 0.0.

    Raises
    ------
    InputError
        A name is unknown or a number is out of range.

    Examples
    --------
    >>> RobustOptions("trimmed_mean", trim=(0.0, 0.2)).trim
    (0.0, 0.2)
    """

    method: str = "median"
    trim: tuple[float, float] = (0.1, 0.1)
    threshold: float = 5.0
    sigma: str = "scatter"
    max_iterations: int = 10
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        """Check names and numbers."""
        _check_name("method", self.method, METHODS)
        _check_name("sigma", self.sigma, SIGMAS)
        two = isinstance(self.trim, Sequence) and not isinstance(self.trim, str) and len(self.trim) == 2
        trim = [number("a part of trim", part) for part in self.trim] if two else []
        if not (two and min(trim) >= 0.0 and sum(trim) < 1.0):
            raise InputError(f"trim is {self.trim}; expected two fractions of 0 or more, together below 1")
        threshold = number("threshold", self.threshold)
        if not (math.isfinite(threshold) and threshold > 0.0):
            raise InputError(f"threshold is {threshold:g}; expected a number of sigma above 0")
        if whole_number("max_iterations", self.max_iterations) < 1:
            raise InputError(f"max_iterations is {self.max_iterations}; expected 1 or more")
        if not 0.0 <= number("tolerance", self.tolerance) < 1.0:
            raise InputError(f"tolerance is {self.tolerance:g}; expected a fraction from 0, below 1")

    @property
    def error_holds_dark(self) -> bool:
        """Whether the error of one frame includes that of the dark: scatter does, Poisson counts do not."""
        return self.method != "sigma_clip" or self.sigma == "scatter"


def _check_name(what: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        near = get_close_matches(str(name), known, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise InputError(f"{what} is {name!r}; expected one of {', '.join(known)}{hint}")


@dataclass(frozen=True, eq=False)
class PreparedRobust:
    """A map's pixels listed by bin, with all that frames are combined with: 8 bytes for each part of a pixel in a bin.

    Listing takes some ten times as long as a frame: keep this for frames that come one by one.
    """

    core: _core.RobustIntegrator = field(repr=False)
    shape: tuple[int, int]
    """Number of bins (n_radius, n_eta)."""
    frame_shape: tuple[int, int]
    """Rows and columns of the frames."""

    def apply(
        self, frames: npt.NDArray[Any] | Sequence[npt.NDArray[Any]], *, variance: bool = True, n_threads: int = 0
    ) -> CakedFrames:
        """Return the statistic of each bin of frames of one dtype; see `CakeMap.apply_robust`."""
        arrays = [native_frame(frame, self.frame_shape) for frame in frames]
        intensity, variances, area, pixels = self.core.apply(arrays, variance=variance, n_threads=n_threads)
        return CakedFrames(
            intensity.reshape(-1, *self.shape),
            None if variances is None else variances.reshape(-1, *self.shape),
            ValidPixels(area.reshape(-1, *self.shape), pixels.reshape(-1, *self.shape), len(intensity)),
        )


def prepare_robust(cake_map: CakeMap, options: RobustOptions, inputs: FrameInput | None = None) -> PreparedRobust:
    """Return a map made ready for robust statistics of frames.

    Raises
    ------
    InputError
        The inputs ask for sums that are not divided by the area.

    Examples
    --------
    >>> import numpy as np
    >>> from midas import CakeGrid, Detector, Geometry, build_map
    >>> g = Geometry(distance=1e6, beam_center=(10, 10), pixel_size=200, wavelength=0.18)
    >>> cake_map = build_map(g, Detector((21, 21), 200), CakeGrid(0, 9, 3, eta_step=90))
    >>> prepared = prepare_robust(cake_map, RobustOptions("sigma_clip"))
    >>> prepared.apply([np.full((21, 21), 7, dtype=np.uint16)]).intensity[0, 0].tolist()
    [7.0, 7.0, 7.0, 7.0]
    """
    inputs = inputs or FrameInput(saturation=cake_map.detector.saturation)
    core = _core.RobustIntegrator(
        cake_map.core,
        method=options.method,
        trim=(float(options.trim[0]), float(options.trim[1])),
        threshold=options.threshold,
        max_iterations=options.max_iterations,
        tolerance=options.tolerance,
        sigma=options.sigma,
        **inputs.of_core(),
        n_threads=inputs.n_threads,
    )
    return PreparedRobust(core, cake_map.shape, cake_map.frame_shape)
