"""The MIDAS parameter text: kept without loss, understood, checked, written back."""

from __future__ import annotations

import logging
import math

import numpy as np
import pytest

import midas
from midas.errors import FormatError, GeometryError, InputError, OutputError
from midas.io.parameter_table import PARAMETER_KEYS, find_key, nearest_key
from midas.io.parameters import Parameters, parse_params, read_params
from midas.io.refined_params import write_refined_params

TEXT = """# calibrant CeO2, GE3
Lsd 1050773.5;  # um
BC 1030.75 1007.32
tx 0
ty 0.1
tz -0.2
p0 1e-4
p1 2e-4
p2 -3e-4
p3 45
RhoD 291000
PixelSize 200
NrPixels 2048
Wavelength 0.153588

SpaceGroup 225
LatticeParameter 5.41165 5.41165 5.41165 90 90 90
RMin 10
RMax 1400
RBinSize 0.5
EtaBinSize 5
ImTransOpt 0
ImTransOpt 2
ImTransOpt 3
RingsToExclude 3
RingsToExclude 7
RingThresh 1 10.5
OmegaFirstFile -180
OmegaStep 0.25
OmegaSumFrames 20
SkipFrame 1
skipFrame 2
GapIntensity -1
BadPxIntensity -2
Folder /data/my run
tolLsd 5000
"""


ORDER = """Lsd BC tx ty tz p0 p1 p2 p3 p9 p10 RhoD Wavelength px RMin RMax RBinSize EtaMin EtaMax NrPixelsY NrPixelsZ
EtaBinSize DoSmoothing DoPeakFit skipFrame MultiplePeaks ImTransOpt ImTransOpt BadPxIntensity GapIntensity
SpaceGroup LatticeConstant"""

SPELLED = """
Lsd BC tx ty tz RhoD px PixelSize pxY pxZ NrPixels NrPixelsY NrPixelsZ Wavelength SpaceGroup LatticeConstant
LatticeParameter RMin RMax RBinSize EtaMin EtaMax EtaBinSize OmegaStart OmegaFirstFile OmegaStep OmegaSumFrames
SkipFrame HeadSize DataType Dark Folder FileStem Ext StartNr EndNr Padding ImTransOpt GapIntensity BadPxIntensity
GapFile BadPxFile MaskFile DistortionFile Normalize SumImages SaveIndividualFrames DoPeakFit MultiplePeaks
PeakLocation DoSmoothing Width MultFactor Polariz SHpL U V W X Y Z RingsToExclude RingThresh OmegaRange BoxSize"""


def test_values_and_aliases():
    p = parse_params(TEXT)
    assert p.get("Lsd") == 1050773.5
    assert p.get("BC") == (1030.75, 1007.32)
    assert p.get("px") == p.get("pxY") == p.pixel_size == 200.0
    assert p.lattice == p.get("LatticeConstant") == (5.41165, 5.41165, 5.41165, 90.0, 90.0, 90.0)
    assert p.space_group == 225
    assert isinstance(p.get("SpaceGroup"), int)
    assert p.image_transforms == (2, 3)
    assert p.get("ImTransOpt") == (0, 2, 3)
    assert p.get("RingsToExclude") == (3, 7)
    assert p.get("RingThresh") == ((1.0, 10.5),)
    assert (p.omega_start, p.omega_step, p.frames_per_sum) == (-180.0, 0.25, 20)
    assert p.skip_frames == 2
    assert p.bad_values == (-1.0, -2.0)
    assert p.get("Folder") == "/data/my run"
    assert p.get("tolLsd") == 5000.0
    assert p.shape == (2048, 2048)
    assert p.unknown == ()
    assert "OmegaStart" in p
    assert "Dark" not in p


def test_defaults_come_from_the_table():
    p = Parameters()
    assert (p.head_size, p.skip_frames, p.frames_per_sum, p.omega_step) == (8192, 0, -1, 0.0)
    assert p.get("Lsd") is None
    assert p.get("Lsd", 5.0) == 5.0
    assert p.get("EtaMin") == -180.0
    assert p.image_transforms == p.bad_values == ()
    assert p.lattice is p.space_group is p.calibrant is p.shape is None


def test_objects():
    p = parse_params(TEXT)
    g = p.geometry
    assert (g.distance, g.beam_center, g.pixel_size, g.wavelength) == (1050773.5, (1030.75, 1007.32), 200.0, 0.153588)
    assert g.tilts == (0.0, 0.1, -0.2)
    assert dict(g.distortion) == {"p0": 1e-4, "p1": 2e-4, "p2": -3e-4, "p3": 45.0}
    assert g.distortion_radius == 291000.0
    assert g.image_transforms == (2, 3)
    assert p.detector.shape == (2048, 2048)
    assert p.grid == midas.CakeGrid(10, 1400, 0.5, -180, 180, 5)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", ["", "no end"])
def test_text_is_kept_without_loss(tmp_path, end, last):
    content = (TEXT + "  MyKey  a b # mine\n\n" + last).replace("\n", end).encode() + b" # \xb5m in an old encoding"
    (tmp_path / "p.txt").write_bytes(content)
    p = read_params(tmp_path / "p.txt")
    assert p.text().encode("utf-8", "surrogateescape") == content
    assert p.get("MyKey") == "a b"
    assert p.geometry.distance == 1050773.5


def test_the_last_one_wins():
    p = parse_params("Lsd 1e6\npx 100\nLsd 2e6\npxY 200\nNrPixels 10\nNrPixelsY 20\n")
    assert (p.get("Lsd"), p.pixel_size, p.shape) == (2e6, 200.0, (10, 20))
    assert parse_params("NrPixelsY 20\nNrPixels 10\n").shape == (10, 10)


def test_shape_of_stored_frames_undoes_the_transpose():
    text = "NrPixelsY 20\nNrPixelsZ 10\nImTransOpt 3\n"
    assert parse_params(text).shape == (10, 20)
    assert parse_params(text).frame_shape == (20, 10)
    assert parse_params(text + "ImTransOpt 3\n").frame_shape == (10, 20)


def test_an_unknown_key_is_kept_and_warned_about(caplog):
    with caplog.at_level(logging.WARNING, "midas"):
        p = parse_params("wavelenght 0.18\nEntirelyForeign 1 2 3\n")
    assert p.unknown == ("wavelenght", "EntirelyForeign")
    assert "line 1: unknown key wavelenght is kept but not used; did you mean Wavelength?" in caplog.messages[0]
    assert caplog.messages[1].endswith("EntirelyForeign is kept but not used")


def test_words_after_the_values_are_warned_about(caplog):
    with caplog.at_level(logging.WARNING, "midas"):
        assert parse_params("Lsd 1e6 microns\n").get("Lsd") == 1e6
    assert "'microns' is not used" in caplog.text


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Lsd", "Lsd has 0 values; expected 1"),
        ("Lsd 1e6x", "value '1e6x'; expected a number"),
        ("Lsd nan", "expected a finite number"),
        ("BC 10", "BC has 1 values; expected 2: beam centre, column then row"),
        ("NrPixels 20.5", "whole number"),
        ("LatticeConstant 5.4", "expected 6"),
        ("Folder", "Folder has no value"),
        ("ImTransOpt", "expected 1"),
    ],
)
def test_a_malformed_value_names_file_and_line(tmp_path, line, message):
    (tmp_path / "p.txt").write_text(f"# first\n\n{line}\n")
    with pytest.raises(FormatError, match=message) as caught:
        read_params(tmp_path / "p.txt")
    assert str(caught.value).startswith(f"{tmp_path / 'p.txt'}, line 3: ")


def test_all_keys_that_are_missing_are_named():
    with pytest.raises(InputError) as caught:
        _ = parse_params("px 200\nLsd 1e6\n").geometry
    assert "has no BC (beam centre, column then row, px) and Wavelength" in str(caught.value)
    assert str(caught.value).endswith("; add a line 'key value' for each")
    with pytest.raises(InputError, match=r"has no RBinSize \(.*\); add a line 'RBinSize value'"):
        _ = parse_params("RMin 1\nRMax 9\n").bins


def test_files_that_are_no_parameter_files(tmp_path):
    with pytest.raises(FormatError, match="no such file"):
        read_params(tmp_path / "p.txt")
    (tmp_path / "p.txt").write_bytes(b"II*\0\x08")
    with pytest.raises(FormatError, match="not text"):
        read_params(tmp_path / "p.txt")
    with pytest.raises(FormatError, match="cannot be read"):
        read_params(tmp_path)


@pytest.mark.parametrize("key", ["Lsd", "BC", "px|PixelSize", "Wavelength"])
def test_a_missing_key_is_named(tmp_path, key):
    names = key.split("|")
    path = tmp_path / "p.txt"
    path.write_text("".join(li for li in TEXT.splitlines(keepends=True) if li.split()[:1] not in [[n] for n in names]))
    with pytest.raises(InputError) as caught:
        _ = read_params(path).geometry
    message = str(caught.value)
    assert str(path) in message
    assert f"add a line '{names[0]} value'" in message


def test_missing_bins_and_shape():
    with pytest.raises(InputError, match="no RMax"):
        _ = parse_params("RMin 10\nRBinSize 1\n").grid
    with pytest.raises(InputError, match="no NrPixelsZ"):
        _ = parse_params("NrPixelsY 10\npx 200\n").detector


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"RhoD": 1450}, GeometryError, "RhoD 1450 looks like px; midas takes µm, here about 289631"),
        ({"RhoD": 291}, GeometryError, "looks like mm"),
        ({"RhoD": 5e7}, GeometryError, "not of the order of the detector"),
        ({"Lsd": 1.05}, GeometryError, "looks like metres"),
        ({"Wavelength": 80.7}, GeometryError, "energy in keV"),
        ({"ImTransOpt": [1, 5]}, InputError, "transform 5"),
    ],
)
def test_contradictions_are_refused(change, error, message):
    with pytest.raises(error, match=message):
        _ = parse_params(TEXT).updated(change).geometry


def test_a_pixel_size_in_mm_is_refused():
    with pytest.raises(GeometryError, match="metres or mm"):
        _ = parse_params(TEXT.replace("NrPixels 2048\n", "").replace("Size 200", "Size 0.2")).geometry


def test_more_contradictions(caplog):
    with pytest.raises(InputError, match=r"EtaBinSize.*step above 0"):
        _ = parse_params(TEXT).updated({"EtaBinSize": 0}).grid
    with pytest.raises(InputError, match="square pixels"):
        _ = parse_params("pxY 100\npxZ 200\n").pixel_size
    with pytest.raises(InputError, match="OmegaSumFrames is 0"):
        _ = parse_params("OmegaSumFrames 0\n").frames_per_sum
    with caplog.at_level(logging.WARNING, "midas"):
        assert parse_params(TEXT).grid.radius_max == 1400
        assert not caplog.messages
        assert parse_params(TEXT).updated({"RMax": 2880}).grid.radius_max == 2880
    assert "RMax is 2880 px but the farthest corner is 14" in caplog.text


def test_mask_files_are_joined_and_found_beside_the_file(tmp_path):
    for name, place in (("m.npy", (0, 1)), ("gap.npy", (2, 3))):
        mask = np.zeros((3, 4), dtype=np.uint8)
        mask[place] = 1
        np.save(tmp_path / name, mask)
    (tmp_path / "p.txt").write_text("NrPixelsY 4\nNrPixelsZ 3\npx 200\nImTransOpt 1\nMaskFile m.npy\nGapFile gap.npy\n")
    detector = read_params(tmp_path / "p.txt").detector
    assert np.argwhere(detector.mask).tolist() == [[0, 2], [2, 0]]
    (tmp_path / "p.txt").write_text("NrPixelsY 5\nNrPixelsZ 3\npx 200\nMaskFile m.npy\n")
    with pytest.raises(InputError, match=r"expected the detector's \(3, 5\)"):
        _ = read_params(tmp_path / "p.txt").detector


BINS = "RMin 1\nRMax 9\nRBinSize 1\n"
PLACE = "Lsd 1e6\nBC 1 2\npx 200\nWavelength 0.18\n"


def test_keys_that_would_change_the_result_are_refused():
    with pytest.raises(InputError, match=r"has DistortionFile \(file of displacements .* take the line out"):
        _ = parse_params(f"{PLACE}DistortionFile d.bin\n").geometry
    for line in ("OmegaRange -10 10", "BoxSize -1 1 -1 1"):
        p = parse_params(f"{BINS}{line}\n")
        with pytest.raises(InputError, match=f"has {line.split()[0]} .* take the line out"):
            _ = p.grid
        assert p.bins == midas.CakeGrid(1, 9, 1)
    found = midas.Geometry(distance=1e6, beam_center=(1, 2), pixel_size=200, wavelength=0.18)
    assert "DistortionFile" not in parse_params("DistortionFile d.bin\n").with_geometry(found)


def test_peak_keys_that_do_nothing_or_contradict_are_warned_about_once(caplog):
    p = parse_params(f"{BINS}PeakLocation 7\nPeakLocation 5.5\n")
    assert p.peak_locations == (5.5, 7.0)
    _ = p.grid
    messages = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert len(messages) == 2
    assert "PeakLocation without DoPeakFit 1: no peaks are fitted" in messages[0]
    assert "2 PeakLocation without MultiplePeaks 1: all are fitted" in messages[1]
    caplog.clear()
    _ = parse_params(f"{BINS}DoPeakFit 0\nMultiplePeaks 0\nDoSmoothing 0\n").grid
    _ = parse_params(f"{BINS}DoPeakFit 1\nMultiplePeaks 1\nPeakLocation 5\nPeakLocation 7\n").grid
    assert not caplog.records


def test_updates_keep_everything_else():
    p = parse_params("# top\npxY 200 # GE\nMine 1\nImTransOpt 1\nx\nImTransOpt 2")
    q = p.updated({"px": 100, "ImTransOpt": [3], "Lsd": 1e6})
    assert q.text() == "# top\npxY 100.0 # GE\nMine 1\nImTransOpt 3\nx\nLsd 1000000.0\n"
    assert p.pixel_size == 200.0
    with pytest.raises(InputError, match="did you mean Lsd"):
        p.updated({"lsd": 1})
    with pytest.raises(InputError, match="expected 2 values"):
        p.updated({"BC": 1.0})
    with pytest.raises(InputError, match="expected a number"):
        p.updated({"Lsd": "far"})
    with pytest.raises(InputError, match="finite"):
        p.updated({"Lsd": math.nan})


def test_dicts_take_our_own_names():
    p = Parameters.from_dict(
        {
            "energy": 80.725,
            "pixel_size": 200,
            "calibrant": "CeO2",
            "distance": 1e6,
            "beam_center": (10, 20),
            "tilts": (0, 0.5, 0.25),
            "distortion": {"p2": 1e-3},
            "distortion_radius": 2.9e5,
            "shape": (2000, 2100),
            "image_transforms": (1, 3),
            "RMin": 10,
        }
    )
    g = p.geometry
    assert g.wavelength == pytest.approx(12.398419843 / 80.725, rel=1e-15)
    assert (g.distance, g.beam_center, g.tilts) == (1e6, (10.0, 20.0), (0.0, 0.5, 0.25))
    assert (g.distortion["p2"], g.distortion_radius, g.image_transforms) == (1e-3, 2.9e5, (1, 3))
    assert (p.calibrant, p.shape, p.get("RMin")) == ("CeO2", (2000, 2100), 10.0)
    with pytest.raises(InputError, match="unknown parameter 'wavelenth'; did you mean wavelength"):
        Parameters.from_dict({"wavelenth": 1})
    with pytest.raises(InputError, match="energy"):
        Parameters.from_dict({"energy": -1})
    with pytest.raises(InputError, match="tilts"):
        Parameters.from_dict({"tilts": (1, 2)})


def awkward_geometry(**changes) -> midas.Geometry:
    values = {
        "distance": 1e6 / 3,
        "beam_center": (1030.1, 2 / 3),
        "pixel_size": 172.1,
        "wavelength": 0.1 + 0.2,
        "tilts": (1e-17, 1 / 3, -2 / 7),
        "distortion": {"p0": 1e-5 / 3, "p2": -0.1 / 3, "p3": 100 / 7, "p9": 1e-300, "p10": 12.3},
        "distortion_radius": 2e5 / 0.7,
        "image_transforms": (2, 3),
    }
    return midas.Geometry(**{**values, **changes})


def test_refined_file_gives_the_same_geometry_back(tmp_path):
    geometry, grid = awkward_geometry(), midas.CakeGrid(1 / 3, 1000.1, 0.1, -170, 170, 1 / 3)
    source = parse_params("DoPeakFit 1\nSkipFrame 3\nGapIntensity -1\nBadPxIntensity -2\n")
    lattice = (5.41165, 5.41165, 5.41165, 90.0, 90.0, 90.0)
    path = write_refined_params(
        tmp_path, geometry, grid, midas.Detector((1043, 981), 172.1), space_group=225, lattice=lattice, source=source
    )
    assert path == tmp_path / "refined_MIDAS_params.txt"
    back = read_params(path)
    g = back.geometry
    for name in (
        "distance",
        "beam_center",
        "pixel_size",
        "wavelength",
        "tilts",
        "distortion_radius",
        "image_transforms",
    ):
        assert getattr(g, name) == getattr(geometry, name), name
    assert {k: v for k, v in g.distortion.items() if v} == dict(geometry.distortion)
    assert back.grid == grid
    assert back.detector.shape == (1043, 981)
    assert (back.space_group, back.lattice, back.bad_values, back.skip_frames) == (225, lattice, (-1.0, -2.0), 3)
    assert back.unknown == ()
    order = [line.split()[0] for line in path.read_text().splitlines()]
    assert order == ORDER.split()


def test_refined_file_keeps_masks_dark_and_scan_of_its_source(tmp_path):
    home, out = tmp_path / "home", tmp_path / "out"
    home.mkdir()
    out.mkdir()
    mask = np.zeros((3, 4), dtype=np.uint8)
    mask[0, 1] = 1
    np.save(home / "m.npy", mask)
    np.save(home / "dark 1.npy", mask)
    (home / "ps.txt").write_text(
        "# old\nNrPixels 9\nPixelSize 100\np4 0.5\nRhoD 7e5\nMaskFile old.npy\nMaskFile m.npy\nDark dark 1.npy\n"
        "OmegaFirstFile -10\nOmegaStep 0.25\nOmegaSumFrames 20\nDataType 3\nHeadSize 0\nImTransOpt 3\nCalibrant LaB6\n"
        "GapFile /absent/gap.npy\nOmegaRange 0 10\nOmegaRange 20 30\nRingThresh 1 5.5\ntolLsd 3\nNormalize 0\nU 1.5\n"
        "DistortionFile d.bin\nspaceGroup 1\n"
    )
    geometry = midas.Geometry(distance=1e6, beam_center=(1, 2), pixel_size=200, wavelength=0.18)
    path = write_refined_params(
        out / "refined.txt",
        geometry,
        midas.CakeGrid(0, 4, 1),
        midas.Detector((3, 4), 200),
        space_group=225,
        lattice=(5.0, 5.0, 5.0, 90.0, 90.0, 90.0),
        source=read_params(home / "ps.txt"),
    )
    keys = [line.split()[0] for line in path.read_text().splitlines()]
    assert " ".join(keys[keys.index("LatticeConstant") + 1 :]) == (
        "MaskFile Dark OmegaStart OmegaStep OmegaSumFrames DataType HeadSize GapFile OmegaRange OmegaRange "
        "RingThresh tolLsd Normalize U"
    )
    back = read_params(path)
    assert back.file("Dark") == (home / "dark 1.npy").resolve()
    assert back.get("GapFile") == "/absent/gap.npy"
    assert (back.omega_start, back.omega_step, back.frames_per_sum) == (-10.0, 0.25, 20)
    assert (back.get("DataType"), back.head_size, back.get("Normalize")) == (3, 0, 0)
    assert back.get("OmegaRange") == ((0.0, 10.0), (20.0, 30.0))
    assert (back.pixel_size, back.geometry.distortion_radius, back.image_transforms) == (200.0, None, ())
    assert not any(back.geometry.distortion.values())
    assert "NrPixels" not in keys
    unmasked = parse_params(path.read_text().replace("GapFile /absent/gap.npy\n", ""), path)
    assert np.argwhere(unmasked.detector.mask).tolist() == [[0, 1]]


def test_refined_file_names_files_below_a_folder_with_a_hash(tmp_path):
    folder = tmp_path / "run #3"
    folder.mkdir()
    np.save(folder / "d.npy", np.zeros((3, 4)))
    geometry = midas.Geometry(distance=1e6, beam_center=(1, 2), pixel_size=200, wavelength=0.18)
    inputs = (geometry, midas.CakeGrid(0, 4, 1), midas.Detector((3, 4), 200))
    source = parse_params("Dark d.npy", folder / "ps.txt")
    back = read_params(write_refined_params(folder, *inputs, source=source))
    assert back.get("Dark") == "d.npy"
    assert back.file("Dark") == folder / "d.npy"
    with pytest.raises(InputError, match="# begins a comment"):
        write_refined_params(tmp_path, *inputs, source=source)


def test_refined_file_refuses_what_it_cannot_say(tmp_path):
    detector = midas.Detector((1043, 981), 172.1)
    with pytest.raises(InputError, match="grid is in q"):
        write_refined_params(tmp_path, awkward_geometry(), midas.CakeGrid(1, 5, 0.1, unit="q"), detector)
    with pytest.raises(InputError, match="edges of its own"):
        write_refined_params(tmp_path, awkward_geometry(), midas.CakeGrid.from_edges([1, 5, 6]), detector)
    with pytest.raises(OutputError, match="folder does not exist"):
        write_refined_params(tmp_path / "no" / "p.txt", awkward_geometry(), midas.CakeGrid(1, 5, 0.1), detector)
    assert not list(tmp_path.iterdir())


def test_table_is_complete_and_consistent():
    spelled = [*SPELLED.split(), *(f"p{i}" for i in range(15))]
    for name in spelled:
        assert find_key(name) is not None, name
    repeatable = {row.name for row in PARAMETER_KEYS.values() if row.repeatable}
    assert repeatable == {
        "ImTransOpt",
        "RingsToExclude",
        "RingThresh",
        "OmegaRange",
        "BoxSize",
        "PeakLocation",
        "PanelGapsY",
        "PanelGapsZ",
    }
    for row in PARAMETER_KEYS.values():
        assert row.meaning
        assert row.default is None or isinstance(row.default, row.kind)
    assert find_key("tol") is None
    assert nearest_key("qqqq") is None
