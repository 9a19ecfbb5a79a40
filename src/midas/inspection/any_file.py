"""Any file of the trade looked into: which kind it is decides who looks."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from midas.cake.map_file import SUFFIX as MAP_SUFFIX
from midas.checks import file_path
from midas.errors import FormatError
from midas.inspection.cakes import inspect_cake, inspect_map
from midas.inspection.images import inspect_images
from midas.inspection.parameters import inspect_parameters
from midas.inspection.result import Inspection
from midas.io.formats import FORMATS
from midas.io.parameter_table import find_key

_LONGEST_TEXT = 1 << 20


def inspect(path: Path | str, **options: Any) -> Inspection:
    """Return what is in a file: image or stack, MIDAS archive, cake, map or parameter file; and what is wrong with it.

    Of a stack a few frames are looked at, spread over it: memory does not grow with its length. `Inspection.looks`
    names them.

    Parameters
    ----------
    path
        The file, or a zarr folder.
    options
        For images, those of `read_frames`: `data_location`, `skip_frames`, `image_transforms`, `head_size`,
        `frame_shape`, `data_type`.

    Raises
    ------
    FormatError
        The file is missing, cannot be read, or is of no kind that midas knows.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(Path(folder) / "a.npy", np.full((2, 9, 9), -1.0))
    ...     inspect(Path(folder) / "a.npy").problems
    ('no pixel of the frames looked at holds counts: all are marked (negative, NaN or the largest of the type)',)
    """
    path = file_path("path", path)
    if not path.exists():
        raise FormatError(f"{path}: no such file; check the name and the folder")
    if path.name.endswith(MAP_SUFFIX):
        return inspect_map(path)
    if _is_cake(path):
        return inspect_cake(path)
    if path.suffix.lower() not in FORMATS and _is_parameters(path):
        return inspect_parameters(path)
    return inspect_images(path, options)


def _is_cake(path: Path) -> bool:
    """Return whether a zarr archive or folder holds the axes of a cake."""
    if path.is_dir():
        return (path / "REtaMap").is_dir()
    if path.suffix.lower() != ".zip" or not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.startswith("REtaMap/") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def _is_parameters(path: Path) -> bool:
    """Return whether a file is text with a key that midas knows at the begin of a line."""
    if not path.is_file() or path.stat().st_size > _LONGEST_TEXT:
        return False
    try:
        content = path.read_bytes()
    except OSError:
        return False
    if b"\0" in content:
        return False
    lines = content.decode("utf-8", errors="replace").splitlines()
    return any(words and find_key(words[0]) is not None for words in map(str.split, lines))
