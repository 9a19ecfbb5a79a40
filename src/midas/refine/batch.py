"""Refining every lineout of a caked file: checks, jobs, the pool of workers, and the files written."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from midas.errors import InputError
from midas.io.atomic import atomic_path
from midas.refine.dispatch import EngineCommand, Worker, WorkerPool, refine_all
from midas.refine.executors import refine_elsewhere
from midas.refine.job import Instrument, PhaseFile, RefinementJob, RefinementResult
from midas.refine.lineouts import (
    Lineout,
    iterate_lineouts,
    override_beside,
    read_instrument,
    with_observed_width,
    without_arrays,
)
from midas.refine.locate import start_gsas2
from midas.refine.records import fingerprint, read_record, without_curves, write_record
from midas.refine.stages import Stage, default_stages, stages_to_data
from midas.refine.summary import HistogramRecord, skipped_result, summarise, write_columns, write_summary

if TYPE_CHECKING:
    from midas.io.gsas_zarr import CakeFile

Progress = Callable[[int, int, str], None]
"""Called with histograms done, histograms in all, and a word on the last one."""
MAX_BACKGROUND_TERMS = 36
OUTPUT_NAME = re.compile(r"hist_(\d{4,})(\.(gpx|log|json)|_.*\.cif|_data\.csv|_reflections\.csv)")
"""Files that are written for a histogram."""


@dataclass(frozen=True)
class BatchOptions:
    """What is the same for every histogram of a batch."""

    phases: tuple[PhaseFile, ...]
    output_dir: Path
    stages: tuple[Stage, ...] = field(default_factory=default_stages)
    instprm: Path | None = None
    limits: tuple[float, float] | None = None
    bkg_terms: int = 6
    export: bool = True
    n_cpus: int = 1
    time_limit: float = 300.0
    skip_existing: bool = False


def run_refinement(
    data_file: str | os.PathLike[str],
    cif_files: Sequence[str | os.PathLike[str]],
    output_dir: str | os.PathLike[str] = "refinement",
    *,
    instprm: str | os.PathLike[str] | None = None,
    bkg_terms: int = 6,
    limits: Sequence[float] | None = None,
    n_cpus: int = 1,
    refine_atoms: bool = True,
    export: bool = True,
    gsas2_python: str | os.PathLike[str] | None = None,
    histograms: Iterable[int] | None = None,
    time_limit: float = 300.0,
    skip_existing: bool = False,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Refine the lineouts of a `.zarr.zip` and return the summary, which is also in `refinement_summary.json`.

    Parameters
    ----------
    data_file
        The caked file. A `.instprm` of the same name beside it overrides its instrument parameters.
    cif_files
        One CIF per phase.
    output_dir
        Folder for `hist_NNNN.gpx`, `hist_NNNN_<phase>.cif`, `hist_NNNN_data.csv` and the summary.
    instprm
        Instrument parameter file whose values win over those of the data.
    bkg_terms
        Terms of the Chebyshev background.
    limits
        2θ range fitted [deg]; all when None.
    n_cpus
        Histograms refined at the same time; 0 takes every core. The results do not depend on it.
    refine_atoms
        Whether coordinates and displacements are refined in the end.
    export
        Whether project, CIF and CSV files are written.
    gsas2_python
        Interpreter that has GSAS-II, when it is not this one; MIDAS_GSAS2_PYTHON does the same.
    histograms
        Indices to refine (sum-major, eta-minor); all when None.
    time_limit
        Seconds allowed for one histogram.
    skip_existing
        Take up a run again: leave histograms alone that were refined from the same inputs in the same way, by the same
        engine and midas; their results are those in `hist_NNNN.json`.
    executor
        Who refines: any executor of `concurrent.futures`, such as dask's, of processes that see the files by the same
        names; `n_cpus` then says how many it does at a time. None: workers of this machine. Results are the same.
    progress
        Called after each histogram with (done, total, note).

    Returns
    -------
    dict
        total_histograms, succeeded, partial, failed, skipped, mean_Rwp (of the successes; None without one) and, for
        each of `histograms`, status, reason, Rwp, the cells with esds, stages and warnings.

    Raises
    ------
    InputError
        An argument is missing or out of range; nothing was written then.
    RefinementError
        GSAS-II is not there; the message says where to get it.

    Examples
    --------
    >>> summary = run_refinement("x.zarr.zip", ["CeO2.cif"], n_cpus=8)  # doctest: +SKIP
    >>> summary["succeeded"], summary["total_histograms"]  # doctest: +SKIP
    (72, 72)
    """
    from midas.io.atomic import output_folder
    from midas.io.gsas_zarr import read_cake_file

    path = Path(data_file)
    if n_cpus < 0:
        raise InputError(f"n_cpus is {n_cpus}; expected 1 or more, or 0 for every core")
    if not time_limit > 0:
        raise InputError(f"time_limit is {time_limit} s; expected a positive number of seconds")
    options = BatchOptions(
        phases=check_phases(cif_files),
        output_dir=Path(output_dir).resolve(),
        stages=default_stages(refine_atoms=refine_atoms),
        instprm=_check_instprm(instprm, path),
        limits=_check_limits(limits),
        bkg_terms=_check_terms(bkg_terms),
        export=export,
        n_cpus=n_cpus or os.cpu_count() or 1,
        time_limit=time_limit,
        skip_existing=skip_existing,
    )
    cake = read_cake_file(path)
    chosen = _check_histograms(histograms, cake.intensity.shape[0] * cake.intensity.shape[2])
    with output_folder(options.output_dir):
        engine, worker = start_gsas2(gsas2_python)
        if executor is not None:
            worker.close()
            return refine_cake(cake, path, options, engine, chosen, progress, executor=executor)
        return refine_cake(cake, path, options, engine, chosen, progress, first=worker)


def check_phases(cif_files: Sequence[str | os.PathLike[str]]) -> tuple[PhaseFile, ...]:
    """Return the phases, named for their files; raise InputError for a CIF without cell or atoms."""
    import gemmi

    files = [cif_files] if isinstance(cif_files, (str, os.PathLike)) else list(cif_files)
    if not files:
        raise InputError("no phase to refine: name at least one CIF file (--cif)")
    phases: list[PhaseFile] = []
    for file in files:
        path = Path(file)
        if not path.is_file():
            raise InputError(f"the CIF file {path} does not exist")
        try:
            structure = gemmi.read_small_structure(str(path))
        except (ValueError, RuntimeError, OSError) as error:
            raise InputError(f"{path} cannot be read as CIF: {str(error).splitlines()[0]}") from error
        if not structure.sites or not structure.cell.is_crystal():
            raise InputError(f"{path} has no unit cell or no atoms; a refinement needs a CIF of a structure")
        stem = re.sub(r"[^\w.+-]", "_", path.stem) or "phase"
        taken = [p.name for p in phases]
        name = next(n for n in (stem, *(f"{stem}_{i}" for i in range(2, len(files) + 2))) if n not in taken)
        phases.append(PhaseFile(name, path.resolve()))
    return tuple(phases)


def _check_instprm(instprm: str | os.PathLike[str] | None, data_file: Path) -> Path | None:
    found = override_beside(data_file) if instprm is None else Path(instprm)
    if found is None:
        return None
    if not found.is_file():
        raise InputError(f"the instrument parameter file {found} does not exist")
    with found.open(encoding="utf-8", errors="replace") as stream:
        first = stream.readline()
    if "GSAS-II" not in first:
        raise InputError(f"{found} is not a GSAS-II instrument file: its first line is {first.strip()[:60]!r}")
    return found.resolve()


def _check_limits(limits: Sequence[float] | None) -> tuple[float, float] | None:
    if limits is None:
        return None
    if len(limits) != 2 or not 0 <= limits[0] < limits[1] < 180:
        raise InputError(f"limits are {tuple(limits)}; expected a lower and a higher 2theta between 0 and 180 deg")
    return float(limits[0]), float(limits[1])


def _check_terms(terms: int) -> int:
    if not 1 <= terms <= MAX_BACKGROUND_TERMS:
        raise InputError(f"bkg_terms is {terms}; expected 1 to {MAX_BACKGROUND_TERMS}")
    return int(terms)


def _check_histograms(histograms: Iterable[int] | None, total: int) -> list[int]:
    if histograms is None:
        return list(range(total))
    chosen = sorted({int(i) for i in histograms})
    outside = [i for i in chosen if not 0 <= i < total]
    if outside or not chosen:
        raise InputError(f"histograms {outside or chosen} are not in the file, which has 0 to {total - 1}")
    return chosen


def refine_cake(
    cake: CakeFile,
    data_file: Path,
    options: BatchOptions,
    engine: EngineCommand,
    histograms: list[int],
    progress: Progress | None = None,
    *,
    first: Worker | None = None,
    executor: Executor | None = None,
) -> dict[str, Any]:
    """Refine the chosen lineouts of a cake with an engine, write the files and return the summary.

    `first` is a worker of the engine that runs already; an `executor` takes the place of workers of this process.
    """
    begin = time.perf_counter()
    run = BatchRun(cake, options, engine, histograms, progress)
    with contextlib.ExitStack() as stack:
        if executor is None:
            pool = stack.enter_context(WorkerPool(engine, options.n_cpus, time_limit=options.time_limit, first=first))
            results = refine_all(pool, run.jobs())
        else:
            results = refine_elsewhere(
                executor, engine, run.jobs(), n_workers=options.n_cpus, time_limit=options.time_limit
            )
        for job, result in results:
            run.take(job, result)
    about = {
        "engine": {"name": engine.name, "version": engine.version},
        "cif_files": [str(p.path) for p in options.phases],
        "instprm": None if options.instprm is None else str(options.instprm),
        "limits": None if options.limits is None else list(options.limits),
        "bkg_terms": options.bkg_terms,
        "stages": stages_to_data(options.stages),
        "sigma": "Poisson" if cake.variance is None else "variance of the file",
        "n_cpus": options.n_cpus,
        "output_dir": str(options.output_dir),
        "seconds": round(time.perf_counter() - begin, 3),
    }
    summary = summarise(data_file, run.records.values(), about)
    write_summary(summary, options.output_dir)
    return summary


class BatchRun:
    """The histograms of a batch on their way: jobs go out, results come in and are written down."""

    def __init__(
        self,
        cake: CakeFile,
        options: BatchOptions,
        engine: EngineCommand,
        histograms: list[int],
        progress: Progress | None = None,
    ) -> None:
        self.cake, self.options, self.engine = cake, options, engine
        self.histograms, self.progress = histograms, progress
        self.records: dict[int, HistogramRecord] = {}
        """What became of each histogram, without curves: a long scan would fill the memory with them."""
        self._out: dict[int, tuple[Lineout, str]] = {}

    def jobs(self) -> Iterator[RefinementJob]:
        """Yield the jobs to do; lineouts to skip, and those refined before, are noted on the way."""
        instrument, radius_mm = read_instrument(dict(self.cake.instrument))
        old = old_outputs(self.options.output_dir)
        for lineout in iterate_lineouts(self.cake, self.histograms, self.options.limits):
            if lineout.skipped:
                remove(old.get(lineout.index, []))
                self._note(lineout, skipped_result(lineout))
                continue
            job = make_job(lineout, instrument, radius_mm, self.options)
            mark = fingerprint(job, self.engine)
            before = read_record(job, mark) if self.options.skip_existing else None
            if before is not None:
                self._note(lineout, before)
                continue
            remove(old.get(lineout.index, []))
            self._out[lineout.index] = without_arrays(lineout), mark
            yield job

    def take(self, job: RefinementJob, result: RefinementResult) -> None:
        """Write the files of a result, its record last."""
        lineout, mark = self._out.pop(job.index)
        _write_outputs(result, self.options)
        write_record(result, mark, self.options.output_dir)
        self._note(lineout, result)

    def _note(self, lineout: Lineout, result: RefinementResult) -> None:
        self.records[lineout.index] = HistogramRecord(without_arrays(lineout), without_curves(result))
        if self.progress is not None:
            note = f"histogram {lineout.index}: {result.status}"
            self.progress(len(self.records), len(self.histograms), note)


def make_job(lineout: Lineout, instrument: Instrument, radius_mm: float, options: BatchOptions) -> RefinementJob:
    """Return the job of a lineout; without an override the widths start from the data where the file's cannot fit."""
    remark = None
    if options.instprm is None:
        instrument, remark = with_observed_width(instrument, lineout)
    return RefinementJob(
        index=lineout.index,
        sum_index=lineout.sum_index,
        eta_index=lineout.eta_index,
        two_theta=lineout.two_theta,
        intensity=lineout.intensity,
        sigma=lineout.sigma,
        instrument=instrument,
        phases=options.phases,
        stages=options.stages,
        output_dir=options.output_dir,
        eta=lineout.eta,
        azimuth=90.0 - lineout.eta,
        omega=lineout.omega,
        temperature=lineout.temperature,
        pressure=lineout.pressure,
        radius_mm=radius_mm,
        limits=options.limits,
        background_terms=options.bkg_terms,
        instrument_file=options.instprm,
        export=options.export,
        warnings=() if remark is None else (remark,),
    )


def old_outputs(folder: Path) -> dict[int, list[Path]]:
    """Return the files that an earlier run wrote for each histogram."""
    found: dict[int, list[Path]] = {}
    for path in folder.iterdir():
        match = OUTPUT_NAME.fullmatch(path.name)
        if match:
            found.setdefault(int(match[1]), []).append(path)
    return found


def remove(old: list[Path]) -> None:
    """Remove what an earlier run wrote for a histogram, so that no file of a better day stands beside a failure."""
    for path in sorted(old, key=lambda p: p.suffix != ".json"):  # the record first: what it vouches for goes after it
        path.unlink(missing_ok=True)


def _write_outputs(result: RefinementResult, options: BatchOptions) -> None:
    if options.export and result.curves:
        write_columns(result, options.output_dir)
    if result.log and (options.export or result.status != "success"):
        with atomic_path(options.output_dir / f"hist_{result.index:04d}.log") as temporary:
            temporary.write_text(result.log, encoding="utf-8")
