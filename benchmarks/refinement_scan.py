"""Whether a scan is refined right: two phases, 36 azimuths times 10 omegas, with everything about them known.

    python benchmarks/refinement_scan.py [--eta 36] [--omega 10] [--workers 2] [--out benchmarks/results/...json]

CeO2 and LaB6, 70 to 30 by weight, cells strained by 1e-4 cos(2 eta), widths that grow with 2theta, Poisson counts; the
patterns are computed without GSAS-II. Asked: every histogram is refined; (found - true) / esd of the cells has a
standard deviation between 0.7 and 1.5; weight fractions are within 1 % absolute (mean, and each phase's scatter says
what single ones do); no fit that failed is called a success. Ends with status 1 where that is not so.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import main_job
import numpy as np
import refinement_cases

from midas.refine import run_refinement

MOST_ESDS = 5.0
"""A success whose cell is further off than this would be a failure called success (1 in 2 million by chance)."""


def measure(n_eta: int, n_omega: int, workers: int) -> dict[str, Any]:
    scan = refinement_cases.Scan(("CeO2", "LaB6"), n_eta, n_omega)
    with tempfile.TemporaryDirectory() as name:
        data, cifs = refinement_cases.write_scan(scan, Path(name))
        begin = time.perf_counter()
        summary = run_refinement(data, cifs, Path(name) / "out", n_cpus=workers, export=False)
        seconds = time.perf_counter() - begin
    counts = {k: summary[k] for k in ("total_histograms", "succeeded", "partial", "failed", "skipped")}
    return {**counts, "seconds": round(seconds, 1), "workers": workers, **judged(scan, summary)}


def judged(scan: refinement_cases.Scan, summary: dict[str, Any]) -> dict[str, Any]:
    """Return the figures per phase, what was asked, and whether it was met."""
    phases, wrong = [], 0
    for k, name in enumerate(scan.phases):
        pulls, off = [], []
        for h in summary["histograms"]:
            if h["status"] not in ("success", "partial"):
                continue
            phase, true = h["phases"][k], scan.cell(name, h["eta"])
            pulls.append((phase["cell"]["a"] - true) / phase["cell_esd"]["a"])
            off.append(phase["weight_fraction"]["value"] - refinement_cases.FRACTIONS[name])
            wrong += h["status"] == "success" and abs(pulls[-1]) > MOST_ESDS
        esds = [h["phases"][k]["cell_esd"]["a"] for h in summary["histograms"] if h["phases"]]
        fraction_esds = [h["phases"][k]["weight_fraction"]["esd"] for h in summary["histograms"] if h["phases"]]
        phases.append(
            {
                "phase": name,
                "pull_mean": round(float(np.mean(pulls)), 3),
                "pull_std": round(float(np.std(pulls, ddof=1)), 3),
                "pull_largest": round(float(np.max(np.abs(pulls))), 2),
                "median_esd_ppm": round(1e6 * float(np.median(esds)) / refinement_cases.CELLS[name], 2),
                "fraction_error_mean": round(float(np.mean(off)), 5),
                "fraction_error_std": round(float(np.std(off, ddof=1)), 5),
                "fraction_error_largest": round(float(np.max(np.abs(off))), 5),
                "fraction_median_esd": round(float(np.median(fraction_esds)), 5),
            }
        )
    met = {
        "all_refined": summary["succeeded"] + summary["partial"] == summary["total_histograms"],
        "pulls": all(0.7 <= p["pull_std"] <= 1.5 for p in phases),
        "fractions": all(abs(p["fraction_error_mean"]) < 0.01 for p in phases),
        "no_wrong_success": wrong == 0,
    }
    reasons = sorted({h["reason"] for h in summary["histograms"] if h["reason"]})
    return {"phases": phases, "mean_Rwp": summary["mean_Rwp"], "reasons": reasons, "met": met}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--eta", type=int, default=36)
    parser.add_argument("--omega", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    result = {"machine": main_job.machine(), "scan": measure(args.eta, args.omega, args.workers)}
    text = json.dumps(result, indent=1) + "\n"
    print(text)
    if args.out:
        args.out.write_text(text, encoding="utf-8")
    return 0 if all(result["scan"]["met"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
