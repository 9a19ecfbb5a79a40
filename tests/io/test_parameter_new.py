"""A new parameter file: commented, complete, from flags, headers and answers."""

from __future__ import annotations

import fabio.edfimage
import numpy as np
import pytest

from midas.errors import InputError
from midas.io.parameter_new import (
    ask_for_missing,
    new_params,
    values_of_detector,
    values_of_image,
    values_of_words,
)
from midas.io.parameter_report import check_params
from midas.io.parameter_table import PARAMETER_KEYS
from midas.io.parameters import parse_params


def test_every_line_says_what_it_is_and_reads_back(tmp_path):
    dark = tmp_path / "dark run.npy"
    np.save(dark, np.zeros((2, 2)))
    values = {
        "energy": 80.725,
        "pixel_size": 200,
        "shape": (2048, 2048),
        "distance": 1e6,
        "beam_center": (1000, 1010.5),
        "image_transforms": (2, 3),
        "radius_min": 10,
        "radius_max": 1400,
        "radius_step": 1,
        "Dark": dark,
    }
    made = new_params(values, sources={"shape": "a.tif"})
    assert check_params(made).status == 0
    again = parse_params(made.text())
    assert again.geometry.beam_center == (1000.0, 1010.5)
    assert again.geometry.wavelength == pytest.approx(12.398419843 / 80.725, rel=1e-15)
    assert again.image_transforms == (2, 3)
    assert again.get("Dark") == str(dark)
    assert again.bins.shape == (1390, 72)
    for line in again.lines:
        if line.key:
            assert PARAMETER_KEYS[line.key].meaning in line.text
    assert made.text().count("; from a.tif\n") == 2
    # What is not set stands as a comment that becomes a line when its mark is taken off.
    unset = next(line.text for line in made.lines if line.text.startswith("# EtaBinSize"))
    assert parse_params(unset.removeprefix("# ")).get("EtaBinSize") == 5.0


def test_what_it_needs_is_named():
    with pytest.raises(InputError, match=r"Wavelength .* is missing; give --wavelength or --energy"):
        new_params({"pixel_size": 200})
    with pytest.raises(InputError, match=r"px .* is missing"):
        new_params({"wavelength": 0.2})


def test_answers_are_asked_for_until_they_make_sense():
    answers = iter(["blue", "80725", "80.725", "0.2 ft", "Pilatus 9M", "pilatus-300k", "2 m o", "657 mm", "240"])
    texts, said = [], []

    def ask(text):
        texts.append(text)
        answer = next(answers, None)
        if answer is None:
            raise EOFError
        return answer

    with pytest.raises(InputError, match="BC is missing and the answers ended"):
        ask_for_missing({}, ask, said.append)
    assert [t.split()[0] for t in texts] == ["Photon"] * 3 + ["Pixel"] * 3 + ["Distance"] * 2 + ["Beam"] * 2
    assert len(said) == 6
    assert "looks like eV" in said[1]
    assert "expected µm, mm or m" in said[2]
    assert "Pilatus 300K" in said[3]


def test_only_what_lacks_is_asked_for():
    known = {"wavelength": 0.2, "px": 200, "NrPixels": 100, "NrPixelsY": 100, "Lsd": 1e6, "BC": (1, 2)}
    assert ask_for_missing(known, lambda text: pytest.fail(text), print) == known
    answers = iter(["0.2 A", "0.2mm", "", "1.05 m", "10, 20"])
    found = ask_for_missing({}, lambda _: next(answers), print)
    assert found == {
        "wavelength": 0.2,
        "pixel_size": pytest.approx(200.0),
        "distance": pytest.approx(1.05e6),
        "beam_center": (10.0, 20.0),
    }


def test_an_image_says_what_its_header_says(tmp_path):
    header = {"SampleDistance": "0.657", "PSize_1": "1.72e-4", "WaveLength": "1.54e-11", "Center_1": "30.5",
              "Center_2": "20.5"}  # fmt: skip
    fabio.edfimage.EdfImage(data=np.zeros((40, 60), np.uint16), header=header).write(str(tmp_path / "a.edf"))
    values, sources = values_of_image(tmp_path / "a.edf")
    assert values["shape"] == (40, 60)
    assert values["distance"] == pytest.approx(657000)
    assert values["beam_center"] == pytest.approx((30, 20))
    assert sources["wavelength"] == "EDF header WaveLength"
    made = new_params(values, sources=sources)
    assert "; from EDF header SampleDistance" in made.text()
    turned, _ = values_of_image(tmp_path / "a.edf", (3,))
    assert turned["shape"] == (60, 40)
    assert "beam_center" not in turned  # it is that of the image as stored


def test_words():
    assert values_of_words(["RingThresh=1 10", "RingThresh=2 20"]) == {"RingThresh": [(1.0, 10.0), (2.0, 20.0)]}
    assert values_of_words(["tolLsd=5"]) == {"tolLsd": 5.0}
    for word, reason in (
        ("EtaBinSize", "has no ="),
        ("EtaBinSise=3", "did you mean EtaBinSize"),
        ("Lsd=1 2", "'2' is"),
    ):
        with pytest.raises(InputError, match=reason):
            values_of_words([word])
    with pytest.raises(InputError, match="expected a number"):
        values_of_words(["Lsd=far"])


def test_detectors_by_name():
    assert values_of_detector("EIGER2_4M") == {"pixel_size": 75.0, "shape": (2162, 2068)}
    assert values_of_detector("pilatus 1m", (3, 1))["shape"] == (981, 1043)
    with pytest.raises(InputError, match=r"'Pilot' is not known; .*Pilatus 1M"):
        values_of_detector("Pilot")
