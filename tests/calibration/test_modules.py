"""Modules that stand off their places: how much is seen of it, and how unsure it makes beam centre and distance."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from midas import Geometry
from midas.calibration.fit import PLACE, TILTS, fit_geometry
from midas.calibration.modules import LEAST_SHIFT, frame_uncertainty, module_evidence, module_of, module_steps
from midas.calibration.panels import panel_parameters, with_panels
from midas.panels import PanelLayout

GEOMETRY = Geometry(distance=3e5, beam_center=(255.3, 258.1), pixel_size=200, wavelength=0.2, distortion_radius=7.4e4)
FREE = PLACE + TILTS
LAYOUT = PanelLayout(size=(165, 250), gaps_z=(9, 9), gaps_y=(12,))  # six modules


def shifted(points, layout, fit, shift, rng):
    """Return the points as modules shifted at random by `shift` [px] show them."""
    move = rng.normal(0.0, shift, (len(layout), 2))[module_of(fit, points, layout)]
    return replace(points, y=points.y + move[:, 0], z=points.z + move[:, 1])


def test_displaced_modules_are_seen_and_modules_in_place_are_not(ring_points):
    points = ring_points(noise=0.02)
    fit = fit_geometry(GEOMETRY, points, FREE)
    module = module_of(fit, points, PanelLayout(size=(251, 512), gaps_z=(10,)))
    assert np.array_equal(module, (points.z > 255.0).astype(int))
    noise = np.random.default_rng(4).normal(0.0, 0.02, len(points))
    assert module_steps(points, noise, np.zeros_like(module)) == (0.0, 0.0)
    assert module_steps(points, noise, module)[1] < 0.1
    moved = noise + np.where(module == 1, 0.2 * np.sin(np.radians(points.eta)), 0.0)  # dy = 0.2 px
    step, share = module_steps(points, moved, module)
    assert step == pytest.approx(0.2 / 2.0, rel=0.1)  # rms of sin over half of the points
    assert share > 0.9


def test_the_frame_is_as_uncertain_as_modules_shifted_at_random_make_it(ring_points):
    points, rng, shift = ring_points(noise=0.01), np.random.default_rng(12), 0.3
    right = fit_geometry(GEOMETRY, points, FREE)
    answers, said = [], []
    for _ in range(60):
        moved = shifted(points, LAYOUT, right, shift, rng)
        fit = fit_geometry(GEOMETRY, moved, FREE)
        answers.append((*fit.geometry.beam_center, fit.geometry.distance / GEOMETRY.distance))
        used = moved.select(fit.used)
        said.append(frame_uncertainty(fit, used, module_of(fit, used, LAYOUT)))
    sd = np.std(answers, axis=0)
    beam, distance = np.sqrt(np.mean(np.square(said), axis=0))
    assert beam == pytest.approx(math.hypot(sd[0], sd[1]), rel=0.2)
    assert distance == pytest.approx(sd[2], rel=0.25)


def test_the_frame_of_refined_panels_is_no_less_certain_than_said(ring_points):
    # The truth is known against the nominal grid: shifts at random have no mean of zero.
    points, rng, shift = ring_points(noise=0.01), np.random.default_rng(5), 0.12
    right = fit_geometry(GEOMETRY, points, FREE)
    errors, said = [], []
    for _ in range(30):
        moved = shifted(points, LAYOUT, right, shift, rng)
        start = fit_geometry(GEOMETRY, moved, FREE)
        fit = fit_geometry(with_panels(start.geometry, LAYOUT), moved, FREE + panel_parameters(LAYOUT))
        errors.append(math.dist(fit.geometry.beam_center, GEOMETRY.beam_center))
        said.append(module_evidence(fit, moved, LAYOUT).frame_beam)
    error, uncertainty = (math.sqrt(np.mean(np.square(v))) for v in (errors, said))
    assert 1.0 < uncertainty / error < 2.0  # of the smooth fit: a fit with panels does a little better
    assert max(said) < 4.0 * min(said)


def test_modules_in_place_are_trusted_to_the_least_shift_and_one_piece_fully(ring_points):
    points = ring_points(noise=0.01)
    fit = fit_geometry(GEOMETRY, points, FREE)
    evidence = module_evidence(fit, points, LAYOUT)
    assert 0.3 * LEAST_SHIFT < evidence.frame_beam < 2.0 * LEAST_SHIFT
    for piece in (None, PanelLayout(size=(512, 512))):
        assert module_evidence(fit, points, piece).frame_beam == 0.0
