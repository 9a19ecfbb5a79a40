"""What of a caked file is refined: lineouts by number, omega and eta, and the 2θ that counts, each checked."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from midas.checks import numbers
from midas.errors import InputError

if TYPE_CHECKING:
    from midas.io.gsas_zarr import CakeFile

MAX_BACKGROUND_TERMS = 36
AUTO = "auto"
"""Number of background terms chosen from the data."""

Range = tuple[float, float]


def check_limits(limits: Sequence[float] | None) -> Range | None:
    """Return the limits of 2θ [deg], or None for all.

    Examples
    --------
    >>> check_limits([2, 12])
    (2.0, 12.0)
    """
    return None if limits is None else _two_theta_range("limits are", limits)


def check_reach(cake: CakeFile, limits: Range | None, excluded: Sequence[Range] = ()) -> None:
    """Refuse limits of 2θ [deg] between which the file has no data at all, and excluded regions that leave none."""
    check_reach_of(np.asarray(cake.two_theta)[np.asarray(cake.bin_area) > 0.0], limits, excluded)


def check_reach_of(two_theta: NDArray[np.float64], limits: Range | None, excluded: Sequence[Range] = ()) -> None:
    """Refuse what `check_reach` does, of data at these angles [deg]; nothing where there are none.

    Examples
    --------
    >>> check_reach_of(np.array([2.0, 9.0]), (20.0, 30.0))
    Traceback (most recent call last):
    ...
    midas.errors.InputError: limits are 20 to 30 deg, but the data are from 2 to 9; choose limits among them
    """
    if len(two_theta) == 0:
        return
    reach = f"the data are from {two_theta.min():.4g} to {two_theta.max():.4g}"
    within = "the data"
    if limits is not None:
        two_theta = two_theta[(two_theta >= limits[0]) & (two_theta <= limits[1])]
        within = f"what lies between the limits, {limits[0]:g} and {limits[1]:g} deg"
        if len(two_theta) == 0:
            raise InputError(f"limits are {limits[0]:g} to {limits[1]:g} deg, but {reach}; choose limits among them")
    if not is_kept(two_theta, excluded).any():
        regions = ", ".join(f"{low:g} to {high:g}" for low, high in excluded)
        raise InputError(f"the excluded regions, {regions} deg, leave nothing of {within}; {reach}; exclude less")


def is_kept(two_theta: NDArray[np.float64], excluded: Sequence[Range]) -> NDArray[np.bool_]:
    """Return which 2θ [deg] lie in none of the excluded regions, whose ends belong to them.

    Examples
    --------
    >>> is_kept(np.array([2.9, 3.0, 3.5, 3.6]), [(3.0, 3.5)])
    array([ True, False, False,  True])
    """
    kept = np.ones(two_theta.shape, dtype=bool)
    for low, high in excluded:
        kept &= (two_theta < low) | (two_theta > high)
    return kept


def check_excluded(regions: Iterable[Sequence[float]] | None) -> tuple[Range, ...]:
    """Return the regions of 2θ [deg] to leave out, in ascending order.

    Examples
    --------
    >>> check_excluded([(7, 8), (3, 3.5)])
    ((3.0, 3.5), (7.0, 8.0))
    """
    return tuple(sorted(_two_theta_range("an excluded region is", region) for region in regions or ()))


def _two_theta_range(what: str, given: Sequence[float]) -> Range:
    expected = "a lower and a higher 2theta between 0 and 180 deg"
    pair = numbers(what.rpartition(" ")[0], given, expected).ravel()
    if len(pair) != 2 or not 0 <= pair[0] < pair[1] < 180:
        raise InputError(f"{what} {tuple(int(v) if v.is_integer() else v for v in pair.tolist())}; expected {expected}")
    return float(pair[0]), float(pair[1])


def check_terms(terms: int | str) -> int | None:
    """Return the number of background terms, or None where the data choose it ("auto").

    Examples
    --------
    >>> check_terms(6), check_terms("auto")
    (6, None)
    """
    if terms == AUTO:
        return None
    if isinstance(terms, str) or not 1 <= terms <= MAX_BACKGROUND_TERMS:
        raise InputError(f"bkg_terms is {terms}; expected 1 to {MAX_BACKGROUND_TERMS}, or '{AUTO}'")
    return int(terms)


def choose_histograms(
    cake: CakeFile,
    histograms: Iterable[int] | None = None,
    omega: Sequence[float] | None = None,
    eta: Sequence[float] | None = None,
) -> list[int]:
    """Return the numbers (sum-major, eta-minor) of the lineouts that meet every condition given.

    Parameters
    ----------
    cake
        The caked file.
    histograms
        Numbers; all when None.
    omega
        Lowest and highest middle of the summed range [deg].
    eta
        From and to [deg], towards larger eta; a range may pass through 180, as (170, -170) does.

    Raises
    ------
    InputError
        A number is not in the file, a range is none, or no lineout is left.
    """
    n_sums, _, n_eta = cake.intensity.shape
    total = n_sums * n_eta
    if histograms is not None and not isinstance(histograms, Iterable):
        raise InputError(f"histograms is {histograms!r}; expected their numbers, such as [0, 1]")
    chosen = list(range(total)) if histograms is None else sorted({int(i) for i in histograms})
    outside = [i for i in chosen if not 0 <= i < total]
    if outside or not chosen:
        raise InputError(f"histograms {outside or chosen} are not in the file, which has 0 to {total - 1}")
    middle = 0.5 * (np.asarray(cake.first_omega) + np.asarray(cake.last_omega))
    azimuth = np.asarray(cake.eta).mean(axis=0)
    turning = np.ones(n_sums, dtype=bool) if omega is None else _within_omega(middle, omega)
    around = np.ones(n_eta, dtype=bool) if eta is None else _within_eta(azimuth, eta)
    left = [i for i in chosen if turning[i // n_eta] and around[i % n_eta]]
    if not left:
        asked = [f"{n} {r[0]:g} to {r[1]:g}" for n, r in (("omega", omega), ("eta", eta)) if r is not None]
        raise InputError(
            f"no lineout has {' and '.join(asked)} deg; the file has omega {middle.min():g} to {middle.max():g} "
            f"and eta {azimuth.min():g} to {azimuth.max():g} deg"
        )
    return left


def _within_omega(middle: NDArray[np.float64], omega: Sequence[float]) -> NDArray[np.bool_]:
    if len(omega) != 2 or not omega[0] <= omega[1]:
        raise InputError(f"omega is {tuple(omega)}; expected a lower and a higher angle [deg]")
    return (middle >= omega[0]) & (middle <= omega[1])


def _within_eta(azimuth: NDArray[np.float64], eta: Sequence[float]) -> NDArray[np.bool_]:
    if len(eta) != 2 or not all(math.isfinite(v) and -360.0 <= v <= 360.0 for v in eta):
        raise InputError(f"eta is {tuple(eta)}; expected two angles between -360 and 360 deg")
    width = 360.0 if eta[1] - eta[0] >= 360.0 else (eta[1] - eta[0]) % 360.0
    return np.asarray((azimuth - eta[0]) % 360.0 <= width)
