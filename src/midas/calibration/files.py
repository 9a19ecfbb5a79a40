"""The files a calibration writes."""

from __future__ import annotations

import json
import logging
import math
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from midas.calibration.panels import panel_esds
from midas.calibration.pictures import Artist
from midas.calibration.tables import write_tables
from midas.calibration.values import correlations
from midas.crystal import CALIBRANT_NAMES, calibrant
from midas.detector import transform_image
from midas.errors import InputError
from midas.geometry import FloatArray
from midas.grid import CakeGrid
from midas.io.atomic import atomic_path
from midas.io.exchange import write_geometry
from midas.io.panel_shifts import FILE_NAME as PANEL_SHIFTS_NAME
from midas.io.parameters import Parameters
from midas.io.refined_params import write_refined_params
from midas.version import version

if TYPE_CHECKING:
    from midas.calibration.result import Calibration

_log = logging.getLogger(__name__)

MASK_NAME = "calibration_mask.tif"
"""The mask that a calibration used, in the layout of the raw image."""
PICTURE_NAMES = {"overview": "calibration.png", "details": "calibration_details.png"}
EXCHANGE_NAMES = ("geometry.poni", "geometry.imctrl")
"""The geometry for pyFAI and for GSAS-II."""
REPLACED_NAMES = (*EXCHANGE_NAMES, "geometry.spline", PANEL_SHIFTS_NAME)
"""Files that not every calibration writes."""
STRONG_CORRELATION = 0.95
"""From where on a pair of parameters is named."""


def summary(calibration: Calibration) -> dict[str, Any]:
    """Return what `calibration.json` holds: plain numbers, strings, lists and dicts, null where not finite."""
    seed, panels = calibration.seed, calibration.geometry.panels
    sigma = np.sqrt(np.diag(calibration.covariance))
    by_name = dict(zip(calibration.parameters, sigma.tolist(), strict=True))
    correlation = correlations(calibration.covariance)
    content: dict[str, Any] = plain_values(
        {
            "verdict": calibration.verdict,
            "reasons": list(calibration.reasons),
            "converged": calibration.converged,
            "reason": calibration.reason,
            "geometry": calibration.geometry.as_record(
                None if panels is None else panel_esds(by_name, len(panels.layout))
            ),
            "esd": dict(calibration.esd),
            "parameters": list(calibration.parameters),
            "correlation": correlation.tolist(),
            "strong_correlations": _strong_correlations(calibration.parameters, correlation),
            "mean_strain": calibration.mean_strain,
            "median_strain": calibration.median_strain,
            "std_strain": calibration.std_strain,
            "held_out_strain": calibration.held_out_strain,
            "n_points": int(calibration.used.sum()),
            "calibrant": calibration.calibrant,
            "distortion": calibration.distortion,
            "distortion_trials": dict(calibration.distortion_trials),
            "candidates": [asdict(c) for c in calibration.candidates],
            "notes": list(calibration.notes),
            "rings": [asdict(r) for r in calibration.ring_table],
            "iterations": [asdict(i) for i in calibration.history],
            "evidence": asdict(calibration.evidence),
            "seed": {
                "distance": seed.distance,
                "beam_center": list(seed.beam_center),
                "score": seed.best.score,
                "runner_up_distance": None if seed.runner_up is None else seed.runner_up.distance,
                "runner_up_score": None if seed.runner_up is None else seed.runner_up.score,
            },
            "shape": list(calibration.detector.shape),
            "hot_pixels": calibration.image.n_hot,
            "dead_pixels": calibration.image.n_dead,
            "seconds": calibration.seconds,
            "midas_version": version(),
            "units": "lengths µm, positions px, angles deg, wavelength Å, strain dimensionless",
        }
    )
    return content


def _strong_correlations(names: tuple[str, ...], correlation: FloatArray) -> list[dict[str, Any]]:
    """Return the pairs of parameters that the points tell apart badly."""
    pairs = zip(*np.nonzero(np.abs(np.triu(correlation, 1)) > STRONG_CORRELATION), strict=True)
    return [{"between": [names[i], names[k]], "correlation": float(correlation[i, k])} for i, k in pairs]


def plain_values(value: Any) -> Any:
    """Return a value as JSON can hold it: tuples as lists, numpy's numbers as Python's, null where not finite."""
    if isinstance(value, dict):
        return {k: plain_values(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_values(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def default_grid(calibration: Calibration) -> CakeGrid:
    """Return bins of 1 px by 5 deg from 10 px out to the detector's furthest corner."""
    furthest = (calibration.geometry.distortion_radius or 0.0) / calibration.geometry.pixel_size
    return CakeGrid(radius_min=10.0, radius_max=float(math.floor(furthest)), radius_step=1.0)


def save(
    calibration: Calibration,
    folder: Path,
    source: Any = None,
    name: str = "calibration",
    artist: Artist | None = None,
) -> list[Path]:
    """Write all files of a calibration but the log into a folder, and return their paths.

    `source` is the parameter file (`midas.io.parameters.Parameters`) whose other settings travel on, or None; `name` is
    the image's, for the table of points; `artist` draws, this process when it is None.
    """
    drawn = {which: folder / picture for which, picture in PICTURE_NAMES.items()}
    with ExitStack() as stack:
        files = {which: stack.enter_context(atomic_path(file)) for which, file in drawn.items()}
        with (artist or Artist()).drawing(calibration, files):
            written = _write_texts(calibration, folder, source, name)
    written += drawn.values()
    for name in REPLACED_NAMES:
        if folder / name not in written:
            (folder / name).unlink(missing_ok=True)  # of an earlier calibration: it would pass for this one's
    return written


def _write_texts(calibration: Calibration, folder: Path, source: Any, name: str) -> list[Path]:
    """Write all but the pictures."""
    has_grid = source is not None and all(key in source for key in ("RMin", "RMax", "RBinSize"))
    mask = folder / MASK_NAME
    _write_mask(mask, calibration)
    parameters = write_refined_params(
        folder / "refined_MIDAS_params.txt",
        calibration.geometry,
        source.bins if has_grid else default_grid(calibration),
        calibration.detector,
        **_crystal(calibration),
        source=_source(calibration, source).updated({"MaskFile": str(mask.resolve())}),
        comment=f"midas calibrate, verdict {calibration.verdict}" + "".join(f"; {r}" for r in calibration.reasons),
    )
    record = folder / "calibration.json"
    with atomic_path(record) as temporary:
        temporary.write_text(json.dumps(summary(calibration), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    shifts = [] if calibration.geometry.panels is None else [folder / PANEL_SHIFTS_NAME]
    tables = write_tables(folder, calibration, name)
    return [parameters, *shifts, mask, record, *tables, *write_exchange(folder, calibration)]


def write_exchange(folder: Path, calibration: Calibration) -> list[Path]:
    """Write the geometry for pyFAI and GSAS-II where their formats can hold it, and return the files written.

    Their formats have no word for a verdict, so a failed geometry is not written.
    """
    written: list[Path] = []
    if calibration.verdict == "failed":
        _log.warning("the calibration failed: no geometry is written for other programs")
        return written
    for name in EXCHANGE_NAMES:
        if name.endswith(".poni") and calibration.geometry.panels is not None:
            _log.warning("%s is not written: panels take a map of all pixels; --export %s writes it", name, name)
            continue
        try:
            written += write_geometry(folder / name, calibration.geometry, calibration.detector)
        except InputError as error:
            _log.info("%s is not written: %s", name, error)
    return written


def _crystal(calibration: Calibration) -> dict[str, Any]:
    """Return the calibrant's cell for the parameter file, which can hold one; nothing for several."""
    crystal = calibration.rings.calibrant
    if crystal.space_group_number is None or calibration.rings.phase is not None:
        return {}
    return {"space_group": crystal.space_group_number, "lattice": tuple(crystal.cell)}


def _source(calibration: Calibration, source: Any) -> Any:
    """Return the parameters to carry on; of several calibrants mixed they name all, where names are enough."""
    source = source or Parameters()
    materials = calibration.rings.calibrants
    named = all(m.name in CALIBRANT_NAMES and m == calibrant(m.name) for m in materials)
    if calibration.rings.phase is None or not named:
        return source
    return source.updated({"Calibrant": ",".join(m.name for m in materials)})


def _write_mask(path: Path, calibration: Calibration) -> None:
    """Write the mask that was used, 0 = use, in the layout of the raw image: its readers apply the image transforms."""
    import tifffile

    assert calibration.detector.mask is not None
    raw = transform_image(calibration.detector.mask, calibration.geometry.image_transforms[::-1])  # each undoes itself
    with atomic_path(path) as temporary:
        tifffile.imwrite(temporary, raw.astype(np.uint8), compression="zlib")
