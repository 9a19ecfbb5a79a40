"""Flat field, solid angle and polarization: what counts are divided by, in every call that takes frames."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from midas import CakeGrid, Corrections, Detector, Geometry, IntegrationOptions, RobustOptions, build_map, integrate
from midas.cake import integrate_to_zarr, integrate_with_map
from midas.cake.corrections import polarization_factor, solid_angle_factor
from midas.detector import transform_image
from midas.errors import InputError

N = 100
GRID = CakeGrid(2, 45, 1.5, eta_step=20)
G = Geometry(1e5, (48.3, 51.7), 200, 0.3)
MAP = build_map(G, Detector((N, N), 200), GRID)
SINGLE = 5e-7  # relative: sums over a tile are single precision
RANDOM = np.random.default_rng(5)
FLAT = RANDOM.uniform(0.5, 1.5, (N, N))
FRAMES = RANDOM.poisson(40.0, (3, N, N)).astype(np.uint16)
DARK = RANDOM.poisson(4.0, (N, N)).astype(np.float64)


def test_solid_angle_and_polarization_at_the_bin() -> None:
    image = np.full((N, N), 1000.0)
    cake = integrate(image, G, GRID, options=IntegrationOptions(corrections=Corrections(solid_angle=True)))
    expected = 1000.0 / solid_angle_factor(cake.two_theta)
    np.testing.assert_allclose(cake.intensity[0], np.broadcast_to(expected[:, None], GRID.shape), rtol=2e-3)
    cake = integrate(image, G, GRID, options=IntegrationOptions(corrections=Corrections(polarization=0.99)))
    expected = 1000.0 / polarization_factor(cake.two_theta[:, None], cake.eta[None, :])
    np.testing.assert_allclose(cake.intensity[0], expected, rtol=2e-3)


def test_counts_less_the_dark_are_divided_by_the_flat() -> None:
    caked = MAP.apply(FRAMES, dark=DARK, flat=FLAT, variance=True)
    areas = MAP.to_scipy()
    bin_area = MAP.bin_area.ravel()
    for frame, found, variance in zip(FRAMES, caked.intensity, caked.variance, strict=True):
        expected = areas @ ((frame - DARK) / FLAT).ravel() / bin_area
        np.testing.assert_allclose(found.ravel(), expected, rtol=2e-6)
        squares = areas.power(2) @ ((frame + DARK) / FLAT**2).ravel() / bin_area**2
        np.testing.assert_allclose(variance.ravel(), squares, rtol=2e-6)


def test_a_uniform_sample_seen_through_a_flat_is_uniform() -> None:
    cake = integrate(1000.0 * FLAT, G, GRID, flat=FLAT)
    np.testing.assert_allclose(cake.intensity, 1000.0, rtol=SINGLE)


def test_every_call_takes_the_same_arrays(tmp_path: Path) -> None:
    mask = np.zeros((N, N), dtype=bool)
    mask[30:35, 20:70] = True
    corrections = Corrections(solid_angle=True, polarization=0.9)
    arrays = {"dark": DARK, "flat": FLAT, "mask": mask}
    one = MAP.apply(FRAMES, **arrays, corrections=corrections)
    each = [c.intensity for c in MAP.apply_each(iter(FRAMES), **arrays, corrections=corrections)]
    np.testing.assert_array_equal(one.intensity, each)
    options = IntegrationOptions(corrections=corrections)
    cake = integrate_with_map(FRAMES, MAP, **arrays, options=options)
    np.testing.assert_array_equal(one.intensity, cake.intensity)
    written = integrate_to_zarr(FRAMES, MAP, tmp_path / "a.zarr.zip", **arrays, options=options).read()
    np.testing.assert_array_equal(written.intensity, cake.intensity)
    np.testing.assert_array_equal(written.bin_pixels, cake.bin_pixels)
    with h5py.File(MAP.apply_to_file(FRAMES, tmp_path / "a.h5", **arrays, corrections=corrections)) as file:
        np.testing.assert_allclose(file["entry/cake/intensity"][()], one.intensity, rtol=1e-6)
    # A mean without its trimmed part is the mean, but for the pixels' order.
    plain = MAP.apply_robust(FRAMES, RobustOptions("trimmed_mean", trim=(0, 0)), **arrays, corrections=corrections)
    np.testing.assert_allclose(plain.intensity, one.intensity, rtol=2e-6)


@pytest.mark.parametrize("transforms", [(1,), (2,), (3,), (1, 3), (3, 2, 1)])
def test_a_flat_is_laid_out_as_the_frames(transforms: tuple[int, ...]) -> None:
    g = Geometry(1e5, (48.3, 51.7), 200, 0.3, tilts=(0, 0.5, 0.2), image_transforms=transforms)
    raw, flat = FRAMES[:, :, :86], FLAT[:, :86]
    given = integrate(raw, g, GRID, flat=flat)
    upright = Geometry(1e5, (48.3, 51.7), 200, 0.3, tilts=(0, 0.5, 0.2))
    expected = integrate(transform_image(raw, transforms), upright, GRID, flat=transform_image(flat, transforms))
    np.testing.assert_allclose(given.intensity, expected.intensity, rtol=SINGLE)


@pytest.mark.parametrize("nothing", [0.0, -1.0, np.nan, np.inf])
def test_pixels_without_a_flat_are_left_out(nothing: float) -> None:
    dead = np.zeros((N, N), dtype=bool)
    dead[20:25, 40:60] = True
    flat = np.where(dead, nothing, FLAT)
    given, masked = MAP.apply(FRAMES, flat=flat), MAP.apply(FRAMES, flat=FLAT, mask=dead)
    np.testing.assert_array_equal(given.intensity, masked.intensity)
    np.testing.assert_array_equal(given.bin_area, masked.bin_area)
    hidden = np.ma.masked_array(FLAT, mask=dead)
    np.testing.assert_array_equal(MAP.apply(FRAMES, flat=hidden).intensity, masked.intensity)


def test_pixels_are_left_out_by_dark_flat_or_mask() -> None:
    dark, flat, mask = DARK.copy(), FLAT.copy(), np.zeros((N, N), dtype=np.uint8)
    dark[30, 40:60], flat[31, 40:60], mask[32, 40:60] = np.nan, 0.0, 1
    all_three = np.zeros((N, N), dtype=np.uint8)
    all_three[30:33, 40:60] = 1
    found = MAP.apply(FRAMES, dark=dark, flat=flat, mask=mask)
    np.testing.assert_array_equal(found.bin_area, MAP.apply(FRAMES, mask=all_three).bin_area)


def test_a_flat_in_counts_is_warned_about() -> None:
    with pytest.warns(
        UserWarning, match=rf"median of the flat is \d+.*flat / {60000 * FLAT.mean():g}, with 0"
    ) as caught:
        MAP.apply(FRAMES, flat=60000.0 * FLAT)
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="median of the flat") as caught:
        integrate(FRAMES, G, GRID, flat=60000.0 * FLAT)
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("flat", "said"),
    [
        (np.ones((N, N + 1)), r"the flat has shape \(100, 101\); expected \(100, 100\)"),
        (np.zeros((N, N)), "the flat has no pixel above 0"),
        (np.ones((N, N), dtype=bool), "the flat has dtype bool"),
        ("flat.tif", "flat is the name 'flat.tif'; expected an array"),
    ],
)
def test_refused_flats(flat: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        MAP.apply(FRAMES, flat=flat)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "bad",
    [
        {"polarization": "a"},
        {"polarization": 2.0},
        {"polarization": True},
        {"polarization_axis": "a"},
        {"polarization_axis": np.inf},
        {"solid_angle": 2},
    ],
    ids=str,
)
def test_refused_corrections(bad: dict[str, object]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(bad))} is .*; expected"):
        Corrections(**bad)  # type: ignore[arg-type]


def test_counts_of_pixels_are_means_over_frames() -> None:
    frames = FRAMES.copy()
    frames[1, 51, 30:60] = 65535  # no count in this frame
    cake = integrate(frames, G, GRID, options=IntegrationOptions(frames_per_sum=3))
    each = MAP.apply(frames).bin_pixels
    assert (each[1] < each[0]).any()
    np.testing.assert_allclose(cake.bin_pixels, each.mean(axis=0), rtol=1e-12)
    np.testing.assert_array_equal(integrate(FRAMES, G, GRID).bin_pixels, MAP.bin_pixels)


def test_a_flat_in_half_precision_is_divided_by_in_double() -> None:
    half = FLAT.astype(np.float16)
    expected = MAP.apply(FRAMES, flat=half.astype(np.float64)).intensity
    np.testing.assert_array_equal(MAP.apply(FRAMES, flat=half).intensity, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("tiny", [1e-42, 1e-25])
def test_pixels_of_a_flat_too_near_to_0_are_left_out(dtype: type[np.floating], tiny: float) -> None:
    dead = np.zeros((N, N), dtype=bool)
    dead[20:25, 40:60] = True
    flat = np.where(dead, tiny, FLAT).astype(dtype)
    given = MAP.apply(FRAMES, flat=flat, variance=True)
    masked = MAP.apply(FRAMES, flat=FLAT.astype(dtype), mask=dead, variance=True)
    np.testing.assert_array_equal(given.intensity, masked.intensity)
    np.testing.assert_array_equal(given.variance, masked.variance)
    robust = MAP.apply_robust(FRAMES, flat=flat), MAP.apply_robust(FRAMES, flat=FLAT.astype(dtype), mask=dead)
    np.testing.assert_array_equal(robust[0].intensity, robust[1].intensity)


@pytest.mark.parametrize("given", [False, 0, {}, "solid_angle"], ids=repr)
def test_what_is_no_correction_is_refused_even_if_empty(given: object) -> None:
    with pytest.raises(InputError, match=r"corrections is .*; expected a midas\.Corrections"):
        MAP.apply(FRAMES, corrections=given)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"corrections is .*; expected a midas\.Corrections"):
        IntegrationOptions(corrections=given)  # type: ignore[arg-type]


def test_no_corrections_is_none_everywhere() -> None:
    plain = MAP.apply(FRAMES).intensity
    np.testing.assert_array_equal(MAP.apply(FRAMES, corrections=None).intensity, plain)
    options = IntegrationOptions(corrections=None)
    np.testing.assert_array_equal(integrate_with_map(FRAMES, MAP, options=options).intensity, plain)


def test_pixel_scale_of_a_detector_across_the_beam() -> None:
    z, y = np.mgrid[:N, :N]
    across, up = (y - 48.3) * 200.0, (z - 51.7) * 200.0
    path = np.sqrt(1e10 + across**2 + up**2)
    solid = Corrections(solid_angle=True).pixel_scale(G, (N, N))
    np.testing.assert_allclose(solid, (path / 1e5) ** 3, rtol=1e-12)
    # The field is horizontal: what is lost is the part of the direction along it.
    polarized = Corrections(polarization=0.9).pixel_scale(G, (N, N))
    np.testing.assert_allclose(polarized, 1.0 / (1.0 - 0.9 * (across / path) ** 2), rtol=1e-12)
