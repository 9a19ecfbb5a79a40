"""What every frame of a map is combined with, made ready from what callers give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from midas.cake.corrections import Corrections
from midas.cake.frame_source import as_pixels, check_whole
from midas.cake.pixels import Bytes, Dark, FrameInput, prepare_dark, prepare_flat, prepare_mask
from midas.checks import check_type
from midas.detector import transform_image
from midas.geometry import FloatArray

if TYPE_CHECKING:
    from midas.cake.map import CakeMap


@dataclass(frozen=True, eq=False)
class PixelArrays:
    """Arrays laid out as the frames, as callers give them, and corrections of each pixel: see `CakeMap.apply`."""

    dark: npt.ArrayLike | None = None
    flat: npt.ArrayLike | None = None
    mask: npt.ArrayLike | None = None
    corrections: Corrections | None = None


def frame_input(
    cake_map: CakeMap,
    arrays: PixelArrays,
    *,
    dark_frames: int = 1,
    bad_values: tuple[float, ...] = (),
    negative_counts: bool = False,
    normalize: bool = True,
    n_threads: int = 0,
) -> tuple[Dark | None, FrameInput]:
    """Return the mean dark, and the input of a map's frames with it; `dark_frames` is that of a dark of one frame.

    Raises
    ------
    InputError
        An array has another shape than the map's frames, an unusable dtype, other image transforms, or no valid pixel.
    """
    shape = cake_map.frame_shape
    given = {name: _given(cake_map, getattr(arrays, name), name) for name in ("dark", "flat", "mask")}
    dark = None if given["dark"] is None else prepare_dark(given["dark"], shape, dark_frames)
    flat = None if given["flat"] is None else prepare_flat(given["flat"], shape)
    scale = None if arrays.corrections is None else _pixel_scale(cake_map, arrays.corrections, n_threads)
    if flat is not None:
        scale = flat[0] if scale is None else scale * flat[0]
    left_out = [
        None if given["mask"] is None else prepare_mask(given["mask"], shape),
        None if dark is None else dark.invalid,
        None if flat is None else flat[1],
    ]
    return dark, FrameInput(
        dark=None if dark is None else dark.counts,
        scale=scale,
        mask=_either(left_out),
        bad_values=bad_values,
        saturation=cake_map.detector.saturation,
        negative_counts=negative_counts,
        normalize=normalize,
        n_threads=n_threads,
    )


def _given(cake_map: CakeMap, given: Any, what: str) -> npt.NDArray[Any] | None:
    """Return dark, flat or mask as an array; None where there is none."""
    if given is None:
        return None
    cake_map.check_transforms(given, what)
    pixels = as_pixels(given, what)
    if what == "dark":  # one that was never written would be taken for zeros; of a mask these are as good
        check_whole(given)
        return pixels
    return pixels[0] if pixels.ndim == 3 and len(pixels) == 1 else pixels


def _pixel_scale(cake_map: CakeMap, corrections: Corrections, n_threads: int) -> FloatArray | None:
    """Return what multiplies the counts of each pixel of a frame as the map takes it; None where nothing does."""
    check_type("corrections", corrections, Corrections, call="Corrections(solid_angle=True)")
    if not corrections.any:
        return None
    scale = corrections.pixel_scale(cake_map.geometry, cake_map.detector.shape, n_threads=n_threads)
    transforms = () if cake_map.transformed else cake_map.geometry.image_transforms
    # Each transform is its own inverse: back to the layout of the frames as read.
    return np.ascontiguousarray(transform_image(scale, transforms[::-1]), dtype=np.float64)


def _either(masks: list[Bytes | None]) -> Bytes | None:
    """Return 1 where any of the masks is; None where none is."""
    given = [mask for mask in masks if mask is not None and mask.any()]
    return np.bitwise_or.reduce(given) if given else None
