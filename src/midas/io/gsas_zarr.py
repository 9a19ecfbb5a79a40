"""The caked file `<name>.zarr.zip` that GSAS-II opens: zarr format 2 in a zip archive (docs/files.md).

It is written sum by sum (`CakeFileWriter`), in memory that does not grow with their number; reading goes through zarr,
2.18 or 3.
"""

from __future__ import annotations

import contextlib
import math
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from midas.errors import FormatError, InputError
from midas.geometry import FloatArray
from midas.io.atomic import atomic_path
from midas.io.image_source import CONDITIONS
from midas.io.zarr_zip import ZarrZip
from midas.shown import evenly, html_table, range_of

SUFFIX = ".zarr.zip"

SOURCE = "source"
"""Key of midas's own metadata: what tells what the file was made of."""
INDEPENDENT = "independent_bins"
"""Key of midas's own metadata: true where no pixel has a part in two bins, as in patterns that were computed."""
CORRECTIONS = "corrections"
"""Key of midas's own metadata: what the counts of each pixel were divided by; not there where they were not."""

INSTRUMENT_DEFAULTS: Mapping[str, float] = MappingProxyType(
    {"Polariz": 0.99, "SH_L": 0.002, "U": 1.163, "V": -0.126, "W": 0.063, "X": 0.0, "Y": 0.0, "Z": 0.0}
)
"""GSAS-II's instrument parameters where nothing better is known; widths in centidegrees."""

_INSTRUMENT_ORDER = ("Polariz", "Lam", "SH_L", "U", "V", "W", "X", "Y", "Z", "Distance")
_MAP_ROWS = ("radius", "two_theta", "eta", "bin_area")
SUMS = "OmegaSumFrame"
"""Group of the sums."""
_VARIANCES, _INDIVIDUAL = "OmegaSumFrameVariance", "IntegrationResult"
_NEVER = np.iinfo(np.int64).max
_ORDER = (("REtaMap",), (SUMS, _VARIANCES), (_INDIVIDUAL,), ("Omegas",), ("SumFrames",), ("InstrumentParameters",))


@dataclass(frozen=True, eq=False)
class CakeFile:
    """What a `.zarr.zip` holds. Bins without a valid pixel are NaN in memory and area 0, intensity 0 in the file.

    Raises
    ------
    InputError
        Two arrays disagree in shape, or an instrument parameter is missing.

    Examples
    --------
    >>> from midas.testing import caked_scan, scan
    >>> held = caked_scan(scan([0.0], seed=7)).to_cake_file()
    >>> held.intensity.shape, held.instrument["Lam"]
    ((1, 214, 8), 0.2066)
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
        for name in CONDITIONS:
            if getattr(self, name) is None:
                object.__setattr__(self, name, np.full(n_sums, np.nan))
        for name in _MAP_ROWS:
            self._require(name, tuple(bins))
        for name in ("frames", "first_omega", "last_omega", "frame_numbers", *CONDITIONS):
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

    def __repr__(self) -> str:
        """Say in one line what is in it."""
        n_sums, n_radius, n_eta = self.intensity.shape
        return f"CakeFile({n_sums} sums of {int(self.frames.sum())} frames, {n_radius} radius x {n_eta} eta bins)"

    def _repr_html_(self) -> str:
        """Return a table for notebooks."""
        (_, n_radius, n_eta), filled = self.intensity.shape, float((self.bin_area > 0.0).mean())
        rows = {
            "sums of frames": f"{len(self.frames)}, {int(self.frames.sum())} frames in all",
            "bins": f"{n_radius} radius x {n_eta} eta, {100.0 * filled:.1f} % hold pixels",
            "2θ": range_of(float(self.two_theta.min()), float(self.two_theta.max()), "deg"),
            "ω": ", ".join(f"{w:g}" for w in (*self.first_omega[:1], *self.last_omega[-1:])) + " deg, first and last",
            "variance": "in the file" if self.variance is not None else "not in the file",
            "instrument": ", ".join(f"{name} {value:g}" for name, value in self.instrument.items()),
        }
        return html_table("CakeFile", rows)


@dataclass(frozen=True, eq=False)
class FrameSum:
    """One sum of frames on its way into a file; its fields are those of `CakeFile`, for one sum."""

    intensity: FloatArray
    """Shape (n_radius, n_eta): NaN where a bin has no value."""
    variance: FloatArray | None
    """Shape of `intensity`; None for every sum of a file or for none."""
    frames: int
    frame_number: int
    first_omega: float
    last_omega: float
    temperature: float = math.nan
    pressure: float = math.nan
    i: float = math.nan
    i0: float = math.nan


def write_cake_file(path: Path | str, cake_file: CakeFile) -> Path:
    """Write a cake for GSAS-II and return its path, which must end in `.zarr.zip`.

    The file appears whole or not at all; docs/files.md says what it holds. Unknown temperature, pressure, I and I0 are
    left out of the attributes.

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
    used = cake_file.bin_area > 0.0
    with cake_file_writer(path, cake_file.metadata, cake_file.instrument, sum_images=cake_file.sum_images) as writer:
        writer.use(used)
        for k, number in enumerate(cake_file.frame_numbers):
            total = FrameSum(
                intensity=np.where(used, cake_file.intensity[k], np.nan),
                variance=None if cake_file.variance is None else cake_file.variance[k],
                frames=int(cake_file.frames[k]),
                frame_number=int(number),
                first_omega=float(cake_file.first_omega[k]),
                last_omega=float(cake_file.last_omega[k]),
                **{name: float(getattr(cake_file, name)[k]) for name in CONDITIONS},
            )
            writer.add_sum(total)
        if cake_file.individual is not None and cake_file.individual_omega is not None:
            for k, (frame, omega) in enumerate(zip(cake_file.individual, cake_file.individual_omega, strict=True)):
                writer.add_frame(np.where(used, frame, np.nan), cake_file.first_frame_number + k, float(omega))
        writer.finish(*(getattr(cake_file, name) for name in _MAP_ROWS))
    return Path(path)


def require_suffix(path: Path | str) -> Path:
    """Return the path; raise InputError unless its name ends in `.zarr.zip`, which GSAS-II's reader insists on."""
    path = Path(path)
    if not path.name.endswith(SUFFIX) or path.name == SUFFIX:
        raise InputError(f"{path}: GSAS-II reads a cake only from a name ending in {SUFFIX}; expected name{SUFFIX}")
    return path


@contextlib.contextmanager
def cake_file_writer(
    path: Path | str, metadata: Mapping[str, Any], instrument: Mapping[str, float], *, sum_images: bool = False
) -> Iterator[CakeFileWriter]:
    """Yield what writes a `.zarr.zip` piece by piece; the file is there whole when the block ends well, or not at all.

    Parameters
    ----------
    path
        Its name, which must end in `.zarr.zip`.
    metadata, instrument, sum_images
        As in `CakeFile`.

    Raises
    ------
    InputError
        The name has another suffix.
    OutputError
        The file cannot be written.
    """
    with atomic_path(require_suffix(path)) as temporary, ZarrZip(temporary, order=_ORDER) as archive:
        archive.group("", {"midas": dict(metadata)})
        archive.group("InstrumentParameters")
        for name in _INSTRUMENT_ORDER:
            archive.array(f"InstrumentParameters/{name}", np.array([float(instrument[name])]))
        yield CakeFileWriter(archive, sum_images=sum_images)


class CakeFileWriter:
    """Writes sums and single frames as they come, then what is known at their end; see `cake_file_writer`.

    What it keeps is a few arrays of the size of one sum, and some hundred bytes for each member of the archive.
    """

    def __init__(self, archive: ZarrZip, *, sum_images: bool) -> None:
        self._archive = archive
        self._used_since: npt.NDArray[np.int64] | None = None
        """Shape (n_radius, n_eta): index of the first sum in which a bin has a value, _NEVER before it has."""
        self._with_variance: list[str] = []
        self._total: FloatArray | None = None
        self._sum_images = sum_images
        self._n_frames = 0
        self._omegas_of_sums: list[float] = []
        self._omegas_of_frames: list[float] = []

    def use(self, used: npt.NDArray[np.bool_]) -> None:
        """Say which bins will turn out to be used, shape (n_radius, n_eta): before the first sum, where it is known."""
        self._used_since = np.where(used, 0, _NEVER)

    def add_sum(self, total: FrameSum) -> None:
        """Write a sum; their numbers ascend."""
        k = len(self._omegas_of_sums)
        finite = np.isfinite(total.intensity)
        if k == 0:
            self._begin_sums(total)
        assert self._used_since is not None
        self._used_since[finite & (self._used_since == _NEVER)] = k
        # Six digits: members sorted by name are sorted by number.
        member = f"LastFrameNumber_{total.frame_number:06d}"
        self._archive.array(f"{SUMS}/{member}", _finite(total.intensity), _attributes(total))
        if total.variance is not None:
            # NaN where this sum has no value although the bin has pixels: in the sums a finite 0 stands for it.
            self._archive.array(f"{_VARIANCES}/{member}", np.where(self._used_since == _NEVER, 0.0, total.variance))
            self._with_variance.append(member)
        if self._total is not None:
            self._total += _finite(total.intensity)
        self._n_frames += total.frames
        self._omegas_of_sums.append(0.5 * (total.first_omega + total.last_omega))

    def add_frame(self, intensity: npt.NDArray[np.floating[Any]], number: int, omega: float) -> None:
        """Write one frame's intensity, shape (n_radius, n_eta); `number` counts from 0 in the file, omega [deg]."""
        if not self._omegas_of_frames:
            self._archive.group(_INDIVIDUAL)
        attributes = {"omega": omega, "Header": "Radius,Eta"}
        self._archive.array(f"{_INDIVIDUAL}/FrameNr_{number:06d}", _finite(intensity), attributes)
        self._omegas_of_frames.append(omega)

    def finish(self, radius: FloatArray, two_theta: FloatArray, eta: FloatArray, bin_area: FloatArray) -> None:
        """Write the axes, each of shape (n_radius, n_eta), and all that the sums had to be known for."""
        n_radius, n_eta = bin_area.shape
        attributes = {
            "Header": "Radius,2Theta,Eta,BinArea",
            "Units": "Pixels,Degrees,Degrees,Pixels",
            "nRBins": n_radius,
            "nEtaBins": n_eta,
        }
        self._archive.array("REtaMap", np.stack([radius, two_theta, eta, bin_area]), attributes)
        omegas = np.array(self._omegas_of_frames or self._omegas_of_sums, dtype=np.float64)
        self._archive.array("Omegas", omegas, {"Units": "Degrees"})
        if self._total is not None:
            self._archive.array("SumFrames", self._total, {"nFrames": self._n_frames})
        self._mend_variances(bin_area)

    def _begin_sums(self, first: FrameSum) -> None:
        self._archive.group(SUMS)
        if first.variance is not None:
            self._archive.group(_VARIANCES)
        if self._used_since is None:
            self._used_since = np.full(first.intensity.shape, _NEVER)
        if self._sum_images:
            self._total = np.zeros(first.intensity.shape)

    def _mend_variances(self, bin_area: FloatArray) -> None:
        """Put NaN where a bin was taken for masked, since no sum so far had a value in it, and was used later on."""
        assert self._used_since is not None
        used_since = np.where(bin_area > 0.0, self._used_since, 0)
        for k, member in enumerate(self._with_variance[: int(used_since.max())]):
            name = f"{_VARIANCES}/{member}"
            variance = self._archive.read(name, bin_area.shape)
            variance[used_since > k] = np.nan
            self._archive.replace(name, variance)


def _attributes(total: FrameSum) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "FirstOme": total.first_omega,
        "LastOme": total.last_omega,
        "LastFrameNumber": total.frame_number,
        "Number Of Frames Summed": total.frames,
    }
    conditions = {label: getattr(total, name) for name, label in CONDITIONS.items()}
    return attributes | {label: value for label, value in conditions.items() if math.isfinite(value)}


def _finite(intensity: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.floating[Any]]:
    """Return values with 0 for NaN, as in masked bins: GSAS-II imports NaN silently, and gives 0 no weight."""
    return np.where(np.isfinite(intensity), intensity, 0.0)


def read_cake_file(path: Path | str, *, individual: bool = True, most_sums: int | None = None) -> CakeFile:
    """Return the contents of a `.zarr.zip`, of midas or of the original integrator, with NaN in masked bins.

    Parameters
    ----------
    path
        The file.
    individual
        False: leave out the single frames, which may be far larger than their sums; default True.
    most_sums
        Read no more than so many sums, at even distances; default all.

    Raises
    ------
    FormatError
        The file is missing, is not a zarr archive of format 2, or lacks a group that GSAS-II needs.

    Examples
    --------
    >>> import tempfile
    >>> from midas.testing import caked_file
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     read_cake_file(caked_file(f"{folder}/x.zarr.zip", strain=[0.0], seed=7))
    CakeFile(1 sums of 1 frames, 214 radius x 8 eta bins)
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
        return _read(root, path, with_individual=individual, most_sums=most_sums)
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


def _read(root: Any, path: Path, *, with_individual: bool, most_sums: int | None) -> CakeFile:
    for name in ("REtaMap", SUMS, "InstrumentParameters"):
        if name not in root:
            raise FormatError(f"{path}: has no {name}; expected a caked file of MIDAS or midas integrate")
    rows = np.asarray(root["REtaMap"][...], dtype=np.float64)
    if rows.ndim != 3 or len(rows) < 4:
        raise FormatError(f"{path}: REtaMap has shape {rows.shape}; expected (4, n_radius, n_eta)")
    sums = _members(root[SUMS], path, rows.shape[1:])
    if not sums:
        raise FormatError(f"{path}: {SUMS} is empty; expected at least one summed pattern")
    sums = evenly(sums, most_sums)
    masked = rows[3] == 0.0
    variance = None
    if _VARIANCES in root:
        variance = _stack(root[_VARIANCES], [name for _, name in sums], masked)
    intensity = _stack(root[SUMS], [name for _, name in sums], masked)
    if variance is not None:
        intensity[np.isnan(variance)] = np.nan
    attributes = [dict(root[SUMS][name].attrs) for _, name in sums]
    shown = with_individual and _INDIVIDUAL in root
    individual = _members(root[_INDIVIDUAL], path, rows.shape[1:]) if shown else []
    names = [name for _, name in individual]
    return CakeFile(
        intensity=intensity,
        variance=variance,
        frames=np.array(
            [_frames_summed(a, f"{path}: {SUMS}/{name}") for a, (_, name) in zip(attributes, sums, strict=True)]
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
        **{name: _attribute(attributes, label) for name, label in CONDITIONS.items()},
    )


def _members(group: Any, path: Path, shape: tuple[int, ...]) -> list[tuple[int, str]]:
    """Return (number, name) of a group's arrays in the order of their numbers, however they are padded."""
    members = []
    for name in group.array_keys():
        number = name.rpartition("_")[2]
        if "_" not in name or not number.isdecimal():
            raise FormatError(f"{path}: {group.path}/{name} has no number; expected a name such as LastFrameNumber_19")
        if group[name].shape != shape:
            raise FormatError(
                f"{path}: {group.path}/{name} has shape {group[name].shape}; expected {shape} as of REtaMap; the file "
                "is damaged"
            )
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
