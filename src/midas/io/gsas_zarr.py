"""The caked file `<name>.zarr.zip` that GSAS-II opens: zarr format 2 in a zip archive (SPEC section 6).

The members are written here, without the zarr library: format 2 is a few lines of JSON beside Blosc chunks, and this
way attributes are in the archive once, whatever zarr is installed, and the same cake gives the same bytes. Reading goes
through zarr, 2.18 or 3.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from midas.errors import FormatError, InputError
from midas.geometry import FloatArray
from midas.io.atomic import atomic_path

SUFFIX = ".zarr.zip"

INSTRUMENT_DEFAULTS: Mapping[str, float] = MappingProxyType(
    {"Polariz": 0.99, "SH_L": 0.002, "U": 1.163, "V": -0.126, "W": 0.063, "X": 0.0, "Y": 0.0, "Z": 0.0}
)
"""GSAS-II's instrument parameters where nothing better is known (SPEC section 6); widths in centidegrees."""

_INSTRUMENT_ORDER = ("Polariz", "Lam", "SH_L", "U", "V", "W", "X", "Y", "Z", "Distance")
_CONDITIONS = (("temperature", "Temperature"), ("pressure", "Pressure"), ("i", "I"), ("i0", "I0"))
_MAP_ROWS = ("radius", "two_theta", "eta", "bin_area")
_SUMS, _VARIANCES, _INDIVIDUAL = "OmegaSumFrame", "OmegaSumFrameVariance", "IntegrationResult"
_DATE = (1980, 1, 1, 0, 0, 0)  # in the archive: the same cake, the same bytes


@dataclass(frozen=True, eq=False)
class CakeFile:
    """What a `.zarr.zip` holds. Bins without a valid pixel are NaN in memory and area 0, intensity 0 in the file.

    Raises
    ------
    InputError
        Two arrays disagree in shape, or an instrument parameter is missing.
    """

    intensity: FloatArray
    """Shape (n_sums, n_radius, n_eta): sums over frames of normalised intensity, counts per px² and n frames."""
    frames: npt.NDArray[np.int64]
    """Shape (n_sums,): frames really summed."""
    radius: FloatArray
    """Shape (n_radius, n_eta): bin centre [px]."""
    two_theta: FloatArray
    """Shape (n_radius, n_eta): of the bin centre [deg]."""
    eta: FloatArray
    """Shape (n_radius, n_eta): bin centre [deg]."""
    bin_area: FloatArray
    """Shape (n_radius, n_eta): area of the valid pixels [px²]; exactly 0 where the bin is masked."""
    first_omega: FloatArray
    """Shape (n_sums,): omega of the first frame [deg]."""
    last_omega: FloatArray
    """Shape (n_sums,): omega of the last frame [deg]."""
    frame_numbers: npt.NDArray[np.int64]
    """Shape (n_sums,): number of the last frame, counted from 0; ascending."""
    instrument: Mapping[str, float]
    """Polariz, Lam [Å], SH_L, U, V, W, X, Y, Z [centidegrees], Distance [µm]."""
    variance: FloatArray | None = None
    """Shape of `intensity`: variance of the stored sum; None where the file has none."""
    temperature: FloatArray | None = None
    """Shape (n_sums,): mean over the frames, in the unit of the source; NaN unknown. None stands for all unknown."""
    pressure: FloatArray | None = None
    """As `temperature`."""
    i: FloatArray | None = None
    """As `temperature`: transmitted beam."""
    i0: FloatArray | None = None
    """As `temperature`: incident beam."""
    individual: FloatArray | None = None
    """Shape (n_frames, n_radius, n_eta): each frame's normalised intensity, where these were saved."""
    individual_omega: FloatArray | None = None
    """Shape (n_frames,): omega of each of these [deg]."""
    first_frame_number: int = 0
    """Number of the first individual frame."""
    sum_images: bool = False
    """True: the file also holds the sum of all frames (`SumFrames`)."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """What midas notes of its own: version, geometry with image transforms; JSON values."""

    def __post_init__(self) -> None:
        """Check shapes and fill what is unknown."""
        if self.intensity.ndim != 3 or 0 in self.intensity.shape:
            raise InputError(f"intensity has shape {self.intensity.shape}; expected (n_sums, n_radius, n_eta)")
        n_sums, *bins = self.intensity.shape
        for name, _ in _CONDITIONS:
            if getattr(self, name) is None:
                object.__setattr__(self, name, np.full(n_sums, np.nan))
        for name in _MAP_ROWS:
            self._require(name, tuple(bins))
        for name in ("frames", "first_omega", "last_omega", "frame_numbers", *(n for n, _ in _CONDITIONS)):
            self._require(name, (n_sums,))
        if self.variance is not None:
            self._require("variance", self.intensity.shape)
        if self.individual is not None:
            self._require("individual", (len(self.individual), *bins))
            self._require("individual_omega", (len(self.individual),))
        if np.any(np.diff(self.frame_numbers) <= 0):
            raise InputError(f"frame_numbers are {self.frame_numbers.tolist()}; expected ascending numbers")
        missing = [name for name in _INSTRUMENT_ORDER if name not in self.instrument]
        if missing:
            raise InputError(f"the instrument parameters lack {missing[0]}; expected {', '.join(_INSTRUMENT_ORDER)}")

    def _require(self, name: str, shape: tuple[int, ...]) -> None:
        array = getattr(self, name)
        if array is None or np.shape(array) != shape:
            raise InputError(f"{name} has shape {None if array is None else np.shape(array)}; expected {shape}")


def write_cake_file(path: Path | str, cake_file: CakeFile) -> Path:
    """Write a cake for GSAS-II and return its path, which must end in `.zarr.zip`.

    The file appears whole or not at all. Beside SPEC section 6 it holds `OmegaSumFrameVariance/LastFrameNumber_<i>`,
    the variance of each stored sum, and the attribute `midas` of the root; GSAS-II's reader looks at neither. Unknown
    temperature, pressure, I and I0 are left out of the attributes.

    Raises
    ------
    InputError
        The name has another suffix.

    Examples
    --------
    >>> import tempfile
    >>> bins, instrument = np.ones((2, 3)), {**INSTRUMENT_DEFAULTS, "Lam": 0.18, "Distance": 1e6}
    >>> one = np.ones(1)
    >>> cake = CakeFile(np.ones((1, 2, 3)), one, bins, bins, bins, bins, one, one, one, instrument)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = write_cake_file(Path(folder) / "a.zarr.zip", cake)
    ...     read_cake_file(path).intensity.shape
    (1, 2, 3)
    """
    path = require_suffix(path)
    with atomic_path(path) as temporary, _ZarrZip(temporary) as archive:
        archive.group("", {"midas": dict(cake_file.metadata)})
        _write_map(archive, cake_file)
        _write_sums(archive, cake_file)
        _write_individual(archive, cake_file)
        archive.group("InstrumentParameters")
        for name in _INSTRUMENT_ORDER:
            archive.array(f"InstrumentParameters/{name}", np.array([float(cake_file.instrument[name])]))
    return path


def require_suffix(path: Path | str) -> Path:
    """Return the path; raise InputError unless its name ends in `.zarr.zip`, which GSAS-II's reader insists on."""
    path = Path(path)
    if not path.name.endswith(SUFFIX) or path.name == SUFFIX:
        raise InputError(f"{path}: GSAS-II reads a cake only from a name ending in {SUFFIX}; expected name{SUFFIX}")
    return path


def _write_map(archive: _ZarrZip, cake_file: CakeFile) -> None:
    n_radius, n_eta = cake_file.bin_area.shape
    rows = np.stack([getattr(cake_file, name) for name in _MAP_ROWS])
    attributes = {
        "Header": "Radius,2Theta,Eta,BinArea",
        "Units": "Pixels,Degrees,Degrees,Pixels",
        "nRBins": n_radius,
        "nEtaBins": n_eta,
    }
    archive.array("REtaMap", rows, attributes)


def _write_sums(archive: _ZarrZip, cake_file: CakeFile) -> None:
    archive.group(_SUMS)
    if cake_file.variance is not None:
        archive.group(_VARIANCES)
    for k, number in enumerate(cake_file.frame_numbers):
        attributes: dict[str, Any] = {
            "FirstOme": float(cake_file.first_omega[k]),
            "LastOme": float(cake_file.last_omega[k]),
            "LastFrameNumber": int(number),
            "Number Of Frames Summed": int(cake_file.frames[k]),
        }
        for name, label in _CONDITIONS:
            value = float(getattr(cake_file, name)[k])
            if math.isfinite(value):
                attributes[label] = value
        # Six digits: members sorted by name are sorted by number.
        archive.array(
            f"{_SUMS}/LastFrameNumber_{int(number):06d}", _finite(cake_file.intensity[k], cake_file), attributes
        )
        if cake_file.variance is not None:
            # NaN where this sum has no value although the bin has pixels: in the sums a finite 0 stands for it.
            variance = np.where(cake_file.bin_area == 0.0, 0.0, cake_file.variance[k])
            archive.array(f"{_VARIANCES}/LastFrameNumber_{int(number):06d}", variance)


def _write_individual(archive: _ZarrZip, cake_file: CakeFile) -> None:
    omegas = 0.5 * (cake_file.first_omega + cake_file.last_omega)
    if cake_file.individual is not None and cake_file.individual_omega is not None:
        omegas = cake_file.individual_omega
        archive.group(_INDIVIDUAL)
        for k, (frame, omega) in enumerate(zip(cake_file.individual, omegas, strict=True)):
            name = f"{_INDIVIDUAL}/FrameNr_{cake_file.first_frame_number + k:06d}"
            archive.array(name, _finite(frame, cake_file), {"omega": float(omega), "Header": "Radius,Eta"})
    archive.array("Omegas", np.asarray(omegas, dtype=np.float64), {"Units": "Degrees"})
    if cake_file.sum_images:
        total = np.nansum(cake_file.intensity, axis=0)
        archive.array("SumFrames", _finite(total, cake_file), {"nFrames": int(cake_file.frames.sum())})


def _finite(values: FloatArray, cake_file: CakeFile) -> FloatArray:
    """Return values with 0 in masked bins and for NaN: GSAS-II imports NaN silently, and gives 0 no weight."""
    keep = (cake_file.bin_area > 0.0) & np.isfinite(values)
    return np.where(keep, values, 0.0)


class _ZarrZip:
    """A zip archive of zarr format 2 groups and arrays, each member written once."""

    def __init__(self, path: Path) -> None:
        from numcodecs import Blosc

        self._zip = zipfile.ZipFile(path, mode="w", compression=zipfile.ZIP_STORED)
        self._codec: Any = Blosc(cname="zstd", clevel=3, shuffle=Blosc.SHUFFLE)

    def __enter__(self) -> _ZarrZip:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def group(self, name: str, attributes: Mapping[str, Any] | None = None) -> None:
        prefix = f"{name}/" if name else ""
        self._json(f"{prefix}.zgroup", {"zarr_format": 2})
        self._json(f"{prefix}.zattrs", attributes or {})

    def array(self, name: str, values: FloatArray, attributes: Mapping[str, Any] | None = None) -> None:
        """Write an array as one chunk."""
        values = np.ascontiguousarray(values, dtype="<f8")
        description = {
            "zarr_format": 2,
            "shape": values.shape,
            "chunks": values.shape,
            "dtype": "<f8",
            "compressor": self._codec.get_config(),
            "fill_value": 0.0,
            "order": "C",
            "filters": None,
            "dimension_separator": ".",
        }
        self._json(f"{name}/.zarray", description)
        self._json(f"{name}/.zattrs", attributes or {})
        self._member(f"{name}/{'.'.join('0' * values.ndim)}", bytes(self._codec.encode(values)))

    def _json(self, name: str, content: Mapping[str, Any]) -> None:
        self._member(name, json.dumps(content, indent=1, allow_nan=False).encode())

    def _member(self, name: str, content: bytes) -> None:
        self._zip.writestr(zipfile.ZipInfo(name, _DATE), content)


def read_cake_file(path: Path | str) -> CakeFile:
    """Return the contents of a `.zarr.zip`, of midas or of the original integrator, with NaN in masked bins.

    Raises
    ------
    FormatError
        The file is missing, is not a zarr archive of format 2, or lacks a group that GSAS-II needs.
    """
    import zarr

    path = Path(path)
    if not path.is_file():
        raise FormatError(f"{path}: no such file; check the name and the folder")
    if not zipfile.is_zipfile(path):
        raise FormatError(f"{path}: not a zip archive; expected a cake written by midas integrate, name{SUFFIX}")
    store = zarr.storage.ZipStore(str(path), mode="r")
    try:
        root = zarr.open_group(store=store, mode="r")
        return _read(root, path)
    except FormatError:
        raise
    except InputError as error:
        raise FormatError(f"{path}: {error}") from None
    except (KeyError, ValueError, TypeError, OSError, RuntimeError, zipfile.BadZipFile) as error:
        detail = " ".join(str(error).split()) or type(error).__name__
        raise FormatError(
            f"{path}: cannot be read as a caked zarr file: {detail}; it is corrupt or of another kind"
        ) from error
    finally:
        store.close()


def _read(root: Any, path: Path) -> CakeFile:
    for name in ("REtaMap", _SUMS, "InstrumentParameters"):
        if name not in root:
            raise FormatError(f"{path}: has no {name}; expected a caked file of MIDAS or midas integrate")
    rows = np.asarray(root["REtaMap"][...], dtype=np.float64)
    if rows.ndim != 3 or len(rows) < 4:
        raise FormatError(f"{path}: REtaMap has shape {rows.shape}; expected (4, n_radius, n_eta)")
    sums = _members(root[_SUMS], path)
    if not sums:
        raise FormatError(f"{path}: {_SUMS} is empty; expected at least one summed pattern")
    masked = rows[3] == 0.0
    variance = None
    if _VARIANCES in root:
        variance = _stack(root[_VARIANCES], [name for _, name in sums], masked)
    intensity = _stack(root[_SUMS], [name for _, name in sums], masked)
    if variance is not None:
        intensity[np.isnan(variance)] = np.nan
    attributes = [dict(root[_SUMS][name].attrs) for _, name in sums]
    individual = _members(root[_INDIVIDUAL], path) if _INDIVIDUAL in root else []
    names = [name for _, name in individual]
    return CakeFile(
        intensity=intensity,
        variance=variance,
        frames=np.array(
            [_frames_summed(a, f"{path}: {_SUMS}/{name}") for a, (_, name) in zip(attributes, sums, strict=True)]
        ),
        radius=rows[0],
        two_theta=rows[1],
        eta=rows[2],
        bin_area=rows[3],
        first_omega=_attribute(attributes, "FirstOme"),
        last_omega=_attribute(attributes, "LastOme"),
        frame_numbers=np.array([number for number, _ in sums]),
        instrument={
            name: float(np.asarray(root["InstrumentParameters"][name][...]).ravel()[0])
            for name in sorted(root["InstrumentParameters"].array_keys())
        },
        individual=_stack(root[_INDIVIDUAL], names, masked) if names else None,
        individual_omega=_attribute([dict(root[_INDIVIDUAL][n].attrs) for n in names], "omega") if names else None,
        first_frame_number=individual[0][0] if individual else 0,
        sum_images="SumFrames" in root,
        metadata=dict(root.attrs).get("midas", {}),
        **{name: _attribute(attributes, label) for name, label in _CONDITIONS},
    )


def _members(group: Any, path: Path) -> list[tuple[int, str]]:
    """Return (number, name) of a group's arrays in the order of their numbers, however they are padded."""
    members = []
    for name in group.array_keys():
        number = name.rpartition("_")[2]
        if "_" not in name or not number.isdecimal():
            raise FormatError(f"{path}: {group.path}/{name} has no number; expected a name such as LastFrameNumber_19")
        members.append((int(number), name))
    return sorted(members)


def _frames_summed(attributes: Mapping[str, Any], where: str) -> int:
    """Return how many frames a pattern is the sum of: without it intensities have no scale and sigma no meaning."""
    label = "Number Of Frames Summed"
    if label not in attributes:
        raise FormatError(f"{where} has no attribute {label!r}; integrate the frames again with midas integrate")
    number = float(np.asarray(attributes[label]).ravel()[0])
    if number < 1 or number != int(number):
        raise FormatError(f"{where} has {number:g} as {label!r}; expected a whole number from 1")
    return int(number)


def _stack(group: Any, names: list[str], masked: npt.NDArray[np.bool_]) -> FloatArray:
    values = np.stack([np.asarray(group[name][...], dtype=np.float64) for name in names])
    values[:, masked] = np.nan
    return values


def _attribute(attributes: list[dict[str, Any]], name: str) -> FloatArray:
    return np.array([float(np.asarray(a.get(name, np.nan)).ravel()[0]) for a in attributes])
