"""Calibration end to end: simulated truth recovered, real images, and what is said when it cannot be done."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import midas
from midas.calibration.options import params_from
from midas.testing import assert_geometry_close, calibrant_image, geometry_pulls

WAVELENGTH = 0.2
SHAPE = (700, 760)


def geometry(**changes):
    values = {
        "distance": 3.2e5,
        "beam_center": (391.3, 338.6),
        "pixel_size": 200.0,
        "wavelength": WAVELENGTH,
        "tilts": (0.0, 0.7, -1.2),
    }
    return midas.Geometry(**(values | changes))


def shot(truth, *, calibrant="CeO2", seed=1, shape=SHAPE, **look):
    look = {"peak_counts": 3000.0, "background": 20.0, "dtype": "uint32"} | look
    return calibrant_image(truth, shape=shape, calibrant=calibrant, seed=seed, **look).image


def known(**more):
    return {"wavelength": WAVELENGTH, "pixel_size": 200.0, "calibrant": "CeO2"} | more


def assert_recovered(calibration, truth):
    assert_geometry_close(calibration.geometry, truth, beam_center=0.05, distance=1e-4 * truth.distance)
    assert calibration.verdict == "good", calibration.reasons


@pytest.fixture(scope="module")
def truth():
    return geometry()


@pytest.fixture(scope="module")
def image(truth):
    return shot(truth)


@pytest.fixture(scope="module")
def calibration(image):
    return midas.calibrate(image, known())


def test_the_truth_is_found_from_the_image_alone(calibration, truth):
    assert_recovered(calibration, truth)
    np.testing.assert_allclose(calibration.geometry.tilts, truth.tilts, atol=0.01)  # deg


def test_the_errors_cover_the_truth(calibration, truth):
    pulls = geometry_pulls(calibration, truth)
    assert len(pulls) == 5
    assert np.abs([*pulls.values()]).max() < 4.0, pulls


def random_geometry(case):
    rng = np.random.default_rng(100 + case)
    distance = float(np.exp(rng.uniform(np.log(1.5e5), np.log(2e6))))
    return geometry(
        distance=distance,
        beam_center=tuple(np.array(SHAPE[::-1]) * (0.5 + rng.uniform(-0.2, 0.2, 2))),
        tilts=(0.0, *rng.uniform(-2.0, 2.0, 2)),
        wavelength=min(0.3, max(0.05, 7e4 / distance)),  # Å: about ten rings on this small detector
    )


def test_twenty_random_geometries_are_found_with_honest_errors():
    pulls = []
    for case in range(20):
        truth = random_geometry(case)
        calibration = midas.calibrate(shot(truth, seed=case), known(wavelength=truth.wavelength))
        assert_recovered(calibration, truth)
        pulls.append([*geometry_pulls(calibration, truth).values()])
    spread = np.std(pulls, axis=0)
    print("standard deviation of (found - true)/esd:", spread.round(2), "mean:", np.mean(pulls, axis=0).round(2))
    assert (spread > 0.5).all(), spread
    assert (spread < 2.0).all(), spread


def test_distortion_is_found(truth):
    bent = replace(truth, distortion={"p0": 4e-4, "p1": 3e-4, "p2": -1e-3, "p3": 35.0}, distortion_radius=1.0e5)
    calibration = midas.calibrate(shot(bent, peak_counts=2e4), known())
    z, y = np.mgrid[50:650:40, 50:700:40].astype(float)
    radius, _, _ = calibration.geometry.to_polar(y, z)
    expected, _, _ = bent.to_polar(y, z)
    scale = calibration.geometry.distance / bent.distance  # rings fix angles: radius over distance
    np.testing.assert_allclose(radius / scale, expected, atol=0.02)  # px, wherever there are rings


def test_gaps_hot_pixels_and_beamstop_do_no_harm(truth):
    image = shot(
        truth, dtype="int32", module_shape=(195, 243), hot_fraction=2e-4, dead_fraction=2e-4, beamstop_radius=15.0,
        beamstop_arm=60.0, spottiness=0.3, falloff=200.0,
    )  # fmt: skip
    assert (image == -1).any()
    assert_recovered(midas.calibrate(image, known()), truth)


@pytest.mark.parametrize("name", ["LaB6", "Si"])
def test_other_calibrants(truth, name):
    assert_recovered(midas.calibrate(shot(truth, calibrant=name), known(calibrant=name)), truth)


def test_image_transforms_travel_with_the_geometry(truth, image):
    flipped = np.ascontiguousarray(image[:, ::-1])
    calibration = midas.calibrate(flipped, known(image_transforms=(1,)))
    assert_recovered(calibration, truth)
    assert calibration.geometry.image_transforms == (1,)


def test_a_wrong_guess_is_overruled(truth, image, caplog):
    calibration = midas.calibrate(image, known(distance=9e5, beam_center=(100.0, 600.0)))
    assert_recovered(calibration, truth)
    assert "beam centre guess" in caplog.text


@pytest.mark.parametrize(
    ("fixed", "said"),
    [
        ({"beam_center_y": 0.35}, "beam y is fixed"),
        ({"distance": 0.02}, "distance is fixed"),
        ({"tilt_z": 1.0}, "tilt z is fixed"),
    ],
)
def test_a_value_fixed_wrongly_is_named(truth, image, fixed, said):
    (name, off), *_ = fixed.items()
    right = {"beam_center_y": truth.beam_center[0], "distance": truth.distance, "tilt_z": truth.tilts[2]}[name]
    wrong = right * (1.0 + off) if name == "distance" else right + off
    calibration = midas.calibrate(image, known(fixed={name: wrong}))
    assert calibration.verdict != "good"
    assert said in calibration.reasons[0]
    rightly = midas.calibrate(image, known(fixed={name: right}))
    assert rightly.verdict == "good"
    assert not rightly.reasons


def test_known_values_that_would_not_be_refined_are_no_reason_to_blame_others():
    truth = midas.Geometry(distance=2.2e5, beam_center=(250.3, 262.8), pixel_size=200.0, wavelength=0.2, parallax=400.0)
    shot = midas.simulate(truth, midas.Detector((512, 512), 200.0), "CeO2", seed=4)
    fixed = {"parallax": 400.0, "distance": 2.2e5}
    calibration = midas.calibrate(shot.image, {"wavelength": 0.2, "pixel_size": 200.0, "fixed": fixed})
    assert calibration.verdict == "good", calibration.reasons


@pytest.mark.parametrize(("there", "told"), [("Au", "Ni"), ("CeO2", "Si")])
def test_a_calibrant_of_like_lattice_is_never_good(there, told):
    truth = midas.Geometry(
        distance=1.5e5, beam_center=(505.2, 520.8), pixel_size=200.0, wavelength=0.25, tilts=(0, 0.4, -0.3)
    )
    shot = midas.simulate(truth, midas.Detector((1024, 1024), 200.0), there, seed=3)
    calibration = midas.calibrate(shot.image, {"wavelength": 0.25, "pixel_size": 200.0, "calibrant": told})
    assert calibration.verdict != "good"
    assert any(word in " ".join(calibration.reasons) for word in ("check the calibrant", "second phase"))


def test_a_second_phase_that_shifts_the_rings_is_never_good():
    truth = midas.Geometry(distance=3e5, beam_center=(520, 500), pixel_size=150, wavelength=0.25)
    look = midas.SimulationOptions(phases=((midas.calibrant("Si"), 3.0),))
    shot = midas.simulate(truth, midas.Detector((1024, 1024), 150), "CeO2", options=look, seed=1)
    calibration = midas.calibrate(shot.image, {"wavelength": 0.25, "pixel_size": 150, "calibrant": "CeO2"})
    assert abs(calibration.geometry.distance / truth.distance - 1.0) > 1e-3
    assert any("second phase" in reason for reason in calibration.reasons)
    assert calibration.verdict == "doubtful"


def test_the_pixel_size_of_a_known_detector_is_known(shared_data):
    params = {"wavelength": 0.4066, "pixel_size": 344.0, "calibrant": "CeO2"}
    calibration = midas.calibrate(shared_data / "ceo2_pilatus1m.tif", params)
    assert calibration.verdict == "doubtful"
    assert any("is a Pilatus 1M, whose pixels are 172 µm" in reason for reason in calibration.reasons)


def test_threads_do_not_change_the_result(image, calibration):
    for n in (1, 7):
        again = midas.calibrate(image, known(), n_threads=n)
        assert again.geometry.distance == calibration.geometry.distance
        assert again.geometry.beam_center == calibration.geometry.beam_center


def test_the_wrong_calibrant_is_never_good(image):
    for name in ("LaB6", "Al2O3"):
        try:
            calibration = midas.calibrate(image, known(calibrant=name))
        except midas.FitError as error:
            assert "calibrant" in str(error) or "seed" in str(error)  # noqa: PT017
        else:
            assert calibration.verdict != "good"


def test_files(calibration, tmp_path):
    calibration.save(tmp_path)
    names = {p.name for p in tmp_path.iterdir()}
    pictures = {"calibration.png", "calibration_details.png"}
    tables = {"hkls.csv", "calibrant_screen_out.csv", "calibration.corr.csv", "geometry.poni", "geometry.spline"}
    assert names == {"refined_MIDAS_params.txt", "calibration_mask.tif", "calibration.json", *pictures, *tables}
    record = json.loads((tmp_path / "calibration.json").read_text())
    assert record["geometry"]["distance"] == calibration.geometry.distance
    assert record["verdict"] == "good"
    assert len(record["rings"]) == len(calibration.ring_table)
    again = midas.read_params(tmp_path / "refined_MIDAS_params.txt").geometry
    assert again.distance == calibration.geometry.distance
    assert again.beam_center == calibration.geometry.beam_center
    assert dict(again.distortion)["p2"] == calibration.geometry.distortion["p2"]


def test_the_mask_travels(truth, tmp_path):
    image = shot(truth, dtype="int32", module_shape=(195, 243), dead_fraction=2e-4)
    turned = np.ascontiguousarray(image.T)
    calibration = midas.calibrate(turned, known(image_transforms=(3,)))
    calibration.save(tmp_path)
    again = midas.read_params(tmp_path / "refined_MIDAS_params.txt").detector
    np.testing.assert_array_equal(again.mask, calibration.detector.mask)
    assert calibration.detector.mask[image == -1].all()


def test_outlier_rings_are_named_and_left_out(image):
    calibration = midas.calibrate(image, known(mult_factor=1.5))
    flagged = {r.number for r in calibration.ring_table if r.outlier}
    assert flagged == set(calibration.history[-1].outlier_rings)
    assert flagged
    for number in flagged:
        assert not calibration.used[calibration.points.ring == number - 1].any()


def test_agbehenate_can_be_saved(tmp_path):
    truth = geometry(distance=6e5, wavelength=1.2, tilts=(0.0, 0.3, 0.2))
    image = shot(truth, calibrant="AgBehenate")
    calibration = midas.calibrate(image, known(calibrant="AgBehenate", wavelength=1.2))
    assert abs(calibration.geometry.distance / truth.distance - 1.0) < 1e-4
    calibration.save(tmp_path)
    assert "LatticeConstant" not in (tmp_path / "refined_MIDAS_params.txt").read_text()


def test_the_scale_of_a_float_image_does_not_matter(truth, image):
    for scale in (1e-3, 0.1, 100.0):
        assert_recovered(midas.calibrate(image * scale, known()), truth)


def test_parameter_files_name_calibrant_and_tolerances(tmp_path):
    path = tmp_path / "ps.txt"
    path.write_text("Wavelength 0.2\npx 200\nCalibrant LaB6\nStoppingStrain 0.001\nMultFactor 3\nEtaBinSize 360\n")
    params = params_from(path)
    assert params.resolve_calibrant().name == "LaB6"
    assert params.stopping_strain == 0.001
    assert params.mult_factor == 3.0
    assert params.eta_step == 5.0  # EtaBinSize is the cake's
    path.write_text("Wavelength 0.2\npx 200\nCalibrant LaB6\nLatticeConstant 4.2 4.2 4.2 90 90 90\n")
    assert params_from(path).resolve_calibrant().cell[0] == 4.2
    path.write_text("Wavelength 0.2\npx 200\nLatticeConstant 4.2 4.2 4.2 90 90 90\n")
    with pytest.raises(midas.InputError, match="SpaceGroup"):
        params_from(path)


def test_the_result_shows_itself(calibration):
    assert repr(calibration).startswith("Calibration: good")
    assert "distance" in calibration._repr_html_()


@pytest.mark.data
def test_ge_image(shared_data):
    calibration = midas.calibrate(shared_data / "ceo2_ge_80p725keV.tif", {"energy": 80.725, "pixel_size": 200})
    g = calibration.geometry
    np.testing.assert_allclose(g.beam_center, (1030.75, 1007.32), atol=0.1)
    assert abs(g.distance - 1050.77e3) < 0.5e3  # µm
    assert calibration.mean_strain < 15e-6
    assert calibration.held_out_strain < 1.15 * calibration.mean_strain
    assert calibration.verdict == "good"


@pytest.mark.data
def test_pilatus_image(shared_data):
    calibration = midas.calibrate(shared_data / "ceo2_pilatus1m.tif", {"wavelength": 0.4066, "pixel_size": 172})
    g = calibration.geometry
    np.testing.assert_allclose(g.beam_center, (486.92, 529.92), atol=0.15)
    assert calibration.mean_strain < 3.3e-4
    assert calibration.verdict == "good"


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((100, 100)), "empty"),
        (np.full((100, 100), np.nan), "every pixel of the image is NaN"),
        (np.zeros((100, 100, 3)), "two dimensions"),
        (np.ones((10, 10)), "at least 32"),
        (np.ones((100, 100), dtype=complex), "dtype complex128"),
        (np.array([["a"] * 50] * 50), "dtype"),
    ],
)
def test_unusable_images_are_refused(image, message):
    with pytest.raises(midas.InputError, match=message):
        midas.calibrate(image, known())


def test_an_image_without_rings_is_refused():
    noise = np.random.default_rng(3).poisson(50.0, SHAPE)
    with pytest.raises(midas.FitError, match=r"no rings|cannot tell"):
        midas.calibrate(noise, known())


def test_a_negative_number_of_threads_is_refused(image):
    with pytest.raises(midas.InputError, match="n_threads is -5"):
        midas.calibrate(image, known(), n_threads=-5)


def test_masks_and_darks_of_another_shape_are_refused(image):
    for what in ("mask", "dark"):
        with pytest.raises(midas.InputError, match=f"the {what} has shape"):
            midas.calibrate(image, known(), **{what: np.zeros((50, 50))})
    with pytest.raises(midas.InputError, match="every pixel of the image is masked"):
        midas.calibrate(image, known(), mask=np.ones(SHAPE))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"pixel_size": 200}, "wavelength is missing.*--energy"),
        ({"wavelength": 0.2}, "pixel_size is missing.*--pixel-size"),
        ({"wavelength": 0.2, "energy": 60, "pixel_size": 200}, "both wavelength and energy"),
        ({"wavelength": 80.7, "pixel_size": 200}, "energy in keV"),
        ({"wavelength": 0.2, "pixel_size": 2e-4}, "metres or mm"),
        ({"wavelength": 0.2, "pixel_size": 200, "distance": 0.21}, "looks like metres"),
        ({"wavelength": 0.2, "pixel_size": 200, "calibrant": "CeO3"}, "CeO2"),
        ({"wavelength": 0.2, "pixel_size": 200, "distortion": "p"}, "expected one of none, classic, full"),
        ({"wavelength": 0.2, "pixel_size": 200, "eta_stepp": 5}, "did you mean 'eta_step'"),
        ({"wavelength": 0.2, "pixel_size": 200, "eta_step": 0}, "eta_step is 0"),
        (7, "expected a MIDAS parameter file"),
    ],
)
def test_unusable_parameters_are_refused(image, params, message):
    with pytest.raises((midas.InputError, midas.GeometryError), match=message):
        midas.calibrate(image, params)


def test_a_parameter_file_is_enough(tmp_path, image, truth):
    path = tmp_path / "ps.txt"
    path.write_text("Wavelength 0.2\npx 200\nSpaceGroup 225\nLatticeConstant 5.41165 5.41165 5.41165 90 90 90\n")
    assert params_from(path).wavelength == 0.2
    assert_recovered(midas.calibrate(image, path), truth)


def test_a_second_phase_does_not_lead_astray():
    # Lines of LaB6, more than CeO2's own, lead the seed to a distance at which CeO2's strong rings are missing.
    truth = midas.Geometry(distance=2.54e6, beam_center=(340.4, 353.9), pixel_size=400.0, wavelength=0.1153289)
    look = midas.SimulationOptions(
        peak_counts=800.0, fwhm=1.7, mixing=0.5, background=30.0, dtype="uint16",
        phases=((midas.calibrant("LaB6"), 0.23),),
    )  # fmt: skip
    image = midas.simulate(truth, midas.Detector((840, 738), 400.0), "CeO2", options=look, seed=3).image
    found = midas.calibrate(image, {"wavelength": truth.wavelength, "pixel_size": 400.0, "calibrant": "CeO2"})
    assert found.geometry.distance == pytest.approx(truth.distance, rel=2e-3)
    assert found.verdict == "doubtful"  # a quarter of the light is not CeO2's
    assert any("favoured, 1649" in note for note in found.notes)


@pytest.mark.parametrize("eta_step", [7.0, 16.0])
def test_azimuth_bins_need_not_divide_the_circle(eta_step):
    truth = midas.Geometry(distance=3e5, beam_center=(150.4, 140.7), pixel_size=200.0, wavelength=0.2)
    shot = midas.simulate(truth, midas.Detector((300, 300), 200.0), "CeO2", seed=4)
    found = midas.calibrate(shot.image, {"wavelength": 0.2, "pixel_size": 200.0, "eta_step": eta_step})
    assert found.verdict == "good"
    assert found.evidence.arc == pytest.approx(360.0)
