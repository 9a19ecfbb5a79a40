"""Mirrored and transposed images: caught where detector or guess tell, silent where nothing does."""

from __future__ import annotations

import numpy as np
import pytest

from midas.calibration.orientation import mirrored


def gapped(shape: tuple[int, int], module: tuple[int, int], gap: tuple[int, int]) -> np.ndarray:
    rows, columns = (np.arange(n) % (m + g) >= m for n, m, g in zip(shape, module, gap, strict=True))
    return rows[:, None] | columns[None, :]


PILATUS = gapped((1043, 981), (195, 487), (17, 7))
CENTER = (480.0, 530.0)


def test_a_detector_the_right_way_round_says_nothing() -> None:
    assert mirrored(PILATUS, (), None, CENTER) is None
    assert mirrored(PILATUS, (1, 2), (482.0, 528.0), CENTER) is None
    assert mirrored(np.zeros((2048, 2048), dtype=bool), (), None, CENTER) is None


def test_a_transposed_detector_is_named_by_its_shape() -> None:
    said = mirrored(PILATUS.T, (), None, CENTER)
    assert said is not None
    assert "981 rows and 1043 columns, a Pilatus 1M has 1043 and 981" in said
    assert mirrored(PILATUS.T, (3,), None, CENTER) is None  # it was asked for
    assert mirrored(PILATUS.T, (3, 1, 3), None, CENTER) is not None


def test_a_transposed_cut_out_is_named_by_its_gaps() -> None:
    part = gapped((600, 900), (195, 487), (17, 7))
    assert mirrored(part, (), None, CENTER) is None
    said = mirrored(np.ascontiguousarray(part.T), (), None, CENTER)
    assert said is not None
    assert "gaps of 7 rows and 17 columns, a Pilatus has 17 and 7" in said


@pytest.mark.parametrize(
    ("guess", "said"),
    [
        ((2047.0 - 480.0, 530.0), "columns (ImTransOpt 1) flipped"),
        ((480.0, 2047.0 - 530.0), "rows (ImTransOpt 2) flipped"),
        ((2047.0 - 480.0, 2047.0 - 530.0), "columns and rows"),
        ((485.0, 525.0), None),  # right
        ((900.0, 900.0), None),  # wrong, but no flip makes it right
    ],
)
def test_a_guess_that_fits_only_the_flipped_image(guess: tuple[float, float], said: str | None) -> None:
    reason = mirrored(np.zeros((2048, 2048), dtype=bool), (), guess, CENTER)
    assert (reason is None) if said is None else (reason is not None and said in reason)
