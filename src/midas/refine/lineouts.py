"""From a caked file to refinement jobs: which bins count, with which sigma, and which lineouts are not worth a try."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from midas.errors import GeometryError, InputError
from midas.geometry import check_distance
from midas.io.gsas_zarr import INSTRUMENT_DEFAULTS
from midas.profiles import find_peaks, half_width_points, running_percentile
from midas.refine.choices import is_kept
from midas.refine.job import Instrument
from midas.refine.sharing import shared_by_points
from midas.units import CENTIDEGREE, UM_PER_MM

if TYPE_CHECKING:
    from midas.io.gsas_zarr import CakeFile

MIN_BINS = 20
"""A lineout needs more usable bins than this, the rule of GSAS-II's own reader."""
MAX_WIDTH_RATIO = 1.5
"""Peaks wider or narrower than the instrument parameters say by more than this get a start from the data instead."""
MOST_EMPTY = 0.02
"""Share of bins without a count up to which leaving them out does no harm."""
FWHM2_PER_VARIANCE = 8.0 * math.log(2.0)


@dataclass(frozen=True, eq=False)
class Lineout:
    """One column of one sum, ready to be refined, or the reason why not."""

    index: int
    """sum_index * n_eta + eta_index"""
    sum_index: int
    eta_index: int
    two_theta: NDArray[np.float64]
    """shape (n,), ascending [deg]; usable bins only"""
    intensity: NDArray[np.float64]
    """shape (n,), stored sum over number of frames"""
    sigma: NDArray[np.float64]
    """shape (n,), positive"""
    eta: float
    """Mean over the unmasked bins [deg]; NaN when all are masked."""
    omega: float
    """[deg]"""
    temperature: float | None
    pressure: float | None
    skipped: str | None = None
    """Why there is nothing to refine; None when there is."""
    eta_width: float = 0.0
    """Width of the eta bin [deg]; 360 of a whole ring."""
    n_empty: int = 0
    """Bins in the range that are left out because nothing was counted in them: they have no weight."""
    sharing: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))
    """shape (n_bands, n): correlations of the points (`sharing.shared_by_points`)"""

    @functools.cached_property
    def peak_widths(self) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """2θ and FWHM [deg] of the strongest peaks (`observed_widths`), looked for once."""
        return observed_widths(self.two_theta, self.intensity)

    @property
    def median_width(self) -> tuple[float, float] | None:
        """Median FWHM and 2θ [deg] of the strongest peaks; None where fewer than two stand out."""
        found = self.peak_widths
        return None if found is None else (float(np.median(found[1])), float(np.median(found[0])))


def read_instrument(values: dict[str, float]) -> tuple[Instrument, float]:
    """Return the instrument and the distance [mm] from the values stored in a caked file.

    Examples
    --------
    >>> instrument, radius_mm = read_instrument({"Lam": 0.2, "Distance": 1e6})
    >>> instrument.wavelength, radius_mm
    (0.2, 1000.0)
    """
    wavelength = float(values.get("Lam", math.nan))
    if not (math.isfinite(wavelength) and 0.001 < wavelength < 10.0):
        raise InputError(f"the caked file has the wavelength {wavelength:g} Å (Lam); expected between 0.001 and 10 Å")
    names = {"polarization": "Polariz", "sh_l": "SH_L", **{k: k.upper() for k in ("u", "v", "w", "x", "y", "z")}}
    found = {name: float(values[key]) for name, key in names.items() if key in values}
    bad = [names[name] for name, value in found.items() if not math.isfinite(value)]
    if bad:
        raise InputError(f"the caked file has instrument parameters that are not numbers: {', '.join(bad)}")
    if not 0.0 <= found.get("polarization", 0.5) <= 1.0:
        raise InputError(f"the caked file has the polarization {found['polarization']:g} (Polariz); expected 0 to 1")
    if found.get("sh_l", 0.0) < 0.0:
        raise InputError(f"the caked file has the axial divergence {found['sh_l']:g} (SH_L); expected 0 or more")
    distance = float(values.get("Distance", 1e6))
    try:
        check_distance(distance)
    except GeometryError as error:
        raise InputError(f"the caked file's {error} (Distance)") from None
    return Instrument(wavelength, **found), distance / UM_PER_MM


def iterate_lineouts(
    cake: CakeFile,
    histograms: list[int] | None = None,
    limits: tuple[float, float] | None = None,
    excluded: tuple[tuple[float, float], ...] = (),
) -> Iterator[Lineout]:
    """Yield the lineouts of a caked file, sum-major and eta-minor, the unusable ones included and marked.

    Points within an excluded region of 2θ [deg] are left out; `limits` only count, for an engine applies them.
    """
    n_eta = cake.intensity.shape[2]
    for index in range(cake.intensity.shape[0] * n_eta) if histograms is None else histograms:
        yield _lineout(cake, index, limits, excluded)


def _lineout(
    cake: CakeFile, index: int, limits: tuple[float, float] | None, excluded: tuple[tuple[float, float], ...]
) -> Lineout:
    sum_index, eta_index = divmod(index, cake.intensity.shape[2])
    frames = float(cake.frames[sum_index])
    area = np.asarray(cake.bin_area[:, eta_index], dtype=np.float64)
    x = np.asarray(cake.two_theta[:, eta_index], dtype=np.float64)
    stored = np.asarray(cake.intensity[sum_index, :, eta_index], dtype=np.float64)
    variance = None if cake.variance is None else np.asarray(cake.variance[sum_index, :, eta_index], dtype=np.float64)
    unmasked = (area > 0) & np.isfinite(area) & np.isfinite(x) & is_kept(x, excluded)
    y, sigma = intensity_and_sigma(stored, area, frames, variance)
    in_range = unmasked if limits is None else unmasked & (x >= limits[0]) & (x <= limits[1])
    usable = unmasked & np.isfinite(y) & np.isfinite(sigma) & (sigma > 0)
    eta = float(np.mean(cake.eta[unmasked, eta_index])) if unmasked.any() else math.nan
    order, width = np.flatnonzero(usable)[np.argsort(x[usable], kind="stable")], _eta_width(cake)
    return Lineout(
        index=index,
        sum_index=sum_index,
        eta_index=eta_index,
        two_theta=x[order],
        intensity=y[order],
        sigma=sigma[order],
        eta=eta,
        eta_width=width,
        sharing=shared_by_points(cake, eta_index, width, order),
        omega=0.5 * float(cake.first_omega[sum_index] + cake.last_omega[sum_index]),
        temperature=_known(cake.temperature, sum_index),
        pressure=_known(cake.pressure, sum_index),
        skipped=_reason_to_skip(y, in_range, usable),
        n_empty=int(np.count_nonzero(in_range & ~usable & (y == 0.0))),
    )


_MOSTLY_WHOLE = 0.9  # of the radii: others lose area to masks, and those nearest the centre say little


def _eta_width(cake: CakeFile) -> float:
    """Return the width of the eta bins [deg]: between their centres, or of a single one by its area over R dR."""
    if cake.eta.shape[1] > 1:
        return float(np.median(np.abs(np.diff(cake.eta[0]))))
    if len(cake.radius) < 2:
        return 0.0
    radius, area = np.asarray(cake.radius[:, 0], dtype=np.float64), np.asarray(cake.bin_area[:, 0], dtype=np.float64)
    arcs = area / np.maximum(radius * np.gradient(radius), 1e-9)
    known = arcs[(area > 0) & (radius > 0)]
    return min(float(np.degrees(np.quantile(known, _MOSTLY_WHOLE))), 360.0) if len(known) else 0.0


def without_arrays(lineout: Lineout) -> Lineout:
    """Return what a lineout is, without its points."""
    none = np.empty(0)
    return dataclasses.replace(lineout, two_theta=none, intensity=none, sigma=none, sharing=np.zeros((0, 0)))


def _known(values: NDArray[np.float64] | None, i: int) -> float | None:
    return None if values is None or not math.isfinite(values[i]) else float(values[i])


def intensity_and_sigma(
    stored: NDArray[np.float64], area: NDArray[np.float64], frames: float, variance: NDArray[np.float64] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return intensity per frame and its standard deviation; NaN sigma where a bin carries no weight.

    With the variance of the stored sum, sigma = sqrt(variance) / frames. Without it, counts N = y frames area are
    Poisson, so that var(y) = y / (frames area); a bin without counts has no weight then, as in GSAS-II's reader (whose
    weights are larger by the number of frames).

    Examples
    --------
    >>> y, sigma = intensity_and_sigma(np.array([200.0]), np.array([5.0]), 20.0, None)
    >>> y[0], sigma[0] == np.sqrt(10.0 / (20.0 * 5.0))
    (np.float64(10.0), np.True_)
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        y = stored / frames
        squared = y / (frames * area) if variance is None else variance / frames**2
        return y, np.where(squared > 0, np.sqrt(np.maximum(squared, 0.0)), np.nan)


def _reason_to_skip(y: NDArray[np.float64], in_range: NDArray[np.bool_], usable: NDArray[np.bool_]) -> str | None:
    n, inside = int(np.count_nonzero(usable & in_range)), int(np.count_nonzero(in_range))
    if n > MIN_BINS:
        return None
    if inside == 0:
        return "no unmasked bin in the range; all are masked, excluded or outside the limits"
    if not np.isfinite(y[in_range]).any():
        return f"all {inside} unmasked bins are NaN"
    if inside > MIN_BINS and not (y[in_range & np.isfinite(y)] > 0).any():
        return f"no counts: all {inside} unmasked bins are zero or negative"
    return f"{n} usable bins in the range; more than {MIN_BINS} are needed"


def observed_widths(
    two_theta: NDArray[np.float64], intensity: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return 2θ and FWHM [deg] of up to ten of the strongest peaks, or None where fewer than two stand out.

    Examples
    --------
    >>> x = np.arange(5.0, 15.0, 0.01)
    >>> y = sum(100.0 * np.exp(-4 * np.log(2) * ((x - c) / 0.05) ** 2) for c in (7.0, 9.0, 12.0)) + 10.0
    >>> _, widths = observed_widths(x, y)
    >>> bool(np.abs(widths - 0.05).max() < 0.002)
    True
    """
    base = above_background(intensity)
    noise = 1.4826 * float(np.median(np.abs(np.diff(intensity)))) / math.sqrt(2.0)
    peaks, prominences = find_peaks(base, prominence=max(10.0 * noise, 0.02 * float(base.max())))
    if len(peaks) < 2:
        return None
    strongest = np.argsort(prominences)[::-1][:10]
    left, right = half_width_points(base, peaks[strongest], prominences[strongest])
    bins = np.arange(len(two_theta))
    return two_theta[peaks[strongest]], np.interp(right, bins, two_theta) - np.interp(left, bins, two_theta)


def above_background(intensity: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far each point lies above the lower end of what is around it, the background of peaks."""
    size = max(len(intensity) // 10, 21) | 1
    return np.asarray(intensity - running_percentile(intensity, 20, size, step=size // 20))


def instrument_widths(
    instrument: Instrument, two_theta: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return Gaussian FWHM² [centidegree²] and Lorentzian FWHM [centidegree] of the instrument at each 2θ [deg]."""
    theta = np.radians(two_theta / 2.0)
    variance = instrument.u * np.tan(theta) ** 2 + instrument.v * np.tan(theta) + instrument.w
    lorentz = instrument.x / np.cos(theta) + instrument.y * np.tan(theta) + instrument.z
    return FWHM2_PER_VARIANCE * variance, lorentz


def model_width(instrument: Instrument, two_theta: float) -> float:
    """Return the FWHM [deg] that the instrument parameters mean at 2θ [deg]; NaN for a negative Gaussian variance.

    Pseudo-Voigt of the two widths: 0.5346 L + sqrt(0.2166 L² + G²), Olivero and Longbothum, JQSRT 17 (1977) 233.

    Examples
    --------
    >>> round(model_width(Instrument(0.2, u=0.0, v=0.0, w=1.0), 10.0), 6)
    0.023548
    """
    gauss2, lorentz = (float(v) for v in instrument_widths(instrument, np.asarray(two_theta)))
    if gauss2 < 0:
        return math.nan
    return CENTIDEGREE * (0.5346 * lorentz + math.sqrt(0.2166 * lorentz**2 + gauss2))


def with_observed_width(instrument: Instrument, lineout: Lineout) -> tuple[Instrument, str | None]:
    """Return the instrument with widths to start from that suit the lineout, and a remark when they were replaced.

    Peaks several times too narrow or too wide send the first stages astray; the widths stored by default are those of
    a far better instrument than most.
    """
    found = lineout.median_width
    if found is None:
        return instrument, None
    width, position = found
    expected = model_width(instrument, position)
    if expected / MAX_WIDTH_RATIO <= width <= expected * MAX_WIDTH_RATIO:
        return instrument, None
    w = (width / CENTIDEGREE) ** 2 / FWHM2_PER_VARIANCE
    remark = f"peaks are {width:.4f} deg wide, the instrument parameters say {expected:.4f}: started from W = {w:.3g}"
    return dataclasses.replace(instrument, u=0.0, v=0.0, w=w, x=0.0, y=0.0, z=0.0), remark


def empty_bins(lineout: Lineout) -> str | None:
    """Return a remark where so many bins without a count are left out that the fit is biased, else None."""
    n = lineout.n_empty + len(lineout.two_theta)
    if lineout.n_empty <= MOST_EMPTY * n:
        return None
    return (
        f"{lineout.n_empty} of {n} bins have no counts, so no weight, and are left out: the background comes out high, "
        "and fractions are biased; sum more frames or take wider bins"
    )


def placeholder_widths(instrument: Instrument) -> str | None:
    """Return a remark where the widths are those that files carry when nobody measured them, else None.

    Examples
    --------
    >>> placeholder_widths(Instrument(0.2, u=5.0)) is None
    True
    """
    known = {name: getattr(instrument, name) for name in ("u", "v", "w", "x", "y", "z")}
    if known != {name: INSTRUMENT_DEFAULTS[name.upper()] for name in known}:
        return None
    return (
        "the instrument's widths are the defaults of the file, not measured: size and microstrain take in what the "
        "instrument broadens; give the widths of a calibrant (--instprm)"
    )
