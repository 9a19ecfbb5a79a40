"""`midas integrate` with DoPeakFit: a table of peaks beside each cake."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

import midas
from midas.cli import main

GEOMETRY = midas.Geometry(distance=1.5e5, beam_center=(128.2, 126.7), pixel_size=200.0, wavelength=0.2)
TEXT = """Lsd 300000
BC 128.2 126.7
px 200
Wavelength 0.2
RMin 30
RMax 110
RBinSize 0.5
EtaBinSize 60
"""


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    path = tmp_path_factory.mktemp("image") / "scan.npy"
    np.save(path, midas.simulate(GEOMETRY, midas.Detector((256, 256), 200.0), "CeO2", seed=3).image)
    return path


def run(image, folder, extra, *flags):
    parameters = folder / "ps.txt"
    parameters.write_text(TEXT + extra)
    return main(["integrate", str(image), "--param-file", str(parameters), "--result-folder", str(folder), *flags])


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_table_beside_the_cake(image, tmp_path, capsys):
    radii = sorted(GEOMETRY.radius_of(midas.rings(midas.calibrant("CeO2"), 0.2, d_min=1.8).two_theta))
    wanted = "".join(f"PeakLocation {r:.1f}\n" for r in radii)
    assert run(image, tmp_path, f"DoPeakFit 1\nMultiplePeaks 1\n{wanted}", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert [p.rsplit("/", 1)[-1] for p in report["peaks"]] == ["scan.npy.peaks.csv"]
    rows = rows_of(tmp_path / "scan.npy.peaks.csv")
    assert len(rows) == 6 * len(radii)
    for row in rows:
        assert float(row["center"]) == pytest.approx(radii[int(row["peak"])], abs=0.5)  # px
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ps.txt", "scan.npy.peaks.csv", "scan.npy.zarr.zip"]


def test_peaks_are_found_without_locations(image, tmp_path, capsys):
    assert run(image, tmp_path, "DoPeakFit 1\nDoSmoothing 1\n") == 0
    assert "wrote" in capsys.readouterr().out
    one = rows_of(tmp_path / "scan.npy.peaks.csv")
    assert len(one) == 6
    assert run(image, tmp_path, "DoPeakFit 1\nDoSmoothing 1\nMultiplePeaks 1\n") == 0
    assert len(rows_of(tmp_path / "scan.npy.peaks.csv")) > 12


def test_no_table_unless_it_is_asked_for(image, tmp_path):
    assert run(image, tmp_path, "DoPeakFit 0\n") == 0
    assert not list(tmp_path.glob("*.peaks.csv"))


def test_one_bin_of_radius_is_refused_before_the_work(image, tmp_path, capsys):
    assert run(image, tmp_path, "DoPeakFit 1\nRBinSize 1000\n") == 2
    assert "is one bin; expected several a peak" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["ps.txt"]


def test_a_location_outside_of_the_bins_is_refused_before_the_work(image, tmp_path, capsys):
    assert run(image, tmp_path, "DoPeakFit 1\nPeakLocation 60\nPeakLocation 400\n") == 2
    assert "PeakLocation 400 px is outside of the bins" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["ps.txt"]
