"""Refining every lineout of a caked file: checks, jobs, the pool of workers, and the files written."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from midas.errors import InputError
from midas.io.atomic import atomic_path
from midas.refine.check import CalibrationCheck, check_rings
from midas.refine.choices import AUTO, check_excluded, check_limits, check_terms, choose_histograms
from midas.refine.dispatch import EngineCommand, WorkerPool, refine_all
from midas.refine.engine import check_engine
from midas.refine.job import Instrument, PhaseFile, RefinementJob, RefinementResult, Start
from midas.refine.lineouts import (
    Lineout,
    iterate_lineouts,
    override_beside,
    placeholder_widths,
    read_instrument,
    with_observed_width,
)
from midas.refine.locate import find_gsas2
from midas.refine.neighbours import is_better, second_tries
from midas.refine.pictures import remove_old_pictures
from midas.refine.stages import Stage, check_recipe, default_stages, frees, stages_to_data
from midas.refine.summary import SUMMARY_NAME, HistogramRecord, skipped_result, summarise, write_columns, write_summary
from midas.refine.table import TABLE_NAME, write_table

if TYPE_CHECKING:
    from midas.io.gsas_zarr import CakeFile

Progress = Callable[[int, int, str], None]
"""Called with histograms done, histograms in all, and a word on the last one."""
START_TERMS = 6
"""Background terms to begin with where the data choose the number."""


@dataclass(frozen=True)
class BatchOptions:
    """What is the same for every histogram of a batch."""

    phases: tuple[PhaseFile, ...]
    output_dir: Path
    stages: tuple[Stage, ...] = field(default_factory=default_stages)
    instprm: Path | None = None
    limits: tuple[float, float] | None = None
    excluded: tuple[tuple[float, float], ...] = ()
    bkg_terms: int | None = 6
    """None lets the data choose."""
    export: bool = True
    n_cpus: int = 1
    time_limit: float = 300.0


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

    check_engine(engine)
    path = Path(data_file)
    if n_cpus < 0:
        raise InputError(f"n_cpus is {n_cpus}; expected 1 or more, or 0 for every core")
    if not time_limit > 0:
        raise InputError(f"time_limit is {time_limit} s; expected a positive number of seconds")
    phases = check_phases(cif_files)
    recipe = default_stages(refine_atoms=refine_atoms) if stages is None else stages
    options = BatchOptions(
        phases=phases,
        output_dir=Path(output_dir).resolve(),
        stages=check_recipe(recipe, [p.name for p in phases]),
        instprm=_check_instprm(instprm, path),
        limits=check_limits(limits),
        excluded=check_excluded(exclude),
        bkg_terms=check_terms(bkg_terms),
        export=export,
        n_cpus=n_cpus or os.cpu_count() or 1,
        time_limit=time_limit,
    )
    cake = read_cake_file(path)
    chosen = choose_histograms(cake, histograms, omega, eta)
    with output_folder(options.output_dir):
        command = find_gsas2(gsas2_python)
        return refine_cake(cake, path, options, command, chosen, progress)


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
    if bounds is not None:
        regions = (*regions, (0.0, bounds[0]), (bounds[1], 180.0))
    chosen = choose_histograms(cake, histograms, omega, eta)
    lineouts = list(iterate_lineouts(cake, chosen, excluded=regions))
    return check_rings(lineouts, phases, read_instrument(dict(cake.instrument))[0].wavelength)


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


def check_settings(settings: Mapping[str, Any]) -> None:
    """Refuse settings of `run_refinement` that it would refuse, before there is a caked file to refine."""
    _check_instprm(settings.get("instprm"), Path("none.zarr.zip"))
    check_limits(settings.get("limits"))
    check_terms(settings.get("bkg_terms", 6))


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


def refine_cake(
    cake: CakeFile,
    data_file: Path,
    options: BatchOptions,
    engine: EngineCommand,
    histograms: list[int],
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Refine the chosen lineouts of a cake with an engine, write the files and return the summary."""
    begin = time.perf_counter()
    remove_old_results(options.output_dir)
    instrument, radius_mm = read_instrument(dict(cake.instrument))
    records: dict[int, HistogramRecord] = {}
    lineouts: dict[int, Lineout] = {}
    failed: dict[int, Lineout] = {}

    def note(lineout: Lineout, result: RefinementResult) -> None:
        records[lineout.index] = HistogramRecord(lineout, result)
        if progress is not None:
            progress(len(records), len(histograms), f"histogram {lineout.index}: {result.status}")

    def jobs() -> Iterator[RefinementJob]:
        for lineout in iterate_lineouts(cake, histograms, options.limits, options.excluded):
            remove_old_outputs(options.output_dir, lineout.index)
            if lineout.skipped:
                note(lineout, skipped_result(lineout))
                continue
            lineouts[lineout.index] = lineout
            yield make_job(lineout, instrument, radius_mm, options)

    with WorkerPool(engine, options.n_cpus, time_limit=options.time_limit) as pool:
        for job, result in refine_all(pool, jobs()):
            lineout = lineouts.pop(job.index)
            if result.status == "failed" and result.error is None:
                failed[job.index] = lineout
            _write_outputs(result, options)
            note(lineout, result)
        again = second_tries(records, failed, cake.intensity.shape[2])
        for job, result in refine_all(pool, (make_job(o, instrument, radius_mm, options, start) for o, start in again)):
            if is_better(result, records[job.index].result):
                _write_outputs(result, options)
                records[job.index] = HistogramRecord(failed[job.index], result)
    about = {
        "engine": {"name": engine.name, "version": engine.version},
        "cif_files": [str(p.path) for p in options.phases],
        "phase_names": [p.name for p in options.phases],
        "instprm": None if options.instprm is None else str(options.instprm),
        "limits": None if options.limits is None else list(options.limits),
        "excluded": [list(region) for region in options.excluded],
        "bkg_terms": AUTO if options.bkg_terms is None else options.bkg_terms,
        "stages": stages_to_data(options.stages),
        "sigma": "Poisson" if cake.variance is None else "variance of the file",
        "n_cpus": options.n_cpus,
        "output_dir": str(options.output_dir),
        "seconds": round(time.perf_counter() - begin, 3),
    }
    summary = summarise(data_file, records.values(), about)
    write_summary(summary, options.output_dir)
    write_table(summary, options.output_dir)
    return summary


def make_job(
    lineout: Lineout,
    instrument: Instrument,
    radius_mm: float,
    options: BatchOptions,
    start: tuple[Start, str] | None = None,
) -> RefinementJob:
    """Return the job of a lineout, to start from another fit and with a remark on that where `start` is given.

    Without an override the widths start from the data where the file's cannot fit; but where the sample's broadening is
    refined the instrument's stays as it is.
    """
    remark = None
    if options.instprm is None and frees(options.stages, "size", "microstrain"):
        remark = placeholder_widths(instrument)
    elif options.instprm is None:
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
        background_terms=options.bkg_terms or START_TERMS,
        choose_background=options.bkg_terms is None,
        instrument_file=options.instprm,
        export=options.export,
        warnings=tuple(words for words in (remark, start[1] if start else None) if words is not None),
        start=start[0] if start else None,
    )


def remove_old_results(folder: Path) -> None:
    """Remove summary, table and pictures of an earlier batch: after a killed run they would pass for its own."""
    for name in (SUMMARY_NAME, f"{TABLE_NAME}.csv", f"{TABLE_NAME}.parquet"):
        (folder / name).unlink(missing_ok=True)
    remove_old_pictures(folder)


def remove_old_outputs(folder: Path, index: int) -> None:
    """Remove what an earlier run wrote for a histogram, so that no file of a better day stands beside a failure."""
    for end in (".gpx", "_*.cif", "_data.csv", "_reflections.csv", ".log", ".png"):
        for path in folder.glob(f"hist_{index:04d}{end}"):
            path.unlink()


def _write_outputs(result: RefinementResult, options: BatchOptions) -> None:
    if options.export and result.curves:
        write_columns(result, options.output_dir)
    if result.log and (options.export or result.status != "success"):
        with atomic_path(options.output_dir / f"hist_{result.index:04d}.log") as temporary:
            temporary.write_text(result.log, encoding="utf-8")
