"""Are these the calibrant's rings: which of its strong rings were found, and how much of what is seen they explain."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from midas import _core
from midas.calibration.brightness import ring_brightness
from midas.calibration.fit import LoopResult
from midas.calibration.points import MIN_SNR, RingPoints
from midas.calibration.prepare import BoolImage
from midas.calibration.signal import RingSignal
from midas.crystal import Rings
from midas.geometry import FloatArray, Geometry
from midas.profiles import find_peaks, smoothed

IntArray = npt.NDArray[np.int64]

_STRONG = 0.1  # of the brightest ring: the rest may be below what was exposed
_BRIGHT = 0.3  # of the brightest ring: bright enough to measure the exposure by
_CLEARLY = 2.0  # times the smallest signal-to-noise that a point needs, at which a ring should show throughout
_CANNOT_MISS = 0.2  # of the brightest ring: brighter ones cannot be absent, weaker ones may drown in a neighbour
_ABSENT = 0.1  # of the points that count as found
_FOUND_BINS = 0.4  # of the azimuth bins where a ring should show: texture and spots leave bins empty
_LIT_BY = 2  # rings with points in a bin that show that it is lit; shadows are not masked
_USABLE_BIN = 0.5  # of a bin's arc that must lie on usable pixels
_COMPARED, _FEWEST_COMPARED = 0.05, 5  # of the brightest ring; rings that say whether their brightness fits
_FAINT = 1e-3  # of the brightest ring: fainter ones explain nothing
_SAME_PEAK = 2.0  # coarse cells between a peak and the ring that explains it
_BETWEEN = 0.6  # of the width: the same, for a crest between two rings
_WIDEST = 4.0  # of the rings' width: what is wider is background
_EDGE = 0.5  # of a peak's height: a deeper hollow beside it makes it the edge of a shadow
_TRIMMED = 0.1  # of the cells of a radius, dropped at either end: spots, zingers, shadows
_FEWEST_CELLS = 12
_PEAK_SIGMA = 5.0
_SMALLEST_PEAK = 0.01  # of the highest


def brightness_scatter(points: RingPoints, rings: Rings) -> tuple[float, float]:
    """Return by how much, as a standard deviation of ln, the rings differ in brightness from what the structure says.

    And how much of that a median over so few grains may do, from the scatter along each ring. Over the rings of at
    least 5 % of the brightest's; NaN for fewer than five, without a structure, and for several calibrants, whose shares
    are not known.
    """
    if rings.phase is not None or not np.isfinite(rings.intensity).all():
        return math.nan, math.nan
    numbers = np.unique(points.ring)
    logs = [np.log((points.height * points.fwhm)[points.ring == k]) for k in numbers]
    seen = np.array([np.median(own) for own in logs])
    expected = ring_brightness(rings)[numbers]
    bright = (seen > seen.max(initial=-math.inf) + math.log(_COMPARED)) & (expected > 0.0)
    if bright.sum() < _FEWEST_COMPARED:
        return math.nan, math.nan
    # the variance of a median is pi/2 times that of the mean
    noise = [0.5 * math.pi * float(np.var(own)) / len(own) for own, b in zip(logs, bright, strict=True) if b]
    return float(np.std(seen[bright] - np.log(expected[bright]))), math.sqrt(float(np.mean(noise)))


@dataclass(frozen=True)
class StrongRings:
    """How the rings fared that the calibrant should show clearly."""

    share: float
    """Share of them that were found; 0 where none was looked for."""
    missing: tuple[str, ...]
    """Reflections of bright ones that are not there at all, where the structure is known."""


def strong_rings(loop: LoopResult, rings: Rings, mask: BoolImage, eta_step: float) -> StrongRings:
    """Return the share of the strong rings looked for that were found, and which bright ones are missing.

    Strong are rings at least a tenth as bright as the brightest, and bright enough to stand out, measured by the rings
    that were found. A ring counts in full when four in ten of the azimuth bins where it should show have a point, else
    in proportion. It should show where it crosses usable pixels and any two rings show.
    """
    points = loop.points
    expected = _expected_bins(loop, rings, mask, eta_step)
    if not expected or not len(points):
        return StrongRings(0.0, ())
    brightness = ring_brightness(rings, unknown=1.0)
    brightest = max(brightness[k] for k in expected)
    snr = {int(k): float(np.median(points.snr[points.ring == k])) for k in np.unique(points.ring)}
    # Against a background, signal over noise goes as the brightness; where the ring itself makes the noise, slower.
    bright = [snr[k] / brightness[k] for k in snr if brightness[k] > _BRIGHT * brightest]
    per_brightness = float(np.median(bright)) if bright else math.inf
    strong = [
        k
        for k in expected
        if brightness[k] > _STRONG * brightest and brightness[k] * per_brightness > _CLEARLY * MIN_SNR
    ] or [k for k in expected if brightness[k] > _BRIGHT * brightest]
    found = {k: float((points.ring == k).sum()) / (_FOUND_BINS * expected[k]) for k in strong}
    # Inside the innermost ring that was found a beamstop may hide whatever there is.
    innermost = min((k for k in strong if found[k] >= _ABSENT), default=math.inf)
    missing = [k for k in strong if k > innermost and found[k] < _ABSENT and brightness[k] > _CANNOT_MISS * brightest]
    known = bool(np.isfinite(rings.intensity).all())
    return StrongRings(
        share=float(np.mean(np.minimum(list(found.values()), 1.0))),
        missing=tuple("{} {} {}".format(*rings.hkl[k]) for k in missing) if known else (),
    )


def _expected_bins(loop: LoopResult, rings: Rings, mask: BoolImage, eta_step: float) -> dict[int, int]:
    """Return, for each ring looked for, the number of azimuth bins in which it should show, where there are any."""
    lit = _lit_bins(loop, eta_step)
    bins = {k: int((_on_panel(loop, rings, k, mask, eta_step) & lit).sum()) for k in sorted(loop.fitted_rings)}
    return {k: n for k, n in bins.items() if n}


def _lit_bins(loop: LoopResult, eta_step: float) -> BoolImage:
    points, n = loop.points, _core.eta_bins(eta_step)
    seen = np.bincount(points.eta_bin, minlength=n)[:n]
    return seen >= min(_LIT_BY, len(np.unique(points.ring)))


def _on_panel(loop: LoopResult, rings: Rings, k: int, mask: BoolImage, eta_step: float) -> BoolImage:
    """Return, for each azimuth bin, whether the ring crosses usable pixels over half of it."""
    n = _core.eta_bins(eta_step)
    eta = -180.0 + (np.arange(5 * n) + 0.5) * 72.0 / n
    geometry = loop.fit.geometry
    y, z = geometry.to_pixel(np.full_like(eta, geometry.radius_of(rings.two_theta[k])), eta, n_threads=1)
    on = np.isfinite(y) & np.isfinite(z)
    columns, rows = np.rint(np.where(on, y, -1)).astype(int), np.rint(np.where(on, z, -1)).astype(int)
    on &= (columns >= 0) & (columns < mask.shape[1]) & (rows >= 0) & (rows < mask.shape[0])
    on[on] = ~mask[rows[on], columns[on]]
    return np.asarray(on.reshape(n, 5).mean(axis=1) > _USABLE_BIN)


def explained_share(signal: RingSignal, geometry: Geometry, rings: Rings, fwhm: float) -> float:
    """Return the share of the rings' height on the image that lies on rings of the calibrant.

    Rings are the peaks of the counts over background, averaged over azimuth without its brightest and darkest tenth
    (spots, zingers, shadows). Another phase's faint rings weigh little, strong ones of another calibrant much. Rings
    closer than their width `fwhm` [px] show one crest between them.
    """
    radii, heights = image_rings(signal, geometry, fwhm)
    if len(radii) == 0:
        return 0.0
    brightness = ring_brightness(rings, unknown=1.0)
    expected = geometry.radius_of(rings.two_theta[brightness > _FAINT * brightness.max()]) / signal.binning
    off = np.abs(radii[:, None] - expected[None, :]).min(axis=1)
    reach = max(_SAME_PEAK, _BETWEEN * fwhm / signal.binning)
    return float(np.sum(heights[off < reach]) / np.sum(heights))


def image_rings(signal: RingSignal, geometry: Geometry, fwhm: float) -> tuple[FloatArray, FloatArray]:
    """Return radii [coarse cells] and heights [counts] of the rings on the image, whatever they belong to.

    `fwhm` [px] is the width of the calibrant's rings; bumps several times as wide are background.
    """
    profile, sigma, count = _trimmed_profile(signal, geometry)
    covered = count >= _FEWEST_CELLS
    profile = np.where(covered, smoothed(profile, 0.7), 0.0)
    # Background that the local median did not follow is wider than any ring.
    widest = int(max(_WIDEST * fwhm / signal.binning, _WIDEST * _SAME_PEAK))
    flat = np.where(covered, _narrow(profile, widest), 0.0)
    typical = float(np.median(sigma[covered])) if covered.any() else 0.0
    floor = max(_PEAK_SIGMA * typical, _SMALLEST_PEAK * float(flat.max(initial=0.0)), 1e-9)
    peaks, prominences = find_peaks(flat, prominence=floor)
    # At the edge of a shadow the local median is too high on the dark side and too low on the other.
    depths = np.array([-profile[max(0, k - widest) : k + widest + 1].min() for k in peaks])
    edges = depths > _EDGE * prominences
    kept = ~edges if not edges.all() else edges
    return np.asarray(peaks[kept] + 0.5, dtype=np.float64), prominences[kept]


def _narrow(profile: FloatArray, width: int) -> FloatArray:
    """Return what stands above the profile's morphological opening: bumps narrower than `width` cells."""
    reach = max(1, width // 2)
    windows = np.lib.stride_tricks.sliding_window_view
    low = windows(np.pad(profile, reach, mode="edge"), 2 * reach + 1).min(axis=1)
    opened = windows(np.pad(low, reach, mode="edge"), 2 * reach + 1).max(axis=1)
    return np.asarray(profile - opened, dtype=np.float64)


def _trimmed_profile(signal: RingSignal, geometry: Geometry) -> tuple[FloatArray, FloatArray, IntArray]:
    """Return, for each coarse cell of radius, (trimmed mean of counts over background, its esd, number of cells)."""
    rows, columns = np.nonzero(~signal.mask)
    radius = geometry.to_polar(signal.to_image(columns), signal.to_image(rows), n_threads=1)[0] / signal.binning
    known = np.isfinite(radius)
    excess = (signal.counts - signal.background)[rows, columns][known]
    ring, excess = _sorted_in_rings(radius[known].astype(np.int64), excess)
    count = np.bincount(ring)
    rank = np.arange(len(ring)) - np.repeat(np.cumsum(count) - count, count)
    inside = np.minimum(rank, np.repeat(count, count) - 1 - rank) >= np.repeat(_TRIMMED * count, count).astype(np.int64)
    ring, excess = ring[inside], excess[inside]
    kept = np.maximum(np.bincount(ring, minlength=len(count)), 1)
    mean = np.bincount(ring, weights=excess, minlength=len(count)) / kept
    square = np.bincount(ring, weights=(excess - mean[ring]) ** 2, minlength=len(count)) / kept
    return mean, np.sqrt(square / kept), count


def _sorted_in_rings(ring: IntArray, value: npt.NDArray[np.floating[Any]]) -> tuple[IntArray, FloatArray]:
    """Return rings and values in the order of the rings, and of the values within each.

    One sort of whole numbers, the ring above the bits of the value, takes a fifth of the time of sorting indices. The
    bits of positive floats are in the order of their values, those of negative ones in reverse.
    """
    bits = value.astype(np.float32).view(np.uint32)
    flipped = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
    key = np.sort((ring.astype(np.uint64) << np.uint64(32)) | flipped)
    flipped = key.astype(np.uint32)
    bits = np.where(flipped >> 31, flipped & np.uint32((1 << 31) - 1), ~flipped)
    return (key >> np.uint64(32)).astype(np.int64), bits.view(np.float32).astype(np.float64)
