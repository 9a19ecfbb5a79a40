"""The file of a calibrant: its mean image, the dark and mask it holds, and what it says of the experiment."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from midas.calibration.hints import name_hints
from midas.io.frames import Frames, one_image, read_frames, read_image
from midas.io.headers import Hint
from midas.io.tree_formats import DARK_LOCATION

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class CalibrantFile:
    """What a calibrant's image file holds, in the layout of the file: no image transforms."""

    image: npt.NDArray[Any]
    """Shape (n_z, n_y): the frame, or the mean of several."""
    dark: npt.NDArray[Any] | None
    """Shape (n_z, n_y): the mean of `exchange/dark`; None where the file has none."""
    mask: npt.NDArray[np.bool_] | None
    """Shape (n_z, n_y), True where masked: `exchange/mask`; None where the file has none."""
    hints: tuple[Hint, ...]
    """What headers and file name say, the more trusted first."""


def read_calibrant_file(path: str | Path, *, skip_frames: int = 0, **options: Any) -> CalibrantFile:
    """Return image, dark, mask and hints of a calibrant's file; the options are those of `read_frames`.

    `skip_frames` is for stacks alone: a file of fewer frames is read whole.

    Raises
    ------
    FormatError
        The file cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(Path(folder) / "CeO2_71p676keV.npy", np.ones((40, 40), dtype=np.uint16))
    ...     found = read_calibrant_file(Path(folder) / "CeO2_71p676keV.npy")
    >>> [hint.name for hint in found.hints]
    ['wavelength', 'calibrant']
    """
    if skip_frames:
        with read_frames(path, **options) as whole:
            skip_frames = skip_frames if len(whole) > skip_frames else 0
    with read_frames(path, skip_frames=skip_frames, **options) as frames:
        return held_by(frames, **options)


def held_by(frames: Frames, **options: Any) -> CalibrantFile:
    """Return the mean image of frames, the dark and mask in their file, and hints; `options` as the file was read with.

    Examples
    --------
    >>> held_by(Frames.from_array(np.ones((2, 40, 40), dtype=np.uint16))).image.dtype
    dtype('float64')
    """
    image = one_image(frames)
    mask, dark = frames.mask, None
    if frames.path is not None and frames.has_dark:
        dark = read_image(frames.path, **(options | {"data_location": DARK_LOCATION}))
        logger.info("%s: the dark at %s is subtracted", frames.path, DARK_LOCATION)
    if mask is not None:
        logger.info("%s: the mask in it leaves out %d pixels", frames.path, int(mask.sum()))
    return CalibrantFile(image, dark, mask, hints_of(frames))


def hints_of(frames: Frames) -> tuple[Hint, ...]:
    """Return what the headers and the name of a file say, headers first."""
    from_headers = frames.metadata.get("hints", ())
    assert isinstance(from_headers, tuple)
    return (*from_headers, *(() if frames.path is None else name_hints(frames.path)))
