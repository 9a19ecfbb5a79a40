"""Expected rings over the data, without refining: how far each ring lies from where cell and calibration put it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from midas.crystal import Calibrant, rings
from midas.errors import InputError
from midas.refine.lineouts import Lineout

FloatArray = NDArray[np.float64]

MIN_INTENSITY = 0.01
"""Rings weaker than this share of a phase's strongest, Lorentz factor included, are not looked for."""
REACH = 0.025
"""Largest shift looked for, relative to 2θ; nearer rings narrow it."""
MIN_SIGNIFICANCE = 8.0
"""A peak counts when its height is this many standard deviations above the background."""
COMMON_LIMIT = 1e-3
"""Relative shift of d that all rings may share: samples differ from their CIF by as much."""
SPREAD_LIMIT = 2e-4
"""Relative shift of d by which rings, or azimuths, may differ from one another."""
SIGMAS = 5.0
MIN_RINGS = 3


@dataclass(frozen=True)
class RingShift:
    """One ring over all lineouts."""

    phase: str
    hkl: tuple[int, int, int]
    two_theta: float
    """Where cell and wavelength put it [deg]."""
    found: int
    """Lineouts in which it was found, of `lineouts`."""
    lineouts: int
    shift: float | None
    """Median of found - expected [deg]; None where it was found nowhere."""
    shift_sigma: float | None
    """Standard error of it, from the scatter over lineouts, or from the fit where there is one [deg]."""
    d_shift: float | None
    """The same as a relative change of d: sinθ expected over sinθ found, less 1."""
    d_shift_sigma: float | None
    eta_amplitude: float | None
    """Amplitude of the change of d with eta once around, relative; None below six lineouts."""


@dataclass(frozen=True)
class CalibrationCheck:
    """Whether rings lie where they should."""

    consistent: bool
    verdict: str
    """One sentence; what to look at when it is not consistent."""
    common: float | None
    """Relative shift of d that the rings share."""
    spread: float | None
    """Largest departure of a ring from that."""
    rings: tuple[RingShift, ...]

    def to_data(self) -> dict[str, Any]:
        """Return it as plain data, fit for JSON."""
        return asdict(self)


def check_rings(
    lineouts: Sequence[Lineout], phases: Sequence[tuple[str, Calibrant]], wavelength: float
) -> CalibrationCheck:
    """Return how far each ring of the phases lies from its place in the lineouts, and what that says.

    Each ring that is strong and alone enough is fitted in each lineout by a Gaussian on a straight background.

    Raises
    ------
    InputError
        No lineout holds data.
    """
    usable = [o for o in lineouts if o.skipped is None]
    if not usable:
        raise InputError("no lineout holds data to check; all are masked, empty or outside the limits")
    high = max(float(o.two_theta[-1]) for o in usable)
    low = min(float(o.two_theta[0]) for o in usable)
    expected = [ring for name, phase in phases for ring in _strong_rings(name, phase, wavelength, low, high)]
    places = np.sort(np.array([place for _, _, place in expected]))
    shifts = [_ring_shift(name, hkl, place, _reach(place, places), usable) for name, hkl, place in expected]
    shifts.sort(key=lambda ring: ring.two_theta)
    return judge_shifts(shifts)


def _strong_rings(
    name: str, phase: Calibrant, wavelength: float, low: float, high: float
) -> list[tuple[str, tuple[int, int, int], float]]:
    known = rings(phase, wavelength, two_theta_max=min(high, 179.0))
    theta = np.radians(known.two_theta / 2.0)
    strength = known.intensity / (np.sin(theta) ** 2 * np.cos(theta))
    inside = (known.two_theta > low) & (strength > MIN_INTENSITY * strength.max(initial=0.0))
    return [
        (name, (int(known.hkl[i][0]), int(known.hkl[i][1]), int(known.hkl[i][2])), float(known.two_theta[i]))
        for i in np.flatnonzero(inside)
    ]


def _reach(place: float, places: FloatArray) -> float:
    """Return how far around a ring its peak is looked for [deg]: less than half-way to the next ring."""
    others = np.abs(places - place)
    gap = float(np.min(others[others > 1e-9], initial=math.inf))
    return min(REACH * place, 0.45 * gap)


def _ring_shift(
    name: str, hkl: tuple[int, int, int], place: float, reach: float, lineouts: Sequence[Lineout]
) -> RingShift:
    fits = [(o.eta, *fit) for o in lineouts if (fit := fit_line(o, place, reach)) is not None]
    if not fits:
        return RingShift(name, hkl, place, 0, len(lineouts), None, None, None, None, None)
    eta, centre, sigma = (np.array(column) for column in zip(*fits, strict=True))
    shift = float(np.median(centre - place))
    scatter = 1.4826 * float(np.median(np.abs(centre - place - shift)))
    error = max(scatter, float(np.median(sigma))) / math.sqrt(len(fits))
    per_degree = math.radians(1.0) / (2.0 * math.tan(math.radians(place / 2.0)))
    d_shifts = np.sin(np.radians(place / 2.0)) / np.sin(np.radians(centre / 2.0)) - 1.0  # Bragg's law, d over d
    around = None
    if len(fits) >= 6:
        angle = np.radians(eta)
        design = np.column_stack([np.ones_like(angle), np.cos(angle), np.sin(angle)])
        solution, *_ = np.linalg.lstsq(design, d_shifts, rcond=None)
        around = float(np.hypot(solution[1], solution[2]))
    d_shift = float(np.median(d_shifts))
    return RingShift(name, hkl, place, len(fits), len(lineouts), shift, error, d_shift, per_degree * error, around)


def fit_line(lineout: Lineout, place: float, reach: float) -> tuple[float, float] | None:
    """Return centre and standard uncertainty [deg] of the peak near a place, or None where there is none to fit."""
    from scipy.optimize import curve_fit

    near = np.abs(lineout.two_theta - place) <= reach
    if np.count_nonzero(near) < 8:
        return None
    x, y, sigma = lineout.two_theta[near], lineout.intensity[near], lineout.sigma[near]
    base, top = float(np.percentile(y, 20)), int(np.argmax(y))
    height = float(y[top]) - base
    above = x[y > base + 0.5 * height]
    width = max(float(above.max() - above.min()), 2.0 * float(np.median(np.diff(x)))) / 2.355
    if height < MIN_SIGNIFICANCE * float(sigma[top]):
        return None
    try:
        values, covariance = curve_fit(
            _gaussian, x - place, y, p0=(float(x[top]) - place, height, width, base, 0.0), sigma=sigma,
            absolute_sigma=True, maxfev=400,
        )  # fmt: skip
    except RuntimeError:
        return None
    error = math.sqrt(covariance[0, 0]) if covariance[0, 0] >= 0 else math.nan
    good = (
        abs(values[0]) < reach and 0 < abs(values[2]) < reach and values[1] > 0 and math.isfinite(error) and error > 0
    )
    return (place + float(values[0]), error) if good and error < abs(values[2]) else None


def _gaussian(x: FloatArray, centre: float, height: float, width: float, base: float, slope: float) -> FloatArray:
    return np.asarray(height * np.exp(-0.5 * ((x - centre) / width) ** 2) + base + slope * x)


def judge_shifts(shifts: Sequence[RingShift]) -> CalibrationCheck:
    """Return what the shifts of the rings say of the calibration."""
    seen = [(s, s.d_shift, s.d_shift_sigma) for s in shifts if s.d_shift is not None and s.d_shift_sigma is not None]
    seen = [entry for entry in seen if 2 * entry[0].found >= entry[0].lineouts]
    if len(seen) < MIN_RINGS:
        words = (
            f"{len(seen)} of {len(shifts)} rings were found in half of the lineouts or more, {MIN_RINGS} are needed: "
            f"wrong phase, a wavelength or distance that is wrong by more than {REACH:.1%}, or too little signal"
        )
        return CalibrationCheck(False, words, None, None, tuple(shifts))
    value = np.array([d for _, d, _ in seen])
    sigma = np.hypot([e for *_, e in seen], SPREAD_LIMIT / SIGMAS)
    common = float(np.sum(value / sigma**2) / np.sum(1.0 / sigma**2))
    apart = np.abs(value - common)
    worst = int(np.argmax(apart))
    spread = float(apart[worst])
    around = max((s.eta_amplitude for s, *_ in seen if s.eta_amplitude is not None), default=0.0)
    reasons = []
    if abs(common) > COMMON_LIMIT:
        reasons.append(
            f"all rings lie {common:+.2%} off in d: another cell than the CIF's, or a wrong wavelength or distance"
        )
    if spread > SPREAD_LIMIT and apart[worst] > SIGMAS * sigma[worst]:
        reasons.append(
            f"rings differ by {spread:.1e} in d (worst {seen[worst][0].two_theta:.3f} deg): beam centre, tilt or "
            "distance, or a phase that is not this one"
        )
    if around > SPREAD_LIMIT:
        reasons.append(f"shifts change by {around:.1e} with eta: beam centre, or strain")
    words = (
        "; ".join(reasons) if reasons else f"rings agree to {spread:.1e} in d, and with the CIF to {abs(common):.1e}"
    )
    return CalibrationCheck(not reasons, words, common, spread, tuple(shifts))
