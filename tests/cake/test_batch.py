"""Many files at once: what fails is reported, what is killed is taken up again, and who does it changes no byte."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from series_files import BAD, N_FILES, PARAMETERS, TEXT, N, contents, write_files

from midas import FormatError, InputError, OutputError
from midas.cake import SeriesFiles, SeriesOptions, dispatch, integrate_files
from midas.cli import main
from midas.io.gsas_zarr import read_cake_file
from midas.io.parameters import parse_params, read_params


def test_bad_files_are_reported_and_the_others_are_caked(tmp_path: Path) -> None:
    done = integrate_files(write_files(tmp_path / "in", bad=BAD), PARAMETERS, tmp_path / "out")
    assert [f.images[0].name for f in done.failed] == [f"s_{k:06d}.h5" for k in BAD]
    assert all("truncated" in f.reason or "cannot be" in f.reason for f in done.failed)
    assert len(done.written) == N_FILES - len(BAD)
    whole = integrate_files(write_files(tmp_path / "in"), PARAMETERS, tmp_path / "whole")
    assert not whole.failed
    assert done.last is not None
    for path in done.written:
        a, b = read_cake_file(path), read_cake_file(tmp_path / "whole" / path.name)
        np.testing.assert_array_equal(a.intensity, b.intensity)


def test_a_missing_file_of_a_range_is_one_that_fails(tmp_path: Path) -> None:
    files = write_files(tmp_path / "in", 3)
    (tmp_path / "in" / "s_000001.h5").unlink()
    done = integrate_files(files, PARAMETERS, tmp_path / "out")
    assert [f.status for f in done.files] == ["written", "failed", "written"]
    assert "s_000001.h5" in done.failed[0].reason
    assert "no such file" in done.failed[0].reason.lower()


def test_a_single_bad_file_raises(tmp_path: Path) -> None:
    write_files(tmp_path / "in", 1, bad=(0,))
    with pytest.raises(FormatError, match=r"s_000000\.h5"):
        integrate_files(SeriesFiles(tmp_path / "in" / "s_000000.h5"), PARAMETERS, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def spawned(n: int) -> Executor:
    return ProcessPoolExecutor(n, mp_context=get_context("spawn"))


def test_threads_and_processes_give_the_same_bytes(tmp_path: Path) -> None:
    files = write_files(tmp_path / "in", bad=BAD)
    alone = integrate_files(files, PARAMETERS, tmp_path / "one", options=SeriesOptions(n_threads=1))
    integrate_files(files, PARAMETERS, tmp_path / "two", options=SeriesOptions(n_threads=2))
    with spawned(2) as executor:
        elsewhere = integrate_files(files, PARAMETERS, tmp_path / "pool", executor=executor, n_workers=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two") == contents(tmp_path / "pool")
    assert [f.reason for f in alone.failed] == [f.reason for f in elsewhere.failed]
    assert elsewhere.last is not None


def test_a_map_that_is_kept_is_used_and_changes_nothing(tmp_path: Path) -> None:
    files = write_files(tmp_path / "in", 2)
    integrate_files(files, PARAMETERS, tmp_path / "a")
    kept = SeriesOptions(map_folder=tmp_path / "maps")
    (tmp_path / "maps").mkdir()
    for name in ("b", "c"):
        integrate_files(files, PARAMETERS, tmp_path / name, options=kept)
        assert len(list((tmp_path / "maps").iterdir())) == 1
        assert contents(tmp_path / name) == contents(tmp_path / "a")


class Losing(Executor):
    """Does tasks here, and loses its process on some; all that comes after is lost, too."""

    def __init__(self, lost: Callable[[str], bool]) -> None:
        self.lost, self.broken = lost, False

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if self.broken:
            raise BrokenExecutor
        future: Future[Any] = Future()
        if self.lost(args[1].images[0].name):
            self.broken = True
            future.set_exception(BrokenExecutor())
        else:
            future.set_result(function(*args, **kwargs))
        return future

    def __enter__(self) -> Losing:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def test_a_lost_process_costs_nothing_but_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = write_files(tmp_path / "in")
    integrate_files(files, PARAMETERS, tmp_path / "expected")
    monkeypatch.setattr(dispatch, "_own_pool", lambda n: Losing(lambda name: False))
    done = integrate_files(files, PARAMETERS, tmp_path / "out", executor=Losing(lambda name: "3" in name), n_workers=2)
    assert not done.failed
    assert contents(tmp_path / "out") == contents(tmp_path / "expected")


def test_a_file_that_ends_every_process_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "_own_pool", lambda n: Losing(lambda name: "3" in name))
    done = integrate_files(
        write_files(tmp_path / "in"), PARAMETERS, tmp_path / "out", executor=Losing(lambda n: "3" in n), n_workers=2
    )
    assert [f.images[0].name for f in done.failed] == ["s_000003.h5"]
    assert "its process was lost" in done.failed[0].reason
    assert len(done.written) == N_FILES - 1


class Elsewhere(Losing):
    """Does tasks in another folder, as a cluster's workers do."""

    def __init__(self, folder: Path) -> None:
        super().__init__(lambda name: False)
        self.folder = folder

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        with pytest.MonkeyPatch.context() as there:
            there.chdir(self.folder)
            return super().submit(function, *args, **kwargs)


@pytest.mark.parametrize("constant", [False, True])
def test_names_are_right_in_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, constant: bool) -> None:
    write_files(tmp_path / "in", 2)
    for name in ("flat", "mask", "dark"):
        np.save(tmp_path / f"{name}.npy", np.full((N, N), {"flat": 0.9, "mask": 0.0, "dark": 4.0}[name]))
    (tmp_path / "ps.txt").write_text(f"{TEXT}MaskFile mask.npy\nFlat flat.npy\n")
    (tmp_path / "far").mkdir()
    monkeypatch.chdir(tmp_path)
    parameters = read_params("ps.txt")
    files = SeriesFiles(Path("in/s_000000.h5"), Path("4" if constant else "dark.npy"), first_number=0, last_number=1)
    integrate_files(files, parameters, "near")
    options = SeriesOptions(map_folder=Path("maps"))
    done = integrate_files(files, parameters, "out", options=options, executor=Elsewhere(tmp_path / "far"), n_workers=1)
    assert not done.failed
    assert contents(tmp_path / "out") == contents(tmp_path / "near")
    assert list((tmp_path / "maps").iterdir())
    assert not list((tmp_path / "far").iterdir())


def test_a_process_that_is_killed_for_real(tmp_path: Path) -> None:
    files = write_files(tmp_path / "in", 40, frames=20)
    expected = integrate_files(files, PARAMETERS, tmp_path / "expected")
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        killed: list[int] = []

        def kill_one(done: int, total: int, what: str) -> None:
            if done >= 5 and not killed:
                killed.append(next(iter(executor._processes)))
                os.kill(killed[0], 9)

        done = integrate_files(files, PARAMETERS, tmp_path / "out", executor=executor, n_workers=2, progress=kill_one)
    assert killed
    assert len(done.written) == len(expected.written)
    assert contents(tmp_path / "out") == contents(tmp_path / "expected")


@pytest.mark.parametrize("when", [1, 3])
def test_what_is_there_is_left_alone_where_it_was_made_of_the_same(tmp_path: Path, when: int) -> None:
    files = write_files(tmp_path / "in", 4)
    out, resume = tmp_path / "out", SeriesOptions(skip_existing=True)
    expected = contents(integrate_files(files, PARAMETERS, out).written[0].parent)
    assert [f.status for f in integrate_files(files, PARAMETERS, out, options=resume).files] == ["skipped"] * 4
    damaged = sorted(out.iterdir())[when]
    damaged.write_bytes(damaged.read_bytes()[:-100])
    statuses = [f.status for f in integrate_files(files, PARAMETERS, out, options=resume).files]
    assert statuses == ["written" if k == when else "skipped" for k in range(4)]
    assert contents(out) == expected
    image = tmp_path / "in" / f"s_{when:06d}.h5"
    os.utime(image, ns=(time.time_ns(), time.time_ns()))
    assert [f.status for f in integrate_files(files, PARAMETERS, out, options=resume).files].count("written") == 1
    other = PARAMETERS.updated({"RBinSize": 2})
    assert not integrate_files(files, other, out, options=resume).skipped


def test_a_disk_that_is_full_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from midas.cake import file_task

    begun: list[Path] = []

    def full(frames: object, cake_map: object, path: Path, **_: object) -> None:
        begun.append(path)
        raise OutputError(f"cannot write {path}: the disk is full")

    monkeypatch.setattr(file_task, "integrate_to_zarr", full)
    with pytest.raises(OutputError, match="the disk is full"):
        integrate_files(write_files(tmp_path / "in"), PARAMETERS, tmp_path / "out")
    assert len(begun) < N_FILES
    assert not (tmp_path / "out").exists()


INTEGRATE = """
import sys
from pathlib import Path
from midas.cake import SeriesFiles, SeriesOptions, integrate_files
from midas.io.parameters import read_params
files = SeriesFiles(Path(sys.argv[1]), first_number=0, last_number=int(sys.argv[4]))
integrate_files(files, read_params(sys.argv[2]), sys.argv[3], options=SeriesOptions(skip_existing=True, n_threads=2))
"""


def test_a_run_that_is_killed_is_taken_up_again(tmp_path: Path) -> None:
    n = 60
    files = write_files(tmp_path / "in", n, bad=(7, 31))
    (tmp_path / "ps.txt").write_text(TEXT)
    parameters = parse_params(TEXT, tmp_path / "ps.txt")
    expected = integrate_files(files, parameters, tmp_path / "expected")
    words = [sys.executable, "-c", INTEGRATE, *map(str, (tmp_path / "in/s_000000.h5", tmp_path / "ps.txt"))]
    words += [str(tmp_path / "out"), str(n - 1)]
    seen = []
    for enough in (10, 35):
        process = subprocess.Popen(words, stderr=subprocess.DEVNULL)
        while process.poll() is None:
            done = len(list((tmp_path / "out").glob("s_*.zarr.zip"))) if (tmp_path / "out").exists() else 0
            if done >= enough:
                break
            time.sleep(0.002)
        process.kill()
        process.wait()
        seen.append(len(list((tmp_path / "out").glob("s_*.zarr.zip"))))
    assert 10 <= seen[0] < seen[1] < n - 2  # it was killed under way, twice
    last = integrate_files(files, parameters, tmp_path / "out", options=SeriesOptions(skip_existing=True))
    assert len(last.skipped) == seen[1]
    assert [f.reason for f in last.failed] == [f.reason for f in expected.failed]
    assert contents(tmp_path / "out") == contents(tmp_path / "expected")


def test_files_of_a_pattern_a_folder_and_a_list(tmp_path: Path) -> None:
    write_files(tmp_path / "in", 3)
    (tmp_path / "in" / "notes.txt").write_text("none of them")
    expected = [f"s_{k:06d}.h5" for k in range(3)]
    for data in (tmp_path / "in", tmp_path / "in" / "s_*.h5", [tmp_path / "in" / name for name in expected]):
        assert [p.name for p in SeriesFiles(data).paths] == expected
    with pytest.raises(InputError, match="no file has a name like this"):
        _ = SeriesFiles(tmp_path / "x*.h5").paths
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no image file"):
        _ = SeriesFiles(tmp_path / "empty").paths
    with pytest.raises(InputError, match="no file in the list"):
        _ = SeriesFiles([]).paths


def test_files_come_by_number_and_eiger_data_through_their_master(tmp_path: Path) -> None:
    for name in ("s_10.h5", "s_9.h5", "m_master.h5", "m_data_000001.h5", "m_data_000002.h5", "n_data_000001.h5"):
        (tmp_path / name).touch()
    expected = ["m_master.h5", "n_data_000001.h5", "s_9.h5", "s_10.h5"]
    assert [p.name for p in SeriesFiles(tmp_path).paths] == expected
    assert [p.name for p in SeriesFiles(tmp_path / "*.h5").paths] == expected
    assert [p.name for p in SeriesFiles(tmp_path / "m_data_*.h5").paths] == ["m_data_000001.h5", "m_data_000002.h5"]


def test_a_data_file_behind_a_master_that_changed_is_caked_again(tmp_path: Path) -> None:
    write_files(tmp_path, 1)
    with h5py.File(tmp_path / "m_master.h5", "w") as master:
        master["entry/data/data_000001"] = h5py.ExternalLink("s_000000.h5", "exchange/data")
    files, resume = SeriesFiles(tmp_path / "m_master.h5"), SeriesOptions(skip_existing=True)
    statuses = [integrate_files(files, PARAMETERS, tmp_path / "out", options=resume).files[0].status for _ in range(2)]
    os.utime(tmp_path / "s_000000.h5", ns=(1, 1))
    statuses.append(integrate_files(files, PARAMETERS, tmp_path / "out", options=resume).files[0].status)
    assert statuses == ["written", "skipped", "written"]


class Confused(Losing):
    """Gives up on some tasks, as a cluster does whose workers end again and again."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        if self.lost(args[1].images[0].name):
            future.set_exception(ArithmeticError("given up"))
            return future
        return super().submit(function, *args, **kwargs)


@pytest.mark.parametrize("n_workers", [1, 2])
def test_what_nobody_thought_of_fails_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_workers: int) -> None:
    files = write_files(tmp_path / "in")
    done = integrate_files(
        files, PARAMETERS, tmp_path / "far", executor=Confused(lambda name: "3" in name), n_workers=n_workers
    )
    assert [f.reason.rpartition("/")[2] for f in done.failed] == [
        "s_000003.h5 could not be caked: ArithmeticError: given up; the file may be damaged, or memory short"
    ]
    run = dispatch.run_task

    def confused(setup: Any, task: Any, progress: Any = None) -> Any:
        if "3" in task.images[0].name:
            raise ArithmeticError("here")
        return run(setup, task, progress)

    monkeypatch.setattr(dispatch, "run_task", confused)
    done = integrate_files(files, PARAMETERS, tmp_path / "here", options=SeriesOptions(n_threads=n_workers))
    assert [f.images[0].name for f in done.failed] == ["s_000003.h5"]
    assert "ArithmeticError: here" in done.failed[0].reason


def test_a_missing_further_form_is_made_again(tmp_path: Path) -> None:
    files, resume = write_files(tmp_path / "in", 2), SeriesOptions(skip_existing=True, also=("xye", "csv"))
    integrate_files(files, PARAMETERS, tmp_path / "out", options=resume)
    expected = contents(tmp_path / "out")
    assert len(expected) == 2 * (1 + 2 + 1)
    lost = sorted((tmp_path / "out").glob("s_000001*.xye"))[1]
    lost.unlink()
    done = integrate_files(files, PARAMETERS, tmp_path / "out", options=resume)
    assert [f.status for f in done.files] == ["skipped", "written"]
    assert contents(tmp_path / "out") == expected


def test_two_images_of_one_name_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_files(tmp_path / name, 1)
    files = SeriesFiles([tmp_path / name / "s_000000.h5" for name in ("a", "b")])
    with pytest.raises(InputError, match=r"one file .*s_000000\.h5\.zarr\.zip"):
        integrate_files(files, PARAMETERS, tmp_path / "out")


@pytest.mark.parametrize(
    "bad",
    [
        {"scan": "two"},
        {"also": ("pdf",)},
        {"also": "csv"},
        {"n_threads": -1},
        {"skip_existing": "yes"},
        {"map_folder": 5},
    ],
    ids=str,
)
def test_refused_options(bad: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"expected|is no form"):
        SeriesOptions(**bad)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"files": "a.h5"}, "files is a str"),
        ({"parameters": {"Lsd": 1}}, "parameters is a dict"),
        ({"options": {"scan": "one"}}, "options is a dict"),
        ({"executor": 4}, "executor is an? int"),
        ({"n_workers": -1}, "n_workers is -1; expected a number of files"),
        ({"files": SeriesFiles(5)}, "data is 5; expected the name"),
        ({"files": SeriesFiles(["a.h5", 5])}, "a file of the list is 5"),
    ],
    ids=str,
)
def test_arguments_of_another_kind_are_refused(tmp_path: Path, bad: dict[str, Any], message: str) -> None:
    arguments = {"files": SeriesFiles("a.h5"), "parameters": PARAMETERS, **bad}
    with pytest.raises(InputError, match=message):
        integrate_files(arguments.pop("files"), arguments.pop("parameters"), tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_the_command_says_what_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_files(tmp_path / "in", bad=BAD)
    (tmp_path / "ps.txt").write_text(TEXT)
    words = ["integrate", str(tmp_path / "in"), "-paramFN", str(tmp_path / "ps.txt")]
    words += ["-resultFolder", str(tmp_path / "out"), "-logLevel", "critical"]
    assert main(words) == 1
    said = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[0] for line in said[-2:]] == ["failed"] * 2
    assert all(f"s_{k:06d}.h5" in line for k, line in zip(BAD, said[-2:], strict=True))
    assert f"{N_FILES - 2} files written, 0 skipped, 2 failed: 28 frames" in said[-3]
    log = (tmp_path / "out" / "midas_integrate.log").read_text()
    assert log.count(" - ERROR - ") == 2
    assert main([*words, "-skipExisting", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert (len(report["skipped"]), len(report["failed"]), report["written"]) == (N_FILES - 2, 2, [])
    assert (tmp_path / "out" / "midas_integrate.log").read_text().startswith(log)


def test_the_command_writes_one_file_for_all(tmp_path: Path) -> None:
    write_files(tmp_path / "in", 3)
    (tmp_path / "ps.txt").write_text(TEXT)
    words = ["integrate", *(str(tmp_path / "in" / f"s_{k:06d}.h5") for k in range(3))]
    words += ["-paramFN", str(tmp_path / "ps.txt"), "-resultFolder", str(tmp_path / "out" / "all.zarr.zip")]
    assert main(words) == 0
    assert read_cake_file(tmp_path / "out" / "all.zarr.zip").frames.tolist() == [2] * 6
