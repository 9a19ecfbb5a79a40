"""What an inspection found, for people, notebooks and programs."""

from __future__ import annotations

import html
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from midas.errors import InputError
from midas.io.atomic import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FloatImage = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Fact:
    """One thing that a file says, or that was measured on it."""

    name: str
    """What, in words."""
    text: str
    """The value, in words, with its unit."""
    source: str = ""
    """Where it comes from; empty where it was measured, or is the file's own."""


@dataclass(frozen=True)
class FrameLook:
    """What one frame looks like."""

    index: int
    """Its number, from 0."""
    low: float
    """What one in a thousand valid pixels does not reach [counts]; this and the next four are NaN without any."""
    minimum: float
    """Over valid pixels [counts]."""
    median: float
    """As `minimum`."""
    mean: float
    """As `minimum`."""
    maximum: float
    """As `minimum`."""
    marked: float
    """Share of pixels that are no counts: negative, the largest value of an unsigned type, NaN or infinite."""
    negative: float
    """Share of pixels below 0 that are not the marks -1 and -2."""
    at_maximum: int
    """Pixels that have the largest valid value."""
    saturated: float
    """Share of pixels that hold the type's largest value, or the frame's largest many times, amid bright ones."""
    saturation: float
    """The value that these hold [counts]; NaN where there are none."""
    digest: str
    """The same for two frames only where they are the same to the last count."""


@dataclass(frozen=True, eq=False, repr=False)
class Inspection:
    """What is in a file; printing it says everything.

    Examples
    --------
    >>> import tempfile
    >>> from midas.inspection import inspect
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(Path(folder) / "a.npy", np.zeros((3, 20, 10), dtype=np.uint16))
    ...     found = inspect(Path(folder) / "a.npy")
    >>> found.kind, found.shape, found.dtype, len(found.looks)
    ('images', (3, 20, 10), 'uint16', 3)
    >>> found.problems[0]
    'every pixel of the frames looked at is 0: was the shutter closed, or the file written before the data?'
    """

    path: Path
    """The file."""
    kind: str
    """"images", "cake", "map" or "parameters"."""
    format: str
    """Such as "TIFF" or "HDF5"."""
    shape: tuple[int, ...] | None = None
    """Images: frames, rows, columns; cake: sums, radial bins, azimuthal bins; map: the two numbers of bins."""
    dtype: str = ""
    """Type of a pixel; empty where there are none."""
    facts: tuple[Fact, ...] = ()
    """What the file says and what was measured, in the order to be read."""
    problems: tuple[str, ...] = ()
    """What is obviously wrong, or probably so, a sentence each."""
    looks: tuple[FrameLook, ...] = ()
    """Images: the frames that were looked at."""
    picture: FloatImage | None = None
    """A small picture, shape (rows, columns), NaN where there are no counts; None where there is none."""
    picture_name: str = ""
    """What the picture shows."""
    extent: tuple[float, float, float, float] | None = field(default=None)
    """Left, right, bottom, top of the picture: px for images, radius [px] and eta [deg] for cakes."""

    def as_data(self) -> dict[str, Any]:
        """Return everything but the picture as JSON holds it; null where a number is NaN."""
        return {
            "file": str(self.path),
            "kind": self.kind,
            "format": self.format,
            "shape": None if self.shape is None else list(self.shape),
            "dtype": self.dtype or None,
            "facts": [asdict(fact) for fact in self.facts],
            "problems": list(self.problems),
            "frames": [
                {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(look).items()}
                for look in self.looks
            ],
        }

    def plot(self) -> Figure:
        """Return a figure: the picture on a logarithmic scale, how its values are distributed, and the problems.

        Raises
        ------
        InputError
            The file holds nothing to show.
        """
        if self.picture is None:
            raise InputError(f"{self.path}: a file of {self.kind} has no picture to show")
        from midas.inspection.plot import plot_inspection

        return plot_inspection(self)

    def save_plot(self, path: Path | str) -> Path:
        """Write the figure to a file (.png, .pdf, .svg) and return its path.

        Raises
        ------
        InputError
            The file holds nothing to show, or the suffix is of no kind of picture.
        OutputError
            The file cannot be written.
        """
        path = Path(path)
        if path.suffix.lower() not in (".png", ".pdf", ".svg", ".jpg"):
            raise InputError(f"{path}: pictures are written as .png, .pdf, .svg or .jpg; choose one of these suffixes")
        figure = self.plot()
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=130)
        return path

    def __str__(self) -> str:
        """Return what was found, a line each."""
        width = max((len(fact.name) for fact in self.facts), default=0)
        lines = [f"{self.path}: {self._headline()}"]
        lines += [
            f"  {fact.name:<{width}}  {fact.text}" + (f" ({fact.source})" if fact.source else "") for fact in self.facts
        ]
        lines += [f"  ! {problem}" for problem in self.problems]
        return "\n".join(lines)

    __repr__ = __str__

    def _headline(self) -> str:
        shape = "" if self.shape is None else f", {' x '.join(map(str, self.shape))}"
        return f"{self.kind}, {self.format}{shape}{', ' + self.dtype if self.dtype else ''}"

    def _repr_html_(self) -> str:
        """Return a table for notebooks."""
        rows = "".join(
            f'<tr><th style="text-align:left">{html.escape(fact.name)}</th><td>{html.escape(fact.text)}</td>'
            f"<td>{html.escape(fact.source)}</td></tr>"
            for fact in self.facts
        )
        problems = "".join(f"<li>{html.escape(problem)}</li>" for problem in self.problems)
        caption = f"{html.escape(self.path.name)}: {html.escape(self._headline())}"
        listing = f'<ul style="color:#b22">{problems}</ul>' if problems else ""
        return f"<div><table><caption>{caption}</caption>{rows}</table>{listing}</div>"
