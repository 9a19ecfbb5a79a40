"""Refinement stages as data: which parameters are freed, in which order, and what to try when that goes wrong."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from midas.errors import InputError

PARAMETERS = ("background", "scale", "cell", "u", "v", "w", "x", "y", "z", "sh_l", "coordinates", "uiso")
"""What a stage may free: Chebyshev background, scale factors, unit cells, the Gaussian widths u, v, w, the Lorentzian
widths x, y, z, the axial divergence sh_l, and the atoms' coordinates and isotropic displacements."""


@dataclass(frozen=True)
class Stage:
    """One step of a refinement: parameters freed on top of those that earlier stages kept."""

    name: str
    """What the stage is called in results and messages."""
    refine: tuple[str, ...]
    """Parameters freed, of `PARAMETERS`."""
    alternatives: tuple[tuple[str, ...], ...] = ()
    """Smaller sets tried in turn, each from where the last good stage ended, when `refine` gives no acceptable fit."""
    required: bool = False
    """True where the later stages make no sense without this one: the refinement then stops and counts as failed."""
    max_cycles: int = 20
    """Least-squares cycles allowed for one attempt."""

    def __post_init__(self) -> None:
        for name in (*self.refine, *(name for tries in self.alternatives for name in tries)):
            if name not in PARAMETERS:
                near = difflib.get_close_matches(name, PARAMETERS, n=1)
                hint = f"; did you mean '{near[0]}'?" if near else f"; known are {', '.join(PARAMETERS)}"
                raise InputError(f"stage '{self.name}' refines the unknown parameter '{name}'{hint}")
        if not self.refine:
            raise InputError(f"stage '{self.name}' refines nothing; name at least one of {', '.join(PARAMETERS)}")
        if self.max_cycles < 1:
            raise InputError(f"stage '{self.name}' has max_cycles {self.max_cycles}; at least 1 is needed")


DEFAULT_STAGES = (
    Stage("background and scale", ("background", "scale"), required=True),
    Stage("unit cell", ("cell",), required=True),
    Stage("Gaussian widths", ("u", "v", "w"), alternatives=(("u", "w"), ("w",))),
    Stage("Lorentzian widths", ("x", "y", "sh_l"), alternatives=(("x", "y"), ("y",), ("x",))),
    Stage("atoms", ("coordinates", "uiso"), alternatives=(("uiso",),)),
)
"""The recipe of the manual: each stage adds to the ones before it."""


def default_stages(*, refine_atoms: bool = True) -> tuple[Stage, ...]:
    """Return the manual's recipe, without the stage that moves atoms where that is not wanted.

    Examples
    --------
    >>> [stage.name for stage in default_stages(refine_atoms=False)]
    ['background and scale', 'unit cell', 'Gaussian widths', 'Lorentzian widths']
    """
    return tuple(s for s in DEFAULT_STAGES if refine_atoms or not {"coordinates", "uiso"} & set(s.refine))


def stages_to_data(stages: Iterable[Stage]) -> list[dict[str, Any]]:
    """Return stages as plain dictionaries, fit for JSON.

    Examples
    --------
    >>> stages_to_data([Stage("cell only", ("cell",))])[0]["refine"]
    ['cell']
    """
    return [
        {**dataclasses.asdict(s), "refine": list(s.refine), "alternatives": [list(a) for a in s.alternatives]}
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
        values["refine"] = tuple(entry["refine"])
        values["alternatives"] = tuple(tuple(names) for names in entry.get("alternatives", ()))
        stages.append(Stage(**values))
    if not stages:
        raise InputError("a recipe needs at least one stage")
    return tuple(stages)
