"""Files that appear whole or not at all: written beside their place, then renamed."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from midas.errors import MidasError, OutputError

_REASONS = {
    errno.ENOENT: "its folder does not exist; create the folder or name another",
    errno.ENOTDIR: "its folder is a file; name another folder",
    errno.EACCES: "the folder may not be written to; change its permissions or name another",
    errno.EPERM: "the folder may not be written to; change its permissions or name another",
    errno.EROFS: "the file system is read-only; name another folder",
    errno.ENOSPC: "the disk is full; free some space or name another folder",
    errno.EDQUOT: "the disk quota is used up; free some space or name another folder",
    errno.EISDIR: "a folder of that name is in the way; name another file",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
}

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@contextlib.contextmanager
def atomic_path(final: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `final` to write to; rename it to `final` when the block ends well.

    The temporary name ends in the full name of `final`, so writers that look at the suffix see the right one. The
    content is on disk (fsync) before the rename; after any error, or an interruption, the temporary file is removed
    and an existing `final` is untouched. What a process that was killed left of the same `final` is removed, too.

    Raises
    ------
    OutputError
        The folder is missing or read-only, the disk is full, or a device is in the way.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_path(Path(folder) / "a.txt") as path:
    ...         _ = path.write_text("whole")
    ...     (Path(folder) / "a.txt").read_text()
    'whole'
    """
    final = Path(final)
    if final.is_symlink():  # what it points to is replaced, not the link
        final = final.resolve()
    if not final.name or (final.exists() and not final.is_dir() and not final.is_file()):
        raise OutputError(f"cannot write {final}: it is no file; name another file")
    temporary = final.with_name(f".writing-{os.urandom(4).hex()}-{final.name}")
    owned: int | None = None
    try:
        if final.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(temporary))
        # Made here, with the user's umask, so that a folder that cannot be written to shows before any work is done.
        owned = _create(temporary)
        _remove_abandoned(final, temporary)
        yield temporary
        _flush(temporary)
        temporary.replace(final)
        with contextlib.suppress(OSError):  # some network file systems cannot flush a folder
            _flush(final.parent)
    except MidasError:
        raise
    except Exception as error:
        reason = _reason(error, temporary)
        if reason is None:
            raise
        raise OutputError(f"cannot write {final}: {reason}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if owned is not None:
            os.close(owned)


def _create(path: Path) -> int:
    """Make a file that is not there, locked for as long as it is open, and return its descriptor."""
    while True:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        # Who looks for abandoned files may have found it before it was locked: then it is gone, and made again.
        if not _lock(descriptor) or path.exists():
            return descriptor
        os.close(descriptor)


def _lock(descriptor: int, *, at_once: bool = False) -> bool:
    """Lock an open file for as long as this process has it open; False where that cannot be, or not `at_once`.

    The lock is that of the open file, not of the process, and HDF5's own (flock) does not see it.
    """
    try:
        import fcntl

        command = fcntl.F_OFD_SETLK if at_once else fcntl.F_OFD_SETLKW
    except (ImportError, AttributeError):  # a system without: what is abandoned stays
        return False
    whole_file = struct.pack("hhqqixxxx", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    try:
        fcntl.fcntl(descriptor, command, whole_file)
    except OSError:  # locked by who writes it; or a file system without locks
        return False
    return True


def _remove_abandoned(final: Path, own: Path) -> None:
    """Remove the temporary files of `final` that no process has open any more: it was killed while it wrote."""
    for path in final.parent.glob(f".writing-????????-{glob.escape(final.name)}"):
        if path == own:
            continue
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDWR)
            try:
                if _lock(descriptor, at_once=True):
                    path.unlink()
            finally:
                os.close(descriptor)


def _flush(path: Path) -> None:
    """Bring a file or a folder's entries to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _reason(error: Exception, temporary: Path) -> str | None:
    """Say why writing failed; None when the error is about something else, such as an input of the block."""
    if isinstance(error, OSError) and error.errno in _REASONS:
        about_output = error.filename is not None and Path(os.fsdecode(error.filename)) == temporary
        if about_output or error.errno in _DISK_ERRORS:
            return _REASONS[error.errno]
    # HDF5 reports a full disk in its text only.
    if os.strerror(errno.ENOSPC) in str(error):
        return _REASONS[errno.ENOSPC]
    return None


@contextlib.contextmanager
def output_folder(folder: Path | str) -> Iterator[Path]:
    """Make a folder for results, parents included; after an error, remove again what was made and is still empty.

    Raises
    ------
    OutputError
        The folder cannot be made, or is a file.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as parent, output_folder(Path(parent) / "a" / "b") as folder:
    ...     folder.is_dir()
    True
    """
    folder = Path(folder)
    made = [p for p in (folder, *folder.parents) if not p.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = _REASONS.get(error.errno or 0, error.strerror or "the system refused")
        if isinstance(error, FileExistsError):
            reason = "a file of that name is in the way; name another folder"
        raise OutputError(f"cannot make the folder {folder}: {reason}") from error
    try:
        yield folder
    except BaseException:
        for path in made:
            with contextlib.suppress(OSError):
                path.rmdir()
        raise
