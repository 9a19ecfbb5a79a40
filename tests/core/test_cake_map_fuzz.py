"""The map's areas, and frames summed by them, of random cases against both worked out a second time."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from midas import CakeGrid, Detector, Geometry, build_map

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


def of_benchmarks(name: str) -> ModuleType:
    if not (FOLDER / f"{name}.py").exists():
        pytest.skip("the benchmarks are not here; run from a clone of the project")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        return importlib.import_module(name)


@pytest.mark.filterwarnings("ignore:distance")
def test_random_cases_agree() -> None:
    fuzz = of_benchmarks("cake_map_fuzz")
    outcomes = [fuzz.run_case(11, number) for number in range(150)]
    # Those are the next test's.
    usual = [o for o in outcomes if not o.beam_on_a_border]
    assert len(usual) > 80
    assert [o for o in usual if not max(o.areas, o.frames) <= 1.0] == []
    assert sum(o.has_pixels for o in usual) > 60


@pytest.mark.filterwarnings("ignore:distance")
@pytest.mark.parametrize("number", [66620, 93782])
def test_pixels_that_are_folded_over_themselves_agree(number: int) -> None:
    found = of_benchmarks("cake_map_fuzz").run_case(7, number)
    assert found.has_pixels
    assert max(found.areas, found.frames) <= 1.0


def test_the_reference_is_right_by_hand() -> None:
    reference = of_benchmarks("cake_map_areas")
    square = np.array([[0.5, 0.5], [2.5, 0.5], [2.5, 2.5], [0.5, 2.5]])
    halves = square[[[0, 1, 2], [0, 2, 3]]]
    quadrant = np.array([[[1.0, 0.0], [0.0, 1.0]]] * 2)
    for radius, expected in ((0.7, 0.0), (4.0, 4.0)):
        found = reference.clipped_areas(halves, quadrant, np.full(2, radius)).sum()
        assert found == pytest.approx(expected, abs=1e-9)
    about_origin = np.array([[[-9.0, -9.0], [9.0, -9.0], [0.0, 9.0]]])
    for radius in (0.01, 0.5, 3.0):
        found = reference.clipped_areas(about_origin, quadrant[:1], np.array([radius]))[0]
        assert found == pytest.approx(math.pi * radius**2 / 4, abs=1e-9)


def test_a_beam_on_a_border_of_pixels() -> None:
    for center in ((1.0, 0.5), (0.5, 0.5)):
        g = Geometry(1e6, center, pixel_size=200, wavelength=0.2)
        grid = CakeGrid.from_edges([0.0, 0.3, 5.0], [0, 90, 180, 270, 360])
        area = build_map(g, Detector((3, 3), 200), grid).bin_area
        np.testing.assert_allclose(area[0], math.pi * 0.3**2 / 4, atol=1e-7)  # px²
