"""Showing figures in a window."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WITHOUT_WINDOWS = ("agg", "cairo", "pdf", "pgf", "ps", "svg", "template")

logger = logging.getLogger(__name__)


def show(*figures: Figure) -> None:
    """Show figures, a window each, and wait until they are closed; say so and return where there is no display."""
    import matplotlib.pyplot as plt

    if plt.get_backend().lower() in _WITHOUT_WINDOWS:
        logger.warning("there is no display to show pictures on; open the files that were written")
        return
    for figure in figures:
        manager = plt.figure().canvas.manager  # a window of our own for a figure made without pyplot
        if manager is not None:
            manager.canvas.figure = figure
            figure.set_canvas(manager.canvas)
    plt.show()
