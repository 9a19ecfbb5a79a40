"""Further forms of a cake, read by others than those who wrote them."""

from __future__ import annotations

import csv
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import loadmat

from midas import CakeGrid, Corrections, Geometry, InputError, IntegrationOptions, integrate
from midas.cake import Cake, SeriesFiles, SeriesOptions, integrate_files
from midas.cake.exports import EXPORTS, Export
from midas.io.parameters import parse_params

N = 61
G = Geometry(1e5, (30, 30), 200, 0.3)


@pytest.fixture(scope="module")
def cake() -> Cake:
    frames = np.random.default_rng(1).poisson(30.0, (5, N, N)).astype(np.uint16)
    options = IntegrationOptions(frames_per_sum=2, omega_step=0.5, corrections=Corrections(solid_angle=True))
    return integrate(frames, G, CakeGrid(2, 45, 1, eta_step=30), options=options)


def test_xye_and_fxye(cake: Cake, tmp_path: Path) -> None:
    profile = cake.profile()
    assert profile.sigma is not None
    held = np.isfinite(profile.intensity[1])
    assert not held.all()  # the corners end before the grid
    expected = np.column_stack([profile.two_theta, profile.intensity[1], profile.sigma[1]])[held]
    found = np.loadtxt(cake.to_xye(tmp_path / "a.xye", index=1))
    np.testing.assert_allclose(found, expected, rtol=1e-8)
    lines = cake.to_fxye(tmp_path / "a.fxye", index=1).read_text().splitlines()
    bank = lines[1].split()
    assert (bank[0], bank[4], bank[-1]) == ("BANK", "CONST", "FXYE")
    assert int(bank[2]) == len(lines) - 2 == len(expected)
    rows = np.array([[float(word) for word in line.split()] for line in lines[2:]])
    np.testing.assert_allclose(rows * [0.01, 1, 1], expected, rtol=1e-6)
    assert float(bank[5]) == pytest.approx(rows[0, 0])


def test_csv(cake: Cake, tmp_path: Path) -> None:
    with cake.to_csv(tmp_path / "a.csv").open() as file:
        rows = list(csv.DictReader(file))
    profile = cake.profile()
    assert len(rows) == len(cake.radius)
    for k, number in enumerate(cake.frame_numbers):
        found = [float(row[f"intensity_{number}"]) for row in rows]
        np.testing.assert_allclose(found, profile.intensity[k], rtol=1e-8)
    np.testing.assert_allclose([float(row["two_theta_deg"]) for row in rows], profile.two_theta, rtol=1e-8)


def test_mat(cake: Cake, tmp_path: Path) -> None:
    found = loadmat(cake.to_mat(tmp_path / "a.mat"))
    np.testing.assert_array_equal(found["intensity"], cake.intensity)
    np.testing.assert_array_equal(found["sigma"], cake.sigma)
    np.testing.assert_array_equal(found["two_theta"].ravel(), cake.two_theta)
    assert found["frames"].ravel().tolist() == [2, 2, 1]


def test_nexus(cake: Cake, tmp_path: Path) -> None:
    with h5py.File(cake.to_nexus(tmp_path / "a.nxs")) as file:
        entry = file[file.attrs["default"]]
        for n_axes, values in ((2, cake.intensity.transpose(0, 2, 1)), (1, cake.profile().intensity)):
            method = entry[f"azint{n_axes}d"]
            assert method["definition"].asstr()[()] == f"NXazint{n_axes}d"
            assert method["solid_angle_applied"][()]
            assert not method["polarization_applied"][()]
            data = method[method.attrs["default"]]
            assert data.attrs["NX_class"] == "NXdata"
            signal = data[data.attrs["signal"]]
            np.testing.assert_array_equal(signal[()], values)
            assert data["I_errors"].shape == signal.shape
            axes = [name for name in data.attrs["axes"] if name != "."]
            assert [len(data[name]) for name in axes] == list(signal.shape[1:])
            np.testing.assert_allclose(data["radial_axis"][()], cake.two_theta)
            assert len(data["radial_axis_edges"]) == len(cake.two_theta) + 1
        wavelength = entry["azint2d/instrument/monochromator/wavelength"]
        assert wavelength[()] == pytest.approx(0.3)
        assert wavelength.attrs["units"] == "angstrom"
        assert entry["azint2d/data/omega"][()].tolist() == cake.omega.tolist()


def test_what_cannot_be_written_is_said(cake: Cake, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="index is 3 of 3 sums"):
        cake.to_fxye(tmp_path / "a.fxye", index=3)
    plain = integrate(np.ones((N, N)), G, CakeGrid(2, 20, 1), options=IntegrationOptions(variance=False))
    for write in (plain.to_xye, plain.to_fxye):
        with pytest.raises(InputError, match="no sigma"):
            write(tmp_path / "a.xye")
    assert list(tmp_path.iterdir()) == []


def test_all_forms_beside_the_caked_file(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.random.default_rng(1).poisson(30.0, (4, N, N)).astype(np.uint16))
    text = "Lsd 1e5\nBC 30 30\npx 200\nWavelength 0.3\nRMin 2\nRMax 28\nRBinSize 1\nEtaBinSize 30\nOmegaSumFrames 2\n"
    options = SeriesOptions(also=tuple(EXPORTS))
    done = integrate_files(SeriesFiles(tmp_path / "a.npy"), parse_params(text), tmp_path / "out", options=options)
    expected = ["a.npy.csv", "a.npy.mat", "a.npy.nxs", "a.npy.zarr.zip"]
    expected += [f"a.npy_{k:06d}.{form}" for form in ("fxye", "xye") for k in (1, 3)]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(expected)
    assert sorted(p.name for p in (*done.also, *done.written)) == sorted(expected)
    with h5py.File(tmp_path / "out" / "a.npy.nxs") as file:
        assert file["entry/azint1d/data/I"].shape[0] == 2


def test_a_form_that_cannot_be_written_leaves_the_cake_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from midas.cake import file_task

    def fail(cake: Cake, path: Path) -> None:
        raise InputError("no ink")

    monkeypatch.setattr(file_task, "EXPORTS", {**EXPORTS, "csv": Export(".csv", fail)})
    np.save(tmp_path / "a.npy", np.ones((1, N, N)))
    text = "Lsd 1e5\nBC 30 30\npx 200\nWavelength 0.3\nRMin 2\nRMax 28\nRBinSize 1\nEtaBinSize 30\n"
    with pytest.raises(InputError, match="no ink"):
        integrate_files(
            SeriesFiles(tmp_path / "a.npy"), parse_params(text), tmp_path / "out", options=SeriesOptions(also=("csv",))
        )
    assert not (tmp_path / "out").exists()
