"""CBF images, as Dectris detectors write them: text, then one section of compressed pixels.

Source: the imgCIF/CBF definition, "Binary sections" and "Byte offset compression". The pixels are unpacked by fabio,
whose parser of the text is left out: it may look for ever in a damaged file.
"""

from __future__ import annotations

import base64
import bz2
import gzip
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from midas.errors import FormatError
from midas.io.headers import header_hints
from midas.io.image_source import ArraySource, Image, ReadOptions
from midas.io.scan_values import dectris_scan

_SECTION = b"--CIF-BINARY-FORMAT-SECTION--"
_MARK = b"\x0c\x1a\x04\xd5"
"""Bytes before the compressed pixels."""
_FIELD = re.compile(r'([A-Za-z][\w-]*)\s*[:=]\s*"?([^"\r\n;]*)')
_TYPES: Mapping[str, str] = MappingProxyType(
    {f"{sign} {bits}-bit integer": f"{kind}{bits // 8}" for sign, kind in (("signed", "i"), ("unsigned", "u"))
     for bits in (8, 16, 32, 64)}
)  # fmt: skip
_PACKING = "x-cbf_byte_offset"


class CbfSource(ArraySource):
    """The first image of a CBF, also of one that gzip or bzip2 packed."""

    def __init__(self, path: Path, options: ReadOptions) -> None:
        opener: Any = {".gz": gzip.open, ".bz2": bz2.open}.get(path.suffix.lower(), open)
        with opener(path, "rb") as file:
            content = file.read()
        section = content.find(_SECTION)
        mark = content.find(_MARK, section)
        if section < 0 or mark < 0:
            raise FormatError("it has no binary section; the file is truncated or no CBF, copy it again")
        text = content[section:mark].decode("latin-1")
        fields = {key.lower(): value.strip() for key, value in _FIELD.findall(text)}
        super().__init__(_unpacked(fields, content[mark + len(_MARK) :]), "CBF")
        header = content[:section].decode("latin-1")
        self.metadata = {"format": "CBF", "_array_data.header_contents": header, **fields}
        self.metadata |= {"hints": header_hints(self.metadata), **dectris_scan(header, 1)}


def _unpacked(fields: Mapping[str, str], after_mark: bytes) -> Image:
    from fabio.compression import decByteOffset

    if fields.get("conversions", "").lower() != _PACKING:
        raise FormatError(f"its pixels are packed by {fields.get('conversions')!r}; expected byte offsets, {_PACKING}")
    kind = fields.get("x-binary-element-type", "signed 32-bit integer").lower()
    if kind not in _TYPES:
        raise FormatError(f"its pixels are of type {kind!r}; expected one of {', '.join(_TYPES)}")
    names = ("x-binary-size", "x-binary-size-fastest-dimension", "x-binary-size-second-dimension")
    size, columns, rows = (_whole_number(fields, name) for name in names)
    # A pixel takes a byte or more.
    if not 0 < rows * columns <= size or size > len(after_mark):
        raise FormatError(
            f"it has {len(after_mark)} bytes of pixels where its header says {size} for {rows} x {columns}; the file "
            "is truncated or corrupt, copy it again"
        )
    if fields.get("x-binary-number-of-elements", str(rows * columns)) != str(rows * columns):
        raise FormatError(
            f"its header says {rows} x {columns} pixels, but {fields['x-binary-number-of-elements']} of them; the file "
            "is corrupt, copy it again"
        )
    packed = after_mark[:size]
    checksum = fields.get("content-md5", "")
    if checksum and base64.b64encode(hashlib.md5(packed, usedforsecurity=False).digest()).decode() != checksum:
        raise FormatError("the checksum of its pixels is not that of its header; the file is corrupt, copy it again")
    # In 32 bits, where they suffice, fabio unpacks several times as fast.
    wide = "int64" if _TYPES[kind] in ("u4", "i8", "u8") else "int32"
    pixels = np.asarray(decByteOffset(packed, size=rows * columns, dtype=wide))
    if pixels.size != rows * columns:
        raise FormatError(f"{pixels.size} pixels are there of {rows} x {columns}; the file is corrupt, copy it again")
    return pixels.astype(_TYPES[kind], copy=False).reshape(rows, columns)


def _whole_number(fields: Mapping[str, str], name: str) -> int:
    value = fields.get(name, "")
    if not re.fullmatch(r"\d{1,12}", value):
        raise FormatError(f"its header says {value!r} of {name}; expected a number: the file is corrupt, copy it again")
    return int(value)
