"""Frames from arrays, buffers, data sets and iterators of every kind come out as they do one by one."""

from __future__ import annotations

import array
import gc
import pickle
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest
import zarr
from caked import caked_bytes

from midas import CakeGrid, Detector, FormatError, Frames, Geometry, InputError, build_map, read_frames
from midas.cake import CakedFrames, CakeMap, integrate_with_map
from midas.cake.frame_source import read_blocks

SHAPE = (21, 37)
N = 37  # no multiple of a batch
GEOMETRY = Geometry(2e5, (17.3, 10.8), pixel_size=200, wavelength=0.18, image_transforms=(3, 1))
STACK = np.random.default_rng(7).poisson(20.0, (N, *SHAPE)).astype(np.uint16)


@pytest.fixture(scope="module")
def cake_map() -> CakeMap:
    return build_map(GEOMETRY, Detector(SHAPE[::-1], 200), CakeGrid(0, 20, 2, eta_step=30))


def check(cake_map: CakeMap, found: Iterator[CakedFrames], stack: np.ndarray = STACK) -> None:
    results = list(found)
    assert len(results) == len(stack)
    for caked, frame in zip(results, stack, strict=True):
        expected = cake_map.apply(frame, variance=True)
        assert caked.intensity.shape == cake_map.shape
        assert caked_bytes(caked) == caked_bytes(expected)


class ArrayInterface:
    def __init__(self, values: np.ndarray) -> None:
        self._values = values
        self.__array_interface__ = values.__array_interface__


class HasArray:
    def __init__(self, values: np.ndarray) -> None:
        self._values = values

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        return self._values


SOURCES = {
    "numpy": lambda: STACK,
    "memoryview": lambda: memoryview(STACK),
    "array interface": lambda: ArrayInterface(STACK),
    "__array__": lambda: HasArray(STACK),
    "list": lambda: list(STACK),
    "tuple of buffers": lambda: tuple(memoryview(f) for f in STACK),
    "generator": lambda: (f for f in STACK),
    "Frames": lambda: Frames.from_array(STACK),
    "Fortran order": lambda: np.asfortranarray(STACK),
    "not contiguous": lambda: np.repeat(np.repeat(STACK, 2, 1), 3, 2)[:, ::2, ::3],
    "negative steps": lambda: STACK[:, ::-1, ::-1].copy()[:, ::-1, ::-1],
    "big-endian": lambda: STACK.astype(">u2"),
    "int64": lambda: STACK.astype(np.int64),
    "uint64": lambda: STACK.astype(np.uint64),
    "float16": lambda: STACK.astype(np.float16),
    "long double": lambda: STACK.astype(np.longdouble),
    "matrices": lambda: [np.asmatrix(f) for f in STACK],
    "masked array": lambda: np.ma.masked_array(STACK, mask=np.zeros(STACK.shape, dtype=bool)),
}


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_sources(cake_map: CakeMap, name: str, n_threads: int) -> None:
    expected = STACK.astype(np.float64) if name in ("int64", "uint64", "float16", "long double") else STACK
    check(cake_map, cake_map.apply_each(SOURCES[name](), variance=True, n_threads=n_threads), expected)
    if name == "generator":
        return
    caked = cake_map.apply(SOURCES[name](), variance=True)
    check(cake_map, (caked[i] for i in range(len(caked))), expected)


def test_read_only_arrays_stay_as_they_are(cake_map: CakeMap) -> None:
    frozen = STACK.copy()
    frozen.setflags(write=False)
    check(cake_map, cake_map.apply_each(frozen, variance=True))
    assert next(read_blocks(frozen, SHAPE, 16))[0].base is frozen  # read in place
    np.testing.assert_array_equal(frozen, STACK)


@pytest.mark.parametrize("chunk", [1, 5, 16, 37])
def test_data_sets(tmp_path: Path, cake_map: CakeMap, chunk: int) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("chunked", data=STACK, chunks=(chunk, *SHAPE), compression="gzip")
        file["whole"] = STACK
        file["one"] = STACK[0]
        for name in ("chunked", "whole"):
            check(cake_map, cake_map.apply_each(file[name], variance=True, n_threads=1))
            check(cake_map, iter([cake_map.apply(file[name], variance=True)[3]]), STACK[3:4])
        check(cake_map, cake_map.apply_each(file["one"], variance=True), STACK[:1])
    stored = zarr.create_array(store=tmp_path / "a.zarr", data=STACK, chunks=(chunk, *SHAPE))
    check(cake_map, cake_map.apply_each(stored, variance=True, n_threads=1))


def test_dask(cake_map: CakeMap) -> None:
    dask = pytest.importorskip("dask.array", reason="dask is optional; pip install dask to test with it")
    for chunks in ((1, -1, -1), (10, 9, 20), (40, -1, -1), ((7, 20, 10), 21, 37)):
        lazy = dask.from_array(STACK, chunks=chunks)
        check(cake_map, cake_map.apply_each(lazy + 0, variance=True, n_threads=1))
    check(cake_map, iter([cake_map.apply(lazy, variance=True)[3]]), STACK[3:4])


def test_one_frame_is_a_stack_of_one(cake_map: CakeMap) -> None:
    for frame in (STACK[0], memoryview(STACK[0]), [STACK[0]]):
        check(cake_map, cake_map.apply_each(frame, variance=True), STACK[:1])


def test_masked_values_are_left_out(cake_map: CakeMap) -> None:
    hot = np.zeros(STACK.shape, dtype=bool)
    hot[:, 5:9, 10:30] = True
    hidden = np.ma.masked_array(np.where(hot, 999, STACK).astype(np.uint16), mask=hot)
    expected = cake_map.apply(STACK.astype(np.float64), mask=hot[0])
    for found in (cake_map.apply(hidden), next(cake_map.apply_each(hidden))):
        np.testing.assert_allclose(
            found.intensity,
            expected.intensity[: len(found.intensity)] if found.intensity.ndim == 3 else expected.intensity[0],
            rtol=1e-6,
        )


def test_frames_of_several_dtypes(cake_map: CakeMap) -> None:
    kinds = ("uint16", "float32", "int64", "uint8")
    frames = [f.astype(kinds[i // 3 % 4]) for i, f in enumerate(STACK)]
    for caked, frame in zip(cake_map.apply_each(frames), frames, strict=True):
        np.testing.assert_array_equal(caked.intensity, cake_map.apply(frame).intensity)


def test_dark_and_mask_are_those_of_apply(cake_map: CakeMap) -> None:
    dark = np.full((3, *SHAPE), 4, dtype=np.uint16)
    mask = np.zeros(SHAPE, dtype=bool)
    mask[3:6] = True
    whole = cake_map.apply(STACK, dark=dark, mask=mask, variance=True, normalize=False)
    for i, caked in enumerate(cake_map.apply_each(STACK, dark=dark, mask=mask, variance=True, normalize=False)):
        assert caked_bytes(caked) == caked_bytes(whole[i])


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (np.zeros((0, *SHAPE)), "there is no frame"),
        ([], "there is no frame|frames have shape"),
        (np.zeros((3, 37, 21)), "rows and columns are swapped"),
        (np.zeros((2, 2, *SHAPE)), r"the frames have shape \(2, 2, 21, 37\)"),
        (np.zeros(37), r"the frames have shape \(37,\)"),
        (np.array(3.0), r"the frames have shape \(\)"),
        (array.array("d", [1.0, 2.0]), r"the frames have shape \(2,\)"),
        (b"counts", r"the frames have shape \(6,\)"),
        (np.full(SHAPE, None), "dtype object"),
        (np.full((2, *SHAPE), "7"), "dtype <U1"),
        (np.ones(SHAPE, dtype=bool), "dtype bool"),
        (np.ones(SHAPE, dtype=complex), "dtype complex128"),
        ([STACK[0], STACK[1][:20]], "frame 1|do not form one array"),
        ("scan.h5", "the frames are the name 'scan.h5'; expected arrays: read files with midas.read_frames"),
        ([Path("a.tif"), "b.tif"], "the frames are 2 names; expected arrays"),
        (None, "the frames are a NoneType"),
        (7, "the frames are a int"),
    ],
    ids=str,
)
def test_refused(cake_map: CakeMap, frames: object, message: str) -> None:
    with pytest.raises(InputError, match=message) as one:
        cake_map.apply(frames)
    with pytest.raises(InputError, match=message) as other:
        list(cake_map.apply_each(frames))
    for error in (one, other):
        assert "\n" not in str(error.value)


class Lazy:
    """A dask array whose number of frames is not known."""

    shape = (float("nan"), *SHAPE)

    def __getitem__(self, item: object) -> np.ndarray:
        raise AssertionError("nothing is to be read")


def test_a_shape_that_is_not_known(tmp_path: Path, cake_map: CakeMap) -> None:
    for use in (
        cake_map.apply_each,
        lambda frames: cake_map.apply_to_file(frames, tmp_path / "a.h5"),
        lambda frames: integrate_with_map(frames, cake_map),
    ):
        with pytest.raises(InputError, match=r"shape \(nan, 21, 37\).*compute_chunk_sizes\(\)"):
            use(Lazy())
    assert not list(tmp_path.iterdir())


def test_a_file_or_group_names_the_data_sets_in_it(tmp_path: Path, cake_map: CakeMap) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["entry/data/data"] = STACK
        file["dark"], file["energy"] = STACK[0], 80.7
        file.create_group("empty")
        for group, message in (
            (file, r"a h5py.File; expected one of its data sets: \['entry/data/data'\] \(37, 21, 37\), \['dark'\]"),
            (file["entry"], r"a h5py.Group; expected one of its data sets: \['data/data'\]"),
            (file["empty"], r"a h5py.Group without a data set of two or three axes"),
        ):
            for use in (cake_map.apply, cake_map.apply_each, lambda frames: integrate_with_map(frames, cake_map)):
                with pytest.raises(InputError, match=message):
                    use(group)
    with pytest.raises(InputError, match=r"a h5py\.File that is closed; open it"):
        cake_map.apply_each(file)
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    group.create_array("data", shape=STACK.shape, dtype="u2")
    with pytest.raises(InputError, match=r"a zarr.Group; expected one of its data sets: \['data'\]"):
        cake_map.apply_each(group)


@pytest.mark.parametrize("options", [{}, {"chunks": (1, *SHAPE), "compression": "lzf"}], ids=["whole", "chunks"])
def test_a_file_closed_too_early(tmp_path: Path, cake_map: CakeMap, options: dict[str, Any]) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        dataset = file.create_dataset("data", data=np.tile(STACK, (4, 1, 1)), **options)
        cakes = cake_map.apply_each(dataset, n_threads=1)
        next(cakes)
    with pytest.raises(InputError, match=r"frame \d+: the frames are in an HDF5 file that is closed; keep it open"):
        list(cakes)
    for use in (cake_map.apply, cake_map.apply_each, lambda frames: integrate_with_map(frames, cake_map)):
        with pytest.raises(InputError, match="the frames are in an HDF5 file that is closed; keep it open"):
            use(dataset)


def test_a_generator_goes_to_apply_each(cake_map: CakeMap) -> None:
    with pytest.raises(InputError, match="generator; expected an array; apply_each takes any iterable"):
        cake_map.apply(f for f in STACK)
    with pytest.raises(InputError, match="there is no frame"):
        list(cake_map.apply_each(f for f in STACK[:0]))


def test_what_is_wrong_is_said_before_the_first_frame(cake_map: CakeMap) -> None:
    with pytest.raises(InputError, match="swapped"):
        cake_map.apply_each(STACK.transpose(0, 2, 1))
    with pytest.raises(InputError, match="mask has shape"):
        cake_map.apply_each(STACK, mask=np.zeros((3, 3)))
    with pytest.raises(InputError, match=r"image transforms \(ImTransOpt\) of the frames are \(2,\)"):
        cake_map.apply_each(Frames.from_array(STACK, image_transforms=(2,)))
    with pytest.raises(InputError, match="the map was built for frames without image transforms applied"):
        cake_map.apply_each(Frames.from_array(STACK, image_transforms=(3, 1)))


class Broken:
    """A data set of which one frame cannot be read."""

    shape = (N, *SHAPE)

    def __init__(self, bad: int, error: Exception, chunked: bool) -> None:
        self.bad, self.error = bad, error
        if chunked:
            self.chunks = (4, *SHAPE)

    def __getitem__(self, index: int | slice) -> np.ndarray:
        if self.bad in np.atleast_1d(np.arange(N)[index]):
            raise self.error
        return STACK[index]


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("bad", [0, 1, 17, 36])
def test_the_frames_before_one_that_fails_come_out(cake_map: CakeMap, bad: int, chunked: bool) -> None:
    def broken() -> Iterator[np.ndarray]:
        yield from STACK[:bad]
        raise RuntimeError("the beam is lost")

    short = [*STACK[:bad], STACK[0][:5], *STACK[bad:]]
    cases = [
        (Broken(bad, OSError("no such chunk"), chunked), InputError, rf"frame {bad} cannot be read: OSError: no such"),
        (Broken(bad, FormatError("a.h5: it is cut short"), chunked), FormatError, rf"frame {bad}: a.h5: it is cut"),
        (broken(), InputError, rf"frame {bad} cannot be read: RuntimeError: the beam is lost"),
        (short, InputError, rf"frame {bad}: a frame has shape \(5, 37\)"),
    ]
    for source, kind, message in cases:
        results = cake_map.apply_each(source, n_threads=1)
        for i in range(bad):
            np.testing.assert_array_equal(next(results).intensity, cake_map.apply(STACK[i]).intensity)
        with pytest.raises(kind, match=message):
            next(results)


def test_reading_ahead_is_bounded(cake_map: CakeMap) -> None:
    asked = []

    class Source:
        shape = (1000, *SHAPE)
        chunks = (8, *SHAPE)

        def __getitem__(self, index: slice) -> np.ndarray:
            asked.append(index)
            return np.zeros((index.stop - index.start, *SHAPE), dtype=np.uint16)

    results = cake_map.apply_each(Source(), n_threads=1)
    for _ in range(3):
        next(results)
    assert len(asked) <= 3
    assert all(i.stop - i.start == 16 for i in asked)
    results.close()
    gc.collect()
    assert not [t for t in threading.enumerate() if t.name.startswith("midas")]


def test_an_iterator_is_not_run_ahead_of_its_block(cake_map: CakeMap) -> None:
    taken = 0

    def endless() -> Iterator[np.ndarray]:
        nonlocal taken
        while True:
            taken += 1
            yield STACK[0]

    results = cake_map.apply_each(endless(), n_threads=1)
    for _ in range(20):
        next(results)
    assert taken <= 3 * 16


def test_several_python_threads_share_a_map(cake_map: CakeMap) -> None:
    expected = cake_map.apply(STACK).intensity.tobytes()

    def run(_: int) -> bytes:
        return np.stack([c.intensity for c in cake_map.apply_each(STACK, n_threads=2)]).tobytes()

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(run, range(12))) == {expected}


def test_geometry_grid_and_map_travel(cake_map: CakeMap) -> None:
    again = pickle.loads(pickle.dumps((GEOMETRY, cake_map.grid, cake_map.detector, cake_map)))
    assert again[1] == cake_map.grid
    assert build_map(again[0], again[2], again[1]).key == cake_map.key == again[3].key
    np.testing.assert_array_equal(again[3].apply(STACK[0]).intensity, cake_map.apply(STACK[0]).intensity)


@pytest.mark.parametrize("given", [np.asarray, memoryview])
def test_a_generator_may_use_its_memory_again(cake_map: CakeMap, given: Callable[[np.ndarray], Any]) -> None:
    def frames() -> Iterator[Any]:
        buffer = np.empty(STACK.shape[1:], dtype=STACK.dtype)
        for frame in STACK:
            buffer[:] = frame
            yield given(buffer)

    found = list(cake_map.apply_each(frames()))
    assert len(found) == len(STACK)
    for caked, frame in zip(found, STACK, strict=True):
        assert caked_bytes(caked) == caked_bytes(cake_map.apply(frame))


def test_a_list_of_masked_arrays_keeps_their_masks(cake_map: CakeMap) -> None:
    masked = [np.ma.masked_greater(frame, int(frame.max()) - 2) for frame in STACK[:2]]
    together = cake_map.apply(masked)
    for i, frame in enumerate(masked):
        assert caked_bytes(together[i]) == caked_bytes(cake_map.apply(frame))
        assert caked_bytes(together[i]) != caked_bytes(cake_map.apply(frame.data))


@pytest.mark.parametrize("n", [3, 80])
def test_a_chunk_of_noise_is_refused(tmp_path: Path, cake_map: CakeMap, n: int) -> None:
    """HDF5's own filter for bitshuffle may crash on one."""
    path = tmp_path / "noise.h5"
    stack = np.resize(STACK, (n, *SHAPE))
    with h5py.File(path, "w") as file:
        made = file.create_dataset("exchange/data", data=stack, chunks=(1, *SHAPE), **hdf5plugin.Bitshuffle())
        place = made.id.get_chunk_info(2)
    content = bytearray(path.read_bytes())
    content[place.byte_offset + 16 : place.byte_offset + place.size] = np.random.default_rng(5).bytes(place.size - 16)
    path.write_bytes(content)
    with h5py.File(path, locking=False) as file, read_frames(path) as frames:
        for source in (file["exchange/data"], frames):
            found = cake_map.apply_each(source)
            for i in range(2):
                assert caked_bytes(next(found)) == caked_bytes(cake_map.apply(stack[i]))
            with pytest.raises(FormatError, match="frame 2"):
                next(found)
        with pytest.raises(FormatError, match="frame 2"):
            _ = frames[2]
        assert frames[1].tobytes() == stack[1].tobytes()
