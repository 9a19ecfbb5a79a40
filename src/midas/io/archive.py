"""What a MIDAS file holds (docs/files.md), gathered before it is written: stacks of images, and values by path.

Frames are stored as the detector gave them, none skipped and none transformed: `ImTransOpt` and `SkipFrame` stand
beside them, for whoever reads the file to apply, as to the file that it was made from.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from midas.errors import InputError
from midas.io.frames import Frames, read_mask
from midas.io.headers import ANALYSIS_GROUP
from midas.io.image_source import CONDITIONS, Image, Mask
from midas.io.parameter_table import PARAMETER_KEYS
from midas.io.parameters import MASK_KEYS, Parameters
from midas.io.tree_formats import (
    BRIGHT_LOCATION,
    DARK_LOCATION,
    DEFAULT_LOCATION,
    MASK_LOCATION,
    SCAN_GROUP,
    THRESHOLD_KEY,
)

_log = logging.getLogger(__name__)

BLOCK_BYTES = 1 << 26
"""Of the frames that are in memory at a time, unless told otherwise; one frame where it is larger."""

RENAMED: Mapping[str, str] = MappingProxyType(
    {"px": "PixelSize", "LatticeConstant": "LatticeParameter", "resultFolder": "ResultFolder"}
)
"""Keys of the parameter text that MIDAS files call otherwise (docs/files.md); `BC` becomes `YCen` and `ZCen`."""
_ELSEWHERE = ("OmegaStart", "OmegaStep")  # which are scan parameters, start and step
_NAME = re.compile(r"[A-Za-z0-9_.+-]+")
_WHOLE_NUMBER = re.compile(r"[-+]?\d{1,9}")


class ImageStack(Protocol):
    """Frames that are read some at a time: `Frames`, or what is made of them."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Frames, rows, columns."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Pixel type."""

    def several(self, first: int, end: int, *, n_threads: int = 0) -> Image:
        """Return frames `first` to `end`, shape (end - first, n_z, n_y)."""


@dataclass(frozen=True, eq=False)
class Archive:
    """The content of a MIDAS file."""

    images: Mapping[str, ImageStack]
    """Stacks by their path; `exchange/data` first."""
    values: Mapping[str, npt.NDArray[Any]]
    """Scan and analysis parameters by their path: numbers, or text as bytes."""

    @property
    def groups(self) -> list[str]:
        """Every group that holds something, the outer before the inner, without the root."""
        found: dict[str, None] = {}
        for path in (*self.images, *self.values):
            names = path.split("/")[:-1]
            found.update(dict.fromkeys("/".join(names[: n + 1]) for n in range(len(names))))
        return list(found)

    @property
    def n_frames(self) -> int:
        """Images in all stacks."""
        return sum(stack.shape[0] for stack in self.images.values())


def blocks(stack: ImageStack, frames_per_block: int = -1, *, n_threads: int = 0) -> Iterator[Image]:
    """Yield a stack some frames at a time: that many, or with -1 as many as `BLOCK_BYTES` hold.

    Examples
    --------
    >>> [len(block) for block in blocks(Frames.from_array(np.zeros((5, 2, 2))), 2)]
    [2, 2, 1]
    """
    n, rows, columns = stack.shape
    step = frames_per_block if frames_per_block > 0 else max(1, BLOCK_BYTES // (rows * columns * stack.dtype.itemsize))
    for first in range(0, n, step):
        yield stack.several(first, min(n, first + step), n_threads=n_threads)


def gather(
    frames: Frames,
    images: ImageStack,
    dark: ImageStack | None,
    *,
    bright: Frames | None = None,
    parameters: Parameters | None = None,
    threshold: float = -1.0,
) -> Archive:
    """Return what is to be written of a file.

    Parameters
    ----------
    frames
        The file, without skipping and transforms: what it says of the scan and the analysis is kept.
    images
        Its frames, or those less their dark.
    dark, bright
        Stacks of any number of frames; None stands for one frame of zeros.
    parameters
        Take the place of the analysis parameters of the file, and of its omega where they have one.
    threshold
        That of `images` less their dark; -1 where the dark was not subtracted.

    Raises
    ------
    InputError
        A mask has another shape than the frames.
    """
    blank = Frames.from_array(np.zeros(images.shape[1:], dtype=images.dtype))
    stacks: dict[str, ImageStack] = {DEFAULT_LOCATION: images, DARK_LOCATION: dark or blank}
    stacks[BRIGHT_LOCATION] = bright or blank
    mask = _mask(frames, parameters)
    if mask is not None:
        stacks[MASK_LOCATION] = Frames.from_array(mask.astype(np.uint8))
    analysis = frames.read_values(ANALYSIS_GROUP)
    if parameters is not None:
        before = analysis.get(THRESHOLD_KEY)
        analysis = analysis_values(parameters)
        if before is not None:
            analysis[THRESHOLD_KEY] = before
    if threshold >= 0.0:
        analysis[THRESHOLD_KEY] = np.array([threshold])
    if threshold >= 0.0 or bool(frames.metadata.get("dark_subtracted")):
        analysis.pop("Dark", None)  # whoever finds its name would subtract it again
    values = {f"{SCAN_GROUP}/{name}": value for name, value in scan_values(frames, parameters).items()}
    values |= {f"{ANALYSIS_GROUP}/{name}": value for name, value in sorted(analysis.items())}
    values[f"{SCAN_GROUP}/datatype"] = np.array([images.dtype.name.encode()])
    return Archive(stacks, values)


def scan_values(frames: Frames, parameters: Parameters | None) -> dict[str, npt.NDArray[Any]]:
    """Return the scan parameters of a file: all that it has, and `start` and `step` [deg], by its parameters if any.

    `start` is that of the first frame stored (docs/files.md): OmegaStart - SkipFrame * OmegaStep.
    """
    found = frames.read_values(SCAN_GROUP)
    known = {key: frames.metadata.get(f"omega_{key}") for key in ("start", "step")}
    start, step = (float(v) if isinstance(v, int | float) else 0.0 for v in (known["start"], known["step"]))
    if parameters is not None:
        if "OmegaStep" in parameters or known["step"] is None:
            step = parameters.omega_step
        if "OmegaStart" in parameters or known["start"] is None:
            start = parameters.omega_start - parameters.skip_frames * step
    for key, name in CONDITIONS.items():
        value = frames.metadata.get(key)
        if name not in found and isinstance(value, float | np.ndarray):
            found[name] = np.atleast_1d(value)
    return found | {"start": np.array([start]), "step": np.array([step])}


def analysis_values(parameters: Parameters) -> dict[str, npt.NDArray[Any]]:
    r"""Return the analysis parameters of a MIDAS file: an array for each key of a parameter text, as `RENAMED`.

    Whole numbers are int32, others float64, text bytes. A key that may stand on several lines has a row for each.

    Examples
    --------
    >>> from midas.io.parameters import parse_params
    >>> {k: v.tolist() for k, v in analysis_values(parse_params("BC 10 20\npx 200\nSkipFrame 1\n")).items()}
    {'ImTransOpt': [0], 'YCen': [10.0], 'ZCen': [20.0], 'PixelSize': [200.0], 'SkipFrame': [1]}
    """
    # Said even where the parameters leave it out: 0, none, so that other transforms are noticed on reading.
    found: dict[str, npt.NDArray[Any]] = {"ImTransOpt": np.zeros(1, dtype=np.int32)}
    for key in dict.fromkeys(line.key for line in parameters.lines if line.key is not None):
        if key in _ELSEWHERE:
            continue
        if key == "BC":
            y, z = parameters.numbers("BC")
            found |= {"YCen": np.array([y]), "ZCen": np.array([z])}
            continue
        name = RENAMED.get(key, key)
        if _NAME.fullmatch(name) is None:
            _log.warning("%s: the key %s cannot be the name of an array; it is left out", parameters.name, key)
            continue
        row = PARAMETER_KEYS.get(key)
        found[name] = _as_array(parameters.get(key), None if row is None else row.kind)
    return found


def _as_array(value: Any, kind: type | None) -> npt.NDArray[Any]:
    if kind is None and isinstance(value, str):  # a key that midas does not know: numbers where all its words are
        words = value.split()
        try:
            numbers = [float(word) for word in words]
        except ValueError:
            numbers = []
        if numbers and np.isfinite(numbers).all():
            return np.array(numbers, dtype=np.int32 if all(map(_WHOLE_NUMBER.fullmatch, words)) else np.float64)
    if isinstance(value, str):
        return np.array([value.encode("utf-8", errors="surrogateescape") or b" "])
    array = np.atleast_1d(np.asarray(value, dtype=np.float64))
    fits = kind is int and bool((np.abs(array) <= np.iinfo(np.int32).max).all())
    return array.astype(np.int32) if fits else array


def _mask(frames: Frames, parameters: Parameters | None) -> Mask | None:
    """Return all masks of a file and its parameters, as its frames are stored."""
    mask = frames.mask
    files = [] if parameters is None else [parameters.file(key) for key in MASK_KEYS]
    for file in files:
        if file is None:
            continue
        part = read_mask(file)
        if part.shape != frames.shape[1:]:
            raise InputError(
                f"{file}: the mask has shape {part.shape}; expected {frames.shape[1:]} as of the frames of "
                f"{frames.metadata['source']} before any transform"
            )
        mask = part if mask is None else np.asarray(mask | part)
    return mask
