"""Frames that nobody wrote are named, and never taken for counts of 0."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest

from midas import (
    CakeGrid,
    Detector,
    FormatError,
    Geometry,
    InputError,
    IntegrationOptions,
    build_map,
    integrate,
    read_frames,
    read_image,
)
from midas.io.hdf5_written import never_written

SHAPE = (20, 30)
N = 40
DATA = np.random.default_rng(7).poisson(20.0, (N, *SHAPE)).astype(np.uint16)
GEOMETRY = Geometry(1e6, (15, 10), pixel_size=200, wavelength=0.18)
GRID = CakeGrid(0, 20, 4, eta_step=90)


def put(file: h5py.File, name: str, n: int = N, written: Any = slice(0), **options: Any) -> h5py.Dataset:
    made = file.create_dataset(name, (n, *SHAPE), "u2", **options)
    for i in np.arange(n)[written]:
        made[i] = DATA[i]
    return made


STACKS: dict[str, tuple[dict[str, Any], Any, int, str]] = {
    "bitshuffle": ({"chunks": (1, *SHAPE), **hdf5plugin.Bitshuffle()}, slice(30), 30, "30 to 39"),
    "gzip": ({"chunks": (1, *SHAPE), "compression": "gzip"}, slice(0, N, 2), 1, "1, 3, 5 and 17 more"),
    "plain chunks": ({"chunks": (1, *SHAPE)}, [*range(10), 39], 10, "10 to 38"),
    "several to a chunk": ({"chunks": (7, 10, 30)}, slice(14), 14, "14 to 39"),
    "in one piece": ({}, slice(0), 0, "0 to 39"),
}


@pytest.mark.parametrize("name", STACKS)
def test_frames_never_written_are_named_and_those_before_come_first(tmp_path: Path, name: str) -> None:
    options, written, n_first, numbers = STACKS[name]
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        n_missing = int(never_written(put(file, "entry/data/data", written=written, **options)).sum())
    expected = rf"scan.h5: {n_missing} of the 40 frames of /entry/data/data were never written \({numbers}, counted"
    cake_map = build_map(GEOMETRY, Detector(SHAPE, 200), GRID)
    with h5py.File(path, locking=False) as file, read_frames(path) as frames:
        for source in (file["entry/data/data"], frames):
            cakes = cake_map.apply_each(source, n_threads=1)
            for i in range(n_first):
                np.testing.assert_array_equal(next(cakes).intensity, cake_map.apply(DATA[i]).intensity)
            with pytest.raises(InputError, match=expected):
                next(cakes)
            for cake in (cake_map.apply, lambda given: integrate(given, GEOMETRY, GRID)):
                with pytest.raises(InputError, match=expected) as caught:
                    cake(source)
                assert str(caught.value).count("never written") == 1
            options = IntegrationOptions(progress=lambda done, n: pytest.fail(f"{done} of {n} were caked in vain"))
            with pytest.raises(InputError, match=expected):
                integrate(source, GEOMETRY, GRID, options=options)
            with pytest.raises(InputError, match=expected):
                cake_map.apply_to_file(source, tmp_path / "cakes.h5")
        if n_first:
            assert f"such as frames[0:{n_first}]" in str(caught.value)
            np.testing.assert_array_equal(frames[:n_first], DATA[:n_first])
    with pytest.raises(InputError, match=expected):
        read_image(path)


def test_numbers_count_over_joined_data_sets(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as file:
        for k, written in ((1, slice(10)), (2, slice(4))):
            put(file, f"entry/data/data_{k:06d}", 10, written, chunks=(1, *SHAPE))
    with read_frames(tmp_path / "m.h5", skip_frames=3) as frames:
        assert len(frames[:11]) == 11
        with pytest.raises(InputError, match=r"6 of the 20 frames of .* \(14 to 19, counted"):
            _ = frames[11]


def test_one_image_and_what_is_whole(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("none", SHAPE, "u2")
        file.create_dataset("chunks", SHAPE, "u2", chunks=(10, 30))[:10] = 1
        file["whole"] = DATA[0]
        for name, missing in (("none", [True]), ("chunks", [True]), ("whole", [False])):
            assert never_written(file[name]).tolist() == missing
        cake_map = build_map(GEOMETRY, Detector(SHAPE, 200), GRID)
        with pytest.raises(InputError, match="1 of the 1 frames of /none"):
            cake_map.apply(file["none"])
        assert cake_map.apply(file["whole"]).intensity.ndim == 2


@pytest.mark.parametrize(("dtype", "fill"), [("i4", -1), ("u2", 65535), ("f4", np.nan)])
def test_a_fill_value_that_marks_bad_pixels_is_no_count(tmp_path: Path, dtype: str, fill: float) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        assert not never_written(file.create_dataset("a", DATA.shape, dtype, chunks=True, fillvalue=fill)).any()


@pytest.mark.parametrize("beside", [True, False])
def test_sources_of_virtual_data_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beside: bool) -> None:
    layout = h5py.VirtualLayout((N + 5, *SHAPE), "u2")
    for k in range(4):
        layout[10 * k : 10 * k + 10] = h5py.VirtualSource(f"part{k}.h5", "data", (10, *SHAPE))
    (tmp_path / "here").mkdir()
    folder = tmp_path if beside else tmp_path / "here"
    monkeypatch.chdir(tmp_path / "here")
    for k in range(4):
        with h5py.File(folder / f"part{k}.h5", "w") as file:
            file["data"] = DATA[10 * k : 10 * k + 10]
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file.create_virtual_dataset("entry/data/data", layout)
    with read_frames(tmp_path / "v.h5") as frames:
        np.testing.assert_array_equal(frames[:N], DATA)
        with pytest.raises(InputError, match=r"5 of the 45 frames of .* were never written \(40 to 44"):
            _ = frames[N]
    (folder / "part2.h5").unlink()
    with read_frames(tmp_path / "v.h5") as frames:
        np.testing.assert_array_equal(frames[30:N], DATA[30:])
        message = (
            r"15 of the 45 frames of .* \(20 to 29, 40 to 44\) are missing, for there is no part2.h5; put it beside"
        )
        with pytest.raises(InputError, match=message):
            _ = frames[20]


def test_the_command_says_it_with_status_2(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        put(file, "exchange/data", written=slice(30), chunks=(1, *SHAPE))
    (tmp_path / "p.txt").write_text("Lsd 1e6\nBC 15 10\npx 200\nWavelength 0.18\nRMin 0\nRMax 20\nRBinSize 1\n")
    words = [sys.executable, "-m", "midas.cli", "integrate", "a.h5", "-paramFN", "p.txt"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "midas integrate: a.h5: 10 of the 40 frames of /exchange/data were never written" in done.stderr
    assert not list(tmp_path.glob("*.zip"))


def test_a_look_is_taken_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []
    monkeypatch.setattr("midas.io.hdf5_written.never_written", lambda part: looks.append(part) or never_written(part))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        put(file, "exchange/data", written=slice(N), chunks=(1, *SHAPE))
    with read_frames(tmp_path / "a.h5") as frames:
        assert not looks
        for i in range(N):
            np.testing.assert_array_equal(frames[i], DATA[i])
    assert len(looks) == 1


@pytest.mark.parametrize("mode", ["r", "r+"])
def test_a_file_that_is_open_in_this_process(tmp_path: Path, mode: str) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["exchange/data"] = DATA
    with h5py.File(tmp_path / "a.h5", mode), pytest.raises(FormatError, match="it is open in this process") as caught:
        read_frames(tmp_path / "a.h5")
    assert "corrupt" not in str(caught.value)
    with read_frames(tmp_path / "a.h5") as frames:
        assert frames.shape == DATA.shape


def test_a_file_that_is_being_written(tmp_path: Path) -> None:
    code = (
        "import h5py, sys; f = h5py.File('a.h5', 'w', libver='latest'); f['exchange/data'] = [[[1]]]; f.flush(); "
        "print('ready', flush=True); sys.stdin.read()"
    )
    words = [sys.executable, "-c", code]
    with subprocess.Popen(words, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        with pytest.raises(FormatError, match=r"a.h5: .*it is being written, or a program .* wait until") as caught:
            read_frames(tmp_path / "a.h5")
        writer.communicate()
    assert "corrupt" not in str(caught.value)


def test_a_lock_of_another_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """File systems that lock what we open without locks."""

    def locked(*_: object, **__: object) -> None:
        raise BlockingIOError(11, "Unable to synchronously open file (unable to lock file, errno = 11)")

    (tmp_path / "a.h5").write_bytes(b"counts")
    monkeypatch.setattr(h5py, "File", locked)
    with pytest.raises(FormatError, match="another program has locked it"):
        read_frames(tmp_path / "a.h5")


def test_frames_that_were_closed(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", DATA)
    frames = read_frames(tmp_path / "a.npy")
    frames.close()
    for use in (lambda: frames[0], lambda: frames[:2], lambda: integrate(frames, GEOMETRY, GRID)):
        with pytest.raises(InputError, match=r"a\.npy: the frames were closed; read the file again"):
            use()


@pytest.mark.parametrize(
    "options", [dict(hdf5plugin.Bitshuffle()), {"compression": "gzip"}], ids=["bitshuffle", "gzip"]
)
def test_a_damaged_frame_is_named_once_with_what_to_do(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        place = file.create_dataset("exchange/data", data=DATA, chunks=(1, *SHAPE), **options).id.get_chunk_info(17)
    content = bytearray(path.read_bytes())
    content[place.byte_offset + 16 : place.byte_offset + place.size] = np.random.default_rng(7).bytes(place.size - 16)
    path.write_bytes(content)
    cake_map = build_map(GEOMETRY, Detector(SHAPE, 200), GRID)
    with h5py.File(path, locking=False) as file, read_frames(path) as frames:
        for source in (file["exchange/data"], frames):
            for cake in (cake_map.apply, lambda given: integrate(given, GEOMETRY, GRID)):
                with pytest.raises(
                    FormatError, match=r"frame 17\b.*(copy the file again|truncated, corrupt)"
                ) as caught:
                    cake(source)
                assert "chunk 0" not in str(caught.value)
                assert str(caught.value).count("17") == 1


def test_the_data_file_with_the_gap_is_named_beside_its_master(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a_master.h5", "w") as master:
        for k, n_written in ((1, 4), (2, 2)):
            name = f"a_data_{k:06d}.h5"
            with h5py.File(tmp_path / name, "w") as file:
                data = file.create_dataset("entry/data/data", (4, 3, 5), np.uint16, chunks=(1, 3, 5))
                data[:n_written] = 7
            master[f"entry/data/data_{k:06d}"] = h5py.ExternalLink(name, "entry/data/data")
    with (
        read_frames(tmp_path / "a_master.h5") as frames,
        pytest.raises(InputError, match=r"a_master\.h5: .*a_data_000002\.h5: 2 of the 8 frames of .*\(6 to 7"),
    ):
        frames[7]
