"""How right caked frames are: against sub-pixels, against pyFAI, on a constant frame, and sigma against scatter.

Sub-pixels: each pixel is cut into 32 x 32, each put into the bin that its middle falls in, with an equal share of the
pixel's mapped area; tilted and distorted. It has an error of its own, near 2e-3 px² for each pixel that an edge of the
bin cuts.

pyFAI full: it joins the corners of a pixel by straight lines in the plane of (radius, chi) and takes areas there, where
midas takes areas on the detector (the edges of a bin are arcs and rays there). Of pixels that only radial edges cut,
the two give each bin the same area to 1e-3 px²; of pixels that an eta edge cuts too, pyFAI (2026.9) puts up to
0.06 px² on the wrong side of the eta edge. That passes the limit in a few bins, where the flank of a ring runs through;
the bins of largest difference are judged by 128 x 128 sub-pixels. The first and last radial bins are left out: pyFAI
puts the whole of a pixel that the end of the range cuts into the part inside. A frame with Poisson noise, with
contrast between any two pixels, is shown too.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import caking_programs as cp
import numpy as np

import midas

LEAST_AREA = 20.0  # px²
SUB = 32
AGREE = 5e-4
TILTS = (0.0, 0.4, -0.7)  # deg
PULLS = (0.97, 1.03)
JUDGED = 20  # bins

Array = np.ndarray[Any, Any]


def row(name: str, value: float, limits: tuple[float, float] | None, **more: Any) -> dict[str, Any]:
    """Return a row whose value must lie between the limits, in at least one bin; None: it is only shown."""
    ok = None if limits is None else bool(limits[0] <= value <= limits[1] and more.get("bins", 1) > 0)
    return {"group": "accuracy", "name": name, "value": value, "limits": limits, "ok": ok, **more}


def scene(rows: int, tilts: tuple[float, float, float], distorted: bool = False) -> tuple[midas.Geometry, Array]:
    """Return a geometry with the beam near the lower corner of the panel and the mean counts on it."""
    terms = {"p2": 2e-3, "p1": 1e-3, "p3": 30.0} if distorted else {}
    geometry = midas.Geometry(
        600.0 * rows,
        (0.12 * rows + 0.3, 0.07 * rows - 0.2),
        150.0,
        0.1536,
        tilts,
        terms,
        distortion_radius=150.0 * rows,
    )
    options = midas.SimulationOptions(peak_counts=1000.0, background=50.0, fwhm=4.0)
    shown = midas.simulate(geometry, midas.Detector((rows, rows), 150.0), "CeO2", options=options)
    return geometry, shown.expected.astype(np.float32)  # a copy: pyFAI refuses what is read-only


def worst(found: Array, ours: Array, area: Array) -> tuple[float, tuple[int, int], int]:
    """Return the largest relative difference over bins large enough, where it is, and how many there are."""
    with np.errstate(invalid="ignore", divide="ignore"):
        off = np.where((area >= LEAST_AREA) & np.isfinite(ours), np.abs(found / ours - 1.0), 0.0)
    at = np.unravel_index(int(np.argmax(off)), off.shape)
    return float(off[at]), (int(at[0]), int(at[1])), int((area >= LEAST_AREA).sum())


def brute_force(geometry: midas.Geometry, grid: midas.CakeGrid, image: Array) -> tuple[Array, Array]:
    """Return intensity and area of each bin from sub-pixels, a few rows of pixels at a time."""
    n_radius, n_eta = grid.shape
    edges, counts, area = grid.radius_edges(geometry), np.zeros(n_radius * n_eta), np.zeros(n_radius * n_eta)
    inside = (np.arange(SUB) + 0.5) / SUB - 0.5
    corners = np.arange(image.shape[1] + 1) - 0.5
    y = (np.arange(image.shape[1])[:, None] + inside).reshape(-1)
    for z in range(image.shape[0]):
        radius, _, eta = geometry.to_polar(*np.meshgrid(corners, [z - 0.5, z + 0.5]))
        a, b = radius * np.cos(np.radians(eta)), radius * np.sin(np.radians(eta))
        across = (a[1, 1:] - a[0, :-1]) * (b[1, :-1] - b[0, 1:]) - (a[1, :-1] - a[0, 1:]) * (b[1, 1:] - b[0, :-1])
        share = np.abs(across) / 2.0 / SUB**2
        radius, _, eta = geometry.to_polar(*np.meshgrid(y, z + inside))
        k = np.searchsorted(edges, radius, side="right") - 1
        m = np.floor((eta - grid.eta_min) / grid.eta_step).astype(np.int64) % n_eta
        used = (k >= 0) & (k < n_radius)
        bins = (k * n_eta + m)[used]
        weight = np.broadcast_to(np.repeat(share, SUB), radius.shape)[used]
        value = np.broadcast_to(np.repeat(image[z], SUB), radius.shape)[used]
        area += np.bincount(bins, weight, area.size)
        counts += np.bincount(bins, weight * value, area.size)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (counts / area).reshape(grid.shape), area.reshape(grid.shape)


def sub_pixels(quick: bool) -> list[dict[str, Any]]:
    rows = 100 if quick else 160
    geometry, image = scene(rows, TILTS, distorted=True)
    grid = midas.CakeGrid(4.0, 1.2 * rows, 2.0, eta_step=10.0)
    caked = midas.build_map(geometry, midas.Detector(image.shape, 150.0), grid).apply(image)
    found, area = brute_force(geometry, grid, image)
    off, at, n = worst(found, caked.intensity, caked.bin_area)
    off_area, _, _ = worst(area, caked.bin_area, caked.bin_area)
    name = f"intensity against {SUB} x {SUB} sub-pixels, tilted and distorted"
    return [
        row(name, off, (0.0, AGREE), bins=n, radius_px=float(grid.radius_edges(geometry)[at[0]]), area_off=off_area)
    ]


def against_pyfai(quick: bool) -> list[dict[str, Any]]:
    rows, n = [], 500 if quick else 1000
    for tilts in ((0.0, 0.0, 0.0), TILTS):
        geometry, mean = scene(n, tilts)
        step = float(np.degrees(np.arctan(n * 150.0 / geometry.distance))) / n
        grid = midas.CakeGrid(20 * step, round(1.06 * n) * step, step, eta_step=5.0, unit="2theta")
        cake_map = midas.build_map(geometry, midas.Detector(mean.shape, 150.0), grid)
        area = cake_map.bin_area.copy()
        area[[0, -1]] = 0.0
        noisy = np.random.default_rng(5).poisson(mean).astype(np.float32)
        found = pyfai_cakes(geometry, grid, (mean, noisy))
        tilted = "tilted" if any(tilts) else "no tilt"
        for name, image, theirs in zip(("mean counts", "Poisson counts"), (mean, noisy), found, strict=True):
            ours = cake_map.apply(image).intensity
            off, at, bins = worst(theirs, ours, area)
            apart = np.abs(theirs / ours - 1.0)[area >= LEAST_AREA]
            more = {"bins": bins, "radius_px": float(grid.radius_edges(geometry)[at[0]])}
            more |= {"median": float(np.median(apart)), "share_within": float((apart <= AGREE).mean())}
            limits = (0.0, AGREE) if name == "mean counts" else None
            rows.append(row(f"intensity against pyFAI full, {name}, {tilted}", off, limits, **more))
        rows.append(judged(cake_map, mean, found[0], area, tilted))
    return rows


def judged(cake_map: midas.CakeMap, image: Array, theirs: Array, area: Array, tilted: str) -> dict[str, Any]:
    """Return how far we are from 128 x 128 sub-pixels in the bins where pyFAI and we differ most."""
    ours, matrix = cake_map.apply(image).intensity, cake_map.to_scipy()
    apart = np.where(area >= LEAST_AREA, np.abs(theirs / ours - 1.0), 0.0)
    bins = np.argsort(apart, axis=None)[::-1][:JUDGED]
    edges, eta_edges = cake_map.grid.radius_edges(cake_map.geometry), cake_map.grid.eta_edges
    inside = (np.arange(128) + 0.5) / 128 - 0.5
    off = []
    for b in bins:
        k, m = divmod(int(b), ours.shape[1])
        pixels = matrix[[int(b)]].indices
        shares = []
        for z, y in zip(*np.divmod(pixels, image.shape[1]), strict=True):
            radius, _, eta = cake_map.geometry.to_polar(*np.meshgrid(y + inside, z + inside))
            within = (radius >= edges[k]) & (radius < edges[k + 1]) & (eta >= eta_edges[m]) & (eta < eta_edges[m + 1])
            shares.append(within.mean())
        truth = np.average(image.reshape(-1)[pixels], weights=shares)
        off.append((abs(ours[k, m] / truth - 1.0), abs(theirs[k, m] / truth - 1.0)))
    name = f"our part in the {JUDGED} largest differences from pyFAI, {tilted}"
    mine, other = np.max(off, axis=0)
    return row(name, float(mine), (0.0, AGREE), bins=len(off), pyfai_part=float(other))


def pyfai_cakes(geometry: midas.Geometry, grid: midas.CakeGrid, images: tuple[Array, ...]) -> list[Array]:
    import pyFAI

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scene.poni"
        midas.write_geometry(path, geometry, midas.Detector(images[0].shape, geometry.pixel_size))
        integrator = pyFAI.load(str(path))
    n_radius, n_eta = grid.shape
    how = {"radial_range": (grid.radius_min, grid.radius_max), "azimuth_range": (-180.0, 180.0), "unit": "2th_deg"}
    how |= {"method": ("full", "csr", "cython"), "correctSolidAngle": False}
    order = cp.eta_order(n_eta, -180.0)
    return [integrator.integrate2d_ng(i, n_radius, n_eta, **how).intensity[order].T.astype(float) for i in images]


def constant(quick: bool) -> list[dict[str, Any]]:
    n, rows = 100 if quick else 700, []
    for name, dtype in (("uint16", "uint16"), ("float32", "float32")):
        geometry, mean = scene(n, TILTS, distorted=True)
        detector = midas.Detector(mean.shape, 150.0)
        prepared = midas.build_map(geometry, detector, midas.CakeGrid(3, 1.2 * n, 0.5, eta_step=1)).prepare(
            cp.FrameInput()
        )
        for single in (False, True):
            caked = prepared.apply(np.full((1, n, n), 1234, dtype), single=single)[0]
            off = float(np.nanmax(np.abs(caked.intensity / 1234.0 - 1.0)))
            kind = "single" if single else "double"
            rows.append(row(f"constant {name} frame, {kind} precision", off, (0.0, 1e-6)))
    return rows


def sigmas(quick: bool) -> list[dict[str, Any]]:
    n, n_frames = (60, 100) if quick else (200, 300)
    geometry, mean = scene(n, TILTS)
    stack = np.random.default_rng(3).poisson(0.2 * mean, (n_frames, n, n)).astype(np.uint16)
    rows = []
    for name, step, eta_step in (
        ("1-D, bins of 4 px", 4.0, 360.0),
        ("1-D, bins of 0.25 px", 0.25, 360.0),
        ("2-D, bins of 4 px x 10 deg", 4.0, 10.0),
        ("2-D, bins of 0.5 px x 1 deg", 0.5, 1.0),
    ):
        cake = midas.integrate(stack, geometry, midas.CakeGrid(5.0, 0.9 * n, step, eta_step=eta_step))
        rows.append(pull(f"sigma over scatter, {name}", cake.intensity, cake.sigma))
        if eta_step < 360.0:
            profile = cake.profile()
            rows.append(pull(f"sigma over scatter, summed over eta, {name}", profile.intensity, profile.sigma))
    return rows


def pull(name: str, values: Array, sigma: Array | None) -> dict[str, Any]:
    """Return sigma over the scatter between frames: the root of the mean ratio of variances over the bins."""
    assert sigma is not None
    scatter, claimed = values.var(axis=0, ddof=1), (sigma**2).mean(axis=0)
    used = np.isfinite(claimed) & (claimed > 0.0)
    ratio = float(1.0 / np.sqrt((scatter[used] / claimed[used]).mean()))
    return row(name, ratio, PULLS, bins=int(used.sum()), frames=len(values))


def measure(quick: bool, peers: dict[str, str]) -> list[dict[str, Any]]:
    rows = sub_pixels(quick) + constant(quick) + sigmas(quick)
    return rows if cp.absent(peers, "pyFAI") else rows + against_pyfai(quick)
