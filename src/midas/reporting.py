"""Reports of calibrations, caked frames and refinements, alone or together in one page."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from midas.errors import InputError
from midas.io.gsas_zarr import SUFFIX
from midas.manifest import read_manifest
from midas.report import Part, Provenance, write_page
from midas.report.figures import verdict
from midas.report.provenance import input_entries

if TYPE_CHECKING:
    from midas.cake import Cake
    from midas.cake.series import CakedSeries
    from midas.calibration import Calibration, JointCalibration
    from midas.calibration.job import CalibrationJob
    from midas.io.parameters import Parameters
    from midas.pipeline import PipelineJob, PipelineResult

    Reported = Calibration | JointCalibration | Cake | Path | str

_EXPECTED = "a Calibration, a Cake, a caked file (.zarr.zip) or the folder of a refinement"


def write_report(path: Path | str, *things: Reported, title: str = "", command: str = "") -> Path:
    """Write one self-contained HTML page with interactive plots of what is given, and return its path.

    The page needs no network, can be read on a phone and printed, and says what is needed to do it all again.

    Parameters
    ----------
    path
        Name, which must end in .html.
    things
        Any of `midas.Calibration`, `midas.JointCalibration`, `midas.Cake`, a caked file (`.zarr.zip`), or the folder
        that `midas refine` or `midas.run_refinement` wrote to, in the order they are to be shown. Caked files given
        one after the other share one browser.
    title
        What stands at the top; default what the page holds.
    command
        The command line that made the results, where there was one.

    Raises
    ------
    InputError
        There is nothing to report, something is none of these, the name has another suffix, or plotly is missing
        (`pip install "midas-xrd[report]"`).
    FormatError
        A file or folder does not hold what its name says.
    OutputError
        The file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from midas import CakeGrid, Detector, Geometry, integrate
    >>> g = Geometry(distance=1e6, beam_center=(20, 20), pixel_size=200, wavelength=0.18)
    >>> cake = integrate(np.full((41, 41), 5), g, CakeGrid(2, 18, 2, eta_step=90))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_report(Path(folder) / "cake.html", cake).name
    'cake.html'
    >>> write_report("report.html", "scan.zarr.zip", "refinement")  # doctest: +SKIP
    """
    if not things:
        raise InputError(f"there is nothing to report; give {_EXPECTED}")
    parts: list[Part] = []
    named: list[tuple[str, Path | str | None]] = []
    versions: dict[str, str] = {}
    settings: dict[str, Any] = {}
    for is_caked, group in itertools.groupby(things, key=_is_cake):
        some = list(group)
        if is_caked:
            parts += _cakes(some, len(parts))
            named += [("caked file", thing) for thing in some if isinstance(thing, (str, Path))]
            continue
        for thing in some:
            made, of_it, engine, how = _parts_of(thing, len(parts))
            parts += made
            named += of_it
            versions |= engine
            settings |= how
    about = Provenance(command=command, inputs=input_entries(named), versions=versions, settings=settings)
    words = ", ".join(dict.fromkeys(part.title.lower() for part in parts))
    return write_page(path, title or f"midas: {words}", parts, about)


def _is_cake(thing: Any) -> bool:
    from midas.cake import Cake

    return isinstance(thing, Cake) or (isinstance(thing, (str, Path)) and str(thing).endswith(SUFFIX))


def _cakes(caked: list[Any], number: int) -> list[Part]:
    from midas.cake.report import cake_parts

    return cake_parts(caked, place=f"cake{number}-")


def _parts_of(
    thing: Any, number: int
) -> tuple[list[Part], list[tuple[str, Path | str | None]], dict[str, str], dict[str, Any]]:
    """Return sections, named inputs, versions and settings of a calibration or of a refinement's folder."""
    from midas.calibration import Calibration, JointCalibration
    from midas.calibration.report import calibration_part, joint_parts

    if isinstance(thing, Calibration):
        return [calibration_part(thing, place=f"cal{number}")], [], {}, {}
    if isinstance(thing, JointCalibration):
        return joint_parts(thing), [], {}, {}
    if isinstance(thing, (str, Path)):
        return refinement_of(Path(thing), place=f"fit{number}")
    raise InputError(f"{type(thing).__name__} cannot be reported; expected {_EXPECTED}")


def refinement_of(
    folder: Path, *, place: str = "fit"
) -> tuple[list[Part], list[tuple[str, Path | str | None]], dict[str, str], dict[str, Any]]:
    """Return section, named inputs, versions and settings of the refinement in a folder."""
    from midas.refine import read_summary
    from midas.refine.report_page import refinement_part

    summary = read_summary(folder)
    named: list[tuple[str, Path | str | None]] = [
        ("caked file", f) for f in summary.get("data_files") or [summary["data_file"]]
    ]
    named += [("phase", cif) for cif in summary.get("cif_files", ())]
    named += [("instrument", summary["instprm"])] if summary.get("instprm") else []
    engine = summary.get("engine") or {}
    versions = {engine["name"]: str(engine["version"])} if engine else {}
    keys = ("limits", "excluded", "bkg_terms", "sigma", "stages")
    settings = {"How it was refined": {key: summary[key] for key in keys if key in summary}}
    return [refinement_part(summary, folder, place=place)], named, versions, settings


def report_job(
    path: Path | str,
    job: CalibrationJob,
    images: Sequence[str],
    calibration: Calibration | JointCalibration,
    command: str = "",
) -> Path:
    """Write the report of a calibration of files, with the hashes of all that went in."""
    from midas.calibration import Calibration
    from midas.calibration.files import plain_values
    from midas.calibration.report import CELLS_ALONE, calibration_part, joint_parts
    from midas.io.dark import constant_dark
    from midas.io.parameters import MASK_KEYS, read_params

    named: list[tuple[str, Path | str | None]] = [("image", image) for image in images]
    named += [("parameters", job.params), ("mask", job.mask)]
    if job.dark and constant_dark(job.dark) is None:
        named.append(("dark", job.dark))
    settings: dict[str, Any] = {
        "Settings given": plain_values({k: v for k, v in job.settings.items() if v is not None})
    }
    if job.params:
        source = read_params(job.params)
        named += [(key, source.file(key)) for key in ("Dark", *MASK_KEYS)]
        settings["Parameter file"] = Path(job.params).read_text(encoding="utf-8", errors="replace")
    if isinstance(calibration, Calibration):
        parts = [calibration_part(calibration, cells=CELLS_ALONE)]
    else:
        parts = joint_parts(calibration)
    about = Provenance(command=command, inputs=input_entries(named), settings=settings)
    return write_page(path, f"midas calibrate: {', '.join(Path(i).name for i in images)}", parts, about)


def report_integration(
    path: Path | str,
    done: CakedSeries,
    parameters: Parameters,
    *,
    used: Mapping[str, Path | str | None],
    command: str = "",
) -> Path:
    """Write the report of caked image files; `used` are other files that went in, by what they are."""
    from midas.cake.report import cake_parts
    from midas.io.dark import constant_dark

    caked = [f.target for f in done.files if f.status != "failed"]
    failed = [(", ".join(p.name for p in f.images), f.reason) for f in done.failed]
    named: list[tuple[str, Path | str | None]] = [
        (role, file) for role, file in used.items() if file and not (role == "dark" and constant_dark(file) is not None)
    ]
    named += [("images", image) for f in done.files for image in f.images]
    parts = cake_parts(caked, failed=failed)
    about = Provenance(command=command, inputs=input_entries(named), settings={"Parameters": parameters.text()})
    return write_page(path, f"midas integrate: {_named(caked)}", parts, about)


def _named(files: Sequence[Path]) -> str:
    return "nothing was caked" if not files else files[0].name if len(files) == 1 else f"{len(files)} files"


def report_refinement(path: Path | str, folder: Path, command: str = "") -> Path:
    """Write the report of a refinement from its folder."""
    parts, named, versions, settings = refinement_of(folder)
    about = Provenance(command=command, inputs=input_entries(named), versions=versions, settings=settings)
    return write_page(path, f"midas refine: {folder.resolve().name}", parts, about)


def report_run(path: Path | str, result: PipelineResult, job: PipelineJob, command: str = "") -> Path:
    """Write the report of a run: calibration, caked files, refinement, and what its manifest says.

    Where the calibration of an earlier run was kept its image is not at hand: `calibration.json` and its picture are.
    """
    from midas.cake.report import cake_parts
    from midas.calibration.report import calibration_part, record_part

    manifest = read_manifest(job.out) or {}
    parts: list[Part] = []
    if result.calibration is not None:
        parts.append(calibration_part(result.calibration))
    elif result.calibration_record is not None:
        parts.append(record_part(result.calibration_record, job.out))
    failed = [(", ".join(p.name for p in f.images), f.reason) for f in result.unusable]
    if result.cake_files or failed:
        parts += cake_parts(result.cake_files, failed=failed)
    if result.summary is not None:
        parts += refinement_of(job.refinement_folder or job.out / "refinement")[0]
    elif result.stopped:
        parts.append(
            Part(
                "Refinement",
                verdict("NOT DONE", result.stopped, (), kind="doubtful"),
                status="NOT DONE",
                kind="doubtful",
            )
        )
    engine = manifest.get("engine") or {}
    about = Provenance(
        command=command,
        inputs=manifest.get("inputs", ()),
        versions={engine["name"]: str(engine["version"])} if engine else {},
        settings={
            "Settings of the run": manifest.get("parameters", {}),
            "Steps and times, as in manifest.json": manifest.get("steps", {}),
        },
    )
    return write_page(path, f"midas run: {job.out.resolve().name}", parts, about)
