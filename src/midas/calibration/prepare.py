"""From a raw image to what the calibration works on: counts as float32 and the mask of pixels to leave out."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from midas import _core
from midas.calibration.filters import interpolated, nearest_usable
from midas.detector import transform_image
from midas.errors import InputError
from midas.io.image_source import valid_mask

logger = logging.getLogger(__name__)

FloatImage = npt.NDArray[np.float32]
BoolImage = npt.NDArray[np.bool_]

MIN_EDGE = 32
"""Smallest number of rows and columns a calibration accepts [px]."""

_THINNED = 3  # pixels from sample to sample of the local median
_HOT_RATIO = 5.0  # a pixel this many times its brightest neighbour (over background) is no diffraction
_HOT_SIGMA = 20.0  # and as many standard deviations of counting noise above it
_DEAD_RATIO = 0.2  # of the background around: dead pixels and narrow shadows
_DEAD_LEVEL = 25.0  # counts of background below which a pixel of few counts may be chance
_SUSPICIOUS_NEGATIVES = 0.02  # share of negative pixels in a float image above which they look like counts


@dataclass(frozen=True, eq=False)
class PreparedImage:
    """The image a calibration fits, with sentinels, dead and hot pixels masked."""

    counts: FloatImage
    """Shape (n_z, n_y), counts after dark subtraction and image transforms, over `gain`; 0 where masked."""
    mask: BoolImage
    """Shape (n_z, n_y), True where a pixel is not used."""
    n_hot: int
    """Pixels masked for standing far above all their neighbours."""
    n_dead: int
    """Pixels masked for lying far below their surroundings."""
    gain: float = 1.0
    """What the image was divided by, so that its noise is that of counts."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns (n_z, n_y)."""
        return (self.counts.shape[0], self.counts.shape[1])


def prepare_image(
    image: npt.ArrayLike,
    *,
    mask: npt.ArrayLike | None = None,
    dark: npt.ArrayLike | None = None,
    sentinels: tuple[float, ...] = (),
    transforms: tuple[int, ...] = (),
    negative_counts: bool = False,
    n_threads: int = 0,
) -> PreparedImage:
    """Return the image ready for calibration: transformed, dark subtracted, unusable pixels masked.

    Masked are the caller's mask (non-zero = masked), sentinel values (docs/files.md), NaN, isolated hot pixels and
    pixels far darker than their surroundings. Negative values are marks of bad pixels unless `negative_counts` says
    that they are counts, as in an image whose dark is subtracted. A float image is scaled to Poisson noise.

    Raises
    ------
    InputError
        The image has not two dimensions, is not real numbers, is too small, entirely masked, or holds no counts.

    Examples
    --------
    >>> int(prepare_image(np.full((64, 64), 10, dtype=np.uint16)).mask.sum())
    0
    """
    raw = _checked_image(image, "image")
    unusable = ~_valid(raw, negative_counts, "image")
    for value in sentinels:
        unusable |= raw == value
    counts = raw.astype(np.float32)
    if dark is not None:
        dark_counts = _checked_image(dark, "dark")
        if dark_counts.shape != raw.shape:
            raise InputError(f"the dark has shape {dark_counts.shape}; expected the image's {raw.shape}")
        no_dark = ~_valid(dark_counts, negative_counts, "dark")
        unusable |= no_dark
        counts -= np.where(no_dark, 0.0, dark_counts).astype(np.float32)
    if mask is not None:
        given = np.asarray(mask)
        if given.shape != raw.shape:
            raise InputError(f"the mask has shape {given.shape}; expected the image's {raw.shape}")
        unusable |= given != 0
    counts = np.asarray(transform_image(counts, transforms), dtype=np.float32)
    unusable = np.asarray(transform_image(unusable, transforms), dtype=np.bool_)
    if unusable.all():
        raise InputError("every pixel of the image is masked; check the mask (0 = use) and the sentinel values")
    counts[unusable] = 0.0
    if not counts.any():
        raise InputError("the image is empty: every usable pixel is 0; expected a calibrant's diffraction rings")
    gain = _gain(counts, unusable) if raw.dtype.kind == "f" else 1.0
    counts /= np.float32(gain)
    defects = _core.find_defects(
        counts,
        unusable.view(np.uint8),
        hot_ratio=_HOT_RATIO,
        hot_sigma=_HOT_SIGMA,
        dead_ratio=_DEAD_RATIO,
        dead_level=_DEAD_LEVEL,
        n_threads=n_threads,
    )
    n_hot, n_dead = (int(np.count_nonzero(defects == kind)) for kind in (_core.DEFECT_HOT, _core.DEFECT_DEAD))
    unusable |= defects != 0
    counts[defects != 0] = 0.0
    return PreparedImage(counts=counts, mask=unusable, n_hot=n_hot, n_dead=n_dead, gain=gain)


def _checked_image(image: npt.ArrayLike, what: str) -> npt.NDArray[np.generic]:
    array = np.asarray(image)
    if array.ndim != 2:
        raise InputError(f"the {what} has shape {array.shape}; expected two dimensions (rows, columns)")
    if array.dtype.kind not in "iuf":
        raise InputError(f"the {what} has dtype {array.dtype}; expected integers or floats")
    if min(array.shape) < MIN_EDGE:
        raise InputError(f"the {what} has shape {array.shape}; expected at least {MIN_EDGE} x {MIN_EDGE} pixels")
    return array


def _valid(image: npt.NDArray[np.generic], negative_counts: bool, what: str) -> BoolImage:
    """Return where a raw image (or dark: `what`) holds counts, and warn of negative values that look like counts."""
    if image.dtype.kind != "f":
        return valid_mask(image)
    finite = np.asarray(np.isfinite(image), dtype=np.bool_)
    if negative_counts:
        return finite
    if not finite.any():
        raise InputError(f"every pixel of the {what} is NaN or infinite; expected counts")
    if not finite.all():
        logger.warning("%d pixels of the %s are NaN or infinite and left out", int((~finite).sum()), what)
    valid = valid_mask(image)
    share = 1.0 - float(valid.sum()) / max(1, int(finite.sum()))
    if share > _SUSPICIOUS_NEGATIVES:
        logger.warning(
            "%.0f %% of the %s is negative and left out as marks of bad pixels; if the dark is subtracted already, "
            "say negative_counts=True (--negative-counts)",
            100.0 * share,
            what,
        )
    return valid


def _gain(counts: FloatImage, unusable: BoolImage) -> float:
    """Return the variance of a pixel over its mean, from the differences of neighbouring columns; 1 for counts.

    Averaged, normalised or scaled images have another than integer counts, and every weight and limit of the
    calibration takes Poisson's. Median of d²/(2µ) over the median of chi-square with one degree of freedom, 0.4549.
    """
    pairs = ~(unusable[:, 1:] | unusable[:, :-1])
    difference, mean = counts[:, 1:] - counts[:, :-1], 0.5 * (counts[:, 1:] + counts[:, :-1])
    level = float(np.median(counts[~unusable]))
    pairs &= mean > 0.5 * max(level, 0.0)
    if level <= 0.0 or not pairs.any():
        return 1.0
    gain = float(np.median(difference[pairs] ** 2 / (2.0 * mean[pairs]))) / 0.4549
    return gain if gain > 0.0 else 1.0


def local_median(counts: FloatImage, unusable: BoolImage, size: int, *, n_threads: int = 0) -> FloatImage:
    """Return the median of the image over squares of about `size` px, masked pixels filled from around them first.

    Taken on every third pixel of every third row, which the median over a square does not notice, and interpolated.
    """
    filled, masked = counts[::_THINNED, ::_THINNED], unusable[::_THINNED, ::_THINNED]
    if masked.any():
        filled = filled.ravel()[nearest_usable(masked, n_threads=n_threads)]
    median = _core.median_filter(np.ascontiguousarray(filled), half=size // (2 * _THINNED), n_threads=n_threads)
    return interpolated(median, (counts.shape[0], counts.shape[1]), _THINNED)
