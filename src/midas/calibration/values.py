"""The values that a calibration found, as people read them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from midas.errors import InputError
from midas.geometry import ALL_TERMS, DISTORTION_NAMES, PHASES, FloatArray, Geometry
from midas.units import UM_PER_MM

if TYPE_CHECKING:
    from midas.calibration.result import Calibration

_LABELS = {
    "distance": ("distance", "mm", 1.0 / UM_PER_MM),
    "beam_center_y": ("beam y", "px", 1.0),
    "beam_center_z": ("beam z", "px", 1.0),
    "tilt_y": ("tilt y", "deg", 1.0),
    "tilt_z": ("tilt z", "deg", 1.0),
    "parallax": ("parallax", "µm", 1.0),
}
_ALWAYS = frozenset(_LABELS) - {"parallax"}


def correlations(covariance: FloatArray) -> FloatArray:
    """Return the correlations of a covariance, shape (n, n); NaN where it is singular.

    Examples
    --------
    >>> correlations(np.array([[4.0, 1.0], [1.0, 1.0]])).tolist()
    [[1.0, 0.5], [0.5, 1.0]]
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        sigma = np.sqrt(np.diag(covariance))
        return np.asarray(covariance / np.outer(sigma, sigma))


def label_of(name: str) -> tuple[str, str, float]:
    """Return (label, unit, factor from the parameter's own unit to that one) of a parameter, for people.

    Examples
    --------
    >>> label_of("distance"), label_of("p2"), label_of("p6")
    (('distance', 'mm', 0.001), ('p2', '1e-6', 1000000.0), ('p6', 'deg', 1.0))
    """
    if name in _LABELS:
        return _LABELS[name]
    if name not in DISTORTION_NAMES:
        raise InputError(f"{name!r} is no parameter of a calibration; expected {', '.join(_LABELS)} or {ALL_TERMS}")
    return (name, "deg", 1.0) if name in PHASES else (name, "1e-6", 1e6)


def named_values(geometry: Geometry) -> dict[str, float]:
    """Return what a calibration may refine, by the names that `fixed` and `esd` use: µm, px, deg."""
    return {
        "distance": geometry.distance,
        "beam_center_y": geometry.beam_center[0],
        "beam_center_z": geometry.beam_center[1],
        "tilt_y": geometry.tilts[1],
        "tilt_z": geometry.tilts[2],
        "parallax": geometry.parallax,
        **geometry.distortion,
    }


def read_out(calibration: Calibration) -> list[tuple[str, str, str]]:
    """Return (name, value with its uncertainty in brackets, unit) of what was found, for people."""
    g, esd = calibration.geometry, calibration.esd
    rows = []
    for name, value in named_values(g).items():
        if name in esd or name in _ALWAYS:
            label, unit, factor = label_of(name)
            rows.append((label, with_esd(value * factor, esd.get(name, 0.0) * factor), unit))
    used = calibration.used
    n_rings = len([r for r in calibration.ring_table if r.n_points and not r.outlier])
    n_rejected = len([r for r in calibration.ring_table if r.outlier])
    return [
        *rows,
        ("", "", ""),
        ("strain", f"{calibration.mean_strain * 1e6:.1f}", "µε"),
        ("held out", f"{calibration.held_out_strain * 1e6:.1f}", "µε"),
        ("points", f"{int(used.sum())}", f"of {len(used)}"),
        ("rings", f"{n_rings}", "used"),
        ("", f"{n_rejected}", "rejected"),
        ("wavelength", f"{g.wavelength:.6f}", "Å"),
        ("pixel", f"{g.pixel_size:g}", "µm"),
    ]


def with_esd(value: float, esd: float) -> str:
    """Return a value with its standard uncertainty in units of the last digit, as crystallographers write it.

    Examples
    --------
    >>> with_esd(1050.76497, 0.00102), with_esd(-0.5, 0.0), with_esd(3.2e4, 250.0)
    ('1050.7650(10)', '-0.5000', '32000(250)')
    """
    if not (math.isfinite(esd) and esd > 0.0):
        return f"{value:.4f}"
    digits = 1 - math.floor(math.log10(float(f"{esd:.1e}")))  # decimals that leave the uncertainty two digits
    if digits <= 0:
        return f"{value:.0f}({esd:.0f})"
    return f"{value:.{digits}f}({round(esd * 10.0**digits)})"
