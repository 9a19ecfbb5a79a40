"""A calibration from files to files, as the command line and the pipeline run it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from midas.calibration.calibrate import Progress, calibrate, calibrate_one
from midas.calibration.files import MASK_NAME, save
from midas.calibration.options import CalibrationParams, calibration_values, params_from
from midas.calibration.pictures import hire_artist
from midas.calibration.result import Calibration
from midas.calibration.source import CalibrantFile, read_calibrant_file
from midas.errors import InputError
from midas.io.atomic import output_folder
from midas.io.dark import constant_dark
from midas.io.exchange import check_suffix, write_geometry
from midas.io.frames import read_image, read_mask
from midas.io.log_file import log_to
from midas.io.parameter_text import new_line
from midas.io.parameters import MASK_KEYS, Parameters, read_params
from midas.io.tree_formats import HDF5_SUFFIXES, ZARR_SUFFIXES

if TYPE_CHECKING:
    from midas.calibration.joint_result import JointCalibration

_SUFFIXES = {0: ZARR_SUFFIXES, 1: HDF5_SUFFIXES, 2: (".ge",), 3: (".tif", ".tiff")}


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
    save_hdf5: str = ""
    """`-SavePlotsHDF`: HDF5 file for all intermediate arrays; empty for none."""
    export: tuple[str, ...] = ()
    """Files for `export` to write the geometry to, in the format of their suffix (`midas.write_geometry`)."""
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
    log = job.out / "autocal.log"
    with hire_artist(n_threads) as artist:
        source = read_params(job.params) if job.params else None
        held = read_calibrant_file(job.image, **_reading(source, job.data_location))
        params = _params(job, source, held)
        dark = _dark(job, source, held.image.shape)
        dark = held.dark if dark is None else dark
        mask = _mask(job, source, held.mask)
        with output_folder(job.out), log_to(log):
            calibration = calibrate(held.image, params, mask=mask, dark=dark, n_threads=n_threads, progress=progress)
            written = save(calibration, job.out, source, Path(job.image).name, artist)
            if job.save_hdf5:
                written.append(calibration.save_intermediates(job.save_hdf5))
    return calibration, [*written, log]


def export(job: CalibrationJob, calibration: Calibration) -> list[Path]:
    """Write the files of `job.export` and return them; apart from the rest, as a format may not hold the geometry.

    Raises
    ------
    MidasError
        A format cannot hold the geometry, or a file cannot be written.
    """
    return [f for path in job.export for f in write_geometry(path, calibration.geometry, calibration.detector)]


def run_joint_job(
    job: CalibrationJob, images: Sequence[str], *, n_threads: int = 0, progress: Progress | None = None
) -> tuple[JointCalibration, list[Path]]:
    """Read several images, calibrate them together, write: return the calibration and the files written.

    Each image has the settings, parameter file, dark and mask of `job`, whose own `image` is not looked at.

    Raises
    ------
    MidasError
        The input is unusable; nothing is left behind.
    """
    from midas.calibration.joint import calibrate_jointly, joint_job
    from midas.calibration.joint_files import save as save_jointly

    if job.export:
        raise InputError("--export takes the geometry of one image; calibrate it alone, or use midas.write_geometry")
    if job.save_hdf5:
        raise InputError("-SavePlotsHDF takes the arrays of one image; calibrate it alone")
    jobs = [replace(job, image=image) for image in images]
    for one in jobs:
        _check(one)
    source = read_params(job.params) if job.params else None
    held = [read_calibrant_file(image, **_reading(source, job.data_location)) for image in images]
    darks = [_dark(job, source, h.image.shape) for h in held]
    together = joint_job(
        [h.image for h in held],
        [_params(one, source, h) for one, h in zip(jobs, held, strict=True)],
        mask=[_mask(one, source, h.mask) for one, h in zip(jobs, held, strict=True)],
        dark=[h.dark if dark is None else dark for h, dark in zip(held, darks, strict=True)],
        names=[Path(image).stem for image in images],
    )
    log = job.out / "autocal.log"
    with hire_artist(n_threads) as artist, output_folder(job.out), log_to(log):
        joint = calibrate_jointly(together, calibrate_one, n_threads=n_threads, progress=progress)
        written = save_jointly(joint, job.out, [source] * len(images), artist)
    return joint, [*written, log]


def _reading(source: Parameters | None, location: str | None) -> dict[str, Any]:
    """Return the options of `read_frames` that the parameter file gives."""
    options: dict[str, Any] = {"data_location": location}
    if source is not None:
        options |= {"head_size": source.head_size, "frame_shape": source.frame_shape, "skip_frames": source.skip_frames}
        if "DataType" in source:
            options["data_type"] = source.get("DataType")
    return options


def _dark(job: CalibrationJob, source: Parameters | None, shape: tuple[int, ...]) -> npt.NDArray[Any] | None:
    path = job.dark or (source.file("Dark") if source is not None else None)
    if not path:
        return None
    counts = constant_dark(path)
    if counts is not None:
        return np.full(shape, counts)
    return read_image(path, **(_reading(source, None) | {"skip_frames": 0}))


def _mask(
    job: CalibrationJob, source: Parameters | None, held: npt.NDArray[np.bool_] | None
) -> npt.NDArray[np.bool_] | None:
    """Return the union of the masks that flag, parameter file and image file give, in the layout of the raw image."""
    files = [job.mask] if job.mask else []
    if source is not None:
        files += [str(file) for key in MASK_KEYS if (file := source.file(key)) is not None]
    masks = [read_mask(file) for file in files]
    if held is not None:
        files, masks = [*files, job.image], [*masks, held]
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
    new_line("MaskFile", (str(job.out.absolute() / MASK_NAME),))  # refused at once, not when all is done
    for flag, name in (("-SavePlotsHDF", job.save_hdf5), *(("--export", name) for name in job.export)):
        if name and not (Path(name).parent.is_dir() or Path(name).parent == job.out):
            raise InputError(f"{flag} {name}: its folder does not exist; create it or name another")
    for name in job.export:
        check_suffix(name)


def _params(job: CalibrationJob, source: Parameters | None, held: CalibrantFile) -> CalibrationParams:
    """Return the parameters: flags win over the parameter file, which wins over what the image file says."""
    given = {k: v for k, v in job.settings.items() if v is not None}
    values = {} if source is None else calibration_values(source)
    sentinels = [given.pop(k) for k in ("bad_value", "gap_value") if k in given]
    if sentinels:
        given["sentinels"] = tuple(sentinels)
    if "wavelength" in given or "energy" in given:
        values.pop("wavelength", None)
    values.update(given)
    named = {} if source is None else {"file": source.name}
    return params_from(values, hints=held.hints, shape=held.image.shape[:2], **named)
