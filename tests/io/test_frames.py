"""Images of every format, each written by a library that is not ours, or by bytes laid down here."""

from __future__ import annotations

import bz2
import gc
import gzip
import pickle
from pathlib import Path

import fabio
import h5py
import hdf5plugin
import numpy as np
import pytest
import tifffile
import zarr
from stack_files import (
    COLUMNS,
    ROWS,
    STACKS,
    N,
    open_group,
    put,
    shape_of,
    write_hdf5,
    write_midas_zip,
    write_stack,
)

import midas.io.frames as frames_module
from midas import CakeGrid, Geometry, IntegrationOptions, integrate
from midas.errors import FormatError, InputError
from midas.io.frames import Frames, read_frames, read_image, read_mask
from midas.io.image_source import valid_mask


@pytest.mark.parametrize("name", STACKS)
def test_a_stack_comes_back_exactly(tmp_path, stack, name):
    path = tmp_path / name
    write_stack(tmp_path / name.replace("GE", "ge"), stack)
    if "GE" in name:
        (tmp_path / name.replace("GE", "ge")).rename(path)
    with read_frames(path, **shape_of(name)) as frames:
        assert frames.shape == stack.shape
        assert len(frames) == N
        assert frames.dtype == np.uint16
        assert frames.path == path
        assert frames.metadata["source"] == str(path)
        assert "format" in frames.metadata
        for i, frame in enumerate(frames):
            assert frame.dtype == np.uint16
            assert frame.flags.c_contiguous
            assert frame.tobytes() == stack[i].tobytes()
        assert (frames[-1] == stack[-1]).all()
        assert (frames[1:3] == stack[1:3]).all()
        assert frames[4:4].shape == (0, ROWS, COLUMNS)
        with pytest.raises(IndexError):
            frames[N]


@pytest.mark.parametrize("name", STACKS)
def test_skip_transform_and_mean_work_for_every_format(tmp_path, stack, name):
    write_stack(tmp_path / name.lower().replace("midas", "MIDAS"), stack)
    path = tmp_path / name.lower().replace("midas", "MIDAS")
    frames = read_frames(path, skip_frames=1, image_transforms=(1, 3), **shape_of(name))
    assert frames.shape == (N - 1, COLUMNS, ROWS)
    assert (frames[0] == stack[1][:, ::-1].T).all()
    mean = read_image(path, skip_frames=2, **shape_of(name))
    np.testing.assert_allclose(mean, stack[2:].mean(axis=0), rtol=1e-15)


@pytest.mark.parametrize("name", STACKS)
def test_frames_pickle_by_name(tmp_path, stack, name):
    path = tmp_path / name.lower().replace("midas", "MIDAS")
    write_stack(path, stack)
    frames = read_frames(path, skip_frames=1, **shape_of(name))
    assert (pickle.loads(pickle.dumps(frames))[0] == stack[1]).all()


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i2", "i4", "f4", "f8", ">u2", ">i4"])
@pytest.mark.parametrize("suffix", [".tif", ".h5", ".npy", ".edf"])
def test_a_single_image_keeps_its_dtype(tmp_path, stack, dtype, suffix):
    image = (stack[0] % 200).astype(dtype)
    path = tmp_path / f"a{suffix}"
    if suffix == ".tif":
        tifffile.imwrite(path, image, byteorder=">" if dtype.startswith(">") else "<")
    elif suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["exchange/data"] = image
    elif suffix == ".npy":
        np.save(path, image)
    else:
        fabio.edfimage.EdfImage(data=image.astype(image.dtype.newbyteorder("="))).write(str(path))
    found = read_image(path)
    assert found.dtype == np.dtype(dtype).newbyteorder("=")
    assert (found == image).all()


def test_cbf(tmp_path, stack):
    image = stack[0].astype(np.int32)
    image[0, 0] = -2
    fabio.cbfimage.CbfImage(data=image).write(str(tmp_path / "a.cbf"))
    found = read_image(tmp_path / "a.cbf")
    assert found.dtype == np.int32
    assert (found == image).all()


def test_lzw_tiff_without_extra_packages(tmp_path, stack):
    from PIL import Image

    path = tmp_path / "a.tif"
    Image.fromarray(stack[0]).save(path, compression="tiff_lzw")
    assert (read_image(path) == stack[0]).all()


def test_other_ge_pixels_and_headers(tmp_path, stack):
    path = tmp_path / "a.ge"
    path.write_bytes(bytes(100) + stack.astype("<f4").tobytes())
    frames = read_frames(path, head_size=100, frame_shape=(ROWS, COLUMNS), data_type=3)
    assert frames.dtype == np.float32
    assert (frames[2] == stack[2]).all()


def test_ge_takes_the_panel_size_when_none_is_given(tmp_path):
    path = tmp_path / "a.ge2"
    with path.open("wb") as file:
        file.truncate(8192 + 3 * 2048 * 2048 * 2)
    assert read_frames(path).shape == (3, 2048, 2048)


def test_hdf5_locations(tmp_path, stack):
    path = tmp_path / "a.h5"
    write_hdf5(path, stack, "entry/data/data")
    assert read_frames(path).metadata["data_location"] == "entry/data/data"
    path = tmp_path / "b.h5"
    write_hdf5(path, stack, "somewhere/else")
    assert read_frames(path).metadata["data_location"] == "somewhere/else"
    assert read_frames(path, data_location="/somewhere/else").shape == stack.shape
    with pytest.raises(FormatError, match=r"no images at exchange/dark.*somewhere/else \(4, 24, 17\).*-dataLoc"):
        read_frames(path, data_location="exchange/dark")


def test_data_sets_of_a_master_are_joined_by_their_numbers(tmp_path):
    with h5py.File(tmp_path / "s_master.h5", "w") as file:
        for k in (1, 2, 10):
            file[f"entry/data/data_{k}"] = np.full((1, 3, 4), k, dtype=np.uint16)
    assert [int(frame[0, 0]) for frame in read_frames(tmp_path / "s_master.h5")] == [1, 2, 10]


def test_eiger_master_joins_its_data_files(tmp_path, stack):
    for k, part in enumerate((stack[:3], stack[3:]), start=1):
        write_hdf5(tmp_path / f"s_data_{k:06d}.h5", part, "entry/data/data", **hdf5plugin.Bitshuffle(cname="lz4"))
    with h5py.File(tmp_path / "s_master.h5", "w") as file:
        for k in (1, 2):
            file[f"entry/data/data_{k:06d}"] = h5py.ExternalLink(f"s_data_{k:06d}.h5", "entry/data/data")
    frames = read_frames(tmp_path / "s_master.h5")
    assert frames.shape == stack.shape
    assert (frames[:] == stack).all()
    frames.close()
    (tmp_path / "s_data_000002.h5").unlink()
    with pytest.raises(FormatError, match=r"its data file .*s_data_000002.h5 is not there \(data_000002 is a link"):
        read_frames(tmp_path / "s_master.h5")


def test_omega_of_a_midas_zip(tmp_path, stack):
    write_midas_zip(tmp_path / "a.MIDAS.zip", stack)
    metadata = read_frames(tmp_path / "a.MIDAS.zip").metadata
    assert (metadata["omega_start"], metadata["omega_step"]) == (-10.0, 0.25)


SCAN = "measurement/process/scan_parameters"


def write_conditions(path: Path, stack: np.ndarray, mask: np.ndarray, per_frame: np.ndarray) -> None:
    """A MIDAS file, HDF5 or zarr as its name says, with conditions and a mask."""
    values = {"Temperature": per_frame, "Pressure": np.array([7.5]), "I": per_frame + 1, "I0": np.array([2], np.int32)}
    data = {"exchange/data": stack, "exchange/mask": mask, **{f"{SCAN}/{k}": v for k, v in values.items()}}
    if path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            for name, array in data.items():
                file[name] = array
        return
    store = zarr.storage.ZipStore(str(path), mode="w")
    root = open_group(store)
    for name, array in data.items():
        put(root, name, array)
    store.close()


@pytest.mark.parametrize("name", ["a.h5", "a.MIDAS.zip"])
def test_conditions_and_mask_of_a_midas_file(tmp_path, stack, name):
    mask = np.zeros((1, ROWS, COLUMNS), dtype=np.uint8)
    mask[0, 2, 5] = 3
    per_frame = np.arange(N) + 0.5
    write_conditions(tmp_path / name, stack, mask, per_frame)
    with read_frames(tmp_path / name, skip_frames=1, image_transforms=(1, 3)) as frames:
        assert frames.metadata["temperature"].tolist() == [1.5, 2.5, 3.5]
        assert frames.metadata["i"].tolist() == [2.5, 3.5, 4.5]
        assert (frames.metadata["pressure"], frames.metadata["i0"]) == (7.5, 2.0)
        assert frames.mask.dtype == bool
        assert np.argwhere(frames.mask).tolist() == [[COLUMNS - 6, 2]]
        geometry = Geometry(distance=1e6, beam_center=(9, 9), pixel_size=200, wavelength=0.18, image_transforms=(1, 3))
        options = IntegrationOptions(frames_per_sum=2)
        cake = integrate(frames, geometry, CakeGrid(0, 8, 1, eta_step=90), options=options)
        assert cake.temperature.tolist() == [2.0, 3.5]
        assert (cake.pressure.tolist(), cake.i0.tolist()) == ([7.5, 7.5], [2.0, 2.0])
    with read_frames(tmp_path / name, data_location="exchange/mask") as masks:
        assert masks.shape == (1, ROWS, COLUMNS)


@pytest.mark.parametrize("name", ["a.h5", "a.MIDAS.zip"])
def test_a_mask_of_another_shape_is_refused(tmp_path, stack, name):
    write_conditions(tmp_path / name, stack, np.zeros((1, ROWS, COLUMNS + 1), dtype=np.uint8), np.zeros(N))
    with (
        read_frames(tmp_path / name) as frames,
        pytest.raises(FormatError, match=rf"{name}: exchange/mask has shape \(1, 24, 18\); expected \(24, 17\)"),
    ):
        _ = frames.mask


def test_files_without_a_mask_have_none(tmp_path, stack):
    assert Frames.from_array(stack).mask is None
    write_midas_zip(tmp_path / "a.MIDAS.zip", stack)
    write_hdf5(tmp_path / "a.h5", stack)
    for name in ("a.MIDAS.zip", "a.h5"):
        with read_frames(tmp_path / name) as frames:
            assert frames.mask is None
            assert "temperature" not in frames.metadata


def test_a_caked_file_is_recognised(tmp_path):
    store = zarr.storage.ZipStore(str(tmp_path / "a.zarr.zip"), mode="w")
    put(open_group(store), "REtaMap", np.zeros((4, 3, 2)))
    store.close()
    with pytest.raises(FormatError, match="caked file"):
        read_frames(tmp_path / "a.zarr.zip")


def test_frames_that_are_dropped_close_their_file(tmp_path, stack):
    write_hdf5(tmp_path / "a.h5", stack)
    frames = read_frames(tmp_path / "a.h5")
    del frames
    gc.collect()
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        assert "exchange" in file


def test_frames_of_an_array():
    frames = Frames.from_array(np.arange(6.0).reshape(2, 3))
    assert frames.shape == (1, 2, 3)
    assert frames.metadata["source"] == "array"
    assert (pickle.loads(pickle.dumps(frames))[0] == frames[0]).all()
    with pytest.raises(InputError, match="stack"):
        Frames.from_array(np.zeros(3))


def test_the_mean_leaves_out_what_is_no_count():
    stack = np.array([[[1, 65535, 65535]], [[2, 4, 65535]]], dtype=np.uint16)
    np.testing.assert_array_equal(frames_module.mean_frame(Frames.from_array(stack)), [[1.5, 4.0, np.nan]])


@pytest.mark.parametrize("suffix", [".tif", ".edf", ".npy"])
def test_masks(tmp_path, suffix):
    image = np.zeros((3, 4), dtype=np.uint8)
    image[0, 1] = 1
    image[2, 3] = 255
    path = tmp_path / f"m{suffix}"
    if suffix == ".tif":
        tifffile.imwrite(path, image)
    elif suffix == ".edf":
        fabio.edfimage.EdfImage(data=image).write(str(path))
    else:
        np.save(path, image)
    assert (read_mask(path) == (image != 0)).all()
    assert (read_mask(path, zero_is_use=False) == (image == 0)).all()
    assert (read_mask(path, image_transforms=[2]) == (image[::-1] != 0)).all()


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "shape", "dtype", "lowest"),
    [("ceo2_ge_80p725keV.tif", (2048, 2048), np.uint16, 0), ("ceo2_pilatus1m.tif", (1043, 981), np.int32, -2)],
)
def test_real_images(shared_data, name, shape, dtype, lowest):
    image = read_image(shared_data / name)
    assert (image.shape, image.dtype, image.min()) == (shape, dtype, lowest)
    assert (image == fabio.open(str(shared_data / name)).data).all()
    assert valid_mask(image).sum() == (image >= 0).sum()


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8"])
@pytest.mark.parametrize("packed", ["", ".gz", ".bz2"])
def test_cbf_of_every_type(tmp_path, rng, dtype, packed):
    most = np.iinfo(dtype).max
    image = rng.integers(0, 100, (ROWS, COLUMNS)).astype(dtype)
    # In steps of less than half the range: fabio writes others wrong.
    image[0, :8] = 0, most // 3, most // 3 * 2, most, most // 3 * 2, most // 3, 0, 0
    if dtype.startswith("i"):
        image[1, :3] = -2, -(most // 3), -1
    fabio.cbfimage.CbfImage(data=image).write(str(tmp_path / "a.cbf"))
    path = tmp_path / f"a.cbf{packed}"
    content = (tmp_path / "a.cbf").read_bytes()
    path.write_bytes({"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress}[packed](content))
    found = read_image(path)
    assert found.dtype == np.dtype(dtype)
    assert (found == image).all()
