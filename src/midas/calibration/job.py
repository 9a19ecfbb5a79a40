"""A calibration from files to files, as the command line and the pipeline run it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from midas.calibration.calibrate import Progress, calibrate
from midas.calibration.files import log_to, save
from midas.calibration.options import CalibrationParams, calibration_values, params_from
from midas.calibration.result import Calibration
from midas.crystal import calibrant, calibrant_from_cif
from midas.errors import InputError
from midas.io.atomic import output_folder
from midas.io.frames import read_frames, read_image, read_mask
from midas.io.parameters import MASK_KEYS, Parameters, read_params

_SUFFIXES = {0: (".zip", ".zarr"), 1: (".h5", ".hdf5", ".hdf", ".nxs"), 2: (".ge",), 3: (".tif", ".tiff")}


@dataclass(frozen=True)
class CalibrationJob:
    """Files and settings of one calibration."""

    image: str
    """Image of the calibrant."""
    out: Path
    """Folder for the results; made when it is missing."""
    params: str = ""
    """MIDAS parameter file; empty for none."""
    dark: str = ""
    """Dark image; empty for none."""
    mask: str = ""
    """Mask image, 0 = use; empty for none."""
    data_location: str | None = None
    """Dataset inside an HDF5 or zarr file."""
    file_format: int | None = None
    """`-ConvertFile`: checked against the file's name."""
    threshold: float = 0.0
    """`-Threshold`: only 0 (automatic) is available."""
    save_hdf5: str = ""
    """`-SavePlotsHDF`: HDF5 file for all intermediate arrays; empty for none."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What the flags say; None where a flag was not given. They win over the parameter file."""


def run_job(
    job: CalibrationJob, *, n_threads: int = 0, progress: Progress | None = None
) -> tuple[Calibration, list[Path]]:
    """Read, calibrate, write: return the calibration and the files written.

    Raises
    ------
    MidasError
        The input is unusable; nothing is left behind.
    """
    _check(job)
    source = read_params(job.params) if job.params else None
    params = _params(job, source)
    image = _read(job.image, source, job.data_location, skip=True)
    dark = _dark(job, source)
    mask = _mask(job, source)
    log = job.out / "autocal.log"
    with output_folder(job.out), log_to(log):
        calibration = calibrate(image, params, mask=mask, dark=dark, n_threads=n_threads, progress=progress)
        written = save(calibration, job.out, source, Path(job.image).name)
        if job.save_hdf5:
            written.append(calibration.save_intermediates(job.save_hdf5))
    return calibration, [*written, log]


def _read(path: str | Path, source: Parameters | None, location: str | None, *, skip: bool) -> npt.NDArray[Any]:
    """Return the mean of a file's frames, read as the parameter file says; `SkipFrame` is for stacks alone."""
    options: dict[str, Any] = {"data_location": location}
    skipped = 0
    if source is not None:
        options |= {"head_size": source.head_size, "frame_shape": source.frame_shape}
        if "DataType" in source:
            options["data_type"] = source.get("DataType")
        skipped = source.skip_frames if skip else 0
    with read_frames(path, **options) as frames:
        several = len(frames) > skipped
    return read_image(path, skip_frames=skipped if several else 0, **options)


def _dark(job: CalibrationJob, source: Parameters | None) -> npt.NDArray[Any] | None:
    path = job.dark or (source.file("Dark") if source is not None else None)
    return _read(path, source, None, skip=False) if path else None


def _mask(job: CalibrationJob, source: Parameters | None) -> npt.NDArray[np.bool_] | None:
    """Return the union of the masks that the flag and the parameter file name, in the layout of the raw image."""
    files = [job.mask] if job.mask else []
    if source is not None:
        files += [str(file) for key in MASK_KEYS if (file := source.file(key)) is not None]
    masks = [read_mask(file) for file in files]
    for name, mask in zip(files, masks, strict=True):
        if mask.shape != masks[0].shape:
            raise InputError(f"{name}: the mask has shape {mask.shape}; expected {masks[0].shape} as of {files[0]}")
    return np.any(masks, axis=0) if masks else None


def _check(job: CalibrationJob) -> None:
    if not job.image:
        raise InputError("no image is given; name it: midas calibrate IMAGE, or -dataFN IMAGE")
    if job.file_format is not None:
        expected = _SUFFIXES[job.file_format]
        if not any(suffix.startswith(expected) for suffix in [Path(job.image).suffix.lower()]):
            raise InputError(
                f"-ConvertFile {job.file_format} expects {' or '.join(expected)} but the image is "
                f"{Path(job.image).name}; "
                "leave -ConvertFile out to find the format from the file"
            )
    if job.save_hdf5 and not (Path(job.save_hdf5).parent.is_dir() or Path(job.save_hdf5).parent == job.out):
        raise InputError(f"-SavePlotsHDF {job.save_hdf5}: its folder does not exist; create it or name another")
    if job.threshold != 0.0:
        raise InputError(f"-Threshold is {job.threshold:g}; only 0 (automatic) is available, leave it out")


def _params(job: CalibrationJob, source: Parameters | None) -> CalibrationParams:
    given = {k: v for k, v in job.settings.items() if v is not None}
    values = {} if source is None else calibration_values(source)
    sentinels = [given.pop(k) for k in ("bad_value", "gap_value") if k in given]
    if sentinels:
        given["sentinels"] = tuple(sentinels)
    if "wavelength" in given or "energy" in given:
        values.pop("wavelength", None)
    values.update(given)
    name = values.get("calibrant")
    if isinstance(name, str):
        values["calibrant"] = calibrant_from_cif(name) if name.lower().endswith(".cif") else calibrant(name)
    return params_from(values) if source is None else params_from(values, file=source.name)
