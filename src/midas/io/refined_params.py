"""`refined_MIDAS_params.txt`: the geometry found, the bins, and everything else that the source's file says.

Format: docs/files.md.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from midas.detector import Detector
from midas.errors import InputError
from midas.geometry import DISTORTION_NAMES, Geometry
from midas.grid import CakeGrid
from midas.io.atomic import atomic_path
from midas.io.panel_shifts import FILE_NAME as PANEL_SHIFTS_NAME
from midas.io.panel_shifts import write_panel_shifts
from midas.io.parameter_panels import PANEL_KEYS
from midas.io.parameter_table import find_key
from midas.io.parameter_text import Value, format_value, geometry_pairs, panel_pairs
from midas.io.parameters import REPLACED_WITH_GEOMETRY, Parameters, parse_params

_log = logging.getLogger(__name__)

FILE_NAME = "refined_MIDAS_params.txt"

_PATH_KEYS = ("MaskFile", "GapFile", "BadPxFile", "Dark", "Flat", "Folder")
# What the geometry and the detector say in other words: the source's lines would contradict them.
_REPLACED = {*DISTORTION_NAMES, "RhoD", "ImTransOpt", "NrPixels", *REPLACED_WITH_GEOMETRY} - {*PANEL_KEYS}


def write_refined_params(
    path: Path | str,
    geometry: Geometry,
    grid: CakeGrid,
    detector: Detector,
    *,
    space_group: int | None = None,
    lattice: tuple[float, ...] | None = None,
    source: Parameters | None = None,
    comment: str = "",
) -> Path:
    """Write `refined_MIDAS_params.txt` in the order of docs/files.md and return its path.

    Numbers are written so that reading gives back the same doubles. Every other known key of `source` (mask files,
    dark, scan, file names ...) follows at the end, with file names that hold from anywhere; only `DistortionFile` does
    not: the geometry was found without it and needs none. How the panels of a tiled detector stand is written to
    `panel_shifts.txt` beside it, which the key `PanelShiftsFile` names.

    Parameters
    ----------
    path
        The file, or a folder in which it is called `refined_MIDAS_params.txt`.
    geometry, grid, detector
        What was found, and the bins and the shape that go with it; the grid must be uniform in px.
    space_group, lattice
        The calibrant: number, and a, b, c [Å], alpha, beta, gamma [deg].
    source
        Parameters that the rest is taken from.
    comment
        Written on the first line, after `# `.

    Examples
    --------
    >>> import tempfile
    >>> from midas.io.parameters import read_params
    >>> g = Geometry(distance=1e6, beam_center=(10.1, 20.2), pixel_size=200, wavelength=0.18)
    >>> source = parse_params("OmegaStep 0.25")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = write_refined_params(folder, g, CakeGrid(1, 50, 1), Detector((40, 30), 200), source=source)
    ...     read_params(path).geometry.beam_center, read_params(path).omega_step
    ((10.1, 20.2), 0.25)
    """
    path = Path(path)
    if path.is_dir():
        path = path / FILE_NAME
    if grid.unit != "px":
        raise InputError(f"the grid is in {grid.unit}; expected px, which is what RMin, RMax and RBinSize mean")
    if not grid.uniform:
        raise InputError(
            "the grid has edges of its own; expected uniform bins, which is all that RBinSize and EtaBinSize can say"
        )
    source = source or Parameters()
    pairs: list[tuple[str, object]] = [*geometry_pairs(geometry), *_grid_pairs(grid, detector)]
    for spelling in ("DoSmoothing", "DoPeakFit", "skipFrame", "MultiplePeaks"):
        pairs.append((spelling, source.get(spelling)))
    pairs += [("ImTransOpt", t) for t in geometry.image_transforms]
    pairs += [(key, source.get(key)) for key in ("BadPxIntensity", "GapIntensity") if key in source]
    if space_group is not None:
        pairs.append(("SpaceGroup", int(space_group)))
    if lattice is not None:
        pairs.append(("LatticeConstant", tuple(float(v) for v in lattice)))
    pairs += panel_pairs(geometry)
    if geometry.panels is not None:
        shifts = write_panel_shifts(path.parent / PANEL_SHIFTS_NAME, geometry.panels)
        pairs.append(("PanelShiftsFile", _named_from(path, "PanelShiftsFile", shifts)))
    if "DistortionFile" in source:
        _log.warning("%s: DistortionFile is left out of %s: the geometry was found without it", source.name, path)
    pairs += _other_pairs(source, {key for key, _ in pairs}, path.parent)
    text = f"# {comment}\n" if comment else ""
    text += "".join(f"{key} {_words(value)}\n" for key, value in pairs)
    parse_params(text)  # what is written can be read
    with atomic_path(path) as temporary:
        # Names of files may hold bytes of another encoding, as they were read.
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape")
    return path


def _grid_pairs(grid: CakeGrid, detector: Detector) -> list[tuple[str, object]]:
    return [
        ("RMin", float(grid.radius_min)),
        ("RMax", float(grid.radius_max)),
        ("RBinSize", float(grid.radius_step)),
        ("EtaMin", float(grid.eta_min)),
        ("EtaMax", float(grid.eta_max)),
        ("NrPixelsY", detector.shape[1]),
        ("NrPixelsZ", detector.shape[0]),
        ("EtaBinSize", float(grid.eta_step)),
    ]


def _other_pairs(source: Parameters, written: set[str], folder: Path) -> list[tuple[str, object]]:
    """Return the known keys of the source that are not written yet, in its order; of one that counts once the last."""
    said = _REPLACED | {row.name for row in map(find_key, written) if row is not None}
    if "PanelShiftsFile" in said & written:
        said |= {*PANEL_KEYS}
    if {"SpaceGroup", "LatticeConstant"} <= said:
        said.add("Calibrant")
    last = {line.key: i for i, line in enumerate(source.lines)}
    pairs: list[tuple[str, object]] = []
    for i, line in enumerate(source.lines):
        row = find_key(line.spelling)
        if not line.known or row is None or row.name in said or not (row.repeatable or last[line.key] == i):
            continue
        value: tuple[Value, ...] = line.values
        if row.name in _PATH_KEYS:
            value = (_lasting_path(source, row.name, folder),)
        pairs.append((row.name, value))
    return pairs


def _lasting_path(source: Parameters, key: str, folder: Path) -> str:
    """Return the file that a key names as an absolute path; a name of nothing that is there stays as it is."""
    found = source.file(key)
    assert found is not None
    if not found.exists():
        return str(found)
    return _named_from(folder / FILE_NAME, key, found)


def _named_from(parameters: Path, key: str, file: Path) -> str:
    """Return how a parameter file names another file: absolute, or where that cannot be written as seen from it."""
    path = str(file.resolve())
    if not _survives(key, path):
        path = os.path.relpath(path, parameters.parent.resolve())
    if not _survives(key, path):
        raise InputError(
            f"{key}: the file {path} cannot be named in a parameter file, where # begins a comment; rename its folder"
        )
    return path


def _survives(key: str, path: str) -> bool:
    return parse_params(f"{key} {path}").get(key) == path


def _words(value: object) -> str:
    values = value if isinstance(value, tuple) else (value,)
    return " ".join(format_value(v) for v in values)
