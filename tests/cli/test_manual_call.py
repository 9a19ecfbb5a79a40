"""The integrator's call of the GSAS-II manual as it stands, on a synthetic scan, and what others find in its files."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest
from plain_zarr import PlainZarr

from midas.cli import main
from midas.refine.dispatch import EngineCommand

N, FIRST, LAST, FRAMES = 96, 48005, 48024, 10
RATES = np.random.default_rng(1).uniform(20.0, 60.0, (N, N))
TEXT = f"""Lsd 200000
BC 46.5 49.2
px 200
Wavelength 0.2
tx 0
ty 0.1
tz -0.2
p0 0
p1 0
p2 0
p3 0
RhoD 13600
NrPixelsY {N}
NrPixelsZ {N}
RMin 4
RMax 44
RBinSize 0.5
EtaMin -180
EtaMax 180
EtaBinSize 30
OmegaSumFrames 20
SaveIndividualFrames 1
"""


@pytest.fixture
def scan(tmp_path: Path) -> list[str]:
    """Write 20 files of 10 frames, the dark in a file of its own, and return the call without the program's name."""
    for number in range(FIRST, LAST + 1):
        stack = np.random.default_rng(number).poisson(RATES + 10.0, (FRAMES, N, N)).astype(np.uint16)
        with h5py.File(tmp_path / f"scan_{number:06d}.h5", "w") as file:
            file["exchange/data"] = stack
    with h5py.File(tmp_path / "dark.h5", "w") as file:
        file["exchange/dark"] = np.full((3, N, N), 10, dtype=np.uint16)
    (tmp_path / "ps.txt").write_text(TEXT)
    words = "-paramFN ps.txt -dataFN scan_048005.h5 -darkFN dark.h5 -dataLoc exchange/data -darkLoc exchange/dark"
    words += f" -startFileNr {FIRST} -endFileNr {LAST} -nCPUs 2 -resultFolder out -convertFiles 1 -mapDetector 1"
    return ["integrate", *words.split()]


def say_omegas(folder: Path) -> None:
    """Let the files say that omega goes on from one to the next, in steps of 0.25 deg."""
    for k, number in enumerate(range(FIRST, LAST + 1)):
        with h5py.File(folder / f"scan_{number:06d}.h5", "r+") as file:
            where = "measurement/process/scan_parameters/"
            file[where + "start"], file[where + "step"] = np.array([-5.0 + 2.5 * k]), np.array([0.25])
            file[where + "Temperature"] = np.array([300.0 + k])


@pytest.mark.parametrize("goes_on", [False, True])
def test_an_independent_reader_finds_what_was_measured(
    scan: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, goes_on: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    if goes_on:
        say_omegas(tmp_path)
    assert main(scan) == 0
    files = sorted((tmp_path / "out").glob("*.zarr.zip"))
    step = 2 if goes_on else 1
    assert [f.name for f in files] == [f"scan_{n:06d}.h5.zarr.zip" for n in range(FIRST, LAST + 1, step)]
    for k, path in enumerate(files):
        file = PlainZarr(path)
        names = file.members("OmegaSumFrame")
        assert names == [f"LastFrameNumber_{10 * step - 1:06d}"]
        about = file.attrs(f"OmegaSumFrame/{names[0]}")
        assert about["Number Of Frames Summed"] == 10 * step
        assert len(file.members("IntegrationResult")) == 10 * step
        if goes_on:
            assert (about["FirstOme"], about["LastOme"]) == (-5.0 + 5.0 * k, -0.25 + 5.0 * k)
            assert about["Temperature"] == pytest.approx(300.5 + 2 * k)
        rows, stored = file.array("REtaMap"), file.array(f"OmegaSumFrame/{names[0]}")
        assert rows.shape == (4, 80, 12)
        mean = float(np.average(stored, weights=rows[3]))
        assert mean == pytest.approx(10 * step * RATES[(rows_of_disc := _disc())].mean(), rel=0.01)
        assert rows_of_disc.any()
        assert float(file.array("InstrumentParameters/Lam")[0]) == 0.2


def _disc() -> np.ndarray:
    """Return the pixels that lie in the bins, nearly."""
    z, y = np.mgrid[:N, :N]
    radius = np.hypot(y - 46.5, z - 49.2)
    return (radius > 4) & (radius < 44)


READ = """
import json, sys
sys.path.insert(0, sys.argv[1])
from GSASII.imports.G2pwd_MIDAS import MIDAS_Zarr_Reader
found = []
for path in sys.argv[2:]:
    reader, buffer = MIDAS_Zarr_Reader(), {}
    reader.selections = []
    assert reader.ContentsValidator(path)
    while True:
        assert reader.Reader(path, None, buffer=buffer)
        x, y = reader.powderdata[:2]
        azimuth = reader.pwdparms["Instrument Parameters"][0]["Azimuth"][0]
        found.append([path, float(azimuth), float(reader.Sample["Phi"]), x.tolist(), y.tolist()])
        if not reader.repeat:
            break
print("FOUND", json.dumps(found))
"""


@pytest.mark.gsas2
def test_gsas2_imports_every_lineout(
    scan: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gsas2: EngineCommand
) -> None:
    monkeypatch.chdir(tmp_path)
    say_omegas(tmp_path)
    assert main(scan) == 0
    files = sorted((tmp_path / "out").glob("*.zarr.zip"))
    command = [gsas2.argv[0], "-c", READ, str(Path(str(gsas2.folder)).parent), *map(str, files)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "HOME": str(tmp_path)}
    )
    assert "FOUND" in done.stdout, done.stdout + done.stderr
    found = json.loads(done.stdout.split("FOUND", 1)[1])
    assert len(found) == 10 * 12
    for k, path in enumerate(files):
        file = PlainZarr(path)
        rows = file.array("REtaMap")
        stored = file.array(f"OmegaSumFrame/{file.members('OmegaSumFrame')[0]}")
        for j in range(12):
            name, azimuth, omega, x, y = found[12 * k + j]
            assert name == str(path)
            assert azimuth == pytest.approx(90.0 - rows[2, 0, j])
            assert omega == pytest.approx(-5.0 + 5.0 * k + 2.375)
            np.testing.assert_allclose(x, rows[1, :, j])
            np.testing.assert_allclose(y, stored[:, j] / 20)
