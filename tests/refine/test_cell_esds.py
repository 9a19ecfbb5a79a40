"""Esds of cells beside the scatter of cells from a tensor that scatters as its covariance says."""

from __future__ import annotations

import numpy as np
import pytest

from midas.refine.cell_esds import cell_esds, cell_of, metric_of

CELLS = {
    "cubic": ([5.4, 5.4, 5.4, 90, 90, 90], [0]),
    "tetragonal": ([4.6, 4.6, 2.96, 90, 90, 90], [0, 2]),
    "hexagonal": ([2.6649, 2.6649, 4.9468, 90, 90, 120], [0, 2]),
    "rhombohedral": ([5.13, 5.13, 5.13, 55.3, 55.3, 55.3], [0, 3]),
    "orthorhombic": ([4.4, 5.4, 3.4, 90, 90, 90], [0, 1, 2]),
    "monoclinic": ([5.1505, 5.2116, 5.3173, 90, 99.23, 90], [0, 1, 2, 4]),
    "very oblique": ([5.7, 15.2, 6.5, 90, 118.4, 90], [0, 1, 2, 4]),
    "triclinic": ([6.1, 7.3, 8.9, 95.0, 103.0, 111.0], [0, 1, 2, 3, 4, 5]),
}
FIXED = {"cubic": "111", "tetragonal": "111", "hexagonal": "111", "orthorhombic": "111", "monoclinic": "101",
         "very oblique": "101", "rhombohedral": "000", "triclinic": "000"}  # fmt: skip


@pytest.mark.parametrize("name", CELLS)
def test_they_are_the_scatter_of_the_cells(name):
    cell, varied = CELLS[name]
    metric, rng, n = metric_of(cell), np.random.default_rng(7), len(varied)
    mixed = rng.normal(size=(n, n)) + 2.0 * np.eye(n)
    covariance = mixed @ mixed.T * (1e-5 * metric[:3].min()) ** 2
    shifts = np.zeros((4000, 6))
    shifts[:, varied] = rng.multivariate_normal(np.zeros(n), covariance, 4000)
    if name != "triclinic":  # what symmetry ties to what is varied, by hand
        for k, lead in {1: 0, 2: 0}.items():
            if k not in varied:
                shifts[:, k] = shifts[:, lead]
        if name == "hexagonal":
            shifts[:, 3] = shifts[:, 0]
        if name == "rhombohedral":
            shifts[:, 4] = shifts[:, 5] = shifts[:, 3]
    scatter = np.std([cell_of(metric + shift) for shift in shifts], axis=0)
    found = cell_esds(cell, varied, covariance)
    free = [True] * 3 + [flag == "0" for flag in FIXED[name]] + [True]
    assert found[free] == pytest.approx(scatter[free], rel=0.05)  # 4000 shifts know it to 1.1 %
    assert (found[~np.array(free)] == 0.0).all()


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_comes_back_from_its_tensor(name):
    cell, _ = CELLS[name]
    assert cell_of(metric_of(cell))[:6] == pytest.approx(cell, rel=1e-12)
    h, k, length = 2, -1, 3
    a = metric_of(cell)
    inverse_d2 = a @ [h * h, k * k, length * length, h * k, h * length, k * length]
    basis = np.linalg.cholesky(np.linalg.inv([[a[0], a[3] / 2, a[4] / 2], [a[3] / 2, a[1], a[5] / 2],
                                              [a[4] / 2, a[5] / 2, a[2]]]))  # fmt: skip
    assert np.sum(np.linalg.solve(basis, [h, k, length]) ** 2) == pytest.approx(inverse_d2)
