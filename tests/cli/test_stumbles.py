"""What a newcomer does wrong is said by its own name, with what to do."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
from image_files import write_eiger

import midas
from midas.cli import main

N = 32
PARAMETERS = f"""Lsd 300000
BC 15.2 16.7
px 200
Wavelength 0.2
NrPixelsY {N}
NrPixelsZ {N}
RMin 2
RMax 14
RBinSize 1
EtaBinSize 60
"""


def images(rows: int = N, columns: int = N, n: int = 2) -> np.ndarray:
    return np.random.default_rng(7).poisson(25.0, (n, rows, columns)).astype(np.uint16)


def refused(capsys: Any, *words: Any) -> str:
    assert main([str(word) for word in words]) == 2
    return capsys.readouterr().err


def integrate(capsys: Any, tmp_path: Path, image: Path, more: str = "") -> str:
    (tmp_path / "p.txt").write_text(PARAMETERS + more)
    return refused(capsys, "integrate", image, "-paramFN", tmp_path / "p.txt", "-resultFolder", tmp_path / "out")


def test_a_mask_of_another_shape_is_named(tmp_path, capsys):
    np.save(tmp_path / "a.npy", images())
    np.save(tmp_path / "mask.npy", np.zeros((N - 2, N), np.uint8))
    said = integrate(capsys, tmp_path, tmp_path / "a.npy", "MaskFile mask.npy\n")
    assert (
        f"mask.npy (MaskFile of {tmp_path}/p.txt): the mask has shape (30, 32); expected the detector's (32, 32)"
        in said
    )


def test_the_transforms_that_were_applied_are_named(tmp_path, capsys):
    np.save(tmp_path / "a.npy", images(N - 4, N))
    said = integrate(capsys, tmp_path, tmp_path / "a.npy", "ImTransOpt 3\n")
    assert "the frames have 32 x 28 pixels, with image transforms (3,) applied (ImTransOpt)," in said
    assert "the detector's shape (32, 32) needs 32 x 32" in said
    assert "NrPixelsZ, NrPixelsY are rows and columns after the transforms" in said
    assert "()" not in said
    said = integrate(capsys, tmp_path, tmp_path / "a.npy")
    assert "the frames have 28 x 32 pixels but the detector's shape (32, 32) needs 32 x 32; check both\n" in said


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 cut off"])
def test_a_zip_that_is_none(tmp_path, capsys, content):
    (tmp_path / "x.MIDAS.zip").write_bytes(content)
    said = refused(capsys, "inspect", tmp_path / "x.MIDAS.zip")
    assert f"{tmp_path}/x.MIDAS.zip: it is no zip archive, or lacks its end" in said
    assert "_zf" not in said


def test_a_zip_whose_directory_is_damaged(tmp_path, capsys):
    (tmp_path / "x.MIDAS.zip").write_bytes(
        b"\0" * 50 + b"PK\x05\x06" + b"\0" * 4 + b"\x01\0\x01\0" + b"\xff" * 8 + b"\0\0"
    )
    said = refused(capsys, "inspect", tmp_path / "x.MIDAS.zip")
    assert "x.MIDAS.zip" in said
    assert "_zf" not in said


@pytest.mark.parametrize("size", [0, 100, 8192])
def test_a_ge_file_without_a_frame(tmp_path, capsys, size):
    (tmp_path / "a.ge3").write_bytes(b"\0" * size)
    said = refused(capsys, "inspect", tmp_path / "a.ge3")
    assert (
        f"it has {size} bytes, no more than its header of 8192 (HeadSize), so it holds no frame: the file is truncated"
        in said
    )
    assert " -" not in said


def test_an_unfinished_scan_says_what_commands_and_python_can_do(tmp_path, capsys):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("exchange/data", shape=(10, N, N), dtype="u2", chunks=(1, N, N))
        data[:7] = images(n=7)
    said = integrate(capsys, tmp_path, tmp_path / "a.h5")
    assert "read the file when it has ended; commands take whole files" in said
    assert "in Python midas.read_frames gives the frames that are there, such as frames[0:7]" in said
    with midas.read_frames(tmp_path / "a.h5") as frames:
        assert frames[0:7].shape == (7, N, N)


def test_a_missing_data_file_of_an_eiger_is_named(tmp_path, capsys):
    write_eiger(tmp_path / "a_master.h5", images(n=5))
    part = tmp_path / "a_data_000002.h5"
    part.unlink()
    said = refused(capsys, "inspect", tmp_path / "a_master.h5")
    assert f"its data file {part} is not there (data_000002 is a link to it); put it beside this file" in said
    part.write_bytes(b"\0" * 100)
    said = refused(capsys, "inspect", tmp_path / "a_master.h5")
    assert f"its data file {part} cannot be opened, or holds nothing at entry/data/data" in said


def test_set_of_an_unknown_key_says_that_there_is_none(tmp_path, capsys):
    new = ("params", "new", tmp_path / "p.txt", "--energy", 80, "--pixel-size", 200, "--set")
    said = refused(capsys, *new, "Foo=3")
    assert "--set 'Foo=3' is not understood: there is no key Foo; expected" in said
    assert "there is no key OmegaStrt; did you mean OmegaStart?" in refused(capsys, *new, "OmegaStrt=3")
    assert not (tmp_path / "p.txt").exists()


def test_a_detector_unlike_the_image_is_a_contradiction(tmp_path, capsys):
    tifffile.imwrite(tmp_path / "a.tif", images()[0])
    new = ("params", "new", tmp_path / "p.txt", "--energy", 80, "--detector", "Pilatus 1M", "--image")
    said = refused(capsys, *new, tmp_path / "a.tif")
    assert f"{tmp_path}/a.tif has images of (32, 32) (rows, columns), those of a Pilatus 1M have (1043, 981)" in said
    tifffile.imwrite(tmp_path / "b.tif", np.ones((981, 1043), np.int32))
    assert "(981, 1043)" in refused(capsys, *new, tmp_path / "b.tif")
    assert main([str(word) for word in (*new, tmp_path / "b.tif", "--image-transforms", 3)]) == 0
    assert midas.read_params(tmp_path / "p.txt").shape == (1043, 981)


@pytest.mark.parametrize("span", [(35.0, 48.0), (20.0, 300.0), (90.0, 110.0), (3.0, 2e4), (0.5, 60.0)])
def test_the_numbers_beside_a_histogram_do_not_overlap(span):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from midas.inspection.plot import plot_inspection
    from midas.inspection.result import Inspection

    picture = np.geomspace(*span, 600).reshape(20, 30).astype(np.float32)
    figure = plot_inspection(
        Inspection(Path("a.zarr.zip"), "cake", "zarr", (1, 30, 20), picture=picture, extent=(0, 1, 0, 1))
    )
    FigureCanvasAgg(figure).draw()
    axes = figure.axes[2] if figure.axes[1].get_label() == "<colorbar>" else figure.axes[1]
    assert axes.get_xlabel() == "intensity"
    labels = [t for which in ("major", "minor") for t in axes.xaxis.get_ticklabels(which=which) if t.get_text()]
    low, high = sorted(axes.get_xlim())
    drawn = [t.get_window_extent() for t in labels if low <= t.get_position()[0] <= high]
    boxes = sorted(drawn, key=lambda box: box.x0)
    assert len(boxes) >= 2
    assert all(a.x1 < b.x0 for a, b in itertools.pairwise(boxes))
