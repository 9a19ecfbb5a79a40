"""Work that GSAS-II does for nothing, left undone: put in place once by `worker.py`, which loads this file by its path.

Each shortcut stands for a function of GSAS-II and calls it whenever the result is needed. What is refined stays the
same, esds to 1e-8: GSAS-II's structure factors are those of the evaluation before, and there are fewer evaluations. A
function that this GSAS-II lacks, or whose arguments have other names, is left alone. Like the worker this imports
nothing of midas.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import re
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

READERS = {"imports": ("G2phase", "G2phase_CIF", "G2pwd_xye"), "exports": ("G2export_CIF",)}
"""Formats that the worker reads and writes; the others take most of a second to import (pyplot, zarr)."""
CELL_TERM = re.compile(r"A[0-5]$")


def install(prefix: str) -> list[str]:
    """Put the shortcuts in place and return their names; `prefix` is "GSASII." where that is a package."""
    names = ("GSASIIstrMath", "GSASIIfiles", "GSASIIElem")
    math, files, elements = (importlib.import_module(f"{prefix}{n}") for n in names)
    varying: dict[str, Any] = {"names": (), "in_hessian": False}
    wanted: list[tuple[Any, str, tuple[str, ...], Callable[[Any], Any]]] = [
        (math, "getPowderProfile", ("parmDict", "histDict1", "x"), unmasked_profile),
        (math, "getPowderProfileDerv", ("args",), functools.partial(noted_derivatives, varying)),
        (math, "GetPrefOriDerv", ("refl", "im", "uniq", "G", "g", "phfx"), functools.partial(no_texture, varying)),
        (math, "StructureFactorDerv2", ("refDict", "G", "hfx", "pfx"), functools.partial(fixed_atoms, varying)),
        (math, "HessRefine", ("values", "HistoPhases", "parmDict"), functools.partial(noted_hessian, varying)),
        (math, "GetFobsSq", ("Histograms", "Phases", "parmDict"), functools.partial(observed_once, varying)),
        (math, "errRefine", ("values", "HistoPhases", "parmDict"), not_twice),
        (files, "get_python_versions", ("packagelist",), asked_once),
        (elements, "GetXsectionCoeff", ("El",), read_once),
    ]
    done = []
    for module, name, arguments, make in wanted:
        found = getattr(module, name, None)
        if found is not None and tuple(inspect.signature(found).parameters)[: len(arguments)] == arguments:
            setattr(module, name, functools.wraps(found)(make(found)))
            done.append(name)
    if prefix:
        done += [name for name in READERS if only_what_is_used(prefix, name)]
    return done


def only_what_is_used(prefix: str, package: str) -> bool:
    """Put a package of the formats in use in the place of GSAS-II's of all formats; say whether it is done."""
    full, parent = f"{prefix}{package}", sys.modules[prefix.rstrip(".")]
    folder = Path(str(parent.__file__)).parent / package
    if full in sys.modules or not all((folder / f"{name}.py").is_file() for name in READERS[package]):
        return False
    module = types.ModuleType(full)
    module.__path__ = [str(folder)]
    sys.modules[full] = module
    setattr(parent, package, module)
    try:
        for name in READERS[package]:
            setattr(module, name, importlib.import_module(f"{full}.{name}"))
    except Exception:  # noqa: BLE001 - GSAS-II then imports the whole of it, as it would have
        del sys.modules[full]
        delattr(parent, package)
        return False
    return True


def plain(x: Any) -> Any:
    """Return an array without a mask when nothing is masked: arithmetic on masked arrays is several times slower."""
    return x if np.ma.is_masked(x) else np.ma.getdata(x)


def unmasked_profile(original: Callable[..., Any]) -> Callable[..., Any]:
    """Compute profiles on plain arrays."""

    def profile(parmDict: Any, histDict1: Any, x: Any, *more: Any, **named: Any) -> Any:
        return original(parmDict, histDict1, plain(x), *more, **named)

    return profile


def noted_derivatives(varying: dict[str, Any], original: Callable[..., Any]) -> Callable[..., Any]:
    """Compute derivatives on plain arrays, with the names of what is varied noted for the functions called from it."""

    def derivatives(args: Any) -> Any:
        varying["names"] = (*args[2], *args[8])
        return original([args[0], plain(args[1]), *args[2:]])

    return derivatives


def no_texture(varying: dict[str, Any], original: Callable[..., Any]) -> Callable[..., Any]:
    """Leave out the derivatives by the March-Dollase ratio where it is 1 and not varied: the correction is 1 then."""

    def derivative(refl: Any, im: Any, uniq: Any, G: Any, g: Any, phfx: str, *more: Any) -> Any:
        calc_controls, values = more[2], more[3]
        name = f"{phfx}MD"
        if calc_controls[f"{phfx}poType"] == "MD" and values[name] == 1.0 and name not in varying["names"]:
            return 1.0, {}
        return original(refl, im, uniq, G, g, phfx, *more)

    return derivative


def fixed_atoms(varying: dict[str, Any], original: Callable[..., Any]) -> Callable[..., Any]:
    """Leave out the derivatives of structure factors where of a phase nothing but the cell is varied."""

    def derivative(refDict: Any, G: Any, hfx: str, pfx: str, *more: Any) -> Any:
        names = varying["names"]
        own = [name[len(pfx) :] for name in names if name.startswith(pfx)]
        special = any("RB" in name or "Bab" in name for name in names)
        if not special and all(CELL_TERM.match(name) for name in own):
            return {}
        return original(refDict, G, hfx, pfx, *more)

    return derivative


def noted_hessian(varying: dict[str, Any], original: Callable[..., Any]) -> Callable[..., Any]:
    """Note when normal equations are computed, which need no observed structure factors."""

    def hessian(*args: Any, **named: Any) -> Any:
        varying["in_hessian"] = True
        try:
            return original(*args, **named)
        finally:
            varying["in_hessian"] = False

    return hessian


def observed_once(varying: dict[str, Any], original: Callable[..., Any]) -> Callable[..., Any]:
    """Compute observed structure factors at the end of the least squares alone, not in every cycle.

    Le Bail fits take their intensities from them, and keep them.
    """

    def observed(Histograms: Any, Phases: Any, parmDict: Any, calcControls: Any) -> Any:
        le_bail = any(value for name, value in parmDict.items() if name.endswith("LeBail"))
        if varying["in_hessian"] and not le_bail:
            return None
        return original(Histograms, Phases, parmDict, calcControls)

    return observed


def not_twice(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return the misfit of the evaluation before when the same is asked for again, as at the end of least squares."""
    last: dict[str, Any] = {}

    def misfit(values: Any, HistoPhases: Any, parmDict: Any, *more: Any) -> Any:
        key = np.asarray(values, dtype=float).tobytes()
        same = last.get("key") == key and last["of"][0] is HistoPhases and last["of"][1] is parmDict
        if same and len(key) > 0:
            return last["misfit"].copy()
        last.clear()
        found = original(values, HistoPhases, parmDict, *more)
        last.update(key=key, of=(HistoPhases, parmDict), misfit=found.copy())
        return found

    return misfit


def read_once(original: Callable[..., Any]) -> Callable[..., Any]:
    """Remember the cross sections of an element, for which a table is read through in every refinement."""
    known: dict[str, Any] = {}

    def orbitals(El: str) -> Any:
        if El not in known:
            known[El] = original(El)
        return [dict(orbital) for orbital in known[El]]

    return orbitals


def asked_once(original: Callable[..., Any]) -> Callable[..., Any]:
    """Remember the versions of Python and packages, for which a process is started each time a project is saved."""
    known: list[Any] = []

    def versions(packagelist: Any) -> Any:
        if not known:
            known.append(original(packagelist))
        return [list(row) for row in known[0]]

    return versions
