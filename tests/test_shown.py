"""What a prompt and a notebook show of results: short, whole, escaped."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

import midas
from midas import testing
from midas.refine.shown import RefinementSummary
from midas.refine.table import read_summary


class Page(HTMLParser):
    """Every tag closed, none that runs or loads anything."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.seen.add(tag)
        assert not {name for name, _ in attrs} - {"style"}

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def page(html: str) -> Page:
    found = Page()
    found.feed(html)
    assert not found.open
    assert found.seen <= {"div", "table", "caption", "tr", "th", "td", "ul", "li", "p", "b"}
    return found


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shown")
    scan = testing.scan([0.0, 1e-3], seed=3)
    cake = testing.caked_scan(scan)
    np.save(folder / "a<b>.npy", scan.images)
    (folder / "p.txt").write_text("Lsd 3e5\nBC 20 20\npx 200 # GE\nWavelength 0.2\nMine <i>1</i>\n")
    detector = midas.Detector(testing.SHAPE, 200.0, mask=np.eye(256))
    grid = midas.CakeGrid(radius_min=10, radius_max=100, radius_step=0.5)
    return {
        "Geometry": replace(testing.TRUTH, distortion={"p2": -6e-4}, distortion_radius=5e4, parallax=30.0),
        "Detector": detector,
        "CakeGrid": grid,
        "CakeMap": midas.build_map(testing.TRUTH, detector, grid),
        "Cake": cake,
        "CakeFile": cake.to_cake_file(),
        "Frames": midas.read_frames(folder / "a<b>.npy", skip_frames=1),
        "Parameters": midas.read_params(folder / "p.txt"),
        "Calibrant": midas.calibrant("CeO2"),
        "Rings": midas.rings(midas.calibrant("CeO2"), 0.2, two_theta_max=20.0),
        "Simulation": testing.calibrant_image(),
        "SimulatedScan": scan,
        "PeakFits": midas.fit_peaks(cake),
    }


SHOWN = {
    "Geometry": ("101300.00 µm", "60.0117 keV", "p2 -0.0006", "50000.0 µm", "30.0 µm"),
    "Detector": ("256 px, 0.391 %",),
    "CakeGrid": ("10 to 100 px, 180 bins, widths 0.5 px",),
    "CakeMap": ("256 x 256 px, transforms not applied", "180 radius x 72 eta"),
    "Cake": ("2 (1 frames each)", "counts per px²"),
    "CakeFile": ("2, 2 frames in all", "Lam 0.2066", "in the file"),
    "Frames": ("a<b>.npy", "1 of 256 x 256 px", "skipped before"),
    "Parameters": ("distance from sample to detector", "<i>1</i>", "not known to midas"),
    "Calibrant": ("F m -3 m", "SRM 674b"),
    "Rings": ("3.12442", "1 1 1", "and 19 more"),
    "Simulation": ("256 x 256 px, float64",),
    "SimulatedScan": ("0.000000 to 0.001000",),
    "PeakFits": ("yes", "more"),
}


@pytest.mark.parametrize("name", SHOWN)
@pytest.mark.filterwarnings("ignore::midas.messages.CallerWarning")
def test_a_result_is_short_at_a_prompt_and_a_table_in_a_notebook(results, name):
    said = repr(results[name])
    assert len(said) < 400
    assert said.startswith(name)
    assert said.count("\n") == 0
    found = page(results[name]._repr_html_())
    for words in SHOWN[name]:
        assert words in found.text


def test_a_profile_and_panels_are_said_in_a_line(results):
    assert repr(results["Cake"].profile()) == "Profile(2 patterns of 214 bins, 2theta 1.951 to 13.730 deg)"
    layout = midas.PanelLayout((100, 100), gaps_z=(7,), gaps_y=(17,))
    assert repr(midas.Panels(layout)) == "Panels(4 panels, shifts to 0 px, turns to 0 deg)"


CELL = {"a": 5.41165, "b": 5.41165, "c": 5.41165, "alpha": 90.0, "beta": 90.0, "gamma": 90.0}
SUMMARY = {
    "data_file": "x.zarr.zip",
    "total_histograms": 2,
    "succeeded": 1,
    "partial": 0,
    "failed": 1,
    "skipped": 0,
    "mean_Rwp": 4.0,
    "median_Rwp": 4.0,
    "histograms": [
        {"histogram_index": 0, "status": "success", "Rwp": 4.0, "reason": "", "warnings": [], "phases": []},
        {"histogram_index": 1, "status": "failed", "Rwp": None, "reason": "no <rings>", "warnings": [], "phases": []},
    ],
    "phases": [
        {
            "name": "CeO2",
            "n": 1,
            "mean": {**CELL, "volume": 158.4},
            "scatter": dict.fromkeys([*CELL, "volume"]),
            "median_esd": {**dict.fromkeys(CELL), "a": 1e-4, "volume": 0.01},
        }
    ],
}


def test_a_summary_is_a_dictionary_shown_as_a_table():
    summary = RefinementSummary(SUMMARY)
    assert summary == SUMMARY
    assert repr(summary).startswith("2 histograms of x.zarr.zip: 1 succeeded")
    found = page(summary._repr_html_())
    assert "1 succeeded, 0 partial, 1 failed" in found.text
    assert "5.41165" in found.text
    assert "no <rings>" in found.text


def test_a_summary_of_another_kind_is_shown_as_it_is(tmp_path):
    (tmp_path / "refinement_summary.json").write_text('{"histograms": [], "note": "<b>"}')
    summary = read_summary(tmp_path)
    assert repr(summary) == "{'histograms': [], 'note': '<b>'}"
    assert "<b>" in page(summary._repr_html_()).text
