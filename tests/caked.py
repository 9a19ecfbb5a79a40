"""What tests compare of caked frames."""

from __future__ import annotations

from midas.cake.prepared import CakedFrames


def caked_bytes(caked: CakedFrames) -> bytes:
    """Return all values, byte for byte."""
    arrays = (caked.intensity, caked.variance, caked.bin_area, caked.bin_pixels)
    return b"".join(b"none" if values is None else values.tobytes() for values in arrays)
