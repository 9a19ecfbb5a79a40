"""Maps kept in files: read where they are the same, built again where they are not, never wrong."""

from __future__ import annotations

import errno
import json
import logging
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from caked import caked_bytes

from midas import CakeGrid, Detector, Geometry, InputError, OutputError, PanelLayout, Panels, build_map
from midas.cake import CakeMap, build, map_file

SHAPE = (43, 71)  # no multiple of a tile
PANELS = Panels(PanelLayout(size=(43, 35), gaps_y=(1,)), shift_y=np.array([0.0, 0.3]))
GEOMETRY = Geometry(2e5, (31.3, 20.8), pixel_size=200, wavelength=0.18, tilts=(3.0, 2.0, -4.0))
GRID = CakeGrid(0, 50, 1, eta_step=10)
HOT = np.arange(SHAPE[0] * SHAPE[1]).reshape(SHAPE) % 17 == 0


def same(one: CakeMap, other: CakeMap) -> bool:
    return all(
        a.tobytes() == b.tobytes() for a, b in zip(one.core.arrays.values(), other.core.arrays.values(), strict=True)
    )


@pytest.fixture
def built() -> CakeMap:
    return build_map(GEOMETRY, Detector(SHAPE, 200), GRID)


@pytest.fixture
def no_building(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Call it, and from then on a map that is built is a failure."""

    def refuse(*_: object) -> None:
        raise AssertionError("the map was built")

    return lambda: monkeypatch.setattr(build, "_cut", refuse)


def test_a_map_kept_is_read_the_same(tmp_path: Path, built: CakeMap, no_building: Callable[[], None]) -> None:
    first = build_map(GEOMETRY, Detector(SHAPE, 200), GRID, cache=tmp_path / "maps")
    assert [p.name for p in (tmp_path / "maps").iterdir()] == [f"{first.key[:32]}.cakemap"]
    no_building()
    read = build_map(GEOMETRY, Detector(SHAPE, 200, saturation=9.0), GRID, cache=tmp_path / "maps")
    assert same(first, built)
    assert same(read, built)
    assert read.detector.saturation == 9.0
    frame = np.random.default_rng(1).poisson(5.0, SHAPE).astype(np.uint16)
    expected = built.apply(frame, variance=True)
    found = replace(read, detector=built.detector).apply(frame, variance=True)
    assert caked_bytes(found) == caked_bytes(expected)


def test_saved_by_name_or_in_a_folder(tmp_path: Path, built: CakeMap, no_building: Callable[[], None]) -> None:
    no_building()
    for place in (tmp_path / "deep" / "down.cakemap", str(tmp_path / "folder")):
        path = built.save(place)
        assert path.suffix == ".cakemap"
        assert same(build_map(GEOMETRY, Detector(SHAPE, 200), GRID, cache=place), built)
        assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    "other",
    [
        (replace(GEOMETRY, distance=2.0001e5), Detector(SHAPE, 200), GRID),
        (replace(GEOMETRY, tilts=(3.0, 2.0, -4.0000001)), Detector(SHAPE, 200), GRID),
        (replace(GEOMETRY, distortion={"p2": 1e-4}, distortion_radius=1e4), Detector(SHAPE, 200), GRID),
        (replace(GEOMETRY, parallax=10.0), Detector(SHAPE, 200), GRID),
        (replace(GEOMETRY, panels=PANELS), Detector(SHAPE, 200), GRID),
        (replace(GEOMETRY, image_transforms=(1,)), Detector(SHAPE, 200), GRID),
        (GEOMETRY, Detector(SHAPE, 200, mask=HOT), GRID),
        (GEOMETRY, Detector(SHAPE[::-1], 200), GRID),
        (GEOMETRY, Detector(SHAPE, 200), replace(GRID, eta_min=-179.0, eta_max=181.0)),
        (GEOMETRY, Detector(SHAPE, 200), CakeGrid(0, 50, 1.0000001, eta_step=10)),
        (GEOMETRY, Detector(SHAPE, 200), CakeGrid(0, 5, 0.1, eta_step=10, unit="q")),
    ],
)
def test_a_stale_map_is_built_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, built: CakeMap, other: tuple[Geometry, Detector, CakeGrid]
) -> None:
    path = built.save(tmp_path / "a.cakemap")
    with caplog.at_level(logging.INFO, "midas"):
        found = build_map(*other, cache=path)
    assert "stale and built again: geometry, detector, mask or grid have changed" in caplog.text
    assert found.key != built.key
    assert same(found, build_map(*other))
    assert same(build_map(*other, cache=path), found)


def test_a_map_of_another_version_is_stale(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, built: CakeMap
) -> None:
    with monkeypatch.context() as earlier:
        earlier.setattr(map_file, "version", lambda: "0.0.1")
        path = built.save(tmp_path / "a.cakemap")
    with caplog.at_level(logging.INFO, "midas"):
        build_map(GEOMETRY, Detector(SHAPE, 200), GRID, cache=path)
    assert "it was made by midas 0.0.1" in caplog.text
    assert f'"program": "{map_file.version()}"'.encode() in path.read_bytes()


def rebuilt(path: Path, built: CakeMap, caplog: pytest.LogCaptureFixture) -> str:
    """Check that what is in the file is not used, and replaced; return the log."""
    caplog.clear()
    with caplog.at_level(logging.INFO, "midas"):
        found = build_map(GEOMETRY, Detector(SHAPE, 200), GRID, cache=path)
        text = caplog.text
        assert same(found, built)
        caplog.clear()
        assert same(build_map(GEOMETRY, Detector(SHAPE, 200), GRID, cache=path), built)
        assert "the map is read" in caplog.text
    return text


def test_a_damaged_map_is_built_again(tmp_path: Path, caplog: pytest.LogCaptureFixture, built: CakeMap) -> None:
    path = built.save(tmp_path / "a.cakemap")
    whole = path.read_bytes()
    for length in (0, 7, 23, 24, 100, 2000, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert "cannot be used and is built again" in rebuilt(path, built, caplog), length
    path.write_bytes(whole + b"x")
    assert "bytes of" in rebuilt(path, built, caplog)
    path.write_bytes(b"PK" + whole[2:])
    assert "no map of midas" in rebuilt(path, built, caplog)
    path.write_bytes(whole[:8] + struct.pack("<I", 99) + whole[12:])
    assert "its format is 99" in rebuilt(path, built, caplog)


def test_any_byte_that_flips_is_seen(tmp_path: Path, built: CakeMap) -> None:
    path = built.save(tmp_path / "a.cakemap")
    whole = bytearray(path.read_bytes())
    key, shapes = built.key, {"shape": built.shape, "frame_shape": built.frame_shape}
    with path.open("rb") as file:
        _, begin = map_file._read_header(file)
    rng = np.random.default_rng(3)
    unused = 0
    for at in [*range(0, begin, 7), *rng.integers(begin, len(whole), 150)]:
        flipped = whole.copy()
        flipped[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        try:
            found = map_file.read_map(path, key=key, **shapes)
        except ValueError:
            continue
        unused += 1  # between the arrays
        assert all(
            a.tobytes() == b.tobytes() for a, b in zip(found.arrays.values(), built.core.arrays.values(), strict=True)
        )
    assert unused < 40


def forge(path: Path, change: Callable[[dict], None], key: str) -> None:
    """Rewrite the header, with a checksum that is right."""
    raw = path.read_bytes()
    _, _, _, length = map_file._START.unpack(raw[:24])
    header = json.loads(raw[24 : 24 + length])
    change(header)
    text = json.dumps(header).encode()
    body = raw[map_file._aligned(24 + length) :]
    start = map_file._START.pack(b"midasmap", 1, zlib.crc32(text), len(text))
    path.write_bytes((start + text).ljust(map_file._aligned(24 + len(text)), b"\0") + body)


@pytest.mark.parametrize(
    "change",
    [
        lambda h: h.pop("size"),
        lambda h: h.update(arrays=3),
        lambda h: h["arrays"].pop("area"),
        lambda h: h["arrays"].update(area=["<f4", 10**15, 0, 0]),
        lambda h: h["arrays"].update(area=["<f4", -1, 0, 0]),
        lambda h: h["arrays"].update(area=["<f4", 3, -64, 0]),
        lambda h: h["arrays"].update(area=["|O", 3, 0, 0]),
        lambda h: h["arrays"].update(area=["nonsense", 3, 0, 0]),
        lambda h: h["arrays"]["area"].__setitem__(0, "<i4"),
        lambda h: h.update(shape=[1, 1]),
    ],
)
def test_a_forged_header_is_no_map(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, built: CakeMap, change: Callable[[dict], None]
) -> None:
    path = built.save(tmp_path / "a.cakemap")
    forge(path, change, built.key)
    assert "cannot be used and is built again" in rebuilt(path, built, caplog)


def test_a_disk_that_is_full_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, built: CakeMap) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.warns(UserWarning, match=r"the map is not kept .* the disk is full"):
        found = build_map(GEOMETRY, Detector(SHAPE, 200), GRID, cache=tmp_path / "new")
    assert same(found, built)
    assert not (tmp_path / "new").exists()
    with pytest.raises(OutputError, match="the disk is full"):
        built.save(tmp_path / "new")


@pytest.mark.parametrize("name", ["a.npz", "maps.cakemaps", "b.h5"])
def test_names_of_other_kinds_of_file_make_no_folder(tmp_path: Path, built: CakeMap, name: str) -> None:
    for keep in (
        lambda: built.save(tmp_path / name),
        lambda: build_map(GEOMETRY, Detector(SHAPE, 200), GRID, cache=tmp_path / name),
    ):
        with pytest.raises(InputError, match=r"as a file does; expected a name ending in .cakemap, or a folder"):
            keep()
    assert not list(tmp_path.iterdir())
    (tmp_path / name).mkdir()
    assert built.save(tmp_path / name).parent.name == name
    for folder in ("maps_80.7keV", ".maps", "2026.11"):
        assert built.save(tmp_path / folder).parent.name == folder


@pytest.mark.parametrize("place", [True, 5, None])
def test_a_place_that_is_no_name(built: CakeMap, place: object) -> None:
    with pytest.raises(InputError, match=f"path is {place}; expected a folder, or a name ending in .cakemap"):
        built.save(place)  # type: ignore[arg-type]
    if place is not None:
        with pytest.raises(InputError, match=f"cache is {place}; expected a folder"):
            build_map(GEOMETRY, Detector(SHAPE, 200), GRID, cache=place)  # type: ignore[arg-type]


def test_places_that_cannot_hold_a_map(tmp_path: Path, built: CakeMap) -> None:
    data = tmp_path / "scan.h5"
    data.write_text("counts")
    with pytest.raises(InputError, match="is a file; expected a folder"):
        build_map(GEOMETRY, Detector(SHAPE, 200), GRID, cache=data)
    assert data.read_text() == "counts"
    with pytest.warns(UserWarning, match="the map is not kept"):
        found = build_map(GEOMETRY, Detector(SHAPE, 200), GRID, cache=data / "maps")
    assert same(found, built)


def altered(built: CakeMap, name: str, change: Callable[[np.ndarray], np.ndarray | None]) -> dict[str, np.ndarray]:
    arrays = {k: np.array(v) for k, v in built.core.arrays.items()}
    new = change(arrays[name])
    if new is not None:
        arrays[name] = new
    return arrays


def put(index: int, value: float) -> Callable[[np.ndarray], None]:
    return lambda array: array.__setitem__(index, value)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("first_run", put(1, 10**9)),
        ("first_run", put(3, 0)),
        ("first_run", put(0, -1)),
        ("first_run", lambda a: a[:-1]),
        ("first_entry", put(2, -5)),
        ("first_entry", put(1, 1)),
        ("first_entry", lambda a: a + 4),
        ("run_bin", put(7, -1)),
        ("run_bin", put(7, 2**31 - 1)),
        ("run_bin", lambda a: a[::-1].copy()),
        ("run_bin", lambda a: a.astype(np.int64)),
        ("run_groups", put(3, 255)),
        ("run_groups", put(3, 0)),
        ("run_groups", put(-1, 64)),
        ("pixel", put(-1, 255)),
        ("pixel", lambda a: a[:-4]),
        ("area", put(5, np.nan)),
        ("area", put(5, np.inf)),
        ("area", put(5, -1.0)),
        ("area", put(5, 0.123)),
        ("area", lambda a: a.astype(np.float64)),
        ("run_slot", put(11, 10**12)),
        ("run_slot", put(11, -1)),
        ("run_slot", lambda a: a[::-1].copy()),
        ("first_slot", put(4, 10**10)),
        ("first_slot", put(-1, 3)),
        ("bin_area", put(20, np.nan)),
        ("bin_area", put(20, 1e9)),
        ("bin_pixels", put(20, 2**30)),
        ("bin_pixels", put(20, 0)),
        ("eta_overlap", put(0, np.inf)),
        ("eta_overlap", lambda a: a[1:]),
    ],
)
def test_arrays_that_are_no_map_are_refused(
    built: CakeMap, name: str, change: Callable[[np.ndarray], np.ndarray | None]
) -> None:
    make = type(built.core).from_arrays
    arrays = altered(built, name, change)
    with pytest.raises(InputError, match="the map"):
        make(shape=built.shape, frame_shape=SHAPE, arrays=arrays)


@pytest.mark.parametrize(
    ("shape", "frame_shape"), [((0, 36), SHAPE), ((2**40, 2**40), SHAPE), ((50, 36), (-1, 71)), ((50, 36), (42, 32))]
)
def test_sizes_that_are_none_are_refused(built: CakeMap, shape: tuple[int, int], frame_shape: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="the map"):
        type(built.core).from_arrays(shape=shape, frame_shape=frame_shape, arrays=built.core.arrays)


def test_random_damage_to_arrays_never_reaches_a_frame(built: CakeMap) -> None:
    make = type(built.core).from_arrays
    rng = np.random.default_rng(5)
    frame = np.ones(SHAPE, dtype=np.uint16)
    refused = 0
    for _ in range(300):
        arrays = {k: np.array(v) for k, v in built.core.arrays.items()}
        raw = arrays[str(rng.choice(list(arrays)))].view(np.uint8)
        raw[rng.integers(raw.size)] ^= rng.integers(1, 256, dtype=np.uint8)
        try:
            core = make(shape=built.shape, frame_shape=SHAPE, arrays=arrays)
        except InputError:
            refused += 1
            continue
        damaged = replace(built, core=core)  # another pixel of the tile, or a bit of eta_overlap
        damaged.apply(frame)
        damaged.to_scipy()
    assert refused > 150
