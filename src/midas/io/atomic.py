"""Files that appear whole or not at all: written beside their place, then renamed."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

from midas.errors import InputError, MidasError, OutputError

_REASONS = {
    errno.ENOENT: "its folder does not exist; create the folder or name another",
    errno.ENOTDIR: "its folder is a file; name another folder",
    errno.EACCES: "the folder may not be written to; change its permissions or name another",
    errno.EPERM: "the folder may not be written to; change its permissions or name another",
    errno.EROFS: "the file system is read-only; name another folder",
    errno.ENOSPC: "the disk is full; free some space or name another folder",
    errno.EDQUOT: "the disk quota is used up; free some space or name another folder",
    errno.EFBIG: "it is larger than this account may write; raise the limit (ulimit -f) or name another folder",
    errno.EIO: "the disk or the network reports an error; look after it, or name another folder",
    errno.ESTALE: "the network file system has lost the folder; mount it again or name another",
    errno.EISDIR: "a folder of that name is in the way; name another file",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
}

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)


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
    temporary, owned = _temporary(final, 0), None
    try:
        if final.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(temporary))
        # Made here, with the user's umask, so that a folder that cannot be written to shows before any work is done.
        temporary, owned = _create(final)
        yield temporary
        _flush(temporary)
        temporary.replace(final)
        with contextlib.suppress(OSError):  # some network file systems cannot flush a folder
            _flush(final.parent)
    except MidasError:
        raise
    except Exception as error:
        reason = _reason(error, final)
        if reason is None:
            raise
        raise OutputError(f"cannot write {final}: {reason}") from error
    finally:
        if owned is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()
            os.close(owned)


def _temporary(final: Path, k: int) -> Path:
    return final.with_name(f".writing-{k}-{final.name}")


def _create(final: Path) -> tuple[Path, int]:
    """Make the first temporary file of `final` that is free; return it and its descriptor, locked while it is open.

    What no process has open any more is removed on the way. Names are tried, not looked up: a look at the folder for
    each of many thousand files would take as long as their number.
    """
    for k in itertools.count():
        path = _temporary(final, k)
        _remove_abandoned(path)
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            continue
        # Who looks for abandoned files may have found it before it was locked: then it is gone, or another's.
        if not _lock(descriptor) or _is_at(path, descriptor):
            break
        os.close(descriptor)
    while _remove_abandoned(_temporary(final, k := k + 1)):
        pass
    return path, descriptor


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except OSError:
        return False


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


def _remove_abandoned(path: Path) -> bool:
    """Remove a temporary file that no process has open any more, as it was killed; return whether one was there."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        if _lock(descriptor, at_once=True) and _is_at(path, descriptor):
            path.unlink()
    except OSError:  # the folder is read-only by now
        return False
    finally:
        os.close(descriptor)
    return True


def _flush(path: Path) -> None:
    """Bring a file or a folder's entries to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _reason(error: Exception, final: Path) -> str | None:
    """Say why writing failed; None when the error is about something else, such as an input of the block."""
    if isinstance(error, OSError) and error.errno in _REASONS:
        named = Path(os.fsdecode(error.filename or ""))
        about_output = named.parent == final.parent and named.name.startswith(".writing-")
        if about_output or error.errno in _DISK_ERRORS:
            return _REASONS[error.errno]
    # HDF5 reports a full disk in its text only.
    if os.strerror(errno.ENOSPC) in str(error):
        return _REASONS[errno.ENOSPC]
    return None


def put_in_place(path: Path, final: Path) -> None:
    """Rename a whole file to `final`, of a link what it points to.

    Raises
    ------
    OutputError
        A folder is in the way, or the folder cannot be written to.
    """
    final = final.resolve() if final.is_symlink() else final
    try:
        path.replace(final)
    except OSError as error:
        reason = _REASONS.get(error.errno or 0, error.strerror or "the system refused")
        raise OutputError(f"cannot write {final}: {reason}") from error
    with contextlib.suppress(OSError):  # some network file systems cannot flush a folder
        _flush(final.parent)


def keep_inputs(targets: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Raise InputError where a file to write is one of those that are read, whatever links lead to it.

    Examples
    --------
    >>> keep_inputs([Path("out/a.h5")], [Path("a.h5")])
    """
    read = {path.resolve() for path in inputs}
    for target in targets:
        if target.resolve() in read:
            raise InputError(f"{target} is one of the files that are read; name another file or folder to write to")


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
