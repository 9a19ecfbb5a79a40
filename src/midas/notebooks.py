"""Pictures in notebooks: figures made without pyplot are shown as all others."""

from __future__ import annotations

import functools
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def shown_in_notebooks(figure: Figure) -> Figure:
    r"""Return the figure, with what notebooks look for when it is the last line of a cell.

    They know how to show a figure only once pyplot was imported, which midas does not need.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> shown_in_notebooks(Figure(figsize=(1, 1)))._repr_png_()[:4]
    b'\x89PNG'
    """
    figure._repr_png_ = functools.partial(_png, figure)  # type: ignore[attr-defined]
    return figure


def _png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()
