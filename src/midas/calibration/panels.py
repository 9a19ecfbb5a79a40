"""The panels of a tiled detector: where they are, and which of their parameters a fit refines."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from midas import _core
from midas.calibration.options import CalibrationParams
from midas.calibration.prepare import PreparedImage
from midas.detector_table import find_known_detector
from midas.errors import InputError
from midas.geometry import Geometry
from midas.panels import PANEL_COLUMNS, PanelLayout, Panels

BoolImage = npt.NDArray[np.bool_]

SHIFT_SIGMA = 0.5
"""How far a panel is expected to stand off its place while nothing is known of any [px]: the prior of its shift; its
corners turn by as much."""
_SMALLEST_SIGMA = 0.02  # px: priors below would hold panels that stand right by chance
DISTANCE_SIGMA = 100.0
"""How far a panel is expected to stand before or behind the others [µm]."""

_FIRST = _core.N_GEOMETRY_PARAMETERS + 1 + _core.N_IMAGE_PARAMETERS  # place of the first panel's first parameter
_IN_PLANE = 3  # shift y, shift z, rotation
_NARROWEST_GAP = 2  # px: a single dead line is no gap
_SMALLEST_PANEL = 32  # px


def find_layout(mask: BoolImage, counts: npt.NDArray[np.float32], pixel_size: float) -> PanelLayout | None:
    """Return the panels of a tiled detector, from its name or from the gaps in its image; None for one piece.

    `mask` is True where a pixel is not used; counts are 0 there. A gap is a run of at least two whole lines without a
    count; gaps must be of one width and the panels between them of one size.

    Examples
    --------
    >>> counts = np.ones((100, 210), dtype=np.float32)
    >>> counts[:, 100:110] = 0
    >>> find_layout(counts == 0, counts, 100.0)
    PanelLayout(size=(100, 100), gaps_z=(), gaps_y=(10,), origin=(0, 0))
    """
    known = find_known_detector(mask.shape, pixel_size)
    if known is not None:
        return known.layout
    empty = mask | (counts == 0.0)
    rows, columns = (_regular(np.asarray(empty.all(axis=axis))) for axis in (1, 0))
    if rows[2] == columns[2] == ():
        return None
    return PanelLayout((rows[1], columns[1]), rows[2], columns[2], origin=(rows[0], columns[0]))


def check_panels(panels: PanelLayout | str, shape: tuple[int, int]) -> None:
    """Raise InputError where panels that were given do not cover the image of this shape (n_z, n_y)."""
    if isinstance(panels, PanelLayout) and not panels.fits(shape):
        raise InputError(
            f"the panels end at row {panels.shape[0]} and column {panels.shape[1]}; expected them to cover the image, "
            f"which has {shape[0]} x {shape[1]} pixels"
        )


def layout_of(prepared: PreparedImage, params: CalibrationParams) -> PanelLayout | None:
    """Return the panels of the detector, given or found, whether to be refined or not; None for one piece."""
    if isinstance(params.panels, PanelLayout):
        return params.panels
    return find_layout(prepared.mask, prepared.counts, params.pixel_size)


def _regular(empty: BoolImage) -> tuple[int, int, tuple[int, ...]]:
    """Return (origin, size, gaps) of equal panels along one axis; one panel where the empty lines are not regular."""
    whole = (0, len(empty), ())
    edges = np.flatnonzero(np.diff(np.concatenate([[True], empty, [True]]).astype(np.int8)))
    spans = [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]  # first, one past last
    # A dead line does not part a panel.
    joined: list[tuple[int, int]] = []
    for span in spans:
        if joined and span[0] - joined[-1][1] < _NARROWEST_GAP:
            joined[-1] = (joined[-1][0], span[1])
        else:
            joined.append(span)
    if len(joined) < 2:
        return whole
    gaps = [b[0] - a[1] for a, b in itertools.pairwise(joined)]
    sizes = [b - a for a, b in joined]
    size = max(sizes)
    inner_equal = all(s == size for s in sizes[1:-1])
    if len(set(gaps)) > 1 or not inner_equal or size < _SMALLEST_PANEL:
        return whole
    # The first and the last panel may be cut by the edge of the image.
    return joined[0][1] - size, size, tuple(gaps)


def halves(layout: PanelLayout) -> PanelLayout | None:
    """Return the layout with each panel cut in two across its longer side, None where it is too small for that.

    A Pilatus module reads out 243 + 1 + 243 columns; the line between belongs to the nearer half.

    Examples
    --------
    >>> halves(PanelLayout(size=(195, 487), gaps_y=(7,)))
    PanelLayout(size=(195, 243), gaps_z=(), gaps_y=(1, 7, 1), origin=(0, 0))
    """
    long = 0 if layout.size[0] > layout.size[1] else 1
    half, rest = divmod(layout.size[long], 2)
    if half < _SMALLEST_PANEL:
        return None
    size = tuple(half if axis == long else n for axis, n in enumerate(layout.size))
    gaps = [layout.gaps_z, layout.gaps_y]
    gaps[long] = (*(g for gap in gaps[long] for g in (rest, gap)), rest)
    return PanelLayout((size[0], size[1]), gaps[0], gaps[1], origin=layout.origin)


def with_panels(geometry: Geometry, layout: PanelLayout) -> Geometry:
    """Return the geometry with panels that stand where they should."""
    return replace(geometry, panels=Panels(layout))


def panel_parameters(layout: PanelLayout, *, distance: bool = False) -> tuple[int, ...]:
    """Return the core's places of the panels' parameters to refine: shifts and rotation, and the distance if asked."""
    kinds = (*range(_IN_PLANE), PANEL_COLUMNS.index("distance")) if distance else tuple(range(_IN_PLANE))
    return tuple(_FIRST + len(PANEL_COLUMNS) * k + kind for k in range(len(layout)) for kind in kinds)


def panel_name(place: int) -> str | None:
    """Return the name of a panel's parameter, as in 'panel_3_shift_y', for its place in the core; None for others."""
    if place < _FIRST:
        return None
    number, kind = divmod(place - _FIRST, len(PANEL_COLUMNS))
    return f"panel_{number}_{PANEL_COLUMNS[kind]}"


def panel_options(geometry: Geometry, free: tuple[int, ...]) -> dict[str, Any]:
    """Return the arguments of `_core.fit_geometry` for the panels' parameters among the free ones.

    Rings see a panel move along the radius alone, so the rest is left to priors. What all panels do together stays
    zero: a common shift is the beam centre's, a common expansion the distance's.
    """
    if geometry.panels is None:
        return {}
    layout = geometry.panels.layout
    mask = np.zeros(len(layout) * len(PANEL_COLUMNS), dtype=np.bool_)
    mask[[place - _FIRST for place in free if place >= _FIRST]] = True
    shift = shift_sigma(geometry.panels)
    rotation = math.degrees(shift / (0.5 * math.hypot(*layout.size)))
    return {
        "panel_free": mask.reshape(len(layout), len(PANEL_COLUMNS)),
        "panel_sigma": [shift, shift, rotation, DISTANCE_SIGMA, math.inf],
        "gauge": True,
    }


def shift_sigma(panels: Panels) -> float:
    """Return how far panels are expected to stand off their places [px], as far as they were found to.

    Rings see one of the two directions of a shift; the other stays near zero, so the sum of both squares is one
    component's. At most `SHIFT_SIGMA`, which also holds as long as no panel has moved.

    Examples
    --------
    >>> shift_sigma(Panels(PanelLayout(size=(9, 9), gaps_y=(2,)), shift_y=np.array([0.1, -0.1])))
    0.1
    """
    square = float(np.mean(panels.shift_y**2 + panels.shift_z**2))
    return min(max(math.sqrt(square), _SMALLEST_SIGMA), SHIFT_SIGMA) if square > 0.0 else SHIFT_SIGMA


def moved_panels(geometry: Geometry, table: npt.NDArray[np.float64]) -> Panels | None:
    """Return the panels as a fit of the core left them."""
    return None if geometry.panels is None else Panels.from_table(geometry.panels.layout, table)


def panel_esds(esds: Mapping[str, float], n_panels: int) -> npt.NDArray[np.float64]:
    """Return the esd of every panel's parameters, shape (n_panels, 5), from esds by name; NaN where not refined."""
    rows = [[esds.get(f"panel_{k}_{column}", math.nan) for column in PANEL_COLUMNS] for k in range(n_panels)]
    return np.array(rows)
