"""Caked frames as part of a report: a browser of the sums, and their profiles one above the other."""

from __future__ import annotations

import html
import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from midas.geometry import FloatArray
from midas.io.caked_zip import recorded_sums
from midas.io.gsas_zarr import CakeFile, read_cake_file
from midas.report import Part
from midas.report.encode import joined, log_range, packed, packed_log, shown_range
from midas.report.figures import buttons, plot, table, verdict
from midas.shown import evenly

if TYPE_CHECKING:
    from midas.cake.result import Cake

CELLS = 1_200_000
"""Cells of all cakes that a report shows."""
PROFILE_POINTS = 400_000
"""Points of all profiles that a report shows."""
MOST_FILES = 40
"""Files that are read for a report; of more, this many at even distances."""
_MOST_RADII, _MOST_ETA, _MOST_PROFILE, _MOST_SUMS = 600, 180, 2000, 200
_MOST_LISTED = 30
_SAME_BIN = 6  # decimals of an angle [deg] in which the bins of files agree that are shown together


@dataclass
class _Reduced:
    """The sums of files with the same bins, on their way into a page."""

    two_theta: FloatArray
    profile_two_theta: FloatArray
    eta: FloatArray
    normalized: bool
    cakes: list[npt.NDArray[np.float32]] = field(default_factory=list)
    profiles: list[npt.NDArray[np.float32]] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    n_sums: int = 0
    """Sums of its files, shown or not."""
    factors: tuple[int, int, int] = (1, 1, 1)


def cake_parts(
    caked: Sequence[Path | str | Cake | CakeFile], *, failed: Sequence[tuple[str, str]] = (), place: str = "cake"
) -> list[Part]:
    """Return the sections of caked files or cakes; `failed` are (images, reason) of what could not be caked.

    Of many files some at even distances are shown, and the section says so; files whose bins differ get sections of
    their own.
    """
    shown = evenly(list(caked), MOST_FILES)
    groups = _groups(shown)
    parts = []
    for i, group in enumerate(groups):
        words = [f"{len(caked)} file{'s' * (len(caked) != 1)} caked"] if i == 0 else ["other bins"]
        if i == 0 and len(shown) < len(caked):
            words.append(f"{len(shown)} at even distances are shown here")
        parts.append(
            _part(group, f"{place}{i}", words, failed if i == 0 else (), number=i if len(groups) > 1 else None)
        )
    if not parts:
        banner = _banner(["no file was caked"], failed)
        parts.append(Part("Integration", banner, status=_status(failed), kind=_kind(failed)))
    return parts


def _groups(shown: Sequence[Path | str | Cake | CakeFile]) -> list[_Reduced]:
    """Return the sums by their bins, reduced file by file so that memory holds one at a time."""
    groups: dict[tuple[Any, ...], _Reduced] = {}
    for thing in shown:
        file, label, n_sums = _opened(thing, len(shown))
        two_theta, eta = _axes(file)
        places = (np.round(axis, _SAME_BIN).tobytes() for axis in (two_theta, eta))
        key = (file.intensity.shape[1:], bool(file.metadata.get("normalized", True)), *places)
        if key not in groups:
            groups[key] = _started(file, two_theta, eta, len(shown))
        groups[key].n_sums += n_sums
        _add(groups[key], file, label)
    return list(groups.values())


def _opened(thing: Path | str | Cake | CakeFile, n_files: int) -> tuple[CakeFile, str, int]:
    """Return what is shown of a file, its name where there are several, and how many sums it has in all."""
    if isinstance(thing, (str, Path)):
        file = read_cake_file(thing, individual=False, most_sums=max(1, _MOST_SUMS // n_files))
        return file, Path(thing).name if n_files > 1 else "", len(recorded_sums(Path(thing)))
    file = thing if isinstance(thing, CakeFile) else thing.to_cake_file()
    return file, "", len(file.intensity)


def _axes(file: CakeFile) -> tuple[FloatArray, FloatArray]:
    """Return 2θ of the rows and eta of the columns [deg], from bins that hold pixels where there are any."""
    seen = file.bin_area > 0.0
    two_theta = [np.median(row[ok] if ok.any() else row) for row, ok in zip(file.two_theta, seen, strict=True)]
    eta = [np.median(c[ok] if ok.any() else c) for c, ok in zip(file.eta.T, seen.T, strict=True)]
    return np.array(two_theta), np.array(eta)


def _started(file: CakeFile, two_theta: FloatArray, eta: FloatArray, n_files: int) -> _Reduced:
    """Return an empty group with the factors by which bins are joined."""
    n_sums, n_radius, n_eta = file.intensity.shape
    n_sums = min(n_sums * n_files, 60)
    by_eta = math.ceil(n_eta / _MOST_ETA)
    room = max(60, CELLS // (n_sums * math.ceil(n_eta / by_eta)))
    by_radius = math.ceil(n_radius / min(_MOST_RADII, room))
    by_profile = math.ceil(n_radius / _MOST_PROFILE)
    return _Reduced(
        two_theta=joined(two_theta, None, by_radius, 0),
        profile_two_theta=joined(two_theta, None, by_profile, 0),
        eta=joined(eta, None, by_eta, 0),
        normalized=bool(file.metadata.get("normalized", True)),
        factors=(by_radius, by_eta, by_profile),
    )


def _add(group: _Reduced, file: CakeFile, label: str) -> None:
    by_radius, by_eta, by_profile = group.factors
    area = file.bin_area
    for k in evenly(range(len(file.intensity)), _MOST_SUMS):
        cake = file.intensity[k]
        weight = np.where(np.isfinite(cake), area if group.normalized else 1.0, 0.0)
        share = weight.sum(axis=1)
        profile = np.nansum(weight * cake, axis=1)
        if group.normalized:
            profile = profile / np.where(share > 0.0, share, np.nan)
        else:
            profile = np.where(share > 0.0, profile, np.nan)
        group.profiles.append(joined(profile, None, by_profile, 0).astype(np.float32))
        reduced = joined(joined(cake, area, by_radius, 0), None, by_eta, 1)
        group.cakes.append(reduced.astype(np.float32))
        group.labels.append(_label(file, k, label))


def _label(file: CakeFile, k: int, name: str) -> str:
    n, last = int(file.frames[k]), int(file.frame_numbers[k])
    words = f"frame {last}" if n == 1 else f"sum of {n} frames, {last - n + 1} to {last}"
    low, high = float(file.first_omega[k]), float(file.last_omega[k])
    turns = math.isfinite(low) and bool(np.any(file.last_omega != 0.0))  # all 0: nobody said
    omega = "" if not turns else f", ω {0.5 * (low + high):g} deg"
    return f"{name}: {words}{omega}" if name else f"{words}{omega}"


def _banner(words: Iterable[str], failed: Sequence[tuple[str, str]]) -> str:
    reasons = [f"{name}: {reason}" for name, reason in failed[:_MOST_LISTED]]
    if len(failed) > _MOST_LISTED:
        reasons.append(f"and {len(failed) - _MOST_LISTED} more")
    return verdict(_status(failed), ", ".join(words), reasons, kind=_kind(failed))


def _status(failed: Sequence[tuple[str, str]]) -> str:
    return f"{len(failed)} FAILED" if failed else "DONE"


def _kind(failed: Sequence[tuple[str, str]]) -> str:
    return "failed" if failed else "neutral"


def _part(
    group: _Reduced, place: str, words: list[str], failed: Sequence[tuple[str, str]], *, number: int | None
) -> Part:
    n = group.n_sums
    picked = evenly(range(len(group.cakes)), max(1, min(60, CELLS // max(1, group.cakes[0].size))))
    lines = evenly(range(len(group.cakes)), max(1, PROFILE_POINTS // len(group.profile_two_theta)))
    words = [*words, f"{n} sum{'s' * (n != 1)}, 2θ {group.two_theta[0]:.3f} to {group.two_theta[-1]:.3f} deg"]
    unit = "counts / px²" if group.normalized else "counts"
    data = _data(group, picked, lines, unit)
    scale = buttons(f"{place}-map", (("log", "log"), ("sqrt", "root"), ("linear", "linear")), "log", "scale")
    slider = (
        f'<label>sum <input type="range" id="{place}-slider" min="0" max="{len(picked) - 1}" value="0" step="1">'
        f'</label> <output id="{place}-name">{html.escape(group.labels[picked[0]])}</output>'
        if len(picked) > 1
        else f'<output id="{place}-name">{html.escape(group.labels[0])}</output>'
    )
    body = (
        _banner(words, failed)
        + f'<h3>Sums, one by one</h3><p class="controls">{scale} {slider}</p>'
        + plot(f"{place}-map", _how_reduced(group, picked, n), shape="tall", label="intensity over 2θ and azimuth")
        + plot(f"{place}-profile", "Profile of this sum: mean over all azimuths.", shape="low")
    )
    if n > 1:
        kinds = buttons(f"{place}-waterfall", (("lines", "lines"), ("map", "map")), "lines", "waterfall as")
        caption = (
            "Profiles of the sums. Lines: each lifted above the one before it; map: a row for each, from the bottom."
        )
        if len(lines) < n:
            caption += f" {len(lines)} of {n} sums, at even distances."
        body += f'<h3>Waterfall</h3><p class="controls">{kinds}</p>' + plot(f"{place}-waterfall", caption, shape="tall")
    body += _list_of_sums(group)
    return Part(
        "Integration" + ("" if number is None else f" {number + 1}"),
        body,
        data={"cakes": {place: data}},
        status=_status(failed),
        kind=_kind(failed),
    )


def _data(group: _Reduced, picked: list[int], lines: list[int], unit: str) -> dict[str, Any]:
    cakes = np.stack([group.cakes[k] for k in picked]).astype(np.float64)
    profiles = np.stack([group.profiles[k] for k in lines]).astype(np.float64)
    of_picked = np.stack([group.profiles[k] for k in picked]).astype(np.float64)
    return {
        "two_theta": packed(group.two_theta, "f4"),
        "eta": packed(group.eta, "f4"),
        "levels": packed_log(cakes, *log_range(cakes)),
        "range": shown_range(cakes),
        "labels": [group.labels[k] for k in picked],
        "profile_two_theta": packed(group.profile_two_theta, "f4"),
        "profiles": packed(of_picked, "f4"),
        "waterfall": packed_log(profiles, *log_range(profiles)),
        "waterfall_labels": [group.labels[k] for k in lines],
        "unit": unit,
    }


def _how_reduced(group: _Reduced, picked: list[int], n: int) -> str:
    by_radius, by_eta, _ = group.factors
    words = "Intensity over 2θ and azimuth; pale blue: no pixel. The scale is the same for every sum."
    if by_radius > 1 or by_eta > 1:
        bins = [f"{n} {of}" for n, of in ((by_radius, "of radius"), (by_eta, "of azimuth")) if n > 1]
        words += f" To keep the file small bins are shown as means of {' and '.join(bins)}."
    if len(picked) < n:
        words += f" {len(picked)} of {n} sums, at even distances."
    return words


def _list_of_sums(group: _Reduced) -> str:
    rows = [(str(i), label) for i, label in itertools.islice(enumerate(group.labels), _MOST_SUMS)]
    if len(rows) < 2:
        return ""
    some = "" if len(rows) == group.n_sums else f" of {group.n_sums}"
    return f"<details><summary>{len(rows)}{some} sums</summary>{table(('', 'sum'), rows)}</details>"
