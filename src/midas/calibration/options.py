"""What a calibration is told: wavelength, pixel size, calibrant, and how far to go."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from midas.calibration.hints import merge_hints
from midas.calibration.rules import FitRules
from midas.crystal import Calibrant, calibrant, calibrant_from_cell, calibrant_from_cif
from midas.errors import GeometryError, InputError
from midas.geometry import (
    HARMONIC_TERMS,
    N_DISTORTION,
    RADIAL_TERMS,
    check_distance,
    check_pixel_size,
    check_wavelength,
)
from midas.io.headers import Hint
from midas.panels import PanelLayout
from midas.units import UM_PER_MM, energy_from_wavelength, wavelength_from_energy

AUTO = "auto"
"""The calibrant or the distortion to name when it shall be found from the image."""
_SHORTEST_WAVELENGTH = 0.05  # Å, 248 keV: below, someone's nm or a slipped digit, no powder beamline
_NEAREST = 1.5e4  # µm: no area detector calibrates from closer; a number below is mm

_COSINE = {amplitude: k for amplitude, _, k in HARMONIC_TERMS}
DISTORTION_SETS: dict[str, tuple[int, ...]] = {
    "none": (),
    "classic": (RADIAL_TERMS["p2"], _COSINE["p0"], _COSINE["p1"], _COSINE["p1"] + 1),
    "full": tuple(range(N_DISTORTION)),
}
"""Coefficients (core/distortion.hpp) that each choice of distortion refines: classic is p0..p3, full is all."""
JOINT_FIELDS = (
    "detector_positions",
    "known_distances",
    "distance_sigma",
    "refine_wavelength",
    "shared_beam_center",
)
"""Fields of `CalibrationParams` that concern several images fitted together."""


@dataclass(frozen=True)
class CalibrationParams:
    """What `calibrate` needs to know and may be told. Only wavelength and pixel size have no default.

    Raises
    ------
    InputError
        A value is out of range or an option unknown.

    Examples
    --------
    >>> CalibrationParams(wavelength=0.1839, pixel_size=200).calibrant
    'CeO2'
    """

    wavelength: float
    """[Å]."""
    pixel_size: float
    """[µm]."""
    calibrant: str | Calibrant | tuple[str | Calibrant, ...] = "CeO2"
    """Name of a built-in calibrant, "auto" to find which one it is, a CIF file, or a `Calibrant` of one's own; several
    that are mixed in one exposure as a tuple, or as names with commas between ("CeO2,LaB6")."""
    distance: float | None = None
    """A guess [µm]; None finds it from the image."""
    beam_center: tuple[float, float] | None = None
    """A guess (y, z) [px]; None finds it from the image."""
    tilt_x: float = 0.0
    """Rotation about the beam [deg]: invisible in powder rings, carried and never refined."""
    distortion: str = "classic"
    """"none", "classic" (p0..p3), "full" (all terms), or "auto": the smallest of them that no larger one improves on in
    azimuths left out of the fit."""
    fixed: Mapping[str, float] = field(default_factory=dict)
    """Parameters held at a value: distance, parallax [µm], beam_center_y, beam_center_z [px], tilt_y, tilt_z [deg],
    p0, p1, ... (an amplitude with its phase)."""
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Lowest and highest value of parameters, by the same names; of the p-terms only p2, p4 and p5."""
    weighting: str = "scatter"
    """How much each point counts: "scatter" by its uncertainty and the scatter beyond it, "snr" by its significance,
    "equal"."""
    ring_weights: Mapping[int, float] = field(default_factory=dict)
    """Factors of the weight of rings, by ring number (from 1)."""
    panels: str | PanelLayout = "auto"
    """Panels of a tiled detector, each refined where that helps: "auto" finds them from the image, "none" takes the
    detector as one piece, a `PanelLayout` says where they are."""
    panel_distance: bool | None = None
    """Also refine how far each panel stands before or behind the others; None where that helps."""
    parallax: float = 0.0
    """Depth at which a thick sensor converts [µm]: parallax·sin(2θ) is added to the radius."""
    refine_parallax: bool = False
    """Refine the parallax; at one distance it is hard to tell from the distortion."""
    eta_step: float = 5.0
    """Azimuthal bin of the ring fits [deg]."""
    stopping_strain: float = 4e-5
    """Mean pseudo-strain at which the loop may end."""
    mult_factor: float = 2.5
    """A ring is left out when its mean |strain| exceeds this many times the median ring's."""
    max_iterations: int = 12
    """Cap of the loop."""
    width: float | None = None
    """Half-width of the ring windows [µm]; None chooses it from the rings' own width."""
    rings_to_exclude: tuple[int, ...] = ()
    """Ring numbers (from 1) never used."""
    image_transforms: tuple[int, ...] = ()
    """`ImTransOpt`: applied to image, dark and mask first; the geometry carries them."""
    negative_counts: bool = False
    """Negative values are counts (the dark is subtracted already), not marks of bad pixels."""
    sentinels: tuple[float, ...] = ()
    """Pixel values that are no counts (`BadPxIntensity`, `GapIntensity`)."""
    first_ring: int | None = None
    """Number (from 1) of the innermost strong ring on the image: a hint for the distance, checked (`-FirstRingNr`)."""
    threshold: float = 0.0
    """Counts over the background below which a pixel takes no part in finding the rings; 0 chooses (`-Threshold`)."""
    notes: tuple[str, ...] = ()
    """What was taken from file name and headers, and what contradicts it; travels with the result."""

    # Of several images fitted together
    detector_positions: tuple[float, ...] | None = None
    """Readings of the detector's translation stage [µm], one an image, growing away from the sample: the distances are
    these plus a common offset, which is refined."""
    known_distances: tuple[float | None, ...] | None = None
    """Known distances [µm], one an image, None where it is not known."""
    distance_sigma: float = 0.0
    """How well each position or distance is known [µm]: 0 is exactly, above 0 each is refined within it."""
    refine_wavelength: bool = False
    """Refine the wavelength: needs at least two different detector positions or known distances."""
    shared_beam_center: bool = False
    """One beam centre for all images; otherwise each has its own, as no rail is exactly parallel to the beam."""

    def __post_init__(self) -> None:
        """Check ranges and names."""
        self._take_numbers()
        check_wavelength(self.wavelength)
        _check_energy(self.wavelength)
        check_pixel_size(self.pixel_size)
        if self.distance is not None:
            _check_distance_guess(self.distance)
        if self.distortion not in (*DISTORTION_SETS, AUTO):
            raise InputError(f"distortion is {self.distortion!r}; expected one of {', '.join(DISTORTION_SETS)}, {AUTO}")
        _ = self.rules  # checks them
        if not isinstance(self.panels, PanelLayout) and self.panels not in ("auto", "none"):
            raise InputError(f"panels is {self.panels!r}; expected 'auto', 'none' or a midas.PanelLayout")
        for name, low, high in (
            ("parallax", -5000.0, 5000.0),
            ("distance_sigma", 0.0, 1e6),
            ("eta_step", 0.1, 90.0),
            ("stopping_strain", 0.0, 1.0),
            ("mult_factor", 1.0, math.inf),
            ("max_iterations", 1, 1000),
            ("threshold", 0.0, math.inf),
            ("first_ring", 1, 1000),
        ):
            value = getattr(self, name)
            if value is None:
                continue
            if not low <= value <= high:
                raise InputError(f"{name} is {value:g}; expected a value from {low:g} to {high:g}")
        if self.width is not None and not self.width > 0.0:
            raise InputError(f"width is {self.width:g} µm; expected a value above 0, or None to choose it")

    def _take_numbers(self) -> None:
        """Make every field that holds numbers hold Python numbers, or say which does not."""
        for item in fields(self):
            kind, value = str(item.type), getattr(self, item.name)
            if value is None and kind.endswith("| None"):
                continue
            if kind.startswith("float"):
                object.__setattr__(self, item.name, _number(item.name, value))
            elif kind.startswith("int"):
                number = _number(item.name, value)
                if number != int(number):
                    raise InputError(f"{item.name} is {value!r}; expected a whole number")
                object.__setattr__(self, item.name, int(number))
            elif kind.startswith("tuple[float, float]"):
                pair = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else ()
                if len(pair) != 2:
                    raise InputError(f"{item.name} is {value!r}; expected two numbers, column then row [px]")
                object.__setattr__(self, item.name, tuple(_number(item.name, v) for v in pair))

    @property
    def rules(self) -> FitRules:
        """Constraints and weights of the geometry's least squares."""
        return FitRules(self.fixed, self.bounds, self.weighting, self.ring_weights)

    @property
    def finds_calibrant(self) -> bool:
        """True when the calibrant is to be found from the image."""
        return isinstance(self.calibrant, str) and self.calibrant.strip().lower() == AUTO

    def check_single(self) -> None:
        """Refuse what only several images fitted together can use."""
        if self.refine_wavelength:
            raise InputError(
                "refine_wavelength needs several images at known distances: at one distance a longer wavelength looks "
                "like a shorter distance; give a list of images with detector_positions or known_distances"
            )
        for name in JOINT_FIELDS:
            if getattr(self, name) != JOINT_DEFAULTS[name]:
                raise InputError(f"{name} is for a list of images; of one image give the distance as a guess")

    def resolve_calibrant(self) -> Calibrant | tuple[Calibrant, ...]:
        """Return the calibrant named or given, or a tuple where there are several; "auto" is not one."""
        named = self.calibrant
        if isinstance(named, str) and "," in named:
            named = tuple(named.split(","))
        if isinstance(named, (tuple, list)):
            found = tuple(_resolved(n) for n in named)
            return found[0] if len(found) == 1 else found
        return _resolved(named)


def _resolved(named: str | Calibrant) -> Calibrant:
    if isinstance(named, Calibrant):
        return named
    named = str(named).strip()
    return calibrant_from_cif(named) if named.lower().endswith(".cif") else calibrant(named)


def _number(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise InputError(f"{name} is {value!r}; expected a number") from None
    if not math.isfinite(number):
        raise InputError(f"{name} is {number:g}; expected a finite number")
    return number


def _check_energy(wavelength: float) -> None:
    """Refuse a wavelength that the calibration of an area detector cannot have."""
    if wavelength < _SHORTEST_WAVELENGTH:
        energy = energy_from_wavelength(wavelength)
        raise GeometryError(
            f"wavelength {wavelength:g} Å is {energy:.0f} keV, more than area detectors are calibrated with; expected "
            f"at least {_SHORTEST_WAVELENGTH:g} Å: is it in nm, or ten times too small?"
        )


def _check_distance_guess(distance: float) -> None:
    check_distance(distance)
    if distance < _NEAREST:
        raise GeometryError(
            f"distance {distance:g} µm is {distance / UM_PER_MM:g} mm from the sample, nearer than a detector stands; "
            "midas takes µm: does the guess look like mm?"
        )


def params_from(
    source: CalibrationParams | Mapping[str, Any] | str | Path,
    *,
    file: str = "a parameter file",
    hints: Sequence[Hint] = (),
    shape: tuple[int, int] | None = None,
) -> CalibrationParams:
    """Return calibration parameters from a MIDAS parameter file, a mapping, or themselves.

    `file` names the parameter file that a mapping was read from, for the message about a missing key. `hints`, the more
    trusted first, stand in for what the source does not say; `shape` is that of the image as stored.

    A mapping takes the field names of `CalibrationParams`, and `energy` [keV] instead of `wavelength`.

    Raises
    ------
    InputError
        A key is unknown or one that is needed is missing.
    FormatError
        The file cannot be read.

    Examples
    --------
    >>> round(params_from({"energy": 80.725, "pixel_size": 200}).wavelength, 8)
    0.15358835
    """
    if isinstance(source, CalibrationParams):
        return _completed({f.name: getattr(source, f.name) for f in fields(source)}, hints, shape) if hints else source
    if isinstance(source, (str, Path)):
        return _from_file(Path(source), hints, shape)
    if not isinstance(source, Mapping):
        raise InputError(
            f"params is a {type(source).__name__}; expected a MIDAS parameter file, a dict or CalibrationParams"
        )
    values = dict(source)
    if "energy" in values:
        if "wavelength" in values:
            raise InputError("both wavelength and energy are given; expected one of them")
        values["wavelength"] = wavelength_from_energy(_number("energy", values.pop("energy")))
    known = [f.name for f in fields(CalibrationParams)]
    for key in values:
        if key not in known:
            nearest = difflib.get_close_matches(key, [*known, "energy"], 1, 0.4)
            hint = f"; did you mean {nearest[0]!r}?" if nearest else f"; expected one of {', '.join(known)}"
            raise InputError(f"unknown calibration parameter {key!r}{hint}")
    return _completed(values, hints, shape, file)


_NEEDED = {
    "wavelength": ("Wavelength", "--wavelength or --energy", "wavelength or energy"),
    "pixel_size": ("px", "--pixel-size", "pixel_size"),
}
"""What no image tells: the key of a parameter file, the flag, and the name in Python."""


def _completed(
    values: Mapping[str, Any], hints: Sequence[Hint], shape: tuple[int, int] | None, file: str = "a parameter file"
) -> CalibrationParams:
    """Return the parameters with the hints where the user gave nothing; what is needed and still missing is named."""
    values, notes = merge_hints(values, hints, shape=shape)
    missing = [name for name in _NEEDED if name not in values]
    if missing:
        keys, flags, given = (" and ".join(words) for words in zip(*(_NEEDED[name] for name in missing), strict=True))
        raise InputError(
            f"{' and '.join(missing)} {'are' if len(missing) > 1 else 'is'} missing: give {flags} on the command line, "
            f"{keys} in {file}, or {given} in Python's params"
        )
    values["notes"] = (*values.get("notes", ()), *notes)
    return CalibrationParams(**values)


def _from_file(path: Path, hints: Sequence[Hint], shape: tuple[int, int] | None) -> CalibrationParams:
    """Return the parameters a MIDAS text file holds; legacy names are known to midas.io.parameters alone."""
    from midas.io.parameters import read_params

    file = read_params(path)
    return params_from(calibration_values(file), file=file.name, hints=hints, shape=shape)


def _file_calibrant(file: Any) -> dict[str, Calibrant]:
    """Return the calibrant of a parameter file; its own cell wins over the certificate's."""
    if "LatticeConstant" not in file:
        return {}
    cell = file.get("LatticeConstant")
    if "Calibrant" in file:
        if str(file.get("Calibrant")).lower() == AUTO:
            raise InputError(f"{file.name}: Calibrant auto and a LatticeConstant contradict each other; leave one out")
        if "," in str(file.get("Calibrant")):
            raise InputError(f"{file.name}: Calibrant names several, LatticeConstant is of one; leave the latter out")
        known = _resolved(file.get("Calibrant"))
        return {"calibrant": replace(known, cell=calibrant_from_cell(known.space_group, cell).cell)}
    if "SpaceGroup" not in file:
        raise InputError(f"{file.name}: LatticeConstant has no SpaceGroup (nor Calibrant); add one, or leave both out")
    return {"calibrant": calibrant_from_cell(file.get("SpaceGroup"), cell)}


JOINT_DEFAULTS: dict[str, Any] = {f.name: f.default for f in fields(CalibrationParams) if f.name in JOINT_FIELDS}
"""What the joint fields are when nobody says anything."""


def calibration_values(file: Any) -> dict[str, Any]:
    """Return what a parameter file (`midas.io.parameters.Parameters`) says of a calibration, by our field names."""
    values: dict[str, Any] = {}
    for name, key in (
        ("wavelength", "Wavelength"),
        ("pixel_size", "px"),
        ("distance", "Lsd"),
        ("beam_center", "BC"),
        ("tilt_x", "tx"),
        ("mult_factor", "MultFactor"),
        ("stopping_strain", "StoppingStrain"),
        ("width", "Width"),
        ("calibrant", "Calibrant"),
        ("parallax", "Parallax"),
        ("first_ring", "FirstRingNr"),
        ("threshold", "Threshold"),
    ):
        if key in file:  # a default of the table is not what this file says
            values[name] = file.get(key)
    if str(values.get("calibrant", "")).lower().endswith(".cif"):
        values["calibrant"] = str(file.file("Calibrant"))
    values.update(_file_calibrant(file))
    if file.panel_layout is not None:
        values["panels"] = file.panel_layout
    excluded = file.get("RingsToExclude")
    if excluded:
        values["rings_to_exclude"] = tuple(int(n) for n in excluded)
    values["image_transforms"] = file.image_transforms
    values["sentinels"] = tuple(float(v) for v in file.bad_values)
    return values
