"""What image files say of their scan, as keys of `Frames.metadata`: omega, exposure, temperature, pressure, monitor.

Here numbers of any source become these keys, and the text headers of CBF, TIFF and EDF are read; trees are read in
`midas.io.scan_trees`. Only what can be meant in one way is taken.
"""

from __future__ import annotations

import functools
import logging
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from midas.units import MPA_PER_UNIT, SECONDS_PER_UNIT, degrees_of, kelvin_of

Numbers = npt.NDArray[np.float64]

SOURCES = "scan_sources"
"""Key of metadata: where each of the others stands in the file."""
UNUSED = "omega_unused"
"""Key of metadata: a sentence that says why the omega of the file is not taken."""
OMEGA_NAMES = frozenset({"omega", "om", "ome", "rot", "rotation", "rotation_angle", "sample_omega", "sample_rotation"})
"""Names of the axis about which the sample turns, in lower case."""

_UNEVEN = 0.05  # of a step, by which encoders may be off
_STILL = 1e-3  # deg: what changes less in a whole scan did not turn
_DECIMALS = 6  # of a degree: numbers stored in single precision are no better
_OTHER_AXES = re.compile(r"phi|kappa|chi|(2|two)[ _]?theta|tth", re.IGNORECASE)

_log = logging.getLogger(__name__)


def omega_metadata(
    found: Mapping[str, Numbers], n_frames: int, step: float | None = None, *, zero_is_unset: bool = True
) -> dict[str, object]:
    """Return `omega_start` and `omega_step` [deg], or why there are none.

    Parameters
    ----------
    found
        Omega [deg] by its place in the file: of each frame, or one value.
    n_frames
        Frames of the file.
    step
        Omega from frame to frame [deg], where the file says it.
    zero_is_unset
        True where 0 for all frames is what stands in files when nobody set it.

    Examples
    --------
    >>> omega_metadata({"omega": np.array([10.0, 10.5, 11.0])}, 3)["omega_step"]
    0.5
    >>> omega_metadata({"omega": np.array([10.0, 10.5, 12.0])}, 3)["omega_unused"]
    'its omega (omega) goes from 10 to 12 deg in uneven steps; it is left out: give OmegaStart and OmegaStep'
    """
    known: dict[str, Numbers] = {}
    for source, values in found.items():
        if values.size == 1 and n_frames > 1 and step is not None:
            known[source] = values[0] + step * np.arange(n_frames, dtype=np.float64)
        elif values.size == n_frames:
            known[source] = values
    if not known:
        return _not_taken(found, n_frames)
    source, values = next(iter(known.items()))
    if not np.isfinite(values).all():
        return {UNUSED: f"its omega ({source}) has values that are no numbers; {_GIVE}"}
    if zero_is_unset and not values.any() and not step:
        return {}
    first, each, is_even = _even_steps(values)
    if not is_even:
        return {UNUSED: f"its omega ({source}) goes from {values[0]:g} to {values[-1]:g} deg in uneven steps; {_GIVE}"}
    for other, also in known.items():
        if not np.allclose(also, values, rtol=0.0, atol=max(_STILL, _UNEVEN * abs(each))):
            return {
                UNUSED: f"its omega begins at {values[0]:g} deg by {source}, at {also[0]:g} deg by {other}, and they "
                f"do not agree; {_GIVE}"
            }
    metadata: dict[str, object] = {"omega_start": first, SOURCES: {"omega_start": source}}
    if n_frames > 1 or step is not None:
        metadata["omega_step"] = each if n_frames > 1 or step is None else round(step, _DECIMALS)
    return metadata


_GIVE = "it is left out: give OmegaStart and OmegaStep"


def _not_taken(found: Mapping[str, Numbers], n_frames: int) -> dict[str, object]:
    """Say why values that are not one a frame are no use; nothing where there are none, or a default."""
    for source, values in found.items():
        if not values.any():
            continue
        if values.size == 1:
            one = f"its omega ({source}) is {values[0]:g} deg for all {n_frames} frames, and no step is given"
            return {UNUSED: f"{one}; {_GIVE}"}
        return {UNUSED: f"its omega ({source}) has {values.size} values for {n_frames} frames; {_GIVE}"}
    return {}


def _even_steps(values: Numbers) -> tuple[float, float, bool]:
    """Return omega of the first frame, the step, and whether the steps are even, also where 360 deg become 0."""
    for turned in (values, np.unwrap(values, period=360.0)):
        n = len(turned)
        step = float(turned[-1] - turned[0]) / max(1, n - 1)
        if float(np.ptp(turned)) <= _STILL:
            return round(float(values[0]), _DECIMALS), 0.0, True
        off = float(np.abs(turned - (turned[0] + step * np.arange(n))).max())
        if off <= _UNEVEN * abs(step):
            return round(float(turned[0]), _DECIMALS), round(step, _DECIMALS), True
    return float(values[0]), 0.0, False


def in_our_unit(name: str, values: Numbers, unit: str) -> Numbers | None:
    """Return omega in deg, exposure in s, temperature in K, pressure in MPa; None where the unit is none of these.

    A unit that is not given is taken to be ours.
    """
    unit = unit.strip().rstrip(".").lower()
    if name == "omega":
        return degrees_of(values, unit)
    if name == "temperature":
        return kelvin_of(values, unit)
    factors = {"exposure_time": SECONDS_PER_UNIT, "pressure": MPA_PER_UNIT}.get(name)
    factor = 1.0 if factors is None or unit == "" else factors.get(unit)
    return None if factor is None else values * factor


def condition_metadata(name: str, values: Numbers, n_frames: int, source: str) -> dict[str, object]:
    """Return a quantity as one number, or as a read-only array of one for each frame; nothing where it is neither."""
    if values.size not in (1, n_frames) or not np.isfinite(values).any():
        return {}
    if values.size == 1 or bool((values == values[0]).all()):
        return {name: float(values[0]), SOURCES: {name: source}}
    values = np.array(values)
    values.flags.writeable = False
    return {name: values, SOURCES: {name: source}}


def merged(*parts: Mapping[str, object]) -> dict[str, object]:
    """Return metadata of several places, their sources put together; what comes later wins."""
    found: dict[str, object] = {}
    sources: dict[str, str] = {}
    for part in parts:
        found |= part
        told: Any = part.get(SOURCES, {})
        sources |= told
    return found | {SOURCES: sources} if sources else found


def dectris_scan(text: str, n_frames: int) -> dict[str, object]:
    r"""Return what Dectris' lines in the header of a CBF or a TIFF say of the scan.

    Source: "PILATUS CBF Header Specification" of Dectris, `Start_angle`, `Angle_increment`, `Omega`, `Exposure_time`,
    `Oscillation_axis`.

    Examples
    --------
    >>> said = dectris_scan("# Start_angle 10.5000 deg.\n# Angle_increment 0.5000 deg.\n# Exposure_time 2.0 s", 1)
    >>> said["omega_start"], said["omega_step"], said["exposure_time"]
    (10.5, 0.5, 2.0)
    """
    exposure = _line(text, "Exposure_time", "exposure_time")
    time = {} if exposure is None else condition_metadata("exposure_time", exposure, n_frames, "image header")
    starts = {f"image header {key}": _line(text, key, "omega") for key in ("Start_angle", "Omega")}
    axis = re.search(r"Oscillation_axis\s+(\S+)", text)
    if axis is not None and _OTHER_AXES.match(axis[1]):
        starts.pop("image header Start_angle")
    steps = [_line(text, key, "omega") for key in ("Angle_increment", "Omega_increment")]
    step = next((float(s[0]) for s in steps if s is not None), None)
    if axis is not None and _OTHER_AXES.match(axis[1]):
        if step:
            return time | {UNUSED: f"its header says that {axis[1]} turned, which is not omega; {_GIVE}"}
        step = None
    found = {source: value for source, value in starts.items() if value is not None}
    return merged(time, omega_metadata(found, n_frames, step))


def _line(text: str, key: str, name: str) -> Numbers | None:
    match = re.search(rf"(?:^|[#\s]){key}[ \t:=]+([-+]?\d+\.?\d*(?:[eE][-+]?\d+)?)[ \t]*([A-Za-z]*)", text)
    return None if match is None else in_our_unit(name, np.array([float(match[1])]), match[2])


def edf_scan(headers: Sequence[Mapping[str, str]]) -> dict[str, object]:
    """Return what the headers of the frames of an EDF file say of the scan.

    Motors and counters stand by name in `motor_mne`, `counter_mne` and by value in `motor_pos`, `counter_pos`, as ESRF
    writes them; or a quantity is a key of its own.

    Examples
    --------
    >>> said = edf_scan([{"motor_mne": "phi omega", "motor_pos": "1.0 10.5", "count_time": "2"}])
    >>> said["omega_start"], said["exposure_time"]
    (10.5, 2.0)
    """
    frames = [_edf_values(header) for header in headers]
    n = len(frames)
    parts: list[dict[str, object]] = []
    for name, keys in _EDF_KEYS.items():
        known = {key: values for key in keys if (values := _of_frames(frames, key, name)) is not None}
        parts += [condition_metadata(name, values, n, f"EDF header {key}") for key, values in known.items()][:1]
    omegas = {key: values for key in sorted(OMEGA_NAMES) if (values := _of_frames(frames, key, "omega")) is not None}
    found = {f"EDF header {key}": values for key, values in omegas.items()}
    return merged(*parts, omega_metadata(found, n, zero_is_unset=False))


_EDF_KEYS: Mapping[str, tuple[str, ...]] = {
    "exposure_time": ("count_time", "exposuretime", "exposure_time", "acq_expo_time"),
    "temperature": ("temperature",),
    "pressure": ("pressure",),
    "i0": ("i0",),
}


def _of_frames(frames: Sequence[Mapping[str, tuple[float, str]]], key: str, name: str) -> Numbers | None:
    """Return the values that frames have of a key, in our unit; None where none has it, or the unit is unknown."""
    pairs = [frame[key] for frame in frames if key in frame]
    units = {unit for _, unit in pairs}
    return in_our_unit(name, np.array([value for value, _ in pairs]), units.pop()) if len(units) == 1 else None


def _edf_values(header: Mapping[str, str]) -> dict[str, tuple[float, str]]:
    """Return number and unit of a frame's header by name in lower case, its motors and counters among them."""
    keys = {str(key).lower(): str(value) for key, value in header.items()}
    found: dict[str, tuple[float, str]] = {}
    for key, value in keys.items():
        words = value.split()
        if len(words) in (1, 2) and (number := _as_number(words[0])) is not None:
            found[key] = (number, "".join(words[1:]))
    for kind in ("counter", "motor"):
        names, values = (keys.get(f"{kind}_{what}", "").split() for what in ("mne", "pos"))
        if len(names) != len(values):
            continue
        for name, word in zip(names, values, strict=True):
            if (number := _as_number(word)) is not None:
                found[name.lower()] = (number, "")
    return found


def _as_number(word: str) -> float | None:
    try:
        value = float(word)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


@functools.lru_cache(maxsize=4096)
def warn_once(sentence: str) -> None:
    """Log a warning, of each file once: it is opened several times."""
    _log.warning("%s", sentence)
