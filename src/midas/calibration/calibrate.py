"""The public arrow: one calibrant image to a `Calibration`."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from midas.calibration.diagnostics import ring_table
from midas.calibration.evidence import gather_evidence
from midas.calibration.fit import LoopResult, file_parameter_esds, parameter_names, radius_range
from midas.calibration.hints import check_guesses
from midas.calibration.loop import refinable, run_loop
from midas.calibration.options import CalibrationParams, params_from
from midas.calibration.panel_fit import fit_panels
from midas.calibration.panels import check_panels
from midas.calibration.parallax import parallax_doubts
from midas.calibration.prepare import BoolImage, PreparedImage, prepare_image
from midas.calibration.result import Calibration
from midas.calibration.screening import better_calibrant
from midas.calibration.seed import RingSignal, ring_signal
from midas.calibration.source import CalibrantFile, held_by, read_calibrant_file
from midas.calibration.start import Start, alternatives, find_start
from midas.calibration.values import label_of, named_values, with_esd
from midas.calibration.verdict import (
    CONVINCING,
    FEW,
    LARGEST_BEAM_UNCERTAINTY,
    LARGEST_DISTANCE_UNCERTAINTY,
    downgraded,
    judge,
    odd_brightness,
)
from midas.checks import thread_count
from midas.crystal import Calibrants, Rings, rings
from midas.detector import Detector
from midas.detector_table import contradicted_pixel_size
from midas.errors import FitError, InputError
from midas.geometry import Geometry
from midas.io.frames import Frames
from midas.messages import IN_RESULT
from midas.units import UM_PER_MM

if TYPE_CHECKING:
    from midas.calibration.joint_result import JointCalibration

logger = logging.getLogger(__name__)

_USEFUL_RINGS = 400
_SIGNIFICANT, _SURE = 5.0, 3.0  # esds, and uncertainties of the place, that a fixed value must be off to be blamed
_ODD_BRIGHTNESS = 0.15  # scatter of ln brightness from which other calibrants are looked at; good powders have 0.05
_MORE = 0.2  # share of the rings' intensity that another distance must explain beyond the first

Progress = Callable[[int, int, str], None]


Image = npt.NDArray[Any] | Frames | str | Path
Source = CalibrationParams | Mapping[str, Any] | str | Path


@overload
def calibrate(
    image: Image,
    params: Source,
    *,
    mask: npt.ArrayLike | None = None,
    dark: npt.ArrayLike | None = None,
    n_threads: int = 0,
    progress: Progress | None = None,
) -> Calibration: ...
@overload
def calibrate(
    image: list[Image] | list[str] | list[Path] | list[npt.NDArray[Any]] | tuple[Image, ...],
    params: Source | Sequence[Source],
    *,
    mask: npt.ArrayLike | Sequence[npt.ArrayLike | None] | None = None,
    dark: npt.ArrayLike | Sequence[npt.ArrayLike | None] | None = None,
    n_threads: int = 0,
    progress: Progress | None = None,
) -> JointCalibration: ...
def calibrate(
    image: Any,
    params: Any,
    *,
    mask: Any = None,
    dark: Any = None,
    n_threads: int = 0,
    progress: Progress | None = None,
) -> Calibration | JointCalibration:
    """Return the detector geometry found from one image of a calibrant, or from several images together.

    Needs no guess beyond wavelength and pixel size: the beam centre is where the normals of the rings meet, the
    distance comes from the ratios of their radii, then every (ring, eta) profile is fitted by a pseudo-Voigt
    (Thompson, Cox & Hastings, J. Appl. Cryst. 20 (1987) 79) on the pixels themselves and the geometry by least squares
    on the pseudo-strain (docs/physics/geometry.md).

    A list of images of one detector, at several distances, gives a `JointCalibration`: each image is calibrated alone,
    then all together with the same tilts and distortion. With known steps of the detector (`detector_positions`) or
    known distances the wavelength can be refined, too.

    Parameters
    ----------
    image
        Shape (n_z, n_y), any real dtype [counts]; or `Frames` or a path, whose frames are averaged. Negative values,
        the maximum of an unsigned dtype and NaN are never counts. A list or tuple of such for several images.
    params
        `CalibrationParams`, a dict of its fields (at least wavelength [Å] or energy [keV], and pixel_size [µm]), or a
        MIDAS parameter file. For several images one for all, or a list of one an image.
    mask
        Shape of the image, non-zero where a pixel must not be used; a list gives each image its own.
    dark
        Shape of the image [counts], subtracted; a list gives each image its own.
    n_threads
        0 uses all cores.
    progress
        Called as progress(done, total, message).

    Raises
    ------
    InputError
        The image, mask or a parameter cannot be used as it is.
    FormatError
        A file cannot be read.
    FitError
        The image shows no rings, or none that the calibrant explains. A fit that does not converge is a result:
        look at `verdict` and `reasons`.

    Examples
    --------
    >>> import midas
    >>> truth = midas.Geometry(distance=3e5, beam_center=(260, 250), pixel_size=200, wavelength=0.2)
    >>> shot = midas.simulate(truth, midas.Detector((512, 512), 200), "CeO2", seed=1)
    >>> cal = midas.calibrate(shot.image, {"wavelength": 0.2, "pixel_size": 200, "calibrant": "CeO2"})
    >>> cal.verdict, abs(cal.geometry.distance / 3e5 - 1) < 1e-4
    ('good', True)
    """
    n_threads = thread_count(n_threads)
    if isinstance(image, (list, tuple)):
        from midas.calibration.joint import calibrate_jointly, is_several, joint_job

        if is_several(image):
            job = joint_job(image, params, mask=mask, dark=dark)
            return calibrate_jointly(job, calibrate_one, n_threads=n_threads, progress=progress)
    if isinstance(params, (list, tuple)):
        raise InputError(f"params is a list of {len(params)} for one image; give a list of images, or one params")
    return calibrate_one(image, params, mask=mask, dark=dark, n_threads=n_threads, progress=progress)


def calibrate_one(
    image: Image,
    params: Source,
    *,
    mask: npt.ArrayLike | None,
    dark: npt.ArrayLike | None,
    n_threads: int,
    progress: Progress | None,
) -> Calibration:
    """Return the calibration of one image: what `calibrate` does with it."""
    started = time.perf_counter()
    held = _opened(image)
    options = params_from(params, hints=held.hints, shape=np.shape(held.image)[:2])
    options.check_single()
    prepared = prepare_image(
        held.image,
        mask=_united(mask, held.mask),
        dark=held.dark if dark is None else dark,
        sentinels=options.sentinels,
        transforms=options.image_transforms,
        negative_counts=options.negative_counts,
        n_threads=n_threads,
    )
    logger.info(
        "image %d x %d: %d hot and %d dead pixels masked", *prepared.counts.shape, prepared.n_hot, prepared.n_dead
    )
    check_panels(options.panels, prepared.shape)
    signal = ring_signal(prepared, threshold=options.threshold, n_threads=n_threads)
    start = find_start(prepared, signal, options, n_threads)
    task = _Task(prepared, signal, options, n_threads, progress)
    calibration = _fitted(task, start)
    if calibration.verdict == "failed" or calibration.evidence.explained < FEW:
        calibration = _second_chance(task, start, calibration)
    calibration = _doubted(
        calibration, (*_wrongly_fixed(task, start, calibration), *_wrong_calibrant(task, calibration))
    )
    calibration = replace(calibration, seconds=time.perf_counter() - started)
    logger.info("%s: mean strain %.1f µε; %s", calibration.verdict, calibration.mean_strain * 1e6, calibration.reason)
    for note in check_guesses(options.distance, options.beam_center, calibration.geometry):
        logger.warning("%s", note, extra={IN_RESULT: True})
    for reason in calibration.reasons:
        logger.warning("%s: %s", calibration.verdict, reason, extra={IN_RESULT: True})
    return calibration


@dataclass(frozen=True, eq=False)
class _Task:
    """What every start on an image shares."""

    prepared: PreparedImage
    signal: RingSignal
    options: CalibrationParams
    n_threads: int
    progress: Progress | None


def _fitted(task: _Task, start: Start) -> Calibration:
    """Return the calibration that a start leads to."""
    prepared, options = task.prepared, task.options
    visible = _visible_rings(start.calibrant, options.wavelength, start.geometry, prepared.mask)
    loop = run_loop(prepared, start.geometry, visible, options, n_threads=task.n_threads, progress=task.progress)
    loop = fit_panels(prepared, loop, visible, options, n_threads=task.n_threads)
    return _assemble(prepared, task.signal, start, visible, loop, options)


def _second_chance(task: _Task, start: Start, first: Calibration) -> Calibration:
    """Return the first calibration from another of the seed's hypotheses that is convincing; without any, `first`.

    The seed asks where lines are; which rings are bright is seen only once they are fitted. A second phase with many
    rings can lead it to a distance at which the calibrant's own strong rings are missing, or the image's unexplained.
    """
    explained = 0.0 if first.verdict == "failed" else first.evidence.explained
    for other in alternatives(start, task.options):
        logger.info("not convincing; trying the seed's next distance, %.2f mm", other.seed.distance / UM_PER_MM)
        try:
            calibration = _fitted(task, other)
        except FitError:
            continue
        evidence = calibration.evidence
        complete = evidence.found >= CONVINCING and not evidence.missing
        if calibration.verdict != "failed" and complete and evidence.explained > max(FEW, explained + _MORE):
            return calibration
    return first


def _doubted(calibration: Calibration, reasons: tuple[str, ...]) -> Calibration:
    """Return the calibration with more reasons, which come first."""
    verdict = downgraded(calibration.verdict, reasons)
    return replace(calibration, verdict=verdict, reasons=(*reasons, *calibration.reasons))


def _wrong_calibrant(task: _Task, calibration: Calibration) -> tuple[str, ...]:
    """Return the reason that another calibrant explains the image better, looked for where the brightness is odd."""
    told, evidence = calibration.rings.calibrant, calibration.evidence
    odd = odd_brightness(evidence, _ODD_BRIGHTNESS)
    if task.options.finds_calibrant or calibration.verdict != "good" or not odd:
        return ()
    better = better_calibrant(task.prepared, task.signal, told, calibration.seed, task.options, task.n_threads)
    return () if better is None else (better,)


def _wrongly_fixed(task: _Task, start: Start, calibration: Calibration) -> tuple[str, ...]:
    """Return a reason for each fixed value that the image contradicts, judged by a good calibration that refines it.

    What leaves a good calibration good, and its place where it is, is not worth a word. What would not be refined even
    if it were free, such as a known parallax, stays as it is.
    """
    options = task.options
    free = replace(options, fixed=options.rules.kept_beyond(refinable(options, calibration.distortion)))
    if free.fixed == options.fixed:
        return ()
    try:
        other = _fitted(replace(task, options=free, progress=None), start)
    except FitError:
        return ()
    if other.verdict != "good" or (calibration.verdict == "good" and not _moved(calibration, other)):
        return ()
    reasons, found = [], named_values(other.geometry)
    for name, value in options.fixed.items():
        if name in other.esd and abs(value - found[name]) > _allowance(other, name):
            label, unit, factor = label_of(name)
            reasons.append(
                f"{label} is fixed at {value * factor:g} {unit}, but left free it comes to "
                f"{with_esd(found[name] * factor, other.esd[name] * factor)} {unit}, with the verdict good; correct it "
                "or free it"
            )
    return tuple(reasons)


def _allowance(calibration: Calibration, name: str) -> float:
    """Return how far a fixed value may be from the one found: by its esd, and by the evidence on the place."""
    e = calibration.evidence
    unsure = {"distance": max(e.distance_uncertainty, e.frame_distance) * calibration.geometry.distance}
    unsure["beam_center_y"] = unsure["beam_center_z"] = max(e.beam_uncertainty, e.frame_beam)
    return max(_SIGNIFICANT * calibration.esd[name], _SURE * unsure.get(name, 0.0))


def _moved(one: Calibration, other: Calibration) -> bool:
    """Return whether beam centre or distance of two calibrations differ by more than a good one may be uncertain."""
    g, h, e = one.geometry, other.geometry, other.evidence
    beam, distance = math.dist(g.beam_center, h.beam_center), abs(g.distance / h.distance - 1.0)
    return beam > max(LARGEST_BEAM_UNCERTAINTY, e.frame_beam) or distance > max(
        LARGEST_DISTANCE_UNCERTAINTY, e.frame_distance
    )


def _opened(image: npt.ArrayLike | Frames | str | Path) -> CalibrantFile:
    """Return the raw image, without image transforms, with what its file holds and says."""
    if isinstance(image, (str, Path)):
        return read_calibrant_file(image)
    if isinstance(image, Frames):
        if image.image_transforms:
            raise InputError(
                f"the frames were read with image transforms {image.image_transforms}; read them without any and give "
                "the transforms to the calibration, so that the geometry carries them"
            )
        return held_by(image)
    return CalibrantFile(np.asarray(image), None, None, ())


def _united(given: npt.ArrayLike | None, held: npt.NDArray[np.bool_] | None) -> npt.ArrayLike | None:
    """Return the union of the mask given and the one that the image's file holds."""
    if given is None or held is None:
        return held if given is None else given
    mask = np.asarray(given)
    return (mask != 0) | held if mask.shape == held.shape else mask


def _visible_rings(calibrant: Calibrants, wavelength: float, geometry: Geometry, mask: BoolImage) -> Rings:
    """Return the rings out to the furthest usable pixel."""
    furthest = float(geometry.two_theta_of(radius_range(geometry, mask)[1] * 1.02))
    return rings(calibrant, wavelength, two_theta_max=min(furthest, 88.0)).first(_USEFUL_RINGS)


def _assemble(
    prepared: PreparedImage,
    signal: RingSignal,
    start: Start,
    visible: Rings,
    loop: LoopResult,
    options: CalibrationParams,
) -> Calibration:
    fit, points = loop.fit, loop.points
    used = np.abs(fit.strain[fit.used])
    evidence = gather_evidence(loop, start.seed, signal, prepared, visible, options)
    verdict, reasons, remarks = judge(evidence)
    notes = check_guesses(options.distance, options.beam_center, fit.geometry)
    doubts = (*start.doubts, *parallax_doubts(fit.geometry.parallax, parameter_names(fit.parameters), fit.covariance))
    if (wrong_pixels := contradicted_pixel_size(prepared.mask, options.pixel_size)) is not None:
        doubts = (*doubts, wrong_pixels)
    verdict, reasons = downgraded(verdict, doubts), (*reasons, *doubts)
    logger.info(
        "%.0f %% of the strong rings found, %.0f %% of the rings explained",
        100 * evidence.found,
        100 * evidence.explained,
    )
    return Calibration(
        geometry=fit.geometry,
        detector=Detector(prepared.shape, options.pixel_size, mask=prepared.mask),
        esd=file_parameter_esds(fit),
        parameters=tuple(parameter_names(fit.parameters)),
        covariance=fit.covariance,
        mean_strain=float(used.mean()),
        median_strain=float(np.median(used)),
        std_strain=float(np.std(fit.strain[fit.used])),
        held_out_strain=evidence.held_out_strain,
        ring_table=ring_table(loop, visible),
        points=points,
        strain=fit.strain,
        used=fit.used,
        rings=visible,
        history=loop.history,
        seed=start.seed,
        converged=loop.converged,
        reason=loop.reason,
        distortion=loop.distortion,
        distortion_trials=loop.distortion_trials,
        verdict=verdict,
        reasons=reasons,
        seconds=0.0,
        image=prepared,
        params=options,
        notes=(*options.notes, *start.notes, *notes, *remarks),
        evidence=evidence,
        candidates=start.candidates,
    )
