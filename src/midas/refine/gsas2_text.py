"""What the worker reads and writes as GSAS-II's text: instrument parameters, and numbers with esds in a CIF.

Like the worker, which loads it by its path, it imports nothing of midas.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any


def instrument_text(job: dict[str, Any], names: dict[str, str]) -> str:
    """Return an instrument parameter file of the job's values, those of an override file winning.

    `names` gives GSAS-II's name of each of the job's instrument parameters.
    """
    values: dict[str, str] = {"Type": "PXC", "Bank": "1.0"}
    values.update({key: repr(float(job["instrument"][name])) for name, key in names.items()})
    if job["instrument_file"]:
        text = Path(job["instrument_file"]).read_text(encoding="utf-8")
        if "GSAS-II" not in text.split("\n", 1)[0]:
            raise ValueError(
                f"{job['instrument_file']} is not an instrument parameter file: its first line lacks 'GSAS-II'"
            )
        found = re.findall(r"^\s*([A-Za-z][\w./()-]*)\s*:\s*([^\n;#]+)", text.split("#Bank 2")[0], flags=re.MULTILINE)
        given = {key: value.strip() for key, value in found}
        if "Lam1" in given:
            values.pop("Lam")
        values.update(given)
    values["Azimuth"] = repr(float(job["azimuth"]))
    lines = [f"{key}:{value}" for key, value in values.items()]
    return "\n".join(["#GSAS-II instrument parameter file", *lines, ""])


def plain_name(variable: str, own: dict[str, str], phases: list[str], labels: list[list[str]]) -> str:
    """Return a GSAS-II variable in the words of the job.

    `own` gives the job's name of each of GSAS-II's; `labels` those of the atoms of each phase.
    """
    parts = variable.split(":")
    if len(parts) < 3:
        return variable
    phase, name = f"{phases[int(parts[0])]} " if parts[0] else "", parts[2]
    if name in own:
        return f"{phase}{own[name]}"
    if name.startswith("Back;"):
        return f"background {name[5:]}"
    if parts[0] and re.fullmatch(r"A[0-5]", name):
        return f"{phase}cell {name}"
    if len(parts) > 3:
        return f"{phase}{labels[int(parts[0])][int(parts[3])]} {name.removeprefix('dA').removeprefix('A').lower()}"
    return f"{phase}{name.lower()}"


def cell_volume(cell: list[float]) -> float:
    """Return the volume [Å³] of a cell given by a, b, c [Å], alpha, beta, gamma [deg]."""
    a, b, c = cell[:3]
    x, y, z = (math.cos(math.radians(v)) for v in cell[3:])
    return a * b * c * math.sqrt(1.0 - x * x - y * y - z * z + 2.0 * x * y * z)


def with_esd(value: float, esd: float) -> str:
    """Return a number as CIF writes it, the esd in units of the last digit, e.g. 5.41165(12)."""
    digits = max(0, 1 - math.floor(math.log10(esd)))
    return f"{value:.{digits}f}({round(esd * 10**digits)})"
