"""Tiled detectors: where the panels are, and how each stands off its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from midas.errors import InputError

FloatArray = npt.NDArray[np.float64]
Spans = tuple[tuple[int, int], ...]

PANEL_COLUMNS = ("shift_y", "shift_z", "rotation", "distance", "p2")
"""What a panel may have of its own, in the order of the core's table and of panel-shifts files."""


@dataclass(frozen=True)
class PanelLayout:
    """A grid of equal panels with gaps, as the (transformed) image shows them.

    Panels are numbered column by column, rows running fastest: the numbers of MIDAS's panel-shifts files.

    Raises
    ------
    InputError
        A size is not positive or a gap negative.

    Examples
    --------
    >>> pilatus_1m = PanelLayout(size=(195, 487), gaps_z=(17,) * 4, gaps_y=(7,))
    >>> pilatus_1m.shape, len(pilatus_1m), pilatus_1m.columns
    ((1043, 981), 10, ((0, 486), (494, 980)))
    """

    size: tuple[int, int]
    """Rows and columns of a panel [px]."""
    gaps_z: tuple[int, ...] = ()
    """Rows between panels, from the first row on [px]: one fewer than rows of panels."""
    gaps_y: tuple[int, ...] = ()
    """Columns between panels [px]: one fewer than columns of panels."""
    origin: tuple[int, int] = (0, 0)
    """Row and column of the first panel's first pixel; may be negative on a cropped image."""

    def __post_init__(self) -> None:
        """Check the values and make them plain integers."""
        for name in ("size", "gaps_z", "gaps_y", "origin"):
            object.__setattr__(self, name, tuple(int(v) for v in getattr(self, name)))
        if len(self.size) != 2 or min(self.size) < 1:
            raise InputError(f"the panel size is {self.size}; expected (rows, columns), both at least 1")
        if len(self.origin) != 2:
            raise InputError(f"the origin of the panels is {self.origin}; expected (row, column)")
        if min((*self.gaps_z, *self.gaps_y, 0)) < 0:
            raise InputError(f"the panel gaps are {self.gaps_z} rows and {self.gaps_y} columns; expected 0 or more")

    def __len__(self) -> int:
        """Return the number of panels."""
        return len(self.rows) * len(self.columns)

    @property
    def rows(self) -> Spans:
        """First and last row of each row of panels."""
        return _spans(self.origin[0], self.size[0], self.gaps_z)

    @property
    def columns(self) -> Spans:
        """First and last column of each column of panels."""
        return _spans(self.origin[1], self.size[1], self.gaps_y)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns (n_z, n_y) of an image that ends with the last panel."""
        return (self.rows[-1][1] + 1, self.columns[-1][1] + 1)

    @property
    def centers(self) -> FloatArray:
        """Centre (y, z) of each panel [px], shape (n_panels, 2)."""
        z = np.array([0.5 * (a + b) for a, b in self.rows])
        y = np.array([0.5 * (a + b) for a, b in self.columns])
        return np.stack([np.repeat(y, len(z)), np.tile(z, len(y))], axis=1)

    def fits(self, shape: Sequence[int]) -> bool:
        """Return whether the panels cover an image of this shape (n_z, n_y), each with pixels on it.

        Examples
        --------
        >>> PanelLayout(size=(100, 100), gaps_y=(10,)).fits((100, 105))
        False
        """
        return all(
            spans[0][1] >= 0 and spans[-1][0] < n <= spans[-1][1] + size
            for spans, size, n in zip((self.rows, self.columns), self.size, shape, strict=True)
        )


def _spans(origin: int, size: int, gaps: tuple[int, ...]) -> Spans:
    spans, first = [], origin
    for gap in (*gaps, 0):
        spans.append((first, first + size - 1))
        first += size + gap
    return tuple(spans)


def _zeros() -> FloatArray:
    return np.zeros(0)


@dataclass(frozen=True, eq=False)
class Panels:
    """The panels of a detector as they stand. Arrays have shape (n_panels,) and are read-only; absent ones are 0.

    A pixel is first turned about its panel's centre, then shifted (docs/physics/geometry.md):
    y' = cy + (y - cy) cos(rotation) - (z - cz) sin(rotation) + shift_y, and z' likewise.

    Raises
    ------
    InputError
        An array does not have one finite value a panel.

    Examples
    --------
    >>> panels = Panels(PanelLayout(size=(100, 100), gaps_y=(10,)), shift_y=np.array([0.5, -0.5]))
    >>> panels.table.tolist()
    [[0.5, 0.0, 0.0, 0.0, 0.0], [-0.5, 0.0, 0.0, 0.0, 0.0]]
    """

    layout: PanelLayout
    """Where the panels are."""
    shift_y: FloatArray = field(default_factory=_zeros)
    """[px] (`dY`)."""
    shift_z: FloatArray = field(default_factory=_zeros)
    """[px] (`dZ`)."""
    rotation: FloatArray = field(default_factory=_zeros)
    """About the panel's centre, from column toward row [deg] (`dTheta`)."""
    distance: FloatArray = field(default_factory=_zeros)
    """Added to the geometry's distance [µm] (`dLsd`)."""
    p2: FloatArray = field(default_factory=_zeros)
    """Added to the distortion's p2 (`dP2`)."""

    def __post_init__(self) -> None:
        """Check and freeze the arrays."""
        for name in PANEL_COLUMNS:
            values = np.array(getattr(self, name), dtype=np.float64)
            if values.size == 0:
                values = np.zeros(len(self.layout))
            if values.shape != (len(self.layout),) or not np.isfinite(values).all():
                raise InputError(
                    f"the panels' {name} has shape {values.shape}; expected {len(self.layout)} finite numbers, one a "
                    "panel"
                )
            values.setflags(write=False)
            object.__setattr__(self, name, values)

    @classmethod
    def from_table(cls, layout: PanelLayout, table: npt.ArrayLike) -> Panels:
        """Return panels of a table, shape (n_panels, 5): shift_y, shift_z [px], rotation [deg], distance [µm], p2.

        Examples
        --------
        >>> Panels.from_table(PanelLayout(size=(9, 9)), [[0, 0.25, 0, 0, 0]]).shift_z.tolist()
        [0.25]
        """
        values = np.asarray(table, dtype=np.float64)
        if values.shape != (len(layout), len(PANEL_COLUMNS)):
            raise InputError(
                f"the table of panels has shape {values.shape}; expected ({len(layout)}, {len(PANEL_COLUMNS)}), a row "
                "a panel"
            )
        return cls(layout, **{name: values[:, k] for k, name in enumerate(PANEL_COLUMNS)})

    @property
    def table(self) -> FloatArray:
        """All values, shape (n_panels, 5), in the order of `PANEL_COLUMNS`."""
        return np.ascontiguousarray(np.stack([getattr(self, name) for name in PANEL_COLUMNS], axis=1))

    def __repr__(self) -> str:
        """Say in one line how far the panels are moved."""
        if not len(self.layout):
            return "Panels(none)"
        shift, turn = np.max(np.hypot(self.shift_y, self.shift_z)), np.max(np.abs(self.rotation))
        return f"Panels({len(self.layout)} panels, shifts to {shift:.3g} px, turns to {turn:.3g} deg)"


def panels_as_dict(panels: Panels, esds: FloatArray | None = None) -> dict[str, object]:
    """Return panels as plain numbers and lists: the layout, and a table with a row a panel, with esds where given.

    Examples
    --------
    >>> panels_as_dict(Panels(PanelLayout(size=(9, 9))))["size"]
    [9, 9]
    """
    layout = panels.layout
    plain: dict[str, object] = {
        "size": list(layout.size),
        "gaps_z": list(layout.gaps_z),
        "gaps_y": list(layout.gaps_y),
        "origin": list(layout.origin),
        "columns": list(PANEL_COLUMNS),
        "table": panels.table.tolist(),
    }
    if esds is not None:
        plain["esd"] = esds.tolist()
    return plain
