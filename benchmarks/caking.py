"""How long caking takes beside pyFAI and azint, how near memory speed it is, what its map costs and how right it is.

    python benchmarks/caking.py [--runs 9] [--threads 2] [--only speed] [--no-peer] [--quick] [--out FILE.json]

- speed: a frame alone (`PreparedMap.apply` of one frame) and 32 different frames at once, per frame, beside pyFAI's
  engines called directly, as its users do who need speed, its integrate2d_ng as people write it, and azint. Answers are
  compared before anything is timed; each run takes all programs in turn, each with another frame. All give a float32
  cake. For a stack pyFAI's csr product runs in threads frame by frame; csc and azint, which run in one thread, take as
  many frames side by side as there are threads: the quicker way of each.
- bandwidth: a stack's time per frame over that of reading its bytes from memory once, medians of both. Memory is read
  between the runs by as many threads, each summing an array of 256 MiB of its own with numpy (np.add.reduce and
  np.maximum.reduce over uint64; the quicker counts). `over_best` is over the best read of the whole run.
- threads: midas with one thread and with as many as asked for.
- map: seconds to build the map in a new process and the peak memory of that process (VmHWM), imports and all.
- accuracy: caking_accuracy.py.

azint is on conda (channel maxiv), not on PyPI: it is compared where it is installed. midas-integrate's map is timed
where it and numba are, compiled beforehand; its package wants torch, which the map does not use. --quick runs
everything small and judges only answers.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import caking_accuracy
import caking_programs as cp
import main_job
import numpy as np

GROUPS = ("speed", "bandwidth", "threads", "map", "accuracy")
N_FRAMES = 32
ONES_A_RUN = 3  # frames alone that each program takes in a run
MOST_BYTES = 2**31  # of a stack
READ_BYTES = 2**28  # that each thread reads from memory
PEER_MAP_LIMIT = 600.0  # s
REST = 0.01  # s between programs, until threads of the one before have gone to sleep
VARIANCE_LIMIT = 1.5
MOST_MEMORY = 1.5  # GB, of the process that builds a map
# Largest share of a peer's time, (a frame alone, a stack), by detector.
LIMITS = {
    "panel": {"pyFAI full csr, engine": (1 / 10, 1 / 40), "sampling": (1 / 3, 1 / 8)},
    "Eiger": {"pyFAI full csr, engine": (1 / 6, 1 / 30)},
}

MAP_CODE = """
import json, re, resource, sys, time
sys.path.insert(0, sys.argv[1])
import caking_programs as cp
make = cp.build(sys.argv[2], cp.Case(*json.loads(sys.argv[3])), int(sys.argv[4]))
begin = time.perf_counter()
made = make()
seconds = time.perf_counter() - begin
try:
    peak = int(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1]) * 1024
except OSError:  # not Linux; there it counts bytes
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([seconds, peak]))
"""

Row = dict[str, Any]


def seconds_of(action: Callable[[], Any]) -> float:
    time.sleep(REST)
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def judge(value: float, most: float | None, quick: bool) -> bool | None:
    return None if most is None or quick else bool(value <= most)


# --- speed -----------------------------------------------------------------------------------------------------------


def agreement(found: cp.Array, ours: cp.Array, area: cp.Array) -> float:
    """Return the mean difference from our cake as a share of its intensity, over bins of at least a pixel."""
    used = (area >= 1.0) & np.isfinite(found) & np.isfinite(ours)
    if used.sum() < 0.9 * (area >= 1.0).sum():
        return np.inf
    return float((area * np.abs(found - ours))[used].sum() / (area * ours)[used].sum())


def check(programs: Sequence[cp.Program], frame: cp.Array, area: cp.Array) -> dict[str, float]:
    """Return how far each program is from ours; raise where one caked something else."""
    ours, found = programs[0].one(frame), {}
    for p in programs:
        cake = p.one(frame)
        found[p.name] = agreement(cake, ours, area)
        if cake.dtype != np.float32 or not found[p.name] <= p.limit:
            raise RuntimeError(f"{p.name} gives {cake.dtype} and differs by {found[p.name]:.2g}; most {p.limit:g}")
    return found


def speed(case: cp.Case, runs: int, threads: int, quick: bool, peers: dict[str, str]) -> list[Row]:
    """Return times of every program on a case and their ratios."""
    stack = cp.frames(case, "uint16", 4 if quick else N_FRAMES)
    programs = cp.programs(case, threads, peers)
    apart = check(programs, stack[0], cp.build("midas", case, threads)().bin_area)
    batched = [p for p in programs if p.many is not None]
    for p in batched:
        p.many(stack[:2])  # type: ignore[misc]
    one: dict[str, list[float]] = {p.name: [] for p in programs}
    many: dict[str, list[float]] = {p.name: [] for p in batched}
    for r in range(runs):
        for k in range(ONES_A_RUN * len(programs)):
            p, frame = programs[k % len(programs)], stack[(r * len(programs) + k) % len(stack)]
            one[p.name].append(seconds_of(lambda p=p, frame=frame: p.one(frame)))
        for p in batched:
            many[p.name].append(seconds_of(lambda p=p: p.many(stack)) / len(stack))
    rows = []
    for name in one:
        row = {"group": "speed", "name": f"{case.bins}: {name}", "unit": "ms", "differs": apart[name], "ok": None}
        row |= {"value": 1e3 * statistics.median(one[name]), "best": 1e3 * min(one[name]), "limit": None}
        row |= {"pixels_per_s": case.pixels / statistics.median(one[name])}
        if name in many:
            row |= {"stack": 1e3 * statistics.median(many[name]), "stack_best": 1e3 * min(many[name])}
        rows.append(row)
    return rows + ratios(case, one, many, quick)


def ratios(case: cp.Case, one: dict[str, list[float]], many: dict[str, list[float]], quick: bool) -> list[Row]:
    """Return the time with variance over that without, and ours over each peer's."""
    rows: list[Row] = []
    sampling = next((n for n in one if n.startswith("azint")), "pyFAI full csc, engine")
    limits = LIMITS[case.name.split()[0]]
    for name in one:
        if name == "midas":
            continue
        most = limits.get("sampling" if name == sampling else name, (None, None))
        for k, (what, times) in enumerate((("frame", one), ("stack", many))):
            if name not in times:
                continue
            above, below, limit, label = "midas", name, most[k], f"{what}, midas over {name}"
            if name == "midas, variance":
                above, below, limit, label = name, "midas", VARIANCE_LIMIT, f"{what}, with variance over without"
            ratio = statistics.median(times[above]) / statistics.median(times[below])
            row = {"group": "speed", "name": f"{case.bins}: {label}", "value": ratio, "unit": "ratio"}
            row |= {"of_best": min(times[above]) / min(times[below])}
            rows.append({**row, "limit": limit, "ok": judge(ratio, limit, quick)})
    return rows


def speed_cases(quick: bool) -> list[cp.Case]:
    n, (rows, columns) = (288, (216, 206)) if quick else (2880, cp.EIGERS["4M"])
    found = [cp.panel(n, eta_step=eta_step) for eta_step in (5.0, 360.0)]
    return found + [cp.eiger(rows, columns, "Eiger 4M", eta_step=eta_step) for eta_step in (1.0, 360.0)]


# --- bandwidth -------------------------------------------------------------------------------------------------------


class Memory:
    """Reads arrays larger than any cache, one for each thread."""

    def __init__(self, threads: int, n_bytes: int) -> None:
        self.arrays = [np.full(n_bytes // 8, k + 1, np.uint64) for k in range(threads)]
        self.pool = ThreadPoolExecutor(threads)
        self.best = 0.0

    def read(self) -> float:
        """Read them once each way; return the larger bandwidth [bytes/s] and keep the largest of all."""
        total = sum(a.nbytes for a in self.arrays)
        reads = (np.add.reduce, np.maximum.reduce)
        quickest = min(seconds_of(lambda read=read: list(self.pool.map(read, self.arrays))) for read in reads)
        self.best = max(self.best, total / quickest)
        return total / quickest


def bandwidth(runs: int, threads: int, quick: bool) -> list[Row]:
    cases = [(cp.panel(288 if quick else 2880), 4.0)]
    shrink = 10 if quick else 1
    cases += [(cp.eiger(r // shrink, c // shrink, f"Eiger {name}"), 6.0) for name, (r, c) in cp.EIGERS.items()]
    memory, rows = Memory(threads, 2**22 if quick else READ_BYTES), []
    for case, limit in cases:
        program = cp.midas_programs(case, threads)[0]
        drawn = cp.frames(case, "uint16", 4 if quick else N_FRAMES)
        for dtype in ("uint16", "uint32"):
            n_bytes = case.pixels * np.dtype(dtype).itemsize
            n = len(drawn) if quick else min(N_FRAMES, MOST_BYTES // n_bytes // 16 * 16)
            stack = drawn[:n].astype(dtype)
            program.many(stack)  # type: ignore[misc]
            times, read = [], []
            for _ in range(runs):
                read.append(memory.read())
                times.append(seconds_of(lambda stack=stack, program=program: program.many(stack)) / n)
            rows.append({"name": f"{case.bins}, {dtype}", "ms": 1e3 * statistics.median(times), "bytes": n_bytes})
            rows[-1] |= {"limit": limit, "frames": n, "pixels_per_s": case.pixels / statistics.median(times)}
            rows[-1] |= {"GB_per_s": statistics.median(read) / 1e9}
            del stack
    for row in rows:
        floor = row["bytes"] / row["GB_per_s"] / 1e6
        row |= {"group": "bandwidth", "unit": "x floor", "value": row["ms"] / floor, "floor_ms": floor}
        row |= {"over_best": 1e-3 * row["ms"] * memory.best / row["bytes"]}
        row |= {"ok": judge(row["value"], row["limit"], quick)}
    return rows


# --- threads ---------------------------------------------------------------------------------------------------------


def scaling(runs: int, threads: int, quick: bool) -> list[Row]:
    """Return times of midas with one thread and with several, by turns."""
    rows: list[Row] = []
    shrink = 10 if quick else 1
    for case in (cp.panel(2880 // shrink), cp.eiger(*(n // shrink for n in cp.EIGERS["4M"]), "Eiger 4M")):
        stack = cp.frames(case, "uint16", 4 if quick else N_FRAMES)
        programs = {n: cp.midas_programs(case, n)[0] for n in (1, threads)}
        times: dict[tuple[int, str], list[float]] = {(n, what): [] for n in programs for what in ("frame", "stack")}
        for program in programs.values():
            program.many(stack)  # type: ignore[misc]
        for r in range(runs):
            for n, program in programs.items():
                frame = stack[r % len(stack)]
                times[n, "frame"].append(seconds_of(lambda p=program, frame=frame: p.one(frame)))
                times[n, "stack"].append(seconds_of(lambda p=program, stack=stack: p.many(stack)) / len(stack))
        for what in ("frame", "stack"):
            one, several = (statistics.median(times[n, what]) for n in (1, threads))
            row = {"group": "threads", "name": f"{case.bins}: {what}, 1 over {threads} threads", "unit": "ratio"}
            row |= {"value": one / several, "one_ms": 1e3 * one, "several_ms": 1e3 * several, "ok": None}
            rows.append(row)
    return rows


# --- maps ------------------------------------------------------------------------------------------------------------


def map_once(program: str, case: cp.Case, threads: int) -> tuple[float, float]:
    """Return seconds and peak memory [bytes] of building a map in a process of its own."""
    fields = [case.name, case.shape, case.pixel_size, case.distance, case.wavelength, case.radius_step, case.eta_step]
    command = [sys.executable, "-W", "ignore", "-c", MAP_CODE, str(main_job.HERE), program]
    command += [json.dumps(fields), str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PEER_MAP_LIMIT)
    if done.returncode != 0:
        raise RuntimeError(f"ended with {done.returncode}: {done.stderr[-300:]}")
    seconds, peak = json.loads(done.stdout.strip().splitlines()[-1])
    return seconds, peak


def map_cases(quick: bool) -> list[tuple[cp.Case, float]]:
    """Return what to build maps of, and the most seconds that ours may take."""
    rows, columns = cp.EIGERS["16M"]
    if quick:
        return [(cp.panel(288), 1.0), (cp.eiger(rows // 20, columns // 20, "Eiger 16M"), 4.0)]
    return [(cp.panel(2880), 1.0), (cp.eiger(rows, columns, "Eiger 16M"), 4.0)]


def maps(case: cp.Case, most: float, program: str, runs: int, threads: int, quick: bool) -> list[Row]:
    """Return time and memory of a program's map; a peer takes long: once is enough to see how long."""
    mine = program == "midas"
    row: Row = {"group": "map", "name": f"{case.bins}: {program}", "limit": None, "ok": None}
    try:
        found = [map_once(program, case, threads) for _ in range(runs if mine else 1)]
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        if mine:
            raise
        return [{**row, "value": None, "unit": "s", "failed": str(error)[-300:]}]
    limits = (most, MOST_MEMORY) if mine else (None, None)
    values = (statistics.median(s for s, _ in found), max(p for _, p in found) / 1e9)
    rows = []
    for value, limit, unit in zip(values, limits, ("s", "GB"), strict=True):
        rows.append({**row, "value": value, "unit": unit, "limit": limit, "ok": judge(value, limit, quick)})
        rows[-1] |= {"runs": len(found), "best_s": min(s for s, _ in found)}
    return rows


# --- all -------------------------------------------------------------------------------------------------------------


def line(row: Row) -> str:
    """Return a row of the table."""
    target, more = "", ""
    if row.get("limit") is not None:
        target = f"<= {row['limit']:.4g}"
    elif row.get("limits"):
        low, high = row["limits"]
        target = f"<= {high:.4g}" if low == 0.0 else f"{low:g} .. {high:g}"
    if "stack" in row:
        more = f"  stack {row['stack']:.3f} ms a frame"
    elif "of_best" in row:
        more = f"  of the best runs {row['of_best']:.4g}"
    elif "one_ms" in row:
        more = f"  {row['one_ms']:.2f} and {row['several_ms']:.2f} ms a frame"
    elif "ms" in row:
        more = f"  {row['ms']:.2f} ms a frame, floor {row['floor_ms']:.2f}; over the best {row['over_best']:.2f}"
    elif "share_within" in row:
        more = f"  {100 * row['share_within']:.2f} % of {row['bins']} bins within, median {row['median']:.1e}"
    elif "pyfai_part" in row:
        more = f"  pyFAI's part {row['pyfai_part']:.1e}"
    elif "failed" in row:
        more = "  failed: " + row["failed"].strip().splitlines()[-1][:100]
    verdict = {True: "OK", False: "NOT", None: ""}[row["ok"]]
    value = "" if row["value"] is None else f"{row['value']:.4g} {row.get('unit', '')}"
    return f"{row['name']:<95} {value:>16} {target:>13} {verdict:<4}{more}"


def measure(args: argparse.Namespace, peers: dict[str, str]) -> list[Row]:
    runs = 1 if args.quick else args.runs
    steps: list[tuple[str, Callable[[], list[Row]]]] = [
        ("speed", functools.partial(speed, case, runs, args.threads, args.quick, peers))
        for case in speed_cases(args.quick)
    ]
    steps.append(("bandwidth", lambda: bandwidth(runs, args.threads, args.quick)))
    steps.append(("threads", lambda: scaling(runs, args.threads, args.quick)))
    for case, most in map_cases(args.quick):
        for program in ("midas", *(p for p in ("pyFAI", "midas-integrate") if not cp.absent(peers, p))):
            job = functools.partial(maps, case, most, program, runs, args.threads, args.quick)
            steps.append(("map", job))
    steps.append(("accuracy", lambda: caking_accuracy.measure(args.quick, peers)))
    rows = []
    for group, step in steps:
        if args.only in (None, group):
            for row in step():
                print(line(row), flush=True)
                rows.append(row)
    return rows


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=GROUPS, default=None)
    parser.add_argument("--quick", action="store_true", help="small, once, times not judged")
    parser.add_argument("--no-peer", action="store_true", help="leave the other programs out")
    parser.add_argument("--out", type=Path, default=None)
    return parser.parse_args()


def main() -> None:
    args = options()
    if os.environ.get("OMP_NUM_THREADS") != str(args.threads):  # OpenMP reads it when it is loaded: start again
        os.environ["OMP_NUM_THREADS"] = str(args.threads)
        os.execv(sys.executable, [sys.executable, *sys.argv])
    peers = cp.installed(not args.no_peer)
    machine = main_job.machine() | {"load_before": os.getloadavg()[0], "threads": args.threads, "peers": peers}
    print(json.dumps(machine))
    rows = measure(args, peers)
    judged = [row["ok"] for row in rows if row["ok"] is not None]
    print(f"{sum(judged)} of {len(judged)} targets met")
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        runs = 1 if args.quick else args.runs
        result = {"machine": machine, "runs": runs, "load_after": os.getloadavg()[0], "rows": rows}
        args.out.write_text(json.dumps(result, indent=1) + "\n")
    if args.quick and not all(row["ok"] for row in rows if row["ok"] is not None and "share_within" not in row):
        sys.exit(1)  # a difference from a peer does not say which of the two is wrong


if __name__ == "__main__":
    main()
