"""Caked files for the benchmarks of the refinement: known cells, widths, fractions, and Poisson counts.

The patterns are those of `tests/refine/synthetic.py`, computed without any refinement program.
"""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt

from midas.io.gsas_zarr import INDEPENDENT, CakeFile, write_cake_file

HERE = Path(__file__).resolve().parent
WAVELENGTH = 0.2
TWO_THETA = np.linspace(2.5, 15.0, 2000)
FRAMES, AREA = 20, 8.0
"""Frames summed, and pixels in each bin."""
PEAK, BACKGROUND = 40.0, 3.0
"""Counts per pixel and frame of the strongest point, and under it."""
CELLS = {"CeO2": 5.41165, "LaB6": 4.156826}
"""Edge of each cubic cell without strain, which the CIFs have [Å]."""
FRACTIONS = {"CeO2": 0.7, "LaB6": 0.3}
STRAIN = 1e-4


def load_synthetic() -> ModuleType:
    """Return the module of the tests that computes patterns."""
    path = HERE.parent / "tests" / "refine" / "synthetic.py"
    spec = importlib.util.spec_from_file_location("refine_synthetic", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["refine_synthetic"] = module
    spec.loader.exec_module(module)
    return module


synthetic = load_synthetic()
TRUTH = synthetic.Profile(u=3.0, v=-0.5, w=3.0, x=0.8, y=1.5, sh_l=1e-4)
"""Widths [centidegree] that grow with 2theta; arcs of an area detector have next to no axial divergence."""
STORED = {"Polariz": 0.99, "Lam": WAVELENGTH, "SH_L": 0.0, "U": 4.0, "V": -0.3, "W": 3.6, "X": 0.6, "Y": 1.0, "Z": 0.0}
"""What the files say of the instrument: a calibration's widths, up to a third off."""


@dataclass(frozen=True)
class Scan:
    """Sums times azimuths of a mixture whose cells vary with the azimuth."""

    phases: tuple[str, ...]
    n_eta: int
    n_omega: int
    seed: int = 7

    @property
    def eta(self) -> npt.NDArray[np.float64]:
        """Azimuths [deg], shape (n_eta,)."""
        step = 360.0 / self.n_eta
        return -180.0 + step * (np.arange(self.n_eta) + 0.5)

    def cell(self, phase: str, eta: float) -> float:
        """Return the true edge of a phase's cell at an azimuth [Å]: strained by 1e-4 at eta 0, by -1e-4 at 90."""
        return CELLS[phase] * (1.0 + STRAIN * float(np.cos(np.radians(2.0 * eta))))

    def ideal(self, eta: float) -> npt.NDArray[np.float64]:
        """Return the counts per pixel and frame at an azimuth without noise."""
        share = np.array([FRACTIONS[p] for p in self.phases])
        parts = [
            (TEXTS[p].format(a=self.cell(p, eta)), float(w))
            for p, w in zip(self.phases, share / share.sum(), strict=True)
        ]
        y = synthetic.mixture(parts, TWO_THETA, WAVELENGTH, eta=eta, profile=TRUTH)
        slope = 1.0 - 0.3 * (TWO_THETA - TWO_THETA[0]) / np.ptp(TWO_THETA)
        return np.asarray(BACKGROUND * slope + PEAK * y)


TEXTS = {"CeO2": synthetic.CEO2_CIF, "LaB6": synthetic.LAB6_CIF}


def write_scan(scan: Scan, folder: Path) -> tuple[Path, list[Path]]:
    """Write the caked file of a scan and the CIFs of its phases into a folder; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(scan.seed)
    ideal = np.stack([scan.ideal(float(e)) for e in scan.eta], axis=1)
    counts = generator.poisson(ideal * AREA * FRAMES, (scan.n_omega, *ideal.shape))
    shape, n = ideal.shape, np.arange(scan.n_omega)
    cake = CakeFile(
        intensity=counts / AREA,
        frames=np.full(scan.n_omega, FRAMES),
        radius=np.broadcast_to(np.arange(shape[0])[:, None] * 1.0, shape).copy(),
        two_theta=np.broadcast_to(TWO_THETA[:, None], shape).copy(),
        eta=np.broadcast_to(scan.eta, shape).copy(),
        bin_area=np.full(shape, AREA),
        first_omega=10.0 * n,
        last_omega=10.0 * n + 9.5,
        frame_numbers=FRAMES * (n + 1) - 1,
        instrument={**STORED, "Distance": 1e6},
        metadata={INDEPENDENT: True},
    )
    cifs = [synthetic.write_cif(folder / f"{p}.cif", TEXTS[p], CELLS[p]) for p in scan.phases]
    return write_cake_file(folder / "scan.zarr.zip", cake), cifs
