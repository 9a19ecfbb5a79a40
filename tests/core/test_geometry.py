"""The compiled detector model against docs/physics/geometry.md, written here a second time in numpy from its text."""

from __future__ import annotations

import numpy as np
import pytest

from midas import _core
from midas.errors import GeometryError, InputError
from midas.geometry import DISTORTION_NAMES, PHASES, distortion_coefficients

N_GEOMETRIES = 30
N_PIXELS = 200


def rotation(axis: str, degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    if axis == "x":
        return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    if axis == "y":
        return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def reference(g: dict, y: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Radius [um], 2theta [deg], eta [deg]: the equations of docs/physics/geometry.md in the order of its text."""
    yc = (g["BC"][0] - y) * g["px"]
    zc = (z - g["BC"][1]) * g["px"]
    t = rotation("x", g["tx"]) @ rotation("y", g["ty"]) @ rotation("z", g["tz"])
    a, b, c = t @ np.stack([np.zeros_like(yc), yc, zc])
    r0 = g["Lsd"] / (g["Lsd"] + a) * np.sqrt(b**2 + c**2)
    eta = np.degrees(np.arctan2(-b, c))
    eta = np.where(eta >= 180.0, eta - 360.0, eta)
    rho = r0 / g["RhoD"]
    e = 90.0 - eta
    p = [g["p"].get(name, 0.0) for name in DISTORTION_NAMES]

    def wave(harmonic: int, phase: float) -> np.ndarray:
        return np.cos(np.radians(harmonic * e + phase))

    d = (
        1.0
        + p[0] * rho**2 * wave(2, p[6])
        + p[1] * rho**4 * wave(4, p[3])
        + p[2] * rho**2
        + p[5] * rho**4
        + p[4] * rho**6
        + p[7] * rho**4 * wave(1, p[8])
        + p[9] * rho**3 * wave(3, p[10])
        + p[11] * rho**5 * wave(5, p[12])
        + p[13] * rho**6 * wave(6, p[14])
    )
    radius = r0 * d
    return radius, np.degrees(np.arctan(radius / g["Lsd"])), eta


def random_geometry(rng: np.random.Generator) -> dict:
    return {
        "Lsd": rng.uniform(1e5, 2e6),
        "BC": tuple(rng.uniform(-500, 2500, 2)),
        "px": rng.uniform(50, 200),
        "tx": rng.uniform(-180, 180),
        "ty": rng.uniform(-30, 30),
        "tz": rng.uniform(-30, 30),
        "RhoD": rng.uniform(1e5, 3e5),
        "p": {n: rng.uniform(-180, 180) if n in PHASES else rng.normal(0, 3e-3) for n in DISTORTION_NAMES},
    }


def projection(g: dict) -> _core.Projection:
    return _core.Projection(
        distance=g["Lsd"],
        beam_y=g["BC"][0],
        beam_z=g["BC"][1],
        pixel_size=g["px"],
        tilts=[g["tx"], g["ty"], g["tz"]],
        distortion=distortion_coefficients(g["p"]).tolist(),
        distortion_radius=g["RhoD"],
    )


def simple(**changes: object) -> dict:
    return {
        "Lsd": 1e6,
        "BC": (100.0, 50.0),
        "px": 200.0,
        "tx": 0.0,
        "ty": 0.0,
        "tz": 0.0,
        "RhoD": 2e5,
        "p": {},
    } | changes


def pixels(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return rng.uniform(0, 2048, N_PIXELS), rng.uniform(0, 2048, N_PIXELS)


def test_matches_the_equations_with_every_term(rng, n_threads):
    compared = 0
    for _ in range(N_GEOMETRIES):
        g = random_geometry(rng)
        y, z = pixels(rng)
        found = projection(g).to_polar(y, z, n_threads=n_threads)
        expected = reference(g, y, z)
        visible = np.isfinite(found[0])
        compared += visible.sum()
        for f, e in zip(found, expected, strict=True):
            np.testing.assert_allclose(f[visible], e[visible], rtol=1e-12, atol=1e-12)
    assert compared > 0.9 * N_GEOMETRIES * N_PIXELS


@pytest.mark.parametrize("name", [f"p{i}" for i in (0, 1, 2, 4, 5, 7, 9, 11, 13)])
def test_each_distortion_term_moves_the_radius_as_the_text_says(name, rng):
    g = simple(p={name: 0.01})
    y, z = pixels(rng)
    radius = projection(g).to_polar(y, z)[0]
    np.testing.assert_allclose(radius, reference(g, y, z)[0], rtol=1e-12)
    assert np.abs(radius - reference(simple(), y, z)[0]).max() > 1.0  # um: the term is there at all


def test_eta_is_zero_up_and_ninety_toward_increasing_column():
    y = np.array([100.0, 110.0, 100.0, 90.0])
    z = np.array([60.0, 50.0, 40.0, 50.0])
    radius, two_theta, eta = projection(simple()).to_polar(y, z)
    np.testing.assert_allclose(radius, 2000.0, rtol=1e-14)  # um: ten pixels of 200
    np.testing.assert_allclose(two_theta, np.degrees(np.arctan(2e-3)), rtol=1e-14)
    assert eta.tolist() == [0.0, 90.0, -180.0, -90.0]


def test_a_tilt_about_y_by_hand():
    # Ry(30) turns (0, 0, zc) into (zc sin 30, 0, zc cos 30); projected at L: L / (L + zc/2) * zc cos 30.
    zc = 1000 * 200.0
    radius, _, eta = projection(simple(ty=30.0)).to_polar(np.array([100.0]), np.array([1050.0]))
    assert radius[0] == pytest.approx(1e6 / (1e6 + zc / 2) * zc * np.cos(np.pi / 6), rel=1e-14)
    assert eta[0] == 0.0


def test_rotation_about_the_beam_shifts_eta(rng):
    # tx is a right-handed rotation about +X: it carries +Y to +Z, and eta = atan2(-Y, Z) falls by tx.
    y, z = pixels(rng)
    radius, _, eta = projection(simple()).to_polar(y, z)
    turned = projection(simple(tx=25.0)).to_polar(y, z)
    np.testing.assert_allclose(turned[0], radius, rtol=1e-13)
    shift = (turned[2] - eta + 180.0) % 360.0 - 180.0
    np.testing.assert_allclose(np.abs(shift), 25.0, atol=1e-10)
    assert len(np.unique(np.sign(shift))) == 1
    np.testing.assert_allclose(turned[2], reference(simple(tx=25.0), y, z)[2], atol=1e-10)


def test_round_trip(rng, n_threads):
    compared = 0
    for _ in range(N_GEOMETRIES):
        g = random_geometry(rng)
        y, z = pixels(rng)
        p = projection(g)
        radius, _, eta = p.to_polar(y, z)
        # RhoD reaches the farthest corner, so rho is at most 1. Far beyond, these distortions fold over: two pixels
        # share a radius, and either is an answer.
        once = np.isfinite(radius) & (reference(g | {"p": {}}, y, z)[0] / g["RhoD"] < 1.0)
        compared += once.sum()
        back = p.to_pixel(radius[once], eta[once], n_threads=n_threads)
        np.testing.assert_allclose(back[0], y[once], atol=1e-7)  # px
        np.testing.assert_allclose(back[1], z[once], atol=1e-7)
    assert compared > 0.5 * N_GEOMETRIES * N_PIXELS


def _nudged(g: dict, k: int, step: float) -> _core.Projection:
    keys = ("Lsd", "BC0", "BC1", "tx", "ty", "tz")
    g = g | {"BC": list(g["BC"])}
    coefficients = distortion_coefficients(g["p"])
    if k >= len(keys):
        coefficients[k - len(keys)] += step
    elif keys[k].startswith("BC"):
        g["BC"][int(keys[k][2])] += step
    else:
        g[keys[k]] += step
    return _core.Projection(
        distance=g["Lsd"],
        beam_y=g["BC"][0],
        beam_z=g["BC"][1],
        pixel_size=g["px"],
        tilts=[g["tx"], g["ty"], g["tz"]],
        distortion=coefficients.tolist(),
        distortion_radius=g["RhoD"],
    )


def test_gradient_equals_numeric_differences(rng):
    steps = [10.0, 1e-3, 1e-3, 1e-4, 1e-4, 1e-4] + [1e-4] * 15
    for _ in range(N_GEOMETRIES):
        g = random_geometry(rng)
        y, z = pixels(rng)
        # Near the beam the direction turns too fast for a difference quotient.
        far = reference(g, y, z)[0] > 100 * g["px"]
        y, z = y[far], z[far]
        gradient = projection(g).radius_gradient(y, z)
        for k, step in enumerate(steps):
            up = _nudged(g, k, step).to_polar(y, z, n_threads=1)[0]
            down = _nudged(g, k, -step).to_polar(y, z, n_threads=1)[0]
            numeric = (up - down) / (2 * step)
            scale = np.abs(numeric).max()
            np.testing.assert_allclose(gradient[:, k], numeric, atol=2e-6 * scale, rtol=1e-5, err_msg=f"parameter {k}")


def test_every_thread_count_gives_the_same_bytes(rng):
    p = projection(random_geometry(rng))
    y, z = rng.uniform(0, 2048, (2, 10_001))
    one = [a.tobytes() for a in p.to_polar(y, z, n_threads=1)]
    radius, _, eta = p.to_polar(y, z)
    back = [a.tobytes() for a in p.to_pixel(radius, eta, n_threads=1)]
    for n in (2, 7):
        assert [a.tobytes() for a in p.to_polar(y, z, n_threads=n)] == one
        assert [a.tobytes() for a in p.to_pixel(radius, eta, n_threads=n)] == back


def test_behind_the_sample_is_nan():
    # Ry(80): a pixel far below the beam stands at a = zc sin 80 < -L.
    p = projection(simple(Lsd=1e4, ty=80.0))
    out = p.to_polar(np.array([100.0]), np.array([-2000.0]))
    assert all(np.isnan(a[0]) for a in out)
    assert np.isnan(p.radius_gradient(np.array([100.0]), np.array([-2000.0]))).all()


@pytest.mark.parametrize("name", ["Lsd", "px", "RhoD"])
@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
def test_impossible_lengths_are_refused(name, value):
    with pytest.raises(GeometryError, match="expected a finite length above zero"):
        projection(simple(**{name: value}))


def test_a_tilt_that_is_not_a_number_is_refused():
    with pytest.raises(GeometryError, match="finite"):
        projection(simple(ty=np.nan))


def test_unequal_lengths_and_other_dtypes_are_refused():
    p = projection(simple())
    with pytest.raises(InputError, match="2 and 3"):
        p.to_polar(np.zeros(2), np.zeros(3))
    with pytest.raises(TypeError):
        p.to_polar(np.zeros(2, dtype=np.float32), np.zeros(2))
