"""What neighbouring points of a lineout share: pixels on the border of two bins count in both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from midas import _core
from midas.io.gsas_zarr import INDEPENDENT

if TYPE_CHECKING:
    from midas.io.gsas_zarr import CakeFile


def shared_by_points(cake: CakeFile, eta_index: int, eta_width: float, points: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the correlations of the chosen bins of a lineout, shape (n_bands, n_points).

    Entry [k - 1, i] is that of the points i and i + k; the last k of a band are 0. There is no band where bins share
    nothing: they are wide, or the file says so (`INDEPENDENT`), or has no radii to tell it from.

    Parameters
    ----------
    cake
        The caked file.
    eta_index, eta_width
        Which lineout, and how wide it is [deg].
    points
        shape (n_points,): numbers of the bins, ascending.
    """
    none = np.zeros((0, len(points)))
    radius, eta = np.asarray(cake.radius[:, eta_index], dtype=np.float64), float(np.median(cake.eta[:, eta_index]))
    steps = np.diff(radius)
    if cake.metadata.get(INDEPENDENT) or eta_width <= 0 or len(points) < 2:
        return none
    if not (np.isfinite(radius).all() and (steps > 0).all() and np.isfinite(eta)):
        return none
    middle = radius[:-1] + 0.5 * steps
    edges = np.concatenate([[radius[0] - 0.5 * steps[0]], middle, [radius[-1] + 0.5 * steps[-1]]])
    half = 0.5 * eta_width
    bands = _core.bin_correlation(edges, radius=float(np.median(radius)), eta_low=eta - half, eta_high=eta + half)
    found = []
    for k in range(1, min(len(bands), len(points))):
        apart = points[k:] - points[:-k]
        band = np.where(apart < len(bands), bands[np.minimum(apart, len(bands) - 1), points[:-k]], 0.0)
        found.append(np.concatenate([band, np.zeros(k)]))
    return np.array(found) if found else none
