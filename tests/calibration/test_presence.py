"""Which rings were found and how much of the image they explain, on simulated images."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

import midas
from midas import Calibration, Detector, Geometry, SimulationOptions, calibrant, calibrate, simulate
from midas.calibration.brightness import ring_brightness
from midas.calibration.prepare import prepare_image
from midas.calibration.presence import explained_share, image_rings
from midas.calibration.signal import RingSignal, ring_signal
from midas.crystal import rings

TRUTH = Geometry(distance=2.5e5, beam_center=(205.2, 198.4), pixel_size=200, wavelength=0.2)
DETECTOR = Detector((400, 400), 200)
LOOK = SimulationOptions(peak_counts=500.0, background=20.0, dtype="int32")


def signal_of(look: SimulationOptions = LOOK, material: str = "CeO2") -> RingSignal:
    shot = simulate(TRUTH, DETECTOR, material, options=look, seed=3)
    return ring_signal(prepare_image(shot.image))


def explained_by(material: str, signal: RingSignal) -> float:
    return explained_share(signal, TRUTH, rings(calibrant(material), 0.2, two_theta_max=13.0), 3.0)


def test_brightness_is_what_the_simulation_shows() -> None:
    shot = simulate(TRUTH, DETECTOR, "CeO2", options=replace(LOOK, noise=False, background=0.0, polarization=0.0))
    brightness = ring_brightness(shot.rings)[:6]
    z, y = np.mgrid[:400, :400]
    radius = TRUTH.to_polar(y, z)[0]
    crests = []
    for two_theta in shot.rings.two_theta[:6]:
        near = np.abs(radius - float(TRUTH.radius_of(two_theta))) < 0.5
        crests.append(float(np.median(shot.expected[near])))
    # The flanks of neighbours add some percent.
    assert np.asarray(crests) / crests[0] == pytest.approx(brightness / brightness[0], rel=0.08)


def test_the_calibrants_own_rings_are_all_explained() -> None:
    assert explained_by("CeO2", signal_of()) > 0.99


def test_another_calibrant_does_not_explain_them() -> None:
    assert explained_by("LaB6", signal_of()) < 0.6


def test_a_second_phase_counts_by_its_height() -> None:
    weak = signal_of(replace(LOOK, phases=((calibrant("LaB6"), 0.1),)))
    strong = signal_of(replace(LOOK, phases=((calibrant("LaB6"), 2.0),)))
    assert explained_by("CeO2", weak) > 0.85
    assert explained_by("CeO2", strong) < 0.6


def test_zingers_and_spots_are_no_rings() -> None:
    wild = signal_of(replace(LOOK, zingers=300, hot_fraction=2e-3, spottiness=0.8))
    assert explained_by("CeO2", wild) > 0.95


def test_a_steep_background_is_no_ring() -> None:
    steep = signal_of(replace(LOOK, falloff=5000.0, falloff_radius=60.0, beamstop_radius=25.0))
    assert explained_by("CeO2", steep) > 0.95


def test_the_radii_of_the_rings_on_the_image() -> None:
    radii, heights = image_rings(signal_of(), TRUTH, 3.0)
    strongest = radii[np.argmax(heights)]
    expected = TRUTH.radius_of(rings(calibrant("CeO2"), 0.2, two_theta_max=5.0).two_theta[0])
    assert abs(strongest - expected) < 1.0  # coarse cell, 1 px here
    assert heights.max() == pytest.approx(500.0, rel=0.25)


@cache
def calibrated(shadow: bool) -> Calibration:
    image = simulate(TRUTH, DETECTOR, "CeO2", options=LOOK, seed=3).image.copy()
    if shadow:  # a cell's body: not masked, no rings
        z, y = np.mgrid[:400, :400]
        dark = np.abs(TRUTH.to_polar(y, z)[2]) > 70.0
        image[dark] = np.random.default_rng(1).poisson(2.0, int(dark.sum()))
    return calibrate(image, {"wavelength": 0.2, "pixel_size": 200, "calibrant": "CeO2"})


@pytest.mark.parametrize("shadow", [False, True])
def test_strong_rings_are_found_where_there_is_light(shadow: bool) -> None:
    found = calibrated(shadow)
    assert found.evidence.found > 0.95
    assert found.verdict == "good"
    assert found.evidence.arc == pytest.approx(140.0 if shadow else 360.0, abs=15.0)


def test_rings_behind_the_beamstop_are_not_missed() -> None:
    image = simulate(TRUTH, DETECTOR, "CeO2", options=replace(LOOK, beamstop_radius=100.0), seed=3).image
    found = calibrate(image, {"wavelength": 0.2, "pixel_size": 200, "calibrant": "CeO2"})
    assert TRUTH.radius_of(found.rings.two_theta[1]) < 100.0
    assert found.evidence.missing == ()
    assert abs(found.geometry.distance / TRUTH.distance - 1.0) < 1e-4


def test_a_bright_ring_that_is_not_there_betrays_a_lattice_almost_alike() -> None:
    # Silicon has the face-centred lattice of CeO2, 0.4 % larger, less some reflections: every ring of its is explained.
    image = simulate(TRUTH, DETECTOR, "Si", options=LOOK, seed=3).image
    found = calibrate(image, {"wavelength": 0.2, "pixel_size": 200, "calibrant": "CeO2"})
    assert "2 0 0" in found.evidence.missing
    assert found.verdict != "good"


def test_the_wrong_calibrant_is_not_good() -> None:
    image = simulate(TRUTH, DETECTOR, "CeO2", options=LOOK, seed=3).image
    from midas import FitError

    try:
        found = calibrate(image, {"wavelength": 0.2, "pixel_size": 200, "calibrant": "LaB6"})
    except FitError:
        return
    assert found.verdict != "good"
    assert any("rings" in reason for reason in found.reasons)


def test_evidence_goes_with_the_calibration() -> None:
    found = calibrated(False)
    e = found.evidence
    assert e.held_out_strain == found.held_out_strain
    assert e.n_points == int(found.used.sum())
    assert e.beam_uncertainty >= np.hypot(found.esd["beam_center_y"], found.esd["beam_center_z"]) * 0.999
    assert e.pattern < 0.05
    assert e.unidentifiable == ()
    assert e.at_bounds == ()
    assert any("mirrored" in note for note in found.notes)


@pytest.mark.parametrize("told", ["Si", "Au"])
def test_a_calibrant_of_a_like_lattice_is_not_called_good(told):
    # Their rings lie where CeO2's do at another distance: brightness and the rings left over tell.
    truth = midas.Geometry(distance=2.5e5, beam_center=(250.0, 260.0), pixel_size=200.0, wavelength=0.2)
    shot = midas.simulate(truth, midas.Detector((512, 512), 200.0), "CeO2", seed=1)
    params = {"wavelength": 0.2, "pixel_size": 200.0}
    wrong = midas.calibrate(shot.image, params | {"calibrant": told})
    assert wrong.verdict == "doubtful"
    assert any("is it the calibrant" in reason for reason in wrong.reasons)
    right = midas.calibrate(shot.image, params | {"calibrant": "CeO2"})
    assert right.verdict == "good"
    assert right.evidence.brightness_scatter < 0.05
