"""Standard uncertainties from points that share pixels, in place of GSAS-II's, which takes points as independent.

With J the derivatives of the pattern over sigma, N = J J^T, s the goodness of fit and R the correlation of the points,
GSAS-II's covariance of the parameters is s² N^-1; that of least squares whose weights leave R out is (Seber & Wild,
Nonlinear Regression (1989), section 2.8)

    s² N^-1 J R J^T N^-1

Points of a cake finer than a pixel are correlated by a half and more, and esds without R too small by a factor of two.
Like the worker this imports nothing of midas.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

FOLLOWED = {"strMath": "getPowderProfileDerv", "mapvars": "Dict2Deriv", "strMain": "RefineCore"}
"""Functions of GSAS-II, by the module that they are looked up in, which see derivatives and covariance pass."""
DONE = "Shared pixels"
"""Key of GSAS-II's residual values, which a project keeps with its covariance: whether that allows for them."""
SAME = 0.05
"""Derivatives belong to a covariance where J J^T times it is s² to this, each parameter in units of its esd."""


class SharedPixels:
    """The correlation of the points that are being refined, and the derivatives of the fit that stands."""

    def __init__(self) -> None:
        self.two_theta = self.sigma = np.empty(0)
        self.bands: list[Any] = []
        self.first = 0.0
        self.derivatives: Any = None
        self.fit: tuple[Any, float] | None = None
        """Derivatives over sigma, by parameters and points, of the covariance that stands, and the 2θ of their first
        point; None where they are unknown. Whoever goes back to an earlier covariance sets it back, too."""

    def begin(self, two_theta: Sequence[float], sigma: Sequence[float], bands: Sequence[Sequence[float]]) -> None:
        """Take a lineout: entry i of band k - 1 is the correlation of the points i and i + k."""
        self.two_theta, self.sigma = np.asarray(two_theta, dtype=float), np.asarray(sigma, dtype=float)
        self.bands = [np.asarray(band, dtype=float) for band in bands]
        self.derivatives = self.fit = None

    @property
    def spread(self) -> float:
        """How many times the variance that independent points would give a quantity that varies slowly has."""
        return 1.0 + 2.0 * sum(float(band.mean()) for band in self.bands)

    def placed(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Note where the points begin for which derivatives are computed."""

        def derivatives(args: Any) -> Any:
            self.first = float(args[1][0])
            return original(args)

        return derivatives

    def noted(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Keep the derivatives by what is varied, before GSAS-II multiplies them by other things in place."""

        def independent(varied: Any, dependent: Any, derivatives: Any) -> Any:
            found = original(varied, dependent, derivatives)
            self.derivatives = np.array(np.ma.getdata(derivatives))
            return found

        return independent

    def corrected(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Put the right covariance in the place of GSAS-II's, before anything is computed from it."""

        def core(*args: Any, **named: Any) -> Any:
            self.derivatives = self.fit = None
            done, rvals, result, covariance, sig, shift = original(*args, **named)
            if len(covariance):
                gof = float(rvals["GOF"])
                scaled = self.scaled_derivatives(np.asarray(covariance), gof)
                self.fit = None if scaled is None else (scaled[0], self.first)
                if self.bands:
                    rvals[DONE] = scaled is not None
                if self.bands and scaled is not None:
                    covariance = self.covariance(np.asarray(covariance), gof, *scaled)
                # counts scatter by no less than they do: a GOF below 1 is chance, or weights of few counts
                covariance = np.asarray(covariance) / min(max(gof, 1e-300), 1.0) ** 2
                sig = np.sqrt(np.diag(covariance))
            return done, rvals, result, covariance, sig, shift

        return core

    def scaled_derivatives(self, covariance: Any, gof: float) -> tuple[Any, int] | None:
        """Return the derivatives over sigma that a covariance of GSAS-II's comes from, and where their points begin.

        None where they are unknown.
        """
        if self.derivatives is None:
            return None
        j, start = self.derivatives, int(np.searchsorted(self.two_theta, self.first))
        if j.shape[0] != len(covariance) or start + j.shape[1] > len(self.two_theta):
            return None
        j = j / self.sigma[start : start + j.shape[1]]
        esd = np.sqrt(np.maximum(np.diag(covariance), 1e-300))
        unit = (covariance / esd[:, None]) @ ((j @ j.T) * esd[None, :]) / max(gof**2, 1e-300)
        return (j, start) if np.allclose(unit, np.eye(len(esd)), atol=SAME) else None

    def covariance(self, covariance: Any, gof: float, j: Any, start: int) -> Any:
        """Return the covariance of parameters with what points share, from GSAS-II's and derivatives over sigma."""
        total, n = j @ j.T, j.shape[1]
        for k, band in enumerate(self.bands, 1):
            part = (j[:, : n - k] * band[start : start + n - k]) @ j[:, k:].T
            total += part + part.T
        return covariance @ total @ covariance / gof**2


SHARED = SharedPixels()
"""Of this process, which refines one histogram at a time."""


def install(prefix: str) -> None:
    """Put the correction in place; `prefix` is "GSASII." where that is a package.

    Raises
    ------
    ImportError
        A function to follow is not there: this version's uncertainties would be wrong without anyone knowing.
    """
    followers = {"strMath": SHARED.placed, "mapvars": SHARED.noted, "strMain": SHARED.corrected}
    for module, name in FOLLOWED.items():
        names = vars(importlib.import_module(f"{prefix}GSASII{module}"))
        if name not in names:
            raise ImportError(f"this version has no {name}, which midas follows; version 2.0 is known to work")
        names[name] = functools.wraps(names[name])(followers[module](names[name]))
