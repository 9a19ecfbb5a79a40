"""Chunks unpacked by us are what HDF5 unpacks; what cannot be unpacked is left to HDF5."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import replace
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest

from midas import _core, read_frames
from midas.errors import FormatError, InputError
from midas.io import hdf5_chunks, tree_formats


def write(
    path: Path, data: np.ndarray, chunks: tuple[int, ...] | None = None, *, chunked: bool = False, **options: object
) -> Path:
    filters = options if options or chunked else dict(hdf5plugin.Bitshuffle(cname="lz4"))
    with h5py.File(path, "w") as file:
        file.create_dataset("exchange/data", data=data, chunks=chunks or (1, *data.shape[1:]), **filters)
    return path


def counts(shape: tuple[int, ...], dtype: str, seed: int = 7) -> np.ndarray:
    data = np.random.default_rng(seed).poisson(9.0, shape).astype(dtype)
    data[..., 0, 0] = np.iinfo(dtype).max if np.dtype(dtype).kind in "ui" else -1.5
    return data


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "int32", "float32", "float64"])
@pytest.mark.parametrize("shape", [(5, 61, 47), (3, 1, 5), (3, 8, 8), (4, 130, 257)])
@pytest.mark.parametrize("nelems", [0, 8, 1024, 100000 - 100000 % 8])
def test_frames_are_those_that_hdf5_reads(
    tmp_path: Path, dtype: str, shape: tuple[int, int, int], nelems: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = counts(shape, dtype)
    path = write(tmp_path / "a.h5", data, **hdf5plugin.Bitshuffle(nelems=nelems, cname="lz4"))
    monkeypatch.setattr(tree_formats.Hdf5Source, "read", lambda *_: pytest.fail("read one by one"))
    with read_frames(path) as frames:
        stack = frames[1:]
    assert stack.dtype == data.dtype
    np.testing.assert_array_equal(stack, data[1:])


@pytest.mark.parametrize("n_threads", [1, 2, 7])
def test_any_number_of_threads(tmp_path: Path, n_threads: int) -> None:
    data = counts((9, 40, 50), "uint16")
    with h5py.File(write(tmp_path / "a.h5", data)) as file:
        stack = hdf5_chunks.ChunkedStack.of([file["exchange/data"]])
        assert stack is not None
        read = stack.unpack(2, 9, n_threads=n_threads)
    np.testing.assert_array_equal(read, data[2:])


@pytest.mark.parametrize("n_threads", [-1, 0])
def test_all_threads(tmp_path: Path, n_threads: int) -> None:
    data = counts((9, 40, 50), "uint16")
    with read_frames(write(tmp_path / "a.h5", data, compression="gzip")) as frames:
        np.testing.assert_array_equal(frames.several(0, 9, n_threads=n_threads), data)


def test_frames_of_other_filters_are_unpacked_by_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = counts((9, 40, 50), "uint16")
    with read_frames(write(tmp_path / "a.h5", data, compression="gzip")) as frames:
        given = frames.packed(2, 9)
    assert given is not None
    seen = []
    decode = hdf5_chunks.PackedFrames._decode
    monkeypatch.setattr(
        hdf5_chunks.PackedFrames,
        "_decode",
        lambda *arguments: (seen.append(threading.current_thread().name), decode(*arguments))[1],
    )
    for n_threads in (1, 3):
        np.testing.assert_array_equal(np.stack(given.frames(n_threads=n_threads)), data[2:])
    assert seen[:7] == [threading.current_thread().name] * 7
    assert all(name.startswith("midas chunks") for name in seen[7:])


def test_transforms_are_applied(tmp_path: Path) -> None:
    data = counts((3, 20, 30), "uint16")
    path = write(tmp_path / "a.h5", data)
    with read_frames(path, image_transforms=[3, 1]) as frames:
        np.testing.assert_array_equal(frames[:], np.stack([frames[i] for i in range(3)]))


FILTERS = {
    "none": {},
    "gzip": {"compression": "gzip"},
    "shuffle": {"shuffle": True},
    "shuffle, gzip": {"shuffle": True, "compression": "gzip"},
    "LZ4": dict(hdf5plugin.LZ4()),
    "LZ4 in blocks": dict(hdf5plugin.LZ4(nbytes=1000)),
    "Blosc": dict(hdf5plugin.Blosc()),
    "Blosc LZ4, bits": dict(hdf5plugin.Blosc(cname="lz4", shuffle=hdf5plugin.Blosc.BITSHUFFLE)),
}


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "float64"])
@pytest.mark.parametrize("n_threads", [1, 3])
def test_other_filters(tmp_path: Path, name: str, dtype: str, n_threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data = counts((5, 61, 47), dtype)
    data[:, :20] = 0
    if name.startswith("LZ4"):  # has a mark for blocks that it cannot make smaller; others leave the frame as it is
        data[3] = np.random.default_rng(3).integers(0, 255, (61, 47))
    path = write(tmp_path / "a.h5", data, (1, 61, 47), chunked=True, **FILTERS[name])
    monkeypatch.setattr(tree_formats.Hdf5Source, "read", lambda *_: pytest.fail("read one by one"))
    with read_frames(path) as frames:
        np.testing.assert_array_equal(frames.several(1, 5, n_threads=n_threads), data[1:])


@pytest.mark.parametrize("name", FILTERS)
def test_damage_to_other_filters_is_refused(tmp_path: Path, name: str) -> None:
    data = counts((1, 31, 33), "uint16")
    with h5py.File(write(tmp_path / "a.h5", data, chunked=True, **FILTERS[name])) as file:
        stack = hdf5_chunks.ChunkedStack.of([file["exchange/data"]])
        assert stack is not None
        packed = stack.read(0, 1)
    assert packed is not None
    whole = packed.chunks[0]
    np.testing.assert_array_equal(packed.unpack(), data)
    rng = np.random.default_rng(3)
    for size in range(0, len(whole), 7):
        with pytest.raises(FormatError, match="compressed chunk 0"):
            replace(packed, chunks=(whole[:size],)).unpack()
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[int(rng.integers(len(whole)))] = int(rng.integers(256))
        with contextlib.suppress(FormatError):
            replace(packed, chunks=(bytes(damaged),)).unpack()


@pytest.mark.parametrize(
    ("chunks", "filters"),
    [
        ((2, 20, 30), dict(hdf5plugin.Bitshuffle(cname="lz4"))),
        ((1, 10, 30), dict(hdf5plugin.Bitshuffle(cname="lz4"))),
        ((1, 20, 30), dict(hdf5plugin.Bitshuffle(cname="zstd"))),
        ((1, 20, 30), dict(hdf5plugin.Zstd())),
        ((1, 20, 30), {"compression": "lzf"}),
        ((1, 20, 30), {"compression": "gzip", "fletcher32": True}),
    ],
)
def test_other_chunks_and_filters_are_left_to_hdf5(
    tmp_path: Path, chunks: tuple[int, ...], filters: dict[str, object]
) -> None:
    data = counts((4, 20, 30), "uint16")
    path = write(tmp_path / "a.h5", data, chunks, **filters)
    with h5py.File(path) as file:
        assert hdf5_chunks.ChunkedStack.of([file["exchange/data"]]) is None
    with read_frames(path) as frames:
        np.testing.assert_array_equal(frames[:], data)


def test_big_endian_virtual_and_missing_chunks_are_left_to_hdf5(tmp_path: Path) -> None:
    data = counts((4, 20, 30), "uint16")
    write(tmp_path / "big.h5", data.astype(">u2"))
    source = write(tmp_path / "a.h5", data)
    with h5py.File(tmp_path / "virtual.h5", "w") as file:
        layout = h5py.VirtualLayout(data.shape, data.dtype)
        layout[:] = h5py.VirtualSource(source, "exchange/data", data.shape)
        file.create_virtual_dataset("exchange/data", layout)
    for name in ("big.h5", "virtual.h5"):
        with read_frames(tmp_path / name) as frames:
            np.testing.assert_array_equal(frames[:], data)
    with h5py.File(tmp_path / "part.h5", "w") as file:
        made = file.create_dataset(
            "exchange/data", data.shape, "u2", chunks=(1, 20, 30), fillvalue=3, **hdf5plugin.Bitshuffle(cname="lz4")
        )
        made[1] = data[1]
    with h5py.File(tmp_path / "part.h5") as file:
        stack = hdf5_chunks.ChunkedStack.of([file["exchange/data"]])
        assert stack is not None
        assert stack.unpack(0, 4) is None
        np.testing.assert_array_equal(stack.unpack(1, 2), data[1:2])


def test_without_lz4_hdf5_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5_chunks, "lz4_address", lambda: 0)
    data = counts((3, 20, 30), "uint16")
    with read_frames(write(tmp_path / "a.h5", data)) as frames:
        np.testing.assert_array_equal(frames[:], data)


def test_a_damaged_chunk_is_named_by_its_frame(tmp_path: Path) -> None:
    data = counts((4, 64, 64), "uint16")
    path = write(tmp_path / "a.h5", data)
    with h5py.File(path) as file:
        info = file["exchange/data"].id.get_chunk_info_by_coord((2, 0, 0))
    raw = bytearray(path.read_bytes())
    raw[info.byte_offset + 16 : info.byte_offset + info.size] = b"\xff" * (info.size - 16)
    path.write_bytes(raw)
    with (
        read_frames(path) as frames,
        pytest.raises(FormatError, match=r"frame 2 cannot be read: .* a chunk holds a block .*copy the file"),
    ):
        _ = frames[:]


def packed(tmp_path: Path, data: np.ndarray) -> bytes:
    with h5py.File(write(tmp_path / "p.h5", data[None])) as file:
        return bytes(file["exchange/data"].id.read_direct_chunk((0, 0, 0))[1])


def test_no_byte_of_a_chunk_can_do_harm(tmp_path: Path) -> None:
    data = counts((31, 33), "uint16")
    whole = packed(tmp_path, data)
    rng = np.random.default_rng(3)
    address = hdf5_chunks.lz4_address()
    out = np.empty((1, 31, 33), dtype=np.uint16)
    _core.unpack_bitshuffle_lz4([whole], out, address)
    np.testing.assert_array_equal(out[0], data)
    refused = 0
    for k in range(len(whole) + 400):
        damaged = bytearray(whole)
        if k < len(whole):
            damaged = damaged[:k]
        else:
            damaged[int(rng.integers(len(whole)))] = int(rng.integers(256))
        try:
            _core.unpack_bitshuffle_lz4([bytes(damaged)], out, address)
        except FormatError:
            refused += 1
    assert refused >= len(whole)


def test_arrays_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    chunk = packed(tmp_path, counts((31, 33), "uint16"))
    address = hdf5_chunks.lz4_address()
    with pytest.raises(FormatError, match=r"unpacks to 2046 bytes; expected 2048"):
        _core.unpack_bitshuffle_lz4([chunk], np.empty((1, 32, 32), dtype=np.uint16), address)
    with pytest.raises(InputError, match="2 chunks"):
        _core.unpack_bitshuffle_lz4([chunk, chunk], np.empty((1, 31, 33), dtype=np.uint16), address)
    with pytest.raises(InputError, match="no LZ4"):
        _core.unpack_bitshuffle_lz4([chunk], np.empty((1, 31, 33), dtype=np.uint16), 0)
