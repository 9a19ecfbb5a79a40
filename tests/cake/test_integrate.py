"""From frames to cakes: groups, darks, transforms, corrections, variance against scatter."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from midas import CakeGrid, Corrections, Detector, Geometry, IntegrationOptions, RobustOptions, build_map, integrate
from midas.cake import CakeMap, integrate_with_map
from midas.detector import transform_image
from midas.errors import InputError
from midas.io.gsas_zarr import read_cake_file

N = 100
GRID = CakeGrid(2, 45, 1.5, eta_step=20)


SINGLE = 5e-7  # relative: sums over a tile are single precision


def make_geometry(**changes: object) -> Geometry:
    values = {
        "distance": 1e5,
        "beam_center": (48.3, 51.7),
        "pixel_size": 200,
        "wavelength": 0.3,
        "tilts": (0, 0.5, 0.2),
    }
    return Geometry(**{**values, **changes})  # type: ignore[arg-type]


def poisson(rate: float, n: int, seed: int = 7) -> np.ndarray:
    return np.random.default_rng(seed).poisson(rate, (n, N, N)).astype(np.uint16)


def test_groups_are_sums_and_the_last_is_shorter() -> None:
    stack = poisson(20.0, 7)
    options = IntegrationOptions(frames_per_sum=3, omega_start=10.0, omega_step=0.5, individual=True)
    cake = integrate(stack, make_geometry(), GRID, options=options)
    assert cake.individual is not None
    assert cake.frames.tolist() == [3, 3, 1]
    assert cake.frame_numbers.tolist() == [2, 5, 6]
    assert cake.first_omega.tolist() == [10.0, 11.5, 13.0]
    assert cake.last_omega.tolist() == [11.0, 12.5, 13.0]
    np.testing.assert_allclose(cake.intensity[1], cake.individual[3:6].sum(axis=0), rtol=1e-12)
    everything = integrate(stack, make_geometry(), GRID, options=IntegrationOptions(frames_per_sum=-1))
    assert everything.frames.tolist() == [7]
    np.testing.assert_allclose(everything.intensity[0], cake.intensity.sum(axis=0), rtol=1e-12)


def test_dark_is_subtracted_once() -> None:
    raw = np.full((N, N), 30, dtype=np.uint16)
    dark = np.full((N, N), 12, dtype=np.uint16)
    cake = integrate(raw, make_geometry(), GRID, dark=dark)
    np.testing.assert_allclose(cake.intensity, 18.0, rtol=SINGLE)
    # Negative differences are kept: the mean over noise stays right.
    cake = integrate(dark, make_geometry(), GRID, dark=raw.astype(np.float32))
    np.testing.assert_allclose(cake.intensity, -18.0, rtol=SINGLE)


@pytest.mark.parametrize("transforms", [(1,), (2,), (3,), (1, 3), (3, 2, 1), (3, 3)])
def test_frames_as_read_equal_transformed_frames(transforms: tuple[int, ...]) -> None:
    raw = np.random.default_rng(1).poisson(40.0, (2, N, N + 14)).astype(np.int32)
    dark = np.random.default_rng(2).poisson(4.0, (N, N + 14)).astype(np.int32)
    mask = np.random.default_rng(3).random((N, N + 14)) < 0.05
    options = IntegrationOptions(corrections=Corrections(solid_angle=True, polarization=0.9))
    given = integrate(raw, make_geometry(image_transforms=transforms), GRID, dark=dark, mask=mask, options=options)
    turned = [transform_image(a, transforms) for a in (raw, dark, mask)]
    expected = integrate(turned[0], make_geometry(), GRID, dark=turned[1], mask=turned[2], options=options)
    np.testing.assert_allclose(given.intensity, expected.intensity, rtol=SINGLE)
    np.testing.assert_allclose(given.bin_area, expected.bin_area, rtol=1e-12)


def test_transforms_that_disagree_are_refused() -> None:
    class Read:
        shape, image_transforms = (1, N, N), (2,)

    with pytest.raises(InputError, match=r"ImTransOpt.*\(2,\).*\(1,\)"):
        integrate(Read(), make_geometry(image_transforms=(1,)), GRID)


def test_a_bin_without_pixels_is_nan_with_area_zero() -> None:
    cake = integrate(np.ones((N, N)), make_geometry(), CakeGrid(2, 400, 10, eta_step=20))
    empty = cake.bin_area == 0.0
    assert empty.any()
    assert np.isnan(cake.intensity[0][empty]).all()
    assert np.isfinite(cake.intensity[0][~empty]).all()
    assert cake.sigma is not None
    assert np.isnan(cake.sigma[0][empty]).all()


def test_a_bin_missing_in_one_frame_is_filled_from_the_others() -> None:
    stack = np.full((4, N, N), 8.0)
    stack[1] = np.nan
    cake = integrate(stack, make_geometry(), GRID, options=IntegrationOptions(frames_per_sum=-1))
    np.testing.assert_allclose(cake.intensity, 32.0, rtol=1e-12)


def test_sigma_is_the_scatter_of_repeated_frames() -> None:
    frames = 600
    rate = 30.0 + 10.0 * np.sin(np.arange(N) / 9.0)[None, :] * np.ones((N, 1))
    stack = np.random.default_rng(11).poisson(rate, (frames, N, N)).astype(np.uint16)
    for grid in (GRID, CakeGrid(2, 45, 0.4, eta_step=3), CakeGrid(2, 45, 1, eta_step=360)):
        cake = integrate(stack, make_geometry(), grid)
        assert cake.sigma is not None
        profile = cake.profile()
        assert profile.sigma is not None
        for intensity, sigma in ((cake.intensity, cake.sigma), (profile.intensity, profile.sigma)):
            ratio = np.sqrt(np.mean(sigma**2, axis=0)) / intensity.std(axis=0, ddof=1)
            # One bin's scatter from 600 frames is good to 3 %; the mean over bins far better.
            assert np.mean(ratio) == pytest.approx(1.0, abs=0.02)


def test_sigma_of_a_sum_has_the_dark_once() -> None:
    rng = np.random.default_rng(5)
    sums = []
    for _ in range(300):
        stack = rng.poisson(20.0, (4, N, N)).astype(np.uint16)
        dark = rng.poisson(10.0, (N, N)).astype(np.uint16)
        options = IntegrationOptions(frames_per_sum=-1)
        sums.append(integrate(stack, make_geometry(), CakeGrid(10, 40, 10, eta_step=60), dark=dark, options=options))
    scatter = np.std([c.intensity for c in sums], axis=0, ddof=1)
    sigma = np.sqrt(np.mean([np.square(c.sigma) for c in sums], axis=0))
    assert np.mean(sigma / scatter) == pytest.approx(1.0, abs=0.03)


def test_profile_is_the_cake_with_one_eta_bin() -> None:
    stack = poisson(15.0, 2)
    many = integrate(stack, make_geometry(), CakeGrid(2, 90, 1, eta_step=5)).profile()
    one = integrate(stack, make_geometry(), CakeGrid(2, 90, 1, eta_step=360))
    np.testing.assert_allclose(many.intensity, one.intensity[:, :, 0], rtol=1e-6)
    np.testing.assert_allclose(many.bin_area, one.bin_area[:, 0], rtol=1e-6)
    assert many.sigma is not None
    assert one.sigma is not None
    inside = slice(3, 40)  # rings that the detector holds whole
    np.testing.assert_allclose(many.sigma[:, inside], one.sigma[:, inside, 0], rtol=0.02)


def test_q_bins_are_uniform_in_q() -> None:
    g = make_geometry()
    cake = integrate(np.ones((N, N)), g, CakeGrid(0.1, 1.5, 0.02, unit="q"))
    np.testing.assert_allclose(np.diff(cake.q), 0.02, rtol=1e-9)
    np.testing.assert_allclose(cake.q * cake.d_spacing, 2 * np.pi, rtol=1e-12)


def test_bin_area_is_that_of_the_mapped_ring_in_px2_for_every_unit() -> None:
    tilted = make_geometry(tilts=(0.0, 10.0, -5.0), beam_center=(50.0, 50.0))
    ends = {"px": (8.0, 32.0), "2theta": (1.0, 3.6), "q": (0.4, 1.3)}
    for unit, (low, high) in ends.items():
        grid = CakeGrid(low, high, (high - low) / 4, eta_step=60, unit=unit)
        area = build_map(tilted, Detector((N, N), 200), grid).bin_area
        edges = grid.radius_edges(tilted)
        whole = np.pi * (edges[1:] ** 2 - edges[:-1] ** 2) / 6  # px²: a sixth of the ring in each eta bin
        np.testing.assert_allclose(area, np.repeat(whole[:, None], 6, axis=1), rtol=1e-4)


@pytest.mark.parametrize("unit", ["2theta", "q"])
def test_a_file_holds_the_axes_of_uniform_bins(unit: str, tmp_path: Path) -> None:
    grid = CakeGrid(1.0, 9.0, 0.1, unit="2theta") if unit == "2theta" else CakeGrid(0.4, 3.2, 0.04, unit="q")
    cake = integrate(poisson(9.0, 2), make_geometry(), grid)
    centers = grid.radius_min + grid.radius_step * (np.arange(grid.shape[0]) + 0.5)
    np.testing.assert_allclose(cake.axis(unit), centers, rtol=1e-12)
    edges = grid.radius_min + grid.radius_step * np.arange(grid.shape[0] + 1)
    for result in (cake, cake.profile()):
        np.testing.assert_allclose(result.edges(unit), edges, rtol=1e-12)
    file = read_cake_file(cake.to_zarr(tmp_path / "a.zarr.zip"))
    two_theta = np.degrees(np.arctan(file.radius * 200 / 1e5))
    q = 4 * np.pi * np.sin(np.radians(two_theta) / 2) / 0.3
    np.testing.assert_allclose((two_theta if unit == "2theta" else q)[:, 3], centers, rtol=1e-12)
    np.testing.assert_allclose(file.two_theta, two_theta, rtol=1e-12)
    np.testing.assert_array_equal(file.eta, np.broadcast_to(grid.eta_centers, grid.shape))


@pytest.mark.parametrize(
    ("low", "high", "step", "unit"), [(2, 45, 0.7, "px"), (1, 9, 0.1, "2theta"), (0.4, 3, 0.04, "q")]
)
def test_edges_equal_to_uniform_ones_give_the_same_cake(low: float, high: float, step: float, unit: str) -> None:
    uniform = CakeGrid(low, high, step, eta_step=7, unit=unit)
    own = CakeGrid.from_edges(low + step * np.arange(uniform.shape[0] + 1), uniform.eta_edges, unit=unit)
    g, detector = make_geometry(), Detector((N, N), 200)
    assert build_map(g, detector, own).key == build_map(g, detector, uniform).key
    first, second = (integrate(poisson(20.0, 3), g, grid) for grid in (uniform, own))
    for name in ("intensity", "sigma", "bin_area", "radius_edges", "eta_edges", "eta_overlap"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes()
    np.testing.assert_allclose(first.radius, second.radius, rtol=1e-14)


def test_coarse_bins_are_sums_of_fine_ones() -> None:
    rng = np.random.default_rng(5)
    radius, eta = np.linspace(2, 45, 87), np.linspace(-180, 180, 73)
    fine = integrate(poisson(20.0, 1), make_geometry(), CakeGrid.from_edges(radius, eta))
    counts = fine.intensity[0] * fine.bin_area
    for _ in range(5):
        rows = np.unique([0, *rng.choice(87, 12), 86])
        columns = np.unique([0, *rng.choice(73, 9), 72])
        coarse = integrate(poisson(20.0, 1), make_geometry(), CakeGrid.from_edges(radius[rows], eta[columns]))
        for each, sums in ((fine.bin_area, coarse.bin_area), (counts, coarse.intensity[0] * coarse.bin_area)):
            added = np.add.reduceat(np.add.reduceat(each, rows[:-1], axis=0), columns[:-1], axis=1)
            np.testing.assert_allclose(sums, added, rtol=SINGLE)
    # Within one cake there is nothing to round: the profile is the sum over its bins.
    profile = fine.profile()
    np.testing.assert_allclose(profile.intensity[0] * profile.bin_area, counts.sum(axis=1), rtol=1e-12)


def test_edges_in_every_unit_hold_the_centres() -> None:
    cake = integrate(poisson(9.0, 1), make_geometry(), CakeGrid.from_edges([0, 3, 4, 9, 30], [-40, 0, 5, 170]))
    assert cake.edges("px").tolist() == [0, 3, 4, 9, 30]
    assert cake.eta_edges.tolist() == [-40, 0, 5, 170]
    for unit in ("px", "2theta", "q"):
        edges, centers = cake.edges(unit), cake.axis(unit)
        assert ((edges[:-1] < centers) & (centers < edges[1:])).all()
    edges, centers = cake.edges("d"), cake.axis("d")
    assert edges[0] == np.inf
    assert ((edges[:-1] > centers) & (centers > edges[1:])).all()
    with pytest.raises(InputError, match="unit is 'nm'"):
        cake.edges("nm")


def test_a_file_of_any_bins_is_read_back(tmp_path: Path) -> None:
    grid = CakeGrid.from_edges([2, 3, 5, 9, 17, 33], [-180, -90, -80, 0, 180])
    cake = integrate(poisson(9.0, 2), make_geometry(), grid)
    file = read_cake_file(cake.to_zarr(tmp_path / "a.zarr.zip"))
    np.testing.assert_array_equal(file.radius[:, 0], [2.5, 4, 7, 13, 25])
    np.testing.assert_array_equal(file.eta[0], [-135, -85, -40, 90])
    np.testing.assert_array_equal(file.intensity, cake.intensity)
    np.testing.assert_array_equal(file.bin_area, cake.bin_area)


def test_bins_beside_the_detector_are_named() -> None:
    grid = CakeGrid.from_edges([40, 60, 80], [0, 10], unit="2theta")
    with pytest.raises(InputError, match="no pixel lies in the bins, 2theta 40 to 80 deg in 2 bins, eta 0 to 10 deg"):
        build_map(make_geometry(), Detector((N, N), 200), grid)


def same_map(a: CakeMap, b: CakeMap) -> bool:
    return all(x.tobytes() == y.tobytes() for x, y in zip(a.core.rows(), b.core.rows(), strict=True))


def test_the_map_is_rebuilt_from_its_pickle_and_keyed_by_all_that_shapes_it() -> None:
    g, detector = make_geometry(), Detector((N, N), 200)
    cake_map = build_map(g, detector, GRID)
    again = pickle.loads(pickle.dumps(cake_map))
    assert again.key == cake_map.key
    assert same_map(again, cake_map)
    mask = np.zeros((N, N), dtype=bool)
    mask[0, 0] = True
    others = [
        build_map(make_geometry(beam_center=(48.3, 51.7000001)), detector, GRID),
        build_map(make_geometry(image_transforms=(1,)), detector, GRID),
        build_map(g, Detector((N, N), 200, mask=mask), GRID),
        build_map(g, detector, CakeGrid(2, 45, 1.5, eta_step=10)),
        build_map(g, detector, CakeGrid.from_edges([2, 3, 45], GRID.eta_edges)),
        build_map(g, detector, CakeGrid.from_edges([2, 4, 45], GRID.eta_edges)),
        build_map(g, detector, CakeGrid.from_edges([2, 4, 45], [0, 30, 60])),
        build_map(g, detector, CakeGrid.from_edges([2, 4, 45], [0, 31, 60])),
    ]
    assert len({cake_map.key, *(m.key for m in others)}) == 9
    own = others[-1]
    assert same_map(pickle.loads(pickle.dumps(own)), own)


def test_progress_and_threads() -> None:
    calls: list[tuple[int, int]] = []
    stack = poisson(5.0, 3)
    options = IntegrationOptions(progress=lambda done, n: calls.append((done, n)))
    one = integrate(stack, make_geometry(), GRID, options=options, n_threads=1)
    assert calls == [(1, 3), (2, 3), (3, 3)]
    seven = integrate(stack, make_geometry(), GRID, n_threads=7)
    assert one.intensity.tobytes() == seven.intensity.tobytes()


@pytest.mark.parametrize("dtype", [">u2", "int64", "uint64", "float16"])
def test_other_dtypes_are_converted(dtype: str) -> None:
    cake = integrate(np.full((N, N), 9, dtype=dtype), make_geometry(), GRID)
    np.testing.assert_allclose(cake.intensity, 9.0, rtol=SINGLE)


def test_negative_floats_are_warned_about() -> None:
    image = np.random.default_rng(1).normal(0.0, 1.0, (N, N))
    with pytest.warns(UserWarning, match="negative_counts=True"):
        integrate(image, make_geometry(), GRID)
    cake = integrate(image, make_geometry(), GRID, options=IntegrationOptions(negative_counts=True))
    assert abs(float(np.average(cake.intensity[0], weights=cake.bin_area))) < 0.05


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (7, "is a int"),
        (np.zeros(5), "shape"),
        (np.zeros((0, 5, 5)), "shape"),
        (np.full((N, N), np.nan), "no bin holds a valid pixel"),
    ],
)
def test_refused_frames(frames: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        integrate(frames, make_geometry(), GRID)


def test_lists_of_frames_and_names_of_files(tmp_path: Path) -> None:
    stack = poisson(20.0, 5)
    expected = integrate(stack, make_geometry(), GRID).intensity
    np.save(tmp_path / "a.npy", stack[:2])
    np.save(tmp_path / "b.npy", stack[2:])
    names = [tmp_path / "a.npy", str(tmp_path / "b.npy")]
    cake_map = build_map(make_geometry(), Detector((N, N), 200), GRID)
    for frames in (list(stack), tuple(memoryview(f) for f in stack), names, tuple(names)):
        np.testing.assert_array_equal(integrate(frames, make_geometry(), GRID).intensity, expected)
        np.testing.assert_array_equal(integrate_with_map(frames, cake_map).intensity, expected)
    np.testing.assert_array_equal(integrate(names[1], make_geometry(), GRID).intensity, expected[2:])
    with pytest.raises(InputError, match=r"generator, whose number is not known .*apply_each\(frames\)"):
        integrate((f for f in stack), make_geometry(), GRID)
    for frames in ([], [[1.0, 2.0], [3.0, 4.0]], [stack, stack]):
        with pytest.raises(InputError, match=r"frames have shape .*; expected \(rows, columns\)"):
            integrate(frames, make_geometry(), GRID)


FRAME = np.ones((41, 41))
G, D = Geometry(1e6, (20, 20), 200, 0.18), Detector((41, 41), 200)
RINGS = CakeGrid(2, 18, 2, eta_step=90)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: build_map(RINGS, D, G),
            r"geometry is a CakeGrid; expected a midas.Geometry: build_map\(geometry, mi",
        ),
        (lambda: build_map(G, RINGS, D), "detector is a CakeGrid; expected a midas.Detector"),
        (lambda: build_map(G, (41, 41), RINGS), r"detector is a tuple; .*, midas.Detector\(shape, pixel_size\)"),
        (lambda: build_map(G, D, None), "grid is None; expected a midas.CakeGrid"),
        (lambda: build_map(build_map(G, D, RINGS), D, RINGS), "geometry is a CakeMap; .* give its .geometry"),
        (lambda: integrate(FRAME, RINGS, G), "geometry is a CakeGrid; expected a midas.Geometry: integrate"),
        (lambda: integrate(FRAME, G, RINGS, detector=(41, 41)), "detector is a tuple"),
        (lambda: integrate(FRAME, G, RINGS, options={"variance": True}), "options is a dict; expected a midas.Integ"),
        (lambda: integrate_with_map(FRAME, G), "cake_map is a Geometry; expected a midas.CakeMap"),
        (lambda: build_map(G, D, RINGS).apply_to_file(FRAME, 5), "path is 5; expected the name of the HDF5 file"),
        (lambda: build_map(G, D, RINGS).apply(FRAME, dark="d.tif"), "dark is the name 'd.tif'; .* midas.read_image"),
        (lambda: build_map(G, D, RINGS).apply(FRAME, mask=Path("m.tif")), "mask is the name 'm.tif'"),
        (lambda: build_map(G, D, RINGS).apply(FRAME, dark=FRAME[:3]), r"the dark has shape \(3, 41\)"),
        (lambda: Detector(5, 200), "detector shape is 5; expected"),
        (lambda: Detector((4.5, 4), 200), "detector shape is 4.5; expected"),
        (lambda: Detector((4, 4), "200"), "pixel_size is '200'; expected a number"),
    ],
)
def test_arguments_of_the_wrong_type_are_refused_in_a_sentence(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("n_threads", [1.5, "2", None, -1, 10**9], ids=str)
def test_a_number_of_threads_that_is_none(n_threads: int, tmp_path: Path) -> None:
    cake_map = build_map(G, D, RINGS)
    for call in (
        lambda: build_map(G, D, RINGS, n_threads=n_threads),
        lambda: integrate(FRAME, G, RINGS, n_threads=n_threads),
        lambda: integrate_with_map(FRAME, cake_map, n_threads=n_threads),
        lambda: cake_map.apply(FRAME, n_threads=n_threads),
        lambda: cake_map.apply_each(FRAME, n_threads=n_threads),
        lambda: cake_map.apply_to_file(FRAME, tmp_path / "a.h5", n_threads=n_threads),
        lambda: cake_map.apply_robust(FRAME, n_threads=n_threads),
        lambda: G.to_polar(1.0, 2.0, n_threads=n_threads),
        lambda: G.to_pixel(1.0, 2.0, n_threads=n_threads),
    ):
        with pytest.raises(InputError, match=f"n_threads is {n_threads!r}; expected 0 for all, or a whole number"):
            call()


@pytest.mark.parametrize(
    "bad",
    [
        {"frames_per_sum": 1.5}, {"frames_per_sum": "all"}, {"omega_step": "a"}, {"dark_frames": 1.5},
        {"corrections": True}, {"bad_values": 5}, {"bad_values": "65535"}, {"robust": 5},
        {"first_frame_number": None}, {"progress": 5},
    ],
    ids=str,
)  # fmt: skip
def test_options_of_the_wrong_type(bad: dict[str, object]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(bad))} (is|are) .*; expected"):
        IntegrationOptions(**bad)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "bad", [{"trim": "ab"}, {"threshold": "a"}, {"max_iterations": 1.5}, {"tolerance": None}], ids=str
)
def test_robust_options_of_the_wrong_type(bad: dict[str, object]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(bad))}.* is .*; expected"):
        RobustOptions(**bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("distance", [1000.0, 1500.0, 2000.0, 19000.0])
def test_a_distance_in_mm_is_warned_about(distance: float) -> None:
    with pytest.warns(UserWarning, match=rf"distance {distance:g} µm is .* looks like mm; .* for {distance:g} mm"):
        build_map(Geometry(distance, (20, 20), 200, 0.18), D, RINGS)


def test_near_detectors_of_small_pixels_are_none_in_mm() -> None:
    for distance, pixel_size in ((5000.0, 1.48), (2e4, 200.0)):
        build_map(Geometry(distance, (20, 20), pixel_size, 0.18), Detector((41, 41), pixel_size), RINGS)


@pytest.mark.parametrize("bad", [{"frames_per_sum": 0}, {"dark_frames": 0}, {"omega_step": np.nan}])
def test_refused_options(bad: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(bad)).split("_")[0]):
        IntegrationOptions(**bad)  # type: ignore[arg-type]


def test_plot_and_text(tmp_path: object) -> None:
    cake = integrate(poisson(20.0, 2), make_geometry(), CakeGrid(2, 90, 1))
    for unit in ("2theta", "q", "d", "px"):
        figure = cake.plot(unit=unit)
        assert len(figure.axes) == 3  # cake, profile, colour bar
    with pytest.raises(InputError, match="unit"):
        cake.plot(unit="nm")
    assert "2θ" in cake._repr_html_()


@pytest.mark.parametrize("unit", ["2theta", "q", "d", "px"])
def test_the_picture_has_the_bins_true_edges(unit: str) -> None:
    grid = CakeGrid.from_edges([0, 3, 4, 9, 30], [-180, -90, -80, 0, 180])
    cake = integrate(poisson(20.0, 1), make_geometry(), grid)
    top, bottom = cake.plot(unit=unit).axes[:2]
    edges = cake.edges(unit)[1 if unit == "d" else 0 :]  # on the beam d is infinite
    corners = top.collections[0].get_coordinates()
    np.testing.assert_array_equal(corners[0, :, 0], edges)
    np.testing.assert_array_equal(corners[:, 0, 1], cake.eta_edges)
    profile, band = (patch.get_data() for patch in bottom.patches)
    np.testing.assert_array_equal(profile.edges, edges)
    np.testing.assert_array_equal(profile.values, cake.profile().intensity[0, -len(edges) + 1 :])
    np.testing.assert_allclose(band.values + band.baseline, 2 * profile.values, rtol=1e-12)


def test_a_picture_shows_its_sigma_and_the_rings_in_d() -> None:
    cake = integrate(
        poisson(20.0, 50), make_geometry(), CakeGrid(1, 40, 1), options=IntegrationOptions(frames_per_sum=-1)
    )
    peaked = replace(cake, intensity=cake.intensity + 1e5 * (np.arange(39) == 20)[None, :, None])
    for shown, at_least in ((cake, 1), (peaked, 50)):
        figure = shown.plot(unit="d")
        bottom = figure.axes[1]
        profile, band = (patch.get_data() for patch in bottom.patches)
        times = int(bottom.get_legend().get_texts()[1].get_text().strip("±σ "))
        assert times >= at_least
        height = (band.values - band.baseline) / 2
        np.testing.assert_allclose(height, times * shown.profile().sigma[0], rtol=1e-6)
        assert np.median(height) >= 0.01 * np.ptp(profile.values)
        low, high = bottom.get_xlim()
        assert (low, high) == pytest.approx((shown.edges("d")[-1], 10 * shown.edges("d")[-1]))


def test_a_picture_in_d_of_the_beam_alone_is_refused() -> None:
    cake = integrate(poisson(20.0, 1), make_geometry(), CakeGrid.from_edges([0, 30]))
    assert cake.plot(unit="px") is not None
    with pytest.raises(InputError, match="d is infinite"):
        cake.plot(unit="d")


def test_to_xye(tmp_path) -> None:  # type: ignore[no-untyped-def]
    cake = integrate(poisson(20.0, 1), make_geometry(), CakeGrid(2, 400, 1))
    rows = np.loadtxt(cake.to_xye(tmp_path / "a.xye"))
    profile = cake.profile()
    keep = np.isfinite(profile.intensity[0])
    assert 0 < keep.sum() < keep.size
    np.testing.assert_allclose(rows[:, 0], profile.two_theta[keep], rtol=1e-8)
    np.testing.assert_allclose(rows[:, 1], profile.intensity[0][keep], rtol=1e-8)
    assert (rows[:, 2] > 0).all()
