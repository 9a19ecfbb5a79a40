"""Geometries exchanged with other programs: their own arithmetic must give our angles."""

from __future__ import annotations

import json
import math
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import midas
from midas.detector import transform_image
from midas.errors import FormatError, InputError
from midas.io.exchange import pixel_map
from midas.io.exchange.plane import layout, plane_of, raw_shape
from midas.io.exchange.poni import _DETECTORS, TRANSFORMS
from midas.refine.dispatch import EngineCommand

SHAPE = (500, 400)
ANGLE = 1e-6  # rad: what the exchange promises
ALL_TRANSFORMS = [(), (1,), (2,), (3,), (1, 2), (3, 1), (3, 2), (1, 2, 3)]
UNMIRRORED = [(), (1, 2), (3, 1), (3, 2)]
DISTORTION = {"p0": 2e-4, "p1": 1e-4, "p2": -1e-3, "p3": 40.0, "p4": 3e-4, "p7": 1e-4, "p8": 20.0, "p9": 2e-4}


def make_geometry(seed: int, transforms: tuple[int, ...] = (), *, bent: bool = False, tilt: float = 40.0) -> Any:
    rng = np.random.default_rng(seed)
    return midas.Geometry(
        distance=rng.uniform(1e5, 5e5),
        beam_center=(rng.uniform(-400, 800), rng.uniform(-500, 1000)),
        pixel_size=172.0,
        wavelength=rng.uniform(0.1, 1.5),
        tilts=(rng.uniform(-180, 180), rng.uniform(-tilt, tilt), rng.uniform(-tilt, tilt)),
        distortion=DISTORTION if bent else {},
        distortion_radius=1e5 if bent else None,
        image_transforms=transforms,
    )


def raw_pixels(shape: tuple[int, int], n: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(11)
    return rng.integers(0, shape[0], n).astype(float), rng.integers(0, shape[1], n).astype(float)


def our_angles(
    geometry: midas.Geometry, shape: tuple[int, int], rows: np.ndarray, columns: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return two_theta and eta [rad] of pixels of the raw image; the image is transformed by hand."""
    mark = np.arange(shape[0] * shape[1]).reshape(raw_shape(shape, geometry.image_transforms))
    where = np.argsort(transform_image(mark, geometry.image_transforms).ravel())
    z, y = np.unravel_index(where[mark[rows.astype(int), columns.astype(int)]], shape)
    _, two_theta, eta = geometry.to_polar(y.astype(float), z.astype(float))
    return np.radians(two_theta), np.radians(eta)


def turned(angle: np.ndarray) -> np.ndarray:
    return np.asarray((angle + np.pi) % (2.0 * np.pi) - np.pi)


def assert_same_angles(ours: tuple[np.ndarray, np.ndarray], two_theta: np.ndarray, azimuth: np.ndarray) -> None:
    """Compare with an azimuth that is 90 deg - eta; both in rad."""
    seen = np.isfinite(ours[0])
    assert seen.sum() > 100
    np.testing.assert_allclose(two_theta[seen], ours[0][seen], rtol=0, atol=ANGLE)
    np.testing.assert_allclose(turned(azimuth - 0.5 * np.pi + ours[1])[seen], 0.0, rtol=0, atol=ANGLE)


def fit2d_text(path: Path) -> dict[str, float]:
    return {k.strip(): float(v) for k, v in (line.split("=") for line in path.read_text().splitlines())}


# --- pyFAI -----------------------------------------------------------------------------------------------------------


def pyfai_angles(path: Path, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    pyfai = pytest.importorskip("pyFAI", reason="pyFAI is not installed; pip install midas-xrd[bench]")
    ai = pyfai.load(str(path))
    return ai.tth(rows, columns), ai.chi(rows, columns)


@pytest.mark.parametrize("transforms", ALL_TRANSFORMS)
@pytest.mark.parametrize("bent", [False, True])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_pyfai_finds_our_angles(tmp_path: Path, transforms: tuple[int, ...], bent: bool, seed: int) -> None:
    g = make_geometry(seed, transforms, bent=bent, tilt=30.0 if bent else 40.0)
    files = midas.write_geometry(tmp_path / "g.poni", g, midas.Detector(SHAPE, 172.0))
    assert [f.suffix for f in files] == ([".poni", ".spline"] if bent else [".poni"])
    rows, columns = raw_pixels(raw_shape(SHAPE, transforms))
    assert_same_angles(our_angles(g, SHAPE, rows, columns), *pyfai_angles(files[0], rows, columns))


@pytest.mark.parametrize("transforms", [(), (2,), (3, 1)])
def test_pyfai_finds_our_angles_through_corners(
    tmp_path: Path, transforms: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixel_map, "find_spline", lambda *_: None)
    g = make_geometry(4, transforms, bent=True, tilt=10.0)
    files = midas.write_geometry(tmp_path / "g.poni", g, midas.Detector(SHAPE, 172.0))
    assert files[1].name == "g.detector.h5"
    rows, columns = raw_pixels(raw_shape(SHAPE, transforms))
    ours = our_angles(g, SHAPE, rows, columns)
    assert_same_angles(ours, *pyfai_angles(files[0], rows, columns))
    read, detector = midas.read_geometry(files[0])
    assert detector is not None
    back = our_angles(read, detector.shape, rows, columns)
    assert_same_angles(ours, back[0], 0.5 * np.pi - back[1])


@pytest.mark.parametrize("transforms", [(), (1,), (3, 1)])
def test_pyfai_finds_our_angles_on_shifted_panels(tmp_path: Path, transforms: tuple[int, ...]) -> None:
    tiles = midas.PanelLayout(size=(240, 190), gaps_z=(20,), gaps_y=(20,))
    rng = np.random.default_rng(3)
    table = rng.normal(size=(4, 5)) * [0.5, 0.5, 0.1, 20.0, 1e-4]
    g = replace(make_geometry(8, transforms, bent=True, tilt=10.0), panels=midas.Panels.from_table(tiles, table))
    poni, corners = midas.write_geometry(tmp_path / "g.poni", g, midas.Detector(SHAPE, 172.0))
    assert corners.name == "g.detector.h5"
    rows, columns = raw_pixels(raw_shape(SHAPE, transforms))
    assert_same_angles(our_angles(g, SHAPE, rows, columns), *pyfai_angles(poni, rows, columns))
    with pytest.raises(FormatError, match=r"any distortion p0\.\.p\d+"):
        midas.read_geometry(poni)


def test_pyfai_finds_our_angles_with_parallax(tmp_path: Path) -> None:
    g = replace(make_geometry(9, tilt=10.0), parallax=200.0)
    poni, _ = midas.write_geometry(tmp_path / "g.poni", g, midas.Detector(SHAPE, 172.0))
    rows, columns = raw_pixels(SHAPE)
    assert_same_angles(our_angles(g, SHAPE, rows, columns), *pyfai_angles(poni, rows, columns))
    with pytest.raises(InputError, match="cannot hold the geometry's parallax"):
        midas.write_geometry(tmp_path / "g.imctrl", g, midas.Detector(SHAPE, 172.0))


@pytest.mark.parametrize("suffix", [".json", ".txt"])
def test_panels_and_parallax_survive_our_own_files(tmp_path: Path, suffix: str) -> None:
    tiles = midas.PanelLayout(size=(240, 190), gaps_z=(20,), gaps_y=(20,), origin=(-3, 5))
    panels = midas.Panels.from_table(tiles, np.arange(20.0).reshape(4, 5) / 100.0)
    g = replace(make_geometry(9), parallax=200.0, panels=panels)
    read, _ = midas.read_geometry(midas.write_geometry(tmp_path / f"g{suffix}", g, midas.Detector(SHAPE, 172.0))[0])
    assert read.panels is not None
    assert read.panels.layout == tiles
    np.testing.assert_array_equal(read.panels.table, panels.table)
    assert read.parallax == 200.0


@pytest.mark.parametrize("orientation", [1, 2, 3, 4])
def test_what_pyfai_writes_is_read(tmp_path: Path, orientation: int) -> None:
    pytest.importorskip("pyFAI", reason="pyFAI is not installed; pip install midas-xrd[bench]")
    from pyFAI.detectors import Detector
    from pyFAI.geometry import Geometry

    theirs = Geometry(
        dist=0.21,
        poni1=0.03,
        poni2=-0.02,
        rot1=0.3,
        rot2=-0.4,
        rot3=1.1,
        detector=Detector(1e-4, 1e-4, max_shape=SHAPE, orientation=orientation),
        wavelength=4.1e-11,
    )
    theirs.write(str(tmp_path / "theirs.poni"))
    g, detector = midas.read_geometry(tmp_path / "theirs.poni")
    assert detector is not None
    assert detector.shape == SHAPE
    assert g.image_transforms == TRANSFORMS[orientation]
    assert g.wavelength == pytest.approx(0.41, rel=1e-12)
    rows, columns = raw_pixels(SHAPE)
    ours = our_angles(g, SHAPE, rows, columns)
    assert_same_angles(ours, theirs.tth(rows, columns), theirs.chi(rows, columns))


def test_shapes_and_pixels_of_named_detectors_are_pyfais() -> None:
    detectors = pytest.importorskip("pyFAI.detectors", reason="pyFAI is not installed; pip install midas-xrd[bench]")
    theirs = {"".join(c for c in name.lower() if c.isalnum()): cls for name, cls in detectors.ALL_DETECTORS.items()}
    for name, (rows, columns, pixel) in _DETECTORS.items():
        assert (name, *theirs[name]().max_shape) == (name, rows, columns)
        assert theirs[name]().pixel1 * 1e6 == pytest.approx(pixel, rel=1e-9)


def test_poni_without_detector_shape_or_pixel(tmp_path: Path) -> None:
    old = tmp_path / "old.poni"
    old.write_text("# version 1\nPixelSize1: 0.0001\nPixelSize2: 0.0001\nDistance: 0.1\nPoni1: 0.01\nPoni2: 0.02\n"
                   "Rot1: 0\nRot2: 0\nRot3: 0\nSplineFile: None\nWavelength: 1e-10\n")  # fmt: skip
    g, detector = midas.read_geometry(old)
    assert detector is None
    assert g.distance == pytest.approx(1e5)
    assert g.beam_center == pytest.approx((199.5, 99.5))
    bare = tmp_path / "bare.poni"
    bare.write_text(old.read_text().replace("PixelSize", "Unknown"))
    with pytest.raises(FormatError, match="give pixel_size"):
        midas.read_geometry(bare)
    assert midas.read_geometry(bare, pixel_size=100.0)[0].beam_center == pytest.approx((199.5, 99.5))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Poni1: ", "Poni1: x", "expected a number"),
        ("Distance:", "Dis:", "'dist' is missing"),
        ("Wavelength:", "Wave:", "'wavelength' is missing"),
        ('"orientation": 3', '"orientation": 7', "orientation 7"),
        ('"orientation": 3', '"orientation": "up"', "orientation up"),
        ('"pixel1": 0.0001', '"pixel1": "abc"', "'pixel size' is 'abc'; expected a number"),
        ('"pixel1": 0.0001', '"pixel1": 0.0', "midas takes square pixels"),
        ('"max_shape": [40, 30]', '"max_shape": 40', "the shape of the detector is 40"),
        ("poni_version: 2.1", "poni_version: 3\nParallax: True", "parallax"),
        ("Detector_config: {", "Detector_config: [", "JSON object"),
    ],
)
def test_a_damaged_poni_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    g = midas.Geometry(distance=1e5, beam_center=(10, 20), pixel_size=100, wavelength=1.0)
    path = midas.write_geometry(tmp_path / "g.poni", g, midas.Detector((40, 30), 100))[0]
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(FormatError, match=message):
        midas.read_geometry(path)


def test_a_map_that_no_p_terms_hold_is_refused(tmp_path: Path) -> None:
    g = make_geometry(5, bent=True, tilt=5.0)
    poni, spline = midas.write_geometry(tmp_path / "g.poni", g, midas.Detector(SHAPE, 172.0))
    lines = spline.read_text().splitlines()
    at = lines.index("  X-DISTORTION") + 8
    lines[at] = "".join(f"{0.5 * k:14.7E}" for k in range(5))
    spline.write_text("\n".join(lines) + "\n")
    with pytest.raises(FormatError, match=r"any distortion p0\.\.p\d+"):
        midas.read_geometry(poni)
    spline.write_text("nothing\n")
    with pytest.raises(FormatError, match="no spline file"):
        midas.read_geometry(poni)


def test_splines_are_scipys() -> None:
    interpolate = pytest.importorskip("scipy.interpolate")
    rng = np.random.default_rng(1)
    columns, rows = np.array([0.0, 12, 25, 37, 50, 60, 75, 90, 130]), np.arange(0.0, 91.0, 9.0)
    values = rng.normal(size=(len(rows), len(columns)))
    found = pixel_map._interpolating(columns, rows, values)
    expected = interpolate.RectBivariateSpline(columns, rows, values.T, kx=3, ky=3, s=0)
    for mine, knots in zip(found, expected.get_knots(), strict=False):
        np.testing.assert_array_equal(mine, knots)
    np.testing.assert_allclose(found[2], expected.get_coeffs(), rtol=1e-6, atol=1e-6)  # kept in single precision
    at_columns, at_rows = np.sort(rng.uniform(-3.0, 133.0, 50)), np.sort(rng.uniform(-3.0, 93.0, 40))
    spline = pixel_map.Spline((90, 130), (1.0, 1.0), columns=found, rows=found)
    moved = spline.displaced(at_rows - 0.5, at_columns - 0.5)[0] - (at_rows - 0.5)[:, None]
    np.testing.assert_allclose(moved, interpolate.bisplev(at_columns, at_rows, (*found, 3, 3)).T, atol=1e-12)


def test_the_spline_travels_with_its_folder(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    g = make_geometry(6, bent=True, tilt=5.0)
    midas.write_geometry(first / "g.poni", g, midas.Detector(SHAPE, 172.0))
    first.rename(second)
    assert midas.read_geometry(second / "g.poni")[0].distortion["p2"] == pytest.approx(
        DISTORTION["p2"] * (midas.read_geometry(second / "g.poni")[0].distortion_radius / 1e5) ** 2, rel=1e-4
    )
    (second / "g.spline").unlink()
    with pytest.raises(FormatError, match=r"beside the \.poni"):
        midas.read_geometry(second / "g.poni")


# --- GSAS-II ---------------------------------------------------------------------------------------------------------


def read_controls(path: Path) -> dict[str, Any]:
    pairs = (line.split(":", 1) for line in path.read_text().splitlines())
    return {key: json.loads(value) if key != "type" else value for key, value in pairs}


def gsas2_formula(controls: dict[str, Any], rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return two_theta and azimuth [rad] as GSAS-II has them (GSASIIimage.GetTthAzmG), in double precision."""
    edge = controls["pixelSize"][0] / 1000.0
    x = (columns + 0.5) * edge - controls["center"][0]
    y = (rows + 0.5) * edge - controls["center"][1]
    tilt, phi = np.radians(controls["tilt"]), np.radians(controls["rotation"])
    axis = np.array([np.cos(phi), np.sin(phi), 0.0])
    point = np.stack([x, y, np.zeros_like(x)], axis=-1)
    # Rodrigues' formula: the tilt about its axis
    turned_point = point * np.cos(tilt) + np.cross(axis, point) * np.sin(tilt)
    turned_point += np.outer(point @ axis, axis) * (1.0 - np.cos(tilt))
    turned_point[:, 2] += controls["distance"] / np.cos(tilt)
    two_theta = np.arctan2(np.hypot(turned_point[:, 0], turned_point[:, 1]), turned_point[:, 2])
    return two_theta, np.arctan2(turned_point[:, 1], turned_point[:, 0]) + np.radians(controls["azmthOff"])


@pytest.mark.parametrize("transforms", UNMIRRORED)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_gsas2_formula_finds_our_angles(tmp_path: Path, transforms: tuple[int, ...], seed: int) -> None:
    g = make_geometry(seed, transforms)
    (path,) = midas.write_geometry(tmp_path / "g.imctrl", g, midas.Detector(SHAPE, 172.0))
    rows, columns = raw_pixels(raw_shape(SHAPE, transforms))
    assert_same_angles(our_angles(g, SHAPE, rows, columns), *gsas2_formula(read_controls(path), rows, columns))


@pytest.mark.gsas2
def test_gsas2_itself_finds_our_angles(tmp_path: Path, gsas2: EngineCommand) -> None:
    rows, columns = raw_pixels(SHAPE)
    np.save(tmp_path / "pixels.npy", np.stack([rows, columns]))
    geometries = [make_geometry(seed) for seed in (1, 2, 3)]
    for k, g in enumerate(geometries):
        midas.write_geometry(tmp_path / f"{k}.imctrl", g, midas.Detector(SHAPE, 172.0))
    script = tmp_path / "ask.py"
    script.write_text(
        "import sys\nimport numpy as np\n"
        "if len(sys.argv) > 2: sys.path.insert(0, sys.argv[2])\n"
        "from GSASII import GSASIIfiles, GSASIIimage\n"
        "rows, columns = np.load(sys.argv[1] + '/pixels.npy')\n"
        "for k in range(3):\n"
        "    data = {'det2theta': 0.0, 'sag': 0.0}\n"
        "    GSASIIfiles.LoadControls(open(f'{sys.argv[1]}/{k}.imctrl').readlines(), data)\n"
        "    x, y = (columns[None] + 0.5) * 0.172, (rows[None] + 0.5) * 0.172\n"
        "    np.save(f'{sys.argv[1]}/{k}.npy', np.stack(GSASIIimage.GetTthAzmG(x, y, data)[:2])[:, 0])\n"
        "    GSASIIfiles.WriteControls(f'{sys.argv[1]}/theirs{k}.imctrl', data)\n"
    )
    (tmp_path / ".GSASII").mkdir()
    (tmp_path / ".GSASII" / "config.ini").write_text("[GUI settings]\n")
    folder = list(gsas2.argv[gsas2.argv.index("--path") + 1 :][:1]) if "--path" in gsas2.argv else []
    environment = {**os.environ, "HOME": str(tmp_path), "MPLBACKEND": "Agg"}
    command = [gsas2.argv[0], str(script), str(tmp_path), *folder]
    subprocess.run(command, check=True, env=environment, capture_output=True, timeout=120)
    for k, g in enumerate(geometries):
        two_theta, azimuth = np.radians(np.load(tmp_path / f"{k}.npy"))
        assert_same_angles(our_angles(g, SHAPE, rows, columns), two_theta, azimuth)
        read, detector = midas.read_geometry(tmp_path / f"theirs{k}.imctrl", pixel_size=172.0)
        assert detector is None
        back = our_angles(read, SHAPE, rows, columns)
        assert_same_angles(our_angles(g, SHAPE, rows, columns), back[0], 0.5 * np.pi - back[1])


def test_controls_that_gsas2_wrote_are_read(tmp_path: Path) -> None:
    """The spellings of numpy 2 and of files before 2020."""
    path = tmp_path / "theirs.imctrl"
    text = "#comment\ntype:PWDR\nwavelength:0.12\ndistance:1000.0\ncenter:{}\ntilt:0.0\nrotation:90.0\nazmthOff:0.0\n"
    for center in ("[np.float64(168.6), np.float64(173.4)]", "[ 168.6  173.4 ]", "[168.6, 173.4]"):
        path.write_text(text.format(center))
        g, _ = midas.read_geometry(path, pixel_size=200.0)
        assert g.beam_center == pytest.approx((842.5, 866.5))
        assert g.distance == pytest.approx(1e6)
    with pytest.raises(FormatError, match="give pixel_size"):
        midas.read_geometry(path)
    path.write_text(text.format("[1, x]"))
    with pytest.raises(FormatError, match="expected two numbers"):
        midas.read_geometry(path, pixel_size=200.0)
    path.write_text(text.format("[1, 2]") + "DetDepth:0.1\n")
    with pytest.raises(FormatError, match="DetDepth"):
        midas.read_geometry(path, pixel_size=200.0)


# --- Fit2D -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_pyfai_finds_our_angles_from_the_fit2d_numbers(tmp_path: Path, seed: int) -> None:
    fit2d = pytest.importorskip("pyFAI.geometry.fit2d", reason="pyFAI is not installed; pip install midas-xrd[bench]")
    from pyFAI.geometry import Geometry

    g = make_geometry(seed, tilt=35.0)
    (path,) = midas.write_geometry(tmp_path / "g.fit2d", g, midas.Detector(SHAPE, 172.0))
    values = fit2d_text(path)
    poni = fit2d.convert_from_Fit2d(
        {
            "directDist": values["DISTANCE (MM)"],
            "centerX": values["X-BEAM CENTRE (PIXELS)"],
            "centerY": values["Y-BEAM CENTRE (PIXELS)"],
            "tilt": values["ANGLE OF TILT (DEGREES)"],
            "tiltPlanRotation": values["TILT ROTATION (DEGREES)"],
            "pixelX": 172.0,
            "pixelY": 172.0,
        }
    )
    theirs = Geometry(poni.dist, poni.poni1, poni.poni2, poni.rot1, poni.rot2, poni.rot3, detector=poni.detector)
    rows, columns = raw_pixels(SHAPE)
    ours = our_angles(g, SHAPE, rows, columns)
    seen = np.isfinite(ours[0])
    np.testing.assert_allclose(theirs.tth(rows, columns)[seen], ours[0][seen], rtol=0, atol=ANGLE)


# --- NeXus -----------------------------------------------------------------------------------------------------------


def nexus_angles(path: Path, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return two_theta and the azimuth [rad] by the NeXus manual's rules, walked by hand."""
    with h5py.File(path) as file:
        detector = file["entry/instrument/detector"]
        module = detector["module"]
        fast, slow = (module[f"{k}_pixel_direction"] for k in ("fast", "slow"))
        point = np.outer(fast.attrs["vector"], (columns + 0.5) * fast[()])
        point += np.outer(slow.attrs["vector"], (rows + 0.5) * slow[()])
        item = file[fast.attrs["depends_on"]]
        while True:
            vector = item.attrs["vector"] * 1.0
            if item.attrs["transformation_type"] == "rotation":
                a = math.radians(item[()])
                point = (
                    point * math.cos(a)
                    + np.cross(vector, point, axisb=0, axisc=0) * math.sin(a)
                    + np.outer(vector, vector @ point) * (1.0 - math.cos(a))
                )
            else:
                point = point + vector[:, None] * item[()]
            point = point + np.asarray(item.attrs.get("offset", np.zeros(3)))[:, None]
            if item.attrs["depends_on"] == ".":
                break
            item = file[item.attrs["depends_on"]]
    # x is to the left of someone who looks along the beam, y up
    return np.arctan2(np.hypot(point[0], point[1]), point[2]), np.arctan2(point[1], -point[0])


@pytest.mark.parametrize("transforms", ALL_TRANSFORMS)
def test_nexus_rules_find_our_angles(tmp_path: Path, transforms: tuple[int, ...]) -> None:
    g = make_geometry(7, transforms)
    (path,) = midas.write_geometry(tmp_path / "g.nxs", g, midas.Detector(SHAPE, 172.0))
    rows, columns = raw_pixels(raw_shape(SHAPE, transforms))
    assert_same_angles(our_angles(g, SHAPE, rows, columns), *nexus_angles(path, rows, columns))


def test_a_file_that_is_no_detector_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.nxs"
    with pytest.raises(FormatError, match="cannot be read"):
        midas.read_geometry(path)
    with h5py.File(path, "w") as file:
        file.create_group("entry")
    with pytest.raises(FormatError, match="no NXdetector"):
        midas.read_geometry(path)


# --- all formats -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".poni", ".imctrl", ".fit2d", ".nxs", ".json", ".txt"])
@pytest.mark.parametrize("seed", range(5))
def test_round_trip(tmp_path: Path, suffix: str, seed: int) -> None:
    mirrored = suffix in (".poni", ".nxs", ".json", ".txt")
    transforms = ALL_TRANSFORMS[seed % len(ALL_TRANSFORMS)] if mirrored else UNMIRRORED[seed % len(UNMIRRORED)]
    g = make_geometry(seed, transforms, bent=suffix in (".json", ".txt"))
    midas.write_geometry(tmp_path / f"g{suffix}", g, midas.Detector(SHAPE, 172.0))
    read, detector = midas.read_geometry(tmp_path / f"g{suffix}")
    assert detector is not None
    assert read.wavelength == pytest.approx(g.wavelength, rel=1e-12)
    assert read.distance == pytest.approx(g.distance, rel=1e-12)
    assert read.pixel_size == g.pixel_size
    assert raw_shape(detector.shape, read.image_transforms) == raw_shape(SHAPE, transforms)
    rows, columns = raw_pixels(raw_shape(SHAPE, transforms))
    back = our_angles(read, detector.shape, rows, columns)
    assert_same_angles(our_angles(g, SHAPE, rows, columns), back[0], 0.5 * np.pi - back[1])


@pytest.mark.parametrize("suffix", [".poni", ".nxs", ".txt", ".json"])
def test_an_untilted_geometry_comes_back_as_it_was(tmp_path: Path, suffix: str) -> None:
    g = midas.Geometry(distance=1e5, beam_center=(10.25, 20.5), pixel_size=100, wavelength=1.0, image_transforms=(2,))
    midas.write_geometry(tmp_path / f"g{suffix}", g, midas.Detector((40, 30), 100))
    read, _ = midas.read_geometry(tmp_path / f"g{suffix}")
    assert read.image_transforms == (2,)
    assert read.beam_center == pytest.approx((10.25, 20.5), abs=1e-10)
    assert read.tilts == pytest.approx((0.0, 0.0, 0.0), abs=1e-12)


@pytest.mark.parametrize("suffix", [".imctrl", ".fit2d", ".nxs"])
def test_distortion_is_refused_where_it_cannot_be_held(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(InputError, match=r"cannot hold the geometry's distortion; write a \.poni"):
        midas.write_geometry(tmp_path / f"g{suffix}", make_geometry(1, bent=True), midas.Detector(SHAPE, 172.0))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".imctrl", ".fit2d"])
@pytest.mark.parametrize("transforms", [(1,), (2,), (3,), (1, 2, 3)])
def test_a_mirrored_image_is_refused_where_it_cannot_be_held(
    tmp_path: Path, suffix: str, transforms: tuple[int, ...]
) -> None:
    with pytest.raises(InputError, match="mirror the raw image"):
        midas.write_geometry(tmp_path / f"g{suffix}", make_geometry(1, transforms), midas.Detector(SHAPE, 172.0))


def test_a_shape_is_asked_for_where_it_is_needed(tmp_path: Path) -> None:
    for g in (make_geometry(1, (1,)), make_geometry(1, bent=True)):
        with pytest.raises(InputError, match="give"):
            midas.write_geometry(tmp_path / "g.poni", g)
    assert len(midas.write_geometry(tmp_path / "g.poni", make_geometry(1))) == 1


def test_an_unknown_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has the suffix \.poni"):
        midas.read_geometry(tmp_path / "g.xyz")
    with pytest.raises(InputError, match=r"has the suffix \.poni"):
        midas.write_geometry(tmp_path / "g.xyz", make_geometry(1))


def test_layout_by_hand() -> None:
    """Flip the columns of a 2 x 3 image, then transpose it: raw (0, 0) lands in row 2, column 0."""
    g = midas.Geometry(distance=1e5, beam_center=(0, 2), pixel_size=100, wavelength=1.0, image_transforms=(1, 3))
    assert layout(g, (3, 2)).to_geometry([[0.0], [0.0]])[:, 0].tolist() == [2.0, 0.0]
    assert plane_of(g, (3, 2)).center == (0.0, 0.0)
