"""The ring list hkls.csv: columns of docs/files.md, one row for each reflection."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from midas import InputError, OutputError, calibrant, rings
from midas.io.hkls import write_hkls


def test_the_first_ring_by_hand(tmp_path: Path) -> None:
    path = write_hkls(tmp_path / "hkls.csv", rings(calibrant("CeO2"), 0.172979, d_min=2.0), 1e6)
    header, *rows = path.read_text().splitlines()
    assert header == "h k l D-spacing RingNr g1 g2 g3 Theta 2Theta Radius"
    assert len(rows) == 8 + 6
    table = np.array([[float(v) for v in row.split()] for row in rows])
    d = 5.41165 / np.sqrt(3)
    theta = np.degrees(np.arcsin(0.172979 / 2 / d))
    np.testing.assert_allclose(table[:8, 3], d, atol=1e-8)
    assert table[:8, 4].tolist() == [1.0] * 8
    np.testing.assert_allclose(
        table[0], [1, 1, 1, d, 1, *[1 / 5.41165] * 3, theta, 2 * theta, 1e6 * np.tan(np.radians(2 * theta))], rtol=1e-7
    )
    assert np.all(np.diff(table[:, 3]) <= 0)
    np.testing.assert_allclose(np.linalg.norm(table[:, 5:8], axis=1), 1 / table[:, 3], rtol=1e-7)


def test_rings_behind_the_flat_detector_have_no_radius(tmp_path: Path) -> None:
    path = write_hkls(tmp_path / "hkls.csv", rings(calibrant("Ni"), 1.54, two_theta_max=100.0), 1e6)
    last = path.read_text().splitlines()[-1].split()
    assert float(last[9]) > 90.0
    assert last[10] == "nan"


def test_bad_input_leaves_no_file(tmp_path: Path) -> None:
    found = rings(calibrant("CeO2"), 0.2, d_min=2.0)
    with pytest.raises(InputError, match=r"distance 1.05 looks like metres or mm"):
        write_hkls(tmp_path / "hkls.csv", found, 1.05)
    with pytest.raises(InputError, match="distance nan"):
        write_hkls(tmp_path / "hkls.csv", found, float("nan"))
    with pytest.raises(InputError, match="no ring"):
        write_hkls(tmp_path / "hkls.csv", rings(calibrant("CeO2"), 0.2, d_min=9.0), 1e6)
    with pytest.raises(OutputError, match="folder does not exist"):
        write_hkls(tmp_path / "absent" / "hkls.csv", found, 1e6)
    assert list(tmp_path.iterdir()) == []
