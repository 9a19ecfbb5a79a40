"""core/defects: hot and dead pixels against hand-made images and numpy, symmetry, threads, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from midas import InputError, _core

LIMITS: dict[str, Any] = {"hot_ratio": 5.0, "hot_sigma": 20.0, "dead_ratio": 0.2, "dead_level": 25.0}


def defects(
    counts: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_] | None = None, n_threads: int = 1, **limits: float
) -> npt.NDArray[np.uint8]:
    masked = np.zeros(counts.shape, np.uint8) if mask is None else mask.view(np.uint8)
    return _core.find_defects(counts, masked, **{**LIMITS, **limits}, n_threads=n_threads)


def noisy(shape: tuple[int, int] = (77, 101)) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    rng = np.random.default_rng(7)
    counts = rng.poisson(200.0, shape).astype(np.float32)
    counts[rng.random(shape) < 0.01] = 5000.0
    counts[rng.random(shape) < 0.01] = 3.0
    return counts, rng.random(shape) < 0.05


def test_limits_by_hand() -> None:
    # Neighbours of 100: hot above 5 * 100 + 20 * sqrt(100) = 700; background 100: dead below 20.
    counts = np.full((48, 48), 100.0, np.float32)
    counts[10, 10], counts[10, 20] = 700.0, 701.0
    counts[30, 10], counts[30, 20] = 20.0, 19.0
    found = defects(counts)
    assert found[10, 20] == _core.DEFECT_HOT
    assert found[30, 20] == _core.DEFECT_DEAD
    assert np.count_nonzero(found) == 2


def test_neighbours_of_a_hot_pixel() -> None:
    # Two bright pixels side by side belong to a ring; a masked neighbour counts as 0, a pixel at the edge has five.
    counts = np.full((48, 48), 100.0, np.float32)
    counts[10, 10] = counts[11, 11] = 5000.0
    counts[0, 30] = 5000.0
    assert np.argwhere(defects(counts)).tolist() == [[0, 30]]
    mask = np.zeros(counts.shape, bool)
    mask[11, 11] = True
    assert np.argwhere(defects(counts, mask)).tolist() == [[0, 30], [10, 10]]


def test_no_dead_pixels_in_a_faint_background() -> None:
    counts = np.full((48, 48), 24.0, np.float32)
    counts[20, 20] = 0.0
    assert not defects(counts).any()
    assert defects(counts, dead_level=23.0)[20, 20] == _core.DEFECT_DEAD


def test_as_numpy_finds_them() -> None:
    counts, mask = noisy((64, 96))
    padded = np.pad(np.where(mask, 0.0, counts), 1)
    around = [padded[1 + i : 65 + i, 1 + j : 97 + j] for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j]
    brightest = np.max(around, axis=0)
    hot = ~mask & (counts > 5.0 * brightest + 20.0 * np.sqrt(np.maximum(brightest, 1.0)))
    tiles = np.where(mask, np.nan, counts).reshape(4, 16, 6, 16).swapaxes(1, 2)[:, :, ::2, ::2].reshape(4, 6, 64)
    quartile = np.pad(np.nanquantile(tiles, 0.25, axis=2), 1, constant_values=np.inf)
    lowest = np.min([quartile[i : 4 + i, j : 6 + j] for i in range(3) for j in range(3)], axis=0)
    level = np.repeat(np.repeat(lowest, 16, axis=0), 16, axis=1)
    found = defects(counts, mask)
    assert hot.sum() > 20
    np.testing.assert_array_equal(found == _core.DEFECT_HOT, hot)
    np.testing.assert_array_equal(found == _core.DEFECT_DEAD, ~mask & (counts < 0.2 * level))


def test_a_transposed_image_has_transposed_defects() -> None:
    counts, mask = noisy()
    turned = defects(np.ascontiguousarray(counts.T), np.ascontiguousarray(mask.T))
    np.testing.assert_array_equal(turned.T, defects(counts, mask))


def test_a_masked_pixel_is_no_defect() -> None:
    counts, mask = noisy()
    found = defects(counts, mask)
    assert found.any()
    assert not found[mask].any()
    assert not defects(counts, np.ones_like(mask)).any()


@pytest.mark.parametrize("n_threads", [2, 7])
def test_any_number_of_threads(n_threads: int) -> None:
    counts, mask = noisy()
    np.testing.assert_array_equal(defects(counts, mask, n_threads), defects(counts, mask))


def test_refusals() -> None:
    with pytest.raises(InputError, match="two dimensions"):
        defects(np.zeros(9, np.float32))
    with pytest.raises(InputError, match="9 and 6 elements"):
        defects(np.zeros((3, 3), np.float32), np.zeros((2, 3), bool))
    with pytest.raises(InputError, match="no pixel"):
        defects(np.zeros((0, 3), np.float32))
    with pytest.raises(TypeError):
        defects(np.zeros((3, 3)))  # type: ignore[arg-type]
