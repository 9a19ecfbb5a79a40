"""A stack of images for the tests of reading and writing."""

from __future__ import annotations

import numpy as np
import pytest
from stack_files import COLUMNS, ROWS, N


@pytest.fixture
def stack(rng) -> np.ndarray:
    return rng.integers(0, 5000, (N, ROWS, COLUMNS)).astype(np.uint16)
