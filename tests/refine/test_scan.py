"""A small scan of two phases with everything known about it; benchmarks/refinement_scan.py does 360 histograms."""

from __future__ import annotations

import numpy as np
import pytest

from midas.io.gsas_zarr import write_cake_file
from midas.refine import run_refinement

pytestmark = pytest.mark.gsas2

N, STRAIN, WAVELENGTH = 12, 1e-4, 0.2
X = np.linspace(2.5, 15.0, 2000)
CELLS = {"CeO2": 5.41165, "LaB6": 4.156826}
FRACTIONS = {"CeO2": 0.7, "LaB6": 0.3}


def test_cells_and_fractions_of_a_strained_mixture_are_found_with_honest_esds(gsas2, synthetic, cake_of, tmp_path):
    texts = {"CeO2": synthetic.CEO2_CIF, "LaB6": synthetic.LAB6_CIF}
    profile = synthetic.Profile(u=3.0, v=-0.5, w=3.0, x=0.8, y=1.5, sh_l=1e-4)
    eta = np.arange(N) * 30.0 - 30.0
    true = {p: a * (1.0 + STRAIN * np.cos(np.radians(2.0 * eta))) for p, a in CELLS.items()}
    columns = []
    for i in range(N):
        parts = [(texts[p].format(a=true[p][i]), FRACTIONS[p]) for p in CELLS]
        y = 3.0 + 40.0 * synthetic.mixture(parts, X, WAVELENGTH, eta=float(eta[i]), profile=profile)
        columns.append(np.random.default_rng(i).poisson(y * 160.0) / 8.0)
    cake = cake_of(columns, X)
    cake.instrument.update({"Lam": WAVELENGTH, "SH_L": 0.0, "U": 4.0, "V": -0.3, "W": 3.6, "X": 0.6, "Y": 1.0})
    path = write_cake_file(tmp_path / "x.zarr.zip", cake)
    cifs = [synthetic.write_cif(tmp_path / f"{p}.cif", texts[p], a) for p, a in CELLS.items()]
    summary = run_refinement(path, cifs, tmp_path / "out", n_cpus=2, export=False)
    assert [h["status"] for h in summary["histograms"]] == ["success"] * N, summary["histograms"]
    for k, name in enumerate(CELLS):
        phases = [h["phases"][k] for h in summary["histograms"]]
        found = np.array([p["cell"]["a"] for p in phases])
        esd = np.array([p["cell_esd"]["a"] for p in phases])
        pulls = (found - true[name]) / esd
        assert 0.5 < np.std(pulls, ddof=1) < 1.6  # the 1 % and 99 % points of chi² with 11 degrees of freedom
        assert abs(np.mean(pulls)) < 3.0 / np.sqrt(N)
        assert np.median(esd) < 4e-5 * CELLS[name]
        fractions = np.array([p["weight_fraction"]["value"] for p in phases])
        assert np.abs(fractions - FRACTIONS[name]).max() < 0.01
