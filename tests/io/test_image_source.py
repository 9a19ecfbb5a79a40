"""Which values of a raw image are counts."""

from __future__ import annotations

import numpy as np
import pytest

from midas.errors import InputError
from midas.io.image_source import valid_mask


def test_sentinels():
    assert valid_mask(np.array([0, 254, 255], dtype=np.uint8)).tolist() == [True, True, False]
    assert valid_mask(np.array([0, 2**32 - 2, 2**32 - 1], dtype=np.uint32)).tolist() == [True, True, False]
    assert valid_mask(np.array([-2, -1, 0, 2**31 - 1], dtype=np.int32)).tolist() == [False, False, True, True]
    assert valid_mask(np.array([-1, 0, np.nan, np.inf, 5], dtype=np.float32)).tolist() == [
        False,
        True,
        False,
        False,
        True,
    ]
    assert valid_mask(np.array([[3, 7]], dtype=np.uint16), bad_values=[7, 70000]).tolist() == [[True, False]]
    with pytest.raises(InputError, match="bool"):
        valid_mask(np.array([True]))
