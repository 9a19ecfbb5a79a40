"""The verdict on a calibration: rules over the evidence, each with its limit and what to do about it.

What a limit guards is a beam centre wrong by 0.3 px or a distance wrong by one part in a thousand: three standard
uncertainties have to fit into that, and no pattern of the residuals may be large enough to hide it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from midas.units import UM_PER_MM

if TYPE_CHECKING:
    from midas.calibration.evidence import Evidence

FEW, MOST = 0.5, 0.8
"""Share of rings found: below the first the verdict is failed, below the second doubtful; FEW also of explained."""
MOST_LIGHT = 0.9
"""Share of the rings' intensity that the calibrant should explain: Si leaves 0.15 of CeO2's, whose lattice is alike."""
LARGEST_BRIGHTNESS_SCATTER = 0.35
"""Of ln(seen / expected brightness): a wrong calibrant of the same lattice type comes to 0.4, good powders to 0.05."""
BRIGHTNESS_BY_GRAINS = 4.0
"""Standard uncertainties that few grains on a ring may change its brightness by."""
CONVINCING = 0.95
"""Of the strong rings: so many found, all where they should be, are no accident."""
LARGEST_OFFSET = 0.35
"""Of the rings' width: points further off than this on average are not on these rings."""
FEWEST_RINGS = 3
"""Two ratios of radii at least: with fewer nothing checks the distance."""
SMALLEST_ARC = 60.0
"""[deg] of azimuth: beam centre, distance and tilt turn into one another on shorter arcs."""
LARGEST_BEAM_UNCERTAINTY = 0.1
"""[px]: a third of the error that would make the answer wrong."""
LARGEST_DISTANCE_UNCERTAINTY = 3e-4
"""Of the distance: a third of the error that would make the answer wrong."""
LARGEST_FRAME_BEAM, LARGEST_FRAME_DISTANCE = 0.17, 5e-4
"""[px], of the distance: of modules' nominal grid, one answer in twenty is then off by more than 0.3 px or 1e-3. Where
pixels diffract to is known better, so the limit is wider."""
LARGEST_PATTERN = 0.15
"""[px]: what neighbours' residuals share. Displaced modules leave up to a tenth, a wrong minimum much more."""
LARGEST_PATTERN_WIDTHS = 0.1
"""Of the rings' width: on wide rings, the pattern that texture and overlap leave grows with the width."""
LARGEST_RING_BIAS = 0.05
"""[px]: of rings' means beyond noise, where neighbours share as much: rings of a second phase do that unresolved."""
OVERFIT = 1.5
"""Held-out over training strain: more than this, and the parameters follow the noise of single points."""
HARMLESS = 0.05
"""[px]: an error on what was left out that is larger by less than this does no harm, whatever the ratio."""
MANY_STRAYS = 1.0 / 3.0
"""Of the rings fitted: more off their place than this, and it is the fit that does not belong."""
LARGEST_RADIAL_DISTORTION = 4e-3
"""Of the radius: detectors distort by 1e-3; more takes up what a wrong calibrant or wavelength leaves."""
LARGEST_DRIFT = 0.1
"""Of distance or panel, from seed to fit: one that walks that far has left what the seed found evidence for."""
MODULE_STEP = 0.03
"""[px]: smaller displacements of modules do not pay for their parameters."""

Rule = Callable[["Evidence"], str | None]


def judge(evidence: Evidence) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Return (verdict, reasons, notes) for the evidence.

    "failed": the rings on the image are not where this geometry has them. "doubtful": nothing contradicts it, but the
    evidence would look much the same for a geometry wrong by more than 0.3 px or 1e-3 of the distance. "good":
    otherwise. Reasons are empty for "good"; notes are things to know that speak neither for nor against.

    Examples
    --------
    >>> from midas.calibration.evidence import Evidence
    >>> judge(Evidence(n_points=400, n_rings=8, arc=360.0, found=1.0, explained=0.98))[0]
    'good'
    >>> verdict, reasons, _ = judge(Evidence(n_points=90, n_rings=2, arc=360.0, found=1.0, explained=1.0))
    >>> verdict, reasons[0][:16]
    ('doubtful', 'only 2 rings wer')
    """
    failed = _said(FAILURES, evidence)
    doubtful = _said(DOUBTS, evidence)
    verdict = "failed" if failed else "doubtful" if doubtful else "good"
    return verdict, failed + doubtful, _said(NOTES, evidence)


def downgraded(verdict: str, doubts: Sequence[str]) -> str:
    """Return the verdict, "doubtful" instead of "good" where there are doubts."""
    return "doubtful" if doubts and verdict == "good" else verdict


def odd_brightness(evidence: Evidence, limit: float) -> bool:
    """Return whether the rings' brightness scatters by more than a limit, and more than few grains do."""
    noise = 0.0 if math.isnan(evidence.brightness_noise) else evidence.brightness_noise
    return evidence.brightness_scatter > max(limit, BRIGHTNESS_BY_GRAINS * noise)


def _said(rules: tuple[Rule, ...], evidence: Evidence) -> tuple[str, ...]:
    return tuple(text for rule in rules if (text := rule(evidence)) is not None)


def _points_off_the_rings(e: Evidence) -> str | None:
    if e.offset_widths <= LARGEST_OFFSET:
        return None
    return (
        f"points lie {e.offset_widths:.2f} of a ring's width off the predicted rings; check calibrant and wavelength, "
        "or give a distance"
    )


def _strong_rings_missing(e: Evidence) -> str | None:
    return _share(e.found, e, "of the strong rings that the calibrant should show were found")


def _rings_unexplained(e: Evidence) -> str | None:
    if e.found >= CONVINCING and e.n_rings > FEWEST_RINGS:
        return None  # they are there; what else is on the image leaves a doubt
    return _share(e.explained, e, "of the rings' intensity on the image belongs to the calibrant")


def _share(share: float, e: Evidence, what: str) -> str | None:
    if not share < FEW:
        return None
    return f"only {share:.0%} {what}; check the calibrant ({e.calibrant}), the wavelength and the pixel size"


def _some_strong_rings_missing(e: Evidence) -> str | None:
    if not FEW <= e.found < MOST:
        return None
    return f"only {e.found:.0%} of the strong rings that {e.calibrant} should show were found; is it the calibrant?"


def _bright_rings_missing(e: Evidence) -> str | None:
    if not e.missing:
        return None
    return (
        f"{e.calibrant} should show {', '.join(e.missing)} brightly, which are not on the image; is it the calibrant?"
    )


def _some_rings_unexplained(e: Evidence) -> str | None:
    if not e.explained < MOST_LIGHT or _rings_unexplained(e) is not None:
        return None
    return (
        f"only {e.explained:.0%} of the rings' intensity on the image belongs to {e.calibrant}; "
        "is it the calibrant, or is there a second phase?"
    )


def _wrong_brightness(e: Evidence) -> str | None:
    if not odd_brightness(e, LARGEST_BRIGHTNESS_SCATTER):
        return None
    return (
        f"the brightness of the rings is off by {math.expm1(e.brightness_scatter):.0%} on average from what "
        f"{e.calibrant} should show; is it the calibrant? calibrant auto compares"
    )


def _few_rings(e: Evidence) -> str | None:
    if e.n_rings >= FEWEST_RINGS:
        return None
    return f"only {e.n_rings} rings were used: nothing checks the distance; expose more rings or give the distance"


def _short_arc(e: Evidence) -> str | None:
    if e.arc >= SMALLEST_ARC:
        return None
    return (
        f"the rings cover only {e.arc:.0f} deg of azimuth: beam centre, distance and tilt cannot be told apart; "
        f"have rings over {SMALLEST_ARC:.0f} deg on the detector, or fix what is known"
    )


def _beam_uncertain(e: Evidence) -> str | None:
    if e.beam_uncertainty <= LARGEST_BEAM_UNCERTAINTY:
        return None
    return (
        f"the beam centre is known only to ±{e.beam_uncertainty:.2f} px{_entangled(e)}; expose more rings or azimuth, "
        "or refine fewer parameters"
    )


def _distance_uncertain(e: Evidence) -> str | None:
    if e.distance_uncertainty <= LARGEST_DISTANCE_UNCERTAINTY:
        return None
    return (
        f"the distance is known only to ±{e.distance_uncertainty:.2%}{_entangled(e)}; expose more rings, "
        "or refine fewer parameters"
    )


def _entangled(e: Evidence) -> str:
    if not e.correlated:
        return ""
    one, other, r = max(e.correlated, key=lambda pair: abs(pair[2]))
    return f" ({one} and {other} are correlated by {r:.3f})"


def _modules_displaced(e: Evidence) -> str | None:
    if e.frame_beam <= LARGEST_FRAME_BEAM and e.frame_distance <= LARGEST_FRAME_DISTANCE:
        return None
    return (
        f"the rings lie on few modules, and modules may stand off their places: {_against_the_grid(e)}; expose more of "
        "the detector, or use this geometry for this image area alone"
    )


def _module_frame(e: Evidence) -> str | None:
    if max(e.frame_beam, e.frame_distance) == 0.0 or _modules_displaced(e) is not None:
        return None
    return f"modules may stand off their places: {_against_the_grid(e)}"


def _against_the_grid(e: Evidence) -> str:
    known = [f"the beam centre is known to ±{e.frame_beam:.2f} px"] if e.frame_beam > 0.0 else []
    known += [f"the distance is known to ±{e.frame_distance:.3%}"] if e.frame_distance > 0.0 else []
    return "against their nominal grid " + ", ".join(known)


def _unidentifiable(e: Evidence) -> str | None:
    if not e.unidentifiable:
        return None
    return f"these rings do not determine {', '.join(e.unidentifiable)}; refine fewer parameters"


def _at_bounds(e: Evidence) -> str | None:
    if not e.at_bounds:
        return None
    return (
        f"{', '.join(e.at_bounds)} ended at the edge of the allowed range: the fit has not found a minimum; widen the "
        "bounds or fix it"
    )


def _pattern(e: Evidence) -> str | None:
    if e.pattern <= max(LARGEST_PATTERN, LARGEST_PATTERN_WIDTHS * e.fwhm):
        return None
    suspect = "the tilt or the distortion is wrong, or the detector needs a richer distortion"
    if e.ring_bias > 0.7 * e.pattern:
        suspect = "rings disagree with one another: suspect wavelength, lattice constants, calibrant or a second phase"
    elif e.module_share > 0.5:
        suspect = "it steps at the module borders: calibrate the panels"
    return f"residuals of neighbouring points agree to {e.pattern:.2f} px; {suspect}"


def _rings_disagree(e: Evidence) -> str | None:
    if min(e.ring_bias, e.pattern) <= LARGEST_RING_BIAS or _pattern(e) is not None:
        return None
    return (
        f"rings disagree with one another by {e.ring_bias:.2f} px: is there a second phase with rings close to these "
        "(--calibrant CeO2,Si names two), or are lattice constants or wavelength off?"
    )


def _overfitted(e: Evidence) -> str | None:
    ratios = [
        (held / train, what)
        for held, train, what in (
            (e.held_out_strain, e.training_strain, "azimuths"),
            (e.held_out_rings, e.training_rings, "rings"),
        )
        if train > 0.0 and (held - train) * e.radius > HARMLESS
    ]
    worst, what = max(ratios, default=(0.0, ""))
    if not worst > OVERFIT:
        return None
    return f"strain on {what} left out of the fit is {worst:.1f} times that of the others: too many parameters"


def _many_strays(e: Evidence) -> str | None:
    if e.n_stray_rings <= MANY_STRAYS * max(1, e.n_fitted_rings):
        return None
    return f"{e.n_stray_rings} of {e.n_fitted_rings} rings lie off their place and were left out; check the calibrant"


def _not_converged(e: Evidence) -> str | None:
    if not e.fit_converged:
        return "the least squares of the geometry did not converge; refine fewer parameters, or give a guess"
    return None if e.loop_converged else f"the loop {e.loop_reason}; allow more iterations, or refine fewer parameters"


def _runner_up(e: Evidence) -> str | None:
    if e.runner_up is None:
        return None
    return (
        f"a distance of {e.runner_up / UM_PER_MM:.1f} mm explains the image nearly as well; give a distance or a beam "
        "centre to choose"
    )


def _much_distortion(e: Evidence) -> str | None:
    if e.radial_distortion <= LARGEST_RADIAL_DISTORTION:
        return None
    return (
        f"the distortion moves the outer rings by {e.radial_distortion:.1%} of their radius, more than detectors do: "
        f"check the calibrant ({e.calibrant}), the wavelength and the pixel size"
    )


def _drifted(e: Evidence) -> str | None:
    if e.beam_drift <= LARGEST_DRIFT and e.distance_drift <= LARGEST_DRIFT:
        return None
    return (
        f"the fit ended far from the seed: the beam by {e.beam_drift:.0%} of the panel, "
        f"the distance by {e.distance_drift:.0%}; expected at most {LARGEST_DRIFT:.0%}, check calibrant and wavelength"
    )


def _mirrored(e: Evidence) -> str | None:
    return e.mirrored


def _modules(e: Evidence) -> str | None:
    if not (e.module_share > 0.3 and e.module_step > MODULE_STEP):
        return None
    return f"modules look displaced by about {e.module_step:.2f} px; calibrating panels would take that out"


def _correlations(e: Evidence) -> str | None:
    if not e.correlated:
        return None
    pairs = ", ".join(f"{one} with {other} {r:+.3f}" for one, other, r in e.correlated)
    return f"strongly correlated: {pairs}; only their combination is well determined"


def _orientation(e: Evidence) -> str | None:
    if e.mirrored is not None:
        return None
    return "rings look the same in a mirrored image: that the image transforms are right is taken from you"


FAILURES: tuple[Rule, ...] = (_points_off_the_rings, _strong_rings_missing, _rings_unexplained)
"""What shows that the rings are not these rings."""
DOUBTS: tuple[Rule, ...] = (
    _some_strong_rings_missing,
    _bright_rings_missing,
    _some_rings_unexplained,
    _wrong_brightness,
    _few_rings,
    _short_arc,
    _unidentifiable,
    _at_bounds,
    _beam_uncertain,
    _distance_uncertain,
    _modules_displaced,
    _pattern,
    _rings_disagree,
    _overfitted,
    _many_strays,
    _not_converged,
    _runner_up,
    _much_distortion,
    _drifted,
    _mirrored,
)
"""What leaves room for a wrong answer."""
NOTES: tuple[Rule, ...] = (_modules, _module_frame, _correlations, _orientation)
"""What is worth knowing either way."""
