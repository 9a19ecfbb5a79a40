"""From image files and a parameter file to caked files."""

from __future__ import annotations

import contextlib
import logging
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from midas.cake.build import build_map
from midas.cake.cake_file import WrittenCake, ZarrOptions, integrate_to_zarr
from midas.cake.map import CakeMap
from midas.cake.options import IntegrationOptions
from midas.cake.peaks import PeakOptions, fit_peaks
from midas.cake.result import Cake
from midas.detector import Detector
from midas.errors import InputError
from midas.io.atomic import output_folder
from midas.io.frames import Frames, mean_frame, read_frames
from midas.io.gsas_zarr import SUFFIX, require_suffix
from midas.io.parameters import Parameters
from midas.io.tree_formats import DARK_LOCATION

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)

_INSTRUMENT_KEYS = {"Polariz": "Polariz", "SH_L": "SHpL", **{k: k for k in ("U", "V", "W", "X", "Y", "Z")}}
PEAKS_SUFFIX = ".peaks.csv"
_SMOOTHING = 7  # bins of the filter that `DoSmoothing 1` asks for: a Gaussian 5 bins wide keeps 93 % of its height
_IMAGE_SUFFIXES = (".MIDAS.zip", ".zarr.zip", ".nxs.h5")


@dataclass(frozen=True)
class SeriesFiles:
    """Where the pieces of an integration are on disk.

    Examples
    --------
    >>> [p.name for p in SeriesFiles(Path("s_000009.ge3"), first_number=9, last_number=11).paths]
    ['s_000009.ge3', 's_000010.ge3', 's_000011.ge3']
    """

    data: Path
    """Image file, the first of the series or any other of it."""
    dark: Path | None = None
    """Dark image file; None takes the one that the parameters name (`Dark`), if any."""
    data_location: str | None = None
    """Dataset of the images inside an HDF5 or zarr file; None finds it."""
    dark_location: str | None = None
    """Dataset of the dark: in the file `dark`, or without one in the image file. None takes `exchange/dark` where the
    image file has it."""
    first_number: int | None = None
    """First running number of the series: the last group of digits in the name of `data`; None takes `data` alone."""
    last_number: int | None = None
    """Last running number; None takes `first_number` alone."""

    @property
    def paths(self) -> list[Path]:
        """Return the image files in order, each number padded as in `data`.

        Raises
        ------
        InputError
            The name has no number, or the last is before the first.
        """
        if self.first_number is None:
            if self.last_number is not None:
                raise InputError(f"the series ends at {self.last_number} but has no first number; give both")
            return [self.data]
        last = self.first_number if self.last_number is None else self.last_number
        if self.first_number < 0 or last < self.first_number:
            raise InputError(f"the series runs from {self.first_number} to {last}; expected ascending numbers from 0")
        suffixes = r"((?:\.[A-Za-z]+\d?)*)"  # whose digit is no running number: scan.h5
        name, suffix = re.split(suffixes + "$", self.data.name, maxsplit=1)[:2]
        found = re.fullmatch(r"(.*?)(\d+)", name)
        if found is None:
            raise InputError(f"{self.data}: the name has no running number; expected digits before the suffix")
        stem, digits = found.groups()
        return [self.data.with_name(f"{stem}{n:0{len(digits)}d}{suffix}") for n in range(self.first_number, last + 1)]


@dataclass(frozen=True, eq=False)
class CakedSeries:
    """What became of the files of a series."""

    written: tuple[Path, ...]
    """Caked files, in the order of the images."""
    skipped: tuple[Path, ...]
    """Caked files that were there already and were left alone."""
    last_file: WrittenCake | None
    """The last caked file written."""
    peaks: tuple[Path, ...] = ()
    """Tables of fitted peaks, in the order of `written`; empty without `DoPeakFit 1`."""

    @property
    def last(self) -> Cake | None:
        """The cake of the last file integrated, read from it each time: see `WrittenCake.read`."""
        return None if self.last_file is None else self.last_file.read()


def integrate_files(
    files: SeriesFiles,
    parameters: Parameters,
    output: Path | str,
    *,
    skip_existing: bool = False,
    n_threads: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> CakedSeries:
    """Cake image files as their MIDAS parameters say and write a `.zarr.zip` for each; the map is built once.

    Each sum of frames is written as it is there, in memory that does not grow with their number; only peaks are fitted
    to all sums at once.

    With `DoPeakFit 1` the peaks of every lineout are fitted (`midas.fit_peaks`) and written beside the cake, as
    `<name>.peaks.csv`: those at the radii of `PeakLocation`, or without it those found, with `MultiplePeaks 0` only the
    most prominent one of a lineout. `DoSmoothing 1` smooths for the search.

    Parameters
    ----------
    files
        The image files, the dark, and where they are inside.
    parameters
        Geometry, bins, masks, `SkipFrame`, `OmegaSumFrames`, `Normalize`, `SumImages`, `SaveIndividualFrames` and the
        instrument parameters, `DoPeakFit` and what goes with it.
    output
        A folder, in which each file is called `<name of the image>.zarr.zip`, or for one image a name with that ending.
    skip_existing
        True: images whose cake is there are left out.
    n_threads
        0 uses all.
    progress
        Called with (frames done, frames in all) for each file.

    Raises
    ------
    InputError, FormatError
        A file is missing or cannot be read, a key is missing, or shapes disagree. The cakes written before stay, none
        is half written.
    """
    paths, targets = _paths(files, output)
    _check_peaks(parameters)
    with contextlib.ExitStack() as folders:
        for folder in {target.parent for target in targets}:
            folders.enter_context(output_folder(folder))
        cake_map: CakeMap | None = None
        cake: WrittenCake | None = None
        stored = ZarrOptions(_instrument(parameters), sum_images=_flag(parameters, "SumImages"))
        skipped, peaks = [], []
        for path, target in zip(paths, targets, strict=True):
            if skip_existing and target.exists():
                skipped.append(target)
                continue
            with _open(path, files.data_location, parameters, parameters.skip_frames) as frames:
                if cake_map is None:
                    detector = _detector(parameters, frames)
                    cake_map = build_map(
                        parameters.geometry, detector, parameters.grid, transformed=True, n_threads=n_threads
                    )
                dark, dark_frames = _read_dark(files, path, frames, parameters)
                options = replace(_options(parameters, frames), dark_frames=dark_frames, progress=progress)
                cake = integrate_to_zarr(
                    frames, cake_map, target, stored=stored, dark=dark, options=options, n_threads=n_threads
                )
            _log.info("%s -> %s", path, target)
            if _flag(parameters, "DoPeakFit"):
                peaks.append(_write_peaks(cake.read(), parameters, target, n_threads))
    return CakedSeries(tuple(t for t in targets if t not in skipped), tuple(skipped), cake, tuple(peaks))


def integrate_file(
    files: SeriesFiles,
    parameters: Parameters,
    output: Path | str,
    *,
    n_threads: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Cake, Path]:
    """Cake one image file as `integrate_files` does; return the cake, read from the file, and the path written.

    Raises
    ------
    InputError, FormatError
        As `integrate_files`; also when `files` is a series of several.
    """
    if len(files.paths) != 1:
        raise InputError(
            f"{files.data} begins a series of {len(files.paths)} files; expected one, or use integrate_files"
        )
    done = integrate_files(files, parameters, output, n_threads=n_threads, progress=progress)
    assert done.last is not None
    return done.last, done.written[0]


def _paths(files: SeriesFiles, output: Path | str) -> tuple[list[Path], list[Path]]:
    """Return the image files, which exist, and where the cake of each goes."""
    paths = files.paths
    targets = [output_path(path, output) for path in paths]
    if len(set(targets)) < len(targets):
        raise InputError(f"{len(paths)} images would be written to the one file {output}; name a folder")
    for path in paths:
        if not path.exists():
            raise InputError(f"{path}: no such file; check the name, the folder and the file numbers")
    return paths, targets


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
        data_type=int(parameters.number("DataType")) if "DataType" in parameters else 1,
    )


def _detector(parameters: Parameters, frames: Frames) -> Detector:
    """Return the detector of the parameters, or one of the frames' shape where they give none."""
    if parameters.shape is None:
        parameters = parameters.updated({"NrPixelsY": frames.shape[2], "NrPixelsZ": frames.shape[1]})
    return parameters.detector


def _read_dark(files: SeriesFiles, data: Path, images: Frames, parameters: Parameters) -> tuple[np.ndarray | None, int]:
    """Return the mean of the dark frames and how many there are; (None, 1) where there is no dark."""
    path, location = files.dark or parameters.file("Dark"), files.dark_location
    if path is None and location is None:
        # Nobody asked for the dark inside the image file: it need not be there, but it must be read where it is.
        if not images.has_dark:
            return None, 1
        location = DARK_LOCATION
    with _open(path or data, location, parameters, 0) as frames:
        return (frames[0] if len(frames) == 1 else mean_frame(frames)), len(frames)


def _options(parameters: Parameters, frames: Frames) -> IntegrationOptions:
    start = parameters.omega_start
    step = parameters.omega_step
    if "OmegaStep" not in parameters:
        step = _from_metadata(frames, "omega_step", step)
    if "OmegaStart" not in parameters and "omega_start" in frames.metadata:
        # The file gives the omega of its first stored frame (SPEC section 4), the parameters that of the first used.
        start = _from_metadata(frames, "omega_start", start) + parameters.skip_frames * step
    return IntegrationOptions(
        frames_per_sum=parameters.frames_per_sum,
        omega_start=start,
        omega_step=step,
        first_frame_number=parameters.skip_frames,
        individual=_flag(parameters, "SaveIndividualFrames"),
        normalize=_flag(parameters, "Normalize"),
        bad_values=parameters.bad_values,
    )


def _from_metadata(frames: Frames, key: str, default: float) -> float:
    value = frames.metadata.get(key)
    return float(value) if isinstance(value, int | float) else default


def _instrument(parameters: Parameters) -> dict[str, float]:
    return {name: parameters.number(key) for name, key in _INSTRUMENT_KEYS.items() if key in parameters}


def _check_peaks(parameters: Parameters) -> None:
    """Refuse bins that peaks cannot be fitted in, or that a peak is outside of, before anything is caked."""
    if not _flag(parameters, "DoPeakFit"):
        return
    bins = parameters.bins
    low, high = bins.radius_min, bins.radius_max
    if parameters.grid.shape[0] < 2:
        raise InputError(
            f"{parameters.name}: DoPeakFit 1, but RMin {low:g} to RMax {high:g} px by RBinSize {bins.radius_step:g} is "
            "one bin; expected several a peak: make RBinSize smaller"
        )
    for radius in parameters.peak_locations:
        if not low <= radius <= high:
            raise InputError(
                f"{parameters.name}: PeakLocation {radius:g} px is outside of the bins, RMin {low:g} to RMax {high:g}; "
                "take it out or widen the bins"
            )


def _write_peaks(cake: Cake, parameters: Parameters, target: Path, n_threads: int) -> Path:
    """Fit the peaks that the parameters ask for and write them beside the cake."""
    positions = parameters.peak_locations
    options = PeakOptions(
        smoothing=_SMOOTHING if _flag(parameters, "DoSmoothing") else 0,
        n_peaks=None if _flag(parameters, "MultiplePeaks") else 1,
    )
    fits = fit_peaks(cake, positions or None, options=options, n_threads=n_threads)
    path = fits.to_csv(target.with_name(f"{target.name.removesuffix(SUFFIX)}{PEAKS_SUFFIX}"))
    _log.info("%d of %d peaks fitted -> %s", int(fits.converged.sum()), len(fits), path)
    return path


def _flag(parameters: Parameters, key: str) -> bool:
    return bool(int(parameters.number(key)))
