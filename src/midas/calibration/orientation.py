"""Is the image mirrored or turned: what modules, known detectors and a given beam centre say. Rings cannot say it."""

from __future__ import annotations

import math

import numpy as np

from midas.calibration.prepare import BoolImage

_KNOWN = {
    "Pilatus 100K": (195, 487),
    "Pilatus 300K": (619, 487),
    "Pilatus 300K-W": (195, 1475),
    "Pilatus 900K": (619, 1475),
    "Pilatus 1M": (1043, 981),
    "Pilatus 2M": (1679, 1475),
    "Pilatus 6M": (2527, 2463),
    "Eiger 1M": (1065, 1030),
    "Eiger 4M": (2167, 2070),
    "Eiger 9M": (3269, 3110),
    "Eiger 16M": (4371, 4150),
    "Eiger2 1M": (1062, 1028),
    "Eiger2 4M": (2162, 2068),
    "Eiger2 9M": (3262, 3108),
    "Eiger2 16M": (4362, 4148),
}
"""Rows and columns as the manufacturer (Dectris, technical specifications) writes them, gaps included."""
_GAPS = {(17, 7): "Pilatus", (37, 10): "Eiger", (38, 12): "Eiger2"}
"""Rows and columns between modules."""
_NEAR = 20.0  # px: a beam centre given by hand is that good
_TURNED = "the image looks transposed: it has {found}, a {name} has {right}; check the image transforms (ImTransOpt 3)"


def mirrored(
    mask: BoolImage,
    transforms: tuple[int, ...],
    guess: tuple[float, float] | None,
    beam_center: tuple[float, float],
) -> str | None:
    """Return why the image seems mirrored or transposed, None where nothing says so.

    `mask` and `beam_center` (y, z) are of the image after `transforms`; `guess` is the beam centre that was given.

    Examples
    --------
    >>> mirrored(np.zeros((981, 1043), dtype=bool), (), None, (490.0, 520.0))[:32]
    'the image looks transposed: it h'
    >>> mirrored(np.zeros((1043, 981), dtype=bool), (), (880.0, 520.0), (100.0, 520.0))[-23:]
    'missing or one too many'
    """
    return _transposed(mask, transforms) or _flipped(mask.shape, guess, beam_center)


def _transposed(mask: BoolImage, transforms: tuple[int, ...]) -> str | None:
    if transforms.count(3) % 2 == 1:
        return None  # someone asked for it
    shape = (mask.shape[0], mask.shape[1])
    known = {size: name for name, size in _KNOWN.items()}
    if shape not in known and shape[::-1] in known:
        right = shape[::-1]
        return _TURNED.format(
            found=f"{shape[0]} rows and {shape[1]} columns",
            name=known[right],
            right=f"{right[0]} and {right[1]}",
        )
    gaps = (_gap(np.all(mask, axis=1)), _gap(np.all(mask, axis=0)))
    if gaps not in _GAPS and gaps[::-1] in _GAPS:
        return _TURNED.format(
            found=f"gaps of {gaps[0]} rows and {gaps[1]} columns",
            name=_GAPS[gaps[::-1]],
            right=f"{gaps[1]} and {gaps[0]}",
        )
    return None


def _gap(barred: BoolImage) -> int:
    """Return the width of the gaps between modules, 0 where there are none or they differ."""
    edge = np.flatnonzero(np.diff(np.concatenate([[False], barred, [False]]).astype(np.int8)))
    begin, end = edge[::2], edge[1::2]
    widths = (end - begin)[(begin > 0) & (end < len(barred))]
    return int(widths[0]) if len(widths) and (widths == widths[0]).all() else 0


def _flipped(shape: tuple[int, ...], guess: tuple[float, float] | None, beam_center: tuple[float, float]) -> str | None:
    if guess is None or math.dist(guess, beam_center) <= _NEAR:
        return None
    y, z = beam_center
    flips = {"columns (ImTransOpt 1)": (shape[1] - 1.0 - y, z), "rows (ImTransOpt 2)": (y, shape[0] - 1.0 - z)}
    flips["columns and rows (ImTransOpt 1 and 2)"] = (shape[1] - 1.0 - y, shape[0] - 1.0 - z)
    for what, place in flips.items():
        if math.dist(guess, place) <= _NEAR:
            return (
                f"the beam centre given, y {guess[0]:g}, z {guess[1]:g} px, is where it would be with {what} flipped: "
                "a flip is missing or one too many"
            )
    return None
