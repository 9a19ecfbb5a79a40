"""Image files and parameters in, caked files out; the arguments of `midas integrate`."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest

from midas import FormatError, InputError, OutputError
from midas.cake import SeriesFiles, SeriesOptions, integrate_file, integrate_files
from midas.cli.integrate import add_parser, run
from midas.io.gsas_zarr import read_cake_file
from midas.io.parameters import Parameters, parse_params

N = 64
TEXT = f"""Lsd 300000
BC 30.2 31.7
px 200
Wavelength 0.2
NrPixelsY {N}
NrPixelsZ {N}
RMin 2
RMax 28
RBinSize 1
EtaBinSize 30
OmegaStart -10
OmegaStep 0.5
OmegaSumFrames 2
SkipFrame 1
SHpL 0.003
"""


@pytest.fixture
def parameters() -> Parameters:
    return parse_params(TEXT)


def write_stack(path: Path, n: int, seed: int = 1) -> np.ndarray:
    stack = np.random.default_rng(seed).poisson(25.0, (n, N, N)).astype(np.uint16)
    np.save(path, stack)
    return stack


def test_a_file_and_its_dark(parameters: Parameters, tmp_path: Path) -> None:
    stack = write_stack(tmp_path / "s_000007.npy", 6)
    np.save(tmp_path / "dark.npy", np.full((3, N, N), 5, dtype=np.uint16))
    files = SeriesFiles(tmp_path / "s_000007.npy", dark=tmp_path / "dark.npy")
    done = integrate_files(files, parameters, tmp_path / "out")
    assert [p.name for p in done.written] == ["s_000007.npy.zarr.zip"]
    read = read_cake_file(done.written[0])
    assert read.frames.tolist() == [2, 2, 1]
    assert read.frame_numbers.tolist() == [2, 4, 5]
    assert read.first_omega.tolist() == [-10.0, -9.0, -8.0]
    assert read.instrument["SH_L"] == 0.003
    assert read.individual is not None
    assert read.first_frame_number == 1
    cake, path = integrate_file(files, parameters, tmp_path / "b.zarr.zip")
    assert path.read_bytes() == done.written[0].read_bytes()
    assert cake.frames.tolist() == [2, 2, 1]
    # The first frame is skipped and the dark subtracted once.
    mean = float(np.average(read.intensity[0], weights=read.bin_area))
    assert mean == pytest.approx(2 * (stack[1:3].mean() - 5.0), rel=0.02)


def test_a_series_builds_the_map_once_and_skips_what_is_there(
    parameters: Parameters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from midas.cake import file_task

    for k in (98, 99, 100):
        write_stack(tmp_path / f"s_{k:06d}.npy", 3, seed=k)
    built = []
    original = file_task.build_map
    monkeypatch.setattr(file_task, "build_map", lambda *a, **k: built.append(1) or original(*a, **k))
    files = SeriesFiles(tmp_path / "s_000098.npy", first_number=98, last_number=100)
    done = integrate_files(files, parameters, tmp_path / "out")
    assert [p.name[:8] for p in done.written] == ["s_000098", "s_000099", "s_000100"]
    assert built == [1]
    again = integrate_files(files, parameters, tmp_path / "out", options=SeriesOptions(skip_existing=True))
    assert (len(again.skipped), again.written, again.last) == (3, (), None)


def test_the_dark_inside_an_hdf5_file_is_found(parameters: Parameters, tmp_path: Path) -> None:
    import h5py

    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["exchange/data"] = np.full((3, N, N), 30, dtype=np.uint16)
        file["exchange/dark"] = np.full((2, N, N), 10, dtype=np.uint16)
    done = integrate_files(SeriesFiles(tmp_path / "a.h5"), parameters, tmp_path)
    assert done.last is not None
    np.testing.assert_allclose(done.last.intensity, 40.0, rtol=5e-7)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["exchange/data"] = np.full((3, N, N), 30, dtype=np.uint16)
    done = integrate_files(SeriesFiles(tmp_path / "b.h5"), parameters, tmp_path)
    assert done.last is not None
    np.testing.assert_allclose(done.last.intensity, 60.0, rtol=5e-7)


def test_a_dark_inside_that_cannot_be_read_is_no_missing_dark(parameters: Parameters, tmp_path: Path) -> None:
    import h5py

    path = tmp_path / "a.h5"
    for shape in ((4, 3, 2, 1), (0, N, N)):
        with h5py.File(path, "w") as file:
            file["exchange/data"] = np.full((3, N, N), 30, dtype=np.uint16)
            file["exchange/dark"] = np.zeros(shape, dtype=np.uint16)
        with pytest.raises(FormatError, match="shape"):
            integrate_files(SeriesFiles(path), parameters, tmp_path)
    with h5py.File(path, "w") as file:
        file["exchange/data"] = np.full((3, N, N), 30, dtype=np.uint16)
        file["exchange"].create_group("dark")
    with pytest.raises(FormatError, match="exchange/dark"):
        integrate_files(SeriesFiles(path), parameters, tmp_path)
    with h5py.File(path, "w") as file:
        file["exchange/data"] = np.full((3, N, N), 30, dtype=np.uint16)
        dark = file.create_dataset("exchange/dark", (1, N, N), "u2", chunks=(1, N, N), compression="gzip")
        dark[:] = 10
        chunk = dark.id.get_chunk_info(0)
    with path.open("r+b") as raw:  # spoil the compressed bytes
        raw.seek(chunk.byte_offset)
        raw.write(bytes(chunk.size))
    with pytest.raises(FormatError, match="frame 0 cannot be read"):
        integrate_files(SeriesFiles(path), parameters, tmp_path)
    assert not list(tmp_path.glob("*.zip"))


@pytest.mark.parametrize("counts", [None, 10])
def test_the_dark_inside_a_zarr_folder_is_found_or_missing(
    parameters: Parameters, tmp_path: Path, counts: int | None
) -> None:
    import zarr

    root = zarr.open_group(str(tmp_path / "a.zarr"), mode="w")
    root.create_group("exchange")["data"] = np.full((3, N, N), 30, dtype=np.uint16)
    if counts is not None:
        root["exchange"]["dark"] = np.full((2, N, N), counts, dtype=np.uint16)
    done = integrate_files(SeriesFiles(tmp_path / "a.zarr"), parameters, tmp_path / "out")
    assert done.last is not None
    np.testing.assert_allclose(done.last.intensity, 2 * (30.0 - (counts or 0)), rtol=5e-7)


def test_omega_of_the_file_is_that_of_its_first_stored_frame(tmp_path: Path) -> None:
    import h5py

    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["exchange/data"] = np.full((5, N, N), 30, dtype=np.uint16)
        file["measurement/process/scan_parameters/start"] = 10.0
        file["measurement/process/scan_parameters/step"] = 0.5
    lines = [line for line in TEXT.splitlines() if not line.startswith(("Omega", "SkipFrame"))]
    text = "\n".join([*lines, "OmegaSumFrames 1", "SkipFrame 2\n"])
    done = integrate_files(SeriesFiles(tmp_path / "a.h5"), parse_params(text), tmp_path)
    assert done.last is not None
    assert done.last.first_omega.tolist() == [11.0, 11.5, 12.0]
    # What the parameters say is the omega of the first frame used.
    done = integrate_files(SeriesFiles(tmp_path / "a.h5"), parse_params(text + "OmegaStart 3\n"), tmp_path)
    assert done.last is not None
    assert done.last.first_omega.tolist() == [3.0, 3.5, 4.0]


def test_the_mask_inside_is_used(parameters: Parameters, tmp_path: Path) -> None:
    import h5py

    stack = np.random.default_rng(1).poisson(25.0, (3, N, N)).astype(np.uint16)
    mask = np.zeros((N, N), dtype=np.uint8)
    mask[20:30, 10:50] = 1
    for name, inside in (("a", True), ("b", False)):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["exchange/data"] = stack
            if inside:
                file["exchange/mask"] = mask
    np.save(tmp_path / "mask.npy", mask)
    named = parameters.updated({"MaskFile": str(tmp_path / "mask.npy")})
    inside = integrate_file(SeriesFiles(tmp_path / "a.h5"), parameters, tmp_path / "out")[0]
    outside = integrate_file(SeriesFiles(tmp_path / "b.h5"), named, tmp_path / "out")[0]
    np.testing.assert_allclose(inside.bin_area, outside.bin_area, rtol=1e-6)
    np.testing.assert_allclose(inside.intensity, outside.intensity, rtol=1e-6)
    assert (
        inside.bin_area.sum() < integrate_file(SeriesFiles(tmp_path / "b.h5"), parameters, tmp_path)[0].bin_area.sum()
    )


def test_what_a_converted_file_says_of_its_frames(parameters: Parameters, tmp_path: Path) -> None:
    from midas.io.convert import ConvertOptions, convert_file

    write_stack(tmp_path / "a.npy", 3)
    np.save(tmp_path / "dark.npy", np.full((N, N), 5, dtype=np.uint16))
    flipped = parameters.updated({"ImTransOpt": [1]})
    options = ConvertOptions(parameters=flipped, dark=tmp_path / "dark.npy", threshold=0.0)
    path = tmp_path / "a.MIDAS.zip"
    assert convert_file(tmp_path / "a.npy", path, options) == 3
    with pytest.raises(InputError, match=r"ImTransOpt \(1,\).* has \(\)"):
        integrate_file(SeriesFiles(path), parameters, tmp_path / "out")
    # Its dark is subtracted already, whatever dark is named.
    again = SeriesFiles(path, dark=tmp_path / "dark.npy")
    cake = integrate_file(again, flipped, tmp_path / "out")[0]
    expected = integrate_file(SeriesFiles(tmp_path / "a.npy", dark=tmp_path / "dark.npy"), flipped, tmp_path / "out")[0]
    np.testing.assert_allclose(cake.intensity, expected.intensity, rtol=1e-6)


@pytest.mark.parametrize("transforms", [[], [1, 3]], ids=str)
def test_a_threshold_is_that_of_converted_frames(parameters: Parameters, tmp_path: Path, transforms: list[int]) -> None:
    from midas.io.convert import ConvertOptions, convert_file

    write_stack(tmp_path / "a.npy", 3)
    np.save(tmp_path / "dark.npy", np.full((2, N, N), 20, dtype=np.uint16))
    turned = parameters.updated({"ImTransOpt": transforms})
    options = ConvertOptions(parameters=turned, dark=tmp_path / "dark.npy", threshold=4.0)
    convert_file(tmp_path / "a.npy", tmp_path / "a.MIDAS.zip", options)
    converted = integrate_file(SeriesFiles(tmp_path / "a.MIDAS.zip"), turned, tmp_path / "b")[0]
    files = SeriesFiles(tmp_path / "a.npy", dark=tmp_path / "dark.npy")
    direct = integrate_files(files, turned, tmp_path / "c", options=SeriesOptions(threshold=4.0)).last
    plain = integrate_files(files, turned, tmp_path / "d").last
    assert direct is not None
    assert plain is not None
    np.testing.assert_array_equal(direct.intensity, converted.intensity)
    np.testing.assert_array_equal(direct.sigma, converted.sigma)
    assert not np.allclose(direct.intensity, plain.intensity, rtol=1e-3, equal_nan=True)
    zero_is_bad = turned.updated({"GapIntensity": 0})
    with pytest.raises(InputError, match=r"0 is no count .* leave out the threshold"):
        integrate_files(files, zero_is_bad, tmp_path / "e", options=SeriesOptions(threshold=4.0))


@pytest.mark.parametrize("kind", ["u2", "i4", "f4"])
def test_a_threshold_leaves_out_pixels_that_the_dark_marks(parameters: Parameters, tmp_path: Path, kind: str) -> None:
    from midas.io.convert import ConvertOptions, convert_file

    dark = np.full((N, N), 20, dtype=kind)
    dark[::3, ::3] = {"u2": 65535, "i4": -1, "f4": np.nan}[kind]
    dark[1::3, 1::3] = 20 if kind != "f4" else -2.0  # what is left of another dark, and no mark
    np.save(tmp_path / "dark.npy", dark)  # one frame, in its own dtype
    np.save(tmp_path / "a.npy", np.random.default_rng(3).poisson(25.0, (3, N, N)).astype("i4"))
    files, lifted = SeriesFiles(tmp_path / "a.npy", dark=tmp_path / "dark.npy"), parameters.updated({"RBinSize": 4})
    options = ConvertOptions(parameters=lifted, dark=tmp_path / "dark.npy", threshold=0.0)
    convert_file(tmp_path / "a.npy", tmp_path / "a.MIDAS.zip", options)
    direct = integrate_files(files, lifted, tmp_path / "b", options=SeriesOptions(threshold=0.0)).last
    converted = integrate_file(SeriesFiles(tmp_path / "a.MIDAS.zip"), lifted, tmp_path / "c")[0]
    plain = integrate_file(files, lifted, tmp_path / "d")[0]
    assert direct is not None
    np.testing.assert_array_equal(direct.intensity, converted.intensity)
    np.testing.assert_array_equal(direct.bin_area, converted.bin_area)
    np.testing.assert_allclose(direct.bin_area, plain.bin_area, rtol=1e-6)
    raw = integrate_file(SeriesFiles(tmp_path / "a.npy"), lifted, tmp_path / "e")[0]
    assert direct.bin_area.sum() == pytest.approx(8 / 9 * raw.bin_area.sum(), rel=0.02)  # a ninth has no dark


@pytest.mark.parametrize("named", ["key", "file"])
def test_a_constant_dark_has_no_error(parameters: Parameters, tmp_path: Path, named: str) -> None:
    write_stack(tmp_path / "a.npy", 3)
    files = SeriesFiles(tmp_path / "a.npy", dark=Path("5") if named == "file" else None)
    raw = integrate_file(SeriesFiles(tmp_path / "a.npy"), parameters, tmp_path / "raw")[0]
    if named == "key":
        parameters = parameters.updated({"Dark": "5"})
    cake = integrate_file(files, parameters, tmp_path / "out")[0]
    np.testing.assert_allclose(cake.intensity, raw.intensity - 5.0 * cake.frames[:, None, None], rtol=1e-5)
    np.testing.assert_allclose(cake.sigma, raw.sigma, rtol=1e-5)
    with pytest.raises(InputError, match=r"dark is -5; expected the name of a file, or counts"):
        integrate_file(SeriesFiles(tmp_path / "a.npy", dark=Path("-5")), parameters, tmp_path / "no")


def test_flat_and_corrections_of_the_parameters(parameters: Parameters, tmp_path: Path) -> None:
    from midas.cake import Corrections, IntegrationOptions, integrate
    from midas.io.gsas_zarr import read_cake_file

    stack = write_stack(tmp_path / "a.npy", 3)
    flat = np.random.default_rng(2).uniform(0.8, 1.25, (N, N))
    np.save(tmp_path / "flat.npy", flat)
    keys = {
        "SolidAngleCorrection": 1,
        "PolarizationCorrection": 1,
        "PolarizationFraction": 0.9,
        "PolarizationPlaneEtaDeg": 0,
    }
    asked = parameters.updated({"SkipFrame": 0, "OmegaSumFrames": -1, **keys})
    wanted = Corrections(solid_angle=True, polarization=0.9, polarization_axis=0.0)
    options = IntegrationOptions(frames_per_sum=-1, corrections=wanted, bad_values=asked.bad_values)
    expected = integrate(stack, asked.geometry, asked.grid, flat=flat, options=options)
    by_key = asked.updated({"Flat": str(tmp_path / "flat.npy")})
    cake, path = integrate_file(SeriesFiles(tmp_path / "a.npy"), by_key, tmp_path / "key")
    np.testing.assert_allclose(cake.intensity, expected.intensity, rtol=1e-6)
    np.testing.assert_allclose(cake.sigma, expected.sigma, rtol=1e-6)
    assert cake.corrections == wanted
    assert read_cake_file(path).metadata["corrections"]["polarization"] == 0.9
    by_file = SeriesFiles(tmp_path / "a.npy", flat=tmp_path / "flat.npy")
    np.testing.assert_array_equal(integrate_file(by_file, asked, tmp_path / "file")[0].intensity, cake.intensity)
    bare = integrate_file(SeriesFiles(tmp_path / "a.npy"), asked, tmp_path / "bare")[0]
    assert not np.allclose(bare.intensity, cake.intensity, rtol=1e-3, equal_nan=True)
    plain = integrate_file(SeriesFiles(tmp_path / "a.npy"), parameters, tmp_path / "plain")[1]
    assert "corrections" not in read_cake_file(plain).metadata
    np.save(tmp_path / "small.npy", np.ones((4, 5)))
    for bad, message in (("none.npy", r"none\.npy"), ("small.npy", "flat")):
        with pytest.raises((InputError, FormatError), match=message):
            integrate_file(SeriesFiles(tmp_path / "a.npy", flat=tmp_path / bad), asked, tmp_path / "no")
        assert not (tmp_path / "no").exists()


def test_wavelength_and_pixel_size_of_the_header_fill_what_parameters_leave_out(
    parameters: Parameters, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import fabio

    stack = write_stack(tmp_path / "a.npy", 1)
    header = {"PSize_1": "200e-6", "PSize_2": "200e-6", "WaveLength": "0.2e-10", "SampleDistance": "0.4"}
    fabio.edfimage.EdfImage(data=stack[0], header=header).write(str(tmp_path / "a.edf"))
    lines = parameters.updated({"SkipFrame": 0, "Wavelength": 0.2, "px": 200}).text().splitlines()
    text = "\n".join(line for line in lines if line.split()[:1] not in (["px"], ["Wavelength"]))
    silent = parse_params(text)
    (tmp_path / "damaged.edf").write_bytes(b"{ half")
    files = SeriesFiles([tmp_path / "damaged.edf", tmp_path / "a.edf"])
    done = integrate_files(files, silent, tmp_path / "out")
    assert done.last is not None
    assert done.last.geometry.wavelength == pytest.approx(0.2)
    assert done.last.geometry.pixel_size == pytest.approx(200)
    assert done.last.geometry.distance == parameters.geometry.distance
    assert "has no Wavelength; taken from the images: wavelength 0.2 Å" in caplog.text
    with pytest.raises(InputError, match=r"px|Wavelength"):
        integrate_files(SeriesFiles(tmp_path / "a.npy"), silent, tmp_path / "none")


def test_a_cake_never_replaces_what_it_is_made_of(parameters: Parameters, tmp_path: Path) -> None:
    from midas.cake import build_map, integrate_to_zarr
    from midas.io.convert import convert_file

    path = tmp_path / "a.zarr.zip"  # images, under the name of a cake
    write_stack(tmp_path / "a.npy", 3)
    convert_file(tmp_path / "a.npy", tmp_path / "a.MIDAS.zip")
    (tmp_path / "a.MIDAS.zip").rename(path)
    before = path.read_bytes()
    for output in (tmp_path, path):
        with pytest.raises(InputError, match=r"a\.zarr\.zip is one of the files that are read; name another"):
            integrate_files(SeriesFiles(path), parameters, output)
    with pytest.raises(InputError, match="one of the files that are read"):
        integrate_files(SeriesFiles(tmp_path / "a.npy", dark=path), parameters, path)
    cake_map = build_map(parameters.geometry, parameters.detector, parameters.grid)
    with pytest.raises(InputError, match="one of the files that are read"):
        integrate_to_zarr(path, cake_map, path)
    assert path.read_bytes() == before
    assert integrate_files(SeriesFiles(path), parameters, tmp_path / "out").written


@pytest.mark.parametrize("also", [(), ("csv",)], ids=str)
def test_what_is_in_the_place_of_a_cake(parameters: Parameters, tmp_path: Path, also: tuple[str, ...]) -> None:
    write_stack(tmp_path / "a.npy", 3)
    files, options = SeriesFiles(tmp_path / "a.npy"), SeriesOptions(also=also)
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "old").write_bytes(b"old")
    (tmp_path / "link.zarr.zip").symlink_to(tmp_path / "far" / "old")
    integrate_files(files, parameters, tmp_path / "link.zarr.zip", options=options)
    assert (tmp_path / "link.zarr.zip").is_symlink()
    assert len(read_cake_file(tmp_path / "link.zarr.zip").frames) == 1
    assert [p.name for p in (tmp_path / "far").iterdir()] == ["old"]
    (tmp_path / "out" / "a.npy.zarr.zip").mkdir(parents=True)
    with pytest.raises(OutputError, match=r"a\.npy\.zarr\.zip: a folder of that name is in the way; name another"):
        integrate_files(files, parameters, tmp_path / "out", options=options)
    assert not list((tmp_path / "out").glob(".*"))


def test_a_header_that_contradicts_the_parameters_is_told_of(
    parameters: Parameters, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import fabio

    header = {"PSize_1": "75e-6", "PSize_2": "75e-6", "WaveLength": "0.2e-10", "SampleDistance": "0.4"}
    image = np.random.default_rng(1).poisson(25.0, (N, N)).astype(np.uint16)
    fabio.edfimage.EdfImage(data=image, header=header).write(str(tmp_path / "a.edf"))
    integrate_files(SeriesFiles(tmp_path / "a.edf"), parameters.updated({"SkipFrame": 0}), tmp_path / "out")
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1
    assert "has px 200, which holds; the images say pixel size 75 µm" in warnings[0]


def test_images_less_their_dark(parameters: Parameters, tmp_path: Path) -> None:
    net = np.random.default_rng(1).normal(8.0, 5.0, (2, N, N)).astype(np.float32)
    np.save(tmp_path / "net.npy", net)
    plain = parameters.updated({"SkipFrame": 0, "OmegaSumFrames": -1})
    with pytest.warns(UserWarning, match=r"5\.\d+ % of the pixels .* --negative-counts"):
        biased = integrate_files(SeriesFiles(tmp_path / "net.npy"), plain, tmp_path / "a").last
    options = SeriesOptions(negative_counts=True)
    right = integrate_files(SeriesFiles(tmp_path / "net.npy"), plain, tmp_path / "b", options=options).last
    assert right is not None
    assert biased is not None
    mean = [float(np.average(cake.intensity[0], weights=cake.bin_area)) / 2 for cake in (right, biased)]
    assert mean == pytest.approx([8.0, 8.56], abs=0.2)
    gaps = np.abs(net)
    gaps[:, ::4] = -1.0
    gaps[:, 1::9] = -2.0
    np.save(tmp_path / "gaps.npy", gaps)  # a third is marked, with two values
    with pytest.warns(UserWarning, match=r"34(\.\d)? % of"):
        integrate_files(SeriesFiles(tmp_path / "gaps.npy"), plain, tmp_path / "c")
    gaps[:, ::4] = 7.0
    np.save(tmp_path / "few.npy", gaps)
    integrate_files(SeriesFiles(tmp_path / "few.npy"), plain, tmp_path / "d")


def test_the_log_is_no_input(parameters: Parameters, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((2, N, N), np.uint16))
    (tmp_path / "ps.txt").write_text(parameters.text())
    for name in ("a.npy", "ps.txt"):
        before = (tmp_path / name).read_bytes()
        words = [str(tmp_path / "a.npy"), "-paramFN", str(tmp_path / "ps.txt"), "--log-file", str(tmp_path / name)]
        with pytest.raises(InputError, match=f"{name} is one of the files that are read"):
            run(parse(*words, "-resultFolder", str(tmp_path / "out")))
        assert (tmp_path / name).read_bytes() == before


def test_bad_series_leave_nothing(parameters: Parameters, tmp_path: Path) -> None:
    write_stack(tmp_path / "s_000001.npy", 3)
    data = tmp_path / "s_000001.npy"
    for files, message in (
        (SeriesFiles(data, first_number=2, last_number=3), "s_000002.npy: no such file"),
        (SeriesFiles(data, first_number=3, last_number=2), "ascending"),
        (SeriesFiles(data, last_number=2), "no first number"),
        (SeriesFiles(tmp_path / "nonumber.npy", first_number=1), "no running number"),
        (SeriesFiles(tmp_path / "scan.h5", first_number=1), "no running number"),
    ):
        with pytest.raises(InputError, match=message):
            integrate_files(files, parameters, tmp_path / "out")
    wrong = parameters.updated({"NrPixelsY": N + 1})
    with pytest.raises(InputError, match="pixels"):
        integrate_files(SeriesFiles(data), wrong, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_parser(parser.add_subparsers(dest="command"))
    return parser.parse_args(["integrate", *words])


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_stack(tmp_path / "s_000001.npy", 4)
    (tmp_path / "ps.txt").write_text(TEXT)
    words = ("-dataFN", str(tmp_path / "s_000001.npy"), "-paramFN", str(tmp_path / "ps.txt"))
    assert run(parse(*words, "-resultFolder", str(tmp_path / "out"), "-nCPUs", "2")) == 0
    assert "s_000001.npy.zarr.zip" in capsys.readouterr().out
    assert (tmp_path / "out" / "s_000001.npy.zarr.zip").is_file()


@pytest.mark.parametrize(
    "flags",
    [("-preProcThresh", "-3"), ("-nCPUs", "-2"), ("-numFrameChunks", "0")],
)
def test_what_is_not_supported_is_refused(tmp_path: Path, flags: tuple[str, str]) -> None:
    with pytest.raises(InputError, match=flags[0]):
        run(parse("a.npy", "-paramFN", "ps.txt", *flags))


def test_both_spellings() -> None:
    old = parse(
        "-dataFN", "a", "-paramFN", "b", "-darkLoc", "c", "-startFileNr", "3", "-nCPUsLocal", "4", "-skipExisting"
    )
    new = parse(
        "--data-file", "a", "--param-file", "b", "--dark-location", "c", "--first-file-number", "3",
        "--local-threads", "4", "--skip-existing",
    )  # fmt: skip
    assert vars(old) == vars(new)
