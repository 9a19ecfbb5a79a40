"""Expected rings over the data, without refining: how far each ring lies from where cell and calibration put it."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from midas.crystal import Calibrant
from midas.errors import InputError
from midas.refine.expected import ExpectedRing, expected_rings
from midas.refine.lineouts import Lineout
from midas.refine.ring_scale import REACH as SCALE_REACH
from midas.refine.ring_scale import common_scale, moved

FloatArray = NDArray[np.float64]

NEAR = 0.01
"""Largest departure from the common change that a ring is looked for at, relative to 2θ; nearer rings narrow it, and
it is not less than two widths of the peaks."""
OVERLAP_WIDTHS = 2.5
"""A ring nearer to another than this many FWHM has its place from both, and none of its own."""
OVERLAP_SHARE = 0.03
"""Rings weaker than this share of another of their own phase do not move its place; of another phase, whose share of
the sample is not known, than a tenth of that."""
MIN_SIGNIFICANCE = 8.0
"""A peak counts when its height is this many standard deviations above the background."""
COMMON_LIMIT = 1e-3
"""Relative shift of d that all rings may share: samples differ from their CIF by as much."""
SPREAD_LIMIT = 2e-4
"""Relative shift of d by which rings, or azimuths, may differ from one another."""
SIGMAS = 5.0
MIN_RINGS = 3
AGREEING = 0.75
"""Share of the rings, by their weights, that must agree: one that another hides, or a foreign line, is no verdict."""


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
    overlapped: bool = False
    """True where another ring is so near that it moves this one's place: it is left out of the verdict."""
    strength: float = 1.0
    """Of the phase's strongest ring, as the CIF has it."""


@dataclass(frozen=True)
class CalibrationCheck:
    """Whether rings lie where they should."""

    consistent: bool
    verdict: str
    """One sentence; what to look at when it is not consistent."""
    common: float | None
    """Relative shift of d that the rings share: their weighted median."""
    spread: float | None
    """What three quarters of the rings, by their weights, agree with it to."""
    rings: tuple[RingShift, ...]

    def to_data(self) -> dict[str, Any]:
        """Return it as plain data, fit for JSON."""
        return asdict(self)


def check_rings(
    lineouts: Sequence[Lineout], phases: Sequence[tuple[str, Calibrant]], wavelength: float
) -> CalibrationCheck:
    """Return how far each ring of the phases lies from its place in the lineouts, and what that says.

    A change of d common to all rings, as a wrong wavelength makes it, is looked for first (`common_scale`). Then each
    ring that is strong enough is fitted in each lineout by a Gaussian on a straight background.

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
    known = [expected_rings(name, phase, wavelength, low, high) for name, phase in phases]
    strong = [r for r in sorted((r for rings_of in known for r in rings_of), key=lambda r: r.two_theta) if r.is_strong]
    places = np.array([r.two_theta for r in strong])
    change = common_scale(usable, places, np.array([r.strength for r in strong]))
    width = _width(usable)
    shifts = []
    for ring in strong:
        place = float(moved(np.array([ring.two_theta]), change)[0])
        shift = _ring_shift(ring, place, _reach(ring.two_theta, places, width), usable)
        hidden = _is_overlapped(ring, [r for rings_of in known for r in rings_of], width)
        shifts.append(dataclasses.replace(shift, overlapped=hidden, strength=ring.strength))
    return judge_shifts(shifts)


def _width(lineouts: Sequence[Lineout]) -> float:
    """Return the usual FWHM of the peaks [deg]: the median over lineouts, 0 where none shows two."""
    found = [w for o in lineouts if (w := o.median_width) is not None]
    return float(np.median([width for width, _ in found])) if found else 0.0


def _is_overlapped(ring: ExpectedRing, others: Sequence[ExpectedRing], width: float) -> bool:
    for other in others:
        apart = abs(other.two_theta - ring.two_theta)
        least = ring.strength * OVERLAP_SHARE * (1.0 if other.phase == ring.phase else 0.1)
        if other is not ring and apart < OVERLAP_WIDTHS * width and other.strength > least:
            return True
    return False


def _reach(place: float, places: FloatArray, width: float) -> float:
    """Return how far around a ring its peak is looked for [deg]: less than half-way to the next ring."""
    others = np.abs(places - place)
    gap = float(np.min(others[others > 1e-9], initial=math.inf))
    return min(max(NEAR * place, 2.0 * width), 0.45 * gap)


def _ring_shift(ring: ExpectedRing, near: float, reach: float, lineouts: Sequence[Lineout]) -> RingShift:
    name, hkl, place = ring.phase, ring.hkl, ring.two_theta
    fits = [(o.eta, *fit) for o in lineouts if (fit := fit_line(o, near, reach)) is not None]
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
    from scipy.optimize import OptimizeWarning, curve_fit

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
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", OptimizeWarning
            )  # its covariance is infinite then, which is looked at below
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
    known = [(s, s.d_shift, s.d_shift_sigma) for s in shifts if s.d_shift is not None and s.d_shift_sigma is not None]
    seen = [entry for entry in known if 2 * entry[0].found >= entry[0].lineouts and not entry[0].overlapped]
    if len(seen) < MIN_RINGS:
        causes = (
            "wrong phase, a wavelength or distance that is wrong by more than "
            f"{SCALE_REACH:.0%}, rings that overlap, or too little signal"
        )
        words = (
            f"{len(seen)} of {len(shifts)} rings stand alone and were found in half of the lineouts or more, "
            f"{MIN_RINGS} are needed: {causes if len(shifts) >= MIN_RINGS else 'take wider limits'}"
        )
        return CalibrationCheck(False, words, None, None, tuple(shifts))
    value = np.array([d for _, d, _ in seen])
    sigma = np.hypot([e for *_, e in seen], SPREAD_LIMIT / SIGMAS)
    common = weighted_quantile(value, 1.0 / sigma**2, 0.5)
    apart = np.abs(value - common)
    spread = weighted_quantile(apart, 1.0 / sigma**2, AGREEING)
    turned = np.array([0.0 if s.eta_amplitude is None else s.eta_amplitude for s, *_ in seen])
    around = weighted_quantile(turned, 1.0 / sigma**2, 0.5)
    reasons = []
    if abs(common) > COMMON_LIMIT:
        reasons.append(
            f"all rings lie {common:+.2%} off in d: another cell than the CIF's, or a wrong wavelength or distance"
        )
    reasons += [lack for name in dict.fromkeys(s.phase for s in shifts) if (lack := missing_rings(name, shifts))]
    places = np.array([s.two_theta for s, *_ in seen])
    trend, trend_sigma = robust_trend(1.0 / np.tan(np.radians(places / 2.0)), value, sigma)
    if trend > SPREAD_LIMIT and trend > SIGMAS * trend_sigma:
        reasons.append(
            f"rings differ by {trend:.1e} in d from {places.min():.3f} to {places.max():.3f} deg: zero of 2theta, "
            "beam centre, tilt or distance"
        )
    elif spread > SPREAD_LIMIT and weighted_quantile(apart / sigma, 1.0 / sigma**2, AGREEING) > SIGMAS:
        reasons.append(f"rings differ by {spread:.1e} in d, in no order: a phase that is not this one, or strain")
    if around > SPREAD_LIMIT:
        reasons.append(f"shifts change by {around:.1e} with eta: beam centre, or strain")
    words = (
        "; ".join(reasons) if reasons else f"rings agree to {spread:.1e} in d, and with the CIF to {abs(common):.1e}"
    )
    return CalibrationCheck(not reasons, words, common, spread, tuple(shifts))


def missing_rings(phase: str, shifts: Sequence[RingShift]) -> str | None:
    """Return a sentence where of the rings of a phase that should be the clearest more are missing than found.

    The clearest are those at least as strong as the middle one of those found: counts that are too low for weak rings
    are no sign of another phase.
    """
    alone = [s for s in shifts if s.phase == phase and not s.overlapped]
    found = [s for s in alone if 2 * s.found >= s.lineouts]
    middle = float(np.median([s.strength for s in found])) if found else math.inf
    clear = [s for s in alone if s.strength >= middle]
    shown = sum(s in found for s in clear)
    if 2 * shown >= len(clear):
        return None
    return f"only {shown} of the {len(clear)} strongest rings of {phase} are there: another phase, or a texture"


def weighted_quantile(values: FloatArray, weights: FloatArray, share: float) -> float:
    """Return the value that this share of the weights does not exceed, half of its own counted on either side.

    Examples
    --------
    >>> weighted_quantile(np.array([3.0, 1.0, 2.0]), np.array([1.0, 1.0, 1.0]), 0.5)
    2.0
    """
    order = np.argsort(values)
    below = np.cumsum(weights[order]) - 0.5 * weights[order]
    return float(np.interp(share * float(np.sum(weights)), below, values[order]))


def robust_trend(x: FloatArray, values: FloatArray, sigma: FloatArray) -> tuple[float, float]:
    """Return what a straight line changes by over the range of x, and its standard error; outliers count for little.

    Least squares, weighted anew five times by 1 / (1 + (residual / 3 sigma)²).

    Examples
    --------
    >>> x = np.arange(6.0)
    >>> change, error = robust_trend(x, 0.1 * x + [0, 0, 9, 0, 0, 0], np.full(6, 0.01))
    >>> abs(change - 0.5) < 0.01
    True
    """
    design, span = np.column_stack([np.ones_like(x), x]), float(np.ptp(x))
    trust = np.ones_like(x)
    middle = np.array([float(np.median(values)), 0.0])
    for _ in range(5):
        root = np.sqrt(trust) / sigma
        middle, *_ = np.linalg.lstsq(design * root[:, None], values * root, rcond=None)
        trust = 1.0 / (1.0 + ((values - design @ middle) / (3.0 * sigma)) ** 2)
    covariance = np.linalg.pinv((design / sigma[:, None] ** 2 * trust[:, None]).T @ design)
    return abs(float(middle[1])) * span, math.sqrt(max(float(covariance[1, 1]), 0.0)) * span
