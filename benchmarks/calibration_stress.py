"""How often calibration without a guess is right, and whether it knows when it is not.

Run from the root:

    python benchmarks/calibration_stress.py --jobs 2 --out benchmarks/results/calibration_stress.json
    python benchmarks/calibration_stress.py --category tilted --cases 40
    python benchmarks/calibration_stress.py --only tilted-03 --log

The cases: stress_cases.py; what counts as visible: stress_visibility.py. A case is **solved** when all three hold:

* the beam centre is within 0.3 px of the truth,
* the distance is within 1e-3 of it,
* over the visible ring positions the radius that the found geometry gives, L tan(2theta) with the true L, is within
  0.3 px of the true one (root mean square). This is what integration sees; with a large tilt, beam centre, distance and
  tilt may each look right while their combination is not, or the other way round, so both are asked for.

A wrong answer called good is a case not solved whose verdict is "good". Of `wrong_calibrant` and `no_rings` nothing can
be right unless it is solved all the same. The goals: at least 99 % solved where at least four rings over 60 deg are
visible, and no wrong answer called good at all. Exit status 1 when there is one.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
import stress_cases as suite
from main_job import machine
from stress_visibility import Visible, visible_rings

BEAM = 0.3  # px
DISTANCE = 1e-3
PANEL = 0.3  # px
DEFAULT_CASES = 380
_LOGGED = "%(name)s: %(message)s"


@dataclass(frozen=True)
class Outcome:
    """One case as JSON holds it. Lengths in px and µm, angles in deg, times in s."""

    name: str
    category: str
    calibrant: str
    energy: float
    pixel_size: float
    shape: tuple[int, int]
    true_distance: float
    true_beam: tuple[float, float]
    true_tilts: tuple[float, float]
    n_visible: int
    arc: float
    enough: bool
    """At least four rings visible over 60 deg."""
    beam_limit: float | None
    """Standard uncertainty of the beam centre that counting statistics allow [px]."""
    distance_limit: float | None
    verdict: str
    """good, doubtful, failed; "refused" when calibrate raised FitError or InputError, "crashed" for anything else."""
    reasons: tuple[str, ...]
    solved: bool
    beam_error: float | None
    distance_error: float | None
    panel_error: float | None
    seed_beam_error: float | None
    seed_distance_error: float | None
    mean_strain: float | None
    held_out_strain: float | None
    n_points: int
    evidence: dict[str, Any] | None
    """What the verdict rests on, as the calibration gathered it."""
    seconds: float
    cpu_seconds: float

    @property
    def trap(self) -> bool:
        return self.category in suite.TRAPS

    @property
    def wrong_called_good(self) -> bool:
        return self.verdict == "good" and not self.solved


def run_case(case: suite.Case) -> Outcome:
    """Render one case, calibrate it and compare with the truth."""
    import midas

    image, mask, shot = suite.render(case)
    visible = visible_rings(case, shot)
    shot = None  # the calibration's memory is its own
    started, cpu = time.perf_counter(), time.process_time()
    found, verdict, reasons = None, "", ()
    try:
        found = midas.calibrate(image, case.params(), mask=mask, n_threads=1)
        verdict, reasons = found.verdict, found.reasons
    except (midas.FitError, midas.InputError) as error:
        verdict, reasons = "refused", (str(error),)
    except Exception as error:  # noqa: BLE001 - a crash is a result of the benchmark
        verdict, reasons = "crashed", (f"{type(error).__name__}: {error}",)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    errors = compare(case.geometry, found.geometry, visible) if found is not None else (None, None, None)
    g = case.geometry
    return Outcome(
        name=case.name,
        category=case.category,
        calibrant=case.calibrant,
        energy=case.energy,
        pixel_size=g.pixel_size,
        shape=case.shape,
        true_distance=g.distance,
        true_beam=g.beam_center,
        true_tilts=(g.tilts[1], g.tilts[2]),
        n_visible=visible.n_rings,
        arc=visible.arc,
        enough=visible.enough,
        beam_limit=_finite(visible.beam_esd),
        distance_limit=_finite(visible.distance_esd),
        verdict=verdict,
        reasons=tuple(reasons),
        solved=is_solved(*errors),
        beam_error=_finite(errors[0]),
        distance_error=_finite(errors[1]),
        panel_error=_finite(errors[2]),
        seed_beam_error=_finite(found and math.dist(found.seed.beam_center, g.beam_center)),
        seed_distance_error=_finite(found and abs(found.seed.distance / g.distance - 1.0)),
        mean_strain=_finite(found and found.mean_strain),
        held_out_strain=_finite(found and found.held_out_strain),
        n_points=int(found.used.sum()) if found is not None else 0,
        evidence=None if found is None else _plain(asdict(found.evidence)),
        seconds=seconds,
        cpu_seconds=cpu,
    )


def compare(truth: Any, found: Any, visible: Visible) -> tuple[float, float, float]:
    """Return errors of the beam centre [px], of the distance (relative), and rms of the radius over the panel [px]."""
    beam = math.dist(found.beam_center, truth.beam_center)
    distance = abs(found.distance / truth.distance - 1.0)
    if len(visible.y) == 0:
        return beam, distance, math.nan
    angles = [np.radians(g.to_polar(visible.y, visible.z, n_threads=1)[1]) for g in (truth, found)]
    radii = [truth.distance / truth.pixel_size * np.tan(a) for a in angles]
    return beam, distance, float(np.sqrt(np.mean((radii[1] - radii[0]) ** 2)))


def is_solved(beam: float | None, distance: float | None, panel: float | None) -> bool:
    if beam is None or distance is None or panel is None:
        return False
    return beam < BEAM and distance < DISTANCE and not panel >= PANEL


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {k: _finite(v) if isinstance(v, float) else v for k, v in values.items()}


def run_all(cases: list[suite.Case], jobs: int) -> Iterator[Outcome]:
    """Yield outcomes as they come; one thread a case, `jobs` processes."""
    if jobs == 1:
        yield from map(run_case, cases)
        return
    os.environ["OMP_NUM_THREADS"] = "1"  # of the children
    context = multiprocessing.get_context("spawn")
    level = logging.getLogger().level
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_log_from, initargs=(level,)) as pool:
        # Large images first, so that the last ones to finish are small.
        ordered = sorted(cases, key=lambda c: -c.shape[0] * c.shape[1])
        for future in as_completed([pool.submit(run_case, case) for case in ordered]):
            yield future.result()


def _log_from(level: int) -> None:
    logging.basicConfig(level=level, format=_LOGGED)


def summary(outcomes: list[Outcome]) -> dict[str, Any]:
    """Return the benchmark's figures."""
    real = [o for o in outcomes if not o.trap]
    enough = [o for o in real if o.enough]
    rest = [o for o in real if not o.enough]
    unsolved = [o for o in outcomes if not o.solved]
    solved = [o for o in enough if o.solved]
    return {
        "cases": len(outcomes),
        "enough_rings": len(enough),
        "solved_of_enough": len(solved),
        "solved_share": len(solved) / len(enough) if enough else None,
        "too_little_visible": len(rest),
        "solved_of_too_little": sum(o.solved for o in rest),
        "unsolved": len(unsolved),
        "unsolved_said_so": sum(o.verdict in ("doubtful", "failed", "refused") for o in unsolved),
        "wrong_called_good": sorted(o.name for o in outcomes if o.wrong_called_good),
        "solved_called_good": sum(o.verdict == "good" for o in solved),
        "crashed": sorted(o.name for o in outcomes if o.verdict == "crashed"),
        "median_seconds": float(np.median([o.seconds for o in outcomes])) if outcomes else None,
        "cpu_seconds": sum(o.cpu_seconds for o in outcomes),
        "categories": {c: _category(outcomes, c) for c in sorted({o.category for o in outcomes})},
    }


def _category(outcomes: list[Outcome], category: str) -> dict[str, Any]:
    chosen = [o for o in outcomes if o.category == category]
    enough = [o for o in chosen if o.enough]
    return {
        "cases": len(chosen),
        "enough_rings": len(enough),
        "solved_of_enough": sum(o.solved for o in enough),
        "solved": sum(o.solved for o in chosen),
        "solved_called_good": sum(o.solved and o.verdict == "good" for o in chosen),
        "wrong_called_good": sum(o.wrong_called_good for o in chosen),
        "failures": sorted(o.name for o in enough if not o.solved and not o.trap),
    }


def report(figures: dict[str, Any]) -> str:
    """Return the figures as a table."""
    lines = [f"{'category':16s} cases  visible  solved  all solved  solved&good  wrong&good"]
    for name, row in figures["categories"].items():
        lines.append(
            f"{name:16s} {row['cases']:5d}  {row['enough_rings']:7d}  {row['solved_of_enough']:6d}  {row['solved']:10d}"
            f"  {row['solved_called_good']:11d}  {row['wrong_called_good']:10d}  {' '.join(row['failures'])}"
        )
    n, solved = figures["enough_rings"], figures["solved_of_enough"]
    lines.append(f"with >= 4 rings over 60 deg: {solved} of {n} solved" + (f" = {solved / n:.1%}" if n else ""))
    lines.append(f"of those solved, called good: {figures['solved_called_good']}")
    lines.append(f"not solved: {figures['unsolved']}, of which said so: {figures['unsolved_said_so']}")
    lines.append(f"wrong answers called good: {len(figures['wrong_called_good'])} {figures['wrong_called_good']}")
    lines.append(f"crashed: {len(figures['crashed'])} {figures['crashed']}")
    return "\n".join(lines)


def line(o: Outcome) -> str:
    """Return one case as a line."""
    errors = "" if o.beam_error is None else f" beam {o.beam_error:9.3f} px dist {o.distance_error:8.1e}"
    if o.panel_error is not None:
        errors += f" panel {o.panel_error:8.3f} px strain {(o.mean_strain or 0) * 1e6:6.0f}"
    mark = "WRONG&GOOD" if o.wrong_called_good else "solved" if o.solved else "-"
    why = "" if o.verdict == "good" else "; ".join(o.reasons)[:160]
    seen = f"{o.n_visible:3d} rings {o.arc:4.0f} deg"
    return f"{o.name:18s} {seen} {mark:10s} {o.verdict:8s}{errors} {o.seconds:5.1f} s  {why}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=DEFAULT_CASES, help="how many, spread over the categories")
    parser.add_argument("--category", action="append", choices=list(suite.CATEGORIES), help="only this; repeatable")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="one case by name; repeatable")
    parser.add_argument("--jobs", type=int, default=1, help="processes, one thread each")
    parser.add_argument("--max-pixels", type=int, default=None, help="skip larger images")
    parser.add_argument("--out", type=Path, default=None, help="JSON to write")
    parser.add_argument("--evidence", action="store_true", help="write each case's evidence, too")
    parser.add_argument("--log", action="store_true", help="show what the calibration logs")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO if args.log else logging.CRITICAL, format=_LOGGED)
    cases = [suite.case_named(name) for name in args.only]
    cases = cases or suite.selection(args.cases, args.category, args.max_pixels)
    outcomes = []
    for outcome in run_all(cases, args.jobs):
        outcomes.append(outcome)
        print(line(outcome), flush=True)
    figures = summary(outcomes)
    print(report(figures))
    if args.out:
        rows = [asdict(o) for o in sorted(outcomes, key=lambda o: o.name)]
        if not args.evidence:
            rows = [{k: v for k, v in row.items() if k != "evidence"} for row in rows]
        result = {"machine": machine(), "limits": [BEAM, DISTANCE, PANEL], "summary": figures, "cases": rows}
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(result, indent=1) + "\n")
    return 1 if figures["wrong_called_good"] or figures["crashed"] else 0


if __name__ == "__main__":
    sys.exit(main())
