"""The only importer of GSAS-II: a process that refines histograms, one JSON line in, one JSON line out.

Run as ``PYTHON worker.py --home DIR [--path FOLDER] [--plain]`` by whatever interpreter GSAS-II lives in, so
nothing of midas is imported; only neighbours that are as self-contained are loaded, by their paths.
GSAS-II is imported once and kept warm. What it prints, from Python, C or Fortran, goes to a file and comes back with
the result.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import json
import os
import shutil
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
MAX_LOG = 20000
"""Characters of captured output sent back; the end is kept."""
SHORT_STEPS, TWO_STEPS, SYMMETRIC = " after short steps", " after a fit of its own", " with symmetric lines"
KEPT, ROLLED_BACK, NOT_NEEDED, NOT_REACHED = "kept", "rolled back", "not needed", "not reached"


def load_neighbour(name: str) -> Any:
    """Return a module lying beside this file, loaded without importing the package it belongs to."""
    full = f"midas_worker_{name}"
    if full not in sys.modules:
        spec = importlib.util.spec_from_file_location(full, HERE / f"{name}.py")
        if spec is None or spec.loader is None:
            raise ImportError(f"{name}.py is missing beside {__file__}")
        module = importlib.util.module_from_spec(spec)
        sys.modules[full] = module
        spec.loader.exec_module(module)
    return sys.modules[full]


def prepare_home(folder: Path) -> None:
    """Make `folder` the private HOME: with a settings file, and with what the user compiled or added kept in reach.

    Without ``~/.GSASII/config.ini`` GSAS-II imports any module called ``config`` that is on the path.
    """
    settings = folder / ".GSASII"
    settings.mkdir(parents=True, exist_ok=True)
    (settings / "config.ini").write_text("[GUI settings]\n", encoding="utf-8")
    own = Path.home() / ".GSASII"
    for name in ("bin", "bindist", "GSASII-bin", "AllBinaries", "imports"):
        if (own / name).is_dir() and not (settings / name).exists():
            (settings / name).symlink_to(own / name, target_is_directory=True)
    os.environ["HOME"] = os.environ["USERPROFILE"] = str(folder)


def import_gsas2(path: str | None, *, plain: bool = False) -> Any:
    """Return GSAS-II's scripting module, from a folder put first on the path or from where it is installed.

    `plain` leaves the shortcuts of `gsas2_shortcuts.py` out.
    """
    sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != HERE]
    if path:
        sys.path.insert(0, path)
    try:
        spec = importlib.util.find_spec("GSASII.GSASIIscriptable")
    except ModuleNotFoundError:
        spec = None
    prefix = "GSASII." if spec is not None else ""
    scripting = importlib.import_module(f"{prefix}GSASIIscriptable")
    location = importlib.import_module(f"{prefix}GSASIIpath")
    if getattr(location, "BinaryPathLoaded", True) is False:
        raise ImportError("its compiled binaries are missing or do not fit this interpreter")
    try:
        importlib.import_module("CifFile")
    except ModuleNotFoundError:
        try:
            importlib.import_module(f"{prefix}CifFile")
        except ModuleNotFoundError:
            raise ImportError(
                f"its CIF reader needs pycifrw, which this Python lacks: {sys.executable} -m pip install pycifrw"
            ) from None
    load_neighbour("gsas2_mends").install(prefix)
    load_neighbour("gsas2_sharing").install(prefix)
    if not plain:
        load_neighbour("gsas2_shortcuts").install(prefix)
    return scripting


def describe(scripting: Any) -> dict[str, Any]:
    """Return what was found: version, folder and interpreter."""
    location = sys.modules[scripting.__name__.replace("GSASIIscriptable", "GSASIIpath")]
    version = None
    for name in ("GetVersionNumber", "GetVersionTag"):
        if hasattr(location, name):
            version = str(getattr(location, name)())
            break
    folder = str(Path(scripting.__file__).resolve().parent)
    return {"found": True, "engine": "GSAS-II", "version": version, "folder": folder, "python": sys.executable}


class Captured:
    """The process's standard output and error, redirected to a file at the level of file descriptors."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.reply = os.fdopen(os.dup(1), "w", encoding="utf-8")
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
        os.dup2(self._fd, 1)
        os.dup2(self._fd, 2)

    def clear(self) -> None:
        """Forget what was captured so far."""
        sys.stdout.flush()
        sys.stderr.flush()
        os.ftruncate(self._fd, 0)

    def text(self) -> str:
        """Return the end of what was captured since the last `clear`."""
        sys.stdout.flush()
        sys.stderr.flush()
        return self.path.read_text(encoding="utf-8", errors="replace")[-MAX_LOG:]

    def send(self, message: dict[str, Any]) -> None:
        """Write one line to whoever started this process."""
        self.reply.write(json.dumps(message) + "\n")
        self.reply.flush()


def refine(scripting: Any, job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the result of one histogram, stage by stage, as plain data."""
    outcome, judge = load_neighbour("gsas2_results"), load_neighbour("judge")
    sharing = load_neighbour("gsas2_sharing")
    sharing.SHARED.begin(job["two_theta"], job["sigma"], job["sharing"])
    text, cells = load_neighbour("gsas2_text"), load_neighbour("cell_esds")
    model = load_neighbour("gsas2_model").Model(scripting, job, folder, text, sharing.SHARED, cells)
    records, stopped, absent, doubts = run_stages(model, job["stages"], judge)
    o, c, b, w = model.observed, model.calculated, model.background, model.weights
    explained = judge.explained_fraction(o, c, b, w)
    r_wp, gof = judge.r_wp(o, c, w), model.gof()
    status, reason = judge.verdict(
        judge.FitFacts(
            stopped=stopped,
            rolled_back=tuple(r["name"] for r in records if r["outcome"] == ROLLED_BACK),
            absent=tuple(absent),
            doubtful=(*judge.doubtful_cells(model.cells(), model.reference), *doubts),
            reduced=tuple(reduced_stages(job["stages"], records)),
            n_phases=len(job["phases"]),
            r_wp=r_wp,
            gof=gof,
            explained=explained,
        )
    )
    if reason is not None and not job["choose_background"] and not model.phases_without_reflections():
        advice = load_neighbour("residual").background_advice(model.two_theta, o, c, w)
        reason = f"{advice}; {reason}" if advice else reason
    warnings = list(job.get("warnings", []))
    if not model.residual_values.get(sharing.DONE, True):
        warnings.append("the standard uncertainties do not allow for the pixels that neighbouring points share")
    rings = load_neighbour("ring_scatter")
    agreement = outcome.rings_beside_esds(model, rings)
    warnings += [
        rings.disagreement(name, found["ring_scatter"], found["unlike_ring"])
        for name, found in agreement.items()
        if found["unlike_ring"] is not None
    ]
    values = outcome.results(model)
    for phase in values["phases"]:
        phase |= agreement.get(phase["name"], {})
    result = {
        "index": job["index"],
        "status": status,
        "reason": reason,
        "r_wp": _finite(r_wp),
        "gof": _finite(gof),
        "explained": explained,
        "stages": records,
        **values,
        "curves": outcome.curves(model),
        "reflections": model.reflections(),
    }
    if job["export"] and not (job["start"] and status == "failed"):  # the files of the first try stay
        result["project"] = export(model, job, folder, status, warnings)
    return {**result, "warnings": warnings}


def reduced_stages(stages: list[dict[str, Any]], records: list[dict[str, Any]]) -> list[str]:
    """Return the stages of which less was kept than they wanted, each with what was refined."""
    kept = {r["name"]: set(r["refined"]) for r in records if r["outcome"] == KEPT}
    return [
        f"{s['name']}: {', '.join(sorted(kept[s['name']]))} only"
        for s in stages
        if s["name"] in kept and not set(s["refine"]) <= kept[s["name"]]
    ]


def _finite(value: float | None) -> float | None:
    return value if value is not None and abs(value) < float("inf") else None


def run_stages(
    model: Any, stages: list[dict[str, Any]], judge: Any
) -> tuple[list[dict[str, Any]], str | None, list[str], list[str]]:
    """Run the stages in order; return their records, why it stopped early (or None), absent phases and reservations."""
    records: list[dict[str, Any]] = []
    absent: list[str] = []
    kept: set[str] = set()
    stopped: str | None = None
    for stage in stages:
        if stopped:
            records.append(_record(stage["name"], NOT_REACHED))
            continue
        first = not kept
        record, kept = run_stage(model, stage, kept, judge)
        records.append(record)
        if first and record["outcome"] == ROLLED_BACK and "scale" in stage["refine"]:
            record, kept, gone_now = start_linearly(model, stage, record, judge)
            records[-1] = record
            absent += gone_now
        if record["outcome"] == KEPT and "scale" in record["refined"]:
            gone = {n: s for n, s in model.scales().items() if not judge.is_present(*s)}
            absent += [_absence(name, *scale) for name, scale in gone.items()]
            if len(absent) == len(model.phase_names):
                stopped = "no phase is in the data"
            elif gone:
                model.leave_out(list(gone))
                again, kept = run_stage(model, stage, kept - set(stage["refine"]), judge, anew=True)
                records[-1] = again
                record = again
        if record["outcome"] == ROLLED_BACK and len(model.active) > 1:
            record, kept, gone_now = retry_without_one(model, stage, kept, record, judge)
            records[-1] = record
            absent += gone_now
        if record["outcome"] == ROLLED_BACK and stage["required"]:
            stopped = f"{stage['name']}: {'; '.join(record['problems'])}"
            missing = model.phases_without_reflections()
            if missing:
                stopped = f"no reflection of {', '.join(missing)} lies within the range fitted: set other --limits"
    if stopped is None:
        seen = load_neighbour("presence").look_again(model, kept, judge, run_stage)
        records += seen.values()
        absent = [
            words for words in absent if not words.startswith(tuple(f"{name} is not in the data" for name in seen))
        ]
    if stopped is None and len(model.active) > 1:
        outcome = {record["name"]: record["outcome"] for record in records}
        missed = [s for s in stages if outcome.get(s["name"]) in (ROLLED_BACK, NOT_NEEDED)]
        gone_now, kept, more = load_neighbour("presence").drop_ghosts(model, kept, judge, run_stage, missed)
        absent += gone_now
        records = [r for r in records if r["name"] not in {m["name"] for m in more}] + more
    doubts: list[str] = []
    if stopped is None:
        more, doubts = load_neighbour("axial").settle(model, kept, judge, run_stage)
        records += more
    if stopped is None and model.job["choose_background"]:
        records.append(choose_background(model, kept, judge))
    return records, stopped, absent, [*doubts, *judge.doubtful_uiso(model.displacements())]


def start_linearly(
    model: Any, stage: dict[str, Any], record: dict[str, Any], judge: Any
) -> tuple[dict[str, Any], set[str], list[str]]:
    """Try a first stage that failed once more from the best linear fit of scales and background.

    The least squares diverge where a scale wants to be negative, and that is so where a phase is absent: linear least
    squares tell which. Return the record, the parameters free, and what to say of the phases left out.
    """
    if model.phases_without_reflections():
        return record, set(), []
    scales = model.linear_scales(judge.linear_fit)
    gone = {n: s for n, s in scales.items() if not judge.is_present(*s)}
    words = [_absence(name, *scale) for name, scale in gone.items()]
    if len(gone) == len(model.active):
        return record, set(), words
    model.leave_out(list(gone))
    again, kept = run_stage(model, stage, set(), judge)
    again["problems"] = [*record["problems"], "started again from a linear fit", *again["problems"]]
    return again, kept, words


def choose_background(model: Any, kept: set[str], judge: Any) -> dict[str, Any]:
    """Refine all that is free again with as many background terms as the data ask for; return the record of it."""
    name = "background terms"
    stage = {"name": name, "refine": sorted(kept), "alternatives": [], "required": True, "max_cycles": 20}
    begin, start, before = time.perf_counter(), model.state(), model.background_count()
    peaks = model.calculated - model.background
    weights = model.weights / model.spread
    n, coefficients = judge.background_terms(model.two_theta, model.observed, weights, peaks)
    if n == before:
        return _record(name, NOT_NEEDED, r_wp=_finite(model.r_wp()), gof=_finite(model.gof()))
    model.start_background(coefficients)
    record, _ = run_stage(model, stage, set(), judge)
    if record["outcome"] != KEPT:
        model.restore(start)
    record["seconds"] = time.perf_counter() - begin
    return record


def retry_without_one(
    model: Any, stage: dict[str, Any], kept: set[str], record: dict[str, Any], judge: Any
) -> tuple[dict[str, Any], set[str], list[str]]:
    """Try a stage that failed once more without one phase; keep that when the fit is as good.

    A phase that is absent can hold a little scale where its lines lie under those of another, and then breaks a stage;
    or its scale turns negative, at which GSAS-II's least squares diverge. Each is tried: where cells are off, a phase
    of some percent may hold more scale than the one it lies beside.
    """
    before, start = model.r_wp(), model.state()
    best: tuple[float, str] | None = None
    for name in list(model.active):
        model.leave_out([name])
        again, _ = run_stage(model, stage, set(kept), judge)
        if again["outcome"] == KEPT and (best is None or again["r_wp"] < best[0]):
            best = again["r_wp"], name
        model.restore(start)
    if best is None or best[0] > before * (1.0 + judge.MAX_RWP_GROWTH):
        return record, kept, []
    model.leave_out([best[1]])
    again, free = run_stage(model, stage, set(kept), judge)
    again["problems"] = [*record["problems"], f"kept without {best[1]}", *again["problems"]]
    return again, free, [f"{best[1]} is not in the data: the fit is as good or better without it"]


def _absence(name: str, scale: float, esd: float) -> str:
    return f"{name} is not in the data where its CIF puts it (scale {scale:.3g}, esd {esd:.2g})"


def _record(name: str, outcome: str, **more: Any) -> dict[str, Any]:
    empty: dict[str, Any] = {"refined": [], "r_wp": None, "gof": None, "problems": [], "seconds": 0.0}
    return {"name": name, "outcome": outcome, **empty, **more}


def run_stage(
    model: Any, stage: dict[str, Any], kept: set[str], judge: Any, *, anew: bool = False
) -> tuple[dict[str, Any], set[str]]:
    """Try a stage and its alternatives; return the record and the parameters free afterwards."""
    begin = time.perf_counter()
    before = None if not kept or anew else model.r_wp()
    untouched = model.state()
    problems: list[str] = model.prepare(stage) if "axis" in stage else []
    best = float("inf")
    start = model.state()
    for how, names in ways(stage, symmetric=not model.is_symmetric and not model.job["sh_l_known"]):
        prepare_way(model, how, names, kept, stage)
        facts, found = attempt(model, kept | set(names), stage["max_cycles"], before, judge)
        if not found:
            record = _record(stage["name"], KEPT, refined=list(names), r_wp=facts.r_wp, gof=_finite(model.gof()))
            record.update(problems=problems, seconds=time.perf_counter() - begin)
            return record, model.without_idle(kept | set(names))
        problems.append(f"{'+'.join(names)}{how}: {', '.join(found)}")
        if facts is not None and facts.r_wp is not None and facts.r_wp == facts.r_wp:
            best = min(best, facts.r_wp)
        model.restore(start)
    model.restore(untouched)
    # A stage that could not have lowered Rwp is no loss, e.g. a Lorentzian width where the peaks are Gaussian.
    idle = (
        before is not None and not stage["required"] and before * (1.0 - judge.NEGLIGIBLE_GAIN) <= best < float("inf")
    )
    record = _record(stage["name"], NOT_NEEDED if idle else ROLLED_BACK, problems=problems)
    record.update(r_wp=_finite(before), gof=_finite(model.gof()), seconds=time.perf_counter() - begin)
    return record, kept


def ways(stage: dict[str, Any], *, symmetric: bool = False) -> list[tuple[str, list[str]]]:
    """Return how a stage is tried: plainly, with fewer parameters, and, where the rest rests on it, more carefully.

    `symmetric` tries sets with the axial divergence without it, too, before smaller ones: arcs of an area detector have
    next to none, and least squares get stuck on the way to it.
    """
    plain = []
    for names in (stage["refine"], *stage["alternatives"]):
        plain.append(("", names))
        if symmetric and "sh_l" in names:
            plain.append((SYMMETRIC, names))
    return [*plain, (SHORT_STEPS, stage["refine"]), (TWO_STEPS, stage["refine"])] if stage["required"] else plain


def prepare_way(model: Any, how: str, names: list[str], kept: set[str], stage: dict[str, Any]) -> None:
    """Move the model, as a way of trying a stage asks for, before the attempt that is judged."""
    model.begin_broadening(stage, names)
    try:
        if how == SHORT_STEPS:
            model.approach(kept | set(names))
        elif how == TWO_STEPS:
            model.refine(set(names), stage["max_cycles"])
        elif how == SYMMETRIC:
            model.set_axial_divergence(0.0)
    except Exception:  # noqa: BLE001 - the attempt that follows is judged, wherever this led
        traceback.print_exc()


def attempt(model: Any, names: set[str], cycles: int, before: float | None, judge: Any) -> tuple[Any, list[str]]:
    """Free the parameters, refine, and return the facts with what speaks against them (at most one continuation)."""
    facts, problems = None, ["not tried"]
    for _ in range(2):
        try:
            facts = judge.StageFacts(**model.refine(names, cycles), r_wp_before=before)
        except Exception as error:  # noqa: BLE001 - whatever the engine raises is this histogram's result, not our end
            traceback.print_exc()
            return facts, [f"{type(error).__name__}: {error}"]
        problems = judge.stage_problems(facts)
        if problems != ["not converged"]:
            break
    return facts, problems


def export(model: Any, job: dict[str, Any], folder: Path, status: str, warnings: list[str]) -> str | None:
    """Write project and CIFs and move them to the output folder; return the project's name."""
    stem, target = f"hist_{job['index']:04d}", Path(job["output_dir"])
    outcome = load_neighbour("gsas2_results")
    written = [outcome.save(model, folder / f"{stem}.gpx", target / f"{stem}.gpx")]
    if status in ("success", "partial"):
        for name in model.phase_names:
            try:
                written.append(outcome.write_cif(model, name, folder / f"{stem}_{name}.cif"))
            except Exception as error:  # noqa: BLE001 - the fit stands without its CIF, the record says so
                traceback.print_exc()
                warnings.append(f"no CIF of {name} could be written: {error}")
    for path in written:
        part = target / f".{path.name}.part"
        try:
            shutil.copyfile(path, part)
            part.replace(target / path.name)
        except OSError:
            part.unlink(missing_ok=True)
            raise
    return f"{stem}.gpx"


def answer(scripting: Any, job: dict[str, Any], captured: Captured, folder: Path) -> dict[str, Any]:
    """Return the result of a job whatever happens to it, with what was printed meanwhile."""
    begin = time.perf_counter()
    work = folder / f"hist_{job['index']:04d}"
    captured.clear()
    try:
        work.mkdir(exist_ok=True)
        result = refine(scripting, job, work)
    except Exception as error:  # noqa: BLE001 - the record carries the traceback, the other histograms go on
        reason = f"{type(error).__name__}: {error}"
        result = {"index": job["index"], "status": "failed", "reason": reason, "error": traceback.format_exc()}
        result["warnings"] = list(job.get("warnings", []))
    shutil.rmtree(work, ignore_errors=True)
    return {**result, "seconds": time.perf_counter() - begin, "log": captured.text()}


def end_with_parent(home: Path, parent: int, seconds: float = 1.0) -> None:
    """End this process, and remove its folder, soon after the one that started it is gone, even within a job."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(seconds)
        os.chdir(home.parent)
        shutil.rmtree(home, ignore_errors=True)
        if home.parent.name.startswith("midas-refine-"):  # the folder of the pool, which nobody else removes now
            with contextlib.suppress(OSError):
                home.parent.rmdir()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main() -> int:
    """Say what was found, then answer jobs until the input ends."""
    parent = os.getppid()
    parser = argparse.ArgumentParser()
    parser.add_argument("--home", required=True)
    parser.add_argument("--path")
    parser.add_argument("--plain", action="store_true")
    options = parser.parse_args()
    home = Path(options.home).resolve()
    end_with_parent(home, parent)
    prepare_home(home)
    os.chdir(home)
    captured = Captured(home / "output.txt")
    try:
        scripting = import_gsas2(options.path, plain=options.plain)
        hello = describe(scripting)
    except Exception as error:  # noqa: BLE001 - a broken installation is an answer too
        traceback.print_exc()
        captured.send({"found": False, "problem": f"{error}", "missing": isinstance(error, ModuleNotFoundError)})
        return 1
    captured.send(hello)
    for line in sys.stdin:
        captured.send(answer(scripting, json.loads(line), captured, home))
    return 0


if __name__ == "__main__":
    sys.exit(main())
