"""A parameter file looked into."""

from __future__ import annotations

import contextlib
from pathlib import Path

from midas.errors import MidasError
from midas.inspection.result import Fact, Inspection
from midas.io.parameter_report import NOTE, check_params
from midas.io.parameter_text import ParameterLine, parse_line, read_text, split_lines
from midas.io.parameters import Parameters
from midas.units import UM_PER_MM, energy_from_wavelength


def inspect_parameters(path: Path) -> Inspection:
    """Return what a parameter file says of the instrument, and what is wrong with it."""
    check = check_params(path)
    problems = tuple(str(f).split(": ", 1)[1] for f in check.findings if f.level != NOTE)
    ready = " and ".join(check.ready_for)
    facts = [*_facts(_readable(path)), Fact("enough for", ready or "nothing yet; midas params check says what lacks")]
    return Inspection(path, "parameters", "MIDAS parameter text", facts=tuple(facts), problems=problems)


def _readable(path: Path) -> Parameters:
    lines = []
    for text in split_lines(read_text(path)):
        try:
            lines.append(parse_line(text, str(path)))
        except MidasError:  # one of the problems
            lines.append(ParameterLine(text))
    return Parameters(tuple(lines), path)


def _facts(p: Parameters) -> list[Fact]:
    facts = [Fact("keys", f"{sum(line.known for line in p.lines)} known, {len(p.unknown)} unknown")]
    if "Wavelength" in p and p.number("Wavelength") > 0.0:
        wavelength = p.number("Wavelength")
        facts.append(Fact("wavelength", f"{wavelength:g} Å, {energy_from_wavelength(wavelength):.6g} keV"))
    if "Lsd" in p:
        facts.append(Fact("distance", f"{p.number('Lsd') / UM_PER_MM:g} mm"))
    if "BC" in p:
        y, z = p.numbers("BC")
        facts.append(Fact("beam centre", f"column {y:g}, row {z:g}"))
    if p.shape is not None:
        facts.append(Fact("images", f"{p.shape[0]} rows x {p.shape[1]} columns, as transformed"))
    if "px" in p:
        facts.append(Fact("pixel size", f"{p.number('px'):g} µm"))
    facts.append(Fact("image transforms", " ".join(map(str, p.image_transforms)) or "none"))
    if all(key in p for key in ("RMin", "RMax", "RBinSize")):
        with contextlib.suppress(MidasError):  # one of the problems
            facts.append(Fact("bins", str(p.bins)))
    return facts
