"""How long a batch of ten histograms takes, beside a new process for each with the same stages, answers compared first.

    python benchmarks/refinement.py [--runs 5] [--out benchmarks/results/refinement.json]

Ten azimuths of 2000 points each, Poisson counts, widths that grow with 2theta; CeO2 alone, and CeO2 with LaB6. Both
programs get the same numbers, CIFs, instrument parameters (a calibration's, up to a third off) and five stages, and run
two at a time:

- cold: the script below, a process per histogram, straight on GSAS-II's scripting module, as users write it;
- midas: `midas refine` with two workers, as a user calls it, exports included.

Nothing is timed unless every histogram is a success and Rwp is equal or lower than the script's, one by one. Compiled
Python files of both are kept in one folder (the first, uncounted run fills it), so that importing costs what it does
on a machine where GSAS-II is installed for good. Seconds of the processor are those of all processes of a run: they say
the same on a machine that others use at the same time.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import main_job
import numpy as np
import refinement_cases

from midas.io.gsas_zarr import read_cake_file
from midas.refine.gsas2_model import INSTRUMENT
from midas.refine.gsas2_text import instrument_text
from midas.refine.lineouts import iterate_lineouts, read_instrument
from midas.refine.locate import find_gsas2

N, AT_A_TIME = 10, 2
RWP_ROUNDING = 1e-3
"""Relative difference of Rwp that counts as equal: what the last cycle of a fit is worth."""

COLD = """
import json, sys
given = json.loads(sys.argv[1])
if given["path"]:
    sys.path.insert(0, given["path"])
try:
    from GSASII import GSASIIscriptable as G2sc
except ImportError:
    import GSASIIscriptable as G2sc
gpx = G2sc.G2Project(newgpx=given["stem"] + ".gpx")
hist = gpx.add_powder_histogram(given["stem"] + ".xye", given["stem"] + ".instprm", fmthint="xye")
for name, cif in given["phases"]:
    phase = gpx.add_phase(cif, phasename=name, histograms=[hist], fmthint="CIF")
    settings = phase.data["Histograms"][hist.name]
    settings["Size"][1][0], settings["Mustrain"][1][0] = 10.0, 0.0
gpx.set_Controls("cycles", 20)
hist.set_refinements({"Background": {"type": "chebyschev-1", "no. coeffs": 6, "refine": True}})
several = len(given["phases"]) > 1
hist.data["Sample Parameters"]["Scale"][1] = not several
for phase in gpx.phases() if several else []:
    phase.set_HAP_refinements({"Scale": True})
gpx.refine()
for phase in gpx.phases():
    phase.set_refinements({"Cell": True})
gpx.refine()
gpx.histogram(0).set_refinements({"Instrument Parameters": ["U", "V", "W"]})
gpx.refine()
gpx.histogram(0).set_refinements({"Instrument Parameters": ["X", "Y", "SH/L"]})
gpx.refine()
for phase in gpx.phases():
    phase.set_refinements({"Atoms": {"all": "XU"}})
gpx.refine()
for phase in gpx.phases():
    phase.export_CIF(given["stem"] + "_" + phase.name + ".cif")
gpx.histogram(0).Export(given["stem"] + "_data", ".csv", "histogram CSV")
print("RWP", gpx.histogram(0).get_wR())
"""


def write_inputs(data: Path, cifs: list[Path], folder: Path) -> list[dict[str, Any]]:
    """Write what the script reads, pattern and instrument of each histogram; return its arguments."""
    folder.mkdir()
    cake, given = read_cake_file(data), []
    instrument, _ = read_instrument(dict(cake.instrument))
    names = {name: getattr(instrument, name) for name in instrument.__dataclass_fields__}
    for lineout in iterate_lineouts(cake):
        stem = folder / f"hist_{lineout.index:04d}"
        np.savetxt(stem.with_suffix(".xye"), np.column_stack([lineout.two_theta, lineout.intensity, lineout.sigma]))
        job = {"instrument": names, "instrument_file": None, "azimuth": 90.0 - lineout.eta}
        text = instrument_text(job, INSTRUMENT)
        stem.with_suffix(".instprm").write_text(text, encoding="utf-8")
        given.append({"stem": str(stem), "phases": [[c.stem, str(c)] for c in cifs]})
    return given


def cold(data: Path, cifs: list[Path], folder: Path, argv: tuple[str, ...]) -> tuple[float, list[float]]:
    """Return the seconds of the script for all histograms, two processes at a time, and each Rwp [%]."""
    given = write_inputs(data, cifs, folder)
    path = argv[-1] if "--path" in argv else None
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MPLBACKEND": "Agg"}

    def one(arguments: dict[str, Any]) -> float:
        command = [argv[0], "-c", COLD, json.dumps({**arguments, "path": path})]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        found = [line for line in done.stdout.splitlines() if line.startswith("RWP ")]
        if done.returncode or not found:
            raise RuntimeError(f"the script failed on {arguments['stem']}: {done.stderr[-1000:]}")
        return float(found[-1].split()[1])

    begin = time.perf_counter()
    with ThreadPoolExecutor(AT_A_TIME) as threads:
        r_wp = list(threads.map(one, given))
    return time.perf_counter() - begin, r_wp


def warm(data: Path, cifs: list[Path], folder: Path) -> tuple[float, dict[str, Any]]:
    """Return the seconds of `midas refine` for all histograms, and its summary."""
    command = [sys.executable, "-m", "midas.cli", "refine", str(data), "--cif", *map(str, cifs)]
    command += ["--out", str(folder), "--nCPUs", str(AT_A_TIME)]
    begin = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begin
    if done.returncode:
        raise RuntimeError(f"midas refine ended with {done.returncode}: {done.stdout[-500:]}{done.stderr[-1000:]}")
    return seconds, json.loads((folder / "refinement_summary.json").read_text())


def processor_seconds() -> float:
    """Return the seconds of the processor that processes started from here have taken, those that ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def case(phases: tuple[str, ...], runs: int, argv: tuple[str, ...]) -> dict[str, Any]:
    """Return the row of one mixture; the programs take turns."""
    scan = refinement_cases.Scan(phases, N, 1)
    taken: dict[str, list[float]] = {"cold": [], "midas": [], "cold_cpu": [], "midas_cpu": []}
    with tempfile.TemporaryDirectory() as name:
        data, cifs = refinement_cases.write_scan(scan, Path(name))
        for run in range(runs + 1):
            before = processor_seconds()
            seconds, theirs = cold(data, cifs, Path(name) / f"cold_{run}", argv)
            between = processor_seconds()
            ours_seconds, summary = warm(data, cifs, Path(name) / f"midas_{run}")
            after = processor_seconds()
            ours = [h["Rwp"] for h in summary["histograms"]]
            if summary["succeeded"] != N or any(o > t * (1 + RWP_ROUNDING) for o, t in zip(ours, theirs, strict=True)):
                raise RuntimeError(f"midas is not as good: Rwp {ours} beside {theirs}, {summary['succeeded']} of {N}")
            if run:
                taken["cold"].append(seconds)
                taken["midas"].append(ours_seconds)
                taken["cold_cpu"].append(between - before)
                taken["midas_cpu"].append(after - between)
            print(f"{'+'.join(phases)} run {run}: cold {seconds:.2f} s, midas {ours_seconds:.2f} s", file=sys.stderr)
    median = {program: statistics.median(values) for program, values in taken.items()}
    return {
        "phases": list(phases),
        "histograms": N,
        "points": len(refinement_cases.TWO_THETA),
        "at_a_time": AT_A_TIME,
        "cold_s": [round(v, 2) for v in taken["cold"]],
        "midas_s": [round(v, 2) for v in taken["midas"]],
        "cold_median_s": round(median["cold"], 2),
        "midas_median_s": round(median["midas"], 2),
        "share": round(median["midas"] / median["cold"], 3),
        "cold_cpu_median_s": round(median["cold_cpu"], 2),
        "midas_cpu_median_s": round(median["midas_cpu"], 2),
        "cpu_share": round(median["midas_cpu"] / median["cold_cpu"], 3),
        "cold_mean_Rwp": round(statistics.fmean(theirs), 4),
        "midas_mean_Rwp": round(statistics.fmean(ours), 4),
        "midas_seconds_of_a_histogram": round(statistics.median(h["seconds"] for h in summary["histograms"]), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    engine = find_gsas2()
    machine = main_job.machine() | {"gsas2": engine.version, "load_before": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory() as compiled:
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = compiled
        rows = [case(phases, args.runs, engine.argv) for phases in (("CeO2",), ("CeO2", "LaB6"))]
    text = json.dumps({"machine": machine, "runs": args.runs, "rows": rows}, indent=1) + "\n"
    print(text)
    if args.out:
        args.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
