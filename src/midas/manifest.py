"""What a run was made of and how far it came: `manifest.json`, in the folder of its results.

It is written anew after each step, so that a run that is killed can be taken up where it stopped.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from threading import Event
from typing import Any

from midas.io.atomic import atomic_path
from midas.io.file_hash import hash_file
from midas.version import version

MANIFEST_NAME = "manifest.json"
_log = logging.getLogger(__name__)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Return the manifest of a folder, None where there is none that can be read."""
    try:
        found = json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        _log.warning("%s cannot be read (%s): nothing is taken up from it", folder / MANIFEST_NAME, error)
        return None
    return found if isinstance(found, dict) else None


def key_of(*parts: Any) -> str:
    """Return the SHA-256 of plain data: equal for equal inputs, different for any other.

    Examples
    --------
    >>> key_of("a", [1, None]) == key_of("a", [1, None]), key_of("a") == key_of(["a"])
    (True, False)
    """
    return hashlib.sha256(json.dumps([version(), *parts], sort_keys=True).encode()).hexdigest()


def _stamp(path: Path) -> dict[str, Any]:
    files = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
    states = [p.stat() for p in files]
    return {"bytes": sum(s.st_size for s in states), "modified_ns": max((s.st_mtime_ns for s in states), default=0)}


def now() -> str:
    """Return the time, as ISO 8601 has it."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


class Manifest:
    """The manifest of a run in progress, beside what an earlier run of the same folder left."""

    def __init__(self, folder: Path, parameters: Mapping[str, Any], *, resume: bool = False) -> None:
        self.path = folder / MANIFEST_NAME
        earlier = read_manifest(folder)
        self.earlier: dict[str, Any] = (earlier or {}) if resume else {}
        """The manifest to take up from; empty without one."""
        if earlier is not None and not resume and earlier.get("status") == "unfinished":
            _log.warning("%s is of a run that did not end; --resume would take it up", self.path)
        self.data: dict[str, Any] = {
            "midas": version(),
            "engine": None,
            "python": platform.python_version(),
            "machine": platform.platform(),
            "status": "unfinished",
            "began": now(),
            "ended": None,
            "seconds": None,
            "parameters": dict(parameters),
            "inputs": [],
            "steps": {},
        }
        self._begin = time.perf_counter()
        self._known = {(e["path"], e["bytes"], e["modified_ns"]): e["sha256"] for e in self.earlier.get("inputs", [])}
        self._stop = Event()
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="midas-manifest")
        self._pending: list[tuple[dict[str, Any], Future[str | None]]] = []

    def add_input(self, role: str, path: Path) -> str:
        """Note an input and return the SHA-256 of its bytes."""
        entry = self._entry(role, path)
        if entry["sha256"] is None:
            entry["sha256"] = hash_file(path)
        return str(entry["sha256"])

    def add_inputs_meanwhile(self, role: str, paths: Iterable[Path]) -> None:
        """Note inputs, too large to wait for: they are read by a thread while the run goes on."""
        for path in paths:
            entry = self._entry(role, path)
            if entry["sha256"] is None:
                self._pending.append((entry, self._reader.submit(hash_file, path, self._stop)))

    def _entry(self, role: str, path: Path) -> dict[str, Any]:
        """Add an input; the hash of one whose size and time have not changed is that of the earlier run."""
        path = path.resolve()
        entry: dict[str, Any] = {"role": role, "path": str(path), **_stamp(path)}
        entry["sha256"] = self._known.get((entry["path"], entry["bytes"], entry["modified_ns"]))
        self.data["inputs"].append(entry)
        return entry

    def earlier_step(self, *names: str) -> dict[str, Any]:
        """Return what the earlier run noted of a step, or of a part of it; empty where it did not come so far."""
        found: Any = self.earlier.get("steps", {})
        for name in names:
            found = found.get(name, {}) if isinstance(found, dict) else {}
        return found if isinstance(found, dict) else {}

    @contextlib.contextmanager
    def step(self, *names: str) -> Iterator[dict[str, Any]]:
        """Time a step or a part of one, and write the manifest when it ends well, with what is put into the dict."""
        place = self.data["steps"]
        for name in names[:-1]:
            place = place.setdefault(name, {})
        noted: dict[str, Any] = {"status": "done", "began": now()}
        begin = time.perf_counter()
        yield noted
        noted["seconds"] = round(time.perf_counter() - begin, 3)
        place[names[-1]] = noted
        self.write()

    def write(self) -> None:
        """Write the manifest as it is now."""
        for entry, future in self._pending:
            if future.done() and not future.cancelled() and future.exception() is None:
                entry["sha256"] = future.result()
        with atomic_path(self.path) as temporary:
            text = json.dumps(self.data, indent=1, ensure_ascii=False) + "\n"
            # Bytes of names that are not UTF-8 become escapes, which JSON has, too.
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace")

    def finish(self, status: str, *, progress: Callable[[int, int, str], None] | None = None) -> None:
        """Wait for the hashes of the inputs, and write the manifest for the last time."""
        for done, (entry, future) in enumerate(self._pending):
            if progress is not None:
                progress(done, len(self._pending), f"hash of {Path(entry['path']).name}")
            try:
                future.result()
            except OSError as error:
                _log.warning("%s has no hash in %s: %s", entry["path"], self.path, error)
        self.data |= {"status": status, "ended": now(), "seconds": round(time.perf_counter() - self._begin, 3)}
        self.write()

    def close(self) -> None:
        """End the thread that reads inputs, at once."""
        self._stop.set()
        self._reader.shutdown(cancel_futures=True)


def outputs_of(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Return name and SHA-256 of files that a later run relies on."""
    return [{"path": str(path), "sha256": hash_file(path)} for path in paths]


def are_unchanged(outputs: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether files are there as they were noted; False where none was noted."""
    return bool(outputs) and all(
        Path(o["path"]).is_file() and hash_file(Path(o["path"])) == o["sha256"] for o in outputs
    )
