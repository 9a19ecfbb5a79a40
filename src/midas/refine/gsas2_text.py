"""What the worker reads and writes as GSAS-II's text: instrument parameters, and numbers with esds in a CIF.

Like the worker, which loads it by its path, it imports nothing of midas.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

_VALUE = re.compile(r"^\s*([A-Za-z][\w./()-]*)\s*:\s*([^\n;#]+)", flags=re.MULTILINE)
_UNPOLARIZED = 0.5


def check_instrument_text(text: str) -> tuple[str | None, str | None]:
    r"""Return what is wrong with an override file, and what is to be known of it; None without.

    Examples
    --------
    >>> check_instrument_text("#GSAS-II instrument parameter file\nType:PXC\nLam:nan\n")[0]
    'Lam is nan; expected a number of Å'
    """
    found = dict(_VALUE.findall(text.split("#Bank 2")[0]))
    kind = found.get("Type", "PXC").strip()
    if not kind.startswith("PX"):
        return f"Type is {kind}; expected PXC, X-rays of one wavelength", None
    for key in ("Lam", "Lam1", "Zero", "Polariz.", "SH/L", *"UVWXYZ"):
        if key not in found:
            continue
        try:
            number = float(found[key])
        except ValueError:
            number = math.nan
        is_length = key.startswith("Lam")
        if not math.isfinite(number) or (is_length and not 0.001 < number < 10.0):
            return f"{key} is {found[key].strip()}; expected a number{' of Å' * is_length}", None
    if float(found.get("Polariz.", "0")) > _UNPOLARIZED:
        return None, (
            f"its Polariz. {found['Polariz.'].strip()} is taken as GSAS-II does, with an upright field where azimuth "
            "is 90 - eta; for the horizontal field of a storage ring leave it out, or give 1 minus that"
        )
    return None, None


def overridden_widths(text: str) -> dict[str, float]:
    r"""Return the widths that an override file gives, by the job's names [centidegree²; x, y and z centidegree].

    Examples
    --------
    >>> overridden_widths("#GSAS-II instrument parameter file\nU:5.0\nX:1.5\n")
    {'u': 5.0, 'x': 1.5}
    """
    found = dict(_VALUE.findall(text.split("#Bank 2")[0]))
    return {key.lower(): float(found[key]) for key in "UVWXYZ" if key in found}


def instrument_text(job: dict[str, Any], names: dict[str, str]) -> str:
    """Return an instrument parameter file of the job's values, those of an override file winning.

    `names` gives GSAS-II's name of each of the job's instrument parameters.
    """
    values: dict[str, str] = {"Type": "PXC", "Bank": "1.0"}
    values.update({key: repr(float(job["instrument"][name])) for name, key in names.items()})
    values["Polariz."] = repr(upright_fraction(float(job["instrument"]["polarization"]), job.get("eta_width", 0.0)))
    if job["instrument_file"]:
        text = Path(job["instrument_file"]).read_text(encoding="utf-8")
        if "GSAS-II" not in text.split("\n", 1)[0]:
            raise ValueError(
                f"{job['instrument_file']} is not an instrument parameter file: its first line lacks 'GSAS-II'"
            )
        given = {key: value.strip() for key, value in _VALUE.findall(text.split("#Bank 2")[0])}
        if "Lam1" in given:
            values.pop("Lam")
        values.update(given)
    values["Azimuth"] = repr(float(job["azimuth"]))
    lines = [f"{key}:{value}" for key, value in values.items()]
    return "\n".join(["#GSAS-II instrument parameter file", *lines, ""])


def upright_fraction(horizontal: float, eta_width: float) -> float:
    """Return GSAS-II's Polariz. for a beam of which a fraction has its field horizontal, seen in a bin of eta.

    GSAS-II's factor is strongest where its azimuth is 0, across the field that Polariz. counts. Azimuth is 90 - eta, as
    its reader of these files sets it, so that its field stands upright; that of a storage ring lies, and the fractions
    change places. Over a bin of eta the factor is averaged: cos(2 azimuth) shrinks by sin(w) / w, w its width [rad].

    Examples
    --------
    >>> round(upright_fraction(0.99, 0.0), 6), upright_fraction(0.99, 360.0)
    (0.01, 0.5)
    """
    width = math.radians(eta_width)
    shrunk = 1.0 if width == 0.0 else math.sin(width) / width
    return round(0.5 + (0.5 - horizontal) * shrunk, 12)


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
