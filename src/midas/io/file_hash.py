"""The hash of a file, or of all files of a folder."""

from __future__ import annotations

import hashlib
from pathlib import Path
from threading import Event

_BLOCK = 1 << 22


def hash_file(path: Path, stop: Event | None = None) -> str | None:
    """Return the SHA-256 of a file's bytes; of a folder (zarr) that of its files and their names; None when stopped.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = (Path(folder) / "a").write_bytes(b"abc")
    ...     hash_file(Path(folder) / "a")[:8]
    'ba7816bf'
    """
    digest = hashlib.sha256()
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    for file in files:
        if path.is_dir():
            digest.update(f"\0{file.relative_to(path).as_posix()}\0".encode())
        with file.open("rb") as stream:
            while block := stream.read(_BLOCK):
                if stop is not None and stop.is_set():
                    return None
                digest.update(block)
    return digest.hexdigest()
