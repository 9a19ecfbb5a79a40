"""Files converted to .MIDAS.zip and HDF5, read back by zarr and h5py themselves."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import zarr
from image_files import HEAD_SIZE, write_ge, write_tree
from memory import peak_memory

from midas.cake.series import SeriesFiles, integrate_files
from midas.errors import FormatError, InputError, OutputError
from midas.io.convert import ConvertOptions, convert_file, convert_files, target_path
from midas.io.dark import less_dark
from midas.io.frames import Frames, mean_frame, read_frames
from midas.io.gsas_zarr import read_cake_file as read_cake
from midas.io.image_source import valid_mask
from midas.io.parameters import parse_params, read_params

N, ROWS, COLUMNS = 5, 24, 18
SCAN, ANALYSIS = "measurement/process/scan_parameters", "analysis/process/analysis_parameters"
TEXT = f"""Lsd 300000
BC 12 9
px 200
Wavelength 0.2
RMin 1
RMax 9
RBinSize 1
EtaBinSize 30
NrPixelsY {ROWS}
NrPixelsZ {COLUMNS}
HeadSize {HEAD_SIZE}
ImTransOpt 3
ImTransOpt 1
SkipFrame 2
OmegaStart 10
OmegaStep 0.5
OmegaSumFrames 2
SumImages 1
"""


@pytest.fixture
def stack(rng) -> np.ndarray:
    return rng.integers(0, 5000, (N, ROWS, COLUMNS)).astype(np.uint16)


def opened(path: Path) -> zarr.Group:
    return zarr.open_group(zarr.storage.ZipStore(str(path), mode="r"), mode="r")


def listed(root: object, prefix: str = "") -> dict[str, object]:
    """Every array of a zarr or HDF5 file by its path."""
    found = {}
    for name in sorted(root):
        node = root[name]
        found.update({prefix + name: node} if hasattr(node, "shape") else listed(node, f"{prefix}{name}/"))
    return found


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "u8", "i2", "i4", "f4", "f8"])
def test_a_zip_is_as_specified(tmp_path, stack, dtype):
    pixels = stack.astype(dtype)
    if pixels.dtype.kind == "f":
        pixels[0, 0, 0] = np.nan
    np.save(tmp_path / "a.npy", pixels)
    np.save(tmp_path / "d.npy", pixels[:3])
    options = ConvertOptions(dark=tmp_path / "d.npy", frames_per_block=2)
    seen = []
    assert convert_file(tmp_path / "a.npy", tmp_path / "a.MIDAS.zip", options, progress=lambda *n: seen.append(n)) == N
    assert seen == [(2, 9), (4, 9), (5, 9), (7, 9), (8, 9), (9, 9)]
    with zipfile.ZipFile(tmp_path / "a.MIDAS.zip") as file:
        assert len(set(file.namelist())) == len(file.namelist())
        assert {info.compress_type for info in file.infolist()} == {zipfile.ZIP_STORED}
        assert file.testzip() is None
        description = file.read("exchange/data/.zarray").decode()
    assert '"zarr_format": 2' in description
    root = opened(tmp_path / "a.MIDAS.zip")
    for name, expected in {
        "data": pixels,
        "dark": pixels[:3],
        "bright": np.zeros((1, ROWS, COLUMNS), dtype),
    }.items():
        array = root[f"exchange/{name}"]
        assert (array.dtype, array.chunks) == (np.dtype(dtype), (1, ROWS, COLUMNS))
        codec = array.compressors[0] if hasattr(array, "compressors") else array.compressor
        config = codec.get_config()
        assert (config["id"], config["cname"], config["shuffle"]) == ("blosc", "zstd", 2)
        assert array[...].tobytes() == expected.tobytes()
    assert "mask" not in root["exchange"]
    assert root[f"{SCAN}/datatype"][0] == np.dtype(dtype).name.encode()


def test_parameters_are_arrays_under_their_new_names(tmp_path, stack):
    np.save(tmp_path / "a.npy", stack)
    more = "LatticeConstant 5.4 5.4 5.4 90 90 90\nresultFolder out here\nMine 3 4\nNote 5 apples\nRingThresh 1 80\n"
    text = f"{TEXT}{more}RingThresh 2 100\npx 100 # the last one wins\n"
    (tmp_path / "ps.txt").write_text(text)
    convert_file(tmp_path / "a.npy", tmp_path / "a.MIDAS.zip", ConvertOptions(read_params(tmp_path / "ps.txt")))
    found = {k: v[...] for k, v in listed(opened(tmp_path / "a.MIDAS.zip")[ANALYSIS]).items()}
    expected = {
        "Lsd": [3e5], "YCen": [12.0], "ZCen": [9.0], "PixelSize": [100.0], "SkipFrame": [2], "ImTransOpt": [3, 1],
        "LatticeParameter": [5.4, 5.4, 5.4, 90.0, 90.0, 90.0], "ResultFolder": [b"out here"], "Mine": [3, 4],
        "Note": [b"5 apples"], "RingThresh": [[1.0, 80.0], [2.0, 100.0]], "OmegaSumFrames": [2],
    }  # fmt: skip
    assert {k: found[k].tolist() for k in expected} == expected
    assert not {"px", "BC", "OmegaStart", "OmegaStep", "LatticeConstant", "resultFolder"} & set(found)
    assert (found["SkipFrame"].dtype, found["Lsd"].dtype) == (np.int32, np.float64)
    scan = opened(tmp_path / "a.MIDAS.zip")[SCAN]
    # Of the first frame stored, two before the first that is used.
    assert (scan["start"][...].tolist(), scan["step"][...].tolist()) == ([9.0], [0.5])
    with read_frames(tmp_path / "a.MIDAS.zip") as frames:
        hints = {hint.name: hint.value for hint in frames.metadata["hints"]}
        assert (hints["distance"], hints["beam_center"]) == (3e5, (12.0, 9.0))
        assert frames.metadata["recorded_transforms"] == (3, 1)


@pytest.mark.parametrize("omega", [True, False])
def test_the_zip_gives_the_cake_of_the_file_it_was_made_from(tmp_path, stack, omega):
    """Transforms, skipped frames, dark and omega are applied to the zip as to the file: the same bytes."""
    write_ge(tmp_path / "s_000003.ge3", stack)
    write_ge(tmp_path / "dark.ge3", stack[:2] % 9)
    lines = [line for line in TEXT.splitlines(keepends=True) if omega or not line.startswith("Omega")]
    parameters = parse_params("".join(lines))
    options = ConvertOptions(parameters, dark=tmp_path / "dark.ge3")
    convert_file(tmp_path / "s_000003.ge3", tmp_path / "s_000003.ge3.MIDAS.zip", options)
    raw = SeriesFiles(tmp_path / "s_000003.ge3", dark=tmp_path / "dark.ge3")
    first = integrate_files(raw, parameters, tmp_path / "raw").written[0]
    second = integrate_files(SeriesFiles(tmp_path / "s_000003.ge3.MIDAS.zip"), parameters, tmp_path / "zip").written[0]
    assert first.name == second.name
    a, b = listed(opened(first)), listed(opened(second))
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name][...], b[name][...], err_msg=name)
        assert dict(a[name].attrs) == dict(b[name].attrs), name
    assert np.isfinite(read_cake(first).intensity[0]).any()


def test_everything_beside_the_images_comes_back(tmp_path, stack):
    """Conditions of each frame, several darks, bright, mask and parameters: HDF5 to zip and back."""
    arrays = {
        "exchange/data": stack, "exchange/dark": stack[:3] % 9, "exchange/bright": stack[:2],
        f"{SCAN}/Temperature": np.arange(N) + 300.25, f"{SCAN}/Pressure": np.array([7.5]),
        f"{SCAN}/I": np.arange(N, dtype=np.int32), f"{SCAN}/start": np.array([-3.0]), f"{SCAN}/step": np.array([0.25]),
        f"{ANALYSIS}/Lsd": np.array([1e6]), f"{ANALYSIS}/Sample": np.array([b"nickel"]),
    }  # fmt: skip
    mask = np.zeros((1, ROWS, COLUMNS), np.uint8)
    mask[0, 4, 2] = 1
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, values in {**arrays, "exchange/mask": mask}.items():
            file[name] = values
        file[f"{SCAN}/I0"] = 2.5  # a scalar
        file[f"{ANALYSIS}/Title"] = "a text of any length"
    convert_file(tmp_path / "a.h5", tmp_path / "a.MIDAS.zip")
    convert_file(tmp_path / "a.MIDAS.zip", tmp_path / "b.h5")
    with h5py.File(tmp_path / "b.h5") as file:
        for found in (listed(opened(tmp_path / "a.MIDAS.zip")), listed(file)):
            assert set(found) == {*arrays, "exchange/mask", f"{SCAN}/I0", f"{SCAN}/datatype", f"{ANALYSIS}/Title"}
            for name, values in arrays.items():
                assert found[name].dtype == values.dtype, name
                np.testing.assert_array_equal(found[name][...], values, err_msg=name)
            assert found[f"{SCAN}/I0"][...].tolist() == [2.5]
            assert found[f"{ANALYSIS}/Title"][...].tolist() == [b"a text of any length"]
            assert (found["exchange/mask"][...] == mask).all()
    for name in ("a.MIDAS.zip", "b.h5"):
        with read_frames(tmp_path / name, skip_frames=1) as frames:
            assert frames.metadata["temperature"].tolist() == [301.25, 302.25, 303.25, 304.25]
            assert (frames.metadata["pressure"], frames.metadata["i0"]) == (7.5, 2.5)
            assert (frames.metadata["omega_start"], frames.metadata["omega_step"]) == (-3.0, 0.25)
            assert np.argwhere(frames.mask).tolist() == [[4, 2]]


def test_the_masks_of_the_parameters_join_that_of_the_file(tmp_path, stack):
    """As the frames are stored: not transformed."""
    mask = np.zeros((1, ROWS, COLUMNS), np.uint8)
    mask[0, 4, 2] = 1
    write_tree(tmp_path / "a.h5", {"exchange/data": stack, "exchange/mask": mask})
    np.save(tmp_path / "gaps.npy", np.roll(mask[0], 1))
    (tmp_path / "ps.txt").write_text(TEXT + "GapFile gaps.npy\n")
    convert_file(tmp_path / "a.h5", tmp_path / "a.MIDAS.zip", ConvertOptions(read_params(tmp_path / "ps.txt")))
    assert np.argwhere(opened(tmp_path / "a.MIDAS.zip")["exchange/mask"][0]).tolist() == [[4, 2], [4, 3]]
    np.save(tmp_path / "gaps.npy", mask[0].T)
    with pytest.raises(InputError, match=r"gaps\.npy: the mask has shape \(18, 24\); expected \(24, 18\).*transform"):
        convert_file(tmp_path / "a.h5", tmp_path / "b.MIDAS.zip", ConvertOptions(read_params(tmp_path / "ps.txt")))
    assert not (tmp_path / "b.MIDAS.zip").exists()


@pytest.mark.parametrize(
    ("dtype", "sentinels", "marked"),
    [("u2", [65535], 65535), ("u4", [2**32 - 1], 2**32 - 1), ("i4", [-1, -2], -1), ("f4", [np.nan, -1.0], np.nan)],
)
def test_a_dark_is_subtracted_once(tmp_path, dtype, sentinels, marked):
    """Below dark + 10 is 0, above pixel - dark; what is no count stays so, and so does a pixel without a dark."""
    frame = np.array([[0, 99, 100, 109, 110, 500, 7, 130] + [5] * len(sentinels)], dtype=dtype)
    frame[0, 8:] = sentinels
    dark = np.full((2, *frame.shape), 100, dtype=dtype)
    dark[:, 0, 7] = marked
    np.save(tmp_path / "a.npy", np.stack([frame, frame]))
    np.save(tmp_path / "dark.npy", dark)
    parameters = parse_params(f"BadPxIntensity 7\nDark {tmp_path / 'dark.npy'}\n")
    options = ConvertOptions(parameters, threshold=10)
    convert_file(tmp_path / "a.npy", tmp_path / "a.MIDAS.zip", options)
    root = opened(tmp_path / "a.MIDAS.zip")
    expected = np.array([[0, 0, 0, 0, 10, 400, 7, marked] + [5] * len(sentinels)]).astype(dtype)
    expected[0, 8:] = sentinels
    for found in root["exchange/data"][...]:
        assert found.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(found, expected)
    assert not root["exchange/dark"][...].any()
    assert "Dark" not in root[ANALYSIS]
    with read_frames(tmp_path / "a.MIDAS.zip") as frames:
        assert frames.metadata["dark_subtracted"] is True
        valid = valid_mask(frames[0], bad_values=[7])[0]
        assert valid.tolist() == [True] * 6 + [False] * (2 + len(sentinels))
    # Not a second time, whoever asks for it; a copy knows it, too.
    with pytest.raises(InputError, match=r"less their dark already; leave out -darkFN"):
        convert_file(tmp_path / "a.MIDAS.zip", tmp_path / "b.h5", ConvertOptions(dark=tmp_path / "dark.npy"))
    convert_file(tmp_path / "a.MIDAS.zip", tmp_path / "b.h5", ConvertOptions(parameters))
    with h5py.File(tmp_path / "b.h5") as file:
        np.testing.assert_array_equal(file["exchange/data"][1], expected)
        assert (file["exchange/dark"][...] == 0).all()
        assert "Dark" not in file[ANALYSIS]
    with read_frames(tmp_path / "b.h5") as frames:
        assert frames.metadata["dark_subtracted"] is True


def test_zeros_that_are_no_counts_and_a_threshold_exclude_each_other(tmp_path, stack):
    np.save(tmp_path / "a.npy", stack)
    options = ConvertOptions(parse_params("GapIntensity 0\n"), threshold=0)
    with pytest.raises(InputError, match="0 is no count"):
        convert_file(tmp_path / "a.npy", tmp_path / "a.MIDAS.zip", options)


def test_without_a_threshold_the_dark_is_stored_and_not_subtracted(tmp_path, stack):
    np.save(tmp_path / "a.npy", stack)
    np.save(tmp_path / "dark.npy", stack[:2])
    convert_file(tmp_path / "a.npy", tmp_path / "a.MIDAS.zip", ConvertOptions(dark=tmp_path / "dark.npy"))
    root = opened(tmp_path / "a.MIDAS.zip")
    assert (root["exchange/data"][...] == stack).all()
    assert (root["exchange/dark"][...] == stack[:2]).all()


def test_a_mean_dark_is_taken_to_the_nearest_count(rng):
    raw = rng.integers(90, 120, (3, 6, 7)).astype(np.uint16)
    dark = mean_frame(Frames.from_array(rng.integers(90, 110, (4, 6, 7)).astype(np.uint16)))
    found = less_dark(Frames.from_array(raw), dark, threshold=0)[:]
    expected = np.where(raw < dark, 0, raw - dark)
    assert found.dtype == np.uint16
    assert np.abs(found - expected).max() <= 0.5
    assert (found == np.rint(expected)).all()


def test_blocks_and_threads_change_nothing(tmp_path, rng):
    np.save(tmp_path / "a.npy", rng.poisson(5, (9, 300, 400)).astype(np.uint16))
    checksums = set()
    for k, (block, threads) in enumerate([(-1, 0), (1, 1), (2, 3), (100, 2)]):
        path = tmp_path / f"{k}.MIDAS.zip"
        convert_file(tmp_path / "a.npy", path, ConvertOptions(frames_per_block=block, n_threads=threads))
        checksums.add(hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(checksums) == 1


def test_names():
    folder = Path("out")
    assert target_path(Path("in/s_01.ge3"), folder) == folder / "s_01.ge3.MIDAS.zip"
    assert target_path(Path("in/s.MIDAS.zip"), folder) == folder / "s.h5"
    assert target_path(Path("in/s.MIDAS.zip"), folder, "zip") == folder / "s.MIDAS.zip"
    assert target_path(Path("in/s.h5"), folder, "h5") == folder / "s.h5.h5"
    with pytest.raises(InputError, match="expected zip or h5"):
        target_path(Path("s.h5"), folder, "tiff")


def test_targets_that_cannot_be(tmp_path, stack):
    np.save(tmp_path / "a.npy", stack)
    for name in ("a.zarr.zip", "a.tif"):
        with pytest.raises(InputError, match=r"expected .*\.MIDAS\.zip"):
            convert_file(tmp_path / "a.npy", tmp_path / name)
    write_tree(tmp_path / "a.h5", {"exchange/data": stack})
    before = (tmp_path / "a.h5").read_bytes()
    with pytest.raises(InputError, match="one of the files that are read"):
        convert_files([tmp_path / "a.h5"], [tmp_path / "sub" / ".." / "a.h5"])
    assert (tmp_path / "a.h5").read_bytes() == before
    with pytest.raises(InputError, match="written to 1 names"):
        convert_files([tmp_path / "a.h5", tmp_path / "a.npy"], [tmp_path / "b.h5"] * 2)
    with pytest.raises(OutputError, match="its folder does not exist"):
        convert_file(tmp_path / "a.npy", tmp_path / "none" / "a.MIDAS.zip")
    np.save(tmp_path / "d.npy", np.zeros((3, 3), np.uint16))
    with pytest.raises(InputError, match=r"the dark has shape \(3, 3\); expected \(24, 18\)"):
        convert_file(tmp_path / "a.npy", tmp_path / "a.MIDAS.zip", ConvertOptions(dark=tmp_path / "d.npy"))


@pytest.mark.parametrize("options", [{"threshold": -2}, {"threshold": np.nan}, {"frames_per_block": 0}])
def test_options_out_of_range(options):
    with pytest.raises(InputError, match=r"preProcThresh|numFrameChunks"):
        ConvertOptions(**options)


def test_a_file_that_fails_leaves_nothing_and_does_not_stop_the_others(tmp_path, stack):
    paths = [tmp_path / f"s_{k}.h5" for k in range(3)]
    for path in paths:
        write_tree(path, {"exchange/data": np.repeat(stack, 20, axis=0)}, compression="gzip")
    content = bytearray(paths[1].read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)  # frames that cannot be unpacked
    paths[1].write_bytes(content)
    targets = [target_path(path, tmp_path / "out") for path in paths]
    done = convert_files(paths, targets)
    assert done.written == (targets[0], targets[2])
    assert [path for path, _ in done.failed] == [paths[1]]
    assert done.failed[0][1].startswith(str(paths[1]))
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [targets[0].name, targets[2].name]
    with pytest.raises(FormatError, match=r"s_1\.h5"):
        convert_files(paths[1:2], targets[1:2])


def test_memory_does_not_grow_with_the_frames(tmp_path):
    program = """
import sys, pathlib
import numpy as np, h5py, hdf5plugin
from midas.io.convert import convert_file
source = pathlib.Path(sys.argv[1]) / "a.h5"
with h5py.File(source, "w") as file:
    data = file.create_dataset("exchange/data", (int(sys.argv[2]), 1024, 1024), "u4", chunks=(1, 1024, 1024),
                               **hdf5plugin.LZ4())
    frame = np.random.default_rng(0).poisson(2, (1024, 1024))
    for i in range(len(data)):
        data[i] = np.roll(frame, i)
for name in ("b.MIDAS.zip", "c.h5"):
    convert_file(source, source.with_name(name))
    source = source.with_name(name)
"""
    few, many = (peak_memory(program, tmp_path, n) for n in (40, 160))
    assert many < few + 120, (few, many)  # MB; 480 more are in the frames


def test_an_older_zarr_reads_it(tmp_path, stack):
    """As GSAS-II's users have it: zarr 2.18."""
    python = os.environ.get("MIDAS_TEST_ZARR2_PYTHON")
    if python is None:
        pytest.skip("name an interpreter that has zarr 2.18 in MIDAS_TEST_ZARR2_PYTHON to run it")
    np.save(tmp_path / "a.npy", stack)
    convert_file(tmp_path / "a.npy", tmp_path / "a.MIDAS.zip", ConvertOptions(parse_params(TEXT)))
    code = """
import hashlib, sys, zarr
root = zarr.open_group(zarr.ZipStore(sys.argv[1], mode="r"), mode="r")
print(hashlib.sha256(root["exchange/data"][...].tobytes()).hexdigest(), root["exchange/data"].chunks,
      root["measurement/process/scan_parameters/datatype"][0], root["exchange/dark"].shape)
"""
    command = [python, "-c", code, str(tmp_path / "a.MIDAS.zip")]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    expected = f"{hashlib.sha256(stack.tobytes()).hexdigest()} (1, {ROWS}, {COLUMNS}) b'uint16' (1, {ROWS}, {COLUMNS})"
    assert done.stdout.strip() == expected, done.stderr
    assert sys.executable != python


def test_transforms_that_were_not_given_are_noticed(tmp_path, stack):
    from midas.cake import SeriesFiles, integrate_file
    from midas.io.parameters import parse_params

    np.save(tmp_path / "a.npy", stack)
    text = "Lsd 3e5\nBC 5 6\npx 200\nWavelength 0.2\nRMin 1\nRMax 5\nRBinSize 1\nEtaBinSize 90\n"
    convert_file(tmp_path / "a.npy", tmp_path / "a.MIDAS.zip", ConvertOptions(parameters=parse_params(text)))
    turned = parse_params(text + "ImTransOpt 1\n")
    with pytest.raises(InputError, match=r"stored with ImTransOpt \(\), .* has \(1,\)"):
        integrate_file(SeriesFiles(tmp_path / "a.MIDAS.zip"), turned, tmp_path / "out")
    convert_file(tmp_path / "a.npy", tmp_path / "b.MIDAS.zip")  # without parameters nothing is said
    integrate_file(SeriesFiles(tmp_path / "b.MIDAS.zip"), turned, tmp_path / "out")
