"""Raw data to refined structures: calibrate, integrate, refine, in one folder that says what was done."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from midas.cake import Cake
from midas.cake.cake_file import WrittenCake
from midas.cake.file_task import FileResult, open_images
from midas.cake.series import SeriesFiles, SeriesOptions, integrate_files
from midas.calibration import Calibration
from midas.calibration.files import MASK_NAME, default_grid
from midas.calibration.job import CalibrationJob, run_job
from midas.errors import FormatError, InputError, MidasError, RefinementError
from midas.io.atomic import output_folder
from midas.io.file_hash import hash_file
from midas.io.gsas_zarr import SUFFIX
from midas.io.panel_shifts import FILE_NAME as PANEL_SHIFTS_NAME
from midas.io.parameters import MASK_KEYS, Parameters, read_params
from midas.io.tree_formats import HDF5_SUFFIXES
from midas.manifest import Manifest, are_unchanged, key_of, outputs_of

if TYPE_CHECKING:
    from midas.refine.dispatch import EngineCommand, WorkerPool

_log = logging.getLogger(__name__)

_PROFILE_KEYS = {"SH_L": "SHpL"}
_FILE_KEYS = ("Dark", *MASK_KEYS, "PanelShiftsFile", "DistortionFile")
_RECORD_NAME = "calibration.json"
PARAMETERS_NAME = "integration_params.txt"
"""The parameters with which a run that calibrated first integrates: the user's, and what was found."""

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
    calibrant_dark: str = ""
    """Dark of that image; empty takes the `Dark` of `params`, if any."""
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
    integration: SeriesOptions = field(default_factory=SeriesOptions)
    """How the images are caked; `resume` and `n_threads` are those of the run."""
    plots: bool = False
    """True draws each histogram, beside the pictures of the whole."""
    resume: bool = False
    """True takes up a run of the same inputs that did not end; what it finished is kept."""
    n_threads: int = 0
    """0 uses all cores."""


@dataclass(frozen=True, eq=False)
class PipelineResult:
    """What a run produced; None for the steps not taken."""

    calibration: Calibration | None
    """The geometry found; None too where that of an earlier run was kept, of which `calibration_record` tells."""
    calibration_record: dict[str, Any] | None
    """What `calibration.json` says."""
    cake_file: WrittenCake | None
    """The last file integrated."""
    cake_files: tuple[Path, ...]
    """The caked files, one for each image file."""
    refinements: tuple[dict[str, Any], ...]
    """The summary of the refinement of each caked file."""
    summary: dict[str, Any] | None
    """All of them as one."""
    stopped: str
    """Why the run ended after the integration; empty when it did not."""
    unusable: tuple[FileResult, ...] = ()
    """What became of image files that could not be caked, each with its `reason`."""
    kept: tuple[str, ...] = ()
    """What was taken from the earlier run, in words."""

    @property
    def cake(self) -> Cake | None:
        """The patterns of the last file integrated, read from it each time."""
        return None if self.cake_file is None else self.cake_file.read()


def run_pipeline(job: PipelineJob, *, progress: Progress | None = None) -> PipelineResult:
    """Calibrate when a calibrant image is given, integrate, refine; return what came of it.

    Without GSAS-II the run ends after the integration and says so in `stopped`. `manifest.json` says what went in, with
    hashes, what was done when with which versions, and what was written; with `resume` a run goes on where it says.

    Raises
    ------
    InputError
        Something needed is missing; the message names it.
    MidasError
        A step cannot be done; the results of the steps before it are complete.
    """
    _check(job)
    with output_folder(job.out):
        run = _Run(job, progress)
        try:
            return run.go()
        except KeyboardInterrupt as error:
            raise KeyboardInterrupt(_words_on_the_end(run.manifest.data["steps"], job.out, str(error))) from None
        finally:
            run.manifest.close()


def _check_reach(parameters: Parameters, refinement: Mapping[str, Any]) -> None:
    """Refuse limits and excluded regions that leave none of the bins to come, before hours are spent on them."""
    from midas.refine.choices import check_excluded, check_limits, check_reach_of

    geometry = parameters.geometry
    two_theta = geometry.two_theta_of(parameters.bins.radius_centers(geometry))
    check_reach_of(two_theta, check_limits(refinement.get("limits")), check_excluded(refinement.get("exclude")))


def _files(n: int) -> str:
    return f"{n} caked file{'' if n == 1 else 's'}"


def _words_on_the_end(steps: Mapping[str, Any], out: Path, of_step: str) -> str:
    """Return what a run that ends before its time has finished, and how to go on; `of_step` is what the step says."""
    done = [name for name in ("calibration", "integration") if name in steps]
    if steps.get("refinement"):
        done.append(f"refinement of {_files(len(steps['refinement']))}")
    if not done:
        return of_step or "nothing was finished; the same command begins again"
    on = of_step if "--resume" in of_step else "the same command with --resume goes on from there"
    return f"kept in {out}: {', '.join(done)}; {on}"


class _Run:
    """A run in progress."""

    def __init__(self, job: PipelineJob, progress: Progress | None) -> None:
        self.job, self.progress = job, progress
        self.manifest = Manifest(job.out, _parameters_of(job), resume=job.resume)
        self.kept: list[str] = []

    def go(self) -> PipelineResult:
        """Take the steps in order."""
        engine, stopped = _engine(self.job)
        if stopped:
            _log.warning("%s; the run will end after the integration", stopped)
        with contextlib.ExitStack() as folders:
            if engine is not None:  # a folder that cannot be made shows before hours are spent on the images
                folders.enter_context(output_folder(self.refinement_folder))
            return self._steps(engine, stopped)

    @property
    def refinement_folder(self) -> Path:
        """Where the refinement goes."""
        return self.job.refinement_folder or self.job.out / "refinement"

    def _steps(self, engine: EngineCommand | None, stopped: str) -> PipelineResult:
        job = self.job
        calibration: Calibration | None = None
        record: dict[str, Any] | None = None
        cake_file: WrittenCake | None = None
        unusable: tuple[FileResult, ...] = ()
        cake_files: tuple[Path, ...] = () if job.zarr_file is None else (job.zarr_file,)
        if not cake_files:
            source = read_params(job.params) if job.params else None
            if source is not None:
                self._note_parameters(source)
            parameters = source
            if job.calibrant_image:
                self._check_images(source)
                calibration, record, parameters = self._calibrated(source)
            assert parameters is not None
            if engine is not None:
                _check_reach(parameters, job.refinement)
            series = self._integrated(parameters)
            cake_file, unusable = series.last_file, series.failed
            cake_files = tuple(f.target for f in series.files if f.status != "failed")
        refinements, summary = self._refined(cake_files, engine) if engine is not None else ((), None)
        if stopped:
            stopped = f"{stopped}; the run ended after the integration, whose files are complete"
        self.manifest.finish("stopped" if stopped else "done", progress=self.progress)
        return PipelineResult(
            calibration, record, cake_file, cake_files, refinements, summary, stopped, unusable, tuple(self.kept)
        )

    def _check_images(self, source: Parameters | None) -> None:
        """Refuse images that are not there, and a single file that cannot be read, before the calibration."""
        files = self.job.files
        assert files is not None
        if not any(path.exists() for path in files.paths):
            raise FormatError(f"{files.paths[0]}: no such file")
        if len(files.paths) == 1:
            with contextlib.suppress(InputError):  # of parameters: the calibration may tell them
                open_images(files.paths[0], files.data_location, source or Parameters()).close()

    def _note_parameters(self, source: Parameters) -> None:
        assert source.path is not None
        self.manifest.add_input("parameters", source.path)
        for key in _FILE_KEYS:
            path = source.file(key)
            if path is not None and path.exists():
                self.manifest.add_input(key, path)

    def _calibrated(self, source: Parameters | None) -> tuple[Calibration | None, dict[str, Any], Parameters]:
        """Return the calibration, its record, and the parameters of the integration; kept where nothing has changed."""
        job, manifest = self.job, self.manifest
        for role, path in (("calibrant image", job.calibrant_image), ("calibrant dark", job.calibrant_dark)):
            if path and Path(path).exists():
                manifest.add_input(role, Path(path))
        key = key_of([e["sha256"] for e in manifest.data["inputs"]], dict(job.calibration))
        record_file, parameters_file = job.out / _RECORD_NAME, job.out / PARAMETERS_NAME
        earlier = manifest.earlier_step("calibration")
        calibration: Calibration | None = None
        if earlier.get("key") == key and are_unchanged(earlier.get("files", [])):
            manifest.data["steps"]["calibration"] = {**earlier, "status": "kept"}
            self.kept.append("calibration")
        else:
            with manifest.step("calibration") as noted:
                calibration = self._calibrate()
                _parameters(source, calibration, job.out).write(parameters_file)
                files = [job.out / name for name in (MASK_NAME, PANEL_SHIFTS_NAME) if (job.out / name).is_file()]
                noted |= {"key": key, "verdict": calibration.verdict, "reasons": list(calibration.reasons)}
                noted["files"] = outputs_of([record_file, parameters_file, *files])
        record: dict[str, Any] = json.loads(record_file.read_text(encoding="utf-8"))
        return calibration, record, read_params(parameters_file)

    def _calibrate(self) -> Calibration:
        job = self.job
        calibration, _ = run_job(
            CalibrationJob(
                image=job.calibrant_image,
                out=job.out,
                params=job.params,
                dark=job.calibrant_dark,
                settings=job.calibration,
            ),
            n_threads=job.n_threads,
            progress=self.progress,
        )
        if calibration.verdict == "failed":
            raise InputError(
                f"the calibration failed ({calibration.reasons[0]}); nothing was integrated, "
                f"see {job.out / 'calibration.png'}"
            )
        return calibration

    def _integrated(self, parameters: Parameters) -> Any:
        job, manifest = self.job, self.manifest
        assert job.files is not None
        present = [file for path in job.files.paths if path.exists() for file in self._sources(path, parameters)]
        if job.files.dark is not None and job.files.dark.exists():
            present.append(job.files.dark)
        manifest.add_inputs_meanwhile("images", present)
        with manifest.step("integration") as noted:
            series = integrate_files(
                job.files,
                parameters,
                job.out,
                options=replace(job.integration, n_threads=job.n_threads, skip_existing=job.resume),
                progress=self.progress,
            )
            noted["parameters"] = parameters.text()
            noted["files"] = [
                {"path": str(f.target), "status": f.status, "images": [str(p) for p in f.images],
                 "frames": f.n_frames, "reason": f.reason}
                for f in series.files
            ]  # fmt: skip
        if series.skipped:
            self.kept.append(_files(len(series.skipped)))
        return series

    def _sources(self, path: Path, parameters: Parameters) -> list[Path]:
        """Return an image file with all that it refers to, such as the data files of an Eiger master."""
        assert self.job.files is not None
        if path.suffix.lower() not in HDF5_SUFFIXES:
            return [path]
        try:
            frames = open_images(path, self.job.files.data_location, parameters)
        except MidasError:  # the integration says why
            return [path]
        try:
            return [path, *(file for file in frames.files if file.resolve() != path.resolve())]
        finally:
            frames.close()

    def _refined(
        self, cake_files: tuple[Path, ...], engine: EngineCommand
    ) -> tuple[tuple[dict[str, Any], ...], dict[str, Any] | None]:
        """Return the summary of each caked file, and of all of them together."""
        from midas.refine.batch import open_workers
        from midas.refine.pictures import draw_histograms
        from midas.refine.several import write_joined

        job, manifest = self.job, self.manifest
        manifest.data["engine"] = {"name": engine.name, "version": engine.version}
        instprm = job.refinement.get("instprm")
        named = [("phase", c) for c in job.cif_files] + ([("instrument", instprm)] if instprm else [])
        shared = [manifest.add_input(role, Path(path)) for role, path in named]
        top = self.refinement_folder
        summaries = []
        n_kept = 0
        with open_workers(engine, int(job.refinement.get("n_cpus", 1))) as workers:
            for cake_file in cake_files:
                folder = top / cake_file.name.removesuffix(SUFFIX) if len(cake_files) > 1 else top
                summary, was_kept = self._refined_file(cake_file, folder, shared, workers)
                if job.plots and not was_kept:
                    draw_histograms(summary, folder, progress=self.progress)
                n_kept += was_kept
                summaries.append(summary)
        if n_kept:
            self.kept.append(f"refinement of {_files(n_kept)}")
        if not summaries:
            return (), None
        with manifest.step("table and pictures"):
            joined = write_joined(summaries, top)
        return tuple(summaries), joined

    def _refined_file(
        self, cake_file: Path, folder: Path, shared: list[str], workers: WorkerPool
    ) -> tuple[dict[str, Any], bool]:
        """Return the summary of a caked file, and whether it is that of the earlier run."""
        from midas.refine import read_summary, run_refinement
        from midas.refine.overrides import override_beside
        from midas.refine.records import are_whole
        from midas.refine.summary import SUMMARY_NAME

        job, manifest, engine = self.job, self.manifest, workers.command
        options = {k: v for k, v in job.refinement.items() if k not in ("n_cpus", "gsas2_python")}
        beside = override_beside(cake_file)
        parts = [hash_file(cake_file), None if beside is None else hash_file(beside), shared, list(job.cif_files)]
        key = key_of(*parts, options, engine.name, engine.version, str(folder.resolve()), job.plots)
        earlier = manifest.earlier_step("refinement", cake_file.name)
        if earlier.get("key") == key and are_unchanged(earlier.get("files", [])):
            summary = read_summary(folder)
            if are_whole(folder, [h["histogram_index"] for h in summary["histograms"] if h["status"] != "skipped"]):
                manifest.data["steps"].setdefault("refinement", {})[cake_file.name] = {**earlier, "status": "kept"}
                return summary, True
        with manifest.step("refinement", cake_file.name) as noted:
            summary = run_refinement(
                data_file=cake_file,
                cif_files=list(job.cif_files),
                output_dir=folder,
                progress=self.progress,
                skip_existing=job.resume,
                workers=workers,
                **job.refinement,
            )
            counts = {name: summary[name] for name in ("succeeded", "partial", "failed", "skipped")}
            noted |= {"key": key, **counts, "files": outputs_of([folder / SUMMARY_NAME])}
        return summary, False


def _engine(job: PipelineJob) -> tuple[EngineCommand | None, str]:
    """Return the engine that refines, and why there is none: known before hours are spent on the images."""
    if not job.cif_files:
        return None, ""
    from midas.refine.locate import find_gsas2

    try:
        return find_gsas2(job.refinement.get("gsas2_python")), ""
    except RefinementError as error:
        if job.refinement.get("gsas2_python") is not None:  # whoever names one means that one
            raise
        return None, str(error)


def _parameters_of(job: PipelineJob) -> dict[str, Any]:
    """Return the settings of a run as plain data."""
    files = job.files
    return {
        "params": job.params,
        "data": None if files is None else [str(p) for p in files.paths],
        "dark": None if files is None or files.dark is None else str(files.dark),
        "data_location": None if files is None else files.data_location,
        "dark_location": None if files is None else files.dark_location,
        "zarr_file": None if job.zarr_file is None else str(job.zarr_file),
        "calibrant_image": job.calibrant_image,
        "calibrant_dark": job.calibrant_dark,
        "calibration": {k: v for k, v in job.calibration.items() if v is not None},
        "cif_files": list(job.cif_files),
        "refinement": dict(job.refinement),
        "scan": job.integration.scan,
        "threshold": job.integration.threshold,
        "plots": job.plots,
        "resume": job.resume,
        "n_threads": job.n_threads,
    }


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
    elif not job.zarr_file.is_file():
        raise InputError(f"the caked file {job.zarr_file} is not there; check --zarr-file")
    if job.cif_files:
        from midas.refine.batch import check_settings
        from midas.refine.phases import check_phases

        check_phases(job.cif_files)
        check_settings(job.refinement)


def _parameters(source: Parameters | None, calibration: Calibration, out: Path) -> Parameters:
    """Return the parameters of the integration: the user's file with what was just found.

    That is the geometry and the mask, and, where the file is silent, bins, shape and the rings' profile. Names of files
    hold from anywhere.
    """
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
    places = {key: parameters.file(key) for key in _FILE_KEYS}
    parameters = parameters.updated({key: str(path.resolve()) for key, path in places.items() if path is not None})
    parameters = parameters.updated({"MaskFile": str((out / MASK_NAME).resolve())})
    if calibration.geometry.panels is not None:
        parameters = parameters.updated({"PanelShiftsFile": str((out / PANEL_SHIFTS_NAME).resolve())})
    return parameters.updated({key: value for key, value in missing.items() if key not in parameters})
