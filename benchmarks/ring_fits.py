"""How fast ring profiles are fitted, the answer checked first against scipy on the same pixels.

    python benchmarks/ring_fits.py [--image ceo2.tif --params params.txt] [--out benchmarks/results/ring_fits.json]

A fit is one (ring, eta bin) profile. Two rates are given, of one thread: whole, which is `_core.fit_rings` with its
pass over the image and its sorting of the pixels; and the profile alone, which is what one more profile costs when the
same pixels are cut into more eta bins, so that whatever depends on the pixels alone drops out.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import least_squares

import midas
from midas import _core
from midas.calibration.points import ring_windows

RUNS = 7
ETA_STEPS = (5.0, 2.0, 1.0)
AGREEMENT = 0.25  # of the standard uncertainty: two ways to the same answer
PIXEL = 150.0  # µm
SHAPE = (2048, 2048)
TRUTH = midas.Geometry(
    distance=1e6, beam_center=(1031.7, 1008.2), pixel_size=PIXEL, wavelength=0.1536, tilts=(0.0, 0.3, -0.5)
)


def simulated() -> tuple[midas.Geometry, np.ndarray, Any, float]:
    options = midas.SimulationOptions(peak_counts=4000.0, dtype="uint16")
    shot = midas.simulate(TRUTH, midas.Detector(SHAPE, PIXEL), "CeO2", options=options, seed=1)
    image = shot.image.astype(np.float32)
    rings = midas.rings(midas.calibrant("CeO2"), TRUTH.wavelength, two_theta_max=14.0)
    return TRUTH, image, rings, 3.0


def calibrated(image: Path, params: Path) -> tuple[midas.Geometry, np.ndarray, Any, float]:
    calibration = midas.calibrate(image, params)
    counts = np.where(calibration.detector.mask, np.nan, calibration.image.counts)
    fwhm = float(np.median(calibration.points.fwhm))
    return calibration.geometry, counts.astype(np.float32), calibration.rings, fwhm


def seconds_of(geometry: midas.Geometry, image: np.ndarray, windows: list[Any], **options: Any) -> float:
    mask = np.zeros(image.shape, np.uint8)
    found = []
    for _ in range(RUNS):
        begin = time.process_time()
        _core.fit_rings(geometry.projection, image, mask, windows, n_threads=1, **options)
        found.append(time.process_time() - begin)
    return statistics.median(found)


def by_scipy(radius: np.ndarray, value: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Return background, slope, width, mixing, centre and height by the same loss, on the pixels' own radii."""
    nodes, weights = np.polynomial.legendre.leggauss(5)

    def model(p: np.ndarray) -> np.ndarray:
        ring = np.zeros_like(radius)
        for node, weight in zip(nodes, weights, strict=True):  # along one axis: bins near eta 0 and 90 are compared
            u2 = (2.0 * (radius + 0.5 * node - p[4]) / p[2]) ** 2
            ring += 0.5 * weight * (p[3] / (1.0 + u2) + (1.0 - p[3]) * np.exp(-np.log(2.0) * u2))
        return np.asarray(p[0] + p[1] * (radius - start[4]) + p[5] * ring)

    p = start
    for _ in range(4):
        sigma = np.sqrt(np.maximum(model(p), 1.0))
        p = least_squares(
            lambda q, s=sigma: (model(q) - value) / s, p, loss="cauchy", f_scale=2.385, x_scale=np.abs(p) + 0.1
        ).x
    return p


def check(geometry: midas.Geometry, image: np.ndarray, windows: list[Any], fwhm: float) -> dict[str, float]:
    """Compare ring positions with scipy's on single rings near eta 0 and 90 deg; raise where they differ."""
    mask = np.zeros(image.shape, np.uint8)
    found = _core.fit_rings(geometry.projection, image, mask, windows, eta_step=5.0, fwhm=fwhm, max_shift=1e3)
    single = {w[3][0]: w for w in windows if len(w[3]) == 1}
    z, y = np.mgrid[: image.shape[0], : image.shape[1]].astype(float)
    radius, _, eta = geometry.to_polar(y, z)
    radius += 1.0 / (24.0 * np.maximum(radius, 1.0))
    pulls = []
    smooth = found["converged"] & (found["coverage"] > 0.9) & (found["graininess"] < 0.1) & (found["chi2"] < 1.5)
    for i in np.flatnonzero(smooth & np.isin(found["ring"], list(single)) & np.isin(found["eta_bin"] % 18, (0, 17))):
        low, high, _, _ = single[int(found["ring"][i])]
        first = -180.0 + 5.0 * found["eta_bin"][i]
        chosen = (radius >= low) & (radius < high) & (eta >= first) & (eta < first + 5.0) & np.isfinite(image)
        width = np.sqrt(max(found["fwhm"][i] ** 2 - 2.0 * np.log(2.0) / 3.0, 0.25))
        start = np.array(
            [found["background"][i], 0.0, width, found["mixing"][i], found["radius"][i] + 0.2, found["height"][i]]
        )
        centre = by_scipy(radius[chosen], image[chosen].astype(float), start)[4]
        pulls.append((centre - found["radius"][i]) / found["radius_sigma"][i])
    if not pulls:
        raise SystemExit("no smooth single ring near eta 0 or 90 deg to compare with scipy")
    worst = float(np.quantile(np.abs(pulls), 0.9))
    if worst > AGREEMENT:
        raise SystemExit(f"one in ten positions differs from scipy's by over {worst:.2f} of its standard uncertainty")
    return {"compared": len(pulls), "median_difference_sigma": float(np.median(np.abs(pulls))), "q90_sigma": worst}


def measure(geometry: midas.Geometry, image: np.ndarray, rings: Any, fwhm: float) -> dict[str, Any]:
    farthest = float(np.hypot(*image.shape))
    half_width = float(np.clip(3.0 * fwhm + 1.5, 4.5, 60.0))
    windows = ring_windows(geometry, rings, half_width=half_width, fwhm=fwhm, radius_range=(0.0, farthest))
    record: dict[str, Any] = {"agreement": check(geometry, image, windows, fwhm), "rows": []}
    mask = np.zeros(image.shape, np.uint8)
    counts, seconds = [], []
    for step in ETA_STEPS:
        options = {"eta_step": step, "fwhm": fwhm, "max_shift": 1e3}
        found = _core.fit_rings(geometry.projection, image, mask, windows, n_threads=1, **options)
        seconds.append(seconds_of(geometry, image, windows, **options))
        counts.append(len(found["ring"]))
        pixels = int(found["n_pixels"].sum())
        record["rows"].append(
            {
                "eta_step": step,
                "fits": counts[-1],
                "pixels_in_windows": pixels,
                "cpu_s": seconds[-1],
                "whole_fits_per_s": counts[-1] / seconds[-1],
                "image_pixels_per_s": image.size / seconds[-1],
            }
        )
    slope = float(np.polyfit(counts, seconds, 1)[0])
    return record | {"profile_alone_us": 1e6 * slope, "profiles_alone_per_s": 1.0 / slope}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path, help="a calibrant image, calibrated first; default: a simulated one")
    parser.add_argument("--params", type=Path, help="its parameter file")
    parser.add_argument("--out", type=Path, help="file for the record")
    args = parser.parse_args()
    case = calibrated(args.image, args.params) if args.image else simulated()
    record = {
        "image": args.image.name if args.image else "simulated",
        "shape": list(case[1].shape),
        "threads": 1,
        "runs": RUNS,
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **measure(*case),
    }
    text = json.dumps(record, indent=1)
    print(text)
    if args.out:
        args.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
