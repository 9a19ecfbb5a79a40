"""Where the beam may be: candidates from the directions of the ridge points alone, whatever diffracts.

For a set of tilts every ridge point votes for the beam centres that its direction allows; the best are aimed, tilt and
perspective with them, until the directions are best across the rings (core/center_search.hpp).
"""

from __future__ import annotations

import math

import numpy as np

from midas import _core
from midas.calibration.ridges import LINE_POINTS_A_SPOT, Ridges
from midas.geometry import FloatArray

_FIRST_VOTERS, _VOTERS, _AIMED_POINTS = 400, 2000, 800
_FIRST_CELL, _VOTE_CELL = 10.0, 2.5  # cells of the image along one of the votes'
_FINER = 30  # of the first votes, counted again on the finer grid
_WINDOW = 31  # finer cells around a first vote
_TILTS = ((10.0, 6), (20.0, 10), (30.0, 12), (40.0, 14))  # deg, and directions tried
_PERSPECTIVES = (0.0, 0.7, 1.6, 3.0)  # longer panel edge over distance
_LEAST_PERSPECTIVE = 0.3  # that the aim starts from
_SAME_VOTE, _SAME_VOTED_TILT = 6.0, 12.0  # cells, deg: votes closer than this are one candidate
_SAME_AIM, _SAME_TILT = 1.0, 2.0  # cells, deg: the same after the aim
_CENTERS = 10  # kept from the votes
_SHARPENED = 600  # points whose distances from a centre are piled up
_COARSE, _FINE = 6.0, 2.0  # cells: bins of those distances for the first centres and between them
_CENTERS_OF_SPOTS = 4


def find_centers(ridges: Ridges, *, n_threads: int = 0) -> FloatArray:
    """Return candidates (distance [cells], beam_y, beam_z [cells], tilt_y, tilt_z [deg]), shape (n, 5).

    The distance is what perspective says, which without tilt is nothing.

    Examples
    --------
    >>> import midas
    >>> from midas.calibration.prepare import prepare_image
    >>> from midas.calibration.ridges import find_ridges
    >>> from midas.calibration.signal import ring_signal
    >>> truth = midas.Geometry(distance=3e5, beam_center=(170, 140), pixel_size=200, wavelength=0.2)
    >>> image = midas.simulate(truth, midas.Detector((300, 300), 200), "CeO2", seed=1).image
    >>> candidates = find_centers(find_ridges(ring_signal(prepare_image(image))))
    >>> bool(math.dist(candidates[0, 1:3], (170, 140)) < 1.0)
    True
    """
    voted, tilts, perspective = _voted(ridges, n_threads)
    kept = _best_votes(voted, tilts)
    edge = float(max(ridges.shape))
    rows = np.column_stack([edge / np.maximum(perspective, _LEAST_PERSPECTIVE), voted[:, :2], tilts])
    aim = ridges.thinned(np.ones(len(ridges)), _AIMED_POINTS)
    flat = _core.aim_beams(rows[:1], aim, tilts=False, n_threads=n_threads)
    tilted = _core.aim_beams(rows[[0, *kept]], aim, tilts=True, n_threads=n_threads)
    return np.vstack([_apart(np.vstack([flat, tilted])), _around_spots(ridges, n_threads)])


def _voted(ridges: Ridges, n_threads: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return (y, z, votes), (tilt_y, tilt_z) and perspective of the best guesses, the first of which is not tilted."""
    guesses, tilts = _tilt_guesses(max(ridges.shape))
    n_z, n_y = ridges.shape
    low = np.tile([-1.0 * n_y, -1.0 * n_z], (len(guesses), 1))  # a panel width all around
    first = _core.vote_centers(
        ridges.thinned(np.ones(len(ridges)), _FIRST_VOTERS),
        np.hstack([guesses, low]),
        shape=(int(3 * n_z / _FIRST_CELL) + 1, int(3 * n_y / _FIRST_CELL) + 1),
        cell=_FIRST_CELL,
        n_threads=n_threads,
    )
    order = np.argsort(-first[:, 2], kind="stable")
    best = np.concatenate([[0], order[order != 0][:_FINER]])
    low = first[best, :2] - 0.5 * _WINDOW * _VOTE_CELL
    voted = _core.vote_centers(
        ridges.thinned(np.ones(len(ridges)), _VOTERS),
        np.hstack([guesses[best], low]),
        shape=(_WINDOW, _WINDOW),
        cell=_VOTE_CELL,
        n_threads=n_threads,
    )
    return voted, tilts[best], guesses[best, 2] * max(ridges.shape)


def _tilt_guesses(edge: int) -> tuple[FloatArray, FloatArray]:
    """Return guesses (u_y, u_z, 1 / distance [1/cells]) and their tilts (y, z) [deg], the first one without tilt."""
    guesses, tilts = [(0.0, 0.0, 0.0)], [(0.0, 0.0)]
    for tilt, n in _TILTS:
        sine = math.sin(math.radians(tilt))
        for perspective in _PERSPECTIVES:
            # Without perspective opposite directions look the same.
            turn = math.pi if perspective == 0.0 else 2.0 * math.pi
            for phi in np.arange(n) * turn / n:
                u_y, u_z = sine * math.cos(phi), sine * math.sin(phi)
                guesses.append((u_y, u_z, perspective / edge))
                tilt_y = math.asin(u_z)
                tilts.append((math.degrees(tilt_y), math.degrees(math.asin(u_y / math.cos(tilt_y)))))
    return np.array(guesses), np.array(tilts)


def _best_votes(voted: FloatArray, tilts: FloatArray) -> list[int]:
    """Return the indices of the guesses with most votes that are not like one with more."""
    kept: list[int] = []
    for k in np.argsort(-voted[:, 2], kind="stable"):
        if not any(
            math.dist(voted[j, :2], voted[k, :2]) < _SAME_VOTE and math.dist(tilts[j], tilts[k]) < _SAME_VOTED_TILT
            for j in kept
        ):
            kept.append(int(k))
        if len(kept) == _CENTERS:
            break
    return [k for k in kept if k != 0]


def _apart(rows: FloatArray) -> FloatArray:
    """Return the candidates that were not led to the same place and tilt as one before."""
    kept: list[FloatArray] = []
    for row in rows:
        if not any(
            math.dist(row[1:3], other[1:3]) < _SAME_AIM and math.dist(row[3:], other[3:]) < _SAME_TILT for other in kept
        ):
            kept.append(row)
    return np.array(kept)


def _around_spots(ridges: Ridges, n_threads: int) -> FloatArray:
    """Return candidates as `find_centers`, none tilted, from the positions alone, where spots of grains outweigh lines.

    Spots have no direction to vote with, but around the right centre their distances pile up.
    """
    spots = ridges.spots
    if spots.sum() * LINE_POINTS_A_SPOT < (~spots).sum():
        return np.empty((0, 5))
    points = ridges.thinned(np.where(spots, LINE_POINTS_A_SPOT, 1.0), _SHARPENED)
    points[4] *= len(points[4]) / points[4].sum()
    n_z, n_y = ridges.shape
    step = _COARSE
    z, y = np.mgrid[-0.25 * n_z : 1.25 * n_z : step, -0.25 * n_y : 1.25 * n_y : step]
    centers = np.column_stack([y.ravel(), z.ravel()])
    sharp = _core.center_sharpness(points, centers, bin=step, n_threads=n_threads)
    kept: list[FloatArray] = []
    for k in np.argsort(-sharp):
        if all(math.dist(centers[k], other) > 2.0 * step for other in kept):
            kept.append(centers[k])
        if len(kept) == _CENTERS_OF_SPOTS:
            break
    offsets = np.arange(-step, step + 1.0)
    fine = np.stack(np.meshgrid(offsets, offsets), axis=-1).reshape(-1, 2)
    best = [c + fine[np.argmax(_core.center_sharpness(points, c + fine, bin=_FINE, n_threads=n_threads))] for c in kept]
    far = 1e3 * max(ridges.shape)
    return np.array([[far, *c, 0.0, 0.0] for c in best])
