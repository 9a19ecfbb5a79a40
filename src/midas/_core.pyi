"""Stubs of the private compiled core. Arrays are C-contiguous and of exactly the dtype named."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
_KnownRings = tuple[Sequence[int], Sequence[float], Sequence[float], Sequence[float], npt.NDArray[np.float32]]
Float64 = npt.NDArray[np.float64]

HAS_OPENMP: bool

def max_threads() -> int: ...

class Projection:
    def __init__(
        self,
        *,
        distance: float,
        beam_y: float,
        beam_z: float,
        pixel_size: float,
        tilts: Sequence[float],
        distortion: Sequence[float],
        distortion_radius: float,
        parallax: float = 0.0,
        panels: tuple[Sequence[tuple[int, int]], Sequence[tuple[int, int]], Float64] | None = None,
    ) -> None: ...
    def panel_at(self, y: Float64, z: Float64) -> npt.NDArray[np.int64]: ...
    def to_polar(self, y: Float64, z: Float64, n_threads: int = 0) -> tuple[Float64, Float64, Float64]: ...
    def to_pixel(self, radius: Float64, eta: Float64, n_threads: int = 0) -> tuple[Float64, Float64]: ...
    def radius_gradient(self, y: Float64, z: Float64) -> Float64: ...

DEFECT_HOT: int
DEFECT_DEAD: int

def find_defects(
    counts: Float32,
    mask: npt.NDArray[np.uint8],
    *,
    hot_ratio: float,
    hot_sigma: float,
    dead_ratio: float,
    dead_level: float,
    n_threads: int = 0,
) -> npt.NDArray[np.uint8]: ...
def median_filter(values: Float32, *, half: int, n_threads: int = 0) -> Float32: ...
def nearest_usable(mask: npt.NDArray[np.uint8], *, n_threads: int = 0) -> npt.NDArray[np.int64]: ...

N_GEOMETRY_PARAMETERS: int
FIRST_DISTORTION: int
DISTORTION_TERMS: tuple[tuple[str, int, int, bool], ...]
PARALLAX: int
N_IMAGE_PARAMETERS: int
MAX_PEAKS: int

def eta_bins(eta_step: float) -> int: ...
def fit_rings(
    projection: Projection,
    image: npt.NDArray[np.float32],
    mask: npt.NDArray[np.uint8],
    windows: Sequence[tuple[float, float, Sequence[float], Sequence[int]]],
    *,
    eta_step: float,
    fwhm: float,
    max_shift: float,
    known: _KnownRings | None = None,
    n_threads: int = 0,
) -> dict[str, npt.NDArray[Any]]: ...
def fit_geometry(
    start: Projection,
    y: Float64,
    z: Float64,
    tan_two_theta: Float64,
    weight: Float64,
    *,
    free: Sequence[bool],
    lower: Sequence[float],
    upper: Sequence[float],
    robust: float = 0.0,
    image: npt.NDArray[np.int64] | None = None,
    image_offsets: Float64 | None = None,
    image_free: npt.NDArray[np.bool_] | None = None,
    image_sigma: float = ...,
    wavelength_free: bool = False,
    wavelength_sigma: float = ...,
    panel: npt.NDArray[np.int64] | None = None,
    panel_free: npt.NDArray[np.bool_] | None = None,
    panel_sigma: Sequence[float] | None = None,
    gauge: bool = False,
) -> dict[str, Any]:
    """Robust least squares of the geometry, of several images and of panels at once: core/fit_geometry.hpp.

    free, lower, upper: of the geometry's N_GEOMETRY_PARAMETERS (distance, beam y, z, tilts, distortion, parallax).
    image: index of each point's image, shape (n,). image_offsets, image_free: shape (n_images, 3), distance [µm] and
    beam centre y, z [px] of each image less the geometry's, and which are refined; image_sigma: how well the distances
    are known [µm]. wavelength_free: refine the wavelength, as its ratio to the one behind tan_two_theta, known to
    wavelength_sigma. panel: each point's panel (default: that of its position). panel_free: shape (n_panels, 5), which
    of shift y, z, rotation, distance, p2 are refined; panel_sigma: how far each kind is expected to be off 0 [px, px,
    deg, µm, 1]. gauge: what all panels do together belongs to beam centre and distance.

    The numbers in `parameters` count geometry, wavelength ratio, images (3 each), panels (5 each), in this order.
    """

def pseudo_strain(
    projection: Projection,
    y: Float64,
    z: Float64,
    tan_two_theta: Float64,
    panel: npt.NDArray[np.int64] | None = None,
) -> Float64: ...
def fit_lineouts(
    intensity: Float64,
    sigma: Float64,
    edges: Float64,
    *,
    positions: Sequence[float] = ...,
    eta_edges: Float64 | None = None,
    fwhm: float = 0.0,
    window: float = 4.0,
    max_shift: float = 0.0,
    min_prominence: float = 6.0,
    smoothing: int = 0,
    n_peaks: int = 0,
    n_threads: int = 0,
) -> dict[str, npt.NDArray[Any]]: ...
def binned_profile(edges: Float64, *, center: float, fwhm: float, mixing: float) -> Float64: ...
def bin_correlation(edges: Float64, *, radius: float, eta_low: float, eta_high: float) -> Float64: ...

class CakeMap:
    def __init__(
        self,
        projection: Projection,
        *,
        shape: tuple[int, int],
        layout: tuple[int, int, int],
        radius_edges: Float64,
        eta_edges: Float64,
        mask: npt.NDArray[np.uint8] | None = None,
        n_threads: int = 0,
    ) -> None: ...
    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def n_pixels(self) -> int: ...
    @property
    def n_entries(self) -> int: ...
    @property
    def eta_overlap(self) -> Float64: ...
    @property
    def bin_area(self) -> Float64: ...
    @property
    def bin_pixels(self) -> npt.NDArray[np.int32]: ...
    @property
    def arrays(self) -> dict[str, npt.NDArray[np.generic]]: ...
    @staticmethod
    def from_arrays(
        *,
        shape: tuple[int, int],
        frame_shape: tuple[int, int],
        arrays: dict[str, npt.NDArray[np.generic]],
        n_threads: int = 0,
    ) -> CakeMap: ...
    def rows(
        self, *, n_threads: int = 0
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.float32]]: ...

OwnBins = tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.int32], Float64]
"""Bins of single frames whose valid pixels differ: frame, bin, number of pixels, area."""
IntegratorResult = tuple[Float64 | Float32, Float64 | Float32 | None, OwnBins]

class Integrator:
    def __init__(
        self,
        map: CakeMap,
        *,
        dark: Float64 | None = None,
        scale: Float64 | None = None,
        mask: npt.NDArray[np.uint8] | None = None,
        bad_values: Sequence[float] = (),
        saturation: float = ...,
        negative_counts: bool = False,
        normalize: bool = True,
        n_threads: int = 0,
    ) -> None: ...
    @property
    def bin_area(self) -> Float64: ...
    @property
    def bin_pixels(self) -> npt.NDArray[np.int32]: ...
    def apply(
        self,
        frames: Sequence[npt.NDArray[np.generic]],
        *,
        variance: bool = False,
        single: bool = False,
        n_threads: int = 0,
    ) -> IntegratorResult: ...
    def apply_packed(
        self,
        chunks: Sequence[bytes],
        *,
        dtype: np.dtype[Any],
        decompress: int,
        variance: bool = False,
        single: bool = False,
        n_threads: int = 0,
    ) -> IntegratorResult: ...

class RobustIntegrator:
    def __init__(
        self,
        map: CakeMap,
        *,
        method: str,
        trim: tuple[float, float] = (0.1, 0.1),
        threshold: float = 5.0,
        max_iterations: int = 10,
        tolerance: float = 0.0,
        sigma: str = "scatter",
        dark: Float64 | None = None,
        scale: Float64 | None = None,
        mask: npt.NDArray[np.uint8] | None = None,
        bad_values: Sequence[float] = (),
        saturation: float = ...,
        negative_counts: bool = False,
        normalize: bool = True,
        n_threads: int = 0,
    ) -> None: ...
    def apply(
        self, frames: Sequence[npt.NDArray[np.generic]], *, variance: bool = True, n_threads: int = 0
    ) -> tuple[Float64, Float64 | None, Float64, npt.NDArray[np.int32]]: ...

def render_powder(
    projection: Projection,
    n_z: int,
    n_y: int,
    *,
    peaks: Float64,
    texture: Float32 | None = None,
    polarization: float = 0.0,
    strain: float = 0.0,
    background: float = 0.0,
    falloff: float = 0.0,
    falloff_radius: float = 1.0,
    n_threads: int = 0,
) -> Float32: ...
def find_ridges(
    image: Float32,
    blocked: npt.NDArray[np.uint8],
    *,
    scale: float,
    orientation: float,
    threshold: float,
    coherence: float,
    n_threads: int = 0,
) -> Float64: ...
def vote_centers(
    points: Float64, guesses: Float64, *, shape: tuple[int, int], cell: float, n_threads: int = 0
) -> Float64: ...
def center_sharpness(points: Float64, centers: Float64, *, bin: float, n_threads: int = 0) -> Float64: ...
def aim_beams(geometries: Float64, points: Float64, *, tilts: bool, n_threads: int = 0) -> Float64: ...
def score_geometries(
    geometries: Float64,
    points: Float64,
    area: Float64,
    tangent: Float64,
    brightness: Float64,
    *,
    faintest: Sequence[float],
    sigma: float,
    n_threads: int = 0,
) -> Float64: ...
def score_distances(
    geometry: Float64,
    distances: Float64,
    points: Float64,
    area: Float64,
    tangent: Float64,
    brightness: Float64,
    *,
    faintest: Sequence[float],
    sigma: float,
    n_threads: int = 0,
) -> Float64: ...
def polish_geometries(
    geometries: Float64,
    points: Float64,
    area: Float64,
    tangent: Float64,
    brightness: Float64,
    *,
    faintest: Sequence[float],
    sigma: tuple[float, float],
    rings_first: int,
    n_threads: int = 0,
) -> Float64: ...
def unpack_bitshuffle_lz4(
    chunks: Sequence[bytes], out: npt.NDArray[np.generic], decompress: int, *, n_threads: int = 0
) -> None: ...
