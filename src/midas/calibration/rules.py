"""What the least squares of the geometry must obey: parameters held or bounded, and how much each point counts."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from midas import _core
from midas.calibration.points import RingPoints
from midas.errors import InputError
from midas.geometry import HARMONIC_TERMS, PHASES, RADIAL_TERMS, FloatArray, Geometry

WEIGHTINGS = ("scatter", "snr", "equal")
"""How points are weighted: by their uncertainty and the scatter beyond it, by significance, or all alike."""

_PLACE = {"distance": 0, "beam_center_y": 1, "beam_center_z": 2, "tilt_y": 4, "tilt_z": 5}
_HARMONIC = {amplitude: k for amplitude, _, k in HARMONIC_TERMS}


def _first(name: str) -> int | None:
    """Return the core index of a parameter by name, of its cosine coefficient for an amplitude."""
    if name in _PLACE:
        return _PLACE[name]
    if name == "parallax":
        return int(_core.PARALLAX)
    term = RADIAL_TERMS.get(name, _HARMONIC.get(name))
    return None if term is None else int(_core.FIRST_DISTORTION) + term


def _number(what: str, value: Any) -> float:
    """Return a finite number, or say what is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not np.isfinite(value):
        raise InputError(f"{what} is {value!r}; expected a finite number")
    return float(value)


@dataclass(frozen=True, eq=False)
class FitRules:
    """Constraints and weights of a fit of the geometry; the default constrains nothing.

    Examples
    --------
    >>> FitRules(fixed={"tilt_y": 0.0}).held
    frozenset({4})
    """

    fixed: Mapping[str, float] = field(default_factory=dict)
    """Parameters that are not refined, and their values: distance, parallax [µm], beam_center_y, beam_center_z [px],
    tilt_y, tilt_z [deg], p0, p1, ...; an amplitude is held with its phase (0 unless given)."""
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Lowest and highest value of parameters; of the p-terms only p2, p4 and p5, whose value is their coefficient."""
    weighting: str = "scatter"
    """One of `WEIGHTINGS`."""
    ring_weights: Mapping[int, float] = field(default_factory=dict)
    """Factor of the weight of a ring's points, by ring number from 1; 1 for rings not named."""

    def __post_init__(self) -> None:
        """Check names and values."""
        for name in ("fixed", "bounds", "ring_weights"):
            given = getattr(self, name)
            if not isinstance(given, Mapping):
                raise InputError(f"{name} is {given!r}; expected a dict")
            object.__setattr__(self, name, MappingProxyType(dict(given)))
        for name, value in self.fixed.items():
            if _first(name) is None and name not in PHASES:
                raise InputError(f"{name!r} cannot be fixed; expected one of {', '.join(self._names())}, or a phase")
            _number(f"the value at which {name} is fixed", value)
        for amplitude, phase, _ in HARMONIC_TERMS:
            if phase in self.fixed and amplitude not in self.fixed:
                raise InputError(
                    f"{phase} is fixed at {self.fixed[phase]} but {amplitude}, whose phase it is, is not; fix both, or "
                    "neither"
                )
        for name, limits in self.bounds.items():
            if name in _HARMONIC or name in PHASES:
                raise InputError(
                    f"{name} cannot be bounded: inside it is a pair of coefficients; fix it, or leave it free"
                )
            if _first(name) is None:
                raise InputError(f"{name!r} cannot be bounded; expected one of {', '.join(self._names())}")
            pair = isinstance(limits, (tuple, list)) and len(limits) == 2
            if not pair or not _number(f"a bound of {name}", limits[0]) < _number(f"a bound of {name}", limits[1]):
                raise InputError(f"the bounds of {name} are {limits}; expected the lower, then the higher value")
        if self.weighting not in WEIGHTINGS:
            raise InputError(f"weighting is {self.weighting!r}; expected one of {', '.join(WEIGHTINGS)}")
        for number, weight in self.ring_weights.items():
            if not isinstance(number, (int, np.integer)) or number < 1 or not _number("a weight", weight) > 0.0:
                raise InputError(
                    f"ring {number} has the weight {weight}; expected a ring number from 1 and a weight above 0 "
                    "(to leave a ring out, exclude it)"
                )

    @staticmethod
    def _names() -> list[str]:
        return [*_PLACE, "parallax", *sorted([*RADIAL_TERMS, *_HARMONIC], key=lambda p: int(p[1:]))]

    @property
    def held(self) -> frozenset[int]:
        """Core indices of what is fixed."""
        indices: set[int] = set()
        for name in self.fixed:
            first = _first(name)
            if first is not None:
                indices.update((first, first + 1) if name in _HARMONIC else (first,))
        return frozenset(indices)

    def kept_beyond(self, free: Collection[int]) -> dict[str, float]:
        """Return what stays fixed when the parameters of these core indices are freed; a phase goes with its amplitude.

        Examples
        --------
        >>> FitRules(fixed={"tilt_y": 0.0, "parallax": 400.0}).kept_beyond((4, 5))
        {'parallax': 400.0}
        """
        freed = {name for name in self.fixed if _first(name) in free}
        freed |= {phase for amplitude, phase, _ in HARMONIC_TERMS if amplitude in freed}
        return {name: value for name, value in self.fixed.items() if name not in freed}

    def applied(self, geometry: Geometry) -> Geometry:
        """Return the geometry with the fixed parameters at their values."""
        values = dict(self.fixed)
        if not values:
            return geometry
        (y, z), tilts = geometry.beam_center, geometry.tilts
        distortion = dict(geometry.distortion)
        for amplitude, phase, _ in HARMONIC_TERMS:
            if amplitude in values:
                distortion[phase] = values.get(phase, 0.0)
        distortion |= {name: v for name, v in values.items() if name in RADIAL_TERMS or name in _HARMONIC}
        return replace(
            geometry,
            distance=values.get("distance", geometry.distance),
            beam_center=(values.get("beam_center_y", y), values.get("beam_center_z", z)),
            tilts=(tilts[0], values.get("tilt_y", tilts[1]), values.get("tilt_z", tilts[2])),
            distortion=distortion,
            parallax=values.get("parallax", geometry.parallax),
        )

    def narrowed(self, lower: FloatArray, upper: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the bounds of all core parameters with the given ones in place."""
        lower, upper = lower.copy(), upper.copy()
        for name, (low, high) in self.bounds.items():
            k = _first(name)
            lower[k], upper[k] = low, high
        return lower, upper

    def weights(self, points: RingPoints, natural: FloatArray) -> FloatArray:
        """Return what the residual of each point is multiplied by; `natural` is 1 over its standard deviation."""
        weight = natural
        if self.weighting == "snr":
            weight = np.median(natural) * points.snr / np.median(points.snr)
        elif self.weighting == "equal":
            weight = np.full_like(natural, np.median(natural))
        for number, factor in self.ring_weights.items():
            weight = np.where(points.ring == int(number) - 1, np.sqrt(factor) * weight, weight)
        return weight


FREE = FitRules()
"""No constraint, the usual weights."""
