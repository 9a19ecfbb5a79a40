"""What a calibration's points say ring by ring, and of the instrument's profile."""

from __future__ import annotations

import math

import numpy as np

from midas.calibration.fit import LoopResult
from midas.calibration.points import RingPoints
from midas.calibration.result import RingSummary
from midas.crystal import Rings
from midas.geometry import Geometry
from midas.units import CENTIDEGREE


def ring_table(loop: LoopResult, rings: Rings) -> tuple[RingSummary, ...]:
    """Return one summary a ring that has points."""
    table = []
    points, fit = loop.points, loop.fit
    for n in np.unique(points.ring):
        chosen = points.ring == n
        kept = chosen & fit.used
        shown = kept if kept.any() else chosen
        table.append(
            RingSummary(
                number=int(n) + 1,
                calibrant=rings.calibrant_of(int(n)).name,
                hkl=tuple(int(v) for v in rings.hkl[n]),  # type: ignore[arg-type]
                d_spacing=float(rings.d_spacing[n]),
                two_theta=float(rings.two_theta[n]),
                radius=float(fit.geometry.radius_of(rings.two_theta[n])),
                n_points=int(kept.sum()),
                mean_strain=float(np.mean(np.abs(fit.strain[shown]))),
                bias=float(np.mean(fit.strain[shown])),
                fwhm=float(np.median(points.fwhm[shown])),
                outlier=int(n) in loop.outlier_rings,
            )
        )
    return tuple(table)


def instrument_profile(geometry: Geometry, points: RingPoints) -> dict[str, float]:
    """Return constant U, V, W, X, Y, Z with the median width and Lorentzian share of the points, and SH_L.

    SH_L, the axial divergence of a point detector's slits, is 0: arcs of an area detector are integrated as they bend.

    Lorentzian and Gaussian widths over the total width, as functions of the Lorentzian share η of the pseudo-Voigt:
    Γ_L/Γ = 0.72928 η + 0.19289 η² + 0.07783 η³, Γ_G/Γ = sqrt(1 - 0.74417 η - 0.24781 η² - 0.00810 η³)
    (Thompson, Cox and Hastings, J. Appl. Cryst. 20 (1987) 79, inverted).
    """
    edge = points.radius + 0.5 * points.fwhm
    width = geometry.two_theta_of(edge) - geometry.two_theta_of(edge - points.fwhm)
    fwhm = float(np.median(width)) / CENTIDEGREE
    share = float(np.median(points.mixing))
    lorentz = fwhm * (0.72928 * share + 0.19289 * share**2 + 0.07783 * share**3)
    gauss = fwhm * math.sqrt(max(0.0, 1.0 - 0.74417 * share - 0.24781 * share**2 - 0.00810 * share**3))
    return {"U": 0.0, "V": 0.0, "W": gauss**2 / (8.0 * math.log(2.0)), "X": 0.0, "Y": 0.0, "Z": lorentz, "SH_L": 0.0}
