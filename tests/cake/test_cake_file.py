"""Caked files written sum by sum: those of the cake in memory, whole or absent, in memory that stays the same."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import zipfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from memory import peak_memory

from midas import CakeGrid, Detector, FormatError, Geometry, InputError, build_map
from midas.cake import Cake, CakeMap, IntegrationOptions, Segment, ZarrOptions, integrate_to_zarr, integrate_with_map
from midas.cake.robust import RobustOptions
from midas.errors import OutputError
from midas.io.gsas_zarr import read_cake_file

SHAPE = (43, 67)
N = 25
TOP = np.iinfo(np.uint16).max  # no count


@pytest.fixture(scope="module")
def cake_map() -> CakeMap:
    geometry = Geometry(2e5, (30.3, 20.8), pixel_size=200, wavelength=0.18)
    return build_map(geometry, Detector(SHAPE, 200), CakeGrid(0, 45, 1, eta_step=10))


@pytest.fixture(scope="module")
def stack() -> np.ndarray:
    """Frames in which some bins never have a pixel, some only for a while, some only later on."""
    frames = np.random.default_rng(7).poisson(20.0, (N, *SHAPE)).astype(np.uint16)
    frames[:, :9, :9] = TOP
    frames[:14, 30:37, 40:50] = TOP
    frames[3:5, 10:13, 12:16] = TOP
    frames[20:, 35:, 55:] = TOP
    return frames


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert len(set(archive.namelist())) == len(archive.namelist())
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize(
    "chosen",
    [
        {},
        {"frames_per_sum": 10, "omega_start": -5.0, "omega_step": 0.25, "first_frame_number": 3},
        {"frames_per_sum": 4, "individual": True},
        {"frames_per_sum": -1, "normalize": False},
        {"frames_per_sum": 6, "variance": False, "individual": True},
        {"frames_per_sum": 6, "robust": RobustOptions("median")},
    ],
)
@pytest.mark.parametrize("with_dark", [False, True])
def test_the_file_is_that_of_the_cake(
    tmp_path: Path, cake_map: CakeMap, stack: np.ndarray, chosen: dict[str, Any], with_dark: bool
) -> None:
    options = IntegrationOptions(**chosen)
    dark = np.full(SHAPE, 3.0) if with_dark else None
    cake = integrate_with_map(stack, cake_map, dark=dark, options=options)
    expected = members(cake.to_zarr(tmp_path / "a.zarr.zip", instrument={"W": 0.1}, sum_images=True))
    stored = ZarrOptions({"W": 0.1}, sum_images=True)
    written = integrate_to_zarr(stack, cake_map, tmp_path / "b.zarr.zip", stored=stored, dark=dark, options=options)
    found = members(written.path)
    assert list(found) == list(expected)  # and in the same order
    for name, content in expected.items():
        assert found[name] == content, name
    assert str(written) == str(cake)


def test_scans_that_follow_one_another(tmp_path: Path, cake_map: CakeMap, stack: np.ndarray) -> None:
    options = IntegrationOptions(frames_per_sum=4, omega_start=1.0, omega_step=0.5, individual=True)
    parts = (Segment(9), Segment(1, 20.0), Segment(15, -8.0, 2.0))
    written = integrate_to_zarr(stack, cake_map, tmp_path / "a.zarr.zip", options=options, segments=parts)
    read = read_cake_file(written.path)
    assert read.frames.tolist() == [4, 4, 1, 1, 4, 4, 4, 3]
    assert read.first_omega.tolist() == [1.0, 3.0, 5.0, 20.0, -8.0, 0.0, 8.0, 16.0]
    assert read.last_omega.tolist() == [2.5, 4.5, 5.0, 20.0, -2.0, 6.0, 14.0, 20.0]
    assert read.individual_omega is not None
    assert read.individual_omega[[0, 8, 9, 10, 24]].tolist() == [1.0, 5.0, 20.0, -8.0, 20.0]
    alone = integrate_to_zarr(stack[10:], cake_map, tmp_path / "b.zarr.zip", options=options).read()
    in_both = (alone.bin_area > 0.0) & np.isfinite(read.intensity[4:])
    np.testing.assert_array_equal(read.intensity[4:][in_both], alone.intensity[in_both])


@pytest.mark.parametrize("lengths", [(), (9, 15), (25, 1), (25, 0)], ids=str)
def test_scans_of_other_frames_are_refused(
    tmp_path: Path, cake_map: CakeMap, stack: np.ndarray, lengths: tuple[int, ...]
) -> None:
    with pytest.raises(InputError, match=r"the segments have \[.*\] frames; expected 1 or more each, 25 together"):
        integrate_to_zarr(stack, cake_map, tmp_path / "a.zarr.zip", segments=[Segment(n) for n in lengths])
    assert not list(tmp_path.iterdir())


def test_a_bin_that_has_pixels_only_later_is_unknown_before(
    tmp_path: Path, cake_map: CakeMap, stack: np.ndarray
) -> None:
    written = integrate_to_zarr(stack, cake_map, tmp_path / "a.zarr.zip")
    read = read_cake_file(written.path)
    assert read.variance is not None
    late = np.isnan(read.variance[0]) & (read.bin_area > 0.0)
    assert late.any()
    assert not np.isnan(read.variance[14:, late]).any()


def test_what_is_read_back_is_the_cake(tmp_path: Path, cake_map: CakeMap, stack: np.ndarray) -> None:
    options = IntegrationOptions(frames_per_sum=4, omega_step=0.5, first_frame_number=2)
    expected = integrate_with_map(stack, cake_map, options=options)
    found = integrate_to_zarr(stack, cake_map, tmp_path / "a.zarr.zip", options=options).read()
    for field in fields(Cake):
        if field.name not in ("geometry", "first_frame_number"):
            np.testing.assert_array_equal(getattr(found, field.name), getattr(expected, field.name), err_msg=field.name)
    assert found.geometry == expected.geometry


def test_another_file_in_its_place_is_refused(tmp_path: Path, cake_map: CakeMap, stack: np.ndarray) -> None:
    written = integrate_to_zarr(stack, cake_map, tmp_path / "a.zarr.zip")
    other = build_map(cake_map.geometry, cake_map.detector, CakeGrid(0, 45, 3, eta_step=30))
    integrate_to_zarr(stack, other, tmp_path / "a.zarr.zip")
    with pytest.raises(FormatError, match=r"holds 25 sums of \(15, 12\) bins, not the 25 of \(45, 36\)"):
        written.read()


def test_names_of_files_are_read(tmp_path: Path, cake_map: CakeMap, stack: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", stack)
    expected = members(integrate_to_zarr(stack, cake_map, tmp_path / "a.zarr.zip").path)
    for frames in (tmp_path / "a.npy", [str(tmp_path / "a.npy")]):
        assert members(integrate_to_zarr(frames, cake_map, tmp_path / "b.zarr.zip").path) == expected


def test_a_map_of_the_wrong_type_is_refused(tmp_path: Path, cake_map: CakeMap, stack: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"cake_map is a Geometry; expected a midas\.CakeMap"):
        integrate_to_zarr(stack, cake_map.geometry, tmp_path / "a.zarr.zip")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


class Failing:
    """A stack of which one frame cannot be read."""

    shape = (N, *SHAPE)
    dtype = np.dtype(np.uint16)

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __getitem__(self, index: int) -> np.ndarray:
        if index == 17:
            raise self.error
        return np.full(SHAPE, 5, dtype=np.uint16)

    def __len__(self) -> int:
        return N


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (FormatError("frame 17 is torn"), FormatError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (OSError(errno.EIO, "I/O"), InputError),
    ],
)
@pytest.mark.parametrize("before", [None, b"old"])
def test_a_frame_that_fails_leaves_what_was_there(
    tmp_path: Path, cake_map: CakeMap, error: BaseException, raised: type[BaseException], before: bytes | None
) -> None:
    path = tmp_path / "a.zarr.zip"
    if before is not None:
        path.write_bytes(before)
    with pytest.raises(raised):
        integrate_to_zarr(Failing(error), cake_map, path, options=IntegrationOptions(individual=True))
    assert [p.read_bytes() for p in tmp_path.iterdir()] == ([] if before is None else [before])


def test_a_disk_that_is_full_leaves_nothing(
    tmp_path: Path, cake_map: CakeMap, stack: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = zipfile.ZipFile.writestr

    def writestr(self: zipfile.ZipFile, info: zipfile.ZipInfo, content: bytes) -> None:
        if "LastFrameNumber_000012" in info.filename:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written(self, info, content)

    monkeypatch.setattr(zipfile.ZipFile, "writestr", writestr)
    with pytest.raises(OutputError, match="disk is full"):
        integrate_to_zarr(stack, cake_map, tmp_path / "a.zarr.zip")
    assert list(tmp_path.iterdir()) == []


def test_frames_without_a_pixel_leave_nothing(tmp_path: Path, cake_map: CakeMap, stack: np.ndarray) -> None:
    with pytest.raises(InputError, match="no bin holds a valid pixel"):
        integrate_to_zarr(np.full_like(stack, TOP), cake_map, tmp_path / "a.zarr.zip")
    with pytest.raises(InputError, match=r"\.zarr\.zip"):
        integrate_to_zarr(stack, cake_map, tmp_path / "a.h5")
    with pytest.raises(InputError, match="'w'"):
        integrate_to_zarr(stack, cake_map, tmp_path / "a.zarr.zip", stored=ZarrOptions({"w": 1.0}))
    assert list(tmp_path.iterdir()) == []


PARAMETERS = """Lsd 2e5
BC 30.3 20.8
px 200
Wavelength 0.18
RMin 2
RMax 40
RBinSize 0.05
EtaBinSize 10
"""


@pytest.fixture
def scan(tmp_path: Path) -> tuple[Path, Path]:
    """A data file, long enough to be interrupted, and a parameter file."""
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file["exchange/data"] = np.full((600, *SHAPE), 7, dtype=np.uint16)
    (tmp_path / "ps.txt").write_text(PARAMETERS)
    return tmp_path / "s.h5", tmp_path / "ps.txt"


@pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX; run it on Linux or macOS")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_program_that_is_ended_leaves_no_half_file(
    tmp_path: Path, scan: tuple[Path, Path], number: signal.Signals
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "s.h5.zarr.zip").write_bytes(b"old")
    program = "import sys; from midas.cli import main; sys.exit(main(sys.argv[1:]))"
    words = ["integrate", "-dataFN", str(scan[0]), "-paramFN", str(scan[1]), "-resultFolder", str(out)]
    child = subprocess.Popen([sys.executable, "-c", program, *words], stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    is_sent = False
    while child.poll() is None and not is_sent:  # until some of it is written
        is_sent = any(p.stat().st_size > 100_000 for p in out.glob(".writing-*"))
    child.send_signal(number)
    printed = child.communicate()
    assert is_sent, "it was done before it could be ended"
    assert child.returncode != 0, printed
    assert (out / "s.h5.zarr.zip").read_bytes() == b"old"
    if number != signal.SIGKILL:  # of which no program is told: a hidden file of another name stays
        assert [p.name for p in out.iterdir()] == ["s.h5.zarr.zip"]


INTEGRATE = """
import sys
from pathlib import Path
from midas.cake import SeriesFiles, SeriesOptions, integrate_files
from midas.io.parameters import read_params
two = SeriesOptions(n_threads=2)
integrate_files(SeriesFiles(Path(sys.argv[1])), read_params(sys.argv[2]), sys.argv[3], options=two)
"""


@pytest.mark.parametrize("also", ["OmegaSumFrames 10", "OmegaSumFrames 1\nSaveIndividualFrames 0"])
def test_memory_does_not_grow_with_the_frames(tmp_path: Path, also: str) -> None:
    """A frame's cake has 219 kB here; 400 of them in memory would be 88 MB."""
    (tmp_path / "ps.txt").write_text(f"{PARAMETERS}{also}\n")
    peaks = []
    for n in (40, 440):
        with h5py.File(tmp_path / "s.h5", "w") as file:
            file["exchange/data"] = np.random.default_rng(7).poisson(20.0, (n, *SHAPE)).astype(np.uint16)
        peaks.append(peak_memory(INTEGRATE, tmp_path / "s.h5", tmp_path / "ps.txt", tmp_path / "out"))
    assert peaks[1] - peaks[0] < 40.0  # MB
