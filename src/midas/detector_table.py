"""Tiled detectors that are known by the shape and the pixel size of their images.

Modules and gaps as the makers' manuals give them: Dectris Pilatus (modules of 487 x 195 px of 172 µm, gaps of 7 and
17 px), Eiger (1030 x 514 px of 75 µm, 10 and 37) and Eiger2 (1028 x 512 px of 75 µm, 12 and 38); PerkinElmer Dexela
(tiles that meet without a gap; 2 x 2 binning halves the number of pixels).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from midas.panels import PanelLayout

_PIXEL_SIZE_TOLERANCE = 0.02  # relative: files round 74.8 to 75


@dataclass(frozen=True)
class KnownDetector:
    """A tiled detector by name."""

    name: str
    """As its maker calls it."""
    pixel_size: float
    """[µm]."""
    layout: PanelLayout
    """Its modules, as its images show them without transforms."""


def _tiled(
    family: str, pixel_size: float, size: tuple[int, int], gap: tuple[int, int], models: dict[str, tuple[int, int]]
) -> list[KnownDetector]:
    return [
        KnownDetector(
            f"{family} {model}", pixel_size, PanelLayout(size, (gap[0],) * (n_rows - 1), (gap[1],) * (n_columns - 1))
        )
        for model, (n_rows, n_columns) in models.items()
    ]


KNOWN_DETECTORS: tuple[KnownDetector, ...] = (
    *_tiled(
        "Pilatus", 172.0, (195, 487), (17, 7),
        {"200K": (2, 1), "300K": (3, 1), "300K-W": (1, 3), "900K": (3, 3), "1M": (5, 2), "2M": (8, 3), "6M": (12, 5)},
    ),
    *_tiled(
        "Eiger", 75.0, (514, 1030), (37, 10), {"1M": (2, 1), "4M": (4, 2), "9M": (6, 3), "16M": (8, 4)}
    ),
    *_tiled(
        "Eiger2", 75.0, (512, 1028), (38, 12),
        {"1M": (2, 1), "1M-W": (1, 2), "2M-W": (1, 4), "4M": (4, 2), "9M": (6, 3), "16M": (8, 4)},
    ),
    *_tiled("Dexela", 74.8, (1944, 1536), (0, 0), {"2923": (2, 2)}),
    *_tiled("Dexela", 149.6, (972, 768), (0, 0), {"2923 binned": (2, 2)}),
)  # fmt: skip
"""All detectors in the table; those of a single module are not in it."""


def find_known_detector(shape: Sequence[int], pixel_size: float) -> KnownDetector | None:
    """Return the detector with images of this shape (n_z, n_y) and pixel size [µm], turned by 90 deg or not, or None.

    Examples
    --------
    >>> find_known_detector((1043, 981), 172.0).name
    'Pilatus 1M'
    >>> find_known_detector((2070, 2167), 75.0).layout.size
    (1030, 514)
    """
    for known in KNOWN_DETECTORS:
        if abs(pixel_size - known.pixel_size) > _PIXEL_SIZE_TOLERANCE * known.pixel_size:
            continue
        layout = known.layout
        if tuple(shape) == layout.shape:
            return known
        turned = PanelLayout(layout.size[::-1], layout.gaps_y, layout.gaps_z)
        if tuple(shape) == turned.shape:
            return KnownDetector(known.name, known.pixel_size, turned)
    return None


def contradicted_pixel_size(mask: npt.NDArray[np.bool_], pixel_size: float) -> str | None:
    """Return why a pixel size [µm] cannot be that of an image with this mask; None where nothing says so.

    A known detector's shape with its gaps between the modules (masked, True) is no accident: nobody else has them.

    Examples
    --------
    >>> mask = np.zeros((619, 487), dtype=bool)
    >>> mask[195:212] = mask[407:424] = True
    >>> contradicted_pixel_size(mask, 172.0), contradicted_pixel_size(np.zeros((619, 487), dtype=bool), 75.0)
    (None, None)
    >>> contradicted_pixel_size(mask, 75.0)
    'an image of 619 x 487 pixels is a Pilatus 300K, whose pixels are 172 µm; the pixel size given is 75 µm'
    """
    if find_known_detector(mask.shape, pixel_size) is not None:
        return None
    for known in KNOWN_DETECTORS:
        found = find_known_detector(mask.shape, known.pixel_size)
        if found is not None and _has_gaps(mask, found.layout):
            return (
                f"an image of {mask.shape[0]} x {mask.shape[1]} pixels is a {found.name}, whose pixels are "
                f"{found.pixel_size:g} µm; the pixel size given is {pixel_size:g} µm"
            )
    return None


def _has_gaps(mask: npt.NDArray[np.bool_], layout: PanelLayout) -> bool:
    """Return whether a layout has gaps and all of them are masked."""
    between = np.ones(mask.shape, dtype=bool)
    for first, last in layout.rows:
        for left, right in layout.columns:
            between[first : last + 1, left : right + 1] = False
    return bool(between.any() and mask[between].all())
