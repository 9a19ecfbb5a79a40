"""midas: powder diffraction with area detectors, from a calibrant image to refined patterns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from midas.cake import Cake, CakeMap, IntegrationOptions, build_map, integrate
from midas.calibration import Calibration, CalibrationParams, JointCalibration, calibrate
from midas.crystal import Calibrant, Rings, calibrant, calibrant_from_cell, calibrant_from_cif, rings
from midas.detector import Detector
from midas.errors import FitError, FormatError, GeometryError, InputError, MidasError, OutputError, RefinementError
from midas.geometry import Geometry
from midas.grid import CakeGrid
from midas.io.exchange import read_geometry, write_geometry
from midas.io.frames import Frames, read_frames, read_image
from midas.io.gsas_zarr import CakeFile, read_cake_file
from midas.io.parameters import Parameters, read_params
from midas.panels import PanelLayout, Panels
from midas.simulation import PeakProfile, Simulation, SimulationOptions, simulate, simulate_scan

if TYPE_CHECKING:
    from midas.refine import run_refinement

    __version__: str
else:

    def __getattr__(name: str) -> Any:
        """Return the version or the refinement, which would slow `import midas` down."""
        if name == "__version__":
            from importlib.metadata import version

            return version("midas-xrd")
        if name == "run_refinement":
            from midas.refine import run_refinement

            return run_refinement
        raise AttributeError(f"module 'midas' has no attribute {name!r}")


__all__ = [
    "Cake",
    "CakeFile",
    "CakeGrid",
    "CakeMap",
    "Calibrant",
    "Calibration",
    "CalibrationParams",
    "Detector",
    "FitError",
    "FormatError",
    "Frames",
    "Geometry",
    "GeometryError",
    "InputError",
    "IntegrationOptions",
    "JointCalibration",
    "MidasError",
    "OutputError",
    "PanelLayout",
    "Panels",
    "Parameters",
    "PeakProfile",
    "RefinementError",
    "Rings",
    "Simulation",
    "SimulationOptions",
    "__version__",
    "build_map",
    "calibrant",
    "calibrant_from_cell",
    "calibrant_from_cif",
    "calibrate",
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
]
