"""What the caking benchmark compares: detectors, simulated frames, and the programs that cake them, set up alike.

Every program gets the same geometry (the peers read the `.poni` that midas writes), the same bins and frames, and
returns the same thing: the mean intensity over (radius, eta) in single precision, shape (n_radius, n_eta), eta
ascending as midas counts it. pyFAI and azint count the azimuth chi = 90 deg - eta. The geometry has no tilt: pyFAI's
radius is then our radius in px.

Peers: pyFAI; azint (conda channel maxiv; PyPI has none); midas-integrate for its map only, whose module is loaded
without its package's `__init__`, which wants torch.
"""

from __future__ import annotations

import functools
import importlib.util
import math
import sys
import tempfile
import types
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import midas
from midas.cake.pixels import FrameInput

N_DRAWN = 8  # frames with Poisson noise of their own; more are these mirrored, at addresses of their own
AZINT_SPLIT = 4  # sub-pixels along each side, as in azint's own benchmark
PEERS = {
    "pyFAI": ("pyFAI", "pip install pyFAI"),
    "azint": ("azint", "not on PyPI; conda install -c maxiv azint"),
    "midas-integrate": ("midas_integrate", "pip install midas-integrate numba"),
}

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Case:
    """A detector and its bins."""

    name: str
    shape: tuple[int, int]
    pixel_size: float  # µm
    distance: float  # µm
    wavelength: float  # Å
    radius_step: float  # px
    eta_step: float  # deg

    @property
    def geometry(self) -> midas.Geometry:
        center = (self.shape[1] * 0.5 + 12.3, self.shape[0] * 0.5 - 8.2)
        return midas.Geometry(self.distance, center, self.pixel_size, self.wavelength)

    @property
    def detector(self) -> midas.Detector:
        return midas.Detector(self.shape, self.pixel_size)

    @property
    def grid(self) -> midas.CakeGrid:
        return midas.CakeGrid(10.0, float(int(0.5 * math.hypot(*self.shape))), self.radius_step, eta_step=self.eta_step)

    @property
    def pixels(self) -> int:
        return self.shape[0] * self.shape[1]

    @property
    def bins(self) -> str:
        eta = "one eta bin" if self.eta_step == 360.0 else f"{self.eta_step:g} deg"
        return f"{self.name} {self.shape[0]} x {self.shape[1]}, {self.radius_step:g} px x {eta}"


def panel(rows: int, step: float = 1.0, eta_step: float = 5.0) -> Case:
    """Return a square flat panel of 150 µm pixels; the rings fill it whatever its size."""
    return Case("panel", (rows, rows), 150.0, 1.05e6 * rows / 2880, 0.1536, step, eta_step)


def eiger(rows: int, columns: int, name: str, step: float = 0.5, eta_step: float = 1.0) -> Case:
    return Case(name, (rows, columns), 75.0, 2e5 * rows / 2162, 0.4, step, eta_step)


EIGERS = {"4M": (2162, 2068), "9M": (3262, 3108), "16M": (4362, 4148)}


def expected(case: Case) -> Array:
    """Return the mean counts of rings over a falling background, nowhere zero."""
    options = midas.SimulationOptions(peak_counts=2000.0, background=60.0, falloff=200.0)
    return midas.simulate(case.geometry, case.detector, "CeO2", options=options, seed=1).expected


def frames(case: Case, dtype: str, n: int) -> Array:
    """Return a stack of n frames with Poisson noise; the same detector's last stack is kept for its other bins."""
    return _frames(replace(case, name="", radius_step=1.0, eta_step=1.0), dtype, n)


@functools.lru_cache(maxsize=1)
def _frames(case: Case, dtype: str, n: int) -> Array:
    mean = expected(case)
    stack = np.empty((n, *case.shape), dtype)

    def draw(k: int) -> None:
        stack[k] = np.random.default_rng([7, k]).poisson(mean)

    drawn = min(n, N_DRAWN)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(draw, range(drawn)))
    for k in range(drawn, n):
        turn = (k // drawn) % 4
        stack[k] = stack[k % drawn][:: -1 if turn & 1 else 1, :: -1 if turn & 2 else 1]
    assert stack.min() > 0
    return stack


@dataclass(frozen=True)
class Program:
    """A way to cake frames, ready to run."""

    name: str
    one: Callable[[Array], Array]
    """From a frame to the cake."""
    many: Callable[[Array], Any] | None
    """Cakes a stack in the quickest way that the program has; None: that is not measured."""
    limit: float = 0.02
    """Largest mean difference from midas, weighted by area, as a share of the intensity."""


def midas_programs(case: Case, threads: int) -> list[Program]:
    prepared = midas.build_map(case.geometry, case.detector, case.grid, n_threads=threads).prepare(FrameInput())

    def program(name: str, **how: bool) -> Program:
        def many(stack: Array) -> Array:
            return prepared.apply(stack, n_threads=threads, **how).intensity

        return Program(name, lambda frame: many(frame[None])[0], many, 1e-5)

    return [
        program("midas", single=True),
        program("midas, variance", single=True, variance=True),
    ]


def pyfai_programs(case: Case, threads: int) -> list[Program]:
    """Return pyFAI's engines called directly (its users' way to be fast) and its integrators called as documented."""
    integrator, pool = pyfai_integrator(case), ThreadPoolExecutor(threads)
    programs = []
    for algorithm in ("csr", "csc"):
        one = _pyfai_engine(integrator, case, algorithm)
        # The csr product runs in threads by itself; csc in one, so that its users run frames side by side.
        many = _in_turn(one) if algorithm == "csr" else _side_by_side(one, pool)
        programs.append(Program(f"pyFAI full {algorithm}, engine", one, many))
    call = integrator.integrate1d_ng if case.grid.shape[1] == 1 else integrator.integrate2d_ng
    programs.append(Program(f"pyFAI full csr, {call.__name__}", _pyfai_call(call, case), None))
    return programs


def pyfai_integrator(case: Case) -> Any:
    import pyFAI

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "case.poni"
        midas.write_geometry(path, case.geometry, case.detector)
        return pyFAI.load(str(path))


def frame_by_frame(program: str, case: Case) -> Callable[[Array], Array]:
    """Return what cakes a frame by a peer in one thread, the quickest way it has."""
    if program == "azint":
        return azint_programs(case, 1)[0].one
    return _pyfai_engine(pyfai_integrator(case), case, "csc")


def _in_turn(one: Callable[[Array], Array]) -> Callable[[Array], Any]:
    return lambda stack: [one(frame) for frame in stack]


def _side_by_side(one: Callable[[Array], Array], pool: ThreadPoolExecutor) -> Callable[[Array], Any]:
    return lambda stack: list(pool.map(one, stack))


def radius_mm(case: Case) -> tuple[float, float]:
    edges = case.grid.radius_edges(case.geometry) * case.pixel_size / 1000.0
    return float(edges[0]), float(edges[-1])


def eta_order(n_eta: int, chi_start: float) -> Array:
    """Return which chi bin, counted from chi_start, is each eta bin."""
    step = 360.0 / n_eta
    return (round((270.0 - chi_start) / step) - 1 - np.arange(n_eta)) % n_eta


def pyfai_engine(integrator: Any, case: Case, algorithm: str) -> Any:
    """Return pyFAI's sparse engine for a case."""
    two = case.grid.shape[1] > 1
    return integrator.setup_sparse_integrator(
        case.shape,
        case.grid.shape if two else case.grid.shape[0],
        pos0_range=radius_mm(case),
        pos1_range=(-180.0, 180.0) if two else None,
        unit=("r_mm", "chi_deg") if two else "r_mm",
        split="full",
        algo=algorithm,
        empty=np.nan,
    )


def _pyfai_engine(integrator: Any, case: Case, algorithm: str) -> Callable[[Array], Array]:
    engine, n_eta = pyfai_engine(integrator, case, algorithm), case.grid.shape[1]
    order = eta_order(n_eta, -180.0)
    return lambda frame: ordered(engine.integrate_ng(frame).intensity, order)


def ordered(found: Array, order: Array) -> Array:
    """Return a peer's cake, azimuth first or without, in our order."""
    return found[:, None] if found.ndim == 1 else found[order].T


def _pyfai_call(call: Callable[..., Any], case: Case) -> Callable[[Array], Array]:
    n_radius, n_eta = case.grid.shape
    how: dict[str, Any] = {"unit": "r_mm", "method": ("full", "csr", "cython"), "correctSolidAngle": False}
    how |= {"radial_range": radius_mm(case)}
    if n_eta > 1:
        how |= {"npt_azim": n_eta, "azimuth_range": (-180.0, 180.0)}
    order = eta_order(n_eta, -180.0)

    def one(frame: Array) -> Array:
        return ordered(call(frame, n_radius, **how).intensity, order)

    return one


def azint_programs(case: Case, threads: int) -> list[Program]:
    """Return azint, which runs in one thread: a stack goes through as many frames side by side as there are threads."""
    import azint

    edges = np.degrees(np.arctan(case.grid.radius_edges(case.geometry) * case.pixel_size / case.distance))
    n_eta = case.grid.shape[1]
    chi = None if n_eta == 1 else np.linspace(0.0, 360.0, n_eta + 1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "case.poni"
        midas.write_geometry(path, case.geometry, case.detector)
        integrator = azint.AzimuthalIntegrator(str(path), AZINT_SPLIT, edges, chi, unit="2th", solid_angle=False)
    order = eta_order(n_eta, 0.0)

    def one(frame: Array) -> Array:
        found = integrator.integrate(frame)
        return ordered(found[0] if n_eta == 1 else found[2], order)

    # Sampling on 4 x 4 points is coarser than areas: bins of half a pixel differ by more.
    name = f"azint {AZINT_SPLIT} x {AZINT_SPLIT}"
    return [Program(name, one, _side_by_side(one, ThreadPoolExecutor(threads)), 0.15)]


def installed(peer: bool) -> dict[str, str]:
    """Return each peer's version, or why it is left out."""
    found = {}
    for name, (module, how) in PEERS.items():
        if not peer:
            found[name] = "left out: --no-peer"
        elif importlib.util.find_spec(module) is None:
            found[name] = f"left out: not installed ({how})"
        else:
            found[name] = version(name)
    return found


def absent(peers: dict[str, str], name: str) -> bool:
    return peers[name].startswith("left out")


def programs(case: Case, threads: int, peers: dict[str, str]) -> list[Program]:
    """Return midas and the peers that are there."""
    found = midas_programs(case, threads)
    for name, make in (("pyFAI", pyfai_programs), ("azint", azint_programs)):
        if not absent(peers, name):
            found += make(case, threads)
    return found


# --- maps ------------------------------------------------------------------------------------------------------------


def build(program: str, case: Case, threads: int) -> Callable[[], Any]:
    """Return what builds a program's map, once everything is imported (and compiled, where it compiles itself)."""
    if program == "midas":
        return lambda: midas.build_map(case.geometry, case.detector, case.grid, n_threads=threads)
    if program == "midas-integrate":
        return _midas_integrate(case, threads)
    integrator = pyfai_integrator(case)
    return lambda: pyfai_engine(integrator, case, "csr")


def _midas_integrate(case: Case, threads: int) -> Callable[[], Any]:
    spec = importlib.util.find_spec("midas_integrate")
    assert spec is not None
    package = types.ModuleType("midas_integrate")  # without __init__, which imports torch
    package.__path__ = list(spec.submodule_search_locations or [])
    sys.modules["midas_integrate"] = package
    import numba
    from midas_integrate.detector_mapper import build_map
    from midas_integrate.params import IntegrationParams

    numba.set_num_threads(threads)

    def make(of: Case) -> Any:
        g, grid = of.geometry, of.grid
        where = {"NrPixelsY": of.shape[1], "NrPixelsZ": of.shape[0], "pxY": g.pixel_size, "pxZ": g.pixel_size}
        where |= {"Lsd": g.distance, "BC_y": g.beam_center[0], "BC_z": g.beam_center[1], "Wavelength": g.wavelength}
        where |= {"RhoD": g.pixel_size * max(of.shape), "EtaBinSize": of.eta_step}
        where |= {"RMin": grid.radius_min, "RMax": grid.radius_max, "RBinSize": of.radius_step}
        return build_map(IntegrationParams(**where))

    make(panel(64))  # numba compiles here
    return lambda: make(case)
