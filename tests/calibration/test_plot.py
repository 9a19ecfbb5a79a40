"""The pictures of a calibration show what they say, for any geometry."""

from __future__ import annotations

from dataclasses import replace

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

import midas
from midas.calibration import plot_rings, plot_strain
from midas.calibration.plot import plot_calibration
from midas.errors import InputError

SHAPE = (300, 340)
TRUTH = midas.Geometry(distance=2e5, beam_center=(160.0, 155.0), pixel_size=200, wavelength=0.25, tilts=(0, 0.5, -0.4))


@pytest.fixture(scope="module")
def calibration():
    options = midas.SimulationOptions(peak_counts=2000.0, background=50.0, dtype="uint16")
    image = midas.simulate(TRUTH, midas.Detector(SHAPE, 200), "CeO2", options=options, seed=1).image
    return midas.calibrate(image, {"wavelength": 0.25, "pixel_size": 200, "calibrant": "CeO2"})


def texts(figure):
    return " ".join(t.get_text() for t in figure.findobj(matplotlib.text.Text))


def drawn(figure, tmp_path):
    figure.savefig(tmp_path / "a.png")
    return matplotlib.image.imread(tmp_path / "a.png")


@pytest.mark.parametrize("which", ["overview", "details"])
def test_pictures_are_drawn_whole(calibration, which, tmp_path):
    figure = calibration.plot(which)
    pixels = drawn(figure, tmp_path)
    assert pixels.shape == (900, 1600, 4)
    assert not figure.canvas.manager  # no window, nothing to close
    assert "GOOD" in texts(figure)
    for axes in figure.axes:
        for text in (t for t in (axes.xaxis.label, axes.yaxis.label, axes.title) if t.get_text()):
            box = text.get_window_extent()
            assert box.x0 >= 0
            assert box.x1 <= 1600
            assert box.y0 >= 0
            assert box.y1 <= 900


def test_a_picture_that_does_not_exist_is_refused(calibration):
    with pytest.raises(InputError, match="'overview' or 'details'"):
        plot_calibration(calibration, "summary")


def test_notebooks_show_a_figure_as_png(calibration):
    assert calibration.plot()._repr_png_().startswith(b"\x89PNG")
    assert isinstance(calibration.plot(), Figure)


def test_reasons_stand_in_the_picture(calibration, tmp_path):
    reasons = tuple(f"reason number {i} " + 20 * "that is rather long " for i in range(7))
    poor = replace(calibration, verdict="failed", reasons=reasons, held_out_strain=float("nan"), converged=False)
    for which in ("overview", "details"):
        figure = poor.plot(which)
        drawn(figure, tmp_path)
        shown = texts(figure)
        assert "FAILED" in shown
        assert "reason number 4" in shown
        assert "2 more" in shown
        assert all(axes.get_position().height > 0.1 for axes in figure.axes)


def test_the_unrolled_image_has_the_rings_at_their_radii(calibration):
    image = calibration.image
    cake = plot_rings.unrolled(TRUTH, image.counts, image.mask, (20.0, 140.0))
    profile = np.nanmean(cake, axis=1)
    radius = 20.0 + 120.0 * (np.arange(len(profile)) + 0.5) / len(profile)
    near = np.abs(radius - float(TRUTH.radius_of(calibration.rings.two_theta[0]))) < 5.0
    top = np.argmax(np.where(near, profile, 0.0))
    assert radius[top] == pytest.approx(float(TRUTH.radius_of(calibration.rings.two_theta[0])), abs=0.5)  # px


def test_unrolling_follows_a_map_of_eta():
    # Counts that are the azimuth of each pixel come back as the azimuth of each cell.
    z, y = np.mgrid[: SHAPE[0], : SHAPE[1]]
    eta = TRUTH.to_polar(y, z)[2].astype(np.float32)
    cake = plot_rings.unrolled(TRUTH, eta, np.zeros(SHAPE, bool), (60.0, 120.0))
    expected = -180.0 + (np.arange(cake.shape[1]) + 0.5) * 360.0 / cake.shape[1]
    inner = np.abs(expected) < 178.0  # no mean over the wrap
    assert np.abs(cake - expected)[:, inner].max() < 0.8  # deg, the pixel's own at 60 px


def test_masked_pixels_are_gaps():
    mask = np.zeros((8, 8), bool)
    mask[:2, :2] = True
    mask[4, 4] = True
    counts = np.where(mask, 0, 6).astype(np.float32)
    cells = plot_rings.binned(counts, mask, 2)
    assert np.isnan(cells[0, 0])
    assert np.nanmin(cells) == np.nanmax(cells) == 6.0
    rgb = plot_rings.grey(cells, 0.0, 10.0)
    assert rgb[0, 0].tolist() != rgb[1, 1].tolist()
    assert len(set(rgb[1, 1].tolist())) == 1
    assert len(set(rgb[0, 0].tolist())) == 3


@pytest.mark.parametrize("center", [(-60.0, 150.0), (-400.0, 150.0), (160.0, 900.0), (800.0, -500.0)])
def test_a_beam_off_the_panel(calibration, center, tmp_path):
    geometry = replace(calibration.geometry, beam_center=center, distance=9e5, distortion={})
    figure = replace(calibration, geometry=geometry).plot()
    drawn(figure, tmp_path)
    image = figure.axes[0]
    marked = any(center == (x, y) for line in image.lines for x, y in zip(*line.get_data(), strict=True))
    assert marked == (center == (-60.0, 150.0))
    if marked:
        assert image.get_xlim()[0] < center[0]
    else:
        assert "px off the panel" in texts(figure)


def test_rejected_rings_and_points_are_marked(calibration, tmp_path):
    table = tuple(replace(r, outlier=i == 1) for i, r in enumerate(calibration.ring_table))
    used = calibration.used & (calibration.points.ring != table[1].number - 1)
    used[0] = False
    marked = replace(calibration, ring_table=table, used=used)
    shown = texts(marked.plot())
    assert "rejected ring" in shown
    assert "left out" in shown
    assert "rejected ring" not in texts(calibration.plot())
    drawn(marked.plot("details"), tmp_path)


def test_no_points_left(calibration, tmp_path):
    nothing = replace(calibration, used=np.zeros_like(calibration.used))
    for which in ("overview", "details"):
        drawn(nothing.plot(which), tmp_path)


def test_missing_bright_rings_are_marked_where_they_should_be(calibration, tmp_path):
    assert plot_rings.missing_rings(calibration) == []
    first = calibration.ring_table[0]
    without = replace(calibration, evidence=replace(calibration.evidence, missing=("{} {} {}".format(*first.hkl),)))
    np.testing.assert_allclose(plot_rings.missing_rings(without), [first.radius])
    drawn(without.plot(), tmp_path)


def test_panel_shifts_are_arrows_to_scale():
    axes = Figure().add_subplot()
    centers = np.array([[50.0, 50.0], [150.0, 50.0], [50.0, 150.0], [150.0, 150.0]])
    shifts = np.array([[0.5, 0.0], [0.0, -0.25], [0.0, 0.0], [-0.1, 0.1]])
    plot_rings.draw_panel_shifts(axes, centers, shifts)
    arrows = axes.findobj(matplotlib.quiver.Quiver)[0]
    np.testing.assert_array_equal(arrows.U, shifts[:, 0])
    np.testing.assert_array_equal(arrows.V, shifts[:, 1])
    assert 20.0 < 0.5 / arrows.scale < 60.0  # px: the longest arrow stays with its panel of 100 px
    key = axes.findobj(matplotlib.quiver.QuiverKey)[0]
    assert "0.5 px" in key.text.get_text()


def test_panels_that_did_not_move_have_no_arrows():
    axes = Figure().add_subplot()
    plot_rings.draw_panel_shifts(axes, np.ones((3, 2)), np.zeros((3, 2)))
    assert not axes.findobj(matplotlib.quiver.Quiver)


def test_the_range_of_strain_ignores_a_wild_point():
    strain = np.append(np.full(999, 1e-5), 1.0)
    assert plot_strain.strain_limit(strain) == pytest.approx(13.0)
    assert plot_strain.strain_limit(np.array([])) == 1.0
