"""Panel-shifts files, and the keys of the parameter file that go with them."""

from __future__ import annotations

import numpy as np
import pytest

import midas
from midas.errors import FormatError, InputError
from midas.io.panel_shifts import read_panel_shifts, write_panel_shifts
from midas.io.parameters import parse_params, read_params
from midas.io.refined_params import write_refined_params

LAYOUT = midas.PanelLayout(size=(195, 487), gaps_z=(17,) * 4, gaps_y=(7,))
KEYS = """NPanelsY 2
NPanelsZ 5
PanelSizeY 487
PanelSizeZ 195
PanelGapsY 7
PanelGapsZ 17 17 17 17
"""
GEOMETRY = "Lsd 2e5\nBC 480 520\npx 172\nWavelength 0.4\n"


def panels() -> midas.Panels:
    table = np.random.default_rng(7).normal(size=(10, 5)) * [0.3, 0.3, 0.05, 50.0, 1e-4]
    return midas.Panels.from_table(LAYOUT, table)


def test_a_file_read_back_gives_the_same_doubles(tmp_path):
    file = write_panel_shifts(tmp_path / "shifts.txt", panels())
    assert file.read_text().startswith("# ID dY dZ dTheta dLsd dP2\n0 ")
    np.testing.assert_array_equal(read_panel_shifts(file, LAYOUT).table, panels().table)


def test_old_files_end_early_and_may_leave_panels_out(tmp_path):
    file = tmp_path / "shifts.txt"
    file.write_text("% old\n# ID dY dZ\n\n  3 0.5 -0.25\n0 1 2 0.03\n")
    table = read_panel_shifts(file, LAYOUT).table
    assert table[3].tolist() == [0.5, -0.25, 0.0, 0.0, 0.0]
    assert table[0].tolist() == [1.0, 2.0, 0.03, 0.0, 0.0]
    assert not table[[1, 2, *range(4, 10)]].any()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("10 0 0\n", "line 1: panel 10 is not one of the 10"),
        ("0 0 0\n0 1 1\n", "line 2: panel 0 is there twice"),
        ("0 nan 0\n", "finite"),
        ("0 0\n", "has 1 values"),
        ("0 a 0\n", "is no panel"),
        ("1.5 0 0\n", "is no panel"),
    ],
)
def test_a_malformed_file_is_refused_with_its_line(tmp_path, text, message):
    file = tmp_path / "shifts.txt"
    file.write_text(text)
    with pytest.raises(FormatError, match=message):
        read_panel_shifts(file, LAYOUT)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FormatError, match="no such file; check PanelShiftsFile"):
        read_panel_shifts(tmp_path / "none.txt", LAYOUT)


def test_the_keys_give_the_layout_and_the_shifts(tmp_path):
    write_panel_shifts(tmp_path / "my shifts.txt", panels())
    file = tmp_path / "ps.txt"
    file.write_text(GEOMETRY + KEYS + "PanelShiftsFile my shifts.txt\nParallax 120\n")
    geometry = read_params(file).geometry
    assert geometry.panels is not None
    assert geometry.panels.layout == LAYOUT
    np.testing.assert_array_equal(geometry.panels.table, panels().table)
    assert geometry.parallax == 120.0


def test_a_layout_without_shifts_moves_nothing():
    parameters = parse_params(GEOMETRY + KEYS)
    assert parameters.panel_layout == LAYOUT
    assert parameters.geometry.panels is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GEOMETRY + "PanelShiftsFile x.txt\n", "not where the panels are"),
        (GEOMETRY + KEYS.replace("PanelGapsZ 17 17 17 17", "PanelGapsZ 17") + "PanelShiftsFile x", "one fewer"),
        (GEOMETRY + "NPanelsY 2\n", "NPanelsZ"),
    ],
)
def test_half_a_description_is_refused(text, message):
    with pytest.raises(InputError, match=message):
        _ = (parse_params(text).panel_layout, parse_params(text).geometry)


def test_refined_parameters_name_the_shifts_and_read_back(tmp_path):
    geometry = midas.Geometry(2e5, (480.0, 520.0), 172.0, 0.4, panels=panels(), parallax=80.5)
    detector = midas.Detector(LAYOUT.shape, 172.0)
    # what the source says of other panels must not survive
    source = parse_params(
        "NPanelsY 1\nNPanelsZ 1\nPanelSizeY 9\nPanelSizeZ 9\nPanelShiftsFile old.txt\nPanelOrigin 3 4\n"
    )
    file = write_refined_params(tmp_path, geometry, midas.CakeGrid(1, 500, 1), detector, source=source)
    assert (tmp_path / "panel_shifts.txt").exists()
    back = read_params(file)
    assert back.geometry.panels is not None
    assert back.geometry.panels.layout == LAYOUT
    np.testing.assert_array_equal(back.geometry.panels.table, panels().table)
    assert back.geometry.parallax == 80.5
    one, other = geometry.to_polar(100.0, 900.0), back.geometry.to_polar(100.0, 900.0)
    assert one == other


def test_a_layout_in_the_source_survives_a_geometry_without_panels(tmp_path):
    geometry = midas.Geometry(2e5, (480.0, 520.0), 172.0, 0.4)
    detector = midas.Detector(LAYOUT.shape, 172.0)
    source = parse_params(KEYS + "PanelShiftsFile old.txt\nParallax 3\n")
    back = read_params(write_refined_params(tmp_path, geometry, midas.CakeGrid(1, 500, 1), detector, source=source))
    assert back.panel_layout == LAYOUT
    assert "PanelShiftsFile" not in back
    assert back.geometry.parallax == 0.0


def test_with_geometry_takes_the_panels_of_the_new_one():
    geometry = midas.Geometry(2e5, (480.0, 520.0), 172.0, 0.4, panels=panels())
    parameters = parse_params(GEOMETRY + "NPanelsY 1\nPanelOrigin 3 4\nPanelShiftsFile old.txt\n").with_geometry(
        geometry
    )
    assert parameters.panel_layout == LAYOUT
    assert "PanelShiftsFile" not in parameters
    without = midas.Geometry(2e5, (480.0, 520.0), 172.0, 0.4)
    assert parameters.with_geometry(without).panel_layout is None


def test_a_cropped_image_keeps_its_origin(tmp_path):
    layout = midas.PanelLayout(size=(195, 487), gaps_y=(7,), origin=(-20, -100))
    geometry = midas.Geometry(2e5, (480.0, 20.0), 172.0, 0.4, panels=midas.Panels(layout))
    file = write_refined_params(tmp_path, geometry, midas.CakeGrid(1, 500, 1), midas.Detector((100, 700), 172.0))
    assert read_params(file).panel_layout == layout
