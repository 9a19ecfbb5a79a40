"""A new parameter file, commented key by key, from what is given, what an image says and what is asked."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from midas.detector_table import KNOWN_DETECTORS
from midas.errors import FormatError, InputError, MidasError
from midas.io.frames import read_frames
from midas.io.parameter_help import find_by_any_name
from midas.io.parameter_table import PARAMETER_KEYS, ParameterKey
from midas.io.parameter_text import ParameterLine, did_you_mean, format_value, parse_line, split_lines
from midas.io.parameters import Parameters
from midas.units import ANGSTROM_PER_UNIT, UM_PER_UNIT, wavelength_from_energy

_SHOWN_UNSET = (
    "Lsd", "BC", "px", "NrPixelsY", "NrPixelsZ", "Wavelength", "Calibrant", "RMin", "RMax", "RBinSize", "EtaMin",
    "EtaMax", "EtaBinSize", "OmegaStart", "OmegaStep", "OmegaSumFrames", "SkipFrame", "Dark", "ImTransOpt",
    "GapIntensity", "BadPxIntensity", "MaskFile", "Normalize", "SumImages", "SaveIndividualFrames", "DoPeakFit",
)  # fmt: skip
_NEEDED = ("Wavelength", "px")


@dataclass(frozen=True)
class Question:
    """What is asked where a value lacks."""

    key: str
    """The key of the file, the first of them where an answer gives several."""
    text: str
    """What the user sees."""
    understand: Callable[[str], dict[str, object]]
    """Turns the answer into values by name; raises InputError where it cannot."""


def ask_for_missing(
    values: Mapping[str, object], ask: Callable[[str], str], say: Callable[[str], None]
) -> dict[str, object]:
    """Return values completed by answers; an empty answer leaves out what is not needed.

    Parameters
    ----------
    values
        What is known, by key or by midas's own names.
    ask
        Shows a text and returns the answer, as `input`.
    say
        Shows why an answer is not taken, as `print`.

    Raises
    ------
    InputError
        The answers end before what is needed is known.

    Examples
    --------
    >>> answers = iter(["80.725 keV", "Pilatus 1M", "", "", ""])
    >>> found = ask_for_missing({}, lambda text: next(answers), print)
    >>> round(found["wavelength"], 4), found["pixel_size"], found["shape"]
    (0.1536, 172.0, (1043, 981))
    """
    known = dict(values)
    for question in QUESTIONS:
        while not _has(known, question.key):
            try:
                answer = ask(question.text).strip()
            except EOFError:
                raise InputError(
                    f"{question.key} is missing and the answers ended; give it as a flag (midas params new --help)"
                ) from None
            if not answer and question.key not in _NEEDED:
                break
            try:
                given = question.understand(answer)
                Parameters.from_dict({**known, **given})
            except MidasError as error:
                say(str(error))
            else:
                known |= given
    return known


def new_params(values: Mapping[str, object], *, sources: Mapping[str, str] | None = None) -> Parameters:
    r"""Return parameters of a new file: what is given, and as comments what may be added, each with its meaning.

    Parameters
    ----------
    values
        By key of the file or by midas's own names, as in `Parameters.from_dict`.
    sources
        Where values come from, by the same names: added to their comments.

    Raises
    ------
    InputError
        Wavelength or pixel size lack, a name is unknown, or a value is not what its key takes.

    Examples
    --------
    >>> p = new_params({"energy": 80.725, "pixel_size": 200, "shape": (2048, 2048)})
    >>> p.shape, [line.text for line in p.lines if line.key == "px"]
    ((2048, 2048), ['px 200.0  # edge of the square pixels [um]\n'])
    """
    given = Parameters.from_dict(values)
    for key in _NEEDED:
        if key not in given:
            flags = {"Wavelength": "--wavelength or --energy", "px": "--pixel-size, --detector or --image"}[key]
            raise InputError(f"{key} ({PARAMETER_KEYS[key].meaning}) is missing; give {flags}")
    told: dict[str, str] = {}
    for name, source in (sources or {}).items():
        told |= {row.name: source for row in find_by_any_name(name)}
    text = "# Parameters for midas; a line that begins with # is not used.\n# midas params --explain KEY says more.\n"
    section = ""
    for row in PARAMETER_KEYS.values():
        lines = [line for line in given.lines if line.key == row.name]
        if not lines and row.name not in _SHOWN_UNSET:
            continue
        if row.section != section:
            section = row.section
            text += f"\n# {section}\n"
        text += "".join(f"{_pair(line.text)}  # {_comment(row, told)}\n" for line in lines)
        text += "" if lines else f"# {row.name} {_example(row)}  # {_comment(row, {})}\n"
    return Parameters(tuple(parse_line(line, "parameters") for line in split_lines(text)))


def values_of_words(words: Iterable[str]) -> dict[str, object]:
    """Return values by key from words such as `EtaBinSize=1` or `ImTransOpt=2 3`.

    Raises
    ------
    InputError
        A word has no =, the key is unknown or the value malformed.

    Examples
    --------
    >>> values_of_words(["EtaBinSize=1", "ImTransOpt=2 3", "BC=10 20"])
    {'EtaBinSize': 1.0, 'ImTransOpt': [2, 3], 'BC': (10.0, 20.0)}
    """
    found: dict[str, object] = {}
    for word in words:
        key, equals, value = word.partition("=")
        try:
            line = parse_line(f"{key.strip()} {value}", "--set")
        except FormatError as error:
            if equals:
                raise InputError(str(error)) from None
            line = ParameterLine(word)
        if not equals or not line.known or line.remark:
            reason = (line.remark or "it has no key") if equals else "it has no ="
            if equals and line.key and not line.known:
                reason = f"there is no key {line.key}{did_you_mean(line.key)}"
            raise InputError(f"--set {word!r} is not understood: {reason}; expected KEY=VALUE, such as EtaBinSize=1")
        row = PARAMETER_KEYS.get(line.key or "")
        if row is None or line.key is None:
            found[key.strip()] = line.values[0]
        elif row.repeatable:
            before = found.get(line.key, [])
            assert isinstance(before, list)
            found[line.key] = [*before, *(line.values if row.count == 1 else [line.values])]
        else:
            found[line.key] = line.values if row.count > 1 else line.values[0]
    return found


def values_of_detector(name: str, transforms: tuple[int, ...] = ()) -> dict[str, object]:
    """Return pixel size and shape of a detector that is known by name, such as "Pilatus 1M" or "eiger2-4m".

    The shape is that of images after the transforms (`ImTransOpt`).

    Raises
    ------
    InputError
        It is not known.

    Examples
    --------
    >>> values_of_detector("pilatus1m")
    {'pixel_size': 172.0, 'shape': (1043, 981)}
    """

    def plain(text: str) -> str:
        return re.sub(r"[^a-z0-9]", "", text.lower())

    for known in KNOWN_DETECTORS:
        if plain(known.name) == plain(name):
            shape = known.layout.shape
            return {"pixel_size": known.pixel_size, "shape": shape[::-1] if transforms.count(3) % 2 else shape}
    names = ", ".join(known.name for known in KNOWN_DETECTORS)
    raise InputError(f"detector {name!r} is not known; give pixel size and shape, or one of {names}")


def check_detector(name: str, transforms: tuple[int, ...], path: Path, shape: object) -> None:
    """Refuse a detector whose images have another shape than those of a file after transforms.

    A transpose (`ImTransOpt` 3) may turn them, or may set right what was written turned.

    Raises
    ------
    InputError
        They differ.
    """
    expected = values_of_detector(name, transforms)["shape"]
    if shape not in (expected, values_of_detector(name)["shape"]):
        transformed = f" with image transforms {transforms}" if transforms else ""
        raise InputError(
            f"{path} has images of {shape} (rows, columns){transformed}, those of a {name} have {expected}; leave out "
            "--detector or --image, or give the image's own detector"
        )


def values_of_image(path: Path | str, transforms: tuple[int, ...] = ()) -> tuple[dict[str, object], dict[str, str]]:
    """Return what an image file says of the instrument, and where it says so, both by midas's own names.

    Raises
    ------
    FormatError
        The file cannot be read.
    """
    values: dict[str, object] = {}
    sources: dict[str, str] = {}
    with read_frames(path, image_transforms=transforms) as frames:
        values["shape"] = frames.shape[1:]
        sources["shape"] = f"the shape of {Path(path).name}"
        hints: Any = frames.metadata.get("hints", ())
    for hint in hints:
        name = "beam_center" if hint.name == "raw_beam_center" and not transforms else hint.name
        if name in ("wavelength", "pixel_size", "distance", "beam_center"):
            values[name], sources[name] = hint.value, hint.source
    return values, sources


def _has(values: Mapping[str, object], key: str) -> bool:
    return key in Parameters.from_dict(values)


def _pair(line: str) -> str:
    return line.split("#", 1)[0].strip()


def _comment(row: ParameterKey, sources: Mapping[str, str]) -> str:
    unit = f" [{row.unit}]" if row.unit else ""
    source = f"; from {sources[row.name]}" if row.name in sources else ""
    return f"{row.meaning}{unit}{source}".replace("\n", " ")


def _example(row: ParameterKey) -> str:
    return "..." if row.default is None else format_value(row.default)


def _numbers(answer: str, n: int, what: str) -> tuple[float, ...]:
    words = answer.replace(",", " ").split()
    try:
        numbers = tuple(float(word) for word in words)
    except ValueError:
        numbers = ()
    if len(numbers) != n:
        raise InputError(f"{answer!r} is not understood; expected {what}")
    return numbers


def _with_unit(answer: str, what: str) -> tuple[float, str]:
    match = re.fullmatch(r"([-+.\d]+(?:[eE][-+]?\d+)?)\s*([A-Za-zµμÅå]*)", answer)
    try:
        return (float(match[1]), match[2].lower()) if match else _fail(answer, what)
    except ValueError:
        return _fail(answer, what)


def _fail(answer: str, what: str) -> tuple[float, str]:
    raise InputError(f"{answer!r} is not understood; expected {what}")


def _beam(answer: str) -> dict[str, object]:
    what = "an energy such as 80.7 keV, or a wavelength such as 0.1536 A"
    value, unit = _with_unit(answer, what)
    if unit in ("kev", ""):
        return {"wavelength": wavelength_from_energy(value)}
    if unit in ANGSTROM_PER_UNIT:
        return {"wavelength": value * ANGSTROM_PER_UNIT[unit]}
    raise InputError(f"{answer!r} is not understood; expected {what}")


def _pixels(answer: str) -> dict[str, object]:
    if re.match(r"[-+.\d]", answer):
        value, unit = _with_unit(answer, "a pixel size in µm, or a detector's name")
        return {"pixel_size": value * _length(unit, answer)}
    return values_of_detector(answer)


def _distance(answer: str) -> dict[str, object]:
    value, unit = _with_unit(answer, "a distance such as 1050000 (µm) or 1050 mm")
    return {"distance": value * _length(unit, answer)}


def _length(unit: str, answer: str) -> float:
    if unit and unit not in UM_PER_UNIT:
        raise InputError(f"{answer!r} is not understood; expected µm, mm or m")
    return UM_PER_UNIT[unit or "um"]


def _shape(answer: str) -> dict[str, object]:
    return {"shape": _numbers(answer, 2, "two numbers: rows and columns")}


QUESTIONS = (
    Question("Wavelength", "Photon energy [keV], or wavelength such as 0.1536 A: ", _beam),
    Question("px", "Pixel size [µm], or the detector's name: ", _pixels),
    Question("NrPixelsY", "Rows and columns of an image (Enter: not known): ", _shape),
    Question("Lsd", "Distance from sample to detector [µm], or with unit: 1050 mm (Enter: not known): ", _distance),
    Question(
        "BC",
        "Beam centre, column and row [px] (Enter: not known): ",
        lambda answer: {"beam_center": _numbers(answer, 2, "two numbers: column and row")},
    ),
)
"""What is asked for, in order."""
