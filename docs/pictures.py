"""Draws the pictures of these pages into docs/images: `python docs/pictures.py [NAME...]`, of a clone of the project.

The tutorial's pictures are of what its blocks leave behind, and need GSAS-II. All others are computed by the library.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Arc, Polygon
from PIL import Image

import midas

HERE = Path(__file__).resolve().parent
IMAGES = HERE / "images"
DARK, RED, BLUE, GREEN, GREY = "#222222", "#c0392b", "#2c6fbb", "#1b7837", "#999999"


def saved(figure: Figure, name: str) -> None:
    """Write a figure, small enough for a page."""
    path = IMAGES / f"{name}.png"
    figure.savefig(path, dpi=100)
    with Image.open(path) as drawn:
        drawn.convert("RGB").quantize(64).save(path, optimize=True)


def tutorial() -> None:
    """Draw the tutorial's image, cake and map."""
    sys.path.insert(0, str(HERE.parent / "tests"))
    from doc_pages import PageRun

    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            run = PageRun(HERE / "tutorial.md", engine=True)
            run.run()
            image = midas.read_image("ceo2.tif")
            shutil.copy("refinement/refinement_phase_CeO2.png", IMAGES / "tutorial-map.png")
        finally:
            os.chdir(before)
    patterns = run.names["patterns"]
    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.0, 1.5))
    left.imshow(np.log10(np.asarray(image, dtype=float) + 5.0), cmap="gray_r", vmin=1.3, vmax=3.2)
    left.set(title="ceo2.tif (logarithmic)", xlabel="column [px]", ylabel="row [px]")
    for eta, intensity in zip(patterns.eta, patterns.intensity[1].T, strict=True):
        right.plot(patterns.two_theta, intensity + 8.0 * (eta + 180.0), lw=0.7, color=DARK)
        right.text(10.25, 8.0 * (eta + 180.0), f"{eta:g}", va="center", fontsize=7)
    right.set(title="one sum of frames: its lineouts by eta [deg]", xlabel="2θ [deg]", ylabel="intensity, offset")
    right.set(yticks=[], xlim=(1.6, 11.0))
    saved(figure, "tutorial")


def frame() -> None:
    """Draw the detector from the side and from the sample."""
    figure = Figure(figsize=(9.0, 3.7), layout="constrained")
    side, front = figure.subplots(1, 2, width_ratios=(1.35, 1.0))
    _side_view(side)
    _front_view(front)
    saved(figure, "physics-frame")


def _side_view(axes: Axes) -> None:
    distance, lean, height = 10.0, np.radians(14.0), 3.6
    plane = np.array([[distance - height * np.sin(lean), height * np.cos(lean)], [distance, 0.0]])
    axes.annotate("", (12.4, 0.0), (-1.6, 0.0), arrowprops={"arrowstyle": "->", "color": DARK})
    axes.text(12.3, 0.16, "X", ha="right")
    axes.annotate("", (-1.2, 2.0), (-1.2, 0.0), arrowprops={"arrowstyle": "->", "color": DARK})
    axes.text(-1.05, 1.8, "Z")
    axes.plot(0.0, 0.0, "o", color=DARK)
    axes.text(0.0, -0.5, "sample", ha="center")
    axes.plot([distance, distance], [-1.0, 4.4], "--", color=GREY)
    ends = [2 * plane[1] - plane[0], plane[0]]
    bottom = plane[1] + (ends[0] - plane[1]) * 0.25
    axes.plot([bottom[0], ends[1][0]], [bottom[1], ends[1][1]], lw=3, color=BLUE)
    hit = plane[1] + 0.72 * (plane[0] - plane[1])
    reach = hit * distance / hit[0]
    axes.plot([0.0, hit[0]], [0.0, hit[1]], color=RED)
    axes.plot([hit[0], reach[0]], [hit[1], reach[1]], ":", color=RED)
    axes.plot(*hit, "o", color=BLUE)
    axes.plot(*reach, "o", color=GREY)
    axes.annotate("pixel", hit, (7.2, 3.6), arrowprops={"arrowstyle": "-", "color": GREY})
    axes.annotate("", (distance + 0.35, reach[1]), (distance + 0.35, 0.0), arrowprops={"arrowstyle": "<->"})
    axes.text(distance + 0.55, reach[1] / 2, "R0")
    axes.annotate("", (distance, -1.3), (0.0, -1.3), arrowprops={"arrowstyle": "<->"})
    axes.text(distance / 2, -1.15, "L, along the beam", ha="center")
    axes.add_patch(Arc((0.0, 0.0), 5.0, 5.0, theta1=0.0, theta2=float(np.degrees(np.arctan2(*hit[::-1])))))
    axes.text(2.7, 0.3, "2θ")
    axes.text(distance + 0.15, 4.1, "untilted plane", color=GREY)
    axes.text(8.6, 4.1, "detector", color=BLUE, ha="right")
    axes.set(xlim=(-2.0, 13.0), ylim=(-1.7, 4.6), aspect="equal", title="from the side (tilt ty below 0)")
    axes.axis("off")


def _front_view(axes: Axes) -> None:
    axes.add_patch(Polygon([(0, 0), (10, 0), (10, 8), (0, 8)], fill=False, lw=2, ec=BLUE))
    beam, eta, radius = np.array([4.4, 3.9]), np.radians(52.0), 3.2
    axes.add_patch(Arc((beam[0], beam[1]), 2 * radius, 2 * radius, color=GREY))
    pixel = beam + radius * np.array([np.sin(eta), np.cos(eta)])
    axes.plot([beam[0], beam[0]], [beam[1], beam[1] + radius], color=DARK, lw=1)
    axes.plot([beam[0], pixel[0]], [beam[1], pixel[1]], color=RED)
    axes.plot(*beam, "+", ms=12, color=DARK)
    axes.plot(*pixel, "s", color=BLUE)
    axes.add_patch(Arc((beam[0], beam[1]), 2.2, 2.2, theta1=90.0 - np.degrees(eta), theta2=90.0, color=DARK))
    axes.text(beam[0] + 0.3, beam[1] + 1.25, "η")
    axes.text(beam[0] - 0.2, beam[1] - 0.7, "BC", ha="right")
    axes.text(beam[0] - 0.15, beam[1] + radius - 0.7, "0", ha="right", fontsize=8)
    axes.text(beam[0] + radius + 0.12, beam[1], "90", va="center", fontsize=8)
    axes.text(beam[0] - radius - 0.12, beam[1], "-90", va="center", ha="right", fontsize=8)
    axes.text(beam[0], beam[1] - radius - 0.1, "-180", va="top", ha="center", fontsize=8)
    axes.annotate("", (2.6, -0.5), (0.0, -0.5), arrowprops={"arrowstyle": "->"})
    axes.text(2.8, -0.5, "column y", fontsize=8, va="center")
    axes.annotate("", (-0.6, 2.6), (-0.6, 0.0), arrowprops={"arrowstyle": "->"})
    axes.text(-0.6, 2.8, "row z", fontsize=8, ha="center", rotation=90)
    axes.set(xlim=(-1.2, 10.4), ylim=(-1.0, 8.4), aspect="equal", title="from the sample: Z up, Y to the left")
    axes.axis("off")


def distortion() -> None:
    """Draw rings as each term bends them, a hundred times too large."""
    figure = Figure(figsize=(9.0, 2.6), layout="constrained")
    terms = {
        "p2: ρ²": {"p2": 0.12},
        "p0: ρ² cos 2E": {"p0": 0.12},
        "p7: ρ⁴ cos E": {"p7": 0.12},
        "p1: ρ⁴ cos 4E": {"p1": 0.12},
    }
    eta = np.linspace(-180.0, 180.0, 361)
    for axes, (title, term) in zip(figure.subplots(1, len(terms)), terms.items(), strict=True):
        geometry = midas.Geometry(
            distance=1e6,
            beam_center=(0.0, 0.0),
            pixel_size=100.0,
            wavelength=0.2,
            distortion=term,
            distortion_radius=1e5,
        )
        for radius in (300.0, 600.0, 900.0):
            axes.plot(radius * np.sin(np.radians(eta)), radius * np.cos(np.radians(eta)), "--", lw=0.8, color=GREY)
            y, z = geometry.to_pixel(np.full(eta.shape, radius), eta)
            axes.plot(y, z, lw=1.3, color=RED)
        axes.set(aspect="equal", title=title, xticks=[], yticks=[], xlim=(-1150, 1150), ylim=(-1150, 1150))
    saved(figure, "physics-distortion")


def strain() -> None:
    """Draw the pseudo-strain of three rings for a geometry that is wrong in one way."""
    figure = Figure(figsize=(9.0, 3.0), layout="constrained")
    truth = midas.Geometry(
        distance=500_000.0, beam_center=(1000.0, 1000.0), pixel_size=200.0, wavelength=0.2, distortion_radius=280_000.0
    )
    wrong = {
        "beam centre off by 0.1 px": {"beam_center": (1000.1, 1000.0)},
        "tilt off by 0.02 deg": {"tilts": (0.0, 0.02, 0.0)},
        "distance off by 1e-4": {"distance": 500_050.0},
        "p0 off by 1e-4": {"distortion": {"p0": 1e-4}},
    }
    eta = np.linspace(-180.0, 179.0, 360)
    for axes, (title, change) in zip(figure.subplots(1, 4, sharey=True), wrong.items(), strict=True):
        taken = dataclasses.replace(truth, **change)
        for two_theta, colour in ((5.0, BLUE), (10.0, GREEN), (18.0, RED)):
            y, z = truth.to_pixel(np.full(eta.shape, truth.radius_of(two_theta)), eta)
            seen = taken.to_polar(y, z)[0]
            axes.plot(
                eta, 1e6 * (1.0 - seen / taken.radius_of(two_theta)), color=colour, lw=1.2, label=f"2θ {two_theta:g}"
            )
        axes.set(xticks=(-180, -90, 0, 90, 180), xlabel="η [deg]")
        axes.set_title(title, fontsize=9)
        axes.tick_params(labelsize=8)
    figure.axes[0].set_ylabel("pseudo-strain [µε]")
    figure.axes[0].legend(fontsize=7, loc="upper left")
    saved(figure, "physics-strain")


def areas() -> None:
    """Draw a pixel cut by the bins, with the areas of the map itself."""
    geometry = midas.Geometry(distance=200_000.0, beam_center=(0.0, 0.0), pixel_size=200.0, wavelength=0.2)
    grid = midas.CakeGrid(8.0, 16.0, 0.5, eta_min=0.0, eta_max=90.0, eta_step=5.0)
    shape, (column, row) = (16, 16), (8, 7)
    cake_map = midas.build_map(geometry, midas.Detector(shape, 200.0), grid)
    columns, pixel = cake_map.to_scipy().tocsc(), row * shape[1] + column
    mine = slice(columns.indptr[pixel], columns.indptr[pixel + 1])
    bins, areas = columns.indices[mine], columns.data[mine]
    figure = Figure(figsize=(5.0, 4.6), layout="constrained")
    axes = figure.subplots()
    corners = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)]) + np.array([column, row])
    axes.add_patch(Polygon(corners, fc="#dce6f2", ec=BLUE, lw=2))
    turn = np.radians(np.linspace(0.0, 90.0, 400))
    for radius in grid.radius_edges(geometry):
        axes.plot(radius * np.sin(turn), radius * np.cos(turn), color=GREY, lw=0.8)
    for eta in grid.eta_edges:
        axes.plot([0.0, 30.0 * np.sin(np.radians(eta))], [0.0, 30.0 * np.cos(np.radians(eta))], color=GREY, lw=0.8)
    n_eta = grid.shape[1]
    for number, area in zip(bins, areas, strict=True):
        if area < 1e-3:  # a sliver
            continue
        place = _middle(corners, grid.radius_edges(geometry), grid.eta_edges, divmod(int(number), n_eta))
        axes.text(*place, f"{area:.3f}", ha="center", va="center", fontsize=9, color=RED)
    axes.plot(column, row, "+", color=BLUE, ms=9)
    axes.set(xlim=(column - 0.85, column + 0.85), ylim=(row - 0.85, row + 0.85), aspect="equal")
    axes.set(xlabel="column from the beam [px]", ylabel="row from the beam [px]")
    axes.set_title(f"areas of one pixel in {len(areas)} bins [px²], sum {areas.sum():.6f}", fontsize=10)
    saved(figure, "physics-areas")


def _middle(corners: np.ndarray, radii: np.ndarray, etas: np.ndarray, bin_: tuple[int, int]) -> np.ndarray:
    """Return the centre of mass of the part of a pixel in a bin, from points."""
    steps = (np.arange(400) + 0.5) / 400.0
    y, z = np.meshgrid(corners[0, 0] + steps, corners[0, 1] + steps)
    radius, eta = np.hypot(y, z), np.degrees(np.arctan2(y, z))
    inside = (radius >= radii[bin_[0]]) & (radius < radii[bin_[0] + 1])
    inside &= (eta >= etas[bin_[1]]) & (eta < etas[bin_[1] + 1])
    return np.array([y[inside].mean(), z[inside].mean()])


def uncertainty() -> None:
    """Draw the pulls of bins over many noisy frames, and what neighbouring bins share."""
    geometry = midas.Geometry(distance=500_000.0, beam_center=(127.3, 126.8), pixel_size=200.0, wavelength=0.2)
    detector = midas.Detector((256, 256), 200.0)
    expected = midas.simulate(
        geometry, detector, "CeO2", options=midas.SimulationOptions(peak_counts=60, background=4, noise=False)
    ).image
    frames = np.random.default_rng(5).poisson(expected, (400, 256, 256)).astype(np.uint16)
    cake_map = midas.build_map(geometry, detector, midas.CakeGrid(20.0, 120.0, 1.0, eta_step=30.0))
    cakes = cake_map.apply(frames, variance=True)
    true = cake_map.apply(expected)
    figure = Figure(figsize=(9.0, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    pulls = ((cakes.intensity - true.intensity) / np.sqrt(cakes.variance)).ravel()
    pulls = pulls[np.isfinite(pulls)]
    left.hist(pulls, bins=np.linspace(-5.0, 5.0, 81), density=True, color="#9db7d5")
    x = np.linspace(-5.0, 5.0, 200)
    left.plot(x, np.exp(-(x**2) / 2.0) / np.sqrt(2.0 * np.pi), color=RED)
    left.set(xlabel="(found - true) / sigma", yticks=[])
    left.set_title(f"{pulls.size} bins: mean {pulls.mean():.2f}, standard deviation {pulls.std():.2f}", fontsize=10)
    print(f"pulls: mean {pulls.mean():.3f}, standard deviation {pulls.std():.3f}, {pulls.size} bins")
    steps, shared = np.array([0.25, 0.5, 1.0, 2.0, 4.0]), []
    for step in steps:
        weights = midas.build_map(geometry, detector, midas.CakeGrid(40.0, 100.0, step, eta_step=360.0)).to_scipy()
        product = (weights @ weights.T).toarray()
        size = np.sqrt(np.diag(product))
        shared.append(float(np.mean(np.diag(product, 1) / (size[1:] * size[:-1]))))
    print("neighbours:", dict(zip(steps.tolist(), np.round(shared, 2).tolist(), strict=True)))
    right.plot(steps, shared, "o-", color=BLUE)
    right.set(xscale="log", xlabel="width of the bins in radius [px]", ylabel="correlation", ylim=(0.0, 1.0))
    right.set_xticks(steps, [f"{s:g}" for s in steps], minor=False)
    right.set_xticks([], minor=True)
    right.set_title("of neighbouring bins, which share pixels", fontsize=10)
    saved(figure, "physics-uncertainty")


PICTURES: dict[str, Callable[[], None]] = {
    draw.__name__: draw for draw in (frame, distortion, strain, areas, uncertainty, tutorial)
}

if __name__ == "__main__":
    for wanted in sys.argv[1:] or PICTURES:
        PICTURES[wanted]()
