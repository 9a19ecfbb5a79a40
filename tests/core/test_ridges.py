"""Ridge points of the core: where lines pass, and in which direction."""

from __future__ import annotations

import numpy as np
import pytest

from midas import _core
from midas.errors import InputError

OPTIONS = {"scale": 1.3, "orientation": 2.5, "threshold": 4.0, "coherence": 0.3}


def ridges(image, blocked=None, n_threads=1, **changes):
    image = np.ascontiguousarray(image, dtype=np.float32)
    blocked = np.zeros(image.shape, dtype=np.uint8) if blocked is None else blocked
    return _core.find_ridges(image, blocked, **(OPTIONS | changes), n_threads=n_threads)


def line(angle_deg, offset, shape=(80, 90), height=20.0):
    """A straight line whose normal points at an angle from the columns, at a distance from the origin."""
    z, y = np.mgrid[: shape[0], : shape[1]]
    angle = np.radians(angle_deg)
    across = y * np.cos(angle) + z * np.sin(angle) - offset
    return height * np.exp(-0.5 * (across / 1.2) ** 2)


@pytest.mark.parametrize(("angle", "offset"), [(0.0, 40.3), (90.0, 33.8), (30.0, 50.0), (135.0, 5.25)])
def test_points_lie_on_a_line_and_know_its_normal(angle, offset):
    y, z, ny, nz, strength = ridges(line(angle, offset))
    direction = np.radians(angle)
    inner = (y > 6) & (y < 83) & (z > 6) & (z < 73)
    assert inner.sum() > 40
    across = y * np.cos(direction) + z * np.sin(direction) - offset
    np.testing.assert_allclose(across[inner], 0.0, atol=0.08)  # px: one Newton step from the cell's centre
    np.testing.assert_allclose(np.abs(ny * np.cos(direction) + nz * np.sin(direction))[inner], 1.0, atol=1e-3)
    assert (strength > 4.0).all()


def test_a_circle_gives_its_own_radius():
    z, y = np.mgrid[:120, :120]
    image = 10.0 * np.exp(-0.5 * ((np.hypot(y - 60.4, z - 58.7) - 40.0) / 1.5) ** 2)
    py, pz, *_ = ridges(image)
    radius = np.hypot(py - 60.4, pz - 58.7)
    # The crest of a smoothed circle lies inside by about sigma^2 / 2R: 0.02 px here.
    np.testing.assert_allclose(radius, 40.0, atol=0.11)  # px, one Newton step at the worst
    assert np.median(radius) == pytest.approx(40.0, abs=0.04)


def test_a_spot_is_one_point_without_a_normal():
    z, y = np.mgrid[:60, :60]
    image = 30.0 * np.exp(-0.5 * ((y - 31.3) ** 2 + (z - 27.6) ** 2) / 1.5**2)
    found = ridges(image)
    spots = (found[2] == 0.0) & (found[3] == 0.0)
    assert spots.sum() == 1
    np.testing.assert_allclose(found[:2, spots][:, 0], [31.3, 27.6], atol=0.05)


def test_the_flank_of_a_spot_is_no_ridge():
    z, y = np.mgrid[:80, :120]
    # A streak that fades along itself, as a spot's tails do: log-compressed, 0.6 a cell.
    streak = np.maximum(25.0 - 0.6 * np.abs(y - 60.0), 0.0) * np.exp(-0.5 * ((z - 40.0) / 1.2) ** 2)
    flank = np.abs(ridges(streak)[0] - 60.0) > 8.0
    assert not flank.any()


def test_noise_has_few_ridges_and_blocked_cells_none():
    image = np.random.default_rng(7).normal(size=(200, 200))
    image[:, 100] += 20.0
    blocked = np.zeros(image.shape, dtype=np.uint8)
    blocked[:100] = 1
    y, z, *_ = ridges(image, blocked)
    assert (z >= 99.4).all()
    assert (np.abs(y - 100.0) < 1.0).mean() > 0.8


def test_threads_do_not_change_the_points():
    image = line(20.0, 40.0) + np.random.default_rng(7).normal(size=(80, 90))
    one = ridges(image)
    for n in (2, 7):
        np.testing.assert_array_equal(ridges(image, n_threads=n), one)


def test_impossible_input_is_refused():
    with pytest.raises(InputError, match="same number"):
        ridges(np.zeros((20, 20)), np.zeros((10, 10), dtype=np.uint8))
    with pytest.raises(InputError, match="scales"):
        ridges(np.zeros((20, 20)), scale=0.0)
