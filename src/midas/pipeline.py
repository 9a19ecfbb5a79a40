"""Raw data to refined structures: calibrate, integrate, refine, in one folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from midas.cake import Cake
from midas.cake.cake_file import WrittenCake
from midas.cake.file_task import FileResult
from midas.cake.series import SeriesFiles, SeriesOptions, integrate_files
from midas.calibration import Calibration
from midas.calibration.files import MASK_NAME, default_grid
from midas.calibration.job import CalibrationJob, run_job
from midas.errors import InputError, RefinementError
from midas.io.atomic import output_folder
from midas.io.gsas_zarr import SUFFIX
from midas.io.panel_shifts import FILE_NAME as PANEL_SHIFTS_NAME
from midas.io.parameters import Parameters, read_params

_PROFILE_KEYS = {"SH_L": "SHpL"}

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class PipelineJob:
    """What a run starts from and which of its steps it takes."""

    out: Path
    """Folder of the results; made when it is missing."""
    files: SeriesFiles | None = None
    """Images to integrate, and their dark; None needs `zarr_file`."""
    params: str = ""
    """MIDAS parameter file with geometry, bins and scan; the geometry may come from `calibrant_image` instead."""
    calibrant_image: str = ""
    """Image of a calibrant to calibrate with first; empty takes the geometry of `params`."""
    calibration: Mapping[str, Any] = field(default_factory=dict)
    """Settings of that calibration, as `CalibrationJob.settings`."""
    zarr_file: Path | None = None
    """A caked file to refine without integrating."""
    cif_files: tuple[str, ...] = ()
    """Phases to refine; empty stops after the integration."""
    refinement_folder: Path | None = None
    """Folder of the refinement; None is `refinement` in `out`."""
    refinement: Mapping[str, Any] = field(default_factory=dict)
    """Options of `run_refinement`."""
    n_threads: int = 0
    """0 uses all cores."""


@dataclass(frozen=True, eq=False)
class PipelineResult:
    """What a run produced; None for the steps not taken."""

    calibration: Calibration | None
    """The geometry found."""
    cake_file: WrittenCake | None
    """The last file integrated."""
    cake_files: tuple[Path, ...]
    """The caked files, one for each image file."""
    refinements: tuple[dict[str, Any], ...]
    """The summary of the refinement of each caked file."""
    stopped: str
    """Why the run ended after the integration; empty when it did not."""
    unusable: tuple[FileResult, ...] = ()
    """What became of image files that could not be caked, each with its `reason`."""

    @property
    def cake(self) -> Cake | None:
        """The patterns of the last file integrated, read from it each time."""
        return None if self.cake_file is None else self.cake_file.read()


def run_pipeline(job: PipelineJob, *, progress: Progress | None = None) -> PipelineResult:
    """Calibrate when a calibrant image is given, integrate, refine; return what came of it.

    Without GSAS-II the run ends after the integration and says so in `stopped`.

    Raises
    ------
    InputError
        Something needed is missing; the message names it.
    MidasError
        A step cannot be done; the results of the steps before it are complete.
    """
    _check(job)
    with output_folder(job.out):
        calibration, cake_file = None, None
        unusable: tuple[FileResult, ...] = ()
        cake_files: tuple[Path, ...] = () if job.zarr_file is None else (job.zarr_file,)
        if not cake_files:
            source = read_params(job.params) if job.params else None
            if job.calibrant_image:
                calibration = _calibrated(job, progress)
            assert job.files is not None
            series = integrate_files(
                job.files,
                _parameters(source, calibration, job.out),
                job.out,
                options=SeriesOptions(n_threads=job.n_threads),
                progress=progress,
            )
            cake_file, unusable = series.last_file, series.failed
            cake_files = tuple(f.target for f in series.files if f.status != "failed")
        refinements, stopped = _refined(job, cake_files, progress)
    return PipelineResult(calibration, cake_file, cake_files, refinements, stopped, unusable)


def _check(job: PipelineJob) -> None:
    if job.zarr_file is None:
        if job.files is None:
            raise InputError(
                "there is nothing to integrate; name the data with -dataFN, or a caked file with --zarr-file"
            )
        if not job.params and not job.calibrant_image:
            raise InputError(
                "the geometry is missing; give it with -paramFN, or an image of a calibrant with --calibrant-image"
            )
    elif not str(job.zarr_file).endswith(SUFFIX):
        raise InputError(f"{job.zarr_file} does not end in {SUFFIX}; expected a caked file")
    for cif in job.cif_files:
        if not Path(cif).is_file():
            raise InputError(f"the CIF {cif} is not there; check --cif")


def _calibrated(job: PipelineJob, progress: Progress | None) -> Calibration:
    calibration, _ = run_job(
        CalibrationJob(image=job.calibrant_image, out=job.out, params=job.params, settings=job.calibration),
        n_threads=job.n_threads,
        progress=progress,
    )
    if calibration.verdict == "failed":
        raise InputError(
            f"the calibration failed ({calibration.reasons[0]}); nothing was integrated, "
            f"see {job.out / 'calibration.png'}"
        )
    return calibration


def _parameters(source: Parameters | None, calibration: Calibration | None, out: Path) -> Parameters:
    """Return the parameters of the integration: the user's file, with what was just found where there is a calibration.

    That is the geometry and the mask, and, where the file is silent, bins, shape and the rings' profile.
    """
    if calibration is None:
        assert source is not None
        return source
    grid, shape = default_grid(calibration), calibration.detector.shape
    parameters = (source or Parameters()).with_geometry(calibration.geometry)
    missing = {
        "RMin": grid.radius_min,
        "RMax": grid.radius_max,
        "RBinSize": grid.radius_step,
        "EtaMin": grid.eta_min,
        "EtaMax": grid.eta_max,
        "EtaBinSize": grid.eta_step,
        "NrPixelsY": shape[1],
        "NrPixelsZ": shape[0],
        **{_PROFILE_KEYS.get(name, name): value for name, value in calibration.instrument().items()},
    }
    parameters = parameters.updated({"MaskFile": str((out / MASK_NAME).resolve())})
    if calibration.geometry.panels is not None:
        parameters = parameters.updated({"PanelShiftsFile": str((out / PANEL_SHIFTS_NAME).resolve())})
    return parameters.updated({key: value for key, value in missing.items() if key not in parameters})


def _refined(
    job: PipelineJob, cake_files: tuple[Path, ...], progress: Progress | None
) -> tuple[tuple[dict[str, Any], ...], str]:
    if not job.cif_files:
        return (), ""
    from midas.refine import run_refinement

    folder = job.refinement_folder or job.out / "refinement"
    summaries: list[dict[str, Any]] = []
    for cake_file in cake_files:
        name = cake_file.name.removesuffix(SUFFIX)
        try:
            summary = run_refinement(
                data_file=cake_file,
                cif_files=list(job.cif_files),
                output_dir=folder / name if len(cake_files) > 1 else folder,
                progress=progress,
                **job.refinement,
            )
        except RefinementError as error:
            return tuple(summaries), f"{error}; the run ended after the integration, whose files are complete"
        summaries.append(summary)
    return tuple(summaries), ""
