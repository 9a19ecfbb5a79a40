"""What the residuals of a fit say: how well points left out are predicted, and what neighbours share."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from midas.calibration.fit import GeometryFit, pseudo_strain, refit
from midas.calibration.points import RingPoints
from midas.calibration.prepare import BoolImage
from midas.errors import FitError
from midas.geometry import FloatArray

IntArray = npt.NDArray[np.int64]

FOLDS = 4
"""Parts of the points, each left out in turn."""
_FOLD_OF_SECTOR = (1, 3, 1, 3, 0, 2, 1, 2, 3, 2, 1, 0, 2, 1, 0, 2, 1, 3, 0, 3, 0, 2, 3, 0)
"""Which fold each of 24 sectors over the azimuth that has points belongs to: three neighbouring bins at 5 deg on full
rings. In this order (found by search) no harmonic of the distortion up to 6 has more than 0.41 of its power in one
fold; with every fourth sector in turn, leaving one fold out leaves a harmonic undetermined."""
_SURE = 3.0  # standard errors by which neighbours' products must exceed zero to be a pattern


@dataclass(frozen=True)
class HeldOut:
    """How a fit does on points that it did not see, over folds left out in turn; NaN where none could be."""

    test: float = math.nan
    """Mean |strain| of the points left out."""
    train: float = math.nan
    """Mean |strain| of the others, in the same fits."""
    beam: float = math.nan
    """Standard uncertainty of the beam centre by the jackknife over the folds [px]."""
    distance: float = math.nan
    """The same of the distance, relative."""


def held_out_azimuths(fit: GeometryFit, points: RingPoints) -> HeldOut:
    """Return how well the fit predicts sectors of azimuth that it did not see.

    The azimuth with points is cut into 24 sectors, a quarter of them left out in turn: a sector is wide enough that
    its points cannot be predicted from their neighbours alone.
    """
    used = points.select(fit.used)
    return _summed_up(fit, _trained(fit, used, sector_folds(used)))


def held_out_rings(fit: GeometryFit, points: RingPoints) -> HeldOut:
    """Return how well the fit predicts rings that it did not see: every fourth ring, each one where they are few."""
    used = points.select(fit.used)
    rank = np.unique(used.ring, return_inverse=True)[1]
    return _summed_up(fit, _trained(fit, used, rank % FOLDS))


def held_out_strains(fit: GeometryFit, points: RingPoints) -> FloatArray:
    """Return the strain of each point that the fit uses, predicted by a fit that left its azimuth out.

    Shape (number of points used,); NaN where too few points are left to fit.
    """
    used = points.select(fit.used)
    strain = np.full(len(used), np.nan)
    for fold in _trained(fit, used, sector_folds(used)):
        strain[fold.out] = fold.strain
    return strain


@dataclass(frozen=True, eq=False)
class _Fold:
    out: BoolImage
    strain: FloatArray
    fit: GeometryFit


def sector_folds(used: RingPoints) -> IntArray:
    """Return the fold (0 to 3) that each point's azimuth belongs to."""
    bins = np.unique(used.eta_bin)
    sector = np.searchsorted(bins, used.eta_bin) * len(_FOLD_OF_SECTOR) // max(1, len(bins))
    return np.asarray(_FOLD_OF_SECTOR, dtype=np.int64)[sector]


def _trained(fit: GeometryFit, used: RingPoints, fold: IntArray) -> list[_Fold]:
    """Return the same parameters fitted without each fold in turn, and the strain of the points left out."""
    folds = []
    for k in range(FOLDS):
        out = fold == k
        if not out.any() or (~out).sum() <= 2 * len(fit.parameters):
            continue
        try:
            trained = refit(fit, used.select(~out))
        except FitError:
            continue
        folds.append(_Fold(out, pseudo_strain(trained.geometry, used.select(out)), trained))
    return folds


def _summed_up(fit: GeometryFit, folds: list[_Fold]) -> HeldOut:
    if len(folds) < 2:
        return HeldOut()
    # Delete-a-group jackknife: Efron & Tibshirani, An Introduction to the Bootstrap (1993), section 11.5.
    g = [f.fit.geometry for f in folds]
    places = np.array([(*geometry.beam_center, geometry.distance / fit.geometry.distance) for geometry in g])
    variance = (len(folds) - 1.0) * np.var(places, axis=0)
    return HeldOut(
        test=float(np.mean(np.abs(np.concatenate([f.strain for f in folds])))),
        train=float(np.mean(np.abs(np.concatenate([f.fit.strain[f.fit.used] for f in folds])))),
        beam=float(math.sqrt(variance[0] + variance[1])),
        distance=float(math.sqrt(variance[2])),
    )


def offsets(fit: GeometryFit, points: RingPoints) -> FloatArray:
    """Return how far outside its predicted ring each used point lies [px], shape (n_used,)."""
    return -fit.strain[fit.used] * points.radius[fit.used]


def shared_by_neighbours(points: RingPoints, offset: FloatArray) -> float:
    """Return the root mean square of what neighbouring points' offsets share [px]; 0 where they are independent.

    The mean product of offsets of neighbours, along a ring and from ring to ring, estimates the variance of whatever
    varies slowly over the detector; noise and grain statistics of one point drop out of it.

    Examples
    --------
    >>> from midas.calibration.residuals import pairs
    >>> [p.tolist() for p in pairs(np.array([0, 0, 1]), np.array([4, 5, 5]))]
    [[0], [1]]
    """
    shared = 0.0
    for one, other in (pairs(points.ring, points.eta_bin), pairs(points.eta_bin, points.ring)):
        if len(one) < 2:
            continue
        product = offset[one] * offset[other]
        limit = _SURE * float(np.std(product)) / math.sqrt(len(product))
        mean = float(np.mean(product))
        if mean > limit:
            shared = max(shared, mean)
    return math.sqrt(shared)


def pairs(line: IntArray, step: IntArray) -> tuple[IntArray, IntArray]:
    """Return indices (one, other) of points on the same line whose steps follow one another among those on the line.

    With line = ring and step = eta bin: neighbouring bins of a ring. With the two exchanged: a bin's next ring.
    """
    order = np.lexsort((step, line))
    same = (np.diff(line[order]) == 0) & (np.diff(step[order]) == 1)
    return order[:-1][same], order[1:][same]


def ring_biases(points: RingPoints, offset: FloatArray) -> float:
    """Return the root mean square of the rings' mean offsets [px], beyond what the scatter on each ring explains."""
    excess = []
    for n in np.unique(points.ring):
        own = offset[points.ring == n]
        if len(own) > 3:
            excess.append(float(np.mean(own)) ** 2 - float(np.var(own)) / (len(own) - 1))
    return math.sqrt(max(0.0, float(np.mean(excess)))) if excess else 0.0


def stray_rings(points: RingPoints, strain: FloatArray, candidates: frozenset[int], limit: float) -> int:
    """Return how many of the candidate rings lie off their place by more than a limit [px], noise allowed for.

    A faint ring's mean |strain| is large from noise alone; only its mean says that it is not where it should be.
    """
    n = 0
    for k in candidates:
        own = -strain[points.ring == k] * points.radius[points.ring == k]
        if len(own) and abs(float(np.median(own))) > limit + _SURE * float(np.std(own)) / math.sqrt(len(own)):
            n += 1
    return n
