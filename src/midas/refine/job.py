"""What a refinement engine is given and what it gives back: plain data, JSON across the process boundary."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from midas.refine.stages import Stage, stages_to_data

STATUSES = ("success", "partial", "failed", "skipped")
"""What can become of a histogram: all stages kept; fitted, but with a reservation (see `reason`); no fit to believe;
not tried, because there is nothing to fit."""


@dataclass(frozen=True)
class Instrument:
    """The diffractometer as the file describes it; widths in centidegrees, as in the file."""

    wavelength: float
    """[Å]"""
    polarization: float = 0.99
    sh_l: float = 0.002
    """Axial divergence (S + H) / L."""
    u: float = 1.163
    """Gaussian variance u tan²θ + v tanθ + w [centidegree²]."""
    v: float = -0.126
    w: float = 0.063
    x: float = 0.0
    """Lorentzian FWHM x / cosθ + y tanθ + z [centidegree]."""
    y: float = 0.0
    z: float = 0.0
    zero: float = 0.0
    """Zero of the 2θ axis [deg]."""


@dataclass(frozen=True)
class PhaseFile:
    """A phase to refine: the name it has in results and file names, and its CIF."""

    name: str
    path: Path
    cell: tuple[float, ...] = ()
    """a, b, c [Å], alpha, beta, gamma [deg] of the CIF; empty where it was not read."""


@dataclass(frozen=True)
class Start:
    """Values of a fit that is near."""

    cells: dict[str, tuple[float, ...]]
    """a, b, c [Å], alpha, beta, gamma [deg] of each phase."""
    scales: dict[str, float]
    instrument: dict[str, float]
    """u, v, w, x, y, z, sh_l, zero"""
    background: tuple[float, ...]
    """Coefficients of the Chebyshev series over the limits."""


@dataclass(frozen=True, eq=False)
class RefinementJob:
    """One histogram to refine, complete: an engine needs nothing else."""

    index: int
    """Number of the histogram, sum-major and eta-minor over the whole file; names the output files."""
    sum_index: int
    eta_index: int
    two_theta: NDArray[np.float64]
    """shape (n,), ascending [deg]"""
    intensity: NDArray[np.float64]
    """shape (n,), per frame; all finite"""
    sigma: NDArray[np.float64]
    """shape (n,), standard deviation of `intensity`; all positive"""
    instrument: Instrument
    phases: tuple[PhaseFile, ...]
    stages: tuple[Stage, ...]
    output_dir: Path
    eta: float = 0.0
    """[deg]"""
    azimuth: float = 90.0
    """90 - eta [deg]: what engines call azimuth."""
    eta_width: float = 0.0
    """Width of the eta bin [deg], over which the polarization is averaged."""
    omega: float = 0.0
    """Middle of the summed rotation range [deg]."""
    temperature: float | None = None
    """[K]"""
    pressure: float | None = None
    radius_mm: float = 1000.0
    """Distance from sample to detector [mm]."""
    limits: tuple[float, float] | None = None
    """2θ range fitted [deg]; None takes all."""
    background_terms: int = 6
    """Terms of the Chebyshev series."""
    choose_background: bool = False
    """True where the engine replaces them, in the end, by as many as the data ask for."""
    instrument_file: Path | None = None
    """Override in the engine's own format; its values win over `instrument`."""
    export: bool = True
    """Write project and CIF into `output_dir`."""
    warnings: tuple[str, ...] = ()
    """Remarks on the input, handed through to the result."""
    broadening: dict[str, float] = field(default_factory=dict)
    """size [µm] and microstrain [1e-6] to start from where a stage frees them: what the peaks are wider by than the
    instrument makes them; left out where they are not."""
    sh_l_known: bool = True
    """False where the axial divergence is the default of the file, which nobody measured."""
    start: Start | None = None
    """Where to start from instead of the CIF and the instrument; the CIF stays what cells are judged by."""
    sharing: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))
    """shape (n_bands, n): [k - 1, i] is the correlation of the points i and i + k, which uncertainties allow for; no
    band where points are independent."""

    def to_message(self) -> dict[str, Any]:
        """Return the job as plain data fit for JSON."""
        return {
            **{f.name: getattr(self, f.name) for f in dataclasses.fields(self)},
            "two_theta": self.two_theta.tolist(),
            "intensity": self.intensity.tolist(),
            "sigma": self.sigma.tolist(),
            "sharing": np.round(self.sharing, 4).tolist(),
            "instrument": dataclasses.asdict(self.instrument),
            "phases": [{"name": p.name, "path": str(p.path)} for p in self.phases],
            "stages": stages_to_data(self.stages),
            "output_dir": str(self.output_dir),
            "limits": None if self.limits is None else list(self.limits),
            "instrument_file": None if self.instrument_file is None else str(self.instrument_file),
            "warnings": list(self.warnings),
            "start": None if self.start is None else dataclasses.asdict(self.start),
        }


@dataclass(frozen=True)
class Value:
    """A number with its estimated standard deviation; `esd` is None where it was not refined."""

    value: float
    esd: float | None = None


@dataclass(frozen=True)
class PhaseResult:
    """One phase after the fit."""

    name: str
    cell: dict[str, Value]
    """a, b, c [Å], alpha, beta, gamma [deg], volume [Å³]"""
    scale: Value
    weight_fraction: Value
    present: bool = True
    """False when the scale is within 3 esd of zero: the phase is not in the data and was taken out of the model."""
    atoms: tuple[dict[str, Any], ...] = ()
    """label, x, y, z, occupancy, uiso [Å²], uiso_esd of each atom"""
    broadening: dict[str, Value] = field(default_factory=dict)
    """size [µm] and microstrain [1e-6] of the sample, where they were refined: isotropic, Lorentzian"""
    texture: dict[str, Value] = field(default_factory=dict)
    """march (1: no preferred orientation) or the coefficients "C(l,n)" of the harmonics, where they were refined"""
    ring_scatter: float | None = None
    """scatter of the cell from ring to ring over what its esd says, near 1 where they agree; None: not known"""
    unlike_ring: float | None = None
    """2θ [deg] of the ring that differs most, where rings differ by more than chance: the esds of the cell have been
    multiplied by `ring_scatter` then"""


@dataclass(frozen=True)
class StageRecord:
    """What became of one stage."""

    name: str
    outcome: str
    """kept, rolled back, not needed, or not reached"""
    refined: tuple[str, ...] = ()
    """Parameters freed by the attempt that was kept."""
    r_wp: float | None = None
    """Rwp [%] after the stage (after the rollback, if it was rolled back)."""
    gof: float | None = None
    problems: tuple[str, ...] = ()
    """Why attempts were rejected."""
    seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class RefinementResult:
    """What is known about one histogram when its refinement is over."""

    index: int
    status: str
    """Of `STATUSES`."""
    reason: str | None = None
    """Why it is not a success."""
    r_wp: float | None = None
    """[%]"""
    gof: float | None = None
    """sqrt(chi² / degrees of freedom)"""
    explained: float | None = None
    """Share of the signal above background that the model explains; None without signal."""
    phases: tuple[PhaseResult, ...] = ()
    instrument: dict[str, Value] = field(default_factory=dict)
    """wavelength, u, v, w, x, y, z, sh_l, zero after the fit"""
    background: tuple[float, ...] = ()
    """Coefficients of the Chebyshev series over the limits."""
    stages: tuple[StageRecord, ...] = ()
    correlations: tuple[tuple[str, str, float], ...] = ()
    """Pairs of parameters correlated by more than 0.95."""
    warnings: tuple[str, ...] = ()
    error: str | None = None
    """Traceback or last words when the engine itself broke."""
    curves: dict[str, list[float]] = field(default_factory=dict)
    """two_theta, observed, calculated, background, sigma within the limits"""
    reflections: dict[str, list[list[float]]] = field(default_factory=dict)
    """h, k, l, multiplicity, d [Å], two_theta [deg], F² observed, F² calculated, per phase"""
    n_points: int | None = None
    """Points fitted, where the curves were left out."""
    started_from: int | None = None
    """Histogram from whose fit this one started; None from its own inputs."""
    project: str | None = None
    """Name of the project file written, None without export."""
    seconds: float = 0.0
    attempts: int = 1
    """2 when a worker was lost on it once."""
    log: str = ""
    """Everything that the engine printed."""

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> RefinementResult:
        """Return the result that a worker sent as plain data."""
        values = dict(message)
        values["phases"] = tuple(_phase_from(p) for p in message.get("phases", ()))
        values["instrument"] = {k: Value(*v) for k, v in message.get("instrument", {}).items()}
        values["stages"] = tuple(_stage_from(s) for s in message.get("stages", ()))
        values["correlations"] = tuple((a, b, c) for a, b, c in message.get("correlations", ()))
        for name in ("warnings", "background"):
            values[name] = tuple(message.get(name, ()))
        return cls(**values)


def _phase_from(data: Mapping[str, Any]) -> PhaseResult:
    return PhaseResult(
        name=data["name"],
        cell={k: Value(*v) for k, v in data["cell"].items()},
        scale=Value(*data["scale"]),
        weight_fraction=Value(*data["weight_fraction"]),
        present=data["present"],
        atoms=tuple(data["atoms"]),
        broadening={k: Value(*v) for k, v in data["broadening"].items()},
        texture={k: Value(*v) for k, v in data["texture"].items()},
        ring_scatter=data.get("ring_scatter"),
        unlike_ring=data.get("unlike_ring"),
    )


def _stage_from(data: Mapping[str, Any]) -> StageRecord:
    return StageRecord(**{**data, "refined": tuple(data["refined"]), "problems": tuple(data["problems"])})
