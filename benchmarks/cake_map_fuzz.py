"""Random small geometries, grids and masks: the map's areas against areas worked out a second time, none off.

    python benchmarks/cake_map_fuzz.py --cases 100000 --jobs 2 --seed 7

Nothing of the map is used for the second answer, nor of the core's geometry. Pixels go through the detector model
written in numpy; each mapped quadrilateral is two triangles; the area of a triangle inside a circle and between two
rays is the integral of the length of vertical chords, min(upper) - max(lower) over three edges, two rays and the
circle, cut where any two of these meet and done by Gauss-Legendre points in between (x = m + h (3 t - t^3) / 2, which
smooths the circle's vertical tangents). Where the map sums arcs and triangles along edges, this integrates an area.

What may differ, for a pixel in a bin: areas are stored in single precision, parts below 1e-9 px^2 are left out, the
integral is good to 1e-9 px^2 and rounding is some units in the last place of the square of the radius. Frames of random
dtype, with marks of bad pixels, dark and correction, are compared with the sparse matrix in double: sums within a tile
are single precision, so a bin of n entries may be off by n 2^-24 of its sum of absolute values.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import math
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
from scipy import sparse

from midas import CakeGrid, Detector, Geometry, InputError, PanelLayout, Panels, build_map
from midas.cake import CakeMap
from midas.cake.pixels import FrameInput

Array = np.ndarray

HARMONICS = (("p7", "p8", 4, 1), ("p0", "p6", 2, 2), ("p9", "p10", 3, 3), ("p1", "p3", 4, 4), ("p11", "p12", 5, 5),
             ("p13", "p14", 6, 6))  # fmt: skip
RADIAL = (("p2", 2), ("p5", 4), ("p4", 6))
DTYPES = ("uint8", "uint16", "uint32", "int16", "int32", "float32", "float64", "int64", "float16")
WIDEST = math.radians(100.0)  # of a wedge that is convex with room to spare
BUDGET = 1000  # triangles times rays and circles, roughly


@dataclass(frozen=True, eq=False)
class Case:
    """What a map is built from, and its edges [px, rad]."""

    geometry: Geometry
    detector: Detector
    grid: CakeGrid
    radii: Array
    etas: Array
    n_threads: int


def corners(g: Geometry, shape: tuple[int, int]) -> Array:
    """Return the corners (u, v) = R (cos eta, sin eta) [px] of every pixel, shape (n_z, n_y, 4, 2); NaN behind."""
    z, y = np.mgrid[0 : shape[0], 0 : shape[1]]
    at_y = y[..., None] + np.array([-0.5, 0.5, 0.5, -0.5])
    at_z = z[..., None] + np.array([-0.5, -0.5, 0.5, 0.5])
    forward = p2 = 0.0
    if g.panels is not None:
        table, layout = g.panels.table, g.panels.layout
        panel = nearest_span(layout.columns, y) * len(layout.rows) + nearest_span(layout.rows, z)
        shift_y, shift_z, rotation, forward, p2 = (table[panel, k][..., None] for k in range(5))
        center = np.array([[0.5 * (c[0] + c[1]), 0.5 * (r[0] + r[1])] for c in layout.columns for r in layout.rows])
        cy, cz = center[panel, 0][..., None], center[panel, 1][..., None]
        cos, sin = np.cos(np.radians(rotation)), np.sin(np.radians(rotation))
        dy, dz = at_y - cy, at_z - cz
        at_y, at_z = cy + cos * dy - sin * dz + shift_y, cz + sin * dy + cos * dz + shift_z
    lab = turned(g.tilts) @ np.stack([np.zeros(at_y.size), (g.beam_center[0] - at_y).ravel() * g.pixel_size,
                                      (at_z - g.beam_center[1]).ravel() * g.pixel_size])  # fmt: skip
    a, b, c = (v.reshape(at_y.shape) for v in lab)
    depth = g.distance + a + forward
    with np.errstate(divide="ignore", invalid="ignore"):
        r0 = np.where(depth > 0.0, g.distance / depth, np.nan) * np.hypot(b, c)
    eta = np.arctan2(-b, c)
    r1 = r0 * distortion(g, r0, np.pi / 2 - eta, p2)
    radius = (r1 + g.parallax * np.sin(np.arctan(r1 / g.distance))) / g.pixel_size
    return np.stack([radius * np.cos(eta), radius * np.sin(eta)], axis=-1)


def nearest_span(spans: tuple[tuple[int, int], ...], pixels: Array) -> Array:
    """Return the span that holds each pixel, or the nearest; the later one of two as near."""
    away = np.stack([np.maximum(np.maximum(first - pixels, pixels - last), 0) for first, last in spans])
    return len(spans) - 1 - np.argmin(away[::-1], axis=0)


def turned(tilts: tuple[float, float, float]) -> Array:
    (cx, cy, cz), (sx, sy, sz) = np.cos(np.radians(tilts)), np.sin(np.radians(tilts))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_x @ about_y @ about_z


def distortion(g: Geometry, radius: Array, angle: Array, p2: Array | float) -> Array:
    rho = radius / (g.distortion_radius or 1e5)
    p = {f"p{i}": 0.0 for i in range(15)} | dict(g.distortion)
    d = 1.0 + p2 * rho**2
    for name, power in RADIAL:
        d = d + p[name] * rho**power
    for amplitude, phase, power, m in HARMONICS:
        d = d + p[amplitude] * rho**power * np.cos(m * angle + np.radians(p[phase]))
    return d


def clipped_areas(triangle: Array, rays: Array, radius: Array) -> Array:
    """Return the area of each triangle (n, 3, 2) between two rays (n, 2, 2) and inside a circle (n,)."""
    area = np.zeros(len(radius))
    # Points enough for 1e-9 px^2: the smaller a circle, the more of its bend is in one interval.
    for low, high, n_points in ((0.0, 1.0, 40), (1.0, 8.0, 14), (8.0, np.inf, 6)):
        chosen = (radius >= low) & (radius < high)
        at = np.flatnonzero(chosen)
        for some in np.array_split(at, max(1, len(at) // 4000)):
            if len(some):
                area[some] = chords(triangle[some], rays[some], radius[some], n_points)
    return area


def chords(triangle: Array, rays: Array, radius: Array, n_points: int) -> Array:
    # The triangle's middle is turned to +y: the circle is level there.
    middle = triangle.mean(axis=1)
    length = np.hypot(middle[:, 0], middle[:, 1])
    cos = np.where(length > 0, middle[:, 1] / np.where(length > 0, length, 1), 1.0)
    sin = np.where(length > 0, middle[:, 0] / np.where(length > 0, length, 1), 0.0)
    turn = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)
    t = np.einsum("nij,nkj->nki", turn, triangle)
    r = np.einsum("nij,nkj->nki", turn, rays)
    d, e = t[:, 1] - t[:, 0], t[:, 2] - t[:, 0]
    clockwise = d[:, 0] * e[:, 1] - d[:, 1] * e[:, 0] < 0.0
    t[clockwise] = t[clockwise][:, ::-1]
    step = np.roll(t, -1, axis=1) - t
    nx = np.concatenate([-step[..., 1], -r[:, :1, 1], r[:, 1:, 1]], axis=1)  # nx x + ny y >= c
    ny = np.concatenate([step[..., 0], r[:, :1, 0], -r[:, 1:, 0]], axis=1)
    c = np.zeros_like(nx)
    c[:, :3] = nx[:, :3] * t[..., 0] + ny[:, :3] * t[..., 1]
    x, half = intervals(t, nx, ny, c, radius)
    which, k = np.nonzero(half > 0.0)
    x, h = x[which, k], half[which, k]
    # No two bounds meet within an interval: those that hold in its middle hold all over it.
    steep = np.where(ny == 0.0, 1e-300, ny)
    with np.errstate(over="ignore"):
        bound = (c[which] - nx[which] * x[:, None]) / steep[which]
    up = (steep > 0.0)[which]
    reach = np.sqrt(np.maximum(radius[which] ** 2 - x**2, 0.0))[:, None]
    of_low = np.concatenate([np.where(up, bound, -np.inf), -reach], axis=1)
    of_high = np.concatenate([np.where(up, np.inf, bound), reach], axis=1)
    low, high = of_low.argmax(axis=1), of_high.argmin(axis=1)
    chord = np.take_along_axis(of_high, high[:, None], 1)[:, 0] - np.take_along_axis(of_low, low[:, None], 1)[:, 0]
    is_full = (chord > 0.0) & (np.abs(x) < radius[which])
    is_straight = (low < 5) & (high < 5)
    # Between straight lines the chord is linear: its middle does.
    parts = np.where(is_full & is_straight, 2.0 * h * chord, 0.0)
    bent = np.flatnonzero(is_full & ~is_straight)
    node, weight = legendre(n_points)
    at = x[bent, None] + h[bent, None] * (1.5 * node - 0.5 * node**3)
    arc = np.sqrt(np.maximum(radius[which[bent], None] ** 2 - at**2, 0.0))

    def line(number: Array) -> Array:
        i = np.minimum(number[bent], 4)
        place = which[bent], i
        return (c[place][:, None] - nx[place][:, None] * at) / steep[place][:, None]

    with np.errstate(over="ignore"):
        top = np.where(high[bent, None] < 5, line(high), arc)
        chord = np.maximum(top - np.where(low[bent, None] < 5, line(low), -arc), 0.0)
    parts[bent] = (h[bent, None] * chord * (weight * 1.5 * (1.0 - node**2))).sum(axis=1)
    return np.bincount(which, parts, len(radius))


@functools.cache
def legendre(n: int) -> tuple[Array, Array]:
    return np.polynomial.legendre.leggauss(n)


def intervals(t: Array, nx: Array, ny: Array, c: Array, radius: Array) -> tuple[Array, Array]:
    """Return middles and half widths between all places where two of the lines and the circle meet."""
    first, second = np.triu_indices(5, 1)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        cross = nx[:, first] * ny[:, second] - nx[:, second] * ny[:, first]
        lines = (c[:, first] * ny[:, second] - c[:, second] * ny[:, first]) / cross
        norm = np.hypot(nx, ny)
        foot, away = c * nx / norm**2, c / norm
        reach = np.sqrt(radius[:, None] ** 2 - away**2) * ny / norm
    low, high = t[..., 0].min(axis=1), t[..., 0].max(axis=1)
    cuts = np.concatenate([lines, foot - reach, foot + reach, -radius[:, None], radius[:, None], t[..., 0]], axis=1)
    cuts = np.clip(np.where(np.isfinite(cuts), cuts, low[:, None]), low[:, None], high[:, None])
    cuts.sort(axis=1)
    return 0.5 * (cuts[:, 1:] + cuts[:, :-1]), 0.5 * (cuts[:, 1:] - cuts[:, :-1])


def wedges(etas: Array) -> tuple[Array, Array]:
    """Return convex wedges, shape (n, 2, 2) as two rays each, and the eta bin that each is part of."""
    rays, bins = [], []
    for j, (low, high) in enumerate(itertools.pairwise(etas)):
        parts = np.linspace(low, high, 1 + math.ceil((high - low) / WIDEST))
        rays += [[[math.cos(a), math.sin(a)], [math.cos(b), math.sin(b)]] for a, b in itertools.pairwise(parts)]
        bins += [j] * (len(parts) - 1)
    return np.array(rays), np.array(bins)


def brute_force(case: Case, quads: Array) -> Array:
    """Return the area of each pixel in each bin, shape (n_pixels, n_radius * n_eta)."""
    quads = quads.reshape(-1, 4, 2)
    use = np.isfinite(quads).all(axis=(1, 2))
    if case.detector.mask is not None:
        use &= ~case.detector.mask.ravel()
    pixel = np.repeat(np.flatnonzero(use), 2)
    triangle = quads[use][:, [[0, 1, 2], [0, 2, 3]]].reshape(-1, 3, 2)
    side, other = triangle[:, 1] - triangle[:, 0], triangle[:, 2] - triangle[:, 0]
    signed = side[:, 0] * other[:, 1] - side[:, 1] * other[:, 0]
    sign = np.sign(signed) * np.repeat(np.sign(signed.reshape(-1, 2).sum(axis=1)), 2)
    distance = np.hypot(triangle[..., 0], triangle[..., 1])
    farthest = distance.max(axis=1) * (1 + 1e-12)
    longest = np.hypot(*np.moveaxis(np.roll(triangle, 1, axis=1) - triangle, -1, 0)).max(axis=1)
    nearest = np.maximum(distance.min(axis=1) - longest, 0.0)
    rays, zone = wedges(case.etas)
    # A triangle that meets a convex wedge has a corner on the inner side of each of its rays.
    beyond = rays[:, 0, 0, None, None] * triangle[..., 1] - rays[:, 0, 1, None, None] * triangle[..., 0]
    before = triangle[..., 0] * rays[:, 1, 1, None, None] - triangle[..., 1] * rays[:, 1, 0, None, None]
    w, t = np.nonzero((beyond.max(axis=-1) >= 0.0) & (before.max(axis=-1) >= 0.0))
    low = np.searchsorted(case.radii, nearest[t], side="right")
    high = np.maximum(np.searchsorted(case.radii, farthest[t], side="left"), low)
    n_edges = len(case.radii)
    count = high - low + 1  # and all of it, for the edge above
    pair = np.repeat(np.arange(len(t)), count)
    edge = low[pair] + np.arange(len(pair)) - np.repeat(np.cumsum(count) - count, count)
    whole = edge == high[pair]
    keep = edge < n_edges
    pair, edge, whole = pair[keep], edge[keep], whole[keep]
    circle = np.where(whole, 2.0 * farthest[t[pair]] + 1.0, case.radii[edge])
    area = sign[t[pair]] * clipped_areas(triangle[t[pair]], rays[w[pair]], circle)
    n_eta = len(case.etas) - 1
    n_bins = (n_edges - 1) * n_eta
    place = pixel[t[pair]] * n_bins + zone[w[pair]]
    found = np.zeros(len(quads) * n_bins)
    under, over = edge >= 1, ~whole & (edge < n_edges - 1)
    np.add.at(found, place[under] + (edge[under] - 1) * n_eta, area[under])
    np.add.at(found, place[over] + edge[over] * n_eta, -area[over])
    return found.reshape(len(quads), n_bins)


def random_case(rng: np.random.Generator) -> Case:
    """Return a case of any kind; a function of the generator's state alone."""
    large = rng.random() < 0.1
    rows, columns = (rng.integers(1, 20), rng.integers(25, 40)) if large else rng.integers(1, 9, 2)
    shape = (int(rows), int(columns))
    g = random_geometry(rng, shape)
    mask = None
    if rng.random() < 0.4:
        mask = rng.random(shape) < rng.choice([0.03, 0.4])
        mask[rng.integers(shape[0]), rng.integers(shape[1])] = False
    etas = random_etas(rng)
    quads = corners(g, shape)
    radius = np.hypot(quads[..., 0], quads[..., 1])
    finite = radius[np.isfinite(radius)]
    reach = float(np.clip(finite.max(initial=1.0), 0.5, 5e3))
    least = 0.0 if rng.random() < 0.5 else float(finite.min(initial=0.0))
    low, high = sorted((least * rng.choice([0.0, 0.9, 1.0, 1.05]), reach * rng.choice([0.7, 1.0, 1.01, 1.5])))
    high = max(high, low + 0.3)
    spent = 2 * quads[..., 0].size / 4 * min(len(etas), 4)
    most = max(1, int(BUDGET / spent * (reach - least + 1.0)))
    n_radius = int(np.clip(math.ceil(most ** rng.random()), 1, 400))
    unit = str(rng.choice(["px", "2theta", "q", "free"]))
    grid, radii = make_grid(rng, g, unit, np.linspace(low, high, n_radius + 1), etas)
    return Case(g, Detector(shape, g.pixel_size, mask=mask), grid, radii, np.radians(grid.eta_edges),
                some_threads(rng))  # fmt: skip


def some_threads(rng: np.random.Generator) -> int:
    return int(rng.choice([1, 1, 1, 1, 1, 1, 1, 2, 3]))  # a few: starting them takes longer than a small map


def random_geometry(rng: np.random.Generator, shape: tuple[int, int]) -> Geometry:
    pixel_size = float(rng.choice([25.0, 75.0, 172.0, 200.0]))
    inside = [rng.uniform(-0.5, n - 0.5) for n in shape[::-1]]
    center = [
        lambda: inside,
        lambda: [round(v) for v in inside],
        lambda: [math.floor(v) + 0.5 for v in inside],
        lambda: [round(inside[0]), math.floor(inside[1]) + 0.5],
        lambda: [-0.5, rng.uniform(0, shape[0])],
        lambda: list(rng.uniform(-30, 60, 2)),
        lambda: list(rng.uniform(-2000, 2000, 2)),
    ][rng.integers(7)]()
    farthest = math.hypot(*(max(abs(c), abs(n - c)) + 1 for c, n in zip(center, shape[::-1], strict=True)))
    terms = {}
    if rng.random() < 0.5:
        size = 10.0 ** rng.uniform(-5, -2)
        phases = {phase for _, phase, _, _ in HARMONICS}
        terms = {f"p{i}": rng.uniform(-180, 180) if f"p{i}" in phases else rng.normal() * size for i in range(15)}
        if rng.random() < 0.3:
            terms = {k: v for k, v in terms.items() if k in phases or rng.random() < 0.3}
    tilts = [(0.0, 0.0, 0.0), tuple(rng.normal(0, 0.5, 3)), tuple(rng.uniform(-40, 40, 3))][rng.integers(3)]
    return Geometry(
        distance=float(10.0 ** rng.uniform(3.5, 6.5)),
        beam_center=(float(center[0]), float(center[1])),
        pixel_size=pixel_size,
        wavelength=float(rng.uniform(0.1, 1.5)),
        tilts=tilts,
        distortion=terms,
        distortion_radius=max(41.0, farthest * rng.uniform(0.8, 1.5)) * pixel_size,
        image_transforms=tuple(int(t) for t in rng.integers(1, 4, rng.integers(0, 4))),
        panels=random_panels(rng, shape) if rng.random() < 0.3 else None,
        parallax=float(rng.choice([0.0, 0.0, 120.0, -50.0])),
    )


def random_panels(rng: np.random.Generator, shape: tuple[int, int]) -> Panels:
    n_z, n_y = rng.integers(1, 4, 2)
    gaps_z, gaps_y = rng.integers(0, 3, n_z - 1), rng.integers(0, 3, n_y - 1)
    size = [
        max(1, -(-(n - int(gaps.sum())) // k)) for n, gaps, k in zip(shape, (gaps_z, gaps_y), (n_z, n_y), strict=True)
    ]
    n = int(n_z * n_y)
    size_of = rng.choice([0.0, 0.3, 1.5])
    return Panels(
        PanelLayout(size=(size[0], size[1]), gaps_z=tuple(gaps_z), gaps_y=tuple(gaps_y)),
        shift_y=rng.normal(0, 1, n) * size_of,
        shift_z=rng.normal(0, 1, n) * size_of,
        rotation=rng.normal(0, 1, n),
        distance=rng.normal(0, 200, n),
        p2=rng.normal(0, 1e-3, n),
    )


def random_etas(rng: np.random.Generator) -> Array:
    """Return edges of eta [deg]: in equal steps, with a last one that is cut at a turn, or anywhere."""
    start = float(rng.choice([-180.0, 0.0, 33.0, -90.0, 97.3, rng.uniform(-360, 360)]))
    if rng.random() < 0.3:
        turn = 360.0 if rng.random() < 0.5 else rng.uniform(0.5, 360.0)
        cuts = np.sort(rng.uniform(0, turn, rng.integers(0, 8)))
        return start + np.unique(np.concatenate([[0.0], cuts, [turn]]).round(6))
    step = float(rng.choice([360, 180, 120, 100, 90, 72, 45, 30, 10, 7, 3, 200, 359]))
    end = start + (360.0 if rng.random() < 0.7 else rng.uniform(min(step, 300.0), 360.0))
    n = math.ceil((end - start) / step - 1e-9)
    return np.append(start + step * np.arange(n), min(start + n * step, start + 360.0))


def make_grid(rng: np.random.Generator, g: Geometry, unit: str, radii: Array, etas: Array) -> tuple[CakeGrid, Array]:
    """Return a grid of about these edges and its edges in px, worked out here."""
    if unit in ("px", "free"):
        if unit == "free" and len(radii) > 2:
            inner = np.sort(rng.uniform(radii[0], radii[-1], len(radii) - 2))
            radii = np.unique(np.concatenate([radii[:1], inner, radii[-1:]]))
        return CakeGrid.from_edges(radii, etas), radii
    per_px = g.pixel_size / g.distance
    low, high = np.arctan(np.minimum(radii[[0, -1]] * per_px, 20.0))  # 2theta [rad], up to 87 deg
    high = max(high, low * 1.0001 + 1e-5)
    n = len(radii) - 1
    if unit == "2theta":
        edges = np.linspace(np.degrees(low), np.degrees(high), n + 1)
        return CakeGrid.from_edges(edges, etas, unit=unit), np.tan(np.radians(edges)) / per_px
    edges = 4 * np.pi / g.wavelength * np.sin(np.linspace(low, high, n + 1) / 2)
    two_theta = 2 * np.arcsin(edges * g.wavelength / (4 * np.pi))
    return CakeGrid.from_edges(edges, etas, unit=unit), np.tan(two_theta) / per_px


def as_stored(g: Geometry, shape: tuple[int, int]) -> Array:
    """Return which element of the stored frame each pixel of the geometry's frame is."""
    stored = shape[::-1] if g.image_transforms.count(3) % 2 else shape
    index = np.arange(shape[0] * shape[1]).reshape(stored)
    for t in g.image_transforms:
        index = index[:, ::-1] if t == 1 else index[::-1] if t == 2 else index.T
    return index


def beam_on_a_border(quads: Array) -> bool:
    """Return whether the beam is on the edge or a corner of a mapped pixel."""
    a = quads[np.isfinite(quads).all(axis=(-2, -1))]
    step = np.roll(a, -1, axis=1) - a
    along = np.clip(-(a * step).sum(axis=-1) / np.maximum((step**2).sum(axis=-1), 1e-300), 0.0, 1.0)
    return bool((np.hypot(*np.moveaxis(a + along[..., None] * step, -1, 0)) < 1e-9).any())


def matrix_of(cake_map: CakeMap) -> sparse.csr_array:
    offsets, pixels, areas = cake_map.core.rows(n_threads=1)
    shape = (len(offsets) - 1, cake_map.frame_shape[0] * cake_map.frame_shape[1])
    return sparse.csr_array((areas.astype(np.float64), pixels, offsets), shape=shape)


def check_areas(case: Case, quads: Array) -> tuple[float, CakeMap | None]:
    """Return the largest difference over its bound, and the map; None where it holds no pixel, rightly."""
    expected = brute_force(case, quads)
    try:
        cake_map = build_map(case.geometry, case.detector, case.grid, n_threads=case.n_threads)
    except InputError as error:
        if "no pixel lies" not in str(error):
            raise
        return float(expected.max(initial=0.0) / 2e-9), None
    matrix = matrix_of(cake_map)
    found = matrix.toarray().T[as_stored(case.geometry, case.detector.shape).ravel()]
    radius = np.hypot(quads[..., 0], quads[..., 1]).max(axis=-1).ravel()
    rounding = 5e-15 * np.nan_to_num(radius) ** 2
    bound = 2e-9 + 1.2e-7 * expected + rounding[:, None]
    worst = float((np.abs(found - expected) / bound).max())
    of_bins = matrix.sum(axis=1)
    worst = max(worst, float((np.abs(cake_map.bin_area.ravel() - of_bins) / (1e-12 + 1e-12 * of_bins)).max()))
    if not np.array_equal(cake_map.bin_pixels.ravel(), np.diff(matrix.indptr)):
        return math.inf, cake_map
    return max(worst, check_whole(case, quads, found, rounding)), cake_map


def check_whole(case: Case, quads: Array, found: Array, rounding: Array) -> float:
    """Return how far the pixels' areas in all bins are from their own, over the bound, where the bins hold them all."""
    radius = np.hypot(quads[..., 0], quads[..., 1])
    all_round = case.etas[-1] - case.etas[0] > 2 * math.pi - 1e-9
    if not all_round or case.radii[0] > 0.0 or not radius.max() < case.radii[-1]:
        return 0.0
    one, two = quads[..., 2, :] - quads[..., 0, :], quads[..., 3, :] - quads[..., 1, :]
    area = 0.5 * np.abs(one[..., 0] * two[..., 1] - one[..., 1] * two[..., 0]).ravel()
    if case.detector.mask is not None:
        area[case.detector.mask.ravel()] = 0.0
    parts = np.maximum((found > 0).sum(axis=1), 1)
    # Parts that are left out, and those below that arcs graze.
    bound = 1e-9 * (2 * parts + found.shape[1] ** 0.5) + 1.2e-7 * area + rounding * parts
    return float((np.abs(found.sum(axis=1) - area) / bound).max())


def check_frames(cake_map: CakeMap, matrix: sparse.csr_array, rng: np.random.Generator) -> float:
    """Return the largest difference of random frames from the sparse matrix in double, over its bound."""
    shape, dtype = cake_map.frame_shape, np.dtype(str(rng.choice(DTYPES)))
    n = int(rng.choice([1, 2, 5, 16, 17]))
    top = 200 if dtype.itemsize == 1 else int(rng.choice([200, 30000])) if dtype.itemsize == 2 else 2**30
    stack = rng.integers(0, int(rng.choice([3, 100, top])), (n, *shape)).astype(dtype)
    bad = rng.random(stack.shape) < rng.choice([0.0, 0.02, 0.3])
    bad_values: tuple[float, ...] = (7.0,) if rng.random() < 0.3 else ()
    if dtype.kind == "u":
        stack[bad] = np.iinfo(dtype).max
    elif dtype.kind == "i":
        stack[bad] = -1
    else:
        stack[bad] = rng.choice([np.nan, np.inf, -1.0, -np.inf])
    saturation = float(rng.choice([np.inf, 90.0, 50.5]))
    with np.errstate(invalid="ignore"):
        values = stack.astype(np.float64)
        valid = ~bad & (values < saturation) & ~np.isin(values, bad_values)
    mask = rng.random(shape) < rng.choice([0.0, 0.1])
    dark = rng.uniform(0, 50, shape) if rng.random() < 0.5 else None
    scale = rng.uniform(0.5, 2.0, shape) if rng.random() < 0.5 else None
    normalize = bool(rng.random() < 0.7)
    inputs = FrameInput(dark=dark, scale=scale, mask=mask.view(np.uint8), bad_values=bad_values, normalize=normalize,
                        saturation=None if math.isinf(saturation) else saturation)  # fmt: skip
    caked = cake_map.prepare(inputs).apply(stack, variance=True, n_threads=some_threads(rng))
    ok = (valid & ~mask).reshape(n, -1).T.astype(np.float64)
    s = np.ones(ok.shape[0]) if scale is None else scale.ravel().astype(np.float32).astype(np.float64)
    d = np.zeros(ok.shape[0]) if dark is None else dark.ravel()
    counts = np.where(ok.astype(bool), values.reshape(n, -1).T, 0.0)
    area, pixels = matrix @ ok, (matrix > 0).astype(np.int64) @ ok.astype(np.int64)
    divisor = np.where(pixels > 0, area, 1.0) if normalize else np.ones_like(area)
    steps = 2.0**-24 * (8.0 + np.diff(matrix.indptr))[:, None]  # single precision, an entry after another
    absolute = matrix @ (s[:, None] * (counts + d[:, None] * ok))
    intensity = matrix @ (s[:, None] * (counts - d[:, None] * ok))
    squares = matrix.power(2) @ (s[:, None] ** 2 * counts)
    # An area left by taking away has the rounding of the whole.
    lost = 1e-13 * np.asarray(matrix.sum(axis=1))[:, None]
    worst = 0.0 if np.array_equal(caked.bin_pixels.reshape(n, -1).T, pixels) else math.inf
    full = pixels > 0
    for found, sums, size, power in ((caked.intensity, intensity, absolute, 1), (caked.variance, squares, squares, 2)):
        assert found is not None
        flat = found.reshape(n, -1).T
        if not np.array_equal(np.isnan(flat), ~full):
            return math.inf
        relative = steps + power * lost / np.maximum(area, 1e-30)
        bound = (relative * size + lost * 100.0 * (dark is not None)) / divisor**power + 1e-12
        worst = max(worst, float((np.abs(flat - sums / divisor**power) / bound)[full].max(initial=0.0)))
    off = np.abs(caked.bin_area.reshape(n, -1).T - np.where(full, area, 0.0)) / (1e-12 + lost)
    return max(worst, float(off.max(initial=0.0)))


@dataclass(frozen=True)
class Outcome:
    """How far a case is off, over the bounds."""

    number: int
    areas: float
    frames: float
    has_pixels: bool
    beam_on_a_border: bool


def run_case(seed: int, number: int) -> Outcome:
    rng = np.random.default_rng([seed, number])
    case = random_case(rng)
    quads = corners(case.geometry, case.detector.shape)
    areas, cake_map = check_areas(case, quads)
    frames = 0.0 if cake_map is None else check_frames(cake_map, matrix_of(cake_map), rng)
    return Outcome(number, areas, frames, cake_map is not None, beam_on_a_border(quads))


def run_cases(seed: int, numbers: range) -> list[Outcome]:
    return [run_case(seed, number) for number in numbers]


def all_cases(seed: int, first: int, cases: int, jobs: int) -> Iterator[list[Outcome]]:
    blocks = [range(a, min(a + 50, first + cases)) for a in range(first, first + cases, 50)]
    if jobs == 1:
        yield from (run_cases(seed, block) for block in blocks)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(run_cases, [seed] * len(blocks), blocks)


def main() -> int:
    parser = argparse.ArgumentParser(description="The map's areas of random cases against areas worked out again.")
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=math.inf, help="begin no more cases after so long")
    options = parser.parse_args()
    begin, done = time.perf_counter(), []
    for results in all_cases(options.seed, options.first, options.cases, options.jobs):
        done += results
        for r in results:
            if not max(r.areas, r.frames) <= 1.0:
                print(f"off: {r}", file=sys.stderr)
        if time.perf_counter() - begin > options.seconds:
            break
    off = [r for r in done if not max(r.areas, r.frames) <= 1.0]
    report = {
        "seed": options.seed,
        "cases": len(done),
        "with pixels in their bins": sum(r.has_pixels for r in done),
        "with the beam on a pixel's border": sum(r.beam_on_a_border for r in done),
        "off": len(off),
        "off, the beam on a pixel's border": sum(r.beam_on_a_border for r in off),
        "largest of areas over its bound": max((r.areas, r.number) for r in done),
        "largest of frames over its bound": max((r.frames, r.number) for r in done),
        "seconds": round(time.perf_counter() - begin, 1),
    }
    print(json.dumps(report, indent=1))
    return 1 if off else 0


if __name__ == "__main__":
    sys.exit(main())
