"""Whether a refined parallax means something: in one image of small angles it looks like distance and distortion."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import numpy as np

from midas.geometry import FloatArray

logger = logging.getLogger(__name__)

_USEFUL = 200.0  # µm: sensors convert within a millimetre, so that a value less certain than this says nothing
_NEGATIVE = 3.0  # standard uncertainties below zero at which something else is in the parallax' place


def parallax_doubts(parallax: float, parameters: Sequence[str], covariance: FloatArray) -> tuple[str, ...]:
    """Return why a refined parallax [µm] cannot be believed; nothing where it can, or where it was not refined.

    Examples
    --------
    >>> covariance = np.array([[100.0, 5990.0], [5990.0, 360000.0]])
    >>> parallax_doubts(120.0, ("distance", "parallax"), covariance)[0]
    'the parallax is not determined: 120 ± 600 µm, correlation 0.998 with distance; fix it, or add images at other \
distances'
    """
    if "parallax" not in parameters:
        return ()
    place = list(parameters).index("parallax")
    variance = float(covariance[place, place])
    if not (math.isfinite(variance) and variance > 0.0):
        return ("the parallax cannot be told from the other parameters; fix it, or add images at other distances",)
    esd = math.sqrt(variance)
    name, correlation = closest(place, parameters, covariance)
    linked = f", correlation {correlation:.3f} with {name}" if name else ""
    logger.info("parallax %.1f ± %.1f µm%s", parallax, esd, linked)
    if esd > _USEFUL:
        return (
            f"the parallax is not determined: {parallax:.0f} ± {esd:.0f} µm{linked}; fix it, or add images at other "
            "distances",
        )
    if parallax < -_NEGATIVE * esd:
        return (f"the parallax is {parallax:.0f} ± {esd:.0f} µm, which no sensor has: it stands for something else",)
    return ()


def closest(place: int, parameters: Sequence[str], covariance: FloatArray) -> tuple[str, float]:
    """Return the name of the parameter most correlated with the one at `place`, and the correlation; "" when alone."""
    sigma = np.sqrt(np.diag(covariance))
    with np.errstate(invalid="ignore", divide="ignore"):
        row = np.nan_to_num(covariance[place] / (sigma[place] * sigma))
    row[place] = 0.0
    if len(row) < 2:
        return "", 0.0
    other = int(np.argmax(np.abs(row)))
    return parameters[other], float(row[other])
