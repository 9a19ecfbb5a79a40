"""The evidence for and against a calibration, and the verdict it gives."""

from __future__ import annotations

import math

import numpy as np

from midas.calibration.fit import GeometryFit, LoopResult, fit_geometry, pseudo_strain
from midas.calibration.points import RingPoints
from midas.calibration.result import RingSummary
from midas.calibration.seed import RingSignal, Seed, ring_radii
from midas.crystal import Rings
from midas.errors import FitError
from midas.geometry import FloatArray, Geometry
from midas.units import CENTIDEGREE

_FOLDS = 4
_FEWEST_RINGS = 3
_SMALLEST_ARC = 60.0  # deg of azimuth
_FEW, _MOST = 0.5, 0.8  # shares of rings found and of rings explained: below the first is failed, the second doubtful
_MANY_OUTLIERS = 1.0 / 3.0  # of the rings
_SAME_PEAK = 2.0  # coarse cells between a peak and the ring that explains it
_LARGEST_RESIDUAL = 0.35  # of the peaks' width: points further off on average are not on these rings
_OVERFIT = 1.5  # held-out over training strain


def held_out_strain(fit: GeometryFit, points: RingPoints) -> float:
    """Return the mean |strain| of points predicted by fits that left their azimuth out."""
    strain = held_out_strains(fit, points)
    return float(np.nanmean(np.abs(strain))) if np.isfinite(strain).any() else float("nan")


def held_out_strains(fit: GeometryFit, points: RingPoints) -> FloatArray:
    """Return the strain of each point that the fit uses, predicted by a fit that left its azimuth out.

    Four-fold: every fourth azimuth bin is left out in turn, the same parameters are refitted on the rest. Shape (number
    of points used,); NaN where too few points are left to fit.
    """
    used = points.select(fit.used)
    strain = np.full(len(used), np.nan)
    for fold in range(_FOLDS):
        test = used.eta_bin % _FOLDS == fold
        if not test.any() or (~test).sum() <= 2 * len(fit.parameters):
            continue
        try:
            trained = fit_geometry(fit.geometry, used.select(~test), fit.parameters)
        except FitError:
            continue
        strain[test] = pseudo_strain(trained.geometry, used.select(test))
    return strain


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


def azimuthal_arc(points: RingPoints, eta_step: float) -> float:
    """Return how much of the circle has points [deg]."""
    return float(len(np.unique(points.eta_bin)) * eta_step)


def judge(
    loop: LoopResult, seed: Seed, *, held_out: float, eta_step: float, found_share: float, explained: float
) -> tuple[str, tuple[str, ...]]:
    """Return (verdict, reasons): "failed" when the rings are not these rings, "doubtful" when the evidence is thin."""
    points, fit = loop.points, loop.fit
    failed, doubtful = [], []
    used = points.select(fit.used)
    residual = float(np.median(np.abs(fit.strain[fit.used]) * used.radius / used.fwhm))
    if residual > _LARGEST_RESIDUAL:
        failed.append(
            f"points lie {residual:.2f} of a peak width off the predicted rings: "
            "wrong calibrant, wavelength, or distance"
        )
    for share, what in (
        (found_share, "of the strong rings that the calibrant should show were found"),
        (explained, "of the rings on the image belong to the calibrant"),
    ):
        if share < _FEW:
            failed.append(f"only {share:.0%} {what}")
        elif share < _MOST:
            doubtful.append(f"only {share:.0%} {what}")
    n_rings = len(np.unique(used.ring))
    if n_rings < _FEWEST_RINGS:
        doubtful.append(f"only {n_rings} rings were used; distance and tilt rest on too little")
    arc = azimuthal_arc(used, eta_step)
    if arc < _SMALLEST_ARC:
        doubtful.append(f"the rings cover only {arc:.0f} deg of azimuth; beam centre and tilt are hard to tell apart")
    if not fit.converged:
        doubtful.append("the least squares of the geometry did not converge")
    n_outliers = len(loop.outlier_rings)
    if n_outliers > _MANY_OUTLIERS * max(1, len(loop.fitted_rings)):
        doubtful.append(f"{n_outliers} of {len(loop.fitted_rings)} rings were left out as outliers")
    if not loop.converged:
        doubtful.append(f"the loop {loop.reason}")
    if not np.isfinite(fit.covariance).all():
        doubtful.append("the covariance is singular: some parameters cannot be told apart with these rings")
    if held_out > _OVERFIT * fit.mean_strain:
        doubtful.append(
            f"held-out strain {held_out * 1e6:.0f} µε against {fit.mean_strain * 1e6:.0f} µε in training: overfitted"
        )
    if seed.runner_up is not None and seed.ambiguous:
        doubtful.append(
            f"a distance of {seed.runner_up.distance / 1000:.1f} mm explains the image nearly as well; give a guess"
        )
    verdict = "failed" if failed else "doubtful" if doubtful else "good"
    return verdict, tuple(failed + doubtful)


def strong_share(loop: LoopResult, rings: Rings, eta_step: float, available: dict[int, float]) -> float:
    """Return the share of the strong rings looked for that were found.

    `available` maps ring index to the fraction of its circumference on usable pixels. A ring counts in full when four
    in ten of its azimuth bins there have a point, else in proportion: texture and spots leave bins empty.
    """
    if not available:
        return 0.0
    bins = 360.0 / eta_step
    intensity = np.nan_to_num(rings.intensity, nan=1.0) / np.tan(np.radians(np.minimum(rings.two_theta, 88.0)))
    strongest = max(intensity[k] for k in available)
    strong = [k for k in available if intensity[k] > 0.1 * strongest]
    counts = [float((loop.points.ring == k).sum()) for k in strong]
    shares = [min(1.0, n / (0.4 * available[k] * bins)) for k, n in zip(strong, counts, strict=True)]
    return float(np.mean(shares))


def explained_share(signal: RingSignal, geometry: Geometry, rings: Rings) -> float:
    """Return the share of the peaks of the azimuthal mean that lie on rings of the calibrant, weighted by strength.

    Peaks count by the square root of their height over the noise: another phase's faint rings weigh little, a wrong
    calibrant's missed strong ones much.
    """
    z, y = np.mgrid[: signal.signal.shape[0], : signal.signal.shape[1]]
    radius, _, _ = geometry.to_polar(signal.to_image(y), signal.to_image(z))
    radii, strengths, _ = ring_radii(signal, radius / signal.binning)
    if len(radii) == 0:
        return 0.0
    expected = geometry.radius_of(rings.two_theta) / signal.binning
    offsets = np.abs(radii[:, None] - expected[None, :]).min(axis=1)
    weights = np.sqrt(strengths)
    return float(np.sum(weights[offsets < _SAME_PEAK]) / np.sum(weights))
