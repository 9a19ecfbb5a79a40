"""Are the standard uncertainties of a calibration true: (found - truth) / esd over many simulated images.

Run from the root:

    python benchmarks/calibration_pulls.py --jobs 2 --out benchmarks/results/calibration_pulls.json

Each image has its own geometry (distance, beam, tilts, classic distortion) and its own noise; the calibration starts
without a guess. Pulls of right uncertainties have mean 0 and standard deviation 1; the limits are |mean| <= 0.2 and
0.8 to 1.25. Over 100 images a mean of 0 comes out with a standard deviation of 0.1, and a standard deviation of 1 with
0.07, so that one of nine means lies beyond 0.2 by chance in a third of all runs: --images 400 --fit-only tells.
Distortion is compared as cosine and sine coefficients, scaled to the same distortion radius, since a phase has no
uncertainty of its own near zero amplitude.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from main_job import machine

from midas import Detector, Geometry, SimulationOptions, calibrate, simulate
from midas.geometry import distortion_coefficients

SHAPE, PIXEL, WAVELENGTH = (512, 512), 200.0, 0.2
MEAN, LOW, HIGH = 0.2, 0.8, 1.25
POWERS = {"distortion_0": 2, "distortion_5": 2, "distortion_9": 4, "distortion_10": 4}
"""Power of the radius that each classic coefficient multiplies: p2, p0 and p1 with p3 (core/distortion.hpp)."""


def scene(number: int) -> tuple[Geometry, SimulationOptions]:
    """Return geometry and look of one image."""
    rng = np.random.default_rng([20240, number])
    center = (255.0 + rng.uniform(-20.0, 20.0), 256.0 + rng.uniform(-20.0, 20.0))
    geometry = Geometry(
        distance=float(rng.uniform(2.5e5, 3.5e5)),
        beam_center=(float(center[0]), float(center[1])),
        pixel_size=PIXEL,
        wavelength=WAVELENGTH,
        tilts=(0.0, float(rng.normal(0.0, 0.5)), float(rng.normal(0.0, 0.5))),
        distortion={
            "p0": float(rng.normal(0.0, 3e-4)),
            "p1": float(rng.normal(0.0, 3e-4)),
            "p2": float(rng.normal(0.0, 5e-4)),
            "p3": float(rng.uniform(-180.0, 180.0)),
        },
        distortion_radius=Detector(SHAPE, PIXEL).farthest_corner(center),
    )
    look = SimulationOptions(
        peak_counts=float(rng.uniform(300.0, 5000.0)),
        background=float(rng.uniform(5.0, 50.0)),
        fwhm=float(rng.uniform(2.0, 4.0)),
        dtype="int32",
    )
    return geometry, look


def pulls_of(number: int, *, fit_only: bool = False) -> dict[str, float]:
    """Return the pull of each refined parameter of one image."""
    truth, look = scene(number)
    shot = simulate(truth, Detector(SHAPE, PIXEL), "CeO2", options=look, seed=number, n_threads=1)
    params = {"wavelength": WAVELENGTH, "pixel_size": PIXEL, "calibrant": "CeO2"}
    if fit_only:
        geometry, names, covariance = _fit_only(shot.image, truth, params)
    else:
        found = calibrate(shot.image, params, n_threads=1)
        geometry, names, covariance = found.geometry, found.parameters, found.covariance
    difference = _values(geometry, geometry.distortion_radius) - _values(truth, geometry.distortion_radius)
    sigma = np.sqrt(np.diag(covariance))
    order = [_NAMES.index(name) for name in names]
    return dict(zip(names, (difference[order] / sigma).tolist(), strict=True))


_NAMES = ["distance", "beam_center_y", "beam_center_z", "tilt_y", "tilt_z", *(f"distortion_{k}" for k in range(15))]


def _values(g: Geometry, radius: float | None) -> np.ndarray:
    """Return the parameters in the order of _NAMES, the distortion referred to a radius [µm]."""
    coefficients = distortion_coefficients(g.distortion)
    scale = (radius or 1.0) / (g.distortion_radius or 1.0)
    coefficients *= [scale ** POWERS.get(f"distortion_{k}", 0) for k in range(15)]
    return np.array([g.distance, *g.beam_center, *g.tilts[1:], *coefficients])


def _fit_only(image: np.ndarray, truth: Geometry, params: dict[str, Any]) -> tuple[Geometry, tuple[str, ...], Any]:
    """Return geometry, parameter names and covariance of the loop alone, started where the seed would lead."""
    from dataclasses import replace

    from midas.calibration.fit import parameter_names
    from midas.calibration.loop import run_loop
    from midas.calibration.options import params_from
    from midas.calibration.prepare import prepare_image
    from midas.crystal import calibrant, rings

    options = params_from(params)
    start = replace(truth, distance=truth.distance * 1.001, distortion={}, distortion_radius=None)
    listed = rings(calibrant("CeO2"), WAVELENGTH, two_theta_max=16.0)
    fit = run_loop(prepare_image(image), start, listed, options, n_threads=1).fit
    return fit.geometry, tuple(parameter_names(fit.parameters)), fit.covariance


def measure(images: int, jobs: int, fit_only: bool) -> dict[str, Any]:
    """Return mean and standard deviation of the pulls of each parameter."""
    one = partial(pulls_of, fit_only=fit_only)
    if jobs == 1:
        rows = [one(n) for n in range(images)]
    else:
        os.environ["OMP_NUM_THREADS"] = "1"  # of the children
        with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
            rows = list(pool.map(one, range(images)))
    figures = {}
    for name in rows[0]:
        values = np.array([row[name] for row in rows])
        mean, deviation = float(values.mean()), float(values.std(ddof=1))
        figures[name] = {
            "mean": mean,
            "std": deviation,
            "within": abs(mean) <= MEAN and LOW <= deviation <= HIGH,
            "pulls": values.round(3).tolist(),
        }
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument(
        "--fit-only", action="store_true", help="without the search for a first guess: four times faster"
    )
    parser.add_argument("--out", type=Path, default=None)
    args = parser.parse_args()
    figures = measure(args.images, args.jobs, args.fit_only)
    for name, row in figures.items():
        print(f"{name:14s} mean {row['mean']:+.3f}  std {row['std']:.3f}  {'' if row['within'] else 'OUTSIDE'}")
    if args.out:
        result = {"machine": machine(), "images": args.images, "fit_only": args.fit_only, "parameters": figures}
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(result, indent=1) + "\n")
    return 0 if all(row["within"] for row in figures.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
