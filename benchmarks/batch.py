"""Integration of many files put to the test: killed, on a full disk, on a cluster, and of a stack larger than memory.

    python benchmarks/batch.py [--only killed|executors|disk|memory] [--files 1000] [--quick] [--out FILE.json]

- killed: `midas integrate` over files of ten frames (Poisson counts), of which 1 % are corrupt (cut off, overwritten
  inside, empty, of another shape), killed twice with SIGKILL at random moments and taken up again. Every file of the
  results must be that of a run that nobody disturbed, to the byte, and every corrupt file be named.
- executors: the same files by one thread, by two, by a pool of two processes, and by a dask cluster of two workers of
  which one is killed half-way: the same bytes; seconds of each.
- disk: results into a tmpfs that is too small, and into one that is read-only: exit status 2, a sentence, and nothing
  but whole files. This needs the right to mount; the row says so where it is missing.
- memory: a GE file of 20 GB, sparse beyond its first frames, summed by 100 frames: peak memory of the process (VmHWM),
  after 2 GB and after all of it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import h5py
import main_job
import numpy as np

from midas.cake import SeriesFiles, SeriesOptions, integrate_files
from midas.cake.cluster import cluster_executor
from midas.cli.integrate import LOG_NAME
from midas.io.gsas_zarr import SUFFIX
from midas.io.parameters import Parameters, parse_params

SIZE, FRAMES = 256, 10
TEXT = f"""Lsd 300000
BC 120.2 131.7
px 200
Wavelength 0.2
NrPixelsY {SIZE}
NrPixelsZ {SIZE}
RMin 4
RMax 120
RBinSize 0.5
EtaBinSize 10
OmegaSumFrames 5
SaveIndividualFrames 0
"""
Row = dict[str, Any]
GE_SIZE = 2048


def write_files(folder: Path, n: int) -> set[str]:
    """Write a series of which 1 %, at least four, are corrupt; return the names of these."""
    folder.mkdir()
    corrupt = sorted(random.Random(3).sample(range(n), max(4, n // 100)))
    for k in range(n):
        path, size = folder / name_of(k), SIZE - 8 * (k in corrupt[3::4])
        stack = np.random.default_rng(k).poisson(15.0, (FRAMES, size, size)).astype(np.uint16)
        with h5py.File(path, "w") as file:
            file.create_dataset("exchange/data", data=stack, chunks=(1, size, size), compression="gzip", shuffle=True)
    for k in corrupt[0::4]:
        (folder / name_of(k)).write_bytes((folder / name_of(k)).read_bytes()[:100_000])
    for k in corrupt[1::4]:
        with (folder / name_of(k)).open("r+b") as file:
            file.seek(300_000)
            file.write(b"\xff" * 20_000)
    for k in corrupt[2::4]:
        (folder / name_of(k)).write_bytes(b"")
    return {name_of(k) for k in corrupt}


def name_of(k: int) -> str:
    return f"scan_{k:06d}.h5"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != LOG_NAME}


def command(images: Path, parameters: Path, results: Path, *more: str) -> list[str]:
    words = [sys.executable, "-m", "midas.cli", "integrate", str(images), "-paramFN", str(parameters)]
    return [*words, "-resultFolder", str(results), "-logLevel", "CRITICAL", *more]


def killed(folder: Path, n: int) -> list[Row]:
    corrupt = write_files(folder / "in", n)
    (folder / "ps.txt").write_text(TEXT)
    whole = subprocess.run(
        command(folder / "in", folder / "ps.txt", folder / "whole"), capture_output=True, check=False
    )
    draw, moments = random.Random(5), []
    for _ in range(2):
        done = len(list((folder / "out").glob("*.zip"))) if (folder / "out").exists() else 0
        enough = done + draw.randrange(n // 10, n // 3)
        process = subprocess.Popen(
            command(folder / "in", folder / "ps.txt", folder / "out", "-skipExisting"), stdout=subprocess.DEVNULL
        )
        while process.poll() is None and (
            not (folder / "out").exists() or len(list((folder / "out").glob("scan_*.zip"))) < enough
        ):
            time.sleep(0.01)
        time.sleep(draw.random() * 0.1)
        process.send_signal(signal.SIGKILL)
        process.wait()
        moments.append(len(list((folder / "out").glob("scan_*.zip"))))
    last = subprocess.run(
        command(folder / "in", folder / "ps.txt", folder / "out", "-skipExisting", "--json"),
        capture_output=True,
        text=True,
        check=False,
    )
    report = json.loads(last.stdout)
    named = {Path(path).name for each in report["failed"] for path in each["images"]}
    same = contents(folder / "out") == contents(folder / "whole")
    statuses = (whole.returncode, last.returncode)
    return [
        {
            "group": "killed",
            "name": f"{n} files, {len(corrupt)} of them corrupt",
            "killed_after": moments,
            "skipped": len(report["skipped"]),
            "written": len(report["written"]),
            "named": len(named),
            "ok": same and named == corrupt and statuses == (1, 1),
        }
    ]


def executors(folder: Path, n: int) -> list[Row]:
    write_files(folder / "in", n)
    files = SeriesFiles(folder / "in")
    parameters = parse_params(TEXT)
    found: dict[str, tuple[float, dict[str, bytes]]] = {}

    def take(name: str, run: Callable[[Path], object]) -> None:
        start = time.perf_counter()
        run(folder / name)
        found[name] = time.perf_counter() - start, contents(folder / name)

    for threads in (1, 2):
        take(f"threads {threads}", lambda out, n=threads: plain(files, parameters, out, n))
    take("processes 2", lambda out: by_processes(files, parameters, out))
    take("dask 2, one killed", lambda out: by_dask(files, parameters, out, folder, n))
    expected = found["threads 1"][1]
    return [
        {
            "group": "executors",
            "name": name,
            "seconds": seconds,
            "over_two_threads": seconds / found["threads 2"][0],
            "ok": content == expected,
        }
        for name, (seconds, content) in found.items()
    ]


def plain(files: SeriesFiles, parameters: Parameters, out: Path, n_threads: int) -> None:
    integrate_files(files, parameters, out, options=SeriesOptions(n_threads=n_threads))


def by_processes(files: SeriesFiles, parameters: Parameters, out: Path) -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        integrate_files(files, parameters, out, executor=executor, n_workers=2)


def by_dask(files: SeriesFiles, parameters: Parameters, out: Path, folder: Path, n: int) -> None:
    where = folder / "scheduler.json"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def start(*words: str) -> subprocess.Popen[bytes]:
        words = (sys.executable, "-m", f"distributed.cli.{words[0]}", "--scheduler-file", str(where), *words[1:])
        return subprocess.Popen(words, stderr=subprocess.DEVNULL, env=environment, cwd=folder)

    scheduler = start("dask_scheduler", "--no-dashboard", "--port", "0")
    workers = [start("dask_worker", "--nthreads", "1", "--no-nanny", "--no-dashboard") for _ in range(2)]
    try:
        while not where.exists():
            time.sleep(0.05)

        def kill_one(done: int, total: int, what: str) -> None:
            if done == n // 2:
                workers[0].kill()

        with cluster_executor(scheduler=str(where)) as (executor, _):
            integrate_files(files, parameters, out, executor=executor, n_workers=2, progress=kill_one)
        if workers[0].poll() is None:
            raise SystemExit("the worker that was to be killed lives")
    finally:
        for process in (*workers, scheduler):
            process.kill()
            process.wait()


def disk(folder: Path, n: int) -> list[Row]:
    write_files(folder / "in", n)
    (folder / "ps.txt").write_text(TEXT)
    rows = []
    said = {"size=1m": "the disk is full", "ro": "cannot make the folder"}
    for option, expected in said.items():
        where = folder / option.replace("=", "")
        where.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", option, "tmpfs", str(where)]
        if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
            rows.append({"group": "disk", "name": option, "said": "not run: no right to mount", "ok": None})
            continue
        try:
            words = command(folder / "in", folder / "ps.txt", where / "out")
            rows.append(refused(f"tmpfs, {option}", words, where, expected))
        finally:
            subprocess.run(["umount", str(where)], check=True)
    return rows


def refused(name: str, words: Sequence[str], where: Path, expected: str) -> Row:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    left = [path for path in where.rglob("*") if path.is_file() and path.name != LOG_NAME]
    halves = [path.name for path in left if not path.name.endswith(SUFFIX) or path.name.startswith(".")]
    said = done.stderr.strip().replace(str(where), "FOLDER")
    ok = done.returncode == 2 and expected in said and "Traceback" not in said and not halves
    return {"group": "disk", "name": name, "said": said, "whole_files": len(left) - len(halves), "ok": ok}


MEMORY = """
import re, sys
from pathlib import Path
from midas.cake import SeriesFiles, SeriesOptions, integrate_files
from midas.io.parameters import read_params
integrate_files(SeriesFiles(Path(sys.argv[1])), read_params(sys.argv[2]), sys.argv[3])
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


def memory(folder: Path, n_frames: int) -> list[Row]:
    text = TEXT.replace(str(SIZE), str(GE_SIZE)).replace("RMax 120", "RMax 900").replace("BC 120", "BC 1020")
    text = text.replace("131.7", "1031.7").replace("OmegaSumFrames 5", "OmegaSumFrames 100")
    (folder / "ps.txt").write_text(text)
    frame_bytes = 2 * GE_SIZE**2
    rows: list[Row] = []
    for n in (n_frames // 10, n_frames):
        path = folder / f"long_{n:06d}.ge5"
        frames = np.random.default_rng(1).poisson(15.0, (4, GE_SIZE, GE_SIZE)).astype("<u2")
        with path.open("wb") as file:
            file.write(b"\0" * 8192 + frames.tobytes())
            file.truncate(8192 + n * frame_bytes)
        words = [sys.executable, "-c", MEMORY, str(path), str(folder / "ps.txt"), str(folder / "out")]
        start = time.perf_counter()
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        peak = int(done.stdout.split()[-1]) / 1e6
        size = n * frame_bytes / 1e9
        rows.append({"group": "memory", "name": f"{size:.1f} GB", "peak_gb": peak, "ok": peak <= 2.0})
        rows[-1]["seconds"] = time.perf_counter() - start
        path.unlink()
    rows[-1]["ok"] = rows[-1]["ok"] and rows[-1]["peak_gb"] < 1.1 * rows[0]["peak_gb"]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    groups = {
        "killed": lambda folder, a: killed(folder, 40 if a.quick else a.files),
        "executors": lambda folder, a: executors(folder, 40 if a.quick else max(40, a.files // 4)),
        "disk": lambda folder, a: disk(folder, 40),
        "memory": lambda folder, a: memory(folder, 60 if a.quick else 2400),
    }
    parser.add_argument("--only", choices=groups, default=None)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--folder", type=Path, default=None, help="where there are 3 GB")
    parser.add_argument("--quick", action="store_true", help="small")
    parser.add_argument("--out", type=Path, default=None)
    args = parser.parse_args()
    machine = main_job.machine()
    print(json.dumps(machine))
    rows: list[Row] = []
    for name, run in groups.items():
        if args.only in (None, name):
            with tempfile.TemporaryDirectory(dir=args.folder) as folder:
                for row in run(Path(folder), args):
                    rows.append(row)
                    print(json.dumps(row), flush=True)
    if args.out:
        args.out.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")
    if not all(row["ok"] is not False for row in rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
