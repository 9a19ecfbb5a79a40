"""Constraints, weights and the choice of the distortion in the fit of the geometry."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import midas
from midas import _core
from midas.calibration.fit import fit_geometry, parameter_names
from midas.calibration.points import RingPoints
from midas.calibration.rules import FitRules
from midas.errors import InputError
from midas.simulation import SimulationOptions

TRUTH = midas.Geometry(
    distance=2e5,
    beam_center=(250.0, 260.0),
    pixel_size=200.0,
    wavelength=0.2,
    tilts=(0.0, 0.4, -0.6),
    distortion={"p2": 2e-3},
    distortion_radius=7e4,
)
FREE = (0, 1, 2, 4, 5, _core.FIRST_DISTORTION)


def points(*, sigma=0.01, seed=2):
    """Return positions of five rings seen by the true geometry, displaced by noise of sigma [px]."""
    rng = np.random.default_rng(seed)
    two_theta = np.repeat([4.0, 6.0, 8.0, 10.0, 12.0], 72)
    eta = np.tile(np.arange(-177.5, 180.0, 5.0), 5)
    radius = TRUTH.radius_of(two_theta) + rng.normal(0.0, sigma, len(eta))
    y, z = TRUTH.to_pixel(radius, eta)
    n = len(eta)
    return RingPoints(
        ring=np.repeat(np.arange(5), 72),
        eta_bin=np.tile(np.arange(72), 5),
        y=y,
        z=z,
        eta=eta,
        radius=radius,
        radius_sigma=np.full(n, sigma),
        height=np.full(n, 100.0),
        fwhm=np.full(n, 2.0),
        mixing=np.full(n, 0.5),
        snr=np.linspace(10.0, 50.0, n),
        chi2=np.ones(n),
        graininess=np.zeros(n),
        tan_two_theta=np.tan(np.radians(two_theta)),
    )


def start(**changes):
    return replace(TRUTH, **({"distance": 2.01e5, "beam_center": (250.5, 259.5), "distortion": {}} | changes))


def test_a_fixed_parameter_keeps_its_value_and_has_no_error():
    rules = FitRules(fixed={"tilt_y": 0.4, "p2": 2e-3})
    assert parameter_names(tuple(sorted(rules.held))) == ["tilt_y", "distortion_0"]
    free = tuple(k for k in FREE if k not in rules.held)
    fit = fit_geometry(rules.applied(start(tilts=(0.0, 0.0, 0.0))), points(), free, rules=rules)
    assert fit.geometry.tilts[1] == 0.4
    assert fit.geometry.distortion["p2"] == 2e-3
    assert fit.geometry.tilts[2] == pytest.approx(-0.6, abs=0.01)  # deg
    assert set(fit.parameters).isdisjoint(rules.held)


def test_an_amplitude_is_held_with_its_phase():
    rules = FitRules(fixed={"p1": 1e-4, "p3": 45.0})
    geometry = rules.applied(start())
    assert geometry.distortion["p1"] == pytest.approx(1e-4)
    assert geometry.distortion["p3"] == pytest.approx(45.0)
    assert rules.held == {_core.FIRST_DISTORTION + 9, _core.FIRST_DISTORTION + 10}


def test_bounds_are_kept():
    fit = fit_geometry(start(distance=2.005e5), points(), FREE, rules=FitRules(bounds={"distance": (2.003e5, 2.01e5)}))
    assert fit.geometry.distance == 2.003e5
    free = fit_geometry(start(distance=2.005e5), points(), FREE)
    assert free.geometry.distance == pytest.approx(2e5, rel=1e-5)
    assert fit.mean_strain > free.mean_strain


def test_the_weight_of_a_ring_is_felt():
    given = points()
    moved = given.ring == 4
    wrong = replace(given, tan_two_theta=np.where(moved, 1.00005, 1.0) * given.tan_two_theta)
    plain = (0, 1, 2, 4, 5)
    strains = [
        np.abs(np.mean(fit_geometry(TRUTH, wrong, plain, rules=rules).strain[moved]))
        for rules in (FitRules(ring_weights={5: 0.01}), FitRules(), FitRules(ring_weights={5: 100.0}))
    ]
    assert strains[0] > strains[1] > strains[2]


def test_weighting_by_significance_favours_significant_points():
    given = points()
    weights = FitRules(weighting="snr").weights(given, np.full(len(given), 7.0))
    np.testing.assert_allclose(weights / weights[0], given.snr / given.snr[0])
    np.testing.assert_array_equal(FitRules(weighting="equal").weights(given, np.arange(1.0, 4.0)), [2.0, 2.0, 2.0])


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"fixed": {"tilt": 0.0}}, "'tilt' cannot be fixed; expected one of distance"),
        ({"fixed": {"tilt_y": np.nan}}, "at which tilt_y is fixed is nan"),
        ({"fixed": {"tilt_y": "level"}}, "at which tilt_y is fixed is 'level'; expected a finite number"),
        ({"fixed": {"p3": 45.0}}, "p3 is fixed at 45.0 but p1"),
        ({"bounds": {"distance": 3e5}}, "the bounds of distance are 300000.0"),
        ({"ring_weights": {"first": 1.0}}, "ring first has the weight"),
        ({"fixed": "tilt_y"}, "fixed is 'tilt_y'; expected a dict"),
        ({"bounds": {"p0": (0.0, 1.0)}}, "p0 cannot be bounded"),
        ({"bounds": {"distance": (2.0, 1.0)}}, "the bounds of distance"),
        ({"bounds": {"length": (1.0, 2.0)}}, "'length' cannot be bounded"),
        ({"weighting": "poisson"}, "weighting is 'poisson'; expected one of scatter, snr, equal"),
        ({"ring_weights": {0: 1.0}}, "ring 0 has the weight 1.0"),
        ({"ring_weights": {2: 0.0}}, "ring 2 has the weight 0.0"),
    ],
)
def test_impossible_rules_are_refused(rules, message):
    with pytest.raises(InputError, match=message):
        FitRules(**rules)
    with pytest.raises(InputError, match=message):
        midas.CalibrationParams(wavelength=0.2, pixel_size=200.0, **rules)


def shot(distortion, seed=3):
    truth = midas.Geometry(
        distance=2.2e5,
        beam_center=(255.0, 250.0),
        pixel_size=200.0,
        wavelength=0.2,
        tilts=(0.0, 0.3, 0.2),
        distortion=distortion,
        distortion_radius=7.2e4,
    )
    options = SimulationOptions(peak_counts=2e4, background=20.0, dtype="uint32")
    return midas.simulate(truth, midas.Detector((512, 512), 200.0), "CeO2", options=options, seed=seed).image


def calibrated(image, **more):
    return midas.calibrate(image, {"wavelength": 0.2, "pixel_size": 200.0, "panels": "none"} | more)


@pytest.mark.parametrize(
    ("distortion", "expected"),
    [({}, "none"), ({"p2": -2e-3, "p1": 5e-4, "p3": 20.0}, "classic"), ({"p9": 2e-3, "p10": 40.0}, "full")],
)
def test_the_distortion_chosen_is_the_one_there_is(distortion, expected):
    calibration = calibrated(shot(distortion), distortion="auto")
    assert calibration.distortion == expected
    trials = dict(calibration.distortion_trials)
    assert list(trials) == ["none", "classic", "full"]
    assert trials[expected] < 1.05 * min(trials.values())


def test_a_place_that_is_fixed_stays_and_is_shown_so():
    calibration = calibrated(shot({}), fixed={"distance": 2.2e5, "beam_center_y": 255.0}, stopping_strain=1e-9)
    assert calibration.geometry.distance == 2.2e5
    assert calibration.geometry.beam_center[0] == 255.0
    assert "distance     220.0000 (not refined) mm" in repr(calibration)


def test_fixed_parameters_travel_through_a_calibration():
    calibration = calibrated(shot({}), fixed={"tilt_y": 0.3, "p2": 0.0})
    assert calibration.geometry.tilts[1] == 0.3
    assert calibration.geometry.distortion["p2"] == 0.0
    assert "tilt_y" not in calibration.esd
    assert "p2" not in calibration.esd
    assert "tilt_z" in calibration.esd
