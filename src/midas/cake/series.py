"""From an image file and a parameter file to a caked file."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from midas.cake.integrate import integrate
from midas.cake.options import IntegrationOptions
from midas.cake.result import Cake
from midas.detector import Detector
from midas.errors import InputError
from midas.io.frames import Frames, mean_frame, read_frames
from midas.io.gsas_zarr import SUFFIX, require_suffix
from midas.io.parameters import Parameters

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)

_INSTRUMENT_KEYS = {"Polariz": "Polariz", "SH_L": "SHpL", **{k: k for k in ("U", "V", "W", "X", "Y", "Z")}}
_IMAGE_SUFFIXES = (".MIDAS.zip", ".zarr.zip", ".nxs.h5")


@dataclass(frozen=True)
class SeriesFiles:
    """Where the pieces of an integration are on disk."""

    data: Path
    """Image file."""
    dark: Path | None = None
    """Dark image file; None takes the one that the parameters name (`Dark`), if any."""
    data_location: str | None = None
    """Dataset of the images inside an HDF5 or zarr file; None finds it."""
    dark_location: str | None = None
    """Dataset of the dark: in the file `dark`, or without one in `data` itself. None takes no dark from `data`."""


def integrate_file(
    files: SeriesFiles,
    parameters: Parameters,
    output: Path | str,
    *,
    n_threads: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Cake, Path]:
    """Cake an image file as its MIDAS parameters say, write a `.zarr.zip`, return the cake and the path written.

    Parameters
    ----------
    files
        The image file, the dark, and where they are inside.
    parameters
        Geometry, bins, masks, `SkipFrame`, `OmegaSumFrames`, `Normalize`, `SumImages`, `SaveIndividualFrames` and the
        instrument parameters.
    output
        A folder, in which the file is called `<name of the data>.zarr.zip`, or a name with that ending.
    n_threads
        0 uses all.
    progress
        Called with (frames done, frames in all).

    Raises
    ------
    InputError, FormatError
        A file cannot be read, a key is missing, or shapes disagree. No output is written then.
    """
    path = output_path(files.data, output)
    grid, geometry = parameters.grid, parameters.geometry
    with _open(files.data, files.data_location, parameters, parameters.skip_frames) as frames:
        detector = _detector(parameters, frames)
        dark, dark_frames = _read_dark(files, parameters)
        options = replace(_options(parameters, frames), dark_frames=dark_frames, progress=progress)
        cake = integrate(
            frames,
            geometry,
            grid,
            dark=dark,
            detector=detector,
            options=options,
            n_threads=n_threads,
        )
    sum_images = bool(int(_number(parameters, "SumImages")))
    return cake, cake.to_zarr(path, instrument=_instrument(parameters), sum_images=sum_images)


def output_path(data: Path, output: Path | str) -> Path:
    """Return where the cake of an image file goes: `output` itself, or `<name>.zarr.zip` in the folder `output`.

    Examples
    --------
    >>> output_path(Path("scan_000012.ge3"), "out").as_posix()
    'out/scan_000012.ge3.zarr.zip'
    >>> output_path(Path("scan.MIDAS.zip"), "a.zarr.zip").as_posix()
    'a.zarr.zip'
    """
    output = Path(output)
    if output.name.endswith(".zip"):
        return require_suffix(output)
    # A cake must never replace the image it was made from, nor that of scan.ge2 the one of scan.ge3.
    suffix = next((s for s in _IMAGE_SUFFIXES if data.name.endswith(s)), "")
    return output / f"{data.name.removesuffix(suffix)}{SUFFIX}"


def _open(path: Path, location: str | None, parameters: Parameters, skip_frames: int) -> Frames:
    return read_frames(
        path,
        data_location=location,
        skip_frames=skip_frames,
        image_transforms=parameters.image_transforms,
        head_size=parameters.head_size,
        frame_shape=parameters.frame_shape,
        data_type=int(_number(parameters, "DataType")) if "DataType" in parameters else 1,
    )


def _detector(parameters: Parameters, frames: Frames) -> Detector:
    """Return the detector of the parameters, or one of the frames' shape where they give none."""
    if parameters.shape is None:
        parameters = parameters.updated({"NrPixelsY": frames.shape[2], "NrPixelsZ": frames.shape[1]})
    return parameters.detector


def _read_dark(files: SeriesFiles, parameters: Parameters) -> tuple[np.ndarray | None, int]:
    """Return the mean of the dark frames and how many there are; (None, 1) where there is no dark."""
    path, location = files.dark or parameters.file("Dark"), files.dark_location
    if path is None:
        if location is None:
            return None, 1
        path = files.data
    with _open(path, location, parameters, 0) as frames:
        return (frames[0] if len(frames) == 1 else mean_frame(frames)), len(frames)


def _options(parameters: Parameters, frames: Frames) -> IntegrationOptions:
    start = parameters.omega_start
    step = parameters.omega_step
    if "OmegaStart" not in parameters:
        start = _from_metadata(frames, "omega_start", start)
    if "OmegaStep" not in parameters:
        step = _from_metadata(frames, "omega_step", step)
    return IntegrationOptions(
        frames_per_sum=parameters.frames_per_sum,
        omega_start=start,
        omega_step=step,
        first_frame_number=parameters.skip_frames,
        individual=bool(int(_number(parameters, "SaveIndividualFrames"))),
        normalize=bool(int(_number(parameters, "Normalize"))),
        bad_values=parameters.bad_values,
    )


def _from_metadata(frames: Frames, key: str, default: float) -> float:
    value = frames.metadata.get(key)
    return float(value) if isinstance(value, int | float) else default


def _instrument(parameters: Parameters) -> dict[str, float]:
    return {name: _number(parameters, key) for name, key in _INSTRUMENT_KEYS.items() if key in parameters}


def _number(parameters: Parameters, key: str) -> float:
    value = parameters.get(key)
    if not isinstance(value, int | float):
        raise InputError(f"{parameters.name}: {key} is {value!r}; expected a number")
    return float(value)
