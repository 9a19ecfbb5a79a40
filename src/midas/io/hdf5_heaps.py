"""Damage of an HDF5 file on which the HDF5 library would go on for ever: tables of texts."""

from __future__ import annotations

import struct
from pathlib import Path

from midas.errors import FormatError

_LOOKED_AT = 1 << 22  # bytes from the start of the file, where programs that write images put their texts
_COLLECTION = b"GCOL\x01\0\0\0"
_OBJECT = struct.Struct("<HHIQ")  # number, references, nothing, bytes of it


def check_heaps(path: Path) -> None:
    """Refuse a file with a text of no number and no length in a table of texts, or with one that leaves its table.

    HDF5 2.0 reads the first again and again, and of the second it takes what follows for ever more texts.

    Source: HDF5 File Format Specification, "III.E. Disk Format: Level 1E - Global Heap". An object is followed by the
    next one; number 0 stands for the free rest, whose length counts its own 16 bytes.
    """
    with path.open("rb") as file:
        content = file.read(_LOOKED_AT)
    at = content.find(_COLLECTION)
    while at >= 0:
        if len(content) < at + 16:
            return
        end = at + int.from_bytes(content[at + 8 : at + 16], "little")
        if _is_damaged(content, at + 16, end):
            raise FormatError("its table of texts is damaged; the file is corrupt, copy it again")
        at = content.find(_COLLECTION, at + 16)


def _is_damaged(content: bytes, at: int, end: int) -> bool:
    while at + _OBJECT.size <= min(end, len(content)):
        number, _, _, size = _OBJECT.unpack_from(content, at)
        if number == 0 and size == 0:
            return True
        at += size if number == 0 else _OBJECT.size + (size + 7) // 8 * 8
        if at > end:
            return True
    return False
