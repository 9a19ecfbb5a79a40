"""What is taken out of a GSAS-II project when its refinement is over: values with esds, curves, project file, CIF.

Like `gsas2_model.py`, of whose `Model` these functions read, it imports nothing of midas and is loaded by its path.
"""

from __future__ import annotations

import copy
import math
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np

CELL = ("a", "b", "c", "alpha", "beta", "gamma", "volume")
CORRELATED = 0.95


def curves(model: Any) -> dict[str, list[float]]:
    """Return the pattern and its model within the limits."""
    w = model.weights
    columns = {"two_theta": model.two_theta, "observed": model.observed, "calculated": model.calculated}
    columns |= {"background": model.background, "sigma": 1.0 / np.sqrt(w)}
    return {name: values.tolist() for name, values in columns.items()}


def results(model: Any) -> dict[str, Any]:
    """Return phases, instrument, background and strong correlations as plain data."""
    esds, data = model.esds(), model.hist.data
    values = data["Instrument Parameters"][0]
    instrument = {
        n: [float(values[k][1]), esds.get(f":0:{k}")] for n, k in model.instrument_names.items() if k in values
    }
    fractions = _fractions(model)
    phases = [_phase_result(model, name, fractions[name], esds) for name in model.phase_names]
    background = [float(v) for v in data["Background"][0][3:]]
    correlations = _correlations(model)
    return {"phases": phases, "instrument": instrument, "background": background, "correlations": correlations}


def _phase_result(model: Any, name: str, fraction: list[float | None], esds: dict[str, float]) -> dict[str, Any]:
    phase = model.phase(name)
    scale, scale_esd = model.scales().get(name, (0.0, math.nan))
    atoms, pid = [], model.phase_names.index(name)
    for i, atom in enumerate(phase.atoms()):
        x, y, z = (float(v) for v in atom.coordinates)
        entry = {"label": atom.label, "x": x, "y": y, "z": z, "occupancy": float(atom.occupancy)}
        if atom.adp_flag == "I":
            entry |= {"uiso": float(atom.uiso), "uiso_esd": esds.get(f"{pid}::AUiso:{i}")}
        atoms.append(entry)
    return {
        "name": name,
        "cell": _cell(model, name),
        "scale": [scale, None if math.isnan(scale_esd) else scale_esd],
        "weight_fraction": fraction,
        "present": name not in model.left_out,
        "atoms": atoms,
        **_sample_results(model, name, esds),
    }


def rings_beside_esds(model: Any, rings: Any) -> dict[str, dict[str, Any]]:
    """Multiply the esds of cells on which rings differ by how much they do; return what there is to say of each phase.

    That is its `ring_scatter`, the largest factor of its cell's parameters, and the `unlike_ring` [deg], None where
    that is chance; nothing where it cannot be told. The covariance of the fit is changed, for all who read it later.
    `rings` is the module that compares.
    """
    covariance = model.project.data["Covariance"]["data"] or {}
    if model.shared.fit is None or not len(covariance.get("covMatrix", [])):
        return {}
    derivatives, first = model.shared.fit
    begin = int(np.searchsorted(model.two_theta, first))
    two_theta, lines = model.two_theta[begin:], (model.calculated - model.background)[begin:]
    residuals = ((model.observed - model.calculated) * np.sqrt(model.weights))[begin:]
    derivatives = derivatives[:, : len(residuals)]  # GSAS-II may take one point beyond the limits
    variables = list(covariance["varyList"])
    if derivatives.shape != (len(variables), len(residuals)):
        return {}
    bounds, reflections = rings.ring_bounds(lines), model.reflections()
    found: dict[str, dict[str, Any]] = {}
    factors = np.ones(len(variables))
    for name in model.active:
        _, rows = model.cell_rows(name)
        each = rings.ring_scatter(derivatives, residuals, bounds, rows, covariance["covMatrix"])
        known = [scatter for scatter in each if math.isfinite(scatter.factor)]
        if not known:
            continue
        told = [(i, s) for i, s in zip(rows, each, strict=True) if rings.is_more_than_chance(s.factor, s.n)]
        for i, scatter in told:
            factors[i] = scatter.factor
        worst = max((s for _, s in told), key=lambda s: s.factor, default=None)
        unlike = None
        if worst is not None:  # of the lines that lie there together, the nearest of the phase itself
            own = [row[5] for row in reflections[name]] or [float(two_theta[worst.point])]
            unlike = min(own, key=lambda place: abs(place - two_theta[worst.point]))
        found[name] = {"ring_scatter": max(s.factor for s in known), "unlike_ring": unlike}
    if found:
        covariance["covMatrix"] = np.asarray(covariance["covMatrix"]) * np.outer(factors, factors)
        covariance["sig"] = np.asarray(covariance["sig"]) * factors
    return found


def _sample_results(model: Any, name: str, esds: dict[str, float]) -> dict[str, Any]:
    """Return what was refined of a phase's size, microstrain and preferred orientation: a start value is no result."""
    settings, prefix = model.settings(name), f"{model.phase_names.index(name)}:0:"
    values = {p: (f"{key};i", float(settings[key][1][0])) for p, (key, *_) in model.sample_names.items()}
    broadening = {p: [value, esds[prefix + key]] for p, (key, value) in values.items() if prefix + key in esds}
    orientation = settings["Pref.Ori."]
    coefficients = {"march": (model.march_name, orientation[1]), **{key: (key, v) for key, v in orientation[5].items()}}
    texture = {n: [float(v), esds[prefix + key]] for n, (key, v) in coefficients.items() if prefix + key in esds}
    return {"broadening": broadening, "texture": texture}


def _cell(model: Any, name: str) -> dict[str, list[float | None]]:
    values = [float(v) for v in model.phase(name).data["General"]["Cell"][1:8]]
    return {k: [v, e if e > 0 else None] for k, v, e in zip(CELL, values, model.esds_of_cell(name), strict=True)}


def _fractions(model: Any) -> dict[str, list[float | None]]:
    """Return weight fractions w_i = S_i M_i / sum(S M) with esds from the covariance of the scales."""
    if len(model.phase_names) == 1:
        return {model.phase_names[0]: [1.0, None]}
    scales = model.scales()
    if len(scales) == 1:  # nothing is left to compare it with
        return {n: [1.0 if n in scales else 0.0, None] for n in model.phase_names}
    mass = np.array([float(model.phase(n).data["General"]["Mass"]) for n in scales])
    s = np.array([v for v, _ in scales.values()])
    total = float(np.sum(s * mass)) or math.nan
    w = s * mass / total
    jacobian = (np.diag(mass) - np.outer(w, mass)) / total
    covariance = model.project.data["Covariance"]["data"] or {}
    vary = list(covariance.get("varyList", []))
    keys = [f"{model.phase_names.index(n)}:0:Scale" for n in scales]
    found: dict[str, list[float | None]] = {n: [0.0, None] for n in model.phase_names}
    esd: list[float | None] = [None] * len(w)
    if all(k in vary for k in keys):
        chosen = [vary.index(k) for k in keys]
        matrix = np.asarray(covariance["covMatrix"])[np.ix_(chosen, chosen)]
        esd = [float(v) for v in np.sqrt(np.maximum(np.diag(jacobian @ matrix @ jacobian.T), 0.0))]
    found.update({n: [float(v), e] for n, v, e in zip(scales, w, esd, strict=False)})
    return found


def _correlations(model: Any) -> list[tuple[str, str, float]]:
    covariance = model.project.data["Covariance"]["data"] or {}
    matrix = np.asarray(covariance.get("covMatrix", []))
    if matrix.ndim != 2:
        return []
    esd = np.sqrt(np.maximum(np.diag(matrix), 1e-300))
    scaled, names = matrix / np.outer(esd, esd), covariance["varyList"]
    pairs = zip(*np.nonzero(np.triu(np.abs(scaled) > CORRELATED, 1)), strict=True)
    return [(model.plain(names[i]), model.plain(names[j]), float(scaled[i, j])) for i, j in pairs]


def save(model: Any, path: Path, final: Path) -> Path:
    """Save the project under a name, recording the place where it will lie; return the path."""
    model.project.save(str(path))
    data = copy.copy(model.project.data)
    data["Controls"]["data"]["LastSavedAs"] = str(final)
    sys.modules[model.scripting.__name__].SaveDictToProjFile(data, model.project.names, str(path))
    return path


def write_cif(model: Any, name: str, path: Path) -> Path:
    """Write a phase as CIF with the esds of its cell (which GSAS-II's own script export leaves out)."""
    model.phase(name).export_CIF(str(path))
    text = path.read_text(encoding="utf-8")
    for key, (value, esd) in _cell(model, name).items():
        tag = "_cell_volume" if key == "volume" else f"_cell_{'length' if len(key) == 1 else 'angle'}_{key}"
        if value is not None and esd is not None:
            text = re.sub(rf"^{tag}\s.*$", f"{tag}  {model.text.with_esd(value, esd)}", text, flags=re.MULTILINE)
    path.write_text(text, encoding="utf-8")
    return path
