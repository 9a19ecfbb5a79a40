"""core/simulate: against dense sub-sampling in numpy, conservation, threads, refusals."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy.integrate import trapezoid

from midas import Geometry, InputError, _core

FloatArray = npt.NDArray[np.float64]
N_Y = N_Z = 400
DISTORTION = {"p0": 2e-3, "p1": 1e-3, "p2": -1e-3, "p3": 20.0, "p9": 1e-3, "p10": 35.0}


def make_geometry(**changes: object) -> Geometry:
    values: dict[str, object] = {
        "distance": 2e5,
        "beam_center": (190.3, 205.7),
        "pixel_size": 100.0,
        "wavelength": 0.3,
        "tilts": (5.0, 1.5, -2.0),
        "distortion": DISTORTION,
        "distortion_radius": 3e4,
    }
    return Geometry(**{**values, **changes})  # type: ignore[arg-type]


def profile(x: FloatArray, mixing: float) -> FloatArray:
    gauss = np.sqrt(4 * np.log(2) / np.pi) * np.exp(-4 * np.log(2) * x**2)
    return mixing * 2 / np.pi / (1 + 4 * x**2) + (1 - mixing) * gauss


def brute_force(
    geometry: Geometry,
    y: FloatArray,
    z: FloatArray,
    peaks: FloatArray,
    *,
    polarization: float,
    strain: float = 0.0,
    n: int = 40,
) -> FloatArray:
    """Mean counts of pixels (y, z) from n x n points of each."""
    offset = (np.arange(n) + 0.5) / n - 0.5
    _, t, eta = geometry.to_polar(y[:, None, None] + offset[:, None], z[:, None, None] + offset)
    t = 2 * np.degrees(np.arcsin((1 + strain * np.cos(2 * np.radians(eta))) * np.sin(np.radians(t) / 2)))
    pattern = sum(area / fwhm * profile((t - center) / fwhm, mixing) for center, fwhm, mixing, area in peaks)
    _, t, eta = geometry.to_polar(y, z)
    t, eta = np.radians(t), np.radians(eta)
    factor = np.cos(t) ** 3 * (1 - polarization * np.sin(t) ** 2 * np.sin(eta) ** 2)
    return factor * np.asarray(pattern).mean(axis=(1, 2))


def one_ring(geometry: Geometry, radius: float, fwhm_px: float, mixing: float = 0.4) -> FloatArray:
    two_theta = float(geometry.two_theta_of(radius))
    per_px = float(geometry.two_theta_of(radius + 0.5) - geometry.two_theta_of(radius - 0.5))
    return np.array([[two_theta, fwhm_px * per_px, mixing, fwhm_px * per_px]])


def around_ring(geometry: Geometry, radius: float, width: float, n: int = 300) -> tuple[npt.NDArray[np.int64], ...]:
    rng = np.random.default_rng(7)
    y, z = geometry.to_pixel(radius + width * rng.uniform(-2, 2, n), rng.uniform(-180, 180, n))
    return np.rint(y).astype(np.int64), np.rint(z).astype(np.int64)


@pytest.mark.parametrize("radius", [12.0, 40.0, 80.0, 150.0])
@pytest.mark.parametrize("fwhm", [1.5, 3.0, 8.0])
def test_pixels_are_those_of_dense_sub_sampling(radius: float, fwhm: float) -> None:
    geometry = make_geometry()
    peaks = one_ring(geometry, radius, fwhm)
    image = _core.render_powder(geometry.projection, N_Z, N_Y, peaks=peaks, polarization=0.9)
    y, z = around_ring(geometry, radius, fwhm)
    expected = brute_force(geometry, y.astype(float), z.astype(float), peaks, polarization=0.9)
    np.testing.assert_allclose(image[z, y], expected, atol=1e-3 * expected.max())  # a thousandth of the crest


def test_rings_are_not_displaced() -> None:
    # The displacement that best maps reference on image: sum(slope * difference) / sum(slope^2).
    geometry = make_geometry()
    for radius in (40.0, 100.0, 170.0):
        for fwhm in (1.5, 4.0):
            peaks = one_ring(geometry, radius, fwhm)
            image = _core.render_powder(geometry.projection, N_Z, N_Y, peaks=peaks, polarization=0.0)
            y, z = around_ring(geometry, radius, fwhm, n=1000)
            here = brute_force(geometry, y.astype(float), z.astype(float), peaks, polarization=0.0)
            step = 0.01  # px
            shifted = brute_force(
                geometry, y.astype(float), z.astype(float), one_ring(geometry, radius + step, fwhm), polarization=0.0
            )
            slope = (shifted - here) / step
            displacement = np.sum(slope * (image[z, y] - here)) / np.sum(slope**2)
            assert abs(displacement) < 2e-4  # px


def test_strained_rings_are_those_of_dense_sub_sampling() -> None:
    geometry = make_geometry()
    peaks = one_ring(geometry, 150.0, 3.0)
    image = _core.render_powder(geometry.projection, N_Z, N_Y, peaks=peaks, strain=0.01)
    y, z = around_ring(geometry, 150.0, 3.0)
    expected = brute_force(geometry, y.astype(float), z.astype(float), peaks, polarization=0.0, strain=0.01)
    np.testing.assert_allclose(image[z, y], expected, atol=1e-3 * expected.max())


def test_crest_by_hand() -> None:
    # A wide Gaussian ring seen squarely: the crest is sqrt(4 ln2 / pi) cos^3, less its curvature over a pixel.
    geometry = make_geometry(tilts=(0, 0, 0), distortion={}, distortion_radius=None, beam_center=(200.0, 200.0))
    peaks = one_ring(geometry, 100.0, 20.0, mixing=0.0)
    image = _core.render_powder(geometry.projection, N_Z, N_Y, peaks=peaks)
    two_theta = np.arctan(100.0 * 100.0 / 2e5)
    sigma = 20.0 / np.sqrt(8 * np.log(2))
    by_hand = np.sqrt(4 * np.log(2) / np.pi) * np.cos(two_theta) ** 3 * (1 - 1 / (24 * sigma**2))
    np.testing.assert_allclose([image[200, 300], image[200, 100], image[300, 200], image[100, 200]], by_hand, rtol=2e-5)


def test_counts_are_conserved() -> None:
    # Divided by the solid angle, a ring of area A [deg] holds the integral of A phi(2theta) over the plane.
    geometry = make_geometry(tilts=(0, 0, 0), distortion={}, distortion_radius=None)
    peaks = one_ring(geometry, 100.0, 3.0, mixing=0.0)
    image = _core.render_powder(geometry.projection, N_Z, N_Y, peaks=peaks).astype(np.float64)
    z, y = np.mgrid[:N_Z, :N_Y]
    two_theta = np.radians(geometry.to_polar(y, z)[1])
    total = (image / np.cos(two_theta) ** 3).sum()
    t = np.linspace(peaks[0, 0] - 6 * peaks[0, 1], peaks[0, 0] + 6 * peaks[0, 1], 200001)
    tangent, cosine = np.tan(np.radians(t)), np.cos(np.radians(t))
    ring_area = 2 * np.pi * (geometry.distance / geometry.pixel_size) ** 2 * tangent / cosine**2  # px^2 per rad
    expected = trapezoid(profile((t - peaks[0, 0]) / peaks[0, 1], 0.0) * ring_area, np.radians(t))
    np.testing.assert_allclose(total, expected, rtol=1e-5)


def test_background_and_its_fall() -> None:
    geometry = make_geometry(tilts=(0, 0, 0), distortion={}, distortion_radius=None, beam_center=(0.0, 0.0))
    image = _core.render_powder(
        geometry.projection, 1, 200, peaks=np.empty((0, 4)), background=5.0, falloff=8.0, falloff_radius=100.0
    )
    np.testing.assert_allclose(image[0, [0, 100, 199]], [13.0, 9.0, 5.0 + 8.0 / (1 + 1.99**2)], rtol=1e-6)


def test_texture_moves_intensity_along_the_ring_only() -> None:
    geometry = make_geometry(tilts=(0, 0, 0), distortion={}, distortion_radius=None, beam_center=(200.0, 200.0))
    peaks = np.concatenate([one_ring(geometry, 80.0, 3.0, mixing=0.0), one_ring(geometry, 140.0, 3.0, mixing=0.0)])
    plain = _core.render_powder(geometry.projection, 401, 401, peaks=peaks)
    factors = np.ones((2, 4), dtype=np.float32)  # bins centred on eta = -135, -45, 45, 135
    factors[0] = [3.0, 1.0, 1.0, 1.0]
    image = _core.render_powder(geometry.projection, 401, 401, peaks=peaks, texture=factors)
    step = round(80.0 / np.sqrt(2))
    low, high = 200 - step, 200 + step
    # eta = -135 is down and toward decreasing column; the others stay
    np.testing.assert_allclose(image[low, low], 3.0 * plain[low, low], rtol=1e-3)  # the taper takes 2e-4
    np.testing.assert_allclose(image[high, high], plain[high, high], rtol=1e-4)
    np.testing.assert_allclose(image[120, 200], 2.0 * plain[120, 200], rtol=1e-3)  # eta = 180: halfway
    outer = np.hypot(*np.mgrid[-200:201, -200:201]) > 120
    np.testing.assert_allclose(image[outer], plain[outer], atol=1e-6)


def test_same_bytes_for_any_number_of_threads() -> None:
    geometry = make_geometry()
    peaks = np.concatenate([one_ring(geometry, r, 2.0) for r in (30.0, 90.0, 150.0)])
    texture = np.random.default_rng(7).random((3, 720)).astype(np.float32)
    images = [
        _core.render_powder(
            geometry.projection, N_Z, N_Y, peaks=peaks, texture=texture, strain=1e-3, n_threads=n
        ).tobytes()
        for n in (1, 2, 7)
    ]
    assert images[0] == images[1] == images[2]


def test_pixels_behind_the_sample_are_empty() -> None:
    geometry = make_geometry(distance=1e4, tilts=(0.0, 60.0, 0.0), distortion={}, distortion_radius=None)
    peaks = one_ring(geometry, 50.0, 3.0)
    image = _core.render_powder(geometry.projection, N_Z, N_Y, peaks=peaks, background=1.0)
    z, y = np.mgrid[:N_Z, :N_Y]
    behind = np.isnan(geometry.to_polar(y, z)[0])
    assert behind.any()
    assert np.all(image[behind] == 0.0)
    assert np.all(image[~behind] >= 1.0)


@pytest.mark.parametrize("tilts", [(0, 60, 0), (0, -60, 0), (0, 0, 60), (0, 0, -60), (10, -50, 40)])
def test_pixels_in_front_of_the_sample_are_drawn_whatever_the_tilt(tilts: tuple[float, float, float]) -> None:
    geometry = make_geometry(distance=1e4, tilts=tilts, distortion={}, distortion_radius=None)
    image = _core.render_powder(
        geometry.projection, N_Z, N_Y, peaks=one_ring(geometry, 50.0, 3.0), background=1.0, polarization=0.0
    )
    z, y = np.mgrid[:N_Z, :N_Y]
    front = np.isfinite(geometry.to_polar(y, z)[0])
    assert front.any()
    assert not front.all()
    assert np.count_nonzero(image[front] < 1.0) == 0
    assert np.all(image[~front] == 0.0)


GOOD = [10.0, 0.1, 0.5, 1.0]


@pytest.mark.parametrize(
    ("peaks", "changes", "message"),
    [
        ([[10.0, 0.0, 0.5, 1.0]], {}, "a width above 0"),
        ([[10.0, 0.1, 1.5, 1.0]], {}, "a mixing from 0 to 1"),
        ([[np.nan, 0.1, 0.5, 1.0]], {}, "finite numbers"),
        ([[10.0, 1e-9, 0.5, 1.0]], {}, "too fine"),
        ([GOOD[:3]], {}, r"shape \(n, 4\)"),
        ([GOOD], {"strain": 0.9}, r"\|strain\| below 0.5"),
        ([GOOD], {"background": np.inf}, "finite numbers"),
        ([GOOD], {"falloff_radius": 0.0}, "falloff radius above 0"),
        ([GOOD], {"texture": np.ones((2, 8), dtype=np.float32)}, "one row of factors a peak"),
    ],
)
def test_bad_scenes_are_refused(peaks: list[list[float]], changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        _core.render_powder(make_geometry().projection, 4, 4, peaks=np.array(peaks), **changes)  # type: ignore[arg-type]


def test_an_empty_image_is_refused() -> None:
    with pytest.raises(InputError, match="0 rows"):
        _core.render_powder(make_geometry().projection, 0, 4, peaks=np.array([GOOD]))
