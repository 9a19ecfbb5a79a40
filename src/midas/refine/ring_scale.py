"""The one factor between the d that a CIF means and the d that the lineouts show, looked for without fitting a peak."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from midas.refine.lineouts import Lineout, above_background

FloatArray = NDArray[np.float64]

REACH = 0.03
"""Largest relative change of d that is looked for, either way."""
STEP = 1e-4
MOST_LINEOUTS = 12
"""Lineouts looked at, evenly chosen: each shows all rings."""
MIN_SIGNIFICANCE = 3.0


def common_scale(lineouts: Sequence[Lineout], two_theta: FloatArray, strength: FloatArray) -> float:
    """Return the relative change of d with which rings lie on the most peaks of the lineouts; 0 where nothing shows.

    `two_theta` [deg] and `strength` are those of the rings. A scale off by the distance between two rings brings some
    of them onto peaks of their neighbours, but never all: each ring counts by the root of its strength, and a peak by
    the logarithm of its significance, so that no single one decides.

    Examples
    --------
    >>> x = np.arange(2.0, 16.0, 0.01)
    >>> places = np.array([3.0, 4.2, 5.5, 7.1, 9.4, 12.0])
    >>> found = np.degrees(2.0 * np.arcsin(np.sin(np.radians(places / 2.0)) / 1.02))
    >>> y = 100.0 + sum(2000.0 * np.exp(-(((x - p) / 0.03) ** 2)) for p in found)
    >>> lineout = Lineout(0, 0, 0, x, y, np.sqrt(y), 0.0, 0.0, None, None)
    >>> round(common_scale([lineout], places, np.ones(6)), 3)
    0.02
    """
    changes = np.asarray(np.arange(-round(REACH / STEP), round(REACH / STEP) + 1) * STEP, dtype=np.float64)
    places = moved(two_theta[None, :], changes[:, None])
    chosen = lineouts[:: max(1, -(-len(lineouts) // MOST_LINEOUTS))]
    score = np.zeros(len(changes))
    for lineout in chosen:
        x, height = lineout.two_theta, peak_heights(lineout)
        score += np.interp(places, x, height, left=0.0, right=0.0) @ np.sqrt(strength)
    return float(changes[int(np.argmax(score))]) if score.any() else 0.0


def moved(two_theta: FloatArray, change: FloatArray | float) -> FloatArray:
    """Return where rings lie [deg] when every d is larger by this share, by Bragg's law.

    Examples
    --------
    >>> moved(np.array([10.0]), 0.0)
    array([10.])
    """
    return np.asarray(np.degrees(2.0 * np.arcsin(np.clip(np.sin(np.radians(two_theta / 2.0)) / (1.0 + change), 0, 1))))


def peak_heights(lineout: Lineout) -> FloatArray:
    """Return the logarithm of how far each point stands above the background, in standard deviations; 0 below three."""
    significance = above_background(lineout.intensity) / lineout.sigma
    return np.asarray(np.log(np.maximum(significance, MIN_SIGNIFICANCE) / MIN_SIGNIFICANCE))
