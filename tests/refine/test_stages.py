from __future__ import annotations

import json

import pytest

from midas.errors import InputError
from midas.refine.gsas2_model import INSTRUMENT, SAMPLE
from midas.refine.parameters import INSTRUMENT_NAMES, PHASE_PARAMETERS
from midas.refine.stages import (
    DEFAULT_STAGES,
    Stage,
    check_recipe,
    default_stages,
    read_stages,
    stages_from_data,
    stages_to_data,
)


def test_recipe_of_the_manual_in_its_order():
    assert [s.refine for s in DEFAULT_STAGES] == [
        ("background", "scale"),
        ("cell",),
        ("u", "v", "w"),
        ("x", "y", "sh_l"),
        ("coordinates", "uiso"),
    ]
    assert default_stages(refine_atoms=False) == DEFAULT_STAGES[:4]


def test_the_engine_has_a_name_for_every_parameter():
    """A parameter that a stage may free, but of which the engine's model knows nothing, would be free in name only."""
    assert set(INSTRUMENT_NAMES) <= set(INSTRUMENT)
    assert set(PHASE_PARAMETERS) == {"cell", "coordinates", "uiso", "march", "harmonics", *SAMPLE}


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


def test_round_trip_through_a_file(tmp_path):
    recipe = (*default_stages(broadening="sample"), Stage("a", ("march:CeO2",), axis=(1, 1, 1)), Stage("z", ("zero",)))
    path = tmp_path / "stages.json"
    path.write_text(json.dumps(stages_to_data(recipe)), encoding="utf-8")
    assert read_stages(path) == recipe


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{}", "holds no list of stages"),
        ("[1]", "holds no list of stages"),
        ("[", "is not JSON"),
        ('[{"name": "a", "refine": "cell"}]', "expected a list of names"),
        ('[{"name": "a", "refine": ["cel"]}]', "did you mean 'cell'"),
        ('[{"name": "a", "refine": ["march:"]}]', "unknown parameter 'march:'"),
        ('[{"name": "a", "refine": ["background:CeO2"]}]', "belongs to the pattern"),
        ('[{"name": "a", "refine": ["march"], "axis": [0, 0, 0]}]', "the axis"),
        ('[{"name": "a", "refine": ["march"], "axis": [1, 1]}]', "the axis"),
        ('[{"name": "a", "refine": ["harmonics"], "order": 3}]', "the order 3"),
        ('[{"name": "a", "refine": ["cell"], "required": "yes"}]', "required 'yes'"),
        ('[{"name": "a", "refine": ["cell"], "max_cycles": 2.5}]', "max_cycles 2.5"),
        ('[{"refine": ["cell"]}]', "needs 'name' and 'refine'"),
    ],
)
def test_a_bad_file_of_stages_is_named(tmp_path, text, words):
    path = tmp_path / "stages.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"stages\.json") as caught:
        read_stages(path)
    assert words in str(caught.value)


def test_a_missing_file_of_stages_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere.json cannot be read"):
        read_stages(tmp_path / "nowhere.json")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (Stage("s", ("size",)), "size and stage 'Lorentzian widths' x of CeO2"),
        (Stage("s", ("microstrain:CeO2",)), "microstrain and stage 'Lorentzian widths' y of CeO2"),
        (Stage("s", ("march:LaB6",)), "but the phases are CeO2"),
    ],
)
def test_what_one_pattern_cannot_tell_apart_is_refused(more, words):
    with pytest.raises(InputError, match=words):
        check_recipe([*DEFAULT_STAGES, more], ["CeO2"])


def test_two_textures_of_one_phase_are_refused_and_of_two_are_not():
    start = Stage("start", ("background", "scale"))
    two = [start, Stage("m", ("march:A",)), Stage("h", ("harmonics:B",))]
    assert check_recipe(two, ["A", "B"]) == tuple(two)
    with pytest.raises(InputError, match="cannot tell the two apart"):
        check_recipe([start, Stage("m", ("march",)), Stage("h", ("harmonics:B",))], ["A", "B"])


def test_plain_dictionaries_are_taken_as_stages():
    assert check_recipe(stages_to_data(DEFAULT_STAGES), ["CeO2"]) == DEFAULT_STAGES
    with pytest.raises(InputError, match="at least one stage"):
        check_recipe([], ["CeO2"])


@pytest.mark.parametrize("option", [{"texture": "marsh"}, {"broadening": "both"}])
def test_unknown_options_of_the_recipe_are_refused(option):
    with pytest.raises(InputError, match="expected one of"):
        default_stages(**option)
