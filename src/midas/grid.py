"""The bins of a cake: edges in radius (or q) and in eta."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from midas.errors import InputError
from midas.geometry import FloatArray, Geometry

_UNITS = ("px", "q")


@dataclass(frozen=True)
class CakeGrid:
    """Uniform bins in radius [px] or q [Å⁻¹], and in eta [deg].

    Bin counts: ceil((max - min) / step), lower edges min + i·step (SPEC section 5). The last bin is as wide as the
    others, so it may reach past the maximum; only in eta it ends at a full turn from the first edge.

    Raises
    ------
    InputError
        A step is not positive, a range is empty, or eta spans more than a turn.

    Examples
    --------
    >>> CakeGrid(radius_min=10, radius_max=1000, radius_step=1).shape
    (990, 72)
    """

    radius_min: float
    """Lower edge of the first bin [px, or Å⁻¹ with unit "q"]."""
    radius_max: float
    """Where the bins end [px or Å⁻¹]."""
    radius_step: float
    """Width of a bin [px or Å⁻¹]."""
    eta_min: float = -180.0
    """Lower edge of the first eta bin [deg]."""
    eta_max: float = 180.0
    """Where the eta bins end [deg]."""
    eta_step: float = 5.0
    """Width of an eta bin [deg]."""
    unit: str = "px"
    """"px": uniform in radius; "q": uniform in q, R = (L/px) tan(2 asin(qλ/4π))."""

    def __post_init__(self) -> None:
        """Check ranges and steps."""
        if self.unit not in _UNITS:
            raise InputError(f"grid unit is {self.unit!r}; expected 'px' or 'q'")
        for name in ("radius", "eta"):
            low, high, step = (float(getattr(self, f"{name}_{part}")) for part in ("min", "max", "step"))
            for part, value in (("min", low), ("max", high), ("step", step)):
                object.__setattr__(self, f"{name}_{part}", value)
            if not all(math.isfinite(v) for v in (low, high, step)) or step <= 0.0 or high <= low:
                raise InputError(
                    f"{name} bins run from {low:g} to {high:g} in steps of {step:g}; expected max > min and a "
                    "step above 0"
                )
        if self.radius_min < 0.0:
            raise InputError(f"radius_min is {self.radius_min:g}; expected 0 or more")
        if self.eta_max - self.eta_min > 360.0 + 1e-9:
            raise InputError(f"eta runs from {self.eta_min:g} to {self.eta_max:g} deg; expected at most a full turn")

    @property
    def shape(self) -> tuple[int, int]:
        """Number of bins (n_radius, n_eta)."""
        return (
            _n_bins(self.radius_min, self.radius_max, self.radius_step),
            _n_bins(self.eta_min, self.eta_max, self.eta_step),
        )

    @property
    def eta_edges(self) -> FloatArray:
        """Shape (n_eta + 1,), [deg]; a last bin that would pass a full turn ends there."""
        edges = np.asarray(self.eta_min + self.eta_step * np.arange(self.shape[1] + 1), dtype=np.float64)
        edges[-1] = min(edges[-1], self.eta_min + 360.0)
        return edges

    def radius_edges(self, geometry: Geometry) -> FloatArray:
        """Return the bin edges in px, shape (n_radius + 1,), whatever the unit of the grid."""
        return self._to_radius(np.arange(self.shape[0] + 1), geometry)

    def radius_centers(self, geometry: Geometry) -> FloatArray:
        """Return the bin centres in px, shape (n_radius,): half way between the edges in the grid's own unit."""
        return self._to_radius(np.arange(self.shape[0]) + 0.5, geometry)

    @property
    def eta_centers(self) -> FloatArray:
        """Shape (n_eta,), half way between the edges [deg]."""
        centers = np.asarray(self.eta_min + self.eta_step * (np.arange(self.shape[1]) + 0.5), dtype=np.float64)
        centers[-1] = self.eta_edges[-2:].mean()
        return centers

    def _to_radius(self, steps: npt.ArrayLike, geometry: Geometry) -> FloatArray:
        """Return the radius [px] so many steps from radius_min."""
        positions = self.radius_min + self.radius_step * np.asarray(steps, dtype=np.float64)
        if self.unit == "px":
            return np.asarray(positions, dtype=np.float64)
        sine = positions * geometry.wavelength / (4.0 * math.pi)
        two_theta = 2.0 * np.arcsin(np.clip(sine, 0.0, 1.0))
        if sine[-1] > 1.0 or two_theta[-1] >= math.pi / 2.0:
            raise InputError(
                f"q reaches {positions[-1]:g} Å⁻¹, beyond 2theta = 90 deg at wavelength {geometry.wavelength:g} Å; "
                "lower radius_max"
            )
        return geometry.radius_of(np.degrees(two_theta))


def _n_bins(low: float, high: float, step: float) -> int:
    # A range that is a whole number of steps to within rounding has that number of bins.
    return math.ceil((high - low) / step - 1e-9)
