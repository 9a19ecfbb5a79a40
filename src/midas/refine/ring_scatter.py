"""Whether the rings agree on a cell: by how much what each says of it differs, beside what the esd promises.

With J the derivatives of the pattern over sigma and r the residuals over sigma, the cell owes to ring g of the fit

    psi_g = sum over its points i of (N^-1 J)_i r_i,   N = J J^T

and these sum to 0. Were the residuals noise, each would have the variance s² (a_g^T a_g - (Q^T a_g)²), a_g the row of
N^-1 J on the points of the ring and Q an orthonormal basis of the rows of J. Residuals that go together within a ring,
as where another phase has a line beside it, or faults or strains move rings against one another, make them larger: the
root of the ratio of the sums is how many times as large the esd should be, the sandwich estimate of the covariance by
clusters (Liang & Zeger, Biometrika 73 (1986) 13; of residuals that go together in a Rietveld fit Bérar & Lelann,
J. Appl. Cryst. 24 (1991) 1).

Like `judge.py` it uses the standard library and numpy only: engine workers load it by its path.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

VALLEY = 0.1
"""Rings are apart where the pattern between them falls below this share of the lower one."""
LEAST_FACTOR = 2.0
"""An esd is left as it is unless it should be this many times as large, at least."""
CERTAINTY = 3.09
"""One in a thousand, in standard deviations: what noise alone reaches by chance is no factor."""
MIN_RINGS = 3.0


def ring_bounds(lines: ArrayLike) -> list[int]:
    """Return where rings begin and end in a calculated pattern without background: n + 1 indices of n rings.

    Examples
    --------
    >>> ring_bounds([0.0, 4.0, 3.0, 4.0, 0.1, 0.0, 2.0, 0.0])
    [0, 5, 8]
    """
    y = np.asarray(lines, dtype=float)
    steps = np.flatnonzero(np.diff(y))
    rises = np.diff(y)[steps] > 0
    tops = [int(k) + 1 for k, up, down in zip(steps[:-1], rises[:-1], ~rises[1:], strict=True) if up and down]
    bounds, highest = [0], 0.0
    for before, after in itertools.pairwise(tops):
        valley = before + int(np.argmin(y[before : after + 1]))
        highest = max(highest, float(y[before]))
        if y[valley] <= VALLEY * min(highest, float(y[after])):
            bounds.append(valley)
            highest = 0.0
    return [*bounds, len(y)]


def ring_scatter(
    derivatives: Any, residuals: Any, bounds: list[int], rows: list[int], covariance: Any
) -> tuple[float, float, int]:
    """Return by which factor the esds of these parameters are too small as rings differ, of how many, and the worst.

    The number of rings is that of degrees of freedom that a chi-square of this spread has; the factor is NaN where it
    is too small. The worst is the index of the ring that differs most.

    Parameters
    ----------
    derivatives, residuals
        J, shape (n_parameters, n_points), and r, shape (n_points,); both over sigma.
    bounds
        Of `ring_bounds`.
    rows
        Which parameters those of the cell are.
    covariance
        Shape (n_parameters, n_parameters), as the esds are taken from it.

    Examples
    --------
    >>> rng, x = np.random.default_rng(7), np.linspace(0.0, 1.0, 400)
    >>> slopes = np.stack([x, np.ones(400)])
    >>> cov = np.linalg.inv(slopes @ slopes.T)
    >>> noise = rng.normal(size=400)
    >>> noise -= slopes.T @ (cov @ (slopes @ noise))
    >>> factor, rings, _ = ring_scatter(slopes, noise, list(range(0, 401, 20)), [0], cov)
    >>> bool(0.5 < factor < 1.5), 10 < rings < 20
    (True, True)
    """
    j, r = np.asarray(derivatives, dtype=float), np.asarray(residuals, dtype=float)
    size = np.sqrt(np.maximum(np.sum(j**2, axis=1), 1e-300))
    q, _ = np.linalg.qr((j / size[:, None]).T)
    influence = np.linalg.pinv((j / size[:, None]).T)[rows] / size[rows, None]
    esd2 = np.diag(np.asarray(covariance, dtype=float))[rows]
    found, expected = [], []
    for begin, end in itertools.pairwise(bounds):
        a = influence[:, begin:end]
        noise = np.sum(a**2, axis=1) - np.sum((a @ q[begin:end]) ** 2, axis=1)
        share = np.sum(influence**2, axis=1)
        found.append(float(np.sum((a @ r[begin:end]) ** 2 / esd2)))
        expected.append(float(np.sum(np.maximum(noise, 0.0) / share)))
    total = sum(expected)
    n = total**2 / max(sum(e**2 for e in expected), 1e-300)
    return (math.sqrt(sum(found) / total) if n >= MIN_RINGS else math.nan), n, int(np.argmax(found))


def is_more_than_chance(factor: float, n: float) -> bool:
    """Return whether a factor of `ring_scatter` from so many rings is no chance.

    By Wilson and Hilferty's approximation of chi-square over its degrees of freedom (PNAS 17 (1931) 684).

    Examples
    --------
    >>> is_more_than_chance(1.9, 12.0), is_more_than_chance(2.2, 12.0), is_more_than_chance(2.2, 3.0)
    (False, True, False)
    """
    if not n >= MIN_RINGS:
        return False
    chance = (1.0 - 2.0 / (9.0 * n) + CERTAINTY * math.sqrt(2.0 / (9.0 * n))) ** 1.5
    return bool(factor > max(LEAST_FACTOR, chance))


def disagreement(name: str, factor: float, two_theta: float) -> str:
    """Return the sentence on rings that do not agree on the cell of a phase, the worst at 2θ [deg].

    Examples
    --------
    >>> disagreement("CeO2", 3.27, 7.36).partition(",")[0]
    'the rings do not agree on the cell of CeO2: its esds are made 3.3 times as large'
    """
    return (
        f"the rings do not agree on the cell of {name}: its esds are made {factor:.1f} times as large, the ring at "
        f"{two_theta:.2f} deg most of all; a foreign line, faults, strain by direction, or the geometry"
    )
