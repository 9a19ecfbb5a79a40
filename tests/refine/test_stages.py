from __future__ import annotations

import pytest

from midas.errors import InputError
from midas.refine.stages import DEFAULT_STAGES, Stage, default_stages, stages_from_data, stages_to_data


def test_recipe_of_the_manual_in_its_order():
    assert [s.refine for s in DEFAULT_STAGES] == [
        ("background", "scale"),
        ("cell",),
        ("u", "v", "w"),
        ("x", "y", "sh_l"),
        ("coordinates", "uiso"),
    ]
    assert default_stages(refine_atoms=False) == DEFAULT_STAGES[:4]


def test_round_trip_through_plain_data():
    assert stages_from_data(stages_to_data(DEFAULT_STAGES)) == DEFAULT_STAGES


def test_unknown_parameter_names_the_nearest():
    with pytest.raises(InputError, match="did you mean 'background'"):
        Stage("start", ("backgroud",))


def test_unknown_key_and_empty_recipe_are_refused():
    with pytest.raises(InputError, match="unknown key 'cycles'"):
        stages_from_data([{"name": "a", "refine": ["cell"], "cycles": 3}])
    with pytest.raises(InputError, match="at least one stage"):
        stages_from_data([])
