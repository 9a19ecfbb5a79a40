"""A small run of the fuzzer of all readers; `python tests/reader_fuzz.py` is the large one."""

from __future__ import annotations

import sys
from collections import Counter

import numpy as np
import pytest
import zarr
from image_files import COLUMNS, FORMATS, ROWS
from reader_fuzz import DAMAGES, Outcome, fuzz, judge

from midas.errors import FormatError
from midas.io.fabio_checks import check_mar345
from midas.io.frames import read_frames, read_image


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited as Linux does; run it there")
@pytest.mark.skipif(zarr.__version__.startswith("2"), reason="writes zarr format 3; install zarr 3 to run it")
def test_no_damaged_file_ends_the_process_or_gets_a_wrong_error():
    outcomes = list(fuzz(range(20 * len(FORMATS)), 7))
    assert {o.format for o in outcomes} == {form.id for form in FORMATS}
    assert [o for o in outcomes if o.bad] == []
    kinds = Counter(o.kind for o in outcomes)
    assert min(kinds["read"], kinds["refused"]) > len(outcomes) / 10


def test_the_judge_knows_what_must_not_be(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", np.zeros((2, 3), np.uint16))
    assert judge(tmp_path / "a.npy", {}) == ("read", "")
    assert judge(tmp_path / "b.npy", {})[0] == "refused"

    def fail_with(error: BaseException):
        def read(*_, **__):
            raise error

        monkeypatch.setattr("midas.io.frames.read_frames", read)
        return judge(tmp_path / "a.npy", {})[0]

    assert fail_with(FormatError("something is wrong")) == "unnamed"
    assert fail_with(KeyError("a")) == "wrong error"
    hidden = FormatError(f"{tmp_path / 'a.npy'}: too large")
    hidden.__cause__ = MemoryError()
    assert fail_with(hidden) == "memory"
    assert Outcome(0, "", "", "memory").bad


def test_damage_is_the_same_for_the_same_seed():
    for damage in DAMAGES:
        first, second, whole = (bytearray(range(256)) * 40 for _ in range(3))
        first, second = (damage(data, np.random.default_rng(3)) for data in (first, second))
        assert first == second
        assert isinstance(damage(bytearray(), np.random.default_rng(1)), bytearray)
        assert any(damage(bytearray(whole), np.random.default_rng(seed)) != whole for seed in range(20)), damage


def written(tmp_path, file: str) -> tuple[object, bytearray]:
    form = next(form for form in FORMATS if form.file == file)
    image = np.random.default_rng(5).integers(0, 4000, (1, ROWS, COLUMNS)).astype(form.dtype)
    form.write(tmp_path / file, image)
    return tmp_path / file, bytearray((tmp_path / file).read_bytes())


def test_mar345_pixels_that_are_cut_short_or_too_many_are_refused(tmp_path):
    path, content = written(tmp_path, "a.mar2300")
    check_mar345(bytes(content))
    path.write_bytes(content[:-40])
    with pytest.raises(FormatError, match=r"a\.mar2300: \d+ of 432 pixels are there"):
        read_frames(path)
    at = content.index(b"X: 0018, Y: 0024")
    path.write_bytes(content[:at] + b"X: 0018, Y: 0012" + content[at + 16 :])
    with pytest.raises(FormatError, match="its header says 432 pixels in rows of 18, the packed image 12 x 18"):
        read_frames(path)
    path.write_bytes(content.replace(b"packed image, X", b"packed image V2, X"))
    with pytest.raises(FormatError, match="version 2"):
        read_frames(path)


def test_a_list_of_images_without_end_is_refused(tmp_path):
    path, content = written(tmp_path, "a.mccd")
    at = 8 + 2 + 9 * 12
    for offset in (8, 10**6):
        content[at : at + 4] = offset.to_bytes(4, "little")
        path.write_bytes(content)
        with pytest.raises(FormatError, match=rf"a\.mccd: its list of images leads to byte {offset}"):
            read_frames(path)


def test_a_cbf_says_what_is_wrong(tmp_path):
    path, content = written(tmp_path, "a.cbf")
    for old, new, message in [
        (b"x-CBF_BYTE_OFFSET", b"x-CBF_CANONICAL", "packed by 'x-CBF_CANONICAL'"),
        (b"signed 32-bit integer", b"signed 32-bit real", "of type 'signed 32-bit real'"),
        (b"Second-Dimension: 24", b"Second-Dimension: 2400000", "2400000 x 18"),
        (b"Second-Dimension: 24", b"Second-Dimension: 23", "pixels|corrupt"),
        (b"Fastest-Dimension: 18", b"Fastest-Dimension: x8", "says 'x8' of x-binary-size-fastest-dimension"),
    ]:
        assert old in content
        path.write_bytes(content.replace(old, new))
        with pytest.raises(FormatError, match=message):
            read_frames(path)


def test_a_frame_larger_than_any_detector_is_refused_before_it_is_made(tmp_path):
    path, content = written(tmp_path, "a.osc")
    content[768:776] = (40000).to_bytes(4, "big") * 2
    path.write_bytes(content)
    with pytest.raises(FormatError, match="40000 x 40000 pixels, of which"):
        read_image(path)
    np.lib.format.open_memmap(tmp_path / "a.npy", "w+", np.uint16, (40000, 40000)).flush()
    with pytest.raises(FormatError, match=r"a\.npy: its frames are 40000 x 40000 uint16, more than a detector's"):
        read_frames(tmp_path / "a.npy")


def test_a_frame_unlike_the_first_is_refused(tmp_path):
    """EDF may change shape and type from frame to frame."""
    import fabio

    for other in (np.zeros((5, 4), np.uint16), np.zeros((4, 5), np.float32)):
        image = fabio.edfimage.EdfImage(data=np.zeros((4, 5), np.uint16))
        image.append_frame(data=other)
        image.write(str(tmp_path / "a.edf"))
        with (
            read_frames(tmp_path / "a.edf") as frames,
            pytest.raises(FormatError, match=r"a\.edf: frame 1 is .*, the first \(4, 5\) uint16"),
        ):
            _ = frames[1]


def test_a_table_of_texts_that_hdf5_would_read_for_ever(tmp_path):
    import h5py

    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["default"] = "entry"
        file["exchange/data"] = np.zeros((2, 3, 4), np.uint16)
    content = bytearray((tmp_path / "a.h5").read_bytes())
    assert read_frames(tmp_path / "a.h5").shape == (2, 3, 4)
    at = content.index(b"GCOL")
    for damage in (bytes(184), content[at + 16 : at + 32] + b"\xff" * 168):
        content[at + 16 : at + 200] = damage
        (tmp_path / "a.h5").write_bytes(content)
        with pytest.raises(FormatError, match=r"a\.h5: its table of texts is damaged"):
            read_frames(tmp_path / "a.h5")
