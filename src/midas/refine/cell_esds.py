"""Standard uncertainties of a unit cell from the covariance of its reciprocal metric tensor.

GSAS-II refines A, with 1/d² = A0 h² + A1 k² + A2 l² + A3 hk + A4 hl + A5 kl, and its own esds of a, b, c and the angles
(`getCellEsd` of version 2.0) are those of orthogonal cells alone: where axes are oblique they come out up to twenty
times too large, or too small. Here the covariance is carried over by the derivatives of the cell (propagation of
errors; International Tables for Crystallography B, section 1.1, has the reciprocal tensor).

Like `judge.py` it uses numpy only: engine workers load it by its path.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

STEP = 1e-6
"""Relative step of the derivatives."""
NEGLIGIBLE = 1e-6
"""Share of the largest relative uncertainty below which one is rounding: of an angle that symmetry fixes."""


def metric_of(cell: ArrayLike) -> NDArray[np.float64]:
    """Return A0 to A5 [Å⁻²] of a, b, c [Å], alpha, beta, gamma [deg].

    Examples
    --------
    >>> metric_of([2.0, 2.0, 4.0, 90.0, 90.0, 120.0]).round(6).tolist()
    [0.333333, 0.333333, 0.0625, 0.333333, 0.0, 0.0]
    """
    a, b, c, *angles = (float(v) for v in np.asarray(cell, dtype=float)[:6])
    ca, cb, cg = np.cos(np.radians(angles))
    g = np.linalg.inv(
        [[a * a, a * b * cg, a * c * cb], [a * b * cg, b * b, b * c * ca], [a * c * cb, b * c * ca, c * c]]
    )
    found: NDArray[np.float64] = np.array([g[0, 0], g[1, 1], g[2, 2], 2 * g[0, 1], 2 * g[0, 2], 2 * g[1, 2]])
    found[np.abs(found) < 1e-12 * found[:3].max()] = 0.0
    return found


def cell_of(metric: ArrayLike) -> NDArray[np.float64]:
    """Return a, b, c [Å], alpha, beta, gamma [deg] and the volume [Å³] of A0 to A5.

    Examples
    --------
    >>> cell_of(metric_of([3.0, 4.0, 5.0, 80.0, 100.0, 110.0])).round(6).tolist()[:6]
    [3.0, 4.0, 5.0, 80.0, 100.0, 110.0]
    """
    p, q, r, s, t, u = (float(v) for v in np.asarray(metric, dtype=float))
    g = np.linalg.inv([[p, s / 2, t / 2], [s / 2, q, u / 2], [t / 2, u / 2, r]])
    a, b, c = np.sqrt(np.diag(g))
    cosines = np.array([g[1, 2] / (b * c), g[0, 2] / (a * c), g[0, 1] / (a * b)])
    return np.asarray([a, b, c, *np.degrees(np.arccos(np.clip(cosines, -1.0, 1.0))), np.sqrt(np.linalg.det(g))])


def tied(metric: NDArray[np.float64], varied: Sequence[int]) -> NDArray[np.float64]:
    """Return how each of A0 to A5 goes with those that are varied, shape (6, n): what symmetry ties moves along.

    Which is tied shows in the tensor itself: A1 and A2 to A0 where they are not varied; of the others one that is A0
    (hexagonal axes), and those of rhombohedral axes to A3.

    Examples
    --------
    >>> tied(metric_of([2.0, 2.0, 4.0, 90.0, 90.0, 120.0]), [0, 2]).T.tolist()
    [[1.0, 1.0, 0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0, 0.0, 0.0]]
    """
    follows = np.zeros((6, len(varied)))
    for column, k in enumerate(varied):
        follows[k, column] = 1.0
    for k in set(range(6)) - set(varied):
        lead = 0 if k < 3 or 3 not in varied else 3
        if lead in varied and metric[k] != 0.0:
            follows[k, list(varied).index(lead)] = round(float(metric[k] / metric[lead]), 9)
    return follows


def cell_esds(cell: ArrayLike, varied: Sequence[int], covariance: ArrayLike) -> NDArray[np.float64]:
    """Return the standard uncertainties of a, b, c, alpha, beta, gamma and the volume, 0 for what is fixed.

    Parameters
    ----------
    cell
        a, b, c [Å], alpha, beta, gamma [deg].
    varied
        Which of A0 to A5 were varied.
    covariance
        Shape (n, n), of these.

    Examples
    --------
    >>> cell_esds([4.0, 4.0, 4.0, 90.0, 90.0, 90.0], [0], [[(1e-4 / 16) ** 2]]).round(7).tolist()
    [0.0002, 0.0002, 0.0002, 0.0, 0.0, 0.0, 0.0096]
    """
    metric = metric_of(cell)
    follows = tied(metric, varied)
    slopes = np.empty((7, len(varied)))
    for column, direction in enumerate(follows.T):
        step = STEP * metric[:3].max() / np.abs(direction).max()
        slopes[:, column] = (cell_of(metric + step * direction) - cell_of(metric - step * direction)) / (2.0 * step)
    esds = np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", slopes, np.asarray(covariance, dtype=float), slopes), 0.0))
    relative = esds / np.array([*cell_of(metric)[:3], *np.full(3, 180.0 / np.pi), cell_of(metric)[6]])
    return np.asarray(np.where(relative <= NEGLIGIBLE * relative.max(), 0.0, esds))
