"""The arrays behind a calibration in one HDF5 file (`-SavePlotsHDF`).

Tree: docs/files.md. Images have shape (n_z, n_y) in the layout of the image the geometry describes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from midas.calibration.signal import ring_signal
from midas.calibration.tables import point_columns
from midas.geometry import FloatArray
from midas.io.atomic import atomic_path
from midas.io.parameter_text import geometry_pairs

if TYPE_CHECKING:
    from midas.calibration.result import Calibration

_SIGNIFICANT = 3.0  # standard deviations over the background
_CHUNK = 256  # edge of the chunks of an image [px]


def write_intermediates(path: Path, calibration: Calibration) -> Path:
    """Write the image, its background and rings, the strains of every iteration and all points; return the path.

    Strains of rings are means of |strain|; a ring whose mean exceeds `threshold` was left out. `parameters` holds the
    refined values as attributes, by their names in parameter files.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    import h5py

    counts = calibration.image.counts
    background, over = _background(calibration)
    columns = point_columns(calibration)
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        _image(file, "raw_image_data/raw_image", counts)
        _image(file, "background_data/background", background)
        _image(file, "threshold_data/threshold", over)
        overlay = file.create_group("ring_overlay_data")
        overlay["threshold"] = h5py.SoftLink("/threshold_data/threshold")
        overlay["beam_center"] = np.array(calibration.geometry.beam_center)
        overlay["ring_radii"] = calibration.geometry.radius_of(calibration.rings.two_theta)
        overlay["beam_center"].attrs["units"] = overlay["ring_radii"].attrs["units"] = "px"
        for iteration in calibration.history:
            group = file.create_group(f"strain_tth_data_iter{iteration.number}")
            group.attrs["iteration"] = iteration.number
            group["two_theta"] = np.array(iteration.ring_two_theta, dtype=np.float64)
            group["mean_strain"] = np.array(iteration.ring_strain, dtype=np.float64)
            group["threshold"] = np.array([iteration.ring_threshold])
        _final_strain(file.create_group("final_strain_data"), calibration, columns)
        results = file.create_group("results_data")
        for name, values in columns.items():
            results[name] = values
        _parameters(file.create_group("parameters").attrs, calibration)
    return path


def _image(file: Any, name: str, image: npt.NDArray[np.generic]) -> None:
    chunks = tuple(min(_CHUNK, n) for n in image.shape)
    file.create_dataset(name, data=image, chunks=chunks, compression="gzip", compression_opts=1, shuffle=True)


def _background(calibration: Calibration) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return the background, and the counts over it where the rings of the first guess stand out (0 elsewhere)."""
    signal = ring_signal(calibration.image, threshold=calibration.params.threshold)
    counts = calibration.image.counts
    background = _enlarged(signal.background, signal.binning, counts.shape)
    stands_out = _enlarged(signal.signal, signal.binning, counts.shape) > _SIGNIFICANT
    over = np.where(stands_out, np.maximum(counts - background, 0.0), 0.0).astype(np.float32)
    return background, over


def _enlarged(cells: npt.NDArray[np.float32], binning: int, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Return an image in which each cell fills its pixels; the last cells reach to the edge."""
    rows, columns = (np.minimum(np.arange(n) // binning, m - 1) for n, m in zip(shape, cells.shape, strict=True))
    return np.asarray(cells[rows[:, None], columns[None, :]], dtype=np.float32)


def _final_strain(group: Any, calibration: Calibration, columns: dict[str, FloatArray]) -> None:
    two_theta, index = np.unique(columns["Ideal2Theta"], return_inverse=True)
    total = np.bincount(index.ravel(), weights=np.abs(columns["Strain"]))
    group["results_tth"], group["results_strain"] = columns["Ideal2Theta"], columns["Strain"]
    group["unique_tth"], group["mean_strain_per_ring"] = two_theta, total / np.bincount(index.ravel())
    group["threshold"] = np.array([i.ring_threshold for i in calibration.history[-1:]])


def _parameters(attributes: Any, calibration: Calibration) -> None:
    for name, value in geometry_pairs(calibration.geometry):
        attributes[name] = value
    attributes["ImTransOpt"] = np.array(calibration.geometry.image_transforms, dtype=np.int64)
    attributes["MeanStrain"], attributes["StdStrain"] = calibration.mean_strain, calibration.std_strain
    attributes["Calibrant"], attributes["Verdict"] = calibration.calibrant, calibration.verdict
