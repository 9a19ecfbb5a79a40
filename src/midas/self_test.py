"""Five seconds in which all of midas but the refinement must find what is true."""

from __future__ import annotations

import math
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from midas.units import UM_PER_MM

if TYPE_CHECKING:
    from midas.calibration import Calibration
    from midas.geometry import Geometry

SHAPE = (512, 512)
_SEED = 1


@dataclass(frozen=True)
class Quantity:
    """A quantity of the self-test."""

    name: str
    unit: str
    found: float
    true: float
    allowed: float
    """Largest difference that passes: some ten standard uncertainties."""

    @property
    def good(self) -> bool:
        """Whether the difference is small enough; that of NaN is not."""
        return abs(self.found - self.true) <= self.allowed


@dataclass(frozen=True)
class SelfTest:
    """What the self-test found."""

    quantities: tuple[Quantity, ...]
    verdict: str
    """Of the calibration."""
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether everything is as it must be."""
        return self.verdict == "good" and all(q.good for q in self.quantities)


def run_self_test(*, n_threads: int = 0) -> SelfTest:
    """Simulate a calibrant image, write it with bitshuffle, read, calibrate and cake it; return found beside true.

    Raises
    ------
    MidasError
        A step refused its input.
    """
    from midas.calibration.calibrate import calibrate
    from midas.detector import Detector
    from midas.io.frames import read_image
    from midas.simulation import SimulationOptions, simulate

    start = time.perf_counter()
    truth = _truth()
    look = SimulationOptions(peak_counts=3000.0, background=20.0, dtype="uint32")
    image = simulate(
        truth, Detector(SHAPE, truth.pixel_size), "CeO2", options=look, seed=_SEED, n_threads=n_threads
    ).image
    with tempfile.TemporaryDirectory(prefix="midas-doctor-") as folder:
        path = Path(folder) / "image.h5"
        _write_packed(path, image)
        read = read_image(path)
    known = {"wavelength": truth.wavelength, "pixel_size": truth.pixel_size, "calibrant": "CeO2", "distortion": "none"}
    calibration = calibrate(read, known, n_threads=n_threads)
    g = calibration.geometry
    quantities = [
        Quantity("pixels changed by a file", "px", float(np.count_nonzero(read != image)), 0.0, 0.0),
        Quantity("distance", "mm", g.distance / UM_PER_MM, truth.distance / UM_PER_MM, 0.01),
        Quantity("beam centre y", "px", g.beam_center[0], truth.beam_center[0], 0.01),
        Quantity("beam centre z", "px", g.beam_center[1], truth.beam_center[1], 0.01),
        Quantity("tilt y", "deg", g.tilts[1], truth.tilts[1], 0.02),
        Quantity("tilt z", "deg", g.tilts[2], truth.tilts[2], 0.02),
        *_caked(calibration, image, n_threads),
    ]
    return SelfTest(tuple(quantities), calibration.verdict, time.perf_counter() - start)


def _truth() -> Geometry:
    from midas.geometry import Geometry

    return Geometry(
        distance=204_310.0, beam_center=(259.37, 251.62), pixel_size=200.0, wavelength=0.2066, tilts=(0.0, 0.41, -0.28)
    )


def _write_packed(path: Path, image: npt.NDArray[Any]) -> None:
    """Write an image as detectors do."""
    import h5py
    import hdf5plugin

    with h5py.File(path, "w") as file:
        file.create_dataset("exchange/data", data=image[None], chunks=(1, *image.shape), **hdf5plugin.Bitshuffle())


def _caked(calibration: Calibration, image: npt.NDArray[Any], n_threads: int) -> list[Quantity]:
    """Return the area that a cake gives whole rings, and where the strongest ring lies."""
    from midas.cake import integrate
    from midas.grid import CakeGrid

    inner, outer = 20.0, 200.0  # px: whole rings are on the image
    grid = CakeGrid(radius_min=inner, radius_max=outer, radius_step=0.5, eta_step=10.0)
    cake = integrate(image, calibration.geometry, grid, n_threads=n_threads)
    profile = cake.profile().intensity[0]
    ring = int(np.nanargmax(calibration.rings.intensity))
    strongest, hkl = calibration.rings.two_theta[ring], "".join(str(i) for i in calibration.rings.hkl[ring])
    near = np.abs(cake.two_theta - strongest) < 0.15  # deg: one ring of CeO2 alone
    weight = np.clip(profile[near] - np.median(profile[near]), 0.0, None)
    center = float(np.sum(weight * cake.two_theta[near]) / weight.sum()) if weight.sum() > 0.0 else math.nan
    return [
        Quantity("area of the cake", "px²", float(cake.bin_area.sum()), math.pi * (outer**2 - inner**2), 0.1),
        Quantity(f"2theta of CeO2 {hkl}", "deg", center, float(strongest), 0.005),
    ]
