"""Whether the numbers of a caked file can be refined at all: refused in one sentence, before anything starts."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from midas.errors import FormatError, InputError
from midas.refine.lineouts import read_instrument

if TYPE_CHECKING:
    from midas.io.gsas_zarr import CakeFile

_log = logging.getLogger(__name__)

ADVICE = "the file is damaged or was written by another program; integrate again with midas integrate"


def check_cake(cake: CakeFile, path: Path) -> None:
    """Refuse a caked file whose numbers cannot be; warn of values that are left out.

    NaN is no error where it stands for what is not known: intensities, variances, omega, areas.

    Raises
    ------
    FormatError
        A number is impossible; the message names the file, the number and its place.
    """
    try:
        read_instrument(dict(cake.instrument))
    except InputError as error:
        raise FormatError(f"{path}: {error}") from None
    used = np.asarray(cake.bin_area) > 0.0
    problem = _area_problem(cake) or _angle_problem(cake, used) or _omega_problem(cake) or _sum_problem(cake, used)
    if problem:
        raise FormatError(f"{path}: {problem}; {ADVICE}")
    infinite = np.isinf(cake.intensity) & used
    if infinite.any():
        sum_index, bin_index, eta_index = np.argwhere(infinite)[0]
        _log.warning(
            "%s: %d intensities are infinite, the first in sum %d, bin %d, azimuth %d; these bins are left out",
            path, int(infinite.sum()), sum_index, bin_index, eta_index,
        )  # fmt: skip


def _area_problem(cake: CakeFile) -> str | None:
    area = np.asarray(cake.bin_area)
    wrong = (area < 0.0) | np.isinf(area)
    return _first("bin area", area, wrong, "px²; expected 0 (masked) or more") if wrong.any() else None


def _angle_problem(cake: CakeFile, used: NDArray[np.bool_]) -> str | None:
    two_theta, eta = np.asarray(cake.two_theta), np.asarray(cake.eta)
    wrong = used & ~((two_theta >= 0.0) & (two_theta < 180.0))
    if wrong.any():
        return _first("2theta", two_theta, wrong, "deg; expected between 0 and 180")
    wrong = used & ~(np.abs(eta) <= 360.0)
    if wrong.any():
        return _first("eta", eta, wrong, "deg; expected between -180 and 180")
    for column in range(two_theta.shape[1]):
        bins = np.flatnonzero(used[:, column])
        steps = np.diff(two_theta[bins, column])
        if len(steps) == 0:
            continue
        turned = np.flatnonzero(steps * (1.0 if np.median(steps) >= 0.0 else -1.0) <= 0.0)
        if len(turned):
            before, after = (two_theta[bins[turned[0] + k], column] for k in (0, 1))
            return (
                f"2theta is out of order in azimuth {column}: {after:g} deg in bin {bins[turned[0] + 1]} follows "
                f"{before:g}; expected it to rise with the radius"
            )
    return None


def _omega_problem(cake: CakeFile) -> str | None:
    for name, values in (("FirstOme", cake.first_omega), ("LastOme", cake.last_omega)):
        wrong = np.flatnonzero(np.isinf(values))
        if len(wrong):
            return f"the omega of sum {wrong[0]} is {values[wrong[0]]:g} ({name}); expected an angle in deg"
    return None


def _sum_problem(cake: CakeFile, used: NDArray[np.bool_]) -> str | None:
    if cake.variance is None:
        return None
    for k, variance in enumerate(cake.variance):
        wrong = used & ((variance < 0.0) | np.isinf(variance))
        if wrong.any():
            return _first(f"variance of sum {k}", variance, wrong, "expected 0 or more", joint="; ")
    return None


def _first(what: str, values: NDArray[np.float64], wrong: NDArray[np.bool_], expected: str, joint: str = " ") -> str:
    i, j = np.argwhere(wrong)[0]
    return f"the {what} is {values[i, j]:g}{joint}{expected} (bin {i}, azimuth {j}; {int(wrong.sum())} in all)"
