"""One small file per histogram that says what was refined and what came out, so that a run can be taken up again.

`hist_NNNN.json` is written last, when every other file of the histogram is there, and whole or not at all. It holds the
hash of everything that the result depends on; curves, reflections and the engine's log are in files of their own.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from midas.io.atomic import atomic_path
from midas.refine.dispatch import EngineCommand
from midas.refine.job import RefinementJob, RefinementResult
from midas.version import version

LEFT_OUT = ("curves", "reflections", "log")
NOT_HASHED = ("index", "sum_index", "eta_index", "output_dir", "phases", "instrument_file", "warnings")
"""Fields of a job on which the result does not depend, and files, whose contents are hashed instead of their names."""


def fingerprint(job: RefinementJob, engine: EngineCommand) -> str:
    """Return the hash of what a result depends on: data, instrument, phases, stages, options, engine and midas."""
    message = {k: v for k, v in job.to_message().items() if k not in NOT_HASHED}
    message["midas"], message["engine"] = version(), [engine.name, engine.version]
    message["phases"] = [[phase.name, _hash_of(phase.path)] for phase in job.phases]
    message["instrument_file"] = None if job.instrument_file is None else _hash_of(job.instrument_file)
    return hashlib.sha256(json.dumps(message, sort_keys=True).encode()).hexdigest()


def _hash_of(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:  # the engine says so of the histogram, and it is not taken for done
        return f"not read: {error}"


def record_path(folder: Path, index: int) -> Path:
    """Return the name of a histogram's record."""
    return folder / f"hist_{index:04d}.json"


def write_record(result: RefinementResult, mark: str, folder: Path) -> Path:
    """Write the record of a result, all of whose other files are there; return its path."""
    kept = {k: v for k, v in _plain(without_curves(result)).items() if k not in LEFT_OUT}
    stem = f"hist_{result.index:04d}"
    ends = ["_data.csv", "_reflections.csv", ".log", *(f"_{phase.name}.cif" for phase in result.phases)]
    names = [name for name in (result.project, *(stem + end for end in ends)) if name and (folder / name).is_file()]
    files = {name: (folder / name).stat().st_size for name in names}
    path = record_path(folder, result.index)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps({"fingerprint": mark, "files": files, "result": kept}) + "\n", encoding="utf-8")
    return path


def without_curves(result: RefinementResult) -> RefinementResult:
    """Return a result without what lies in files of its own: curves, reflections and the engine's log."""
    n_points = result.n_points or len(result.curves.get("two_theta", ())) or None
    return dataclasses.replace(result, curves={}, reflections={}, log="", n_points=n_points)


def _plain(value: Any) -> Any:
    """Return results as the worker sends them: values as [value, esd], the rest by the names of the fields."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [f.name for f in dataclasses.fields(value)]
        if fields == ["value", "esd"]:
            return [getattr(value, name) for name in fields]
        return {name: _plain(getattr(value, name)) for name in fields}
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def read_record(job: RefinementJob, mark: str) -> RefinementResult | None:
    """Return the result of an earlier run when it is that of the same inputs and all its files are there, else None.

    One on which the engine itself broke, by a crash or a time limit, is not taken for done.
    """
    try:
        record = json.loads(record_path(job.output_dir, job.index).read_text(encoding="utf-8"))
        found, whole = record["fingerprint"], _are_whole(record["files"], job.output_dir)
        result = RefinementResult.from_message(record["result"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    same = found == mark and result.index == job.index and not result.error
    return result if same and whole else None


def are_whole(folder: Path, indices: Iterable[int]) -> bool:
    """Return whether each of these histograms has its record, and every file of it is as it was written."""
    try:
        records = (json.loads(record_path(folder, index).read_text(encoding="utf-8")) for index in indices)
        return all(_are_whole(record["files"], folder) for record in records)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _are_whole(files: Mapping[str, int], folder: Path) -> bool:
    """Return whether files have the sizes that were noted: one cut short, as when a disk was full, is not finished."""
    return all((folder / name).is_file() and (folder / name).stat().st_size == size for name, size in files.items())
