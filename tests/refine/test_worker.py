"""How a stage is tried, and tried again, with a model that needs no engine: one value that least squares must find."""

from __future__ import annotations

import pytest

from midas.refine import judge
from midas.refine.worker import KEPT, NOT_NEEDED, ROLLED_BACK, SHORT_STEPS, SYMMETRIC, TWO_STEPS, run_stage, ways

STAGE = {"name": "cell", "refine": ["cell"], "alternatives": [], "required": True, "max_cycles": 20}


class Valley:
    """Least squares that end at 0 from within `reach`, and go astray from further away."""

    def __init__(self, value, *, reach=1.0, by_steps=0.0, alone=1e9):
        self.value, self.reach, self.by_steps, self.alone = value, reach, by_steps, alone
        self.job, self.is_symmetric, self.log = {"sh_l_known": True}, True, []

    def state(self):
        return self.value

    def restore(self, state):
        self.value = state

    def begin_broadening(self, stage, names):
        pass

    def prepare(self, stage):
        return []

    def without_idle(self, names):
        return names

    def r_wp(self):
        return 5.0 + abs(self.value)

    def gof(self):
        return 1.0

    def approach(self, names):
        self.log.append(("steps", *sorted(names)))
        self.value *= self.by_steps

    def refine(self, names, cycles):
        self.log.append(("fit", *sorted(names)))
        near = abs(self.value) < (self.alone if names == {"cell"} else self.reach)
        self.value = 0.0 if near else 2.0 * self.value
        return {"converged": near, "r_wp": self.r_wp()}


def test_a_fit_that_goes_astray_gets_there_by_short_steps():
    model = Valley(4.0, by_steps=0.1, alone=0.0)
    record, kept = run_stage(model, STAGE, {"scale"}, judge)
    assert (record["outcome"], model.value) == (KEPT, 0.0)
    assert kept == {"cell", "scale"}
    assert record["refined"] == ["cell"]
    assert record["problems"] == ["cell: not converged, Rwp grew from 9.000 to 13.000 %"]
    assert [entry[0] for entry in model.log] == ["fit", "steps", "fit"]
    assert model.log[1] == ("steps", "cell", "scale")


def test_a_fit_of_its_own_comes_after_short_steps():
    model = Valley(4.0, by_steps=1.0, alone=10.0)
    record, _ = run_stage(model, STAGE, {"scale"}, judge)
    assert (record["outcome"], model.value) == (KEPT, 0.0)
    assert record["problems"][-1] == f"cell{SHORT_STEPS}: not converged, Rwp grew from 9.000 to 13.000 %"
    assert model.log[-2:] == [("fit", "cell"), ("fit", "cell", "scale")]  # the stage alone, then with what was kept


def test_where_nothing_helps_the_model_is_as_before():
    model = Valley(4.0, by_steps=1.0, alone=0.0)
    record, kept = run_stage(model, STAGE, {"scale"}, judge)
    assert (record["outcome"], model.value, kept) == (ROLLED_BACK, 4.0, {"scale"})
    assert len(record["problems"]) == 3


def test_an_error_on_the_way_is_judged_by_where_it_led():
    model = Valley(4.0, by_steps=0.1, alone=0.0)

    def approach(names):
        model.value = 0.5
        raise RuntimeError("stuck")

    model.approach = approach
    record, _ = run_stage(model, STAGE, {"scale"}, judge)
    assert record["outcome"] == KEPT


def test_a_stage_on_which_nothing_rests_is_not_forced():
    model = Valley(4.0, by_steps=0.1)
    record, _ = run_stage(model, {**STAGE, "required": False}, {"scale"}, judge)
    assert record["outcome"] in (NOT_NEEDED, ROLLED_BACK)
    assert all(entry[0] == "fit" for entry in model.log)


@pytest.mark.parametrize(
    ("symmetric", "expected"),
    [(True, [("", "sh_l"), (SYMMETRIC, "sh_l"), ("", "x")]), (False, [("", "sh_l"), ("", "x")])],
)
def test_symmetric_lines_are_tried_before_smaller_sets(symmetric, expected):
    stage = {**STAGE, "refine": ["x", "sh_l"], "alternatives": [["x"]], "required": False}
    assert [(how, names[-1]) for how, names in ways(stage, symmetric=symmetric)] == expected


def test_the_careful_ways_are_last():
    assert [how for how, _ in ways({**STAGE, "alternatives": [["zero"]]})] == ["", "", SHORT_STEPS, TWO_STEPS]
