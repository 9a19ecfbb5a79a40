"""Image files looked into: a few frames of a stack of any length, and what the file says of itself."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from midas.calibration.hints import name_hints
from midas.errors import FormatError, InputError, MidasError
from midas.inspection.looks import look_at, small_picture, spread_over
from midas.inspection.problems import detector_facts, problems_of
from midas.inspection.result import Fact, FrameLook, Inspection
from midas.io.frames import Frames, read_frames
from midas.io.headers import Hint
from midas.io.image_source import CONDITIONS
from midas.io.scan_values import SOURCES, UNUSED
from midas.io.tree_formats import DARK_LOCATION, SCAN_GROUP

_PHOTON_COUNTERS = ("pilatus", "eiger", "mythen", "xpad", "lambda")
_MARKS_OF_COUNTERS = 1e-4  # share of marked pixels above which a detector has gaps, as photon counters do
_HEADER_WORDS = ("expos", "time", "date", "temperature", "energy", "threshold", "sample")
_MOST_HEADER_LINES = 6
_LONGEST_VALUE = 80
_QUANTITIES = {**{name: (label, "") for name, label in CONDITIONS.items()}, "exposure_time": ("exposure", " s")}
_SAME_PIXEL_SIZE = 0.02  # relative


def inspect_images(path: Path, options: dict[str, Any]) -> Inspection:
    """Return what an image file holds; the options are those of `read_frames`.

    Raises
    ------
    FormatError
        The file cannot be read.
    """
    with read_frames(path, **options) as frames:
        missing = frames.never_written
        looks, middle, unread = _look(frames, set(missing))
        hints = (*_hints(frames), *name_hints(path))
        known, shape_problem = detector_facts(*frames.shape[1:])
        problems = [*_missing_problem(frames), *unread]
        masked = _mask_fact(frames, problems)
        problems += problems_of(looks, counts_photons=_counts_photons(hints, known, looks), has_dark=frames.has_dark)
        problems += _last_frames(frames, looks, missing)
        problems += [shape_problem] if shape_problem else []
        problems += _contradictions(hints, known)
        facts = [*_size_facts(path, frames), *_omega_facts(frames), *_value_facts(frames, looks)]
        if known is not None:
            facts.append(Fact("detector", f"{known.name}, pixels of {known.pixel_size:g} µm", "its shape"))
        facts += [_hint_fact(hint) for hint in hints]
        facts += [*masked, *_dark_fact(path, frames, options), *_header_facts(frames)]
        picture = None if middle is None else small_picture(middle[1])
        return Inspection(
            path,
            "images",
            str(frames.metadata.get("format", "")),
            frames.shape,
            frames.dtype.name,
            tuple(facts),
            tuple(problems),
            tuple(looks),
            picture,
            "" if middle is None else f"frame {middle[0]}",
            (-0.5, frames.shape[2] - 0.5, frames.shape[1] - 0.5, -0.5),
        )


def _look(
    frames: Frames, missing: set[int]
) -> tuple[list[FrameLook], tuple[int, np.ndarray[Any, Any]] | None, list[str]]:
    """Return the looks at a few frames, number and pixels of the one to show, and sentences on those unread."""
    written = [i for i in range(len(frames)) if i not in missing] if missing else list(range(len(frames)))
    looks: list[FrameLook] = []
    best: tuple[int, np.ndarray[Any, Any]] | None = None
    problems: list[str] = []
    brightest = -np.inf
    for i in spread_over(written):
        try:
            frame = frames[i]
        except MidasError as error:
            problems.append(str(error).removeprefix(f"{frames.path}: "))
            continue
        look = look_at(frame, i)
        looks.append(look)
        brightness = look.mean if look.mean == look.mean else -1.0
        if brightness > brightest:  # an empty or a masked frame shows nothing
            brightest, best = brightness, (i, frame)
    return looks, best, problems


def _missing_problem(frames: Frames) -> list[str]:
    try:
        frames.check_readable(0, len(frames))
    except InputError as error:
        return [str(error).removeprefix(f"{frames.path}: ")]
    return []


def _last_frames(frames: Frames, looks: list[FrameLook], missing: tuple[int, ...]) -> Iterator[str]:
    """Say from where on a stack is empty; frames between two that were looked at are halved until it is found."""
    if len(looks) < 2 or looks[-1].maximum != 0.0 or looks[-1].index != len(frames) - 1:
        return
    full = [look.index for look in looks if look.maximum > 0.0]
    if not full:
        return
    low = full[-1]
    high = next(look.index for look in looks if look.index > low)
    while high - low > 1 and not set(range(low + 1, high)) & set(missing):
        middle = (low + high) // 2
        try:
            empty = not np.any(frames[middle])
        except MidasError:
            return
        low, high = (low, middle) if empty else (middle, high)
    yield (
        f"the last frames are empty, from {high} on, {len(frames) - high} of {len(frames)}: the scan was stopped, or "
        "the file has room for more than was measured"
    )


def _counts_photons(hints: tuple[Hint, ...], known: Any, looks: list[FrameLook]) -> bool:
    names = [str(hint.value).lower() for hint in hints if hint.name == "detector"]
    names += [] if known is None else [known.name.lower()]
    # Marked pixels are gaps and dead ones, which integrating detectors have no mark for.
    marked = any(look.marked - look.negative > _MARKS_OF_COUNTERS and not look.saturated for look in looks)
    return marked or any(word in name for name in names for word in _PHOTON_COUNTERS)


def _hints(frames: Frames) -> tuple[Hint, ...]:
    hints: Any = frames.metadata.get("hints", ())
    return tuple(hints)


def _hint_fact(hint: Hint) -> Fact:
    text = hint.describe().removesuffix(f" ({hint.source})")
    name = {"beam_center": "beam centre", "raw_beam_center": "beam centre", "pixel_size": "pixel size"}.get(
        hint.name, hint.name
    )
    return Fact(name, text.removeprefix(f"{name} "), hint.source)


def _contradictions(hints: tuple[Hint, ...], known: Any) -> Iterator[str]:
    """Yield where header, file name and the detector's shape say different things."""
    first: dict[str, Hint] = {}
    for hint in hints:
        other = first.setdefault(hint.name, hint)
        a, b = other.value, hint.value
        if not isinstance(a, float) or not isinstance(b, float):
            continue
        if abs(a - b) > max(hint.tolerance, other.tolerance) * abs(a):
            yield f"{other.describe()} and {hint.describe()} contradict each other"
    size = first.get("pixel_size")
    if known is None or size is None or not isinstance(size.value, float):
        return
    if abs(size.value - known.pixel_size) > _SAME_PIXEL_SIZE * known.pixel_size:
        yield f"{size.describe()}, but its shape is that of a {known.name}, whose pixels are {known.pixel_size:g} µm"


def _size_facts(path: Path, frames: Frames) -> Iterator[Fact]:
    location = frames.metadata.get("data_location")
    if location:
        yield Fact("data", str(location))
    unpacked = math.prod(frames.shape) * frames.dtype.itemsize
    files = [file for file in frames.files if file.is_file()]
    stored = sum(file.stat().st_size for file in files)
    parts = "" if len(files) < 2 else f" in {len(files)} files"
    if path.is_file():
        yield Fact("size", f"{stored / 1e6:.3g} MB stored{parts}, {unpacked / 1e6:.3g} MB as numbers")


def _omega_facts(frames: Frames) -> Iterator[Fact]:
    start, step, unused = (frames.metadata.get(name) for name in ("omega_start", "omega_step", UNUSED))
    sources: Any = frames.metadata.get(SOURCES, {})
    if isinstance(start, float):
        text = f"{start:g} deg"
        if isinstance(step, float):
            start += step * frames.skip_frames  # the file's is that of the first frame stored (docs/files.md)
            end = start + step * (len(frames) - 1)
            text = f"{start:g} to {end:g} deg in steps of {step:g}"
        yield Fact("omega", text, sources.get("omega_start", SCAN_GROUP))
    elif isinstance(unused, str):
        yield Fact("omega", unused.removeprefix("its omega "))
    for name, (label, unit) in _QUANTITIES.items():
        value = frames.metadata.get(name)
        source = sources.get(name, SCAN_GROUP)
        if isinstance(value, np.ndarray) and value.size:
            yield Fact(label, f"{np.nanmin(value):g} to {np.nanmax(value):g}{unit}", source)
        elif isinstance(value, float):
            yield Fact(label, f"{value:g}{unit}", source)


def _value_facts(frames: Frames, looks: list[FrameLook]) -> Iterator[Fact]:
    known = [look for look in looks if look.maximum == look.maximum]
    if len(frames) > 1:
        yield Fact("looked at", f"frames {', '.join(str(look.index) for look in looks) or 'none'}")
    if not known:
        return
    low, high = min(look.minimum for look in known), max(look.maximum for look in known)
    median = float(np.median([look.median for look in known]))
    what = "" if len(known) == 1 else " (of the frames' medians)"
    yield Fact("counts", f"min {low:g}, median {median:g}{what}, max {high:g}")
    marked = max(look.marked for look in looks)
    yield Fact("marked", f"{marked:.3%} of the pixels, as no counts: negative, NaN or the largest value of the type")
    saturated = max(look.saturated for look in looks)
    yield Fact("saturated", f"{100.0 * saturated:.2g} % of the pixels" if saturated else "none seen")


def _mask_fact(frames: Frames, problems: list[str]) -> list[Fact]:
    try:
        mask = frames.mask
    except FormatError as error:
        problems.append(str(error).removeprefix(f"{frames.path}: "))
        return []
    return [] if mask is None else [Fact("mask", f"{mask.mean():.2%} masked", "exchange/mask")]


def _dark_fact(path: Path, frames: Frames, options: dict[str, Any]) -> Iterator[Fact]:
    if not frames.has_dark:
        return
    with read_frames(path, **{**options, "data_location": DARK_LOCATION, "skip_frames": 0}) as darks:
        look = look_at(darks[0], 0)
        plural = "frames" if len(darks) > 1 else "frame"
        yield Fact("dark", f"{len(darks)} {plural}, median {look.median:g} of the first", DARK_LOCATION)


def _header_facts(frames: Frames) -> Iterator[Fact]:
    """Yield a few lines of a text header that people look for."""
    told = ("source", "format", "description", "_array_data.header_contents")
    shown = 0
    for key, value in frames.metadata.items():
        wanted = any(word in key.lower() for word in _HEADER_WORDS)
        if key in told or key in CONDITIONS or not wanted or not isinstance(value, str) or shown >= _MOST_HEADER_LINES:
            continue
        shown += 1
        yield Fact(key, " ".join(value.split())[:_LONGEST_VALUE], "header")
