"""`midas convert` as typed."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import zarr
from image_files import HEAD_SIZE, write_ge

from midas.cli import main
from midas.io.frames import read_frames

TEXT = f"NrPixelsY 18\nNrPixelsZ 24\nHeadSize {HEAD_SIZE}\nSkipFrame 1\nOmegaStart 5\nOmegaStep 1\n"


@pytest.fixture
def scan(tmp_path, rng, monkeypatch):
    """Three GE files, a dark and parameters."""
    stacks = rng.integers(100, 4000, (3, 4, 24, 18)).astype(np.uint16)
    for k, stack in enumerate(stacks, start=7):
        write_ge(tmp_path / f"s_{k:06d}.ge3", stack)
    write_ge(tmp_path / "dark.ge3", np.full((2, 24, 18), 50, np.uint16))
    (tmp_path / "ps.txt").write_text(TEXT)
    monkeypatch.chdir(tmp_path)
    return stacks


def test_a_series_with_the_flags_of_the_manual(scan, tmp_path, capsys):
    words = (
        "convert -dataFN s_000007.ge3 -paramFN ps.txt -darkFN dark.ge3 -startFileNr 7 -endFileNr 9 -numFrameChunks 2"
    )
    assert main([*words.split(), "-resultFolder", "out"]) == 0
    names = [f"s_{k:06d}.ge3.MIDAS.zip" for k in (7, 8, 9)]
    assert capsys.readouterr().out.splitlines() == [f"wrote out/{name}" for name in names]
    for name, stack in zip(names, scan, strict=True):
        root = zarr.open_group(zarr.storage.ZipStore(str(tmp_path / "out" / name), mode="r"), mode="r")
        assert (root["exchange/data"][...] == stack).all()
        assert (root["exchange/dark"][...] == 50).all()
        assert root["measurement/process/scan_parameters/start"][0] == 4.0
    assert main(["convert", f"out/{names[0]}"]) == 0
    with h5py.File("s_000007.ge3.h5") as file:
        assert (file["exchange/data"][...] == scan[0]).all()


def test_own_names_json_and_a_threshold(scan, tmp_path, capsys):
    words = "convert s_000008.ge3 --param-file ps.txt --dark-file dark.ge3 --preprocess-threshold 60 --out x.h5 --json"
    assert main(words.split()) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["written"], report["failed"], report["frames"]) == (["x.h5"], [], 4)
    with read_frames("x.h5") as frames:
        assert (frames[:] == np.where(scan[1] < 110, 0, scan[1] - 50)).all()
        assert frames.metadata["dark_subtracted"]


def test_a_bad_file_of_a_series_is_named_and_the_status_is_1(scan, tmp_path, capsys):
    (tmp_path / "s_000008.ge3").write_bytes(b"short")
    words = "convert s_000007.ge3 -paramFN ps.txt -startFileNr 7 -endFileNr 9 --json"
    assert main(words.split()) == 1
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    assert [entry["file"] for entry in report["failed"]] == ["s_000008.ge3"]
    assert report["failed"][0]["reason"].startswith("s_000008.ge3: it has")
    assert len(report["written"]) == 2
    assert "WARNING: s_000008.ge3" in printed.err


def test_several_files_and_one_that_is_missing(scan, capsys):
    words = "s_000007.ge3 -startFileNr 7 -endFileNr 12 -paramFN ps.txt -resultFolder out --json"
    assert main(["convert", *words.split()]) == 1
    report = json.loads(capsys.readouterr().out)
    there = len(list(Path().glob("s_*.ge3")))
    assert len(report["written"]) == there >= 2
    assert len(report["failed"]) == 6 - there
    assert all("no such file" in each["reason"].lower() for each in report["failed"])
    names = map(str, sorted(Path().glob("s_*.ge3")))
    assert main(["convert", *names, "-paramFN", "ps.txt", "-resultFolder", "b"]) == 0
    ranged, listed = (sorted(p.name for p in Path(folder).iterdir()) for folder in ("out", "b"))
    assert ranged == listed


def test_a_constant_dark_is_stored(scan):
    words = "s_000007.ge3 -paramFN ps.txt -darkFN 12 -resultFolder"
    assert main(["convert", *words.split(), "a"]) == 0
    assert main(["convert", *words.split(), "b", "-preProcThresh", "0"]) == 0
    plain, less = (
        zarr.open_group(zarr.storage.ZipStore(str(next(Path(folder).iterdir())), mode="r"), mode="r") for folder in "ab"
    )
    assert (np.asarray(plain["exchange/dark"]) == 12).all()
    raw = np.asarray(plain["exchange/data"]).astype(int)
    np.testing.assert_array_equal(np.asarray(less["exchange/data"]), np.maximum(raw - 12, 0))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "no image file"),
        ("s_000007.ge3", "no more than its header of 8192 (HeadSize)"),
        ("none.h5", "no such file"),
        ("s_000007.ge3 -dataFN s_000008.ge3", "image files were given twice"),
        ("s_000007.ge3 -startFileNr 7 -endFileNr 8 --out x.h5", "names one file"),
        ("s_000007.ge3 --out x.h5 --to h5", "leave it out with --to"),
        ("s_000007.ge3 -paramFN ps.txt --out x.tif", "expected a name that ends in"),
        ("s_000007.ge3 -paramFN ps.txt -numFrameChunks 0", "-numFrameChunks"),
        ("s_000007.ge3 -paramFN ps.txt -preProcThresh -3", "-preProcThresh"),
        ("s_000007.ge3 -paramFN ps.txt -nCPUs -3", "n_threads is -3"),
        ("s_000007.ge3 -startFileNr 70 -endFileNr 72 -paramFN ps.txt", "s_000070.ge3: no such file"),
    ],
)
def test_what_is_refused(scan, capsys, words, message):
    assert main(["convert", *words.split()]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.startswith("midas convert: ")
    assert printed.out == ""
