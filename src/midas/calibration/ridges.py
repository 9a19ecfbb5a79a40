"""Ridge points: where pieces of rings pass through the coarse image, and in which direction."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from midas import _core
from midas.calibration.filters import distance_to, grown, nearest_usable
from midas.calibration.prepare import BoolImage
from midas.calibration.signal import RingSignal
from midas.geometry import FloatArray

LINE_POINTS_A_SPOT = 5.0
"""Points of a line that a spot counts as: neighbours on a line say the same."""
_EFFECTIVE = 400.0  # independent points that the ridge points count as at most
_SCALE = 1.3  # cells: Gaussian of the ridge filter, the half-width of a narrow ring after binning
_ORIENTATION = 2.5  # cells over which the direction of a ridge is averaged
_THRESHOLD = 4.0  # standard deviations of the noise
_COHERENCE = 0.3  # of the directions around a ridge point
_LINEAR = 3.0  # standard deviations up to which the signal counts as it is; above, its logarithm
_BRIDGED = 4  # cells of a hole that its surroundings fill
_BRIGHT = 8.0  # standard deviations around a hole from which it is taken for the saturated crest of a ring
_GUARD = 2  # cells around a hole in which no ridge is trusted
_MOST_BLOCKS = 60  # along the longer edge of the usable area's samples


@dataclass(frozen=True, eq=False)
class Ridges:
    """Points on bright lines of a coarse image, and the area in which they were looked for."""

    points: FloatArray
    """Shape (5, n): y, z [cells], normal_y, normal_z (unit vector across the line, 0 and 0 for
    a spot), strength [standard deviations]."""
    area: FloatArray
    """Shape (3, m): y, z [cells] of samples of the usable area, and the area each stands for [cells]."""
    shape: tuple[int, int]
    """Rows and columns of the coarse image."""

    def __len__(self) -> int:
        """Return the number of points."""
        return int(self.points.shape[1])

    @property
    def spots(self) -> BoolImage:
        """Shape (n,), True where a point is a spot of a single grain, without a direction."""
        return np.asarray((self.points[2] == 0.0) & (self.points[3] == 0.0))

    def capped(self, most: int) -> Ridges:
        """Return at most so many of the points, in random order."""
        order = np.random.default_rng(7).permutation(len(self))[:most]
        return replace(self, points=np.ascontiguousarray(self.points[:, order]))

    def thinned(self, density: FloatArray, n: int) -> FloatArray:
        """Return about n points, each as often as its density asks: y, z, normal_y, normal_z, weight, shape (5, m).

        The weights add up to how many independent points they are.
        """
        spots = int(np.count_nonzero(self.spots))
        independent = min(_EFFECTIVE, spots + (len(self) - spots) / LINE_POINTS_A_SPOT)
        steps = np.cumsum(density) / np.sum(density)
        picked = np.searchsorted(steps, (np.arange(n) + 0.5) / n)
        index, counts = np.unique(np.minimum(picked, len(self) - 1), return_counts=True)
        out = self.points[:, index].copy()
        out[4] = counts * (independent / n)
        return np.ascontiguousarray(out)


def find_ridges(rings: RingSignal, *, n_threads: int = 0) -> Ridges:
    """Return the crests of the ring signal with the direction across them.

    The signal is compressed, so that a saturated spot counts little more than an arc. Holes of the mask are filled from
    around them: where the surroundings are bright the hole is taken for the saturated crest of a ring, elsewhere no
    point is taken in or beside it.
    """
    signal, blocked = _without_holes(rings, n_threads)
    compressed = np.where(np.abs(signal) < _LINEAR, signal, _LINEAR * np.sign(signal))
    compressed += np.sign(signal) * _LINEAR * np.log(np.maximum(np.abs(signal) / _LINEAR, 1.0))
    points = _core.find_ridges(
        np.ascontiguousarray(compressed, dtype=np.float32),
        blocked.astype(np.uint8),
        scale=_SCALE,
        orientation=_ORIENTATION,
        threshold=_THRESHOLD,
        coherence=_COHERENCE,
        n_threads=n_threads,
    )
    return Ridges(points=points, area=_area_samples(~blocked), shape=(signal.shape[0], signal.shape[1]))


def _without_holes(rings: RingSignal, n_threads: int) -> tuple[FloatArray, BoolImage]:
    """Return the signal with small holes filled, and where no ridge is to be looked for."""
    if not rings.mask.any():
        return rings.signal.astype(np.float64), rings.mask
    nearest = nearest_usable(rings.mask, n_threads=n_threads)
    distance = distance_to(nearest)
    filled = rings.signal.ravel()[nearest].astype(np.float64)
    dark = rings.mask & ((filled < _BRIGHT) | (distance > _BRIDGED))
    filled[rings.mask & (distance > _BRIDGED)] = 0.0
    return filled, grown(dark, _GUARD)


def _area_samples(usable: BoolImage) -> FloatArray:
    """Return (y, z, area) of the blocks of cells that are usable, at their centres of gravity."""
    n_z, n_y = usable.shape
    block = max(2, -(-max(n_z, n_y) // _MOST_BLOCKS))
    padded = np.zeros((-(-n_z // block) * block, -(-n_y // block) * block))
    padded[:n_z, :n_y] = usable
    blocks = padded.reshape(padded.shape[0] // block, block, padded.shape[1] // block, block)
    count = blocks.sum(axis=(1, 3))
    offset = np.arange(block)
    y = np.einsum("ijkl,l->ik", blocks, offset) + np.arange(count.shape[1])[None, :] * block * count
    z = np.einsum("ijkl,j->ik", blocks, offset) + np.arange(count.shape[0])[:, None] * block * count
    kept = count > 0
    return np.stack([y[kept] / count[kept], z[kept] / count[kept], count[kept]])
