"""midas.simulate: the truth it promises, the defects it adds, the files it writes."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from midas import Detector, Geometry, InputError, OutputError, calibrant, calibrant_from_cell, simulate, simulate_scan
from midas.simulation import PeakProfile, Simulation, SimulationOptions, save_simulation

GEOMETRY = Geometry(distance=2e5, beam_center=(150.2, 148.7), pixel_size=200, wavelength=0.2)
DETECTOR = Detector(shape=(300, 310), pixel_size=200)
QUIET = SimulationOptions(noise=False, polarization=0.0, background=0.0)


def make(
    options: SimulationOptions = QUIET, *, material: str = "CeO2", seed: int = 7, n_threads: int = 0
) -> Simulation:
    return simulate(GEOMETRY, DETECTOR, calibrant(material), options=options, seed=seed, n_threads=n_threads)


def radial_profile(simulation: Simulation, step: float = 0.25) -> tuple[np.ndarray, np.ndarray]:
    """Mean expected counts per radial bin, solid angle taken out."""
    z, y = np.mgrid[: DETECTOR.shape[0], : DETECTOR.shape[1]]
    radius, two_theta, _ = GEOMETRY.to_polar(y, z)
    bins = (radius / step).astype(int).ravel()
    values = (simulation.expected / np.cos(np.radians(two_theta)) ** 3).ravel()
    count = np.bincount(bins)
    return (np.arange(len(count)) + 0.5) * step, np.bincount(bins, values) / np.maximum(count, 1)


def test_rings_stand_where_bragg_puts_them() -> None:
    simulation = make(replace(QUIET, fwhm=3.0))
    radius, counts = radial_profile(simulation)
    for two_theta in simulation.rings.two_theta[:4]:
        expected = float(GEOMETRY.radius_of(two_theta))
        near = np.abs(radius - expected) < 3.0
        centroid = np.sum(radius[near] * counts[near]) / np.sum(counts[near])
        assert abs(centroid - expected) < 0.05  # px; the sharp check is in tests/core


def test_relative_powers_are_those_of_the_structure() -> None:
    # Integral of a ring over 2theta per unit solid angle: m|F|^2 / (sin^2 theta cos theta), profile of unit area.
    simulation = make(replace(QUIET, fwhm=2.0, mixing=0.0))
    radius, counts = radial_profile(simulation, step=0.5)
    angle = np.radians(GEOMETRY.two_theta_of(radius))
    power, expected = [], []
    for k in range(2):
        theta = math.radians(simulation.rings.two_theta[k]) / 2
        near = np.abs(radius - float(GEOMETRY.radius_of(simulation.rings.two_theta[k]))) < 6.0
        power.append(np.sum(counts[near] * np.gradient(angle)[near]))
        expected.append(simulation.rings.intensity[k] / (math.sin(theta) ** 2 * math.cos(theta)))
    assert power[1] / power[0] == pytest.approx(expected[1] / expected[0], rel=0.01)


def test_peak_counts_are_reached_by_the_strongest_ring() -> None:
    simulation = make(replace(QUIET, peak_counts=2500.0, background=20.0))
    assert float(simulation.expected.max()) == pytest.approx(2520.0, rel=0.01)


def test_polarization_dims_the_horizontal_direction() -> None:
    plain, polarized = (make(replace(QUIET, polarization=f)) for f in (0.0, 1.0))
    two_theta = np.radians(GEOMETRY.to_polar(200, 149)[1])
    ratio = polarized.expected[149, 200] / plain.expected[149, 200]
    np.testing.assert_allclose(ratio, np.cos(two_theta) ** 2, rtol=1e-4)  # eta = 90 within a degree
    np.testing.assert_allclose(polarized.expected[200, 150] / plain.expected[200, 150], 1.0, rtol=1e-4)


def test_strain_moves_rings_as_a_larger_cell_does() -> None:
    material = calibrant("CeO2")
    strained = make(replace(QUIET, strain=2e-3))
    larger = replace(material, cell=(*(v * 1.002 for v in material.cell[:3]), 90.0, 90.0, 90.0))
    swollen = simulate(GEOMETRY, DETECTOR, larger, options=QUIET, seed=7)
    # |F|^2 differs slightly: form factors are taken at the unstrained spacing
    np.testing.assert_allclose(strained.expected, swollen.expected, atol=2e-3 * strained.expected.max())
    assert strained.rings.d_spacing[0] == pytest.approx(material.cell[0] / math.sqrt(3))


def test_phases_add_their_rings() -> None:
    alone, both = make(), make(replace(QUIET, phases=((calibrant("Ni"), 0.5),)))
    ring = float(GEOMETRY.radius_of(2 * math.degrees(math.asin(0.2 / 2 / 2.03447))))  # Ni 111, free of ceria's rings
    column = round(150.2 + ring)
    assert both.expected[149, column] > 10.0 * alone.expected[149, column]
    ceria = round(150.2 + float(GEOMETRY.radius_of(alone.rings.two_theta[0])))
    assert both.expected[149, ceria] == pytest.approx(float(alone.expected[149, ceria]), rel=0.02)


def test_noise_is_poisson() -> None:
    simulation = make(SimulationOptions(background=50.0))
    pull = (simulation.image - simulation.expected) / np.sqrt(simulation.expected)
    assert abs(float(pull.mean())) < 0.02  # 93000 pixels: 6 standard errors
    assert float(pull.std()) == pytest.approx(1.0, abs=0.02)


def test_same_bytes_for_any_number_of_threads_and_another_seed_differs() -> None:
    options = SimulationOptions(spottiness=0.5, dead_fraction=1e-3, hot_fraction=1e-3)
    images = [make(options, n_threads=n).image.tobytes() for n in (1, 2, 7)]
    assert images[0] == images[1] == images[2]
    assert make(options, seed=8).image.tobytes() != images[0]


def test_gaps_and_defects_are_masked_and_marked() -> None:
    options = replace(
        QUIET,
        dtype="int32",
        background=9.0,
        module_shape=(100, 90),
        module_gap=(10, 6),
        dead_fraction=0.01,
        hot_fraction=0.01,
    )
    simulation = make(options)
    gap = np.zeros(DETECTOR.shape, dtype=bool)
    gap[100:110] = gap[210:220] = True
    for start in (90, 186, 282):
        gap[:, start : start + 6] = True
    assert np.all(simulation.image[gap] == -1)
    assert np.all(simulation.mask[gap])
    assert np.all(simulation.image[~gap] >= 0)
    good = ~simulation.mask
    np.testing.assert_allclose(simulation.image[good], simulation.expected[good], atol=0.5)
    dead, hot = simulation.image == 0, simulation.image > 9000
    assert 0.008 < dead[~gap].mean() < 0.012
    assert 0.008 < hot[~gap].mean() < 0.012
    assert np.all(simulation.mask[dead | hot])


def test_unsigned_gaps_are_the_types_maximum_and_counts_saturate() -> None:
    simulation = make(replace(QUIET, dtype="uint16", module_shape=(100, 100), saturation=600.0))
    assert np.all(simulation.image[100:117] == 65535)
    assert simulation.image[~simulation.mask].max() == 600
    assert make(replace(QUIET, dtype="uint16", peak_counts=1e6)).image.max() == 65535


def test_the_beamstop_casts_its_shadow() -> None:
    simulation = make(replace(QUIET, background=10.0, beamstop_radius=20.0, beamstop_arm=90.0, beamstop_arm_width=6.0))
    assert np.all(simulation.expected[149, 150:] == 0.0)  # eta = 90 is toward increasing column
    assert np.all(simulation.expected[149, :125] > 0.0)
    assert simulation.expected[149 + 18, 150] == 0.0
    assert simulation.expected[149 + 22, 150] > 0.0
    assert not simulation.mask.any()


def test_spots_keep_the_mean_of_the_ring() -> None:
    options = replace(QUIET, fwhm=2.0, mixing=0.0)
    smooth = make(options)
    total = smooth.expected.sum()
    sums = [make(replace(options, spottiness=1.0, spots_per_ring=400), seed=s).expected.sum() / total for s in range(8)]
    assert np.mean(sums) == pytest.approx(1.0, abs=0.05)
    spotty = make(replace(options, spottiness=1.0, spots_per_ring=50))
    assert spotty.expected.max() > 3.0 * smooth.expected.max()
    assert spotty.expected.min() >= 0.0


def test_profile_by_hand() -> None:
    # Gaussian only: FWHM^2 = 8 ln2 (U tan^2 + V tan + W) centidegrees^2; Lorentzian only: X/cos + Y tan + Z.
    tangent, cosine = math.tan(math.radians(5)), math.cos(math.radians(5))
    fwhm, mixing = PeakProfile(u=2.0, v=-0.1, w=0.06).at(10.0)
    assert float(fwhm) == pytest.approx(0.01 * math.sqrt(8 * math.log(2) * (2 * tangent**2 - 0.1 * tangent + 0.06)))
    assert float(mixing) == 0.0
    fwhm, mixing = PeakProfile(u=0, v=0, w=0, x=1.0, y=2.0, z=0.5).at(10.0)
    assert float(fwhm) == pytest.approx(0.01 * (1 / cosine + 2 * tangent + 0.5))
    assert float(mixing) == pytest.approx(1.0)


def test_a_calibrant_without_atoms_has_equal_strengths() -> None:
    simulation = simulate(GEOMETRY, DETECTOR, calibrant_from_cell(225, [5.41165]), options=QUIET, seed=7)
    assert np.isfinite(simulation.expected).all()
    assert float(simulation.expected.max()) == pytest.approx(1000.0, rel=0.01)


def test_a_scan_changes_noise_and_strain_but_not_defects() -> None:
    options = SimulationOptions(dead_fraction=1e-3, dtype="uint16")
    scan = simulate_scan(
        GEOMETRY, DETECTOR, calibrant("CeO2"), strain=[0.0, 0.0, 1e-3], omega=(10.0, 0.5), options=options, seed=7
    )
    assert scan.images.shape == (3, 300, 310)
    assert scan.images.dtype == np.uint16
    assert scan.omega.tolist() == [10.0, 10.5, 11.0]
    assert not np.array_equal(scan.images[0], scan.images[1])
    assert np.all(scan.images[:, scan.mask] == 0)
    first = simulate(GEOMETRY, DETECTOR, calibrant("CeO2"), options=options, seed=7, frame=0)
    np.testing.assert_array_equal(scan.images[0], first.image)


def test_results_are_read_only() -> None:
    simulation = make()
    for array in (simulation.image, simulation.mask, simulation.expected):
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fwhm": 3.0, "fwhm_deg": 0.1}, "fwhm and fwhm_deg are given together"),
        ({"fwhm": -1.0}, "fwhm is -1"),
        ({"mixing": 1.5}, "mixing is 1.5; expected 0 to 1"),
        ({"background": math.nan}, "background is nan"),
        ({"peak_counts": -1.0}, "peak_counts is -1"),
        ({"strain": 0.5}, "strain is 0.5"),
        ({"dtype": "uint8"}, "dtype is 'uint8'"),
        ({"module_shape": (0, 10)}, r"module_shape is \(0, 10\)"),
        ({"phases": ((calibrant("Si"), -1.0),)}, "negative share"),
        ({"spot_width": 0.0}, "spot_width is 0"),
        ({"texture": 1.5}, "texture is 1.5; expected 0 to 1"),
        ({"threshold": -1.0}, "threshold is -1"),
        ({"background_slope": (1.0,)}, r"background_slope is \(1.0,\)"),
    ],
)
def test_bad_options_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SimulationOptions(**changes)  # type: ignore[arg-type]


def test_bad_scenes_are_refused() -> None:
    ceria = calibrant("CeO2")
    with pytest.raises(InputError, match="pixels are 100 µm, the geometry's 200"):
        simulate(GEOMETRY, Detector(shape=(10, 10), pixel_size=100), ceria)
    with pytest.raises(InputError, match="has no ring up to"):
        simulate(replace(GEOMETRY, distance=1e8), DETECTOR, ceria)
    with pytest.raises(InputError, match="seed -1"):
        simulate(GEOMETRY, DETECTOR, ceria, seed=-1)
    with pytest.raises(InputError, match="expected at most"):
        simulate(GEOMETRY, Detector(shape=(100000, 100000), pixel_size=200), ceria)
    with pytest.raises(InputError, match="no positive width"):
        make(replace(QUIET, profile=PeakProfile(w=-1.0)))
    with pytest.raises(InputError, match="no frame"):
        simulate_scan(GEOMETRY, DETECTOR, ceria, strain=[])


@pytest.mark.parametrize("name", ["a.tif", "a.npy", "a.h5"])
def test_files_hold_the_image_and_its_truth(tmp_path: Path, name: str) -> None:
    simulation = make(SimulationOptions(dtype="int32"))
    path, truth = save_simulation(simulation, tmp_path / name)
    if name.endswith("tif"):
        tifffile = pytest.importorskip("tifffile")
        found = tifffile.imread(path)
    elif name.endswith("npy"):
        found = np.load(path)
    else:
        h5py = pytest.importorskip("h5py")
        with h5py.File(path) as file:
            found = file["exchange/data"][0]
    np.testing.assert_array_equal(found, simulation.image)
    assert found.dtype == np.int32
    told = json.loads(truth.read_text())
    assert told["geometry"]["distance"] == 2e5
    assert told["geometry"]["beam_center"] == [150.2, 148.7]
    assert told["calibrant"]["cell"][0] == 5.41165
    assert told["seed"] == 7
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([path.name, truth.name])


def test_bad_targets_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"unknown extension '\.jpg'"):
        save_simulation(make(), tmp_path / "a.jpg")
    with pytest.raises(OutputError, match="folder does not exist"):
        save_simulation(make(), tmp_path / "absent" / "a.tif")
    assert list(tmp_path.iterdir()) == []


def test_texture_varies_each_ring_as_cos_two_eta_and_keeps_its_mean() -> None:
    even, textured = make(replace(QUIET, texture=0.0)), make(replace(QUIET, texture=0.6))
    eta = np.arange(-180.0, 180.0, 1.0)
    radius = np.full(len(eta), float(GEOMETRY.radius_of(even.rings.two_theta[0])))
    y, z = (np.rint(v).astype(int) for v in GEOMETRY.to_pixel(radius, eta))
    ratio = textured.expected[z, y] / even.expected[z, y]
    wave = np.fft.rfft(ratio) / len(ratio)
    assert wave[0].real == pytest.approx(1.0, abs=0.01)
    assert 2.0 * abs(wave[2]) == pytest.approx(0.6, abs=0.02)
    assert 2.0 * np.abs(wave[3:20]).max() < 0.02


def test_background_slope_by_hand_never_below_zero() -> None:
    bare = make(replace(QUIET, background=50.0)).expected
    sloped = make(replace(QUIET, background=50.0, background_slope=(30.0, -200.0))).expected
    n_z = DETECTOR.shape[0]
    gained = sloped - bare
    assert gained[0, -1] == pytest.approx(30.0, abs=1e-3)
    assert gained[n_z // 6, 0] == pytest.approx(-200.0 * (n_z // 6) / (n_z - 1), abs=1e-3)
    assert gained[-1, 0] == -50.0
    assert sloped.min() >= 0.0


def test_a_threshold_leaves_zeros_and_what_lies_above_it() -> None:
    options = replace(QUIET, noise=True, background=20.0)
    every, cut = make(options).image, make(replace(options, threshold=35.0)).image
    assert np.array_equal(cut, np.where(every < 35.0, 0.0, every))
    assert 0.5 < np.mean(cut == 0.0) < 1.0


def test_zingers_are_bright_masked_and_new_in_every_frame() -> None:
    options = replace(QUIET, zingers=40)
    shots = [simulate(GEOMETRY, DETECTOR, "CeO2", options=options, seed=7, frame=frame).mask for frame in (0, 0, 1)]
    assert 40 <= shots[0].sum() <= 40 * 20
    assert np.array_equal(shots[0], shots[1])
    assert not np.array_equal(shots[0], shots[2])
    bright = make(options)
    assert bright.image[bright.mask].min() >= 10.0 * QUIET.peak_counts
