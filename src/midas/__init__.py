"""midas: powder diffraction with area detectors, from a calibrant image to refined patterns."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from midas.detector import Detector
from midas.errors import FitError, FormatError, GeometryError, InputError, MidasError, OutputError, RefinementError
from midas.geometry import Geometry
from midas.grid import CakeGrid
from midas.panels import PanelLayout, Panels

if TYPE_CHECKING:
    from midas.cake import (
        Cake,
        CakeMap,
        Corrections,
        IntegrationOptions,
        PeakFits,
        PeakOptions,
        RobustOptions,
        build_map,
        fit_peaks,
    )
    from midas.cake.integrate import integrate
    from midas.calibration import Calibration, CalibrationParams, JointCalibration
    from midas.calibration.calibrate import calibrate
    from midas.crystal import Calibrant, Rings, calibrant, calibrant_from_cell, calibrant_from_cif, rings
    from midas.inspection import Inspection, inspect
    from midas.io.exchange import read_geometry, write_geometry
    from midas.io.frames import Frames, read_frames, read_image
    from midas.io.gsas_zarr import CakeFile, read_cake_file
    from midas.io.parameters import Parameters, read_params
    from midas.refine import run_refinement
    from midas.reporting import write_report
    from midas.simulation import PeakProfile, Simulation, SimulationOptions, simulate, simulate_scan

    __version__: str

_HOMES = {
    "midas.cake": (
        "Cake",
        "CakeMap",
        "Corrections",
        "IntegrationOptions",
        "PeakFits",
        "PeakOptions",
        "RobustOptions",
        "build_map",
        "fit_peaks",
        "integrate",
    ),
    "midas.calibration": ("Calibration", "CalibrationParams", "JointCalibration", "calibrate"),
    "midas.crystal": ("Calibrant", "Rings", "calibrant", "calibrant_from_cell", "calibrant_from_cif", "rings"),
    "midas.inspection": ("Inspection", "inspect"),
    "midas.io.exchange": ("read_geometry", "write_geometry"),
    "midas.io.frames": ("Frames", "read_frames", "read_image"),
    "midas.io.gsas_zarr": ("CakeFile", "read_cake_file"),
    "midas.io.parameters": ("Parameters", "read_params"),
    "midas.refine": ("run_refinement",),
    "midas.reporting": ("write_report",),
    "midas.simulation": ("PeakProfile", "Simulation", "SimulationOptions", "simulate", "simulate_scan"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Return the version, or what a room of midas offers, imported when first asked for: `import midas` stays quick."""
    if name == "__version__":
        from midas.version import version

        return version()
    if name not in _HOME_OF:
        raise AttributeError(f"module 'midas' has no attribute {name!r}")
    found = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """Return the public names alone, also those not imported yet: notebooks complete them."""
    return sorted(__all__)


__all__ = [
    "Cake",
    "CakeFile",
    "CakeGrid",
    "CakeMap",
    "Calibrant",
    "Calibration",
    "CalibrationParams",
    "Corrections",
    "Detector",
    "FitError",
    "FormatError",
    "Frames",
    "Geometry",
    "GeometryError",
    "InputError",
    "Inspection",
    "IntegrationOptions",
    "JointCalibration",
    "MidasError",
    "OutputError",
    "PanelLayout",
    "Panels",
    "Parameters",
    "PeakFits",
    "PeakOptions",
    "PeakProfile",
    "RefinementError",
    "Rings",
    "RobustOptions",
    "Simulation",
    "SimulationOptions",
    "__version__",
    "build_map",
    "calibrant",
    "calibrant_from_cell",
    "calibrant_from_cif",
    "calibrate",
    "fit_peaks",
    "inspect",
    "integrate",
    "read_cake_file",
    "read_frames",
    "read_geometry",
    "read_image",
    "read_params",
    "rings",
    "run_refinement",
    "simulate",
    "simulate_scan",
    "write_geometry",
    "write_report",
]
