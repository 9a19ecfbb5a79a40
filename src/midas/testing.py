"""Images, scans and caked files with known truth, and comparisons with it, for the tests of your own programs.

Everything is simulated, in well under a second on small detectors; the same seed gives the same bytes. Needs no test
framework: the comparisons raise AssertionError, with a table of what was found beside what is true.

Examples
--------
>>> import midas
>>> from midas import testing
>>> shot = testing.calibrant_image(seed=7)
>>> known = {"wavelength": shot.geometry.wavelength, "pixel_size": 200.0, "calibrant": "CeO2", "distortion": "none"}
>>> found = midas.calibrate(shot.image, known)
>>> testing.assert_geometry_close(found.geometry, shot.geometry, beam_center=0.05, distance=50.0)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from midas.errors import InputError
from midas.geometry import Geometry

if TYPE_CHECKING:
    from midas.cake import Cake
    from midas.calibration import Calibration
    from midas.crystal import Calibrant
    from midas.grid import CakeGrid
    from midas.simulation import SimulatedScan, Simulation, SimulationOptions

__all__ = [
    "TRUTH",
    "assert_cakes_close",
    "assert_geometry_close",
    "caked_file",
    "caked_scan",
    "calibrant_image",
    "cif_file",
    "geometry_pulls",
    "scan",
]

SHAPE = (256, 256)
"""Rows and columns of the detector where none is given."""
TRUTH = Geometry(
    distance=101_300.0, beam_center=(130.37, 124.81), pixel_size=200.0, wavelength=0.2066, tilts=(0.0, 0.31, -0.18)
)
"""Where that detector stands: a small one close to the sample, on which a dozen rings of CeO2 lie [µm, px, deg, Å]."""
_PULLED: dict[str, Callable[[Geometry], float]] = {
    "distance": lambda g: g.distance,
    "beam_center_y": lambda g: g.beam_center[0],
    "beam_center_z": lambda g: g.beam_center[1],
    "tilt_y": lambda g: g.tilts[1],
    "tilt_z": lambda g: g.tilts[2],
    "parallax": lambda g: g.parallax,
}


def calibrant_image(
    truth: Geometry = TRUTH,
    *,
    shape: tuple[int, int] = SHAPE,
    calibrant: Calibrant | str = "CeO2",
    seed: int = 0,
    **look: Any,
) -> Simulation:
    """Return a simulated image of a calibrant and the truth behind it.

    Parameters
    ----------
    truth
        Where the detector stands.
    shape
        Rows and columns of the image [px].
    calibrant
        By name, or as `midas.calibrant_from_cell` and `midas.calibrant_from_cif` make it.
    seed
        Of every random number.
    look
        Fields of `midas.SimulationOptions`: peak_counts [counts], fwhm [px], spottiness, dtype, noise ...

    Raises
    ------
    InputError
        A field of `look` is not known, or no ring lies on the detector.

    Examples
    --------
    >>> shot = calibrant_image(seed=7, dtype="uint16")
    >>> shot.image.shape, shot.image.dtype.name, len(shot.rings) > 10
    ((256, 256), 'uint16', True)
    """
    from midas.detector import Detector
    from midas.simulation import simulate

    return simulate(truth, Detector(shape, truth.pixel_size), calibrant, options=_options(look), seed=seed)


def scan(
    strain: Sequence[float] = (0.0, 0.0, 0.0),
    truth: Geometry = TRUTH,
    *,
    omega: tuple[float, float] = (0.0, 1.0),
    shape: tuple[int, int] = SHAPE,
    sample: Calibrant | str = "CeO2",
    seed: int = 0,
    **look: Any,
) -> SimulatedScan:
    """Return the simulated frames of a sample and the truth behind them.

    Parameters
    ----------
    strain
        Isotropic lattice strain of the sample in each frame; as many frames as values.
    truth
        Where the detector stands.
    omega
        Rotation at the start of the first frame, and from frame to frame [deg].
    shape
        Rows and columns of the frames [px].
    sample
        By name, or as a structure.
    seed
        Of every random number.
    look
        Fields of `midas.SimulationOptions`.

    Raises
    ------
    InputError
        There is no frame, a field of `look` is not known, or no ring lies on the detector.

    Examples
    --------
    >>> frames = scan([0.0, 1e-3], seed=7)
    >>> frames.images.shape, frames.omega.tolist()
    ((2, 256, 256), [0.0, 1.0])
    """
    from midas.crystal import calibrant as find_calibrant
    from midas.detector import Detector
    from midas.simulation import simulate_scan

    structure = find_calibrant(sample) if isinstance(sample, str) else sample
    detector = Detector(shape, truth.pixel_size)
    return simulate_scan(truth, detector, structure, strain=strain, omega=omega, options=_options(look), seed=seed)


def caked_scan(frames: SimulatedScan, grid: CakeGrid | None = None, *, frames_per_sum: int = 1) -> Cake:
    """Return the cake of a simulated scan with its true geometry.

    Parameters
    ----------
    frames
        What `scan` gave.
    grid
        Bins; None takes steps of half a pixel to the nearest edge of the detector, and 45 deg in eta.
    frames_per_sum
        How many frames are summed into a pattern; -1 is all.

    Raises
    ------
    InputError
        The grid does not fit the detector, or the number is impossible.

    Examples
    --------
    >>> caked_scan(scan([0.0, 0.0], seed=7)).intensity.shape
    (2, 214, 8)
    """
    from midas.cake import IntegrationOptions, integrate
    from midas.detector import Detector
    from midas.grid import CakeGrid

    rows, columns = frames.images.shape[1:]
    y, z = frames.geometry.beam_center
    if grid is None:
        reach = float(np.floor(min(y, z, columns - 1 - y, rows - 1 - z)))
        grid = CakeGrid(radius_min=17.0, radius_max=reach, radius_step=0.5, eta_step=45.0)
    step = float(frames.omega[1] - frames.omega[0]) if len(frames.omega) > 1 else 0.0
    options = IntegrationOptions(frames_per_sum=frames_per_sum, omega_start=float(frames.omega[0]), omega_step=step)
    detector = Detector((rows, columns), frames.geometry.pixel_size, mask=frames.mask)
    return integrate(frames.images, frames.geometry, grid, detector=detector, options=options)


def caked_file(
    path: str | os.PathLike[str], strain: Sequence[float] = (0.0, 0.0, 0.0), *, seed: int = 0, **look: Any
) -> Path:
    """Write the cake of a simulated scan of CeO2, a pattern for each frame and 45 deg of eta; return its path.

    Parameters
    ----------
    path
        Name, which must end in `.zarr.zip`.
    strain
        Isotropic lattice strain of each frame: a refinement finds 5.41165 Å times 1 + strain.
    seed
        Of every random number.
    look
        Fields of `midas.SimulationOptions`.

    Raises
    ------
    InputError
        The name has another suffix, or a field of `look` is not known.
    OutputError
        The file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> import midas
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = caked_file(f"{folder}/x.zarr.zip", strain=[0.0, 1e-3])
    ...     midas.read_cake_file(path).intensity.shape
    (2, 214, 8)
    """
    return caked_scan(scan(strain, seed=seed, **look)).to_zarr(Path(path))


def cif_file(path: str | os.PathLike[str], structure: Calibrant | str = "CeO2") -> Path:
    """Write a structure as a CIF, such as a refinement takes, and return its path.

    Parameters
    ----------
    path
        Name of the file.
    structure
        By name, or with sites, as `midas.calibrant` gives it.

    Raises
    ------
    OutputError
        The file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> import midas
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     midas.calibrant_from_cif(cif_file(f"{folder}/CeO2.cif")).cell[0]
    5.41165
    """
    from midas.crystal import calibrant as find_calibrant
    from midas.simulation import write_cif

    return write_cif(Path(path), find_calibrant(structure) if isinstance(structure, str) else structure)


def assert_geometry_close(
    found: Geometry,
    true: Geometry,
    *,
    distance: float | None = None,
    beam_center: float | None = None,
    tilts: float | None = None,
    wavelength: float | None = None,
    parallax: float | None = None,
) -> None:
    """Raise AssertionError unless two geometries agree; what no tolerance is given for is not compared.

    Parameters
    ----------
    found, true
        The geometries.
    distance
        Largest difference of the distances [µm].
    beam_center
        Largest difference of the beam centres, in column and in row [px].
    tilts
        Largest difference of each tilt [deg].
    wavelength
        Largest difference of the wavelengths [Å].
    parallax
        Largest difference of the parallaxes [µm].

    Raises
    ------
    AssertionError
        A difference is larger, or NaN; the message is a table.
    InputError
        No tolerance is given: nothing would be compared.

    Examples
    --------
    >>> assert_geometry_close(TRUTH, TRUTH, distance=0.0, beam_center=0.0, tilts=0.0)
    >>> from dataclasses import replace
    >>> assert_geometry_close(replace(TRUTH, distance=101_400.0), TRUTH, distance=50.0)
    Traceback (most recent call last):
    ...
    AssertionError: the geometry is not the true one
                         found          true    difference    allowed
    distance     101400.000000 101300.000000       1.0e+02    5.0e+01  <-
    """
    rows: list[tuple[str, float, float, float]] = []
    for name, tolerance in (("distance", distance), ("wavelength", wavelength), ("parallax", parallax)):
        if tolerance is not None:
            rows.append((name, getattr(found, name), getattr(true, name), tolerance))
    if beam_center is not None:
        rows += [
            (f"beam {axis}", found.beam_center[i], true.beam_center[i], beam_center) for i, axis in enumerate("yz")
        ]
    if tilts is not None:
        rows += [(f"tilt {axis}", found.tilts[i], true.tilts[i], tilts) for i, axis in enumerate("xyz")]
    if not rows:
        raise InputError("nothing is compared: give distance, beam_center, tilts, wavelength or parallax")
    if all(abs(value - goal) <= tolerance for _, value, goal, tolerance in rows):
        return
    lines = [f"{'':11}{'found':>15}{'true':>14}{'difference':>14}{'allowed':>11}"]
    for name, value, goal, tolerance in rows:
        far = "" if abs(value - goal) <= tolerance else "  <-"
        lines.append(f"{name:11}{value:15.6f}{goal:14.6f}{value - goal:14.1e}{tolerance:11.1e}{far}")
    raise AssertionError("\n".join(["the geometry is not the true one", *lines]))


def geometry_pulls(calibration: Calibration, true: Geometry) -> dict[str, float]:
    """Return (found - true) / standard uncertainty of each value that was refined: honest ones scatter by about 1.

    Names are those of `Calibration.esd`: distance, beam_center_y, beam_center_z, tilt_y, tilt_z, parallax. Distortion
    is left out, because its radius of normalisation differs.

    Parameters
    ----------
    calibration
        What `midas.calibrate` found.
    true
        The geometry behind its image.

    Examples
    --------
    >>> import midas
    >>> shot = calibrant_image(seed=7)
    >>> known = {"wavelength": 0.2066, "pixel_size": 200.0, "calibrant": "CeO2", "distortion": "none"}
    >>> pulls = geometry_pulls(midas.calibrate(shot.image, known), shot.geometry)
    >>> max(abs(pull) for pull in pulls.values()) < 4
    True
    """
    return {
        name: (value(calibration.geometry) - value(true)) / calibration.esd[name]
        for name, value in _PULLED.items()
        if name in calibration.esd
    }


def assert_cakes_close(found: Cake, expected: Cake, *, rtol: float = 0.0, atol: float = 0.0) -> None:
    """Raise AssertionError unless two cakes have the same bins and intensities that agree.

    Parameters
    ----------
    found, expected
        The cakes; bins without pixels must be the same ones.
    rtol
        Largest difference as a fraction of what is expected.
    atol
        Largest difference beside it, in the cakes' unit [counts/px², or counts].

    Raises
    ------
    AssertionError
        Shapes or bins differ, or an intensity does; the message says where and by how much.

    Examples
    --------
    >>> cake = caked_scan(scan([0.0], seed=7))
    >>> assert_cakes_close(cake, cake)
    >>> assert_cakes_close(cake, caked_scan(scan([0.0], seed=8)), rtol=1e-6)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    AssertionError: the cakes differ in ... of 1712 bins, most in (sum, radius, eta) ...
    """
    if found.intensity.shape != expected.intensity.shape:
        raise AssertionError(f"the cakes have shapes {found.intensity.shape} and {expected.intensity.shape}")
    for name in ("radius_edges", "eta_edges"):
        if not np.allclose(getattr(found, name), getattr(expected, name), rtol=1e-12, atol=1e-12):
            raise AssertionError(f"the cakes have other bins: their {name} differ")
    close = np.isclose(found.intensity, expected.intensity, rtol=rtol, atol=atol, equal_nan=True)
    if close.all():
        return
    off = np.where(close, 0.0, np.abs(found.intensity - expected.intensity))
    worst = np.unravel_index(int(np.argmax(np.where(np.isnan(off), np.inf, off))), off.shape)
    raise AssertionError(
        f"the cakes differ in {int((~close).sum())} of {close.size} bins, most in (sum, radius, eta) "
        f"{tuple(int(i) for i in worst)}: {found.intensity[worst]:.6g} instead of {expected.intensity[worst]:.6g}"
    )


def _options(look: Mapping[str, Any]) -> SimulationOptions:
    """Return the options that keywords name; an unknown one is refused with the nearest known."""
    import difflib

    from midas.simulation import SimulationOptions

    known = [f.name for f in fields(SimulationOptions)]
    for name in look:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            meant = f"; did you mean {near[0]}?" if near else f"; expected one of {', '.join(known)}"
            raise InputError(f"{name} is no option of a simulation{meant}")
    return replace(SimulationOptions(), **look)
