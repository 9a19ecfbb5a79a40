"""A parameter file is gone through to its end: what cannot work, what is probably wrong, what to know."""

from __future__ import annotations

import json
import logging
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midas.errors import FormatError, InputError
from midas.io.parameter_report import check_params
from midas.io.parameter_table import PARAMETER_KEYS
from midas.io.parameters import parse_params, read_params

GOOD = """Lsd 1050773
BC 1030 1007
p2 -3e-4
RhoD 291000
px 200
NrPixels 2048
Wavelength 0.1536
SpaceGroup 225
LatticeConstant 5.41165 5.41165 5.41165 90 90 90
RMin 10
RMax 1400
RBinSize 0.5
EtaBinSize 5
ImTransOpt 2
"""


def check(tmp_path, text, **options):
    path = tmp_path / "ps.txt"
    path.write_text(text)
    return check_params(path, **options)


def test_a_good_file_is_fine_and_ready(tmp_path, caplog):
    found = check(tmp_path, GOOD)
    assert (found.status, found.findings, found.ready_for) == (0, (), ("calibrate", "integrate"))
    assert not caplog.records


@pytest.mark.parametrize(
    ("change", "line", "words"),
    [
        (("Wavelength 0.1536", "Wavelength 80.7"), 7, "energy in keV"),
        (("Wavelength 0.1536", "Wavelength 1.5e-11"), 7, "metres or nm"),
        (("Lsd 1050773", "Lsd 105"), 1, "looks like mm"),
        (("Lsd 1050773", "Lsd 1.05"), 1, "looks like metres"),
        (("px 200", "px 0.2"), 5, "metres or mm"),
        (("RhoD 291000", "RhoD 1455"), 4, "RhoD 1455 looks like px"),
        (("RhoD 291000", "RhoD 291"), 4, "looks like mm"),
        (("EtaBinSize 5", "EtaBinSize 0"), 13, "eta bins run from -180 to 180 in steps of 0"),
        (("EtaBinSize 5", "EtaMin 90\nEtaMax -90"), None, "eta bins run from 90 to -90"),
        (("RMax 1400", "RMax 5"), 12, "radius bins run from 10 to 5"),
        (("RMin 10\nRMax 1400", "RMin 5000\nRMax 6000"), 10, "no pixel is in the bins"),
        (("ImTransOpt 2", "ImTransOpt 7"), 14, "ImTransOpt 7 is unknown"),
        (("ImTransOpt 2", "MaskFile nowhere.tif"), 14, "nowhere.tif, which is not there"),
        (("ImTransOpt 2", "OmegaRange -10 10"), 14, "would change the result"),
        (("ImTransOpt 2", "OmegaSumFrames 0"), None, "OmegaSumFrames is 0"),
        (("ImTransOpt 2", "DataType 11"), 14, "expected 1 to 10"),
        (("ImTransOpt 2", "SkipFrame -1"), 14, "0 or more frames"),
        (("NrPixels 2048", "NrPixels 0"), 6, "NrPixels is 0"),
        (("SpaceGroup 225", "SpaceGroup 300"), 8, "1 to 230"),
        (("BC 1030 1007", "BC 1030"), 2, "BC has 1 values"),
        (("px 200", "px 2oo"), 5, "'2oo'; expected a number"),
        (("px 200", "pxY 100\npxZ 200"), 6, "square pixels"),
        (("p2 -3e-4\nRhoD 291000", "p2 -3e-4"), None, "RhoD"),
        (("ImTransOpt 2", "NPanelsY 2"), None, "NPanelsZ"),
        (("RBinSize 0.5", "RBinSize 0.5\nDoPeakFit 1\nPeakLocation 1500"), 14, "outside of the bins"),
    ],
)
def test_what_cannot_work_is_an_error(tmp_path, change, line, words):
    assert change[0] in GOOD
    found = check(tmp_path, GOOD.replace(*change))
    errors = [f for f in found.findings if f.level == "error"]
    assert found.status == 2
    assert found.ready_for == ()
    assert len(errors) == 1, errors
    assert words in errors[0].message
    assert str(tmp_path) not in errors[0].message
    assert line is None or errors[0].line == line


@pytest.mark.parametrize(
    ("change", "line", "words"),
    [
        (("RMax 1400", "RMax 2880"), 11, "farthest corner is 14"),
        (("BC 1030 1007", "BC 103000 100700"), 2, "px, not µm"),
        (("BC 1030 1007\np2 -3e-4\nRhoD 291000", "BC 1200 500\nNrPixelsY 981\nNrPixelsZ 1500"), 2, "on it: BC is col"),
        (("Lsd 1050773", "Lsd 1050"), 1, "looks like mm"),
        (("Wavelength 0.1536", "Wavelength 8.05"), 7, "energy in keV"),
        (("Wavelength 0.1536", "Wavelength 0.01536"), 7, "looks like nm"),
        (("NrPixels 2048", "NrPixelsY 981\nNrPixelsZ 1043"), 5, "those of a Pilatus 1M, whose pixels are 172 µm"),
        (("px 200", "px 2000"), 5, "detector of 4096 mm"),
        (("NrPixels 2048", "NrPixels 2048\nNrPixelsY 1024"), 6, "stands last"),
        (("p2 -3e-4", "p2 -3e-4\np5 3"), 4, "300 % of the radius"),
        (("ImTransOpt 2", "ImTransOpt 2\nImTransOpt 2"), 15, "undo each other"),
        (("ImTransOpt 2", "Polariz 99"), 14, "Polariz is 99"),
        (("ImTransOpt 2", "Normalize 2"), 14, "taken for 1"),
        (("ImTransOpt 2", "wavelenght 0.2"), 14, "did you mean Wavelength?"),
        (("RMin 10", "RMin 10 px"), 10, "'px' is not used"),
        (("Lsd 1050773", "Lsd 1050000\nLsd 1050773"), 1, "on line 2 1.05077e+06, which is taken"),
        (("ImTransOpt 2", "PeakLocation 300"), 14, "no peaks are fitted"),
    ],
)
def test_what_is_probably_wrong_is_a_warning(tmp_path, change, line, words):
    assert change[0] in GOOD
    text = GOOD.replace(*change)
    if "NrPixelsZ" in text:
        text = text.replace("NrPixels 2048", "#")
    if "BC 103000" in text or "px 2000" in text or "981\nNrPixelsZ 1043" in text:
        text = text.replace("p2 -3e-4\nRhoD 291000\n", "#\n#\n").replace("RMax 1400", "RMax 900")
    found = check(tmp_path, text)
    assert found.status == 1, found.findings
    assert any(words in f.message and f.line == line for f in found.findings), found.findings


def test_a_foreign_key_is_a_note(tmp_path):
    found = check(tmp_path, GOOD + "EntirelyForeign 3\n")
    assert found.status == 0
    assert [str(f) for f in found.findings] == ["note: line 15: unknown key EntirelyForeign is kept but not used"]


def test_all_is_said_at_once_errors_first(tmp_path):
    found = check(tmp_path, "RMin 1x\nFoo 2\nLsd 3\nEtaBinSize 0\nLsd 1050\npx 200 um\n")
    assert [f.level for f in found.findings] == ["error", "error", "warning", "warning", "note", "note", "note"]
    assert [f.line for f in found.findings][:4] == [1, 4, 3, 6]


def test_missing_keys_matter_for_a_task(tmp_path):
    text = "Wavelength 0.2\npx 200\n"
    found = check(tmp_path, text)
    assert (found.status, found.ready_for) == (0, ("calibrate",))
    assert "midas integrate also needs Lsd, BC, RMin, RMax, RBinSize" in found.findings[0].message
    assert check(tmp_path, text, task="calibrate").findings == ()
    assert check(tmp_path, text, task="integrate").status == 2
    with pytest.raises(InputError, match="expected calibrate or integrate"):
        check(tmp_path, text, task="refine")


def test_files_of_nothing_known(tmp_path):
    assert check(tmp_path, "# empty\n").status == 2
    assert check(tmp_path, "a = 1\nb: 2\n").status == 2
    with pytest.raises(FormatError, match="no such file"):
        check_params(tmp_path / "none.txt")


def test_masks_of_another_shape_are_an_error(tmp_path):
    np.save(tmp_path / "m.npy", np.eye(5, dtype=np.uint8))
    found = check(tmp_path, GOOD + "MaskFile m.npy\n")
    assert any("expected the detector's (2048, 2048)" in f.message for f in found.findings if f.level == "error")


@pytest.mark.parametrize("kind", ["json", "refined"])
@pytest.mark.parametrize(("transforms", "status"), [([2], 0), ([], 1), ([3, 2], 1)])
def test_an_orientation_unlike_the_calibrations_is_named(tmp_path, caplog, kind, transforms, status):
    if kind == "json":
        record = {
            "verdict": "good",
            "geometry": {"image_transforms": transforms, "pixel_size": 200, "distance": 1.05e6},
        }
        (tmp_path / "calibration.json").write_text(json.dumps(record))
    else:
        lines = "".join(f"ImTransOpt {t}\n" for t in transforms)
        (tmp_path / "refined_MIDAS_params.txt").write_text(f"Lsd 1.05e6\npx 200\nForeign 1\n{lines}")
    found = check(tmp_path, GOOD)
    assert found.status == status
    with caplog.at_level(logging.WARNING, "midas"):
        _ = read_params(tmp_path / "ps.txt").grid  # what an integration asks for
    assert ("was made with" in caplog.text) == bool(status)
    if status:
        said = " ".join(map(str, transforms or [0]))
        assert f"was made with {said}: the geometry holds only" in found.findings[0].message
        # A calibration of another detector says nothing of this one.
        assert check(tmp_path, GOOD.replace("px 200", "px 150").replace("291000", "218000")).status == 0


@pytest.mark.parametrize("content", ["{", "[]", '{"geometry": null}', '{"geometry": {"image_transforms": "x"}}', "\0"])
def test_a_broken_calibration_beside_is_no_hindrance(tmp_path, content):
    (tmp_path / "calibration.json").write_text(content)
    (tmp_path / "refined_MIDAS_params.txt").write_text("Lsd x\n")
    assert check(tmp_path, GOOD).status == 0


def test_parameters_in_memory_are_checked_too():
    assert check_params(parse_params(GOOD)).status == 0


NUMBERS = st.one_of(
    st.sampled_from(["0", "-1", "1", "2", "200", "1e6", "1e308", "-1e308", "1e-308", "nan", "x", "1_0"])
)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_whatever_the_values_are_there_is_an_answer(data):
    keys = data.draw(st.lists(st.sampled_from(sorted(PARAMETER_KEYS)), min_size=1, max_size=12))
    changed = [f"{key} {' '.join(data.draw(st.lists(NUMBERS, max_size=6)))}" for key in keys]
    text = data.draw(st.sampled_from([GOOD, ""])) + "\n".join(changed) + "\n"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "ps.txt").write_text(text)
        found = check_params(Path(folder) / "ps.txt")
    assert found.status in (0, 1, 2)
    assert all("\n" not in finding.message and finding.message for finding in found.findings)
