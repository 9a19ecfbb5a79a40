"""Hints of file names and headers: used, contradicted, overruled, and always named."""

from __future__ import annotations

import json
from dataclasses import replace

import h5py
import numpy as np
import pytest

import midas
from midas.calibration.hints import check_guesses, is_center_off, is_distance_off, merge_hints, name_hints
from midas.calibration.options import CalibrationParams, params_from
from midas.calibration.prepare import prepare_image
from midas.calibration.seed import ring_signal
from midas.cli import main
from midas.io.headers import Hint

TRUTH = midas.Geometry(distance=3.2e5, beam_center=(260.3, 248.6), pixel_size=200.0, wavelength=0.2)


@pytest.fixture(scope="module")
def image():
    options = midas.SimulationOptions(peak_counts=2000.0, dtype="uint16")
    return midas.simulate(TRUTH, midas.Detector((512, 512), 200.0), "CeO2", options=options, seed=2).image


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("LaB6_71p676keV_657mm_000012.ge3", {"wavelength": 0.172979, "distance": 6.57e5, "calibrant": "LaB6"}),
        ("ceo2_ge_80p725keV.tif", {"wavelength": 0.153588, "calibrant": "CeO2"}),
        ("x_80725eV.h5", {"wavelength": 0.153588}),
        ("AgBh_12.4keV_slit0p5mm.cbf", {"wavelength": 0.999873, "calibrant": "AgBehenate"}),
        ("single_scan_0001.tif", {}),  # no Si in single
        ("a_80keV_90keV.tif", {}),  # says two things
        ("CeO2_LaB6.tif", {}),
        ("Si_5mm_42.tif", {"calibrant": "Si"}),
    ],
)
def test_names(name, expected):
    found = {hint.name: hint.value for hint in name_hints("/data/80keV/" + name)}
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key] == (value if isinstance(value, str) else pytest.approx(value, rel=1e-5))


def test_the_user_wins_and_contradictions_are_told(caplog):
    hints = [Hint("wavelength", 0.30, "header"), Hint("wavelength", 0.31, "file name"), Hint("calibrant", "Si", "name")]
    values, notes = merge_hints({"wavelength": 0.2, "calibrant": "CeO2"}, hints)
    assert values == {"wavelength": 0.2, "calibrant": "CeO2"}
    assert len(notes) == 3
    assert all("contradicts" in note and "(given)" in note for note in notes)
    assert caplog.text.count("contradicts") == 3


def test_the_header_wins_over_the_name():
    hints = [Hint("wavelength", 0.30, "header"), Hint("wavelength", 0.31, "file name")]
    values, notes = merge_hints({}, hints)
    assert values["wavelength"] == 0.30
    assert "file name) contradicts wavelength 0.3 Å (header)" in notes[1]


def test_a_rounded_number_in_a_name_is_no_contradiction():
    energy = 71.676
    given = {"wavelength": 12.398419843 / energy}
    for name in ("a_72keV.tif", "a_71p7keV.tif", "a_71p676keV.tif"):
        assert merge_hints(given, name_hints(name))[1] == ()
    assert merge_hints(given, name_hints("a_73keV.tif"))[1] != ()


def test_auto_is_not_contradicted_by_a_name(caplog):
    values, notes = merge_hints({"calibrant": "auto"}, [Hint("calibrant", "Si", "file name")])
    assert values["calibrant"] == "auto"
    assert notes == ()


@pytest.mark.parametrize("transforms", [(), (1,), (2,), (3,), (1, 3), (3, 2)])
def test_a_raw_centre_goes_through_the_transforms(transforms):
    raw = np.zeros((40, 60))
    raw[11, 42] = 1.0
    from midas.detector import transform_image

    row, column = np.argwhere(transform_image(raw, transforms))[0]
    values, _ = merge_hints(
        {"image_transforms": transforms}, [Hint("raw_beam_center", (42.0, 11.0), "h")], shape=raw.shape
    )
    assert values["beam_center"] == (column, row)


def test_guesses_are_off_beyond_a_twentieth_and_twenty_pixels():
    assert not is_distance_off(None, 1e5)
    assert not is_distance_off(1.049e5, 1e5)
    assert is_distance_off(0.94e5, 1e5)
    assert not is_center_off(None, (5.0, 5.0))
    assert not is_center_off((5.0, 24.0), (5.0, 5.0))
    assert is_center_off((5.0, 26.0), (5.0, 5.0))


def test_overruled_guesses_are_named():
    assert check_guesses(3.3e5, (265.0, 250.0), TRUTH) == ()
    assert check_guesses(None, None, TRUTH) == ()
    distance, center = check_guesses(3.6e5, (200.0, 248.0), TRUTH)
    assert "360 mm is overruled" in distance
    assert "y 200, z 248 px is overruled" in center
    turned = replace(TRUTH, beam_center=(400.0, 100.0))
    assert "swapped" in check_guesses(None, (100.0, 400.0), turned)[0]


def test_a_named_file_is_enough(tmp_path, image):
    path = tmp_path / "CeO2_61p992099keV_400mm.npy"
    np.save(path, image)
    calibration = midas.calibrate(path, {"pixel_size": 200.0})
    assert calibration.geometry.wavelength == pytest.approx(0.2)
    assert abs(calibration.geometry.distance / 3.2e5 - 1.0) < 1e-4
    assert any("61p992099keV" in note and "is used" in note for note in calibration.notes)
    assert any("distance guess 400 mm is overruled" in note for note in calibration.notes)
    assert calibration.calibrant == "CeO2"


def test_an_hdf5_file_is_enough_with_its_dark_and_mask(tmp_path, image):
    path = tmp_path / "shot.h5"
    dark = np.full((512, 512), 37, np.uint16)
    dark[300:, :200] = 500
    mask = np.zeros((512, 512), np.uint8)
    mask[:20] = 1
    with h5py.File(path, "w") as file:
        file["exchange/data"] = (image + dark)[None]
        file["exchange/dark"] = np.stack([dark, dark])
        file["exchange/mask"] = mask
        beam = file.create_dataset("measurement/instrument/monochromator/energy", data=61.992099)
        beam.attrs["units"] = "keV"
        file["measurement/instrument/detector/pixel_size_x"] = 2e-4
    calibration = midas.calibrate(path, {})
    assert calibration.verdict == "good", calibration.reasons
    assert abs(calibration.geometry.distance / 3.2e5 - 1.0) < 1e-4
    assert calibration.detector.mask[:20].all()
    assert float(np.median(calibration.image.counts[400:, :150])) < 100.0  # the step of the dark is gone
    assert main(["calibrate", str(path), "--calibrant", "CeO2", "--out", str(tmp_path / "out")]) == 0
    record = json.loads((tmp_path / "out" / "calibration.json").read_text())
    assert any("monochromator/energy" in note for note in record["notes"])


def test_a_right_first_ring_and_a_wrong_one(image, caplog):
    given = {"wavelength": 0.2, "pixel_size": 200.0}
    right = midas.calibrate(image, given | {"first_ring": 1})
    assert not any("ring 1" in note for note in right.notes)
    wrong = midas.calibrate(image, given | {"first_ring": 4})
    assert "ring 4" in wrong.notes[0]
    assert "overruled" in caplog.text
    assert abs(wrong.geometry.distance / 3.2e5 - 1.0) < 1e-4
    with pytest.raises(midas.InputError, match="first_ring"):
        midas.calibrate(image, given | {"first_ring": 900})


def test_the_threshold_leaves_faint_pixels_out(image):
    prepared = prepare_image(image)
    free, cut = ring_signal(prepared), ring_signal(prepared, threshold=300.0)
    assert (free.signal > 3.0).sum() > (cut.signal > 3.0).sum() > 0
    excess = free.counts - free.background
    assert (cut.signal[excess < 300.0] == 0.0).all()  # one pixel a cell here
    with_it = midas.calibrate(image, {"wavelength": 0.2, "pixel_size": 200.0, "threshold": 300.0})
    assert abs(with_it.geometry.distance / 3.2e5 - 1.0) < 1e-4


def test_the_threshold_is_in_counts_of_the_file(image):
    as_float = ring_signal(prepare_image(image * 1e-3), threshold=0.3)
    expected = ring_signal(prepare_image(image), threshold=300.0)
    same = (as_float.signal > 0.0) == (expected.signal > 0.0)
    assert same.mean() > 0.999


def test_parameter_files_know_the_hints(tmp_path):
    path = tmp_path / "ps.txt"
    path.write_text("Wavelength 0.2\npx 200\nCalibrant auto\nFirstRingNr 2\nThreshold 50\n")
    params = params_from(path)
    assert (params.first_ring, params.threshold, params.finds_calibrant) == (2, 50.0, True)
    path.write_text("Wavelength 0.2\npx 200\nCalibrant auto\nLatticeConstant 5 5 5 90 90 90\n")
    with pytest.raises(midas.InputError, match="leave one out"):
        params_from(path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"wavelength": "0.2 A"}, "wavelength is '0.2 A'; expected a number"),
        ({"wavelength": float("nan")}, "finite"),
        ({"wavelength": 0.0153}, "in nm"),
        ({"wavelength": 8.05}, "energy in keV"),
        ({"pixel_size": None}, "pixel_size is missing"),
        ({"pixel_size": 0.2}, "metres or mm"),
        ({"distance": 1050.0}, "look like mm"),
        ({"distance": 657.0}, "looks like mm"),
        ({"beam_center": 3.0}, "two numbers"),
        ({"beam_center": (1.0, float("inf"))}, "finite"),
        ({"max_iterations": 2.5}, "whole number"),
        ({"threshold": -1.0}, "threshold is -1"),
        ({"first_ring": 0}, "first_ring is 0"),
        ({"calibrant": "CeO3"}, "did you mean CeO2"),
        ({"calibrant": "no.cif"}, "no such file"),
    ],
)
def test_what_cannot_be_used_is_refused(image, values, message):
    with pytest.raises(midas.MidasError, match=message):
        midas.calibrate(image, {"wavelength": 0.2, "pixel_size": 200.0} | values)


def test_parameters_are_completed_too():
    params = CalibrationParams(wavelength=0.2, pixel_size=200.0)
    assert params_from(params, hints=[Hint("distance", 3e5, "header")]).distance == 3e5
    assert params_from(params) is params


def test_a_cif_is_a_calibrant(tmp_path, image):
    import midas.demo

    cif = tmp_path / "mine.cif"
    midas.demo.write_cif(cif, midas.calibrant("CeO2"))
    calibration = midas.calibrate(image, {"wavelength": 0.2, "pixel_size": 200.0, "calibrant": str(cif)})
    assert abs(calibration.geometry.distance / 3.2e5 - 1.0) < 1e-4
    (tmp_path / "ps.txt").write_text("Wavelength 0.2\npx 200\nCalibrant mine.cif\n")
    assert params_from(tmp_path / "ps.txt").resolve_calibrant().cell[0] == pytest.approx(5.41165)
