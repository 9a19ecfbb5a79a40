"""Peaks of every lineout of a cake: positions, areas and widths, each with its standard uncertainty."""

from __future__ import annotations

import csv
import importlib.util
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from midas import _core
from midas.axes import axis_of_radius
from midas.cake.result import Cake, sigma_above_0
from midas.checks import check_type, number, numbers, thread_count, whole_number
from midas.crystal.rings import Rings
from midas.errors import InputError
from midas.geometry import FloatArray, Geometry
from midas.io.atomic import atomic_path
from midas.shown import html_rows
from midas.units import CENTIDEGREE

IntArray = npt.NDArray[np.int64]

REASONS = (
    "",
    "no bin with a value near the position",
    "fewer bins than parameters",
    "no peak above the background",
    "too many steps",
    "the centre ran to max_shift or to a neighbour",
    "a width ran to that of the window",
    "the bins do not determine the parameters",
    "the window holds more than the peaks fitted",
)
"""What `PeakFits.reason` can say, in the order of the core's outcomes; the first is success."""


_ROWS_SHOWN = 12  # of a table in a notebook


@dataclass(frozen=True)
class PeakOptions:
    """How peaks of lineouts are found and fitted.

    Parameters
    ----------
    fwhm
        Start width [px]; default None, which estimates it from the lineouts.
    window
        Bins within this many widths of a peak are fitted, from 1 to 100; peaks nearer to one another than that are
        fitted together; default 4.0.
    max_shift
        A centre stays within this of the position given [px]; default None, 5 px or 3 bins, what is more. Of several
        peaks in reach the nearest is taken.
    min_prominence
        A peak that nobody named stands out by this many standard deviations at least, of the lineout or of what a fit
        left; default 6.0.
    smoothing
        Bins of the quadratic Savitzky-Golay filter of the search for peaks, odd from 5; default 0, which does without.
        What is fitted is never smoothed.
    n_peaks
        The most prominent peaks to find in a lineout; default None, all. The others are fitted with them and not
        reported.

    Raises
    ------
    InputError
        A value is no number or out of range.

    Examples
    --------
    >>> PeakOptions(n_peaks=3).window
    4.0
    """

    fwhm: float | None = None
    window: float = 4.0
    max_shift: float | None = None
    min_prominence: float = 6.0
    smoothing: int = 0
    n_peaks: int | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        length = "a length above 0 [px], or None"
        for name, value in (("fwhm", self.fwhm), ("max_shift", self.max_shift)):
            if value is not None and not 0.0 < number(name, value, length) < math.inf:
                raise InputError(f"{name} is {value:g}; expected {length}")
        if not 1.0 <= number("window", self.window, "1 to 100 widths") <= 100.0:
            raise InputError(f"window is {self.window:g}; expected 1 to 100 widths")
        if not number("min_prominence", self.min_prominence) > 0.0:
            raise InputError(f"min_prominence is {self.min_prominence:g}; expected standard deviations above 0")
        bins = "an odd number of bins from 5, or 0"
        smoothing = whole_number("smoothing", self.smoothing, bins)
        if smoothing != 0 and (smoothing < 5 or smoothing % 2 == 0):
            raise InputError(f"smoothing is {smoothing}; expected {bins}")
        count = "1 or more, or None for all"
        if self.n_peaks is not None and whole_number("n_peaks", self.n_peaks, count) < 1:
            raise InputError(f"n_peaks is {self.n_peaks}; expected {count}")


@dataclass(frozen=True, eq=False)
class PeakFits:
    """Fitted peaks, one row for each (sum, eta, peak). Arrays are read-only; NaN where a fit gave no answer.

    Standard uncertainties (`_sigma`) are those of the weighted least squares, from the cake's sigma and what
    neighbouring bins share: a pixel on a border counts in both, by which bins of a pixel correlate by 0.25 (Yang,
    Juhás & Billinge, J. Appl. Cryst. 47 (2014) 1273). They are not multiplied by chi-square. That of a parameter on its
    bound (`sig` or `gam` 0) is NaN; the others' allow for a width that noise took away, on the safe side for the area.
    On simulated cakes with bins of 0.5, 1 and 2 px errors over uncertainties have standard deviations from 0.97 to
    1.03; below some thousand counts a peak from 1.0 to 1.2, since sigma comes from the counts.

    Examples
    --------
    >>> from midas.testing import caked_scan, scan
    >>> fit_peaks(caked_scan(scan([0.0], seed=7)))
    PeakFits(80 peaks of 8 lineouts, 80 converged)
    """

    sum: IntArray
    """Shape (n,): index of the sum of frames."""
    eta_bin: IntArray
    """Shape (n,): index of the eta bin."""
    eta: FloatArray
    """Shape (n,): azimuth of the bin's centre [deg]."""
    peak: IntArray
    """Shape (n,): index of the position given, or by radius among the peaks found in this lineout."""
    group: IntArray
    """Shape (n,): peaks of a lineout with the same number were fitted together, over one background; -1 without a
    fit."""
    area: FloatArray
    """Shape (n,): integral over the radius [intensity px]."""
    area_sigma: FloatArray
    center: FloatArray
    """Shape (n,): radius [px]."""
    center_sigma: FloatArray
    two_theta: FloatArray
    """Shape (n,): of the centre [deg]."""
    two_theta_sigma: FloatArray
    d_spacing: FloatArray
    """Shape (n,): of the centre [Å]."""
    d_spacing_sigma: FloatArray
    sig: FloatArray
    """Shape (n,): variance of the Gaussian part in 2θ [centidegrees²], as GSAS-II's."""
    sig_sigma: FloatArray
    gam: FloatArray
    """Shape (n,): full width of the Lorentzian part in 2θ [centidegrees], as GSAS-II's."""
    gam_sigma: FloatArray
    fwhm: FloatArray
    """Shape (n,): full width of the profile [px]: Thompson, Cox and Hastings, J. Appl. Cryst. 20 (1987) 79."""
    fwhm_sigma: FloatArray
    fwhm_two_theta: FloatArray
    """Shape (n,): the same in 2θ [deg]."""
    fwhm_two_theta_sigma: FloatArray
    mixing: FloatArray
    """Shape (n,): Lorentzian share of the profile, 0 to 1 (the pseudo-Voigt's η, which is no azimuth)."""
    mixing_sigma: FloatArray
    background: FloatArray
    """Shape (n,): at the centre [intensity]."""
    background_sigma: FloatArray
    background_slope: FloatArray
    """Shape (n,): over the window [intensity / px]."""
    chi2: FloatArray
    """Shape (n,): chi-square of the window over its mean, which what bins share lowers: 1 where the model is right."""
    n_bins: IntArray
    """Shape (n,): bins of the window that have a value."""
    converged: npt.NDArray[np.bool_]
    """Shape (n,): the fit ended inside its bounds, with uncertainties."""
    reason: npt.NDArray[np.str_]
    """Shape (n,): why not; empty where it converged."""

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.area)

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """Return the arrays by their names, in order."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def select(self, rows: npt.ArrayLike) -> PeakFits:
        """Return some rows: a mask or indices.

        Examples
        --------
        >>> from midas import CakeGrid, Geometry, integrate
        >>> g = Geometry(distance=1e6, beam_center=(20, 20), pixel_size=200, wavelength=0.18)
        >>> cake = integrate(np.full((41, 41), 5), g, CakeGrid(2, 18, 1, eta_step=90))
        >>> fits = cake.fit_peaks([9.0])
        >>> len(fits), len(fits.select(fits.converged))
        (4, 0)
        """
        chosen = np.asarray(rows)
        return _frozen_fits({name: column[chosen] for name, column in self.columns().items()})

    def to_csv(self, path: Path | str) -> Path:
        """Write a row for each peak under the names of the fields, and return the path; NaN stays an empty cell.

        Raises
        ------
        OutputError
            The file cannot be written.
        """
        path = Path(path)
        columns = self.columns()
        cells = [_cells(column) for column in columns.values()]
        with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(zip(*cells, strict=True))
        return path

    def to_pandas(self) -> Any:
        """Return a pandas DataFrame with a column for each field.

        Raises
        ------
        InputError
            pandas is not installed.
        """
        if importlib.util.find_spec("pandas") is None:
            raise InputError("pandas is not installed; install it, or use columns() or to_csv()")
        pandas = importlib.import_module("pandas")
        return pandas.DataFrame(self.columns())

    def model(self, radius_edges: FloatArray, *, sum_index: int = 0, eta_bin: int = 0, group: int = 0) -> FloatArray:
        """Return what a fit says of bins: background and peaks of one group, shape (n_edges - 1,) [intensity].

        Neighbours that were fitted with the peaks but not asked for are left out: they have no row.

        Parameters
        ----------
        radius_edges
            Ascending edges of the bins [px].
        sum_index, eta_bin, group
            Which fit.

        Raises
        ------
        InputError
            There is no such fit.
        """
        rows = np.flatnonzero((self.sum == sum_index) & (self.eta_bin == eta_bin) & (self.group == group))
        rows = rows[np.isfinite(self.area[rows])]
        if rows.size == 0:
            raise InputError(f"sum {sum_index}, eta bin {eta_bin} has no fitted group {group} of peaks")
        edges = np.ascontiguousarray(radius_edges, dtype=np.float64)
        middles = 0.5 * (edges[1:] + edges[:-1])
        first = rows[0]
        total = self.background[first] + self.background_slope[first] * (middles - self.center[first])
        for k in rows:
            shape = _core.binned_profile(edges, center=self.center[k], fwhm=self.fwhm[k], mixing=self.mixing[k])
            total = total + self.area[k] * shape
        return np.asarray(total)

    def __repr__(self) -> str:
        """Say in one line what is in it."""
        n_lineouts = len(set(zip(self.sum.tolist(), self.eta_bin.tolist(), strict=True)))
        return f"PeakFits({len(self)} peaks of {n_lineouts} lineouts, {int(self.converged.sum())} converged)"

    def _repr_html_(self) -> str:
        """Return a table of the first fits for notebooks."""
        head = ("sum", "η [deg]", "2θ [deg]", "σ", "d [Å]", "area", "FWHM [px]", "converged")
        rows = [
            [
                str(self.sum[i]),
                f"{self.eta[i]:.1f}",
                f"{self.two_theta[i]:.5f}",
                f"{self.two_theta_sigma[i]:.5f}",
                f"{self.d_spacing[i]:.5f}",
                f"{self.area[i]:.4g}",
                f"{self.fwhm[i]:.2f}",
                "yes" if self.converged[i] else str(self.reason[i]),
            ]
            for i in range(min(len(self), _ROWS_SHOWN))
        ]
        more = f"and {len(self) - _ROWS_SHOWN} more" if len(self) > _ROWS_SHOWN else ""
        return html_rows(repr(self), head, rows, more)


def fit_peaks(
    cake: Cake,
    positions: Sequence[float] | FloatArray | Rings | None = None,
    *,
    options: PeakOptions | None = None,
    n_threads: int = 0,
) -> PeakFits:
    """Return the peaks of every lineout of a cake, fitted by pseudo-Voigt profiles on straight backgrounds.

    A lineout is the intensity over radius of one sum of frames and one eta bin. Each peak has its own area, centre,
    Gaussian and Lorentzian width (Thompson, Cox and Hastings, J. Appl. Cryst. 20 (1987) 79); peaks that are closer than
    the window are fitted together. The profile is symmetric in radius and averaged over each bin exactly. Bins are
    weighted by the cake's sigma; one in which nothing was counted has that of a single count. A lineout that has no
    answer gives NaN and says why.

    Where positions or `n_peaks` ask for some of the peaks, the neighbours of these are found and fitted with them, not
    reported: those that stand out of the lineout, and shoulders that stand out of what a first fit left, where with
    them the window is described to within noise. Where they cannot be told apart, the area of a shoulder or of its
    neighbour is vague (below `min_prominence` uncertainties), or a peak of 5 % is left beside those fitted, the window
    is crowded: these have not converged and say that it holds more. Chi-square far above 1 with neither is a profile
    unlike the model's.

    Parameters
    ----------
    cake
        With sigma (`IntegrationOptions(variance=True)`, the default).
    positions
        Expected radii [px], the same for all lineouts; or the `Rings` of a calibrant; None looks for peaks in every
        lineout.
    options
        `PeakOptions`; None takes the defaults.
    n_threads
        0 uses all; the result is the same for any number.

    Raises
    ------
    InputError
        The cake has no sigma, positions are not finite, repeated or outside of the cake, or an argument is of the wrong
        type.

    Examples
    --------
    >>> import midas
    >>> g = midas.Geometry(distance=1.5e5, beam_center=(64, 64), pixel_size=200, wavelength=0.2)
    >>> image = midas.simulate(g, midas.Detector((128, 128), 200), "CeO2", seed=1).image
    >>> cake = midas.integrate(image, g, midas.CakeGrid(20, 60, 1, eta_step=60))
    >>> fits = fit_peaks(cake, midas.rings(midas.calibrant("CeO2"), 0.2, d_min=3.0))
    >>> len(fits), bool(fits.converged.all()), round(float(fits.d_spacing.mean()), 2)
    (6, True, 3.12)
    """
    check_type("cake", cake, Cake, call="fit_peaks(cake, positions)")
    if options is None:
        options = PeakOptions()
    check_type("options", options, PeakOptions, call="PeakOptions(n_peaks=3)")
    threads = thread_count(n_threads)
    if cake.sigma is None:
        raise InputError("the cake has no sigma, by which the fit weights bins; integrate with variance=True")
    if len(cake.radius) < 2:
        raise InputError("the cake has one bin of radius; expected several a peak")
    edges = np.ascontiguousarray(cake.radius_edges, dtype=np.float64)
    at = _positions(positions, cake.geometry, (float(edges[0]), float(edges[-1])))
    given = positions is not None
    if given and not at:
        raise InputError(
            f"no position lies within the cake's radii, {edges[0]:.6g} to {edges[-1]:.6g} px; check positions and grid"
        )
    found = _core.fit_lineouts(
        np.ascontiguousarray(cake.intensity, dtype=np.float64),
        np.ascontiguousarray(sigma_above_0(cake.sigma, cake.bin_area, normalized=cake.normalized)),
        edges,
        positions=at,
        eta_edges=np.ascontiguousarray(cake.eta_edges, dtype=np.float64),
        fwhm=float(options.fwhm or 0.0),
        window=float(options.window),
        max_shift=float(options.max_shift or 0.0),
        min_prominence=float(options.min_prominence),
        smoothing=int(options.smoothing),
        n_peaks=int(options.n_peaks or 0),
        n_threads=threads,
    )
    return _frozen_fits(_in_angles(found, cake))


def _positions(positions: Any, geometry: Geometry, limits: tuple[float, float]) -> list[float]:
    """Return radii [px], ascending, of those within the limits."""
    if positions is None:
        return []
    if isinstance(positions, Rings):
        radii = geometry.radius_of(positions.two_theta)
    else:
        radii = np.atleast_1d(numbers("positions", positions, "radii [px], midas.Rings, or None"))
    if radii.ndim != 1 or radii.size == 0 or not np.isfinite(radii).all():
        raise InputError(f"positions are {positions!r}; expected one finite radius [px] or more")
    radii = np.sort(radii)
    if np.any(np.diff(radii) <= 0.0):
        raise InputError(f"positions repeat {radii[:-1][np.diff(radii) <= 0.0][0]:g} px; give each peak once")
    inside = (radii >= limits[0]) & (radii <= limits[1])
    if not inside.all() and inside.any() and not isinstance(positions, Rings):
        raise InputError(
            f"position {radii[~inside][0]:g} px is outside of the cake, {limits[0]:.6g} to {limits[1]:.6g} px; "
            "take it out"
        )
    return [float(r) for r in radii[inside]]


def _in_angles(found: dict[str, npt.NDArray[Any]], cake: Cake) -> dict[str, npt.NDArray[Any]]:
    """Return the columns of `PeakFits`: the core's, which know only px, and what follows from the geometry."""
    g = cake.geometry
    center = found["center"]
    two_theta = g.two_theta_of(center)
    theta = np.radians(0.5 * two_theta)
    # d 2theta / d R of 2theta = atan(R px / L)
    slope = np.degrees(g.pixel_size / g.distance * np.cos(2.0 * theta) ** 2)
    d_spacing = axis_of_radius(center, "d", g)
    two_theta_sigma = slope * found["center_sigma"]
    centi = slope / CENTIDEGREE
    outcome = found.pop("outcome")
    return {
        **found,
        "eta": cake.eta[found["eta_bin"]],
        "two_theta": two_theta,
        "two_theta_sigma": two_theta_sigma,
        "d_spacing": d_spacing,
        "d_spacing_sigma": d_spacing / np.tan(theta) * 0.5 * np.radians(two_theta_sigma),
        "sig": found["sig"] * centi**2,
        "sig_sigma": found["sig_sigma"] * centi**2,
        "gam": found["gam"] * centi,
        "gam_sigma": found["gam_sigma"] * centi,
        "fwhm_two_theta": found["fwhm"] * slope,
        "fwhm_two_theta_sigma": found["fwhm_sigma"] * slope,
        "converged": outcome == 0,
        "reason": np.array(REASONS)[outcome],
    }


def _frozen_fits(columns: dict[str, npt.NDArray[Any]]) -> PeakFits:
    for column in columns.values():
        column.setflags(write=False)
    return PeakFits(**columns)


def _cells(column: npt.NDArray[Any]) -> list[str]:
    if column.dtype.kind == "f":
        return ["" if math.isnan(v) else f"{v:.10g}" for v in column.tolist()]
    return [str(v) for v in column.tolist()]
