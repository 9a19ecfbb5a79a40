"""From image files and a parameter file to caked files, one after another or many at a time."""

from __future__ import annotations

import contextlib
import glob
import logging
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path

from midas import _core
from midas.cake.cake_file import WrittenCake
from midas.cake.dispatch import Counter as Tasks
from midas.cake.dispatch import Say, run_tasks
from midas.cake.exports import check_exports
from midas.cake.file_task import FileResult, FileTask, Setup, forget_maps, is_set, open_images
from midas.cake.header_values import with_header_values
from midas.cake.result import Cake
from midas.cake.scan import SCANS, is_one_scan, plan_tasks
from midas.checks import check_type, file_path, thread_count, whole_number, yes_or_no
from midas.ending import saying_what_is_kept
from midas.errors import InputError
from midas.io.atomic import keep_inputs, output_folder
from midas.io.dark import check_threshold, constant_dark
from midas.io.formats import FORMATS
from midas.io.gsas_zarr import SUFFIX, require_suffix
from midas.io.parameters import Parameters

_log = logging.getLogger(__name__)

_IMAGE_SUFFIXES = (".MIDAS.zip", ".zarr.zip", ".nxs.h5")
_DIGITS = re.compile(r"([0-9]+)")
_MASTER = "_master.h5"
_EIGER_DATA = re.compile(r"_data_[0-9]+\.h5$")
_FILES_A_THREAD = 4  # files for each thread from which on each thread takes a file of its own


@dataclass(frozen=True)
class SeriesFiles:
    """Where the pieces of an integration are on disk.

    Examples
    --------
    >>> [p.name for p in SeriesFiles(Path("s_000009.ge3"), first_number=9, last_number=11).paths]
    ['s_000009.ge3', 's_000010.ge3', 's_000011.ge3']
    """

    data: Path | Sequence[Path]
    """Image file, of a series the first or any other; a folder or a pattern (`scan_*.h5`) for all of its image files
    in the order of their names, numbers in them by value, data files beside their Eiger master left out; or a list of
    files."""
    dark: Path | None = None
    """Dark image file, or the counts of a dark that is the same for every pixel (`Path("100")`); None takes what the
    parameters name (`Dark`), if anything."""
    flat: Path | None = None
    """Flat field file, laid out as the images, 1 on average; None takes the one that the parameters name (`Flat`), if
    any."""
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
            The name has no number, the last is before the first, or there is no image file of that name or pattern.
        """
        if self.first_number is None:
            if self.last_number is not None:
                raise InputError(f"the series ends at {self.last_number} but has no first number; give both")
            return _files_of(self.data)
        if not isinstance(self.data, str | Path):
            raise InputError("numbers of a series were given with a list of files; give one or the other")
        data = Path(self.data)
        last = self.first_number if self.last_number is None else self.last_number
        if self.first_number < 0 or last < self.first_number:
            raise InputError(f"the series runs from {self.first_number} to {last}; expected ascending numbers from 0")
        suffixes = r"((?:\.[A-Za-z]+\d?)*)"  # whose digit is no running number: scan.h5
        name, suffix = re.split(suffixes + "$", data.name, maxsplit=1)[:2]
        found = re.fullmatch(r"(.*?)(\d+)", name)
        if found is None:
            raise InputError(f"{data}: the name has no running number; expected digits before the suffix")
        stem, digits = found.groups()
        return [data.with_name(f"{stem}{n:0{len(digits)}d}{suffix}") for n in range(self.first_number, last + 1)]


def _files_of(data: Path | str | Sequence[Path | str]) -> list[Path]:
    """Return the image files of a name, a folder, a pattern or a list."""
    if not isinstance(data, str | Path):
        expected = "the name of an image file, a folder or a pattern, or a list of files"
        if not isinstance(data, Sequence):
            raise InputError(f"data is {data!r}; expected {expected}")
        if not data:
            raise InputError("there is no file in the list; expected the names of one or more image files")
        return [file_path("a file of the list", path) for path in data]
    path = Path(data)
    if path.is_dir() and path.suffix.lower() != ".zarr":
        files = _in_order(p for p in path.iterdir() if _is_image(p))
        if not files:
            raise InputError(f"{path}: the folder holds no image file (of {', '.join(sorted(FORMATS)[:8])} ...)")
        return files
    if not path.exists() and glob.has_magic(str(path)):
        found = glob.glob(str(path))  # noqa: PTH207  a folder of the path may be a pattern, too
        files = _in_order(Path(name) for name in found if not name.endswith(SUFFIX))
        if not files:
            raise InputError(f"{path}: no file has a name like this; check the pattern and the folder")
        return files
    return [path]


def _in_order(files: Iterable[Path]) -> list[Path]:
    """Return files by name, s_9 before s_10, without those that are read through an Eiger master among them."""
    found = sorted(files, key=lambda path: [int(p) if k % 2 else p for k, p in enumerate(_DIGITS.split(str(path)))])
    masters = {path for path in found if path.name.endswith(_MASTER)}
    behind = {path for path in found if path.with_name(_EIGER_DATA.sub(_MASTER, path.name)) in masters} - masters
    if behind:
        _log.info("%d data files are read through the master files beside them", len(behind))
    return [path for path in found if path not in behind]


def _is_image(path: Path) -> bool:
    name = path.name.lower()
    return not name.startswith(".") and not name.endswith(SUFFIX) and name.endswith(tuple(FORMATS))


@dataclass(frozen=True, eq=False)
class CakedSeries:
    """What became of the files of a series."""

    files: tuple[FileResult, ...]
    """What became of each caked file, in the order of the images."""
    last_file: WrittenCake | None
    """The last caked file, where it was written."""

    @property
    def written(self) -> tuple[Path, ...]:
        """Caked files, in the order of the images."""
        return tuple(f.target for f in self.files if f.status == "written")

    @property
    def skipped(self) -> tuple[Path, ...]:
        """Caked files that were there already, made of the same in the same way, and were left alone."""
        return tuple(f.target for f in self.files if f.status == "skipped")

    @property
    def failed(self) -> tuple[FileResult, ...]:
        """What became of images that could not be caked, each with its `reason`."""
        return tuple(f for f in self.files if f.status == "failed")

    @property
    def also(self) -> tuple[Path, ...]:
        """Other files written beside: further forms of the cakes, tables of fitted peaks."""
        return tuple(path for f in self.files for path in f.also)

    @property
    def last(self) -> Cake | None:
        """The cake of the last file, read from it each time: see `WrittenCake.read`."""
        return None if self.last_file is None else self.last_file.read()


@dataclass(frozen=True)
class SeriesOptions:
    """How a series of files is caked, beside what its parameters say.

    Parameters
    ----------
    skip_existing
        True: caked files that are there, and say that they were made of the same images in the same way, are left
        alone; default False.
    scan
        "files": each file is a scan of its own. "one": all are one scan; sums go over the borders of files, and files
        that share a sum are caked into one, named for the first of them. "auto", the default: one scan where the files
        themselves say that omega goes on from one to the next. Sums end before a file that cannot be read.
    also
        Further forms of each cake: any of "nexus", "xye", "fxye", "csv", "mat"; default none.
    map_folder
        Where the map is kept for other runs and processes (`build_map`'s `cache`); default None, nowhere.
    threshold
        0 or more: the dark is subtracted first, and pixels less than that many counts above it become 0
        (`-preProcThresh`), as `midas convert` stores them; their errors are those of what is left. -1, the default: the
        dark is subtracted as it is.
    negative_counts
        True: negative values are counts, as in images whose dark is subtracted, and not marks of bad pixels; default
        False.
    n_threads
        Threads in all; default 0, which is all. Many files are caked side by side, one a thread.

    Raises
    ------
    InputError
        A name is unknown.
    """

    skip_existing: bool = False
    scan: str = "auto"
    also: tuple[str, ...] = ()
    map_folder: Path | None = None
    threshold: float = -1.0
    negative_counts: bool = False
    n_threads: int = 0

    def __post_init__(self) -> None:
        """Check names and numbers."""
        if self.scan not in SCANS:
            raise InputError(f"scan is {self.scan!r}; expected one of {', '.join(SCANS)}")
        object.__setattr__(self, "also", check_exports(self.also))
        yes_or_no("skip_existing", self.skip_existing)
        yes_or_no("negative_counts", self.negative_counts)
        check_threshold(self.threshold)
        thread_count(self.n_threads)
        if self.map_folder is not None:
            file_path("map_folder", self.map_folder, "the name of a folder, or None")


def integrate_files(
    files: SeriesFiles,
    parameters: Parameters,
    output: Path | str,
    *,
    options: SeriesOptions | None = None,
    executor: Executor | None = None,
    n_workers: int = 0,
    progress: Say | None = None,
) -> CakedSeries:
    """Cake image files as their MIDAS parameters say and write a `.zarr.zip` for each.

    A file that cannot be read or used is reported in the result and in the log, and does not keep the others from being
    caked. Each caked file takes its place when it is whole: a run that is killed leaves nothing wrong, and
    `skip_existing` takes it up again.

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
        A folder, in which each file is called `<name of the image>.zarr.zip`, or a name with that ending: one file for
        all images.
    options
        `SeriesOptions`; None takes the defaults.
    executor
        Does the files in other processes, each with one thread and a map of its own, which it builds once: a pool of
        spawned processes, dask's `Client.get_executor()`, or any other of `concurrent.futures`. The results are the
        same to the byte. None: threads of this process, which share the map.
    n_workers
        How many files the executor does at a time; 0 is for as many as this machine has threads.
    progress
        Called with (done, in all, what): frames of a single file, else files.

    Raises
    ------
    InputError, FormatError
        Of one file only: it cannot be read or used. Of any: a file is missing, parameters or options cannot be used.
    OutputError
        The results cannot be written; the cakes written before stay.
    ClusterError
        The executor is that of a cluster which is gone; the cakes written before stay.
    """
    options = SeriesOptions() if options is None else options
    check_type("files", files, SeriesFiles, call="SeriesFiles('scan_000001.h5')")
    check_type("parameters", parameters, Parameters, call="made by midas.read_params")
    check_type("options", options, SeriesOptions, call="SeriesOptions(skip_existing=True)")
    if executor is not None:
        check_type("executor", executor, Executor, call="such as concurrent.futures.ProcessPoolExecutor")
    n_workers = whole_number("n_workers", n_workers)
    if n_workers < 0:
        raise InputError(f"n_workers is {n_workers}; expected a number of files at a time, or 0 for one a thread")
    paths = files.paths
    files = replace(files, dark=files.dark or parameters.file("Dark"), flat=files.flat or parameters.file("Flat"))
    parameters = with_header_values(parameters, paths, location=files.data_location)
    map_folder = options.map_folder
    if executor is not None:
        (files, parameters), output = _absolute(files, parameters), Path(output).absolute()
        map_folder = None if map_folder is None else Path(map_folder).absolute()
    tasks = _tasks(files.paths, files, parameters, output, options)
    threads = options.n_threads or _core.max_threads()
    side_by_side = executor is not None or len(tasks) >= _FILES_A_THREAD * threads
    setup = Setup(
        parameters=parameters,
        dark=files.dark,
        flat=files.flat,
        threshold=options.threshold,
        negative_counts=options.negative_counts,
        data_location=files.data_location,
        dark_location=files.dark_location,
        skip_existing=options.skip_existing,
        exports=options.also,
        map_folder=map_folder,
        n_threads=1 if side_by_side else threads,
    )
    results: list[FileResult] = []
    last: WrittenCake | None = None
    with contextlib.ExitStack() as folders:
        folders.callback(forget_maps)
        for folder in {task.target.parent for task in tasks}:
            folders.enter_context(output_folder(folder))
        workers = (n_workers or threads) if side_by_side else 1
        counter = Tasks(len(tasks), progress)
        folders.enter_context(saying_what_is_kept(lambda: counter.n_done, len(tasks), "files", output))
        for result in run_tasks(setup, tasks, counter=counter, executor=executor, n_workers=workers):
            results.append(result)
            last = result.cake or last
            if result.error is not None:
                if len(tasks) == 1:
                    raise result.error
                _log.error("%s", result.reason)
    return CakedSeries(tuple(results), last)


def _absolute(files: SeriesFiles, parameters: Parameters) -> tuple[SeriesFiles, Parameters]:
    """Return the same by names that are right in whichever folder a process runs."""

    def absolute(path: Path | None) -> Path | None:
        return None if path is None else Path(path).absolute()

    images = [path.absolute() for path in files.paths]
    files = replace(files, data=images, first_number=None, last_number=None, flat=absolute(files.flat))
    if files.dark is not None and constant_dark(files.dark) is None:
        files = replace(files, dark=absolute(files.dark))
    return files, replace(parameters, path=absolute(parameters.path))


def integrate_file(
    files: SeriesFiles, parameters: Parameters, output: Path | str, *, n_threads: int = 0, progress: Say | None = None
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
    done = integrate_files(files, parameters, output, options=SeriesOptions(n_threads=n_threads), progress=progress)
    assert done.last is not None
    return done.last, done.written[0]


def _tasks(
    paths: list[Path], files: SeriesFiles, parameters: Parameters, output: Path | str, options: SeriesOptions
) -> list[FileTask]:
    """Return what is to be made, once all that does not depend on single files is known to be usable."""
    missing = [path for path in paths if not path.exists()]
    if len(missing) == len(paths):
        raise InputError(f"{missing[0]}: no such file; check the name, the folder and the file numbers")
    _ = parameters.geometry, parameters.grid
    _check_peaks(parameters)
    dark, flat = files.dark, files.flat
    unskipped = parameters.updated({"SkipFrame": 0})
    if dark is not None and constant_dark(dark) is None:
        open_images(dark, files.dark_location, unskipped).close()
    if flat is not None:
        open_images(flat, None, unskipped).close()
    tasks = _planned(paths, files, parameters, output, options)
    used = [path for path in (dark, flat) if path is not None]
    keep_inputs((task.target for task in tasks), (*paths, *used))
    return tasks


def _planned(
    paths: list[Path], files: SeriesFiles, parameters: Parameters, output: Path | str, options: SeriesOptions
) -> list[FileTask]:
    """Return the tasks, each with a target of its own."""
    location = files.data_location
    if Path(output).name.endswith(".zip"):
        one_scan = is_one_scan(paths, parameters, location=location, scan=options.scan)
        return [FileTask(tuple(paths), require_suffix(output), one_scan, keeps_cake=True)]
    tasks = plan_tasks(paths, lambda path: output_path(path, output), parameters, location=location, scan=options.scan)
    twice, times = Counter(task.target for task in tasks).most_common(1)[0]
    if times > 1:
        raise InputError(f"{times} images would be written to the one file {twice}; cake them into several folders")
    return [*tasks[:-1], replace(tasks[-1], keeps_cake=True)]


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


def _check_peaks(parameters: Parameters) -> None:
    """Refuse bins that peaks cannot be fitted in, or that a peak is outside of, before anything is caked."""
    if not is_set(parameters, "DoPeakFit"):
        return
    bins = parameters.bins
    low, high = bins.radius_min, bins.radius_max
    if bins.shape[0] < 2:
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
