"""The program `midas`: help, exit status, and one clear sentence for each bad input, with nothing left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tifffile

import midas
from midas.cli import main
from midas.testing import cif_file

KNOWN = ["--wavelength", "0.2", "--pixel-size", "200"]


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    truth = midas.Geometry(distance=3.2e5, beam_center=(260.3, 248.6), pixel_size=200.0, wavelength=0.2)
    options = midas.SimulationOptions(peak_counts=2000.0, dtype="uint16")
    path = tmp_path_factory.mktemp("image") / "ceo2.tif"
    tifffile.imwrite(path, midas.simulate(truth, midas.Detector((512, 512), 200.0), "CeO2", options=options).image)
    return path


def refused(capsys, tmp_path, *words):
    """Run, and return the message of a refusal; nothing may be left in the folder."""
    before = sorted(p.name for p in tmp_path.rglob("*"))
    assert main([*map(str, words)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    assert sorted(p.name for p in tmp_path.rglob("*")) == before
    message = [line for line in captured.err.splitlines() if line.startswith("midas ")]
    assert len(message) == 1, captured.err
    return message[0]


def test_help_fits_a_screen_and_says_what_to_run_first(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert len(text.splitlines()) <= 24
    assert "midas demo" in text


@pytest.mark.parametrize("command", ["demo", "calibrate", "integrate", "refine", "run", "hkls", "simulate"])
def test_every_subcommand_has_help(capsys, command):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert command in capsys.readouterr().out


def test_importing_is_light():
    heavy = ("scipy", "matplotlib", "zarr", "h5py", "fabio", "diplib", "gemmi", "tifffile", "rich")
    code = f"import sys, midas; print([m for m in {heavy!r} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "[]"


def test_calibrate_writes_its_files_and_exits_0(capsys, tmp_path, image):
    assert main(["calibrate", str(image), *KNOWN, "--calibrant", "CeO2", "--out", str(tmp_path / "new" / "out")]) == 0
    names = {p.name for p in (tmp_path / "new" / "out").iterdir()}
    expected = {
        "refined_MIDAS_params.txt",
        "calibration_mask.tif",
        "calibration.json",
        "calibration.png",
        "calibration_details.png",
        "autocal.log",
        "hkls.csv",
        "calibrant_screen_out.csv",
        f"{image.name}.corr.csv",
        "geometry.poni",
        "geometry.spline",
    }
    assert names == expected
    assert "good" in capsys.readouterr().out
    log = (tmp_path / "new" / "out" / "autocal.log").read_text()
    assert " - midas.calibration.calibrate - INFO - " in log


def test_calibrate_takes_the_manuals_flags(capsys, tmp_path, image):
    params = tmp_path / "ps.txt"
    params.write_text("Wavelength 0.2\npx 200\nSpaceGroup 225\nLatticeConstant 5.41165 5.41165 5.41165 90 90 90\n")
    words = ["calibrate", "-dataFN", image, "-ConvertFile", 3, "-paramFN", params, "-StoppingStrain", 0.00004,
             "-MultFactor", 2.5, "-FirstRingNr", 1, "-LsdGuess", 1000000, "-BCGuess", 0, 0, "-EtaBinSize", 5,
             "-Threshold", 0, "-MakePlots", 0, "--out", tmp_path / "out", "--json"]  # fmt: skip
    assert main([*map(str, words)]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["verdict"] == "good"
    assert record["geometry"]["distance"] == pytest.approx(3.2e5, rel=1e-4)


def test_calibrate_exports_the_geometry(capsys, tmp_path, image):
    names = [tmp_path / "fit.nxs", tmp_path / "out" / "fit.poni"]
    words = ["calibrate", image, *KNOWN, "--distortion", "none", "--out", tmp_path / "out", "--export", *names]
    assert main([*map(str, words)]) == 0
    assert str(names[1]) in capsys.readouterr().out
    record = json.loads((tmp_path / "out" / "calibration.json").read_text())
    for name in names:
        assert midas.read_geometry(name)[0].distance == pytest.approx(record["geometry"]["distance"], rel=1e-9)


def test_parameters_are_held_and_panels_left_out(capsys, tmp_path, image):
    words = ["calibrate", image, *KNOWN, "--fix", "tilt_y=0", "tilt_z=0", "--panels", "none", "--out", tmp_path / "out"]
    assert main([*map(str, words), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["geometry"]["tilts"] == [0.0, 0.0, 0.0]
    assert "tilt_y" not in record["esd"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--fix", "tilt_y"], "--fix tilt_y: expected NAME=VALUE"),
        (["--fix", "lsd=3"], "'lsd' cannot be fixed; expected one of distance"),
        (["-dataFN", "other.tif"], "give one of them"),
    ],
)
def test_flags_that_cannot_be_meant(capsys, tmp_path, image, flags, message):
    words = ["calibrate", image, *KNOWN, "--out", tmp_path / "out", *flags]
    assert message in refused(capsys, tmp_path, *words)


def test_an_export_that_cannot_be_does_not_hide_the_calibration(capsys, tmp_path, image):
    words = ["calibrate", image, *KNOWN, "--out", tmp_path / "out", "--export", tmp_path / "fit.imctrl"]
    assert main([*map(str, words)]) == 2
    captured = capsys.readouterr()
    assert captured.out.startswith("Calibration: good")
    assert "cannot hold the geometry's distortion" in captured.err
    assert (tmp_path / "out" / "calibration.json").exists()


def test_exports_are_checked_before_any_work(capsys, tmp_path, image):
    words = ["calibrate", image, *KNOWN, "--out", tmp_path / "out", "--export"]
    assert "a geometry has the suffix .poni" in refused(capsys, tmp_path, *words, tmp_path / "fit.docx")
    assert "its folder does not exist" in refused(capsys, tmp_path, *words, tmp_path / "none" / "fit.poni")


def test_missing_and_unreadable_files(capsys, tmp_path, image):
    out = ["--out", tmp_path / "out"]
    assert "no.tif" in refused(capsys, tmp_path, "calibrate", tmp_path / "no.tif", *KNOWN, *out)
    strange = tmp_path / "image.xyz"
    strange.write_bytes(b"1234")
    assert ".xyz" in refused(capsys, tmp_path, "calibrate", strange, *KNOWN, *out)
    cut = tmp_path / "cut.tif"
    cut.write_bytes(image.read_bytes()[:50_000])
    assert "cut.tif" in refused(capsys, tmp_path, "calibrate", cut, *KNOWN, *out)
    assert "no image is given" in refused(capsys, tmp_path, "calibrate", *KNOWN, *out)


def test_missing_keys_are_named_with_their_flag(capsys, tmp_path, image):
    out = ["--out", tmp_path / "out"]
    assert "--energy" in refused(capsys, tmp_path, "calibrate", image, "--pixel-size", 200, *out)
    assert "--pixel-size" in refused(capsys, tmp_path, "calibrate", image, "--wavelength", 0.2, *out)
    params = tmp_path / "ps.txt"
    params.write_text("px 200\n")
    message = refused(capsys, tmp_path, "calibrate", image, "-paramFN", params, *out)
    assert f"missing: give --wavelength or --energy on the command line, Wavelength in {params}" in message
    both = refused(capsys, tmp_path, "calibrate", image, *out)
    assert "wavelength and pixel_size are missing: give --wavelength or --energy and --pixel-size on the" in both


def test_a_terminal_without_greek_letters_shows_escapes(tmp_path, image):
    words = [str(w) for w in ("calibrate", image, *KNOWN, "--out", tmp_path / "out")]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-m", "midas.cli", *words], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "mean strain" in done.stdout
    assert "\\xb1" in done.stdout  # plus or minus


def test_a_folder_that_no_parameter_file_can_name_is_refused_at_once(capsys, tmp_path, image):
    words = ["calibrate", image, *KNOWN, "--out", tmp_path / "x#y"]
    assert "# begins a comment" in refused(capsys, tmp_path, *words)
    assert not (tmp_path / "x#y").exists()


def test_units_are_checked(capsys, tmp_path, image):
    out = ["--out", tmp_path / "out"]
    guess = refused(capsys, tmp_path, "calibrate", image, *KNOWN, "-LsdGuess", 0.21, *out)
    assert "looks like metres" in guess
    assert "keV" in refused(capsys, tmp_path, "calibrate", image, "--wavelength", 80.7, "--pixel-size", 200, *out)
    assert "metres" in refused(capsys, tmp_path, "calibrate", image, "--wavelength", 0.2, "--pixel-size", 2e-4, *out)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.zeros((200, 200), np.uint16), "empty"),
        (np.full((200, 200), 65535, np.uint16), "every pixel"),
        (np.full((200, 200), np.nan, np.float32), "every pixel"),
        (np.random.default_rng(1).poisson(20.0, (400, 400)).astype(np.uint16), "rings"),
        (np.ones((8, 8), np.uint16), "at least 32"),
    ],
)
def test_images_without_use(capsys, tmp_path, pixels, message):
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, pixels)
    assert message in refused(capsys, tmp_path, "calibrate", path, *KNOWN, "--out", tmp_path / "out")


def test_energies_in_other_units(capsys, tmp_path, image):
    out = ["--pixel-size", 200, "--out", tmp_path / "out"]
    assert "wavelength in Å" in refused(capsys, tmp_path, "calibrate", image, "--energy", 0.173, *out)
    assert "eV" in refused(capsys, tmp_path, "calibrate", image, "--energy", 71676, *out)


def test_folders_that_cannot_be_used(capsys, tmp_path, image):
    assert "is a folder" in refused(capsys, tmp_path, "calibrate", tmp_path, *KNOWN, "--out", tmp_path / "out")
    in_the_way, params = tmp_path / "file", tmp_path / "ps.txt"
    in_the_way.write_text("x")
    params.write_text("Lsd 3.2e5\nBC 260 249\npx 200\nWavelength 0.2\nRMin 10\nRMax 200\nRBinSize 1\n")
    message = refused(capsys, tmp_path, "integrate", image, "-paramFN", params, "-resultFolder", in_the_way)
    assert "a file of that name is in the way" in message
    cake = tmp_path / "a.zarr.zip"
    assert main(["integrate", str(image), "-paramFN", str(params), "-resultFolder", str(cake)]) == 0
    cif = tmp_path / "CeO2.cif"
    cif_file(cif)
    capsys.readouterr()
    message = refused(capsys, tmp_path, "refine", "--data", cake, "--cif", cif, "--out", in_the_way)
    assert "a file of that name is in the way" in message


def test_masks_that_do_not_fit(capsys, tmp_path, image):
    mask = tmp_path / "mask.tif"
    tifffile.imwrite(mask, np.zeros((10, 10), np.uint8))
    assert "shape" in refused(capsys, tmp_path, "calibrate", image, *KNOWN, "--mask", mask, "--out", tmp_path / "out")
    tifffile.imwrite(mask, np.ones((512, 512), np.uint8))
    assert "every pixel" in refused(
        capsys, tmp_path, "calibrate", image, *KNOWN, "--mask", mask, "--out", tmp_path / "out"
    )


def test_run_says_what_is_missing(capsys, tmp_path):
    assert "--cif" in refused(capsys, tmp_path, "run", "-dataFN", tmp_path / "a.h5")
    assert "--zarr-file" in refused(capsys, tmp_path, "run", "--skip-integration", "--skip-refinement")
    assert "not there yet" in refused(capsys, tmp_path, "run", "--backend", "stream")
    assert "-paramFN" in refused(capsys, tmp_path, "run", "-dataFN", tmp_path / "a.h5", "--skip-refinement",
                                 "-resultFolder", tmp_path / "r")  # fmt: skip


def test_run_calibrates_and_integrates(capsys, tmp_path, image):
    scan = tmp_path / "scan.npy"
    np.save(scan, np.stack([tifffile.imread(image)] * 2))
    words = ["run", "-dataFN", scan, "--calibrant-image", image, *KNOWN, "--skip-refinement",
             "-resultFolder", tmp_path / "results"]  # fmt: skip
    assert main([*map(str, words)]) == 0
    cake = midas.read_cake_file(tmp_path / "results" / "scan.npy.zarr.zip")
    profile = np.nansum(cake.intensity[0] * cake.bin_area, axis=1) / np.maximum(cake.bin_area.sum(axis=1), 1e-9)
    two_theta = cake.two_theta[:, 0]
    assert two_theta[np.nanargmax(profile)] == pytest.approx(3.6708, abs=0.05)  # deg: CeO2 111 at 0.2 Å


def test_integrate_says_as_much_as_asked(capsys, tmp_path):
    np.save(tmp_path / "s.npy", np.full((40, 40), 7, np.uint16))
    params = tmp_path / "ps.txt"
    params.write_text("Lsd 3e5\nBC 20 20\npx 200\nWavelength 0.2\nRMin 2\nRMax 18\nRBinSize 1\nMine 1\n")
    words = ["integrate", str(tmp_path / "s.npy"), "-paramFN", str(params), "-resultFolder", str(tmp_path / "out")]
    for level, info, warning in (("INFO", 1, 1), ("WARNING", 0, 1), ("ERROR", 0, 0), ("debug", 1, 1)):
        assert main([*words, "-logLevel", level]) == 0
        told = capsys.readouterr().err
        assert told.count("s.npy.zarr.zip") == info, told
        assert told.count("WARNING: ") == warning, told
