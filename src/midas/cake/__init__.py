"""Caking: from frames to intensity over (R, η)."""

from __future__ import annotations

from midas.cake.integrate import integrate
from midas.cake.map import CakedFrames, CakeMap, build_map
from midas.cake.options import IntegrationOptions
from midas.cake.result import Cake, Profile
from midas.cake.series import integrate_file

__all__ = [
    "Cake",
    "CakeMap",
    "CakedFrames",
    "IntegrationOptions",
    "Profile",
    "build_map",
    "integrate",
    "integrate_file",
]
