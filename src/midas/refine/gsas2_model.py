"""One histogram as a GSAS-II project: the part of the worker that knows GSAS-II's tree, loaded by `worker.py` alone.

Like the worker it imports nothing of midas, and GSAS-II only through the scripting module that it is handed.
"""

from __future__ import annotations

import math
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np

WIDTHS = {"u": "U", "v": "V", "w": "W", "x": "X", "y": "Y", "z": "Z", "sh_l": "SH/L"}
INSTRUMENT = {"wavelength": "Lam", "polarization": "Polariz.", "zero": "Zero", **WIDTHS}
MIN_CHI2_GAIN = 1e-4
"""Relative fall of chi² below which least squares count as converged; GSAS-II's own 1e-3 is worth more than an esd."""
MIN_SH_L = 1e-4
"""Below this SH/L has no effect on the profile (the floor that the worker sets), and only wanders."""
SAMPLE = {"size": ("Size", 10.0, 1.0), "microstrain": ("Mustrain", 0.0, 100.0)}
"""Of the sample's broadening: GSAS-II's name, the value that leaves the width to the instrument (10 um is the most that
it keeps), and where to start from when it is refined and the peaks' own widths show none [um, 1e-6]."""
MARCH = "MD"
MARCH_STARTS = (0.5, 0.7, 0.9, 1.1, 1.4, 2.0)


def wants(names: Any, parameter: str, phase: str) -> bool:
    """Return whether a list of parameters frees one of a phase: it is named plainly, or for that phase."""
    return parameter in names or f"{parameter}:{phase}" in names


class Model:
    """A project of one histogram and its phases, with the few things that a staged refinement does to it."""

    instrument_names, sample_names, march_name = INSTRUMENT, SAMPLE, MARCH

    def __init__(self, scripting: Any, job: dict[str, Any], folder: Path, text: Any, shared: Any, cells: Any) -> None:
        """Set up the project.

        `text` and `cells` are the modules `gsas2_text` and `cell_esds`, `shared` is the process's `SharedPixels`, which
        has taken the lineout.
        """
        self.scripting, self.job, self.folder, self.text, self.shared = scripting, job, folder, text, shared
        self._cell_esds = cells.cell_esds
        self.spread = float(shared.spread)
        self.names: dict[str, str] = {}
        self.left_out: set[str] = set()
        self.phase_names = [p["name"] for p in job["phases"]]
        self.path = folder / "refine.gpx"
        self.project = scripting.G2Project(newgpx=str(self.path))
        self._add_histogram()
        self.reference: dict[str, tuple[float, ...]] = {}
        for phase in job["phases"]:
            self._add_phase(phase)
        if job["start"]:
            self._start_from(job["start"])
        self.project.data["Controls"]["data"]["min dM/M"] = MIN_CHI2_GAIN
        self.project.save()

    def _add_histogram(self) -> None:
        job = self.job
        x, y, sigma = (np.asarray(job[k], dtype=float) for k in ("two_theta", "intensity", "sigma"))
        data, instrument = self.folder / "lineout.xye", self.folder / "lineout.instprm"
        np.savetxt(data, np.column_stack([x, np.abs(y) + 1.0, sigma]))
        instrument.write_text(self.text.instrument_text(job, INSTRUMENT), encoding="utf-8")
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
        for parameter, (key, none, _) in SAMPLE.items():
            found = self.job["broadening"].get(parameter) if self.ever(parameter, phase["name"]) else None
            settings[key][0], settings[key][1][0] = "isotropic", none if found is None else found
        self.reference[phase["name"]] = tuple(float(v) for v in added.data["General"]["Cell"][1:7])

    def _start_from(self, start: dict[str, Any]) -> None:
        """Start from the values of another fit."""
        for name, values in start["cells"].items():
            cell = self.phase(name).data["General"]["Cell"]
            cell[1:7] = values
            cell[7] = self.text.cell_volume(values)
        for name, scale in start["scales"].items():
            self._scale_entry(name)[0] = scale
        for name, value in start["instrument"].items():
            self.hist.data["Instrument Parameters"][0][INSTRUMENT[name]][1] = value
        self.start_background(list(start["background"]))

    def ever(self, parameter: str, phase: str) -> bool:
        """Return whether any stage may free a parameter of a phase."""
        stages = self.job["stages"]
        return any(wants(names, parameter, phase) for s in stages for names in (s["refine"], *s["alternatives"]))

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
            self.settings(name)["Use"] = False

    def bring_back(self, name: str) -> None:
        """Take a phase into the model again, its cell off the CIF's as those of the others are on average."""
        ratios = [self.cells()[n][i] / self.reference[n][i] for n in self.active for i in range(3)]
        self.left_out.discard(name)
        self.settings(name)["Use"] = True
        lengths, angles = np.array(self.reference[name][:3]) * np.mean(ratios), self.reference[name][3:]
        cell = self.phase(name).data["General"]["Cell"]
        cell[1:7] = [*(float(v) for v in lengths), *angles]
        cell[7] = self.text.cell_volume(cell[1:7])

    def settings(self, name: str) -> Any:
        """Return what GSAS-II keeps of a phase in this histogram: scale, broadening, preferred orientation."""
        return self.phase(name).data["Histograms"][self.hist.name]

    def begin_broadening(self, stage: dict[str, Any], names: list[str]) -> None:
        """Start size and microstrain that an attempt frees, and leave the width to the rest where it does not.

        A size that is held says that it was seen; and one that broadens nothing has no derivative to start with.
        """
        for name in self.active:
            for parameter, (key, none, start) in SAMPLE.items():
                value = self.settings(name)[key][1]
                if wants(names, parameter, name):
                    value[0] = start if value[0] == none else value[0]
                elif wants(stage["refine"], parameter, name):
                    value[0] = none

    def prepare(self, stage: dict[str, Any]) -> list[str]:
        """Set the kind of preferred orientation that a stage refines; return remarks."""
        remarks = []
        for name in self.active:
            orientation = self.settings(name)["Pref.Ori."]
            if wants(stage["refine"], "march", name):
                orientation[0], orientation[3] = MARCH, [int(v) for v in stage["axis"]]
                self._start_march(name)
            if wants(stage["refine"], "harmonics", name):
                self.phase(name).HAPvalue("PO", int(stage["order"]), [self.hist])
                if not orientation[5]:
                    remarks.append(f"harmonics of order {stage['order']} have no term in the symmetry of {name}")
        return remarks

    def _start_march(self, name: str) -> None:
        """Start March's coefficient from the best of a few: at 1 its derivative vanishes in cubic symmetry."""
        tried = []
        for value in MARCH_STARTS:
            self.settings(name)["Pref.Ori."][1] = value
            self.refine({"background"}, 0)
            lines, w = self.calculated - self.background, self.weights
            left = self.observed - self.background
            scale = float(np.sum(w * lines * left) / max(float(np.sum(w * lines**2)), 1e-300))
            tried.append((float(np.sum(w * (left - scale * lines) ** 2)), value))
        self.settings(name)["Pref.Ori."][1] = min(tried)[1]

    def state(self) -> tuple[bytes, frozenset[str], Any]:
        """Return the present state, for `restore`."""
        return pickle.dumps((self.project.data, self.project.names)), frozenset(self.left_out), self.shared.fit

    def restore(self, state: tuple[bytes, frozenset[str], Any]) -> None:
        """Return to an earlier state."""
        content, left_out, self.shared.fit = state
        self.left_out = set(left_out)
        self.project.data, self.project.names = pickle.loads(content)

    def _free(self, names: set[str]) -> None:
        data, several = self.hist.data, len(self.phase_names) > 1
        data["Background"][0][1] = "background" in names
        data["Sample Parameters"]["Scale"][1] = "scale" in names and not several
        for name, key in {**WIDTHS, "zero": INSTRUMENT["zero"]}.items():
            data["Instrument Parameters"][0][key][2] = name in names
        for name in self.phase_names:
            phase, used = self.phase(name), name not in self.left_out
            settings = self.settings(name)
            settings["Scale"][1] = "scale" in names and several and used
            for parameter, (key, *_) in SAMPLE.items():
                settings[key][2][0] = used and wants(names, parameter, name)
            settings["Pref.Ori."][2] = used and (wants(names, "march", name) or wants(names, "harmonics", name))
            phase.data["General"]["Cell"][0] = used and wants(names, "cell", name)
            flags = ("X" if wants(names, "coordinates", name) else "") + ("U" if wants(names, "uiso", name) else "")
            for atom in phase.atoms():
                atom.refinement_flags = flags if used else ""

    @property
    def axial_divergence(self) -> float:
        """SH/L, not below its floor."""
        return max(float(self.hist.data["Instrument Parameters"][0][WIDTHS["sh_l"]][1]), MIN_SH_L)

    def set_axial_divergence(self, value: float) -> None:
        """Set SH/L; 0 makes profiles symmetric."""
        self.hist.data["Instrument Parameters"][0][WIDTHS["sh_l"]][1] = max(value, MIN_SH_L)

    @property
    def is_symmetric(self) -> bool:
        """Whether SH/L lies at its floor."""
        return self.axial_divergence <= MIN_SH_L

    def cell_rows(self, name: str) -> tuple[list[int], list[int]]:
        """Return which of A0 to A5 of a phase were varied, and their places among the variables of the covariance."""
        covariance = self.project.data["Covariance"]["data"] or {}
        pattern = re.compile(rf"{self.phase_names.index(name)}::A([0-5])")
        found = [(int(m[1]), i) for i, v in enumerate(covariance.get("varyList", [])) if (m := pattern.fullmatch(v))]
        return [k for k, _ in found], [i for _, i in found]

    def esds_of_cell(self, name: str) -> list[float]:
        """Return the esds of a, b, c [Å], alpha, beta, gamma [deg] and the volume [Å³]; 0 where there is none."""
        varied, rows = self.cell_rows(name)
        if not varied or not self.esds():
            return [0.0] * 7
        matrix = np.asarray(self.project.data["Covariance"]["data"]["covMatrix"])[np.ix_(rows, rows)]
        cell = [float(v) for v in self.phase(name).data["General"]["Cell"][1:7]]
        return [float(v) for v in self._cell_esds(cell, varied, matrix)]

    def cell_esds(self) -> dict[str, float]:
        """Return the largest esd of a, b and c, relative, of each phase whose cell was refined."""
        cells = self.cells()
        found = {n: max(e / v for e, v in zip(self.esds_of_cell(n), cells[n][:3], strict=False)) for n in self.active}
        return {name: esd for name, esd in found.items() if esd > 0}

    def without_idle(self, names: set[str]) -> set[str]:
        """Return the parameters worth keeping free: not SH/L once it lies at its floor.

        A symmetric profile does not change with SH/L, whose derivative is 0 there: least squares never leave it.
        """
        return names - {"sh_l"} if self.is_symmetric else names

    def refine(self, names: set[str], cycles: int) -> dict[str, Any]:
        """Refine with these parameters free, but for an idle SH/L, and return the facts to judge it by."""
        names = self.without_idle(names)
        self._least_squares(names, cycles)
        entry = self.hist.data["Instrument Parameters"][0][WIDTHS["sh_l"]]
        if "sh_l" in names and float(entry[1]) <= MIN_SH_L:
            entry[1] = MIN_SH_L
            self._least_squares(names - {"sh_l"}, cycles)
        covariance = self.project.data["Covariance"]["data"] or {}
        r = self.residual_values
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
            "cells": self.cells(),
            "reference_cells": self.reference,
            "uiso": self._smallest_uiso(names),
            "sample": self._sample(names),
            "gaussian_variance": variance,
            "lorentzian_width": width,
            "sh_l": float(self.hist.data["Instrument Parameters"][0][WIDTHS["sh_l"]][1]),
        }

    def _least_squares(self, names: set[str], cycles: int) -> None:
        self._free(names)
        self.project.data["Covariance"]["data"] = {}
        self.project.set_Controls("cycles", cycles)
        self.project.refine()

    def cells(self) -> dict[str, tuple[float, ...]]:
        """Return a, b, c [Å], alpha, beta, gamma [deg] of each phase still in the model."""
        return {n: tuple(float(v) for v in self.phase(n).data["General"]["Cell"][1:7]) for n in self.active}

    def approach(self, names: set[str]) -> None:
        """Move towards the minimum by short steps (MINPACK's, a tenth of its first bound), whatever comes of it."""
        controls = self.project.data["Controls"]["data"]
        usual = {key: controls[key] for key in ("deriv type", "shift factor")}
        controls.update({"deriv type": "analytic Jacobian", "shift factor": 0.1})
        try:
            self._free(names)
            self.project.refine()
        finally:
            self.project.data["Controls"]["data"].update(usual)

    def _dropped(self, message: str) -> list[str]:
        if "dropped" in message or "Error" in message:
            tokens = re.findall(r"\d*:\d*:[^\s,]+", message)
            return [self.plain(t) for t in tokens] or ["some"]
        return []

    def plain(self, variable: str) -> str:
        """Return a parameter's name in the words of the job instead of GSAS-II's."""
        labels = [[a.label for a in self.phase(n).atoms()] for n in self.phase_names]
        own = {key: name for name, key in INSTRUMENT.items()}
        own |= {f"{key};i": name for name, (key, *_) in SAMPLE.items()} | {MARCH: "march"}
        return str(self.text.plain_name(variable, own, self.phase_names, labels))

    def _sample(self, names: set[str]) -> dict[str, float]:
        """Return size, microstrain and March's coefficient of the phases where they are free, for the judge."""
        found = {}
        for name in self.active:
            settings = self.settings(name)
            for parameter, (key, *_) in SAMPLE.items():
                if wants(names, parameter, name):
                    found[f"{name}: {parameter}"] = float(settings[key][1][0])
            if wants(names, "march", name):
                found[f"{name}: march"] = float(settings["Pref.Ori."][1])
        return found

    def _smallest_uiso(self, names: set[str]) -> dict[str, float]:
        moved = [n for n in self.active if wants(names, "uiso", n)]
        atoms = {n: [a for a in self.phase(n).atoms() if a.adp_flag == "I"] for n in moved}
        return {n: min(float(a.uiso) for a in found) for n, found in atoms.items() if found}

    def displacements(self) -> list[tuple[str, float, float | None]]:
        """Return name, value and esd (None where not refined) of the isotropic displacements [Å²]."""
        esds, found = self.esds(), []
        for name in self.active:
            pid = self.phase_names.index(name)
            for i, atom in enumerate(self.phase(name).atoms()):
                if atom.adp_flag == "I":
                    found.append((f"{name} {atom.label}", float(atom.uiso), esds.get(f"{pid}::AUiso:{i}")))
        return found

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
    def two_theta(self) -> Any:
        """2θ within the limits [deg]."""
        return self._array(0)

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

    def phase_patterns(self) -> dict[str, Any]:
        """Return the calculated pattern of each phase still in the model, for a scale of 1 and without background."""
        start, found = self.state(), {}
        for name in self.active:
            for other in self.phase_names:
                self.settings(other)["Use"] = other == name
            self._scale_entry(name)[0] = 1.0
            self.refine({"background"}, 0)
            found[name] = self.calculated - self.background
            self.restore(start)
        return found

    def linear_scales(self, linear_fit: Any) -> dict[str, tuple[float, float]]:
        """Return (scale, esd) of each phase by linear least squares, and start from them and from their background."""
        patterns, terms = self.phase_patterns(), int(self.job["background_terms"])
        weights = self.weights / self.spread
        background, scales = linear_fit(self.two_theta, self.observed, weights, list(patterns.values()), terms)
        self.start_background(background)
        for name, (scale, _) in zip(patterns, scales, strict=True):
            self._scale_entry(name)[0] = scale
        return dict(zip(patterns, scales, strict=True))

    def start_background(self, coefficients: list[float]) -> None:
        """Start the background from these coefficients, as many terms as they are."""
        self.hist.data["Background"][0][2:] = [len(coefficients), *coefficients]

    def background_count(self) -> int:
        """Return the number of background terms."""
        return int(self.hist.data["Background"][0][2])

    def _scale_entry(self, name: str) -> Any:
        """Return GSAS-II's [value, refined] of a phase's scale; of one phase alone it is the histogram's."""
        if len(self.phase_names) == 1:
            return self.hist.data["Sample Parameters"]["Scale"]
        return self.settings(name)["Scale"]

    def n_free(self) -> int:
        """Return the number of parameters varied last."""
        return len((self.project.data["Covariance"]["data"] or {}).get("varyList", []))

    def gof(self) -> float | None:
        """Return sqrt(chi² / degrees of freedom) of the present state."""
        n = int(np.count_nonzero(self.weights > 0)) - self.n_free()
        return math.sqrt(self.chi2() / n) if n > 0 else None

    @property
    def residual_values(self) -> dict[str, Any]:
        """What GSAS-II notes of the last least squares beside its covariance."""
        return (self.project.data["Covariance"]["data"] or {}).get("Rvals") or {}

    def noise(self) -> float:
        """Return the goodness of fit to judge differences of chi² by: what points share makes chance ones larger."""
        return max(self.gof() or 1.0, 1.0) * math.sqrt(self.spread)

    def significance(self) -> dict[str, float]:
        """Return scale over esd of each phase whose scale was refined."""
        return {name: value / esd for name, (value, esd) in self.scales().items() if esd > 0}

    def esds(self) -> dict[str, float]:
        """Return the esd of each variable of the last least squares, by GSAS-II's names."""
        covariance = self.project.data["Covariance"]["data"] or {}
        return {k: float(v) for k, v in zip(covariance.get("varyList", []), covariance.get("sig", []), strict=False)}

    def scales(self) -> dict[str, tuple[float, float]]:
        """Return scale factor and esd (NaN when not refined) of each phase still in the model."""
        esds, hist = self.esds(), self.hist
        if len(self.phase_names) == 1:
            return {
                self.phase_names[0]: (float(hist.data["Sample Parameters"]["Scale"][0]), esds.get(":0:Scale", math.nan))
            }
        found = {}
        for name in self.active:
            value = self.settings(name)["Scale"][0]
            found[name] = (float(value), esds.get(f"{self.phase_names.index(name)}:0:Scale", math.nan))
        return found

    def phases_without_reflections(self) -> list[str]:
        """Return the phases that have no reflection within the limits."""
        low, high = self.limits
        start = self.state()
        try:
            self.refine({"background"}, 0)  # a failed refinement leaves no list
        except Exception as error:
            found = re.search(r"no reflections in data range.*phase '([^']*)'", str(error), flags=re.DOTALL)
            if found is None:
                raise
            return [n for n in self.active if self.names[n] == found.group(1)]
        finally:
            lists = self.reflections()
            self.restore(start)
        return [n for n in self.active if not any(low <= row[5] <= high for row in lists.get(n, []))]

    def reflections(self) -> dict[str, list[list[float]]]:
        """Return h, k, l, multiplicity, d, 2θ, observed F², calculated F² of each phase."""
        lists = self.hist.data["Reflection Lists"]
        found = {}
        for name in self.active:
            rows = np.asarray(lists.get(self.names[name], {}).get("RefList", []), dtype=float)
            found[name] = rows[:, [0, 1, 2, 3, 4, 5, 8, 9]].tolist() if rows.ndim == 2 else []
        return found
