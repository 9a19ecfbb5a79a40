"""Refining every lineout of a caked file: checks, the workers, and the results of the batch."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from midas.checks import check_type, number, whole_number
from midas.ending import saying_what_is_kept
from midas.errors import InputError
from midas.refine.batch_run import BatchOptions, BatchRun, Progress, old_outputs
from midas.refine.cake_checks import check_cake
from midas.refine.check import CalibrationCheck, check_rings
from midas.refine.choices import AUTO, check_excluded, check_limits, check_reach, check_terms, choose_histograms
from midas.refine.dispatch import EngineCommand, Worker, WorkerPool, refine_all
from midas.refine.engine import check_engine
from midas.refine.executors import refine_elsewhere
from midas.refine.job import RefinementJob, RefinementResult
from midas.refine.lineouts import iterate_lineouts, read_instrument
from midas.refine.locate import start_gsas2
from midas.refine.overrides import check_instprm, override_notes
from midas.refine.phases import check_phases
from midas.refine.pictures import remove_old_pictures
from midas.refine.shown import RefinementSummary
from midas.refine.stages import Stage, check_recipe, default_stages, stages_to_data
from midas.refine.summary import CELL, SUMMARY_NAME, summarise, write_summary
from midas.refine.table import TABLE_NAME, write_table

if TYPE_CHECKING:
    from midas.io.gsas_zarr import CakeFile

_log = logging.getLogger(__name__)


def run_refinement(
    data_file: str | os.PathLike[str],
    cif_files: Sequence[str | os.PathLike[str]],
    output_dir: str | os.PathLike[str] = "refinement",
    *,
    instprm: str | os.PathLike[str] | None = None,
    bkg_terms: int | str = 6,
    limits: Sequence[float] | None = None,
    exclude: Iterable[Sequence[float]] | None = None,
    stages: Sequence[Stage | Mapping[str, Any]] | None = None,
    n_cpus: int = 1,
    refine_atoms: bool = True,
    export: bool = True,
    engine: str = "gsas2",
    gsas2_python: str | os.PathLike[str] | None = None,
    histograms: Iterable[int] | None = None,
    omega: Sequence[float] | None = None,
    eta: Sequence[float] | None = None,
    time_limit: float = 300.0,
    skip_existing: bool = False,
    executor: Executor | None = None,
    workers: WorkerPool | None = None,
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
        Folder for `hist_NNNN.gpx`, `hist_NNNN_<phase>.cif`, `hist_NNNN_data.csv`, the summary and the table
        (`refinement_table.csv`, and `.parquet` where pyarrow is installed).
    instprm
        Instrument parameter file whose values win over those of the data.
    bkg_terms
        Terms of the Chebyshev background; "auto" takes as many as the data ask for (`judge.background_terms`).
    limits
        2θ range fitted [deg]; all when None.
    exclude
        Regions of 2θ left out, pairs of a lower and a higher one [deg].
    stages
        The recipe, as `Stage` or plain dictionaries with its fields (`stages_to_data`); the manual's when None.
    n_cpus
        Histograms refined at the same time; 0 takes every core. The results do not depend on it.
    refine_atoms
        Whether coordinates and displacements are refined in the end; of no account where `stages` are given.
    export
        Whether project, CIF and CSV files are written.
    engine
        What refines; "gsas2" is the only one so far.
    gsas2_python
        Interpreter that has GSAS-II, when it is not this one; MIDAS_GSAS2_PYTHON does the same.
    histograms
        Indices to refine (sum-major, eta-minor); all when None.
    omega
        Only sums whose middle lies between these two [deg].
    eta
        Only lineouts from the first to the second angle [deg], which may pass through 180, as (170, -170) does.
    time_limit
        Seconds allowed for one histogram.
    skip_existing
        Take up a run again: leave histograms alone that were refined from the same inputs in the same way, by the same
        engine and midas; their results are those in `hist_NNNN.json`.
    executor
        Who refines: any executor of `concurrent.futures`, such as dask's, of processes that see the files by the same
        names; `n_cpus` then says how many it does at a time. None: workers of this machine. Results are the same.
    workers
        Workers that stay warm for the next file, such as those of `open_workers`; `n_cpus`, `time_limit` and
        `gsas2_python` are theirs then. None: workers of this call.
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
    ClusterError
        The executor is that of a cluster which is gone; histograms finished before are kept for `skip_existing`.

    Examples
    --------
    >>> summary = run_refinement("x.zarr.zip", ["CeO2.cif"], n_cpus=8)  # doctest: +SKIP
    >>> summary["succeeded"], summary["total_histograms"]  # doctest: +SKIP
    (72, 72)

    What cannot be done is refused before anything is written:

    >>> run_refinement("x.zarr.zip", ["CeO2.cif"])
    Traceback (most recent call last):
    ...
    midas.errors.InputError: the CIF file CeO2.cif does not exist
    """
    from midas.io.atomic import output_folder
    from midas.io.gsas_zarr import read_cake_file

    check_engine(engine)
    if not isinstance(data_file, str | os.PathLike):
        raise InputError(f"the caked file is {data_file!r}; name it, such as scan.zarr.zip")
    n_cpus = whole_number("n_cpus", n_cpus, "1 or more, or 0 for every core")
    time_limit = number("time_limit", time_limit, "a positive number of seconds")
    path = Path(data_file)
    if path.is_dir() or not path.name:
        raise InputError(f"{data_file} is a folder; name a caked file, NAME.zarr.zip")
    if n_cpus < 0:
        raise InputError(f"n_cpus is {n_cpus}; expected 1 or more, or 0 for every core")
    if executor is not None and workers is not None:
        raise InputError("executor and workers were both given; give one of them")
    if workers is not None:
        check_type("workers", workers, WorkerPool, call="made by open_workers")
    if not time_limit > 0:
        raise InputError(f"time_limit is {time_limit} s; expected a positive number of seconds")
    phases = check_phases(cif_files)
    recipe = default_stages(refine_atoms=refine_atoms) if stages is None else stages
    options = BatchOptions(
        phases=phases,
        output_dir=Path(output_dir).resolve(),
        stages=check_recipe(recipe, [p.name for p in phases]),
        instprm=check_instprm(instprm, path),
        override_notes=override_notes(instprm, path),
        limits=check_limits(limits),
        excluded=check_excluded(exclude),
        bkg_terms=check_terms(bkg_terms),
        export=export,
        n_cpus=_cores(n_cpus) if workers is None else workers.n_workers,
        time_limit=time_limit,
        skip_existing=skip_existing,
    )
    cake = read_cake_file(path)
    check_cake(cake, path)
    chosen = choose_histograms(cake, histograms, omega, eta)
    check_reach(cake, options.limits, options.excluded)
    with output_folder(options.output_dir):
        if workers is not None:
            return refine_cake(cake, path, options, workers.command, chosen, progress, workers=workers)
        at_once = 1 if executor is not None else min(options.n_cpus, len(chosen))
        kept = saying_what_is_kept(lambda: 0, len(chosen), "histograms", options.output_dir)
        with kept:
            command, ready = start_gsas2(gsas2_python, at_once)
        if executor is not None:
            ready[0].close()
            return refine_cake(cake, path, options, command, chosen, progress, executor=executor)
        return refine_cake(cake, path, options, command, chosen, progress, ready=ready)


def open_workers(engine: EngineCommand, n_cpus: int, *, time_limit: float = 300.0) -> WorkerPool:
    """Return workers that stay warm over several files, as a context; each starts when it is first needed."""
    return WorkerPool(engine, _cores(n_cpus), time_limit=time_limit)


def _cores(n_cpus: int) -> int:
    return n_cpus or os.cpu_count() or 1


def check_calibration(
    data_file: str | os.PathLike[str],
    cif_files: Sequence[str | os.PathLike[str]],
    *,
    limits: Sequence[float] | None = None,
    exclude: Iterable[Sequence[float]] | None = None,
    histograms: Iterable[int] | None = None,
    omega: Sequence[float] | None = None,
    eta: Sequence[float] | None = None,
) -> CalibrationCheck:
    """Return where the rings of the phases lie in the lineouts of a `.zarr.zip`, beside where they should; no engine.

    The arguments are those of `run_refinement`. The wavelength is the file's.
    """
    from midas.crystal import calibrant_from_cif
    from midas.io.gsas_zarr import read_cake_file

    bounds, regions = check_limits(limits), check_excluded(exclude)
    phases = [(p.name, calibrant_from_cif(p.path)) for p in check_phases(cif_files)]
    cake = read_cake_file(Path(data_file))
    check_cake(cake, Path(data_file))
    check_reach(cake, bounds, regions)
    if bounds is not None:
        regions = (*regions, (0.0, bounds[0]), (bounds[1], 180.0))
    chosen = choose_histograms(cake, histograms, omega, eta)
    lineouts = list(iterate_lineouts(cake, chosen, excluded=regions))
    return check_rings(lineouts, phases, read_instrument(dict(cake.instrument))[0].wavelength)


def check_settings(settings: Mapping[str, Any]) -> None:
    """Refuse settings of `run_refinement` that it would refuse, before there is a caked file to refine."""
    check_instprm(settings.get("instprm"), Path("none.zarr.zip"))
    check_limits(settings.get("limits"))
    check_excluded(settings.get("exclude"))
    check_terms(settings.get("bkg_terms", 6))


def refine_cake(
    cake: CakeFile,
    data_file: Path,
    options: BatchOptions,
    engine: EngineCommand,
    histograms: list[int],
    progress: Progress | None = None,
    *,
    ready: Sequence[Worker] = (),
    executor: Executor | None = None,
    workers: WorkerPool | None = None,
) -> dict[str, Any]:
    """Refine the chosen lineouts of a cake with an engine, write the files and return the summary.

    `ready` are workers of the engine that run already; an `executor` takes the place of workers of this process;
    `workers` are used and left running.
    """
    begin = time.perf_counter()
    n, limit = options.n_cpus, options.time_limit
    with contextlib.ExitStack() as stack:
        if executor is None:  # first of all: whatever fails after this, the pool ends the workers that are ready
            pool = workers or stack.enter_context(WorkerPool(engine, n, time_limit=limit, ready=ready))
        run = BatchRun(cake, options, engine, histograms, progress)
        stack.enter_context(
            saying_what_is_kept(lambda: len(run.records), len(histograms), "histograms", options.output_dir)
        )
        remove_old_results(options.output_dir)
        warn_of_others(options.output_dir, histograms)

        def refined(jobs: Iterator[RefinementJob]) -> Iterator[tuple[RefinementJob, RefinementResult]]:
            if executor is None:
                return refine_all(pool, jobs)
            return refine_elsewhere(executor, engine, jobs, n_workers=n, time_limit=limit)

        for job, result in refined(run.jobs()):
            run.take(job, result)
        for job, result in refined(run.second_jobs()):
            run.take_second(job, result)
    about = {
        "engine": {"name": engine.name, "version": engine.version},
        "cif_files": [str(p.path) for p in options.phases],
        "phase_names": [p.name for p in options.phases],
        "reference_cells": {p.name: dict(zip(CELL, p.cell, strict=False)) for p in options.phases if p.cell},
        "instprm": None if options.instprm is None else str(options.instprm),
        "override_notes": list(options.override_notes),
        "limits": None if options.limits is None else list(options.limits),
        "excluded": [list(region) for region in options.excluded],
        "bkg_terms": AUTO if options.bkg_terms is None else options.bkg_terms,
        "stages": stages_to_data(options.stages),
        "sigma": "Poisson" if cake.variance is None else "variance of the file",
        "n_cpus": options.n_cpus,
        "output_dir": str(options.output_dir),
        "seconds": round(time.perf_counter() - begin, 3),
    }
    summary = summarise(data_file, run.records.values(), about)
    write_summary(summary, options.output_dir)
    write_table(summary, options.output_dir)
    return RefinementSummary(summary)


def warn_of_others(folder: Path, histograms: list[int]) -> None:
    """Warn of files of histograms that this batch does not refine: they would pass for its own."""
    others = sorted(set(old_outputs(folder)) - set(histograms))
    if others:
        one = len(others) == 1
        _log.warning(
            "%s has files of %s of an earlier run that this one does not refine: they stay, and are in neither summary "
            "nor table; name another --out, or remove them",
            folder, f"histogram {others[0]}" if one else f"{len(others)} histograms ({others[0]} to {others[-1]})",
        )  # fmt: skip


def remove_old_results(folder: Path) -> None:
    """Remove summary, table and pictures of an earlier batch: after a killed run they would pass for its own."""
    for name in (SUMMARY_NAME, f"{TABLE_NAME}.csv", f"{TABLE_NAME}.parquet"):
        (folder / name).unlink(missing_ok=True)
    remove_old_pictures(folder)
