"""What image files say of the instrument, for parameters that leave it out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from midas.cake.file_task import open_images
from midas.errors import MidasError
from midas.io.headers import Hint
from midas.io.parameters import Parameters

_log = logging.getLogger(__name__)

_KEYS = {"wavelength": "Wavelength", "pixel_size": "px"}
"""What a header knows as well as a calibration does. A distance or a beam centre of a header is no calibrated one."""


def with_header_values(parameters: Parameters, paths: Sequence[Path], *, location: str | None) -> Parameters:
    """Return parameters with the wavelength and the pixel size of the images' headers where they have none.

    The first file that can be read speaks for all; each value taken is logged with its source.
    """
    lacking = {name: key for name, key in _KEYS.items() if key not in parameters}
    if "pxY" in parameters:
        lacking.pop("pixel_size", None)
    if not lacking:
        return parameters
    found = {lacking[hint.name]: hint for hint in reversed(_hints(paths, parameters, location)) if hint.name in lacking}
    for key, hint in found.items():
        _log.warning("%s has no %s; taken from the images: %s", parameters.name, key, hint.describe())
    return parameters.updated({key: hint.value for key, hint in found.items()}) if found else parameters


def _hints(paths: Sequence[Path], parameters: Parameters, location: str | None) -> tuple[Hint, ...]:
    for path in paths:
        try:
            with open_images(path, location, parameters) as frames:
                hints = frames.metadata.get("hints", ())
        except MidasError:  # it is reported when its turn comes
            continue
        return hints if isinstance(hints, tuple) else ()
    return ()
