"""Every command tells of what it did on one page, of what failed first."""

from __future__ import annotations

import hashlib
import json
import re

import numpy as np
import pytest
import report_pages as pages

import midas
from midas.cli import main
from midas.report import check_report

pytest.importorskip("plotly", reason='plotly is not installed; pip install "midas-xrd[report]"')

TRUTH = midas.Geometry(distance=2.2e5, beam_center=(125.3, 130.8), pixel_size=200.0, wavelength=0.2)
KNOWN = ["--wavelength", "0.2", "--pixel-size", "200", "--calibrant", "CeO2"]


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    path = tmp_path_factory.mktemp("image") / "shot.npy"
    np.save(path, midas.simulate(TRUTH, midas.Detector((256, 256), 200.0), "CeO2", seed=1).image)
    return path


def text_of(path):
    """Return what stands on a page, without the program that draws."""
    return re.sub(r"<script.*?</script>|<style.*?</style>", "", path.read_text(encoding="utf-8"), flags=re.S)


def figures_of(path):
    data = re.search(r'id="data">(.*?)</script>', path.read_text(encoding="utf-8"), re.S)
    return json.loads(data[1])["figures"]


def test_calibrate_tells_how_to_do_it_again(image, tmp_path, capsys):
    page = tmp_path / "new" / "a.html"  # in the folder of the results, which is made on the way
    words = ["calibrate", str(image), *KNOWN, "--out", str(tmp_path / "new"), "--report", str(page)]
    status = main(words)
    out = capsys.readouterr().out
    assert str(page) in out
    said = text_of(page)
    verdict = json.loads((tmp_path / "new" / "calibration.json").read_text())["verdict"]
    assert (verdict == "good") == (status == 0)
    assert said.index(verdict.upper()) < said.index("Image and rings")
    assert "midas calibrate" in said
    assert hashlib.sha256(image.read_bytes()).hexdigest() in said
    assert set(figures_of(page)) >= {"cal-image", "cal-unrolled", "cal-two-theta", "cal-eta", "cal-detector"}


def test_a_failed_calibration_is_told_with_its_reasons(tmp_path, image, capsys):
    words = ["calibrate", str(image), "--wavelength", "0.2", "--pixel-size", "200", "--calibrant", "LaB6"]
    status = main([*words, "--out", str(tmp_path), "--report", str(tmp_path / "a.html"), "--json"])
    assert json.loads(capsys.readouterr().out)["report"] == str(tmp_path / "a.html")
    record = json.loads((tmp_path / "calibration.json").read_text())
    assert status == 1
    assert record["verdict"] != "good"
    said = text_of(tmp_path / "a.html")
    assert f'class="verdict {record["verdict"]}"' in said
    assert "<li>" in said


def test_several_images_are_told_together_and_one_by_one(tmp_path, image):
    far = tmp_path / "far.npy"
    truth = midas.Geometry(distance=2.6e5, beam_center=(125.3, 130.8), pixel_size=200.0, wavelength=0.2)
    np.save(far, midas.simulate(truth, midas.Detector((256, 256), 200.0), "CeO2", seed=2).image)
    words = ["calibrate", str(image), str(far), *KNOWN, "--out", str(tmp_path), "--report", str(tmp_path / "a.html")]
    assert main(words) in (0, 1)
    said = text_of(tmp_path / "a.html")
    assert said.count("<h2>") == 4
    assert "Calibration of far" in said


@pytest.fixture
def parameters(tmp_path):
    path = tmp_path / "ps.txt"
    path.write_text(
        "Lsd 220000\nBC 125.3 130.8\npx 200\nWavelength 0.2\nRMin 20\nRMax 110\nRBinSize 1\nEtaBinSize 30\n"
        "OmegaSumFrames 1\n",
        encoding="utf-8",
    )
    return path


def test_integrate_names_the_file_that_failed_first(tmp_path, parameters, image, capsys):
    np.save(tmp_path / "a.npy", np.stack([np.load(image)] * 3))
    (tmp_path / "b.npy").write_bytes(b"nothing")
    files = [str(tmp_path / name) for name in ("a.npy", "b.npy")]
    words = ["integrate", *files, "-paramFN", str(parameters), "-resultFolder", str(tmp_path / "out"), "--json"]
    assert main([*words, "--report", str(tmp_path / "a.html")]) == 1
    assert json.loads(capsys.readouterr().out)["report"] == str(tmp_path / "a.html")
    said = text_of(tmp_path / "a.html")
    assert said.index("1 FAILED") < said.index("Sums, one by one")
    assert "b.npy" in said
    assert "Wavelength 0.2" in said
    assert hashlib.sha256((tmp_path / "a.npy").read_bytes()).hexdigest() in said


def test_refine_tells_of_the_folder_it_wrote(tmp_path, monkeypatch, capsys):
    def refined(data, cifs, out, **_):
        pages.refinement(out, 2, 12, n_points=50)
        return midas.refine.read_summary(out)

    monkeypatch.setattr("midas.refine.run_refinement", refined)
    words = ["refine", "x.zarr.zip", "--cif", "a.cif", "--out", str(tmp_path / "out")]
    assert main([*words, "--report", str(tmp_path / "a.html")]) == 1
    assert "report: " in capsys.readouterr().out
    assert main([*words, "--report", str(tmp_path / "b.html"), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["report"] == str(tmp_path / "b.html")
    said = text_of(tmp_path / "a.html")
    assert "2 FAILED" in said
    assert "it did not converge" in said


def test_a_report_beside_the_results_may_name_their_folder_to_be(tmp_path):
    assert check_report(tmp_path / "new" / "a.html", will_exist=tmp_path / "new")
