"""Images that are damaged, of the wrong kind or not there: refused in a sentence that names the file."""

from __future__ import annotations

import errno
import zipfile

import fabio
import h5py
import numpy as np
import pytest
import tifffile
from stack_files import (
    STACKS,
    N,
    write_stack,
)

from midas.errors import FormatError, InputError
from midas.io.formats import FORMATS
from midas.io.frames import read_frames, read_mask


def test_two_candidates_are_not_guessed_between(tmp_path, stack):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["one"] = stack
        file["two"] = stack
        file["scalar"] = 3.0
    with pytest.raises(FormatError, match=r"rank 2 or 3 in it: one \(4, 24, 17\), two \(4, 24, 17\); name one"):
        read_frames(path)


def test_unknown_suffix_and_missing_file(tmp_path):
    with pytest.raises(FormatError, match=r"unknown image suffix '.tifff' \(nearest: .tiff\)"):
        read_frames(tmp_path / "a.tifff")
    with pytest.raises(FormatError, match="no such file"):
        read_frames(tmp_path / "a.tif")


def test_wrong_rank(tmp_path):
    for shape in ((5,), (2, 3, 4, 5), (0, 3, 4)):
        np.save(tmp_path / "a.npy", np.zeros(shape, dtype=np.uint16))
        with pytest.raises(FormatError, match=r"a\.npy: the array has shape"):
            read_frames(tmp_path / "a.npy")
    tifffile.imwrite(tmp_path / "rgb.tif", np.zeros((4, 5, 3), dtype=np.uint8), photometric="rgb")
    with pytest.raises(FormatError, match="colour"):
        read_frames(tmp_path / "rgb.tif")
    np.save(tmp_path / "c.npy", np.zeros((4, 5), dtype=complex))
    with pytest.raises(FormatError, match="complex128"):
        read_frames(tmp_path / "c.npy")


@pytest.mark.parametrize("name", [n for n in STACKS if n not in ("a.zarr", "a.GE5")] + ["a.cbf"])
@pytest.mark.parametrize("left", [0, 0.02, 0.45, 0.93])
def test_a_truncated_file_is_refused_never_filled_with_zeros(tmp_path, rng, name, left):
    stack = rng.integers(0, 60000, (N, 64, 64)).astype(np.uint16)
    path = tmp_path / name
    if name.endswith(".cbf"):
        fabio.cbfimage.CbfImage(data=stack[0].astype(np.int32)).write(str(path))
    else:
        write_stack(path, stack)
    content = path.read_bytes()
    path.write_bytes(content[: int(left * len(content))])
    shape = {"frame_shape": (64, 64)} if ".ge" in name else {}
    with pytest.raises(FormatError) as caught:
        read_frames(path, **shape)[:]
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_tiff_whose_chain_of_pages_is_cut_is_refused(tmp_path, stack):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for frame in stack:
            writer.write(frame, photometric="minisblack", contiguous=False, metadata=None)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        last = file.pages[N - 1].offset
    content = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(content[:last])  # the pages before are whole
    with pytest.raises(FormatError, match="truncated"):
        read_frames(tmp_path / "a.tif")


@pytest.mark.parametrize("suffix", sorted(FORMATS))
def test_garbage_is_refused_by_every_suffix(tmp_path, rng, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(rng.bytes(5000))
    with pytest.raises(FormatError) as caught:
        read_frames(path)[:]
    assert str(caught.value).startswith(str(path))


def test_a_flipped_bit_in_a_checksummed_file_is_refused(tmp_path, stack):
    path = tmp_path / "a.cbf"
    fabio.cbfimage.CbfImage(data=stack[0].astype(np.int32)).write(str(path))
    content = bytearray(path.read_bytes())
    content[-300] ^= 1
    path.write_bytes(content)
    with pytest.raises(FormatError, match="corrupt"):
        read_frames(path)


def test_a_folder_or_a_plain_zip_is_refused(tmp_path):
    (tmp_path / "d.tif").mkdir()
    with pytest.raises(FormatError, match="it is a folder"):
        read_frames(tmp_path / "d.tif")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("hello.txt", "hi")
    with pytest.raises(FormatError, match=r"a\.zip"):
        read_frames(tmp_path / "a.zip")


@pytest.mark.parametrize("skip", [-1, N, 99])
def test_skipping_everything_is_refused(tmp_path, stack, skip):
    np.save(tmp_path / "a.npy", stack)
    with pytest.raises(InputError, match="expected 0 to 3"):
        read_frames(tmp_path / "a.npy", skip_frames=skip)


def test_a_mask_of_everything_is_refused(tmp_path):
    np.save(tmp_path / "m.npy", np.ones((3, 4), dtype=np.uint8))
    with pytest.raises(FormatError, match="every pixel is masked"):
        read_mask(tmp_path / "m.npy")


def test_a_disk_that_fails_under_way_is_told_with_file_and_frame(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", np.ones((4, 3, 5), dtype=np.uint16))
    with read_frames(tmp_path / "a.npy") as frames:
        original = frames._source.read_several

        def failing(first, end, n_threads):
            if first <= 2 < end:
                raise OSError(errno.EIO, "Input/output error")
            return original(first, end, n_threads)

        monkeypatch.setattr(frames._source, "read_several", failing)
        assert frames[:2].sum() == 30
        with pytest.raises(FormatError, match=r"a\.npy: frame 2 cannot be read .*Input/output error"):
            frames[:]
