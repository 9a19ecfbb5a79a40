"""Calibrants and their powder rings."""

from midas.crystal.calibrants import (
    CALIBRANT_NAMES,
    Calibrant,
    Site,
    calibrant,
    calibrant_from_cell,
    calibrant_from_cif,
)
from midas.crystal.rings import Rings, reciprocal_vectors, rings

__all__ = [
    "CALIBRANT_NAMES",
    "Calibrant",
    "Rings",
    "Site",
    "calibrant",
    "calibrant_from_cell",
    "calibrant_from_cif",
    "reciprocal_vectors",
    "rings",
]
