"""Sums of frames over the borders of files: where a scan goes on, and where it does not."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from series_files import PARAMETERS, N, contents, write_files

from midas.cake import SeriesOptions, integrate_files
from midas.io.gsas_zarr import read_cake_file
from midas.io.parameters import Parameters


def with_omega(folder: Path, n: int, frames: int, *, gap: float = 0.0) -> Parameters:
    """Give the files of a series omegas that go on from one to the next, in steps of 0.25 deg."""
    for k in range(n):
        with h5py.File(folder / f"s_{k:06d}.h5", "r+") as file:
            file["measurement/process/scan_parameters/start"] = np.array([-10.0 + k * (frames * 0.25 + gap)])
            file["measurement/process/scan_parameters/step"] = np.array([0.25])
            file["measurement/process/scan_parameters/Temperature"] = np.array([300.0 + k])
    return PARAMETERS.updated({"OmegaSumFrames": 6})


def test_sums_go_over_borders_where_omega_goes_on(tmp_path: Path) -> None:
    files = write_files(tmp_path / "in", 6)
    parameters = with_omega(tmp_path / "in", 6, 4)
    done = integrate_files(files, parameters, tmp_path / "out")
    assert [p.name[:8] for p in done.written] == ["s_000000", "s_000003"]
    cakes = [read_cake_file(path) for path in done.written]
    assert [cake.frames.tolist() for cake in cakes] == [[6, 6], [6, 6]]
    assert [cake.first_omega.tolist() for cake in cakes] == [[-10.0, -8.5], [-7.0, -5.5]]
    assert cakes[0].temperature.tolist() == pytest.approx([(4 * 300 + 2 * 301) / 6, (2 * 301 + 4 * 302) / 6])
    one = integrate_files(files, PARAMETERS.updated({"OmegaSumFrames": 6}), tmp_path / "all.zarr.zip")
    joined = read_cake_file(one.written[0])
    np.testing.assert_array_equal(joined.intensity, np.concatenate([cake.intensity for cake in cakes]))
    assert joined.first_omega.tolist() == [-10.0, -8.5, -7.0, -5.5]


@pytest.mark.parametrize("bad", [(0,), (3,), (2, 3), (5,)], ids=str)
def test_a_bad_file_does_not_part_the_others_of_a_scan(tmp_path: Path, bad: tuple[int, ...]) -> None:
    files = write_files(tmp_path / "in", 6)
    parameters = with_omega(tmp_path / "in", 6, 4)
    for k in bad:
        (tmp_path / "in" / f"s_{k:06d}.h5").write_bytes(b"no HDF5")
    auto = integrate_files(files, parameters, tmp_path / "auto")
    told = integrate_files(files, parameters, tmp_path / "told", options=SeriesOptions(scan="one"))
    assert [f.images for f in auto.files] == [f.images for f in told.files]
    assert [f.images[0].name for f in auto.failed] == [f"s_{k:06d}.h5" for k in bad]
    assert contents(tmp_path / "auto") == contents(tmp_path / "told")
    cakes = [read_cake_file(path) for path in auto.written]
    assert sum(cake.frames.sum() for cake in cakes) == 4 * (6 - len(bad))
    assert max(cake.frames.max() for cake in cakes) == 6  # of more than one file
    for path, cake in zip(auto.written, cakes, strict=True):
        assert cake.first_omega[0] == -10.0 + int(path.name[2:8]), path


def test_a_file_of_another_shape_is_the_one_that_fails(tmp_path: Path) -> None:
    files = write_files(tmp_path / "in", 4)
    with h5py.File(tmp_path / "in" / "s_000002.h5", "w") as file:
        file["exchange/data"] = np.ones((4, N - 5, N + 3), np.uint16)
    parameters = with_omega(tmp_path / "in", 4, 4).updated({"OmegaSumFrames": 8})
    done = integrate_files(files, parameters, tmp_path / "out")
    assert [f.images[0].name for f in done.failed] == ["s_000002.h5"]
    assert [f.frames.tolist() for f in map(read_cake_file, done.written)] == [[8], [4]]


def test_short_files_without_omega_are_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = write_files(tmp_path / "in", 3)
    parameters = PARAMETERS.updated({"OmegaSumFrames": 6, "OmegaStep": 0.25})
    integrate_files(files, parameters, tmp_path / "out")
    assert "holds 4 frames (OmegaSumFrames 6): each file is summed by itself" in caplog.text
    caplog.clear()
    integrate_files(files, parameters, tmp_path / "told", options=SeriesOptions(scan="files"))
    integrate_files(files, parameters.updated({"OmegaSumFrames": 2}), tmp_path / "fits")
    assert "is summed by itself" not in caplog.text


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"OmegaStep": 0.5}, "has OmegaStep 0.5, which holds; the images say 0.25 deg"),
        (
            {"OmegaStart": 3.0, "OmegaStep": 0.25},
            "OmegaStart 3, which holds for every file; the images begin at -10",
        ),
        ({"OmegaStart": -10.0, "OmegaStep": 0.25}, "the images begin at -10, then at -9 deg: take OmegaStart out"),
        ({}, ""),
    ],
    ids=str,
)
def test_omegas_that_contradict_the_images_are_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, told: dict[str, float], message: str
) -> None:
    files = write_files(tmp_path / "in", 3)
    parameters = with_omega(tmp_path / "in", 3, 4).updated({"OmegaSumFrames": 2, **told})
    integrate_files(files, parameters, tmp_path / "out")
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == bool(message)
    assert message in "".join(warnings)


def test_darks_inside_the_files_of_a_sum_are_averaged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = write_files(tmp_path / "in", 2)
    parameters = with_omega(tmp_path / "in", 2, 4).updated({"OmegaSumFrames": 8})
    for k in range(2):
        with h5py.File(tmp_path / "in" / f"s_{k:06d}.h5", "r+") as file:
            file["exchange/dark"] = np.full((3, N, N), 4 + 2 * k, np.uint16)
    bare = integrate_files(files, parameters, tmp_path / "in.zarr.zip").last
    with pytest.MonkeyPatch.context() as none:
        none.setattr("midas.io.frames.Frames.has_dark", False)
        raw = integrate_files(files, parameters, tmp_path / "raw.zarr.zip").last
    assert bare is not None
    assert raw is not None
    np.testing.assert_allclose(bare.intensity, raw.intensity - 8 * 5.0, rtol=1e-6)
    assert "the mean of the darks inside them is subtracted from all" in caplog.text


def test_files_that_leave_a_gap_are_scans_of_their_own(tmp_path: Path) -> None:
    files = write_files(tmp_path / "in", 3)
    parameters = with_omega(tmp_path / "in", 3, 4, gap=0.5)
    done = integrate_files(files, parameters, tmp_path / "out")
    assert [read_cake_file(p).frames.tolist() for p in done.written] == [[4]] * 3
    joined = read_cake_file(integrate_files(files, parameters, tmp_path / "all.zarr.zip").written[0])
    assert joined.frames.tolist() == [4, 4, 4]
    omegas = [read_cake_file(path).first_omega[0] for path in done.written]
    assert joined.first_omega.tolist() == omegas == [-10.0, -8.5, -7.0]
    skipped = parameters.updated({"SkipFrame": 1, "OmegaSumFrames": 2})
    joined = read_cake_file(integrate_files(files, skipped, tmp_path / "skipped.zarr.zip").written[0])
    assert joined.frames.tolist() == [2, 1] * 3  # the first frame of each file is left out
    assert joined.first_omega.tolist() == [-9.75, -9.25, -8.25, -7.75, -6.75, -6.25]
    assert joined.last_omega.tolist() == [-9.5, -9.25, -8.0, -7.75, -6.5, -6.25]
    told = skipped.updated({"OmegaStart": 3})
    joined = read_cake_file(integrate_files(files, told, tmp_path / "told.zarr.zip").written[0])
    assert joined.first_omega.tolist() == [3.0, 3.5] * 3


def test_one_scan_is_taken_at_its_word(tmp_path: Path) -> None:
    files = write_files(tmp_path / "in", 5, bad=(3,))
    parameters = PARAMETERS.updated({"OmegaSumFrames": 8, "OmegaStart": 5, "OmegaStep": 1})
    done = integrate_files(files, parameters, tmp_path / "out", options=SeriesOptions(scan="one"))
    assert [(f.images[0].name, f.status) for f in done.files] == [
        ("s_000000.h5", "written"),
        ("s_000002.h5", "written"),
        ("s_000003.h5", "failed"),
        ("s_000004.h5", "written"),
    ]
    omegas = [read_cake_file(path).first_omega.tolist() for path in done.written]
    assert omegas == [[5.0], [13.0], [21.0]]
