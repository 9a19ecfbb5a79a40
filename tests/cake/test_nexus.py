"""Cakes written as they come are those of `apply`, read back with h5py; the file is whole or not there.

The tests of memory by tracemalloc see what Python and numpy allocate: neither the core's work space nor results that it
uses again, which that of the whole process sees.
"""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest
from memory import peak_memory

from midas import CakeGrid, Detector, FormatError, Geometry, InputError, OutputError, build_map, read_frames
from midas.cake import CakeMap

SHAPE = (43, 67)
N = 70
GEOMETRY = Geometry(2e5, (30.3, 20.8), pixel_size=200, wavelength=0.18, tilts=(0.0, 0.4, -0.2))
STACK = np.random.default_rng(7).poisson(20.0, (N, *SHAPE)).astype(np.uint16)


@pytest.fixture(scope="module")
def cake_map() -> CakeMap:
    return build_map(GEOMETRY, Detector(SHAPE, 200), CakeGrid(0, 60, 2, eta_step=30))


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("exchange/data", data=STACK, chunks=(1, *SHAPE), **hdf5plugin.Bitshuffle(cname="lz4"))
    return tmp_path / "a.h5"


@pytest.mark.parametrize("n_threads", [1, 2])
def test_what_is_written(tmp_path: Path, stored: Path, cake_map: CakeMap, n_threads: int) -> None:
    dark = np.full(SHAPE, 3.0)
    with read_frames(stored) as frames:
        path = cake_map.apply_to_file(frames, tmp_path / "b.h5", dark=dark, variance=True, n_threads=n_threads)
    expected = cake_map.apply(STACK, dark=dark, variance=True)
    assert expected.variance is not None
    with h5py.File(path) as file:
        cake = file["entry/cake"]
        np.testing.assert_array_equal(cake["intensity"][()], expected.intensity.astype(np.float32))
        np.testing.assert_allclose(cake["sigma"][()], np.sqrt(expected.variance), rtol=2e-7)  # single precision
        assert cake["intensity_errors"] == cake["sigma"]
        np.testing.assert_allclose(cake["bin_area"][()], expected.bin_area[0], rtol=1e-14)
        assert np.isnan(cake["intensity"][()][expected.bin_area == 0.0]).all()
        assert (expected.bin_area == 0.0).any()
        assert cake["frame"][:].tolist() == list(range(N))
        np.testing.assert_array_equal(cake["radius"], cake_map.grid.radius_centers(GEOMETRY))
        np.testing.assert_allclose(cake["two_theta"], GEOMETRY.two_theta_of(cake["radius"][:]))
        q = 4.0 * np.pi * np.sin(np.radians(cake["two_theta"][:]) / 2.0) / GEOMETRY.wavelength
        np.testing.assert_allclose(cake["q"], q)
        np.testing.assert_array_equal(cake["eta"], cake_map.grid.eta_centers)
        assert cake["two_theta_edges"].shape == (31,)
        assert [cake[name].attrs["units"] for name in ("intensity", "radius", "two_theta", "q", "eta", "bin_area")] == [
            "counts/pixel^2",
            "pixel",
            "deg",
            "1/angstrom",
            "deg",
            "pixel^2",
        ]
        assert json.loads(cake.attrs["geometry"])["tilts"] == [0.0, 0.4, -0.2]
        assert cake.attrs["source"] == str(stored)
        # What a NeXus reader follows to the picture.
        entry = file[file.attrs["default"]]
        data = entry[entry.attrs["default"]]
        assert (file.attrs["NX_class"], entry.attrs["NX_class"], data.attrs["NX_class"]) == (
            "NXroot",
            "NXentry",
            "NXdata",
        )
        axes = [data[name] for name in data.attrs["axes"]]
        assert data[data.attrs["signal"]].shape == tuple(len(axis) for axis in axes)


def test_bytes_do_not_depend_on_threads_or_source(tmp_path: Path, stored: Path, cake_map: CakeMap) -> None:
    found = []
    with read_frames(stored) as frames:
        for source, n_threads in ((frames, 1), (frames, 2), (frames, 7), (STACK, 3), (iter(STACK), 2)):
            path = cake_map.apply_to_file(source, tmp_path / "b.h5", variance=True, n_threads=n_threads)
            with h5py.File(path) as file:
                cake = file["entry/cake"]
                found.append([cake[name][()].tobytes() for name in ("intensity", "sigma", "bin_area")])
    assert all(one == found[0] for one in found)


def test_frames_that_differ_and_sums(tmp_path: Path, cake_map: CakeMap) -> None:
    data = STACK.copy()
    data[::2, 20:23] = 65535
    path = cake_map.apply_to_file(data, tmp_path / "b.h5", normalize=False)
    expected = cake_map.apply(data, normalize=False)
    with h5py.File(path) as file:
        cake = file["entry/cake"]
        np.testing.assert_array_equal(cake["intensity"][()], expected.intensity.astype(np.float32))
        np.testing.assert_allclose(cake["bin_area"][()], expected.bin_area.mean(axis=0), rtol=1e-12)
        np.testing.assert_array_equal(cake["bin_pixels"][()], expected.bin_pixels.sum(axis=0) / len(expected))
        assert cake["intensity"].attrs["units"] == "counts"
        assert "sigma" not in cake


def left_over(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_nothing_is_left_of_a_file_that_failed(tmp_path: Path, stored: Path, cake_map: CakeMap) -> None:
    with h5py.File(stored) as file:
        info = file["exchange/data"].id.get_chunk_info_by_coord((50, 0, 0))
    raw = bytearray(stored.read_bytes())
    raw[info.byte_offset + 20 : info.byte_offset + info.size] = b"\xff" * (info.size - 20)
    stored.write_bytes(raw)
    (tmp_path / "b.h5").write_text("as it was")
    with read_frames(stored) as frames, pytest.raises(FormatError, match="frame 50 cannot be read"):
        cake_map.apply_to_file(frames, tmp_path / "b.h5", n_threads=2)
    assert (tmp_path / "b.h5").read_text() == "as it was"
    with pytest.raises(InputError, match="there is no frame"):
        cake_map.apply_to_file(iter([]), tmp_path / "b.h5")
    with pytest.raises(InputError, match="no bin holds a valid pixel"):
        cake_map.apply_to_file(np.full((3, *SHAPE), 65535, np.uint16), tmp_path / "b.h5")
    assert left_over(tmp_path) == ["a.h5", "b.h5"]


def test_targets_that_cannot_be(tmp_path: Path, stored: Path, cake_map: CakeMap) -> None:
    before = stored.read_bytes()
    with read_frames(stored) as frames:
        with pytest.raises(InputError, match="one of the files that are read"):
            cake_map.apply_to_file(frames, stored)
        with pytest.raises(OutputError, match="its folder does not exist"):
            cake_map.apply_to_file(frames, tmp_path / "none" / "b.h5")
    with h5py.File(stored) as file, pytest.raises(InputError, match="one of the files that are read"):
        cake_map.apply_to_file(file["exchange/data"], str(stored))
    assert stored.read_bytes() == before


@pytest.mark.parametrize("kind", ["linked", "virtual", "raw"])
def test_files_that_a_master_refers_to_are_kept(tmp_path: Path, stored: Path, cake_map: CakeMap, kind: str) -> None:
    if kind == "raw":
        stored = tmp_path / "a.raw"
        STACK.tofile(stored)
    (tmp_path / "in").mkdir()
    with h5py.File(tmp_path / "m.h5", "w") as file:
        if kind == "linked":
            file["entry/data/data_000001"] = h5py.ExternalLink(stored.name, "exchange/data")
        elif kind == "virtual":
            layout = h5py.VirtualLayout(STACK.shape, STACK.dtype)
            layout[:] = h5py.VirtualSource(stored.name, "exchange/data", STACK.shape)
            file.create_virtual_dataset("entry/data/data_000001", layout)
        else:
            external = [(str(stored), 0, h5py.h5f.UNLIMITED)]
            file.create_dataset("entry/data/data_000001", STACK.shape, STACK.dtype, external=external)
    before = stored.read_bytes()
    target = tmp_path / "in" / ".." / stored.name
    with read_frames(tmp_path / "m.h5") as frames:
        assert {p.resolve() for p in frames.files} == {tmp_path.resolve() / "m.h5", stored.resolve()}
        with pytest.raises(InputError, match="one of the files that are read"):
            cake_map.apply_to_file(frames, target)
        path = cake_map.apply_to_file(frames, tmp_path / "b.h5")
    with h5py.File(tmp_path / "m.h5", locking=False) as file:  # as read_frames opens those that it links to
        dataset = file["entry/data/data_000001"]
        with pytest.raises(InputError, match="one of the files that are read"):
            cake_map.apply_to_file(dataset, target)
    assert stored.read_bytes() == before
    with h5py.File(path) as file:
        assert file["entry/cake"].attrs["source"] == str(tmp_path / "m.h5")


def test_a_name_inside_an_archive_is_no_file(tmp_path: Path, cake_map: CakeMap) -> None:
    class Named(np.ndarray):
        path = "exchange/data"  # as arrays of zarr have it

    with h5py.File(cake_map.apply_to_file(STACK.view(Named), tmp_path / "b.h5")) as file:
        assert "source" not in file["entry/cake"].attrs


def test_memory_does_not_grow_with_the_stack(tmp_path: Path, cake_map: CakeMap) -> None:
    def frames(n: int) -> Iterator[np.ndarray]:
        for k in range(n):
            yield STACK[k % N]

    peaks = []
    for n in (200, 2000):
        tracemalloc.start()
        cake_map.apply_to_file(frames(n), tmp_path / "b.h5", n_threads=2)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]


APPLY = """
import sys
from pathlib import Path
from midas import CakeGrid, Detector, Geometry, build_map, read_frames
detector, grid = Detector((64, 64), 200), CakeGrid(2, 40, 0.05, eta_step=10)
cake_map = build_map(Geometry(2e5, (30.3, 30.8), pixel_size=200, wavelength=0.18), detector, grid)
with read_frames(sys.argv[1]) as frames:
    source = frames if sys.argv[2] == "frames" else (frame for frame in frames)
    cake_map.apply_to_file(source, sys.argv[3], variance=True, n_threads=2)
"""


@pytest.mark.parametrize("source", ["frames", "generator"])
def test_memory_of_the_process_does_not_grow(tmp_path: Path, source: str) -> None:
    """A frame's cake has 109 kB here and its variance as much: 400 in memory would be 88 MB."""
    peaks = []
    for n in (40, 440):
        with h5py.File(tmp_path / "s.h5", "w") as file:
            made = file.create_dataset(
                "exchange/data", (n, 64, 64), "u2", chunks=(1, 64, 64), **hdf5plugin.Bitshuffle(cname="lz4")
            )
            made[:] = np.random.default_rng(7).poisson(20.0, (n, 64, 64))
        peaks.append(peak_memory(APPLY, tmp_path / "s.h5", source, tmp_path / "b.h5"))
    assert peaks[1] - peaks[0] < 40.0  # MB


def test_memory_of_packed_frames_does_not_grow(tmp_path: Path, cake_map: CakeMap) -> None:
    for n in (200, 2000):
        with h5py.File(tmp_path / f"{n}.h5", "w") as file:
            made = file.create_dataset(
                "exchange/data", (n, *SHAPE), "u2", chunks=(1, *SHAPE), **hdf5plugin.Bitshuffle(cname="lz4")
            )
            made[0] = STACK[0]
            chunk = made.id.read_direct_chunk((0, 0, 0))[1]
            for i in range(1, n):
                made.id.write_direct_chunk((i, 0, 0), chunk)
        with read_frames(tmp_path / f"{n}.h5") as opened:
            tracemalloc.start()
            cake_map.apply_to_file(opened, tmp_path / "b.h5", n_threads=2)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < 1e6  # 2000 frames have 11.5 MB
