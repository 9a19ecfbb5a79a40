"""Calibrants and their powder rings."""

from midas.crystal.calibrants import (
    CALIBRANT_NAMES,
    Calibrant,
    Site,
    calibrant,
    calibrant_from_cell,
    calibrant_from_cif,
)
from midas.crystal.rings import Calibrants, Rings, merged, reciprocal_vectors, rings

__all__ = [
    "CALIBRANT_NAMES",
    "Calibrant",
    "Calibrants",
    "Rings",
    "Site",
    "calibrant",
    "calibrant_from_cell",
    "calibrant_from_cif",
    "merged",
    "reciprocal_vectors",
    "rings",
]
