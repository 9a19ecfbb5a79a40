"""Caking: from frames to intensity over (R, η)."""

from __future__ import annotations

from midas.cake.build import build_map
from midas.cake.cake_file import WrittenCake, ZarrOptions, integrate_to_zarr
from midas.cake.corrections import Corrections
from midas.cake.integrate import integrate, integrate_with_map
from midas.cake.map import CakeMap
from midas.cake.options import IntegrationOptions
from midas.cake.peaks import PeakFits, PeakOptions, fit_peaks
from midas.cake.prepared import CakedFrames
from midas.cake.result import Cake, Profile
from midas.cake.robust import RobustOptions
from midas.cake.series import CakedSeries, SeriesFiles, SeriesOptions, integrate_file, integrate_files
from midas.cake.sums import Segment

__all__ = [
    "Cake",
    "CakeMap",
    "CakedFrames",
    "CakedSeries",
    "Corrections",
    "IntegrationOptions",
    "PeakFits",
    "PeakOptions",
    "Profile",
    "RobustOptions",
    "Segment",
    "SeriesFiles",
    "SeriesOptions",
    "WrittenCake",
    "ZarrOptions",
    "build_map",
    "fit_peaks",
    "integrate",
    "integrate_file",
    "integrate_files",
    "integrate_to_zarr",
    "integrate_with_map",
]
