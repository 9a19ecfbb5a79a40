"""The bins of a cake: edges in radius, 2θ or q, and in eta."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from midas.axes import check_two_theta, radius_of_axis
from midas.checks import number
from midas.errors import InputError
from midas.geometry import FloatArray, Geometry
from midas.shown import html_table

_UNITS = {"px": ("radius", "px"), "2theta": ("2theta", "deg"), "q": ("q", "Å⁻¹")}  # quantity and its unit
_MOST_BINS = 2**31
_TURN = 360.0
_TURN_TOLERANCE = 1e-9  # deg


@dataclass(frozen=True, repr=False)
class CakeGrid:
    """Bins in radius [px], 2θ [deg] or q [Å⁻¹], and in eta [deg]: uniform, or with any edges by `from_edges`.

    Uniform bins: ceil((max - min) / step) of them, lower edges min + i·step. The last bin is as wide as the others,
    so it may reach past the maximum; only in eta it ends at a full turn from the first edge.

    Parameters
    ----------
    radius_min
        Lower edge of the first bin [px, or deg with unit "2theta", Å⁻¹ with unit "q"].
    radius_max
        Where the bins end [unit of radius_min].
    radius_step
        Width of a bin [unit of radius_min]; with edges of their own, the mean width.
    eta_min
        Lower edge of the first eta bin [deg]; default -180.0.
    eta_max
        Where the eta bins end [deg]; default 180.0.
    eta_step
        Width of an eta bin [deg]; with edges of their own, the mean width; default 5.0.
    unit
        "px": bins in radius; "2theta": bins in 2θ, R = (L/px) tan(2θ); "q": bins in q, R = (L/px) tan(2 asin(qλ/4π));
        default "px".
    radius_bounds
        Edges that `from_edges` was given, ascending [unit of radius_min]; default None, uniform bins.
    eta_bounds
        Eta edges that `from_edges` was given, ascending [deg]; default None, uniform bins.

    Raises
    ------
    InputError
        A step is not positive, a range is empty, eta spans more than a turn, or 2θ reaches 90 deg.

    Examples
    --------
    >>> CakeGrid(radius_min=10, radius_max=1000, radius_step=1).shape
    (990, 72)
    >>> CakeGrid(1, 15, 0.01, unit="2theta").shape
    (1400, 72)
    >>> print(CakeGrid.from_edges(radius=[10, 20, 40, 80], eta=[-180, 0, 90, 180]))
    radius 10 to 80 px in 3 bins, eta -180 to 180 deg in 3 bins
    """

    radius_min: float
    radius_max: float
    radius_step: float
    eta_min: float = -180.0
    eta_max: float = 180.0
    eta_step: float = 5.0
    unit: str = "px"
    radius_bounds: tuple[float, ...] | None = None
    eta_bounds: tuple[float, ...] | None = None

    @classmethod
    def from_edges(cls, radius: npt.ArrayLike, eta: npt.ArrayLike | None = None, *, unit: str = "px") -> CakeGrid:
        """Return a grid with these bin edges.

        Parameters
        ----------
        radius
            Shape (n_radius + 1,), ascending from 0 or more [px, or deg with unit "2theta", Å⁻¹ with unit "q"].
        eta
            Shape (n_eta + 1,), ascending over at most a turn, at any place (eta wraps) [deg]; None takes 72 bins of
            5 deg from -180.
        unit
            "px", "2theta" or "q".

        Raises
        ------
        InputError
            There are fewer than 2 edges, they do not ascend, a radius is negative, or eta spans more than a turn.

        Examples
        --------
        >>> CakeGrid.from_edges([1, 2, 4, 8], [-10, 10], unit="2theta").shape
        (3, 1)
        """
        radii = _ascending("radius", radius)
        etas = None if eta is None else _ascending("eta", eta)
        ranges = dict(zip(("eta_min", "eta_max", "eta_step"), _range(etas), strict=True)) if etas else {}
        return cls(*_range(radii), **ranges, unit=unit, radius_bounds=radii, eta_bounds=etas)

    def __post_init__(self) -> None:
        """Check ranges, steps and edges."""
        if self.unit not in _UNITS:
            raise InputError(f"grid unit is {self.unit!r}; expected 'px', '2theta' or 'q'")
        for name in ("radius", "eta"):
            self._check_range(name)
        self._check_number()
        if self.radius_min < 0.0:
            raise InputError(f"radius_min is {self.radius_min:g}; expected 0 or more")
        if self.eta_max - self.eta_min > _TURN + _TURN_TOLERANCE:
            raise InputError(f"eta runs from {self.eta_min:g} to {self.eta_max:g} deg; expected at most a full turn")
        if self.unit == "2theta":
            check_two_theta(float(self._own_edges()[-1]))

    def _check_range(self, name: str) -> None:
        low, high, step = (number(f"{name}_{part}", getattr(self, f"{name}_{part}")) for part in ("min", "max", "step"))
        for part, value in (("min", low), ("max", high), ("step", step)):
            object.__setattr__(self, f"{name}_{part}", value)
        if not all(math.isfinite(v) for v in (low, high, step)) or step <= 0.0 or high <= low:
            raise InputError(
                f"{name} bins run from {low:g} to {high:g} in steps of {step:g}; expected max > min and a step above 0"
            )
        given = getattr(self, f"{name}_bounds")
        if given is None:
            return
        bounds = _ascending(name, given)
        object.__setattr__(self, f"{name}_bounds", bounds)
        if (low, high, step) != _range(bounds):
            raise InputError(
                f"{name} runs from {low:g} to {high:g} in steps of {step:g}, but the edges from {bounds[0]:g} to "
                f"{bounds[-1]:g}; change the edges of bins with CakeGrid.from_edges"
            )

    def _check_number(self) -> None:
        """Refuse more bins than the core numbers, before an array is made of their edges."""
        n_radius = (self.radius_max - self.radius_min) / self.radius_step
        n_eta = (self.eta_max - self.eta_min) / self.eta_step
        if n_radius * n_eta >= _MOST_BINS:
            raise InputError(
                f"radius_step {self.radius_step:g} and eta_step {self.eta_step:g} make {n_radius:.3g} x {n_eta:.3g} "
                "bins; expected fewer than 2^31 in all: make the steps larger"
            )

    @property
    def uniform(self) -> bool:
        """Whether the bins are those of minimum, maximum and step; False for a grid with edges of its own."""
        return self.radius_bounds is None and self.eta_bounds is None

    @property
    def shape(self) -> tuple[int, int]:
        """Number of bins (n_radius, n_eta)."""
        return (
            _n_bins(self.radius_min, self.radius_max, self.radius_step, self.radius_bounds),
            _n_bins(self.eta_min, self.eta_max, self.eta_step, self.eta_bounds),
        )

    @property
    def eta_edges(self) -> FloatArray:
        """Shape (n_eta + 1,), [deg]; a last bin that would pass a full turn ends there."""
        if self.eta_bounds is not None:
            edges = np.array(self.eta_bounds)
        else:
            edges = np.asarray(self.eta_min + self.eta_step * np.arange(self.shape[1] + 1), dtype=np.float64)
        edges[-1] = min(edges[-1], self.eta_min + _TURN)
        return edges

    def radius_edges(self, geometry: Geometry) -> FloatArray:
        """Return the bin edges in px, shape (n_radius + 1,), whatever the unit of the grid."""
        return radius_of_axis(self._own_edges(), self.unit, geometry)

    def radius_centers(self, geometry: Geometry) -> FloatArray:
        """Return the bin centres in px, shape (n_radius,): half way between the edges in the grid's own unit."""
        if self.radius_bounds is None:
            centers = np.asarray(self.radius_min + self.radius_step * (np.arange(self.shape[0]) + 0.5))
        else:
            edges = self._own_edges()
            centers = np.asarray(0.5 * (edges[1:] + edges[:-1]))
        return radius_of_axis(centers, self.unit, geometry)

    @property
    def eta_centers(self) -> FloatArray:
        """Shape (n_eta,), half way between the edges [deg]."""
        if self.eta_bounds is not None:
            edges = self.eta_edges
            return np.asarray(0.5 * (edges[1:] + edges[:-1]))
        centers = np.asarray(self.eta_min + self.eta_step * (np.arange(self.shape[1]) + 0.5), dtype=np.float64)
        centers[-1] = self.eta_edges[-2:].mean()
        return centers

    def _own_edges(self) -> FloatArray:
        """Return the bin edges in the grid's own unit, shape (n_radius + 1,)."""
        if self.radius_bounds is not None:
            return np.array(self.radius_bounds)
        return np.asarray(self.radius_min + self.radius_step * np.arange(self.shape[0] + 1), dtype=np.float64)

    def __str__(self) -> str:
        """Say where the bins are and how many there are."""
        (quantity, unit), (n_radius, n_eta) = _UNITS[self.unit], self.shape
        return (
            f"{quantity} {self.radius_min:g} to {self.radius_max:g} {unit} in {_counted(n_radius)}, eta "
            f"{self.eta_min:g} to {self.eta_max:g} deg in {_counted(n_eta)}"
        )

    def __repr__(self) -> str:
        """Say in one line what makes the bins; edges of their own by their number only."""
        ranges = ("radius_min", "radius_max", "radius_step", "eta_min", "eta_max", "eta_step", "unit")
        words = [f"{name}={getattr(self, name)!r}" for name in ranges]
        for name in ("radius_bounds", "eta_bounds"):
            bounds = getattr(self, name)
            words += [] if bounds is None else [f"{name}=<{len(bounds)} edges>"]
        return f"CakeGrid({', '.join(words)})"

    def _repr_html_(self) -> str:
        """Return a table for notebooks."""
        (quantity, unit), (n_radius, n_eta) = _UNITS[self.unit], self.shape
        widths = [
            "of their own" if bounds is not None else f"{step:g} {of}"
            for bounds, step, of in (
                (self.radius_bounds, self.radius_step, unit),
                (self.eta_bounds, self.eta_step, "deg"),
            )
        ]
        rows = {
            quantity: f"{self.radius_min:g} to {self.radius_max:g} {unit}, {n_radius} bins, widths {widths[0]}",
            "eta": f"{self.eta_min:g} to {self.eta_max:g} deg, {n_eta} bins, widths {widths[1]}",
        }
        return html_table("CakeGrid", rows)


def _n_bins(low: float, high: float, step: float, bounds: tuple[float, ...] | None) -> int:
    if bounds is not None:
        return len(bounds) - 1
    # A range that is a whole number of steps to within rounding has that number of bins.
    return math.ceil((high - low) / step - 1e-9)


def _range(bounds: tuple[float, ...]) -> tuple[float, float, float]:
    """Return first edge, last edge and mean width."""
    return bounds[0], bounds[-1], (bounds[-1] - bounds[0]) / (len(bounds) - 1)


def _ascending(name: str, edges: npt.ArrayLike) -> tuple[float, ...]:
    """Return edges as numbers; raise InputError unless there are two or more, finite and ascending."""
    try:
        values = np.asarray(edges, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name} edges are {edges!r}; expected ascending numbers") from None
    if values.ndim != 1 or values.size < 2:
        raise InputError(f"{name} edges have shape {values.shape}; expected 2 or more in one row")
    wrong = np.flatnonzero(~(np.isfinite(values[:-1]) & np.isfinite(values[1:]) & (values[1:] > values[:-1])))
    if wrong.size:
        k = int(wrong[0])
        raise InputError(
            f"{name} edges {k} and {k + 1} are {values[k]:g} and {values[k + 1]:g}; expected finite, ascending numbers"
        )
    return tuple(values.tolist())


def _counted(n: int) -> str:
    return f"{n} bin{'s' * (n != 1)}"
