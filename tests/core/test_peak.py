"""Ring fits of the core: positions of rings drawn with known radii."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

import midas
from midas import _core
from midas.errors import InputError

SHAPE = (300, 320)
GEOMETRY = midas.Geometry(
    distance=2e5, beam_center=(150.3, 140.8), pixel_size=100.0, wavelength=0.2, tilts=(0.0, 1.0, -0.5)
)


def draw(radii, heights, *, fwhm=4.0, mixing=0.4, background=50.0, seed=None):
    """Return an image of pseudo-Voigt rings, each pixel the mean over itself; Poisson noise when a seed is given."""
    n = 5 if fwhm < 3.0 else 3
    offsets = (np.arange(n) + 0.5) / n - 0.5
    image = np.full(SHAPE, background)
    for dz, dy in itertools.product(offsets, offsets):
        z, y = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(float)
        radius, _, _ = GEOMETRY.to_polar(y + dy, z + dz)
        for center, height in zip(radii, heights, strict=True):
            u2 = (2.0 * (radius - center) / fwhm) ** 2
            image += height * (mixing / (1.0 + u2) + (1.0 - mixing) * np.exp(-np.log(2.0) * u2)) / n**2
    if seed is not None:
        image = np.random.default_rng(seed).poisson(image)
    return image.astype(np.float32)


def as_seen(fwhm):
    """Return the width that a ring shows through square pixels: their variance, 1/12 px², is added."""
    return np.hypot(fwhm, np.sqrt(8.0 * np.log(2.0) / 12.0))


def fit(image, windows, *, mask=None, geometry=GEOMETRY, **options):
    masked = np.zeros(SHAPE, np.uint8) if mask is None else mask
    options = {"eta_step": 10.0, "fwhm": 3.0, "max_shift": 20.0, **options}
    return _core.fit_rings(geometry.projection, image, masked, windows, **options)


def test_a_ring_is_found_where_it_was_drawn():
    found = fit(draw([80.25], [1000.0]), [(68.0, 92.0, [79.0], [0])])
    assert len(found["radius"]) == 36
    assert found["converged"].all()
    np.testing.assert_allclose(found["radius"], 80.25, atol=2e-3)  # px: quarter-pixel cells on a noise-free ring
    np.testing.assert_allclose(found["fwhm"], as_seen(4.0), rtol=5e-3)
    np.testing.assert_allclose(found["height"], 1000.0, rtol=1e-2)
    np.testing.assert_allclose(found["background"], 50.0, rtol=2e-2)
    assert (found["graininess"] < 0.05).all()


@pytest.mark.parametrize("fwhm", [0.7, 1.0, 1.6])
def test_rings_narrower_than_pixels_are_found(fwhm):
    for center in (80.0, 80.25, 80.5):
        found = fit(draw([center], [1000.0], fwhm=fwhm), [(73.0, 87.0, [79.5], [0])], fwhm=as_seen(fwhm))
        assert found["converged"].all()
        np.testing.assert_allclose(found["radius"], center, atol=0.01)  # px, at any position between pixels
        np.testing.assert_allclose(found["fwhm"], as_seen(fwhm), rtol=0.05)


def test_tails_of_known_neighbours_are_no_background():
    radii, heights = [70.0, 82.0, 95.0], [3000.0, 300.0, 900.0]
    image = draw(radii, heights, fwhm=3.0, mixing=0.8)
    window = [(76.0, 88.0, [82.0], [1])]
    known = ([0, 1, 2], radii, [as_seen(3.0)] * 3, [0.8] * 3, np.repeat(np.float32(heights)[:, None], 36, axis=1))
    alone, beside = fit(image, window), fit(image, window, known=known)
    assert np.abs(alone["radius"].mean() - 82.0) > 0.02  # px: the strong neighbour draws it inward
    np.testing.assert_allclose(beside["radius"].mean(), 82.0, atol=2e-3)
    np.testing.assert_allclose(beside["background"], 50.0, rtol=0.1)
    with pytest.raises(InputError, match="a height for each of 36 azimuth bins"):
        fit(image, window, known=(*known[:4], known[4][:, :35]))


def test_a_wide_ring_is_found_by_its_angle():
    # Symmetric in 2theta, seen through solid angle and polarization: a symmetric fit is off by -2.5 s^2 R / L^2.
    near = midas.Geometry(distance=6e4, beam_center=(150.0, 150.0), pixel_size=100.0, wavelength=0.2)
    look = midas.SimulationOptions(fwhm=6.0, mixing=0.0, background=5.0, noise=False, dtype="float64")
    image = midas.simulate(near, midas.Detector((300, 300), 100.0), "Si", options=look).image.astype(np.float32)
    ring = midas.rings(midas.calibrant("Si"), 0.2, two_theta_max=10.0)
    radius = float(near.radius_of(ring.two_theta[0]))
    masked = np.zeros((300, 300), np.uint8)
    found = _core.fit_rings(near.projection, image, masked, [(radius - 12, radius + 12, [radius], [0])], eta_step=10.0,
                            fwhm=6.0, max_shift=9.0)  # fmt: skip
    symmetric_fit = -2.5 * (6.0**2 / (8.0 * np.log(2.0))) * radius / 600.0**2
    assert abs(found["radius"].mean() - radius) < 0.25 * abs(symmetric_fit)


def spotty(image, background, seed):
    """Return the image with the rings' part multiplied by intensities that scatter as much as their mean."""
    grains = np.random.default_rng(seed).gamma(1.0, 1.0, SHAPE)
    return (background + (image - background) * grains).astype(np.float32)


def test_spots_do_not_choose_where_a_ring_is():
    pulls, errors = [], []
    smooth = draw([80.25], [3000.0], fwhm=1.0)
    for seed in range(6):
        found = fit(spotty(smooth, 50.0, seed), [(73.0, 87.0, [80.0], [0])], fwhm=1.3)
        assert found["converged"].mean() > 0.95
        assert 0.5 < np.median(found["graininess"]) < 1.3
        errors.extend(found["radius"] - 80.25)
        pulls.extend((found["radius"] - 80.25) / found["radius_sigma"])
    assert np.std(errors) < 0.1  # px, least squares with Poisson weights scatters by 0.14
    assert abs(np.mean(errors)) < 0.02  # px
    assert 0.7 < np.std(pulls) < 1.6  # with those weights 6


def test_points_lie_on_the_ring():
    found = fit(draw([80.25], [1000.0]), [(68.0, 92.0, [79.0], [0])])
    radius, _, eta = GEOMETRY.to_polar(found["y"], found["z"])
    np.testing.assert_allclose(radius, found["radius"], rtol=1e-12)
    np.testing.assert_allclose(eta, found["eta"], atol=1e-9)


def test_close_rings_are_told_apart():
    found = fit(draw([80.0, 87.0], [1000.0, 300.0], fwhm=3.0), [(70.0, 97.0, [80.5, 87.5], [3, 4])])
    first, second = (found["radius"][found["ring"] == k] for k in (3, 4))
    np.testing.assert_allclose(first, 80.0, atol=5e-3)
    np.testing.assert_allclose(second, 87.0, atol=2e-2)


def test_errors_match_the_scatter_of_noisy_images():
    pulls = []
    for seed in range(12):
        found = fit(draw([80.25], [60.0], background=20.0, seed=seed), [(68.0, 92.0, [80.0], [0])])
        good = found["converged"]
        assert good.mean() > 0.9
        pulls.extend((found["radius"][good] - 80.25) / found["radius_sigma"][good])
    assert 0.9 < np.std(pulls) < 1.15  # ~420 pulls: the standard deviation is known to 0.035
    assert abs(np.mean(pulls)) < 0.15  # and the mean to 0.05


def test_masked_and_hot_pixels_do_not_move_a_ring():
    image = draw([80.25], [1000.0])
    mask = np.zeros(SHAPE, np.uint8)
    mask[100:110] = 1
    image[100:110] = 1e6
    found = fit(image, [(68.0, 92.0, [79.0], [0])], mask=mask)
    ok = found["converged"] & (found["coverage"] > 0.4)
    assert ok.sum() > 30
    np.testing.assert_allclose(found["radius"][ok], 80.25, atol=5e-3)


def test_threads_do_not_change_a_bit():
    image = draw([80.25, 120.0], [500.0, 200.0], seed=3)
    windows = [(68.0, 92.0, [80.0], [0]), (110.0, 130.0, [120.0], [1])]
    results = [fit(image, windows, n_threads=n) for n in (1, 2, 7)]
    for other in results[1:]:
        for name, column in results[0].items():
            np.testing.assert_array_equal(column, other[name], err_msg=name)


@pytest.mark.parametrize(
    ("windows", "message"),
    [
        ([], "no ring windows"),
        ([(70.0, 60.0, [65.0], [0])], "ascend without overlap"),
        ([(60.0, 80.0, [65.0], [0]), (75.0, 90.0, [80.0], [1])], "ascend without overlap"),
        ([(60.0, 90.0, [62.0, 66.0, 70.0, 75.0, 80.0, 84.0, 88.0], list(range(7)))], "holds 7 rings"),
        ([(80.0, 80.9, [80.5], [0])], "0.900000 px wide; expected at least 1"),
        ([(70.0, 90.0, [69.0], [0])], "ascending from 70.000000 to 90.000000 px"),
        ([(70.0, 90.0, [91.0], [0])], "ascending from"),
        ([(70.0, 90.0, [82.0, 78.0], [0, 1])], "ascending from"),
        ([(70.0, 90.0, [80.0, 80.0], [0, 1])], "ascending from"),
        ([(70.0, 90.0, [np.nan], [0])], "ascending from"),
    ],
)
def test_impossible_windows_are_refused(windows, message):
    with pytest.raises(InputError, match=message):
        fit(draw([80.0], [100.0]), windows)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fwhm": 0.0}, "start width is 0.000000 px; expected above 0"),
        ({"fwhm": np.nan}, "start width"),
        ({"max_shift": 0.0}, "may move by 0.000000 px; expected above 0"),
        ({"max_shift": -1.0}, "may move"),
        ({"max_shift": np.nan}, "may move"),
        ({"eta_step": 0.0}, "eta_step"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        fit(draw([80.0], [100.0]), [(68.0, 92.0, [80.0], [0])], **options)


def test_the_narrowest_window_is_fitted():
    found = fit(draw([80.0], [100.0]), [(79.5, 80.5, [80.0], [0])], eta_step=90.0)
    assert len(found["radius"]) == 4
    assert ((found["radius"] >= 79.5) & (found["radius"] <= 80.5)).all()


@pytest.mark.parametrize("changes", [{}, {"distance": 3e3, "tilts": (0.0, 60.0, 0.0)}])
def test_pixels_of_negative_radius_are_left_out(changes):
    # A wild distortion turns radii negative (R D with D < 0), and those behind the sample positive again.
    geometry = dataclasses.replace(GEOMETRY, distortion={"p2": -50.0}, distortion_radius=2e4, **changes)
    z, y = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(float)
    radius = geometry.to_polar(y, z)[0]
    assert np.nanmin(radius) < -1e4
    found = fit(draw([80.0], [100.0]), [(2.0, 92.0, [80.0], [0])], geometry=geometry, eta_step=90.0)
    used = (radius >= 1.9) & (radius < 92.0)  # the mean over a pixel is up to 1/24 px more than at its centre
    assert found["n_pixels"].sum() <= used.sum()


def test_image_and_mask_must_agree():
    with pytest.raises(InputError, match="same number"):
        fit(draw([80.0], [100.0]), [(68.0, 92.0, [79.0], [0])], mask=np.zeros((3, 3), np.uint8))
