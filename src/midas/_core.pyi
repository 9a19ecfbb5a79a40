"""Stubs of the private compiled core. Arrays are C-contiguous and of exactly the dtype named."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

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
