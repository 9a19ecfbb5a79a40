"""core/nearest: by hand, against scipy's exact distance transform, symmetry, threads, refusals."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from midas import InputError, _core

Bools = npt.NDArray[np.bool_]


def nearest(mask: Bools, n_threads: int = 1) -> npt.NDArray[np.int64]:
    return _core.nearest_usable(mask.view(np.uint8), n_threads=n_threads)


def distances(mask: Bools, n_threads: int = 1) -> npt.NDArray[np.int64]:
    """Squared distances to the cells named."""
    z, y = np.divmod(nearest(mask, n_threads), mask.shape[1])
    return (z - np.arange(mask.shape[0])[:, None]) ** 2 + (y - np.arange(mask.shape[1])) ** 2


def masks() -> list[Bools]:
    rng = np.random.default_rng(7)
    found = [rng.random((83, 131)) < share for share in (0.02, 0.5, 0.98, 0.9995)]
    gap = np.zeros((70, 40), dtype=bool)
    gap[10:27], gap[:, 20:33] = True, True
    return [*found, gap, np.ones((5, 7), dtype=bool) ^ (np.arange(35).reshape(5, 7) == 17)]


def test_by_hand() -> None:
    mask = np.array([[False, True, True, True], [True, True, True, False]])
    # The cell (0, 2) is nearer to (1, 3) than to (0, 0); (1, 1) is nearer to (0, 0) than to (1, 3).
    assert nearest(mask).tolist() == [[0, 0, 7, 7], [0, 0, 7, 7]]


@pytest.mark.parametrize("case", range(6))
def test_distances_are_the_exact_ones(case: int) -> None:
    mask = masks()[case]
    exact = np.rint(ndimage.distance_transform_edt(mask) ** 2).astype(np.int64)
    np.testing.assert_array_equal(distances(mask), exact)
    assert not mask.ravel()[nearest(mask)].any()


def test_usable_cells_are_their_own() -> None:
    mask = np.zeros((6, 4), dtype=bool)
    assert nearest(mask).ravel().tolist() == list(range(24))


def test_a_transposed_mask_has_transposed_distances() -> None:
    mask = masks()[1]
    np.testing.assert_array_equal(distances(np.ascontiguousarray(mask.T)).T, distances(mask))


@pytest.mark.parametrize("n_threads", [2, 7])
def test_any_number_of_threads(n_threads: int) -> None:
    mask = masks()[2]
    np.testing.assert_array_equal(nearest(mask, n_threads), nearest(mask))


def test_refusals() -> None:
    with pytest.raises(InputError, match="no cell"):
        nearest(np.ones((3, 4), dtype=bool))
    with pytest.raises(InputError, match="two dimensions"):
        nearest(np.zeros(5, dtype=bool))
    with pytest.raises(TypeError):
        _core.nearest_usable(np.zeros((2, 2)))  # type: ignore[arg-type]
