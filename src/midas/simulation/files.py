"""Simulated images as files, with their truth beside them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from midas.crystal import Calibrant
from midas.errors import InputError
from midas.io.atomic import atomic_path
from midas.simulation.render import Simulation
from midas.version import version


def save_simulation(simulation: Simulation, path: str | Path) -> tuple[Path, Path]:
    """Write the image by its extension and `<path>.truth.json` beside it; return both paths.

    `.tif`/`.tiff` (float64 becomes float32, which other programs can read), `.npy`, or `.h5`/`.hdf5` (image at
    `exchange/data`, shape (1, n_z, n_y)). Each file is written beside its place and renamed, so a reader never sees
    half of one.

    Raises
    ------
    InputError
        The extension is unknown.
    OutputError
        A file cannot be written.
    """
    path = Path(path)
    write = check_target(path)
    truth = path.with_name(path.name + ".truth.json")
    with atomic_path(path) as part:
        write(part, simulation.image)
    with atomic_path(truth) as part:
        part.write_text(json.dumps(truth_of(simulation), indent=2) + "\n", encoding="utf-8")
    return path, truth


def check_target(path: Path) -> Callable[[Path, npt.NDArray[Any]], object]:
    """Return the function that writes an image of this extension, or refuse the extension.

    Examples
    --------
    >>> check_target(Path("image.npy")).__name__
    '_write_npy'
    """
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        raise InputError(f"{path}: unknown extension {path.suffix!r}; expected {', '.join(_WRITERS)}")
    return writer


def truth_of(simulation: Simulation) -> dict[str, Any]:
    """Return what was simulated as plain data, ready for JSON: geometry, detector, calibrant, rings, options, seed."""
    g, found = simulation.geometry, simulation.rings
    geometry = {f.name: _plain(getattr(g, f.name)) for f in fields(g)}
    listed = {
        name: _plain(getattr(found, name))
        for name in ("number", "hkl", "multiplicity", "d_spacing", "two_theta", "intensity")
    }
    return {
        "program": f"midas {version()}",
        "geometry": geometry,
        "detector": {"shape": list(simulation.detector.shape), "pixel_size": simulation.detector.pixel_size},
        "calibrant": _plain(found.calibrant),
        "rings": listed,
        "options": _plain(simulation.options),
        "seed": simulation.seed,
        "n_masked": int(simulation.mask.sum()),
    }


def write_cif(path: Path, structure: Calibrant) -> Path:
    """Write a calibrant's structure as a CIF and return its path."""
    import gemmi

    small = gemmi.SmallStructure()
    small.name = structure.name
    small.cell = gemmi.UnitCell(*structure.cell)
    small.spacegroup_hm = str(structure.space_group)
    small.determine_and_set_spacegroup("H")
    for n, site in enumerate(structure.sites, start=1):
        atom = gemmi.SmallStructure.Site()
        atom.label = f"{site.element}{n}"
        atom.type_symbol = site.element
        atom.element = gemmi.Element(site.element)
        atom.fract = gemmi.Fractional(site.x, site.y, site.z)
        atom.occ = site.occupancy
        atom.u_iso = site.u_iso
        small.add_site(atom)
    with atomic_path(path) as temporary:
        small.make_cif_block().write_file(str(temporary))
    return path


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no infinity and no NaN
    return dict(value) if hasattr(value, "items") else value


def _write_tiff(path: Path, image: npt.NDArray[Any]) -> None:
    import tifffile

    tifffile.imwrite(path, image.astype(np.float32) if image.dtype == np.float64 else image)


def _write_npy(path: Path, image: npt.NDArray[Any]) -> None:
    with path.open("wb") as file:
        np.save(file, image)


def _write_hdf5(path: Path, image: npt.NDArray[Any]) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        file.create_dataset("exchange/data", data=image[None])


_WRITERS: dict[str, Callable[[Path, npt.NDArray[Any]], object]] = {
    ".tif": _write_tiff,
    ".tiff": _write_tiff,
    ".npy": _write_npy,
    ".h5": _write_hdf5,
    ".hdf5": _write_hdf5,
}
