"""Panel-shifts files: how each panel of a tiled detector stands off its place.

Text, `# ID dY dZ dTheta dLsd dP2` and then a line a panel: shifts [px], rotation [deg], distance [µm], p2. Old files
end after dZ or dTheta. Panels that a file does not list are not moved. Source: the MIDAS manual of
CalibrantPanelShiftsOMP.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from midas.errors import FormatError
from midas.io.atomic import atomic_path
from midas.panels import PANEL_COLUMNS, PanelLayout, Panels

FILE_NAME = "panel_shifts.txt"

_HEADER = "# ID dY dZ dTheta dLsd dP2\n"
_COMMENTS = ("#", "%")
_FEWEST_COLUMNS = 3


def write_panel_shifts(path: Path | str, panels: Panels) -> Path:
    """Write a panel-shifts file and return its path; numbers are written so that reading gives back the same doubles.

    Examples
    --------
    >>> import tempfile
    >>> panels = Panels(PanelLayout(size=(9, 9), gaps_y=(2,)), shift_z=np.array([0.1, -0.1]))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = write_panel_shifts(Path(folder) / "shifts.txt", panels)
    ...     read_panel_shifts(file, panels.layout).shift_z.tolist()
    [0.1, -0.1]
    """
    path = Path(path)
    rows = [f"{k} " + " ".join(repr(float(v)) for v in row) + "\n" for k, row in enumerate(panels.table)]
    with atomic_path(path) as temporary:
        temporary.write_text(_HEADER + "".join(rows), encoding="utf-8")
    return path


def read_panel_shifts(path: Path | str, layout: PanelLayout) -> Panels:
    """Return the panels of a panel-shifts file on a layout; see `write_panel_shifts`.

    Raises
    ------
    FormatError
        The file is missing, or a line is not a panel of the layout; the message names file and line.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        raise FormatError(f"{path}: no such file; check PanelShiftsFile, or take the line out") from None
    except OSError as error:
        raise FormatError(f"{path}: the panel shifts cannot be read: {error.strerror or error}") from None
    table = np.zeros((len(layout), len(PANEL_COLUMNS)))
    seen: set[int] = set()
    for n, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith(_COMMENTS):
            continue
        number, values = _parse(line, f"{path}, line {n}", len(layout))
        if number in seen:
            raise FormatError(f"{path}, line {n}: panel {number} is there twice; expected one line a panel")
        seen.add(number)
        table[number, : len(values)] = values
    return Panels.from_table(layout, table)


def _parse(line: str, where: str, n_panels: int) -> tuple[int, list[float]]:
    words = line.split()
    try:
        number, values = int(words[0]), [float(w) for w in words[1:]]
    except ValueError:
        raise FormatError(
            f"{where}: {line.strip()!r} is no panel; expected its number, dY, dZ, dTheta, dLsd, dP2"
        ) from None
    if not 0 <= number < n_panels:
        raise FormatError(f"{where}: panel {number} is not one of the {n_panels} panels, numbered from 0")
    if not _FEWEST_COLUMNS - 1 <= len(values) <= len(PANEL_COLUMNS) or not all(math.isfinite(v) for v in values):
        raise FormatError(f"{where}: {line.strip()!r} has {len(values)} values; expected 2 to 5 finite numbers")
    return number, values
