"""Several images of one detector, calibrated together: each alone first, then their points in one fit."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from midas import _core
from midas.calibration.diagnostics import ring_table
from midas.calibration.fit import DISTANCE, PLACE, LoopResult, file_parameter_esds, measure_points, parameter_names
from midas.calibration.joint_fit import Freedom, ImagePoints, JointFit, at_rings, fit_images, held_out_strains
from midas.calibration.joint_result import JointCalibration
from midas.calibration.joint_verdict import check_rail, judge_jointly
from midas.calibration.options import JOINT_DEFAULTS, JOINT_FIELDS, CalibrationParams
from midas.calibration.panels import panel_parameters
from midas.calibration.result import Calibration
from midas.errors import InputError, MidasError
from midas.io.frames import Frames
from midas.messages import IN_RESULT

logger = logging.getLogger(__name__)

Progress = Callable[[int, int, str], None]
Source = CalibrationParams | Mapping[str, Any] | str | Path
Alone = Callable[..., Calibration]


@dataclass(frozen=True, eq=False)
class JointJob:
    """What is calibrated together: one entry an image in each."""

    images: tuple[Any, ...]
    """2-D arrays, `Frames` or paths."""
    params: tuple[Source, ...]
    """What each image's own calibration is told."""
    masks: tuple[npt.ArrayLike | None, ...]
    """Masks, non-zero where a pixel must not be used."""
    darks: tuple[npt.ArrayLike | None, ...]
    """Dark images."""
    names: tuple[str, ...]
    """What each image is called in messages and files."""
    settings: Mapping[str, Any]
    """The fields of `CalibrationParams` that concern all images together."""


def is_several(image: Any) -> bool:
    """Return whether a calibration is asked for several images: a list or tuple of images, `Frames` or paths.

    Examples
    --------
    >>> is_several(["a.tif", "b.tif"]), is_several("a.tif"), is_several([[1, 2], [3, 4]])
    (True, False, False)
    """
    if not isinstance(image, (list, tuple)):
        return False
    return len(image) == 0 or all(isinstance(i, (str, Path, Frames)) or np.ndim(i) >= 2 for i in image)


def joint_job(
    images: Sequence[Any],
    params: Source | Sequence[Source],
    *,
    mask: Any = None,
    dark: Any = None,
    names: Sequence[str] | None = None,
) -> JointJob:
    """Return a joint calibration's parts, each image with its own share of them.

    `params`, `mask` and `dark` are one for all images or a list of one an image.

    Raises
    ------
    InputError
        There are not as many parameters, masks or positions as images, or two parameters contradict each other.
    """
    n = len(images)
    if n == 0:
        raise InputError("the list of images is empty; expected one image or more")
    if isinstance(params, (list, tuple)):
        if len(params) != n:
            raise InputError(f"params is a list of {len(params)} for {n} images; expected one for all, or one an image")
        sources: list[Source] = list(params)
    else:
        sources = [params] * n  # type: ignore[list-item]
    own, settings = [], dict(JOINT_DEFAULTS)
    for source in sources:
        _refuse_single_rules(source)
        rest, joint = _split(source)
        own.append(rest)
        for key, value in joint.items():
            if settings[key] not in (JOINT_DEFAULTS[key], value):
                raise InputError(
                    f"{key} is {settings[key]!r} for one image and {value!r} for another; expected one value"
                )
            settings[key] = value
    _check_lengths(settings, n)
    for k, distance in enumerate(settings["known_distances"] or ()):
        own[k] = _with_guess(own[k], distance)
    return JointJob(
        images=tuple(images),
        params=tuple(own),
        masks=_each(mask, n, "masks"),
        darks=_each(dark, n, "darks"),
        names=_unique(_name(i, k) for k, i in enumerate(images)) if names is None else _unique(names),
        settings=settings,
    )


def _split(source: Source) -> tuple[Source, dict[str, Any]]:
    """Return what one image's calibration is told, and what is said of all together."""
    if isinstance(source, CalibrationParams):
        said = {k: getattr(source, k) for k in JOINT_FIELDS if getattr(source, k) != JOINT_DEFAULTS[k]}
        return replace(source, **JOINT_DEFAULTS), said
    if isinstance(source, Mapping):
        return {k: v for k, v in source.items() if k not in JOINT_FIELDS}, {
            k: _plain(v) for k, v in source.items() if k in JOINT_FIELDS
        }
    return source, {}


def _plain(value: Any) -> Any:
    """Return an array or a list as a tuple, which can be compared with another."""
    return tuple(np.asarray(value, dtype=object).tolist()) if np.ndim(value) == 1 else value


def _refuse_single_rules(source: Source) -> None:
    """Raise where parameters are held, bounded or weighted: the joint fit has its own."""
    defaults = CalibrationParams(wavelength=1.0, pixel_size=100.0)
    for key in ("fixed", "bounds", "weighting", "ring_weights"):
        value = source.get(key) if isinstance(source, Mapping) else getattr(source, key, None)
        if value is not None and value != getattr(defaults, key):
            raise InputError(f"{key} is {value!r} for several images; expected it for one image alone: leave it out")


def _check_lengths(settings: dict[str, Any], n: int) -> None:
    for key in ("detector_positions", "known_distances"):
        if settings[key] is None:
            continue
        try:
            settings[key] = tuple(None if v is None else float(v) for v in settings[key])
        except (TypeError, ValueError):
            raise InputError(f"{key} is {settings[key]!r}; expected a number an image [µm]") from None
        if not all(v is None or math.isfinite(v) for v in settings[key]):
            raise InputError(f"{key} is {settings[key]!r}; expected finite numbers [µm]")
        if len(settings[key]) != n:
            raise InputError(f"{key} has {len(settings[key])} values for {n} images; expected one an image")
    if settings["detector_positions"] is not None and settings["known_distances"] is not None:
        raise InputError("detector_positions and known_distances are both given; expected one of them")
    if not 0.0 <= float(settings["distance_sigma"]) < math.inf:
        raise InputError(f"distance_sigma is {settings['distance_sigma']:g}; expected µm, 0 or above")


def _with_guess(source: Source, distance: float | None) -> Source:
    """Return the parameters with a known distance as the guess that the seed checks."""
    if distance is None or isinstance(source, (str, Path)):
        return source
    if isinstance(source, CalibrationParams):
        return replace(source, distance=distance)
    return {**source, "distance": distance}


def _each(value: Any, n: int, what: str) -> tuple[Any, ...]:
    if not (isinstance(value, (list, tuple)) and all(v is None or np.ndim(v) == 2 for v in value)):
        return (value,) * n
    if len(value) != n:
        raise InputError(f"{len(value)} {what} are given for {n} images; expected one for all, or one an image")
    return tuple(value)


def _name(image: Any, index: int) -> str:
    return Path(image).stem if isinstance(image, (str, Path)) else f"image_{index + 1}"


def _unique(names: Any) -> tuple[str, ...]:
    """Return the names with a number added to those that were there before, whatever the case of their letters."""
    found: list[str] = []
    for name in names:
        candidate, k = name, 1
        while candidate.lower() in (f.lower() for f in found):
            k += 1
            candidate = f"{name}_{k}"
        found.append(candidate)
    return tuple(found)


def calibrate_jointly(
    job: JointJob, alone: Alone, *, n_threads: int = 0, progress: Progress | None = None
) -> JointCalibration:
    """Return the joint calibration: every image by itself, then all their points, then the points once more.

    Parameters
    ----------
    job
        Images and what is known of them.
    alone
        Calibrates one image: `midas.calibrate`.
    n_threads
        0 uses all cores.
    progress
        Called as progress(done, total, message).

    Raises
    ------
    MidasError
        One image cannot be calibrated, or the images cannot be of one detector; the message names the image.
    """
    started = time.perf_counter()
    _freedom(job, ())  # what cannot be refined is said before any work
    single = [_calibrated(job, k, alone, n_threads, progress) for k in range(len(job.images))]
    _check_one_detector(single, job)
    check_rail(job.settings, [c.geometry.distance for c in single], job.names)
    freedom = _freedom(job, single)
    images = [_image_points(c) for c in single]
    fit = fit_images(images, freedom)
    images = [_measured_again(i, f.geometry, c, n_threads) for i, f, c in zip(images, fit.images, single, strict=True)]
    fit = fit_images(images, freedom)
    held_out = held_out_strains(images, freedom, fit)
    together = tuple(_together(c, i, fit, k, held_out[k]) for k, (c, i) in enumerate(zip(single, images, strict=True)))
    joint = _joint(job, fit, together, single, np.concatenate(held_out))
    joint = replace(joint, seconds=time.perf_counter() - started)
    logger.info("%s: mean strain %.1f µε over %d images", joint.verdict, joint.mean_strain * 1e6, len(together))
    for reason in joint.reasons:
        logger.warning("%s: %s", joint.verdict, reason, extra={IN_RESULT: True})
    return joint


def _calibrated(job: JointJob, k: int, alone: Alone, n_threads: int, progress: Progress | None) -> Calibration:
    """Return one image's own calibration; what goes wrong with it names it."""
    name, n = job.names[k], len(job.images)
    report = None
    if progress is not None:
        report = lambda done, total, message: progress(k * total + done, n * total, f"{name}: {message}")  # noqa: E731
    source = job.params[k]
    if isinstance(source, CalibrationParams):
        source = replace(source, refine_parallax=False)
    elif isinstance(source, Mapping):
        source = {**source, "refine_parallax": False}
    try:
        return alone(job.images[k], source, mask=job.masks[k], dark=job.darks[k], n_threads=n_threads, progress=report)
    except MidasError as error:
        raise type(error)(f"image {k + 1} ({name}): {error}") from error


def _refines_parallax(job: JointJob) -> bool:
    return any(
        source.refine_parallax if isinstance(source, CalibrationParams) else bool(source.get("refine_parallax", False))
        for source in job.params
        if isinstance(source, (CalibrationParams, Mapping))
    )


def _freedom(job: JointJob, single: Sequence[Calibration]) -> Freedom:
    """Return what the joint fit refines: of the detector all that any image by itself could tell, and the rail."""
    shared: set[int] = set()
    for calibration in single:
        shared |= set(_core_indices(calibration.parameters)) - set(PLACE)
    detailed = max((c.geometry.panels for c in single if c.geometry.panels), key=lambda p: len(p.layout), default=None)
    if detailed is not None:
        distance = bool(detailed.distance.any())
        shared |= set(panel_parameters(detailed.layout, distance=distance))
    if _refines_parallax(job):
        shared.add(_core.PARALLAX)
    s = job.settings
    unknown = (None,) * len(job.images)
    return Freedom(
        shared=tuple(sorted(shared)),
        distances=s["detector_positions"] or s["known_distances"] or unknown,
        steps=s["detector_positions"] is not None,
        distance_sigma=float(s["distance_sigma"]),
        wavelength=bool(s["refine_wavelength"]),
        shared_beam_center=bool(s["shared_beam_center"]),
    )


def _core_indices(names: Sequence[str]) -> list[int]:
    known = {parameter_names((k,))[0]: k for k in range(_core.N_GEOMETRY_PARAMETERS)}
    return [known[name] for name in names if name in known]


def _check_one_detector(single: Sequence[Calibration], job: JointJob) -> None:
    """Refuse images that cannot be of one detector in one beam."""
    first = single[0]
    for calibration, name in zip(single[1:], job.names[1:], strict=True):
        for what, value, expected in (
            ("has the shape", calibration.detector.shape, first.detector.shape),
            ("has pixels [µm] of", calibration.geometry.pixel_size, first.geometry.pixel_size),
            ("has the image transforms", calibration.geometry.image_transforms, first.geometry.image_transforms),
            ("has the tilt_x [deg]", calibration.geometry.tilts[0], first.geometry.tilts[0]),
            ("starts with the parallax [µm]", calibration.params.parallax, first.params.parallax),
        ):
            if value != expected:
                raise InputError(f"{name} {what} {value}, {job.names[0]} {expected}; expected images of one detector")
        if job.settings["refine_wavelength"] and calibration.geometry.wavelength != first.geometry.wavelength:
            raise InputError(
                f"{name} is at {calibration.geometry.wavelength:g} Å and {job.names[0]} at "
                f"{first.geometry.wavelength:g} Å; refine_wavelength expects one wavelength for all images"
            )


def _outlier_rings(calibration: Calibration) -> list[int]:
    return [ring.number - 1 for ring in calibration.ring_table if ring.outlier]


def _image_points(calibration: Calibration) -> ImagePoints:
    kept = ~np.isin(calibration.points.ring, _outlier_rings(calibration))
    return ImagePoints(calibration.geometry, calibration.rings, calibration.points, kept)


def _measured_again(image: ImagePoints, found: Any, calibration: Calibration, n_threads: int) -> ImagePoints:
    """Return the image with its rings fitted again where the joint geometry puts them, on its old wavelength scale.

    Only places are taken from there: the fit counts the wavelength from the one that it began with.
    """
    rings = image.rings if found.wavelength == image.rings.wavelength else image.rings.at_wavelength(found.wavelength)
    points, _ = measure_points(
        calibration.image,
        found,
        rings,
        calibration.params,
        fwhm=float(np.median(image.points.fwhm)),
        before=image.points,
        n_threads=n_threads,
    )
    points = at_rings(points, image.rings)
    start = replace(found, wavelength=image.geometry.wavelength)
    return ImagePoints(start, image.rings, points, ~np.isin(points.ring, _outlier_rings(calibration)))


def _together(
    calibration: Calibration, image: ImagePoints, joint: JointFit, k: int, held_out: npt.NDArray[np.float64]
) -> Calibration:
    """Return one image's calibration with what the joint fit found."""
    fit, rings = joint.images[k], joint.rings[k]
    points = at_rings(image.points, rings)
    used = np.abs(fit.strain[fit.used])
    loop = LoopResult(
        fit=fit,
        points=points,
        history=calibration.history,
        outlier_rings=frozenset(_outlier_rings(calibration)),
        fitted_rings=frozenset(),
        fwhm=float(np.median(points.fwhm)),
        converged=calibration.converged,
        reason=calibration.reason,
    )
    esd = file_parameter_esds(fit)
    return replace(
        calibration,
        geometry=fit.geometry,
        esd=esd if DISTANCE in fit.parameters else {"distance": 0.0, **esd},
        parameters=tuple(parameter_names(fit.parameters)),
        covariance=fit.covariance,
        mean_strain=float(used.mean()),
        median_strain=float(np.median(used)),
        std_strain=float(np.std(fit.strain[fit.used])),
        held_out_strain=_mean(held_out),
        ring_table=ring_table(loop, rings),
        points=points,
        strain=fit.strain,
        used=fit.used,
        rings=rings,
    )


def _mean(strain: npt.NDArray[np.float64]) -> float:
    return float(np.nanmean(np.abs(strain))) if np.isfinite(strain).any() else float("nan")


def _joint(
    job: JointJob,
    fit: JointFit,
    together: tuple[Calibration, ...],
    single: Sequence[Calibration],
    held_out: npt.NDArray[np.float64],
) -> JointCalibration:
    parallax_esd = None
    if "parallax" in fit.parameters:
        place = fit.parameters.index("parallax")
        parallax_esd = float(np.sqrt(fit.covariance[place, place]))
    joint = JointCalibration(
        images=together,
        names=job.names,
        alone=tuple(single),
        wavelength=together[0].geometry.wavelength,
        wavelength_esd=fit.wavelength_esd,
        parallax=together[0].geometry.parallax,
        parallax_esd=parallax_esd,
        parameters=fit.parameters,
        covariance=fit.covariance,
        mean_strain=fit.mean_strain,
        held_out_strain=_mean(held_out),
        converged=fit.converged and all(c.converged for c in single),
        verdict="good",
        reasons=(),
        seconds=0.0,
    )
    return judge_jointly(joint, job.settings, fit.converged)
