"""Whether a stage, and in the end a whole fit, may be believed: rules on plain numbers, the same for every engine.

Only the standard library and numpy are used, and nothing of midas: engine workers load this file by its path, because
they may run in another interpreter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

MAX_CELL_CHANGE = 0.03
"""Largest believable relative change of a cell length (and of an angle) from the one of the CIF."""
DOUBTFUL_CELL_CHANGE = 0.01
"""A cell further than this from the CIF's, relatively, is kept with a reservation: a wrong wavelength or distance moves
it just so."""
MAX_RWP_GROWTH = 1e-3
"""Relative growth of Rwp still taken for rounding."""
NEGLIGIBLE_GAIN = 0.01
"""A stage that could not have lowered Rwp by more than this, relatively, was not needed."""
MIN_EXPLAINED_PARTIAL = 0.5
MIN_EXPLAINED_SUCCESS = 0.9
"""Share of the signal above background that the model must explain to count as partial, and as success."""
GOOD_GOF, BAD_GOF = 2.0, 3.0
MIN_EXPLAINED_MISFIT = 0.99
"""Of a success whose GOF is above `BAD_GOF`: with good counts small misfits, as of widths, have a large GOF, too; but
lines of a phase that is not given, close to those of one that is, move its cell by tens of esds at a GOF of 3 to 4."""
MAX_R_WP = 50.0
"""No fit with an Rwp [%] above this is a success, whatever the noise."""
MAX_AUTO_TERMS = 16
"""Most background terms that are ever chosen: a background that asks for more is not smooth."""
STRONG_EVIDENCE = 10.0
"""Difference of Schwarz's criterion that makes a larger number of background terms worth it."""
MAX_SIZE = 9.999
"""Domain size [µm] from which it broadens nothing; engines keep it at 10."""
PLAUSIBLE_UISO = (3e-4, 0.1)
"""Isotropic displacements [Å²] that atoms of a crystal have. Not less than their zero-point motion, which for heavy
atoms in stiff crystals (tungsten) is 6e-4; and not more than a crystal stands before it melts: a tenth to a seventh of
the distance to the neighbours (Lindemann's rule), which for 2 to 3 Å is a root mean square of 0.3 Å along a line."""
AXIAL_ESDS = 3.0
"""A cell that one standard deviation of the axial divergence moves by more esds than this has no honest esd."""
PRESENT_ESDS = 3.0
"""A phase whose scale is not this many esds above zero is not in the data."""

CERTAIN_ESDS, CERTAIN_GOF = 50.0, 2.0
"""A phase this many esds above zero, in a fit with a GOF below that, is in the data without further tests."""


@dataclass(frozen=True)
class StageFacts:
    """What an engine knows after one attempt at a stage."""

    fresh: bool = True
    """True when this attempt itself produced a covariance matrix (not an older one left in place)."""
    converged: bool = True
    max_shift_esd: float | None = 0.0
    """Largest shift over esd; None or NaN when the engine has none."""
    singular: int = 0
    """Number of singular directions of the least-squares matrix."""
    dropped: tuple[str, ...] = ()
    """Parameters that the engine took out by itself."""
    messages: tuple[str, ...] = ()
    """Complaints of the engine, as it worded them."""
    r_wp: float | None = None
    """Rwp [%] after the attempt."""
    r_wp_before: float | None = None
    """Rwp [%] of the last accepted stage; None for the first."""
    cells: dict[str, tuple[float, ...]] = field(default_factory=dict)
    """a, b, c [Å], alpha, beta, gamma [deg] of each phase."""
    reference_cells: dict[str, tuple[float, ...]] = field(default_factory=dict)
    """The same from the CIF."""
    uiso: dict[str, float] = field(default_factory=dict)
    """Smallest isotropic displacement [Å²] of each phase."""
    sample: dict[str, float] = field(default_factory=dict)
    """Size [µm], microstrain [1e-6] and March's coefficient, where they are free, as "CeO2: size"."""
    gaussian_variance: float = 1.0
    """Smallest Gaussian variance over the range [centidegree²]."""
    lorentzian_width: float = 0.0
    """Smallest Lorentzian width over the range [centidegree]."""
    sh_l: float = 0.002
    """Axial divergence."""


def stage_problems(facts: StageFacts) -> list[str]:
    """Return every reason not to believe a stage; an empty list means that it may be kept.

    Examples
    --------
    >>> stage_problems(StageFacts(r_wp=8.0, r_wp_before=9.0))
    []
    >>> stage_problems(StageFacts(r_wp=8.0, converged=False))
    ['not converged']
    """
    problems = list(facts.messages)
    if not facts.fresh:
        problems.append("the least squares ended without a covariance matrix")
    if not facts.converged:
        problems.append("not converged")
    if facts.max_shift_esd is None or not math.isfinite(facts.max_shift_esd):
        problems.append("the shifts are not finite")
    if facts.singular:
        problems.append(f"singular in {facts.singular} direction{'s' if facts.singular != 1 else ''}")
    if facts.dropped:
        problems.append(f"parameters dropped: {', '.join(facts.dropped)}")
    problems += _rwp_problems(facts) + _cell_problems(facts) + _shape_problems(facts)
    return problems


def _rwp_problems(facts: StageFacts) -> list[str]:
    if facts.r_wp is None or not math.isfinite(facts.r_wp):
        return ["Rwp is not a finite number"]
    if facts.r_wp_before is not None and facts.r_wp > facts.r_wp_before * (1.0 + MAX_RWP_GROWTH):
        return [f"Rwp grew from {facts.r_wp_before:.3f} to {facts.r_wp:.3f} %"]
    return []


def _cell_problems(facts: StageFacts) -> list[str]:
    problems = []
    for name, cell in facts.cells.items():
        reference = facts.reference_cells.get(name)
        if reference is None:
            continue
        for axis, value, start in zip(("a", "b", "c", "alpha", "beta", "gamma"), cell, reference, strict=False):
            if not math.isfinite(value) or abs(value - start) > MAX_CELL_CHANGE * start:
                problems.append(f"{name}: {axis} = {value:.5g} is implausible, the CIF has {start:.5g}")
                break
    return problems


def doubtful_cells(cells: dict[str, tuple[float, ...]], reference_cells: dict[str, tuple[float, ...]]) -> list[str]:
    """Return a sentence on each phase whose cell lies further from the CIF's than samples usually do.

    Examples
    --------
    >>> doubtful_cells({"Si": (5.50,) * 3}, {"Si": (5.43,) * 3})
    ["Si: a = 5.5 Å lies 1.29 % from the CIF's 5.43: is it this phase, and are wavelength and distance right?"]
    """
    found = []
    for name, cell in cells.items():
        changes = [
            (abs(v / r - 1.0), axis, v, r)
            for axis, v, r in zip("abc", cell, reference_cells.get(name, ()), strict=False)
        ]
        worst = max(changes, default=(0.0, "", 0.0, 0.0), key=lambda change: change[0])
        if worst[0] > DOUBTFUL_CELL_CHANGE:
            found.append(
                f"{name}: {worst[1]} = {worst[2]:.6g} Å lies {100 * worst[0]:.2f} % from the CIF's {worst[3]:.6g}: "
                "is it this phase, and are wavelength and distance right?"
            )
    return found


def doubtful_uiso(atoms: list[tuple[str, float, float | None]]) -> list[str]:
    """Return a sentence on each displacement outside of `PLAUSIBLE_UISO`, of name, value and esd [Å²].

    One below it is doubtful only where its esd says so, one above it always: lines too weak far out are what all errors
    of intensity look like. One that was not refined (its esd is None) is the CIF's.

    Examples
    --------
    >>> doubtful_uiso([("CeO2 Ce1", 0.34, 0.02), ("CeO2 O1", 0.0001, 0.002), ("LaB6 B1", 0.5, None)])
    ['CeO2 Ce1: Uiso = 0.34 Å² is implausible, crystals have 0.0003 to 0.1: are intensities and phase right?']
    """
    low, high = PLAUSIBLE_UISO
    return [
        f"{name}: Uiso = {value:.2g} Å² is implausible, crystals have {low:g} to {high:g}: "
        "are intensities and phase right?"
        for name, value, esd in atoms
        if esd is not None and (value > high or value + PRESENT_ESDS * esd < low)
    ]


def axial_bound(two_theta: ArrayLike, lines: ArrayLike, weights: ArrayLike, sh_l: float) -> float:
    """Return by how much, relatively, an axial divergence moves a cell found from these lines, at the most.

    It smears a line towards low angles, to cos(2φ) = cos(2θ) sqrt(1 + h²), h up to SH/L (Finger, Cox and Jephcoat,
    J. Appl. Cryst. 27 (1994) 892), so by h² cot(2θ) / 2, of which a fit of the whole line takes in less than a half.
    By Bragg's law that is cotθ / 2 times as much of d. Points count by what they say of the cell.

    Examples
    --------
    >>> x = np.linspace(2.0, 4.0, 400)
    >>> round(1e4 * axial_bound(x, np.exp(-(((x - 3.0) / 0.03) ** 2)), np.ones(400), 0.002), 1)
    3.6
    """
    x, y, w = (np.asarray(v, dtype=float) for v in (two_theta, lines, weights))
    tan, cot = np.tan(np.radians(x / 2.0)), 1.0 / np.tan(np.radians(x))
    counts = w * (y * tan) ** 2
    total = float(np.sum(counts))
    return float(np.sum(counts * sh_l**2 / 4.0 * cot / tan / 2.0)) / total if total > 0 else 0.0


def axial_doubts(moved: dict[str, float], chi2_change: float = 0.0, gof: float = 1.0) -> list[str]:
    """Return a sentence where the axial divergence is known too poorly for the esds of the cells to be honest.

    `moved` says by how many of its esds each cell differs between two values of SH/L, `chi2_change` by how much chi²
    does. Cell and misfit both go with the asymmetry, SH/L squared, so that one standard deviation of it moves a cell by
    the one over the root of the other; two fits that are as good count as one standard deviation apart.

    Examples
    --------
    >>> axial_doubts({"CeO2": 2.5}), axial_doubts({"CeO2": 9.0}, chi2_change=25.0)
    ([], [])
    """
    name = max(moved, key=moved.__getitem__, default=None)
    if name is None:
        return []
    by = moved[name] / max(math.sqrt(abs(chi2_change)) / max(gof, 1.0), 1.0)
    if by <= AXIAL_ESDS:
        return []
    return [
        f"the lines do not tell the axial divergence well enough: the cell of {name} may be off by {by:.0f} esds for "
        "it; fit more rings, or give a calibrant's SH/L (--instprm)"
    ]


def largest_change(cell: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Return the largest relative difference of a, b and c of two cells."""
    return max(abs(b / a - 1.0) for a, b in zip(cell[:3], other[:3], strict=True))


def _shape_problems(facts: StageFacts) -> list[str]:
    problems = [f"{name}: Uiso = {value:.4g} Å² is not positive" for name, value in facts.uiso.items() if not value > 0]
    problems += [_sample_problem(name, value) for name, value in facts.sample.items() if not _believable(name, value)]
    if not facts.gaussian_variance > 0:
        problems.append(f"the Gaussian variance reaches {facts.gaussian_variance:.4g} centidegree² within the range")
    if not facts.sh_l >= 0:
        problems.append(f"the axial divergence SH/L = {facts.sh_l:.3g} is negative")
    if not facts.lorentzian_width >= -1e-9:
        problems.append(f"the Lorentzian width reaches {facts.lorentzian_width:.4g} centidegree within the range")
    return problems


def _believable(name: str, value: float) -> bool:
    return 0.0 < value < (MAX_SIZE if name.endswith("size") else math.inf)


def _sample_problem(name: str, value: float) -> str:
    if name.endswith("size") and value >= MAX_SIZE:
        return f"{name} = {value:.3g} µm is at the end of its range: no broadening by size to be seen"
    return f"{name} = {value:.4g} is not positive"


def is_present(scale: float, esd: float) -> bool:
    """Return whether a phase with this scale factor is in the data at all.

    Examples
    --------
    >>> is_present(1.0, 0.1), is_present(0.2, 0.1), is_present(-5.0, 0.1)
    (True, False, False)
    """
    return math.isfinite(scale) and math.isfinite(esd) and esd > 0 and scale > PRESENT_ESDS * esd


def is_needed(chi2_gain: float, n_parameters: int, gof: float) -> bool:
    """Return whether a phase lowers chi² by more than its parameters would on noise of the size of the misfit.

    Examples
    --------
    >>> is_needed(1000.0, 2, 1.0), is_needed(12.0, 2, 1.0), is_needed(1000.0, 2, 10.0)
    (True, False, False)
    """
    return chi2_gain > (PRESENT_ESDS**2 + 4.0 * n_parameters) * max(gof, 1.0) ** 2


def linear_fit(
    two_theta: ArrayLike, observed: ArrayLike, weights: ArrayLike, patterns: ArrayLike, n_terms: int
) -> tuple[list[float], list[tuple[float, float]]]:
    """Return background coefficients, and (scale, esd) of each pattern, that fit best while nothing else moves.

    The background is a Chebyshev series over the range of `two_theta`. Both are linear, so there is one answer,
    whatever the start; esds are multiplied by the goodness of fit where that is above 1, as engines do.

    Examples
    --------
    >>> x = np.linspace(1.0, 2.0, 50)
    >>> peak = np.exp(-(((x - 1.5) / 0.05) ** 2))
    >>> background, scales = linear_fit(x, 3.0 + 2.0 * peak, np.ones(50), [peak], 2)
    >>> [round(abs(v), 6) for v in background], round(scales[0][0], 6)
    ([3.0, 0.0], 2.0)
    """
    x, o, w = (np.asarray(v, dtype=float) for v in (two_theta, observed, weights))
    basis = np.polynomial.chebyshev.chebvander(2.0 * (x - x.min()) / (x.max() - x.min()) - 1.0, n_terms - 1)
    columns = np.column_stack([basis, *np.asarray(patterns, dtype=float)])
    size = np.sqrt(np.sum(w[:, None] * columns**2, axis=0))
    size[size == 0.0] = 1.0
    root = np.sqrt(w)
    scaled = columns / size * root[:, None]
    solution, *_ = np.linalg.lstsq(scaled, root * o, rcond=None)
    free = max(int(np.count_nonzero(w > 0)) - columns.shape[1], 1)
    gof2 = max(float(np.sum((root * o - scaled @ solution) ** 2)) / free, 1.0)
    esd = np.sqrt(gof2 * np.diag(np.linalg.pinv(scaled.T @ scaled))) / size
    values = solution / size
    scales = [(float(v), float(e)) for v, e in zip(values[n_terms:], esd[n_terms:], strict=True)]
    return [float(v) for v in values[:n_terms]], scales


def background_terms(
    two_theta: ArrayLike, observed: ArrayLike, weights: ArrayLike, peaks: ArrayLike, most: int = MAX_AUTO_TERMS
) -> tuple[int, list[float]]:
    """Return the smallest number of Chebyshev terms that the data ask for under fitted peaks, and the terms.

    The criterion is Schwarz's (Annals of Statistics 6 (1978) 461), BIC(n) = chi²(n) / s² + n ln N over N points, with
    s² the reduced chi² of the largest n where that is above 1, so that a misfit of the peaks asks for nothing. Of
    n = 1 to `most` the smallest is taken whose BIC none undercuts by more than 10, which would be very strong evidence
    (Kass and Raftery, J. Am. Stat. Assoc. 90 (1995) 773). The peaks keep their shape; their scale is free.

    Examples
    --------
    >>> x = np.linspace(2.0, 12.0, 500)
    >>> peaks = 300.0 * np.exp(-(((x - 7.0) / 0.03) ** 2))
    >>> noise = np.random.default_rng(7).normal(0.0, 1.0, 500)
    >>> background_terms(x, 50.0 + noise + peaks, np.ones(500), peaks)[0]
    1
    >>> background_terms(x, 20.0 + 3.0 * x - 2.0 * x**2 + noise + peaks, np.ones(500), peaks)[0]
    3
    """
    x, o, w, peak = (np.asarray(v, dtype=float) for v in (two_theta, observed, weights, peaks))
    n_points = int(np.count_nonzero(w > 0))
    most = max(1, min(most, n_points // 10))
    u, root = 2.0 * (x - x.min()) / (x.max() - x.min()) - 1.0, np.sqrt(w)
    columns = np.column_stack([peak, np.polynomial.chebyshev.chebvander(u, most - 1)]) * root[:, None]
    target = root * o
    found = [np.linalg.lstsq(columns[:, : n + 1], target, rcond=None)[0] for n in range(1, most + 1)]
    chi2 = [float(np.sum((target - columns[:, : len(f)] @ f) ** 2)) for f in found]
    spread = max(chi2[-1] / max(n_points - most - 1, 1), 1.0)
    criterion = [c / spread + n * math.log(n_points) for n, c in enumerate(chi2, 1)]
    n = next(n for n, c in enumerate(criterion, 1) if c <= min(criterion) + STRONG_EVIDENCE)
    return n, [float(v) for v in found[n - 1][1:]]


def is_certain(significance: float, gof: float) -> bool:
    """Return whether a phase's scale over its esd leaves no doubt that the fit needs it.

    Without the phase chi² grows by (scale / esd)² as long as the model is linear; where widths and cells of the others
    adapt, by less, but not by a factor of 100 in a fit that is good.

    Examples
    --------
    >>> is_certain(80.0, 1.1), is_certain(80.0, 3.0), is_certain(20.0, 1.1)
    (True, False, False)
    """
    return significance > CERTAIN_ESDS and gof < CERTAIN_GOF


def r_wp(observed: ArrayLike, calculated: ArrayLike, weights: ArrayLike) -> float:
    """Return Rwp = 100 sqrt(sum w (o-c)² / sum w o²) [%], background included; NaN without any signal.

    Examples
    --------
    >>> r_wp([10.0, 10.0], [10.0, 9.0], [1.0, 1.0])
    7.0710678118654755
    """
    o, c, w = (np.asarray(v, dtype=float) for v in (observed, calculated, weights))
    total = float(np.sum(w * o**2))
    return 100.0 * math.sqrt(float(np.sum(w * (o - c) ** 2)) / total) if total > 0 else math.nan


def explained_fraction(
    observed: ArrayLike, calculated: ArrayLike, background: ArrayLike, weights: ArrayLike
) -> float | None:
    """Return the share of the signal above the background that the model explains, the noise left aside.

    With chi² of the model and chi0² of the background alone over N points, it is 1 - (chi² - N) / (chi0² - N): 1 for a
    fit as good as the noise, 0 for one no better than background. None when there is no signal above the noise to
    explain. A plain Rwp cannot tell: on a high background a phase that is absent has an Rwp below 1 %.

    Examples
    --------
    >>> explained_fraction([1.0, 11.0, 1.0], [1.0, 11.0, 1.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0])
    1.0
    """
    o, c, b, w = (np.asarray(v, dtype=float) for v in (observed, calculated, background, weights))
    n = float(np.count_nonzero(w > 0))
    unexplained = max(float(np.sum(w * (o - c) ** 2)) - n, 0.0)
    signal = float(np.sum(w * (o - b) ** 2)) - n
    if not math.isfinite(signal) or not math.isfinite(unexplained) or signal <= 3.0 * math.sqrt(2.0 * n):
        return None
    return 1.0 - unexplained / signal


@dataclass(frozen=True)
class FitFacts:
    """What is known when the last stage is done."""

    stopped: str | None = None
    """Why the refinement stopped before its end (a required stage that could not be kept)."""
    rolled_back: tuple[str, ...] = ()
    """Names of the optional stages that could not be kept, though they were needed."""
    absent: tuple[str, ...] = ()
    """Phases found not to be in the data, each with its figures."""
    doubtful: tuple[str, ...] = ()
    """Of `doubtful_cells`, `doubtful_uiso` and `axial_doubts`: what speaks against values that fit well."""
    reduced: tuple[str, ...] = ()
    """Stages of which less was kept than they wanted, each with what was refined."""
    n_phases: int = 1
    r_wp: float | None = None
    gof: float | None = None
    explained: float | None = None
    """Of `explained_fraction`."""


def verdict(facts: FitFacts) -> tuple[str, str | None]:
    """Return the status of a whole fit ("success", "partial" or "failed") and the reason when it is not success.

    Examples
    --------
    >>> verdict(FitFacts(r_wp=4.0, gof=1.1, explained=0.999))
    ('success', None)
    >>> verdict(FitFacts(r_wp=0.8, gof=1.0, explained=0.02))[0]
    'failed'
    """
    if len(facts.absent) >= facts.n_phases:
        return "failed", "; ".join(facts.absent)
    if facts.stopped:
        silent = facts.explained is None and facts.r_wp is not None and math.isfinite(facts.r_wp)
        return "failed", f"there is no signal above the background to fit; {facts.stopped}" if silent else facts.stopped
    if facts.r_wp is None or not math.isfinite(facts.r_wp):
        return "failed", "no Rwp could be computed"
    if facts.explained is None:
        return "failed", "there is no signal above the background to fit"
    if facts.explained < MIN_EXPLAINED_PARTIAL:
        return "failed", (
            f"the model explains only {max(facts.explained, 0.0):.0%} of the signal above the background: "
            "wrong phase, wrong cell or wrong wavelength"
        )
    if facts.r_wp > MAX_R_WP and (facts.gof is None or facts.gof > 2.0):
        return "failed", f"Rwp is {facts.r_wp:.1f} %, far above what counting statistics explain"
    reasons = [*facts.absent, *facts.doubtful]
    if facts.rolled_back:
        reasons.append(f"rolled back: {', '.join(facts.rolled_back)}")
    if facts.reduced and facts.gof is not None and facts.gof > GOOD_GOF:
        reasons.append(f"GOF is {facts.gof:.1f}, and not all could be refined: {'; '.join(facts.reduced)}")
    misfit = facts.gof is not None and facts.gof > BAD_GOF and facts.explained < MIN_EXPLAINED_MISFIT
    if facts.explained < MIN_EXPLAINED_SUCCESS or misfit:
        gof = f", GOF {facts.gof:.1f}" if misfit else ""
        reasons.append(f"the model explains only {facts.explained:.1%} of the signal above the background{gof}")
    if facts.r_wp > MAX_R_WP:
        reasons.append(f"Rwp is {facts.r_wp:.1f} %")
    return ("partial", "; ".join(reasons)) if reasons else ("success", None)
