"""One histogram as a GSAS-II project: the part of the worker that knows GSAS-II's tree, loaded by `worker.py` alone.

Like the worker it imports nothing of midas, and GSAS-II only through the scripting module that it is handed.
"""

from __future__ import annotations

import copy
import math
import pickle
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np

WIDTHS = {"u": "U", "v": "V", "w": "W", "x": "X", "y": "Y", "z": "Z", "sh_l": "SH/L"}
INSTRUMENT = {"wavelength": "Lam", "polarization": "Polariz.", "zero": "Zero", **WIDTHS}
CELL = ("a", "b", "c", "alpha", "beta", "gamma", "volume")
MIN_CHI2_GAIN = 1e-4
"""Relative fall of chi² below which least squares count as converged; GSAS-II's own 1e-3 is worth more than an esd."""
MIN_SH_L = 1e-4
"""Below this SH/L has no effect on the profile (the floor that the worker sets), and only wanders."""
CORRELATED = 0.95
SIZE_UM, MICROSTRAIN = 10.0, 0.0
"""Sample broadening that leaves the Lorentzian widths to the instrument (a new phase carries 1 um and 1000)."""


def instrument_text(job: dict[str, Any]) -> str:
    """Return an instrument parameter file of the job's values, those of an override file winning."""
    values: dict[str, str] = {"Type": "PXC", "Bank": "1.0"}
    values.update({key: repr(float(job["instrument"][name])) for name, key in INSTRUMENT.items()})
    if job["instrument_file"]:
        text = Path(job["instrument_file"]).read_text(encoding="utf-8")
        if "GSAS-II" not in text.split("\n", 1)[0]:
            raise ValueError(
                f"{job['instrument_file']} is not an instrument parameter file: its first line lacks 'GSAS-II'"
            )
        found = re.findall(r"^\s*([A-Za-z][\w./()-]*)\s*:\s*([^\n;#]+)", text.split("#Bank 2")[0], flags=re.MULTILINE)
        given = {key: value.strip() for key, value in found}
        if "Lam1" in given:
            values.pop("Lam")
        values.update(given)
    values["Azimuth"] = repr(float(job["azimuth"]))
    lines = [f"{key}:{value}" for key, value in values.items()]
    return "\n".join(["#GSAS-II instrument parameter file", *lines, ""])


class Model:
    """A project of one histogram and its phases, with the few things that a staged refinement does to it."""

    def __init__(self, scripting: Any, job: dict[str, Any], folder: Path) -> None:
        self.scripting, self.job, self.folder = scripting, job, folder
        self.names: dict[str, str] = {}
        self.left_out: set[str] = set()
        self.phase_names = [p["name"] for p in job["phases"]]
        self.path = folder / "refine.gpx"
        self.project = scripting.G2Project(newgpx=str(self.path))
        self._add_histogram()
        self.reference: dict[str, tuple[float, ...]] = {}
        for phase in job["phases"]:
            self._add_phase(phase)
        self.project.data["Controls"]["data"]["min dM/M"] = MIN_CHI2_GAIN
        self.project.save()

    def _add_histogram(self) -> None:
        job = self.job
        x, y, sigma = (np.asarray(job[k], dtype=float) for k in ("two_theta", "intensity", "sigma"))
        data, instrument = self.folder / "lineout.xye", self.folder / "lineout.instprm"
        np.savetxt(data, np.column_stack([x, np.abs(y) + 1.0, sigma]))
        instrument.write_text(instrument_text(job), encoding="utf-8")
        hist = self.project.add_powder_histogram(str(data), str(instrument), fmthint="xye")
        arrays = hist.data["data"][1]
        if len(arrays[0]) != len(x):
            raise RuntimeError(f"GSAS-II took {len(arrays[0])} of {len(x)} points")
        # The text only carries the shape: the numbers go in exactly, and negative intensities keep their weights.
        for i, values in enumerate((x, y, 1.0 / sigma**2)):
            arrays[i][:] = values
        hist.data["data"][0].update(Yminmax=[float(y.min()), float(y.max())])
        hist.data["Comments"] = [f"omega={job['omega']} eta={job['eta']} sum={job['sum_index']}"]
        sample = hist.data["Sample Parameters"]
        # Phi is where GSAS-II's own reader of these files puts omega; with Chi 0 it turns about the same axis as Omega.
        sample.update(
            {"Azimuth": float(job["azimuth"]), "Phi": float(job["omega"]), "Gonio. radius": float(job["radius_mm"])}
        )
        sample.update({k: float(job[k.lower()]) for k in ("Temperature", "Pressure") if job[k.lower()] is not None})
        if job["limits"]:
            low, high = job["limits"]
            hist.data["Limits"][1] = [max(low, float(x[0])), min(high, float(x[-1]))]
        terms = int(job["background_terms"])
        hist.data["Background"][0] = ["chebyschev-1", True, terms, float(np.median(y)), *[0.0] * (terms - 1)]

    def _add_phase(self, phase: dict[str, str]) -> None:
        hist = self.hist
        added = self.project.add_phase(phase["path"], phasename=phase["name"], histograms=[hist.name], fmthint="CIF")
        self.names[phase["name"]] = added.name
        settings = added.data["Histograms"][hist.name]
        if {"x", "y"} & {n for stage in self.job["stages"] for n in stage["refine"]}:
            settings["Size"][0], settings["Size"][1][0] = "isotropic", SIZE_UM
            settings["Mustrain"][0], settings["Mustrain"][1][0] = "isotropic", MICROSTRAIN
        self.reference[phase["name"]] = tuple(float(v) for v in added.data["General"]["Cell"][1:7])

    @property
    def hist(self) -> Any:
        """The histogram."""
        return self.project.histograms()[0]

    def phase(self, name: str) -> Any:
        """Return a phase by the name that the job gave it."""
        return self.project.phase(self.names[name])

    @property
    def active(self) -> list[str]:
        """Names of the phases still in the model."""
        return [n for n in self.phase_names if n not in self.left_out]

    def leave_out(self, names: list[str]) -> None:
        """Take phases out of the model."""
        self.left_out |= set(names)
        for name in names:
            self.phase(name).data["Histograms"][self.hist.name]["Use"] = False

    def state(self) -> tuple[bytes, frozenset[str]]:
        """Return the present state, for `restore`."""
        return pickle.dumps((self.project.data, self.project.names)), frozenset(self.left_out)

    def restore(self, state: tuple[bytes, frozenset[str]]) -> None:
        """Return to an earlier state."""
        content, left_out = state
        self.left_out = set(left_out)
        self.project.data, self.project.names = pickle.loads(content)

    def _free(self, names: set[str]) -> None:
        data, several = self.hist.data, len(self.phase_names) > 1
        data["Background"][0][1] = "background" in names
        data["Sample Parameters"]["Scale"][1] = "scale" in names and not several
        for name, key in WIDTHS.items():
            data["Instrument Parameters"][0][key][2] = name in names
        flags = ("X" if "coordinates" in names else "") + ("U" if "uiso" in names else "")
        for name in self.phase_names:
            phase, used = self.phase(name), name not in self.left_out
            phase.data["Histograms"][self.hist.name]["Scale"][1] = "scale" in names and several and used
            phase.data["General"]["Cell"][0] = "cell" in names and used
            for atom in phase.atoms():
                atom.refinement_flags = flags if used else ""

    def without_idle(self, names: set[str]) -> set[str]:
        """Return the parameters worth keeping free: not SH/L once it lies at its floor.

        A symmetric profile does not change with SH/L, whose derivative is 0 there: least squares never leave it.
        """
        value = float(self.hist.data["Instrument Parameters"][0][WIDTHS["sh_l"]][1])
        return names if value > MIN_SH_L else names - {"sh_l"}

    def refine(self, names: set[str], cycles: int) -> dict[str, Any]:
        """Refine with these parameters free, but for an idle SH/L, and return the facts to judge it by."""
        names = self.without_idle(names)
        self._least_squares(names, cycles)
        entry = self.hist.data["Instrument Parameters"][0][WIDTHS["sh_l"]]
        if "sh_l" in names and float(entry[1]) <= MIN_SH_L:
            entry[1] = MIN_SH_L
            self._least_squares(names - {"sh_l"}, cycles)
        covariance = self.project.data["Covariance"]["data"] or {}
        r = covariance.get("Rvals") or {}
        message = str(r.get("msg") or "")
        shift = r.get("Max shft/sig")
        variance, width = self._narrowest()
        return {
            "fresh": covariance.get("covMatrix") is not None and len(covariance["covMatrix"]) > 0,
            "converged": bool(r.get("converged")),
            "max_shift_esd": None if shift is None else float(shift),
            "singular": max(int(r.get("SVD0") or 0), 0) if r else 0,
            "dropped": tuple(self._dropped(message)),
            "messages": ("the least squares got stuck",) if r.get("Aborted") else (),
            "r_wp": self.r_wp(),
            "cells": {n: tuple(self.phase(n).data["General"]["Cell"][1:7]) for n in self.active},
            "reference_cells": self.reference,
            "uiso": self._smallest_uiso() if "uiso" in names else {},
            "gaussian_variance": variance,
            "lorentzian_width": width,
            "sh_l": float(self.hist.data["Instrument Parameters"][0][WIDTHS["sh_l"]][1]),
        }

    def _least_squares(self, names: set[str], cycles: int) -> None:
        self._free(names)
        self.project.data["Covariance"]["data"] = {}
        self.project.set_Controls("cycles", cycles)
        self.project.refine()

    def _dropped(self, message: str) -> list[str]:
        if "dropped" in message or "Error" in message:
            tokens = re.findall(r"\d*:\d*:[^\s,]+", message)
            return [self._plain(t) for t in tokens] or ["some"]
        return []

    def _plain(self, variable: str) -> str:
        """Return a parameter's name in the words of the job instead of GSAS-II's."""
        parts = variable.split(":")
        if len(parts) < 3:
            return variable
        phase = f"{self.phase_names[int(parts[0])]} " if parts[0] else ""
        known = {key: name for name, key in INSTRUMENT.items()}
        name = known.get(parts[2], parts[2]) if not parts[0] else parts[2]
        if name.startswith("Back;"):
            return f"background {name[5:]}"
        if parts[0] and re.fullmatch(r"A[0-5]", name):
            return f"{phase}cell {name}"
        if len(parts) > 3:
            label = self.phase(self.phase_names[int(parts[0])]).atoms()[int(parts[3])].label
            return f"{phase}{label} {name.removeprefix('dA').removeprefix('A').lower()}"
        return f"{phase}{name.lower()}"

    def _smallest_uiso(self) -> dict[str, float]:
        atoms = {n: [a for a in self.phase(n).atoms() if a.adp_flag == "I"] for n in self.active}
        return {n: min(float(a.uiso) for a in found) for n, found in atoms.items() if found}

    def _narrowest(self) -> tuple[float, float]:
        """Return the smallest Gaussian variance and Lorentzian width over the range, in GSAS-II's centidegrees."""
        p = {name: float(self.hist.data["Instrument Parameters"][0][key][1]) for name, key in WIDTHS.items()}
        theta = np.radians(np.linspace(*self.limits, 200) / 2.0)
        gauss = p["u"] * np.tan(theta) ** 2 + p["v"] * np.tan(theta) + p["w"]
        return float(gauss.min()), float((p["x"] / np.cos(theta) + p["y"] * np.tan(theta) + p["z"]).min())

    @property
    def limits(self) -> tuple[float, float]:
        """The 2θ range fitted [deg]."""
        low, high = self.hist.data["Limits"][1][:2]
        return float(low), float(high)

    def _array(self, i: int) -> Any:
        arrays = self.hist.data["data"][1]
        x = np.ma.filled(np.ma.asarray(arrays[0]), math.nan)
        low, high = self.limits
        return np.asarray(np.ma.filled(np.ma.asarray(arrays[i]), 0.0), dtype=float)[(x >= low) & (x <= high)]

    @property
    def observed(self) -> Any:
        """Intensities within the limits."""
        return self._array(1)

    @property
    def weights(self) -> Any:
        """1 / sigma² within the limits."""
        return self._array(2)

    @property
    def calculated(self) -> Any:
        """Calculated intensities within the limits, background included."""
        return self._array(3)

    @property
    def background(self) -> Any:
        """Background within the limits."""
        return self._array(4)

    def r_wp(self) -> float:
        """Return Rwp [%] of the present state."""
        o, c, w = self.observed, self.calculated, self.weights
        total = float(np.sum(w * o**2))
        return 100.0 * math.sqrt(float(np.sum(w * (o - c) ** 2)) / total) if total > 0 else math.nan

    def chi2(self) -> float:
        """Return the weighted sum of squared differences."""
        return float(np.sum(self.weights * (self.observed - self.calculated) ** 2))

    def n_free(self) -> int:
        """Return the number of parameters varied last."""
        return len((self.project.data["Covariance"]["data"] or {}).get("varyList", []))

    def gof(self) -> float | None:
        """Return sqrt(chi² / degrees of freedom) of the present state."""
        n = int(np.count_nonzero(self.weights > 0)) - self.n_free()
        return math.sqrt(self.chi2() / n) if n > 0 else None

    def significance(self) -> dict[str, float]:
        """Return scale over esd of each phase whose scale was refined."""
        return {name: value / esd for name, (value, esd) in self.scales().items() if esd > 0}

    def _esds(self) -> dict[str, float]:
        covariance = self.project.data["Covariance"]["data"] or {}
        return {k: float(v) for k, v in zip(covariance.get("varyList", []), covariance.get("sig", []), strict=False)}

    def scales(self) -> dict[str, tuple[float, float]]:
        """Return scale factor and esd (NaN when not refined) of each phase still in the model."""
        esds, hist = self._esds(), self.hist
        if len(self.phase_names) == 1:
            return {
                self.phase_names[0]: (float(hist.data["Sample Parameters"]["Scale"][0]), esds.get(":0:Scale", math.nan))
            }
        found = {}
        for name in self.active:
            value = self.phase(name).data["Histograms"][hist.name]["Scale"][0]
            found[name] = (float(value), esds.get(f"{self.phase_names.index(name)}:0:Scale", math.nan))
        return found

    def phases_without_reflections(self) -> list[str]:
        """Return the phases that have no reflection within the limits."""
        low, high = self.limits
        lists = self.reflections()
        return [n for n in self.active if not any(low <= row[5] <= high for row in lists.get(n, []))]

    def reflections(self) -> dict[str, list[list[float]]]:
        """Return h, k, l, multiplicity, d, 2θ, observed F², calculated F² of each phase."""
        lists = self.hist.data["Reflection Lists"]
        found = {}
        for name in self.active:
            rows = np.asarray(lists.get(self.names[name], {}).get("RefList", []), dtype=float)
            found[name] = rows[:, [0, 1, 2, 3, 4, 5, 8, 9]].tolist() if rows.ndim == 2 else []
        return found

    def curves(self) -> dict[str, list[float]]:
        """Return the pattern and its model within the limits."""
        w = self.weights
        columns = {"two_theta": self._array(0), "observed": self.observed, "calculated": self.calculated}
        columns |= {"background": self.background, "sigma": 1.0 / np.sqrt(w)}
        return {name: values.tolist() for name, values in columns.items()}

    def results(self) -> dict[str, Any]:
        """Return phases, instrument, background and strong correlations as plain data."""
        esds, data = self._esds(), self.hist.data
        values = data["Instrument Parameters"][0]
        instrument = {n: [float(values[k][1]), esds.get(f":0:{k}")] for n, k in INSTRUMENT.items() if k in values}
        fractions = self._fractions()
        phases = [self._phase_result(name, fractions[name], esds) for name in self.phase_names]
        background = [float(v) for v in data["Background"][0][3:]]
        correlations = self._correlations()
        return {"phases": phases, "instrument": instrument, "background": background, "correlations": correlations}

    def _phase_result(self, name: str, fraction: list[float | None], esds: dict[str, float]) -> dict[str, Any]:
        phase = self.phase(name)
        scale, scale_esd = self.scales().get(name, (0.0, math.nan))
        atoms, pid = [], self.phase_names.index(name)
        for i, atom in enumerate(phase.atoms()):
            x, y, z = (float(v) for v in atom.coordinates)
            entry = {"label": atom.label, "x": x, "y": y, "z": z, "occupancy": float(atom.occupancy)}
            if atom.adp_flag == "I":
                entry |= {"uiso": float(atom.uiso), "uiso_esd": esds.get(f"{pid}::AUiso:{i}")}
            atoms.append(entry)
        return {
            "name": name,
            "cell": self._cell(name),
            "scale": [scale, None if math.isnan(scale_esd) else scale_esd],
            "weight_fraction": fraction,
            "present": name not in self.left_out,
            "atoms": atoms,
        }

    def _cell(self, name: str) -> dict[str, list[float | None]]:
        phase = self.phase(name)
        refined = bool(phase.data["General"]["Cell"][0]) and bool(self._esds())
        values = [float(v) for v in phase.data["General"]["Cell"][1:8]]
        esds: list[float] = [0.0] * 7
        if refined:
            esds = [float(v) for v in phase.get_cell_and_esd()[1].values()]
        return {k: [v, e if e > 0 else None] for k, v, e in zip(CELL, values, esds, strict=False)}

    def _fractions(self) -> dict[str, list[float | None]]:
        """Return weight fractions w_i = S_i M_i / sum(S M) with esds from the covariance of the scales."""
        if len(self.phase_names) == 1:
            return {self.phase_names[0]: [1.0, None]}
        scales = self.scales()
        mass = np.array([float(self.phase(n).data["General"]["Mass"]) for n in scales])
        s = np.array([v for v, _ in scales.values()])
        total = float(np.sum(s * mass)) or math.nan
        w = s * mass / total
        jacobian = (np.diag(mass) - np.outer(w, mass)) / total
        covariance = self.project.data["Covariance"]["data"] or {}
        vary = list(covariance.get("varyList", []))
        keys = [f"{self.phase_names.index(n)}:0:Scale" for n in scales]
        found: dict[str, list[float | None]] = {n: [0.0, None] for n in self.phase_names}
        esd: list[float | None] = [None] * len(w)
        if all(k in vary for k in keys):
            chosen = [vary.index(k) for k in keys]
            matrix = np.asarray(covariance["covMatrix"])[np.ix_(chosen, chosen)]
            esd = [float(v) for v in np.sqrt(np.maximum(np.diag(jacobian @ matrix @ jacobian.T), 0.0))]
        found.update({n: [float(v), e] for n, v, e in zip(scales, w, esd, strict=False)})
        return found

    def _correlations(self) -> list[tuple[str, str, float]]:
        covariance = self.project.data["Covariance"]["data"] or {}
        matrix = np.asarray(covariance.get("covMatrix", []))
        if matrix.ndim != 2:
            return []
        esd = np.sqrt(np.maximum(np.diag(matrix), 1e-300))
        scaled, names = matrix / np.outer(esd, esd), covariance["varyList"]
        pairs = zip(*np.nonzero(np.triu(np.abs(scaled) > CORRELATED, 1)), strict=True)
        return [(self._plain(names[i]), self._plain(names[j]), float(scaled[i, j])) for i, j in pairs]

    def save(self, path: Path, final: Path) -> Path:
        """Save the project under a name, recording the place where it will lie; return the path."""
        self.project.save(str(path))
        data = copy.copy(self.project.data)
        data["Controls"]["data"]["LastSavedAs"] = str(final)
        sys.modules[self.scripting.__name__].SaveDictToProjFile(data, self.project.names, str(path))
        return path

    def write_cif(self, name: str, path: Path) -> Path:
        """Write a phase as CIF with the esds of its cell (which GSAS-II's own script export leaves out)."""
        self.phase(name).export_CIF(str(path))
        text = path.read_text(encoding="utf-8")
        for key, (value, esd) in self._cell(name).items():
            tag = "_cell_volume" if key == "volume" else f"_cell_{'length' if len(key) == 1 else 'angle'}_{key}"
            if value is not None and esd is not None:
                text = re.sub(rf"^{tag}\s.*$", f"{tag}  {with_esd(value, esd)}", text, flags=re.MULTILINE)
        path.write_text(text, encoding="utf-8")
        return path


def with_esd(value: float, esd: float) -> str:
    """Return a number as CIF writes it, the esd in units of the last digit, e.g. 5.41165(12)."""
    digits = max(0, 1 - math.floor(math.log10(esd)))
    return f"{value:.{digits}f}({round(esd * 10**digits)})"
