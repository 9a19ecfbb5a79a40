"""Several image files read as one stack."""

from __future__ import annotations

import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

from midas.errors import FormatError, InputError
from midas.io import frames as frames_module
from midas.io.frames import read_frames


@pytest.fixture
def stack(rng) -> np.ndarray:
    return rng.integers(0, 5000, (4, 24, 17)).astype(np.uint16)


def write(path: Path, stack: np.ndarray) -> None:
    if path.suffix == ".npy":
        np.save(path, stack)
    elif path.suffix == ".tif":
        tifffile.imwrite(path, stack)
    else:
        with h5py.File(path, "w") as file:
            file["exchange/data"] = stack


def test_files_of_a_list_are_one_stack(tmp_path, stack):
    names = ["a.npy", "b.tif", "c.h5"]
    for name, part in zip(names, np.split(stack, [1, 2]), strict=True):
        write(tmp_path / name, part)
    paths = [str(tmp_path / "a.npy"), *(tmp_path / name for name in names[1:])]
    with read_frames(paths) as frames:
        np.testing.assert_array_equal(frames[:], stack)
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(frames))[-1], stack[-1])
        assert frames.files == tuple(tmp_path / name for name in names)
        assert frames.metadata["source"] == f"{paths[0]} and 2 more"
    with read_frames([paths[2], paths[2]], skip_frames=1, image_transforms=[3]) as frames:
        left = len(stack) - 3
        assert len(frames) == 2 * left
        np.testing.assert_array_equal(frames[left], stack[3].T)


def test_lists_that_are_no_stack_are_refused(tmp_path):
    for name, values in (("a", np.ones((3, 4), np.uint16)), ("b", np.ones((4, 4), np.uint16)), ("c", np.ones((3, 4)))):
        np.save(tmp_path / f"{name}.npy", values)
    for other in "bc":
        with pytest.raises(
            FormatError, match=rf"{other}\.npy: its frames are .*, those of .*a\.npy 3 x 4 uint16; expected"
        ):
            read_frames([tmp_path / "a.npy", tmp_path / f"{other}.npy"])
    with pytest.raises(FormatError, match=r"d\.npy: no such file"):
        read_frames([tmp_path / "a.npy", tmp_path / "d.npy"])
    with pytest.raises(InputError, match="no file in the list"):
        read_frames([])
    for wrong in (5, None, tmp_path.glob("*")):
        with pytest.raises(InputError, match=r"path is .*; expected the name of an image file, or a list of names"):
            read_frames(wrong)
    with pytest.raises(InputError, match="a file of the list is 5"):
        read_frames([tmp_path / "a.npy", 5])


def test_masks_of_all_files_count_and_darks_are_in_all_or_none(tmp_path, stack):
    masks = np.zeros((2, *stack.shape[1:]), np.uint8)
    masks[0, 3, 4] = masks[1, 5, 6] = 1
    for name, mask in zip(("a.h5", "b.h5", "c.h5"), (*masks, None), strict=True):
        write(tmp_path / name, stack)
        with h5py.File(tmp_path / name, "r+") as file:
            if mask is not None:
                file["exchange/mask"] = mask
            if name != "b.h5":
                file["exchange/dark"] = stack[:1]
    paths = [tmp_path / name for name in ("a.h5", "b.h5", "c.h5")]
    with read_frames(paths) as frames:
        np.testing.assert_array_equal(frames.mask, masks.any(axis=0))
        with pytest.raises(FormatError, match=r"b\.h5 holds no dark .* name a dark for all"):
            _ = frames.has_dark
    with read_frames(paths[::2]) as frames:
        assert frames.has_dark
    write(tmp_path / "d.h5", stack)
    with read_frames([tmp_path / "d.h5", tmp_path / "d.h5"]) as frames:
        assert frames.mask is None
        assert not frames.has_dark


def test_files_stored_in_two_ways_are_no_scan(tmp_path, stack):
    from midas.io.convert import ConvertOptions, convert_file

    write(tmp_path / "a.npy", stack)
    write(tmp_path / "dark.npy", stack[:1] // 2)
    for name, threshold in (("a", -1.0), ("b", 0.0)):
        options = ConvertOptions(dark=tmp_path / "dark.npy", threshold=threshold)
        convert_file(tmp_path / "a.npy", tmp_path / f"{name}.MIDAS.zip", options)
    with pytest.raises(FormatError, match=r"b\.MIDAS\.zip says True of dark_subtracted, .*a\.MIDAS\.zip"):
        read_frames([tmp_path / "a.MIDAS.zip", tmp_path / "b.MIDAS.zip"])


def test_each_file_is_opened_twice(tmp_path, stack, monkeypatch):
    for k in range(3):
        with h5py.File(tmp_path / f"{k}.h5", "w") as file:
            file["exchange/data"], file["exchange/dark"] = stack, stack[:1]
            file["exchange/mask"] = np.eye(*stack.shape[1:], k)
    opened = []
    original = frames_module._open
    monkeypatch.setattr(
        frames_module, "_open", lambda path, *a, **k: opened.append(path.name) or original(path, *a, **k)
    )
    with read_frames([tmp_path / f"{k}.h5" for k in range(3)]) as frames:
        assert frames.has_dark
        assert int(frames.mask.sum()) == 17 + 16 + 15
        assert sum(1 for _ in frames) == 12
    assert opened == 2 * ["0.h5", "1.h5", "2.h5"]
