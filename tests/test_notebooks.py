"""Figures are shown by notebooks that never imported pyplot."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import midas
from midas.inspection import inspect
from midas.refine.plot import Pattern, plot_histogram


def a_cake() -> midas.Cake:
    geometry = midas.Geometry(distance=1e6, beam_center=(20.0, 20.0), pixel_size=200.0, wavelength=0.18)
    return midas.integrate(np.full((41, 41), 5, dtype=np.uint16), geometry, midas.CakeGrid(2, 18, 2, eta_step=90))


def figure_of(what: str, folder):
    if what == "cake":
        return a_cake().plot()
    if what == "inspection":
        np.save(folder / "image.npy", np.arange(400, dtype=np.uint16).reshape(20, 20))
        return inspect(folder / "image.npy").plot()
    line = np.linspace(1.0, 2.0, 10)
    return plot_histogram(Pattern(line, line, line, line, line))


@pytest.mark.parametrize("what", ["cake", "inspection", "histogram"])
def test_a_figure_says_how_it_looks(what, tmp_path):
    assert figure_of(what, tmp_path)._repr_png_().startswith(b"\x89PNG")


def test_pyplot_is_not_imported_for_it():
    code = (
        "import sys, test_notebooks\n"
        "test_notebooks.a_cake().plot()._repr_png_()\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=__file__.rpartition("/")[0]
    )
    assert done.returncode == 0, done.stderr
