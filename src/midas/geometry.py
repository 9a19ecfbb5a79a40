"""The detector geometry: where the detector stands, how it leans, how it distorts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from midas import _core
from midas.checks import number, thread_count
from midas.errors import GeometryError, InputError
from midas.panels import Panels, panels_as_dict
from midas.shown import html_table
from midas.units import UM_PER_MM, energy_from_wavelength

FloatArray = npt.NDArray[np.float64]

# The core's table (core/distortion.hpp): of each coefficient the name, power of rho, harmonic, and whether a sine.
_TERMS = _core.DISTORTION_TERMS
N_DISTORTION = len(_TERMS)
"""Coefficients of the distortion."""
DISTORTION_NAMES = tuple(f"p{i}" for i in range(N_DISTORTION))
"""The distortion parameters as files name them; docs/physics/geometry.md gives the polynomial."""
ALL_TERMS = f"{DISTORTION_NAMES[0]}..{DISTORTION_NAMES[-1]}"
"""All of them, for messages."""
RADIAL_TERMS = {name: k for k, (name, _, harmonic, _) in enumerate(_TERMS) if harmonic == 0}
"""Position of the coefficients that do not depend on the azimuth."""
HARMONIC_TERMS = tuple(
    (name, _TERMS[k + 1][0], k) for k, (name, _, harmonic, is_sine) in enumerate(_TERMS) if harmonic and not is_sine
)
"""Amplitude, phase [deg] and position of the cosine coefficient of the others; the sine's is the next."""
PHASES = frozenset(phase for _, phase, _ in HARMONIC_TERMS)
"""Distortion parameters that are angles."""
SMALLEST_RADIUS = 40.0
"""[px]: a distortion radius below is one in px or mm, taken for µm."""

_SMALLEST_DISTANCE = 1e3  # µm: no detector stands within 1 mm of the sample
_FEW_PIXELS = 100.0  # of distance: a detector so near would see 2theta beyond 75 deg; 20 m in mm is as few of 200 µm
_LARGEST_DISTANCE = 1e9  # µm: a kilometre
_LARGEST_PARALLAX = 1e4  # µm: no sensor is thicker than a centimetre
_PIXEL_RANGE = (1.0, 5000.0)  # µm
_WAVELENGTH_RANGE = (0.01, 10.0)  # Å: 1.2 to 1240 keV


def distortion_coefficients(distortion: Mapping[str, float]) -> FloatArray:
    """Return the core's linear coefficients for file-style parameters p0, p1, ....

    A pair (amplitude, phase [deg]) becomes cosine and sine coefficients: amplitude·cos(mE + phase).

    Examples
    --------
    >>> float(distortion_coefficients({"p2": 1e-4})[0])
    0.0001
    """
    coefficients = np.zeros(N_DISTORTION)
    for name, k in RADIAL_TERMS.items():
        coefficients[k] = distortion.get(name, 0.0)
    for amplitude_name, phase_name, k in HARMONIC_TERMS:
        amplitude = distortion.get(amplitude_name, 0.0)
        phase = math.radians(distortion.get(phase_name, 0.0))
        coefficients[k] = amplitude * math.cos(phase)
        coefficients[k + 1] = -amplitude * math.sin(phase)
    return coefficients


def distortion_parameters(coefficients: FloatArray) -> dict[str, float]:
    """Return the file-style parameters p0, p1, ... of core coefficients: the inverse of `distortion_coefficients`.

    A pure cosine keeps a signed amplitude and phase 0, as the classic model writes p0.

    Examples
    --------
    >>> round(distortion_parameters(distortion_coefficients({"p1": 2e-4, "p3": 30.0}))["p3"], 9)
    30.0
    """
    parameters = dict.fromkeys(DISTORTION_NAMES, 0.0)
    for name, k in RADIAL_TERMS.items():
        parameters[name] = float(coefficients[k])
    for amplitude_name, phase_name, k in HARMONIC_TERMS:
        cosine, sine = float(coefficients[k]), float(coefficients[k + 1])
        if sine == 0.0:
            parameters[amplitude_name] = cosine
        else:
            parameters[amplitude_name] = math.hypot(cosine, sine)
            parameters[phase_name] = math.degrees(math.atan2(-sine, cosine))
    return parameters


@dataclass(frozen=True, eq=False)
class Geometry:
    """A detector's position, tilts and distortion: all that turns a pixel into an angle.

    Lengths in µm, positions on the detector in px (integers are pixel centres), angles in deg, wavelength in Å.
    Model and signs are those of MIDAS, whose tilts are those of Sharma, Huizenga & Offerman, J. Appl. Cryst. 45 (2012)
    693; docs/physics/geometry.md has the equations.

    Raises
    ------
    GeometryError
        A value is impossible, not finite, or looks like another unit.

    Examples
    --------
    >>> g = Geometry(distance=1e6, beam_center=(512, 512), pixel_size=200, wavelength=0.1839)
    >>> radius, two_theta, eta = g.to_polar(612.0, 512.0)
    >>> round(float(radius), 3), round(float(eta), 3)
    (100.0, 90.0)
    """

    distance: float
    """Sample to detector along the beam [µm] (`Lsd` in files)."""
    beam_center: tuple[float, float]
    """Column and row (y, z) where the beam meets the detector [px] (`BC`)."""
    pixel_size: float
    """Edge of the square pixels [µm] (`px`)."""
    wavelength: float
    """[Å] (`Wavelength`)."""
    tilts: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Rotations (x, y, z) about the beam centre, applied as Rx·Ry·Rz [deg] (`tx ty tz`)."""
    distortion: Mapping[str, float] = field(default_factory=dict)
    """Distortion parameters by file name, p0, p1, ...: amplitudes dimensionless, phases in deg; absent ones are 0."""
    distortion_radius: float | None = None
    """Length that normalises the radius in the distortion [µm] (`RhoD`); required when a p-term is not 0."""
    image_transforms: tuple[int, ...] = ()
    """Transforms (`ImTransOpt`) that turn the raw image into the one this geometry describes: 1 flip columns, 2 flip
    rows, 3 transpose."""
    panels: Panels | None = None
    """How the panels of a tiled detector stand off their places; None for a detector of one piece."""
    parallax: float = 0.0
    """Depth at which a thick sensor converts [µm]: parallax·sin(2θ) is added to the radius (`Parallax`)."""

    def __post_init__(self) -> None:
        """Check every value and freeze the containers."""
        for name, unit in (("distance", "µm"), ("pixel_size", "µm"), ("wavelength", "Å"), ("parallax", "µm")):
            number(name, getattr(self, name), f"a number [{unit}]")
        check_pixel_size(self.pixel_size)
        check_distance(self.distance)
        check_wavelength(self.wavelength)
        center = _floats("beam_center", self.beam_center, 2)
        tilts = _floats("tilts", self.tilts, 3)
        if max(abs(t) for t in tilts[1:]) >= 90.0:
            raise GeometryError(f"tilts are {tilts} deg; expected ty and tz between -90 and 90")
        if not math.isfinite(self.parallax) or abs(self.parallax) > _LARGEST_PARALLAX:
            raise GeometryError(f"parallax is {self.parallax:g}; expected µm, at most {_LARGEST_PARALLAX:g}")
        if self.panels is not None and not isinstance(self.panels, Panels):
            raise InputError(f"panels is a {type(self.panels).__name__}; expected midas.Panels, or None")
        object.__setattr__(self, "beam_center", center)
        object.__setattr__(self, "tilts", tilts)
        object.__setattr__(self, "distance", float(self.distance))
        object.__setattr__(self, "parallax", float(self.parallax))
        object.__setattr__(self, "image_transforms", _checked_transforms(self.image_transforms))
        self._freeze_distortion()

    def _repr_html_(self) -> str:
        """Return a table for notebooks."""
        (y, z), terms = self.beam_center, {name: value for name, value in self.distortion.items() if value}
        rows = {
            "distance": f"{self.distance:.2f} µm ({self.distance / UM_PER_MM:.4f} mm)",
            "beam centre": f"y {y:.4f}, z {z:.4f} px",
            "pixel size": f"{self.pixel_size:g} µm",
            "wavelength": f"{self.wavelength:.7g} Å ({energy_from_wavelength(self.wavelength):.4f} keV)",
            "tilts": ", ".join(f"{axis} {tilt:.4f}" for axis, tilt in zip("xyz", self.tilts, strict=True)) + " deg",
            "distortion": ", ".join(f"{name} {value:.4g}" for name, value in terms.items()) or "none",
        }
        if terms and self.distortion_radius is not None:
            rows["radius of the distortion"] = f"{self.distortion_radius:.1f} µm"
        if self.parallax:
            rows["parallax"] = f"{self.parallax:.1f} µm"
        if self.image_transforms:
            rows["image transforms"] = " ".join(map(str, self.image_transforms))
        if self.panels is not None:
            rows["panels"] = str(len(self.panels.layout))
        return html_table("Geometry", rows)

    def _freeze_distortion(self) -> None:
        if not isinstance(self.distortion, Mapping):
            raise InputError(f"distortion is {self.distortion!r}; expected numbers by name: {{'p0': 1e-4}}")
        if self.distortion_radius is not None:
            number("distortion_radius", self.distortion_radius, "a number [µm], or None")
        distortion = {k: number(f"distortion {k}", v) for k, v in self.distortion.items()}
        unknown = [name for name in distortion if name not in DISTORTION_NAMES]
        if unknown:
            raise InputError(f"unknown distortion parameter {unknown[0]!r}; expected {ALL_TERMS}")
        if self.distortion_radius is None and any(distortion.values()):
            raise GeometryError(
                "the distortion has no distortion_radius (RhoD), which its coefficients refer to; give it in µm"
            )
        if self.distortion_radius is not None and not self.distortion_radius > SMALLEST_RADIUS * self.pixel_size:
            raise GeometryError(
                f"distortion_radius (RhoD) is {self.distortion_radius:g} µm, under {SMALLEST_RADIUS:g} px of "
                f"{self.pixel_size:g} µm: it looks like px or mm; midas takes µm, of the order of the detector's half "
                "diagonal"
            )
        object.__setattr__(self, "distortion", MappingProxyType(distortion))

    @cached_property
    def projection(self) -> _core.Projection:
        """The compiled form of this geometry, made on first use."""
        return _core.Projection(
            distance=self.distance,
            beam_y=self.beam_center[0],
            beam_z=self.beam_center[1],
            pixel_size=float(self.pixel_size),
            tilts=self.tilts,
            distortion=distortion_coefficients(self.distortion).tolist(),
            distortion_radius=float(self.distortion_radius or 1e5),
            parallax=self.parallax,
            panels=None
            if self.panels is None
            else (self.panels.layout.columns, self.panels.layout.rows, self.panels.table),
        )

    def to_polar(
        self, y: npt.ArrayLike, z: npt.ArrayLike, *, n_threads: int = 0
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return (radius [px], two_theta [deg], eta [deg]) of pixel positions (column y, row z) [px].

        Each result has the broadcast shape of y and z, float64; NaN where a pixel lies behind the sample.
        Equations: docs/physics/geometry.md.
        """
        y, z = np.broadcast_arrays(np.asarray(y, dtype=np.float64), np.asarray(z, dtype=np.float64))
        radius, two_theta, eta = self.projection.to_polar(
            np.ascontiguousarray(y), np.ascontiguousarray(z), n_threads=thread_count(n_threads)
        )
        return radius.reshape(y.shape) / self.pixel_size, two_theta.reshape(y.shape), eta.reshape(y.shape)

    def to_pixel(
        self, radius: npt.ArrayLike, eta: npt.ArrayLike, *, n_threads: int = 0
    ) -> tuple[FloatArray, FloatArray]:
        """Return the pixel position (y, z) [px] seen at radius [px] and eta [deg]: the inverse of `to_polar`.

        NaN where the ray does not meet the detector plane. Between two panels, a position on one of them.
        """
        radius, eta = np.broadcast_arrays(np.asarray(radius, dtype=np.float64), np.asarray(eta, dtype=np.float64))
        y, z = self.projection.to_pixel(
            np.ascontiguousarray(radius * self.pixel_size), np.ascontiguousarray(eta), n_threads=thread_count(n_threads)
        )
        return y.reshape(radius.shape), z.reshape(radius.shape)

    def radius_of(self, two_theta: npt.ArrayLike) -> FloatArray:
        """Return the ideal ring radius L·tan(2θ) [px] for 2θ [deg]."""
        return self.distance / self.pixel_size * np.tan(np.radians(np.asarray(two_theta, dtype=np.float64)))

    def two_theta_of(self, radius: npt.ArrayLike) -> FloatArray:
        """Return 2θ [deg] of a ring radius [px]: the inverse of `radius_of`."""
        return np.degrees(np.arctan(np.asarray(radius, dtype=np.float64) * self.pixel_size / self.distance))

    def as_record(self, panel_esds: FloatArray | None = None) -> dict[str, Any]:
        """Return the geometry as JSON holds it: lengths µm, positions px, angles deg, wavelength Å.

        The panels' esds go with their table where they are given, shape (n_panels, 5).

        Examples
        --------
        >>> Geometry(distance=1e5, beam_center=(10, 20), pixel_size=100, wavelength=1.0).as_record()["beam_center"]
        [10.0, 20.0]
        """
        return {
            "distance": self.distance,
            "beam_center": list(self.beam_center),
            "tilts": list(self.tilts),
            "distortion": {k: v for k, v in self.distortion.items() if v != 0.0},
            "distortion_radius": self.distortion_radius,
            "pixel_size": float(self.pixel_size),
            "wavelength": float(self.wavelength),
            "image_transforms": list(self.image_transforms),
            "parallax": self.parallax,
            "panels": None if self.panels is None else panels_as_dict(self.panels, panel_esds),
        }

    def __getstate__(self) -> dict[str, object]:
        """Leave the compiled form behind: it is made again where it is needed."""
        state = {k: v for k, v in self.__dict__.items() if k != "projection"}
        state["distortion"] = dict(self.distortion)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickled geometry."""
        for name, value in state.items():
            object.__setattr__(self, name, MappingProxyType(value) if name == "distortion" else value)


def check_pixel_size(pixel_size: float) -> None:
    """Raise GeometryError unless the pixel size [µm] is possible."""
    if not _PIXEL_RANGE[0] <= pixel_size <= _PIXEL_RANGE[1]:
        hint = " looks like metres or mm" if 0 < pixel_size < 1 else " is out of range"
        raise GeometryError(f"pixel_size {pixel_size:g}{hint}; midas takes µm, between 1 and 5000")


def check_distance(distance: float) -> None:
    """Raise GeometryError unless the distance [µm] is possible."""
    if not _SMALLEST_DISTANCE <= distance <= _LARGEST_DISTANCE:
        unit = "metres" if 0 < distance < 30 else "mm" if 0 < distance < _SMALLEST_DISTANCE else ""
        looks = f"looks like {unit}" if unit else "is out of range"
        raise GeometryError(f"distance {distance:g} {looks}; midas takes µm, at least {_SMALLEST_DISTANCE:g}")


def doubtful_distance(geometry: Geometry) -> str:
    """Return why a distance that is possible is most likely another length, in a sentence; empty where it is not.

    Examples
    --------
    >>> doubtful_distance(Geometry(1000, (512, 512), pixel_size=200, wavelength=0.18))
    'distance 1000 µm is 5 pixels of 200 µm, which looks like mm; midas takes µm: 1e+06 for 1000 mm'
    """
    pixels = geometry.distance / geometry.pixel_size
    if pixels >= _FEW_PIXELS:
        return ""
    return (
        f"distance {geometry.distance:g} µm is {pixels:.3g} pixels of {geometry.pixel_size:g} µm, which looks like mm; "
        f"midas takes µm: {geometry.distance * UM_PER_MM:g} for {geometry.distance:g} mm"
    )


def check_wavelength(wavelength: float) -> None:
    """Raise GeometryError unless the wavelength [Å] is possible."""
    if not _WAVELENGTH_RANGE[0] <= wavelength <= _WAVELENGTH_RANGE[1]:
        hint = " looks like an energy in keV" if wavelength > _WAVELENGTH_RANGE[1] else " looks like metres or nm"
        raise GeometryError(f"wavelength {wavelength:g}{hint}; midas takes Å, between 0.01 and 10")


def _floats(name: str, values: tuple[float, ...], n: int) -> tuple[float, ...]:
    try:
        numbers = tuple(float(v) for v in values)
    except (TypeError, ValueError):
        raise InputError(f"{name} is {values!r}; expected {n} numbers") from None
    if len(numbers) != n or not all(math.isfinite(v) for v in numbers):
        raise InputError(f"{name} is {values!r}; expected {n} finite numbers")
    return numbers


def _checked_transforms(transforms: tuple[int, ...]) -> tuple[int, ...]:
    try:
        kept = tuple(int(t) for t in transforms if int(t) != 0)
    except (TypeError, ValueError):
        raise InputError(f"image_transforms are {transforms!r}; expected a tuple of 0, 1, 2 and 3") from None
    wrong = [t for t in kept if t not in (1, 2, 3)]
    if wrong:
        raise InputError(
            f"image transform {wrong[0]} is unknown; expected 0 none, 1 flip columns, 2 flip rows or 3 transpose"
        )
    return kept
