"""Images looked into: what is in them, and each obvious problem on a file that has it and on one that has not."""

from __future__ import annotations

import json

import fabio.cbfimage
import h5py
import numpy as np
import pytest
import tifffile
import zarr

import midas
from midas.errors import FormatError, InputError
from midas.io.frames import Frames


def rings(shape=(300, 320), *, scale=100.0, offset=0.0, seed=3):
    """Return counts of rings over a background, float64, shape (n_z, n_y)."""
    z, y = np.mgrid[: shape[0], : shape[1]]
    radius = np.hypot(z - shape[0] / 2, y - shape[1] / 2)
    expected = 10.0 + scale * sum(np.exp(-0.5 * ((radius - r) / 1.5) ** 2) for r in (40, 70, 110))
    expected[radius < 12] = 0.2  # beamstop
    return np.random.default_rng(seed).poisson(expected) + offset


def told(found, name):
    return next(fact.text for fact in found.facts if fact.name == name)


def problem(found, words):
    return [p for p in found.problems if words in p]


def test_a_good_image_has_its_numbers_and_no_problems(tmp_path):
    image = rings().astype(np.uint16)
    image[5, 7] = 65535  # one dead pixel
    tifffile.imwrite(tmp_path / "CeO2_80p725keV_657mm.tif", image)
    found = midas.inspect(tmp_path / "CeO2_80p725keV_657mm.tif")
    assert (found.kind, found.format, found.shape, found.dtype) == ("images", "TIFF", (1, 300, 320), "uint16")
    assert found.problems == ()
    valid = image[image != 65535]
    (look,) = found.looks
    assert (look.minimum, look.maximum, look.median) == (valid.min(), valid.max(), np.median(valid))
    assert look.mean == pytest.approx(valid.mean())
    assert look.marked == pytest.approx(1 / image.size)
    assert told(found, "distance") == "657 mm"
    assert ("wavelength", "file name, 80p725keV") in {(f.name, f.source) for f in found.facts}
    assert str(found).startswith(f"{tmp_path}/CeO2_80p725keV_657mm.tif: images, TIFF, 1 x 300 x 320, uint16\n")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda a: np.zeros_like(a, np.uint16), "every pixel of the frames looked at is 0"),
        (lambda a: np.full_like(a, 7, np.uint16), "the same value, 7"),
        (lambda a: np.full_like(a, -1, np.int32), "all are marked"),
        (lambda a: (a + 1800).astype(np.uint16), "give a dark image"),
        (lambda a: np.minimum(a * 40, 4095).astype(np.uint16), "saturated (largest value 4095)"),
        (lambda a: np.minimum(a * 1000, 65535).astype(np.uint16), "saturated"),
        (lambda a: (a - 10.0).astype(np.float32), "a dark seems to be subtracted already"),
        (lambda a: np.where(np.arange(a.size).reshape(a.shape) % 3 > 0, np.nan, a), "marked as no counts"),
    ],
)
def test_each_problem_is_named(tmp_path, make, words):
    good = rings().astype(np.uint16)
    np.save(tmp_path / "good.npy", good)
    np.save(tmp_path / "bad.npy", make(rings()))
    assert midas.inspect(tmp_path / "good.npy").problems == ()
    assert len(problem(midas.inspect(tmp_path / "bad.npy"), words)) == 1, midas.inspect(tmp_path / "bad.npy").problems


def test_gaps_of_a_photon_counter_are_no_saturation_and_need_no_dark(tmp_path):
    image = (rings((514, 1030)) + 90).astype(np.uint32)
    image[200:210] = image[:, 300:304] = 2**32 - 1
    tifffile.imwrite(tmp_path / "a.tif", image)
    found = midas.inspect(tmp_path / "a.tif")
    assert found.problems == ()
    assert found.looks[0].marked == pytest.approx((image == 2**32 - 1).mean())
    assert found.looks[0].saturated == 0.0


def test_a_dark_in_the_file_is_enough(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["exchange/data"] = (rings() + 1800).astype(np.uint16)[None]
    assert problem(midas.inspect(tmp_path / "a.h5"), "give a dark")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["exchange/dark"] = np.full((2, 300, 320), 1800, np.uint16)
        mask = np.zeros((300, 320), np.uint8)
        mask[:30] = 1
        file["exchange/mask"] = mask
        file["measurement/process/scan_parameters/start"] = [-5.0]
        file["measurement/process/scan_parameters/step"] = [0.25]
    found = midas.inspect(tmp_path / "a.h5")
    assert found.problems == ()
    assert told(found, "dark") == "2 frames, median 1800 of the first"
    assert told(found, "mask") == "10.00% masked"
    assert told(found, "omega") == "-5 to -5 deg in steps of 0.25"
    assert told(found, "data") == "exchange/data"


def test_omega_is_that_of_the_frames_looked_at(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["exchange/data"] = np.random.default_rng(7).poisson(9.0, (5, 20, 30)).astype(np.uint16)
        file["measurement/process/scan_parameters/start"] = [-5.0]
        file["measurement/process/scan_parameters/step"] = [0.25]
    assert told(midas.inspect(tmp_path / "a.h5"), "omega") == "-5 to -4 deg in steps of 0.25"
    assert told(midas.inspect(tmp_path / "a.h5", skip_frames=2), "omega") == "-4.5 to -4 deg in steps of 0.25"


@pytest.mark.parametrize(
    ("shape", "words"),
    [((1043, 981), ""), ((981, 1043), "transposed: images of a Pilatus 1M have 1043 rows"), ((1042, 981), "cropped")],
)
def test_the_shape_is_that_of_a_known_detector(tmp_path, shape, words):
    tifffile.imwrite(tmp_path / "a.tif", rings(shape).astype(np.int32))
    found = midas.inspect(tmp_path / "a.tif")
    assert bool(found.problems) == bool(words)
    assert not words or problem(found, words)
    if not words:
        assert told(found, "detector") == "Pilatus 1M, pixels of 172 µm"
    turned = midas.inspect(tmp_path / "a.tif", image_transforms=(3,))
    assert turned.shape == (1, *shape[::-1])


def test_headers_are_told_with_their_source_and_contradictions(tmp_path):
    header = (
        "# Detector: PILATUS3 1M\r\n# Exposure_time 1.0 s\r\n# Wavelength 0.2 A\r\n# Pixel_size 75e-6 m x 75e-6 m\r\n"
    )
    image = fabio.cbfimage.CbfImage(
        data=rings((1043, 981)).astype(np.int32), header={"_array_data.header_contents": header}
    )
    image.write(str(tmp_path / "a_30keV.cbf"))
    found = midas.inspect(tmp_path / "a_30keV.cbf")
    assert ("wavelength", "0.2 Å", "image header Wavelength") in {(f.name, f.text, f.source) for f in found.facts}
    assert problem(found, "contradict each other")
    assert problem(found, "Pilatus 1M, whose pixels are 172 µm")


def stack(n, **options):
    return np.stack([rings(seed=i, **options) for i in range(n)]).astype(np.uint16)


def test_of_a_stack_a_few_frames_are_read_and_named(tmp_path, monkeypatch):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("exchange/data", (5000, 30, 32), np.uint16, chunks=(1, 30, 32), fillvalue=0)
        noise = np.random.default_rng(1)
        for i in range(3210):
            data[i] = noise.poisson(20, (30, 32))
        for i in range(3210, 5000):
            data[i] = np.zeros((30, 32))
    read = []
    whole = Frames._read
    monkeypatch.setattr(Frames, "_read", lambda self, i: read.append(i) or whole(self, i))
    found = midas.inspect(tmp_path / "a.h5")
    assert [look.index for look in found.looks] == [0, 714, 1428, 2142, 2857, 3571, 4285, 4999]
    assert told(found, "looked at") == "frames 0, 714, 1428, 2142, 2857, 3571, 4285, 4999"
    assert problem(found, "the last frames are empty, from 3210 on, 1790 of 5000")
    assert len(read) <= 8 + 10  # and a search by halves


def test_frames_never_written_are_named_and_the_others_looked_at(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("exchange/data", (40, 300, 320), np.uint16, chunks=(1, 300, 320))
        for i, frame in enumerate(stack(6)):
            data[i] = frame
    found = midas.inspect(tmp_path / "a.h5")
    assert [look.index for look in found.looks] == [0, 1, 2, 3, 4, 5]
    assert problem(found, "34 of the 40 frames of /exchange/data were never written (6 to 39")
    assert len(found.problems) == 1
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_dataset("exchange/data", (4, 30, 32), np.uint16, chunks=(1, 30, 32))
    found = midas.inspect(tmp_path / "b.h5")
    assert found.looks == ()
    assert len(problem(found, "never written")) == 1
    assert found.picture is None
    with pytest.raises(InputError, match="has no picture"):
        found.plot()


def test_frames_that_are_alike_or_empty_or_broken(tmp_path):
    frames = stack(5)
    np.save(tmp_path / "alike.npy", np.stack([frames[0]] * 5))
    assert problem(midas.inspect(tmp_path / "alike.npy"), "the same to the last count")
    frames[2] = 0
    np.save(tmp_path / "empty.npy", frames)
    assert problem(midas.inspect(tmp_path / "empty.npy"), "of the frames looked at 2 is empty")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("exchange/data", data=stack(3), chunks=(1, 300, 320), compression="gzip")
        info = data.id.get_chunk_info(1)
    content = bytearray((tmp_path / "a.h5").read_bytes())
    content[info.byte_offset : info.byte_offset + info.size] = b"\xff" * info.size
    (tmp_path / "a.h5").write_bytes(content)
    found = midas.inspect(tmp_path / "a.h5")
    assert [look.index for look in found.looks] == [0, 2]
    assert problem(found, "frame 1 cannot be read")


def zarr_group(store):
    """Return a new group in format 2, by zarr 2 or 3."""
    return zarr.open_group(store, mode="w", **({"zarr_format": 2} if zarr.__version__ > "3" else {}))


def test_a_midas_archive_and_a_zarr_folder(tmp_path):
    for path in (tmp_path / "a.MIDAS.zip", tmp_path / "b.zarr"):
        store = zarr.storage.ZipStore(str(path), mode="w") if path.suffix == ".zip" else str(path)
        exchange = zarr_group(store).create_group("exchange")
        create = exchange.create_array if zarr.__version__ > "3" else exchange.create_dataset
        create("data", shape=(3, 300, 320), chunks=(1, 300, 320), dtype="u2")[...] = stack(3)
        if path.suffix == ".zip":
            store.close()
        found = midas.inspect(path)
        assert (found.format, found.shape, found.problems) == ("zarr", (3, 300, 320), ())


def test_a_ge_file_of_another_shape(tmp_path):
    (tmp_path / "a.ge3").write_bytes(bytes(100) + stack(2).astype("<u2").tobytes())
    with pytest.raises(FormatError, match="whole number"):
        midas.inspect(tmp_path / "a.ge3")
    found = midas.inspect(tmp_path / "a.ge3", frame_shape=(300, 320), head_size=100)
    assert (found.shape, found.problems) == ((2, 300, 320), ())


def test_what_programs_and_notebooks_get(tmp_path):
    np.save(tmp_path / "a<b>.npy", np.full((20, 30), np.nan))
    found = midas.inspect(tmp_path / "a<b>.npy")
    data = json.loads(json.dumps(found.as_data(), allow_nan=False))
    assert data["frames"][0]["maximum"] is None
    assert data["shape"] == [1, 20, 30]
    assert "a&lt;b&gt;.npy" in found._repr_html_()
    assert "<b>" not in found._repr_html_()
    assert "holds counts" in found._repr_html_()
    assert repr(found) == str(found)


@pytest.mark.parametrize("make", [lambda a: a, lambda a: np.zeros_like(a), lambda a: np.full_like(a, 65535)])
def test_the_picture(tmp_path, make):
    tifffile.imwrite(tmp_path / "a.tif", make(rings((900, 1400)).astype(np.uint16)))
    found = midas.inspect(tmp_path / "a.tif")
    assert found.picture.shape == (300, 467)
    found.save_plot(tmp_path / "a.png")
    assert tifffile.imread(tmp_path / "a.tif").shape == (900, 1400)
    import matplotlib.image

    assert matplotlib.image.imread(tmp_path / "a.png").shape[:2] == (780, 1430)
    with pytest.raises(InputError, match=r"\.png, \.pdf"):
        found.save_plot(tmp_path / "a.tif")


def test_the_picture_holds_means_of_valid_pixels(tmp_path):
    image = np.arange(4 * 1000, dtype=np.int32).reshape(4, 1000)
    image[0, 0] = -1
    np.save(tmp_path / "a.npy", image)
    picture = midas.inspect(tmp_path / "a.npy").picture
    assert picture.shape == (2, 500)
    assert picture[0, 0] == pytest.approx((1 + 1000 + 1001) / 3)
    assert picture[1, 499] == pytest.approx(image[2:, 998:].mean())


@pytest.mark.data
def test_real_images_have_no_problems(shared_data):
    for name in ("ceo2_ge_80p725keV.tif", "ceo2_pilatus1m.tif"):
        assert midas.inspect(shared_data / name).problems == ()
