"""Cakes, maps and parameter files looked into, and files that are none of them."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest
import tifffile

import midas
from midas.errors import FormatError
from midas.io.gsas_zarr import INSTRUMENT_DEFAULTS, CakeFile, write_cake_file

GEOMETRY = midas.Geometry(distance=1e6, beam_center=(50, 50), pixel_size=200, wavelength=0.18)


def cake_file(n_sums=3, *, intensity=None, area=None):
    n_radius, n_eta = 40, 6
    radius, eta = np.meshgrid(np.arange(10.0, 10.0 + n_radius), np.arange(-150.0, 180.0, 60.0), indexing="ij")
    values = np.random.default_rng(2).uniform(1, 9, (n_sums, n_radius, n_eta)) if intensity is None else intensity
    return CakeFile(
        values,
        np.full(n_sums, 4),
        radius,
        radius * 0.01,
        eta,
        np.ones((n_radius, n_eta)) if area is None else area,
        np.arange(n_sums) * 1.0,
        np.arange(n_sums) + 0.75,
        np.arange(n_sums) * 4 + 3,
        {**INSTRUMENT_DEFAULTS, "Lam": 0.18, "Distance": 1e6},
    )


def told(found, name):
    return next(fact.text for fact in found.facts if fact.name == name)


def test_a_cake(tmp_path):
    cake = cake_file(20)
    path = write_cake_file(tmp_path / "a.zarr.zip", cake)
    found = midas.inspect(path)
    assert (found.kind, found.shape, found.problems) == ("cake", (20, 40, 6), ())
    assert told(found, "sums") == "20, frames in the first: 4"
    assert told(found, "radius") == "10 to 49 px"
    assert told(found, "omega") == "0 to 19.75 deg"
    assert "Lam 0.18" in told(found, "instrument")
    assert np.array_equal(found.picture, cake.intensity[0].T.astype(np.float32))
    assert found.extent == (9.5, 49.5, -180.0, 180.0)
    found.save_plot(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("intensity", "area", "words"),
    [
        (np.zeros((3, 40, 6)), None, "every intensity is 0"),
        (np.ones((3, 40, 6)), None, "the same to the last digit"),
        (None, np.repeat([[0.0]] * 20 + [[1.0]] * 20, 6, axis=1), "6 azimuths have 20 or fewer bins"),
        (None, np.zeros((40, 6)), "every bin is masked"),
    ],
)
def test_problems_of_a_cake(tmp_path, intensity, area, words):
    path = write_cake_file(tmp_path / "a.zarr.zip", cake_file(intensity=intensity, area=area))
    found = midas.inspect(path)
    assert [p for p in found.problems if words in p], found.problems


@pytest.mark.parametrize("number", [3, 79])  # the first and the last of 20
def test_a_sum_of_another_shape_is_named(tmp_path, number):
    path = write_cake_file(tmp_path / "a.zarr.zip", cake_file(20))
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "folder")
    name = f"OmegaSumFrame/LastFrameNumber_{number:06d}"
    array = tmp_path / "folder" / name / ".zarray"
    array.write_text(json.dumps(json.loads(array.read_text()) | {"shape": [20, 12], "chunks": [20, 12]}))
    found = midas.inspect(tmp_path / "folder")
    assert f"{name} has another shape than REtaMap" in found.problems
    assert found.picture.shape == (6, 40)


def test_a_broken_cake_names_the_file(tmp_path):
    path = write_cake_file(tmp_path / "a.zarr.zip", cake_file())
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(FormatError, match=r"a\.zarr\.zip"):
        midas.inspect(path)


def test_a_map(tmp_path):
    path = tmp_path / "a.cakemap"
    midas.build_map(GEOMETRY, midas.Detector((100, 90), 200), midas.CakeGrid(5, 40, 1), cache=path)
    found = midas.inspect(path)
    assert (found.kind, found.shape, found.problems) == ("map", (35, 72), ())
    assert told(found, "frames") == "100 rows x 90 columns, as stored"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(FormatError, match=r"a.cakemap: it has .* bytes of"):
        midas.inspect(path)
    path.write_bytes(b"nothing")
    with pytest.raises(FormatError, match="it is no map of midas"):
        midas.inspect(path)


def test_a_map_of_another_version_is_said_to_be_built_again(tmp_path, monkeypatch):
    path = tmp_path / "a.cakemap"
    midas.build_map(GEOMETRY, midas.Detector((100, 90), 200), midas.CakeGrid(5, 40, 1), cache=path)
    monkeypatch.setattr("midas.inspection.cakes.version", lambda: "99.0")
    assert "this is 99.0: it is built again" in midas.inspect(path).problems[0]


def test_a_parameter_file(tmp_path, caplog):
    path = tmp_path / "ps.txt"
    path.write_text(
        "Lsd 1050000\nBC 100 120\npx 200\nNrPixels 256\nWavelength 0.2\nRMin 5\nRMax 900\nRBinSize 1\nFoo 2\n"
    )
    found = midas.inspect(path)
    assert found.kind == "parameters"
    assert told(found, "distance") == "1050 mm"
    assert told(found, "wavelength") == "0.2 Å, 61.9921 keV"
    assert told(found, "enough for") == "calibrate and integrate"
    assert [p for p in found.problems if "farthest corner" in p]
    assert not caplog.records
    path.write_text("Lsd 1o50000\npx 200\n")
    assert "line 1: Lsd has the value '1o50000'" in midas.inspect(path).problems[0]


def test_what_is_no_file_of_ours(tmp_path):
    with pytest.raises(FormatError, match="no such file"):
        midas.inspect(tmp_path / "none.tif")
    (tmp_path / "notes.txt").write_text("dear diary\n")
    with pytest.raises(FormatError, match=r"notes.txt: unknown image suffix"):
        midas.inspect(tmp_path / "notes.txt")
    (tmp_path / "a.tif").write_bytes(b"no tiff")
    with pytest.raises(FormatError, match=r"a.tif: it cannot be read"):
        midas.inspect(tmp_path / "a.tif")
    with pytest.raises(FormatError, match="is a folder"):
        midas.inspect(tmp_path)
    tifffile.imwrite(tmp_path / "ok.tif", np.ones((4, 5), np.uint8))
    assert midas.inspect(str(tmp_path / "ok.tif")).shape == (1, 4, 5)
