"""Another reader of the caked file, for tests."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np


class PlainZarr:
    """zarr format 2 read with zipfile, json and numcodecs alone: what the file is, not what a library makes of it."""

    def __init__(self, path: Path) -> None:
        self.zip = zipfile.ZipFile(path)
        self.names = self.zip.namelist()

    def attrs(self, name: str) -> dict[str, Any]:
        return json.loads(self.zip.read(f"{name}/.zattrs" if name else ".zattrs"))

    def array(self, name: str) -> np.ndarray:
        from numcodecs import get_codec

        about = json.loads(self.zip.read(f"{name}/.zarray"))
        assert about["zarr_format"] == 2
        assert about["chunks"] == about["shape"]
        chunk = self.zip.read(f"{name}/{'.'.join('0' * len(about['shape']))}")
        data = get_codec(about["compressor"]).decode(chunk)
        return np.frombuffer(data, dtype=about["dtype"]).reshape(about["shape"])

    def members(self, group: str) -> list[str]:
        assert json.loads(self.zip.read(f"{group}/.zgroup")) == {"zarr_format": 2}
        return [n.split("/")[1] for n in self.names if n.startswith(f"{group}/") and n.endswith("/.zarray")]
