"""`midas inspect`: printed, as JSON, as a picture; exit status."""

from __future__ import annotations

import json

import numpy as np

from midas.cli import main


def images(folder):
    good = np.random.default_rng(1).poisson(9, (30, 40)).astype(np.uint16)
    np.save(folder / "good.npy", good)
    np.save(folder / "zero.npy", np.zeros((30, 40), np.uint16))
    return str(folder / "good.npy"), str(folder / "zero.npy")


def test_status_says_whether_something_is_wrong(tmp_path, capsys):
    good, zero = images(tmp_path)
    assert main(["inspect", good]) == 0
    assert capsys.readouterr().out.startswith(f"{good}: images, NumPy, 1 x 30 x 40, uint16\n")
    assert main(["inspect", good, zero]) == 1
    assert "  ! every pixel of the frames looked at is 0" in capsys.readouterr().out
    assert main(["inspect", str(tmp_path / "none.tif"), zero]) == 2
    out, err = capsys.readouterr()
    assert out.startswith(f"{zero}: images")  # one bad file does not stop the rest
    assert "midas inspect: " in err
    assert "none.tif: no such file" in err


def test_json(tmp_path, capsys):
    good, zero = images(tmp_path)
    assert main(["inspect", good, str(tmp_path / "none.tif"), zero, "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert [f["file"] for f in found] == [good, str(tmp_path / "none.tif"), zero]
    assert "no such file" in found[1]["error"]
    assert found[0]["problems"] == []
    assert len(found[2]["problems"]) == 1


def test_pictures(tmp_path, capsys):
    good, zero = images(tmp_path)
    assert main(["inspect", good, "--plot", str(tmp_path / "p.png")]) == 0
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    assert f"wrote {tmp_path / 'p.png'}" in capsys.readouterr().out
    assert main(["inspect", good, zero, "--plot", str(tmp_path / "q.png")]) == 2
    assert "name a folder that is there" in capsys.readouterr().err
    (tmp_path / "pictures").mkdir()
    assert main(["inspect", good, zero, "--plot", str(tmp_path / "pictures")]) == 1
    assert sorted(p.name for p in (tmp_path / "pictures").iterdir()) == ["good.npy.png", "zero.npy.png"]
    (tmp_path / "ps.txt").write_text("px 200\nWavelength 0.2\n")
    capsys.readouterr()
    assert main(["inspect", str(tmp_path / "ps.txt"), good, "--plot", str(tmp_path / "pictures")]) == 0
    assert main(["inspect", str(tmp_path / "ps.txt"), "--plot", str(tmp_path / "r.png")]) == 2
    out, err = capsys.readouterr()
    assert out.count("ps.txt: parameters") == 2
    assert "a file of parameters has no picture to show" in err


def test_flags_of_ge_files(tmp_path):
    (tmp_path / "a.ge").write_bytes(bytes(10) + np.arange(60, dtype="<u4").tobytes())
    words = ["inspect", str(tmp_path / "a.ge"), "--shape", "6", "10", "--head-size", "10", "--data-type", "4"]
    assert main(words) == 0
