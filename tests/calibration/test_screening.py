"""Which calibrant it is: found from the image, and said when it cannot be told."""

from __future__ import annotations

import json

import numpy as np
import pytest

import midas
from midas.calibration.brightness import ring_brightness
from midas.calibration.prepare import prepare_image
from midas.calibration.screening import ring_sums
from midas.calibration.signal import ring_signal
from midas.cli import main
from midas.crystal import CALIBRANT_NAMES, rings


def shot(name, *, distance=3.2e5, wavelength=0.2, shape=(560, 600), seed=1, **look):
    truth = midas.Geometry(
        distance=distance, beam_center=(311.3, 268.6), pixel_size=200.0, wavelength=wavelength, tilts=(0.0, 0.7, -1.2)
    )
    options = midas.SimulationOptions(**({"peak_counts": 3000.0, "background": 20.0, "dtype": "uint32"} | look))
    return midas.simulate(truth, midas.Detector(shape, 200.0), name, options=options, seed=seed).image


def auto(image, **more):
    return midas.calibrate(image, {"wavelength": 0.2, "pixel_size": 200.0, "calibrant": "auto"} | more)


@pytest.mark.parametrize("name", [n for n in CALIBRANT_NAMES if n not in ("Ni", "AgBehenate")])
def test_each_calibrant_is_recognised(name):
    calibration = auto(shot(name, distance=2.6e5))
    assert calibration.calibrant == name
    assert abs(calibration.geometry.distance / 2.6e5 - 1.0) < 1e-3
    assert {c.name for c in calibration.candidates} == set(CALIBRANT_NAMES)
    assert calibration.candidates[0].name == name


def test_a_long_spacing_is_recognised():
    calibration = auto(shot("AgBehenate", distance=6e5, wavelength=1.2), wavelength=1.2)
    assert calibration.calibrant == "AgBehenate"
    assert abs(calibration.geometry.distance / 6e5 - 1.0) < 1e-3
    assert calibration.candidates[0].intensity_scatter is None  # no atoms are known


def test_lattices_of_one_type_are_not_told_apart_without_a_distance():
    image = shot("Ni", distance=8e5, wavelength=0.1)
    free = auto(image, wavelength=0.1)
    assert free.verdict == "doubtful"
    reason = next(r for r in free.reasons if "cannot be told apart" in r)
    assert "Ni" in reason
    assert "Au" in reason
    told = auto(image, wavelength=0.1, distance=8.1e5)
    assert told.calibrant == "Ni"
    assert not any("cannot be told apart" in r for r in told.reasons)


def test_a_diamond_lattice_is_told_from_fluorite_by_its_extinctions():
    for name, other in (("Si", "CeO2"), ("CeO2", "Si")):
        found = {c.name: c for c in auto(shot(name)).candidates}
        assert found[name].score > found[other].score + 10.0


def test_the_table_is_written(tmp_path):
    path = tmp_path / "shot.npy"
    np.save(path, shot("LaB6"))
    words = [
        "calibrate",
        path,
        "--wavelength",
        0.2,
        "--pixel-size",
        200,
        "--calibrant",
        "auto",
        "--out",
        tmp_path / "o",
    ]
    assert main([*map(str, words)]) == 0
    record = json.loads((tmp_path / "o" / "calibration.json").read_text())
    assert record["calibrant"] == "LaB6"
    assert record["candidates"][0]["name"] == "LaB6"
    assert len(record["candidates"]) == len(CALIBRANT_NAMES)


def test_no_calibrant_explains_noise():
    with pytest.raises(midas.FitError):
        auto(np.random.default_rng(3).poisson(50.0, (400, 400)))


def test_auto_needs_a_wavelength_at_which_something_diffracts():
    with pytest.raises(midas.MidasError, match=r"Å"):
        auto(shot("CeO2"), wavelength=80.7)


def test_threads_do_not_change_the_choice():
    image = shot("LaB6", shape=(400, 420))
    first, *others = [
        midas.calibrate(image, {"wavelength": 0.2, "pixel_size": 200.0, "calibrant": "auto"}, n_threads=n)
        for n in (1, 2, 7)
    ]
    for other in others:
        assert other.candidates == first.candidates
        assert other.geometry.distance == first.geometry.distance


def test_ring_sums_are_what_the_simulation_put_there():
    truth = midas.Geometry(distance=3.2e5, beam_center=(300.0, 280.0), pixel_size=200.0, wavelength=0.2)
    options = midas.SimulationOptions(
        peak_counts=3e4, background=5.0, polarization=0.5, noise=False, fwhm=2.0, mixing=0.0
    )
    image = midas.simulate(truth, midas.Detector((560, 600), 200.0), "CeO2", options=options, seed=1).image
    signal = ring_signal(prepare_image(image.astype(np.float32)))
    found = rings(midas.calibrant("CeO2"), 0.2, two_theta_max=9.0)
    z, y = np.mgrid[: signal.signal.shape[0], : signal.signal.shape[1]]
    radius_map = truth.to_polar(signal.to_image(y), signal.to_image(z))[0] / signal.binning
    at = np.asarray(truth.radius_of(found.two_theta) / signal.binning)
    sums = ring_sums(signal, radius_map, at)
    expected = ring_brightness(found)
    alone = np.abs(np.subtract.outer(found.two_theta, found.two_theta)) + np.eye(len(found)) * 9.0 > 0.5
    kept = alone.all(axis=1)
    assert kept.sum() >= 3
    np.testing.assert_allclose(sums[kept] / sums[0], expected[kept] / expected[0], rtol=0.03)


@pytest.mark.data
@pytest.mark.parametrize(
    ("file", "known"),
    [
        ("ceo2_ge_80p725keV.tif", {"energy": 80.725, "pixel_size": 200.0}),
        ("ceo2_pilatus1m.tif", {"wavelength": 0.4066, "pixel_size": 172.0}),
    ],
)
def test_real_images_are_ceria(shared_data, file, known):
    calibration = midas.calibrate(shared_data / file, known | {"calibrant": "auto"})
    assert calibration.calibrant == "CeO2"
    assert calibration.candidates[0].score > calibration.candidates[1].score + 10.0
