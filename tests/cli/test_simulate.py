"""`midas simulate`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from midas.cli import main

SMALL = ["--energy", "60", "--distance", "200000", "--pixel-size", "200", "--shape", "220", "200"]


def test_writes_the_image_and_the_truth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "a.npy"
    more = ["--calibrant", "LaB6", "--beam-center", "40.5", "50.25", "--tilts", "0", "0.5", "1"]
    more += ["--distortion", "p0=1e-4", "--peak-counts", "500"]
    assert main(["simulate", "--out", str(out), *SMALL, *more, "--seed", "3"]) == 0
    assert "LaB6" in capsys.readouterr().out
    assert np.load(out).shape == (220, 200)
    assert np.load(out).dtype == np.uint16
    told = json.loads((tmp_path / "a.npy.truth.json").read_text())
    assert told["geometry"]["beam_center"] == [40.5, 50.25]
    assert told["geometry"]["tilts"] == [0.0, 0.5, 1.0]
    assert told["geometry"]["distortion"] == {"p0": 1e-4}
    assert told["options"]["peak_counts"] == 500.0
    # beam to the farthest corner: (199.5 - 40.5, 219.5 - 50.25) px of 200 um
    assert told["geometry"]["distortion_radius"] == pytest.approx(200 * np.hypot(159.0, 169.25))


def test_json_tells_the_truth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--out", str(tmp_path / "a.npy"), *SMALL, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["calibrant"]["name"] == "CeO2"
    assert told["geometry"]["beam_center"] == [99.5, 109.5]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out", "a.jpg"], "unknown extension"),
        (["--out", "absent/a.npy"], "folder does not exist"),
        (["--out", "a.npy", "--distance", "0.2"], "looks like metres"),
        (["--out", "a.npy", "--shape", "0", "5"], "detector shape"),
        (["--out", "a.npy", "--distortion", "p0"], "is not understood"),
        (["--out", "a.npy", "--distortion", "p99=1"], "unknown distortion parameter"),
        (["--out", "a.npy", "--dtype", "int8"], "dtype is 'int8'"),
        (["--out", "a.npy", "--fwhm", "nan"], "fwhm is nan"),
        (["--out", "a.npy", "--seed", "-1"], "seed -1"),
    ],
)
def test_bad_input_is_status_2_and_no_file(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["simulate", *SMALL, *words]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
