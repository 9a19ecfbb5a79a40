"""The keys of the MIDAS parameter text: one table, from which reading, checking and explaining all follow.

To add a key, add a row; `docs/parameters.md` is made of the table.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from midas import _core
from midas.geometry import DISTORTION_NAMES, HARMONIC_TERMS

_BOTH = "calibrate, integrate"
_FOUND = "integrate; calibrate finds and writes it"
_GUESS = "integrate; calibrate takes it for a guess and writes what it finds"
_NOTHING = "nothing: kept for the programs of MIDAS"
_REFUSED = "nothing: it would change the result, so integrate refuses a file that has it"
_PEAKS = "integrate, with DoPeakFit 1"
_STORED = "integrate stores it in the .zarr.zip; refine starts from it"


@dataclass(frozen=True)
class ParameterKey:
    """One key of the parameter file."""

    name: str
    """As written by midas."""
    kind: type[float] | type[int] | type[str]
    """Type of each value."""
    meaning: str
    """One line for people."""
    unit: str = ""
    count: int = 1
    """How many values a line holds; text takes the rest of the line."""
    default: float | int | str | None = None
    """What stands for the key when the file leaves it out; None where there is no default."""
    aliases: tuple[str, ...] = ()
    """Other spellings that mean the same."""
    repeatable: bool = False
    """True when every line counts; otherwise the last one wins."""
    own: str = ""
    """What midas calls it in Python, in mappings of parameters; empty where there is no name of its own."""
    used: str = ""
    """Which commands use it, and how; set for the whole section where a row does not say."""
    section: str = ""
    """What it belongs to, a heading of the documentation."""


def _distortion(name: str) -> ParameterKey:
    power, harmonic = next((n, m) for key, n, m, _ in _core.DISTORTION_TERMS if key == name)
    phase_of = {phase: amplitude for amplitude, phase, _ in HARMONIC_TERMS}
    of_amplitude = {amplitude: phase for phase, amplitude in phase_of.items()}
    if name in phase_of:
        term = f"phase of {phase_of[name]}"
    elif name in of_amplitude:
        term = f"amplitude of rho^{power} cos({harmonic if harmonic > 1 else ''}E + {of_amplitude[name]})"
    else:
        term = f"coefficient of rho^{power}"
    unit = "deg" if name in phase_of else ""
    return ParameterKey(name, float, f"distortion: {term}", unit=unit, default=0.0, own="distortion", used=_FOUND)


_K = ParameterKey
_GEOMETRY = (
    _K("Lsd", float, "distance from sample to detector along the beam", unit="um", own="distance", used=_GUESS),
    _K("BC", float, "beam centre, column then row", unit="px", count=2, own="beam_center", used=_GUESS),
    _K(
        "tx",
        float,
        "rotation about the beam; not seen by powder rings, never refined",
        unit="deg",
        default=0.0,
        own="tilts",
        used="integrate; calibrate keeps it as it is",
    ),
    _K(
        "ty",
        float,
        "rotation about the horizontal axis across the beam",
        unit="deg",
        default=0.0,
        own="tilts",
        used=_FOUND,
    ),
    _K("tz", float, "rotation about the vertical axis", unit="deg", default=0.0, own="tilts", used=_FOUND),
    *(_distortion(name) for name in DISTORTION_NAMES),
    _K(
        "RhoD",
        float,
        "length that normalises the radius in the distortion: beam centre to the farthest corner",
        unit="um",
        own="distortion_radius",
        used=_FOUND,
    ),
    _K("px", float, "edge of the square pixels", unit="um", aliases=("PixelSize", "pxY", "pxZ"), own="pixel_size"),
    _K("NrPixels", int, "columns and rows of a square detector, after ImTransOpt", unit="px"),
    _K("NrPixelsY", int, "columns, after ImTransOpt", unit="px", own="shape"),
    _K("NrPixelsZ", int, "rows, after ImTransOpt", unit="px", own="shape"),
    _K("Wavelength", float, "wavelength of the beam", unit="A", own="wavelength", used="calibrate, integrate, refine"),
    _K(
        "Parallax",
        float,
        "depth at which a thick sensor converts; times sin(2theta) added to R",
        unit="um",
        default=0.0,
    ),
)
_PANELS = (
    _K("NPanelsY", int, "columns of panels"),
    _K("NPanelsZ", int, "rows of panels"),
    _K("PanelSizeY", int, "columns of a panel", unit="px"),
    _K("PanelSizeZ", int, "rows of a panel", unit="px"),
    _K("PanelGapsY", int, "columns between panels, one number a gap", unit="px", repeatable=True),
    _K("PanelGapsZ", int, "rows between panels, one number a gap", unit="px", repeatable=True),
    _K("PanelOrigin", int, "column and row of the first panel's first pixel (midas only)", unit="px", count=2),
    _K(
        "PanelShiftsFile",
        str,
        "how each panel stands off its place: ID dY dZ [px] dTheta [deg] dLsd [um] dP2",
        used=_FOUND,
    ),
    _K("DistortionFile", str, "file of displacements for each pixel", used=_REFUSED),
)
_CALIBRATION = (
    _K("Calibrant", str, "name of a built-in calibrant, auto, or a CIF file (midas only)", own="calibrant"),
    _K("SpaceGroup", int, "number of the calibrant's space group", own="space_group"),
    _K(
        "LatticeConstant",
        float,
        "cell of the calibrant: a b c [A] alpha beta gamma [deg]",
        unit="A, deg",
        count=6,
        aliases=("LatticeParameter",),
        own="lattice",
    ),
    _K("Width", float, "half width of the window about a ring", unit="um", default=800.0),
    _K("MultFactor", float, "a ring whose mean strain exceeds this times the median is rejected", default=2.5),
    _K("StoppingStrain", float, "mean pseudo-strain at which calibration may end", default=4e-5),
    _K("FirstRingNr", int, "number of the innermost strong ring on the image, from 1"),
    _K(
        "Threshold",
        float,
        "counts over the background below which a pixel takes no part in finding rings; 0 chooses",
        unit="counts",
        default=0.0,
    ),
    _K("RingsToExclude", int, "number of a ring to leave out, from 1", repeatable=True),
    _K("RingThresh", float, "a ring's number and its threshold", count=2, repeatable=True, used=_NOTHING),
)
_BINS = (
    _K("RMin", float, "lower edge of the first radial bin", unit="px", own="radius_min"),
    _K("RMax", float, "where the radial bins end", unit="px", own="radius_max"),
    _K("RBinSize", float, "width of a radial bin", unit="px", own="radius_step"),
    _K("EtaMin", float, "lower edge of the first azimuthal bin", unit="deg", default=-180.0, own="eta_min"),
    _K("EtaMax", float, "where the azimuthal bins end", unit="deg", default=180.0, own="eta_max"),
    _K("EtaBinSize", float, "width of an azimuthal bin", unit="deg", default=5.0, own="eta_step"),
)
_SCAN = (
    _K(
        "OmegaStart",
        float,
        "omega of the first frame",
        unit="deg",
        default=0.0,
        aliases=("OmegaFirstFile",),
        own="omega_start",
    ),
    _K("OmegaStep", float, "omega from frame to frame", unit="deg", default=0.0, own="omega_step"),
    _K("OmegaRange", float, "omega range to use", unit="deg", count=2, repeatable=True, used=_REFUSED),
    _K("BoxSize", float, "region to use: two columns, two rows", unit="um", count=4, repeatable=True, used=_REFUSED),
    _K("OmegaSumFrames", int, "frames summed into one pattern; -1 sums all", default=-1, own="frames_per_sum"),
)
_FILES = (
    _K(
        "SkipFrame",
        int,
        "frames dropped at the start of every file",
        default=0,
        aliases=("skipFrame",),
        own="skip_frames",
    ),
    _K("HeadSize", int, "bytes before the first frame of a GE file", unit="bytes", default=8192),
    _K(
        "DataType",
        int,
        "pixel type: 1 u16, 2 f64, 3 f32, 4 u32, 5 i32, 6 tiff-u32, 7 tiff-u8, 8 hdf5, 9 tiff-u16, 10 cbf",
        default=1,
    ),
    _K("Dark", str, "dark image, or the counts of a dark that is the same for every pixel"),
    _K("Flat", str, "flat field: what each pixel counts of the same light, 1 on average", used="integrate"),
    _K("Folder", str, "folder of the image files", used=_NOTHING),
    _K("FileStem", str, "name of the image files before the running number", used=_NOTHING),
    _K("Ext", str, "name of the image files after the running number", used=_NOTHING),
    _K("StartNr", int, "first running number", used=_NOTHING),
    _K("EndNr", int, "last running number", used=_NOTHING),
    _K("Padding", int, "digits of the running number", default=6, used=_NOTHING),
    _K(
        "ImTransOpt",
        int,
        "image transform, in order: 0 none, 1 flip columns, 2 flip rows, 3 transpose",
        repeatable=True,
        own="image_transforms",
    ),
    _K("GapIntensity", float, "value of pixels in gaps"),
    _K("BadPxIntensity", float, "value of bad pixels"),
    _K("GapFile", str, "image that is not 0 in gaps"),
    _K("BadPxFile", str, "image that is not 0 at bad pixels"),
    _K("MaskFile", str, "mask: 0 is use, any other value is masked"),
)
_INTEGRATION = (
    _K("Normalize", int, "1: divide by the area of the bin; 0: plain weighted sum", default=1),
    _K("SolidAngleCorrection", int, "1: divide by the solid angle of the pixel, cos^3(2theta)", default=0),
    _K("PolarizationCorrection", int, "1: divide by the polarization factor of the beam", default=0),
    _K(
        "PolarizationFraction",
        float,
        "part of the beam whose electric field lies at PolarizationPlaneEtaDeg",
        default=0.99,
        used="integrate, with PolarizationCorrection 1",
    ),
    _K(
        "PolarizationPlaneEtaDeg",
        float,
        "eta of the beam's electric field; 90 is horizontal",
        unit="deg",
        default=90.0,
        used="integrate, with PolarizationCorrection 1",
    ),
    _K("SumImages", int, "1: also store the sum of all frames", default=0),
    _K("SaveIndividualFrames", int, "1: store each frame's cake", default=1),
    _K("DoPeakFit", int, "1: fit peaks of every lineout", default=0),
    _K("MultiplePeaks", int, "1: fit all peaks found, 0: the most prominent one", default=0, used=_PEAKS),
    _K(
        "PeakLocation",
        float,
        "radius of a peak to fit; without it peaks are found",
        unit="px",
        repeatable=True,
        used=_PEAKS,
    ),
    _K("DoSmoothing", int, "1: smooth lineouts for the peak search (not for the fit)", default=0, used=_PEAKS),
)
_INSTRUMENT = (
    _K("Polariz", float, "polarization", default=0.99),
    _K("SHpL", float, "axial divergence SH/L", default=0.002),
    _K("U", float, "Gaussian width, tan^2 term", unit="cdeg^2", default=1.163),
    _K("V", float, "Gaussian width, tan term", unit="cdeg^2", default=-0.126),
    _K("W", float, "Gaussian width, constant term", unit="cdeg^2", default=0.063),
    _K("X", float, "Lorentzian width, 1/cos term", unit="cdeg", default=0.0),
    _K("Y", float, "Lorentzian width, tan term", unit="cdeg", default=0.0),
    _K("Z", float, "Lorentzian width, constant term", unit="cdeg", default=0.0),
)
_SECTIONS = (  # heading, what uses its keys unless a row says otherwise, rows
    ("Geometry", _BOTH, _GEOMETRY),
    ("Tiled detectors", _BOTH, _PANELS),
    ("Calibrant and calibration", "calibrate", _CALIBRATION),
    ("Bins", "integrate; calibrate passes them on", _BINS),
    ("Scan", "integrate", _SCAN),
    ("Files and pixels", _BOTH, _FILES),
    ("Integration", "integrate", _INTEGRATION),
    ("Instrument, for the refinement", _STORED, _INSTRUMENT),
)
_ROWS = tuple(replace(row, section=section, used=row.used or used) for section, used, rows in _SECTIONS for row in rows)

PARAMETER_KEYS: Mapping[str, ParameterKey] = MappingProxyType({row.name: row for row in _ROWS})
"""Every key by its first name, in the order of a commented file."""

_SPELLINGS = {spelling: row for row in _ROWS for spelling in (row.name, *row.aliases)}
_TOLERANCE = "tol"


def find_key(spelling: str) -> ParameterKey | None:
    """Return the key of a spelling, None where it is unknown. `tol*` keys are numbers, whatever they are called.

    Examples
    --------
    >>> find_key("PixelSize").name
    'px'
    """
    if spelling in _SPELLINGS:
        return _SPELLINGS[spelling]
    if spelling.startswith(_TOLERANCE) and len(spelling) > len(_TOLERANCE):
        return ParameterKey(
            spelling,
            float,
            f"how far {spelling.removeprefix(_TOLERANCE)} may move while it is refined",
            used=_NOTHING,
            section="Tolerances",
        )
    return None


def nearest_keys(spelling: str, n: int = 3) -> tuple[str, ...]:
    """Return up to n known spellings like an unknown one, the most alike first.

    Examples
    --------
    >>> nearest_keys("wavelenght"), nearest_keys("EtaBin")
    (('Wavelength',), ('EtaMin', 'EtaBinSize'))
    """
    by_lower = {known.lower(): known for known in _SPELLINGS}
    near = difflib.get_close_matches(spelling.lower(), by_lower, n=n, cutoff=0.6)
    return tuple(by_lower[name] for name in near)


def nearest_key(spelling: str) -> str | None:
    """Return the known spelling most like an unknown one, None where none is.

    Examples
    --------
    >>> nearest_key("wavelenght")
    'Wavelength'
    """
    by_lower = {known.lower(): known for known in _SPELLINGS}
    near = difflib.get_close_matches(spelling.lower(), by_lower, n=1, cutoff=0.7)
    return by_lower[near[0]] if near else None
