"""core/median: by hand, against scipy, equivariance, threads, refusals."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from midas import InputError, _core

RNG = np.random.default_rng(7)
IMAGES = [
    RNG.normal(size=(61, 83)),
    RNG.poisson(3.0, (50, 40)),  # many equal values
    np.full((20, 30), 5.0),
    RNG.lognormal(sigma=4.0, size=(33, 35)),  # five decades
    RNG.normal(size=(3, 70)),  # fewer rows than the square
    RNG.normal(size=(1, 1)),
]


def median(image: npt.NDArray[np.generic], half: int, n_threads: int = 1) -> npt.NDArray[np.float32]:
    return _core.median_filter(np.ascontiguousarray(image, dtype=np.float32), half=half, n_threads=n_threads)


def test_by_hand() -> None:
    # Around the first value: 1 and, mirrored, 9 twice in each row: 9; around the last: 2 and 9.
    assert median(np.array([[1, 9, 2]]), 1).tolist() == [[9.0, 2.0, 9.0]]


@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize("half", [0, 1, 6])
def test_as_scipy(image: npt.NDArray[np.generic], half: int) -> None:
    values = image.astype(np.float32)
    expected = ndimage.median_filter(values, 2 * half + 1, mode="mirror")
    np.testing.assert_array_equal(median(values, half), expected)


def test_ranks_alone_matter() -> None:
    image = RNG.normal(size=(40, 41)).astype(np.float32)
    np.testing.assert_array_equal(median(np.exp(image), 4), np.exp(median(image, 4)))


@pytest.mark.parametrize("n_threads", [2, 7])
def test_any_number_of_threads(n_threads: int) -> None:
    np.testing.assert_array_equal(median(IMAGES[0], 5, n_threads), median(IMAGES[0], 5))


def test_refusals() -> None:
    with pytest.raises(InputError, match="NaN"):
        median(np.array([[1.0, np.nan]]), 1)
    with pytest.raises(InputError, match="negative"):
        median(np.ones((3, 3)), -1)
    with pytest.raises(InputError, match="two dimensions"):
        median(np.ones(3), 1)
    with pytest.raises(InputError, match="no pixel"):
        median(np.ones((0, 3)), 1)
    with pytest.raises(TypeError):
        _core.median_filter(np.ones((3, 3)), half=1)  # type: ignore[arg-type]
