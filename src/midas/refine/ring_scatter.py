"""Whether the rings agree on a cell: by how much what each says of it differs, beside what the esd promises.

With J the derivatives of the pattern over sigma and r the residuals over sigma, ring g gives to a parameter of the cell

    psi_g = sum over its points i of a_i r_i,   a the row of (J J^T)^-1 J

and these sum to 0. Were the residuals noise, psi_g would have the variance s² (sum a_i² - |Q^T a|²), both over the
points of the ring, Q an orthonormal basis of the rows of J. Residuals that go together within a ring, as where another
phase has a line beside it, or faults or strains move rings against one another, make them larger. The root of the sum
of psi_g² over the sum of these variances is how many times as large the esd should be: the sandwich estimate by
clusters, as corrected for leverage by Bell & McCaffrey, Survey Methodology 28 (2002) 169, with their degrees of freedom
(of residuals that go together in a Rietveld fit: Bérar & Lelann, J. Appl. Cryst. 24 (1991) 1). What points share makes
the variance of the parameter larger; that of each ring is taken to be so by the same share.

Like `judge.py` it uses the standard library and numpy only: engine workers load it by its path.
"""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

VALLEY = 0.5
"""Rings are apart where the pattern between them falls below this share of the lower one. Where it is cut does not
matter on noise; what overlaps may be misfitted together."""
LEAST_FACTOR = 2.0
"""An esd is left as it is unless it should be this many times as large, at least."""
CERTAINTY = 3.09
"""One in a thousand, in standard deviations: what noise alone reaches by chance is no factor. With four to
six rings, whose scatter has longer tails than a chi-square, it is two to five in a thousand, with two rings one in a
hundred."""
MIN_RINGS = 0.9
"""Two rings that count alike are two degrees of freedom, two that do not a little more than one."""
LEAST_FREEDOM = 0.01
"""Share of the variance of a parameter that its fit leaves to rings to differ by: one ring alone leaves none, nor do
as many rings as there are parameters."""
SINGULAR = 1e-8
"""Smallest singular value over the largest of derivatives that tell all parameters."""
CAUSES = "a foreign line, faults, strain by direction, or the geometry"


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


class Scatter(NamedTuple):
    """What rings say of one parameter."""

    factor: float
    """How many times as large its esd should be; NaN where that cannot be told."""
    n: float
    """Degrees of freedom of the chi-square that scatters as much: how many rings it is from."""
    point: int
    """The point that counts most in the ring that differs most."""


def ring_scatter(
    derivatives: Any, residuals: Any, bounds: list[int], rows: list[int], covariance: Any
) -> list[Scatter]:
    """Return how rings agree on each of some parameters.

    Parameters
    ----------
    derivatives, residuals
        J, shape (n_parameters, n_points), and r, shape (n_points,); both over sigma.
    bounds
        Of `ring_bounds`.
    rows
        Which parameters.
    covariance
        Shape (n_parameters, n_parameters), as the esds are taken from it.

    Examples
    --------
    >>> rng, x = np.random.default_rng(7), np.linspace(0.0, 1.0, 400)
    >>> slopes = np.stack([x, np.ones(400)])
    >>> cov = np.linalg.inv(slopes @ slopes.T)
    >>> noise = rng.normal(size=400)
    >>> noise -= slopes.T @ (cov @ (slopes @ noise))
    >>> [found] = ring_scatter(slopes, noise, list(range(0, 401, 20)), [0], cov)
    >>> bool(0.5 < found.factor < 1.5), 10 < found.n < 20
    (True, True)
    """
    j, r = np.asarray(derivatives, dtype=float), np.asarray(residuals, dtype=float)
    size = np.sqrt(np.sum(j**2, axis=1))
    size[size == 0.0] = 1.0
    left, values, basis = np.linalg.svd(j / size[:, None], full_matrices=False)
    if len(values) < len(j) or values[-1] <= SINGULAR * values[0]:
        return [Scatter(math.nan, 0.0, 0) for _ in rows]
    r = r - basis.T @ (basis @ r)  # what a fit that is not quite converged leaves along J looks like rings that differ
    found = []
    for row in rows:
        a = (left[row] / values) @ basis / size[row]
        given = np.add.reduceat(a * r, bounds[:-1])
        leverage = np.stack([np.add.reduceat(a * b, bounds[:-1]) for b in basis])
        share = np.maximum(np.add.reduceat(a**2, bounds[:-1]) - np.sum(leverage**2, axis=0), 0.0) / np.sum(a**2)
        total, esd2 = float(np.sum(share)), float(covariance[row][row])
        n = total**2 / max(float(np.sum(share**2)), 1e-300)
        known = n >= MIN_RINGS and total > LEAST_FREEDOM and esd2 > 0.0
        worst = int(np.argmax(np.abs(given)))
        point = bounds[worst] + int(np.argmax(np.abs(a * r)[bounds[worst] : bounds[worst + 1]]))
        factor = math.sqrt(float(np.sum(given**2)) / (esd2 * total)) if known else math.nan
        found.append(Scatter(factor, n, point))
    return found


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
        f"{two_theta:.2f} deg most of all; {CAUSES}"
    )
