"""Whole-process time and memory of a calibration, from the file to all written files, answers checked first.

    python benchmarks/calibration_process.py [--runs 5] [--no-peer] [--out benchmarks/results/calibration_process.json]

Each run is a process of its own: `midas calibrate IMAGE ...` with its pictures, and beside it pyFAI's scripted recipe
(control points extracted around a geometry 10 px and 2 % off, refined, written as a .poni; extra `bench`), which draws
nothing. Wall and CPU seconds come from the system's account of that process, memory is the peak of the
sum over it and its helpers. Images: a simulated 2880 x 2880, and the real ones where they are beside the project.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import main_job
import numpy as np
import tifffile

HERE = Path(__file__).resolve().parent
DATA = HERE.parents[1] / "shared" / "data"
GUESS_OFF = (7.0, -7.0, 1.02)  # px, px, factor of the distance: about 10 px and 2 %
MOST_RINGS = 10  # that the peer extracts


@dataclass(frozen=True)
class Case:
    """An image and what a right answer is."""

    name: str
    path: Path
    wavelength: float  # Å
    pixel_size: float  # µm
    beam_center: tuple[float, float]  # px, column and row
    distance: float  # µm
    shape: tuple[int, int]


@dataclass(frozen=True)
class Run:
    """What the system says of a process."""

    wall: float  # s
    cpu: float  # s, user and system
    peak: float  # MB


PEER = """
import sys, json, numpy as np, fabio, pyFAI
from pyFAI.calibrant import get_calibrant
from pyFAI.detectors import Detector
from pyFAI.geometry import Geometry
from pyFAI.goniometer import SingleGeometry
case = json.loads(sys.argv[1])
pixel, wavelength = case["pixel_size"] * 1e-6, case["wavelength"] * 1e-10
image = fabio.open(case["path"]).data
detector = Detector(pixel, pixel, max_shape=tuple(image.shape))
detector.mask = (image < 0).astype("int8")
calibrant = get_calibrant("CeO2"); calibrant.wavelength = wavelength
guess = Geometry(case["distance"] * 1e-6, (case["z"] + 0.5) * pixel, (case["y"] + 0.5) * pixel,
                 detector=detector, wavelength=wavelength)
single = SingleGeometry("image", image, calibrant=calibrant, detector=detector, geometry=guess)
for rings in (5, case["rings"]):
    single.extract_cp(max_rings=rings)
    single.geometry_refinement.refine2(fix=["wavelength"])
single.geometry_refinement.save(case["poni"])
found = single.geometry_refinement.getFit2D()
print(json.dumps([found["centerX"] - 0.5, found["centerY"] - 0.5, found["directDist"] * 1e3]))
"""


def cases(folder: Path) -> list[Case]:
    truth = main_job.TRUTH
    path = folder / "simulated_2880.tif"
    tifffile.imwrite(path, main_job.shot())
    found = [
        Case("simulated 2880 x 2880", path, truth.wavelength, 150.0, truth.beam_center, truth.distance, (2880, 2880))
    ]
    for name, wavelength, pixel, center, distance, shape in (
        ("ceo2_ge_80p725keV.tif", 12.398419843 / 80.725, 200.0, (1030.74, 1007.32), 1050.76e3, (2048, 2048)),
        ("ceo2_pilatus1m.tif", 0.4066, 172.0, (486.92, 529.90), 208.75e3, (1043, 981)),
    ):
        if (DATA / name).exists():
            found.append(Case(name, DATA / name, wavelength, pixel, center, distance, shape))
    return found


def run(command: list[str], log: Path) -> Run:
    """Run a command to its end and return what it took; its output goes to the log."""
    with log.open("w") as stream:
        begin = time.perf_counter()
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT)
        memory = Memory(process.pid)
        memory.start()
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1):  # 1: midas calibrated, and says that the result is not good
        raise RuntimeError(f"{command[:4]} ended with {process.returncode}:\n{log.read_text()[-2000:]}")
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return Run(wall, used.ru_utime + used.ru_stime, max(memory.peak, used.ru_maxrss / unit))


class Memory(threading.Thread):
    """Watches the memory of a process and its helpers, which peak together, 20 times a second until it ends."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.peak = pid, 0.0

    def run(self) -> None:
        while (now := proportional(self.pid)) > 0.0:
            self.peak = max(self.peak, now)
            time.sleep(0.05)


def proportional(pid: int) -> float:
    """Return the memory of a process and its children [MB], shared pages in parts; 0 where there is no /proc."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # it has just ended
        return 0.0
    own = next((float(line.split()[1]) for line in lines if line.startswith("Pss:")), 0.0)
    return own / 1024.0 + sum(proportional(int(child)) for child in children)


def midas_run(case: Case, folder: Path) -> Run:
    out = folder / "midas"
    command = [sys.executable, "-m", "midas.cli", "calibrate", str(case.path), "--calibrant", "CeO2"]
    command += ["--wavelength", str(case.wavelength), "--pixel-size", str(case.pixel_size), "--out", str(out)]
    used = run(command, folder / "midas.log")
    found = json.loads((out / "calibration.json").read_text())["geometry"]
    check(case, (*found["beam_center"], found["distance"]), (0.2, 1e-3))
    assert (out / "calibration.png").stat().st_size > 50_000
    return used


def peer_run(case: Case, folder: Path) -> Run:
    given = {"path": str(case.path), "wavelength": case.wavelength, "pixel_size": case.pixel_size}
    given |= {"distance": case.distance * GUESS_OFF[2], "rings": MOST_RINGS, "poni": str(folder / "peer.poni")}
    given |= {"y": case.beam_center[0] + GUESS_OFF[0], "z": case.beam_center[1] + GUESS_OFF[1]}
    log = folder / "peer.log"
    used = run([sys.executable, "-c", PEER, json.dumps(given)], log)
    # The peer fits no distortion, which moves its centre and distance a little: it is held to a pixel and 1 %.
    check(case, json.loads(log.read_text().strip().splitlines()[-1]), (1.0, 1e-2))
    return used


def check(case: Case, found: Any, limits: tuple[float, float]) -> None:
    """Refuse to time a wrong answer."""
    off = float(np.hypot(found[0] - case.beam_center[0], found[1] - case.beam_center[1]))
    if off > limits[0] or abs(found[2] / case.distance - 1.0) > limits[1]:
        raise RuntimeError(f"{case.name}: found {found}, expected {case.beam_center} px and {case.distance} µm")


def row(case: Case, program: str, runs: list[Run]) -> dict[str, Any]:
    median = {name: statistics.median(getattr(r, name) for r in runs) for name in ("wall", "cpu", "peak")}
    return {
        "name": case.name,
        "program": program,
        "median_wall_s": round(median["wall"], 3),
        "min_wall_s": round(min(r.wall for r in runs), 3),
        "median_cpu_s": round(median["cpu"], 3),
        "peak_memory_mb": round(median["peak"], 1),
        "pixels_per_s": round(case.shape[0] * case.shape[1] / median["wall"]),
    }


def measure(n_runs: int, peer: bool) -> list[dict[str, Any]]:
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for case in cases(folder):
            rows.append(row(case, "midas calibrate", [midas_run(case, folder) for _ in range(n_runs)]))
            print(json.dumps(rows[-1]), file=sys.stderr)
            if peer:
                try:
                    rows.append(row(case, "pyFAI recipe", [peer_run(case, folder) for _ in range(n_runs)]))
                except RuntimeError as error:  # a peer that fails is a finding, not the end of the benchmark
                    rows.append({"name": case.name, "program": "pyFAI recipe", "failed": str(error)[-300:]})
                print(json.dumps(rows[-1]), file=sys.stderr)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=main_job.RUNS)
    parser.add_argument("--no-peer", action="store_true", help="leave pyFAI out")
    parser.add_argument("--out", type=Path, default=None)
    args = parser.parse_args()
    peer = not args.no_peer and importlib.util.find_spec("pyFAI") is not None
    machine = main_job.machine() | {"load_before": os.getloadavg()[0]}
    if peer:
        from importlib.metadata import version

        machine["pyFAI"] = version("pyFAI")
    text = json.dumps({"machine": machine, "runs": args.runs, "rows": measure(args.runs, peer)}, indent=1) + "\n"
    print(text)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text)


if __name__ == "__main__":
    main()
