"""The evidence of several images together, and the verdict it gives."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from midas.calibration.parallax import closest, parallax_doubts
from midas.calibration.verdict import downgraded
from midas.errors import InputError
from midas.units import UM_PER_MM

if TYPE_CHECKING:
    from midas.calibration.joint_result import JointCalibration

_DISAGREES = 1.5  # mean strain of an image together with the others over alone
_OVERFIT = 1.5  # held-out over training strain
_OFF_RAIL = 0.005  # share by which an image's own distance may miss its place among the others
_WRONG_UNIT = 3.0  # steps that differ from the distances' by more than this factor are no steps of them
_LARGE_CHANGE = 0.01  # of the wavelength: monochromators are set better than that
_UNKNOWN_WAVELENGTH = 2e-3  # share: an uncertainty that tells nothing new
_RANK = ("good", "doubtful", "failed")


def check_rail(settings: Mapping[str, Any], distances: Sequence[float], names: Sequence[str]) -> None:
    """Refuse positions or distances that contradict the rings by their sign or unit.

    `distances` are those that each image has by itself [µm].

    Raises
    ------
    InputError
        Distances fall where positions grow, or both differ by a factor that is a unit's.

    Examples
    --------
    >>> settings = {"detector_positions": (0.0, 1e5), "known_distances": None}
    >>> check_rail(settings, [3.0e5, 4.0e5], ["near", "far"])
    """
    given = settings["detector_positions"]
    if given is not None and max(given) > min(given):
        low, high = int(np.argmin(given)), int(np.argmax(given))
        slope = (distances[high] - distances[low]) / (given[high] - given[low])
        said = (
            f"detector_positions grow by {given[high] - given[low]:g} µm from {names[low]} to {names[high]}, the "
            f"rings' distances by {distances[high] - distances[low]:.0f} µm"
        )
        if slope < -1.0 / _WRONG_UNIT:
            raise InputError(f"{said}; expected positions that grow away from the sample: turn their sign")
        if not 1.0 / _WRONG_UNIT < slope < _WRONG_UNIT:
            raise InputError(f"{said}; expected positions in µm")
    for name, known, found in zip(names, settings["known_distances"] or (), distances, strict=False):
        if known is not None and not 1.0 / _WRONG_UNIT < found / known < _WRONG_UNIT:
            raise InputError(
                f"{name}: the known distance is {known:g} µm, the rings say {found:.0f} µm; expected µm from the sample"
            )


def judge_jointly(joint: JointCalibration, settings: Mapping[str, Any], fit_converged: bool) -> JointCalibration:
    """Return the joint calibration with verdict and reasons: the worst of its images', and what they say together.

    An image that does not fit to the others has that among its own reasons, too.
    """
    images = []
    for k, image in enumerate(joint.images):
        own = _doubts_of_image(joint, k, settings)
        images.append(replace(image, verdict=downgraded(image.verdict, own), reasons=(*image.reasons, *own)))
    reasons = [f"{name}: {reason}" for name, image in zip(joint.names, images, strict=True) for reason in image.reasons]
    doubts = _doubts(joint, settings)
    if not fit_converged:
        doubts.append("the joint least squares did not converge")
    verdict = downgraded(max((image.verdict for image in images), key=_RANK.index), doubts)
    return replace(joint, images=tuple(images), verdict=verdict, reasons=(*reasons, *doubts))


def _doubts_of_image(joint: JointCalibration, k: int, settings: Mapping[str, Any]) -> tuple[str, ...]:
    image, alone = joint.images[k], joint.alone[k]
    doubts = []
    if image.mean_strain > _DISAGREES * alone.mean_strain:
        doubts.append(
            f"disagrees with the other images: mean strain {image.mean_strain * 1e6:.1f} µε together, "
            f"{alone.mean_strain * 1e6:.1f} alone"
        )
    if settings["detector_positions"] is not None or settings["known_distances"] is not None:
        shares = [a.geometry.distance / c.geometry.distance for a, c in zip(joint.alone, joint.images, strict=True)]
        off = shares[k] / float(np.median(shares)) - 1.0
        if abs(off) > _OFF_RAIL:
            doubts.append(
                f"its rings alone give a distance of {alone.geometry.distance / UM_PER_MM:.2f} mm, {off:+.1%} off its "
                "place among the others; check its detector position or distance"
            )
    return tuple(doubts)


def _doubts(joint: JointCalibration, settings: Mapping[str, Any]) -> list[str]:
    doubts = []
    before, after = joint.alone[0].geometry, joint.images[0].geometry
    change = after.wavelength / before.wavelength - 1.0
    if abs(change) > _LARGE_CHANGE:
        doubts.append(
            f"the wavelength came out {change:+.2%} from the {before.wavelength:g} Å given; check the energy and the "
            "detector positions"
        )
    if joint.wavelength_esd is not None:
        doubts += _wavelength_doubts(joint)
    elif settings["known_distances"] is not None and all(d is not None for d in settings["known_distances"]):
        shares = [a.geometry.distance / c.geometry.distance for a, c in zip(joint.alone, joint.images, strict=True)]
        off = float(np.median(shares)) - 1.0
        if abs(off) > _OFF_RAIL:
            doubts.append(
                f"the rings alone give distances {off:+.1%} off the known ones: the wavelength is wrong, or the "
                "distances are from another origin (give them as detector_positions)"
            )
    doubts += parallax_doubts(joint.parallax, joint.parameters, joint.covariance)
    if not np.isfinite(joint.covariance).all():
        doubts.append("the joint covariance is singular: some parameters cannot be told apart with these images")
    if joint.held_out_strain > _OVERFIT * joint.mean_strain:
        doubts.append(
            f"held-out strain {joint.held_out_strain * 1e6:.0f} µε against {joint.mean_strain * 1e6:.0f} µε in "
            "training: overfitted"
        )
    return doubts


def _wavelength_doubts(joint: JointCalibration) -> list[str]:
    esd = joint.wavelength_esd
    assert esd is not None
    if math.isfinite(esd) and esd < _UNKNOWN_WAVELENGTH * joint.wavelength:
        return []
    place = joint.parameters.index("wavelength")
    name, correlation = closest(place, joint.parameters, joint.covariance)
    linked = f", correlation {correlation:.3f} with {name}" if name else ""
    return [f"the wavelength is not determined: {joint.wavelength:.5f} ± {esd:.5f} Å{linked}; use larger steps"]
