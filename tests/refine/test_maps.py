"""Pictures of a batch: every place of a scan where it belongs, nothing that failed looks like data."""

from __future__ import annotations

import numpy as np
import pytest

from midas.errors import FormatError
from midas.refine.maps import phase_quantities, plot_results, plot_rwp, quality_quantities, width_quantities
from midas.refine.pictures import draw_pictures, draw_results, histogram_title
from midas.refine.plot import Pattern, plot_histogram
from midas.refine.scan_grid import robust_range, scan_grid

A = 5.41165


def pair(value, esd=None):
    return {"value": value, "esd": esd}


def phase(name, a, *, present=True, c=None):
    cell = dict.fromkeys("abc", a) | dict.fromkeys(("alpha", "beta", "gamma"), 90.0) | {"volume": a**3}
    esds = dict.fromkeys("abc", 8e-5) | dict.fromkeys(("alpha", "beta", "gamma")) | {"volume": 0.01}
    cell |= {} if c is None else {"c": c}
    return {"name": name, "cell": cell, "cell_esd": esds, "present": present, "scale": pair(1.0, 0.1), "atoms": [],
            "weight_fraction": pair(0.5 if present else 0.0, 0.01 if present else None)}  # fmt: skip


def scan(n_omega, n_eta, *, phases=("CeO2",), status=None):
    """Return a summary; `status` maps histograms to what became of them, the others are a success."""
    histograms = []
    for i in range(n_omega * n_eta):
        row, column = divmod(i, n_eta)
        what = (status or {}).get(i, "success")
        fitted = [phase(name, A * (1.0 + 1e-5 * i), present=what != "partial" or k == 0)
                  for k, name in enumerate(phases)] if what != "skipped" else []  # fmt: skip
        instrument = {"w": pair(4.0 + 0.01 * i, 0.1), "x": pair(1.0)} if fitted else {}
        histograms.append(
            {"histogram_index": i, "sum_index": row, "eta_index": column, "status": what, "phases": fitted,
             "reason": None, "eta": -180.0 + 360.0 * (column + 0.5) / n_eta, "omega": 1.0 * row,
             "Rwp": None if what == "skipped" else 4.0 + 0.01 * i, "GOF": 1.0, "instrument": instrument}
        )  # fmt: skip
    return {"data_file": "x.zarr.zip", "histograms": histograms, "phase_names": list(phases), "median_Rwp": 4.0}


def test_grid_holds_every_histogram_at_its_place():
    grid = scan_grid(scan(3, 4, status={5: "failed", 6: "skipped"}))
    assert grid.shape == (3, 4)
    assert grid.eta.values.tolist() == [-135.0, -45.0, 45.0, 135.0]
    assert grid.omega.edges().tolist() == [-0.5, 0.5, 1.5, 2.5]
    values, esds = grid.values(phase_quantities(scan(3, 4), "CeO2")[0].take)
    assert np.isnan(values[1, 1:3]).all()  # failed and skipped ones have none, whatever the fit left
    assert values[2, 3] == pytest.approx(A * (1.0 + 1.1e-4), rel=1e-12)
    assert esds[0, 0] == 8e-5


def test_lineouts_that_were_not_asked_for_leave_gaps_and_stretch_nothing():
    summary = scan(2, 8)
    summary["histograms"] = [h for h in summary["histograms"] if h["eta_index"] in (0, 1, 6)]
    grid = scan_grid(summary)
    np.testing.assert_allclose(np.diff(grid.eta.edges()), 45.0)
    assert (grid.status()[0] == "").sum() == 4


def test_bins_beyond_180_deg_stay_neighbours():
    summary = scan(1, 4)
    for h, eta in zip(summary["histograms"], (165.0, 175.0, -175.0, -165.0), strict=True):
        h["eta"] = eta
    grid = scan_grid(summary)
    assert grid.eta.values.tolist() == [165.0, 175.0, 185.0, 195.0]
    figure = plot_results(summary, quality_quantities())
    assert figure is not None
    assert figure.axes[-1].xaxis.get_major_formatter()(190.0, 0) == "-170"


def test_a_bin_without_pixels_lies_between_its_neighbours():
    summary = scan(1, 5)
    summary["histograms"][0]["eta"] = summary["histograms"][2]["eta"] = None
    np.testing.assert_allclose(scan_grid(summary).eta.values, [-144.0, -72.0, 0.0, 72.0, 144.0])


def test_sums_that_do_not_turn_are_told_apart_by_number():
    summary = scan(3, 2)
    for h in summary["histograms"]:
        h["omega"] = 0.0
    grid = scan_grid(summary)
    assert grid.omega.label == "number of the sum"
    assert grid.omega.values.tolist() == [0.0, 1.0, 2.0]


def test_scale_leaves_outliers_out_but_no_cluster():
    rng = np.random.default_rng(7)
    values = rng.normal(5.0, 0.01, 360)
    assert robust_range(values) == pytest.approx((values.min(), values.max()), abs=0.01)
    low, high = robust_range(np.append(values, [60.0, 70.0]))
    assert high < 5.1
    two = np.concatenate([values[:300], values[300:] + 1.0])
    assert robust_range(two)[1] == two.max()
    assert robust_range(np.full(4, 2.0)) == pytest.approx((2.0, 2.0), abs=1e-5)
    assert robust_range(np.full(3, np.nan)) == (0.0, 1.0)
    assert low > 4.9


def texts(figure):
    return [t.get_text() for legend in figure.legends for t in legend.get_texts()]


def test_map_marks_what_is_no_data():
    status = {3: "failed", 4: "failed", 5: "failed", 8: "skipped", 9: "skipped", 1: "partial"}
    summary = scan(4, 6, phases=("CeO2", "LaB6"), status=status)
    figure = plot_results(summary, phase_quantities(summary, "LaB6"), title="LaB6")
    assert [a.get_title(loc="left") for a in figure.axes[:2]] == [
        "a, median esd 8e-05 Å",
        "weight fraction, median esd 0.01",
    ]
    assert texts(figure) == ["1 without it", "3 failed", "2 skipped"]
    image = figure.axes[0].collections[1].get_array()
    assert image.count() == 24 - 3 - 2 - 1
    figure = plot_results(summary, phase_quantities(summary, "CeO2"))
    assert texts(figure) == ["1 partial", "3 failed", "2 skipped"]


def test_noise_alone_looks_even():
    summary = scan(2, 3)
    for h in summary["histograms"]:
        h["phases"] = [phase("CeO2", A + 1e-5 * (h["histogram_index"] % 2))]
    image = plot_results(summary, phase_quantities(summary, "CeO2")).axes[0].collections[1]
    assert image.norm.vmax - image.norm.vmin == pytest.approx(4 * 8e-5)
    assert 0.5 * (image.norm.vmax + image.norm.vmin) == pytest.approx(A + 5e-6)


def test_a_width_that_was_not_refined_is_no_data():
    summary = scan(2, 3)
    summary["histograms"][4]["instrument"]["w"] = pair(99.0)
    figure = plot_results(summary, width_quantities(summary))
    assert texts(figure) == ["1 without it"]
    assert figure.axes[0].collections[1].get_array().max() < 5.0


def test_line_has_bars_marks_and_strain():
    summary = scan(1, 72, status={3: "failed", 10: "skipped", 20: "partial"})
    summary["histograms"][50]["phases"] = [phase("CeO2", 1.003 * A)]
    figure = plot_results(summary, phase_quantities(summary, "CeO2"))
    [axes] = figure.axes
    assert axes.get_ylabel() == "a [Å]"
    assert axes.get_ylim()[1] < 1.002 * A
    assert texts(figure) == ["69 success", "1 partial", "1 failed", "1 skipped", "1 beyond the scale"]
    assert axes.child_axes[0].get_ylabel() == "from the median [1e-6]"


def test_only_what_was_refined_is_drawn():
    summary = scan(1, 3)
    assert [q.name for q in phase_quantities(summary, "CeO2")] == ["a"]
    assert [q.label for q in width_quantities(summary)] == ["W [cdeg²]"]
    for h in summary["histograms"]:
        h["phases"] = [phase("CeO2", A, c=1.6 * A)]
        h["phases"][0] |= {"broadening": {"size": pair(0.3, 0.02)}, "texture": {"march": pair(0.8)}}
    assert [q.label for q in phase_quantities(summary, "CeO2")] == ["a [Å]", "c [Å]", "size [µm]"]


ALL = [f"refinement_{name}.png" for name in ("phase_CeO2", "widths", "quality", "rwp")]


@pytest.mark.parametrize(("shape", "expected"), [((1, 1), []), ((1, 72), ALL), ((10, 6), ALL)])
def test_pictures_of_scans_of_any_shape(shape, expected, tmp_path):
    (tmp_path / "refinement_phase_old.png").touch()
    (tmp_path / "refinement_rwp.png").touch()
    written = draw_results(scan(*shape, status={0: "failed"} if shape != (1, 1) else None), tmp_path)
    assert [p.name for p in written] == expected
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(expected)
    assert all(p.stat().st_size > 5000 for p in written)


def test_where_all_failed_the_pictures_say_so():
    summary = {**scan(2, 3, status=dict.fromkeys(range(6), "failed")), "median_Rwp": None}
    figure = plot_results(summary, quality_quantities())
    assert texts(figure) == ["6 failed"]
    assert texts(plot_rwp(summary)) == ["6 failed"]
    nothing = {**scan(1, 3, status=dict.fromkeys(range(3), "skipped")), "median_Rwp": None}
    assert plot_rwp(nothing) is None
    assert plot_results(nothing, quality_quantities()) is not None


def test_rwp_far_beyond_is_counted():
    summary = scan(1, 100)
    summary["histograms"][7]["Rwp"] = 99.0
    axes = plot_rwp(summary).axes[0]
    assert axes.get_xlim()[1] < 10.0
    assert any("1 above" in t.get_text() and "99 %" in t.get_text() for t in axes.texts)


def test_a_failed_histogram_looks_failed_and_gaps_stay_open():
    x = np.concatenate([np.arange(3.0, 5.0, 0.01), np.arange(7.0, 9.0, 0.01)])
    one = np.ones_like(x)
    figure = plot_histogram(
        Pattern(x, 2 * one, np.full_like(x, np.nan), one, one), title="histogram 7", status="failed", reason="bad $x_"
    )
    assert [t.get_text() for t in figure.texts] == ["histogram 7", "bad $x_"]
    assert {t.get_color() for t in figure.texts} == {"#c0392b"}
    background = figure.axes[0].lines[2]
    assert np.isnan(background.get_ydata()).sum() == 1


def test_title_without_place_or_rwp():
    entry = {"histogram_index": 3, "status": "skipped", "Rwp": None, "eta": None, "omega": 5.0}
    assert histogram_title(entry) == "histogram 3, ω 5 deg: skipped, no Rwp"


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(FormatError, match="does not exist"):
        draw_pictures(tmp_path)
