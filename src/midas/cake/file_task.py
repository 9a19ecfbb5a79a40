"""One caked file: what it is made of, and making it. Runs in this process or in another, which then has its own map."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from midas.cake.build import build_map
from midas.cake.cake_file import WrittenCake, ZarrOptions, integrate_to_zarr
from midas.cake.corrections import Corrections
from midas.cake.exports import EXPORTS
from midas.cake.map import CakeMap
from midas.cake.options import IntegrationOptions
from midas.cake.peaks import PeakOptions, fit_peaks
from midas.cake.result import Cake
from midas.cake.sums import Segment
from midas.detector import Detector
from midas.errors import InputError, MidasError, OutputError
from midas.io.atomic import put_in_place
from midas.io.caked_zip import recorded_source, recorded_sums
from midas.io.convert import open_frames
from midas.io.dark import constant_dark, less_dark
from midas.io.frames import Frames, one_image
from midas.io.gsas_zarr import SUFFIX
from midas.io.parameters import MASK_KEYS, Parameters
from midas.io.tree_formats import DARK_LOCATION
from midas.version import version

_log = logging.getLogger(__name__)

_INSTRUMENT_KEYS = {"Polariz": "Polariz", "SH_L": "SHpL", **{k: k for k in ("U", "V", "W", "X", "Y", "Z")}}

PEAKS_SUFFIX = ".peaks.csv"
_EXACT = 1_000_000  # frames that a constant dark is as good as the mean of: it has no error
_SMOOTHING = 7  # bins of the filter that `DoSmoothing 1` asks for: a Gaussian 5 bins wide keeps 93 % of its height


@dataclass(frozen=True)
class FileTask:
    """Image files and the caked file that is made of them."""

    images: tuple[Path, ...]
    """One, or several whose frames follow one another."""
    target: Path
    """The `.zarr.zip`."""
    one_scan: bool = False
    """True: sums go over the borders of the images, and omega goes on from one to the next."""
    omega_start: float | None = None
    """Omega of the first frame used [deg], where the scan began in another file; None as parameters or file say."""
    keeps_cake: bool = False
    """True: the result has the way back to the cake."""


@dataclass(frozen=True, eq=False)
class FileResult:
    """What became of a task; `midas integrate` says it at the end."""

    images: tuple[Path, ...]
    """The image files."""
    target: Path
    """The `.zarr.zip`."""
    status: str
    """"written", "skipped" (it was there, made of the same in the same way) or "failed"."""
    n_frames: int = 0
    """Frames integrated."""
    error: Exception | None = None
    """Why it failed."""
    also: tuple[Path, ...] = ()
    """Other files written: further forms of the cake, peaks."""
    cake: WrittenCake | None = None
    """The way back to the cake, where the task asks for it."""

    @property
    def reason(self) -> str:
        """Why it failed, in one line; empty otherwise."""
        return "" if self.error is None else " ".join(str(self.error).split())


@dataclass(frozen=True)
class Setup:
    """All that the tasks of a run have in common; it travels with each, the map does not."""

    parameters: Parameters
    dark: Path | None = None
    """File or counts of the dark; None for that inside each image file, if any."""
    flat: Path | None = None
    threshold: float = -1.0
    negative_counts: bool = False
    data_location: str | None = None
    dark_location: str | None = None
    skip_existing: bool = False
    exports: tuple[str, ...] = ()
    """Names of `midas.cake.exports.EXPORTS`."""
    map_folder: Path | None = None
    """Where the map is kept for other runs and other processes; None: each process builds its own."""
    n_threads: int = 0
    """Threads of one task; 0 all."""

    @functools.cached_property
    def key(self) -> str:
        """SHA-256 of all in it that shapes results."""
        parameters = self.parameters
        named = [parameters.file(key) for key in (*MASK_KEYS, "PanelShiftsFile")]
        stamps = [stamp(path) for path in (self.dark, self.flat, *named) if path is not None]
        locations = [self.data_location, self.dark_location]
        parts = [version(), parameters.text(), stamps, self.threshold, self.negative_counts, *locations, self.exports]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


Progress = Callable[[int, int], None]
"""Called with (frames done, frames in all) of a task."""


def run_task(setup: Setup, task: FileTask, progress: Progress | None = None) -> FileResult:
    """Make a caked file and say what became of it; what is wrong with its images is a result, no error.

    Raises
    ------
    OutputError
        The folder cannot be written to, or the disk is full: the other tasks would fail, too.
    """
    try:
        return _worker(setup).make(task, progress)
    except OutputError:
        raise
    except MidasError as error:
        if not any(path.name in str(error) for path in task.images):
            error = type(error)(f"{named(task.images)}: {error}")
        return FileResult(task.images, task.target, "failed", error=error)
    except MemoryError:
        lack = InputError(f"{named(task.images)}: there is not enough memory for it; close other programs")
        return FileResult(task.images, task.target, "failed", error=lack)


class _Worker:
    """What a process keeps from one task to the next: the map, and the dark and the flat of files of their own."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._lock = threading.Lock()
        self._maps: dict[tuple[int, int], CakeMap] = {}
        self._dark: tuple[npt.NDArray[Any], int] | None = None
        self._flat: npt.NDArray[Any] | None = None

    def make(self, task: FileTask, progress: Progress | None) -> FileResult:
        """Return what became of a task. The cake takes its place last: until then nothing is done."""
        setup, parameters = self._setup, self._setup.parameters
        alone = not setup.exports and not is_set(parameters, "DoPeakFit")
        place = task.target if alone else _beside(task.target)
        with self._open(task) as frames:
            source = source_of(setup, task, frames.files)
            if setup.skip_existing and recorded_source(task.target) == source and self._has_others(task):
                return FileResult(task.images, task.target, "skipped")
            cake_map = self._map(frames)
            dark, dark_frames = self._dark_of(frames, task.images)
            options = options_of(parameters, frames, omega_start=task.omega_start)
            counts, dark = self._thresholded(frames, dark)
            written = integrate_to_zarr(
                counts,
                cake_map,
                place,
                stored=ZarrOptions(_instrument(parameters), sum_images=is_set(parameters, "SumImages"), source=source),
                dark=dark,
                flat=self._flat_field(),
                mask=frames.mask,
                options=replace(
                    options, dark_frames=dark_frames, negative_counts=setup.negative_counts, progress=progress
                ),
                segments=None if task.one_scan else segments_of(parameters, frames),
                n_threads=setup.n_threads,
            )
            n_frames = len(frames)
        beside: list[Path] = []
        if place != task.target:
            try:
                beside = self._write_others(written, task)
                put_in_place(place, task.target)
            except BaseException:
                place.unlink(missing_ok=True)
                raise
        _log.info("%s -> %s", named(task.images), task.target)
        cake = replace(written, path=task.target) if task.keeps_cake else None
        return FileResult(task.images, task.target, "written", n_frames, also=tuple(beside), cake=cake)

    def _write_others(self, written: WrittenCake, task: FileTask) -> list[Path]:
        """Write the other forms of a cake, and its peaks, beside where it will be; return their paths."""
        setup, cake, stem = self._setup, written.read(), _stem(task)
        paths = [path for name in setup.exports for path in EXPORTS[name].write(cake, stem)]
        if is_set(setup.parameters, "DoPeakFit"):
            paths.append(write_peaks(cake, setup.parameters, stem, setup.n_threads))
        return paths

    def _has_others(self, task: FileTask) -> bool:
        """Return whether the other forms of a cake that is there are there, too."""
        setup, stem = self._setup, _stem(task)
        wanted = [_peaks_path(stem)] if is_set(setup.parameters, "DoPeakFit") else []
        if setup.exports:
            numbers = recorded_sums(task.target)
            wanted += [path for name in setup.exports for path in EXPORTS[name].paths(stem, numbers)]
        return all(path.exists() for path in wanted)

    def _open(self, task: FileTask) -> Frames:
        images = task.images[0] if len(task.images) == 1 else task.images
        return open_images(images, self._setup.data_location, self._setup.parameters)

    def _map(self, frames: Frames) -> CakeMap:
        """Return the map for frames, built once for each shape."""
        shape = frames.shape[1:]
        with self._lock:
            if shape not in self._maps:
                parameters = self._setup.parameters
                self._maps[shape] = build_map(
                    parameters.geometry,
                    detector_of(parameters, frames),
                    parameters.bins,
                    transformed=True,
                    cache=self._setup.map_folder,
                    n_threads=self._setup.n_threads,
                )
            return self._maps[shape]

    def _thresholded(self, frames: Frames, dark: Any) -> tuple[Frames, Any]:
        """Return frames and the dark still to be subtracted: none where a threshold above it is asked for."""
        setup = self._setup
        if setup.threshold < 0.0:
            return frames, dark
        bad_values = setup.parameters.bad_values
        return less_dark(frames, dark, threshold=setup.threshold, bad_values=bad_values), None

    def _flat_field(self) -> npt.NDArray[Any] | None:
        if self._setup.flat is None:
            return None
        with self._lock:
            if self._flat is None:
                self._flat = _read_mean(self._setup.flat, None, self._setup.parameters)[0]
            return self._flat

    def _dark_of(self, frames: Frames, images: Sequence[Path]) -> tuple[npt.NDArray[Any] | None, int]:
        """Return the mean of the dark frames and how many; (None, 1) where there are none, or they are subtracted.

        Darks inside several image files are averaged, as sums may go over their borders.
        """
        setup = self._setup
        if frames.metadata.get("dark_subtracted"):
            return None, 1
        if setup.dark is not None:
            counts = constant_dark(setup.dark)
            if counts is not None:
                return np.full(frames.shape[1:], counts), _EXACT
            with self._lock:
                if self._dark is None:
                    self._dark = _read_mean(setup.dark, setup.dark_location, setup.parameters)
            return self._dark
        location = setup.dark_location
        if location is None:
            # Nobody asked for the dark inside the image file: it need not be there, but it must be read where it is.
            if not frames.has_dark:
                return None, 1
            location = DARK_LOCATION
        if len(images) == 1:
            return _read_mean(images[0], location, setup.parameters)
        _log.warning("%s: the mean of the darks inside them is subtracted from all", named(images))
        return _read_mean(images, location, setup.parameters)


_workers: dict[str, _Worker] = {}
_workers_lock = threading.Lock()


def _worker(setup: Setup) -> _Worker:
    """Return what this process has for a setup; that of another is let go."""
    key = f"{setup.key} {setup.skip_existing} {setup.map_folder} {setup.n_threads}"
    with _workers_lock:
        if key not in _workers:
            _workers.clear()
            _workers[key] = _Worker(setup)
        return _workers[key]


def forget_maps() -> None:
    """Let go of the maps that this process keeps for tasks to come."""
    with _workers_lock:
        _workers.clear()


def source_of(setup: Setup, task: FileTask, files: Sequence[Path]) -> str:
    """Return the SHA-256 of all that a caked file is made of: the setup, and name, size and time of each of `files`.

    These are the image files and all that they refer to, such as the data files of an Eiger master.
    """
    parts = [setup.key, [stamp(path) for path in files], task.one_scan, task.omega_start]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def open_images(path: Path | Sequence[Path], location: str | None, parameters: Parameters) -> Frames:
    """Return the frames of an image file, or of several one after another, skipped and transformed as parameters say.

    Raises
    ------
    InputError
        The file says that its frames want other image transforms than those of the parameters.
    """
    transforms = parameters.image_transforms
    frames = open_frames(
        path,
        parameters,
        data_location=location,
        skip_frames=parameters.skip_frames,
        image_transforms=transforms,
    )
    recorded = frames.metadata.get("recorded_transforms")
    if recorded is not None and recorded != transforms:
        frames.close()
        raise InputError(
            f"{frames.metadata['source']} was stored with ImTransOpt {recorded}, {parameters.name} has {transforms}; "
            "expected the same: take the parameters of its own calibration, or convert the images again"
        )
    return frames


def options_of(parameters: Parameters, frames: Frames, *, omega_start: float | None = None) -> IntegrationOptions:
    """Return how frames are integrated, by the parameters and, where they are silent, what the file says.

    `omega_start` [deg] overrides both.
    """
    start, step = _omegas(parameters, frames.metadata)
    return IntegrationOptions(
        frames_per_sum=parameters.frames_per_sum,
        omega_start=start if omega_start is None else omega_start,
        omega_step=step,
        first_frame_number=parameters.skip_frames,
        individual=is_set(parameters, "SaveIndividualFrames"),
        normalize=is_set(parameters, "Normalize"),
        bad_values=parameters.bad_values,
        corrections=corrections_of(parameters),
    )


def segments_of(parameters: Parameters, frames: Frames) -> list[Segment]:
    """Return the files of frames as scans of their own, each with the omegas that it says, or the parameters do."""
    omegas = frames.metadata.get("omegas_of_files")
    if not isinstance(omegas, tuple):
        return [Segment(n) for n in frames.segments]
    return [Segment(n, *_omegas(parameters, said)) for n, said in zip(frames.segments, omegas, strict=True)]


def _omegas(parameters: Parameters, said: Mapping[str, object]) -> tuple[float, float]:
    """Return omega of the first frame used and omega from frame to frame [deg], of a file that says these."""
    step, start = parameters.omega_step, parameters.omega_start
    if "OmegaStep" not in parameters:
        step = _number(said.get("omega_step"), step)
    if "OmegaStart" not in parameters and "omega_start" in said:
        # The file gives the omega of its first stored frame (docs/files.md), the parameters that of the first used.
        start = _number(said["omega_start"], start) + parameters.skip_frames * step
    return start, step


def corrections_of(parameters: Parameters) -> Corrections | None:
    """Return the corrections that parameters ask for; None where they ask for none."""
    polarized = is_set(parameters, "PolarizationCorrection")
    found = Corrections(
        solid_angle=is_set(parameters, "SolidAngleCorrection"),
        polarization=parameters.number("PolarizationFraction") if polarized else None,
        polarization_axis=parameters.number("PolarizationPlaneEtaDeg"),
    )
    return found if found.any else None


def detector_of(parameters: Parameters, frames: Frames) -> Detector:
    """Return the detector of the parameters, or one of the frames' shape where they give none."""
    if parameters.shape is None:
        parameters = parameters.updated({"NrPixelsY": frames.shape[2], "NrPixelsZ": frames.shape[1]})
    return parameters.detector


def _read_mean(
    path: Path | Sequence[Path], location: str | None, parameters: Parameters
) -> tuple[npt.NDArray[Any], int]:
    with open_images(path, location, parameters.updated({"SkipFrame": 0})) as frames:
        return one_image(frames), len(frames)


def is_set(parameters: Parameters, key: str) -> bool:
    """Return whether a parameter that is 0 or 1 is 1."""
    return bool(int(parameters.number(key)))


def write_peaks(cake: Cake, parameters: Parameters, stem: Path, n_threads: int) -> Path:
    """Fit the peaks that the parameters ask for to every lineout and write them to `<stem>.peaks.csv`."""
    positions = parameters.peak_locations
    options = PeakOptions(
        smoothing=_SMOOTHING if is_set(parameters, "DoSmoothing") else 0,
        n_peaks=None if is_set(parameters, "MultiplePeaks") else 1,
    )
    fits = fit_peaks(cake, positions or None, options=options, n_threads=n_threads)
    path = fits.to_csv(_peaks_path(stem))
    _log.info("%d of %d peaks fitted -> %s", int(fits.converged.sum()), len(fits), path)
    return path


def _stem(task: FileTask) -> Path:
    """Return the name of a cake without its suffix, which its other forms have in common."""
    return task.target.with_name(task.target.name.removesuffix(SUFFIX))


def _peaks_path(stem: Path) -> Path:
    return stem.with_name(stem.name + PEAKS_SUFFIX)


def _beside(target: Path) -> Path:
    """Return where a cake waits for its other forms; the same each time, so that one left behind is replaced."""
    place = target.resolve() if target.is_symlink() else target  # where it can be renamed to
    return place.with_name(f".unfinished-{target.name}")


def _instrument(parameters: Parameters) -> dict[str, float]:
    return {name: parameters.number(key) for name, key in _INSTRUMENT_KEYS.items() if key in parameters}


def _number(value: object, default: float) -> float:
    return float(value) if isinstance(value, int | float) else default


def stamp(path: Path) -> tuple[str, int, int]:
    """Return what tells one version of a file from another: name, size and time of the last change [ns]."""
    try:
        status = path.stat()
    except OSError:  # opening it will say why
        return path.name, -1, -1
    if path.is_dir():  # zarr: the folder's own time says little
        parts = [p.stat() for p in path.rglob("*") if p.is_file()]
        return path.name, sum(s.st_size for s in parts), max((s.st_mtime_ns for s in parts), default=0)
    return path.name, status.st_size, status.st_mtime_ns


def named(images: Sequence[Path]) -> str:
    """Return a name for image files."""
    return str(images[0]) if len(images) == 1 else f"{images[0]} to {images[-1].name}"
