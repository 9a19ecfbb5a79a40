"""Refinements and cakes to report on, without any engine."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

import midas
from midas.refine.summary import COLUMNS, collect, write_summary

A = 5.41165


def _pair(value: float, esd: float | None = None) -> dict[str, Any]:
    return {"value": value, "esd": esd}


def _phase(name: str, a: float, fraction: float) -> dict[str, Any]:
    cell = dict.fromkeys("abc", a) | dict.fromkeys(("alpha", "beta", "gamma"), 90.0) | {"volume": a**3}
    esds = dict.fromkeys("abc", 8e-5) | dict.fromkeys(("alpha", "beta", "gamma")) | {"volume": 0.01}
    return {"name": name, "cell": cell, "cell_esd": esds, "present": True, "scale": _pair(1.0, 0.1), "atoms": [],
            "broadening": {}, "texture": {}, "weight_fraction": _pair(fraction, 0.01)}  # fmt: skip


def pattern(rng: np.random.Generator, n_points: int) -> np.ndarray:
    """Return the columns of a pattern: peaks over a falling background, with counting noise."""
    x = np.linspace(3.0, 15.0, n_points)
    background = 200.0 * np.exp(-x / 10.0) + 20.0
    calculated = background.copy()
    for k in range(12):
        calculated += 4000.0 / (k + 1) * np.exp(-0.5 * ((x - 3.7 - 0.9 * k) / 0.025) ** 2)
    observed = rng.poisson(calculated).astype(float)
    sigma = np.sqrt(np.maximum(observed, 1.0))
    return np.column_stack([x, observed, calculated, observed - calculated, background, sigma])


def refinement(folder: Path, n_omega: int, n_eta: int, *, n_points: int = 300, phases=("CeO2", "LaB6")) -> Path:
    """Write a refined batch of which every 11th histogram failed, every 13th is partial and every 17th was skipped."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(7)
    made = []
    for k in range(min(8, n_omega * n_eta)):
        made.append(folder / f".pattern_{k}")
        np.savetxt(made[-1], pattern(rng, n_points), delimiter=",", header=",".join(COLUMNS), comments="", fmt="%.10g")
    histograms = []
    for i in range(n_omega * n_eta):
        row, column = divmod(i, n_eta)
        status = "failed" if i % 11 == 5 else "partial" if i % 13 == 6 else "skipped" if i % 17 == 8 else "success"
        eta = -180.0 + 360.0 * (column + 0.5) / n_eta
        strain = 1e-4 * np.cos(np.radians(2 * eta)) + 2e-5 * row
        reason = {"failed": "it did not converge", "partial": "the widths were left as they were",
                  "skipped": "no counts", "success": None}[status]  # fmt: skip
        fitted = [] if status == "skipped" else [_phase(p, A * (1 + strain), 0.7 if j == 0 else 0.3)
                                                for j, p in enumerate(phases)]  # fmt: skip
        if status != "skipped":
            shutil.copy(made[i % len(made)], folder / f"hist_{i:04d}_data.csv")
            lines = "\n".join(f"CeO2,1,1,1,8,3.1,{3.7 + 0.9 * k:.4f},1,1" for k in range(12))
            head = "phase,h,k,l,multiplicity,d_spacing,two_theta,f2_observed,f2_calculated"
            (folder / f"hist_{i:04d}_reflections.csv").write_text(f"{head}\n{lines}\n", encoding="utf-8")
        histograms.append(
            {"histogram_index": i, "sum_index": row, "eta_index": column, "status": status, "phases": fitted,
             "reason": reason, "error": None, "warnings": [], "eta": eta, "omega": 0.5 + row, "n_points": n_points,
             "Rwp": None if status == "skipped" else 4.0 + 0.01 * ((i * 37) % 101) + 30 * (status == "failed"),
             "GOF": None if status == "skipped" else 1.0 + 0.001 * i,
             "instrument": {"w": _pair(4.0, 0.1)} if fitted else {}, "stages": []}
        )  # fmt: skip
    for file in made:
        file.unlink()
    about = {"phase_names": list(phases), "engine": {"name": "none", "version": "0"}, "cif_files": []}
    write_summary(collect(str(folder / "scan.zarr.zip"), histograms, about), folder)
    return folder


def cake(n_sums: int, *, n_radius: int = 120, n_eta: int = 24) -> midas.Cake:
    """Return sums in which a ring of its own shines in each, with a masked corner."""
    geometry = midas.Geometry(distance=1e6, beam_center=(100.0, 100.0), pixel_size=200, wavelength=0.18)
    grid = midas.CakeGrid(10, 10 + n_radius, 1, eta_step=360.0 / n_eta)
    radius = grid.radius_centers(geometry)
    rng = np.random.default_rng(7)
    levels = 20.0 + 500.0 * np.exp(-0.5 * ((radius - 30.0 - 4.0 * np.arange(n_sums)[:, None]) / 2.0) ** 2)
    intensity = rng.poisson(np.repeat(levels[:, :, None], n_eta, axis=2)).astype(float)
    area = np.full((n_radius, n_eta), 8.0)
    area[-5:, :3] = 0.0
    intensity[:, area == 0.0] = np.nan
    omega = 0.5 * np.arange(n_sums)
    unknown = np.full(n_sums, np.nan)
    return midas.Cake(
        intensity=intensity, sigma=np.sqrt(intensity), bin_area=area, bin_pixels=area, radius=radius,
        radius_edges=grid.radius_edges(geometry), eta=grid.eta_centers, eta_edges=grid.eta_edges, geometry=geometry,
        frames=np.ones(n_sums, dtype=np.int64), frame_numbers=np.arange(n_sums), first_omega=omega, last_omega=omega,
        temperature=unknown, pressure=unknown, i=unknown, i0=unknown, eta_overlap=np.ones(n_radius),
    )  # fmt: skip
