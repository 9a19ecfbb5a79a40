from __future__ import annotations

import numpy as np
import pytest

from midas.errors import InputError
from midas.refine import run_refinement
from midas.refine.choices import check_excluded, check_reach, check_terms, choose_histograms
from midas.refine.lineouts import iterate_lineouts
from midas.testing import cif_file

X = np.arange(3.0, 6.0, 0.02)


@pytest.fixture
def cake(cake_of):
    """One sum, omega 5, azimuths -30 to 300 deg as files may have them."""
    return cake_of([np.full(len(X), 100.0)] * 12, X)


@pytest.mark.parametrize(
    ("eta", "expected"),
    [
        ((-30.0, 30.0), [0, 1, 2]),
        ((170.0, -170.0), [7]),
        ((-180.0, 180.0), list(range(12))),
        ((80.0, 130.0), [4, 5]),
        ((330.0, 10.0), [0, 1]),
    ],
)
def test_range_of_eta_goes_on_past_180(cake, eta, expected):
    assert choose_histograms(cake, eta=eta) == expected


def test_numbers_and_ranges_must_all_hold(cake):
    assert choose_histograms(cake, [0, 1, 9], (0.0, 5.0), (-10.0, 250.0)) == [1, 9]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"omega": (6.0, 9.0)}, "no lineout has omega 6 to 9 deg; the file has omega 5 to 5 and eta -30 to 300"),
        ({"omega": (9.0, 6.0)}, "omega is"),
        ({"eta": (1.0, 2.0)}, "no lineout has eta 1 to 2 deg"),
        ({"eta": (1.0, 1000.0)}, "eta is"),
        ({"histograms": [12]}, "0 to 11"),
    ],
)
def test_bad_choice_is_named(cake, options, words):
    with pytest.raises(InputError, match=words):
        choose_histograms(cake, **options)


def test_excluded_points_are_left_out(cake):
    lineout = next(iterate_lineouts(cake, excluded=((3.5, 4.0), (5.0, 5.5))))
    assert not np.any((lineout.two_theta >= 3.5) & (lineout.two_theta <= 4.0))
    assert len(lineout.two_theta) == np.count_nonzero(~((X >= 3.5) & (X <= 4.0) | (X >= 5.0) & (X <= 5.5)))
    assert "excluded" in next(iterate_lineouts(cake, excluded=((2.0, 7.0),))).skipped


def test_bad_regions_and_terms_are_named():
    with pytest.raises(InputError, match=r"an excluded region is \(4, 3\)"):
        check_excluded([(4, 3)])
    with pytest.raises(InputError, match="bkg_terms is many; expected 1 to 36, or 'auto'"):
        check_terms("many")


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ({"n_cpus": 2.0}, "n_cpus is 2.0; expected 1 or more"),
        ({"time_limit": None}, "time_limit is None; expected a positive number"),
        ({"limits": 5}, r"limits are \(5,\); expected a lower and a higher 2theta"),
        ({"limits": "ab"}, "limits are 'ab'; expected a lower"),
        ({"workers": 0}, "expected a midas.WorkerPool"),
        ({"data_file": None}, "the caked file is None; name it"),
    ],
)
def test_arguments_of_another_kind_are_refused(tmp_path, argument, words):
    cif = cif_file(tmp_path / "CeO2.cif")
    with pytest.raises(InputError, match=words):
        run_refinement(**{"data_file": tmp_path / "x.zarr.zip", "cif_files": [cif], **argument})


def test_limits_beyond_the_data(cake):
    check_reach(cake, None)
    check_reach(cake, (5.0, 50.0))
    cake.bin_area[X > 5.0] = 0.0
    for limits in ((1.0, 2.0), (5.1, 50.0)):
        with pytest.raises(InputError, match=r"but the data are from 3 to 4\.98; choose limits among them"):
            check_reach(cake, limits)


def test_excluded_regions_that_leave_nothing(cake):
    check_reach(cake, None, [(3.0, 5.5)])
    with pytest.raises(
        InputError, match=r"3 to 5, 5 to 7 deg, leave nothing of the data; the data are from 3 to 5\.98"
    ):
        check_reach(cake, None, [(3.0, 5.0), (5.0, 7.0)])
    with pytest.raises(InputError, match="leave nothing of what lies between the limits, 4 and 5 deg"):
        check_reach(cake, (4.0, 5.0), [(3.9, 5.0)])
    cake.bin_area[:] = 0.0
    check_reach(cake, (4.0, 5.0), [(1.0, 9.0)])  # no data at all: each lineout says so
