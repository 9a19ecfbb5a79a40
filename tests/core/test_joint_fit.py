"""The joint least squares of several images and panels, against scipy and against the truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import least_squares

import midas
from midas import _core
from midas.errors import FitError, InputError
from midas.geometry import distortion_coefficients

N = _core.N_GEOMETRY_PARAMETERS
PLACE = (0, 1, 2, 4, 5)
WAVELENGTH = N
LAYOUT = midas.PanelLayout(size=(195, 243), gaps_z=(17, 17), gaps_y=(1, 7))  # 3 x 3 panels
TRUTH = midas.Geometry(
    distance=2.1e5,
    beam_center=(350.0, 310.0),
    pixel_size=172.0,
    wavelength=0.4,
    tilts=(0.0, 0.4, -0.7),
    distortion={"p2": 4e-4},
    distortion_radius=8e4,
)


def moved_panels(seed: int = 5) -> np.ndarray:
    """Shifts without the gauge: no mean, no common turn, no common expansion."""
    table = np.random.default_rng(seed).normal(size=(len(LAYOUT), 5)) * np.array([0.3, 0.3, 0.05, 0.0, 0.0])
    return table - gauge_part(table)


def gauge_part(table: np.ndarray) -> np.ndarray:
    c = LAYOUT.centers - LAYOUT.centers.mean(axis=0)
    moment = (195**2 + 243**2) / 12.0
    flat = table[:, [0, 1, 2]] * np.array([1, 1, np.radians(1)])
    n = len(c)
    conditions = np.zeros((4, n, 3))
    conditions[0, :, 0] = conditions[1, :, 1] = 1.0
    conditions[2] = np.stack([-c[:, 1], c[:, 0], np.full(n, moment)], axis=1)
    conditions[3] = np.stack([c[:, 0], c[:, 1], np.zeros(n)], axis=1)
    a = conditions.reshape(4, -1)
    part = (np.linalg.pinv(a) @ (a @ flat.ravel())).reshape(n, 3)
    out = np.zeros_like(table)
    out[:, :3] = part / np.array([1, 1, np.radians(1)])
    return out


def points(geometry: midas.Geometry, two_theta=(6.0, 9.0, 12.0, 15.0, 18.0), step: float = 3.0):
    two_theta = np.repeat(two_theta, round(360 / step))
    eta = np.tile(np.arange(-180.0, 180.0, step), len(two_theta) // round(360 / step))
    y, z = geometry.to_pixel(geometry.radius_of(two_theta), eta)
    on = (y > 0) & (z > 0) & (y < 736) & (z < 618)
    # at a border of panels a ray may meet none: keep the rays that come back
    on &= np.abs(geometry.to_polar(y, z)[1] - two_theta) < 1e-9
    return y[on], z[on], np.tan(np.radians(two_theta[on]))


def fit(start: midas.Geometry, y, z, tangent, *, free=PLACE, weight=1e4, **options):
    return _core.fit_geometry(
        start.projection, y, z, tangent, np.full(len(y), weight), free=[k in free for k in range(N)],
        lower=[-1e9] * N, upper=[1e9] * N, **options,
    )  # fmt: skip


def changed(geometry: midas.Geometry, **values) -> midas.Geometry:
    from dataclasses import replace

    return replace(geometry, **values)


START = changed(TRUTH, distance=2.08e5, beam_center=(352.0, 307.0), tilts=(0.0, 0.0, 0.0))


def test_panels_are_recovered_exactly_from_exact_points():
    table = moved_panels()
    y, z, tangent = points(changed(TRUTH, panels=midas.Panels.from_table(LAYOUT, table)))
    free = np.zeros((9, 5), dtype=bool)
    free[:, :3] = True
    start = changed(START, panels=midas.Panels(LAYOUT))
    found = fit(start, y, z, tangent, panel_free=free, gauge=True)
    assert found["converged"]
    assert np.abs(found["strain"]).max() < 1e-9
    # what the panels do together is the gauge's; a common shift and the beam centre's make up for each other
    off = found["panel_shifts"] - table
    np.testing.assert_allclose(off - gauge_part(off), 0.0, atol=2e-3)  # px and deg, of displacements of 0.3
    common = gauge_part(off)[:, :2].mean(axis=0)
    np.testing.assert_allclose(np.subtract(found["beam_center"], TRUTH.beam_center) - common, 0.0, atol=0.02)


def test_panels_leave_the_beam_centre_as_certain_as_without_them():
    table = moved_panels()
    y, z, tangent = points(changed(TRUTH, panels=midas.Panels.from_table(LAYOUT, table)))
    y = y + np.random.default_rng(1).normal(0, 0.05, len(y))
    free = np.zeros((9, 5), dtype=bool)
    free[:, :3] = True
    smooth = fit(START, y, z, tangent, free=(0, 1, 2))
    near = changed(START, distance=smooth["distance"], beam_center=smooth["beam_center"], panels=midas.Panels(LAYOUT))
    tiled = fit(near, y, z, tangent, free=(0, 1, 2), panel_free=free, gauge=True, panel_sigma=(0.5, 0.5, 0.1, 1.0, 1.0))
    esd = [np.sqrt(np.diag(f["covariance"])[1:3]) for f in (smooth, tiled)]
    assert (esd[1] < 1.6 * esd[0]).all()  # with the mean of the shifts held at zero instead: ten times as large
    np.testing.assert_allclose(tiled["beam_center"], smooth["beam_center"], atol=0.05)  # px, displacements are 0.3


def test_a_common_shift_of_the_panels_is_the_beam_centres(rng):
    y, z = rng.uniform(0, 700, 50), rng.uniform(0, 600, 50)
    shifted = midas.Panels(LAYOUT, shift_y=np.full(9, 0.7), shift_z=np.full(9, -0.4))
    moved = changed(TRUTH, panels=shifted, beam_center=(350.7, 309.6))
    for one, other in zip(moved.to_polar(y, z), TRUTH.to_polar(y, z), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


def test_a_panel_without_points_stays_where_it_is_with_its_priors_sigma():
    table = moved_panels()
    y, z, tangent = points(changed(TRUTH, panels=midas.Panels.from_table(LAYOUT, table)))
    panel = changed(TRUTH, panels=midas.Panels(LAYOUT)).projection.panel_at(y, z)
    y, z, tangent = y[panel != 8], z[panel != 8], tangent[panel != 8]
    free = np.zeros((9, 5), dtype=bool)
    free[:, :2] = True
    found = fit(
        changed(START, panels=midas.Panels(LAYOUT)), y, z, tangent, panel_free=free,
        panel_sigma=[0.5, 0.5, 1.0, 1.0, 1.0],
    )  # fmt: skip
    np.testing.assert_allclose(found["panel_shifts"][8], 0.0, atol=1e-9)
    place = found["parameters"].index(N + 1 + 3 + 5 * 8)
    assert found["covariance"][place, place] == pytest.approx(0.25, rel=1e-6)
    assert np.abs(found["panel_shifts"][:8]).max() > 0.1


def test_agrees_with_scipy_on_noisy_points_with_priors():
    table = moved_panels()
    y, z, tangent = points(changed(TRUTH, panels=midas.Panels.from_table(LAYOUT, table)), step=6.0)
    rng = np.random.default_rng(2)
    y, z = y + rng.normal(0, 0.05, len(y)), z + rng.normal(0, 0.05, len(z))
    panel = changed(TRUTH, panels=midas.Panels(LAYOUT)).projection.panel_at(y, z)
    sigma = np.array([0.2, 0.2, 0.05])
    free = np.zeros((9, 5), dtype=bool)
    free[:, :3] = True
    start = changed(START, panels=midas.Panels(LAYOUT))
    found = fit(
        start, y, z, tangent, panel=panel, panel_free=free, panel_sigma=[*sigma, 1.0, 1.0], robust=3.0
    )  # fmt: skip

    def residuals(p):
        shifts = np.zeros((9, 5))
        shifts[:, :3] = p[5:].reshape(9, 3)
        g = changed(
            TRUTH, distance=p[0], beam_center=(p[1], p[2]), tilts=(0.0, p[3], p[4]),
            panels=midas.Panels.from_table(LAYOUT, shifts),
        )  # fmt: skip
        strain = 1e4 * _core.pseudo_strain(g.projection, y, z, tangent, panel)
        robust = np.sign(strain) * np.sqrt(9.0 * np.log1p(strain**2 / 9.0))  # Cauchy's loss as a residual
        return np.concatenate([robust, (p[5:].reshape(9, 3) / sigma).ravel()])

    first = np.concatenate([[START.distance, *START.beam_center, 0.0, 0.0], np.zeros(27)])
    best = least_squares(residuals, first, x_scale=np.concatenate([[100, 0.1, 0.1, 0.1, 0.1], np.full(27, 0.1)]), xtol=1e-12, ftol=1e-12, gtol=1e-12)  # fmt: skip # noqa: E501
    # scipy stops a little above the minimum: its derivatives are differences
    assert found["cost"] <= 2 * best.cost * (1 + 1e-12)
    assert found["cost"] == pytest.approx(2 * best.cost, rel=1e-5)
    np.testing.assert_allclose(found["panel_shifts"][:, :3], best.x[5:].reshape(9, 3), atol=5e-3)
    assert found["distance"] == pytest.approx(best.x[0], rel=1e-5)


def several(offsets, **changes):
    """Points of one detector at several distances, the wavelength known or not."""
    columns = []
    for m, (dl, dy, dz) in enumerate(offsets):
        g = changed(
            TRUTH, distance=TRUTH.distance + dl, beam_center=(TRUTH.beam_center[0] + dy, TRUTH.beam_center[1] + dz),
            **changes,
        )  # fmt: skip
        y, z, tangent = points(g)
        columns.append((y, z, tangent, np.full(len(y), m)))
    return tuple(np.concatenate(c) for c in zip(*columns, strict=True))


def test_images_at_unknown_distances_share_the_rest():
    offsets = np.array([[0.0, 0.0, 0.0], [4.1e4, 0.7, -0.4], [9.3e4, 1.1, 0.2]])
    y, z, tangent, image = several(offsets)
    free = np.ones((3, 3), dtype=bool)
    free[0] = False
    guess = offsets * 0.9
    found = fit(
        START, y, z, tangent, free=(*PLACE, 6), image=image, image_offsets=guess, image_free=free
    )  # fmt: skip
    np.testing.assert_allclose(found["image_offsets"], offsets, rtol=1e-6, atol=1e-6)
    assert found["distance"] == pytest.approx(TRUTH.distance, rel=1e-8)
    np.testing.assert_allclose(found["distortion"], distortion_coefficients(TRUTH.distortion), atol=1e-8)


def test_known_distances_give_the_wavelength():
    # tan 2theta as a wavelength 0.2 % off would have it: only the ratio of known differences can tell.
    offsets = np.array([[0.0, 0.0, 0.0], [5e4, 0.0, 0.0], [1e5, 0.0, 0.0]])
    y, z, tangent, image = several(offsets)
    theta = np.arcsin(np.sin(np.arctan(tangent) / 2) / 1.002)
    wrong = np.tan(2 * theta)
    found = fit(
        START, y, z, wrong, free=(*PLACE, 6), image=image, image_offsets=offsets, wavelength_free=True
    )  # fmt: skip
    assert found["wavelength_ratio"] == pytest.approx(1.002, rel=1e-8)
    assert found["distance"] == pytest.approx(TRUTH.distance, rel=1e-7)
    assert WAVELENGTH in found["parameters"]
    # and a tight prior holds it
    held = fit(
        START, y, z, wrong, free=(*PLACE, 6), image=image, image_offsets=offsets, wavelength_free=True,
        wavelength_sigma=1e-12,
    )  # fmt: skip
    assert held["wavelength_ratio"] == pytest.approx(1.0, abs=1e-9)


def test_a_common_offset_of_known_distances_is_the_geometrys_distance():
    offsets = np.array([[0.0, 0.0, 0.0], [5e4, 0.0, 0.0]])
    y, z, tangent, image = several(offsets)
    found = fit(changed(START, distance=2.0e5), y, z, tangent, image=image, image_offsets=offsets, free=(*PLACE, 6))
    assert found["distance"] == pytest.approx(TRUTH.distance, rel=1e-8)


def test_parallax_is_recovered_with_distortion_from_several_distances():
    offsets = np.array([[0.0, 0.0, 0.0], [1.2e5, 0.0, 0.0]])
    y, z, tangent, image = several(offsets, parallax=150.0)
    found = fit(
        START, y, z, tangent, free=(*PLACE, 6, _core.PARALLAX), image=image, image_offsets=offsets
    )  # fmt: skip
    assert found["parallax"] == pytest.approx(150.0, abs=1e-3)


def test_the_errors_of_panels_predict_their_scatter():
    # Rings see a panel move along the radius only: priors decide the rest, so truths are drawn from them.
    free = np.zeros((9, 5), dtype=bool)
    free[:, :3] = True
    sigma = np.array([0.3, 0.3, 0.05])
    start = changed(START, panels=midas.Panels(LAYOUT))
    rng = np.random.default_rng(11)
    pulls = []
    for _ in range(40):
        table = np.zeros((9, 5))
        table[:, :3] = rng.normal(size=(9, 3)) * sigma
        truth = changed(TRUTH, panels=midas.Panels.from_table(LAYOUT, table))
        y, z, tangent = points(truth)
        panel = truth.projection.panel_at(y, z)
        noisy = (y + rng.normal(0, 0.03, len(y)), z + rng.normal(0, 0.03, len(y)))
        found = _core.fit_geometry(
            start.projection, *noisy, tangent, truth.to_polar(y, z)[0] / 0.03, free=[k in PLACE for k in range(N)],
            lower=[-1e9] * N, upper=[1e9] * N, panel=panel, panel_free=free, panel_sigma=[*sigma, 1.0, 1.0],
        )  # fmt: skip
        esd = np.sqrt(np.diag(found["covariance"]))[len(PLACE) :].reshape(9, 3)
        pulls.append((found["panel_shifts"][:, :3] - table[:, :3]) / esd)
    assert np.abs(np.mean(pulls, axis=0)).max() < 4.0 / np.sqrt(40)
    assert 0.9 < np.std(pulls) < 1.1  # 40 x 27 values, correlated: known to some percent


def test_bad_input_is_refused():
    y, z, tangent = points(TRUTH)
    with pytest.raises(InputError, match="image index 1"):
        fit(START, y, z, tangent, image=np.ones(len(y), dtype=np.int64))
    with pytest.raises(InputError, match="panel index"):
        fit(START, y, z, tangent, panel=np.zeros(len(y), dtype=np.int64))
    with pytest.raises(InputError, match="panel_free must have the shape"):
        fit(changed(START, panels=midas.Panels(LAYOUT)), y, z, tangent, panel_free=np.ones((2, 5), dtype=bool))
    with pytest.raises(InputError, match="sigma"):
        fit(
            changed(START, panels=midas.Panels(LAYOUT)), y, z, tangent, panel_free=np.ones((9, 5), dtype=bool),
            panel_sigma=[0.0] * 5,
        )  # fmt: skip
    few = np.ones((9, 5), dtype=bool)
    with pytest.raises(FitError, match="only 20 ring positions for 50"):
        fit(changed(START, panels=midas.Panels(LAYOUT)), y[:20], z[:20], tangent[:20], panel_free=few)
