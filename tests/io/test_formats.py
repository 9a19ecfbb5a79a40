"""The table of formats and operations: each cell is a test on a file that midas did not write.

docs/formats.md is made from it: MIDAS_WRITE_FORMATS=1 python -m pytest tests/io/test_formats.py
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401  registers its filters
import numpy as np
import pytest
import zarr
from image_files import COLUMNS, FORMATS, HEAD_SIZE, ROWS, Format, add_to_tree

import midas
from midas.cake.series import SeriesFiles, integrate_files
from midas.errors import FormatError, InputError
from midas.io.convert import ConvertOptions, convert_file
from midas.io.formats import FORMATS as SUFFIXES
from midas.io.frames import read_frames, read_image, read_mask
from midas.io.parameters import parse_params

N = 5
PARAMETERS = f"""Lsd 300000
BC 9 12
px 200
Wavelength 0.2
RMin 1
RMax 9
RBinSize 1
EtaBinSize 45
NrPixelsY {COLUMNS}
NrPixelsZ {ROWS}
HeadSize {HEAD_SIZE}
"""
ZARR_3 = not zarr.__version__.startswith("2")


def usable(formats: tuple[Format, ...]) -> list:
    reason = "zarr 2 knows no format 3; install zarr 3 to run it"
    marks = [pytest.mark.skipif("format 3" in f.name and not ZARR_3, reason=reason) for f in formats]
    return [pytest.param(f, id=f.id, marks=mark) for f, mark in zip(formats, marks, strict=True)]


def formats(**wanted: bool) -> list:
    return usable(tuple(f for f in FORMATS if all(getattr(f, k) == v for k, v in wanted.items())))


@pytest.fixture
def written(tmp_path, rng, request):
    """A format, a file of it, and what is in it."""
    form: Format = request.param
    stack = rng.integers(0, 4000, (N if form.several else 1, ROWS, COLUMNS)).astype(form.dtype)
    path = tmp_path / form.file
    form.write(path, stack)
    return form, path, stack


def cells(_name: str, **wanted: bool) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("written", formats(**wanted), indirect=True)


@cells("open")
def test_open(written):
    form, path, stack = written
    with read_frames(path, **form.options) as frames:
        assert (frames.shape, frames.dtype) == (stack.shape, np.dtype(form.dtype))
        assert [frame.tobytes() for frame in frames] == [frame.tobytes() for frame in stack]
        assert frames[-1].flags.c_contiguous
        assert (frames[1 : len(stack)] == stack[1:]).all()


@cells("dark")
def test_dark(written):
    """A dark of several frames is their mean; of one, that one."""
    form, path, stack = written
    np.testing.assert_allclose(read_image(path, **form.options), stack.mean(axis=0), rtol=1e-15)


@cells("mask", mask=True)
def test_mask(written):
    form, path, stack = written
    pixels = np.zeros_like(stack[:1])
    pixels[0, 3, 5], pixels[0, 20, 1] = 1, 100
    form.write(path, pixels)
    assert np.argwhere(read_mask(path)).tolist() == [[3, 5], [20, 1]]
    assert np.argwhere(read_mask(path, image_transforms=[3])).tolist() == [[1, 20], [5, 3]]


@cells("no mask", mask=False)
def test_no_mask(written):
    path = written[1]
    with pytest.raises(FormatError, match="whole number"):
        read_mask(path)


@cells("skip", several=True)
def test_skip(written):
    form, path, stack = written
    with read_frames(path, skip_frames=2, **form.options) as frames:
        assert frames.shape == (N - 2, ROWS, COLUMNS)
        assert (frames[:] == stack[2:]).all()


@cells("no skip", several=False)
def test_no_skip(written):
    form, path, _ = written
    with pytest.raises(InputError, match=rf"{path.name}: skip_frames \(SkipFrame\) is 1 of 1 frames"):
        read_frames(path, skip_frames=1, **form.options)


@cells("transform")
def test_transform(written):
    """All four, in any order, frame by frame."""
    form, path, stack = written
    for transforms, expected in {
        (0,): stack,
        (1,): stack[..., ::-1],
        (2,): stack[:, ::-1],
        (3,): stack.transpose(0, 2, 1),
        (1, 3): stack[..., ::-1].transpose(0, 2, 1),
        (3, 1): stack.transpose(0, 2, 1)[..., ::-1],
    }.items():
        with read_frames(path, image_transforms=transforms, **form.options) as frames:
            assert frames.shape == expected.shape
            assert (frames[:] == expected).all(), transforms


@cells("convert")
def test_convert(written, tmp_path):
    """No frame changes, to a zip and back to HDF5: read by zarr and by h5py, compared by checksum."""
    form, path, stack = written
    checksums = [hashlib.sha256(frame.tobytes()).hexdigest() for frame in stack]
    target = tmp_path / "out.MIDAS.zip"
    assert convert_file(path, target, ConvertOptions(parameters=parse_params(PARAMETERS))) == len(stack)
    store = zarr.storage.ZipStore(str(target), mode="r")
    array = zarr.open_group(store, mode="r")["exchange/data"]
    assert (array.dtype, array.chunks) == (np.dtype(form.dtype), (1, ROWS, COLUMNS))
    assert [hashlib.sha256(frame.tobytes()).hexdigest() for frame in array[...]] == checksums
    store.close()
    convert_file(target, tmp_path / "back.h5")
    with h5py.File(tmp_path / "back.h5") as file:
        data = file["exchange/data"]
        assert (data.dtype, data.chunks) == (np.dtype(form.dtype), (1, ROWS, COLUMNS))
        assert [hashlib.sha256(frame.tobytes()).hexdigest() for frame in data] == checksums


@cells("integrate")
def test_integrate(written, tmp_path):
    """The same cake as of the pixels in memory, by SkipFrame, ImTransOpt and a dark of the same format."""
    form, path, stack = written
    dark_path = tmp_path / "dark" / path.name
    dark_path.parent.mkdir()
    dark = stack % 7
    form.write(dark_path, dark)
    skip = 1 if form.several else 0
    parameters = parse_params(f"{PARAMETERS}SkipFrame {skip}\nImTransOpt 2\nImTransOpt 1\n")
    done = integrate_files(SeriesFiles(path, dark=dark_path), parameters, tmp_path / "out")
    assert [p.name for p in done.written] == [f"{path.name.removesuffix('.MIDAS.zip')}.zarr.zip"]
    expected = midas.integrate(
        np.ascontiguousarray(stack[skip:, ::-1, ::-1].astype(np.float64)),
        midas.Geometry(distance=3e5, beam_center=(9, 12), pixel_size=200, wavelength=0.2),
        midas.CakeGrid(1, 9, 1, eta_step=45),
        dark=dark.mean(axis=0)[::-1, ::-1],
        options=midas.IntegrationOptions(frames_per_sum=-1),
    )
    # The areas of a tile are added in single precision.
    np.testing.assert_allclose(done.last.intensity, expected.intensity, rtol=2e-6, atol=1e-3)
    assert np.isfinite(expected.intensity).any()
    assert done.last.frames.tolist() == [len(stack) - skip]


@cells("inside", tree=True)
def test_dark_and_mask_beside_the_images(written, tmp_path, rng):
    """Several dark frames and a mask at exchange/dark and exchange/mask."""
    form, path, stack = written
    dark = rng.integers(10, 30, (3, ROWS, COLUMNS)).astype(np.uint16)
    mask = np.zeros((1, ROWS, COLUMNS), np.uint8)
    mask[0, 4, 2] = 1
    add_to_tree(path, {"exchange/dark": dark, "exchange/mask": mask})
    with read_frames(path) as frames:
        assert frames.has_dark
        assert (frames[:] == stack).all()
        assert (None if frames.mask is None else np.argwhere(frames.mask).tolist()) == (
            [[4, 2]] if form.mask_inside else None
        )
    found = read_image(path, data_location="exchange/dark")
    np.testing.assert_allclose(found, dark.mean(axis=0), rtol=1e-15)
    done = integrate_files(SeriesFiles(path), parse_params(PARAMETERS), tmp_path / "out")
    np.save(tmp_path / "raw.npy", stack)
    np.save(tmp_path / "dark.npy", dark)
    apart = SeriesFiles(tmp_path / "raw.npy", dark=tmp_path / "dark.npy")
    expected = integrate_files(apart, parse_params(PARAMETERS), tmp_path / "apart")
    np.testing.assert_allclose(done.last.intensity, expected.last.intensity, rtol=2e-6, atol=1e-3)


@pytest.mark.parametrize("text", [True, False])
def test_nexus_without_a_default_has_one_entry(tmp_path, text):
    """Attributes as text or as bytes; a signal that is no image leads nowhere."""
    stack = np.arange(24, dtype=np.uint16).reshape(2, 3, 4)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        group = file.create_group("measured/plot")
        group.attrs["NX_class"] = "NXdata" if text else np.bytes_(b"NXdata")
        group.attrs["signal"] = "images" if text else np.bytes_(b"images")
        file["measured"].attrs["NX_class"] = "NXentry" if text else np.bytes_(b"NXentry")
        group["images"], group["other"] = stack, stack + 1
    with read_frames(tmp_path / "a.h5") as frames:
        assert frames.metadata["data_location"] == "measured/plot/images"
        assert (frames[:] == stack).all()
    with h5py.File(tmp_path / "a.h5", "a") as file:
        del file["measured/plot/images"]
        file["measured/plot/images"] = np.arange(3.0)
        file["measured/plot/another"] = stack
    with pytest.raises(
        FormatError, match=r"rank 2 or 3 in it: measured/plot/another .*, measured/plot/other .*dataLoc"
    ):
        read_frames(tmp_path / "a.h5")


def test_mar345_pixels_beyond_sixteen_bits_and_raxis_ones_beyond_fifteen(tmp_path):
    for form in FORMATS:
        if form.file in ("a.mar2300", "a.osc"):
            image = np.full((1, ROWS, COLUMNS), 7, dtype=np.uint32)
            image[0, 2, 3], image[0, 9, 9] = 8 * 20000, 40000
            form.write(tmp_path / form.file, image)
            assert (read_image(tmp_path / form.file) == image[0]).all(), form.name


OPERATIONS = ("open", "dark", "mask", "skip", "transform", "convert", "integrate")
HEADER = """# Formats

What midas reads, by the name's suffix, and what can be done with it. Each cell is a test on a file that another program
wrote (`tests/io/test_formats.py`), which also makes this page.

- **open**: `midas.read_frames`, any frame or range of frames, shape and type known without reading pixels.
- **dark**: as `-darkFN`; several frames are averaged. *inside*: also at `exchange/dark` of the image file.
- **mask**: as `MaskFile` (0: use). *inside*: also at `exchange/mask` of the image file. GE files do not give a shape.
- **skip**: `SkipFrame`, in formats that hold several frames.
- **transform**: `ImTransOpt` 0 to 3, in any order.
- **convert**: `midas convert` to `.MIDAS.zip` and back to HDF5, each frame the same by checksum.
- **integrate**: `midas integrate` with dark, skipped frames and transforms, the same as of the pixels in memory.

"""
FOOTER = """
Inside HDF5 and zarr files images are looked for at `exchange/data`, then where the NeXus attributes `default` and
`signal` lead, at `entry/data/data`, `entry/instrument/detector/data` and `entry/data/data_000001`.. (Eiger master), and
last where the only stack of the file is; `-dataLoc` names another place.

What files say of the scan goes into the cake where the parameters are silent; `midas inspect` shows it and its place:

- MIDAS files: `start`, `step`, `Temperature`, `Pressure`, `I`, `I0` in `measurement/process/scan_parameters`.
- NeXus and Eiger masters: omega is the rotation that `axes` of the NXdata names first, or in `sample` of the entry
  `goniometer/omega` (or `omega_start`) with `omega_increment` or `omega_range_average`, `rotation_angle`,
  `transformations/omega`, `sample_omega/omega` or `omega`. Further `sample/temperature` [K], `sample/pressure` [MPa],
  `instrument/detector/count_time` [s], and as I0 the counts of the NXmonitor
  (`control`, `monitor`, `i0`, or the only one).
- CBF and TIFF of Dectris: `Start_angle` and `Angle_increment`, unless `Oscillation_axis` is another; `Omega`;
  `Exposure_time`.
- EDF: the motor `omega` of `motor_mne`, or a key `omega`; `count_time`, `Temperature`, `Pressure` and `i0`, keys or
  counters.

Omega must be one value a frame in even steps, or one value and a step. Files that say otherwise, or in two places not
the same, are named in a warning and their omega is left out.

By suffix: {suffixes}. Formats without a row above are read by fabio and not tested here.
"""


def table() -> str:
    rows: dict[str, list[str]] = {}
    suffixes: dict[str, list[str]] = {}
    for form in FORMATS:
        cell = {
            "dark": "yes, inside" if form.tree else "yes",
            "mask": "yes, inside" if form.mask_inside else "yes" if form.mask else "no",
            "skip": "yes" if form.several else "one frame",
        }
        rows[form.name] = [cell.get(operation, "yes") for operation in OPERATIONS]
        suffix = ".MIDAS.zip" if form.file.endswith(".zip") else Path(form.file).suffix
        suffixes.setdefault(form.name, []).append(f"`{suffix}`")
    lines = [f"| format | file | {' | '.join(OPERATIONS)} |", f"|{'---|' * (len(OPERATIONS) + 2)}"]
    lines += [f"| {name} | {' '.join(suffixes[name])} | {' | '.join(row)} |" for name, row in rows.items()]
    known = ", ".join(f"`{suffix}`" for suffix in sorted(SUFFIXES))
    return HEADER + "\n".join(lines) + "\n" + FOOTER.format(suffixes=known)


def test_the_table_is_as_written_down():
    path = Path(__file__).resolve().parents[2] / "docs" / "formats.md"
    if os.environ.get("MIDAS_WRITE_FORMATS"):
        path.write_text(table(), encoding="utf-8")
    if not path.parent.is_dir():
        pytest.skip("the pages are not here; run from a clone of the project")
    assert path.read_text(encoding="utf-8") == table(), "write it again: MIDAS_WRITE_FORMATS=1, and pytest of this file"
