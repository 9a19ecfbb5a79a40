"""The main job without any input: simulate, calibrate, cake, refine, and compare with the truth."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from midas.cake import Cake, Corrections, IntegrationOptions, integrate
from midas.calibration import Calibration, calibrate
from midas.crystal import Calibrant, calibrant
from midas.detector import Detector
from midas.errors import RefinementError
from midas.geometry import Geometry
from midas.grid import CakeGrid
from midas.io.atomic import atomic_path, output_folder
from midas.io.gsas_zarr import SUFFIX
from midas.simulation import SimulationOptions, simulate, simulate_scan, write_cif
from midas.units import UM_PER_MM

logger = logging.getLogger(__name__)

Progress = Callable[[int, int, str], None]

SHAPE = (1024, 1024)
TRUTH = Geometry(
    distance=352_340.0,
    beam_center=(531.37, 488.62),
    pixel_size=200.0,
    wavelength=0.2066,
    tilts=(0.0, 0.62, -0.41),
    distortion={"p0": 1.2e-4, "p1": 0.0, "p2": -6.0e-4, "p3": 0.0},
    distortion_radius=152_000.0,
)
"""Where the demo's detector truly stands."""
CALIBRANT = "CeO2"
SAMPLE_STRAIN = 4.0e-4
"""The sample is the calibrant's structure with its cell larger by this fraction."""
N_FRAMES = 6
ETA_STEP = 45.0
_STEPS = 5
_SEED = 1


@dataclass(frozen=True)
class Comparison:
    """One line of the table: a quantity found, its truth and its standard uncertainty."""

    name: str
    unit: str
    found: float
    true: float
    esd: float

    @property
    def pull(self) -> float:
        """(found - true) / esd."""
        return (self.found - self.true) / self.esd if self.esd > 0.0 else math.nan


@dataclass(frozen=True, eq=False)
class Demo:
    """What the demo made."""

    calibration: Calibration
    cake: Cake
    refinement: dict[str, Any] | None
    """The summary of the refinement; None without GSAS-II."""
    table: tuple[Comparison, ...]
    """Found against true."""
    files: tuple[Path, ...]
    """What was written."""
    stopped: str
    """Why nothing was refined; empty when it was."""
    seconds: float


def run_demo(
    folder: str | Path = "midas-demo",
    *,
    n_threads: int = 0,
    gsas2_python: str | None = None,
    progress: Progress | None = None,
) -> Demo:
    """Simulate a calibrant image and a sample scan, then do the main job on them, and return how close it came.

    Everything is written to `folder`. Without GSAS-II the refinement is left out and `stopped` says why.

    Raises
    ------
    OutputError
        The folder cannot be written to.
    """
    started = time.perf_counter()
    with output_folder(folder) as out:
        tick = _ticker(progress)
        tick("simulating a calibrant image and a sample scan")
        detector, structure = Detector(SHAPE, TRUTH.pixel_size), calibrant(CALIBRANT)
        # One seed is one detector: its dead and hot pixels are the same in every exposure.
        shot = simulate(
            TRUTH, detector, structure, options=_look(4000.0), seed=_SEED, frame=N_FRAMES, n_threads=n_threads
        )
        scan = simulate_scan(
            TRUTH,
            detector,
            structure,
            strain=[SAMPLE_STRAIN] * N_FRAMES,
            omega=(0.0, 1.0),
            options=_look(900.0),
            seed=_SEED,
            n_threads=n_threads,
        )
        files = [_write_image(out / "calibrant.tif", shot.image), _write_scan(out / "scan.h5", scan.images)]
        files.append(write_cif(out / f"{CALIBRANT}.cif", structure))
        tick("calibrating")
        known = {"wavelength": TRUTH.wavelength, "pixel_size": TRUTH.pixel_size, "calibrant": CALIBRANT}
        calibration = calibrate(shot.image, known, n_threads=n_threads)
        files += calibration.save(out)
        tick("caking")
        cake = _cake(calibration, scan.images, n_threads)
        files.append(cake.to_zarr(out / f"scan{SUFFIX}", instrument=calibration.instrument()))
        with atomic_path(out / "cake.png") as temporary:
            cake.plot().savefig(temporary, dpi=110)
        files.append(out / "cake.png")
        tick("refining")
        refinement, stopped = _refine(out, n_threads, gsas2_python)
        if refinement is not None:
            files.append(out / "refinement")
        tick("done")
    table = compare(calibration, refinement, structure)
    return Demo(calibration, cake, refinement, table, tuple(files), stopped, time.perf_counter() - started)


def _ticker(progress: Progress | None) -> Callable[[str], None]:
    done = 0

    def tick(message: str) -> None:
        nonlocal done
        logger.info("%s", message)
        if progress is not None:
            progress(done, _STEPS - 1, message)
        done += 1

    return tick


def _look(peak_counts: float) -> SimulationOptions:
    return SimulationOptions(
        peak_counts=peak_counts,
        fwhm=3.0,
        mixing=0.3,
        background=20.0,
        falloff=120.0,
        beamstop_radius=14.0,
        beamstop_arm=180.0,
        dead_fraction=1e-4,
        hot_fraction=5e-5,
        dtype="uint32",
    )


def _write_image(path: Path, image: npt.NDArray[Any]) -> Path:
    import tifffile

    with atomic_path(path) as temporary:
        tifffile.imwrite(temporary, image, compression="zlib")
    return path


def _write_scan(path: Path, images: npt.NDArray[Any]) -> Path:
    import h5py

    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.create_dataset("exchange/data", data=images, chunks=(1, *images.shape[1:]), compression="gzip")
    return path


def _cake(calibration: Calibration, images: npt.NDArray[Any], n_threads: int) -> Cake:
    reach = min(
        calibration.geometry.beam_center[0],
        calibration.geometry.beam_center[1],
        SHAPE[1] - 1 - calibration.geometry.beam_center[0],
        SHAPE[0] - 1 - calibration.geometry.beam_center[1],
    )
    grid = CakeGrid(radius_min=40.0, radius_max=math.floor(reach), radius_step=0.5, eta_step=ETA_STEP)
    return integrate(
        images,
        calibration.geometry,
        grid,
        detector=calibration.detector,
        options=IntegrationOptions(frames_per_sum=-1, omega_step=1.0, corrections=Corrections(solid_angle=True)),
        n_threads=n_threads,
    )


def _refine(out: Path, n_threads: int, gsas2_python: str | None) -> tuple[dict[str, Any] | None, str]:
    import os

    from midas.refine import run_refinement

    try:
        summary = run_refinement(
            data_file=out / f"scan{SUFFIX}",
            cif_files=[out / f"{CALIBRANT}.cif"],
            output_dir=out / "refinement",
            n_cpus=n_threads or os.cpu_count() or 1,
            refine_atoms=False,
            gsas2_python=gsas2_python,
        )
    except RefinementError as error:
        return None, str(error)
    return summary, ""


def compare(
    calibration: Calibration, refinement: dict[str, Any] | None, structure: Calibrant
) -> tuple[Comparison, ...]:
    """Return found, true and esd of the geometry and, where there is one, of the refined cell (mean over lineouts)."""
    g, e = calibration.geometry, calibration.esd
    rows = [
        Comparison("distance", "mm", g.distance / UM_PER_MM, TRUTH.distance / UM_PER_MM, e["distance"] / UM_PER_MM),
        Comparison("beam centre y", "px", g.beam_center[0], TRUTH.beam_center[0], e["beam_center_y"]),
        Comparison("beam centre z", "px", g.beam_center[1], TRUTH.beam_center[1], e["beam_center_z"]),
        Comparison("tilt y", "deg", g.tilts[1], TRUTH.tilts[1], e["tilt_y"]),
        Comparison("tilt z", "deg", g.tilts[2], TRUTH.tilts[2], e["tilt_z"]),
        _p2_row(calibration),
    ]
    if refinement is not None:
        cells = [
            (phase["cell"]["a"], phase["cell_esd"]["a"])
            for histogram in refinement["histograms"]
            if histogram["status"] == "success"
            for phase in histogram["phases"]
        ]
        if cells:
            values, esds = np.array(cells).T
            weight = 1.0 / esds**2
            mean, esd = float(np.sum(weight * values) / weight.sum()), float(weight.sum() ** -0.5)
            # What the calibration leaves open of the distance is common to all lineouts: a goes as it does.
            common = mean * e["distance"] / g.distance
            true = structure.cell[0] * (1.0 + SAMPLE_STRAIN)
            rows.append(Comparison("lattice constant a", "Å", mean, true, math.hypot(esd, common)))
    return tuple(rows)


def _p2_row(calibration: Calibration) -> Comparison:
    """p2 for the truth's radius of normalisation: D depends on p2 / RhoD² alone."""
    g = calibration.geometry
    assert g.distortion_radius is not None
    assert TRUTH.distortion_radius is not None
    scale = (TRUTH.distortion_radius / g.distortion_radius) ** 2
    return Comparison(
        "distortion p2",
        "1e-6",
        g.distortion["p2"] * scale * 1e6,
        TRUTH.distortion["p2"] * 1e6,
        calibration.esd["p2"] * scale * 1e6,
    )
