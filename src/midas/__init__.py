"""midas: powder diffraction with area detectors, from a calibrant image to refined patterns."""

from __future__ import annotations

from importlib.metadata import version

from midas.detector import Detector
from midas.errors import FitError, FormatError, GeometryError, InputError, MidasError, OutputError, RefinementError
from midas.geometry import Geometry
from midas.grid import CakeGrid

__version__ = version("midas-xrd")

__all__ = [
    "CakeGrid",
    "Detector",
    "FitError",
    "FormatError",
    "Geometry",
    "GeometryError",
    "InputError",
    "MidasError",
    "OutputError",
    "RefinementError",
    "__version__",
]
