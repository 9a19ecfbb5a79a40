"""Values as people read them: labels, units, uncertainties in brackets."""

from __future__ import annotations

import numpy as np
import pytest

import midas
from midas.calibration.values import label_of, read_out, with_esd

TRUTH = midas.Geometry(distance=2e5, beam_center=(125.3, 130.8), pixel_size=200.0, wavelength=0.2)


@pytest.fixture(scope="module")
def calibration():
    image = midas.simulate(TRUTH, midas.Detector((256, 256), 200.0), "CeO2", seed=3).image
    return midas.calibrate(image, {"wavelength": 0.2, "pixel_size": 200.0, "calibrant": "CeO2"})


def test_numbers_carry_uncertainties_and_units(calibration):
    rows = {name: (value, unit) for name, value, unit in read_out(calibration)}
    value, unit = rows["distance"]
    assert unit == "mm"
    assert float(value.split("(")[0]) == pytest.approx(200.0, abs=0.1)
    assert {"beam y", "beam z", "tilt y", "tilt z", "p0", "p3", "held out"} <= set(rows)


@pytest.mark.parametrize(
    ("value", "esd", "text"),
    [(1.23456, 0.0123, "1.235(12)"), (7.0, 0.0995, "7.00(10)"), (-179.4, 81.0, "-179(81)"), (1.0, np.nan, "1.0000")],
)
def test_esd_in_brackets(value, esd, text):
    assert with_esd(value, esd) == text


def test_a_name_that_nothing_has_is_refused():
    assert label_of("p6") == ("p6", "deg", 1.0)
    with pytest.raises(midas.InputError, match="tilt_x"):
        label_of("tilt_x")
