"""Lines that the edge of a pattern cuts: an engine computes those within the range only, and misses their tails."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from midas.errors import MidasError
from midas.refine.expected import ExpectedRing, expected_rings
from midas.refine.lineouts import MIN_BINS, Lineout

if TYPE_CHECKING:
    from midas.io.gsas_zarr import CakeFile
    from midas.refine.job import PhaseFile

_log = logging.getLogger(__name__)

TAIL = 5.0
"""FWHM from its place at which a line has fallen enough: a Lorentzian to 1 % of its height."""
FAR = 1.25
"""Lines are looked for up to this many times the largest 2θ."""
MOST = 0.25
"""Share of a pattern that is never left out for a line beyond its edge."""


def rings_about(cake: CakeFile, phases: Sequence[PhaseFile], wavelength: float) -> list[ExpectedRing]:
    """Return the strong rings of the phases within and somewhat beyond the patterns of a caked file, ascending."""
    from midas.crystal import calibrant_from_cif

    high = float(np.nanmax(cake.two_theta)) * FAR
    found: list[ExpectedRing] = []
    for phase in phases:
        try:
            rings = expected_rings(phase.name, calibrant_from_cif(phase.path), wavelength, 0.0, high)
        except MidasError as error:  # what the engine makes of such a CIF is its own matter
            _log.info("lines of %s beyond the edges are not looked for: %s", phase.name, error)
            continue
        found += [ring for ring in rings if ring.is_strong]
    return sorted(found, key=lambda ring: ring.two_theta)


def uncut_limits(
    lineout: Lineout, rings: Sequence[ExpectedRing], limits: tuple[float, float] | None
) -> tuple[tuple[float, float] | None, str | None]:
    """Return the limits to fit a lineout between [deg], and a remark where a line beyond them reaches in.

    Without limits of the user's the range ends `TAIL` widths before such a line, or half-way from the last line within;
    the user's own are kept, and the remark says what they cut.
    """
    x = lineout.two_theta
    low, high = (float(x[0]), float(x[-1])) if limits is None else limits
    low, high = max(low, float(x[0])), min(high, float(x[-1]))
    found = lineout.median_width
    within = [ring.two_theta for ring in rings if low <= ring.two_theta <= high]
    if found is None or not within:
        return limits, None
    reach = TAIL * found[0]
    before = [ring for ring in rings if low - reach < ring.two_theta < low]
    after = [ring for ring in rings if high < ring.two_theta < high + reach]
    if not before and not after:
        return limits, None
    remarks = [_described(ring) for ring in (*before[-1:], *after[:1])]
    start, end = low, high
    if before:
        start = min(before[-1].two_theta + reach, 0.5 * (before[-1].two_theta + within[0]))
    if after:
        end = max(after[0].two_theta - reach, 0.5 * (after[0].two_theta + within[-1]))
    start, end = max(start, low), min(end, high)
    if (start, end) == (low, high):  # the next line within is nearer to the edge than that one
        return limits, None
    lines = " and ".join(remarks)
    if limits is not None:
        return limits, f"beyond the limits {lines} reaches into the range: {start:.3f} to {end:.3f} deg is clear of it"
    kept = np.count_nonzero((x >= start) & (x <= end))
    if kept <= max(MIN_BINS, (1.0 - MOST) * len(x)):
        return limits, f"the edge of the data cuts {lines}; set --limits"
    return (start, end), f"fitted from {start:.3f} to {end:.3f} deg: the edge of the data cuts {lines}"


def _described(ring: ExpectedRing) -> str:
    return f"the line {' '.join(map(str, ring.hkl))} of {ring.phase} at {ring.two_theta:.3f} deg"
