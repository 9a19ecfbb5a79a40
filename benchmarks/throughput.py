"""From a compressed stack in a file to cakes in a file: frames per second, memory, and CPU time by stage.

    python benchmarks/throughput.py [--runs 9] [--frames 500] [--threads 2] [--no-peer] [--quick] [--out FILE.json]

Frames of an Eiger 4M (2162 x 2068), bitshuffled and packed with LZ4 by h5py and hdf5plugin, one to a chunk, uint16 and
uint32: Poisson counts of a background that falls from 20 to 5, with rings of some hundred counts; 20 different ones,
again and again. Bins of 1 px x 5 deg. Each program reads the file and writes a float32 cake of every frame to HDF5:

- midas: `read_frames` and `CakeMap.apply_to_file`, one process with as many threads as asked for;
- pyFAI as its experts use it: a process a core, h5py with hdf5plugin, the "full" split's csc engine called directly;
- azint (4 x 4 sub-pixels) likewise, where it is installed.

Processes are started, and maps built, before the clock. Cakes are compared before anything is timed; then the programs
take turns, each alone. A peer takes fewer frames a run (--peer-frames), its rate being the same for any number. The
files are in the page cache for all. Memory is the peak of all processes of a program (VmHWM), map and imports included.
CPU time is that of all its processes: threads over it is the rate that the cores could give, whoever else uses them.
Stages are timed alone, in one thread. --quick runs everything small and judges only answers.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import caking_programs as cp
import h5py
import hdf5plugin
import main_job
import numpy as np
from caking import agreement

import midas
from midas.cake.pixels import FrameInput

LOCATION = "entry/data/data"
RATES = {"uint16": 200.0, "uint32": 150.0}  # frames/s that there must be
MOST_MEMORY = 1.5  # GB
N_DRAWN = 20
LIMITS = {"pyFAI": 0.02, "azint": 0.15}  # of the mean difference from our cakes; see caking_programs
STAGE_FRAMES = 32

Row = dict[str, Any]


def case_of(quick: bool) -> cp.Case:
    rows, columns = (216, 206) if quick else cp.EIGERS["4M"]
    return cp.eiger(rows, columns, "Eiger 4M", 1.0, 5.0)


def expected(case: cp.Case) -> cp.Array:
    """Return mean counts: 20 in the middle falling to 5, and rings of up to 300."""
    rings = midas.simulate(
        case.geometry, case.detector, "CeO2", options=midas.SimulationOptions(peak_counts=300.0), seed=1
    ).expected
    y, z = np.meshgrid(*(np.arange(n, dtype=np.float64) for n in case.shape[::-1]))
    radius = np.hypot(y - case.geometry.beam_center[0], z - case.geometry.beam_center[1])
    return rings + 5.0 + 15.0 * np.exp(-((radius / (0.32 * case.shape[0])) ** 2))


def write_stack(path: Path, case: cp.Case, dtype: str, n: int) -> Path:
    mean = expected(case)
    with h5py.File(path, "w") as file:
        packing = hdf5plugin.Bitshuffle(cname="lz4")
        data = file.create_dataset(LOCATION, (n, *case.shape), dtype, chunks=(1, *case.shape), **packing)
        chunks = []
        for k in range(min(n, N_DRAWN)):
            data[k] = np.random.default_rng([7, k]).poisson(mean).astype(dtype)
            chunks.append(data.id.read_direct_chunk((k, 0, 0))[1])
        for k in range(len(chunks), n):
            data.id.write_direct_chunk((k, 0, 0), chunks[k % len(chunks)])
    return path


# --- programs, each in processes of its own --------------------------------------------------------------------------


def peak_memory() -> int:
    """Return the peak memory of this process [bytes]."""
    try:
        return int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1]) * 1024  # type: ignore[index]
    except OSError:  # not Linux; there it counts bytes
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def midas_job(case: cp.Case, threads: int) -> Callable[[str, str, int, int], None]:
    cake_map = midas.build_map(case.geometry, case.detector, case.grid, n_threads=threads)

    def run(source: str, target: str, first: int, end: int) -> None:
        with midas.read_frames(source, data_location=LOCATION) as frames:
            assert (first, end) == (0, len(frames))
            cake_map.apply_to_file(frames, target, n_threads=threads)

    return run


def peer_job(program: str, case: cp.Case) -> Callable[[str, str, int, int], None]:
    one = cp.frame_by_frame(program, case)

    def run(source: str, target: str, first: int, end: int) -> None:
        with h5py.File(source) as given, h5py.File(target, "w") as file:
            data = given[LOCATION]
            cakes = file.create_dataset("entry/cake/intensity", (end - first, *case.grid.shape), "f4")
            for i in range(first, end):
                cakes[i - first] = one(data[i])

    return run


def serve(program: str, quick: bool, threads: int) -> None:
    """Run jobs from standard input, one a line, and say what each took."""
    case = case_of(quick)
    run = midas_job(case, threads) if program == "midas" else peer_job(program, case)
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        before = time.process_time()
        run(*json.loads(line))
        print(json.dumps({"cpu": time.process_time() - before, "peak": peak_memory()}), flush=True)


class Program:
    """A program's processes, waiting for work."""

    def __init__(self, name: str, threads: int, quick: bool) -> None:
        self.name = name
        n, own = (1, threads) if name == "midas" else (threads, 1)
        command = [sys.executable, "-W", "ignore", __file__, "--serve", name, "--threads", str(own)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(own)}
        self.processes = [
            subprocess.Popen(
                command + ["--quick"] * quick, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
            )
            for _ in range(n)
        ]
        for process in self.processes:
            self._answer(process)

    def _answer(self, process: subprocess.Popen[str]) -> Any:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended with {process.wait()}")
        return json.loads(line)

    def run(self, source: Path, folder: Path, n: int) -> Row:
        """Cake n frames; return seconds, CPU seconds and peak memory."""
        edges = [n * k // len(self.processes) for k in range(len(self.processes) + 1)]
        begin = time.perf_counter()
        for k, process in enumerate(self.processes):
            assert process.stdin is not None
            job = [str(source), str(self.target(folder, k)), edges[k], edges[k + 1]]
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.flush()
        answers = [self._answer(process) for process in self.processes]
        seconds = time.perf_counter() - begin
        return {
            "rate": n / seconds,
            "cpu": sum(a["cpu"] for a in answers) / n,
            "peak": sum(a["peak"] for a in answers),
        }

    def target(self, folder: Path, k: int) -> Path:
        return folder / f"{self.name}-{k}.h5"

    def cakes(self, folder: Path, n: int) -> cp.Array:
        """Return the first n cakes written."""
        parts = []
        for k in range(len(self.processes)):
            with h5py.File(self.target(folder, k)) as file:
                parts.append(file["entry/cake/intensity"][:n])
        return np.concatenate(parts)[:n]

    def close(self) -> None:
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.close()
            process.wait()


# --- measuring -------------------------------------------------------------------------------------------------------


def check(programs: list[Program], files: dict[int, Path], counts: dict[str, int], folder: Path, area: cp.Array) -> Row:
    """Return how far each peer's cakes are from ours; raise where one wrote something else."""
    found: Row = {}
    for p in programs:
        p.run(files[counts[p.name]], folder, counts[p.name])
    ours = programs[0].cakes(folder, N_DRAWN)
    for p in programs[1:]:
        theirs = p.cakes(folder, N_DRAWN)
        apart = [agreement(one, other, area) for one, other in zip(theirs, ours, strict=False)]
        found[p.name] = max(apart)
        if theirs.dtype != ours.dtype or not found[p.name] <= LIMITS[p.name]:
            raise RuntimeError(f"{p.name} writes {theirs.dtype} and differs by {found[p.name]:.2g}")
    return found


def rates(dtype: str, args: argparse.Namespace, programs: list[Program], folder: Path) -> list[Row]:
    case = case_of(args.quick)
    counts = {p.name: args.frames if p.name == "midas" else args.peer_frames for p in programs}
    files = {n: write_stack(folder / f"{dtype}-{n}.h5", case, dtype, n) for n in sorted(set(counts.values()))}
    area = cp.build("midas", case, args.threads)().bin_area
    apart = check(programs, files, counts, folder, area)
    runs: dict[str, list[Row]] = {p.name: [] for p in programs}
    for _ in range(args.runs):
        for p in programs:
            runs[p.name].append(p.run(files[counts[p.name]], folder, counts[p.name]))
    rows = []
    for name, found in runs.items():
        rate, cpu = statistics.median(r["rate"] for r in found), statistics.median(r["cpu"] for r in found)
        row: Row = {"group": "rate", "name": f"{dtype}: {name}", "value": rate, "unit": "frames/s", "limit": None}
        row |= {"best": max(r["rate"] for r in found), "cpu_ms": 1e3 * cpu, "cores_allow": args.threads / cpu}
        row |= {"frames": counts[name], "differs": apart.get(name), "ok": None}
        memory: Row = {"group": "memory", "name": f"{dtype}: {name}", "unit": "GB", "limit": None, "ok": None}
        memory["value"] = max(r["peak"] for r in found) / 1e9
        if name == "midas" and not args.quick:
            row |= {"limit": RATES[dtype], "ok": rate >= RATES[dtype]}
            memory |= {"limit": MOST_MEMORY, "ok": memory["value"] <= MOST_MEMORY}
        rows += [row, memory]
    ours = rows[0]
    for row in rows[2::2]:
        ratio = {"group": "ratio", "name": f"{ours['name']} over {row['name'].split(': ')[1]}", "unit": "x", "ok": None}
        rows.append({**ratio, "value": ours["value"] / row["value"], "of_cpu": row["cpu_ms"] / ours["cpu_ms"]})
    return rows + stages(dtype, files[args.frames], folder, args)


def stages(dtype: str, path: Path, folder: Path, args: argparse.Namespace) -> list[Row]:
    """Return the CPU time of each stage of ours, alone."""
    case = case_of(args.quick)
    prepared = midas.build_map(case.geometry, case.detector, case.grid, n_threads=args.threads).prepare(FrameInput())
    with midas.read_frames(path, data_location=LOCATION) as frames:
        n = min(STAGE_FRAMES, len(frames))
        packed = frames.packed(0, n)
        assert packed is not None
        arrays = packed.frames(n_threads=1)
        cakes = prepared.apply(packed, single=True, n_threads=1).intensity
        with h5py.File(folder / "stage.h5", "w") as file:
            target = file.create_dataset("cakes", cakes.shape, "f4", chunks=(1, *cakes.shape[1:]))
            steps: dict[str, Callable[[], Any]] = {
                "read the chunks": lambda: frames.packed(0, n),
                "unpack to memory": lambda: packed.unpack(n_threads=1),
                "cake from memory": lambda: prepared.apply(arrays, single=True, n_threads=1),
                "unpack and cake by strips": lambda: prepared.apply(packed, single=True, n_threads=1),
                "write the cakes": lambda: target.write_direct(cakes),
            }
            times: dict[str, list[float]] = {name: [] for name in steps}
            for _ in range(args.runs):
                for name, step in steps.items():
                    begin = time.process_time()
                    step()
                    times[name].append((time.process_time() - begin) / n)
    rows = []
    for name, found in times.items():
        row: Row = {"group": "stage", "name": f"{dtype}: {name}", "unit": "CPU ms a frame", "limit": None, "ok": None}
        rows.append({**row, "value": 1e3 * statistics.median(found), "best": 1e3 * min(found)})
    return rows


def line(row: Row) -> str:
    """Return a row of the table."""
    more = ""
    if row["group"] == "rate":
        more = f"  best {row['best']:.0f}; {row['cpu_ms']:.2f} CPU ms a frame, the cores allow {row['cores_allow']:.0f}"
    elif row["group"] == "ratio":
        more = f"  of CPU time {row['of_cpu']:.3g}"
    elif row["group"] == "stage":
        more = f"  best {row['best']:.3g}"
    sign = ">=" if row["group"] == "rate" else "<="
    target = "" if row.get("limit") is None else f"{sign} {row['limit']:g}"
    verdict = {True: "OK", False: "NOT", None: ""}[row["ok"]]
    return f"{row['name']:<45} {row['value']:>8.4g} {row['unit']:<15} {target:>8} {verdict:<4}{more}"


def python_loop() -> float:
    """Return the seconds of a plain Python loop of 20 million additions: the machine's condition."""
    begin = time.perf_counter()
    total = 0
    for i in range(20_000_000):
        total += i
    return time.perf_counter() - begin


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--frames", type=int, default=500)
    parser.add_argument("--peer-frames", type=int, default=60)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", choices=tuple(RATES), default=None, help="one of them alone")
    parser.add_argument("--quick", action="store_true", help="small, once, rates not judged")
    parser.add_argument("--no-peer", action="store_true", help="leave the other programs out")
    parser.add_argument("--folder", type=Path, default=None, help="where there are 4 GB for the files")
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--serve", default=None, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    args = options()
    if args.serve:
        serve(args.serve, args.quick, args.threads)
        return
    if args.quick:
        args.runs, args.frames, args.peer_frames = 1, 70, 20
    peers = cp.installed(not args.no_peer)
    machine = main_job.machine() | {"load_before": os.getloadavg()[0], "threads": args.threads, "peers": peers}
    machine["python_loop_s"] = None if args.quick else min(python_loop() for _ in range(3))
    print(json.dumps(machine))
    rows: list[Row] = []
    names = ["midas", *(name for name in LIMITS if not cp.absent(peers, name))]
    programs = [Program(name, args.threads, args.quick) for name in names]
    for dtype in RATES if args.dtype is None else (args.dtype,):
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            found = rates(dtype, args, programs, Path(folder))
        print(*map(line, found), sep="\n", flush=True)
        rows += found
    for p in programs:
        p.close()
    judged = [row["ok"] for row in rows if row["ok"] is not None]
    print(f"{sum(judged)} of {len(judged)} targets met")
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        result = {"machine": machine, "runs": args.runs, "load_after": os.getloadavg()[0], "rows": rows}
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
