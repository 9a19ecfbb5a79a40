"""Lineouts, cakes and engines for the tests of the refinement."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from midas.io.gsas_zarr import INDEPENDENT, CakeFile
from midas.refine.dispatch import EngineCommand
from midas.refine.job import Instrument, PhaseFile, RefinementJob
from midas.refine.stages import default_stages

HERE = Path(__file__).parent
WAVELENGTH = 0.413263
INSTRUMENT = {"Polariz": 0.99, "Lam": WAVELENGTH, "SH_L": 0.002, "U": 1.163, "V": -0.126, "W": 0.063}
INSTRUMENT |= {"X": 0.0, "Y": 0.0, "Z": 0.0, "Distance": 1e6}


@pytest.fixture(scope="session")
def synthetic() -> ModuleType:
    """The module beside this file that computes patterns."""
    spec = importlib.util.spec_from_file_location("refine_synthetic", HERE / "synthetic.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["refine_synthetic"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def make_job(tmp_path: Path) -> Callable[[int], RefinementJob]:
    def make(index: int) -> RefinementJob:
        x = np.linspace(1.0, 2.0, 30)
        return RefinementJob(
            index=index,
            sum_index=0,
            eta_index=index,
            two_theta=x,
            intensity=x + index,
            sigma=np.ones_like(x),
            instrument=Instrument(WAVELENGTH),
            phases=(PhaseFile("CeO2", tmp_path / "CeO2.cif"),),
            stages=default_stages(),
            output_dir=tmp_path,
        )

    return make


@pytest.fixture
def fake_engine() -> EngineCommand:
    return EngineCommand((sys.executable, str(HERE / "fake_engine.py")), "fake")


def make_cake(columns: list[np.ndarray], two_theta: np.ndarray, *, frames: int = 20, area: float = 8.0) -> CakeFile:
    """Return a cake of one sum with these columns of stored intensity; NaN columns stay NaN with area."""
    n_eta = len(columns)
    shape = (len(two_theta), n_eta)
    eta = np.broadcast_to(np.arange(n_eta) * 30.0 - 30.0, shape).copy()
    one = np.ones(1)
    return CakeFile(
        intensity=np.stack(columns, axis=1)[None],
        frames=np.array([frames]),
        radius=np.broadcast_to(np.arange(shape[0])[:, None] * 1.0, shape).copy(),
        two_theta=np.broadcast_to(two_theta[:, None], shape).copy(),
        eta=eta,
        bin_area=np.full(shape, area),
        first_omega=0.0 * one,
        last_omega=10.0 * one,
        frame_numbers=np.array([19]),
        instrument=dict(INSTRUMENT),
        temperature=301.0 * one,
        pressure=0.2 * one,
        metadata={INDEPENDENT: True},
    )


@pytest.fixture
def cake_of() -> Callable[..., CakeFile]:
    return make_cake
