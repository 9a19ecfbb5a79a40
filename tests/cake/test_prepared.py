"""What frames become: cakes that own what they hold, stacks that slice, areas that add up in one order."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest

from midas import CakeGrid, Detector, Geometry, InputError, build_map, read_frames
from midas.cake import CakeMap
from midas.cake.pixels import FrameInput

SHAPE = (43, 67)
N = 20
GEOMETRY = Geometry(2e5, (30.3, 20.8), pixel_size=200, wavelength=0.18)


def make_map() -> CakeMap:
    return build_map(GEOMETRY, Detector(SHAPE, 200), CakeGrid(0, 35, 2, eta_step=30))


@pytest.fixture(scope="module")
def cake_map() -> CakeMap:
    return make_map()


@pytest.fixture(scope="module")
def stack() -> np.ndarray:
    """Return frames, some with pixels of their own that are no counts."""
    data = np.random.default_rng(7).poisson(20.0, (N, *SHAPE)).astype(np.uint16)
    data[3::4, 20:23] = 65535
    data[5] = 65535
    return data


def test_a_kept_cake_does_not_keep_the_map(stack: np.ndarray) -> None:
    prepared = make_map().prepare(FrameInput())
    core = weakref.ref(prepared)
    caked = prepared.apply(stack)
    held = [caked.valid.area, caked.valid.pixels]
    for values in held:
        while isinstance(values, np.ndarray):
            assert not values.flags.writeable
            base = values.base
            if base is None:
                break
            values = base
        assert isinstance(values, np.ndarray)  # no object of the core
    assert prepared.apply(stack[:1]).valid.area is caked.valid.area
    del prepared
    gc.collect()
    assert core() is None


def test_one_frame_is_no_stack(cake_map: CakeMap, stack: np.ndarray) -> None:
    caked = cake_map.apply(stack[0])
    for wrong in (lambda: len(caked), lambda: caked[0], lambda: caked[:1], lambda: list(caked)):
        with pytest.raises(TypeError, match="the cakes of one frame, not of a stack"):
            wrong()
    assert len(cake_map.apply(stack[:1])) == 1


@pytest.mark.parametrize("filters", [hdf5plugin.Bitshuffle(cname="lz4"), {"compression": "gzip"}])
def test_packed_frames_of_another_shape_are_refused(tmp_path: Path, cake_map: CakeMap, filters: dict) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("exchange/data", data=np.ones((3, *SHAPE[::-1]), "u2"), chunks=(1, *SHAPE[::-1]), **filters)
    with read_frames(tmp_path / "a.h5") as frames:
        packed = frames.packed(0, 3)
    assert packed is not None
    prepared = cake_map.prepare(FrameInput())
    with pytest.raises(InputError, match="rows and columns are swapped"):
        prepared.apply(packed)
    with pytest.raises(InputError, match="there is no frame"):
        prepared.apply(replace(packed, chunks=(), shape=SHAPE))


@pytest.mark.parametrize("step", [1, 7, N])
def test_areas_and_pixels_add_up_frame_by_frame(cake_map: CakeMap, stack: np.ndarray, step: int) -> None:
    caked = cake_map.apply(stack)
    assert len(caked.valid.own_frame)
    expected = np.zeros(cake_map.shape)
    for area in caked.bin_area:
        expected += area
    total, pixels = np.zeros(cake_map.shape), np.zeros(cake_map.shape)
    for first in range(0, N, step):
        caked.valid[first : first + step].add_areas_to(total)
        caked.valid[first : first + step].add_pixels_to(pixels)
    assert total.tobytes() == expected.tobytes()
    np.testing.assert_array_equal(pixels, caked.bin_pixels.sum(axis=0))
    assert (pixels < N * cake_map.bin_pixels).any()


def test_slices_of_a_stack(cake_map: CakeMap, stack: np.ndarray) -> None:
    caked = cake_map.apply(stack)
    for chosen in (slice(None, None, -1), slice(17, 2, -3), slice(2, 17, 3), slice(4, 4)):
        part = caked[chosen]
        np.testing.assert_array_equal(part.bin_area, caked.bin_area[chosen])
        np.testing.assert_array_equal(part.bin_pixels, caked.bin_pixels[chosen])
        assert (np.diff(part.valid.own_frame) >= 0).all()
        total = np.zeros(cake_map.shape)
        part.valid.add_areas_to(total)
        np.testing.assert_allclose(total, part.bin_area.sum(axis=0), rtol=1e-14)


@pytest.mark.parametrize("name", ["variance", "normalize", "negative_counts"])
def test_what_is_neither_true_nor_false_is_refused(cake_map: CakeMap, stack: np.ndarray, name: str) -> None:
    with pytest.raises(InputError, match=f"^{name} is 'x'; expected True or False$"):
        cake_map.apply(stack, **{name: "x"})


def test_cakes_are_shown_in_a_line(cake_map: CakeMap, stack: np.ndarray) -> None:
    n_radius, n_eta = cake_map.shape
    bins = f"{n_radius} radius x {n_eta} eta bins, float64"
    assert repr(cake_map.apply(stack, variance=True)) == f"CakedFrames({N} frames, {bins}, with variance)"
    assert repr(cake_map.apply(stack[0])) == f"CakedFrames(1 frame, {bins}, without variance)"
