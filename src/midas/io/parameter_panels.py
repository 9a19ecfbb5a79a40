"""Where the panels of a tiled detector are, as the keys of a parameter file say it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midas.errors import InputError
from midas.panels import PanelLayout

if TYPE_CHECKING:
    from midas.io.parameters import Parameters

PANEL_KEYS = ("NPanelsY", "NPanelsZ", "PanelSizeY", "PanelSizeZ", "PanelGapsY", "PanelGapsZ", "PanelOrigin")


def panel_layout_of(parameters: Parameters) -> PanelLayout | None:
    r"""Return where the panels are; None where no key says so.

    Raises
    ------
    InputError
        A key is missing, or the gaps are not one fewer than the panels.

    Examples
    --------
    >>> from midas.io.parameters import parse_params
    >>> text = "NPanelsY 1\nNPanelsZ 2\nPanelSizeY 487\nPanelSizeZ 195\nPanelGapsZ 17\n"
    >>> panel_layout_of(parse_params(text)).shape
    (407, 487)
    """
    if not any(key in parameters for key in PANEL_KEYS):
        return None
    parameters.require("NPanelsY", "NPanelsZ", "PanelSizeY", "PanelSizeZ")
    gaps = {}
    for axis in "YZ":
        gaps[axis] = tuple(int(v) for v in parameters.numbers(f"PanelGaps{axis}"))
        n = int(parameters.number(f"NPanels{axis}"))
        if n < 1 or len(gaps[axis]) != n - 1:
            raise InputError(
                f"{parameters.name}: NPanels{axis} is {n} and PanelGaps{axis} has {len(gaps[axis])} values; expected "
                "one fewer than panels"
            )
    origin = parameters.numbers("PanelOrigin") if "PanelOrigin" in parameters else (0.0, 0.0)
    size = (int(parameters.number("PanelSizeZ")), int(parameters.number("PanelSizeY")))
    return PanelLayout(size, gaps["Z"], gaps["Y"], origin=(int(origin[1]), int(origin[0])))
