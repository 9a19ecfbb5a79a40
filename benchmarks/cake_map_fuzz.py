"""Random small geometries, grids and masks: the map's areas against areas worked out a second time, none off.

    python benchmarks/cake_map_fuzz.py --cases 100000 --jobs 2 --seed 7

How the second answer is worked out: cake_map_areas.py.

What may differ, for a pixel in a bin: areas are stored in single precision, parts below 1e-9 px^2 are left out, the
integral is good to 1e-9 px^2 and rounding is some units in the last place of the square of the radius. Frames of random
dtype, with marks of bad pixels, dark and correction, are compared with the sparse matrix in double: sums within a tile
are single precision, so a bin of n entries may be off by n 2^-24 of its sum of absolute values.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
from cake_map_areas import HARMONICS, areas_in_bins, corners
from scipy import sparse

from midas import CakeGrid, Detector, Geometry, InputError, PanelLayout, Panels, build_map
from midas.cake import CakeMap
from midas.cake.pixels import FrameInput

Array = np.ndarray

DTYPES = ("uint8", "uint16", "uint32", "int16", "int32", "float32", "float64", "int64", "float16")
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
    expected = areas_in_bins(quads, case.radii, case.etas, case.detector.mask)
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
