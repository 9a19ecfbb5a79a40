"""Files appear whole or not at all."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from midas.errors import InputError, MidasError, OutputError
from midas.io.atomic import atomic_path


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_writes_and_replaces(tmp_path):
    final = tmp_path / "a.zarr.zip"
    final.write_text("old")
    with atomic_path(final) as path:
        assert path.parent == tmp_path
        assert path.name.endswith("a.zarr.zip")
        path.write_text("new")
        assert final.read_text() == "old"
    assert final.read_text() == "new"
    assert names(tmp_path) == ["a.zarr.zip"]


def test_mode_follows_the_umask(tmp_path):
    plain, final = tmp_path / "plain", tmp_path / "atomic"
    plain.touch()
    with atomic_path(final) as path:
        path.write_text("x")
    assert final.stat().st_mode == plain.stat().st_mode


@pytest.mark.parametrize("error", [ValueError("x"), InputError("x"), KeyboardInterrupt(), SystemExit(1)])
def test_any_error_leaves_the_old_file_and_nothing_else(tmp_path, error):
    final = tmp_path / "a.txt"
    final.write_text("old")

    def write():
        with atomic_path(final) as path:
            path.write_text("half")
            raise error

    with pytest.raises(type(error)) as caught:
        write()
    assert caught.value is error
    assert final.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "disk is full"),
        (OSError("Can't write data (file write failed: error message = 'No space left on device')"), "disk is full"),
        (RuntimeError("Unable to flush: No space left on device"), "disk is full"),
        (OSError(errno.EROFS, os.strerror(errno.EROFS)), "read-only"),
        (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), "quota"),
    ],
)
def test_a_full_or_read_only_disk_is_said_in_a_sentence(tmp_path, error, message):
    def write():
        with atomic_path(tmp_path / "a.txt"):
            raise error

    with pytest.raises(OutputError, match=message) as caught:
        write()
    assert isinstance(caught.value, MidasError)
    assert isinstance(caught.value, OSError)
    assert "a.txt" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == []


def _enter(path: Path) -> None:
    with atomic_path(path):
        pytest.fail("the block ran")


def test_a_missing_folder_shows_before_any_work(tmp_path):
    with pytest.raises(OutputError, match="folder does not exist"):
        _enter(tmp_path / "none" / "a.txt")


def test_a_folder_in_the_way(tmp_path):
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(OutputError, match="a folder of that name"):
        _enter(tmp_path / "a.txt")


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / "f").touch()
    with pytest.raises(OutputError, match="its folder is a file"):
        _enter(tmp_path / "f" / "a.txt")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere; run the tests as an ordinary user")
def test_a_folder_without_permission(tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(OutputError, match="may not be written to"):
        _enter(tmp_path / "closed" / "a.txt")


def test_an_input_that_is_missing_inside_the_block_stays_its_own_error(tmp_path):
    def copy():
        with atomic_path(tmp_path / "a.txt") as path:
            path.write_bytes((tmp_path / "input").read_bytes())

    with pytest.raises(FileNotFoundError):
        copy()
    assert names(tmp_path) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a Linux device that is always full")
def test_a_device_that_is_really_full(tmp_path):
    def write():
        with atomic_path(tmp_path / "a.txt"), open("/dev/full", "w", buffering=1) as full:  # noqa: PTH123
            full.write("x\n" * 10_000)

    with pytest.raises(OutputError, match="disk is full"):
        write()


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    write = (
        "import sys, time\nfrom pathlib import Path\nfrom midas.io.atomic import atomic_path\n"
        "with atomic_path(Path(sys.argv[1])) as path:\n"
        "    path.write_text('half')\n    print('begun', flush=True)\n    time.sleep(600)\n"
    )
    final = tmp_path / "a [1].txt"
    words = [sys.executable, "-c", write, str(final)]
    dead, alive = (subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(2))
    for process in (dead, alive):
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
    assert len(list(tmp_path.iterdir())) == 2
    dead.kill()
    dead.wait()
    try:
        with atomic_path(final) as path:
            path.write_text("whole")
        left = [p.name for p in tmp_path.iterdir() if p != final]
        assert len(left) == 1  # of the one that still writes
        assert final.read_text() == "whole"
    finally:
        alive.kill()
        alive.wait()
        for process in (dead, alive):
            if process.stdout is not None:
                process.stdout.close()


def test_the_folder_is_not_looked_through_for_each_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the folder was listed")

    for name in ("scandir", "listdir"):
        monkeypatch.setattr(os, name, refuse)
    with atomic_path(tmp_path / "a.txt") as path:
        path.write_text("whole")
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_several_at_once_write_the_same_file(tmp_path: Path) -> None:
    final = tmp_path / "a.txt"
    with atomic_path(final) as first:
        with atomic_path(final) as second:
            first.write_text("first")
            second.write_text("second")
        assert final.read_text() == "second"
        with atomic_path(final) as third:
            third.write_text("third")
            assert first.read_text() == "first"
    assert final.read_text() == "first"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
