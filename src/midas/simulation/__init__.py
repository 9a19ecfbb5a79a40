"""Powder images with known truth: for tests, for the demo and for trying an experiment before it is made."""

from midas.simulation.files import check_target, save_simulation, truth_of, write_cif
from midas.simulation.options import PeakProfile, SimulationOptions
from midas.simulation.render import Simulation, simulate
from midas.simulation.scan import SimulatedScan, simulate_scan

__all__ = [
    "PeakProfile",
    "SimulatedScan",
    "Simulation",
    "SimulationOptions",
    "check_target",
    "save_simulation",
    "simulate",
    "simulate_scan",
    "truth_of",
    "write_cif",
]
