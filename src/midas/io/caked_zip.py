"""What a `.zarr.zip` says of itself, read from the archive alone: no zarr, no intensities."""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from pathlib import Path

from midas.io.gsas_zarr import SOURCE, SUMS


def recorded_source(path: Path) -> str | None:
    """Return what a `.zarr.zip` says it was made of; None where there is no such file, or it says nothing."""
    try:
        with zipfile.ZipFile(path) as archive:
            found = json.loads(archive.read(".zattrs"))["midas"][SOURCE]
    except (OSError, LookupError, TypeError, ValueError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error):
        return None  # a file cut short or spoilt, which is made anew
    return str(found)


def recorded_sums(path: Path) -> list[int]:
    """Return the numbers of the last frames of the sums in a `.zarr.zip`, ascending; see `recorded_source`."""
    with zipfile.ZipFile(path) as archive:
        found = re.findall(rf"{SUMS}/LastFrameNumber_(\d+)/\.zarray", "\n".join(archive.namelist()))
    return sorted(int(number) for number in found)
