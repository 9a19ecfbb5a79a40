"""Numbers that the pages on the physics state are those of the library."""

from __future__ import annotations

import re

import numpy as np
import pytest
from doc_pages import DOCS

import midas

ROWS = re.findall(
    r"^\| ([\d.]+) px \| ([\d.]+) \| ([\d.]+) \|$",
    (DOCS / "physics" / "areas.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)


def test_the_table_of_correlations_is_there():
    assert len(ROWS) == 5


@pytest.mark.parametrize(("step", "correlation", "factor"), ROWS)
def test_neighbouring_bins_share_what_the_page_says(step, correlation, factor):
    geometry = midas.Geometry(distance=500_000.0, beam_center=(127.3, 126.8), pixel_size=200.0, wavelength=0.2)
    grid = midas.CakeGrid(40.0, 100.0, float(step), eta_step=360.0)
    areas = midas.build_map(geometry, midas.Detector((256, 256), 200.0), grid).to_scipy()
    shared = (areas @ areas.T).toarray()
    size = np.sqrt(np.diag(shared))
    of_all = shared / size / size[:, None]
    assert np.diag(of_all, 1).mean() == pytest.approx(float(correlation), abs=0.01)
    middle = slice(len(size) // 4, -len(size) // 4)  # bins with all their neighbours
    assert np.sqrt(of_all[middle].sum(axis=1)).mean() == pytest.approx(float(factor), abs=0.06)


def test_a_tilt_and_the_axes_are_as_drawn():
    flat = midas.Geometry(distance=1e6, beam_center=(50.0, 50.0), pixel_size=200.0, wavelength=0.2)
    _, _, eta = flat.to_polar(np.array([50.0, 60.0]), np.array([60.0, 50.0]))
    assert eta == pytest.approx([0.0, 90.0])
    leaning = midas.Geometry(
        distance=1e6, beam_center=(50.0, 50.0), pixel_size=200.0, wavelength=0.2, tilts=(0, -14, 0)
    )
    above, below = leaning.to_polar(np.array([50.0, 50.0]), np.array([60.0, 40.0]))[0]
    assert above > below  # its upper half is nearer to the sample
