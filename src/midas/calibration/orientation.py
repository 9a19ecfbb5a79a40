"""Is the image mirrored or turned: what modules, known detectors and a given beam centre say. Rings cannot say it."""

from __future__ import annotations

import math

import numpy as np

from midas.calibration.prepare import BoolImage
from midas.detector_table import KNOWN_DETECTORS
from midas.panels import PanelLayout

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
    layouts = {known.name: known.layout for known in KNOWN_DETECTORS}
    for what, found, right in (
        ("{} rows and {} columns", (mask.shape[0], mask.shape[1]), {n: la.shape for n, la in layouts.items()}),
        ("gaps of {} rows and {} columns", _gaps(mask), {n.split()[0]: _widths(la) for n, la in layouts.items()}),
    ):
        name = next((n for n, value in right.items() if value == found[::-1]), None)
        if name is not None and found not in right.values() and 0 not in found:
            return _TURNED.format(found=what.format(*found), name=name, right="{} and {}".format(*found[::-1]))
    return None


def _widths(layout: PanelLayout) -> tuple[int, int]:
    return (max(layout.gaps_z, default=0), max(layout.gaps_y, default=0))


def _gaps(mask: BoolImage) -> tuple[int, int]:
    """Return rows and columns between modules, 0 where there are none or they differ."""
    return (_gap(np.all(mask, axis=1)), _gap(np.all(mask, axis=0)))


def _gap(barred: BoolImage) -> int:
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
