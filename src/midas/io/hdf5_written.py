"""Frames that an HDF5 file has a place for, but that nobody wrote: HDF5 gives its fill value for them, mostly 0."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from midas.errors import FormatError, InputError
from midas.io.image_source import valid_mask

if TYPE_CHECKING:
    import h5py

_INSTEAD = "commands take whole files, but in Python midas.read_frames gives the frames that are there"
_MOST_NAMED = 3  # runs of missing frames, or files, that a message names


class WrittenFrames:
    """Data sets joined to one stack, looked at once, when the first frame is read."""

    def __init__(self, parts: Sequence[h5py.Dataset]) -> None:
        """Take data sets of two or three axes; none of them has nothing missing."""
        self._parts = parts
        self._lock = threading.Lock()
        self._missing: npt.NDArray[np.bool_] | None = None

    def check(self, first: int, end: int) -> None:
        """Raise InputError where one of the frames `first` to `end` was never written and would be taken for counts."""
        missing = self.missing
        if missing[first:end].any():
            raise InputError(self._sentence(missing))

    @property
    def missing(self) -> npt.NDArray[np.bool_]:
        """Shape (n_frames,): True where a frame was never written; empty where all are there."""
        with self._lock:
            if self._missing is None:
                found = [_never_written(part) for part in self._parts]
                self._missing = np.concatenate(found) if any(part.any() for part in found) else np.zeros(0, np.bool_)
            return self._missing

    def _sentence(self, missing: npt.NDArray[np.bool_]) -> str:
        lacking = [part for part in self._parts if _never_written(part).any()]
        files = [file for each in lacking if each.is_virtual for file in _missing_sources(each)]
        n, runs = int(missing.sum()), list(_runs(missing))
        numbers = _listed([str(a) if b == a + 1 else f"{a} to {b - 1}" for a, b in runs])
        where = _listed([part.file.filename for part in lacking])
        what = f"{where}: {n} of the {len(missing)} frames of {lacking[0].name}"
        there = max(_runs(~missing), key=lambda run: run[1] - run[0], default=None)
        instead = "" if there is None else f"; {_INSTEAD}, such as frames[{there[0]}:{there[1]}]"
        if files:
            names = _listed(list(dict.fromkeys(files)))
            return f"{what} ({numbers}) are missing, for there is no {names}; put it beside this file{instead}"
        return (
            f"{what} were never written ({numbers}, counted from 0): the scan is running, or was stopped; read the "
            f"file when it has ended{instead}"
        )


def _never_written(dataset: h5py.Dataset) -> npt.NDArray[np.bool_]:
    try:
        return never_written(dataset)
    except (RuntimeError, IndexError, OverflowError, OSError) as error:  # HDF5's own list of what is where
        raise FormatError(
            f"{dataset.file.filename}: where the frames of {dataset.name} stand cannot be read: {error}; the file is "
            "truncated or corrupt"
        ) from error


def never_written(dataset: h5py.Dataset) -> npt.NDArray[np.bool_]:
    """Return which frames have no data, in part or at all, where HDF5 would give numbers that pass for counts.

    A fill value that marks pixels without counts (-1, NaN, the largest of an unsigned type) says so by itself.
    """
    n = dataset.shape[0] if dataset.ndim == 3 else 1
    none = np.zeros(n, dtype=np.bool_)
    if dataset.dtype.kind not in "uif" or not valid_mask(np.full((1, 1), dataset.fillvalue, dataset.dtype)).any():
        return none
    if dataset.is_virtual:
        return _outside_sources(dataset, n)
    if dataset.chunks is not None:
        return _without_chunks(dataset, n)
    from h5py import h5d

    if not dataset.external and dataset.id.get_space_status() == h5d.SPACE_STATUS_NOT_ALLOCATED:
        return ~none
    return none


def _without_chunks(dataset: h5py.Dataset, n: int) -> npt.NDArray[np.bool_]:
    chunks = dataset.chunks
    places = tuple(-(-size // chunk) for size, chunk in zip(dataset.shape, chunks, strict=True))
    n_written = dataset.id.get_num_chunks()
    if n_written == np.prod(places):
        return np.zeros(n, dtype=np.bool_)
    written = np.zeros(places, dtype=np.bool_)

    def note(chunk: Any) -> None:
        written[tuple(at // size for at, size in zip(chunk.chunk_offset, chunks, strict=True))] = True

    if hasattr(dataset.id, "chunk_iter"):
        dataset.id.chunk_iter(note)
    else:
        for i in range(n_written):
            note(dataset.id.get_chunk_info(i))
    whole = written.reshape(places[0], -1).all(axis=1) if dataset.ndim == 3 else written.all(keepdims=True).ravel()
    return ~np.repeat(whole, chunks[0] if dataset.ndim == 3 else 1)[:n]


def _outside_sources(dataset: h5py.Dataset, n: int) -> npt.NDArray[np.bool_]:
    missing = np.ones(n, dtype=np.bool_)
    for source, lost in _sources(dataset):
        try:
            low, high = source.vspace.get_select_bounds()
        except (RuntimeError, ValueError):  # without end: how far it reaches, its source alone knows
            return np.full(n, lost)
        if not lost:
            missing[low[0] if dataset.ndim == 3 else 0 : high[0] + 1 if dataset.ndim == 3 else 1] = False
    return missing


def _missing_sources(dataset: h5py.Dataset) -> list[str]:
    return [source.file_name for source, lost in _sources(dataset) if lost]


def _sources(dataset: h5py.Dataset) -> Iterator[tuple[Any, bool]]:
    """Yield the sources of a virtual data set, and whether the file is missing: HDF5 looks beside its own, and here."""
    folder = Path(dataset.file.filename).absolute().parent
    known: dict[str, bool] = {}
    for source in dataset.virtual_sources():
        name = source.file_name
        if name not in known:
            # "%b" in a name stands for numbers.
            here = name == "." or "%" in name or any((place / name).exists() for place in (folder, Path()))
            known[name] = not here
        yield source, known[name]


def _runs(flags: npt.NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Yield begin and end of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    yield from ((int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True))


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
