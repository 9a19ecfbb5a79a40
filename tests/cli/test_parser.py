"""Words that no command knows are refused in one sentence that names the nearest known one."""

from __future__ import annotations

import pytest

from midas.cli import build_parser, main


def refused(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        main([*words])
    assert stop.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    return said.err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["calibrat", "a.tif"], "midas: there is no command 'calibrat'; did you mean calibrate? See midas --help"),
        (["frobnicate"], "midas: there is no command 'frobnicate'; there are demo, doctor, calibrate"),
        (["calibrate", "a.tif", "--energi", "80"], "no option --energi; did you mean --energy? See midas calibrate -"),
        (["integrate", "-datafn", "a.h5"], "there is no option -datafn; did you mean -dataFN?"),
        (["refine", "-data", "a.zarr.zip"], "there is no option -data; did you mean --data?"),
        (["refine", "-out", "results"], "there is no option -out; did you mean --out?"),
        (["refine", "--resum"], "did you mean --resume?"),
        (["inspect", "a.h5", "--colour"], "midas inspect: there is no option --colour; see midas inspect --help"),
        (["calibrate", "a.tif", "--panels", "aut"], "'aut' is not known; expected auto or none; did you mean auto?"),
        (["params", "chek", "ps.txt"], "there is no action 'chek'; did you mean check?"),
        (["params", "check", "--task", "x"], "midas params check: there is no option --task"),
        (["demo", "here"], "midas demo: nothing takes here; leave it out, or see midas demo --help"),
        (["hkls", "--energy", "much"], "--energy: invalid float value: 'much'"),
        (["completion", "bsh"], "did you mean bash?"),
        (["--verson"], "midas: there is no option --verson; did you mean --version?"),
    ],
)  # fmt: skip
def test_what_is_not_known_is_refused_with_the_nearest_that_is(capsys, words, sentence):
    assert sentence in refused(capsys, *words)


def test_values_that_look_like_options_are_values():
    parse = build_parser("refine").parse_args
    assert parse(["refine", "x.zip", "--eta", "170", "-170.5"]).eta == [170.0, -170.5]
    assert parse(["refine", "x.zip", "--limits", "-1e-3", "5"]).limits == [-1e-3, 5.0]
    assert str(parse(["refine", "x.zip", "--out=-v"]).out) == "-v"
    assert str(parse(["refine", "--", "-odd.zip"]).data_file) == "-odd.zip"
    integrate = build_parser("integrate").parse_args
    assert integrate(["integrate", "a.h5", "-startFileNr", "-1"]).first_file_number == -1
