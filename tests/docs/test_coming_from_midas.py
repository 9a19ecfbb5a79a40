"""What the page for users of the MIDAS scripts says of flags, parameters and files is so."""

from __future__ import annotations

import argparse
import re

import pytest
from doc_pages import DOCS

from midas.cli import build_parser
from midas.io.parameter_table import PARAMETER_KEYS

TEXT = (DOCS / "coming-from-midas.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### `midas (\w+)`.*?\n(.*?)(?=^##)", TEXT, re.MULTILINE | re.DOTALL))
ROWS = [
    (command, *row)
    for command, section in SECTIONS.items()
    for row in re.findall(r"^\| `(-[^`]+)` \| `(-[^`]+)` \| (.*?) ?\|$", section, re.MULTILINE)
]

MANUALS = {
    "calibrate": "-dataFN -ConvertFile -paramFN -darkFN -dataLoc -StoppingStrain -MultFactor -FirstRingNr -LsdGuess"
    " -BCGuess -EtaBinSize -Threshold -MakePlots -SavePlotsHDF -ImTransOpt -BadPxIntensity -GapIntensity",
    "integrate": "-resultFolder -paramFN -dataFN -darkFN -dataLoc -darkLoc -numFrameChunks -preProcThresh -startFileNr"
    " -endFileNr -convertFiles -mapDetector -nCPUs -nCPUsLocal -writeMat -skipExisting -logLevel",
    "refine": "-d -c -o -i --bkg-terms --limits --nCPUs --no-atoms --no-export -v",
    "run": "--backend --skip-integration --zarr-file --skip-refinement",
}
"""The flags of the original manuals."""


def options(command: str) -> dict[str, argparse.Action]:
    parser = build_parser(command)
    (subparsers,) = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    return {name: action for action in subparsers.choices[command]._actions for name in action.option_strings}


@pytest.mark.parametrize("command", MANUALS)
def test_every_flag_of_the_manuals_has_its_row(command):
    assert [row[1] for row in ROWS if row[0] == command] == MANUALS[command].split()


@pytest.mark.parametrize(("command", "old", "new", "note"), ROWS)
def test_both_spellings_are_one_option(command, old, new, note):
    known = options(command)
    assert known[old] is known[new]
    if note.startswith("changes nothing"):
        assert known[old].help.startswith("changes nothing")


def test_parameters_are_used_as_the_page_says():
    for start, use in (("Refused", "nothing: it would change"), ("Kept, not used", "nothing: kept")):
        line = re.search(rf"\*\*{start}\*\*.*?(?=^- )", TEXT, re.MULTILINE | re.DOTALL)[0]
        named = [name for name in re.findall(r"`(\w+)`", line) if name in PARAMETER_KEYS]
        assert set(named) == {name for name, row in PARAMETER_KEYS.items() if row.used.startswith(use)} - {"tol"}
    assert PARAMETER_KEYS["SHpL"].default == 0.002
