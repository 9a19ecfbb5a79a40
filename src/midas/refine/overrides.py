"""Instrument parameters that win over those of a caked file: named, or lying beside it; and which of them were used."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from midas.errors import InputError
from midas.refine.gsas2_text import check_instrument_text

_log = logging.getLogger(__name__)


def overrides_beside(data_file: Path) -> list[Path]:
    """Return the instrument files lying beside a caked file, `x.zarr.instprm` and `x.instprm`, the one that wins first.

    Examples
    --------
    >>> overrides_beside(Path("nowhere/x.zarr.zip"))
    []
    """
    name = data_file.name.removesuffix(".zip")
    spellings = dict.fromkeys((f"{name}.instprm", f"{name.removesuffix('.zarr')}.instprm"))
    return [data_file.with_name(spelling) for spelling in spellings if data_file.with_name(spelling).is_file()]


def override_beside(data_file: Path) -> Path | None:
    """Return the instrument file beside a caked file that is used where none is named, or None."""
    return next(iter(overrides_beside(data_file)), None)


def override_notes(given: str | os.PathLike[str] | None, data_file: Path) -> tuple[str, ...]:
    """Return sentences on the files that override a caked file's parameters: which one is used, and which are not.

    Examples
    --------
    >>> override_notes("a.instprm", Path("nowhere/x.zarr.zip"))
    ('instrument parameters of a.instprm win over those of x.zarr.zip',)
    """
    beside = overrides_beside(data_file)
    used = os.fspath(given) if given is not None else beside[0].name if beside else None
    if used is None:
        notes = []
    else:
        where = "" if given is not None else ", beside the data,"
        notes = [f"instrument parameters of {used}{where} win over those of {data_file.name}"]
    left = [p for p in beside if not _is_same(p, beside[0] if given is None else Path(given))]
    why = "was named" if given is not None else "has the name that counts first"
    notes += [f"{path.name}, beside {data_file.name}, is not used: {used} {why}" for path in left]
    sample = data_file.with_name(f"{data_file.name.removesuffix('.zip')}.samprm")
    if sample.is_file():
        notes.append(
            f"{sample.name}, beside {data_file.name}, is not used: midas takes the sample's values of the data"
        )
    return tuple(notes)


def _is_same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()


def check_instprm(instprm: str | os.PathLike[str] | None, data_file: Path) -> Path | None:
    """Return the instrument file to use, the one named or one beside the data; None without.

    Raises
    ------
    InputError
        It does not exist, is none of GSAS-II's, or has values that cannot be.
    """
    found = override_beside(data_file) if instprm is None else Path(instprm)
    if found is None:
        return None
    if not found.is_file():
        what = "is a folder; name a file" if found.is_dir() else "does not exist"
        raise InputError(f"the instrument parameter file {found} {what}")
    text = found.read_text(encoding="utf-8", errors="replace")
    first = text.split("\n", 1)[0]
    if "GSAS-II" not in first:
        raise InputError(f"{found} is not a GSAS-II instrument file: its first line is {first.strip()[:60]!r}")
    problem, remark = check_instrument_text(text)
    if problem:
        raise InputError(f"{found}: {problem}")
    if remark:
        _log.warning("%s: %s", found, remark)
    return found.resolve()
