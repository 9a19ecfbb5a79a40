"""What image files say of the instrument and of omega, beside what parameters say or leave out."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from midas.cake.file_task import open_images
from midas.errors import MidasError
from midas.io.headers import Hint
from midas.io.parameters import Parameters

_log = logging.getLogger(__name__)

_KEYS = {"wavelength": "Wavelength", "pixel_size": "px"}
"""What a header knows as well as a calibration does. A distance or a beam centre of a header is no calibrated one."""
_LOOKED_AT = 2  # files, of which one says how omega goes on from the other
_SAME_WAVELENGTH = 0.01  # share by which a header may differ from a calibrated energy; more is another beam
_SAME_PIXEL = 0.01
_SAME_OMEGA = 0.01  # of a step


def with_header_values(parameters: Parameters, paths: Sequence[Path], *, location: str | None) -> Parameters:
    """Return parameters with the wavelength and the pixel size of the images' headers where they have none.

    The first file that can be read speaks for all; each value taken is logged with its source. Where parameters and
    images say different things, of omega too, the parameters hold, and a warning is logged.
    """
    looked_at = list(itertools.islice(_metadata(paths, parameters, location), _LOOKED_AT))
    hints = _hints(looked_at)
    values: dict[str, float] = {}
    for name, key in _KEYS.items():
        hint = hints.get(name)
        if hint is None or not isinstance(hint.value, float):
            continue
        if key not in parameters and not (key == "px" and "pxY" in parameters):
            _log.warning("%s has no %s; taken from the images: %s", parameters.name, key, hint.describe())
            values[key] = hint.value
        elif key in parameters and _differs(parameters.number(key), hint.value, _TOLERANCES[name]):
            told = f"{key} {parameters.number(key):g}"
            _log.warning("%s has %s, which holds; the images say %s", parameters.name, told, hint.describe())
    _compare_omega(parameters, looked_at)
    return parameters.updated(values) if values else parameters


_TOLERANCES = {"wavelength": _SAME_WAVELENGTH, "pixel_size": _SAME_PIXEL}


def _differs(told: float, found: float, tolerance: float) -> bool:
    return abs(told - found) > tolerance * abs(told)


def _compare_omega(parameters: Parameters, looked_at: Sequence[Mapping[str, object]]) -> None:
    """Warn where the parameters give another omega than the images, which they override."""
    found = [(m.get("omega_start"), m.get("omega_step")) for m in looked_at]
    starts = [start for start, _ in found if isinstance(start, float)]
    steps = [step for _, step in found if isinstance(step, float)]
    if not starts or not steps:
        return
    step = steps[0]
    if "OmegaStep" in parameters and _differs(step, parameters.omega_step, _SAME_OMEGA):
        _log.warning(
            "%s has OmegaStep %g, which holds; the images say %g deg", parameters.name, parameters.omega_step, step
        )
    if "OmegaStart" not in parameters:
        return
    told, first = parameters.omega_start, starts[0] + parameters.skip_frames * step
    if abs(told - first) > _SAME_OMEGA * abs(step):
        _log.warning(
            "%s has OmegaStart %g, which holds for every file; the images begin at %g deg", parameters.name, told, first
        )
    elif len(starts) > 1 and abs(starts[1] - starts[0]) > _SAME_OMEGA * abs(step):
        _log.warning(
            "%s has OmegaStart %g, which holds for every file; the images begin at %g, then at %g deg: take OmegaStart "
            "out to use theirs",
            parameters.name,
            told,
            *starts[:2],
        )


def _metadata(paths: Sequence[Path], parameters: Parameters, location: str | None) -> Iterator[Mapping[str, object]]:
    """Yield what images that can be read say of themselves."""
    for path in paths:
        try:
            with open_images(path, location, parameters) as frames:
                yield frames.metadata
        except MidasError:  # it is reported when its turn comes
            continue


def _hints(looked_at: Sequence[Mapping[str, object]]) -> dict[str, Hint]:
    """Return the first hint of each name."""
    hints = looked_at[0].get("hints", ()) if looked_at else ()
    return {hint.name: hint for hint in reversed(hints)} if isinstance(hints, tuple) else {}
