"""A sample scan: many frames of one powder over omega."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from midas.checks import numbers
from midas.crystal import Calibrant, Rings
from midas.detector import Detector
from midas.errors import InputError
from midas.geometry import Geometry
from midas.shown import html_table, range_of
from midas.simulation.options import FloatArray, SimulationOptions
from midas.simulation.render import simulate


@dataclass(frozen=True, eq=False)
class SimulatedScan:
    """Simulated frames and the truth behind them. Arrays are read-only."""

    images: npt.NDArray[Any]
    """Shape (n_frames, n_z, n_y), `options.dtype`."""
    mask: npt.NDArray[np.bool_]
    """Shape (n_z, n_y), True where the reading is no count, in every frame."""
    omega: FloatArray
    """Shape (n_frames,): rotation of the sample at the start of each frame [deg]."""
    strain: FloatArray
    """Shape (n_frames,): isotropic lattice strain of each frame."""
    rings: Rings
    """The sample's rings, unstrained."""
    geometry: Geometry
    """Where the detector truly stands."""
    options: SimulationOptions
    """What was asked for; `strain` above is added to its strain."""
    seed: int
    """Of every random number."""

    def __repr__(self) -> str:
        """Say in one line what was simulated."""
        n, n_z, n_y = self.images.shape
        return (
            f"SimulatedScan({n} frames of {n_z} x {n_y} px {self.images.dtype} of {self.rings.name}, seed {self.seed})"
        )

    def _repr_html_(self) -> str:
        """Return a table for notebooks."""
        n, n_z, n_y = self.images.shape
        rows = {
            "frames": f"{n} of {n_z} x {n_y} px, {self.images.dtype}",
            "omega": range_of(float(self.omega[0]), float(self.omega[-1]), "deg"),
            "strain": range_of(float(self.strain.min()), float(self.strain.max()), "", 6).strip(),
            "rings": repr(self.rings),
            "seed": str(self.seed),
        }
        return html_table("SimulatedScan", rows)


def simulate_scan(
    geometry: Geometry,
    detector: Detector,
    sample: Calibrant,
    *,
    strain: Sequence[float],
    omega: tuple[float, float] = (0.0, 0.25),
    options: SimulationOptions | None = None,
    seed: int = 0,
    n_threads: int = 0,
) -> SimulatedScan:
    """Return simulated frames of a sample under strain, and the truth behind them.

    Noise differs from frame to frame, and so do the spots of a spotty sample, because other grains diffract. Gaps, dead
    and hot pixels stay where they are.

    Parameters
    ----------
    geometry
        Where the detector stands.
    detector
        Shape and pixel size, and the mask and saturation where it has them.
    sample
        What diffracts.
    strain
        Isotropic lattice strain in each frame; as many frames as values.
    omega
        Rotation at the start of the first frame, and from frame to frame [deg]; default (0.0, 0.25).
    options
        As for `simulate`; its strain is added.
    seed
        Of every random number; default 0.
    n_threads
        Threads; default 0, all.

    Raises
    ------
    InputError
        There is no frame, or as for `simulate`.

    Examples
    --------
    >>> from midas.crystal import calibrant
    >>> g = Geometry(distance=1e5, beam_center=(64, 64), pixel_size=200, wavelength=0.2)
    >>> scan = simulate_scan(g, Detector(shape=(128, 128), pixel_size=200), calibrant("Ni"), strain=[0, 1e-3], seed=7)
    >>> scan.images.shape, scan.omega.tolist()
    ((2, 128, 128), [0.0, 0.25])
    """
    options = SimulationOptions() if options is None else options
    strains = numbers("strains", strain, "one for each frame, such as [0, 1e-3]").copy()
    if strains.ndim != 1 or len(strains) == 0:
        raise InputError("the scan has no frame; expected one strain for each frame (0 for an unstrained one)")
    images = np.empty((len(strains), *detector.shape), dtype=options.dtype)
    for i, value in enumerate(strains):
        frame = simulate(
            geometry,
            detector,
            sample,
            options=replace(options, strain=options.strain + float(value)),
            seed=seed,
            n_threads=n_threads,
            frame=i,
        )
        images[i] = frame.image
    angles = np.asarray(omega[0] + omega[1] * np.arange(len(strains)), dtype=np.float64)
    for array in (images, angles, strains):
        array.setflags(write=False)
    return SimulatedScan(images, frame.mask, angles, strains, frame.rings, geometry, options, int(seed))
