"""`midas params`: explain, check, new."""

from __future__ import annotations

import json
import sys

import pytest

from midas.cli import main
from midas.io.parameters import read_params

GOOD = "Lsd 1e6\nBC 100 100\npx 200\nNrPixels 200\nWavelength 0.2\nRMin 10\nRMax 140\nRBinSize 1\n"


def test_explain(capsys):
    assert main(["params", "--explain", "PixelSize", "distance"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("px: edge of the square pixels\n  value    number [µm]\n")
    assert "\n\nLsd: distance from sample" in text
    assert main(["params", "--explain", "BC", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0] | {"key": "BC", "count": 2, "unit": "px", "python": "beam_center"}
    assert main(["params", "--explain"]) == 0
    assert "EtaBinSize" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--explain", "Lds"], "unknown parameter key 'Lds'; did you mean Lsd?"),
        ([], "nothing to do; give --explain"),
        (["check", "nowhere.txt"], "nowhere.txt: no such file"),
        (["new", "a.txt", "--energy", "80"], "px (edge of the square pixels) is missing"),
        (["new", "a.txt", "--energy", "80", "--detector", "Pilates"], "detector 'Pilates' is not known"),
    ],
)
def test_bad_input(words, message, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(["params", *words]) == 2
    assert f"midas params: {message}" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("text", "status"), [(GOOD, 0), (GOOD + "RMax 500\n", 1), (GOOD + "EtaBinSize 0\n", 2)])
def test_check(text, status, capsys, tmp_path):
    path = tmp_path / "ps.txt"
    path.write_text(text)
    assert main(["params", "check", str(path)]) == status
    out = capsys.readouterr().out
    assert out.startswith(f"{path}: {('fine; has all', 'usable', 'unusable')[status]}")
    for words in (["--json", "check", str(path)], ["check", str(path), "--json"]):
        assert main(["params", *words]) == status
        (found,) = json.loads(capsys.readouterr().out)
        assert (found["file"], found["status"]) == (str(path), status)
        assert [f["level"] for f in found["findings"]].count("error") == (status == 2)
    (tmp_path / "good.txt").write_text(GOOD)
    assert main(["params", "check", str(tmp_path / "good.txt"), str(path)]) == status


def test_check_for_a_task(capsys, tmp_path):
    (tmp_path / "ps.txt").write_text("px 200\nWavelength 0.2\n")
    assert main(["params", "check", str(tmp_path / "ps.txt")]) == 0
    assert "note: midas integrate also needs Lsd" in capsys.readouterr().out
    assert main(["params", "check", str(tmp_path / "ps.txt"), "--for", "integrate"]) == 2
    assert "error: midas integrate also needs Lsd" in capsys.readouterr().out


def test_new_from_flags(capsys, tmp_path):
    path = tmp_path / "ps.txt"
    words = ["new", str(path), "--energy", "80.725", "--detector", "pilatus 1m", "--distance", "657000",
             "--beam-center", "490", "520", "--radius", "10", "700", "1", "--eta", "0", "90", "1",
             "--omega", "-5", "0.25", "--image-transforms", "3", "--set", "SkipFrame=1",
             "--calibrant", "CeO2"]  # fmt: skip
    assert main(["params", *words]) == 0
    assert capsys.readouterr().out == f"wrote {path}\n"
    made = read_params(path)
    assert made.shape == (981, 1043)  # transposed
    assert made.geometry.distance == 657000
    assert (made.omega_start, made.omega_step, made.skip_frames, made.calibrant) == (-5.0, 0.25, 1, "CeO2")
    assert made.bins.shape == (690, 90)
    before = path.read_bytes()
    assert main(["params", *words]) == 2
    assert "is there already" in capsys.readouterr().err
    assert path.read_bytes() == before
    assert main(["params", *words, "--replace"]) == 0


def test_new_does_not_write_what_cannot_work(capsys, tmp_path):
    path = tmp_path / "ps.txt"
    assert main(["params", "new", str(path), "--wavelength", "80.7", "--pixel-size", "200"]) == 2
    assert "looks like an energy in keV" in capsys.readouterr().err
    assert not path.exists()


def test_new_asks_on_a_terminal(capsys, tmp_path, monkeypatch):
    answers = iter(["80.7", "200 um", "2048 2048", "1050 mm", ""])
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda text: next(answers))
    assert main(["params", "new", str(tmp_path / "ps.txt")]) == 0
    made = read_params(tmp_path / "ps.txt")
    assert (made.pixel_size, made.shape, made.get("Lsd")) == (200.0, (2048, 2048), 1050000.0)
    assert "BC" not in made
