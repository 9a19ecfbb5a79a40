"""The ring list `hkls.csv` of MIDAS: one row for each reflection."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from midas.crystal import Rings
from midas.errors import InputError
from midas.io.atomic import atomic_path

HKLS_HEADER = "h k l D-spacing RingNr g1 g2 g3 Theta 2Theta Radius"
"""The file's first line."""
_SMALLEST_DISTANCE = 1e3  # µm


def write_hkls(path: str | Path, rings: Rings, distance: float) -> Path:
    """Write every reflection of the rings to a MIDAS ring list and return its path.

    Columns (docs/files.md): h k l; d [Å]; ring number from 1; Cartesian reciprocal vector [Å⁻¹], of length 1/d; θ
    and 2θ [deg]; radius distance·tan(2θ) [µm]. Values are separated by blanks, as the original reads them, d
    descending. Rings at 2θ >= 90 deg never meet a flat detector: their radius is nan. The file is written beside its
    place and renamed.

    Raises
    ------
    InputError
        The distance [µm] is not a detector's, or there is no ring.
    OutputError
        The file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from midas.crystal import calibrant, rings
    >>> folder = Path(tempfile.mkdtemp())
    >>> path = write_hkls(folder / "hkls.csv", rings(calibrant("CeO2"), 0.2, d_min=3.0), distance=1e6)
    >>> len(path.read_text().splitlines())
    9
    """
    path = Path(path)
    if not _SMALLEST_DISTANCE <= distance < float("inf"):
        hint = " looks like metres or mm" if 0.0 < distance < _SMALLEST_DISTANCE else " is out of range"
        raise InputError(f"distance {distance:g}{hint}; midas takes µm, at least {_SMALLEST_DISTANCE:g}")
    if len(rings) == 0:
        raise InputError(f"{rings.name} has no ring in the range asked for; raise two_theta_max")
    with atomic_path(path) as part:
        part.write_text("\n".join([HKLS_HEADER, *_rows(rings, distance)]) + "\n", encoding="ascii")
    return path


def _rows(rings: Rings, distance: float) -> list[str]:
    ring = rings.all_number - 1
    two_theta = rings.two_theta[ring]
    radius = np.where(two_theta < 90.0, distance * np.tan(np.radians(np.minimum(two_theta, 89.999))), np.nan)
    vectors = rings.reciprocal_vectors()
    columns = zip(
        rings.all_hkl.tolist(),
        rings.d_spacing[ring].tolist(),
        rings.all_number.tolist(),
        vectors.tolist(),
        two_theta.tolist(),
        radius.tolist(),
        strict=True,
    )
    return [
        f"{h} {k} {l} {d:.8f} {number} {g[0]:.8f} {g[1]:.8f} {g[2]:.8f} {0.5 * t:.8f} {t:.8f} {r:.3f}"
        for (h, k, l), d, number, g, t, r in columns  # noqa: E741 (l is the Miller index)
    ]
