"""Random calibrant images with known truth; what of their rings can be seen: stress_visibility.py.

A case is a pure function of (category, number): the same case has the same geometry, image and noise on every machine
and in every selection. Each category varies one difficulty over an otherwise ordinary image; `mixed` piles several.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np

from midas import Detector, Geometry, SimulationOptions, calibrant, simulate
from midas.crystal import rings
from midas.panels import PanelLayout, Panels
from midas.simulation import Simulation
from midas.units import wavelength_from_energy

BIN = 5.0  # deg
MIN_ARC = 60.0  # deg
MIN_RINGS = 4
_MOST_RINGS = 150
_LAYER_ORDERS = 15  # of silver behenate: the powder shows no more, the simulation, which knows no atoms, would
_TRIES = 20_000
_KEEP_DISTANCE = 400  # tries

PIXELS = (25.0, 50.0, 55.0, 75.0, 100.0, 150.0, 172.0, 200.0)
SHAPES = (
    (512, 512), (768, 768), (1024, 1024), (619, 487), (1043, 981), (1679, 1475), (2048, 2048), (2880, 2880),
    (4096, 4096),
)  # fmt: skip
SHAPE_SHARES = (0.34, 0.1, 0.3, 0.05, 0.08, 0.04, 0.06, 0.015, 0.015)
MATERIALS = ("CeO2", "LaB6", "Si", "Al2O3", "Cr2O3", "TiO2", "Ni", "Au", "Y2O3", "ZnO", "AgBehenate")
MATERIAL_SHARES = (0.3, 0.2, 0.12, 0.12, 0.04, 0.04, 0.04, 0.04, 0.03, 0.04, 0.03)
# Told instead of the truth: other lattices, so that no distance makes one look like the other.
MISTAKEN = {"CeO2": "LaB6", "LaB6": "Si", "Si": "CeO2", "Al2O3": "CeO2", "Ni": "LaB6", "Au": "Al2O3", "ZnO": "Si"}


@dataclass(frozen=True, eq=False)
class Case:
    """One image to calibrate."""

    name: str
    category: str
    calibrant: str
    told: str
    """The calibrant that the calibration is told of."""
    geometry: Geometry
    shape: tuple[int, int]
    options: SimulationOptions
    seed: int
    sector: tuple[float, float] | None = None
    """Middle and width [deg] of the only azimuths that are lit, None for all."""
    sector_masked: bool = False
    """Whether the calibration gets a mask of the rest."""

    @property
    def energy(self) -> float:
        """[keV]."""
        return 12.398419843 / self.geometry.wavelength

    def params(self) -> dict[str, Any]:
        """What the calibration is told."""
        return {
            "wavelength": self.geometry.wavelength,
            "pixel_size": self.geometry.pixel_size,
            "calibrant": self.told,
        }


@dataclass
class Draft:
    """A case in the making; lengths in µm, angles in deg, the beam in shares of the panel."""

    rng: np.random.Generator
    shape: tuple[int, int]
    material: str
    energy: float
    pixel: float
    distance: float
    beam: tuple[float, float]
    tilts: tuple[float, float]
    fwhm: float
    distortion: dict[str, float]
    options: dict[str, Any] = field(default_factory=dict)
    sector: tuple[float, float] | None = None
    sector_masked: bool = False
    n_rings: tuple[int, int] = (MIN_RINGS, 40)
    arc: float = MIN_ARC
    told: str | None = None
    shift: float = 0.0
    """Standard deviation of the modules' displacement along rows and columns [px]."""
    turn: float = 0.0
    """Standard deviation of their rotation [deg]."""

    def geometry(self) -> Geometry:
        n_z, n_y = self.shape
        center = (self.beam[0] * n_y - 0.5, self.beam[1] * n_z - 0.5)
        return Geometry(
            distance=self.distance,
            beam_center=center,
            pixel_size=self.pixel,
            wavelength=wavelength_from_energy(self.energy),
            tilts=(0.0, *self.tilts),
            distortion=self.distortion,
            distortion_radius=Detector(self.shape, self.pixel).farthest_corner(center),
        )

    def panels(self) -> Panels | None:
        """Modules off their place; the area's mean shift is 0, or the beam would not be where the geometry says."""
        if "module_shape" not in self.options:
            return None
        size, gaps = self.options["module_shape"], self.options["module_gap"]
        counts = [-(-(n + g) // (m + g)) for n, m, g in zip(self.shape, size, gaps, strict=True)]
        layout = PanelLayout(size, (gaps[0],) * (counts[0] - 1), (gaps[1],) * (counts[1] - 1))
        shifts = self.rng.normal(size=(len(layout), 3)) * (self.shift, self.shift, self.turn)
        heights, widths = (
            np.array([min(last + 1, n) - first for first, last in spans])
            for spans, n in zip((layout.rows, layout.columns), self.shape, strict=True)
        )
        area = np.outer(widths, heights).ravel()
        shifts[:, :2] -= area @ shifts[:, :2] / area.sum()
        return Panels(layout, shift_y=shifts[:, 0], shift_z=shifts[:, 1], rotation=shifts[:, 2])


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(math.exp(rng.uniform(math.log(low), math.log(high))))


def ordinary(rng: np.random.Generator) -> Draft:
    """Return an ordinary image: whole rings around a beam near the middle, tilts below about 1 deg."""
    peak = log_uniform(rng, 150.0, 2e4)
    background = log_uniform(rng, 1.0, 0.3 * peak)
    distortion = {}
    if rng.random() < 0.5:
        amplitudes = rng.normal(size=3) * (3e-4, 3e-4, 5e-4)
        distortion = dict(zip(("p0", "p1", "p2"), (float(a) for a in amplitudes), strict=True))
        distortion["p3"] = float(rng.uniform(-180.0, 180.0))
    return Draft(
        rng=rng,
        shape=SHAPES[int(rng.choice(len(SHAPES), p=SHAPE_SHARES))],
        material=str(rng.choice(MATERIALS, p=MATERIAL_SHARES)),
        energy=log_uniform(rng, 12.0, 120.0),
        pixel=float(rng.choice(PIXELS)),
        distance=log_uniform(rng, 1e5, 6e6),
        beam=(float(rng.uniform(0.4, 0.6)), float(rng.uniform(0.4, 0.6))),
        tilts=(float(rng.normal(0.0, 0.5)), float(rng.normal(0.0, 0.5))),
        fwhm=log_uniform(rng, 1.5, 6.0),
        distortion=distortion,
        options={
            "peak_counts": peak,
            "background": background,
            "falloff": background * float(rng.uniform(0.0, 2.0)),
            "mixing": float(rng.uniform(0.0, 0.8)),
            "dtype": str(rng.choice(["uint16", "int32", "uint32", "float32"])),
        },
    )


def plain(d: Draft) -> None:
    """Nothing special."""


def off_centre(d: Draft) -> None:
    d.beam = (float(d.rng.uniform(0.0, 1.0)), float(d.rng.uniform(0.0, 1.0)))


def off_panel(d: Draft) -> None:
    out = float(d.rng.uniform(0.02, 1.0))
    along = float(d.rng.uniform(0.0, 1.0))
    side = int(d.rng.integers(4))
    d.beam = [(-out, along), (1.0 + out, along), (along, -out), (along, 1.0 + out)][side]
    d.arc = 25.0  # a panel one width away spans no more


def arcs(d: Draft) -> None:
    off_centre(d)
    d.sector = (float(d.rng.uniform(-180.0, 180.0)), float(d.rng.uniform(70.0, 130.0)))
    d.sector_masked = bool(d.rng.random() < 0.5)


def tilted(d: Draft) -> None:
    total, direction = float(d.rng.uniform(5.0, 40.0)), float(d.rng.uniform(0.0, 2.0 * math.pi))
    d.tilts = (total * math.cos(direction), total * math.sin(direction))
    d.beam = (float(d.rng.uniform(0.2, 0.8)), float(d.rng.uniform(0.2, 0.8)))


def few_rings(d: Draft) -> None:
    d.n_rings = (3, 5)


def many_rings(d: Draft) -> None:
    d.n_rings = (25, 60)
    d.fwhm = log_uniform(d.rng, 1.5, 3.0)


def spotty(d: Draft) -> None:
    if d.rng.random() < 0.7:
        d.options["spottiness"] = float(d.rng.uniform(0.4, 1.0))
        d.options["spots_per_ring"] = log_uniform(d.rng, 60.0, 600.0)
        d.options["spot_width"] = float(d.rng.uniform(0.3, 1.0))
    if d.rng.random() < 0.5:
        d.options["texture"] = float(d.rng.uniform(0.3, 0.95))


def sloping(d: Draft) -> None:
    peak = d.options["peak_counts"]
    level = min(peak * log_uniform(d.rng, 0.5, 5.0), (peak / 3.0) ** 2)  # the crest stays above 3 sigma
    d.options["background"] = 0.2 * level
    d.options["background_slope"] = tuple(float(v) for v in d.rng.uniform(-1.5, 1.5, size=2) * level)
    d.options["falloff"] = float(d.rng.uniform(0.0, 5.0)) * level


def beamstop(d: Draft) -> None:
    d.beam = (float(d.rng.uniform(0.25, 0.75)), float(d.rng.uniform(0.25, 0.75)))
    d.options["beamstop_radius"] = float(d.rng.uniform(0.02, 0.12)) * max(d.shape)
    d.options["beamstop_arm"] = float(d.rng.uniform(-180.0, 180.0))
    d.options["beamstop_arm_width"] = float(d.rng.uniform(0.01, 0.06)) * max(d.shape)


def tiled(d: Draft) -> None:
    kind = int(d.rng.integers(3))
    d.options["module_shape"] = [(195, 487), (256, 256), (512, 512)][kind]
    d.options["module_gap"] = [(17, 7), (4, 4), (12, 37)][kind]
    d.shift, d.turn = float(d.rng.uniform(0.0, 0.15)), float(d.rng.uniform(0.0, 0.03))


def defects(d: Draft) -> None:
    d.options["hot_fraction"] = log_uniform(d.rng, 1e-5, 3e-3)
    d.options["dead_fraction"] = log_uniform(d.rng, 1e-5, 1e-2)
    d.options["zingers"] = int(log_uniform(d.rng, 10.0, 1000.0))


def saturated(d: Draft) -> None:
    if d.rng.random() < 0.5:  # past the top of the type, which marks the pixel as no count
        d.options["dtype"] = "uint16"
        d.options["peak_counts"] = log_uniform(d.rng, 8e4, 1e6)
        d.options["background"] = log_uniform(d.rng, 10.0, 1e4)
    else:  # at a level that the file does not tell
        d.options["saturation"] = d.options["peak_counts"] * float(d.rng.uniform(0.1, 0.8)) + d.options["background"]


def thresholded(d: Draft) -> None:
    d.options["background"] = log_uniform(d.rng, 1.0, 0.1 * d.options["peak_counts"])
    d.options["falloff"] = 0.2 * d.options["background"]
    level = d.options["background"] + d.options["falloff"]
    d.options["threshold"] = level + float(d.rng.uniform(2.0, 4.0)) * math.sqrt(level)


def second_phase(d: Draft) -> None:
    others = [m for m in MATERIALS[:-1] if m != d.material]
    d.options["phases"] = ((calibrant(str(d.rng.choice(others))), float(d.rng.uniform(0.03, 0.25))),)


def mixed(d: Draft) -> None:
    places = (off_centre, off_panel, arcs, tilted, plain)
    looks = (spotty, sloping, beamstop, tiled, defects, saturated, second_phase)
    places[int(d.rng.integers(len(places)))](d)
    for k in d.rng.choice(len(looks), size=int(d.rng.integers(2, 5)), replace=False):
        looks[int(k)](d)
    d.arc = min(d.arc, 40.0)


def too_few(d: Draft) -> None:
    d.n_rings = (1, 2)


def wrong_calibrant(d: Draft) -> None:
    d.material = str(d.rng.choice(list(MISTAKEN)))
    d.told = MISTAKEN[d.material]


def no_rings(d: Draft) -> None:
    """Background, shadows and defects only."""
    peak = d.options["peak_counts"]
    sloping(d)
    if d.rng.random() < 0.5:
        beamstop(d)
    defects(d)
    d.options["peak_counts"] = 1e-6 * peak
    d.options["background"] = max(d.options["background"], 20.0)


CATEGORIES: dict[str, Callable[[Draft], None]] = {
    "plain": plain,
    "off_centre": off_centre,
    "off_panel": off_panel,
    "arcs": arcs,
    "tilted": tilted,
    "few_rings": few_rings,
    "many_rings": many_rings,
    "spotty": spotty,
    "sloping": sloping,
    "beamstop": beamstop,
    "tiled": tiled,
    "defects": defects,
    "saturated": saturated,
    "thresholded": thresholded,
    "second_phase": second_phase,
    "mixed": mixed,
    "too_few": too_few,
    "wrong_calibrant": wrong_calibrant,
    "no_rings": no_rings,
}
TRAPS = ("wrong_calibrant", "no_rings")
"""Categories with no right answer: whatever is called good is wrong."""


@cache
def _ring_list(material: str) -> tuple[np.ndarray, np.ndarray]:
    """Return d [Å] and m|F|² of the first rings."""
    d_min = 0.5 if material != "AgBehenate" else 2.0
    found = rings(calibrant(material), 0.1, d_min=d_min)
    return found.d_spacing[:_MOST_RINGS], np.nan_to_num(found.intensity[:_MOST_RINGS], nan=1.0)


def arcs_on_panel(draft: Draft, geometry: Geometry) -> np.ndarray:
    """Return the azimuth [deg] over which each resolved, not too faint ring crosses the panel: a quick estimate."""
    d, strength = _ring_list(draft.material)
    sine = geometry.wavelength / (2.0 * d)
    keep = sine < math.sin(math.radians(40.0))
    theta = np.arcsin(sine[keep])
    radius = geometry.radius_of(np.degrees(2.0 * theta))
    brightness = strength[keep] / (np.sin(theta) ** 2 * np.cos(theta)) * np.cos(2.0 * theta) ** 3
    n_z, n_y = draft.shape
    corners = geometry.to_polar([0.0, n_y - 1.0, 0.0, n_y - 1.0], [0.0, 0.0, n_z - 1.0, n_z - 1.0], n_threads=1)[0]
    if np.isfinite(corners).all():  # further out nothing is on the panel
        near = radius <= corners.max()
        radius, brightness = radius[near], brightness[near]
    if len(radius) == 0:
        return np.empty(0)
    eta = np.arange(-180.0, 180.0, BIN)
    y, z = geometry.to_pixel(radius[:, None], eta[None, :], n_threads=1)
    on = (y >= 0) & (y <= draft.shape[1] - 1) & (z >= 0) & (z <= draft.shape[0] - 1)
    if draft.sector is not None:
        on &= _in_sector(eta, draft.sector)[None, :]
    arc = on.sum(axis=1) * BIN
    if draft.material == "AgBehenate" and (arc > 0).sum() > _LAYER_ORDERS:
        return np.empty(0)
    if not arc.any():
        return np.empty(0)
    bright = brightness > 0.02 * brightness[arc > 0].max()
    apart = np.full(len(radius), True)
    for k in np.flatnonzero(bright):
        near = np.abs(radius - radius[k]) < 3.0 * draft.fwhm
        near[k] = False
        apart[k] = not np.any(near & (brightness > 0.3 * brightness[k]))
    return arc[bright & apart & (radius > 4.0 * draft.fwhm)]


def _in_sector(eta: np.ndarray, sector: tuple[float, float]) -> np.ndarray:
    return np.abs((eta - sector[0] + 180.0) % 360.0 - 180.0) <= 0.5 * sector[1]


def make_case(category: str, number: int) -> Case:
    """Return one case: geometry and look are drawn until as many rings as the category wants cross the panel."""
    seed = zlib.crc32(f"{category}-{number}".encode())
    rng = np.random.default_rng(seed)
    distance = 0.0
    for attempt in range(_TRIES):
        draft = ordinary(rng)
        # The distance is kept while the rest is drawn anew, so that long ones are as common as short ones.
        distance = draft.distance if attempt % _KEEP_DISTANCE == 0 else distance
        draft.distance = distance
        CATEGORIES[category](draft)
        geometry = draft.geometry()
        n = int((arcs_on_panel(draft, geometry) >= draft.arc).sum())
        if draft.n_rings[0] <= n <= draft.n_rings[1]:
            break
    else:
        raise RuntimeError(f"no case {category}-{number} in {_TRIES} tries")
    return Case(
        name=f"{category}-{number:02d}",
        category=category,
        calibrant=draft.material,
        told=draft.told or draft.material,
        geometry=replace(geometry, panels=draft.panels()),
        shape=draft.shape,
        options=SimulationOptions(fwhm=draft.fwhm, **draft.options),
        seed=seed % 2**31,
        sector=draft.sector,
        sector_masked=draft.sector_masked,
    )


def render(case: Case, *, n_threads: int = 1) -> tuple[np.ndarray, np.ndarray | None, Simulation]:
    """Return the image, the mask that the calibration is given (or None), and the simulation behind it."""
    dark = None
    if case.sector is not None:
        z, y = np.mgrid[: case.shape[0], : case.shape[1]]
        dark = ~_in_sector(case.geometry.to_polar(y, z, n_threads=n_threads)[2], case.sector)
    detector = Detector(case.shape, case.geometry.pixel_size, mask=dark)
    shot = simulate(case.geometry, detector, case.calibrant, options=case.options, seed=case.seed, n_threads=n_threads)
    image = shot.image
    if dark is not None:  # a cell's body shades the rest to a twentieth of the background
        image = image.copy()
        shade = np.random.default_rng(case.seed + 1).poisson(0.05 * case.options.background, size=int(dark.sum()))
        image[dark] = shade.astype(image.dtype)
    return image, (dark if case.sector_masked else None), shot


def selection(n: int, categories: list[str] | None = None, max_pixels: int | None = None) -> list[Case]:
    """Return n cases spread evenly over the categories; larger images than `max_pixels` are skipped, not shrunk."""
    names = categories or list(CATEGORIES)
    cases: list[Case] = []
    number = 0
    while len(cases) < n and number < 50 * n:
        for name in names:
            if len(cases) == n:
                break
            case = make_case(name, number)
            if max_pixels is None or case.shape[0] * case.shape[1] <= max_pixels:
                cases.append(case)
        number += 1
    return cases


def case_named(name: str) -> Case:
    category, _, number = name.rpartition("-")
    return make_case(category, int(number))


def without_noise(case: Case) -> Case:
    """Return the case with its expected counts, for looking at it."""
    return replace(case, options=replace(case.options, noise=False))
