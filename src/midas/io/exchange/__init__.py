"""Geometries in the formats of other programs, both ways; the suffix of the file says which."""

from __future__ import annotations

from pathlib import Path

from midas.detector import Detector
from midas.errors import InputError
from midas.geometry import Geometry

SUFFIXES = (".poni", ".imctrl", ".fit2d", ".nxs", ".json", ".txt")
"""pyFAI, GSAS-II, Fit2D, NeXus, and our own record and parameter text."""

__all__ = ["SUFFIXES", "check_suffix", "read_geometry", "write_geometry"]


def read_geometry(path: str | Path, *, pixel_size: float | None = None) -> tuple[Geometry, Detector | None]:
    """Return the geometry of a file of another program or of midas, and the detector where the file tells its shape.

    `.poni` (pyFAI, any version and orientation, with a spline or an NXdetector where p-terms hold its distortion),
    `.imctrl` (GSAS-II image controls), `.fit2d`, `.nxs` (NXdetector with transformations), `.json` (calibration.json),
    `.txt` (MIDAS parameters). Files of other programs describe the image as it is stored: flips that they know become
    image transforms. eta is 90 deg less pyFAI's chi or GSAS-II's azimuth.

    Parameters
    ----------
    path
        The file.
    pixel_size
        [µm], for files that do not tell it, such as GSAS-II's.

    Raises
    ------
    InputError
        The suffix is unknown.
    FormatError
        The file is missing or malformed, or says what midas cannot hold.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> g = Geometry(distance=1e5, beam_center=(10, 20), pixel_size=100, wavelength=1.0, tilts=(0, 3, 1))
    >>> _ = write_geometry(folder / "g.poni", g, Detector((40, 30), 100))
    >>> read, detector = read_geometry(folder / "g.poni")
    >>> round(read.tilts[1], 6), detector.shape
    (3.0, (40, 30))
    """
    path = Path(path)
    suffix = check_suffix(path)
    if suffix == ".poni":
        from midas.io.exchange.poni import read_poni

        return read_poni(path, pixel_size)
    if suffix == ".imctrl":
        from midas.io.exchange.imctrl import read_imctrl

        return read_imctrl(path, pixel_size)
    if suffix == ".fit2d":
        from midas.io.exchange.fit2d import read_fit2d

        return read_fit2d(path, pixel_size)
    if suffix == ".nxs":
        from midas.io.exchange.nexus import read_nexus

        return read_nexus(path)
    from midas.io.exchange import own

    return own.read_record(path) if suffix == ".json" else own.read_text(path)


def write_geometry(path: str | Path, geometry: Geometry, detector: Detector | None = None) -> list[Path]:
    """Write a geometry in the format that the suffix names, and return the files written.

    Files of other programs describe the image as it is stored, before the geometry's image transforms. A distortion
    goes into a map of pixel positions beside a `.poni` (a spline file, or the corners of all pixels where panels are
    shifted); formats without such a map refuse it.

    Parameters
    ----------
    path
        Ends in .poni, .imctrl, .fit2d, .nxs, .json or .txt (`read_geometry` says what they are).
    geometry
        What is written.
    detector
        Shape of the image that the geometry describes; needed where there are image transforms or distortion.

    Raises
    ------
    InputError
        The suffix is unknown, the format cannot hold the geometry, or the shape is needed.
    OutputError
        The file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> g = Geometry(distance=1e5, beam_center=(10, 20), pixel_size=125, wavelength=1.0)
    >>> write_geometry(Path(tempfile.mkdtemp()) / "g.imctrl", g)[0].read_text().splitlines()[3]
    'center:[1.3125, 2.5625]'
    """
    path = Path(path)
    suffix = check_suffix(path)
    if suffix == ".poni":
        from midas.io.exchange.poni import write_poni as write
    elif suffix == ".imctrl":
        from midas.io.exchange.imctrl import write_imctrl as write
    elif suffix == ".fit2d":
        from midas.io.exchange.fit2d import write_fit2d as write
    elif suffix == ".nxs":
        from midas.io.exchange.nexus import write_nexus as write
    elif suffix == ".json":
        from midas.io.exchange.own import write_record as write
    else:
        from midas.io.exchange.own import write_text as write
    return write(path, geometry, detector)


def check_suffix(path: str | Path) -> str:
    """Return the suffix that says the format of a geometry's file.

    Raises
    ------
    InputError
        There is no such format.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"{Path(path).name}: a geometry has the suffix {', '.join(SUFFIXES)}; rename the file")
    return suffix
