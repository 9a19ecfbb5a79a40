"""What files say of the instrument, written by libraries that are not ours."""

from __future__ import annotations

import math

import fabio
import h5py
import numpy as np
import pytest
import tifffile

from midas.io.frames import read_frames
from midas.io.headers import Hint, header_hints, number_hint

IMAGE = np.arange(48 * 40, dtype=np.int32).reshape(48, 40)
DECTRIS = """# Detector: PILATUS 1M, S/N 10-0123
# Pixel_size 172e-6 m x 172e-6 m
# Wavelength 0.4066 A
# Detector_distance 0.2087 m
# Beam_xy (487.5, 530.0) pixels
"""
SAID = {
    "wavelength": 0.4066, "pixel_size": 172.0, "distance": 2.087e5, "raw_beam_center": (487.5, 530.0),
    "detector": "PILATUS 1M",
}  # fmt: skip


def said(path):
    with read_frames(path) as frames:
        return {hint.name: hint.value for hint in frames.metadata.get("hints", ())}


def close(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == (value if isinstance(value, str) else pytest.approx(value, rel=1e-9)), name


def test_a_pilatus_tiff_and_cbf_say_what_dectris_wrote(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", IMAGE, description=DECTRIS, metadata=None)
    close(said(tmp_path / "a.tif"), SAID)
    header = {"_array_data.header_convention": "PILATUS_1.2", "_array_data.header_contents": DECTRIS}
    fabio.cbfimage.CbfImage(data=IMAGE, header=header).write(str(tmp_path / "a.cbf"))
    close(said(tmp_path / "a.cbf"), SAID)


def test_a_plain_tiff_says_nothing(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", IMAGE)
    assert said(tmp_path / "a.tif") == {}


def test_esrf_keywords_of_edf_are_metres_and_count_from_the_corner(tmp_path):
    header = {
        "SampleDistance": "1.5", "PSize_1": "0.0001", "WaveLength": "1.0e-10", "Center_1": "20.5", "Center_2": "30.5",
    }  # fmt: skip
    fabio.edfimage.EdfImage(data=IMAGE, header=header).write(str(tmp_path / "a.edf"))
    close(
        said(tmp_path / "a.edf"),
        {"wavelength": 1.0, "pixel_size": 100.0, "distance": 1.5e6, "raw_beam_center": (20.0, 30.0)},
    )


def write_nexus(path, **values):
    with h5py.File(path, "w") as file:
        file["entry/data/data"] = IMAGE[None]
        for where, (value, unit) in values.items():
            node = file.create_dataset(where.replace("__", "/"), data=value)
            if unit:
                node.attrs["units"] = unit


def test_nexus_values_come_in_any_unit(tmp_path):
    path, where = tmp_path / "a.nxs", "entry__instrument__detector__"
    write_nexus(
        path,
        entry__instrument__beam__incident_wavelength=(0.0173, "nm"),
        **{where + "distance": (657.0, "mm"), where + "x_pixel_size": (75e-6, "m")},
        **{where + "beam_center_x": (20.0, "pixel"), where + "beam_center_y": (30.0, "pixel")},
    )
    close(
        said(path),
        {"wavelength": 0.173, "distance": 6.57e5, "pixel_size": 75.0, "raw_beam_center": (20.0, 30.0)},
    )
    for energy, unit in ((71676.0, "eV"), (71.676, "keV"), (71676.0, ""), (71.676, "")):
        write_nexus(path, entry__instrument__monochromator__energy=([energy], unit))
        close(said(path), {"wavelength": 12.398419843 / 71.676})


def test_what_cannot_be_is_left_out(tmp_path):
    path = tmp_path / "a.h5"
    write_nexus(
        path,
        entry__instrument__beam__incident_wavelength=(0.0, "angstrom"),
        entry__instrument__detector__distance=(-1.0, "m"),
        entry__instrument__detector__x_pixel_size=(75e-6, "furlong"),
        entry__instrument__detector__beam_center_x=(0.3, "m"),
        entry__instrument__detector__beam_center_y=(0.3, "m"),
    )
    assert said(path) == {}
    assert number_hint("wavelength", math.nan, "x") is None
    assert header_hints({"description": "# Wavelength unknown A\n# Beam_xy (0, 0) pixels"}) == ()


def test_a_hint_says_value_unit_and_source():
    assert Hint("distance", 6.57e5, "file name").describe() == "distance 657 mm (file name)"
    assert Hint("beam_center", (3.0, 4.0), "h").describe() == "beam centre y 3, z 4 px (h)"
