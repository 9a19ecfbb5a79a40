"""Image files of any format written anew, as `<name>.MIDAS.zip` (docs/files.md) or HDF5, some frames at a time."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from midas.checks import thread_count, whole_number
from midas.errors import InputError, MidasError
from midas.io.archive import Archive, ImageStack, blocks, gather
from midas.io.atomic import atomic_path, keep_inputs, output_folder
from midas.io.dark import check_threshold, constant_dark, less_dark
from midas.io.frames import Frames, one_image, read_frames
from midas.io.image_source import Image
from midas.io.parameters import Parameters
from midas.io.tree_formats import BRIGHT_LOCATION, DARK_LOCATION
from midas.io.zarr_zip import ZarrZip

_log = logging.getLogger(__name__)

ZIP_SUFFIX = ".MIDAS.zip"
HDF5_SUFFIX = ".h5"
TARGETS = ("zip", "h5")

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ConvertOptions:
    """What a file is converted with.

    Raises
    ------
    InputError
        A number is out of its range.

    Examples
    --------
    >>> ConvertOptions(threshold=10).threshold
    10
    """

    parameters: Parameters | None = None
    """Stored beside the frames; say also what a GE file's frames are, the dark, masks and sentinels."""
    dark: Path | None = None
    """Dark image file, or the counts of a constant dark; None takes that of the parameters (`Dark`), if any."""
    data_location: str | None = None
    """Images inside an HDF5 or zarr file; None finds them."""
    dark_location: str | None = None
    """Dark inside a file: in `dark`, or without one in the image file; None takes `exchange/dark` where that has it."""
    threshold: float = -1.0
    """-1: the dark is stored beside the frames. 0 or more: it is subtracted, pixels less than that many counts above it
    become 0, and the dark stored is zero."""
    frames_per_block: int = -1
    """Frames in memory at a time; -1 goes by their size."""
    n_threads: int = 0
    """Threads that unpack and pack frames; 0 uses all. The file is the same."""

    def __post_init__(self) -> None:
        """Refuse numbers out of range."""
        check_threshold(self.threshold)
        n = whole_number("frames_per_block", self.frames_per_block)
        if n == 0 or n < -1:
            raise InputError(f"frames_per_block (-numFrameChunks) is {n}; expected -1 or a number of frames")
        thread_count(self.n_threads)


@dataclass(frozen=True)
class Conversion:
    """What became of files."""

    written: tuple[Path, ...]
    """Files written, in order."""
    failed: tuple[tuple[Path, str], ...] = ()
    """Files that could not be converted, and why."""
    n_frames: int = 0
    """Images written, darks not counted."""


def target_path(data: Path, folder: Path, to: str | None = None) -> Path:
    """Return where a file goes: `<name>.MIDAS.zip`, or `<name>.h5` of one of those, or with `to` "h5".

    The name keeps its suffix, so that scan.ge2 and scan.ge3 do not become one file.

    Examples
    --------
    >>> target_path(Path("s_000012.ge3"), Path("out")).as_posix()
    'out/s_000012.ge3.MIDAS.zip'
    >>> target_path(Path("s_000012.ge3.MIDAS.zip"), Path("out")).as_posix()
    'out/s_000012.ge3.h5'
    """
    if to not in (None, *TARGETS):
        raise InputError(f"the format to convert to is {to!r}; expected zip or h5")
    is_zip = data.name.lower().endswith(ZIP_SUFFIX.lower())
    name = data.name[: -len(ZIP_SUFFIX)] if is_zip else data.name
    suffix = HDF5_SUFFIX if to == "h5" or (to is None and is_zip) else ZIP_SUFFIX
    return folder / f"{name}{suffix}"


def convert_files(
    paths: Sequence[Path],
    targets: Sequence[Path],
    options: ConvertOptions | None = None,
    *,
    progress: Callable[[int, int, str], None] | None = None,
) -> Conversion:
    """Convert files one by one, each to a file of its own; a file that fails is recorded and the others go on.

    One file for each, not one for all: a scan's files stay what later steps call them by their numbers, `SkipFrame`
    counts from the start of each, and a run that is stopped has lost one file at most.

    Raises
    ------
    InputError
        Two files would be written to one name, or to a name of the input.
    OutputError
        A file cannot be written: the next one could not either.
    """
    options = options or ConvertOptions()
    _check_names(paths, targets)
    written: list[Path] = []
    failed: list[tuple[Path, str]] = []
    n_frames = 0
    with contextlib.ExitStack() as folders:
        for folder in dict.fromkeys(target.parent for target in targets):
            folders.enter_context(output_folder(folder))
        for path, target in zip(paths, targets, strict=True):
            count = None if progress is None else _named(progress, path.name)
            try:
                n_frames += convert_file(path, target, options, progress=count)
            except MidasError as error:
                if len(paths) == 1 or isinstance(error, OSError):
                    raise
                _log.warning("%s", error)
                failed.append((path, str(error)))
                continue
            _log.info("%s -> %s", path, target)
            written.append(target)
    return Conversion(tuple(written), tuple(failed), n_frames)


def convert_file(
    path: Path | str, target: Path | str, options: ConvertOptions | None = None, *, progress: Progress | None = None
) -> int:
    """Write the frames of a file, with its dark and mask and what is known of them, anew; return how many frames.

    No pixel changes: dtype and values are those of the file, and so is the order, skipped frames included; nothing is
    transformed. Only with a `threshold` the dark is subtracted. Frames are read and written some at a time.

    Parameters
    ----------
    path
        An image file of any format, `midas.read_frames`.
    target
        A name that ends in `.zip` (zarr format 2) or `.h5` (bitshuffle and LZ4); it appears whole or not at all.
    options
        `ConvertOptions`; None takes the defaults.
    progress
        Called with (images written, images in all).

    Raises
    ------
    InputError
        The dark or a mask has another shape than the frames, a dark is given for frames that have theirs subtracted, or
        the target has another suffix.
    FormatError
        A file cannot be read.
    OutputError
        The target cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     source, target = Path(folder) / "a.npy", Path(folder) / "a.MIDAS.zip"
    ...     np.save(source, np.ones((3, 4, 5), dtype=np.uint16))
    ...     convert_file(source, target), read_frames(target).shape
    (3, (3, 4, 5))
    """
    path, target, options = Path(path), Path(target), options or ConvertOptions()
    write = _writer_of(target)
    with contextlib.ExitStack() as opened:
        frames = opened.enter_context(open_frames(path, options.parameters, data_location=options.data_location))
        _check_transforms(frames, options.parameters)
        dark = _dark(path, frames, options)
        if dark is not None:
            opened.enter_context(dark)
            if dark.shape[1:] != frames.shape[1:]:
                raise InputError(
                    f"{dark.metadata['source']}: the dark has shape {dark.shape[1:]}; expected {frames.shape[1:]} as "
                    f"of the frames of {path}"
                )
        bright = None
        if frames.metadata.get("data_location") != BRIGHT_LOCATION and frames.has(BRIGHT_LOCATION):
            bright = opened.enter_context(read_frames(path, data_location=BRIGHT_LOCATION))
        images, threshold = _images(frames, dark, options)
        archive = gather(
            frames,
            images,
            None if threshold >= 0.0 else dark,
            bright=bright,
            parameters=options.parameters,
            threshold=threshold,
        )
        with atomic_path(target) as temporary:
            write(temporary, archive, options, _Counter(archive.n_frames, progress))
        return frames.shape[0]


def open_frames(
    path: Path | Sequence[Path],
    parameters: Parameters | None,
    *,
    data_location: str | None = None,
    skip_frames: int = 0,
    image_transforms: Sequence[int] = (),
) -> Frames:
    """Return the frames of a file, or of several one after another; parameters tell what a GE file does not."""
    if parameters is None:
        return read_frames(
            path, data_location=data_location, skip_frames=skip_frames, image_transforms=image_transforms
        )
    return read_frames(
        path,
        data_location=data_location,
        skip_frames=skip_frames,
        image_transforms=image_transforms,
        head_size=parameters.head_size,
        frame_shape=parameters.frame_shape,
        data_type=int(parameters.number("DataType")),
    )


def _images(frames: Frames, dark: Frames | None, options: ConvertOptions) -> tuple[ImageStack, float]:
    """Return the frames as they are stored, and the threshold above the dark that was subtracted, -1 without."""
    if options.threshold < 0.0:
        return frames, -1.0
    mean = None if dark is None else one_image(dark)
    bad_values = () if options.parameters is None else options.parameters.bad_values
    return less_dark(frames, mean, threshold=options.threshold, bad_values=bad_values), options.threshold


def _dark(path: Path, frames: Frames, options: ConvertOptions) -> Frames | None:
    """Open the dark of a file: the one given, that of the parameters, or the one inside."""
    file, location = options.dark, options.dark_location
    if frames.metadata.get("dark_subtracted"):
        if file is not None or location is not None:
            raise InputError(f"{path}: its frames are stored less their dark already; leave out -darkFN and -darkLoc")
        return None
    if file is None and options.parameters is not None:
        file = options.parameters.file("Dark")
    if file is None and location is None:
        if not frames.has_dark:
            return None
        location = DARK_LOCATION
    counts = None if file is None else constant_dark(file)
    if counts is not None:
        whole = counts.is_integer() and np.can_cast(np.min_scalar_type(int(counts)), frames.dtype)
        return Frames.from_array(np.full(frames.shape[1:], counts, frames.dtype if whole else np.float64))
    return open_frames(file or path, options.parameters, data_location=location)


def _check_transforms(frames: Frames, parameters: Parameters | None) -> None:
    recorded = frames.metadata.get("recorded_transforms")
    if parameters is None or recorded is None or recorded == parameters.image_transforms:
        return
    _log.warning(
        "%s was stored with ImTransOpt %s, %s has %s, which takes its place: make sure that the geometry belongs to it",
        frames.metadata["source"],
        recorded,
        parameters.name,
        parameters.image_transforms,
    )


def _check_names(paths: Sequence[Path], targets: Sequence[Path]) -> None:
    if len(set(targets)) < len(targets):
        raise InputError(f"{len(paths)} files would be written to {len(set(targets))} names; name a folder")
    if not any(path.exists() for path in paths):
        raise InputError(f"{paths[0]}: no such file; check the name, the folder and the file numbers")
    keep_inputs(targets, paths)


def _named(progress: Callable[[int, int, str], None], name: str) -> Progress:
    return lambda done, total: progress(done, total, name)


class _Counter:
    """Tells how many images went by."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._done, self._total, self._progress = 0, total, progress

    def each(self, stack: ImageStack, options: ConvertOptions) -> Iterator[Image]:
        """Yield a stack in blocks, and count."""
        for block in blocks(stack, options.frames_per_block, n_threads=options.n_threads):
            n = len(block)
            yield block
            del block  # before the next one is read
            self._done += n
            if self._progress is not None:
                self._progress(self._done, self._total)


_Write = Callable[[Path, Archive, ConvertOptions, _Counter], None]


def _writer_of(target: Path) -> _Write:
    name = target.name.lower()
    if name.endswith(".zarr.zip"):
        raise InputError(f"{target}: .zarr.zip is the name of a cake; expected {ZIP_SUFFIX} or {HDF5_SUFFIX}")
    for suffix, write in {".zip": _write_zip, ".h5": _write_hdf5, ".hdf5": _write_hdf5}.items():
        if name.endswith(suffix):
            return write
    raise InputError(f"{target}: cannot write that format; expected a name that ends in {ZIP_SUFFIX} or {HDF5_SUFFIX}")


def _write_zip(path: Path, archive: Archive, options: ConvertOptions, counter: _Counter) -> None:
    with ZarrZip(path) as file:
        for group in ("", *archive.groups):
            file.group(group)
        for name, values in archive.values.items():
            file.array_as_is(name, values)
        for name, stack in archive.images.items():
            file.stack(name, stack.shape, stack.dtype, counter.each(stack, options), n_threads=options.n_threads)


def _write_hdf5(path: Path, archive: Archive, options: ConvertOptions, counter: _Counter) -> None:
    import h5py
    import hdf5plugin

    with h5py.File(path, "w") as file:
        for name, values in archive.values.items():
            file.create_dataset(name, data=values)
        for name, stack in archive.images.items():
            packed: dict[str, Any] = dict(hdf5plugin.Bitshuffle(cname="lz4"))
            dataset = file.create_dataset(
                name, shape=stack.shape, dtype=stack.dtype, chunks=(1, *stack.shape[1:]), **packed
            )
            first = 0
            for block in counter.each(stack, options):
                dataset[first : first + len(block)] = block
                first += len(block)
                del block  # before the next one is read
