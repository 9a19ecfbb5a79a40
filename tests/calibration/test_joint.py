"""Several images of one detector calibrated together: from exact points, from noisy ones, from images, from files."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import midas
from midas import _core
from midas.calibration.joint import is_several, joint_job
from midas.calibration.joint_fit import Freedom, ImagePoints, fit_images, held_out_strains
from midas.calibration.points import RingPoints
from midas.calibration.ring_errors import ring_covariance, ring_scatter
from midas.errors import FitError, InputError
from midas.simulation import SimulationOptions

WAVELENGTH = 0.2
SHAPE = (512, 560)
DISTORTION = {"p0": 2e-4, "p2": 4e-4}
SHARED = (4, 5, *(6 + k for k in (0, 5, 9, 10)))  # tilts, classic distortion
STEPS = (0.0, 1e5, 2e5)


def geometry(distance=2.5e5, beam_center=(300.0, 260.0), **changes):
    values = {
        "pixel_size": 200.0,
        "wavelength": WAVELENGTH,
        "tilts": (0.0, 0.5, -0.8),
        "distortion": DISTORTION,
        "distortion_radius": 8e4,
    }
    return midas.Geometry(distance=distance, beam_center=beam_center, **(values | changes))


TRUTHS = (geometry(), geometry(3.5e5, (301.2, 259.5)), geometry(4.5e5, (302.5, 259.1)))


def exact(truth, wavelength=WAVELENGTH, *, noise=0.0, rng=None):
    """Points of a truth, whose Bragg angles are those of another wavelength, and a start near the truth."""
    listed = midas.rings(midas.calibrant("CeO2"), truth.wavelength, two_theta_max=20.0)
    ring = np.repeat(np.arange(len(listed)), 72)
    eta = np.tile(np.arange(-177.5, 180.0, 5.0), len(listed))
    y, z = truth.to_pixel(truth.radius_of(listed.two_theta)[ring], eta)
    on = (y > 0) & (z > 0) & (y < SHAPE[1]) & (z < SHAPE[0])
    ring, eta, y, z = ring[on], eta[on], y[on], z[on]
    radius = truth.to_polar(y, z)[0]
    if noise:
        radial = np.hypot(y - truth.beam_center[0], z - truth.beam_center[1])
        shift = rng.normal(0.0, noise, len(y)) / radial
        y, z = y + shift * (y - truth.beam_center[0]), z + shift * (z - truth.beam_center[1])
    assumed = listed.at_wavelength(wavelength)
    flat = np.full(len(ring), 3.0)
    columns = dict.fromkeys(RingPoints.__dataclass_fields__, flat) | {
        "ring": ring,
        "eta_bin": ((eta + 180.0) // 5.0).astype(np.int64),
        "y": y,
        "z": z,
        "eta": eta,
        "radius": radius,
        "radius_sigma": np.full(len(ring), noise or 1e-3),
        "tan_two_theta": np.tan(np.radians(assumed.two_theta))[ring],
    }
    points = RingPoints(**columns)
    start = replace(
        truth, distance=truth.distance * 1.002, beam_center=(truth.beam_center[0] + 0.5, truth.beam_center[1] - 0.7),
        tilts=(0.0, 0.0, 0.0), distortion={}, wavelength=wavelength, parallax=0.0,
    )  # fmt: skip
    return ImagePoints(start, assumed, points, np.ones(len(ring), dtype=bool))


def esd(fit, name):
    return float(np.sqrt(fit.covariance[fit.parameters.index(name), fit.parameters.index(name)]))


# The fit


def test_exact_points_at_known_steps_give_wavelength_and_places():
    images = [exact(t, WAVELENGTH * 1.001) for t in TRUTHS]
    fit = fit_images(images, Freedom(SHARED, STEPS, steps=True, wavelength=True))
    assert fit.converged
    for found, truth in zip(fit.images, TRUTHS, strict=True):
        assert found.geometry.wavelength == pytest.approx(WAVELENGTH, rel=1e-8)
        assert found.geometry.distance == pytest.approx(truth.distance, rel=1e-7)
        assert found.geometry.beam_center == pytest.approx(truth.beam_center, abs=1e-5)
        assert found.geometry.tilts == pytest.approx(truth.tilts, abs=1e-5)
        assert np.abs(found.strain).max() < 1e-8
    assert fit.parameters[0] == "distance"
    assert "wavelength" in fit.parameters


def test_known_distances_give_the_wavelength_and_an_unknown_one_its_distance():
    images = [exact(t, WAVELENGTH * 0.999) for t in TRUTHS]
    fit = fit_images(images, Freedom(SHARED, (2.5e5, None, 4.5e5), wavelength=True))
    assert fit.images[0].geometry.wavelength == pytest.approx(WAVELENGTH, rel=1e-8)
    assert fit.images[1].geometry.distance == pytest.approx(3.5e5, rel=1e-7)
    assert [n for n in fit.parameters if n.startswith("distance_") and "distortion" not in n] == ["distance_2"]


def test_unknown_distances_and_a_shared_beam_centre():
    truths = [replace(t, beam_center=(300.0, 260.0)) for t in TRUTHS]
    fit = fit_images([exact(t) for t in truths], Freedom(SHARED, (None,) * 3, shared_beam_center=True))
    for found, truth in zip(fit.images, truths, strict=True):
        assert found.geometry.distance == pytest.approx(truth.distance, rel=1e-7)
        assert found.geometry.beam_center == pytest.approx((300.0, 260.0), abs=1e-5)
    assert sum(n.startswith("beam_center_y") for n in fit.parameters) == 1


def test_steps_known_within_their_error_give_way():
    # The second step is 100 µm off: a fit that takes it for exact shows strain, one told of the error finds it.
    images = [exact(t) for t in TRUTHS]
    wrong = (0.0, 1e5 + 100.0, 2e5)
    rigid = fit_images(images, Freedom(SHARED, wrong, steps=True))
    loose = fit_images(images, Freedom(SHARED, wrong, steps=True, distance_sigma=500.0))
    assert rigid.mean_strain > 1e-5
    assert loose.mean_strain < 1e-6
    assert loose.images[1].geometry.distance == pytest.approx(3.5e5, abs=1.0)
    assert "position_2" in loose.parameters


def test_parallax_is_told_from_distortion_by_several_distances():
    truths = [replace(t, parallax=150.0) for t in TRUTHS]
    fit = fit_images([exact(t) for t in truths], Freedom((*SHARED, _core.PARALLAX), STEPS, steps=True))
    assert fit.images[0].geometry.parallax == pytest.approx(150.0, abs=0.1)


def test_panels_are_shared_by_all_images():
    from midas.calibration.panels import panel_parameters

    layout = midas.PanelLayout(size=(256, 280), gaps_z=(0,), gaps_y=(0,))
    table = np.zeros((4, 5))
    table[:, 0], table[:, 1] = [0.3, -0.3, -0.3, 0.3], [0.1, 0.1, -0.1, -0.1]
    moved = [replace(t, panels=midas.Panels.from_table(layout, table)) for t in TRUTHS[:2]]
    images = [replace(i, geometry=replace(i.geometry, panels=midas.Panels(layout))) for i in map(exact, moved)]
    stiff = [replace(i, geometry=replace(i.geometry, panels=None)) for i in images]
    smooth = fit_images(stiff, Freedom(SHARED, (None, None)))
    fit = fit_images(images, Freedom((*SHARED, *panel_parameters(layout)), (None, None)))
    assert fit.mean_strain < 0.2 * smooth.mean_strain
    assert fit.images[0].geometry.panels is not None
    np.testing.assert_array_equal(fit.images[0].geometry.panels.table, fit.images[1].geometry.panels.table)
    assert fit.parameters.count("panel_3_shift_z") == 1


def test_one_image_alone_is_fitted_as_before():
    from midas.calibration.fit import PLACE, fit_geometry

    image = exact(TRUTHS[0], noise=0.02, rng=np.random.default_rng(3))
    alone = fit_geometry(image.geometry, image.points, (*PLACE, *SHARED))
    joint = fit_images([image], Freedom(SHARED, (None,)))
    assert joint.images[0].geometry.distance == pytest.approx(alone.geometry.distance, rel=1e-8)
    assert joint.images[0].parameters == alone.parameters
    sigma = np.sqrt(np.diag(alone.covariance))  # of which rings that are off by chance may add a little
    np.testing.assert_allclose(np.sqrt(np.diag(joint.images[0].covariance)), sigma, rtol=0.2)


def test_the_errors_predict_the_scatter_and_unknown_distances_together_say_more():
    rng = np.random.default_rng(11)
    names = ("distance", "wavelength", "beam_center_y_2", "tilt_y", "tilt_z", "distortion_0")
    pulls = []
    for _ in range(40):
        images = [exact(t, WAVELENGTH * 1.001, noise=0.02, rng=rng) for t in TRUTHS]
        fit = fit_images(images, Freedom(SHARED, STEPS, steps=True, wavelength=True))
        first = fit.images[0].geometry
        found = (
            first.distance, first.wavelength, fit.images[1].geometry.beam_center[0], first.tilts[1], first.tilts[2],
            first.distortion["p2"],
        )  # fmt: skip
        true = (2.5e5, WAVELENGTH, 301.2, 0.5, -0.8, DISTORTION["p2"])
        pulls.append([(f - t) / esd(fit, name) for f, t, name in zip(found, true, names, strict=True)])
    assert np.abs(np.mean(pulls, axis=0)).max() < 4.0 / np.sqrt(40), np.mean(pulls, axis=0)
    spread = np.std(pulls, axis=0)
    assert ((spread > 0.6) & (spread < 1.4)).all(), spread  # 40 draws: known to 11 %

    joint = fit_images(images, Freedom(SHARED, (None,) * 3))
    single = [fit_images([i], Freedom(SHARED, (None,))) for i in images]
    for name in ("tilt_y", "tilt_z", "distortion_0", "distortion_5"):
        assert esd(joint, name) < 0.9 * min(esd(s, name) for s in single), name


def test_errors_that_a_ring_shares_are_part_of_the_errors():
    # Every ring of every image is off by 30 µε as a whole, five times what its points say together.
    rng = np.random.default_rng(23)
    pulls = []
    for _ in range(40):
        images = []
        for truth in TRUTHS:
            image = exact(truth, WAVELENGTH, noise=0.01, rng=rng)
            off = rng.normal(0.0, 3e-5, len(image.rings))[image.points.ring]
            tangent = image.points.tan_two_theta * (1.0 + off)
            images.append(replace(image, points=replace(image.points, tan_two_theta=tangent)))
        fit = fit_images(images, Freedom(SHARED, STEPS, steps=True))
        found = fit.images[0].geometry
        pulls.append(
            [
                (found.distance - 2.5e5) / esd(fit, "distance"),
                (found.distortion["p2"] - DISTORTION["p2"]) / esd(fit, "distortion_0"),
            ]
        )
    spread = np.std(pulls, axis=0)
    assert ((spread > 0.6) & (spread < 1.5)).all(), spread  # 40 draws: known to 11 %


def test_the_covariance_of_rings_that_are_off_is_that_of_a_mean():
    # Two rings, of one point and of three, for the mean of all points: 1/4 u1 + 3/4 u2, variance tau² (1 + 9) / 16.
    found = ring_covariance(np.ones((4, 1)), np.ones(4), np.array([0, 1, 1, 1]), np.array([[0.25]]), 2.0)
    assert found[0, 0] == pytest.approx(4.0 * 10.0 / 16.0)
    independent = np.random.default_rng(2).normal(size=20000)
    rings = np.repeat(np.arange(200), 100)
    assert ring_scatter(independent, np.ones(20000), rings, chi2=1.0, n_radial=1) < 0.06  # of 1: chance alone
    shared = independent + np.random.default_rng(3).normal(0.0, 0.5, 200)[rings]
    assert ring_scatter(shared, np.ones(20000), rings, chi2=1.0, n_radial=1) == pytest.approx(0.5, abs=0.08)


def test_points_held_out_are_predicted_worse_than_those_seen():
    images = [exact(t, noise=0.02, rng=np.random.default_rng(5)) for t in TRUTHS[:2]]
    freedom = Freedom(SHARED, (None, None))
    fit = fit_images(images, freedom)
    held = held_out_strains(images, freedom, fit)
    assert [len(h) for h in held] == [int(f.used.sum()) for f in fit.images]
    level = np.mean(np.abs(np.concatenate(held)))
    assert fit.mean_strain < level < 1.3 * fit.mean_strain


def test_outliers_and_rings_left_out_do_not_take_part():
    clean, spoilt = exact(TRUTHS[0]), exact(TRUTHS[1], noise=0.01, rng=np.random.default_rng(1))
    y = spoilt.points.y.copy()
    y[::40] += 3.0
    spoilt = replace(spoilt, points=replace(spoilt.points, y=y), kept=spoilt.points.ring != 2)
    fit = fit_images([clean, spoilt], Freedom(SHARED, (None, None)))
    assert not fit.images[1].used[spoilt.points.ring == 2].any()
    assert not fit.images[1].used[::40].any()
    assert fit.images[1].geometry.distance == pytest.approx(3.5e5, rel=2e-5)


def test_too_little_is_refused():
    image = exact(TRUTHS[0])
    few = replace(image, kept=np.arange(len(image.points)) < 3)
    with pytest.raises(FitError, match="image 2 has only 3 ring positions"):
        fit_images([image, few], Freedom(SHARED, (None, None)))


# Images


def shot(truth, seed, *, calibrant="CeO2", **look):
    options = SimulationOptions(**({"peak_counts": 3000.0, "background": 20.0, "dtype": "uint32"} | look))
    return midas.simulate(truth, midas.Detector(SHAPE, 200.0), calibrant, options=options, seed=seed).image


def known(**more):
    return {"wavelength": WAVELENGTH, "pixel_size": 200.0, "calibrant": "CeO2", "panels": "none"} | more


@pytest.fixture(scope="module")
def images():
    return [shot(truth, seed) for seed, truth in enumerate(TRUTHS)]


@pytest.fixture(scope="module")
def joint(images):
    return midas.calibrate(
        images, known(wavelength=WAVELENGTH * 1.001, detector_positions=STEPS, refine_wavelength=True)
    )


def test_a_wavelength_a_thousandth_off_is_found(joint):
    assert isinstance(joint, midas.JointCalibration)
    assert joint.verdict == "good", joint.reasons
    # The fits of rings have biases of their own of some 1e-5, so that esds of less are no limit.
    assert joint.wavelength == pytest.approx(WAVELENGTH, abs=4 * joint.wavelength_esd + 1e-5 * WAVELENGTH)
    assert joint.wavelength_esd < 2e-5 * WAVELENGTH
    for calibration, truth in zip(joint.images, TRUTHS, strict=True):
        assert calibration.geometry.distance == pytest.approx(truth.distance, rel=3e-5)
        assert calibration.geometry.beam_center == pytest.approx(truth.beam_center, abs=0.01)  # px
        assert calibration.geometry.wavelength == joint.wavelength
        assert calibration.rings.wavelength == joint.wavelength
    assert joint.alone[0].geometry.distance < 0.9995 * TRUTHS[0].distance  # alone the distance takes the error


def test_two_distances_are_enough(images):
    joint = midas.calibrate(
        images[:2], known(wavelength=WAVELENGTH * 0.999, known_distances=(2.5e5, 3.5e5), refine_wavelength=True)
    )
    assert joint.verdict == "good", joint.reasons
    assert joint.wavelength == pytest.approx(WAVELENGTH, rel=2e-5)
    assert joint.images[0].geometry.distance == 2.5e5
    assert joint.images[0].esd["distance"] == 0.0


def test_unknown_distances_together_know_tilt_and_distortion_better(images):
    joint = midas.calibrate(images, [known(), known(), known()])
    assert joint.verdict == "good", joint.reasons
    for name in ("tilt_y", "tilt_z", "p2", "p0"):
        assert joint.images[0].esd[name] < min(c.esd[name] for c in joint.alone), name
    assert {c.geometry.tilts for c in joint.images} == {joint.images[0].geometry.tilts}
    assert joint.wavelength_esd is None


def test_threads_do_not_change_the_result(images):
    found = [midas.calibrate(images[:2], known(), n_threads=n) for n in (1, 2, 7)]
    for other in found[1:]:
        for name in ("distance", "beam_center", "tilts", "distortion"):
            assert getattr(other.images[1].geometry, name) == getattr(found[0].images[1].geometry, name)
        np.testing.assert_array_equal(other.covariance, found[0].covariance)


def test_an_image_that_disagrees_is_named(images):
    bent = shot(replace(TRUTHS[2], tilts=(0.0, 0.5, -1.6)), 4)
    joint = midas.calibrate([*images[:2], bent], known())
    assert joint.verdict == "doubtful"
    assert any(r.startswith("image_3: disagrees with the other images") for r in joint.reasons), joint.reasons


def test_wrong_steps_are_named(images):
    joint = midas.calibrate(images, known(detector_positions=(0.0, 1.1e5, 2e5)))
    assert joint.verdict == "doubtful"
    assert any("check its detector position" in r for r in joint.reasons), joint.reasons


def test_a_calibrant_of_its_own_for_each_image(images):
    other = shot(TRUTHS[1], 9, calibrant="LaB6")
    joint = midas.calibrate([images[0], other], [known(), known(calibrant="LaB6")])
    assert joint.verdict == "good", joint.reasons
    assert [c.calibrant for c in joint.images] == ["CeO2", "LaB6"]


def test_all_is_written(joint, tmp_path):
    paths = joint.save(tmp_path)
    assert all(p.is_file() for p in paths)
    record = json.loads((tmp_path / "calibration.json").read_text())
    assert record["verdict"] == "good"
    assert record["wavelength_esd"] == pytest.approx(joint.wavelength_esd)
    assert len(record["correlation"]) == len(record["parameters"])
    for k, name in enumerate(joint.names):
        geometry_read = midas.read_params(tmp_path / name / "refined_MIDAS_params.txt").geometry
        assert geometry_read.distance == joint.images[k].geometry.distance
        assert geometry_read.wavelength == joint.wavelength
    assert "image_2" in repr(joint)
    assert "image_2" in joint._repr_html_()


# Several calibrants, parallax


def test_two_calibrants_in_one_exposure():
    truth = geometry(3e5)
    image = shot(truth, 1, phases=((midas.calibrant("LaB6"), 0.5),))
    calibration = midas.calibrate(image, known(calibrant=("CeO2", "LaB6")))
    assert calibration.verdict == "good", calibration.reasons
    assert {r.calibrant for r in calibration.ring_table} == {"CeO2", "LaB6"}
    assert calibration.calibrant == "CeO2 + LaB6"
    assert calibration.geometry.distance == pytest.approx(3e5, rel=5e-5)
    assert {r["calibrant"] for r in calibration.as_dict()["rings"]} == {"CeO2", "LaB6"}


def test_two_calibrants_by_name_and_in_the_file_written(tmp_path):
    image = shot(geometry(3e5), 1, phases=((midas.calibrant("LaB6"), 0.5),))
    calibration = midas.calibrate(image, known(calibrant="CeO2, LaB6"))
    calibration.save(tmp_path)
    assert calibration.rings.name == "CeO2 + LaB6"
    again = midas.calibrate(image, tmp_path / "refined_MIDAS_params.txt")
    assert again.rings.name == "CeO2 + LaB6"


def test_parallax_of_one_image_at_small_angles_is_named_as_undetermined():
    calibration = midas.calibrate(shot(geometry(6e5), 1), known(refine_parallax=True))
    assert calibration.verdict == "doubtful"
    assert any("parallax" in r for r in calibration.reasons), calibration.reasons
    assert "parallax" in calibration.esd


def test_a_fixed_parallax_is_kept_and_moves_the_rings(tmp_path):
    truth = geometry(1.2e5, parallax=120.0)
    calibration = midas.calibrate(shot(truth, 1, fwhm=1.5, mixing=0.0), known(parallax=120.0))
    assert calibration.geometry.parallax == 120.0
    assert calibration.verdict == "good", calibration.reasons
    assert calibration.geometry.distance == pytest.approx(1.2e5, rel=5e-5)
    calibration.save(tmp_path)
    assert midas.read_params(tmp_path / "refined_MIDAS_params.txt").geometry.parallax == 120.0


def test_parallax_is_refined_with_several_distances():
    # Narrow rings: the tails of crowded ones shift each other by more than the parallax does.
    truths = [geometry(d, parallax=150.0) for d in (1.0e5, 1.6e5, 2.6e5)]
    shots = [shot(t, k, peak_counts=3e4, fwhm=1.5, mixing=0.0) for k, t in enumerate(truths)]
    joint = midas.calibrate(shots, known(refine_parallax=True, known_distances=(1.0e5, 1.6e5, 2.6e5)))
    assert joint.verdict == "good", joint.reasons
    assert joint.parallax == pytest.approx(150.0, abs=2.0)  # µm
    assert joint.parallax_esd < 1.0


# What is refused


def test_what_is_one_image_and_what_are_several():
    assert is_several([np.zeros((40, 40)), "b.tif"])
    assert not is_several(np.zeros((3, 40, 40)))
    assert not is_several([[1.0, 2.0], [3.0, 4.0]])
    with pytest.raises(InputError, match="list of images is empty"):
        midas.calibrate([], known())
    with pytest.raises(InputError, match="list of 2 for one image"):
        midas.calibrate(np.zeros((64, 64)), [known(), known()])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"refine_wavelength": True}, "two or more different"),
        ({"refine_wavelength": True, "detector_positions": (5.0, 5.0)}, "two or more different"),
        ({"refine_wavelength": True, "known_distances": (2.5e5, None)}, "two or more different"),
        ({"detector_positions": (0.0, 1e5, 2e5)}, "3 values for 2 images"),
        ({"detector_positions": (0.0, 1e5), "known_distances": (2.5e5, 3.5e5)}, "both given"),
        ({"detector_positions": (0.0, None)}, "position is missing"),
        ({"known_distances": (2.5e5, None), "distance_sigma": 10.0}, "some distances are not known"),
        ({"distance_sigma": -1.0, "detector_positions": (0.0, 1e5)}, "distance_sigma is -1"),
        ({"detector_positions": (0.0, "far")}, "detector_positions"),
    ],
)
def test_wrong_uses_are_refused_before_any_work(more, message):
    blank = np.zeros((64, 64))
    with pytest.raises(InputError, match=message):
        midas.calibrate([blank, blank], known(**more))


def test_one_image_cannot_have_its_wavelength_refined(images):
    with pytest.raises(InputError, match="looks like a shorter distance"):
        midas.calibrate(images[0], known(refine_wavelength=True))
    with pytest.raises(InputError, match="detector_positions is for a list"):
        midas.calibrate(images[0], known(detector_positions=(0.0,)))


def test_positions_of_the_wrong_sign_or_unit_are_refused(images):
    with pytest.raises(InputError, match="turn their sign"):
        midas.calibrate(images[:2], known(detector_positions=(0.0, -1e5)))
    with pytest.raises(InputError, match="expected positions in µm"):
        midas.calibrate(images[:2], known(detector_positions=(0.0, 100.0)))


def test_images_of_two_detectors_are_refused(images):
    with pytest.raises(InputError, match="image_2 has the shape"):
        midas.calibrate([images[0], images[1][:, :-20]], known())
    with pytest.raises(InputError, match="one wavelength for all"):
        midas.calibrate(
            images[:2], [known(detector_positions=(0, 1e5), refine_wavelength=True), known(wavelength=0.201)]
        )


def test_an_image_without_rings_is_named(images):
    noise = np.random.default_rng(1).poisson(50.0, SHAPE).astype(np.uint32)
    with pytest.raises(FitError, match=r"image 2 \(image_2\)"):
        midas.calibrate([images[0], noise], known())


def test_contradicting_settings_and_names():
    with pytest.raises(InputError, match="detector_positions is"):
        joint_job(["a.tif", "b.tif"], [{"detector_positions": (0, 1)}, {"detector_positions": (0, 2)}])
    assert joint_job(["x/a.tif", "y/A.tif"], {}).names == ("a", "A_2")
    with pytest.raises(InputError, match="params is a list of 1 for 2"):
        joint_job(["a.tif", "b.tif"], [{}])


@pytest.mark.parametrize("rule", [{"fixed": {"tilt_y": 0.0}}, {"weighting": "snr"}])
def test_what_only_a_single_fit_heeds_is_refused(rule):
    with pytest.raises(InputError, match="leave it out"):
        joint_job(["a.tif", "b.tif"], {"wavelength": 0.2, "pixel_size": 200.0, **rule})
