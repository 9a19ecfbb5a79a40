"""Size and microstrain to start from: what the peaks of a lineout are wider by than the instrument makes them."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from midas.refine.gsas2_text import overridden_widths
from midas.refine.job import Instrument
from midas.refine.lineouts import Lineout, instrument_widths
from midas.units import CENTIDEGREE

FloatArray = NDArray[np.float64]
SIZES = (0.005, 5.0)
"""Sizes [µm] that are started from: smaller ones are no crystals, larger ones broaden nothing."""
MAX_MICROSTRAIN = 2e4
SCHERRER_SIZE = 1.8 / math.pi
"""Lorentzian FWHM [centidegree] = SCHERRER_SIZE * wavelength [Å] / (size [µm] cosθ), Scherrer's constant 1."""
MICROSTRAIN = 0.018 / math.pi
"""Lorentzian FWHM [centidegree] = MICROSTRAIN * microstrain [1e-6] * tanθ, the convention of GSAS-II."""
OUTLIER = 2.5


def observed_broadening(instrument: Instrument, lineout: Lineout) -> dict[str, float]:
    """Return size [µm] and microstrain [1e-6] that the widths of the strongest peaks ask for, each where there is one.

    The Lorentzian width of a peak follows from its FWHM and the instrument's Gaussian one; what it has above the
    instrument's is size / cosθ + strain tanθ, both not negative. Peaks off the line (two rings in one) are left out.

    Examples
    --------
    >>> from midas.refine.lineouts import Lineout
    >>> x = np.arange(4.0, 16.0, 0.002)
    >>> y = 1.0 + sum(1.0 / (1.0 + ((x - c) / 0.02) ** 2) for c in (5.0, 7.0, 9.0, 11.0, 13.0, 15.0))
    >>> lineout = Lineout(0, 0, 0, x, 1e4 * y, np.sqrt(1e4 * y), 0.0, 0.0, None, None)
    >>> found = observed_broadening(Instrument(0.2, u=0.0, v=0.0, w=0.01), lineout)
    >>> abs(found["size"] - 1.8 * 0.2 / (np.pi * 4.0)) < 2e-3
    True
    """
    found = lineout.peak_widths
    if found is None:
        return {}
    position, width = found
    gauss2, own = instrument_widths(instrument, position)
    excess = np.maximum(lorentzian_width(width / CENTIDEGREE, gauss2) - own, 0.0)
    theta = np.radians(position / 2.0)
    design = np.column_stack([1.0 / np.cos(theta), np.tan(theta)])
    kept = np.isfinite(excess)
    by_size = by_strain = 0.0
    for _ in range(3):
        if np.count_nonzero(kept) < 2:
            return {}
        by_size, by_strain = _positive_pair(design[kept], excess[kept])
        apart = np.abs(excess - design @ (by_size, by_strain))
        kept &= apart <= OUTLIER * max(1.4826 * float(np.median(apart[kept])), 1e-6)
    size = SCHERRER_SIZE * instrument.wavelength / by_size if by_size > 0 else math.inf
    strain = by_strain / MICROSTRAIN
    values = {"size": float(max(size, SIZES[0]))} if size < SIZES[1] else {}
    return {**values, "microstrain": float(min(strain, MAX_MICROSTRAIN))} if strain >= 1.0 else values


def _positive_pair(design: FloatArray, target: FloatArray) -> FloatArray:
    """Return the two coefficients, none negative, of which design @ them is nearest to target; columns positive."""
    both = np.asarray(np.linalg.lstsq(design, target, rcond=None)[0], dtype=np.float64)
    if (both >= 0.0).all():
        return both
    alone = np.maximum(design.T @ target, 0.0) / np.sum(design**2, axis=0)
    return np.where(both < 0.0, 0.0, alone)


def lorentzian_width(width: FloatArray, gauss2: FloatArray) -> FloatArray:
    """Return the Lorentzian FWHM L of a Voigt line of FWHM `width` with the Gaussian FWHM² `gauss2`, 0 where none fits.

    The root of width = 0.5346 L + sqrt(0.2166 L² + G²), Olivero and Longbothum, JQSRT 17 (1977) 233.
    """
    a, half = 0.5346**2 - 0.2166, 0.5346 * width
    free = np.maximum(width**2 - gauss2, 0.0)
    return np.asarray((half - np.sqrt(np.maximum(half**2 - a * free, 0.0))) / a)


def with_override(instrument: Instrument, instprm: Path | None) -> Instrument:
    """Return the instrument with the widths that an override file gives."""
    if instprm is None:
        return instrument
    return dataclasses.replace(instrument, **overridden_widths(instprm.read_text(encoding="utf-8", errors="replace")))
