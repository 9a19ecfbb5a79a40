"""What is obviously wrong with images, or probably so, in sentences that say what to do."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from midas.detector_table import KNOWN_DETECTORS, KnownDetector
from midas.inspection.result import FrameLook

_FEW_SATURATED = 1e-7  # share of pixels: some are hot on any detector
_MANY_NEGATIVE = 0.01
_MANY_MARKED = 0.5
_PEDESTAL = 0.5  # of the median, which the darkest pixels of an image with an offset reach
_LEAST_PEDESTAL = 20.0  # counts
_LEAST_UNITS = 3  # pixels by which a known detector's shape is missed


def problems_of(looks: Sequence[FrameLook], *, counts_photons: bool, has_dark: bool) -> Iterator[str]:
    """Yield a sentence for each problem of the frames looked at.

    Parameters
    ----------
    looks
        The frames looked at.
    counts_photons
        True where the detector counts photons: it has no offset.
    has_dark
        True where the file holds a dark.
    """
    if not looks:
        return
    known = [look for look in looks if not math.isnan(look.maximum)]
    if not known:
        yield (
            "no pixel of the frames looked at holds counts: all are marked (negative, NaN or the largest of the type)"
        )
        return
    if all(look.minimum == look.maximum for look in known):
        yield _constant(known)
        return
    yield from _values(known)
    darkest = [look.low for look in known if look.maximum > 0.0]
    median = max(look.median for look in known)
    pedestal = min(darkest, default=0.0)
    if not counts_photons and not has_dark and pedestal >= max(_LEAST_PEDESTAL, _PEDESTAL * median):
        yield (
            f"even the darkest pixels hold about {pedestal:.0f} counts of a median of {median:.0f}: probably the "
            "detector's offset; give a dark image (-darkFN, or Dark in the parameter file)"
        )
    if len(known) > 1 and len({look.digest for look in known}) == 1:
        yield (
            f"the {len(known)} frames looked at are the same to the last count: was one frame written again and again?"
        )
    empty = [look.index for look in known if look.maximum == 0.0]
    if empty and len(empty) < len(known):
        yield f"of the frames looked at {_listed(empty)} {'is' if len(empty) == 1 else 'are'} empty: every pixel is 0"


def _constant(looks: Sequence[FrameLook]) -> str:
    value = looks[0].maximum
    if all(look.maximum == 0.0 for look in looks):
        return "every pixel of the frames looked at is 0: was the shutter closed, or the file written before the data?"
    return f"every pixel of a frame has the same value, {value:g}: it is no measured image"


def _values(looks: Sequence[FrameLook]) -> Iterator[str]:
    saturated = max(looks, key=lambda look: look.saturated)
    if saturated.saturated > _FEW_SATURATED:
        yield (
            f"{100.0 * saturated.saturated:.2g} % of the pixels of frame {saturated.index} are saturated (largest "
            f"value {saturated.saturation:.10g}): their rings come out too weak and too broad; shorten the exposure or "
            "mask them"
        )
    negative = max(look.negative for look in looks)
    if negative > _MANY_NEGATIVE:
        yield (
            f"{negative:.0%} of the pixels are negative beside the marks -1 and -2: a dark seems to be subtracted "
            "already; negative pixels are left out as gaps, which lifts the background: use the raw images and a dark"
        )
    marked = max(look.marked - look.negative for look in looks)
    if marked > _MANY_MARKED:
        yield f"{marked:.0%} of the pixels are marked as no counts: is the data type right?"


def detector_facts(rows: int, columns: int) -> tuple[KnownDetector | None, str]:
    """Return the detector whose images have this shape, None where none is known, and what is wrong with the shape.

    Examples
    --------
    >>> known, problem = detector_facts(981, 1043)
    >>> known.name, problem
    ('Pilatus 1M', 'it is transposed: images of a Pilatus 1M have 1043 rows x 981 columns; give ImTransOpt 3 or read \
it as it was written')
    """
    for known in KNOWN_DETECTORS:
        if known.layout.shape == (rows, columns):
            return known, ""
    for known in KNOWN_DETECTORS:
        if known.layout.shape == (columns, rows):
            z, y = known.layout.shape
            return known, (
                f"it is transposed: images of a {known.name} have {z} rows x {y} columns; give ImTransOpt 3 or read it "
                "as it was written"
            )
    for known in KNOWN_DETECTORS:
        z, y = known.layout.shape
        for shape in ((rows, columns), (columns, rows)):
            if max(abs(shape[0] - z), abs(shape[1] - y)) <= _LEAST_UNITS:
                return None, (
                    f"it has {rows} rows x {columns} columns, nearly those of a {known.name} ({z} x {y}): was it "
                    "cropped, binned or padded?"
                )
    return None, ""


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:-1])) + (" and " if len(numbers) > 1 else "") + str(numbers[-1])
