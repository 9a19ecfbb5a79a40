"""What a calibration writes, read back as its readers do."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from html.parser import HTMLParser

import h5py
import numpy as np
import pytest

import midas
from midas.calibration.files import EXCHANGE_NAMES, write_exchange
from midas.calibration.tables import POINT_COLUMNS
from midas.calibration.values import with_esd
from midas.cli import main
from midas.errors import OutputError
from midas.simulation import SimulationOptions

TRUTH = midas.Geometry(
    distance=2.2e5, beam_center=(250.3, 262.8), pixel_size=200.0, wavelength=0.2, tilts=(0, 0.6, -0.4)
)
SETTINGS = {"wavelength": 0.2, "pixel_size": 200.0, "calibrant": "CeO2"}


@pytest.fixture(scope="module")
def image():
    look = SimulationOptions(peak_counts=3000.0, background=20.0, dtype="uint32")
    return midas.simulate(TRUTH, midas.Detector((512, 512), 200.0), "CeO2", options=look, seed=3).image


@pytest.fixture(scope="module")
def calibration(image):
    return midas.calibrate(image, SETTINGS)


@pytest.fixture(scope="module")
def folder(calibration, tmp_path_factory):
    made = tmp_path_factory.mktemp("saved") / "deep" / "out"
    calibration.save(made, name="shot.tif")
    return made


def test_every_file_is_there(calibration, folder, tmp_path):
    names = {p.name for p in folder.iterdir()}
    assert names == {
        "refined_MIDAS_params.txt",
        "calibration_mask.tif",
        "calibration.json",
        "calibration.png",
        "calibration_details.png",
        "hkls.csv",
        "calibrant_screen_out.csv",
        "shot.tif.corr.csv",
        "geometry.poni",
        "geometry.spline",
    }
    assert {p.name for p in calibration.save(tmp_path, name="shot.tif")} == names


def test_the_table_of_points(calibration, folder):
    lines = (folder / "shot.tif.corr.csv").read_text().splitlines()
    assert lines[0] == "%Eta Strain RadFit EtaCalc DiffCalc RadCalc Ideal2Theta"
    table = dict(zip(POINT_COLUMNS, np.loadtxt(lines[1:]).T, strict=True))
    assert len(lines) - 1 == calibration.used.sum()
    np.testing.assert_allclose(table["Strain"], 1.0 - table["RadFit"] / table["RadCalc"], atol=1e-9)
    np.testing.assert_allclose(table["DiffCalc"], table["RadFit"] - table["RadCalc"], atol=2e-6)  # µm
    ideal = calibration.geometry.distance * np.tan(np.radians(table["Ideal2Theta"]))
    np.testing.assert_allclose(table["RadCalc"], ideal, atol=1e-2)  # µm
    assert np.mean(np.abs(table["Strain"])) == pytest.approx(calibration.mean_strain, rel=1e-4)
    assert set(np.round(table["Ideal2Theta"], 5)) <= set(np.round(calibration.rings.two_theta, 5))


def test_the_ring_list(calibration, folder):
    lines = (folder / "hkls.csv").read_text().splitlines()
    assert lines[0] == "h k l D-spacing RingNr g1 g2 g3 Theta 2Theta Radius"
    assert len(lines) - 1 == len(calibration.rings.all_hkl)
    first = [float(word) for word in lines[1].split()]
    assert first[-1] == pytest.approx(calibration.geometry.distance * np.tan(np.radians(first[-2])), abs=0.01)  # µm


def test_the_report_ends_in_the_mean_values(calibration, folder):
    text = (folder / "calibrant_screen_out.csv").read_text()
    assert text.count("Iteration ") == len(calibration.history)
    block = [line.split() for line in text.split("Mean Values\n")[1].splitlines()]
    assert [words[0] for words in block] == [
        *("Lsd", "BC", "ty", "tz", "p0", "p1", "p2", "p3"),
        "MeanStrain",
        "StdStrain",
    ]
    values = {words[0]: [float(w) for w in words[1:]] for words in block}
    g = calibration.geometry
    assert values["Lsd"] == pytest.approx([g.distance], rel=1e-11)
    assert values["BC"] == pytest.approx(list(g.beam_center), rel=1e-11)
    assert values["tz"] == pytest.approx([g.tilts[2]], rel=1e-11)
    assert values["p2"] == pytest.approx([g.distortion["p2"]], rel=1e-11)
    assert values["MeanStrain"] == pytest.approx([calibration.mean_strain], rel=1e-11)


def test_the_record(calibration, folder):
    record = json.loads((folder / "calibration.json").read_text())
    assert record["verdict"] == calibration.verdict
    assert record["evidence"]["n_rings"] == sum(not ring.outlier for ring in calibration.ring_table)
    assert record["evidence"]["arc"] == calibration.evidence.arc
    assert len(record["iterations"]) == len(calibration.history)
    assert record["iterations"][-1]["ring_strain"] == list(calibration.history[-1].ring_strain)
    names = list(calibration.parameters)
    for pair in record["strong_correlations"]:
        i, k = (names.index(name) for name in pair["between"])
        assert i != k
        assert abs(record["correlation"][i][k]) > 0.95
    found = {frozenset(pair["between"]) for pair in record["strong_correlations"]}
    off_diagonal = np.abs(np.triu(np.array(record["correlation"]), 1)) > 0.95
    assert len(found) == off_diagonal.sum()
    read, detector = midas.read_geometry(folder / "calibration.json")
    assert read.distance == calibration.geometry.distance
    assert dict(read.distortion) == {k: v for k, v in calibration.geometry.distortion.items() if v != 0.0}
    assert detector.shape == (512, 512)


def test_the_geometry_for_pyfai(calibration, folder):
    pyfai = pytest.importorskip("pyFAI", reason="pyFAI is not installed; pip install midas-xrd[bench]")
    ai = pyfai.load(str(folder / "geometry.poni"))
    rows, columns = np.array([3.0, 250.0, 500.0]), np.array([10.0, 30.0, 444.0])
    _, two_theta, eta = calibration.geometry.to_polar(columns, rows)
    np.testing.assert_allclose(ai.tth(rows, columns), np.radians(two_theta), atol=1e-6)  # rad
    np.testing.assert_allclose(
        ai.chi(rows, columns), np.arctan2(np.cos(np.radians(eta)), np.sin(np.radians(eta))), atol=1e-6
    )


def test_gsas2_gets_what_it_can_hold(calibration, tmp_path, caplog):
    flat = replace(calibration, geometry=replace(calibration.geometry, distortion={}))
    assert [p.name for p in write_exchange(tmp_path, flat)] == list(EXCHANGE_NAMES)
    caplog.set_level(logging.INFO, "midas")
    assert "geometry.imctrl" not in [p.name for p in write_exchange(tmp_path, calibration)]
    assert "geometry.imctrl is not written: GSAS-II's .imctrl cannot hold the geometry's distortion" in caplog.text


@pytest.fixture(scope="module")
def tree(calibration, tmp_path_factory):
    return calibration.save_intermediates(tmp_path_factory.mktemp("hdf") / "all.h5")


def test_the_tree_of_intermediates(calibration, tree):
    names = []
    with h5py.File(tree) as file:
        for name in file:
            names += [f"{name}/{key}" for key in file[name]] if len(file[name]) else [name]
    per_iteration = [
        f"strain_tth_data_iter{i.number}/{key}"
        for i in calibration.history
        for key in ("two_theta", "mean_strain", "threshold")
    ]
    assert sorted(names) == sorted(
        [
            "raw_image_data/raw_image",
            "background_data/background",
            "threshold_data/threshold",
            *(f"ring_overlay_data/{key}" for key in ("threshold", "beam_center", "ring_radii")),
            *per_iteration,
            *(f"final_strain_data/{key}" for key in ("results_tth", "results_strain", "unique_tth")),
            *(f"final_strain_data/{key}" for key in ("mean_strain_per_ring", "threshold")),
            *(f"results_data/{key}" for key in POINT_COLUMNS),
            "parameters",
        ]
    )


def test_the_intermediates_agree_with_the_result(calibration, tree):
    with h5py.File(tree) as file:
        np.testing.assert_array_equal(file["raw_image_data/raw_image"], calibration.image.counts)
        background, over = file["background_data/background"][()], file["threshold_data/threshold"][()]
        assert background.shape == over.shape == calibration.image.shape
        assert 15.0 < np.percentile(background, 2) < 40.0  # counts; 20 were simulated, under tails of rings
        on = over > 0
        assert 0.02 < on.mean() < 0.6
        np.testing.assert_allclose(over[on], (calibration.image.counts - background)[on], rtol=1e-6)
        # A ring stands out where the geometry says.
        y, z = calibration.geometry.to_pixel(file["ring_overlay_data/ring_radii"][0], np.arange(-180.0, 180.0, 5.0))
        assert on[np.rint(z).astype(int), np.rint(y).astype(int)].mean() > 0.9
        last = file[f"strain_tth_data_iter{len(calibration.history)}"]
        assert last["threshold"].shape == (1,)
        used = np.abs(file["final_strain_data/results_strain"][()])
        assert used.mean() == pytest.approx(calibration.mean_strain, rel=1e-12)
        per_ring = dict(
            zip(file["final_strain_data/unique_tth"], file["final_strain_data/mean_strain_per_ring"], strict=True)
        )
        for ring in calibration.ring_table:
            if not ring.outlier:
                nearest = min(per_ring, key=lambda t, at=ring.two_theta: abs(t - at))
                assert per_ring[nearest] == pytest.approx(ring.mean_strain, rel=0.35)
        assert file["parameters"].attrs["Lsd"] == calibration.geometry.distance
        assert tuple(file["parameters"].attrs["BC"]) == calibration.geometry.beam_center


def test_the_history_of_a_ring_by_hand(calibration):
    """Means over each ring's points in the iteration that was kept; the threshold is 2.5 times their median."""
    last = calibration.history[-1]
    numbers = np.unique(calibration.points.ring)
    means = [np.mean(np.abs(calibration.strain[calibration.points.ring == n])) for n in numbers]
    kept = [i for i in calibration.history if i.mean_strain == pytest.approx(calibration.mean_strain, rel=1e-12)]
    np.testing.assert_allclose(kept[-1].ring_strain, means, rtol=1e-12)
    np.testing.assert_allclose(kept[-1].ring_two_theta, calibration.rings.two_theta[numbers])
    assert last.ring_threshold == pytest.approx(2.5 * np.median(last.ring_strain))


def test_intermediates_into_no_folder_are_refused(calibration, tmp_path):
    with pytest.raises(OutputError, match="folder does not exist"):
        calibration.save_intermediates(tmp_path / "none" / "all.h5")


class Balanced(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.cells = [], []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.cells.append(data)


def test_the_table_for_notebooks(calibration):
    doubtful = replace(calibration, verdict="doubtful", reasons=("the <rings> are few & weak",))
    page = Balanced()
    page.feed(doubtful._repr_html_())
    assert page.open == []
    assert "doubtful" in page.cells
    assert "the <rings> are few & weak" in page.cells
    distance = page.cells[page.cells.index("distance") + 1 :][:2]
    esd = calibration.esd["distance"]
    assert distance == [with_esd(calibration.geometry.distance / 1000.0, esd / 1000.0), "mm"]


def test_the_program_writes_all_of_it(image, tmp_path, monkeypatch, capsys):
    np.save(tmp_path / "shot.npy", image)
    monkeypatch.chdir(tmp_path)
    arguments = ["calibrate", "shot.npy", "--wavelength", "0.2", "--pixel-size", "200", "-SavePlotsHDF", "out/all.h5"]
    assert main([*arguments, "--out", "out"]) == 0
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert {"all.h5", "shot.npy.corr.csv", "hkls.csv", "calibrant_screen_out.csv", "autocal.log"} <= names
    assert "all.h5" in capsys.readouterr().out
    assert main([*arguments[:-1], "nowhere/all.h5", "--out", "other"]) == 2
    assert not (tmp_path / "other").exists()
    assert "nowhere/all.h5: its folder does not exist" in capsys.readouterr().err


def test_a_file_in_the_way_of_the_folder_is_refused(calibration, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="a file of that name is in the way"):
        calibration.save(tmp_path / "file")


def test_files_of_an_earlier_calibration_do_not_stay(calibration, tmp_path):
    calibration.save(tmp_path)
    (tmp_path / "panel_shifts.txt").write_text("of another detector")
    failed = replace(calibration, verdict="failed", reasons=("the rings are elsewhere",))
    written = failed.save(tmp_path)
    assert not {"geometry.poni", "geometry.spline", "panel_shifts.txt"} & {p.name for p in tmp_path.iterdir()}
    assert {p.name for p in written} == {p.name for p in tmp_path.iterdir()}
    first = (tmp_path / "refined_MIDAS_params.txt").read_text().splitlines()[0]
    assert first == "# midas calibrate, verdict failed; the rings are elsewhere"
    read = midas.read_params(tmp_path / "refined_MIDAS_params.txt").geometry
    assert read.distance == calibration.geometry.distance
