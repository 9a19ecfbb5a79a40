"""Our own forms of a geometry: the record `calibration.json` and MIDAS parameter text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from midas.detector import Detector
from midas.errors import FormatError
from midas.geometry import Geometry
from midas.io.atomic import atomic_path
from midas.io.panel_shifts import write_panel_shifts
from midas.io.parameter_text import format_value, geometry_pairs, panel_pairs
from midas.io.parameters import read_params
from midas.panels import PanelLayout, Panels

_FIELDS = ("distance", "beam_center", "pixel_size", "wavelength", "tilts", "distortion", "distortion_radius")


def _panels(record: dict[str, Any]) -> Panels:
    layout = PanelLayout(**{name: tuple(record[name]) for name in ("size", "gaps_z", "gaps_y", "origin")})
    return Panels.from_table(layout, record["table"])


def write_record(path: Path, geometry: Geometry, detector: Detector | None) -> list[Path]:
    """Write a geometry as JSON and return the file."""
    record: dict[str, Any] = {"geometry": geometry.as_record()}
    if detector is not None:
        record["shape"] = list(detector.shape)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return [path]


def read_record(path: Path) -> tuple[Geometry, Detector | None]:
    """Return the geometry and detector of `calibration.json`, or of what `write_record` wrote."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if "images" in record and "geometry" not in record:
            raise FormatError(
                f"{path}: this is the record of several images, each with its own place; read the calibration.json in "
                "the folder of one of them"
            )
        values = record["geometry"]
        given = {name: values[name] for name in _FIELDS}
        panels = _panels(values["panels"]) if values.get("panels") else None
        given["parallax"] = float(values.get("parallax", 0.0))
        geometry = Geometry(**given, image_transforms=tuple(values.get("image_transforms", ())), panels=panels)
        shape = record.get("shape")
        detector = None if shape is None else Detector((shape[0], shape[1]), geometry.pixel_size)
    except FormatError:
        raise
    except OSError as error:
        raise FormatError(f"{path}: the file cannot be read ({error.strerror})") from None
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(
            f"{path}: this is no record of a geometry ({error}); expected calibration.json of midas"
        ) from None
    return geometry, detector


def write_text(path: Path, geometry: Geometry, detector: Detector | None) -> list[Path]:
    """Write a geometry as MIDAS parameter text, its panels into a panel-shifts file beside it; return the files."""
    files = [path]
    pairs = [*geometry_pairs(geometry), *panel_pairs(geometry), *(("ImTransOpt", t) for t in geometry.image_transforms)]
    if detector is not None:
        pairs += [("NrPixelsY", detector.shape[1]), ("NrPixelsZ", detector.shape[0])]
    if geometry.panels is not None:
        files.append(write_panel_shifts(path.with_name(f"{path.stem}.panel_shifts.txt"), geometry.panels))
        pairs.append(("PanelShiftsFile", files[1].name))
    lines = []
    for key, value in pairs:
        values = value if isinstance(value, tuple) else (value,)
        lines.append(f"{key} {' '.join(format_value(v) for v in values)}\n")
    with atomic_path(path) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8")
    return files


def read_text(path: Path) -> tuple[Geometry, Detector | None]:
    """Return the geometry and, where the file tells its shape, the detector of MIDAS parameter text."""
    parameters = read_params(path)
    shape = parameters.shape
    geometry = parameters.geometry
    return geometry, None if shape is None else Detector(shape, geometry.pixel_size)
