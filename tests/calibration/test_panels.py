"""Panels in a calibration: found, recovered, kept only where they help, written and read back."""

from __future__ import annotations

import json

import numpy as np
import pytest

import midas
from midas.calibration.panels import find_layout, halves
from midas.detector_table import find_known_detector
from midas.errors import InputError
from midas.io.parameters import read_params

LAYOUT = midas.PanelLayout(size=(220, 250), gaps_z=(14, 14), gaps_y=(8,))  # 3 rows, 2 columns
SHAPE = LAYOUT.shape  # (688, 508)
LOOK = {"peak_counts": 3000.0, "background": 20.0, "dtype": "int32", "module_shape": (220, 250), "module_gap": (14, 8)}


def shot(table: np.ndarray | None, **look: object) -> tuple[np.ndarray, midas.Geometry]:
    truth = midas.Geometry(
        distance=2.1e5, beam_center=(262.3, 338.6), pixel_size=172.0, wavelength=0.3, tilts=(0.0, 0.7, -1.2),
        panels=None if table is None else midas.Panels.from_table(LAYOUT, table),
    )  # fmt: skip
    options = midas.SimulationOptions(**(LOOK | look))
    return midas.simulate(truth, midas.Detector(SHAPE, 172.0), "CeO2", options=options, seed=3).image, truth


def moved() -> np.ndarray:
    table = np.zeros((6, 5))
    table[:, :3] = np.random.default_rng(5).normal(size=(6, 3)) * [0.3, 0.3, 0.05]
    return table


def known(**more: object) -> dict:
    return {"wavelength": 0.3, "pixel_size": 172.0, "calibrant": "CeO2"} | more


@pytest.fixture(scope="module")
def tiled():
    image, truth = shot(moved())
    return image, truth, midas.calibrate(image, known())


def test_the_layout_is_found_and_the_strain_falls_to_that_of_a_whole_detector(tiled):
    image, _, calibration = tiled
    assert calibration.geometry.panels is not None
    assert calibration.geometry.panels.layout == LAYOUT
    smooth = midas.calibrate(image, known(panels="none"))
    assert smooth.geometry.panels is None
    assert calibration.mean_strain < 0.4 * smooth.mean_strain
    assert calibration.held_out_strain < 0.4 * smooth.held_out_strain
    # Shifts of 0.3 px leave the beam centre uncertain against the nominal grid; nothing else is amiss.
    assert calibration.verdict == "doubtful"
    assert len(calibration.reasons) == 1
    assert "nominal grid the beam centre is known to ±0.2" in calibration.reasons[0]


def test_radii_are_recovered_over_the_whole_detector(tiled):
    # What rings see: each pixel's 2theta. The shifts themselves are known along the radius only.
    _, truth, calibration = tiled
    y, z = np.meshgrid(np.arange(5.0, 508.0, 9.0), np.arange(5.0, 688.0, 9.0))
    expected, found = truth.to_polar(y, z)[1], calibration.geometry.to_polar(y, z)[1]
    radius = truth.to_polar(y, z)[0]
    off = (np.tan(np.radians(found)) / np.tan(np.radians(expected)) - 1.0) * radius  # px
    on_rings = radius > 100
    assert np.sqrt(np.mean(off[on_rings] ** 2)) < 0.02  # px: displacements are 0.3


def test_module_shifts_are_recovered_within_their_esds(tiled):
    # The truth in the fit's gauge: what panels do together belongs to beam centre, tilt and distance.
    _, _, calibration = tiled
    record = calibration.as_dict()["geometry"]["panels"]
    esd = np.array(record["esd"], dtype=float)[:, :3]
    c = LAYOUT.centers - LAYOUT.centers.mean(axis=0)
    moment = (220**2 + 250**2) / 12.0
    unit = np.array([1.0, 1.0, np.radians(1.0)])
    n = len(LAYOUT)
    rows = np.zeros((4, n, 3))
    rows[0, :, 0] = rows[1, :, 1] = 1.0
    rows[2] = np.stack([-c[:, 1], c[:, 0], np.full(n, moment)], axis=1)
    rows[3] = np.stack([c[:, 0], c[:, 1], np.zeros(n)], axis=1)
    a = (rows * unit).reshape(4, -1)
    found = calibration.geometry.panels.table[:, :3].ravel()
    # curl and divergence are held at zero; the mean is what the beam centre leaves to the panels
    np.testing.assert_allclose(a[2:] @ found, 0.0, atol=0.1)  # px², of displacements times hundreds of px
    # the common part of the truth is free: take the one nearest to what was found, in esds
    difference = (moved()[:, :3].ravel() - found) / esd.ravel()
    free = np.zeros((n, 3, 4))
    free[:, 0, 0] = free[:, 1, 1] = 1.0
    free[:, :, 2] = np.stack([-c[:, 1], c[:, 0], np.full(n, 1.0)], axis=1) * [np.radians(1), np.radians(1), 1.0]
    free[:, :, 3] = np.stack([c[:, 0] / 100, c[:, 1] / 100, np.zeros(n)], axis=1)
    basis = free.reshape(-1, 4) / esd.reshape(-1, 1)
    common = np.linalg.lstsq(basis, difference, rcond=None)[0]
    pulls = difference - basis @ common
    assert np.sqrt(np.mean(pulls**2)) < 1.6
    assert np.abs(pulls).max() < 4.0


def test_panels_that_stand_right_are_not_moved():
    image, _ = shot(None)
    calibration = midas.calibrate(image, known())
    assert calibration.geometry.panels is None
    assert "panel" not in " ".join(calibration.parameters)


def test_panels_travel_through_the_files(tiled, tmp_path):
    image, _, calibration = tiled
    written = calibration.save(tmp_path)
    assert tmp_path / "panel_shifts.txt" in written
    geometry = read_params(tmp_path / "refined_MIDAS_params.txt").geometry
    np.testing.assert_array_equal(geometry.panels.table, calibration.geometry.panels.table)
    record = json.loads((tmp_path / "calibration.json").read_text())
    assert record["geometry"]["panels"]["size"] == [220, 250]
    assert len(record["geometry"]["panels"]["esd"]) == 6
    cake = midas.integrate(image, geometry, midas.CakeGrid(50, 250, 1, eta_step=90), detector=calibration.detector)
    assert np.isfinite(cake.intensity).any()


def test_given_panels_are_used(tiled):
    image, _, _ = tiled
    calibration = midas.calibrate(image, known(panels=LAYOUT))
    assert calibration.geometry.panels.layout == LAYOUT
    with pytest.raises(InputError, match="expected them to cover the image, which has 688 x 508"):
        midas.calibrate(image, known(panels=midas.PanelLayout((100, 100))))
    with pytest.raises(InputError, match="panels is 'some'"):
        midas.calibrate(image, known(panels="some"))


def image_with_gaps(rows=(), columns=(), shape=(300, 400)):
    counts = np.ones(shape, dtype=np.float32)
    for first, last in rows:
        counts[first:last] = 0
    for first, last in columns:
        counts[:, first:last] = 0
    return counts


def test_layouts_from_gaps():
    def found(**gaps):
        counts = image_with_gaps(**gaps)
        return find_layout(counts == 0, counts, 100.0)

    assert found() is None
    assert found(columns=[(196, 204)]) == midas.PanelLayout((300, 196), gaps_y=(8,))
    # cut at both ends: 100 wide inside, so the first begins before the image
    assert found(columns=[(60, 70), (170, 180), (280, 290)], shape=(300, 380)) == midas.PanelLayout(
        (300, 110 - 10), gaps_y=(10, 10, 10), origin=(0, -40)
    )
    assert found(columns=[(100, 110)], rows=[(140, 160)]) == midas.PanelLayout(
        (160 - 20, 290), gaps_z=(20,), gaps_y=(10,), origin=(0, -190)
    )
    assert found(columns=[(100, 101)]) is None  # a dead line
    assert found(columns=[(100, 110), (200, 206)]) is None  # gaps of two widths
    assert found(columns=[(50, 60), (160, 170), (300, 310)]) is None  # panels of two sizes


def test_a_known_detector_wins_over_its_gaps():
    layout = find_known_detector((1043, 981), 172.0).layout
    counts = image_with_gaps(shape=(1043, 981))
    assert find_layout(counts == 0, counts, 172.0) == layout


def test_halves_cover_the_same_pixels():
    layout = find_known_detector((1043, 981), 172.0).layout
    parts = halves(layout)
    assert len(parts) == 20
    assert parts.shape == layout.shape
    assert parts.columns == ((0, 242), (244, 486), (494, 736), (738, 980))
    assert halves(midas.PanelLayout((20, 40))) is None


def test_panels_at_distances_of_their_own_are_found_where_they_are():
    table = np.zeros((6, 5))
    table[:, 3] = [400.0, -400.0, 400.0, -400.0, 400.0, -400.0]
    image, truth = shot(table)
    calibration = midas.calibrate(image, known())
    assert calibration.geometry.panels is not None
    found = calibration.geometry.panels.distance
    # A slope over the panels is the tilt's, a mean the distance's: neighbours in a column differ by 800 µm.
    assert np.all(np.sign(np.diff(found.reshape(2, 3), axis=1)) == np.sign(np.diff(table[:, 3].reshape(2, 3), axis=1)))
    y, z = np.meshgrid(np.arange(15.0, 500.0, 9.0), np.arange(15.0, 680.0, 9.0))
    expected, seen = truth.to_polar(y, z)[1], calibration.geometry.to_polar(y, z)[1]
    off = (np.tan(np.radians(seen)) / np.tan(np.radians(expected)) - 1.0) * truth.to_polar(y, z)[0]
    assert np.sqrt(np.mean(off[truth.to_polar(y, z)[0] > 100] ** 2)) < 0.03  # px
    without = midas.calibrate(image, known(panel_distance=False))
    assert without.geometry.panels is None or not without.geometry.panels.distance.any()
    assert calibration.mean_strain < without.mean_strain


@pytest.mark.data
def test_the_real_pilatus_reaches_the_strain_of_its_modules(shared_data):
    calibration = midas.calibrate(shared_data / "ceo2_pilatus1m.tif", {"wavelength": 0.4066, "pixel_size": 172.0})
    assert calibration.geometry.panels is not None
    assert calibration.mean_strain < 1.9e-4
    assert int(calibration.used.sum()) >= 700
    # sectors of 15 deg are left out: their points are predicted from other parts of each module
    assert calibration.held_out_strain < 1.15 * calibration.mean_strain
    assert calibration.held_out_strain < 1.9e-4
    assert calibration.verdict == "good", calibration.reasons
