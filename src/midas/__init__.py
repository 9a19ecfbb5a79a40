"""midas: powder diffraction with area detectors, from a calibrant image to refined patterns."""

from __future__ import annotations

from importlib.metadata import version

from midas.crystal import Calibrant, Rings, calibrant, calibrant_from_cell, calibrant_from_cif, rings
from midas.detector import Detector
from midas.errors import FitError, FormatError, GeometryError, InputError, MidasError, RefinementError
from midas.geometry import Geometry
from midas.grid import CakeGrid
from midas.simulation import PeakProfile, Simulation, SimulationOptions, simulate, simulate_scan

__version__ = version("midas-xrd")

__all__ = [
    "CakeGrid",
    "Calibrant",
    "Detector",
    "FitError",
    "FormatError",
    "Geometry",
    "GeometryError",
    "InputError",
    "MidasError",
    "PeakProfile",
    "RefinementError",
    "Rings",
    "Simulation",
    "SimulationOptions",
    "__version__",
    "calibrant",
    "calibrant_from_cell",
    "calibrant_from_cif",
    "rings",
    "simulate",
    "simulate_scan",
]
