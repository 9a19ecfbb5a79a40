"""The verdict: each rule speaks on its own evidence and is silent on the flawless one."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from midas.calibration.evidence import Evidence
from midas.calibration.verdict import DOUBTS, FAILURES, NOTES, judge

FLAWLESS = Evidence(n_points=500, n_rings=10, arc=360.0, found=1.0, explained=1.0, n_fitted_rings=10)


def test_flawless_evidence_is_good_with_no_reasons() -> None:
    verdict, reasons, notes = judge(FLAWLESS)
    assert verdict == "good"
    assert reasons == ()
    assert len(notes) == 1
    assert "mirrored" in notes[0]


@pytest.mark.parametrize(
    ("changes", "verdict", "said"),
    [
        ({"offset_widths": 0.36}, "failed", "off the predicted rings"),
        ({"found": 0.49}, "failed", "only 49% of the strong rings"),
        ({"explained": 0.49, "n_rings": 3}, "failed", "belongs to the calibrant"),
        ({"explained": 0.49}, "doubtful", "second phase"),
        ({"found": 0.79}, "doubtful", "only 79% of the strong rings"),
        ({"explained": 0.79}, "doubtful", "second phase"),
        ({"missing": ("2 0 0",)}, "doubtful", "should show 2 0 0 brightly"),
        ({"n_rings": 2}, "doubtful", "only 2 rings"),
        ({"arc": 55.0}, "doubtful", "55 deg of azimuth"),
        ({"beam_uncertainty": 0.11}, "doubtful", "±0.11 px"),
        ({"distance_uncertainty": 3.1e-4}, "doubtful", "±0.03%"),
        ({"frame_beam": 0.18}, "doubtful", "grid the beam centre is known to ±0.18 px"),
        ({"frame_beam": 0.02, "frame_distance": 5.1e-4}, "doubtful", "the distance is known to ±0.051%"),
        ({"ring_bias": 0.06, "pattern": 0.06}, "doubtful", "rings disagree with one another by 0.06 px"),
        ({"radial_distortion": 4.1e-3}, "doubtful", "moves the outer rings by 0.4% of their radius"),
        ({"unidentifiable": ("tilt_y",)}, "doubtful", "do not determine tilt_y"),
        ({"at_bounds": ("tilt_z",)}, "doubtful", "tilt_z ended at the edge"),
        ({"pattern": 0.31}, "doubtful", "agree to 0.31 px; the tilt or the distortion"),
        ({"pattern": 0.31, "ring_bias": 0.3}, "doubtful", "suspect wavelength"),
        ({"pattern": 0.31, "module_share": 0.6, "module_step": 0.3}, "doubtful", "calibrate the panels"),
        (
            {"held_out_strain": 1e-3, "training_strain": 5e-4, "radius": 200.0},
            "doubtful",
            "azimuths left out of the fit is 2.0 times",
        ),
        (
            {"held_out_rings": 1e-3, "training_rings": 5e-4, "radius": 200.0},
            "doubtful",
            "rings left out of the fit is 2.0 times",
        ),
        ({"n_stray_rings": 4}, "doubtful", "4 of 10 rings"),
        ({"fit_converged": False}, "doubtful", "did not converge"),
        ({"loop_converged": False, "loop_reason": "stopped at the cap"}, "doubtful", "the loop stopped at the cap"),
        ({"runner_up": 4e5}, "doubtful", "400.0 mm explains"),
        ({"explained": 0.85}, "doubtful", "is there a second phase?"),
        ({"brightness_scatter": 0.4, "brightness_noise": 0.05}, "doubtful", "should show; is it the calibrant?"),
        ({"beam_drift": 0.11}, "doubtful", "far from the seed"),
        ({"distance_drift": 0.11}, "doubtful", "far from the seed"),
        ({"mirrored": "the image looks transposed"}, "doubtful", "transposed"),
    ],
)
def test_each_rule_speaks_on_its_own_evidence(changes: dict[str, Any], verdict: str, said: str) -> None:
    found, reasons, _ = judge(replace(FLAWLESS, **changes))
    assert found == verdict
    assert len(reasons) == 1
    assert said in reasons[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"pattern": 0.14},
        {"pattern": 0.5, "fwhm": 6.0},  # a twelfth of the width
        {"held_out_strain": 2e-5, "training_strain": 1e-5, "radius": 200.0},  # 0.002 px
        {"held_out_strain": math.nan, "training_strain": math.nan},
        {"n_stray_rings": 3},
        {"correlated": (("distance", "tilt_y", 0.995),)},
        {"module_step": 0.05, "module_share": 0.4},
    ],
)
def test_what_does_no_harm_is_no_reason(changes: dict[str, Any]) -> None:
    assert judge(replace(FLAWLESS, **changes))[0] == "good"


def test_failures_come_first_and_keep_the_doubts() -> None:
    verdict, reasons, _ = judge(replace(FLAWLESS, n_rings=2, found=0.2))
    assert verdict == "failed"
    assert ["strong rings" in r for r in reasons] == [True, False]


def test_notes_name_what_is_correlated_or_displaced() -> None:
    notes = judge(replace(FLAWLESS, correlated=(("distance", "tilt_y", 0.995),), module_step=0.05, module_share=0.4))[2]
    assert any("distance with tilt_y +0.995" in n for n in notes)
    assert any("displaced by about 0.05 px" in n for n in notes)


def test_the_uncertain_beam_names_what_it_is_entangled_with() -> None:
    said = judge(replace(FLAWLESS, beam_uncertainty=0.5, correlated=(("beam_center_y", "tilt_z", -0.998),)))[1][0]
    assert "beam_center_y and tilt_z are correlated by -0.998" in said


def test_every_rule_is_listed_once() -> None:
    rules = [rule.__name__ for rule in (*FAILURES, *DOUBTS, *NOTES)]
    assert len(set(rules)) == len(rules)
