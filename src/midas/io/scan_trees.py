"""What HDF5 and zarr files other than MIDAS' own say of their scan: NeXus and the master files of Eiger detectors."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from midas.io.scan_values import OMEGA_NAMES, Numbers, condition_metadata, in_our_unit, merged, omega_metadata

# Sources: manual.nexusformat.org, NXsample, NXtransformations, NXmonitor, NXdata ("axes"); for Eiger masters the
# SIMPLON API reference of Dectris (sample/goniometer). Places are below the entry that has the images.
_OMEGA_PLACES = (
    "sample/goniometer/omega",
    "sample/goniometer/omega_start",
    "sample/rotation_angle",
    "sample/sample_omega/omega",
    "sample/transformations/omega",
    "sample/transformations/rotation_angle",
    "sample/omega",
)
_STEP_PLACES = ("sample/goniometer/omega_increment", "sample/goniometer/omega_range_average")
_CONDITION_PLACES: Mapping[str, tuple[str, ...]] = {
    "exposure_time": (
        "instrument/detector/count_time", "instrument/detector/exposure_time", "instrument/detector/acquisition_time",
    ),
    "temperature": ("sample/temperature", "sample/temperature/value"),
    "pressure": ("sample/pressure", "sample/pressure/value"),
}  # fmt: skip
_MONITOR_NAMES = ("control", "monitor", "i0", "ic0")
_NOT_SCANNED = re.compile("dark|bright|flat|mask|background", re.IGNORECASE)
_MOST_VALUES = 1 << 24  # numbers: a scan has fewer frames
_MOST_GROUPS = 64


def tree_scan(root: Any, where: str, n_frames: int) -> dict[str, object]:
    """Return omega, exposure, temperature, pressure and monitor of images at a path, as keys of `Frames.metadata`.

    Nothing of what is not one value, or one for each frame; nothing of darks.

    Examples
    --------
    >>> import h5py
    >>> with h5py.File("a.h5", "w", driver="core", backing_store=False) as file:
    ...     file["entry/sample/goniometer/omega"], file["entry/data/data"] = [1.0, 1.5], np.zeros((2, 3, 4))
    ...     tree_scan(file, "entry/data/data", 2)["omega_step"]
    0.5
    """
    if _NOT_SCANNED.search(where.rpartition("/")[2]):
        return {}
    parts: list[dict[str, object]] = []
    omegas = dict(_axes_omega(root, where, n_frames))
    step = None
    entry = _entry_of(root, where)
    if entry is not None:
        for place in _OMEGA_PLACES:
            if (values := _numbers(root, f"{entry}/{place}", "omega")) is not None:
                omegas.setdefault(f"{entry}/{place}", values)
        steps = (_numbers(root, f"{entry}/{place}", "omega") for place in _STEP_PLACES)
        step = next((float(s[0]) for s in steps if s is not None and s.size == 1 and math.isfinite(s[0])), None)
        for name, places in _CONDITION_PLACES.items():
            parts += _condition(root, name, [f"{entry}/{place}" for place in places], n_frames)
        parts += _condition(root, "i0", _monitor(root, entry, n_frames), n_frames)
    return merged(*parts, omega_metadata(omegas, n_frames, step))


def _condition(root: Any, name: str, places: list[str], n_frames: int) -> list[dict[str, object]]:
    for place in places:
        values = _numbers(root, place, name)
        if values is not None and (found := condition_metadata(name, values, n_frames, place)):
            return [found]
    return []


def _axes_omega(root: Any, where: str, n_frames: int) -> Iterator[tuple[str, Numbers]]:
    """Yield the rotations that the NXdata group of the images has along their first axis."""
    node = _node(root, where) if where else None
    place = where if node is not None and not hasattr(node, "shape") else where.rpartition("/")[0]
    group = _node(root, place) if place else None
    if group is None or hasattr(group, "shape"):
        return
    axes = _names(group.attrs.get("axes"))
    for name in [*axes[:1], *sorted(str(child) for child in list(group)[:_MOST_GROUPS])]:
        along = group.attrs.get(f"{name}_indices")
        is_first = name == axes[0] if axes[:1] else False
        if along is not None:
            is_first = np.asarray(along).ravel().tolist() == [0]
        if not is_first or name.lower() not in OMEGA_NAMES:
            continue
        values = _numbers(root, f"{place}/{name}", "omega")
        if values is not None and values.size == n_frames:
            yield f"{place}/{name}", values


def _names(axes: Any) -> list[str]:
    """Return the names of an `axes` attribute: a list, or in old files one text with : or , between."""
    if isinstance(axes, bytes | str):
        text = axes.decode(errors="replace") if isinstance(axes, bytes) else axes
        return [word for word in re.split(r"[:,\[\]\s]+", text) if word]
    if axes is None:
        return []
    return [each.decode(errors="replace") if isinstance(each, bytes) else str(each) for each in np.ravel(axes)]


def _entry_of(root: Any, where: str) -> str | None:
    """Return the group at the top that says how the images were taken; None where it may be any of several."""
    first = where.partition("/")[0] if "/" in where.strip("/") else ""
    if first and (any(_has(root, first, name) for name in ("sample", "instrument")) or _monitor(root, first, 1)):
        return first
    names = [str(name) for name in list(root)[:_MOST_GROUPS]]
    told = [name for name in names if _has(root, name, "sample") or _has(root, name, "instrument")]
    return told[0] if len(told) == 1 else None


def _monitor(root: Any, entry: str, n_frames: int) -> list[str]:
    """Return where the counts of the beam before the sample are: of several monitors, that with a usual name."""
    group = _node(root, entry)
    if group is None or hasattr(group, "shape"):
        return []
    found = [str(name) for name in list(group)[:_MOST_GROUPS] if _class_is(group, str(name), "NXmonitor")]
    usual = [name for known in _MONITOR_NAMES for name in found if name.lower() == known]
    chosen = usual[:1] if usual else found if len(found) == 1 else []
    # What a monitor counted in a whole scan is of a frame only where there is but one.
    names = ("data", "integral") if n_frames == 1 else ("data",)
    return [f"{entry}/{name}/{part}" for name in chosen for part in names]


def _class_is(group: Any, name: str, kind: str) -> bool:
    node = _node(group, name)
    found = None if node is None or hasattr(node, "shape") else node.attrs.get("NX_class")
    return (found.decode(errors="replace") if isinstance(found, bytes) else found) == kind


def _has(root: Any, group: str, name: str) -> bool:
    node = _node(root, group)
    return node is not None and not hasattr(node, "shape") and name in node


def _node(root: Any, place: str) -> Any:
    """Return what lies at a path; None where nothing does, or a link leads nowhere."""
    try:
        return root[place]
    except (KeyError, ValueError):
        return None


def _numbers(root: Any, place: str, name: str) -> Numbers | None:
    """Return the numbers at a path in our unit; None where there are none, or their unit is unknown."""
    node = _node(root, place)
    if node is None or not hasattr(node, "shape") or np.dtype(node.dtype).kind not in "uif":
        return None
    size, chunk = math.prod(node.shape), math.prod(getattr(node, "chunks", None) or (1,))
    if not 0 < size <= _MOST_VALUES or chunk > _MOST_VALUES:
        return None
    unit = node.attrs.get("units", "")
    text = unit.decode(errors="replace") if isinstance(unit, bytes) else str(unit)
    return in_our_unit(name, np.asarray(node[...], dtype=np.float64).ravel(), text)
