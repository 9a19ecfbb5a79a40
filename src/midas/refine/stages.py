"""Refinement stages as data: which parameters are freed, in which order, and what to try when that goes wrong."""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from midas.errors import InputError
from midas.refine.parameters import PARAMETERS, PHASE_PARAMETERS

SAME_SHAPE = {"size": "x", "microstrain": "y"}
"""Broadening by the sample and by the instrument of the same shape: 1 / cosθ, and tanθ."""
TEXTURES = ("march", "harmonics")
MAX_ORDER = 20
BROADENINGS = ("instrument", "sample")


@dataclass(frozen=True)
class Stage:
    """One step of a refinement: parameters freed on top of those that earlier stages kept."""

    name: str
    """What the stage is called in results and messages."""
    refine: tuple[str, ...]
    """Parameters freed, of `PARAMETERS`; with a colon and a name for one phase only."""
    alternatives: tuple[tuple[str, ...], ...] = ()
    """Smaller sets tried in turn, each from where the last good stage ended, when `refine` gives no acceptable fit."""
    required: bool = False
    """True where the later stages make no sense without this one: the refinement then stops and counts as failed."""
    max_cycles: int = 20
    """Least-squares cycles allowed for one attempt."""
    axis: tuple[int, ...] = (0, 0, 1)
    """h, k, l of the axis of March and Dollase, for "march"."""
    order: int = 4
    """Order of the spherical harmonics, for "harmonics": even, 2 to 20."""

    def __post_init__(self) -> None:
        for name in self.all_names:
            if name not in PARAMETERS and not self._names_a_phase(name):
                near = difflib.get_close_matches(name.partition(":")[0], PARAMETERS, n=1)
                hint = f"; did you mean '{near[0]}'?" if near else f"; known are {', '.join(PARAMETERS)}"
                raise InputError(f"stage '{self.name}' refines the unknown parameter '{name}'{hint}")
        if not self.refine:
            raise InputError(f"stage '{self.name}' refines nothing; name at least one of {', '.join(PARAMETERS)}")
        if self.max_cycles < 1:
            raise InputError(f"stage '{self.name}' has max_cycles {self.max_cycles}; at least 1 is needed")
        if len(self.axis) != 3 or not any(self.axis) or any(int(v) != v for v in self.axis):
            raise InputError(
                f"stage '{self.name}' has the axis {list(self.axis)}; expected whole numbers h k l, not 0 0 0"
            )
        if self.order % 2 or not 2 <= self.order <= MAX_ORDER:
            raise InputError(f"stage '{self.name}' has the order {self.order}; expected an even one, 2 to {MAX_ORDER}")

    @property
    def all_names(self) -> tuple[str, ...]:
        """Every parameter that it may free, those of the alternatives included."""
        return (*self.refine, *(name for tries in self.alternatives for name in tries))

    def _names_a_phase(self, name: str) -> bool:
        parameter, colon, phase = name.partition(":")
        if colon and phase and parameter in PARAMETERS and parameter not in PHASE_PARAMETERS:
            raise InputError(
                f"stage '{self.name}' refines '{name}', but {parameter} belongs to the pattern, not to a phase; "
                f"of one phase there are {', '.join(PHASE_PARAMETERS)}"
            )
        return bool(colon and phase) and parameter in PHASE_PARAMETERS


DEFAULT_STAGES = (
    Stage("background and scale", ("background", "scale"), required=True),
    Stage("unit cell", ("cell",), required=True),
    Stage("Gaussian widths", ("u", "v", "w"), alternatives=(("u", "w"), ("w",))),
    Stage("Lorentzian widths", ("x", "y", "sh_l"), alternatives=(("x", "y"), ("y",), ("x",))),
    Stage("atoms", ("coordinates", "uiso"), alternatives=(("uiso",),)),
)
"""The recipe of the manual: each stage adds to the ones before it."""


SAMPLE_BROADENING = Stage("size and microstrain", ("size", "microstrain"), alternatives=(("microstrain",), ("size",)))
"""In place of the instrument's widths, where those are known, from a calibrant."""


def default_stages(
    *,
    refine_atoms: bool = True,
    broadening: str = "instrument",
    texture: str | None = None,
    texture_axis: Sequence[int] = (0, 0, 1),
    texture_order: int = 4,
) -> tuple[Stage, ...]:
    """Return the manual's recipe, without the stage that moves atoms where that is not wanted.

    Parameters
    ----------
    refine_atoms
        Whether there is a stage of coordinates and displacements.
    broadening
        "instrument" refines the instrument's widths, "sample" leaves them as they are and refines size and microstrain.
    texture
        "march" or "harmonics" adds the preferred orientation of every phase as the last stage; None does not.
    texture_axis
        h, k, l for "march".
    texture_order
        Order for "harmonics".

    Examples
    --------
    >>> [stage.name for stage in default_stages(refine_atoms=False)]
    ['background and scale', 'unit cell', 'Gaussian widths', 'Lorentzian widths']
    >>> [stage.refine for stage in default_stages(broadening="sample", texture="march")][2:]
    [('size', 'microstrain'), ('coordinates', 'uiso'), ('march',)]
    """
    for name, value, known in (("broadening", broadening, BROADENINGS), ("texture", texture, (*TEXTURES, None))):
        if value not in known:
            raise InputError(f"{name} is {value!r}; expected one of {', '.join(str(k) for k in known)}")
    start, cell, gaussian, lorentzian, atoms = DEFAULT_STAGES
    widths = (gaussian, lorentzian) if broadening == "instrument" else (SAMPLE_BROADENING,)
    parameter, axis = (texture or "march",), tuple(texture_axis)
    orientation = Stage("preferred orientation", parameter, axis=axis, order=texture_order)
    return (start, cell, *widths, *([atoms] if refine_atoms else []), *([orientation] if texture else []))


def check_recipe(stages: Iterable[Stage | Mapping[str, Any]], phase_names: Iterable[str]) -> tuple[Stage, ...]:
    """Return the stages of a recipe, given as such or as plain dictionaries.

    Raises
    ------
    InputError
        A phase is named that is not refined, or parameters are free together that one pattern cannot tell apart:
        size and x, microstrain and y, or two descriptions of one phase's preferred orientation.

    Examples
    --------
    >>> len(check_recipe(DEFAULT_STAGES, ["CeO2"]))
    5
    """
    recipe = tuple(s if isinstance(s, Stage) else stages_from_data([s])[0] for s in stages)
    if not recipe:
        raise InputError("a recipe needs at least one stage")
    phases = list(phase_names)
    freed: dict[str, str] = {}
    for stage in recipe:
        for name in stage.all_names:
            parameter, colon, phase = name.partition(":")
            if colon and phase not in phases:
                raise InputError(f"stage '{stage.name}' refines '{name}', but the phases are {', '.join(phases)}")
            for one in [phase] if colon else phases:
                freed.setdefault(f"{parameter}:{one}", stage.name)
    for phase in phases:
        for first, second in (*SAME_SHAPE.items(), TEXTURES):
            if f"{first}:{phase}" in freed and f"{second}:{phase}" in freed:
                raise InputError(
                    f"stage '{freed[f'{first}:{phase}']}' refines {first} and stage '{freed[f'{second}:{phase}']}' "
                    f"{second} of {phase}: one pattern cannot tell the two apart; leave one of them out of the recipe"
                )
    return recipe


def frees(stages: Iterable[Stage], *parameters: str) -> bool:
    """Return whether any stage may free one of these parameters, of whatever phase.

    Examples
    --------
    >>> frees(DEFAULT_STAGES, "size", "microstrain"), frees(DEFAULT_STAGES, "cell")
    (False, True)
    """
    return any(name.partition(":")[0] in parameters for stage in stages for name in stage.all_names)


def read_stages(path: Path) -> tuple[Stage, ...]:
    """Return the stages in a JSON file: a list of objects with the fields of `Stage`, as `stages_to_data` gives.

    Raises
    ------
    InputError
        The file does not exist, is not JSON, or describes no recipe; the message names the file.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"the file of stages {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    if not isinstance(data, list) or not all(isinstance(entry, dict) for entry in data):
        raise InputError(f"{path} holds no list of stages; expected [{{'name': ..., 'refine': [...]}}, ...]")
    try:
        return stages_from_data(data)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def stages_to_data(stages: Iterable[Stage]) -> list[dict[str, Any]]:
    """Return stages as plain dictionaries, fit for JSON.

    Examples
    --------
    >>> stages_to_data([Stage("cell only", ("cell",))])[0]["refine"]
    ['cell']
    """
    return [
        {
            **dataclasses.asdict(s),
            "refine": list(s.refine),
            "alternatives": [list(names) for names in s.alternatives],
            "axis": list(s.axis),
        }
        for s in stages
    ]


def stages_from_data(data: Iterable[Mapping[str, Any]]) -> tuple[Stage, ...]:
    """Return the stages described by plain dictionaries with the fields of `Stage`.

    Examples
    --------
    >>> stages_from_data([{"name": "start", "refine": ["background", "scale"], "required": True}])[0].required
    True
    """
    known = [field.name for field in dataclasses.fields(Stage)]
    stages = []
    for entry in data:
        for key in entry:
            if key not in known:
                raise InputError(f"a stage has the unknown key '{key}'; known are {', '.join(known)}")
        if "name" not in entry or "refine" not in entry:
            raise InputError(f"a stage needs 'name' and 'refine', found {sorted(entry)}")
        values = dict(entry)
        values["refine"] = _names(entry["refine"], entry["name"])
        values["alternatives"] = tuple(_names(names, entry["name"]) for names in entry.get("alternatives", ()))
        for key, kind in (
            ("name", str),
            ("required", bool),
            ("max_cycles", int),
            ("axis", (list, tuple)),
            ("order", int),
        ):
            if key in entry and (not isinstance(entry[key], kind) or (kind is int and isinstance(entry[key], bool))):
                raise InputError(f"stage '{entry['name']}' has {key} {entry[key]!r}; see stages_to_data for an example")
        if "axis" in entry:
            values["axis"] = tuple(entry["axis"])
        stages.append(Stage(**values))
    if not stages:
        raise InputError("a recipe needs at least one stage")
    return tuple(stages)


def _names(given: Any, stage: str) -> tuple[str, ...]:
    if not isinstance(given, (list, tuple)) or not all(isinstance(name, str) for name in given):
        raise InputError(f"stage '{stage}' refines {given!r}; expected a list of names, of {', '.join(PARAMETERS)}")
    return tuple(given)
