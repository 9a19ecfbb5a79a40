"""`midas run`: one folder, a manifest that says what was done, and a run taken up where it stopped."""

from __future__ import annotations

import csv
import hashlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

import midas
from midas import manifest
from midas.cli import main
from midas.errors import InputError
from midas.io.gsas_zarr import read_cake_file
from midas.pipeline import PipelineJob, run_pipeline
from midas.refine.dispatch import EngineCommand
from midas.testing import cif_file

N = 384
TRUTH = midas.Geometry(
    distance=3.2e5, beam_center=(196.4, 187.7), pixel_size=200.0, wavelength=0.2066, tilts=(0.0, 0.3, -0.2)
)
STRAIN = 4e-4
TEXT = f"""px 200
Wavelength 0.2066
NrPixelsY {N}
NrPixelsZ {N}
RMin 40
RMax 184
RBinSize 0.5
EtaMin -180
EtaMax 180
EtaBinSize 180
OmegaSumFrames 20
"""


def options(counts):
    return midas.SimulationOptions(peak_counts=counts, fwhm=3.0, background=20.0, dtype="uint16")


def write_files(folder: Path, n_files: int) -> list[str]:
    """Write a calibrant image and a scan of files of two frames each; return the call without the program's name."""
    detector, structure = midas.Detector((N, N), 200.0), midas.calibrant("CeO2")
    shot = midas.simulate(TRUTH, detector, structure, options=options(4000.0), seed=1)
    tifffile.imwrite(folder / "ceo2.tif", shot.image)
    cif_file(folder / "CeO2.cif", structure)
    (folder / "ps.txt").write_text(TEXT, encoding="utf-8")
    for k in range(n_files):
        scan = midas.simulate_scan(
            TRUTH, detector, structure, strain=[STRAIN] * 2, omega=(k, 0.5), options=options(400.0), seed=100 + k
        )
        with h5py.File(folder / f"scan_{k + 1:06d}.h5", "w") as file:
            file["exchange/data"] = scan.images
            where = "measurement/process/scan_parameters/"
            file[where + "start"], file[where + "step"] = np.array([1.0 * k]), np.array([0.5])
    words = f"run -dataFN scan_000001.h5 -startFileNr 1 -endFileNr {n_files} -paramFN ps.txt"
    return [*words.split(), "--calibrant-image", "ceo2.tif", "--cif", "CeO2.cif", "--no-atoms", "-nCPUs", "2"]


@pytest.fixture
def call(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_files(tmp_path, 4)


@pytest.fixture
def fake(monkeypatch):
    """An engine that refines nothing, in place of GSAS-II."""
    engine = EngineCommand((sys.executable, str(Path(__file__).parent / "refine" / "fake_engine.py")), "fake", "1")
    monkeypatch.setattr("midas.refine.locate.find_gsas2", lambda *_: engine)


def steps(folder="out"):
    return json.loads(Path(folder, "manifest.json").read_text(encoding="utf-8"))["steps"]


def test_the_manifest_says_what_went_in_and_what_was_done(call, fake, tmp_path):
    assert main([*call, "-resultFolder", "out", "--scan", "files"]) == 0
    said = json.loads(Path("out/manifest.json").read_text(encoding="utf-8"))
    assert (said["status"], said["midas"], said["engine"]) == (
        "done",
        midas.__version__,
        {"name": "fake", "version": "1"},
    )
    names = [(e["role"], Path(e["path"]).name) for e in said["inputs"]]
    images = [("images", f"scan_{k:06d}.h5") for k in range(1, 5)]
    assert names == [("parameters", "ps.txt"), ("calibrant image", "ceo2.tif"), *images, ("phase", "CeO2.cif")]
    for entry in said["inputs"]:
        assert entry["sha256"] == hashlib.sha256(Path(entry["path"]).read_bytes()).hexdigest()
    assert list(said["steps"]) == ["calibration", "integration", "refinement", "table and pictures"]
    assert said["steps"]["calibration"]["verdict"] == "good"
    assert said["steps"]["calibration"]["seconds"] > 0
    assert "BC 196." in said["steps"]["integration"]["parameters"]
    assert len(said["steps"]["refinement"]) == 4
    assert said["parameters"]["refinement"]["bkg_terms"] == 6
    with Path("out/refinement/refinement_table.csv").open(encoding="utf-8") as stream:
        rows = [(r["data_file"], r["histogram"], r["omega"]) for r in csv.DictReader(stream)]
    files = [f"scan_{k:06d}.h5.zarr.zip" for k in range(1, 5)]
    assert rows == [(name, str(i), str(k + 0.25)) for k, name in enumerate(files) for i in (0, 1)]
    assert Path("out/refinement/refinement_quality.png").stat().st_size > 5000


def test_a_run_is_told_on_one_page_also_where_it_was_kept(call, fake, tmp_path):
    pytest.importorskip("plotly", reason='plotly is not installed; pip install "midas-xrd[report]"')
    statuses = main([*call, "--report", "new.html"]), main([*call, "--resume", "--report", "kept.html"])
    assert statuses[0] == statuses[1]
    for name in ("new.html", "kept.html"):
        said = (tmp_path / name).read_text(encoding="utf-8")
        heads = [said.index(f"<h2>{title}") for title in ("Calibration", "Integration", "Refinement", "How to do it")]
        assert heads == sorted(heads)
        assert hashlib.sha256((tmp_path / "ceo2.tif").read_bytes()).hexdigest() in said
    assert "kept from an earlier run" in said


def test_what_is_finished_is_kept_and_what_changed_is_done_again(call, fake, capsys, monkeypatch):
    again = [*call, "-resultFolder", "out", "--scan", "files", "--resume"]
    assert main(again) == 0
    table = Path("out/refinement/refinement_table.csv").read_bytes()
    refined = []
    run_refinement = midas.refine.run_refinement
    monkeypatch.setattr(
        "midas.refine.run_refinement", lambda **k: refined.append(k["data_file"].name) or run_refinement(**k)
    )
    capsys.readouterr()
    assert main(again) == 0
    assert "kept of the earlier run: calibration, 4 caked files, refinement of 4 caked files" in capsys.readouterr().out
    assert refined == []
    assert Path("out/refinement/refinement_table.csv").read_bytes() == table
    assert steps()["calibration"]["status"] == "kept"

    Path("out/refinement/scan_000002.h5/refinement_summary.json").write_text("{}", encoding="utf-8")  # damaged
    assert main(again) == 0
    assert refined == ["scan_000002.h5.zarr.zip"]
    assert main([*again, "--bkg-terms", "7"]) == 0
    assert len(refined) == 5
    assert steps()["calibration"]["status"] == "kept"

    shot = tifffile.imread("ceo2.tif")
    shot[5, 5] += 1
    tifffile.imwrite("ceo2.tif", shot)
    assert main([*again, "--skip-refinement"]) == 0
    assert steps()["calibration"]["status"] == "done"


def test_a_threshold_and_a_recipe_are_passed_on(call, fake, capsys):
    words = [*call, "--scan", "files"]
    asked = ["-preProcThresh", "40", "--exclude", "3", "4", "--texture", "march"]
    assert main([*words, "-resultFolder", "a", *asked]) == 0
    settings = json.loads(Path("a/manifest.json").read_text(encoding="utf-8"))["parameters"]
    assert settings["threshold"] == 40.0
    summary = json.loads(next(Path("a").rglob("scan_000001*/refinement_summary.json")).read_text(encoding="utf-8"))
    assert summary["excluded"] == [[3.0, 4.0]]
    assert summary["stages"][-1]["refine"] == ["march"]
    assert main([*words, "-resultFolder", "b", "--skip-refinement"]) == 0
    cakes = [next(Path(folder).glob("scan_000001*.zarr.zip")) for folder in "ab"]
    thresholded, plain = (read_cake_file(path).intensity for path in cakes)
    assert not np.allclose(thresholded, plain, rtol=1e-3, equal_nan=True)


def test_without_resume_everything_is_done_anew(call, capsys):
    assert main([*call, "-resultFolder", "out", "--skip-refinement"]) == 0
    first = Path("out/scan_000001.h5.zarr.zip").stat().st_mtime_ns
    assert main([*call, "-resultFolder", "out", "--skip-refinement"]) == 0
    assert "kept" not in capsys.readouterr().out
    assert Path("out/scan_000001.h5.zarr.zip").stat().st_mtime_ns > first


def test_one_pool_over_the_files_and_ctrl_c_says_what_is_kept(call, fake, capsys, monkeypatch):
    pools, run_refinement = [], midas.refine.run_refinement

    def refine(**options):
        pools.append((options["workers"], set(options["workers"].process_ids())))
        if len(pools) == 3:
            raise KeyboardInterrupt
        return run_refinement(**options)

    monkeypatch.setattr("midas.refine.run_refinement", refine)
    assert main([*call, "--scan", "files", "-resultFolder", "out"]) == 130
    told = capsys.readouterr().err
    assert "interrupted; kept in out: calibration, integration, refinement of 2 caked files; the same command" in told
    assert len({id(pool) for pool, _ in pools}) == 1
    assert pools[1][1]
    assert pools[1][1] <= pools[2][1]  # those of the first file served the second
    assert main([*call, "--scan", "files", "-resultFolder", "out", "-skipExisting"]) == 0
    assert "calibration, 4 caked files, refinement of 2 caked files" in capsys.readouterr().out


def test_a_refinement_folder_that_cannot_be_made_shows_before_the_images_are_read(call, fake, capsys):
    Path("file").touch()
    assert main([*call, "-resultFolder", "out", "-o", "file/x"]) == 2
    assert "cannot make the folder file/x" in capsys.readouterr().err
    assert not Path("out").exists()


@pytest.mark.parametrize("content", [None, b"", b"\x89HDF\r\n\x1a\n cut"])
def test_images_that_cannot_be_read_show_before_the_calibration(call, fake, capsys, content):
    words = ["nope.h5" if w == "scan_000001.h5" else w for w in call]
    words = [w for k, w in enumerate(words) if "FileNr" not in w and "FileNr" not in words[k - 1]]
    if content is not None:
        Path("nope.h5").write_bytes(content)
    assert main([*words, "-resultFolder", "out"]) == 2
    assert "nope.h5" in capsys.readouterr().err
    assert not list(Path("out").glob("calib*"))


def test_limits_beyond_the_bins_show_before_the_images_are_read(call, fake, capsys):
    assert main([*call, "-resultFolder", "out", "--limits", "30", "40"]) == 2
    assert "limits are 30 to 40 deg, but the data are from 1.4" in capsys.readouterr().err
    assert not list(Path("out").glob("*.zarr.zip"))


def test_a_run_that_did_not_end_says_how_far_it_came(call, monkeypatch, caplog):
    def broken(*_, **__):
        raise InputError("the disk is on fire")

    words = [*call, "-resultFolder", "out", "--skip-refinement"]
    with monkeypatch.context() as patch:
        patch.setattr("midas.pipeline.integrate_files", broken)
        assert main(words) == 2
    said = json.loads(Path("out/manifest.json").read_text(encoding="utf-8"))
    assert (said["status"], list(said["steps"])) == ("unfinished", ["calibration"])
    assert "--resume" not in caplog.text
    assert main(words) == 0
    assert "--resume would take it up" in caplog.text


def test_a_damaged_manifest_is_no_reason_to_stop(call, caplog):
    Path("out").mkdir()
    Path("out/manifest.json").write_text("{", encoding="utf-8")
    assert main([*call, "-resultFolder", "out", "--skip-refinement", "--resume"]) == 0
    assert "nothing is taken up from it" in caplog.text
    assert steps()["calibration"]["status"] == "done"


def test_without_gsas2_it_says_so_before_and_after(call, monkeypatch, capsys):
    monkeypatch.setenv("GSASII_PATH", str(Path.cwd()))
    assert main([*call, "-resultFolder", "out"]) == 1
    told = capsys.readouterr()
    assert "the run will end after the integration" in told.err
    assert "whose files are complete" in told.out
    assert json.loads(Path("out/manifest.json").read_text(encoding="utf-8"))["status"] == "stopped"


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--backend", "stream"], "not there yet"),
        (["--pva", "-dataFN", "a.h5"], "--pva belongs to the stream backend"),
        (
            ["--dark", "d.h5", "-dataFN", "a.h5"],
            "--dark belongs to the stream backend, which is not there yet; the dark",
        ),
        (["--skip-integration", "--skip-refinement"], "nothing to do"),
        (["--zarr-file", "x.zarr.zip", "-dataFN", "a.h5", "--cif", "a.cif"], "both given"),
        (["--zarr-file", "x.zarr.zip", "--cif", "a.cif"], "is not there"),
        (["--zarr-file", "x.zip", "--skip-integration", "--cif", "a.cif"], "does not end in .zarr.zip"),
        (["-dataFN", "a.h5", "-paramFN", "p", "--calibrant", "LaB6", "--skip-refinement"], "--calibrant-image"),
        (
            ["-dataFN", "a.h5", "-paramFN", "p", "--energy", "80", "--skip-refinement"],
            "--energy is for the calibration",
        ),
        (["-dataFN", "a.h5", "-paramFN", "p", "--wavelength", "0.2", "--skip-refinement"], "into the parameter file"),
        (["-dataFN", "a.h5", "-paramFN", "p", "--pixel-size", "0", "--skip-refinement"], "--pixel-size is for the"),
        (["-dataFN", "a.h5", "-paramFN", "p", "--cif", "CeO2.cif", "--gsas2-python", "no"], "check --gsas2-python"),
        (["-dataFN", "a.h5", "-paramFN", "p", "--cif", "CeO2.cif", "CeO2.cif"], "is given twice"),
        (["-dataFN", "a.h5", "-nCPUs", "-3", "--skip-refinement"], "-nCPUs is -3"),
        (["-dataFN", "a.h5", "-paramFN", "p", "--cif", "nowhere.cif"], "nowhere.cif"),
        (["-dataFN", "a.h5", "-paramFN", "p", "--cif", "CeO2.cif", "--limits", "9", "3"], "limits are"),
        (["-dataFN", "a.h5", "-paramFN", "p", "--cif", "CeO2.cif", "--exclude", "9", "3"], "an excluded region is"),
        (["-dataFN", "a.h5", "-paramFN", "p", "--cif", "CeO2.cif", "--bkg-terms", "0"], "bkg_terms is 0"),
        (["-dataFN", "a.h5", "-paramFN", "p", "--cif", "CeO2.cif", "-i", "no.instprm"], "no.instprm does not exist"),
    ],
)
def test_contradictions_are_refused_in_a_sentence(words, part, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    cif_file(tmp_path / "CeO2.cif")
    assert main(["run", *words]) == 2
    told = capsys.readouterr().err
    assert part in told
    assert told.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["CeO2.cif"]


def test_hashes_of_folders_and_of_unchanged_files(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "0.0").write_bytes(b"1")
    before = manifest.hash_file(tmp_path / "a.zarr")
    (tmp_path / "a.zarr" / "0.0").rename(tmp_path / "a.zarr" / "0.1")
    assert manifest.hash_file(tmp_path / "a.zarr") != before
    found = manifest.outputs_of([tmp_path / "a.zarr" / "0.1"])
    assert manifest.are_unchanged(found)
    (tmp_path / "a.zarr" / "0.1").write_bytes(b"2")
    assert not manifest.are_unchanged(found)
    assert not manifest.are_unchanged([])


def test_a_job_without_data_is_refused(tmp_path):
    with pytest.raises(InputError, match="nothing to integrate"):
        run_pipeline(PipelineJob(out=tmp_path / "out"))


def without_times(summary):
    """Return a summary without what differs between two runs of the same: times, folders, retries."""
    drop = {"seconds", "output_dir", "data_file", "data_files", "n_cpus"}

    def clean(value):
        if isinstance(value, dict):
            return {k: clean(v) for k, v in value.items() if k not in drop}
        return [clean(v) for v in value] if isinstance(value, list) else value

    return clean(summary)


def summaries(folder):
    found = sorted(Path(folder).rglob("refinement_summary.json"))
    return {str(p.relative_to(folder)): without_times(json.loads(p.read_text(encoding="utf-8"))) for p in found}


@pytest.mark.gsas2
def test_killed_half_way_and_resumed_it_is_as_never_disturbed(gsas2, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call = write_files(tmp_path, 20)  # two sums of ten files each: two caked files of two lineouts
    assert main([*call, "-resultFolder", "whole"]) == 0

    killed = subprocess.Popen([sys.executable, "-m", "midas.cli", *call, "-resultFolder", "out"])
    deadline = time.monotonic() + 300.0
    while not (Path("out/manifest.json").is_file() and "refinement" in steps()):
        assert killed.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert len(steps()["refinement"]) == 1
    assert not Path("out/refinement/refinement_table.csv").exists()

    assert main([*call, "-resultFolder", "out", "--resume"]) == 0
    said = steps()
    assert said["calibration"]["status"] == "kept"
    assert {f["status"] for f in said["integration"]["files"]} == {"skipped"}
    assert sorted(f["status"] for f in said["refinement"].values()) == ["done", "kept"]
    assert summaries("out") == summaries("whole")
    for name in ("refinement_table.csv", "refinement_phase_CeO2.png", "refinement_quality.png"):
        assert Path("out/refinement", name).read_bytes() == Path("whole/refinement", name).read_bytes()
    with Path("out/refinement/refinement_table.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [r["status"] for r in rows] == ["success"] * 4
    for row in rows:  # the calibration's own uncertainty of the distance is 4e-6
        assert float(row["a"]) == pytest.approx(5.41165 * (1 + STRAIN), abs=4 * float(row["a_esd"]) + 1e-4)
