"""Stubs of the private compiled core. Arrays are C-contiguous and of exactly the dtype named."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
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
    ) -> None: ...
    def to_polar(self, y: Float64, z: Float64, n_threads: int = 0) -> tuple[Float64, Float64, Float64]: ...
    def to_pixel(self, radius: Float64, eta: Float64, n_threads: int = 0) -> tuple[Float64, Float64]: ...
    def radius_gradient(self, y: Float64, z: Float64) -> Float64: ...

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
