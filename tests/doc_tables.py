"""The tables of docs/testing-and-speed.md, made of benchmarks/results/*.json."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"


def read(name: str) -> dict[str, Any]:
    """Return a result file."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def measured(*names: str) -> str:
    """Say where numbers are from: file, machine, commit."""
    lines = []
    for name in names:
        machine = read(name)["machine"]
        lines.append(
            f"[{name}.json](../benchmarks/results/{name}.json): {machine['cpu']}, {machine['cores']} cores, "
            f"commit {machine['commit'][:8]}"
        )
    return "*" + "; ".join(lines) + "*"


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> list[str]:
    """Return a Markdown table."""
    heads = list(head)
    cells = [heads, ["---"] * len(heads), *([str(cell) for cell in row] for row in rows)]
    return [f"| {' | '.join(row)} |" for row in cells]


def geometry_found() -> list[str]:
    """Return how often a calibration is right, and says so when it is not."""
    stress, peers = read("calibration_stress"), read("calibration_peers")
    seen, solved = stress["summary"], peers["solved"]
    beam, distance, _ = stress["limits"]
    rows = [
        ("random images", seen["cases"]),
        (
            f"with enough rings: right within {beam} px and {distance:g} of the distance",
            f"{seen['solved_of_enough']} of {seen['enough_rings']}",
        ),
        ("wrong and called good", len(seen["wrong_called_good"])),
        ("wrong, or too little visible, and said so", f"{seen['unsolved_said_so']} of {seen['unsolved']}"),
        ("seconds an image, median", f"{seen['median_seconds']:.1f}"),
        (
            f"{peers['cases']} of them beside pyFAI's refinement from a guess 10 px and 2 % off: right",
            f"midas {solved['midas']}, pyFAI {solved['pyfai_guess']}",
        ),
    ]
    return [*table(("what", "how many"), rows), "", measured("calibration_stress", "calibration_peers")]


def geometry_pulls() -> list[str]:
    """Return whether a calibration's uncertainties are right."""
    found = read("calibration_pulls")
    names = {
        "distance": "distance",
        "beam_center_y": "beam centre, column",
        "beam_center_z": "beam centre, row",
        "tilt_y": "tilt ty",
        "tilt_z": "tilt tz",
    }
    rows = [
        (words, f"{found['parameters'][name]['mean']:.2f}", f"{found['parameters'][name]['std']:.2f}")
        for name, words in names.items()
    ]
    head = (f"(found - true) / esd, {found['images']} images", "mean", "standard deviation")
    return [*table(head, rows), "", measured("calibration_pulls")]


def geometry_speed() -> list[str]:
    """Return how long a calibration takes, from command to files."""
    rows = [
        (row["name"], row["program"], f"{row['median_wall_s']:.1f} s", f"{row['peak_memory_mb']:.0f} MB")
        for row in read("calibration_process")["rows"]
    ]
    return [*table(("image", "program", "time", "peak memory"), rows), "", measured("calibration_process")]


def caking_speed() -> list[str]:
    """Return ms a frame beside the peers."""
    programs = {
        "midas": "midas",
        "midas, with variance": "midas, variance",
        "pyFAI csr": "pyFAI full csr, engine",
        "pyFAI csc": "pyFAI full csc, engine",
        "azint 4 x 4": "azint 4 x 4",
    }
    times = {row["name"]: row for row in read("caking_speed")["rows"] if row.get("unit") == "ms"}
    cases = list(dict.fromkeys(name.partition(": ")[0] for name in times))
    rows = []
    for case in cases:
        found = [times[f"{case}: {name}"] for name in programs.values()]
        rows.append((f"{case}: a stack", *(f"{row['stack']:.1f}" for row in found)))
        rows.append(("the same: a frame alone", *(f"{row['value']:.1f}" for row in found)))
    return [*table(("ms a frame, two threads", *programs), rows), "", measured("caking_speed")]


def map_speed() -> list[str]:
    """Return what building a map costs."""
    found: dict[str, dict[str, str]] = {}
    for row in read("caking_map")["rows"]:
        digits = 1 if row["unit"] == "s" else 2
        found.setdefault(row["name"], {})[row["unit"]] = f"{row['value']:.{digits}f} {row['unit']}"
    rows = [(*name.split(": "), values["s"], values["GB"]) for name, values in found.items()]
    return [*table(("map", "program", "time", "peak memory"), rows), "", measured("caking_map")]


def file_speed() -> list[str]:
    """Return frames a second from compressed file to cakes in a file."""
    found: dict[str, dict[str, float]] = {}
    for row in read("throughput")["rows"]:
        if row["group"] in ("rate", "memory"):
            found.setdefault(row["name"], {})[row["group"]] = row["value"]
    rows = [(*name.split(": "), f"{v['rate']:.0f}", f"{v['memory']:.2f} GB") for name, v in found.items()]
    head = ("Eiger 4M, bitshuffle and LZ4", "program", "frames/s, two cores", "peak memory")
    return [*table(head, rows), "", measured("throughput")]


def caking_right() -> list[str]:
    """Return how right cakes are."""
    limits = {row["name"]: row for row in read("caking_accuracy")["rows"]}
    rows = [
        (name, f"{row['value']:.2g}" if row["value"] < 0.1 else f"{row['value']:.3f}") for name, row in limits.items()
    ]
    return [*table(("what", "largest difference, or ratio"), rows), "", measured("caking_accuracy")]


def refined() -> list[str]:
    """Return how right and how quick refinements are."""
    scan, speed = read("refinement_scan")["scan"], read("refinement")
    rows = [
        (
            row["phase"],
            f"{scan['succeeded']} of {scan['total_histograms']}",
            f"{row['pull_mean']:.2f}",
            f"{row['pull_std']:.2f}",
            f"{row['median_esd_ppm']:.0f} ppm",
        )
        for row in scan["phases"]
    ]
    first = table(("phase", "succeeded", "(found - true) / esd: mean", "standard deviation", "median esd"), rows)
    times = [
        (
            " and ".join(row["phases"]),
            row["histograms"],
            f"{row['midas_median_s']:.1f} s",
            f"{row['cold_median_s']:.1f} s",
        )
        for row in speed["rows"]
    ]
    second = table(("phases", "histograms", "midas", "GSAS-II, a process for each"), times)
    return [*first, "", *second, "", measured("refinement_scan", "refinement")]


TABLES: dict[str, Callable[[], list[str]]] = {
    make.__name__: make
    for make in (
        geometry_found,
        geometry_pulls,
        geometry_speed,
        caking_speed,
        map_speed,
        file_speed,
        caking_right,
        refined,
    )
}
