"""`midas hkls`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from midas.cli import main


def test_writes_the_list_and_prints_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "hkls.csv"
    assert main(["hkls", "--calibrant", "lab6", "--energy", "60", "--distance", "1e6", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "LaB6" in printed
    assert "1 0 0" in printed
    assert out.read_text().startswith("h k l D-spacing")


def test_space_group_and_lattice_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--space-group", "225", "--lattice", "5.41165", "--wavelength", "0.2", "--two-theta-max", "5", "--json"]
    assert main(["hkls", *words, "--distance", "1e6", "--out", str(tmp_path / "r.csv")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["rings"][0]["hkl"] == [1, 1, 1]
    assert told["rings"][0]["intensity"] is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--calibrant", "CeO3", "--energy", "60", "--distance", "1e6"], "did you mean CeO2"),
        (["--energy", "60", "--distance", "1.05"], "looks like metres"),
        (["--energy", "80725", "--distance", "1e6"], "looks like eV"),
        (["--space-group", "225", "--energy", "60", "--distance", "1e6"], "--lattice is missing"),
        (["--calibrant", "Si", "--cif", "a.cif", "--energy", "60", "--distance", "1e6"], "exclude each other"),
        (["--cif", "absent.cif", "--energy", "60", "--distance", "1e6"], "no such file"),
    ],
)
def test_bad_input_is_status_2_and_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["hkls", *words, "--out", str(tmp_path / "hkls.csv")]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_without_a_distance_the_rings_are_printed_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["hkls", "--calibrant", "CeO2", "--energy", "80.725"]) == 0
    printed = capsys.readouterr().out
    assert "1 1 1" in printed
    assert "give --distance" in printed
    assert main(["hkls", "--energy", "80.725", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["file"] is None
    assert main(["hkls", "--energy", "80.725", "--out", "r.csv"]) == 2
    assert "r.csv cannot be written without the radii; give --distance" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert main(["hkls", "--energy", "80.725", "--distance", "1e6"]) == 0
    assert [p.name for p in tmp_path.iterdir()] == ["hkls.csv"]
