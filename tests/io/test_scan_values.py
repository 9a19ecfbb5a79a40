"""Omega, exposure and conditions of files that MIDAS did not write, from the file to the cake."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import fabio
import h5py
import numpy as np
import pytest
import tifffile
from image_files import write_eiger, zarr_group

import midas
from midas.cli import main
from midas.io.frames import read_frames
from midas.io.gsas_zarr import read_cake_file
from midas.io.scan_values import omega_metadata

N = 32
PARAMETERS = """Lsd 300000
BC 15.2 16.7
px 200
Wavelength 0.2
RMin 2
RMax 14
RBinSize 1
EtaBinSize 60
"""


def images(n: int) -> np.ndarray:
    return np.random.default_rng(7).poisson(25.0, (n, N, N)).astype(np.uint16)


def metadata(path: Path, **options: Any) -> dict[str, object]:
    with read_frames(path, **options) as frames:
        return dict(frames.metadata)


def omega(path: Path, **options: Any) -> tuple[object, object]:
    found = metadata(path, **options)
    return found.get("omega_start"), found.get("omega_step")


def eiger(path: Path, n: int, **values: Any) -> Path:
    """A master file with values in it: {place with __ for /: number, or (numbers, unit)}."""
    write_eiger(path, images(n))
    with h5py.File(path, "a") as file:
        put(file, values)
    return path


def put(file: Any, values: dict[str, Any]) -> None:
    for place, value in values.items():
        numbers, unit = value if isinstance(value, tuple) else (value, None)
        node = file.create_dataset(place.replace("__", "/"), data=numbers)
        if unit is not None:
            node.attrs["units"] = unit


def dectris(start: float, increment: float, more: str = "") -> str:
    return (
        "# Detector: PILATUS 1M, S/N 10-0123\n# Exposure_time 0.2500000 s\n# Exposure_period 0.3000000 s\n"
        f"# Start_angle {start:.4f} deg.\n# Angle_increment {increment:.4f} deg.\n{more}"
    )


def write_cbf(path: Path, text: str) -> Path:
    header = {"_array_data.header_convention": "PILATUS_1.2", "_array_data.header_contents": text}
    fabio.cbfimage.CbfImage(data=images(1)[0].astype(np.int32), header=header).write(str(path))
    return path


def write_edf(path: Path, headers: list[dict[str, str]]) -> Path:
    stack = images(len(headers))
    image = fabio.edfimage.EdfImage(data=stack[0], header=headers[0])
    for frame, header in zip(stack[1:], headers[1:], strict=True):
        image.append_frame(data=frame, header=header)
    image.write(str(path))
    return path


def test_an_eiger_master_says_omega_of_each_frame(tmp_path: Path) -> None:
    path = eiger(
        tmp_path / "a_master.h5",
        5,
        entry__sample__goniometer__omega=(np.float32([10, 10.1, 10.2, 10.3, 10.4]), "degree"),
        entry__sample__goniometer__omega_range_average=(np.float32(0.1), "degree"),
        entry__instrument__detector__count_time=(np.float32(0.5), "s"),
    )
    found = metadata(path)
    assert (found["omega_start"], found["exposure_time"]) == (10.0, 0.5)
    assert found["omega_step"] == pytest.approx(0.1, abs=1e-6)  # deg, of single precision
    assert found["scan_sources"]["omega_start"] == "entry/sample/goniometer/omega"  # type: ignore[index]


@pytest.mark.parametrize("step", ["omega_increment", "omega_range_average"])
@pytest.mark.parametrize("start", ["omega", "omega_start"])
def test_an_eiger_master_says_start_and_increment(tmp_path: Path, start: str, step: str) -> None:
    values = {f"entry__sample__goniometer__{start}": 10.0, f"entry__sample__goniometer__{step}": 0.25}
    assert omega(eiger(tmp_path / "a_master.h5", 5, **values)) == (10.0, 0.25)


def test_a_goniometer_left_at_zero_says_nothing(tmp_path: Path) -> None:
    path = eiger(tmp_path / "a_master.h5", 3, entry__sample__goniometer__omega=np.zeros(3))
    assert omega(path) == (None, None)
    assert "omega_unused" not in metadata(path)


@pytest.mark.parametrize(
    ("place", "values", "start", "step"),
    [
        ("rotation_angle", (np.radians([10, 11, 12]), "rad"), 10.0, 1.0),
        ("transformations/omega", ([359.0, 0.0, 1.0], "deg"), 359.0, 1.0),  # the table went round
        ("goniometer/omega", [5.0, 4.5, 4.0], 5.0, -0.5),
        ("goniometer/omega", [5.0, 5.00001, 5.0], 5.0, 0.0),  # an encoder's noise
        ("goniometer/omega", [5.0, 5.2504, 5.5], 5.0, 0.25),
    ],
)
def test_nexus_places_and_units(tmp_path: Path, place: str, values: Any, start: float, step: float) -> None:
    with h5py.File(tmp_path / "a.nxs", "w") as file:
        put(file, {"entry/data/data": images(3), f"entry/sample/{place}": values})
    found = metadata(tmp_path / "a.nxs")
    assert found["omega_start"] == pytest.approx(start, abs=1e-5)
    assert found["omega_step"] == pytest.approx(step, abs=1e-5)


@pytest.mark.parametrize("axes", [["omega", "y", "x"], "omega:y:x", b"omega,y,x"])
def test_the_axes_of_nxdata_name_the_rotation(tmp_path: Path, axes: Any) -> None:
    with h5py.File(tmp_path / "a.nxs", "w") as file:
        put(file, {"scan/result/counts": images(4), "scan/result/omega": [1.0, 1.5, 2.0, 2.5]})
        file["scan/result"].attrs["axes"] = axes
        file["scan"].attrs["NX_class"], file["scan/result"].attrs["NX_class"] = "NXentry", "NXdata"
        file["scan/result"].attrs["signal"] = "counts"
    assert omega(tmp_path / "a.nxs") == (1.0, 0.5)
    assert omega(tmp_path / "a.nxs", skip_frames=1) == (1.0, 0.5)  # of the frames stored, as in a MIDAS file


def test_other_axes_are_no_omega(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.nxs", "w") as file:
        put(file, {"entry/data/data": images(3), "entry/data/temperature": [1.0, 2.0, 3.0]})
        put(file, {"entry/data/omega": [1.0, 2.0, 3.0], "entry/sample/transformations/phi": [1.0, 2.0, 3.0]})
        file["entry/data"].attrs["axes"] = ["temperature", "y", "x"]  # omega lies beside: set values, perhaps
    assert omega(tmp_path / "a.nxs") == (None, None)


def test_zarr_says_it_as_hdf5_does(tmp_path: Path) -> None:
    group = zarr_group(str(tmp_path / "a.zarr"))
    for place, values in {
        "entry/data/data": images(3),
        "entry/sample/rotation_angle": np.array([1.0, 3.0, 5.0]),
    }.items():
        create = group.create_array if hasattr(group, "create_array") else group.create_dataset
        create(place, shape=values.shape, dtype=values.dtype)[...] = values
    assert omega(tmp_path / "a.zarr") == (1.0, 2.0)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([1.0, 2.0, 4.0], "goes from 1 to 4 deg in uneven steps"),
        ([1.0, np.nan, 3.0], "has values that are no numbers"),
        ([1.0, 2.0, 3.0, 4.0, 5.0], "has 5 values for 3 frames"),
        (7.0, "is 7 deg for all 3 frames, and no step is given"),
    ],
)
def test_what_is_ambiguous_is_left_out_with_a_warning_and_shown(
    tmp_path: Path, caplog: Any, values: Any, words: str
) -> None:
    path = eiger(tmp_path / "a_master.h5", 3, entry__sample__goniometer__omega=values)
    with caplog.at_level(logging.WARNING, "midas"):
        assert omega(path) == omega(path) == (None, None)
    (record,) = caplog.records  # once a file, however often it is opened
    assert words in record.message
    assert str(path) in record.message
    assert "give OmegaStart and OmegaStep" in record.message
    assert words in str(midas.inspect(path))


def test_two_places_that_disagree_are_left_out(tmp_path: Path, caplog: Any) -> None:
    goniometer = {"entry__sample__goniometer__omega": [1.0, 2.0, 3.0]}
    path = eiger(tmp_path / "a_master.h5", 3, entry__sample__rotation_angle=[91.0, 92.0, 93.0], **goniometer)
    assert omega(path) == (None, None)
    assert "begins at 1 deg by entry/sample/goniometer/omega, at 91 deg by entry/sample/rotation_angle" in caplog.text
    same = eiger(tmp_path / "b_master.h5", 3, entry__sample__rotation_angle=[1.0, 2.0, 3.0], **goniometer)
    assert omega(same) == (1.0, 1.0)


def test_what_the_midas_group_says_goes_before(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        put(file, {"exchange/data": images(3), "entry/sample/rotation_angle": [1.0, 2.0, 3.0]})
        put(file, {"measurement/process/scan_parameters/start": -5.0})
        put(file, {"measurement/process/scan_parameters/step": 0.25})
    assert omega(tmp_path / "a.h5") == (-5.0, 0.25)


def test_damaged_or_linked_places_do_not_keep_the_images_from_being_read(tmp_path: Path) -> None:
    path = eiger(tmp_path / "a_master.h5", 3, entry__sample__temperature="cold")
    with h5py.File(path, "a") as file:
        file["entry/sample/goniometer/omega"] = h5py.ExternalLink("not_there.h5", "omega")
        file["entry/sample/rotation_angle"] = h5py.SoftLink("/nowhere")
        file.create_dataset("entry/sample/omega", shape=(1 << 40,), chunks=(1 << 20,), dtype="f8")
    assert omega(path) == (None, None)


def test_conditions_of_nexus(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.nxs", "w") as file:
        put(file, {"entry/data/data": images(3), "entry/sample/temperature": ([20.0, 30.0, 40.0], "degC")})
        put(file, {"entry/sample/pressure": (2.0, "GPa"), "entry/control/data": [100, 110, 120]})
        put(file, {"entry/other/data": [1, 2, 3], "entry/instrument/detector/count_time": ([500.0] * 3, "ms")})
        file["entry/control"].attrs["NX_class"] = file["entry/other"].attrs["NX_class"] = "NXmonitor"
    found = metadata(tmp_path / "a.nxs", skip_frames=1)
    np.testing.assert_allclose(found["temperature"], [303.15, 313.15])  # type: ignore[arg-type]
    np.testing.assert_allclose(found["i0"], [110, 120])  # type: ignore[arg-type]
    assert (found["pressure"], found["exposure_time"]) == (2000.0, 0.5)


def test_several_monitors_without_a_usual_name_are_none(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.nxs", "w") as file:
        put(file, {"entry/data/data": images(3), "entry/a/data": [1, 2, 3], "entry/b/data": [1, 2, 3]})
        file["entry/a"].attrs["NX_class"] = file["entry/b"].attrs["NX_class"] = "NXmonitor"
    assert "i0" not in metadata(tmp_path / "a.nxs")


@pytest.mark.parametrize("suffix", [".cbf", ".tif"])
def test_a_dectris_header_says_angle_and_exposure(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    if suffix == ".cbf":
        write_cbf(path, dectris(10.5, 0.5))
    else:
        tifffile.imwrite(path, images(1)[0], description=dectris(10.5, 0.5), metadata=None)
    assert omega(path) == (10.5, 0.5)
    assert metadata(path)["exposure_time"] == 0.25
    shown = str(midas.inspect(path))
    assert "10.5 to 10.5 deg in steps of 0.5 (image header Start_angle)" in shown
    assert "0.25 s (image header)" in shown


def test_a_dectris_header_of_another_axis_or_left_at_its_defaults(tmp_path: Path, caplog: Any) -> None:
    assert omega(write_cbf(tmp_path / "a.cbf", dectris(0.0, 0.0))) == (None, None)
    assert caplog.text == ""
    assert omega(write_cbf(tmp_path / "b.cbf", dectris(10.5, 0.5, "# Oscillation_axis PHI\n"))) == (None, None)
    assert "says that PHI turned, which is not omega" in caplog.text
    assert omega(write_cbf(tmp_path / "c.cbf", dectris(10.5, 0.5, "# Oscillation_axis X.CW\n"))) == (10.5, 0.5)
    assert omega(write_cbf(tmp_path / "d.cbf", dectris(10.5, 0.5, "# Omega 90.0 deg.\n"))) == (None, None)
    assert omega(write_cbf(tmp_path / "e.cbf", dectris(0.0, 0.5))) == (0.0, 0.5)


def test_edf_headers_say_motors_and_counters_of_each_frame(tmp_path: Path) -> None:
    headers = [
        {"motor_mne": "phi omega", "motor_pos": f"1.0 {10 + k / 2}", "counter_mne": "sec i0", "counter_pos": f"2 {k}e5",
         "count_time": "2", "Temperature": "26.85 C"}
        for k in range(3)
    ]  # fmt: skip
    path = write_edf(tmp_path / "a.edf", headers)
    found = metadata(path)
    assert (found["omega_start"], found["omega_step"], found["exposure_time"]) == (10.0, 0.5, 2.0)
    assert found["temperature"] == pytest.approx(300.0)
    assert np.asarray(found["i0"]).tolist() == [0.0, 1e5, 2e5]
    assert omega(write_edf(tmp_path / "b.edf", [{"omega": "33.5"}])) == (33.5, None)
    uneven = [{"omega": str(v)} for v in (1.0, 2.0, 5.0)]
    assert omega(write_edf(tmp_path / "c.edf", uneven)) == (None, None)


def test_one_frame_files_of_a_list_step_from_one_to_the_next(tmp_path: Path, caplog: Any) -> None:
    paths = [write_edf(tmp_path / f"a_{k}.edf", [{"omega": str(k * 0.5)}]) for k in range(4)]
    with read_frames(paths) as frames:
        assert (frames.metadata["omega_start"], frames.metadata["omega_step"]) == (0.0, 0.5)
    with read_frames([*paths[:2], paths[3]]) as frames:
        assert "omega_step" not in frames.metadata
    assert "uneven steps" in caplog.text


def integrate(tmp_path: Path, files: list[str], *more: str, parameters: str = "OmegaSumFrames 2\n") -> list[Any]:
    (tmp_path / "p.txt").write_text(PARAMETERS + parameters)
    out = tmp_path / "out"
    call = ["integrate", "-paramFN", str(tmp_path / "p.txt"), "-resultFolder", str(out), *more]
    assert main([*call, *files]) == 0
    return [read_cake_file(path) for path in sorted(out.glob("*.zarr.zip"))]


def test_omega_and_conditions_reach_the_caked_file(tmp_path: Path) -> None:
    path = eiger(
        tmp_path / "a_master.h5",
        5,
        entry__sample__goniometer__omega=[10.0, 10.5, 11.0, 11.5, 12.0],
        entry__sample__temperature=[300.0, 310.0, 320.0, 330.0, 340.0],
        entry__sample__pressure=(1.0, "bar"),
    )
    (cake,) = integrate(tmp_path, [str(path)])
    assert cake.first_omega.tolist() == [10.0, 11.0, 12.0]
    assert cake.last_omega.tolist() == [10.5, 11.5, 12.0]
    assert cake.temperature.tolist() == [305.0, 325.0, 340.0]
    np.testing.assert_allclose(cake.pressure, 0.1)


def test_what_the_parameters_say_goes_before_the_file(tmp_path: Path) -> None:
    path = eiger(tmp_path / "a_master.h5", 4, entry__sample__goniometer__omega=[10.0, 10.5, 11.0, 11.5])
    lines = "OmegaSumFrames 2\nSkipFrame 1\n"
    (cake,) = integrate(tmp_path, [str(path)], parameters=lines)
    assert cake.first_omega.tolist() == [10.5, 11.5]
    (cake,) = integrate(tmp_path, [str(path)], parameters=lines + "OmegaStart -3\nOmegaStep 1\n")
    assert cake.first_omega.tolist() == [-3.0, -1.0]


def test_cbf_files_whose_omega_goes_on_are_one_scan(tmp_path: Path) -> None:
    files = [str(write_cbf(tmp_path / f"s_{k:06d}.cbf", dectris(10 + 0.5 * k, 0.5))) for k in range(5)]
    cakes = integrate(tmp_path, files)
    assert [c.first_omega.tolist() for c in cakes] == [[10.0], [11.0], [12.0]]
    assert [c.last_omega.tolist() for c in cakes] == [[10.5], [11.5], [12.0]]
    assert [c.frames.tolist() for c in cakes] == [[2], [2], [1]]


def test_convert_keeps_what_the_file_said(tmp_path: Path) -> None:
    from midas.io.convert import convert_file

    path = eiger(
        tmp_path / "a_master.h5",
        3,
        entry__sample__goniometer__omega=[10.0, 10.5, 11.0],
        entry__sample__temperature=[300.0, 310.0, 320.0],
    )
    convert_file(path, tmp_path / "a.MIDAS.zip")
    found = metadata(tmp_path / "a.MIDAS.zip")
    assert (found["omega_start"], found["omega_step"]) == (10.0, 0.5)
    np.testing.assert_array_equal(found["temperature"], [300.0, 310.0, 320.0])  # type: ignore[arg-type]


def test_one_value_and_a_step_make_a_scan() -> None:
    found = omega_metadata({"omega": np.array([-5.0])}, 100, 0.1)
    assert (found["omega_start"], found["omega_step"]) == (-5.0, pytest.approx(0.1))
