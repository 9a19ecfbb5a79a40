"""The compiled map and sums, against numpy written a second time."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from caked import caked_bytes

from midas import CakeGrid, Detector, Geometry, build_map
from midas.cake import CakeMap
from midas.cake.pixels import FrameInput
from midas.errors import InputError

FULL = {f"p{i}": 4e-4 for i in (0, 1, 2, 4, 5, 7, 9, 11, 13)} | {f"p{i}": 17.0 * i for i in (3, 6, 8, 10, 12, 14)}
N = 120
SINGLE = 5e-7  # relative: sums over a tile are single precision

GEOMETRIES = {
    "centre on the panel": {"beam_center": (61.3, 58.8)},
    "centre on a corner of pixels": {"beam_center": (60.5, 59.5)},
    "off the panel": {"beam_center": (-55.0, 171.0)},
    "tilted": {"beam_center": (61.3, 58.8), "tilts": (3.0, 2.0, -4.0)},
    "distorted": {
        "beam_center": (40.2, 70.1),
        "tilts": (0.0, 0.4, 0.3),
        "distortion": FULL,
        "distortion_radius": 2.1e4,
    },
}


def geometry(name: str) -> Geometry:
    return Geometry(distance=2e5, pixel_size=200, wavelength=0.18, **GEOMETRIES[name])


def mapped(g: Geometry, y: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    radius, _, eta = g.to_polar(y, z)
    return radius * np.cos(np.radians(eta)), radius * np.sin(np.radians(eta))


def mapped_areas(g: Geometry, n: int = N) -> np.ndarray:
    """Area of each mapped pixel quadrilateral [px²], from its diagonals."""
    z, y = np.mgrid[0 : n + 1, 0 : n + 1] - 0.5
    u, v = mapped(g, y, z)
    du, dv = u[1:, 1:] - u[:-1, :-1], v[1:, 1:] - v[:-1, :-1]
    eu, ev = u[1:, :-1] - u[:-1, 1:], v[1:, :-1] - v[:-1, 1:]
    return 0.5 * np.abs(du * ev - dv * eu)


def brute_force(g: Geometry, grid: CakeGrid, image: np.ndarray, parts: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Area and normalised intensity of each bin with every pixel cut into parts x parts points of equal area."""
    n = len(image)
    at = (np.arange(n * parts) + 0.5) / parts - 0.5
    radius, _, eta = g.to_polar(at[None, :], at[:, None])
    edges = grid.radius_edges(g)
    k = np.searchsorted(edges, radius.ravel(), side="right") - 1
    j = np.floor(((eta.ravel() - grid.eta_min) % 360.0) / grid.eta_step).astype(int)
    inside = (k >= 0) & (k < grid.shape[0]) & (j >= 0) & (j < grid.shape[1])
    bins = (k * grid.shape[1] + j)[inside]
    weight = np.repeat(np.repeat(mapped_areas(g, n), parts, 0), parts, 1).ravel()[inside] / parts**2
    counts = np.repeat(np.repeat(image, parts, 0), parts, 1).ravel()[inside]
    size = grid.shape[0] * grid.shape[1]
    area = np.bincount(bins, weight, size).reshape(grid.shape)
    with np.errstate(invalid="ignore"):
        return area, np.bincount(bins, weight * counts, size).reshape(grid.shape) / area


def smooth_image(n: int = N) -> np.ndarray:
    z, y = np.mgrid[0:n, 0:n]
    return 1000.0 + 400.0 * np.sin(0.07 * y) * np.cos(0.05 * z) + 2.0 * z


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize(
    ("eta_min", "eta_step", "radius_step"),
    [(-180.0, 5.0, 1.0), (-180.0, 7.0, 0.05), (0.0, 360.0, 1.0), (97.0, 120.0, 400.0), (-180.0, 180.0, 0.3)],
)
def test_rows_add_up_to_the_mapped_pixel(name: str, eta_min: float, eta_step: float, radius_step: float) -> None:
    g = geometry(name)
    grid = CakeGrid(0, 400, radius_step, eta_min, eta_min + 360, eta_step)
    matrix = build_map(g, Detector((N, N), 200), grid).to_scipy()
    per_pixel = np.bincount(matrix.indices, matrix.data.astype(np.float64), N * N)
    np.testing.assert_allclose(per_pixel, mapped_areas(g).ravel(), atol=1e-6, rtol=0)  # px²


@pytest.mark.parametrize("name", GEOMETRIES)
def test_counts_are_conserved(name: str) -> None:
    g = geometry(name)
    image = np.random.default_rng(7).poisson(50.0, (N, N)).astype(np.uint16)
    cake_map = build_map(g, Detector((N, N), 200), CakeGrid(0, 400, 1))
    caked = cake_map.apply(image, normalize=False)
    # The counts of a pixel are spread over its mapped area: what is conserved is sum(counts·mapped area).
    expected = float((image * mapped_areas(g)).sum())
    assert np.nansum(caked.intensity) == pytest.approx(expected, rel=1e-7)
    if "tilts" not in GEOMETRIES[name]:
        assert np.nansum(caked.intensity) == pytest.approx(float(image.sum()), rel=1e-7)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_agrees_with_points(name: str) -> None:
    g = geometry(name)
    # Bins large enough that the reference itself is good: one of 20 x 20 px or more has about 80 pixels on its border,
    # each right to some 0.015 px² in the reference, together 0.13 of 400 px². Rays stay clear of the pixel rows.
    grid = CakeGrid(3.0, 230.0, 32.0, -173.0, 187.0, 40.0)
    area, intensity = brute_force(g, grid, smooth_image())
    caked = build_map(g, Detector((N, N), 200), grid).apply(smooth_image())
    large = area >= 400.0  # px²
    assert large.sum() >= 5
    np.testing.assert_allclose(caked.bin_area[large], area[large], rtol=1e-3)
    np.testing.assert_allclose(caked.intensity[large], intensity[large], rtol=1e-3)
    # Every other bin to the reference's error, in px².
    np.testing.assert_allclose(caked.bin_area, area, atol=0.5)


def test_bins_smaller_than_a_pixel() -> None:
    g = Geometry(distance=2e5, pixel_size=200, wavelength=0.18, beam_center=(10.1, 9.8))
    grid = CakeGrid(0.0, 6.0, 0.02, -180.0, 180.0, 2.0)
    area = build_map(g, Detector((21, 21), 200), grid).bin_area
    edges = grid.radius_edges(g)
    expected = math.radians(2.0) / 2.0 * (edges[1:] ** 2 - edges[:-1] ** 2)
    # Every bin lies inside the detector: full annular sectors. Entries are float32 and each at least 1e-9 px².
    np.testing.assert_allclose(area, np.broadcast_to(expected[:, None], grid.shape), rtol=1e-5, atol=2e-9)


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "int16", "int32", "float32", "float64"])
def test_constant_image_is_constant(name: str, dtype: str) -> None:
    caked = build_map(geometry(name), Detector((N, N), 200), CakeGrid(0, 300, 0.7, eta_step=3)).apply(
        np.full((N, N), 17, dtype=dtype)
    )
    filled = caked.bin_area > 0.0
    assert filled.any()
    np.testing.assert_allclose(caked.intensity[filled], 17.0, rtol=1e-6)
    assert np.isnan(caked.intensity[~filled]).all()


def test_same_bytes_for_any_number_of_threads() -> None:
    g, detector, grid = geometry("distorted"), Detector((N, N), 200), CakeGrid(0, 150, 0.5, eta_step=2)
    image = np.random.default_rng(3).poisson(9.0, (N, N)).astype(np.uint32)
    results = []
    for n in (1, 2, 7):
        cake_map = build_map(g, detector, grid, n_threads=n)
        caked = cake_map.apply(image, variance=True, n_threads=n)
        assert caked.variance is not None
        core = cake_map.core
        arrays = (
            *core.rows(),
            core.eta_overlap,
            caked.intensity,
            caked.variance,
            caked.bin_area,
        )
        results.append(b"".join(a.tobytes() for a in arrays))
    assert results[0] == results[1] == results[2]


def test_eta_wraps() -> None:
    g, detector = geometry("tilted"), Detector((N, N), 200)
    image = smooth_image()
    turned = build_map(g, detector, CakeGrid(0, 100, 2, 0, 360, 30)).apply(image)
    plain = build_map(g, detector, CakeGrid(0, 100, 2, -180, 180, 30)).apply(image)
    np.testing.assert_allclose(np.roll(turned.intensity, 6, axis=1), plain.intensity, rtol=1e-7)
    across = build_map(g, detector, CakeGrid(0, 100, 2, 150, 210, 30)).apply(image)
    np.testing.assert_allclose(across.intensity, turned.intensity[:, 5:7], rtol=1e-7)


def test_a_last_bin_past_the_turn_counts_no_pixel_twice() -> None:
    g = geometry("centre on the panel")
    area = build_map(g, Detector((N, N), 200), CakeGrid(0, 400, 50, -180, 180, 100)).bin_area
    assert area.sum() == pytest.approx(mapped_areas(g).sum(), rel=1e-7)
    full = area[0]  # the bin under 50 px lies on the detector: 100, 100, 100 and 60 deg
    np.testing.assert_allclose(full / full.sum(), np.array([100, 100, 100, 60]) / 360, rtol=1e-6)


def test_mask_and_invalid_pixels_leave_signal_and_area() -> None:
    g = geometry("centre on the panel")
    image = np.full((N, N), 10, dtype=np.int32)
    hot = np.zeros((N, N), dtype=bool)
    hot[30:40, 30:90] = True
    image[hot] = -1
    by_value = build_map(g, Detector((N, N), 200), CakeGrid(0, 90, 3)).apply(image)
    image[hot] = 99999
    by_mask = build_map(g, Detector((N, N), 200), CakeGrid(0, 90, 3)).apply(image, mask=hot)
    by_detector = build_map(g, Detector((N, N), 200, mask=hot), CakeGrid(0, 90, 3)).apply(image)
    by_saturation = build_map(g, Detector((N, N), 200, saturation=99999), CakeGrid(0, 90, 3)).apply(image)
    for caked in (by_mask, by_detector, by_saturation):
        np.testing.assert_allclose(caked.intensity, by_value.intensity, rtol=SINGLE)
        np.testing.assert_allclose(caked.bin_area, by_value.bin_area, rtol=1e-12)
        np.testing.assert_array_equal(caked.bin_pixels, by_value.bin_pixels)
    np.testing.assert_allclose(by_value.intensity[by_value.bin_area > 0], 10.0, rtol=SINGLE)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"frames": np.zeros((N, N + 1))}, "shape"),
        ({"frames": np.zeros((N, N), dtype=complex)}, "dtype complex128"),
        ({"frames": np.zeros((N, N)), "mask": np.ones((N, N))}, "leaves out every pixel"),
        ({"frames": np.zeros((N, N)), "mask": np.ones((3, 3))}, "mask has shape"),
        ({"frames": np.zeros((N, N)), "dark": np.full((N, N), np.nan)}, "no valid pixel"),
    ],
)
def test_refused(bad: dict[str, np.ndarray], message: str) -> None:
    cake_map = build_map(geometry("tilted"), Detector((N, N), 200), CakeGrid(0, 90, 3))
    with pytest.raises(InputError, match=message):
        cake_map.apply(bad.pop("frames"), **bad)


def test_refused_maps() -> None:
    g = geometry("tilted")
    with pytest.raises(InputError, match="pixel_size"):
        build_map(g, Detector((N, N), 172), CakeGrid(0, 90, 3))
    with pytest.raises(InputError, match="masked"):
        build_map(g, Detector((N, N), 200, mask=np.ones((N, N), dtype=bool)), CakeGrid(0, 90, 3))
    with pytest.raises(InputError, match="no pixel lies in the bins"):
        build_map(g, Detector((N, N), 200), CakeGrid(5000, 6000, 10))


DTYPES = ["uint8", "uint16", "uint32", "int16", "int32", "float32", "float64"]


def reference(cake_map: CakeMap, frame: np.ndarray, *, valid: np.ndarray, scale: np.ndarray, dark: np.ndarray) -> tuple:
    """Intensity, variance and area by the sparse matrix, in double."""
    matrix = cake_map.to_scipy().astype(np.float64)
    counts = np.where(valid, frame, 0.0).astype(np.float64).ravel()
    ok = valid.ravel().astype(np.float64)
    area = matrix @ ok
    with np.errstate(invalid="ignore", divide="ignore"):
        intensity = matrix @ (ok * scale.ravel() * (counts - dark.ravel())) / area
        variance = matrix.power(2) @ (ok * scale.ravel() ** 2 * np.maximum(counts, 0.0)) / area**2
    return tuple(a.reshape(cake_map.shape) for a in (intensity, variance, area))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("corrected", [False, True])
@pytest.mark.parametrize("grid", [CakeGrid(0, 90, 0.5, eta_step=3), CakeGrid(0, 90, 1, eta_step=360)])
def test_stacks_with_bad_pixels_against_the_sparse_matrix(dtype: str, corrected: bool, grid: CakeGrid) -> None:
    rng = np.random.default_rng(11)
    shape = (75, 131)  # no multiple of a tile
    n = 37  # no multiple of a batch
    cake_map = build_map(geometry("tilted"), Detector(shape, 200, saturation=200), grid)
    stack = rng.poisson(40.0, (n, *shape)).astype(dtype)
    valid = np.ones(stack.shape, dtype=bool)
    valid[3, 20:30, 40:80] = False  # of one frame
    valid[n - 1] &= rng.random(shape) < 0.2
    valid[:, 50, 60:64] = False  # of every frame
    stack[~valid] = 250  # saturated
    if dtype.startswith(("int", "float")):
        stack[:, 10, 10] = -1
        valid[:, 10, 10] = False
    if dtype.startswith("float"):
        stack[5, 12, 12] = np.nan
        valid[5, 12, 12] = False
    mask = rng.random(shape) < 0.02
    valid &= ~mask
    scale = 1.0 + rng.random(shape) if corrected else np.ones(shape)
    dark = rng.normal(9.0, 2.0, shape) if corrected else np.zeros(shape)
    prepared = cake_map.prepare(
        FrameInput(
            dark=dark if corrected else None,
            scale=scale if corrected else None,
            mask=mask.view(np.uint8),
            saturation=200.0,
        )
    )
    alone = [prepared.apply(stack[i : i + 1], variance=True, n_threads=3) for i in range(n)]
    for n_threads in (1, 2, 7):
        together = prepared.apply(stack, variance=True, n_threads=n_threads)
        for i in range(n):
            assert caked_bytes(alone[i][0]) == caked_bytes(together[i])
    for i in range(n):
        intensity, variance, area = reference(cake_map, stack[i], valid=valid[i], scale=scale, dark=dark)
        np.testing.assert_allclose(together.bin_area[i], area, rtol=1e-9, atol=1e-12)
        np.testing.assert_array_equal(np.isnan(together.intensity[i]), area == 0.0)
        np.testing.assert_allclose(together.intensity[i], intensity, rtol=SINGLE, atol=1e-4)  # counts, of 60
        np.testing.assert_allclose(together.variance[i], variance, rtol=SINGLE)
    assert (together.bin_pixels[0] > 0).sum() == (together.bin_area[0] > 0).sum()
    half = prepared.apply(stack, variance=True, single=True)
    assert half.intensity.dtype == half.variance.dtype == np.float32
    np.testing.assert_array_equal(half.intensity, together.intensity.astype(np.float32))


@pytest.mark.parametrize("dtype", ["uint32", "int32", "float64"])
@pytest.mark.parametrize("n", [1, 20])
def test_counts_beyond_single_precision_are_summed_in_double(dtype: str, n: int) -> None:
    g = geometry("centre on the panel")
    stack = np.random.default_rng(2).integers(0, 2**31 - 2, (n, N, N)).astype(dtype)
    cake_map = build_map(g, Detector((N, N), 200), CakeGrid(0, 60, 1))
    caked = cake_map.apply(stack, variance=True)
    none = np.zeros((N, N))
    intensity, variance, _ = reference(
        cake_map, stack[-1], valid=np.ones((N, N), dtype=bool), scale=none + 1.0, dark=none
    )
    np.testing.assert_allclose(caked.intensity[-1], intensity, rtol=1e-13)
    np.testing.assert_allclose(caked.variance[-1], variance, rtol=1e-7)  # itself single precision


def test_the_largest_signed_value_is_a_count_and_the_largest_unsigned_none() -> None:
    cake_map = build_map(geometry("centre on the panel"), Detector((N, N), 200), CakeGrid(0, 60, 60, eta_step=360))
    for dtype, n in (("int16", 1), ("int32", 1), ("uint8", 0), ("uint16", 0), ("uint32", 0)):
        top = np.iinfo(dtype).max
        image = np.full((N, N), top, dtype=dtype)
        image[:10] = 3
        caked = cake_map.apply(image)
        assert float(caked.intensity[0, 0]) == pytest.approx(top if n else 3.0, rel=0.2)


def test_threads_share_one_map() -> None:
    cake_map = build_map(geometry("distorted"), Detector((N, N), 200), CakeGrid(0, 90, 1))
    prepared = cake_map.prepare(FrameInput())
    stack = np.random.default_rng(1).poisson(9.0, (40, N, N)).astype(np.uint16)
    expected = prepared.apply(stack).intensity.tobytes()
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda _: prepared.apply(stack, n_threads=2).intensity.tobytes(), range(12))) == {expected}


def test_a_wide_count_leaves_the_other_frames_alone() -> None:
    stack = np.random.default_rng(7).poisson(100.0, (32, N, N)).astype(np.uint32)
    stack[5, 20, 30] = 1 << 25  # single precision would round it
    stack[5, 40, 30] = stack[6, 40, 30] = np.iinfo(np.uint32).max
    cake_map = build_map(geometry("centre on the panel"), Detector((N, N), 200), CakeGrid(0, 60, 1))
    alone = [caked_bytes(cake_map.apply(frame, variance=True)) for frame in stack]
    for n_threads in (1, 2, 16):
        together = cake_map.apply(stack, variance=True, n_threads=n_threads)
        assert [caked_bytes(together[i]) for i in range(len(stack))] == alone


def test_results_that_somebody_holds_are_left_alone() -> None:
    """Large results take memory of dropped ones: never of a result, or of a view into one, that is still held."""
    g = Geometry(distance=1e6, beam_center=(60, 60), pixel_size=200, wavelength=0.18)
    cake_map = build_map(g, Detector((120, 120), 200), CakeGrid(0, 80, 0.5, eta_step=1))
    stacks = [np.full((24, 120, 120), value, dtype=np.uint16) for value in range(1, 9)]
    held = []
    for stack in stacks:
        intensity = cake_map.apply(stack, variance=True).intensity
        assert intensity.nbytes > 2**23
        held.append((stack[0, 0, 0], intensity if len(held) % 2 else intensity[3]))
        cake_map.apply(stack, variance=True)
    for value, intensity in held:
        np.testing.assert_allclose(intensity[np.isfinite(intensity)], value, rtol=1e-6)
