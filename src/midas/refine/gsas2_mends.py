"""What GSAS-II computes wrongly, mended in the worker: put in place once by `worker.py`, which loads this by its path.

- Profiles without axial divergence: GSAS-II raises every SH/L below 0.002 to 0.002, which moves a line at 3.8 deg by
  -7e-4 deg, and computes asymmetric profiles in single precision.
- The derivatives by the cell: for cubic, hexagonal and tetragonal phases those by A0 leave out what A1, A2 and A3 do,
  which follow A0. A fit then ends up to an esd beside the minimum of chi², and the esd of the cell is wrong.

Like the worker this imports nothing of midas. docs/decisions/gsas2-in-separate-processes.md says more.
"""

from __future__ import annotations

import builtins
import functools
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

GSAS2_ASYMMETRY_FLOORS = (0.002, 0.0005)
"""What GSAS-II (2.0) raises a smaller SH/L to, in the profile and at the start of the least squares."""
ASYMMETRY_FLOOR = 1e-4
"""What we let it go down to: it moves a line at 3 deg by 1e-6 deg, and profiles are computed as symmetric."""
FOLLOW_A0 = {
    **dict.fromkeys(("4/m", "4/mmm"), (1,)),
    **dict.fromkeys(("6/m", "6/mmm", "3m1", "31m", "3"), (1, 3)),
    **dict.fromkeys(("m3", "m3m"), (1, 2)),
}
"""Elements of the reciprocal metric tensor that equal A0 in each Laue class."""

PROFILES = ("getFCJVoigt3", "getdFCJVoigt3", "getPsVoigt", "getdPsVoigt")
DERIVATIVES = ("getPowderProfileDerv", "GetReflPosDerv")


def install(prefix: str) -> None:
    """Put the mends in place; `prefix` is "GSASII." where that is a package.

    Raises
    ------
    ImportError
        A function to mend is not there: this version would be wrong without anyone knowing.
    """
    math, profiles, files = (vars(importlib.import_module(f"{prefix}GSASII{n}")) for n in ("strMath", "pwd", "strIO"))
    missing = [f"GSASIIpwd.{n}" for n in PROFILES if n not in profiles]
    missing += [f"GSASIIstrMath.{n}" for n in DERIVATIVES if n not in math]
    if missing:
        raise ImportError(
            f"this version has no {', '.join(missing)}, whose errors midas mends; version 2.0 is known to work"
        )
    for names in (math, profiles, files):
        names["max"] = max_but_for_asymmetry
    profiles["getFCJVoigt3"] = symmetric_profile(profiles, profiles["getFCJVoigt3"])
    profiles["getdFCJVoigt3"] = symmetric_derivatives(profiles, profiles["getdFCJVoigt3"])
    followers = Followers()
    math["getPowderProfileDerv"] = followers.derivatives(math["getPowderProfileDerv"])
    math["GetReflPosDerv"] = followers.by_position(math["GetReflPosDerv"])


def max_but_for_asymmetry(*values: Any, **options: Any) -> Any:
    """Return the maximum, except that the floors of the axial divergence, max(SH/L, 0.002), are lowered to 1e-4.

    An area detector caked over arcs has no axial divergence: the asymmetry of 0.002 biases a cell by tens of ppm. A
    file that says 0.002 or more is refined as GSAS-II does.
    """
    if len(values) == 2 and not options and values[1] in GSAS2_ASYMMETRY_FLOORS:
        return builtins.max(values[0], ASYMMETRY_FLOOR)
    return builtins.max(*values, **options)


def symmetric_profile(profiles: dict[str, Any], original: Callable[..., Any]) -> Callable[..., Any]:
    """Compute a profile without asymmetry as the symmetric one that it is.

    The asymmetric routine goes through the arc cosine in single precision, whose steps are 5e-5 deg at 2theta = 4 deg:
    chi² is a staircase then, and the cell moves in steps of 10 ppm.
    """

    @functools.wraps(original)
    def profile(pos: float, sig: float, gam: float, shl: float, xdata: Any) -> Any:
        if shl > ASYMMETRY_FLOOR or len(xdata) < 2:
            return original(pos, sig, gam, shl, xdata)
        return profiles["getPsVoigt"](pos, sig, gam, xdata)

    return profile


def symmetric_derivatives(profiles: dict[str, Any], original: Callable[..., Any]) -> Callable[..., Any]:
    """Compute the derivatives of a profile without asymmetry; the one by SH/L is 0 there."""

    @functools.wraps(original)
    def derivatives(pos: float, sig: float, gam: float, shl: float, xdata: Any) -> Any:
        if shl > ASYMMETRY_FLOOR or len(xdata) < 2:
            return original(pos, sig, gam, shl, xdata)
        value, by_position, by_variance, by_width = profiles["getdPsVoigt"](pos, sig, gam, xdata)
        return value, -by_position, by_variance, by_width, np.zeros_like(value)

    return derivatives


class Followers:
    """Gives the derivative by A0 the share of the elements that follow it.

    GSAS-II has a place for that share, the derivatives by the dependent parameters, but leaves it zero. Where it does
    not (another version may), nothing is added: the first phase of each Laue class that has a line hkl, k not 0, tells.
    """

    def __init__(self) -> None:
        self._phases: dict[str, str] = {}
        self._missing: dict[str, bool] = {}
        self._depend_on_a1: set[str] = set()

    def derivatives(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Compute derivatives knowing the Laue class of each phase."""

        @functools.wraps(original)
        def derivatives(args: Any) -> Any:
            names, phases, dependent = args[2], args[4].values(), args[8]
            laue = {f"{phase['pId']}::": phase["General"]["SGData"]["SGLaue"] for phase in phases}
            self._phases = {p: c for p, c in laue.items() if c in FOLLOW_A0 and f"{p}A0" in names}
            unknown = [p for p, c in self._phases.items() if c not in self._missing and f"{p}A1" in dependent]
            self._depend_on_a1.clear()
            found = original(args)
            for phase in unknown:
                if phase in self._depend_on_a1:
                    self._missing[laue[phase]] = not np.any(found[1][f"{phase}A1"])
            return original(args) if any(self._missing.get(laue[p]) for p in unknown) else found

        return derivatives

    def by_position(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Compute the derivatives of a position, those by A0 with what follows it."""

        @functools.wraps(original)
        def by_position(refl: Any, im: Any, wave: Any, A: Any, pfx: str, *more: Any) -> Any:
            found = original(refl, im, wave, A, pfx, *more)
            if found[0][1] != 0.0:
                self._depend_on_a1.add(pfx)
            laue = self._phases.get(pfx)
            if laue is not None and self._missing.get(laue):
                found[0][0] += sum(found[0][i] for i in FOLLOW_A0[laue])
            return found

        return by_position
