"""Damage that fabio does not look for, and that would end the process or fill its memory."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import BinaryIO

from midas.errors import FormatError

_RAXIS, _RAXIS_HEADER, _RAXIS_SIZES = b"R-AXIS", 1400, 768
_TIFF_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_MAR345_MARK = 1234
_MAR345_SUFFIX = ".mar"
_PACKED = re.compile(rb"CCP4 packed image( V2)?, X: (\d{4}), Y: (\d{4})")
_BITS = (0, 4, 5, 6, 7, 8, 16, 32)
# Of the 64 values that the 6 bits before a run of pixels can have: pixels in it, and bits to the next one.
_RUN_PIXELS = tuple(1 << (value & 7) for value in range(64))
_RUN_BITS = tuple(6 + (1 << (value & 7)) * _BITS[value >> 3] for value in range(64))
_AGAIN = "the file is truncated or corrupt, copy it again"


def check_damage(path: Path) -> None:
    """Refuse a file on which fabio would go on for ever, or read or write out of bounds: MarCCD, R-AXIS or mar345."""
    with path.open("rb") as file:
        head = file.read(_RAXIS_HEADER)
        if head[:4] in _TIFF_ORDERS:
            _check_tiff(file, _TIFF_ORDERS[head[:4]])
    if head.startswith(_RAXIS):
        _check_raxis(head, path.stat().st_size)
    elif head[:4] in (_MAR345_MARK.to_bytes(4, "little"), _MAR345_MARK.to_bytes(4, "big")) or path.suffix.lower(
    ).startswith(_MAR345_SUFFIX):  # fmt: skip
        check_mar345(path.read_bytes())


def _check_tiff(file: BinaryIO, order: str) -> None:
    """Refuse a TIFF, as MarCCD's, of which the list of images leads out of the file or back to one before."""
    seen: set[int] = set()
    at = 4
    while True:
        file.seek(at)
        (offset,) = struct.unpack(f"{order}I", file.read(4).ljust(4, b"\xff"))
        if offset == 0:
            return
        file.seek(offset)
        count = file.read(2)
        if offset in seen or len(count) < 2:
            raise FormatError(f"its list of images leads to byte {offset}, where there is no other one; {_AGAIN}")
        seen.add(offset)
        at = offset + 2 + 12 * struct.unpack(f"{order}H", count)[0]


def _check_raxis(head: bytes, size: int) -> None:
    if len(head) < _RAXIS_HEADER:
        raise FormatError(f"its header has {len(head)} bytes, expected {_RAXIS_HEADER}; {_AGAIN}")
    columns, rows = struct.unpack_from(">ii", head, _RAXIS_SIZES)
    if columns < 1 or rows < 1 or 2 * columns * rows > size - _RAXIS_HEADER:
        raise FormatError(f"its header says {rows} x {columns} pixels, of which {size} bytes hold fewer; {_AGAIN}")


def check_mar345(content: bytes) -> None:
    """Refuse a mar345 image of which the packed pixels are not as many as its header says.

    Source: "The mar345 image file formats" of marresearch, and the packing of J. P. Abrahams that it names: runs of 2^n
    pixels, each after 3 bits of n and 3 of how many bits a pixel has.
    """
    if len(content) < 64:
        raise FormatError(f"it has {len(content)} bytes; {_AGAIN}")
    order = "<i" if content[:4] == _MAR345_MARK.to_bytes(4, "little") else ">i"
    columns, total = (struct.unpack_from(order, content, at)[0] for at in (4, 20))
    found = _PACKED.search(content)
    if found is None:
        raise FormatError(f"it has no packed pixels; {_AGAIN}")
    if found[1]:
        raise FormatError("its pixels are packed by version 2 of the method; expected version 1")
    size = (int(found[2]), int(found[3]))
    # Fewer than 2 rows of 3 pixels cannot be predicted from their neighbours.
    if size[0] != columns or size[0] * size[1] != total or size[0] < 3 or size[1] < 2:
        raise FormatError(
            f"its header says {total} pixels in rows of {columns}, the packed image {size[1]} x {size[0]}; {_AGAIN}"
        )
    # White space after the line of text is no pixel, for fabio.
    n = _count_pixels(content[found.end() :].lstrip(), total)
    if n != total:
        raise FormatError(f"{n} of {total} pixels are there; {_AGAIN}")


def _count_pixels(packed: bytes, total: int) -> int:
    """Return how many pixels the runs hold that are there whole, until they are `total` or more."""
    data, end = packed + b"\0", 8 * len(packed)
    at = n = 0
    pixels, bits = _RUN_PIXELS, _RUN_BITS
    while n < total and at + 6 <= end:
        i = at >> 3
        run = ((data[i] | data[i + 1] << 8) >> (at & 7)) & 63
        at += bits[run]
        if at > end:
            break
        n += pixels[run]
    return n
