"""What a misfit looks like: whether it is as smooth as a background, which more terms would take in, or is in peaks.

Like `judge.py` it uses the standard library and numpy only: engine workers load it by its path.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

SMOOTH_TERMS = 16
"""Chebyshev terms that a background may have where the data choose it; what they can describe is smooth."""
MOSTLY_SMOOTH = 0.5
"""Share of the misfit from which more background terms are worth a try."""


def smooth_share(two_theta: ArrayLike, observed: ArrayLike, calculated: ArrayLike, weights: ArrayLike) -> float:
    """Return which share of a misfit a smooth curve takes away: 1 for a hump, near 0 for peaks, 0 for noise alone.

    The misfit is chi² - N over N points; the curve a Chebyshev series fitted to observed - calculated.

    Examples
    --------
    >>> x = np.linspace(2.0, 15.0, 1000)
    >>> hump, peak = 30.0 * np.exp(-((x - 6.0) ** 2)), 200.0 * np.exp(-(((x - 6.0) / 0.05) ** 2))
    >>> [round(smooth_share(x, o, 0 * x, 1.0 + 0 * x), 1) for o in (hump, peak, 0 * x)]
    [1.0, 0.1, 0.0]
    """
    x, o, c, w = (np.asarray(v, dtype=float) for v in (two_theta, observed, calculated, weights))
    n_points = int(np.count_nonzero(w > 0))
    if n_points <= 2 * SMOOTH_TERMS:
        return 0.0
    u, root = 2.0 * (x - x.min()) / (x.max() - x.min()) - 1.0, np.sqrt(w)
    misfit = root * (o - c)
    before = float(np.sum(misfit**2))
    excess = before - n_points
    if not np.isfinite(excess) or excess <= 5.0 * np.sqrt(2.0 * n_points):  # no number, or noise
        return 0.0
    columns = np.polynomial.chebyshev.chebvander(u, SMOOTH_TERMS - 1) * root[:, None]
    after = float(np.sum((misfit - columns @ np.linalg.lstsq(columns, misfit, rcond=None)[0]) ** 2))
    return float(min(max((before - after) / excess, 0.0), 1.0))


def background_advice(
    two_theta: ArrayLike, observed: ArrayLike, calculated: ArrayLike, weights: ArrayLike
) -> str | None:
    """Return the advice to take more background terms where most of a misfit is smooth, else None.

    Examples
    --------
    >>> x = np.linspace(2.0, 15.0, 1000)
    >>> background_advice(x, 30.0 * np.exp(-((x - 6.0) ** 2)), 0 * x, 1.0 + 0 * x)
    '100% of the misfit is far broader than peaks, as of a hump in the background: try --bkg-terms auto'
    >>> background_advice(x, 200.0 * np.exp(-(((x - 6.0) / 0.05) ** 2)), 0 * x, 1.0 + 0 * x) is None
    True
    """
    share = smooth_share(two_theta, observed, calculated, weights)
    if share < MOSTLY_SMOOTH:
        return None
    return f"{share:.0%} of the misfit is far broader than peaks, as of a hump in the background: try --bkg-terms auto"
