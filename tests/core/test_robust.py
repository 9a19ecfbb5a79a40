"""Median, trimmed mean and sigma clipping of each bin's pixels, against numpy written a second time."""

from __future__ import annotations

import numpy as np
import pytest
from caked import caked_bytes

from midas import CakeGrid, Detector, Geometry, build_map
from midas.cake import CakeMap, IntegrationOptions, RobustOptions, integrate
from midas.cake.pixels import FrameInput
from midas.cake.robust import prepare_robust
from midas.errors import InputError

N = 90
METHODS = ("median", "trimmed_mean", "sigma_clip")
CENTRED = Geometry(distance=2e5, pixel_size=200, wavelength=0.18, beam_center=(44.3, 45.8))
TILTED = Geometry(distance=2e5, pixel_size=200, wavelength=0.18, beam_center=(-20.0, 31.0), tilts=(3.0, 2.0, -4.0))
SECTORS, RINGS = CakeGrid(2, 44, 2, eta_step=30), CakeGrid(2, 44, 2, eta_step=360)


def of_bins(cake_map: CakeMap) -> list[tuple[np.ndarray, np.ndarray]]:
    matrix = cake_map.to_scipy()
    at = matrix.indptr
    return [
        (matrix.indices[at[b] : at[b + 1]], matrix.data[at[b] : at[b + 1]].astype(np.float64))
        for b in range(matrix.shape[0])
    ]


def lowest(v: np.ndarray, w: np.ndarray, weight: float) -> float:
    """The smallest value that has at least this weight with all below."""
    order = np.argsort(v, kind="stable")
    i = np.searchsorted(np.cumsum(w[order]), weight)
    return float(v[order][min(i, len(v) - 1)])


def by_hand(v: np.ndarray, w: np.ndarray, options: RobustOptions, *, integers: bool) -> tuple[float, float, float, int]:
    """Intensity, variance (of two pixels or more), area and pixels of one bin."""
    total, n = w.sum(), w.sum() ** 2 / (w**2).sum()
    if options.method == "median":
        tiny = 1e-6 * total
        middle = 0.5 * (lowest(v, w, 0.5 * total - tiny) + lowest(v, w, 0.5 * total + tiny))
        h = min(1.0 / np.sqrt(n), 0.5)
        width = lowest(v, w, (0.5 + h) * total) - lowest(v, w, (0.5 - h) * total)
        return middle, (width / (4.0 * h * np.sqrt(n))) ** 2 + integers / 12.0, total, len(v)
    if options.method == "trimmed_mean":
        low, high = options.trim[0] * total, (1.0 - options.trim[1]) * total
        order = np.argsort(v, kind="stable")
        edges = np.concatenate([[0.0], np.cumsum(w[order])]).clip(low, high)
        kept = np.diff(edges)
        intensity = (kept * v[order]).sum() / kept.sum()
        x = v.clip(lowest(v, w, low), lowest(v, w, high))
        square = (w * (x - (w * x).sum() / total) ** 2).sum() / total
        h = n * (1.0 - sum(options.trim))
        return intensity, n * square / (h * (h - 1.0)), kept.sum(), int(((v >= x.min()) & (v <= x.max())).sum())
    center = lowest(v, w, 0.5 * total)
    keep = np.ones(len(v), dtype=bool)
    sigma = np.sqrt((w * (v - center) ** 2).sum() / total)
    for i in range(options.max_iterations):
        if options.sigma == "poisson":
            sigma = np.sqrt(max(center, 1.0))
        elif i > 0:
            n = w[keep].sum() ** 2 / (w[keep] ** 2).sum()
            if n < 2.0:
                break
            sigma = np.sqrt((w[keep] * (v[keep] - center) ** 2).sum() / w[keep].sum() * n / (n - 1.0))
        still = keep & (np.abs(v - center) <= options.threshold * sigma)
        if not still.any():
            break
        done = (keep == still).all()
        keep = still
        center = (w[keep] * v[keep]).sum() / w[keep].sum()
        if done:
            break
    area = w[keep].sum()
    n = area**2 / (w[keep] ** 2).sum()
    square = (w[keep] * (v[keep] - center) ** 2).sum() / area
    return center, (center if options.sigma == "poisson" else square * n / (n - 1.0)) / n, area, int(keep.sum())


CHOICES = [
    RobustOptions("median"),
    RobustOptions("trimmed_mean"),
    RobustOptions("trimmed_mean", trim=(0.0, 0.3)),
    RobustOptions("trimmed_mean", trim=(0.25, 0.0)),
    RobustOptions("sigma_clip", threshold=2.5),
    RobustOptions("sigma_clip", threshold=3.0, sigma="poisson"),
]


@pytest.mark.parametrize("options", CHOICES, ids=str)
@pytest.mark.parametrize("grid", [SECTORS, RINGS], ids=["sectors", "rings"])
@pytest.mark.parametrize("dtype", ["uint16", "int32", "float32", "float64"])
def test_against_numpy(options: RobustOptions, grid: CakeGrid, dtype: str) -> None:
    rng = np.random.default_rng(5)
    cake_map = build_map(CENTRED if grid is RINGS else TILTED, Detector((N, N), 200, saturation=60000), grid)
    frame = rng.poisson(80.0, (N, N)).astype(dtype)
    frame[rng.random((N, N)) < 0.03] = 9000
    frame[rng.random((N, N)) < 0.02] = 60000  # saturated
    frame[rng.random((N, N)) < 0.02] = 77  # bad by value
    mask = rng.random((N, N)) < 0.05
    valid = ~mask & (frame < 60000) & (frame != 77)
    if dtype != "uint16":
        frame[10:14, 50:60] = -1
        valid[10:14, 50:60] = False
    if "float" in dtype:
        frame[20, 60:70] = np.nan
        valid[20, 60:70] = False
    inputs = FrameInput(mask=mask.view(np.uint8), bad_values=(77.0,), saturation=60000.0)
    caked = prepare_robust(cake_map, options, inputs).apply([frame])[0]
    flat, ok = frame.ravel(), valid.ravel()
    integers = not dtype.startswith("float")
    checked = 0
    for b, (pixels, areas) in enumerate(of_bins(cake_map)):
        at = np.unravel_index(b, cake_map.shape)
        keep = ok[pixels]
        v, w = flat[pixels][keep].astype(np.float64), areas[keep]
        assert caked.variance is not None
        if len(v) == 0:
            assert np.isnan(caked.intensity[at])
            assert np.isnan(caked.variance[at])
            assert (caked.bin_area[at], caked.bin_pixels[at]) == (0.0, 0)
            continue
        if w.sum() ** 2 / (w**2).sum() < 4.0:  # the errors of a few pixels have their own test
            continue
        intensity, variance, area, n = by_hand(v, w, options, integers=integers)
        if options.method == "median":  # areas are single precision: the half may fall on either of two values
            near = [lowest(v, w, (0.5 + d) * w.sum()) for d in (-2e-6, 2e-6)]
            assert min(near) <= caked.intensity[at] <= max(near)
        else:
            assert caked.intensity[at] == pytest.approx(intensity, rel=1e-5)
        assert caked.variance[at] == pytest.approx(variance, rel=1e-3)
        assert caked.bin_area[at] == pytest.approx(area, rel=1e-5)
        assert caked.bin_pixels[at] == n
        checked += 1
    assert checked > 20


def test_dark_and_scale_go_before_the_statistic() -> None:
    rng = np.random.default_rng(8)
    cake_map = build_map(CENTRED, Detector((N, N), 200), SECTORS)
    frame = rng.poisson(300.0, (N, N)).astype(np.uint16)
    dark, scale = rng.poisson(20.0, (N, N)).astype(float), 1.0 + 0.2 * rng.random((N, N))
    for options in CHOICES[:5]:
        corrected = prepare_robust(cake_map, options, FrameInput(dark=dark, scale=scale)).apply([frame])
        before = prepare_robust(cake_map, options).apply([(frame - dark) * scale.astype(np.float32)])
        np.testing.assert_allclose(corrected.intensity, before.intensity, rtol=1e-6)
        np.testing.assert_array_equal(corrected.bin_pixels, before.bin_pixels)
    poisson = prepare_robust(cake_map, RobustOptions("sigma_clip", sigma="poisson"), FrameInput(dark=dark, scale=scale))
    clipped = poisson.apply([frame])[0]
    plain = cake_map.prepare(FrameInput(dark=dark, scale=scale)).apply([frame], variance=True)[0]
    assert plain.variance is not None
    assert clipped.variance is not None
    many = plain.bin_pixels >= 50
    np.testing.assert_allclose(clipped.variance[many], plain.variance[many], rtol=0.1)  # noise of the mean itself


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "int16", "int32", "float32", "float64"])
@pytest.mark.parametrize("options", CHOICES, ids=str)
def test_constant_image_is_constant(options: RobustOptions, dtype: str) -> None:
    for grid in (SECTORS, RINGS):
        caked = build_map(TILTED, Detector((N, N), 200), grid).apply_robust(np.full((N, N), 17, dtype=dtype), options)
        filled = caked.bin_area > 0.0
        assert filled.any()
        assert (caked.intensity[filled] == 17.0).all()
        assert np.isnan(caked.intensity[~filled]).all()


def test_counts_beyond_single_precision_are_exact() -> None:
    cake_map = build_map(CENTRED, Detector((N, N), 200), RINGS)
    frame = np.full((N, N), 2**31 - 3, dtype=np.uint32)
    frame[::7] = 2**31 + 5
    assert set(cake_map.apply_robust(frame).intensity.ravel()) == {2.0**31 - 3}
    huge = np.full((N, N), 5.0, dtype=np.float32)
    huge[40, 40] = 1e30  # its square is no float32
    np.testing.assert_allclose(cake_map.apply_robust(huge, "sigma_clip").intensity, 5.0, rtol=1e-6)


def spoiled(kind: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(21)
    clean = rng.poisson(200.0, (300, 300)).astype(np.uint16)
    frame = clean.copy()
    if kind == "zingers":
        frame[rng.random(clean.shape) < 0.01] = 30000
    else:
        z, y = np.mgrid[0:300, 0:300]
        for at in rng.uniform(5, 295, (15, 2)):
            frame += rng.poisson(4000.0 * np.exp(-((y - at[0]) ** 2 + (z - at[1]) ** 2) / 4.5)).astype(np.uint16)
    return clean, frame


@pytest.mark.parametrize("kind", ["zingers", "spots"])
@pytest.mark.parametrize("method", METHODS)
def test_spoiled_frames(kind: str, method: str) -> None:
    clean, frame = spoiled(kind)
    g = Geometry(distance=2e5, pixel_size=200, wavelength=0.18, beam_center=(150.2, 149.7))
    cake_map = build_map(g, Detector((300, 300), 200), CakeGrid(10, 140, 1, eta_step=360))
    options = RobustOptions(method, trim=(0.0, 0.1) if kind == "zingers" else (0.25, 0.25), threshold=3.0)
    robust, expected = cake_map.apply_robust(frame, options), cake_map.apply_robust(clean, options)
    assert robust.variance is not None
    pulls = (robust.intensity - expected.intensity) / np.sqrt(robust.variance)
    assert np.abs(pulls).max() < 3.0
    mean, true = cake_map.apply(frame, variance=True), cake_map.apply(clean)
    assert mean.variance is not None
    # A quarter of the rings at least are off: spots lie on some of them only.
    assert (np.abs(mean.intensity - true.intensity) > 3.0 * np.sqrt(mean.variance)).mean() > 0.25


@pytest.mark.parametrize(
    "options",
    [
        RobustOptions("median"),
        RobustOptions("trimmed_mean"),
        RobustOptions("trimmed_mean", trim=(0.0, 0.3)),
        RobustOptions("sigma_clip"),
        RobustOptions("sigma_clip", sigma="poisson"),
    ],
    ids=str,
)
@pytest.mark.parametrize("eta_step", [45.0, 360.0])
def test_standard_errors_are_the_scatter_of_frames(options: RobustOptions, eta_step: float) -> None:
    g = Geometry(distance=2e5, pixel_size=200, wavelength=0.18, beam_center=(60.2, 59.7))
    cake_map = build_map(g, Detector((120, 120), 200), CakeGrid(20, 58, 2, eta_step=eta_step))
    stack = np.random.default_rng(3).poisson(400.0, (200, 120, 120)).astype(np.uint16)
    caked = cake_map.apply_robust(stack, options)
    many = cake_map.bin_pixels >= 50
    assert many.sum() >= 15
    assert caked.variance is not None
    scatter = caked.intensity.var(axis=0, ddof=1)[many].mean()
    assert 0.9 < np.sqrt(caked.variance.mean(axis=0)[many].mean() / scatter) < 1.1


def test_one_pixel_has_a_poisson_error() -> None:
    g = Geometry(distance=2e5, pixel_size=200, wavelength=0.18, beam_center=(10.0, 10.0))
    cake_map = build_map(g, Detector((21, 21), 200), CakeGrid(0.0, 0.5, 0.5, eta_step=90))
    for method in METHODS:
        caked = cake_map.apply_robust(np.full((21, 21), 9, dtype=np.uint16), method)
        assert caked.variance is not None
        expected = 9.0 / 0.8 if method == "trimmed_mean" else 9.0
        np.testing.assert_allclose(caked.variance, expected, rtol=1e-5)
        assert (caked.bin_pixels == 1).all()


@pytest.mark.parametrize("options", CHOICES, ids=str)
def test_same_bytes_for_any_number_of_threads(options: RobustOptions) -> None:
    cake_map = build_map(TILTED, Detector((N, N), 200), CakeGrid(10, 110, 0.5, eta_step=2))
    stack = np.random.default_rng(3).poisson(9.0, (3, N, N)).astype(np.uint32)
    results = []
    for n in (1, 2, 7):
        caked = cake_map.apply_robust(stack, options, n_threads=n)
        results.append(caked_bytes(caked))
    assert results[0] == results[1] == results[2]
    alone = cake_map.apply_robust(stack[1], options)
    np.testing.assert_array_equal(alone.intensity, caked.intensity[1])


def test_integrate_takes_them() -> None:
    rng = np.random.default_rng(4)
    frames = rng.poisson(100.0, (4, N, N)).astype(np.uint16)
    frames[rng.random(frames.shape) < 0.01] = 20000
    dark = np.full((N, N), 10.0)
    options = IntegrationOptions(robust=RobustOptions("trimmed_mean"), frames_per_sum=2)
    cake = integrate(frames, CENTRED, RINGS, dark=dark, options=options)
    cake_map = build_map(CENTRED, Detector((N, N), 200), RINGS)
    alone = cake_map.apply_robust(frames, "trimmed_mean", dark=dark)
    np.testing.assert_allclose(cake.intensity[0], alone.intensity[:2].sum(axis=0), rtol=1e-12)
    assert cake.sigma is not None
    assert alone.variance is not None
    # The one dark's error is in the scatter of each frame once, and in a sum of two four times.
    of_dark = 2.0 * 10.0 / cake_map.bin_area.clip(min=1.0)
    extra = cake.sigma[0] ** 2 - alone.variance[:2].sum(axis=0)
    assert (extra > 0.0).all()
    assert (extra < of_dark).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"method": "medain"}, "did you mean 'median'"),
        ({"sigma": "gauss"}, "scatter, poisson"),
        ({"trim": (0.5, 0.5)}, "together below 1"),
        ({"trim": (-0.1, 0.5)}, "0 or more"),
        ({"threshold": 0.0}, "above 0"),
        ({"max_iterations": 0}, "1 or more"),
        ({"tolerance": 1.0}, "below 1"),
    ],
)
def test_refused_options(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        RobustOptions(**wrong)  # type: ignore[arg-type]


def test_refused_frames() -> None:
    cake_map = build_map(CENTRED, Detector((N, N), 200), RINGS)
    with pytest.raises(InputError, match="shape"):
        cake_map.apply_robust(np.zeros((N, N + 1)))
    with pytest.raises(InputError, match="dtype complex128"):
        cake_map.apply_robust(np.zeros((N, N), dtype=complex))
    with pytest.raises(InputError, match="normalize"):
        prepare_robust(cake_map, RobustOptions(), FrameInput(normalize=False))
    with pytest.raises(InputError, match="normalize"):
        IntegrationOptions(robust=RobustOptions(), normalize=False)
    with pytest.raises(InputError, match="mask has 3 pixels"):
        prepare_robust(cake_map, RobustOptions(), FrameInput(mask=np.zeros(3, dtype=np.uint8)))
