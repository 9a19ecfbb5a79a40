"""How long the steps of the main job take and how much memory they need, answers checked first.

    python benchmarks/main_job.py [--out benchmarks/results/main_job.json]

Medians of five runs of: simulate (2880 x 2880), calibrate (the simulated image, and the real ones where they are beside
the project), build the map and apply it (2880 x 2880, 1 px x 5 deg). Peak memory is that of a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import midas

RUNS = 5
HERE = Path(__file__).resolve().parent
TRUTH = midas.Geometry(
    distance=1.05e6,
    beam_center=(1452.3, 1431.8),
    pixel_size=150.0,
    wavelength=0.1536,
    tilts=(0.0, 0.4, -0.7),
)
SHAPE = (2880, 2880)


def timed(action: Callable[[], Any]) -> tuple[Any, list[float]]:
    """Return the last result and the seconds of each run."""
    seconds = []
    for _ in range(RUNS):
        begin = time.perf_counter()
        result = action()
        seconds.append(time.perf_counter() - begin)
    return result, seconds


def row(name: str, seconds: list[float], pixels: int, **more: Any) -> dict[str, Any]:
    median = statistics.median(seconds)
    return {"name": name, "median_s": median, "min_s": min(seconds), "pixels_per_s": pixels / median, **more}


def shot() -> np.ndarray:
    options = midas.SimulationOptions(peak_counts=4000.0, dtype="uint16")
    return midas.simulate(TRUTH, midas.Detector(SHAPE, 150.0), "CeO2", options=options, seed=1).image


def measure() -> list[dict[str, Any]]:
    pixels = SHAPE[0] * SHAPE[1]
    image, seconds = timed(shot)
    rows = [row("simulate 2880 x 2880", seconds, pixels)]
    known = {"wavelength": TRUTH.wavelength, "pixel_size": 150.0}
    cal, seconds = timed(lambda: midas.calibrate(image, known))
    assert cal.verdict == "good"
    assert np.hypot(*np.subtract(cal.geometry.beam_center, TRUTH.beam_center)) < 0.05
    assert abs(cal.geometry.distance / TRUTH.distance - 1.0) < 1e-4
    rows.append(row("calibrate 2880 x 2880", seconds, pixels, mean_strain=cal.mean_strain))
    detector, grid = midas.Detector(SHAPE, 150.0), midas.CakeGrid(10, 2000, 1)
    cake_map, seconds = timed(lambda: midas.build_map(TRUTH, detector, grid))
    rows.append(row("map 2880 x 2880, 1 px x 5 deg", seconds, pixels))
    caked, seconds = timed(lambda: cake_map.apply(image))
    counts = np.nansum(caked.intensity * caked.bin_area)
    radius, _, _ = TRUTH.to_polar(*np.meshgrid(np.arange(2880.0), np.arange(2880.0)))
    assert abs(counts / image[radius > 11].sum() - 1.0) < 1e-3
    rows.append(row("apply 2880 x 2880, 1 px x 5 deg", seconds, pixels))
    return rows + real_images()


def real_images() -> list[dict[str, Any]]:
    folder = HERE.parents[1] / "shared" / "data"
    rows = []
    for name, known, center in (
        ("ceo2_ge_80p725keV.tif", {"energy": 80.725, "pixel_size": 200}, (1030.75, 1007.32)),
        ("ceo2_pilatus1m.tif", {"wavelength": 0.4066, "pixel_size": 172}, (486.92, 529.92)),
    ):
        if not (folder / name).exists():
            continue
        cal, seconds = timed(lambda path=folder / name, known=known: midas.calibrate(path, known))
        assert np.hypot(*np.subtract(cal.geometry.beam_center, center)) < 0.15
        pixels = cal.detector.n_pixels
        rows.append(row(f"calibrate {name}", seconds, pixels, mean_strain=cal.mean_strain))
    return rows


def peak_memory_mb() -> float:
    """Return the peak memory of a process that simulates and calibrates one 2880 x 2880 image [MB]."""
    code = (
        "import sys, resource; sys.path.insert(0, sys.argv[1]); import main_job as b, midas;"
        "midas.calibrate(b.shot(), {'wavelength': b.TRUTH.wavelength, 'pixel_size': 150.0});"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    found = subprocess.run([sys.executable, "-c", code, str(HERE)], capture_output=True, text=True, check=True)
    return int(found.stdout) / 1024.0  # Linux reports kB


def machine() -> dict[str, Any]:
    cpu = ""
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=HERE).stdout.strip()
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "midas": midas.__version__,
        "commit": commit,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=None)
    args = parser.parse_args()
    result = {"machine": machine(), "runs": RUNS, "rows": measure(), "peak_memory_mb": peak_memory_mb()}
    text = json.dumps(result, indent=1) + "\n"
    print(text)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text)


if __name__ == "__main__":
    main()
