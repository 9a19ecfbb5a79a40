"""What is refined is what GSAS-II's own reader would import from the same file."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from midas.io.gsas_zarr import read_cake_file, write_cake_file
from midas.refine import batch, batch_run
from midas.refine.lineouts import iterate_lineouts, read_instrument

pytestmark = pytest.mark.gsas2

HERE = Path(__file__).parent
X = np.arange(3.0, 6.0, 0.02)
FRAMES = (20, 7, 3)
LAST = (9, 19, 119)  # `_119` sorts before `_19` where numbers are not padded


def scan(cake_of):
    """Return a cake of three sums of different length: masked bins, an azimuth of twenty bins, zeros and a NaN."""
    rng = np.random.default_rng(7)
    first = cake_of([rng.poisson(900.0, len(X)) / 8.0 for _ in range(3)], X)
    intensity = np.stack([rng.poisson(45.0 * n, first.intensity.shape[1:]) / 8.0 for n in FRAMES])
    intensity[1, 5:8, 0] = 0.0
    area = np.random.default_rng(8).uniform(4.0, 9.0, first.bin_area.shape)
    area[10:14, 0] = 0.0
    area[20:, 2] = 0.0
    intensity[:, area == 0.0] = np.nan
    omega = np.array([0.0, 10.0, 25.0])
    return replace(
        first,
        intensity=intensity,
        bin_area=area,
        frames=np.array(FRAMES),
        frame_numbers=np.array(LAST),
        first_omega=omega,
        last_omega=omega + 5.0,
        temperature=np.full(3, 301.0),
        pressure=np.full(3, 0.2),
        i=None,
        i0=None,
    )


@pytest.fixture
def imported(gsas2, tmp_path):
    """Return a function that gives what GSAS-II's reader makes of a file."""

    def run(path):
        home, output = tmp_path / "home", tmp_path / "imported.json"
        home.mkdir()
        interpreter, worker, *place = gsas2.argv
        argv = [interpreter, str(HERE / "gsas2_reader.py"), worker, str(home), str(output), str(path), *place]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert output.is_file(), done.stdout + done.stderr
        return json.loads(output.read_text(encoding="utf-8"))

    return run


def test_reader_of_gsas2_imports_the_same_points(imported, cake_of, tmp_path):
    path = write_cake_file(tmp_path / "x.zarr.zip", scan(cake_of))
    cake = read_cake_file(path)
    ours = [lineout for lineout in iterate_lineouts(cake) if not lineout.skipped]
    theirs = imported(path)
    assert [o.index for o in ours] == [0, 1, 3, 4, 6, 7]  # the azimuth of twenty bins is left out by both
    assert len(theirs) == len(ours)
    instrument, radius_mm = read_instrument(dict(cake.instrument))
    for lineout, other in zip(ours, theirs, strict=True):
        x, y, weights = (np.array(other[key]) for key in ("x", "y", "weights"))
        counted = weights > 0  # bins without counts stay in GSAS-II's list with weight 0; here they are left out
        assert np.array_equal(x[counted], lineout.two_theta)
        assert np.array_equal(y[counted], lineout.intensity)
        # The documented factor: the reader's weights are too large by the number of frames (docs/files.md).
        frames = FRAMES[lineout.sum_index]
        np.testing.assert_allclose(weights[counted] * lineout.sigma**2, frames, rtol=1e-13)
        assert other["azimuth"] == pytest.approx(90.0 - lineout.eta, abs=1e-12)
        assert (other["Phi"], other["Gonio. radius"]) == (lineout.omega, radius_mm)
        assert other["instrument"] == {
            "Lam": instrument.wavelength, "Polariz.": instrument.polarization, "SH/L": instrument.sh_l,
            "U": instrument.u, "V": instrument.v, "W": instrument.w,
            "X": instrument.x, "Y": instrument.y, "Z": instrument.z,
        }  # fmt: skip
    assert np.count_nonzero(np.array(theirs[2]["weights"]) == 0.0) == 3
    options = batch.BatchOptions((), tmp_path)
    job = batch_run.make_job(ours[3], instrument, radius_mm, options)
    assert np.array_equal(job.two_theta, ours[3].two_theta)
    assert np.array_equal(job.intensity, ours[3].intensity)
