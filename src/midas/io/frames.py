"""Detector images from files of any format: `Frames` read one at a time, single images, masks."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from midas.checks import file_path
from midas.detector import transform_image
from midas.errors import FormatError, InputError, MidasError
from midas.io.formats import FORMATS, opener_of
from midas.io.hdf5_chunks import PackedFrames
from midas.io.hdf5_written import WrittenFrames
from midas.io.image_source import CONDITIONS, ArraySource, FrameSource, Image, Mask, ReadOptions, valid_mask
from midas.io.joined import JoinedSource
from midas.io.scan_values import UNUSED, warn_once
from midas.io.tree_formats import Hdf5Source
from midas.shown import html_table

MOST_FRAME_BYTES = 1 << 30
"""Of a frame: 16384 x 16384 pixels of 4 bytes. What says more is no header of a detector's image."""


class Frames:
    """A stack of detector images, read one at a time when asked for.

    `frames[i]` is a 2-D array of the file's own dtype, `frames[a:b]` a stack, iteration goes frame by frame. Made by
    `read_frames`, or from an array by `Frames.from_array`. Picklable (the file is opened again), closed when used in a
    `with` block or dropped.

    Examples
    --------
    >>> frames = Frames.from_array(np.arange(12, dtype=np.uint16).reshape(3, 2, 2))
    >>> frames.shape, frames[2].tolist(), [int(f.sum()) for f in frames]
    ((3, 2, 2), [[8, 9], [10, 11]], [6, 22, 38])
    """

    def __init__(
        self,
        source: FrameSource,
        *,
        path: Path | None = None,
        skip_frames: int = 0,
        image_transforms: Sequence[int] = (),
        options: ReadOptions | None = None,
    ) -> None:
        """Take an open source; use `read_frames` or `Frames.from_array` instead."""
        n, rows, columns = source.shape
        if not 0 <= skip_frames < n:
            raise InputError(f"skip_frames (SkipFrame) is {skip_frames} of {n} frames; expected 0 to {n - 1}")
        if source.dtype.kind not in "uif":
            raise FormatError(f"its pixels are of type {source.dtype}; expected integers or floating point numbers")
        if rows * columns * source.dtype.itemsize > MOST_FRAME_BYTES:
            raise FormatError(
                f"its frames are {rows} x {columns} {source.dtype}, more than a detector's; the file is corrupt"
            )
        transforms = tuple(int(t) for t in image_transforms)
        turned = transform_image(np.empty((rows, columns), dtype=np.bool_), transforms).shape
        self.path: Path | None = path
        """The file; None for an array."""
        self.shape: tuple[int, int, int] = (n - skip_frames, turned[0], turned[1])
        """Frames, rows, columns, after skipping and transforms."""
        self.dtype: np.dtype[Any] = source.dtype.newbyteorder("=")
        """Pixel type."""
        self.skip_frames: int = skip_frames
        """Frames left out at the start (`SkipFrame`)."""
        self.image_transforms: tuple[int, ...] = (*source.image_transforms, *transforms)
        """Transforms applied to each frame (`ImTransOpt`)."""
        self.metadata: Mapping[str, object] = MappingProxyType(
            {"source": "array" if path is None else str(path), **_metadata(source, skip_frames)}
        )
        """What is known of the data: `source`, `format`, and what the file says of itself. `temperature` [K],
        `pressure` [MPa], `i`, `i0` and `exposure_time` [s] are a number, or an array of one for each frame, after
        skipping. `omega_start` and `omega_step` [deg] are those of the frames stored, `omega_unused` says why they are
        not taken; `scan_sources` where these stand; `hints`, where there are any, what it says of the instrument
        (`midas.io.headers.Hint`). Of a MIDAS file that records them also `recorded_transforms`, the `ImTransOpt` that
        its frames want and have not had, and `dark_subtracted`, True where they are stored without their dark. Of
        several files what the first says, `omega_start` and `omega_step` of each in `omegas_of_files`."""
        self.segments: tuple[int, ...] = source.segments or (n - skip_frames,)
        """Frames of each file, of several that follow one another."""
        self._source = source
        self._transforms = transforms
        self._options = options
        self._written = WrittenFrames(source.parts) if isinstance(source, Hdf5Source) else None
        self._closed = False

    @classmethod
    def from_array(cls, array: npt.ArrayLike, *, image_transforms: Sequence[int] = ()) -> Frames:
        """Return frames of an array, shape (n_z, n_y) or (n_frames, n_z, n_y)."""
        try:
            return cls(ArraySource(np.asarray(array)), image_transforms=image_transforms)
        except FormatError as error:
            raise InputError(str(error)) from None

    def __len__(self) -> int:
        """Return the number of frames."""
        return self.shape[0]

    @overload
    def __getitem__(self, index: int | np.integer[Any]) -> Image: ...
    @overload
    def __getitem__(self, index: slice) -> Image: ...
    def __getitem__(self, index: int | np.integer[Any] | slice) -> Image:
        """Return frame `index`, shape (n_z, n_y), or for a slice a stack, in the file's dtype and C-contiguous."""
        if isinstance(index, slice):
            chosen = range(*index.indices(len(self)))
            if len(chosen) > 1 and chosen.step == 1:
                return self.several(chosen[0], chosen[-1] + 1)
            stack = np.empty((len(chosen), *self.shape[1:]), dtype=self.dtype)
            for k, i in enumerate(chosen):
                stack[k] = self._read(i)
            return stack
        i = int(index)
        if not -len(self) <= i < len(self):
            raise IndexError(f"frame {i} of {len(self)}")
        return self._read(i % len(self))

    def several(self, first: int, end: int, *, n_threads: int = 0) -> Image:
        """Return frames `first` to `end`, shape (end - first, n_z, n_y), in the file's dtype and C-contiguous.

        Compressed frames are unpacked in n_threads (0: all) where the format allows it.
        """
        self.check_readable(first, end)
        try:
            known = self._source.read_several(first + self.skip_frames, end + self.skip_frames, n_threads)
        except (FormatError, OSError):  # one by one, to find out which it is
            known = None
        if known is not None and not self._transforms:
            return known.astype(self.dtype, copy=False)
        stack = np.empty((end - first, *self.shape[1:]), dtype=self.dtype)
        for k in range(end - first):
            stack[k] = self._read(first + k) if known is None else transform_image(known[k], self._transforms)
        return stack

    def packed(self, first: int, end: int) -> PackedFrames | None:
        """Return frames `first` to `end` as they stand in the file; None where `is_packed` is False or HDF5 must read.

        Raises
        ------
        OSError
            They cannot be read.
        """
        chunked = self._source.chunked if self.is_packed else None
        return None if chunked is None else chunked.read(first + self.skip_frames, end + self.skip_frames)

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that holds a part of them: `path`, then those that it refers to; none for an array."""
        own = () if self.path is None else (self.path,)
        return tuple(dict.fromkeys((*own, *self._source.files)))

    @property
    def is_packed(self) -> bool:
        """True where frames stand in the file one by one, compressed, and are used as they are."""
        return self._source.chunked is not None and not self._transforms

    def __iter__(self) -> Iterator[Image]:
        """Yield each frame in turn."""
        for i in range(len(self)):
            yield self._read(i)

    def check_readable(self, first: int, end: int) -> None:
        """Raise InputError where the file was closed, or one of the frames `first` to `end` was never written to it."""
        if self._closed:
            raise InputError(f"{self.metadata['source']}: the frames were closed; read the file again")
        if self._written is not None:
            try:
                self._written.check(first + self.skip_frames, end + self.skip_frames)
            except MidasError as error:
                if self.path is None or str(self.path) in str(error):
                    raise
                raise type(error)(f"{self.path}: {error}") from error  # it names the file that this one refers to

    @property
    def never_written(self) -> tuple[int, ...]:
        """Numbers of the frames that an HDF5 file has a place for, but that nobody wrote; after skipping."""
        missing = () if self._written is None else np.flatnonzero(self._written.missing[self.skip_frames :])
        return tuple(int(i) for i in missing)

    def _read(self, i: int) -> Image:
        self.check_readable(i, i + 1)
        try:
            frame = self._source.read(i + self.skip_frames)
        except Exception as error:
            raise _explained(self.path, error, f"frame {i + self.skip_frames} cannot be read") from error
        expected = self._source.shape[1:]
        if frame.shape != expected or not np.can_cast(frame.dtype, self.dtype):
            raise FormatError(
                f"{self.metadata['source']}: frame {i + self.skip_frames} is {frame.shape} {frame.dtype}, the first "
                f"{expected} {self.dtype}; expected the same"
            )
        return transform_image(frame.astype(self.dtype, copy=False), self._transforms)

    @property
    def mask(self) -> Mask | None:
        """The mask that the file holds (`exchange/mask`), shape (n_z, n_y), transforms applied: True where masked.

        None where there is none. Raises FormatError where it is not of the images' shape.
        """
        try:
            mask = self._source.read_mask()
        except Exception as error:
            raise _explained(self.path, error, "its mask cannot be read") from error
        return None if mask is None else transform_image(mask, self._transforms) != 0

    @property
    def has_dark(self) -> bool:
        """True where the file holds a dark beside its images (`exchange/dark`)."""
        try:
            return self._source.has_dark()
        except Exception as error:
            raise _explained(self.path, error, "its dark cannot be read") from error

    def has(self, location: str) -> bool:
        """Return whether the file holds something at a path inside it, as `exchange/bright`; False of other formats."""
        try:
            return self._source.has(location)
        except Exception as error:
            raise _explained(self.path, error, f"{location} cannot be read") from error

    def read_values(self, group: str) -> dict[str, Image]:
        """Return the small arrays of a group inside the file by name, numbers as they are and text as bytes.

        Empty where there is no such group, as in formats that have none.
        """
        try:
            return self._source.read_values(group)
        except Exception as error:
            raise _explained(self.path, error, f"{group} cannot be read") from error

    def close(self) -> None:
        """Let go of the file."""
        self._closed = self.path is not None or bool(self._source.files)
        self._source.close()

    def __enter__(self) -> Frames:
        """Return self; the file is closed at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()

    def __del__(self) -> None:
        """Close the file."""
        source = getattr(self, "_source", None)
        if source is not None:
            source.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the path, not the open file; an array travels whole."""
        if self.path is None or self._options is None:
            return _from_source, (self._source, self.skip_frames, self._transforms)
        return _open, (self.path, self._options, self.skip_frames, self._transforms)

    def __repr__(self) -> str:
        """Name source, shape and dtype."""
        return f"Frames({self.metadata['source']!r}, shape={self.shape}, dtype={self.dtype})"

    def _repr_html_(self) -> str:
        """Return a table for notebooks."""
        pixels = "{} of {} x {} px".format(*self.shape)
        rows = {"source": str(self.metadata["source"]), "frames": pixels, "skipped before": str(self.skip_frames)}
        return html_table("Frames", {**rows, "type": str(self.dtype)})


def _metadata(source: FrameSource, skip_frames: int) -> dict[str, object]:
    """Return what a source says of itself, of each frame only where it is not skipped."""
    found = dict(source.metadata)
    for name in (*CONDITIONS, "exposure_time"):
        values = found.get(name)
        if isinstance(values, np.ndarray) and len(values) == source.shape[0]:
            found[name] = values[skip_frames:]
    return found


def _from_source(source: FrameSource, skip_frames: int, image_transforms: tuple[int, ...]) -> Frames:
    return Frames(source, skip_frames=skip_frames, image_transforms=image_transforms)


def read_frames(
    path: Path | str | Sequence[Path | str],
    *,
    data_location: str | None = None,
    skip_frames: int = 0,
    image_transforms: Sequence[int] = (),
    head_size: int = 8192,
    frame_shape: tuple[int, int] | None = None,
    data_type: int = 1,
) -> Frames:
    """Return the frames of an image file, or of several one after another; the format is told by the suffix.

    TIFF, HDF5, GE (`.ge`, `.ge1`..`.ge5`), CBF, EDF and the rest through fabio, `.npy`, `.MIDAS.zip` and zarr folders.

    Parameters
    ----------
    path
        The file; or a list of files of one shape and dtype, in order.
    data_location
        Dataset inside an HDF5 or zarr file; None looks in `exchange/data`, then where NeXus puts images.
    skip_frames
        Frames to leave out at the start of every file.
    image_transforms
        `ImTransOpt` codes applied to each frame in order: 0 none, 1 flip columns, 2 flip rows, 3 transpose.
    head_size
        Bytes before the first frame of a GE file.
    frame_shape
        Rows and columns of a GE frame before any transform; None takes 2048 x 2048.
    data_type
        `DataType` of a GE file's pixels: 1 uint16, 2 float64, 3 float32, 4 uint32, 5 int32.

    Raises
    ------
    FormatError
        The file is missing, truncated, corrupt, of an unknown suffix, open for writing, or holds no images at the
        location; files of a list differ in shape or dtype.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "a.npy"
    ...     np.save(path, np.ones((2, 3, 4), dtype=np.uint16))
    ...     read_frames(path).shape, read_frames([path, path, path]).shape
    ((2, 3, 4), (6, 3, 4))
    """
    options = ReadOptions(data_location, head_size, frame_shape, data_type)
    expected = "the name of an image file, or a list of names"
    if isinstance(path, Sequence) and not isinstance(path, str):
        paths = [file_path("a file of the list", each, expected) for each in path]
        open_file = functools.partial(_open, options=options, skip_frames=skip_frames, image_transforms=())
        return Frames(JoinedSource(paths, open_file), image_transforms=image_transforms)
    return _open(file_path("path", path, expected), options, skip_frames, tuple(image_transforms))


def read_image(path: Path | str, **options: Any) -> Image:
    """Return one image from a file at `path`, shape (n_z, n_y); the options, and errors, are those of `read_frames`.

    A single frame keeps its dtype. Several frames are averaged into float64: for each pixel the mean of the frames in
    which it counts (`valid_mask`), NaN where it never does. That is right for calibrants and darks; sums belong to
    `integrate`.

    Raises
    ------
    FormatError
        The file is missing, damaged or of no known format.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(Path(folder) / "a.npy", np.array([[[1, 2]], [[3, 2]]], dtype=np.uint16))
    ...     read_image(Path(folder) / "a.npy").tolist()
    [[2.0, 2.0]]
    """
    with read_frames(path, **options) as frames:
        return one_image(frames)


def one_image(frames: Frames) -> Image:
    """Return the only frame as it is, or of several `mean_frame`; shape (n_z, n_y).

    Examples
    --------
    >>> one_image(Frames.from_array(np.array([[1, 2]], dtype=np.uint16))).dtype
    dtype('uint16')
    """
    return frames[0] if len(frames) == 1 else mean_frame(frames)


def mean_frame(frames: Frames) -> npt.NDArray[np.float64]:
    """Return the mean over frames of each pixel's valid values, shape (n_z, n_y); NaN where there is none.

    Examples
    --------
    >>> mean_frame(Frames.from_array(np.array([[[1, -1]], [[3, -1]]], dtype=np.int32))).tolist()
    [[2.0, nan]]
    """
    total = np.zeros(frames.shape[1:])
    count = np.zeros(frames.shape[1:], dtype=np.int64)
    for frame in frames:
        valid = valid_mask(frame)
        np.add(total, frame, out=total, where=valid)
        count += valid
    mean: npt.NDArray[np.float64] = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return mean


def read_mask(
    path: Path | str,
    *,
    zero_is_use: bool = True,
    image_transforms: Sequence[int] = (),
    data_location: str | None = None,
) -> Mask:
    """Return a mask from an image file (TIFF, EDF, npy, ...), shape (n_z, n_y): True where a pixel must not be used.

    Parameters
    ----------
    path
        The file: 0 is use, any other value is masked (docs/files.md).
    zero_is_use
        False for files of the opposite sense, where 0 is masked.
    image_transforms
        As for the images that the mask belongs to.
    data_location
        Dataset inside an HDF5 or zarr file.

    Raises
    ------
    FormatError
        The file cannot be read, or masks every pixel.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(Path(folder) / "m.npy", np.array([[0, 1]], dtype=np.uint8))
    ...     read_mask(Path(folder) / "m.npy").tolist()
    [[False, True]]
    """
    with read_frames(path, image_transforms=image_transforms, data_location=data_location) as frames:
        image = frames[0]
    mask = np.asarray((image != 0) == zero_is_use)
    if mask.all():
        raise FormatError(
            f"{path}: every pixel is masked; expected 0 where a pixel is used "
            "(zero_is_use=False is for masks of the opposite sense)"
        )
    return mask


def _open(path: Path, options: ReadOptions, skip_frames: int, image_transforms: tuple[int, ...]) -> Frames:
    if path.is_dir() and path.suffix.lower() not in FORMATS:
        raise FormatError(f"{path} is a folder; name an image file in it")
    opener = opener_of(path)
    if not path.exists():
        raise FormatError(f"{path}: no such file; check the name and the folder")
    source = None
    try:
        source = opener(path, options)
        if UNUSED in source.metadata:
            warn_once(f"{path}: {source.metadata[UNUSED]}")
        return Frames(source, path=path, skip_frames=skip_frames, image_transforms=image_transforms, options=options)
    except Exception as error:
        if source is not None:
            source.close()
        raise _explained(path, error, "it cannot be read") from error


_LOCKED = {
    "file locking flag values don't match": "it is open in this process, by h5py with locks of its own; close it there "
    "first, open it there with locking=False, or give the open file's data set instead of its name",
    "already open for write": "it is being written, or a program that wrote it did not end well; wait until it is "
    "closed; if no program has it open, h5clear -s makes it readable",
    "unable to lock file": "another program has locked it, most likely to write it; wait until it is closed, or close "
    "it there",
}
"""What HDF5 says of files that are whole, but open elsewhere, and what that means."""


def _explained(path: Path | None, error: Exception, what: str) -> MidasError:
    """Return the error to raise for a failure in a format's library: one sentence that starts with the file."""
    if isinstance(error, MidasError):
        return error if path is None else type(error)(f"{path}: {error}")
    detail = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, PermissionError):
        return FormatError(f"{path}: {what}: no permission to read it; ask its owner or change its mode")
    if isinstance(error, IsADirectoryError):
        return FormatError(f"{path}: {what}: it is a folder, expected a file")
    for mark, meaning in _LOCKED.items():
        if mark in detail:
            return FormatError(f"{path}: {what}: {meaning}")
    return FormatError(
        f"{path}: {what} as the format its suffix names: {detail[:300]}; the file is truncated, corrupt or misnamed"
    )


__all__ = ["Frames", "mean_frame", "read_frames", "read_image", "read_mask", "valid_mask"]
