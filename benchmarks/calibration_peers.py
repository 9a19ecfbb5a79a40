"""The stress cases given to other programs, beside ours: pyFAI's refinement and midas-calibrate-v2.

Run from the root, with an interpreter that has the peers (`pip install pyFAI midas-calibrate-v2` in a venv of its own):

    python benchmarks/calibration_peers.py --peer-python PATH --cases 38 --out benchmarks/results/calibration_peers.json

Ours and "midas-calibrate-v2" start from image, wavelength, pixel size and calibrant. pyFAI, and v2 a second time, are
told where to start: beam centre off by 10 px in a random direction, distance by 2 % either way, tilts 0 (the recipe of
pyFAI's documentation: place the rings, extract control points, refine, twice more with the tilts free; v2's BC_guess
and initial_Lsd). Solved is a beam centre within 0.3 px and a distance within 1e-3, as in calibration_stress.py but
without the comparison over the panel, which v2's result does not offer. Peers know nothing of how sure they are.
Silver behenate and the traps are left out. Each run has its own process and a limit of time.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

OFF_PX, OFF_DISTANCE = 10.0, 0.02
TIME_LIMIT = 600.0  # s
PEERS = ("pyfai_guess", "v2", "v2_guess")


def run_pyfai_guess(data: dict[str, Any]) -> tuple[tuple[float, float], float]:
    """Return beam centre [px] and distance [µm] that pyFAI finds from the guess."""
    import pyFAI.calibrant
    import pyFAI.detectors
    import pyFAI.geometry
    import pyFAI.goniometer

    image = data["image"]
    pixel = data["pixel_size"] * 1e-6
    detector = pyFAI.detectors.Detector(pixel, pixel, max_shape=image.shape)
    detector.mask = data["mask"].astype(np.int8)
    known = pyFAI.calibrant.Calibrant(
        dspacing=sorted(data["d_spacing"], reverse=True), wavelength=data["wavelength"] * 1e-10
    )
    start = pyFAI.geometry.Geometry(detector=detector, wavelength=data["wavelength"] * 1e-10)
    y, z = data["guess_beam"]
    start.setFit2D(data["guess_distance"] / 1000.0, y + 0.5, z + 0.5)
    single = pyFAI.goniometer.SingleGeometry("case", image, calibrant=known, detector=detector, geometry=start)
    for free_tilts in (False, True, True):
        single.extract_cp(max_rings=12)
        fixed = ["wavelength", "rot3"] + ([] if free_tilts else ["rot1", "rot2"])
        single.geometry_refinement.refine3(fix=fixed)
    found = single.geometry_refinement.getFit2D()
    return (found["centerX"] - 0.5, found["centerY"] - 0.5), found["directDist"] * 1000.0


def run_v2(data: dict[str, Any], **guess: Any) -> tuple[tuple[float, float], float]:
    """Return beam centre [px] and distance [µm] that midas-calibrate-v2 finds without a guess."""
    from midas_calibrate_v2 import calibrate

    a, b, c, alpha, beta, gamma = data["cell"]
    del b, beta
    found = calibrate(
        data["image"].astype(np.float64),
        wavelength=data["wavelength"],
        pxY=data["pixel_size"],
        mask=data["mask"].astype(np.uint8),
        calibrant={"a": a, "c": c, "alpha": alpha, "gamma": gamma, "sg": data["space_group"]},
        build_residual_corr=False,
        verbose=False,
        **guess,
    )
    return (float(found.BC_y), float(found.BC_z)), float(found.Lsd)


def run_v2_guess(data: dict[str, Any]) -> tuple[tuple[float, float], float]:
    """Return what midas-calibrate-v2 finds from the guess."""
    return run_v2(data, BC_guess=tuple(data["guess_beam"]), initial_Lsd=data["guess_distance"])


def work(peer: str, folder: Path) -> None:
    """Run one peer on the case in a folder and leave answer.json there; runs in the peers' interpreter."""
    data = json.loads((folder / "case.json").read_text())
    data["image"], data["mask"] = np.load(folder / "image.npy"), np.load(folder / "mask.npy")
    begin = time.perf_counter()
    beam, distance = globals()[f"run_{peer}"](data)
    answer = {"beam": beam, "distance": distance, "seconds": time.perf_counter() - begin}
    (folder / "answer.json").write_text(json.dumps(answer))


def export(case: Any, folder: Path) -> None:
    """Write what the peers are told of a case: image, bad pixels as a mask, wavelength, calibrant, guess."""
    import stress_cases

    from midas.crystal import calibrant, rings

    image, mask, shot = stress_cases.render(case)
    gaps = (image < 0) | ((image == np.iinfo(image.dtype).max) if image.dtype.kind == "u" else False)
    np.save(folder / "image.npy", np.where(gaps, 0, image))
    np.save(folder / "mask.npy", gaps | (mask if mask is not None else False))
    del shot
    g, crystal = case.geometry, calibrant(case.told)
    rng = np.random.default_rng(case.seed)
    angle = rng.uniform(0.0, 2.0 * math.pi)
    side = float(rng.choice([-1.0, 1.0]))
    told = {
        "wavelength": g.wavelength,
        "pixel_size": g.pixel_size,
        "d_spacing": rings(crystal, g.wavelength, two_theta_max=60.0).d_spacing.tolist(),
        "cell": list(crystal.cell),
        "space_group": crystal.space_group_number,
        "guess_beam": [g.beam_center[0] + OFF_PX * math.cos(angle), g.beam_center[1] + OFF_PX * math.sin(angle)],
        "guess_distance": g.distance * (1.0 + side * OFF_DISTANCE),
    }
    (folder / "case.json").write_text(json.dumps(told))


def ask(peer: str, python: str, folder: Path, truth: Any, limit: float) -> dict[str, Any]:
    """Return how one peer did on the case in a folder."""
    answer = folder / "answer.json"
    answer.unlink(missing_ok=True)
    command = [python, str(Path(__file__).resolve()), "--work", peer, str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return {"solved": False, "error": f"no answer in {limit:.0f} s"}
    if not answer.exists():
        return {
            "solved": False,
            "error": done.stderr.strip().splitlines()[-1][:300] if done.stderr.strip() else "no answer",
        }
    found = json.loads(answer.read_text())
    beam = math.dist(found["beam"], truth.beam_center)
    distance = abs(found["distance"] / truth.distance - 1.0)
    solved = beam < 0.3 and distance < 1e-3
    return {"solved": solved, "beam_error": beam, "distance_error": distance, "seconds": found["seconds"]}


def measure(
    python: str, n: int, max_pixels: int | None, peers: list[str], limit: float
) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows so far after each case: ours and every peer."""
    import calibration_stress
    import stress_cases

    names = [c for c in stress_cases.CATEGORIES if c not in (*stress_cases.TRAPS, "too_few")]
    rows: list[dict[str, Any]] = []
    for case in stress_cases.selection(2 * n, names, max_pixels):
        if case.calibrant == "AgBehenate" or len(rows) == n:
            continue
        own = calibration_stress.run_case(case)
        if not own.enough:
            continue
        row = {
            "name": case.name,
            "midas": {
                "solved": own.solved,
                "verdict": own.verdict,
                "beam_error": own.beam_error,
                "distance_error": own.distance_error,
                "seconds": own.seconds,
            },
        }
        with tempfile.TemporaryDirectory() as place:
            export(case, Path(place))
            row |= {peer: ask(peer, python, Path(place), case.geometry, limit) for peer in peers}
        rows.append(row)
        print(
            case.name, *(f"{k}:{'solved' if v['solved'] else '-'}" for k, v in row.items() if k != "name"), flush=True
        )
        yield rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", help="interpreter that has pyFAI and midas-calibrate-v2")
    parser.add_argument("--cases", type=int, default=38)
    parser.add_argument("--max-pixels", type=int, default=1_100_000)
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--time-limit", type=float, default=TIME_LIMIT, help="of each run [s]")
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--work", nargs=2, metavar=("PEER", "FOLDER"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        work(args.work[0], Path(args.work[1]))
        return
    if not args.peer_python:
        parser.error("give --peer-python: an interpreter that has pyFAI and midas-calibrate-v2")
    from main_job import machine

    versions = subprocess.run(
        [args.peer_python, "-m", "pip", "list", "--format", "json"], capture_output=True, text=True, check=True
    ).stdout
    peers = {
        p["name"]: p["version"] for p in json.loads(versions) if p["name"].lower() in ("pyfai", "midas-calibrate-v2")
    }
    head = {"machine": machine(), "peers": peers, "time_limit_s": args.time_limit}
    for rows in measure(args.peer_python, args.cases, args.max_pixels, args.peers, args.time_limit):
        result = head | summed_up(rows, ["midas", *args.peers], args.time_limit) | {"rows": rows}
        if args.out:  # after each case: a peer may take hours
            args.out.parent.mkdir(parents=True, exist_ok=True)
            args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps({k: result[k] for k in ("peers", "cases", "solved", "median_s")}, indent=1))


def summed_up(rows: list[dict[str, Any]], programs: list[str], limit: float) -> dict[str, Any]:
    """Return how many cases each program solved, and its median time [s]; without an answer it is the limit."""
    return {
        "cases": len(rows),
        "solved": {k: sum(row[k]["solved"] for row in rows) for k in programs},
        "median_s": {k: float(np.median([row[k].get("seconds", limit) for row in rows])) for k in programs},
    }


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    main()
