"""What a simulated image shows besides its rings' positions."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from midas.crystal import Calibrant
from midas.errors import InputError
from midas.units import CENTIDEGREE

FloatArray = npt.NDArray[np.float64]

DTYPES = ("uint16", "uint32", "int32", "float32", "float64")
"""Types a simulated image may have."""
_DEFAULT_FWHM = 3.0  # px
_LARGEST = 1e12  # counts or px
_NOT_NEGATIVE = (
    "peak_counts",
    "background",
    "falloff",
    "beamstop_radius",
    "beamstop_arm_width",
    "zingers",
    "threshold",
)
_WIDTH_PER_SIGMA = math.sqrt(8.0 * math.log(2.0))


@dataclass(frozen=True)
class PeakProfile:
    """Widths of GSAS-II's pseudo-Voigt as functions of 2θ; by default those that caked files carry.

    Gaussian variance U tan²θ + V tanθ + W [centidegrees²] (Caglioti, Paoletti & Ricci, Nucl. Instrum. 3 (1958) 223),
    Lorentzian FWHM X/cosθ + Y tanθ + Z [centidegrees].

    Examples
    --------
    >>> fwhm, mixing = PeakProfile(u=0, v=0, w=4).at(10.0)
    >>> round(float(fwhm), 6), float(mixing)
    (0.047096, 0.0)
    """

    u: float = 1.163
    """[centidegrees²]."""
    v: float = -0.126
    """[centidegrees²]."""
    w: float = 0.063
    """[centidegrees²]."""
    x: float = 0.0
    """[centidegrees], grows as 1/cosθ (size)."""
    y: float = 0.0
    """[centidegrees], grows as tanθ (strain)."""
    z: float = 0.0
    """[centidegrees]."""

    def at(self, two_theta: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Return FWHM [deg] and Lorentzian share (0 to 1) at 2θ [deg].

        Thompson, Cox, Hastings, J. Appl. Cryst. 20 (1987) 79, equations for Γ and η.

        Raises
        ------
        InputError
            A width is not positive somewhere.
        """
        theta = np.radians(np.asarray(two_theta, dtype=np.float64)) / 2.0
        tangent = np.tan(theta)
        variance = self.u * tangent**2 + self.v * tangent + self.w
        lorentz = self.x / np.cos(theta) + self.y * tangent + self.z
        if np.any(variance < 0.0) or np.any(lorentz < 0.0) or np.any(variance + lorentz <= 0.0):
            raise InputError(f"{self} has no positive width over the rings; raise w or z")
        gauss = _WIDTH_PER_SIGMA * np.sqrt(variance)
        powers = (1.0, 2.69269, 2.42843, 4.47163, 0.07842, 1.0)
        fwhm = sum(c * gauss ** (5 - k) * lorentz**k for k, c in enumerate(powers)) ** 0.2
        ratio = lorentz / fwhm
        mixing = 1.36603 * ratio - 0.47719 * ratio**2 + 0.11116 * ratio**3
        return np.asarray(fwhm * CENTIDEGREE), np.clip(mixing, 0.0, 1.0)


@dataclass(frozen=True)
class SimulationOptions:
    """How a simulated image looks. Lengths on the detector in px, angles in deg, intensities in counts per pixel.

    Raises
    ------
    InputError
        A value is out of its range, or more than one width is given.

    Examples
    --------
    >>> SimulationOptions(peak_counts=500.0, fwhm=2.5, spottiness=0.3).dtype
    'float64'
    """

    peak_counts: float = 1000.0
    """Mean counts at the crest of the strongest ring on the detector, above background and where polarization is 1."""
    fwhm: float | None = None
    """Radial width of every ring on the untilted plane [px]; 3 when no width is given."""
    fwhm_deg: float | None = None
    """Width of every ring in 2θ [deg], instead of `fwhm`."""
    profile: PeakProfile | None = None
    """Widths that vary with 2θ, instead of `fwhm`."""
    mixing: float = 0.3
    """Lorentzian share of the profile, 0 to 1; a `profile` has its own."""
    polarization: float = 0.99
    """f in 1 - f sin²(2θ) sin²(η): the share of the beam whose electric field is horizontal."""
    background: float = 10.0
    """Constant background."""
    falloff: float = 0.0
    """Background added at the beam, falling as 1/(1 + (R/falloff_radius)²)."""
    falloff_radius: float | None = None
    """Where the falling background has halved [px]; None is a quarter of the detector's longer side."""
    background_slope: tuple[float, float] = (0.0, 0.0)
    """Background gained from the first to the last column and from the first to the last row; never below 0 in sum."""
    phases: tuple[tuple[Calibrant, float], ...] = ()
    """Further phases, each with the m|F|² of its strongest ring as a share of the calibrant's strongest."""
    strain: float = 0.0
    """Lattice strain of the sample, d/d0 - 1, isotropic."""
    strain_cos2: float = 0.0
    """Amplitude of a strain that varies as cos(2η)."""
    spottiness: float = 0.0
    """Share of each ring that is in spots of single grains: 0 a perfect powder, 1 spots only."""
    spots_per_ring: float = 400.0
    """Mean number of spots on a ring of multiplicity 24; in proportion on others."""
    spot_width: float = 0.5
    """FWHM of a spot along the ring [deg of η]."""
    texture: float = 0.0
    """Preferred orientation: each ring's intensity varies as 1 + texture cos(2(η - η0)), η0 random for each ring."""
    beamstop_radius: float = 0.0
    """Radius of the shadow around the beam [px]; 0 is no beamstop."""
    beamstop_arm: float | None = None
    """η toward which the beamstop's arm leaves the beam [deg]; None is no arm."""
    beamstop_arm_width: float = 10.0
    """[px]."""
    module_shape: tuple[int, int] | None = None
    """Rows and columns of a module of a tiled detector; None is one piece."""
    module_gap: tuple[int, int] = (17, 7)
    """Rows and columns between modules; the defaults are a Pilatus'."""
    zingers: int = 0
    """Number of bright specks and tracks, 1 to 20 px long, of counts like hot pixels'; new ones in every frame."""
    dead_fraction: float = 0.0
    """Share of pixels that read 0."""
    hot_fraction: float = 0.0
    """Share of pixels that read far too much: log-uniform from ten times `peak_counts` upward by a factor of 100."""
    threshold: float = 0.0
    """Counts below which a pixel reads 0, as preprocessing with a threshold leaves them."""
    noise: bool = True
    """Poisson noise; without it the image is the expected one, rounded for an integer dtype."""
    dtype: str = "float64"
    """Type of the image: uint16, uint32, int32, float32 or float64. Gaps are -1, the type's maximum when unsigned."""
    saturation: float | None = None
    """Counts at which pixels saturate; None takes the detector's, or the type's maximum."""

    def __post_init__(self) -> None:
        """Check every value."""
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise InputError(f"{f.name} is {value}; expected a finite number")
        self._check_widths()
        self._check_ranges()
        if self.dtype not in DTYPES:
            raise InputError(f"dtype is {self.dtype!r}; expected one of {', '.join(DTYPES)}")
        if len(self.background_slope) != 2 or not all(abs(v) <= _LARGEST for v in self.background_slope):
            raise InputError(f"background_slope is {self.background_slope!r}; expected (over columns, over rows)")
        for name in ("module_shape", "module_gap"):
            value = getattr(self, name)
            if value is not None and (len(value) != 2 or min(value) < (1 if name == "module_shape" else 0)):
                raise InputError(f"{name} is {value!r}; expected (rows, columns)")

    def _check_widths(self) -> None:
        given = [name for name in ("fwhm", "fwhm_deg", "profile") if getattr(self, name) is not None]
        if len(given) > 1:
            raise InputError(f"{' and '.join(given)} are given together; give one width only")
        for name in ("fwhm", "fwhm_deg", "falloff_radius"):
            value = getattr(self, name)
            if value is not None and not value > 0.0:
                raise InputError(f"{name} is {value:g}; expected above 0")

    def _check_ranges(self) -> None:
        for name in ("mixing", "polarization", "spottiness", "texture", "dead_fraction", "hot_fraction"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise InputError(f"{name} is {getattr(self, name):g}; expected 0 to 1")
        for name in _NOT_NEGATIVE:
            if not 0.0 <= getattr(self, name) <= _LARGEST:
                raise InputError(f"{name} is {getattr(self, name):g}; expected 0 or more, at most {_LARGEST:g}")
        for name in ("spots_per_ring", "spot_width"):
            if not getattr(self, name) > 0.0:
                raise InputError(f"{name} is {getattr(self, name):g}; expected above 0")
        for name in ("strain", "strain_cos2"):
            if abs(getattr(self, name)) > 0.2:
                raise InputError(
                    f"{name} is {getattr(self, name):g}; expected a fraction within 0.2 (0.001 is 1000 microstrain)"
                )
        if any(not share >= 0.0 for _, share in self.phases):
            raise InputError("a phase has a negative share; expected 0 or more")

    def widths_at(self, two_theta: FloatArray, pixel_angle: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return FWHM [deg] and Lorentzian share at 2θ [deg], where a pixel spans `pixel_angle` [deg] radially."""
        if self.profile is not None:
            return self.profile.at(two_theta)
        mixing = np.full(np.shape(two_theta), self.mixing)
        if self.fwhm_deg is not None:
            return np.full(np.shape(two_theta), self.fwhm_deg), mixing
        return (self.fwhm or _DEFAULT_FWHM) * pixel_angle, mixing
