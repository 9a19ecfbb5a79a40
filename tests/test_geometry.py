"""midas.Geometry: what it accepts, what it refuses, and that nothing is lost on the way to the core."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest

import midas
from midas.errors import GeometryError, InputError
from midas.geometry import DISTORTION_NAMES, PHASES, distortion_coefficients, distortion_parameters

GOOD = {"distance": 1e6, "beam_center": (1030.0, 1007.0), "pixel_size": 200.0, "wavelength": 0.1536}


def geometry(**changes) -> midas.Geometry:
    return midas.Geometry(**{**GOOD, **changes})


def test_polar_and_pixel_are_inverse_in_pixels(n_threads):
    g = geometry(
        tilts=(0.0, 1.0, -2.0), distortion={"p0": 1e-3, "p1": 2e-3, "p2": -1e-3, "p3": 40}, distortion_radius=2.9e5
    )
    z, y = np.mgrid[0:2048:64, 0:2048:64].astype(float)
    radius, two_theta, eta = g.to_polar(y, z, n_threads=n_threads)
    assert radius.shape == two_theta.shape == eta.shape == y.shape
    back_y, back_z = g.to_pixel(radius, eta, n_threads=n_threads)
    np.testing.assert_allclose(back_y, y, atol=1e-8)
    np.testing.assert_allclose(back_z, z, atol=1e-8)
    np.testing.assert_allclose(g.two_theta_of(radius), two_theta, atol=1e-12)
    np.testing.assert_allclose(g.radius_of(two_theta), radius, atol=1e-8)


def test_broadcasts_and_takes_integers():
    radius, _, _ = geometry().to_polar(np.arange(3)[None, :], np.arange(2)[:, None])
    assert radius.shape == (2, 3)
    assert radius[0, 0] == pytest.approx(np.hypot(1030, 1007))


def test_distortion_survives_the_way_to_the_core_and_back(rng):
    p = {
        name: float(v) for name, v in zip(DISTORTION_NAMES, rng.uniform(1e-4, 1e-2, len(DISTORTION_NAMES)), strict=True)
    }
    p |= {name: float(rng.uniform(-179, 179)) for name in sorted(PHASES, key=DISTORTION_NAMES.index)}
    back = distortion_parameters(distortion_coefficients(p))
    assert back == pytest.approx(p, rel=1e-12)


def test_a_negative_amplitude_without_phase_stays_negative():
    assert distortion_parameters(distortion_coefficients({"p0": -1e-4}))["p0"] == -1e-4


@pytest.mark.parametrize(
    "change",
    [
        {"distance": "1e6"}, {"pixel_size": None}, {"wavelength": "0.18"}, {"parallax": "a"}, {"distortion": [1.0]},
        {"distortion": {"p0": "a"}}, {"distortion_radius": "a"}, {"image_transforms": 3}, {"image_transforms": ("a",)},
    ],
    ids=str,
)  # fmt: skip
def test_values_of_the_wrong_type_are_refused_in_a_sentence(change):
    with pytest.raises(midas.InputError, match=f"{next(iter(change))}.* (is|are) .*; expected"):
        geometry(**change)


def test_is_frozen_and_pickles():
    g = geometry(distortion={"p2": 1e-3}, distortion_radius=2.9e5, image_transforms=(2, 0, 3))
    with pytest.raises(dataclasses.FrozenInstanceError):
        g.distance = 1.0
    with pytest.raises(TypeError):
        g.distortion["p2"] = 0.0
    g.to_polar(0.0, 0.0)  # the compiled form is made, and must not travel
    copy = pickle.loads(pickle.dumps(g))
    for field in dataclasses.fields(g):
        assert getattr(copy, field.name) == getattr(g, field.name), field.name
    assert copy.image_transforms == (2, 3)
    assert copy.to_polar(5.0, 6.0)[0] == g.to_polar(5.0, 6.0)[0]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"distance": 0.21}, GeometryError, "looks like metres; midas takes µm"),
        ({"distance": 210.0}, GeometryError, "looks like mm"),
        ({"distance": float("nan")}, GeometryError, "out of range"),
        ({"pixel_size": 0.2}, GeometryError, "metres or mm"),
        ({"wavelength": 80.7}, GeometryError, "energy in keV"),
        ({"wavelength": 1.5e-11}, GeometryError, "metres"),
        ({"beam_center": (1.0,)}, InputError, "expected 2 finite numbers"),
        ({"beam_center": (1.0, float("nan"))}, InputError, "finite"),
        ({"beam_center": "ab"}, InputError, "expected 2 numbers"),
        ({"tilts": (0.0, 95.0, 0.0)}, GeometryError, "between -90 and 90"),
        ({"distortion": {"p99": 1.0}}, InputError, r"expected p0\.\.p\d+"),
        ({"distortion": {"p2": 1e-3}}, GeometryError, "RhoD"),
        ({"distortion": {"p2": 1e-3}, "distortion_radius": 1448.0}, GeometryError, "looks like px"),
        ({"image_transforms": (4,)}, InputError, "transform 4"),
        ({"panels": 1}, InputError, "expected midas.Panels"),
        ({"parallax": 2e4}, GeometryError, "parallax is 20000"),
    ],
)
def test_bad_values_are_refused_in_a_sentence(change, error, message):
    with pytest.raises(error, match=message):
        geometry(**change)
