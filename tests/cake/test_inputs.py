"""Dark, flat and mask from wherever they are: lists, masked arrays, data sets, files; and what is none of these."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zarr

from midas import CakeGrid, Detector, Frames, Geometry, InputError, build_map, integrate

SHAPE = (60, 70)
GRID = CakeGrid(2, 25, 1.5, eta_step=30)
G = Geometry(1e5, (33.4, 28.1), 200, 0.3)
MAP = build_map(G, Detector(SHAPE, 200), GRID)
RANDOM = np.random.default_rng(3)
FRAMES = RANDOM.poisson(40.0, (3, *SHAPE)).astype(np.uint16)
DARK = RANDOM.poisson(4.0, (2, *SHAPE)).astype(np.float64)
FLAT = RANDOM.uniform(0.5, 1.5, SHAPE)
MASK = RANDOM.random(SHAPE) < 0.05
ARRAYS = {"dark": DARK, "flat": FLAT, "mask": MASK}
PLAIN = MAP.apply(FRAMES, **ARRAYS).intensity


@pytest.fixture
def file(tmp_path: Path) -> h5py.File:
    with h5py.File(tmp_path / "a.h5", "w") as made:
        for name, values in ARRAYS.items():
            made[name] = values
        made.create_dataset("unwritten", SHAPE, "u2", chunks=(10, 70))
    with h5py.File(tmp_path / "a.h5") as opened:
        yield opened


def check(arrays: dict[str, Any]) -> None:
    np.testing.assert_array_equal(MAP.apply(FRAMES, **arrays).intensity, PLAIN)


def test_of_any_kind(file: h5py.File) -> None:
    check({name: file[name] for name in ARRAYS})
    check({name: zarr.array(values) for name, values in ARRAYS.items()})
    check({name: values.tolist() for name, values in ARRAYS.items()})
    check({name: memoryview(values) for name, values in ARRAYS.items()})
    check({name: np.asfortranarray(values) for name, values in ARRAYS.items()})
    check({"dark": DARK.astype(">f8"), "flat": FLAT.astype(">f8"), "mask": np.where(MASK, np.nan, 0.0)})
    check({name: Frames.from_array(values.astype(np.float64)) for name, values in ARRAYS.items()})


def test_masks_of_masked_arrays_are_kept() -> None:
    images = [np.ma.masked_array(image, mask=MASK) for image in DARK]
    expected = MAP.apply(FRAMES, dark=DARK, mask=MASK)
    for dark in (images, tuple(images), np.ma.stack(images)):
        found = MAP.apply(FRAMES, dark=dark)
        np.testing.assert_array_equal(found.intensity, expected.intensity)
        np.testing.assert_array_equal(found.bin_pixels, expected.bin_pixels)
    found = MAP.apply(FRAMES, dark=DARK, mask=np.ma.masked_array(np.zeros(SHAPE), mask=MASK))
    np.testing.assert_array_equal(found.intensity, expected.intensity)


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("ragged", [[[1, 2], [3]], [np.ones((2, 2)), np.ones(3)]], ids=["lists", "arrays"])
def test_rows_of_different_lengths(name: str, ragged: list[Any]) -> None:
    with pytest.raises(InputError, match=f"the {name} forms no array"):
        MAP.apply(FRAMES, **{name: ragged})


@pytest.mark.parametrize("name", ARRAYS)
def test_a_file_is_asked_for_its_data_set(name: str, file: h5py.File) -> None:
    with pytest.raises(InputError, match=rf"the {name} is a h5py.File; expected one of its data sets: .*\['dark'\]"):
        MAP.apply(FRAMES, **{name: file})
    given = file[name]
    file.close()
    with pytest.raises(InputError, match=f"the {name} is in an HDF5 file that is closed"):
        MAP.apply(FRAMES, **{name: given})


def test_a_dark_that_was_never_written(file: h5py.File) -> None:
    with pytest.raises(InputError, match="never written"):
        MAP.apply(FRAMES, dark=file["unwritten"])
    # All zeros: a mask that nobody needed to write.
    np.testing.assert_array_equal(MAP.apply(FRAMES, mask=file["unwritten"]).intensity, MAP.apply(FRAMES).intensity)


@pytest.mark.parametrize("mask", [np.full(SHAPE, "1"), np.full(SHAPE, None), np.ones(SHAPE, dtype=complex)])
def test_a_mask_of_another_dtype(mask: np.ndarray) -> None:
    with pytest.raises(InputError, match="the mask has dtype"):
        MAP.apply(FRAMES, mask=mask)


@pytest.mark.parametrize("name", ["dark", "flat", "mask"])
def test_other_image_transforms_than_the_frames_are_refused(name: str) -> None:
    turned = Geometry(1e5, (33.4, 28.1), 200, 0.3, image_transforms=(1,))
    array = ARRAYS[name].astype(np.float64)
    given = Frames.from_array(array, image_transforms=(1,))
    with pytest.raises(InputError, match=rf"transforms \(ImTransOpt\) of the {name} are \(1,\)"):
        integrate(FRAMES, G, GRID, **{name: given})
    with pytest.raises(InputError, match=f"read the {name} so"):
        integrate(FRAMES, turned, GRID, **{name: given})
    read = Frames.from_array(FRAMES, image_transforms=(1,))
    with pytest.raises(InputError, match=f"read the {name} so"):
        integrate(read, turned, GRID, **{name: Frames.from_array(array)})


def test_a_dark_read_as_the_frames() -> None:
    turned = Geometry(1e5, (33.4, 28.1), 200, 0.3, image_transforms=(1,))
    both = integrate(
        Frames.from_array(FRAMES, image_transforms=(1,)),
        turned,
        GRID,
        dark=Frames.from_array(DARK, image_transforms=(1,)),
    )
    neither = integrate(FRAMES, turned, GRID, dark=Frames.from_array(DARK))
    np.testing.assert_allclose(both.intensity, neither.intensity, rtol=5e-7)
