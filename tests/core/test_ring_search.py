"""Votes, scores and the polish of the core on points with known geometry."""

from __future__ import annotations

import math

import numpy as np
import pytest

import midas
from midas import _core
from midas.errors import InputError

TANGENT = np.tan(np.radians([3.0, 4.2, 5.0, 6.1, 7.4, 8.0, 9.5, 11.0]))
BRIGHT = np.ones_like(TANGENT)
SHAPE = (300, 320)
LEVEL = {"faintest": (0.03,), "sigma": 1.2}


def geometry(tilts=(0.0, 0.0), center=(150.0, 140.0), distance=800.0):
    """A geometry in cells: pixel size 1 µm, distances in µm above the library's least (1000), so scaled."""
    return midas.Geometry(
        distance=distance * 100.0, beam_center=center, pixel_size=100.0, wavelength=0.2, tilts=(0.0, *tilts)
    )


def row(g):
    return np.array([[g.distance / 100.0, *g.beam_center, *g.tilts[1:]]])


def points_of(g, n=150, noise=0.0, seed=7, tangent=TANGENT):
    """Points on rings with their true normals, those on the panel alone: shape (5, m)."""
    rng = np.random.default_rng(seed)
    radius = np.repeat(g.distance / g.pixel_size * tangent, n) + rng.normal(size=n * len(tangent)) * noise
    eta = rng.uniform(-180.0, 180.0, len(radius))
    y, z = g.to_pixel(radius, eta)
    outer_y, outer_z = g.to_pixel(radius, eta + 0.01)
    ny, nz = outer_z - z, -(outer_y - y)
    length = np.hypot(ny, nz)
    on = (y > 0) & (y < SHAPE[1]) & (z > 0) & (z < SHAPE[0])
    return np.ascontiguousarray(np.stack([y, z, ny / length, nz / length, np.ones_like(y)])[:, on])


def area(step=6):
    z, y = np.mgrid[: SHAPE[0] : step, : SHAPE[1] : step]
    return np.stack([y.ravel(), z.ravel(), np.full(y.size, float(step * step))]).astype(np.float64)


@pytest.mark.parametrize("tilts", [(0.0, 0.0), (30.0, 0.0), (-12.0, 25.0)])
def test_votes_meet_at_the_beam_for_the_right_tilt(tilts):
    g = geometry(tilts)
    ty, tz = np.radians(tilts)
    right = [math.cos(ty) * math.sin(tz), math.sin(ty), 1.0 / 800.0, -320.0, -300.0]
    wrong = [0.0, 0.0, 0.0, -320.0, -300.0]
    found = _core.vote_centers(points_of(g), np.array([right, wrong]), shape=(300, 320), cell=3.0, n_threads=1)
    assert math.dist(found[0, :2], g.beam_center) < 3.0  # a cell
    if any(tilts):
        assert found[0, 2] > 1.3 * found[1, 2]


def test_points_without_a_normal_do_not_vote():
    points = points_of(geometry())
    points[2:4] = 0.0
    guess = np.array([[0.0, 0.0, 0.0, -320.0, -300.0]])
    assert _core.vote_centers(points, guess, shape=(300, 320), cell=3.0)[0, 2] == 0.0


def test_exact_normals_aim_at_the_beam():
    g = geometry((8.0, -4.0))
    start = row(geometry((8.0, -4.0), (159.0, 130.0)))
    found = _core.aim_beams(start, points_of(g), tilts=False)[0]
    assert found[1:3] == pytest.approx((150.0, 140.0), abs=1e-3)  # the normals are chords of 0.01 deg
    np.testing.assert_array_equal(found[[0, 3, 4]], start[0, [0, 3, 4]])


def test_exact_normals_know_a_strong_tilt():
    g = geometry((22.0, -14.0))
    start = row(geometry((15.0, -20.0), (159.0, 130.0), 1000.0))
    found = _core.aim_beams(start, points_of(g), tilts=True)[0]
    assert found[1:3] == pytest.approx((150.0, 140.0), abs=0.5)  # cells; the prior pulls a little
    assert found[3:] == pytest.approx((22.0, -14.0), abs=0.5)  # deg


def test_distances_pile_up_around_the_beam():
    points = points_of(geometry(), noise=0.3)
    points[2:4] = 0.0
    y, z = np.meshgrid(np.arange(90.0, 211.0, 6.0), np.arange(80.0, 201.0, 6.0))
    centers = np.column_stack([y.ravel(), z.ravel()])
    sharp = _core.center_sharpness(points, centers, bin=6.0)
    np.testing.assert_array_equal(centers[np.argmax(sharp)], (150.0, 140.0))


def test_the_sharpness_is_the_sum_written_down():
    # Four points at 50 px from the centre fill bin 25 of 27 (none lies beyond 50 px): m = 4/9 in bins 21 to 26.
    points = np.zeros((5, 4))
    points[0], points[1], points[4] = [50.0, -50.0, 0.0, 0.0], [0.0, 0.0, 50.0, -50.0], 1.0
    sharp = _core.center_sharpness(points, np.array([[0.0, 0.0]]), bin=2.0)[0]
    mean = 4.0 / 9.0
    assert sharp == pytest.approx((4.0 - mean) ** 2 / (mean + 1.0) + 5.0 * mean**2 / (mean + 1.0))


def test_the_score_is_the_sum_written_down():
    # One ring seen of two predicted, both whole: half of the probability is lost to the ring that is not there.
    g = geometry(center=(160.0, 150.0))
    tangent = np.array([0.1, 0.15])  # 80 and 120 cells: circles inside the panel
    points = points_of(g, n=400, tangent=tangent[:1])
    sigma, level = 1.2, 0.03
    score = _core.score_geometries(
        row(g), points, area(2), tangent, np.ones(2), faintest=(level,), sigma=sigma, n_threads=1
    )[0]
    s = math.hypot(sigma, 5e-4 * 80.0)
    density = SHAPE[0] * SHAPE[1] / (2.0 * math.pi * (80.0 + 120.0)) / (s * math.sqrt(2.0 * math.pi))
    expected = points.shape[1] * math.log(0.95 * density + 0.05)
    assert score[0] == pytest.approx(expected, rel=0.03)  # the usable area by radius is known to that from samples
    assert score[2] == 0.95


def test_the_true_geometry_scores_best_and_a_missing_ring_costs():
    g = geometry()
    points = points_of(g, noise=0.5)
    trials = np.vstack(
        [row(g), row(geometry(distance=830.0)), row(geometry(distance=400.0)), row(geometry((9.0, 0.0)))]
    )
    scores = _core.score_geometries(trials, points, area(), TANGENT, BRIGHT, **LEVEL)
    assert (scores[0, 0] > scores[1:, 0] + 50.0).all()
    more = np.sort(np.append(TANGENT, np.tan(np.radians([3.5, 5.5]))))
    assert (
        _core.score_geometries(trials[:1], points, area(), more, np.ones_like(more), **LEVEL)[0, 0]
        < scores[0, 0] - 0.1 * points.shape[1]
    )


def test_strewn_points_score_no_better_than_chance():
    rng = np.random.default_rng(7)
    angle = rng.uniform(0.0, math.pi, 2000)
    points = np.stack(
        [rng.uniform(0, SHAPE[1], 2000), rng.uniform(0, SHAPE[0], 2000), np.cos(angle), np.sin(angle), np.ones(2000)]
    )
    trials = np.vstack([row(geometry(distance=d)) for d in np.geomspace(300.0, 3000.0, 40)])
    scores = _core.score_geometries(trials, points, area(), TANGENT, BRIGHT, **LEVEL)
    assert (scores[:, 0] < 15.0).all()
    assert (scores[:, 1] < 15.0).all()


def test_scores_of_distances_are_scores_of_geometries():
    g = geometry((10.0, -5.0))
    points = points_of(g, noise=0.5)
    distances = np.array([799.0, 800.0, 801.0])
    rows = np.repeat(row(g), 3, axis=0)
    rows[:, 0] = distances
    many = _core.score_geometries(rows, points, area(), TANGENT, BRIGHT, **LEVEL)
    one = _core.score_distances(row(g), distances, points, area(), TANGENT, BRIGHT, **LEVEL)
    # The usable area by radius is that of the middle one.
    np.testing.assert_allclose(one, many, rtol=0.01)
    np.testing.assert_allclose(one[1], many[1], rtol=1e-12)


@pytest.mark.parametrize("tilts", [(0.0, 0.0), (4.0, -6.0), (-12.0, 25.0), (37.0, 0.0)])
def test_the_polish_finds_the_geometry_from_near_it(tilts):
    g = geometry(tilts)
    start = row(geometry((0.8 * tilts[0], 0.9 * tilts[1]), (153.0, 138.0), 810.0))
    points = points_of(g, noise=0.3)
    found = _core.polish_geometries(
        start, points, area(), TANGENT, BRIGHT, faintest=(0.03,), sigma=(3.0, 1.0), rings_first=4
    )[0]
    assert found[0] == pytest.approx(800.0, rel=2e-3)
    assert found[1:3] == pytest.approx((150.0, 140.0), abs=0.3)  # cells
    assert found[3:] == pytest.approx(tilts, abs=0.3)  # deg


def test_threads_do_not_change_votes_scores_or_the_polish():
    g = geometry((5.0, 0.0))
    points = points_of(g, noise=0.5)
    starts = np.vstack([row(geometry(distance=d)) for d in (780.0, 800.0, 820.0)])
    guesses = np.tile([0.0, 0.0, 0.0, -320.0, -300.0], (3, 1))
    distances = np.geomspace(500.0, 1500.0, 50)
    results = [
        (
            _core.vote_centers(points, guesses, shape=(100, 100), cell=9.0, n_threads=n),
            _core.aim_beams(starts, points, tilts=True, n_threads=n),
            _core.center_sharpness(points, starts[:, 1:3].copy(), bin=3.0, n_threads=n),
            _core.score_geometries(starts, points, area(), TANGENT, BRIGHT, **LEVEL, n_threads=n),
            _core.score_distances(row(g), distances, points, area(), TANGENT, BRIGHT, **LEVEL, n_threads=n),
            _core.polish_geometries(
                starts, points, area(), TANGENT, BRIGHT, faintest=(0.03,), sigma=(3.0, 1.0), rings_first=4, n_threads=n
            ),
        )
        for n in (1, 2, 7)
    ]
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_impossible_input_is_refused():
    g = geometry()
    points = points_of(g)
    with pytest.raises(InputError, match="ascend"):
        _core.score_geometries(row(g), points, area(), TANGENT[::-1].copy(), BRIGHT, **LEVEL)
    with pytest.raises(InputError, match="two rings"):
        _core.score_geometries(row(g), points, area(), TANGENT[:1], BRIGHT[:1], **LEVEL)
    with pytest.raises(InputError, match="sigma"):
        _core.score_geometries(row(g), points, area(), TANGENT, BRIGHT, faintest=(0.1,), sigma=0.0)
    with pytest.raises(InputError, match="faintness"):
        _core.score_geometries(row(g), points, area(), TANGENT, BRIGHT, faintest=(), sigma=1.0)
    with pytest.raises(InputError, match="5 entries"):
        _core.polish_geometries(
            row(g)[:, :4].copy(), points, area(), TANGENT, BRIGHT, faintest=(0.1,), sigma=(3.0, 1.0), rings_first=4
        )
    with pytest.raises(InputError, match="no ridge points"):
        _core.score_geometries(row(g), points[:, :0].copy(), area(), TANGENT, BRIGHT, **LEVEL)
    with pytest.raises(InputError, match="wider than 0"):
        _core.center_sharpness(points, np.zeros((1, 2)), bin=0.0)
    with pytest.raises(InputError, match="ascend"):
        _core.score_distances(row(g), [2.0, 1.0], points, area(), TANGENT, BRIGHT, **LEVEL)
