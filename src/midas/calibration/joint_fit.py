"""Least squares of one detector seen in several images: what they share is refined once, their places each.

Model: core/fit_geometry.hpp. Tilts, distortion and parallax belong to the detector and are the same in all images;
distance and beam centre are each image's own, or common to all but for known steps; the wavelength is the beam's.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from midas import _core
from midas.calibration.fit import (
    BEAM_Y,
    BEAM_Z,
    CAUCHY,
    DISTANCE,
    OUTLIER,
    PLACE,
    BoolArray,
    GeometryFit,
    parameter_bounds,
    parameter_names,
    pseudo_strain,
)
from midas.calibration.panels import moved_panels, panel_options
from midas.calibration.points import RingPoints
from midas.calibration.residuals import FOLDS, sector_folds
from midas.calibration.ring_errors import ring_covariance, ring_scatter
from midas.crystal import Rings
from midas.errors import FitError, InputError
from midas.geometry import RADIAL_TERMS, FloatArray, Geometry, distortion_coefficients, distortion_parameters

logger = logging.getLogger(__name__)

_N_PLACE = _core.N_IMAGE_PARAMETERS
_WAVELENGTH = _core.N_GEOMETRY_PARAMETERS  # place of the wavelength ratio among the core's parameters
_FIRST_PANEL = _WAVELENGTH + 1 + _N_PLACE  # place of the first panel's first parameter were there one image
_RADIAL = (DISTANCE, _WAVELENGTH, _core.PARALLAX, *(_core.FIRST_DISTORTION + k for k in RADIAL_TERMS.values()))
_RINGS = 100_000  # more than any image has: numbers the rings of all images one after another
_FIRST_IMAGE = _WAVELENGTH + 1  # place of the first image's distance


@dataclass(frozen=True, eq=False)
class ImagePoints:
    """What one image brings to the joint fit."""

    geometry: Geometry
    """Where the fit starts; its wavelength is the one of `points`."""
    rings: Rings
    """The calibrant's rings at that wavelength."""
    points: RingPoints
    """Its ring positions."""
    kept: BoolArray
    """Shape (n_points,): True where a point may take part, False on outlier rings."""


@dataclass(frozen=True, eq=False)
class Freedom:
    """What the joint fit refines.

    Examples
    --------
    >>> Freedom(shared=(4, 5), distances=(None, None)).distance_sigma
    0.0
    """

    shared: tuple[int, ...]
    """Core indices of the detector's own parameters that are refined: tilts, distortion, parallax, and its panels' as
    `midas.calibration.panels.panel_parameters` numbers them."""
    distances: tuple[float | None, ...]
    """Distance of each image, or its step along the rail [µm]; None where it is not known."""
    steps: bool = False
    """True: `distances` are steps, whose common offset is refined."""
    distance_sigma: float = 0.0
    """How well each is known [µm]; 0 is exactly."""
    wavelength: bool = False
    """Refine the wavelength."""
    shared_beam_center: bool = False
    """One beam centre for all images."""

    def __post_init__(self) -> None:
        """Check that what is asked for can be found."""
        known = {d for d in self.distances if d is not None}
        unknown = any(d is None for d in self.distances)
        if self.wavelength and len(known) < 2:
            raise InputError(
                "refine_wavelength needs images at two or more different detector_positions or known_distances: "
                "at one distance, or at unknown ones, a longer wavelength cannot be told from a shorter distance"
            )
        if self.distance_sigma > 0.0 and unknown:
            raise InputError(
                f"distance_sigma is {self.distance_sigma:g} µm and some distances are not known; expected "
                "detector_positions, or known_distances of every image"
            )
        if self.steps and unknown:
            raise InputError("a detector position is missing; expected one for every image")


@dataclass(frozen=True, eq=False)
class JointFit:
    """The joint least squares of several images."""

    images: tuple[GeometryFit, ...]
    """One an image: geometry, strain and use of its points, and the covariance of its own parameters among all."""
    rings: tuple[Rings, ...]
    """The rings of each image at the wavelength found."""
    parameters: tuple[str, ...]
    """Names of all refined parameters; those of one image end in its number, from 1: `distance_2`. `distance` alone is
    the first image's, from which the others stand at known steps, and `position_2` is then the error of a reading."""
    covariance: FloatArray
    """Shape (n, n), in their units; the wavelength's is Å."""
    wavelength_esd: float | None
    """[Å]; None where it was not refined."""
    converged: bool
    """Whether the least squares converged."""

    @property
    def mean_strain(self) -> float:
        """Mean |strain| over the used points of all images."""
        return float(np.mean(np.abs(np.concatenate([f.strain[f.used] for f in self.images]))))


@dataclass(frozen=True, eq=False)
class _State:
    """Where the detector stands: the geometry, and what each image differs from it."""

    geometry: Geometry
    offsets: FloatArray  # (n_images, 3): distance [µm], beam centre y, z [px]
    ratio: float  # of the wavelength to the one of the points

    def geometry_of(self, image: int) -> Geometry:
        offset = self.offsets[image]
        center = (self.geometry.beam_center[0] + offset[1], self.geometry.beam_center[1] + offset[2])
        return replace(self.geometry, distance=self.geometry.distance + offset[0], beam_center=center)


@dataclass(frozen=True, eq=False)
class _Columns:
    """The points of all images that take part, one after another."""

    y: FloatArray
    z: FloatArray
    tangent: FloatArray
    sigma: FloatArray  # of the strain, from the profile fits
    image: Any
    ring: Any  # number of the ring among those of all images

    def select(self, chosen: BoolArray) -> _Columns:
        return _Columns(**{name: getattr(self, name)[chosen] for name in self.__dataclass_fields__})


def fit_images(images: Sequence[ImagePoints], freedom: Freedom) -> JointFit:
    """Return the geometries that put the points of all images on their Bragg angles together.

    Weights, robust start and outliers as in `midas.calibration.fit.fit_geometry`; the scatter beyond the profile fits'
    own uncertainty is found for each image.

    Raises
    ------
    FitError
        There are fewer points than parameters.
    """
    columns = _columns(images)
    state = _start(images, freedom)
    profile = _by_image(columns.sigma, columns.image, len(images))
    extra = profile.copy()
    strain = np.zeros(len(columns.y))
    for _ in range(3):
        weight = 1.0 / np.hypot(columns.sigma, extra[columns.image])
        result = _least_squares(state, columns, weight, freedom, CAUCHY)
        state, strain = _moved(state, result), np.asarray(result["strain"])
        scatter = 1.4826 * _by_image(np.abs(strain), columns.image, len(images))
        extra = np.sqrt(np.maximum(scatter**2 - profile**2, (0.1 * scatter) ** 2))
    weight = 1.0 / np.hypot(columns.sigma, extra[columns.image])
    used = np.abs(strain) * weight < OUTLIER
    if used.sum() <= len(result["parameters"]):
        used[:] = True
    result = _least_squares(state, columns.select(used), weight[used], freedom, 0.0)
    state = _moved(state, result)
    covariance = _covariance(images, state, columns.select(used), weight[used], result)
    return _assembled(images, state, result, used, covariance, extra)


def held_out_strains(images: Sequence[ImagePoints], freedom: Freedom, fit: JointFit) -> list[FloatArray]:
    """Return the strain of each image's used points as predicted by joint fits that left their azimuth out.

    Four-fold, in the sectors of `midas.calibration.residuals`: a quarter of the azimuth of every image is left out in
    turn. NaN where the rest was too little to fit.
    """
    found = [np.full(len(i.points), np.nan) for i in images]
    folds = [sector_folds(i.points) for i in images]
    for fold in range(FOLDS):
        test = [f.used & (own == fold) for own, f in zip(folds, fit.images, strict=True)]
        train = [replace(i, kept=f.used & ~t) for i, f, t in zip(images, fit.images, test, strict=True)]
        if min(int(t.kept.sum()) for t in train) <= 2 * len(PLACE):
            continue
        try:
            trained = fit_images(train, freedom)
        except FitError:
            continue
        for strain, other, t in zip(found, trained.images, test, strict=True):
            strain[t] = other.strain[t]
    return [strain[f.used] for strain, f in zip(found, fit.images, strict=True)]


def _columns(images: Sequence[ImagePoints]) -> _Columns:
    parts = [i.points.select(i.kept) for i in images]
    for number, part in enumerate(parts, 1):
        if len(part) <= len(PLACE):
            raise FitError(f"image {number} has only {len(part)} ring positions for the joint fit; leave it out")
    return _Columns(
        y=np.concatenate([p.y for p in parts]),
        z=np.concatenate([p.z for p in parts]),
        tangent=np.concatenate([p.tan_two_theta for p in parts]),
        sigma=np.concatenate([p.radius_sigma / p.radius for p in parts]),
        image=np.repeat(np.arange(len(parts), dtype=np.int64), [len(p) for p in parts]),
        ring=np.concatenate([p.ring + m * _RINGS for m, p in enumerate(parts)]),
    )


def _by_image(values: FloatArray, image: Any, n: int) -> FloatArray:
    """Return the median over the points of each image."""
    return np.array([np.median(values[image == m]) for m in range(n)])


def _start(images: Sequence[ImagePoints], freedom: Freedom) -> _State:
    """Return the detector as the image with most panels, then points, saw it, and where each image has it."""
    best = max(images, key=lambda i: (_n_panels(i.geometry), int(i.kept.sum()))).geometry
    places = np.array([(i.geometry.distance, *i.geometry.beam_center) for i in images])
    if freedom.shared_beam_center:
        places[:, 1:] = places[:, 1:].mean(axis=0)
    known = np.array([np.nan if d is None else d for d in freedom.distances])
    if freedom.steps:
        places[:, 0] = known + float(np.median(places[:, 0] - known))
    else:
        places[:, 0] = np.where(np.isnan(known), places[:, 0], known)
    geometry = replace(best, distance=float(places[0, 0]), beam_center=(float(places[0, 1]), float(places[0, 2])))
    return _State(geometry, np.ascontiguousarray(places - places[0]), 1.0)


def _n_panels(geometry: Geometry) -> int:
    return 0 if geometry.panels is None else len(geometry.panels.layout)


def _least_squares(
    state: _State, columns: _Columns, weight: FloatArray, freedom: Freedom, robust: float
) -> dict[str, Any]:
    lower, upper = parameter_bounds(state.geometry)
    free = set(freedom.shared)
    image_free = np.zeros((len(freedom.distances), _N_PLACE), dtype=bool)
    image_free[:, DISTANCE] = [d is None or freedom.distance_sigma > 0.0 for d in freedom.distances]
    if freedom.steps:
        free.add(DISTANCE)
    if freedom.shared_beam_center:
        free |= {BEAM_Y, BEAM_Z}
    else:
        image_free[:, [BEAM_Y, BEAM_Z]] = True
    return _core.fit_geometry(
        state.geometry.projection,
        columns.y,
        columns.z,
        columns.tangent,
        np.ascontiguousarray(weight),
        free=[k in free for k in range(_core.N_GEOMETRY_PARAMETERS)],
        lower=lower.tolist(),
        upper=upper.tolist(),
        robust=robust,
        image=columns.image,
        image_offsets=np.ascontiguousarray(_known_offsets(state, freedom)),
        image_free=image_free,
        image_sigma=freedom.distance_sigma or math.inf,
        wavelength_free=freedom.wavelength,
        **panel_options(state.geometry, freedom.shared),
    )


def _known_offsets(state: _State, freedom: Freedom) -> FloatArray:
    """Return the offsets to start from: a prior is about what the rail reads, not about the last iterate."""
    offsets = state.offsets.copy()
    if freedom.distance_sigma > 0.0:
        readings = np.array(freedom.distances, dtype=np.float64)
        offsets[:, DISTANCE] = readings - (readings[0] if freedom.steps else state.geometry.distance)
    return offsets


def _moved(state: _State, result: dict[str, Any]) -> _State:
    geometry = replace(
        state.geometry,
        distance=result["distance"],
        beam_center=result["beam_center"],
        tilts=result["tilts"],
        distortion=distortion_parameters(np.asarray(result["distortion"])),
        parallax=result["parallax"],
        panels=moved_panels(state.geometry, result["panel_shifts"]),
    )
    return _State(geometry, np.array(result["image_offsets"]), float(result["wavelength_ratio"]))


def _covariance(
    images: Sequence[ImagePoints], state: _State, columns: _Columns, weight: FloatArray, result: dict[str, Any]
) -> FloatArray:
    """Return the covariance of the refined parameters, errors that the points of a ring share included."""
    places, inverse = list(result["parameters"]), np.asarray(result["covariance"])
    strain = np.asarray(result["strain"])
    chi2 = float(np.sum((strain * weight) ** 2)) / max(1, len(strain) - len(places))
    if not np.isfinite(inverse).all():
        return inverse
    own = [_place(p, len(images))[1] for p in places]
    n_radial = sum(k in _RADIAL for k in own)
    tau = ring_scatter(strain, weight, columns.ring, chi2=chi2, n_radial=n_radial)
    logger.info("joint fit: rings are off by %.1f µε beyond their points' scatter", tau * 1e6)
    if tau == 0.0:
        return inverse * chi2
    steps = 0.1 * np.sqrt(np.diag(inverse * chi2))
    jacobian = np.empty((len(strain), len(places)))
    for column, (place, step) in enumerate(zip(places, steps.tolist(), strict=True)):
        ends = [_strain(images, _nudged(state, place, sign * step), columns) for sign in (1.0, -1.0)]
        jacobian[:, column] = (ends[0] - ends[1]) / (2.0 * step)
    return inverse * chi2 + ring_covariance(jacobian, weight, columns.ring, inverse, tau)


def _strain(images: Sequence[ImagePoints], state: _State, columns: _Columns) -> FloatArray:
    """Return the pseudo-strain of every point of the fit."""
    strain = np.empty(len(columns.y))
    for m, image in enumerate(images):
        here = columns.image == m
        tangent = columns.tangent[here]
        if state.ratio != 1.0:
            rings = image.rings.at_wavelength(image.rings.wavelength * state.ratio)
            tangent = np.tan(np.radians(rings.two_theta))[columns.ring[here] - m * _RINGS]
        geometry = state.geometry_of(m)
        strain[here] = _core.pseudo_strain(geometry.projection, columns.y[here], columns.z[here], tangent)
    return strain


def _nudged(state: _State, place: int, step: float) -> _State:
    """Return the state with one of the core's parameters moved."""
    image, own = _place(place, len(state.offsets))
    if image is not None:
        offsets = state.offsets.copy()
        offsets[image, own] += step
        return replace(state, offsets=offsets)
    g = state.geometry
    if own == _WAVELENGTH:
        return replace(state, ratio=state.ratio + step)
    if own == DISTANCE:
        return replace(state, geometry=replace(g, distance=g.distance + step))
    if own == _core.PARALLAX:
        return replace(state, geometry=replace(g, parallax=g.parallax + step))
    if own < _core.FIRST_DISTORTION:
        y, z, *tilts = (v + (step if k == own else 0.0) for k, v in enumerate((*g.beam_center, *g.tilts), BEAM_Y))
        return replace(state, geometry=replace(g, beam_center=(y, z), tilts=(tilts[0], tilts[1], tilts[2])))
    if own < _core.PARALLAX:
        coefficients = distortion_coefficients(g.distortion)
        coefficients[own - _core.FIRST_DISTORTION] += step
        return replace(state, geometry=replace(g, distortion=distortion_parameters(coefficients)))
    assert g.panels is not None
    table = g.panels.table.copy()
    table.flat[own - _FIRST_PANEL] += step
    return replace(state, geometry=replace(g, panels=moved_panels(g, table)))


def _assembled(
    images: Sequence[ImagePoints],
    state: _State,
    result: dict[str, Any],
    used: BoolArray,
    covariance: FloatArray,
    scatter: FloatArray,
) -> JointFit:
    places = list(result["parameters"])
    names = _names(result["parameters"], len(images))
    fits, rings, first = [], [], 0
    for m, image in enumerate(images):
        wavelength = image.geometry.wavelength * state.ratio
        found = image.rings if state.ratio == 1.0 else image.rings.at_wavelength(wavelength)
        geometry = replace(
            state.geometry_of(m),
            wavelength=wavelength,
            image_transforms=image.geometry.image_transforms,
        )
        n_kept = int(image.kept.sum())
        in_fit = np.zeros(len(image.points), dtype=bool)
        in_fit[image.kept] = used[first : first + n_kept]
        first += n_kept
        own, block = _image_covariance(result["parameters"], covariance, m, len(images))
        fits.append(
            GeometryFit(
                geometry=geometry,
                parameters=own,
                covariance=block,
                strain=pseudo_strain(geometry, at_rings(image.points, found)),
                used=in_fit,
                converged=bool(result["converged"]),
                scatter=float(scatter[m]),
            )
        )
        rings.append(found)
    unit = np.ones(len(places))
    esd = None
    if _WAVELENGTH in places:
        at = places.index(_WAVELENGTH)
        unit[at] = images[0].geometry.wavelength
        esd = float(math.sqrt(covariance[at, at]) * unit[at])
    return JointFit(
        images=tuple(fits),
        rings=tuple(rings),
        parameters=tuple(names),
        covariance=covariance * np.outer(unit, unit),
        wavelength_esd=esd,
        converged=bool(result["converged"]),
    )


def at_rings(points: RingPoints, rings: Rings) -> RingPoints:
    """Return the points with the Bragg angles of a ring list, as after a change of the wavelength."""
    return replace(points, tan_two_theta=np.tan(np.radians(rings.two_theta))[points.ring])


def _place(place: int, n_images: int) -> tuple[int | None, int]:
    """Return the image that one of the core's places belongs to, None for all, and its place were there one image."""
    after = place - _FIRST_IMAGE
    if after < 0:
        return None, place
    if after >= n_images * _N_PLACE:
        return None, place - (n_images - 1) * _N_PLACE
    return divmod(after, _N_PLACE)


def _names(places: Sequence[int], n_images: int) -> list[str]:
    names = []
    for image, own in (_place(p, n_images) for p in places):
        if image is not None:
            kind = "position" if own == DISTANCE and DISTANCE in places else parameter_names((own,))[0]
            names.append(f"{kind}_{image + 1}")
        else:
            names.append("wavelength" if own == _WAVELENGTH else parameter_names((own,))[0])
    return names


def _image_covariance(
    places: Sequence[int], covariance: FloatArray, m: int, n_images: int
) -> tuple[tuple[int, ...], FloatArray]:
    """Return the core indices of one image's parameters and their covariance, whatever the other images' do.

    Its distance is the common one and its own offset, so the covariance is that of a sum.
    """
    rows: dict[int, FloatArray] = {}
    for column, (image, own) in enumerate(_place(p, n_images) for p in places):
        if own != _WAVELENGTH and image in (None, m):
            rows.setdefault(own, np.zeros(len(places)))[column] = 1.0
    indices = tuple(sorted(rows))
    transform = np.array([rows[k] for k in indices]).reshape(len(indices), len(places))
    if not np.isfinite(covariance).all():
        return indices, np.full((len(indices), len(indices)), np.nan)
    return indices, transform @ covariance @ transform.T
