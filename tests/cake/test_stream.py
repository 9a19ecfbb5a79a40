"""Compressed stacks caked batch by batch give what their frames give, whatever is damaged or missing."""

from __future__ import annotations

import threading
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest
from caked import caked_bytes

from midas import CakeGrid, Detector, FormatError, Geometry, InputError, build_map, read_frames
from midas.cake import CakeMap, IntegrationOptions, integrate_with_map
from midas.cake.robust import RobustOptions

SHAPE = (43, 67)
N = 75  # no multiple of a batch
GEOMETRY = Geometry(2e5, (30.3, 20.8), pixel_size=200, wavelength=0.18)
BITSHUFFLE = dict(hdf5plugin.Bitshuffle(nelems=128, cname="lz4"))
FILTERS = {
    "bitshuffle": BITSHUFFLE,
    "LZ4": dict(hdf5plugin.LZ4()),
    "Blosc": dict(hdf5plugin.Blosc()),
    "gzip": {"compression": "gzip", "shuffle": True},
    "none": {},
    "zstd": dict(hdf5plugin.Zstd()),
}


def stack(dtype: str) -> np.ndarray:
    data = np.random.default_rng(7).poisson(20.0, (N, *SHAPE)).astype(dtype)
    if data.dtype.kind in "ui":
        data[5::7, 3, 4] = np.iinfo(dtype).max  # no count in these frames
    return data


def write(path: Path, data: np.ndarray, **filters: object) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset("exchange/data", data=data, chunks=(1, *data.shape[1:]), **filters)
    return path


@pytest.fixture(scope="module")
def cake_map() -> CakeMap:
    return build_map(GEOMETRY, Detector(SHAPE, 200), CakeGrid(0, 35, 2, eta_step=30))


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("n_threads", [1, 2, 7])
def test_cakes_are_those_of_the_frames(tmp_path: Path, cake_map: CakeMap, name: str, n_threads: int) -> None:
    data = stack("uint16")
    expected = cake_map.apply(data, variance=True)
    with read_frames(write(tmp_path / "a.h5", data, **FILTERS[name])) as frames:
        found = list(cake_map.apply_each(frames, variance=True, n_threads=n_threads))
    assert len(found) == N
    for i, caked in enumerate(found):
        assert caked_bytes(caked) == caked_bytes(expected[i])


@pytest.mark.parametrize("dtype", ["uint8", "uint32", "int16", "int32", "float32", "float64", "int64", "float16"])
def test_every_type_of_pixel(tmp_path: Path, cake_map: CakeMap, dtype: str) -> None:
    data = stack(dtype)
    with h5py.File(write(tmp_path / "a.h5", data, **BITSHUFFLE)) as file:
        found = list(cake_map.apply_each(file["exchange/data"], n_threads=2))
    for caked, expected in zip(found, cake_map.apply(data).intensity, strict=True):
        np.testing.assert_array_equal(caked.intensity, expected)


@pytest.mark.parametrize("frames_per_sum", [1, 10, N])
def test_sums_do_not_depend_on_the_source_or_the_threads(
    tmp_path: Path, cake_map: CakeMap, frames_per_sum: int
) -> None:
    data = stack("uint16")
    options = IntegrationOptions(frames_per_sum=frames_per_sum)
    expected = integrate_with_map(data, cake_map, options=options, n_threads=1)
    with read_frames(write(tmp_path / "a.h5", data, **BITSHUFFLE)) as frames:
        for source, n_threads in ((data, 3), (frames, 1), (frames, 2), (frames, 7)):
            found = integrate_with_map(source, cake_map, options=options, n_threads=n_threads)
            for name in ("intensity", "sigma", "bin_area"):
                assert getattr(found, name).tobytes() == getattr(expected, name).tobytes()


def test_robust_statistics_and_warnings(tmp_path: Path, cake_map: CakeMap) -> None:
    data = stack("float32")
    data[0, :20] = -1.0
    options = IntegrationOptions(robust=RobustOptions("median"))
    cakes = []
    with read_frames(write(tmp_path / "a.h5", data, **BITSHUFFLE)) as frames:
        for source in (frames, data):
            with pytest.warns(UserWarning, match="of the first frame are negative") as warned:
                cakes.append(integrate_with_map(source, cake_map, options=options, n_threads=2))
            assert [w.filename for w in warned] == [__file__]
    np.testing.assert_array_equal(cakes[0].intensity, cakes[1].intensity)


def damage(path: Path, number: int) -> None:
    """Overwrite the middle of a frame's chunk."""
    with h5py.File(path) as file:
        info = file["exchange/data"].id.get_chunk_info_by_coord((number, 0, 0))
    raw = bytearray(path.read_bytes())
    middle = info.byte_offset + info.size // 2
    raw[middle : middle + info.size // 4] = b"\xff" * (info.size // 4)
    path.write_bytes(raw)


@pytest.mark.parametrize("name", ["bitshuffle", "LZ4", "gzip"])
@pytest.mark.parametrize("number", [0, 20, 33, N - 1])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_frames_before_a_damaged_one_come_first(
    tmp_path: Path, cake_map: CakeMap, name: str, number: int, n_threads: int
) -> None:
    data = stack("uint16")
    path = write(tmp_path / "a.h5", data, **FILTERS[name])
    damage(path, number)
    found = []
    with read_frames(path) as frames, pytest.raises(FormatError, match=f"frame {number} cannot be read"):
        found.extend(cake_map.apply_each(frames, n_threads=n_threads))
    assert len(found) == number
    for caked, expected in zip(found, cake_map.apply(data).intensity, strict=False):
        np.testing.assert_array_equal(caked.intensity, expected)


def test_chunks_never_written_that_a_fill_value_marks_are_no_counts(tmp_path: Path, cake_map: CakeMap) -> None:
    data = stack("uint16")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        made = file.create_dataset("exchange/data", data.shape, "u2", chunks=(1, *SHAPE), fillvalue=65535, **BITSHUFFLE)
        for i in range(0, N, 2):
            made[i] = data[i]
    data[1::2] = 65535
    with read_frames(tmp_path / "a.h5") as frames:
        found = list(cake_map.apply_each(frames, n_threads=2))
    for caked, expected in zip(found, cake_map.apply(data).intensity, strict=True):
        np.testing.assert_array_equal(caked.intensity, expected)


def test_numbered_data_sets_are_one_stack(tmp_path: Path, cake_map: CakeMap) -> None:
    data = stack("uint16")
    with h5py.File(tmp_path / "m.h5", "w") as file:
        for k, part in enumerate(np.split(data, [30, 41]), 1):
            file.create_dataset(f"entry/data/data_{k:06d}", data=part, chunks=(1, *SHAPE), **BITSHUFFLE)
    with read_frames(tmp_path / "m.h5", skip_frames=3) as frames:
        found = list(cake_map.apply_each(frames, n_threads=2))
    for caked, expected in zip(found, cake_map.apply(data[3:]).intensity, strict=True):
        np.testing.assert_array_equal(caked.intensity, expected)


def test_threads_end_with_the_iterator(tmp_path: Path, cake_map: CakeMap) -> None:
    with read_frames(write(tmp_path / "a.h5", stack("uint16"), **BITSHUFFLE)) as frames:
        cakes = cake_map.apply_each(frames, n_threads=2)
        next(cakes)
        cakes.close()  # type: ignore[attr-defined]
    assert not [t for t in threading.enumerate() if t.name.startswith("midas")]


@pytest.mark.parametrize("packed", [True, False])
def test_threads_end_with_an_error_of_the_caller(tmp_path: Path, cake_map: CakeMap, packed: bool) -> None:
    def stop(done: int, n: int) -> None:
        raise RuntimeError(f"stopped at {done} of {n}")

    data = stack("uint16")
    with read_frames(write(tmp_path / "a.h5", data, **BITSHUFFLE)) as frames, pytest.raises(RuntimeError) as kept:
        integrate_with_map(frames if packed else data, cake_map, options=IntegrationOptions(progress=stop), n_threads=2)
    assert kept.value.__traceback__ is not None  # which holds the frames of the call
    assert not [t for t in threading.enumerate() if t.name.startswith("midas")]


@pytest.mark.parametrize("filtered", [True, False])
def test_a_first_frame_that_hdf5_must_read_is_looked_at(tmp_path: Path, cake_map: CakeMap, filtered: bool) -> None:
    data = stack("float32")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        made = file.create_dataset("exchange/data", data.shape, "f4", chunks=(1, *SHAPE), fillvalue=-1, **BITSHUFFLE)
        made[1:] = data[1:]
        if not filtered:
            made.id.write_direct_chunk((0, 0, 0), np.full(SHAPE, -1, "f4").tobytes(), filter_mask=1)
    with read_frames(tmp_path / "a.h5") as frames, pytest.warns(UserWarning, match="100 % of the pixels of the first"):
        integrate_with_map(frames, cake_map, n_threads=2)


def test_another_shape_is_refused_at_once(tmp_path: Path, cake_map: CakeMap) -> None:
    data = stack("uint16")[:, :-1]
    with read_frames(write(tmp_path / "a.h5", data, **BITSHUFFLE)) as frames, pytest.raises(InputError, match="shape"):
        cake_map.apply_each(frames, n_threads=2)
