"""A parameter file gone through from end to end: everything that is wrong or doubtful with it, at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from midas.checks import file_path
from midas.errors import FormatError, InputError, MidasError
from midas.geometry import check_distance, check_pixel_size, check_wavelength, doubtful_distance
from midas.grid import CakeGrid
from midas.io.dark import constant_dark
from midas.io.parameter_checks import check_distortion_radius, doubtful_values, farthest_corner
from midas.io.parameter_table import PARAMETER_KEYS, nearest_key
from midas.io.parameter_text import ParameterLine, parse_line, read_text, split_lines
from midas.io.parameters import MASK_KEYS, Parameters

ERROR, WARNING, NOTE = "error", "warning", "note"
TASKS = {
    "calibrate": ("Wavelength", "px"),
    "integrate": ("Lsd", "BC", "px", "Wavelength", "RMin", "RMax", "RBinSize"),
}
"""What a parameter file must say for a command, where nothing else says it."""

_FILE_KEYS = (*MASK_KEYS, "PanelShiftsFile", "Dark", "Flat")
_FLAGS = (
    "Normalize", "SumImages", "SaveIndividualFrames", "DoPeakFit", "MultiplePeaks", "DoSmoothing",
    "SolidAngleCorrection", "PolarizationCorrection",
)  # fmt: skip
_RANGES = (  # key, least, most, what is expected
    ("NrPixels", 1, math.inf, "1 or more"),
    ("NrPixelsY", 1, math.inf, "1 or more"),
    ("NrPixelsZ", 1, math.inf, "1 or more"),
    ("SkipFrame", 0, math.inf, "0 or more frames"),
    ("HeadSize", 0, math.inf, "0 or more bytes"),
    ("DataType", 1, 10, "1 to 10"),
    ("SpaceGroup", 1, 230, "1 to 230"),
    ("PolarizationFraction", 0, 1, "0 to 1"),
    ("FirstRingNr", 1, math.inf, "1 or more"),
)


@dataclass(frozen=True)
class Finding:
    """One thing about a parameter file."""

    level: str
    """"error": it cannot be used so; "warning": it is probably not what was meant; "note": good to know."""
    message: str
    """A sentence."""
    line: int | None = None
    """Number of the line from 1; None where it is not about one line."""

    def __str__(self) -> str:
        """Return level, line and sentence."""
        return f"{self.level}: " + ("" if self.line is None else f"line {self.line}: ") + self.message


@dataclass(frozen=True)
class ParameterCheck:
    """What a check of a parameter file found."""

    name: str
    """The file."""
    findings: tuple[Finding, ...]
    """Errors first, then warnings, then notes, each in the order of the file."""
    ready_for: tuple[str, ...]
    """The commands for which it says all that is needed, of "calibrate" and "integrate"; none where it has errors."""

    @property
    def status(self) -> int:
        """0 fine, 1 usable but doubtful, 2 unusable: the exit status of `midas params check`."""
        levels = {finding.level for finding in self.findings}
        return 2 if ERROR in levels else 1 if WARNING in levels else 0


def check_params(source: Path | str | Parameters, *, task: str | None = None) -> ParameterCheck:
    r"""Return everything that is wrong or doubtful with a parameter file; it is not changed, and nothing is logged.

    Parameters
    ----------
    source
        The file, or parameters in memory.
    task
        "calibrate" or "integrate": a key that it needs and that is missing is an error; None makes that a note.

    Raises
    ------
    FormatError
        The file is missing or is no text.
    InputError
        There is no such task.

    Examples
    --------
    >>> from midas.io.parameters import parse_params
    >>> check = check_params(parse_params("Lsd 1e6\nBC 10 10\npx 200\nWavelength 80.7\nEtaBinSize 0\n"))
    >>> check.status, str(check.findings[0])
    (2, 'error: line 4: wavelength 80.7 looks like an energy in keV; midas takes Å, between 0.01 and 10')
    """
    if task is not None and task not in TASKS:
        raise InputError(f"task is {task!r}; expected {' or '.join(TASKS)}")
    found: list[Finding] = []
    if isinstance(source, Parameters):
        parameters = source
    else:
        path = file_path("source", source)
        lines: list[ParameterLine] = []
        for n, text in enumerate(split_lines(read_text(path)), start=1):
            try:
                lines.append(parse_line(text, ""))
            except FormatError as error:
                found.append(Finding(ERROR, str(error).removeprefix(": "), n))
                lines.append(ParameterLine(text))
        parameters = Parameters(tuple(lines), path)
    found += [*_lines(parameters), *_impossible(parameters)]
    found += [Finding(WARNING, text, _line_of(parameters, text.split()[0])) for text in _doubtful(parameters)]
    found += _missing(parameters, task)
    found.sort(key=lambda f: ((ERROR, WARNING, NOTE).index(f.level), f.line or 10**9))
    ready = tuple(name for name, keys in TASKS.items() if all(key in parameters for key in keys))
    check = ParameterCheck(parameters.name, tuple(dict.fromkeys(found)), ready)
    return replace(check, ready_for=()) if check.status == 2 else check


def _lines(parameters: Parameters) -> Iterator[Finding]:
    """Yield what is doubtful about single lines: unknown keys, superfluous words, keys said twice."""
    if not any(line.known for line in parameters.lines):
        yield Finding(ERROR, "no line has a key that midas knows; expected lines such as 'Lsd 1000000'")
    last = {line.key: n for n, line in enumerate(parameters.lines, start=1) if line.known}
    for n, line in enumerate(parameters.lines, start=1):
        if line.remark:
            # A key that is like none of ours is another program's.
            foreign = not line.known and nearest_key(line.spelling) is None
            yield Finding(NOTE if foreign else WARNING, line.remark, n)
        row = PARAMETER_KEYS.get(line.key or "")
        if row is None or row.repeatable or last[line.key] == n:
            continue
        winner = parameters.lines[last[line.key] - 1]
        if winner.values != line.values:
            other = f"on line {last[line.key]} {_shown(winner)}, which is taken"
            yield Finding(WARNING, f"{line.spelling} is here {_shown(line)}, {other}", n)


def _shown(line: ParameterLine) -> str:
    return " ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in line.values)


def _impossible(parameters: Parameters) -> Iterator[Finding]:
    """Yield an error for each thing that would be refused, or could not work."""
    p = parameters
    tries: list[tuple[str, Callable[[], object]]] = [
        ("Lsd", lambda: check_distance(p.number("Lsd"))),
        ("px", lambda: check_pixel_size(p.pixel_size)),
        ("Wavelength", lambda: check_wavelength(p.number("Wavelength"))),
    ]
    failed = False
    for key, attempt in tries:
        if key in p and (problem := _refused(p, attempt)):
            failed = True
            yield Finding(ERROR, problem, _line_of(p, key))
    yield from _out_of_range(p)
    failed |= any(t not in (1, 2, 3) for t in p.image_transforms) or (p.shape is not None and min(p.shape) < 1)
    missing_file = False
    for key in _FILE_KEYS:
        file = p.file(key)
        if file is not None and not file.exists() and (key != "Dark" or constant_dark(file) is None):
            missing_file = True
            yield Finding(ERROR, f"{key} names {file}, which is not there; correct the name", _line_of(p, key))
    if "RhoD" in p and "px" in p and not failed:
        radius = p.number("RhoD")
        problem = _refused(p, lambda: check_distortion_radius(p, radius))
        if problem:
            failed = True
            yield Finding(ERROR, problem, _line_of(p, "RhoD"))
    whole = all(key in p for key in ("Lsd", "BC", "px", "Wavelength"))
    if not failed and not missing_file and whole and (problem := _refused(p, lambda: p.geometry)):
        yield Finding(ERROR, problem)
    if not failed and not missing_file and p.shape is not None and min(p.shape) > 0 and "px" in p:
        problem = _refused(p, lambda: p.detector)
        if problem:
            yield Finding(ERROR, problem)
    yield from _impossible_bins(p)
    for check in (lambda: p.frames_per_sum, lambda: p.panel_layout, lambda: _check_cell(p)):
        if problem := _refused(p, check):
            yield Finding(ERROR, problem)


def _out_of_range(p: Parameters) -> Iterator[Finding]:
    for key, low, high, expected in _RANGES:
        if key in p and not low <= p.number(key) <= high:
            yield Finding(ERROR, f"{key} is {p.number(key):g}; expected {expected}", _line_of(p, key))
    wrong = [t for t in p.image_transforms if t not in (1, 2, 3)]
    if wrong:
        text = f"ImTransOpt {wrong[0]} is unknown; expected 0 none, 1 flip columns, 2 flip rows or 3 transpose"
        yield Finding(ERROR, text, _line_of(p, "ImTransOpt"))
    for key in ("OmegaRange", "BoxSize", "DistortionFile"):
        if key in p:
            text = f"{key} ({PARAMETER_KEYS[key].meaning}) would change the result, but midas does not use it yet"
            yield Finding(ERROR, f"{text}; take the line out to go on without it", _line_of(p, key))


def _impossible_bins(p: Parameters) -> Iterator[Finding]:
    radial = all(key in p for key in ("RMin", "RMax", "RBinSize"))
    reach = farthest_corner(p)
    if radial and (problem := _refused(p, lambda: p.bins)):
        yield Finding(ERROR, problem, _line_of(p, "EtaBinSize" if " eta" in problem else "RBinSize"))
    elif not radial:
        low, high, step = (p.number(key) for key in ("EtaMin", "EtaMax", "EtaBinSize"))
        if problem := _refused(p, lambda: CakeGrid(0.0, 1.0, 1.0, low, high, step)):
            yield Finding(ERROR, f"(EtaMin EtaMax EtaBinSize): {problem}", _line_of(p, "EtaBinSize"))
    if reach is not None and "RMin" in p and p.number("RMin") > 1.1 * reach:
        text = f"RMin is {p.number('RMin'):g} px, but the farthest corner is {reach:.0f} px from the beam"
        yield Finding(ERROR, f"{text}: no pixel is in the bins", _line_of(p, "RMin"))
    if radial and "DoPeakFit" in p and p.number("DoPeakFit"):
        for radius in p.peak_locations:
            if not p.number("RMin") <= radius <= p.number("RMax"):
                text = f"PeakLocation {radius:g} px is outside of the bins, which end at RMin and RMax"
                yield Finding(ERROR, text, _line_of(p, "PeakLocation"))


def _check_cell(p: Parameters) -> None:
    """Raise InputError where the calibrant's cell does not fit its space group."""
    from midas.crystal import calibrant_from_cell

    if p.lattice is not None and p.space_group is not None and 1 <= p.space_group <= 230:
        calibrant_from_cell(p.space_group, p.lattice)


def _refused(p: Parameters, attempt: Callable[[], object]) -> str:
    """Return why an attempt is refused, empty where it is not."""
    try:
        attempt()
    except MidasError as error:
        return str(error).removeprefix(f"{p.name}: ").removeprefix(f"{p.name} ")
    return ""


def _doubtful(p: Parameters) -> Iterator[str]:
    yield from doubtful_values(p)
    try:
        if doubt := doubtful_distance(p.geometry):
            yield doubt.replace("distance", "Lsd", 1)
    except MidasError:  # an error of its own
        pass
    for key in _FLAGS:
        if key in p and p.number(key) not in (0, 1):
            yield f"{key} is {p.number(key):g}, which is taken for 1; expected 0 or 1"


def _missing(p: Parameters, task: str | None) -> Iterator[Finding]:
    elsewhere = {
        "calibrate": "it takes them from flags or the image's header, too",
        "integrate": "it takes a geometry from --geometry, too; midas calibrate writes a whole file",
    }
    for name, keys in TASKS.items():
        lacking = [key for key in keys if key not in p]
        if lacking and task in (None, name):
            level = ERROR if task == name else NOTE
            yield Finding(level, f"midas {name} also needs {', '.join(lacking)}; {elsewhere[name]}")


def _line_of(p: Parameters, key: str) -> int | None:
    """Return the number of the line that gives a key its value; None where there is none."""
    numbers = [n for n, line in enumerate(p.lines, start=1) if line.known and line.key == key]
    return numbers[-1] if numbers else None
