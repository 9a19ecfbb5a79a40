"""midas.Detector and the image transforms."""

from __future__ import annotations

import numpy as np
import pytest

import midas
from midas.detector import transform_image
from midas.errors import InputError


def test_mask_is_kept_read_only_as_bool():
    mask = np.zeros((2, 3), dtype=np.uint8)
    mask[1, 2] = 7
    detector = midas.Detector((2, 3), 200.0, mask=mask)
    assert detector.n_pixels == 6
    assert detector.mask.dtype == np.bool_
    assert detector.mask.sum() == 1
    assert detector.mask[1, 2]
    with pytest.raises(ValueError, match="read-only"):
        detector.mask[0, 0] = True


@pytest.mark.parametrize("shape", [(2,), (0, 3), (2, 3, 4)])
def test_bad_shapes_are_refused(shape):
    with pytest.raises(InputError, match="rows, columns"):
        midas.Detector(shape, 200.0)


def test_a_mask_of_another_shape_is_refused():
    with pytest.raises(InputError, match="expected the detector's"):
        midas.Detector((2, 3), 200.0, mask=np.zeros((3, 2)))


def test_transforms_by_hand():
    image = np.array([[1, 2, 3], [4, 5, 6]])
    assert transform_image(image, [0]).tolist() == image.tolist()
    assert transform_image(image, [1]).tolist() == [[3, 2, 1], [6, 5, 4]]
    assert transform_image(image, [2]).tolist() == [[4, 5, 6], [1, 2, 3]]
    assert transform_image(image, [3]).tolist() == [[1, 4], [2, 5], [3, 6]]


def test_transforms_apply_in_the_order_listed():
    image = np.array([[1, 2, 3], [4, 5, 6]])
    assert transform_image(image, [1, 3]).tolist() == [[3, 6], [2, 5], [1, 4]]
    assert transform_image(image, [3, 1]).tolist() == [[4, 1], [5, 2], [6, 3]]


def test_a_stack_is_transformed_frame_by_frame():
    stack = np.arange(24).reshape(2, 3, 4)
    out = transform_image(stack, [3, 2])
    assert out.flags.c_contiguous
    for k in range(2):
        assert (out[k] == transform_image(stack[k], [3, 2])).all()


def test_unknown_transform_is_refused():
    with pytest.raises(InputError, match="transform 4"):
        transform_image(np.zeros((2, 2)), [4])
