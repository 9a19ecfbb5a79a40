"""Where cell and wavelength put the rings of a phase, and how strong they are beside one another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from midas.crystal import Calibrant, rings

MIN_INTENSITY = 0.01
"""Rings weaker than this share of a phase's strongest, Lorentz factor included, are not looked for."""


@dataclass(frozen=True)
class ExpectedRing:
    """A ring as cell and wavelength mean it."""

    phase: str
    hkl: tuple[int, int, int]
    two_theta: float
    """[deg]"""
    strength: float
    """Of the phase's strongest."""

    @property
    def is_strong(self) -> bool:
        """Whether it is worth looking for."""
        return self.strength > MIN_INTENSITY


def expected_rings(name: str, phase: Calibrant, wavelength: float, low: float, high: float) -> list[ExpectedRing]:
    """Return the rings of a phase between two angles 2θ [deg], the weak ones included.

    Strength is m|F|² / (sin²θ cosθ), the powder's Lorentz factor for patterns over 2θ, over that of the strongest ring
    up to `high`.

    Examples
    --------
    >>> from midas import calibrant
    >>> [(r.hkl, round(r.two_theta, 2)) for r in expected_rings("CeO2", calibrant("CeO2"), 0.2, 3.0, 5.0)]
    [((1, 1, 1), 3.67), ((2, 0, 0), 4.24)]
    """
    known = rings(phase, wavelength, two_theta_max=min(high, 179.0))
    theta = np.radians(known.two_theta / 2.0)
    strength = known.intensity / (np.sin(theta) ** 2 * np.cos(theta))
    strength = strength / max(float(strength.max(initial=0.0)), 1e-300)
    return [
        ExpectedRing(name, (int(h[0]), int(h[1]), int(h[2])), float(place), float(share))
        for h, place, share in zip(known.hkl, known.two_theta, strength, strict=True)
        if place > low
    ]
