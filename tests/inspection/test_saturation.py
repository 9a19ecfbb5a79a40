"""Saturated pixels are said to be so; gaps, dead and hot pixels are not."""

from __future__ import annotations

import numpy as np
import pytest

import midas
from midas.inspection.saturation import find_saturation
from midas.io.image_source import valid_mask

SHAPE = (500, 480)
Z, Y = np.mgrid[: SHAPE[0], : SHAPE[1]]
RADIUS = np.hypot(Z - 250, Y - 235)
RINGS = sum(np.exp(-0.5 * ((RADIUS - r) / 2.5) ** 2) for r in range(40, 240, 40))


def counts(background: float, height: float) -> np.ndarray:
    return np.random.default_rng(7).poisson(background + height * RINGS)


def found(image: np.ndarray):
    return find_saturation(image, valid_mask(image))


@pytest.mark.parametrize(
    ("background", "height", "limit", "dtype"),
    [
        (30000, 60000, 65535, "u2"),  # a background so bright that the rings are not five times as bright
        (3000, 90000, 65535, "u2"),
        (20, 400, 255, "u1"),
        (20, 400, 300, "u2"),
        (20, 400, 300, "f4"),
        (3000, 60000, 16383, "u2"),
        (3000, 90000, 65534, "u2"),
        (500, 60000, 4095, "i4"),
    ],
)
def test_rings_at_one_largest_value_are_saturated(tmp_path, background, height, limit, dtype):
    image = counts(background, height)
    clipped = np.minimum(image, limit).astype(dtype)
    share = float((image >= limit).mean())
    assert share > 0.03
    result = found(clipped)
    assert result.value == limit
    assert result.share == pytest.approx(share, rel=0.02)  # noise leaves single pixels out
    np.save(tmp_path / "a.npy", clipped)
    (problem,) = [p for p in midas.inspect(tmp_path / "a.npy").problems if "saturated" in p]
    assert f"(largest value {limit})" in problem


def test_rings_that_only_just_reach_the_limit_are_seen():
    image = counts(200, 4500)
    share = float((image >= 4800).mean())
    assert 0.0 < share < 1e-3
    assert found(np.minimum(image, 4800).astype(np.uint16)).share > 0.5 * share


@pytest.mark.parametrize("mean", [0.01, 0.1, 1.0, 10.0, 300.0])
def test_noise_is_not(mean):
    assert found(counts(mean, 0).astype(np.uint16)).share == 0.0
    assert found(counts(mean, 5 * mean).astype(np.uint32)).share == 0.0


def spoiled(kind: str, value: int) -> np.ndarray:
    image = counts(20, 400).astype(np.uint16)
    if kind == "gaps":
        image[150:170] = image[:, 200:210] = image[:4] = image[:, -4:] = value
    elif kind == "part of a gap":
        image[150:170, 100:350] = value
    elif kind == "dead chip":
        image[300:380, 300:380] = value
    elif kind == "round sensor":
        image[RADIUS > 200] = value  # it ends amid a ring
    elif kind == "hot pixels":
        image.flat[np.random.default_rng(3).integers(0, image.size, 500)] = value
    return image


@pytest.mark.parametrize("value", [16383, 65535])
@pytest.mark.parametrize("kind", ["gaps", "part of a gap", "dead chip", "round sensor", "hot pixels"])
def test_gaps_and_bad_pixels_are_not(kind, value):
    assert found(spoiled(kind, value)).share == 0.0


def test_saturated_rings_across_gaps_are():
    image = np.minimum(counts(3000, 90000), 65535)
    share = float((image == 65535).mean())
    image[150:170] = image[:, 200:210] = 65535
    assert found(image.astype(np.uint16)).share == pytest.approx(share, rel=0.15)  # the gaps hide some


@pytest.mark.parametrize("name", ["ceo2_ge_80p725keV.tif", "ceo2_pilatus1m.tif"])
def test_measured_images_are_not_until_they_are_clipped(name, shared_data):
    image = midas.read_image(shared_data / name)
    assert found(image).share == 0.0
    for limit in (300, 1000, 16383 if image.max() > 16383 else 4095):
        assert found(np.minimum(image, limit)).value == limit
