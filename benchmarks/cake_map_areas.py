"""Areas of mapped pixels in the bins of a cake, worked out without the map: slow, for cake_map_fuzz.py to compare with.

Nothing of the map is used for the second answer, nor of the core's geometry. Pixels go through the detector model
written in numpy; each mapped quadrilateral is two triangles; the area of a triangle inside a circle and between two
rays is the integral of the length of vertical chords, min(upper) - max(lower) over three edges, two rays and the
circle, cut where any two of these meet and done by Gauss-Legendre points in between (x = m + h (3 t - t^3) / 2, which
smooths the circle's vertical tangents). Where the map sums arcs and triangles along edges, this integrates an area.

A pixel that the geometry folds over itself (R beyond some 1e4 px, where a p2 of a panel turns it over, or a distortion
that does not ascend with R) has triangles of either sign; where its area in a bin is negative, it has no part in it.
"""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np

from midas import Geometry

Array = np.ndarray

HARMONICS = (("p7", "p8", 4, 1), ("p0", "p6", 2, 2), ("p9", "p10", 3, 3), ("p1", "p3", 4, 4), ("p11", "p12", 5, 5),
             ("p13", "p14", 6, 6))  # fmt: skip
RADIAL = (("p2", 2), ("p5", 4), ("p4", 6))
WIDEST = math.radians(100.0)  # of a wedge that is convex with room to spare


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


def areas_in_bins(quads: Array, radii: Array, etas: Array, mask: Array | None) -> Array:
    """Return the area of each pixel in each bin of these edges [px, rad], shape (n_pixels, n_radius * n_eta), >= 0."""
    quads = quads.reshape(-1, 4, 2)
    use = np.isfinite(quads).all(axis=(1, 2))
    if mask is not None:
        use &= ~mask.ravel()
    pixel = np.repeat(np.flatnonzero(use), 2)
    triangle = quads[use][:, [[0, 1, 2], [0, 2, 3]]].reshape(-1, 3, 2)
    side, other = triangle[:, 1] - triangle[:, 0], triangle[:, 2] - triangle[:, 0]
    signed = side[:, 0] * other[:, 1] - side[:, 1] * other[:, 0]
    sign = np.sign(signed) * np.repeat(np.sign(signed.reshape(-1, 2).sum(axis=1)), 2)
    distance = np.hypot(triangle[..., 0], triangle[..., 1])
    farthest = distance.max(axis=1) * (1 + 1e-12)
    longest = np.hypot(*np.moveaxis(np.roll(triangle, 1, axis=1) - triangle, -1, 0)).max(axis=1)
    nearest = np.maximum(distance.min(axis=1) - longest, 0.0)
    rays, zone = wedges(etas)
    # A triangle that meets a convex wedge has a corner on the inner side of each of its rays.
    beyond = rays[:, 0, 0, None, None] * triangle[..., 1] - rays[:, 0, 1, None, None] * triangle[..., 0]
    before = triangle[..., 0] * rays[:, 1, 1, None, None] - triangle[..., 1] * rays[:, 1, 0, None, None]
    w, t = np.nonzero((beyond.max(axis=-1) >= 0.0) & (before.max(axis=-1) >= 0.0))
    low = np.searchsorted(radii, nearest[t], side="right")
    high = np.maximum(np.searchsorted(radii, farthest[t], side="left"), low)
    n_edges = len(radii)
    count = high - low + 1  # and all of it, for the edge above
    pair = np.repeat(np.arange(len(t)), count)
    edge = low[pair] + np.arange(len(pair)) - np.repeat(np.cumsum(count) - count, count)
    whole = edge == high[pair]
    keep = edge < n_edges
    pair, edge, whole = pair[keep], edge[keep], whole[keep]
    circle = np.where(whole, 2.0 * farthest[t[pair]] + 1.0, radii[edge])
    area = sign[t[pair]] * clipped_areas(triangle[t[pair]], rays[w[pair]], circle)
    n_eta = len(etas) - 1
    n_bins = (n_edges - 1) * n_eta
    place = pixel[t[pair]] * n_bins + zone[w[pair]]
    found = np.zeros(len(quads) * n_bins)
    under, over = edge >= 1, ~whole & (edge < n_edges - 1)
    np.add.at(found, place[under] + (edge[under] - 1) * n_eta, area[under])
    np.add.at(found, place[over] + edge[over] * n_eta, -area[over])
    return np.maximum(found.reshape(len(quads), n_bins), 0.0)
