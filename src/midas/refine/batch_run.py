"""The histograms of a batch: the job of each, what becomes of it, and the files written."""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from midas.io.atomic import atomic_path
from midas.io.gsas_zarr import CORRECTIONS, INSTRUMENT_DEFAULTS
from midas.refine.broadening import observed_broadening, with_override
from midas.refine.dispatch import EngineCommand
from midas.refine.edges import rings_about, uncut_limits
from midas.refine.job import Instrument, PhaseFile, RefinementJob, RefinementResult
from midas.refine.lineouts import (
    Lineout,
    empty_bins,
    iterate_lineouts,
    placeholder_widths,
    read_instrument,
    with_observed_width,
    without_arrays,
)
from midas.refine.neighbours import SecondTry, is_better, second_tries
from midas.refine.records import fingerprint, read_record, without_curves, write_record
from midas.refine.stages import Stage, default_stages, frees
from midas.refine.summary import HistogramRecord, skipped_result, write_columns

if TYPE_CHECKING:
    from midas.io.gsas_zarr import CakeFile

_log = logging.getLogger(__name__)

Progress = Callable[[int, int, str], None]
"""Called with histograms done, histograms in all, and a word on the last one."""
START_TERMS = 6
"""Background terms to begin with where the data choose the number."""
OUTPUT_NAME = re.compile(r"hist_(\d{4,})(\.(gpx|log|json|png)|_.*\.cif|_data\.csv|_reflections\.csv)")
"""Files that are written for a histogram."""


@dataclass(frozen=True)
class BatchOptions:
    """What is the same for every histogram of a batch."""

    phases: tuple[PhaseFile, ...]
    output_dir: Path
    stages: tuple[Stage, ...] = field(default_factory=default_stages)
    instprm: Path | None = None
    override_notes: tuple[str, ...] = ()
    """Which files beside the data win over its parameters, and which are not used, in words."""
    limits: tuple[float, float] | None = None
    excluded: tuple[tuple[float, float], ...] = ()
    bkg_terms: int | None = 6
    """None lets the data choose."""
    export: bool = True
    n_cpus: int = 1
    time_limit: float = 300.0
    skip_existing: bool = False


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
        self.options, self.records = options, {}
        self._cake, self._engine = cake, engine
        self._histograms, self._progress = histograms, progress
        self._instrument, self._radius_mm = read_instrument(dict(cake.instrument))
        if (cake.metadata.get(CORRECTIONS) or {}).get("polarization") is not None:
            _log.warning(
                "the intensities are corrected for polarization already, and the refinement corrects them again: "
                "displacements, fractions and texture will be off; cake without PolarizationCorrection to refine"
            )
        self._rings = rings_about(cake, options.phases, self._instrument.wavelength)
        self._out: dict[int, tuple[Lineout, str]] = {}
        self._failed: dict[int, str] = {}
        self._second: dict[int, SecondTry] = {}

    records: dict[int, HistogramRecord]
    """What became of each histogram, without curves: a long scan would fill the memory with them."""

    def jobs(self) -> Iterator[RefinementJob]:
        """Yield the jobs to do; lineouts to skip, and those refined before, are noted on the way."""
        old = old_outputs(self.options.output_dir)
        for lineout in self._lineouts(self._histograms):
            if lineout.skipped:
                remove(old.get(lineout.index, []))
                self._note(lineout, skipped_result(lineout))
                continue
            job = self._job(lineout)
            mark = fingerprint(job, self._engine)
            before = read_record(job, mark) if self.options.skip_existing else None
            if before is not None:
                self._note_tried(lineout, before, mark)
                continue
            remove(old.get(lineout.index, []))
            self._out[lineout.index] = without_arrays(lineout), mark
            yield job

    def take(self, job: RefinementJob, result: RefinementResult) -> None:
        """Write the files of a result, its record last."""
        lineout, mark = self._out.pop(job.index)
        self._write(result, mark)
        self._note_tried(lineout, result, mark)

    def second_jobs(self) -> Iterator[RefinementJob]:
        """Yield the jobs of a second try, once all of the first are in: those that failed, from a good neighbour."""
        failed = {index: self.records[index].lineout for index in self._failed}
        self._second = second_tries(self.records, failed, self._cake.intensity.shape[2])
        for lineout in self._lineouts(sorted(self._second)):
            yield self._job(lineout, self._second[lineout.index])

    def _job(self, lineout: Lineout, start: SecondTry | None = None) -> RefinementJob:
        job = make_job(lineout, self._instrument, self._radius_mm, self.options, start)
        limits, remark = uncut_limits(lineout, self._rings, self.options.limits)
        warnings = job.warnings if remark is None else (*job.warnings, remark)
        return dataclasses.replace(job, limits=limits, warnings=warnings)

    def take_second(self, job: RefinementJob, result: RefinementResult) -> None:
        """Put the result of a second try in the place of the first where it is better."""
        first = self.records[job.index]
        if is_better(result, first.result):
            result = dataclasses.replace(result, started_from=self._second[job.index].neighbour)
            self._write(result, self._failed[job.index])
            self.records[job.index] = HistogramRecord(first.lineout, without_curves(result))

    def _lineouts(self, histograms: list[int]) -> Iterator[Lineout]:
        return iterate_lineouts(self._cake, histograms, self.options.limits, self.options.excluded)

    def _write(self, result: RefinementResult, mark: str) -> None:
        _write_outputs(result, self.options)
        write_record(result, mark, self.options.output_dir)

    def _note_tried(self, lineout: Lineout, result: RefinementResult, mark: str) -> None:
        if result.status == "failed" and result.error is None:
            self._failed[lineout.index] = mark
        self._note(lineout, result)

    def _note(self, lineout: Lineout, result: RefinementResult) -> None:
        self.records[lineout.index] = HistogramRecord(without_arrays(lineout), without_curves(result))
        if self._progress is not None:
            note = f"histogram {lineout.index}: {result.status}"
            self._progress(len(self.records), len(self._histograms), note)


def make_job(
    lineout: Lineout,
    instrument: Instrument,
    radius_mm: float,
    options: BatchOptions,
    start: SecondTry | None = None,
) -> RefinementJob:
    """Return the job of a lineout, to start from another fit where `start` is given.

    Without an override the widths start from the data where the file's cannot fit; but where the sample's broadening is
    refined the instrument's stays as it is.
    """
    stored, remark, broadening = instrument, None, {}
    if frees(options.stages, "size", "microstrain"):
        remark = placeholder_widths(instrument) if options.instprm is None else None
        broadening = observed_broadening(with_override(instrument, options.instprm), lineout)
    elif options.instprm is None:
        instrument, remark = with_observed_width(instrument, lineout)
    remarks = (remark, empty_bins(lineout), start.remark if start else None)
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
        eta_width=lineout.eta_width,
        omega=lineout.omega,
        temperature=lineout.temperature,
        pressure=lineout.pressure,
        radius_mm=radius_mm,
        limits=options.limits,
        background_terms=options.bkg_terms or START_TERMS,
        choose_background=options.bkg_terms is None,
        instrument_file=options.instprm,
        export=options.export,
        warnings=tuple(words for words in remarks if words is not None),
        broadening=broadening,
        sh_l_known=options.instprm is not None or knows_sh_l(stored, options.stages),
        start=start.start if start else None,
        sharing=lineout.sharing,
    )


def knows_sh_l(instrument: Instrument, stages: Sequence[Stage]) -> bool:
    """Return whether the axial divergence of a file was measured: it is not the default, or came with measured widths.

    A recipe that refines it says that it is not known.

    Examples
    --------
    >>> knows_sh_l(Instrument(0.2), default_stages()), knows_sh_l(Instrument(0.2, sh_l=0.0005), default_stages())
    (False, True)
    """
    measured = placeholder_widths(instrument) is None and not frees(stages, "sh_l")
    return measured or instrument.sh_l != INSTRUMENT_DEFAULTS["SH_L"]


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
