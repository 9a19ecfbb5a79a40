"""The public arrow: one calibrant image to a `Calibration`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from midas.calibration.diagnostics import explained_share, held_out_strain, judge, ring_table, strong_share
from midas.calibration.fit import LoopResult, file_parameter_esds, parameter_names, radius_range, run_loop
from midas.calibration.hints import check_guesses
from midas.calibration.options import CalibrationParams, params_from
from midas.calibration.prepare import BoolImage, PreparedImage, prepare_image
from midas.calibration.result import Calibration
from midas.calibration.ring_lists import first_rings
from midas.calibration.seed import RingSignal, ring_signal
from midas.calibration.source import CalibrantFile, held_by, read_calibrant_file
from midas.calibration.start import Start, find_start
from midas.crystal import Calibrant, Rings, rings
from midas.detector import Detector
from midas.errors import InputError
from midas.geometry import Geometry
from midas.io.frames import Frames

logger = logging.getLogger(__name__)

_USEFUL_RINGS = 400

Progress = Callable[[int, int, str], None]


def calibrate(
    image: npt.ArrayLike | Frames | str | Path,
    params: CalibrationParams | Mapping[str, Any] | str | Path,
    *,
    mask: npt.ArrayLike | None = None,
    dark: npt.ArrayLike | None = None,
    n_threads: int = 0,
    progress: Progress | None = None,
) -> Calibration:
    """Return the detector geometry found from one image of a calibrant.

    Needs no guess beyond wavelength and pixel size: the beam centre is where the normals of the rings meet, the
    distance comes from the ratios of their radii, then every (ring, eta) profile is fitted by a pseudo-Voigt on the
    pixels themselves and the geometry by least squares on the pseudo-strain (SPEC section 2).

    Parameters
    ----------
    image
        Shape (n_z, n_y), any real dtype [counts]; or `Frames` or a path, whose frames are averaged. Negative values,
        the maximum of an unsigned dtype and NaN are never counts.
    params
        `CalibrationParams`, a dict of its fields (at least wavelength [Å] or energy [keV], and pixel_size [µm]), or a
        MIDAS parameter file.
    mask
        Shape of the image, non-zero where a pixel must not be used.
    dark
        Shape of the image [counts], subtracted.
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
    started = time.perf_counter()
    if n_threads < 0:
        raise InputError(f"n_threads is {n_threads}; expected a number of threads, or 0 for all cores")
    held = _opened(image)
    options = params_from(params, hints=held.hints, shape=np.shape(held.image)[:2])
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
    signal = ring_signal(prepared, threshold=options.threshold)
    start = find_start(prepared, signal, options, n_threads)
    visible = _visible_rings(start.calibrant, options.wavelength, start.geometry, prepared.mask)
    loop = run_loop(prepared, start.geometry, visible, options, n_threads=n_threads, progress=progress)
    calibration = _assemble(prepared, signal, start, visible, loop, options)
    calibration = replace(calibration, seconds=time.perf_counter() - started)
    logger.info("%s: mean strain %.1f µε; %s", calibration.verdict, calibration.mean_strain * 1e6, calibration.reason)
    for reason in calibration.reasons:
        logger.warning("%s: %s", calibration.verdict, reason)
    return calibration


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


def _visible_rings(calibrant: Calibrant, wavelength: float, geometry: Geometry, mask: BoolImage) -> Rings:
    """Return the rings out to the furthest usable pixel."""
    furthest = float(geometry.two_theta_of(radius_range(geometry, mask)[1] * 1.02))
    return first_rings(rings(calibrant, wavelength, two_theta_max=min(furthest, 88.0)), _USEFUL_RINGS)


def _available(loop: LoopResult, visible: Rings, mask: BoolImage) -> dict[int, float]:
    """Return, for each ring that was looked for, the share of its circumference that lies on usable pixels."""
    eta = np.arange(-179.5, 180.0, 1.0)
    geometry = loop.fit.geometry
    shares = {}
    for k in sorted(loop.fitted_rings):
        radius = geometry.radius_of(visible.two_theta[k])
        y, z = geometry.to_pixel(np.full_like(eta, radius), eta, n_threads=1)
        on = np.isfinite(y) & np.isfinite(z)
        columns, rows = np.rint(np.where(on, y, -1)).astype(int), np.rint(np.where(on, z, -1)).astype(int)
        on &= (columns >= 0) & (columns < mask.shape[1]) & (rows >= 0) & (rows < mask.shape[0])
        on[on] = ~mask[rows[on], columns[on]]
        if on.sum() > 10:
            shares[k] = float(on.mean())
    return shares


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
    held_out = held_out_strain(fit, points)
    found = strong_share(loop, visible, options.eta_step, _available(loop, visible, prepared.mask))
    explained = explained_share(signal, fit.geometry, visible)
    verdict, reasons = judge(
        loop, start.seed, held_out=held_out, eta_step=options.eta_step, found_share=found, explained=explained
    )
    notes = check_guesses(options.distance, options.beam_center, fit.geometry)
    for note in notes:
        logger.warning("%s", note)
    if start.doubts:
        verdict, reasons = "doubtful" if verdict == "good" else verdict, (*reasons, *start.doubts)
    logger.info("%.0f %% of the strong rings found, %.0f %% of the peaks explained", 100 * found, 100 * explained)
    return Calibration(
        geometry=fit.geometry,
        detector=Detector(prepared.shape, options.pixel_size, mask=prepared.mask),
        esd=file_parameter_esds(fit),
        parameters=tuple(parameter_names(fit.parameters)),
        covariance=fit.covariance,
        mean_strain=float(used.mean()),
        median_strain=float(np.median(used)),
        std_strain=float(np.std(fit.strain[fit.used])),
        held_out_strain=held_out,
        ring_table=ring_table(loop, visible),
        points=points,
        strain=fit.strain,
        used=fit.used,
        rings=visible,
        history=loop.history,
        seed=start.seed,
        converged=loop.converged,
        reason=loop.reason,
        verdict=verdict,
        reasons=reasons,
        seconds=0.0,
        image=prepared,
        notes=(*options.notes, *start.notes, *notes),
        candidates=start.candidates,
    )
