"""Which image files are one scan: where omega goes on from one file to the next, sums may go over their border."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from midas.cake.file_task import FileTask, open_images, options_of
from midas.errors import MidasError
from midas.io.parameters import Parameters

SCANS = ("auto", "one", "files")
_SAME_OMEGA = 0.01  # of a step

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Piece:
    """What a file says of its part of a scan; nothing where it cannot be read."""

    path: Path
    n_frames: int = 0
    first: float | None = None
    """Omega of the first frame used [deg], where the file says it."""
    step: float = 0.0


def plan_tasks(
    paths: Sequence[Path],
    target_of: Callable[[Path], Path],
    parameters: Parameters,
    *,
    location: str | None = None,
    scan: str = "auto",
) -> list[FileTask]:
    """Return the tasks of a series: a file each or, in one scan, files between whose borders sums end.

    See `midas.cake.series.SeriesOptions` for `scan`. A file that cannot be read is a task of its own, which will say
    why; the sums before it end there.
    """
    alone = [FileTask((path,), target_of(path)) for path in paths]
    size = parameters.frames_per_sum
    if scan == "files" or len(paths) == 1 or (scan == "auto" and size < 1):
        return alone
    pieces = (
        [_piece(path, location, parameters) for path in paths]
        if scan == "one"
        else _going_on(paths, location, parameters)
    )
    if pieces is None:
        _warn_of_short_files(paths[0], location, parameters)
        return alone
    return _joined(pieces, target_of, parameters)


def is_one_scan(paths: Sequence[Path], parameters: Parameters, *, location: str | None, scan: str) -> bool:
    """Return whether all files are one scan, for all of them in one cake."""
    if scan != "auto" or len(paths) == 1:
        return scan == "one"
    return _going_on(paths, location, parameters) is not None


def _warn_of_short_files(path: Path, location: str | None, parameters: Parameters) -> None:
    """Warn where files that are no one scan, as they do not say so, hold fewer frames than are asked for in a sum."""
    n, size = _piece(path, location, parameters).n_frames, parameters.frames_per_sum
    if 0 < n < size or (n == 1 and parameters.omega_step != 0.0):
        _log.warning(
            "%s holds %d frame%s (OmegaSumFrames %d): each file is summed by itself, from the same omega, since the "
            "files do not say that omega goes on; --scan one sums over their borders, --scan files takes them so",
            path,
            n,
            "s" * (n != 1),
            size,
        )


def _going_on(paths: Sequence[Path], location: str | None, parameters: Parameters) -> list[_Piece] | None:
    """Return the pieces of a scan where omega goes on from each file to the next, else None.

    Files that cannot be read are taken to be as long as the one before them.
    """
    pieces: list[_Piece] = []
    before, n_lost = None, 0
    for path in paths:
        piece = _piece(path, location, parameters)
        pieces.append(piece)
        if piece.n_frames == 0:
            n_lost += 1
            continue
        if piece.first is None or piece.step == 0.0:
            return None
        if before is not None and not _goes_on(before, piece.first, n_lost):
            _log.info("omega does not go on from %s to %s: each file is a scan of its own", before.path, path)
            return None
        before, n_lost = piece, 0
    return None if before is None else pieces


def _joined(pieces: Sequence[_Piece], target_of: Callable[[Path], Path], parameters: Parameters) -> list[FileTask]:
    size = parameters.frames_per_sum
    usual = max(piece.n_frames for piece in pieces)
    tasks: list[FileTask] = []
    group: list[_Piece] = []
    before, in_group = 0, 0

    def close() -> None:
        if group:
            start = None if group[0].first is not None else parameters.omega_start + parameters.omega_step * before
            tasks.append(FileTask(tuple(p.path for p in group), target_of(group[0].path), True, start))
            group.clear()

    for piece in pieces:
        if piece.n_frames == 0:
            close()
            tasks.append(FileTask((piece.path,), target_of(piece.path)))
            before, in_group = before + in_group + usual, 0
            continue
        group.append(piece)
        in_group += piece.n_frames
        if size > 0 and in_group % size == 0:
            close()
            before, in_group = before + in_group, 0
    close()
    return tasks


def _piece(path: Path, location: str | None, parameters: Parameters) -> _Piece:
    try:
        with open_images(path, location, parameters) as frames:
            if parameters.shape not in (None, frames.shape[1:]):
                return _Piece(path)  # of another detector: it will say so when its turn comes
            options = options_of(parameters, frames)
            known = "OmegaStart" not in parameters and "omega_start" in frames.metadata
            return _Piece(path, len(frames), options.omega_start if known else None, options.omega_step)
    except MidasError:
        return _Piece(path)


def _goes_on(before: _Piece, omega: float, n_lost: int) -> bool:
    """Return whether a file that begins at omega [deg] goes on after another, with n_lost as long between them."""
    assert before.first is not None
    expected = before.first + (1 + n_lost) * before.n_frames * before.step
    return abs(expected - omega) < _SAME_OMEGA * abs(before.step)
