"""Layouts of panels, the table of known detectors, and panels as data."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import midas
from midas.detector_table import KNOWN_DETECTORS, find_known_detector
from midas.errors import InputError

# Shapes of images as the makers' data sheets list them (rows, columns).
SHEETS = {
    "Pilatus 300K": (619, 487),
    "Pilatus 300K-W": (195, 1475),
    "Pilatus 1M": (1043, 981),
    "Pilatus 2M": (1679, 1475),
    "Pilatus 6M": (2527, 2463),
    "Eiger 1M": (1065, 1030),
    "Eiger 4M": (2167, 2070),
    "Eiger 9M": (3269, 3110),
    "Eiger 16M": (4371, 4150),
    "Eiger2 1M": (1062, 1028),
    "Eiger2 4M": (2162, 2068),
    "Eiger2 9M": (3262, 3108),
    "Eiger2 16M": (4362, 4148),
    "Dexela 2923": (3888, 3072),
}


@pytest.mark.parametrize("name", SHEETS)
def test_known_detectors_have_the_shapes_of_the_data_sheets(name):
    known = next(k for k in KNOWN_DETECTORS if k.name == name)
    assert known.layout.shape == SHEETS[name]
    assert find_known_detector(SHEETS[name], known.pixel_size).name == name
    turned = find_known_detector(SHEETS[name][::-1], known.pixel_size)
    assert turned.layout.shape == SHEETS[name][::-1]
    assert turned.layout.size == known.layout.size[::-1]


def test_other_shapes_and_pixels_are_not_known():
    assert find_known_detector((1043, 980), 172.0) is None
    assert find_known_detector((1043, 981), 100.0) is None


def test_no_two_detectors_look_alike():
    seen = {(k.layout.shape, round(k.pixel_size)) for k in KNOWN_DETECTORS}
    assert len(seen) == len(KNOWN_DETECTORS)


def test_centers_follow_the_numbers_of_the_panels():
    layout = midas.PanelLayout(size=(10, 20), gaps_z=(2,), gaps_y=(4, 4))
    y, z = layout.centers.T
    projection = midas.Geometry(1e5, (0, 0), 100.0, 0.2, panels=midas.Panels(layout)).projection
    assert projection.panel_at(np.ascontiguousarray(y), np.ascontiguousarray(z)).tolist() == list(range(6))


def test_a_layout_fits_an_image_that_cuts_its_last_panel():
    layout = midas.PanelLayout(size=(100, 100), gaps_y=(10,))
    assert layout.fits((100, 210))
    assert layout.fits((90, 150))
    assert not layout.fits((100, 105))
    assert not layout.fits((300, 210))


def test_a_geometry_with_panels_survives_pickling():
    layout = midas.PanelLayout(size=(10, 20), gaps_y=(4,))
    geometry = midas.Geometry(1e5, (5, 5), 100.0, 0.2, panels=midas.Panels(layout, rotation=np.array([1.0, -1.0])))
    back = pickle.loads(pickle.dumps(geometry))
    assert back.to_polar(3.0, 4.0) == geometry.to_polar(3.0, 4.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: midas.PanelLayout(size=(0, 5)), "panel size"),
        (lambda: midas.PanelLayout(size=(5, 5), gaps_y=(-1,)), "gaps"),
        (lambda: midas.PanelLayout(size=(5, 5), origin=(1,)), "origin"),
        (lambda: midas.Panels(midas.PanelLayout(size=(5, 5)), shift_y=np.zeros(2)), "shift_y has shape"),
        (lambda: midas.Panels(midas.PanelLayout(size=(5, 5)), p2=np.array([np.inf])), "finite"),
        (lambda: midas.Panels.from_table(midas.PanelLayout(size=(5, 5)), np.zeros((2, 5))), "table of panels"),
    ],
)
def test_impossible_panels_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
