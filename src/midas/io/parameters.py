"""The MIDAS parameter text: read without loss, understood key by key.

Format: docs/files.md. The keys themselves are in `midas.io.parameter_table`; the file a calibration leaves is written
by `midas.io.refined_params`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from midas.checks import file_path
from midas.detector import Detector
from midas.errors import InputError, MidasError
from midas.geometry import DISTORTION_NAMES, Geometry
from midas.grid import CakeGrid
from midas.io.atomic import atomic_path
from midas.io.frames import read_mask
from midas.io.image_source import Mask
from midas.io.panel_shifts import read_panel_shifts
from midas.io.parameter_checks import check_distortion_radius, doubtful_values
from midas.io.parameter_panels import PANEL_KEYS, panel_layout_of
from midas.io.parameter_table import find_key
from midas.io.parameter_text import (
    ParameterLine,
    Values,
    described_line,
    did_you_mean,
    file_pairs,
    geometry_pairs,
    panel_pairs,
    parse_line,
    read_text,
    split_lines,
    updated_lines,
)
from midas.panels import PanelLayout, Panels
from midas.shown import html_rows

_log = logging.getLogger(__name__)

REPLACED_WITH_GEOMETRY = frozenset({*PANEL_KEYS, "PanelShiftsFile", "Parallax", "DistortionFile"})
"""Keys whose lines say nothing of a geometry that takes the place of the file's own."""
MASK_KEYS = ("MaskFile", "GapFile", "BadPxFile")


@dataclass(frozen=True)
class Parameters:
    r"""A parameter file: its lines as they stand, and what they mean.

    Examples
    --------
    >>> p = parse_params("Lsd 1e6 # um\nBC 10 20\npx 200\nWavelength 0.18;\n")
    >>> p.get("Lsd"), p.get("BC"), p.geometry.beam_center
    (1000000.0, (10.0, 20.0), (10.0, 20.0))
    """

    lines: tuple[ParameterLine, ...] = ()
    """Every line in order, comments and unknown keys included."""
    path: Path | None = None
    """The file read; None for parameters made in memory."""

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> Parameters:
        """Return parameters of a mapping: keys of the file format, or midas's own names and units.

        Own names: `distance` [µm], `beam_center` (y, z) [px], `pixel_size` [µm], `wavelength` [Å], `energy` [keV],
        `tilts` [deg], `distortion` {p0: ...}, `distortion_radius` [µm], `shape` (n_z, n_y), `image_transforms`,
        `calibrant` (a name), `space_group`, `lattice` (a, b, c [Å], alpha, beta, gamma [deg]), `radius_min`,
        `radius_max`, `radius_step` [px], `eta_min`, `eta_max`, `eta_step` [deg].

        Raises
        ------
        InputError
            A name is unknown (the message names the nearest known one) or a value is not what its key takes.

        Examples
        --------
        >>> Parameters.from_dict({"wavelength": 0.18, "pixel_size": 200, "calibrant": "CeO2"}).get("px")
        200.0
        """
        pairs = [pair for name, value in values.items() for pair in file_pairs(name, value)]
        return cls().updated(pairs)

    def updated(self, values: Mapping[str, object] | Iterable[tuple[str, object]]) -> Parameters:
        r"""Return parameters in which keys have new values; comments, order and all other lines stay, byte for byte.

        A key that is there keeps its line, spelling and comment; one that is not is appended. A repeatable key takes a
        sequence of lines' values and replaces all of them.

        Raises
        ------
        InputError
            A key is unknown, or a value is not what its key takes or cannot stand in a file.

        Examples
        --------
        >>> parse_params("px 200 # GE\n").updated({"px": 100, "Lsd": 1e6}).text()
        'px 100.0 # GE\nLsd 1000000.0\n'
        """
        lines = list(self.lines)
        for name, value in values.items() if isinstance(values, Mapping) else values:
            row = find_key(name)
            if row is None:
                raise InputError(f"unknown parameter {name!r}{did_you_mean(name)}")
            lines = updated_lines(lines, row, value)
        return replace(self, lines=tuple(lines))

    def with_geometry(self, geometry: Geometry) -> Parameters:
        r"""Return parameters in which all that a geometry says has its values; everything else stays.

        How its panels stand is in a file of its own, which `PanelShiftsFile` must be made to name.

        Examples
        --------
        >>> g = Geometry(distance=1e6, beam_center=(10, 20), pixel_size=200, wavelength=0.18)
        >>> parse_params("Lsd 5e5\nFolder data\n").with_geometry(g).get("Lsd")
        1000000.0
        """
        stale = [(name, 0.0) for name in DISTORTION_NAMES if name in self]
        # Displacements and panels belonged to the geometry that is replaced.
        kept = replace(self, lines=tuple(line for line in self.lines if line.key not in REPLACED_WITH_GEOMETRY))
        known = kept.updated([*stale, *geometry_pairs(geometry), *panel_pairs(geometry)])
        return known.updated([("ImTransOpt", geometry.image_transforms or (0,))])

    def text(self) -> str:
        """Return the whole text, each line as it was read."""
        return "".join(line.text for line in self.lines)

    def write(self, path: Path | str) -> Path:
        r"""Write the text to a file, which appears whole or not at all, and return its path.

        What was read and not changed is written byte for byte. Raises OutputError where it cannot be written.

        Examples
        --------
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = parse_params("px 200 # GE\n").updated({"Lsd": 1e6}).write(Path(folder) / "ps.txt")
        ...     path.read_text()
        'px 200 # GE\nLsd 1000000.0\n'
        """
        path = file_path("path", path)
        with atomic_path(path) as temporary:
            temporary.write_bytes(self.text().encode("utf-8", errors="surrogateescape"))
        return path

    def __contains__(self, key: object) -> bool:
        """Return whether the file has a key, by any of its spellings."""
        row = find_key(str(key))
        name = row.name if row else str(key)
        return any(line.key == name for line in self.lines)

    def get(self, key: str, default: Values | None = None) -> Values | None:
        """Return the value of a key: one value, a tuple of several, or for a repeatable key a tuple of all lines.

        A key that the file leaves out gives `default`, or else the default of the table, or None. An unknown key gives
        the words that follow it as one string.
        """
        row = find_key(key)
        name = row.name if row else key
        lines = [line for line in self.lines if line.key == name]
        if row is not None and row.repeatable:
            if not lines and default is not None:
                return default
            if row.count == 1:
                return tuple(v for line in lines for v in line.values)
            return tuple(line.values for line in lines)
        if not lines:
            return default if default is not None or row is None else row.default
        values = lines[-1].values
        if row is None:
            return " ".join(str(v) for v in values)
        return values if row.count > 1 else values[0]

    def number(self, key: str) -> float:
        """Return the value of a known key that takes one number, or its default.

        Raises
        ------
        InputError
            The file has none, nor has the table.
        """
        value = self.get(key)
        if not isinstance(value, int | float):
            raise InputError(f"{self.name}: {key} is {value!r}; expected a number")
        return float(value)

    def numbers(self, key: str) -> tuple[float, ...]:
        """Return the values of a known key that takes several numbers, or is repeatable and takes one.

        Raises
        ------
        InputError
            The file has none, nor has the table.
        """
        value = self.get(key)
        if not isinstance(value, tuple):
            raise InputError(f"{self.name}: {key} is {value!r}; expected numbers")
        return tuple(float(v) for v in value if isinstance(v, float | int))

    def require(self, *keys: str) -> None:
        """Raise InputError naming those of `keys` that the file lacks."""
        missing = [key for key in keys if key not in self]
        if not missing:
            return
        named = []
        for key in missing:
            row = find_key(key)
            named.append(key if row is None else f"{key} ({row.meaning}{', ' + row.unit if row.unit else ''})")
        lines = f"a line '{missing[0]} value'" if len(missing) == 1 else "a line 'key value' for each"
        raise InputError(f"{self.name} has no {_listed(named)}; add {lines}")

    @property
    def name(self) -> str:
        """The file's name, for messages."""
        return "the parameter set" if self.path is None else str(self.path)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Keys that midas does not know, in order."""
        return tuple(line.key for line in self.lines if line.key is not None and not line.known)

    @property
    def pixel_size(self) -> float:
        """Edge of the square pixels [µm]."""
        self.require("px")
        sizes = {line.spelling: line.values[0] for line in self.lines if line.key == "px"}
        if "pxY" in sizes and "pxZ" in sizes and sizes["pxY"] != sizes["pxZ"]:
            raise InputError(f"{self.name}: pxY is {sizes['pxY']} and pxZ is {sizes['pxZ']}; midas takes square pixels")
        return self.number("px")

    @property
    def shape(self) -> tuple[int, int] | None:
        """Rows and columns (NrPixelsZ, NrPixelsY) of the transformed image; None where the file does not say."""
        columns = self._last_of("NrPixelsY", "NrPixels")
        rows = self._last_of("NrPixelsZ", "NrPixels")
        return None if columns is None or rows is None else (rows, columns)

    @property
    def frame_shape(self) -> tuple[int, int] | None:
        """Rows and columns of a frame as stored, before `ImTransOpt`; None where the file does not say."""
        shape = self.shape
        odd = sum(t == 3 for t in self.image_transforms) % 2
        return (shape[1], shape[0]) if shape is not None and odd else shape

    @property
    def geometry(self) -> Geometry:
        """The geometry: needs `Lsd`, `BC`, `px` and `Wavelength`.

        Raises
        ------
        InputError
            A key is missing, or `DistortionFile` is there, which midas does not read.
        GeometryError
            A value is impossible or in the wrong unit.
        """
        self.require("Lsd", "BC", "px", "Wavelength")
        self._refuse("DistortionFile")
        center = self.numbers("BC")
        radius = self.number("RhoD") if "RhoD" in self else None
        try:
            geometry = Geometry(
                distance=self.number("Lsd"),
                beam_center=(center[0], center[1]),
                pixel_size=self.pixel_size,
                wavelength=self.number("Wavelength"),
                tilts=(self.number("tx"), self.number("ty"), self.number("tz")),
                distortion={name: self.number(name) for name in DISTORTION_NAMES if name in self},
                distortion_radius=radius,
                image_transforms=self.image_transforms,
                panels=self.panels,
                parallax=self.number("Parallax"),
            )
        except MidasError as error:
            check_distortion_radius(self, radius)  # knows the detector, so it says more
            raise type(error)(f"{self.name}: {error}") from None
        check_distortion_radius(self, radius)
        return geometry

    @property
    def panel_layout(self) -> PanelLayout | None:
        """Where the panels of a tiled detector are (`NPanelsY`, `PanelSizeY` ...); None where the file does not say.

        Raises
        ------
        InputError
            A key is missing, or the gaps are not one fewer than the panels.
        """
        return panel_layout_of(self)

    @property
    def panels(self) -> Panels | None:
        """How the panels stand (`PanelShiftsFile`); None where the file names no shifts."""
        file = self.file("PanelShiftsFile")
        if file is None:
            return None
        layout = self.panel_layout
        if layout is None:
            raise InputError(
                f"{self.name} has PanelShiftsFile but not where the panels are; add NPanelsY, NPanelsZ, PanelSizeY, "
                "PanelSizeZ, PanelGapsY and PanelGapsZ"
            )
        return read_panel_shifts(file, layout)

    @property
    def detector(self) -> Detector:
        """The detector: needs `NrPixelsY`, `NrPixelsZ` (or `NrPixels`) and `px`; reads the mask files it names."""
        shape = self.shape
        if shape is None:
            self.require("NrPixelsY" if self._last_of("NrPixelsY", "NrPixels") is None else "NrPixelsZ")
        mask: Mask | None = None
        for key in MASK_KEYS:
            file = self.file(key)
            if file is not None:
                part = read_mask(file, image_transforms=self.image_transforms)
                if part.shape != shape:
                    what = f"{file} ({key} of {self.name}): the mask has shape {part.shape}"
                    raise InputError(f"{what}; expected the detector's {shape}")
                mask = part if mask is None else np.asarray(mask | part)
        assert shape is not None
        try:
            return Detector(shape=shape, pixel_size=self.pixel_size, mask=mask)
        except MidasError as error:
            raise type(error)(f"{self.name}: {error}") from None

    @property
    def grid(self) -> CakeGrid:
        """The bins of an integration: as `bins`; warns (logging) of what `findings` finds.

        Raises
        ------
        InputError
            A key is missing, or the file asks for a choice of frames or pixels (`OmegaRange`, `BoxSize`), which midas
            does not make.
        """
        self._refuse("OmegaRange", "BoxSize")
        bins = self.bins
        for finding in self.findings():
            _log.warning("%s: %s", self.name, finding)
        return bins

    @property
    def bins(self) -> CakeGrid:
        """The bins alone, whatever else the file asks of an integration: needs `RMin`, `RMax` and `RBinSize`."""
        self.require("RMin", "RMax", "RBinSize")
        try:
            return CakeGrid(
                radius_min=self.number("RMin"),
                radius_max=self.number("RMax"),
                radius_step=self.number("RBinSize"),
                eta_min=self.number("EtaMin"),
                eta_max=self.number("EtaMax"),
                eta_step=self.number("EtaBinSize"),
            )
        except MidasError as error:
            raise type(error)(f"{self.name} (RMin RMax RBinSize EtaMin EtaMax EtaBinSize): {error}") from None

    @property
    def image_transforms(self) -> tuple[int, ...]:
        """Transforms in order (`ImTransOpt`), without the zeros."""
        return tuple(int(t) for t in self.numbers("ImTransOpt") if t != 0)

    @property
    def bad_values(self) -> tuple[float, ...]:
        """Pixel values that are no counts (`GapIntensity`, `BadPxIntensity`)."""
        return tuple(self.number(key) for key in ("GapIntensity", "BadPxIntensity") if key in self)

    @property
    def frames_per_sum(self) -> int:
        """Frames summed into one pattern (`OmegaSumFrames`); -1 sums all."""
        n = int(self.number("OmegaSumFrames"))
        if n == 0 or n < -1:
            raise InputError(f"{self.name}: OmegaSumFrames is {n}; expected a number of frames, or -1 for all")
        return n

    @property
    def peak_locations(self) -> tuple[float, ...]:
        """Radii of the peaks to fit, ascending [px] (`PeakLocation`); empty where the file has none."""
        return tuple(sorted(self.numbers("PeakLocation")))

    @property
    def omega_start(self) -> float:
        """Omega of the first frame [deg]."""
        return self.number("OmegaStart")

    @property
    def omega_step(self) -> float:
        """Omega from frame to frame [deg]."""
        return self.number("OmegaStep")

    @property
    def skip_frames(self) -> int:
        """Frames dropped at the start of every file (`SkipFrame`)."""
        return int(self.number("SkipFrame"))

    @property
    def head_size(self) -> int:
        """Bytes before the first frame of a GE file (`HeadSize`)."""
        return int(self.number("HeadSize"))

    @property
    def space_group(self) -> int | None:
        """Number of the calibrant's space group; None where the file does not say."""
        return int(self.number("SpaceGroup")) if "SpaceGroup" in self else None

    @property
    def lattice(self) -> tuple[float, ...] | None:
        """The calibrant's a, b, c [Å], alpha, beta, gamma [deg] (`LatticeConstant`); None where the file lacks it."""
        return self.numbers("LatticeConstant") if "LatticeConstant" in self else None

    @property
    def calibrant(self) -> str | None:
        """Name of a built-in calibrant (`Calibrant`, or `calibrant` in a dict); None where the file does not say."""
        value = self.get("Calibrant")
        return None if value is None else str(value)

    def file(self, key: str) -> Path | None:
        """Return the path that a key names, None without it; a relative one is looked for beside the parameter file."""
        value = self.get(key)
        if value is None:
            return None
        path = Path(str(value))
        if self.path is not None and not path.is_absolute() and (self.path.parent / path).exists():
            return self.path.parent / path
        return path

    def findings(self) -> tuple[str, ...]:
        """Return what looks wrong but may be meant, a sentence each."""
        return doubtful_values(self)

    def __repr__(self) -> str:
        """Name the file and say how many keys it has."""
        n_keys = sum(line.key is not None for line in self.lines)
        unknown = f", unknown: {', '.join(self.unknown)}" if self.unknown else ""
        return f"Parameters({self.name!r}, {n_keys} keys{unknown})"

    def _repr_html_(self) -> str:
        """Return a table of keys and values for notebooks."""
        rows = [line for line in self.lines if line.key is not None]
        return html_rows(self.name, ("key", "value", "unit", "meaning"), map(described_line, rows))

    def _refuse(self, *keys: str) -> None:
        for key in keys:
            row = find_key(key)
            if row is not None and key in self:
                raise InputError(
                    f"{self.name} has {key} ({row.meaning}), which midas does not use yet and which would change the "
                    "result; take the line out to go on without it"
                )

    def _last_of(self, *keys: str) -> int | None:
        found = [line.values[0] for line in self.lines if line.key in keys]
        return int(found[-1]) if found else None


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def read_params(path: Path | str) -> Parameters:
    r"""Return the parameters of a MIDAS text file, without loss: order, comments and unknown keys are kept.

    An unknown key of the file at `path` is kept and warned about (logging) with the nearest known name.

    Raises
    ------
    FormatError
        The file is missing, is not text, or a value is malformed; the message names file and line.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = (Path(folder) / "ps.txt").write_text("px 200\n")
    ...     read_params(Path(folder) / "ps.txt").pixel_size
    200.0
    """
    path = file_path("path", path)
    return parse_params(read_text(path), path)


def parse_params(text: str, path: Path | None = None) -> Parameters:
    r"""Return the parameters of a text; see `read_params`.

    Examples
    --------
    >>> parse_params("ImTransOpt 2\nImTransOpt 3\n").image_transforms
    (2, 3)
    """
    lines = [parse_line(line, f"{path or 'parameters'}, line {n}") for n, line in enumerate(split_lines(text), start=1)]
    for n, line in enumerate(lines, start=1):
        if line.remark:
            _log.warning("%s, line %d: %s", path or "parameters", n, line.remark)
    return Parameters(tuple(lines), path)
