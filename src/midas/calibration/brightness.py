"""How bright a calibrant's rings should be."""

from __future__ import annotations

import math

import numpy as np

from midas.crystal import Rings
from midas.geometry import FloatArray

_FURTHEST = 88.0  # deg: rings beyond do not reach a flat detector


def ring_brightness(rings: Rings, *, unknown: float = math.nan) -> FloatArray:
    """Return the radially integrated counts of each ring on a flat detector, relative, shape (n,).

    m|F|² cos(2θ)/(sin²θ cosθ) (1 + cos²2θ)/2: Warren, X-ray Diffraction (1969), chapter 4, as in `midas.simulate`, the
    polarization averaged over a full ring; an area in 2θ becomes one in radius by L/cos²(2θ), a pixel's solid angle
    takes cos³(2θ). Of rings of one width it is also how high they stand. `unknown` is taken for m|F|² without atoms.

    Examples
    --------
    >>> from midas.crystal import calibrant, rings
    >>> found = ring_brightness(rings(calibrant("CeO2"), 0.2, two_theta_max=7.5))
    >>> (found / found.max()).round(2).tolist()
    [1.0, 0.3, 0.61, 0.52, 0.1]
    """
    theta = np.radians(np.minimum(rings.two_theta, _FURTHEST)) / 2.0
    strength = np.nan_to_num(rings.intensity, nan=unknown)
    geometric = np.cos(2.0 * theta) / (np.sin(theta) ** 2 * np.cos(theta))
    return np.asarray(strength * geometric * 0.5 * (1.0 + np.cos(2.0 * theta) ** 2))
