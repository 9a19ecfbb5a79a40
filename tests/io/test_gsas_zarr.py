"""The caked file: its members, both readers, what GSAS-II's reader relies on."""

from __future__ import annotations

import json
import os
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plain_zarr import PlainZarr

from midas import CakeGrid, FormatError, Geometry, InputError, IntegrationOptions, integrate
from midas.cake import Cake
from midas.io.caked_zip import recorded_source
from midas.io.gsas_zarr import CakeFile, read_cake_file, write_cake_file

ZARR2_PYTHON = os.environ.get("MIDAS_TEST_ZARR2_PYTHON")
"""An interpreter with zarr 2.18, to read our files with it."""


@pytest.fixture
def cake() -> Cake:
    geometry = Geometry(
        distance=3e5, beam_center=(30, 29), pixel_size=200, wavelength=0.2, tilts=(0, 1, 0), image_transforms=(2,)
    )
    stack = np.random.default_rng(7).poisson(30.0, (25, 60, 60)).astype(np.uint16)
    options = IntegrationOptions(frames_per_sum=10, omega_start=-5, omega_step=0.25, individual=True)
    return integrate(stack, geometry, CakeGrid(0, 60, 2, eta_step=30), options=options)


def test_members_and_attributes(cake: Cake, tmp_path: Path) -> None:
    with zipfile.ZipFile(cake.to_zarr(tmp_path / "a.zarr.zip", sum_images=True)) as archive:
        names = archive.namelist()
    assert len(set(names)) == len(names)  # no member twice
    plain = PlainZarr(tmp_path / "a.zarr.zip")
    sums = ["LastFrameNumber_000009", "LastFrameNumber_000019", "LastFrameNumber_000024"]
    assert plain.members("OmegaSumFrame") == sums == sorted(sums)
    assert plain.members("OmegaSumFrameVariance") == sums
    rows = plain.array("REtaMap")
    assert rows.shape == (4, 30, 12)
    np.testing.assert_allclose(rows[0][:, 0], np.arange(1, 60, 2))
    np.testing.assert_allclose(rows[1][:, 0], np.degrees(np.arctan(np.arange(1, 60, 2) * 200 / 3e5)))
    np.testing.assert_allclose(rows[2][0], np.arange(-165, 180, 30))
    assert plain.attrs("REtaMap") == {
        "Header": "Radius,2Theta,Eta,BinArea",
        "Units": "Pixels,Degrees,Degrees,Pixels",
        "nRBins": 30,
        "nEtaBins": 12,
    }
    assert plain.attrs("OmegaSumFrame/LastFrameNumber_000024") == {
        "FirstOme": 0.0,
        "LastOme": 1.0,
        "LastFrameNumber": 24,
        "Number Of Frames Summed": 5,
    }
    instrument = {
        name: plain.array(f"InstrumentParameters/{name}").tolist() for name in plain.members("InstrumentParameters")
    }
    assert instrument == {
        "Polariz": [0.99], "Lam": [0.2], "SH_L": [0.002], "U": [1.163], "V": [-0.126], "W": [0.063],
        "X": [0.0], "Y": [0.0], "Z": [0.0], "Distance": [3e5],
    }  # fmt: skip
    assert len(plain.members("IntegrationResult")) == 25
    assert plain.attrs("IntegrationResult/FrameNr_000002") == {"omega": -4.5, "Header": "Radius,Eta"}
    assert plain.array("Omegas").shape == (25,)
    assert plain.attrs("SumFrames") == {"nFrames": 25}
    assert plain.attrs("")["midas"]["geometry"]["image_transforms"] == [2]


def test_masked_bins_have_area_zero_and_finite_intensity(cake: Cake, tmp_path: Path) -> None:
    path = cake.to_zarr(tmp_path / "a.zarr.zip")
    plain = PlainZarr(path)
    area = plain.array("REtaMap")[3]
    masked = area == 0.0
    assert masked.any()
    for name in plain.members("OmegaSumFrame"):
        values = plain.array(f"OmegaSumFrame/{name}")
        assert np.isfinite(values).all()
        assert (values[masked] == 0.0).all()
        assert (values[~masked] > 0.0).all()
    assert np.isnan(read_cake_file(path).intensity[:, masked]).all()


def test_reads_back_what_was_written(cake: Cake, tmp_path: Path) -> None:
    written = replace(cake.to_cake_file(instrument={"W": 0.1}), temperature=np.array([295.0, 296.0, np.nan]))
    read = read_cake_file(write_cake_file(tmp_path / "a.zarr.zip", written))
    arrays = "intensity variance individual radius two_theta eta bin_area frames first_omega last_omega frame_numbers"
    for name in [*arrays.split(), "temperature", "pressure", "individual_omega"]:
        np.testing.assert_array_equal(getattr(read, name), getattr(written, name), err_msg=name)
    assert read.instrument == written.instrument
    assert read.metadata == written.metadata


def test_a_sum_without_value_in_a_used_bin_is_zero_in_the_file_and_nan_again_in_memory(
    cake: Cake, tmp_path: Path
) -> None:
    values = cake.to_cake_file()
    intensity, variance = values.intensity.copy(), np.array(values.variance)
    intensity[1, 3, 4] = variance[1, 3, 4] = np.nan
    path = write_cake_file(tmp_path / "a.zarr.zip", replace(values, intensity=intensity, variance=variance))
    assert PlainZarr(path).array("OmegaSumFrame/LastFrameNumber_000019")[3, 4] == 0.0
    assert np.isnan(read_cake_file(path).intensity[1, 3, 4])


def test_same_cake_same_bytes(cake: Cake, tmp_path: Path) -> None:
    one, two = cake.to_zarr(tmp_path / "1.zarr.zip"), cake.to_zarr(tmp_path / "2.zarr.zip")
    assert one.read_bytes() == two.read_bytes()


def test_what_the_gsas2_reader_does(cake: Cake, tmp_path: Path) -> None:
    """The steps of docs/files.md with the zarr library: an unmasked lineout, divided by its frames."""
    import zarr

    store = zarr.storage.ZipStore(str(cake.to_zarr(tmp_path / "a.zarr.zip")), mode="r")
    root = zarr.open_group(store, mode="r")
    assert all(name in root for name in ("InstrumentParameters", "REtaMap", "OmegaSumFrame"))
    rows = np.array(root["REtaMap"])
    names = list(root["OmegaSumFrame"])
    for name in names:
        stored = root["OmegaSumFrame"][name]
        k = cake.frame_numbers.tolist().index(stored.attrs["LastFrameNumber"])
        use = rows[3][:, 2] != 0
        y = stored[:, 2][use] / stored.attrs["Number Of Frames Summed"]
        np.testing.assert_allclose(y, cake.intensity[k][use, 2] / cake.frames[k])
    assert float(root["InstrumentParameters"]["Lam"][0]) == 0.2
    store.close()


@pytest.mark.gsas2
@pytest.mark.filterwarnings("ignore")  # GSAS-II's own
def test_gsas2_reads_it(cake: Cake, tmp_path: Path) -> None:
    reader_module = pytest.importorskip("GSASII.imports.G2pwd_MIDAS", reason="install GSAS-II to run it (not on PyPI)")
    path = str(cake.to_zarr(tmp_path / "a.zarr.zip"))
    reader, buffer, patterns = reader_module.MIDAS_Zarr_Reader(), {}, []
    reader.selections = []
    assert reader.ContentsValidator(path)
    while True:
        assert reader.Reader(path, None, buffer=buffer)
        patterns.append((reader.pwdparms["Instrument Parameters"][0]["Azimuth"][0], reader.powderdata))
        if not reader.repeat:
            break
    used = [j for j in range(12) if (cake.bin_area[:, j] > 0).sum() > 20]
    assert len(patterns) == len(used) * len(cake.frames)
    for n, (azimuth, data) in enumerate(patterns):
        k, j = n // len(used), used[n % len(used)]
        use = cake.bin_area[:, j] > 0
        assert azimuth == pytest.approx(90.0 - cake.eta[j])
        np.testing.assert_allclose(data[0], cake.two_theta[use])
        np.testing.assert_allclose(data[1], cake.intensity[k][use, j] / cake.frames[k])


@pytest.mark.skipif(
    not ZARR2_PYTHON, reason="name an interpreter that has zarr 2.18 in MIDAS_TEST_ZARR2_PYTHON to run it"
)
def test_zarr_2_reads_it(cake: Cake, tmp_path: Path) -> None:
    path = cake.to_zarr(tmp_path / "a.zarr.zip")
    script = (
        "import sys, json, zarr\n"
        "assert zarr.__version__.startswith('2.18')\n"
        "root = zarr.open(sys.argv[1], mode='r')\n"
        "sums = root['OmegaSumFrame']\n"
        "print(json.dumps({'names': list(sums), 'total': [float(sums[n][:].sum()) for n in sums],\n"
        "  'frames': [sums[n].attrs['Number Of Frames Summed'] for n in sums],\n"
        "  'lam': float(root['InstrumentParameters/Lam'][0])}))"
    )
    done = subprocess.run([str(ZARR2_PYTHON), "-c", script, str(path)], capture_output=True, text=True, check=True)
    seen = json.loads(done.stdout)
    assert seen["frames"] == [10, 10, 5]
    assert seen["lam"] == 0.2
    np.testing.assert_allclose(seen["total"], np.nansum(cake.intensity, axis=(1, 2)), rtol=1e-12)


@pytest.mark.parametrize("name", ["a.zarr", "a.zip", "a.h5", ".zarr.zip"])
def test_other_names_are_refused(cake: Cake, tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"\.zarr\.zip"):
        cake.to_zarr(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_nothing_half_written(cake: Cake, tmp_path: Path) -> None:
    values = cake.to_cake_file()
    with pytest.raises(TypeError):
        write_cake_file(tmp_path / "a.zarr.zip", replace(values, metadata={"bad": object()}))
    assert list(tmp_path.iterdir()) == []


def test_files_of_another_kind_are_refused(cake: Cake, tmp_path: Path) -> None:
    (tmp_path / "text.zarr.zip").write_text("no zip")
    with zipfile.ZipFile(tmp_path / "other.zarr.zip", "w") as archive:
        archive.writestr("a.txt", "nothing")
    whole = cake.to_zarr(tmp_path / "a.zarr.zip").read_bytes()
    (tmp_path / "cut.zarr.zip").write_bytes(whole[: len(whole) // 2])
    for name in ("absent", "text", "other", "cut"):
        with pytest.raises(FormatError, match=name):
            read_cake_file(tmp_path / f"{name}.zarr.zip")


def test_shapes_are_checked(cake: Cake) -> None:
    values = cake.to_cake_file()
    for name, value, message in (
        ("radius", values.radius[1:], "radius has shape"),
        ("frames", values.frames[1:], "frames has shape"),
        ("frame_numbers", values.frame_numbers[::-1], "ascending"),
        ("instrument", {"Lam": 0.2}, "Polariz"),
        ("variance", values.bin_area, "variance has shape"),
    ):
        with pytest.raises(InputError, match=message):
            replace(values, **{name: value})
    assert isinstance(values, CakeFile)


def rewritten(path: Path, target: Path, change: Any) -> Path:
    """A copy of an archive with each member (name, content) changed."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(*change(name, old.read(name)))
    return target


@pytest.mark.parametrize(
    ("told", "message"),
    [(None, "LastFrameNumber_000009 has no attribute 'Number Of Frames Summed'"), (0, "has 0 as"), (1.5, "has 1.5 as")],
)
def test_a_sum_of_an_unknown_number_of_frames_is_refused(
    cake: Cake, tmp_path: Path, told: float | None, message: str
) -> None:
    def change(name: str, content: bytes) -> tuple[str, bytes]:
        if name != "OmegaSumFrame/LastFrameNumber_000009/.zattrs":
            return name, content
        attributes = json.loads(content)
        del attributes["Number Of Frames Summed"]
        if told is not None:
            attributes["Number Of Frames Summed"] = told
        return name, json.dumps(attributes).encode()

    path = rewritten(cake.to_zarr(tmp_path / "a.zarr.zip"), tmp_path / "b.zarr.zip", change)
    with pytest.raises(FormatError, match=message):
        read_cake_file(path)


@pytest.mark.parametrize("strange", ["LastFrame", "LastFrameNumber_last"])
@pytest.mark.parametrize("group", ["OmegaSumFrame/LastFrameNumber", "IntegrationResult/FrameNr"])
def test_a_member_without_a_number_is_refused(cake: Cake, tmp_path: Path, group: str, strange: str) -> None:
    def change(name: str, content: bytes) -> tuple[str, bytes]:
        return name.replace(f"{group}_000009", f"{group.split('/')[0]}/{strange}"), content

    path = rewritten(cake.to_zarr(tmp_path / "a.zarr.zip"), tmp_path / "b.zarr.zip", change)
    with pytest.raises(FormatError, match=rf"b.zarr.zip: {group.split('/')[0]}/{strange} has no number"):
        read_cake_file(path)


def test_what_a_spoilt_file_was_made_of_is_unknown(tmp_path):
    path = tmp_path / "a.zarr.zip"
    assert recorded_source(path) is None
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(".zattrs", json.dumps({"midas": {"source": "0123456789" * 40}}))
    whole = path.read_bytes()
    assert recorded_source(path) == "0123456789" * 40
    start = 30 + len(".zattrs")  # of the packed member
    for spoilt in (
        whole[:start] + b"\xff" * 8 + whole[start + 8 :],  # zlib.error
        whole[:-30],  # no list of members
        whole.replace(b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01"),  # encrypted: RuntimeError
    ):
        assert spoilt != whole
        path.write_bytes(spoilt)
        assert recorded_source(path) is None


def test_a_sum_of_another_shape_than_the_map_is_refused(tmp_path: Path) -> None:
    geometry = Geometry(distance=1e6, beam_center=(20, 20), pixel_size=200, wavelength=0.18)
    for name, step in (("a", 2), ("b", 4)):
        cake = integrate(np.full((41, 41), 5, dtype=np.uint16), geometry, CakeGrid(2, 18, step, eta_step=90))
        cake.to_zarr(tmp_path / f"{name}.zarr.zip")
    with (
        zipfile.ZipFile(tmp_path / "a.zarr.zip") as sums,
        zipfile.ZipFile(tmp_path / "b.zarr.zip") as rows,
        zipfile.ZipFile(tmp_path / "c.zarr.zip", "w") as mixed,
    ):
        for name in sums.namelist():
            mixed.writestr(name, (rows if name.startswith("REtaMap") else sums).read(name))
    with pytest.raises(FormatError, match=r"LastFrameNumber_.* has shape \(8, 4\); expected \(4, 4\) as of REtaMap"):
        read_cake_file(tmp_path / "c.zarr.zip")
