"""What is masked before a calibration, and what is not."""

from __future__ import annotations

import numpy as np
import pytest

import midas
from midas.calibration.prepare import local_median, prepare_image
from midas.errors import InputError


def flat(value=100.0, shape=(96, 128)):
    return np.full(shape, value, dtype=np.float32)


def test_single_hot_pixels_are_masked_and_rings_are_not():
    image = flat()
    image[40, 50] = 50_000.0
    image[:, 80:82] = 5_000.0  # a ring passes vertically: bright, but not alone
    prepared = prepare_image(image)
    assert prepared.mask[40, 50]
    assert not prepared.mask[:, 80:82].any()
    assert prepared.n_hot == 1
    assert prepared.counts[40, 50] == 0.0


def test_dead_pixels_and_shadows_are_masked():
    image = flat()
    image[10, 10] = 0.0
    image[60:64, 20:23] = 3.0
    prepared = prepare_image(image)
    assert prepared.mask[10, 10]
    assert prepared.mask[60:64, 20:23].all()
    assert prepared.mask.sum() == 13


@pytest.mark.parametrize("peak_counts", [1e3, 2e4])
def test_nothing_is_dead_on_a_sound_detector(peak_counts):
    truth = midas.Geometry(distance=3e5, beam_center=(250, 260), pixel_size=200, wavelength=0.2)
    options = midas.SimulationOptions(peak_counts=peak_counts, background=30.0, dtype="uint32")
    image = midas.simulate(truth, midas.Detector((512, 512), 200), "CeO2", options=options).image
    assert not prepare_image(image).mask.any()


def test_marks_in_a_dark_are_masked():
    dark = flat(5.0)
    dark[20, 30] = np.nan
    prepared = prepare_image(flat(), dark=dark)
    assert prepared.mask[20, 30]
    assert prepared.mask.sum() == 1
    assert prepared.counts[0, 0] == pytest.approx(prepare_image(flat(95.0)).counts[0, 0])


def test_a_scaled_image_is_brought_back_to_counts():
    counts = np.random.default_rng(7).poisson(400.0, (96, 128))
    for scale in (1e-3, 1.0, 50.0):
        prepared = prepare_image(counts * scale)
        assert np.median(prepared.counts) == pytest.approx(400.0, rel=0.1)


def test_negative_values_are_marks_or_counts(caplog):
    counts = np.random.default_rng(7).normal(0.5, 1.0, (96, 128)).astype(np.float32)
    marks = prepare_image(counts)
    assert 0.2 < marks.mask.mean() < 0.5
    assert "negative_counts=True" in caplog.text
    assert prepare_image(counts, negative_counts=True).mask.mean() < 0.05


def test_dark_counts_are_not_called_dead():
    # Where the median itself is a few counts, a zero is a Poisson draw.
    image = np.random.default_rng(7).poisson(3.0, (96, 128))
    assert prepare_image(image).n_dead == 0


def test_sentinels_are_masked_before_the_dark_is_subtracted():
    image = flat().astype(np.int32)
    image[5, 6], image[7, 8], image[9, 10] = -1, -2, 777
    prepared = prepare_image(image, dark=np.full(image.shape, 90), sentinels=(777.0,))
    assert prepared.mask[5, 6]
    assert prepared.mask[7, 8]
    assert prepared.mask[9, 10]
    assert prepared.counts[0, 0] == 10.0


def test_unsigned_maximum_is_no_count():
    image = flat().astype(np.uint16)
    image[3, 4] = 65535
    assert prepare_image(image).mask[3, 4]


def test_image_dark_and_mask_are_transformed_together():
    rng = np.random.default_rng(7)
    image = rng.poisson(200.0, (64, 96)).astype(np.int32)
    dark = rng.poisson(20.0, image.shape)
    mask = np.zeros(image.shape, dtype=np.uint8)
    mask[2, 3] = 1
    turned = prepare_image(image, mask=mask, dark=dark, transforms=(3, 1))
    expected = np.swapaxes(np.where(mask, 0, image - dark), 0, 1)[:, ::-1]
    assert turned.counts.shape == (96, 64)
    np.testing.assert_array_equal(turned.mask, np.swapaxes(mask != 0, 0, 1)[:, ::-1])
    np.testing.assert_array_equal(turned.counts, expected)


def test_local_median_ignores_rings_and_gaps():
    y = np.broadcast_to(np.arange(128), (128, 128))
    slope = (100.0 + 0.5 * y).astype(np.float32)
    image = slope.copy()
    image[:, 60:62] += 1000.0
    gap = np.zeros(image.shape, dtype=bool)
    gap[50:56] = True
    image[gap] = 0.0
    median = local_median(image, gap, 21)
    inner = (slice(16, -16), slice(16, -16))
    np.testing.assert_allclose(median[inner], slope[inner], atol=2.0)  # a pixel of slope either way, four columns


def test_a_transform_that_does_not_exist_is_refused():
    with pytest.raises(InputError, match="transform 7"):
        prepare_image(flat(), transforms=(7,))
