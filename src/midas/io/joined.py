"""Several image files as one stack, of which one is open at a time: a scan may have thousands of files."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from midas.errors import FormatError, InputError
from midas.io.image_source import CONDITIONS, FrameSource, Image, Mask
from midas.io.scan_values import UNUSED, omega_metadata, warn_once

if TYPE_CHECKING:
    from midas.io.frames import Frames


_OMEGAS = ("omega_start", "omega_step")


class JoinedSource(FrameSource):
    """Files whose frames follow one another; each is opened to see what it has beside its pixels, and again to read."""

    def __init__(self, paths: Sequence[Path], open_file: Callable[[Path], Frames]) -> None:
        if not paths:
            raise InputError("there is no file in the list; expected the names of one or more")
        self._paths, self._open_file = tuple(paths), open_file
        self._lock = threading.Lock()
        self._open: tuple[int, Frames] | None = None
        lengths: list[int] = []
        files: list[Path] = []
        metadata: list[Mapping[str, object]] = []
        self._have_dark: list[bool] = []
        self._mask: Mask | None = None
        for k, path in enumerate(self._paths):
            with open_file(path) as frames:
                if k == 0:
                    rows, columns, self.dtype = *frames.shape[1:], frames.dtype
                if (frames.shape[1:], frames.dtype) != ((rows, columns), self.dtype):
                    raise FormatError(
                        f"{path}: its frames are {frames.shape[1]} x {frames.shape[2]} {frames.dtype}, those of "
                        f"{self._paths[0]} {rows} x {columns} {self.dtype}; expected the same"
                    )
                lengths.append(len(frames))
                files += frames.files
                metadata.append(frames.metadata)
                self._have_dark.append(frames.has_dark)
                mask = frames.mask
                if mask is not None:
                    self._mask = mask if self._mask is None else self._mask | mask
        self.segments = tuple(lengths)
        self._starts = np.cumsum([0, *lengths])
        self.shape = (int(self._starts[-1]), rows, columns)
        self.files = tuple(dict.fromkeys(files))
        more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        self.metadata = {**_joined(metadata, lengths), "source": f"{paths[0]}{more}"}

    def read(self, index: int) -> Image:
        """Return frame `index`."""
        k = int(np.searchsorted(self._starts, index, side="right")) - 1
        with self._lock:
            if self._open is None or self._open[0] != k:
                self._close()
                self._open = (k, self._open_file(self._paths[k]))
            return self._open[1][index - int(self._starts[k])]

    def read_mask(self) -> Image | None:
        """Return not 0 where any of the files masks a pixel; None where none has a mask."""
        return None if self._mask is None else self._mask.astype(np.uint8)

    def has_dark(self) -> bool:
        """Return whether each file holds a dark; raise FormatError where only some do."""
        if any(self._have_dark) and not all(self._have_dark):
            without = self._paths[self._have_dark.index(False)]
            raise FormatError(f"{without} holds no dark (exchange/dark) as others of its scan do; name a dark for all")
        return all(self._have_dark)

    def close(self) -> None:
        """Close the file that is open."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._open is not None:
            self._open[1].close()
        self._open = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the open file behind."""
        return {**self.__dict__, "_open": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickled source."""
        self.__dict__.update(state, _lock=threading.Lock())


def _joined(metadata: Sequence[Mapping[str, object]], lengths: Sequence[int]) -> dict[str, object]:
    """Return what the first file says, the conditions of each frame where every file has them, and each file's omegas.

    Raises
    ------
    FormatError
        The files do not agree on how their frames are stored.
    """
    for name in ("recorded_transforms", "dark_subtracted"):
        said = [each.get(name) for each in metadata]
        if any(value != said[0] for value in said):
            other = next(k for k, value in enumerate(said) if value != said[0])
            raise FormatError(
                f"{metadata[other]['source']} says {said[other]} of {name}, {metadata[0]['source']} {said[0]}; "
                "expected the same of all files of a scan"
            )
    found = dict(metadata[0])
    found["omegas_of_files"] = tuple({name: each[name] for name in _OMEGAS if name in each} for each in metadata)
    if len(metadata) > 1 and set(lengths) == {1} and not any("omega_step" in each for each in metadata):
        starts = [each["omega_start"] for each in metadata if isinstance(each.get("omega_start"), float)]
        if len(starts) == len(metadata):  # one frame a file: the step is from one file to the next
            told = omega_metadata({"file by file": np.array(starts)}, len(starts), zero_is_unset=False)
            if UNUSED in told:
                warn_once(f"{metadata[0]['source']} and the files after it: {told[UNUSED]}")
            found |= {name: told[name] for name in ("omega_step", UNUSED) if name in told}
    for name in CONDITIONS:
        found.pop(name, None)
        if all(name in each for each in metadata):
            values = [np.broadcast_to(np.asarray(m[name], float), n) for m, n in zip(metadata, lengths, strict=True)]
            found[name] = np.concatenate(values)
    return found
