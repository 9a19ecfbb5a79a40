"""Small filters of the calibration on coarse images: scipy's, bit for bit, for the reason that `midas.profiles` has."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from midas import _core

BoolImage = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def nearest_usable(mask: BoolImage, *, n_threads: int = 0) -> IntArray:
    """Return for each cell the flat index of the nearest one that is not masked, shape as `mask`.

    Examples
    --------
    >>> nearest_usable(np.array([[False, True, True, False]])).tolist()
    [[0, 0, 3, 3]]
    """
    return _core.nearest_usable(np.ascontiguousarray(mask).view(np.uint8), n_threads=n_threads)


def distance_to(index: IntArray) -> FloatArray:
    """Return the distance of each cell to the cell of the flat index given for it, shape as `index`.

    Examples
    --------
    >>> distance_to(np.array([[0, 0], [0, 0]])).round(3).tolist()
    [[0.0, 1.0], [1.0, 1.414]]
    """
    z, y = np.divmod(index, index.shape[1])
    return np.hypot(z - np.arange(index.shape[0])[:, None], y - np.arange(index.shape[1]))


def grown(mask: BoolImage, steps: int) -> BoolImage:
    """Return the mask grown by so many steps along rows and columns.

    Examples
    --------
    >>> grown(np.array([[True, False, False, False]]), 2).tolist()
    [[True, True, True, False]]
    """
    result = mask.copy()
    for _ in range(steps):
        before = result.copy()
        result[1:] |= before[:-1]
        result[:-1] |= before[1:]
        result[:, 1:] |= before[:, :-1]
        result[:, :-1] |= before[:, 1:]
    return result


def block_sums(values: npt.NDArray[Any], edge: int) -> npt.NDArray[np.float32]:
    """Return the sums over squares of `edge` x `edge` cells; cells left over at the far edges are dropped.

    Examples
    --------
    >>> block_sums(np.arange(10).reshape(2, 5), 2).tolist()
    [[12.0, 20.0]]
    """
    n_z, n_y = (n // edge for n in values.shape)
    rows = values[: n_z * edge].reshape(n_z, edge, values.shape[1]).sum(axis=1, dtype=np.float32)
    return np.asarray(sum(rows[:, k : n_y * edge : edge] for k in range(edge)), dtype=np.float32)


def interpolated(values: npt.NDArray[np.float32], shape: tuple[int, int], step: int) -> npt.NDArray[np.float32]:
    """Return values of every `step`-th row and column on all of them, interpolated; beyond the last it is kept.

    Examples
    --------
    >>> interpolated(np.array([[0.0, 4.0]], dtype=np.float32), (2, 4), 2).tolist()
    [[0.0, 2.0, 4.0, 4.0], [0.0, 2.0, 4.0, 4.0]]
    """
    for n in shape:  # rows first, then columns as the rows of the transpose
        position = np.arange(n, dtype=np.float32) / np.float32(step)
        above = np.minimum(position.astype(np.int64), len(values) - 1)
        below = np.minimum(above + 1, len(values) - 1)
        share = (position - above)[:, None]
        values = (values[above] * (1.0 - share) + values[below] * share).T
    return np.ascontiguousarray(values, dtype=np.float32)
