"""The demo: what it finds is what is true, with GSAS-II and without."""

from __future__ import annotations

import pytest

from midas.demo import run_demo
from midas.errors import RefinementError


def test_without_gsas2_everything_else_is_done(tmp_path, monkeypatch):
    def missing(**_):
        raise RefinementError("GSAS-II was not found; see its install page.")

    monkeypatch.setattr("midas.refine.run_refinement", missing)
    demo = run_demo(tmp_path / "demo")
    assert demo.refinement is None
    assert "install page" in demo.stopped
    assert demo.calibration.verdict == "good"
    assert len(demo.table) == 6
    for row in demo.table:
        assert abs(row.pull) < 4.0, row
    for path in demo.files:
        assert path.exists()
    names = {path.name for path in (tmp_path / "demo").iterdir()}
    assert names == {path.name for path in demo.files}


@pytest.mark.gsas2
@pytest.mark.usefixtures("gsas2")
def test_the_lattice_constant_is_found(tmp_path):
    demo = run_demo(tmp_path / "demo")
    assert demo.refinement is not None
    assert demo.refinement["succeeded"] == demo.refinement["total_histograms"] == 8
    row = demo.table[-1]
    assert row.name == "lattice constant a"
    assert abs(row.pull) < 3.0, row
    assert row.esd < 2e-5  # Å
