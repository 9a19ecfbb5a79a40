"""Pages are whole, small and honest; what cannot be written is refused before any work."""

from __future__ import annotations

import base64
import json
import re
import zlib
from dataclasses import replace

import numpy as np
import pytest
import report_pages as pages

import midas
from midas.cake.report import cake_parts
from midas.cli import main
from midas.errors import InputError
from midas.refine.plot import Pattern, read_pattern
from midas.refine.report_page import _coarser, _stored, refinement_part
from midas.refine.table import read_summary
from midas.report import Part, Provenance, check_report, write_page
from midas.report.encode import KINDS, joined, packed, packed_log
from midas.report.page import LARGEST, _json
from midas.report.provenance import input_entries

pytest.importorskip("plotly", reason='plotly is not installed; pip install "midas-xrd[report]"')


def unpacked(spec):
    """The way back, as assets/arrays.js goes it."""
    planes = np.frombuffer(zlib.decompress(base64.b64decode(spec["z"]), -15), np.uint8)
    kind = np.dtype(KINDS[spec["k"]]).newbyteorder("<")
    values = np.ascontiguousarray(planes.reshape(kind.itemsize, -1).T).view(kind).ravel()
    return (np.cumsum(values, dtype=kind) if spec.get("d") else values).reshape(spec["n"])


@pytest.mark.parametrize(("kind", "delta"), [*((k, False) for k in sorted(KINDS)), ("u1", True), ("u2", True)])
def test_arrays_come_back_bit_by_bit(kind, delta, rng):
    values = rng.integers(0, 200, (5, 7)).astype(KINDS[kind])
    np.testing.assert_array_equal(unpacked(packed(values, kind, delta=delta)), values)


def test_levels_are_within_a_percent_over_four_decades_and_nan_stays():
    values = np.append(np.geomspace(1.0, 1e4, 1000), np.nan)
    spec = packed_log(values, 1.0, 1e4)
    low, high, levels = spec["log"]
    code = unpacked(spec)
    back = low * np.exp(np.log(high / low) * code[:-1] / levels)
    np.testing.assert_allclose(back, values[:-1], rtol=0.005)
    assert code[-1] == levels + 1


def test_joined_bins_keep_the_mean_and_leave_masked_ones_out():
    values = np.array([[1.0, 2.0], [3.0, np.nan], [5.0, np.nan]])
    np.testing.assert_array_equal(joined(values, None, 2, 0), [[2.0, 2.0], [5.0, np.nan]])
    weights = np.array([[1.0, 1.0], [3.0, 1.0], [1.0, 1.0]])
    assert joined(values, weights, 2, 0)[0, 0] == 2.5


def test_curves_come_back_within_a_tenth_of_sigma(rng):
    columns = pages.pattern(rng, 900).T
    pattern = Pattern(columns[0], columns[1], columns[2], columns[4], columns[5])
    s = _stored(pattern)
    model = s["low"] + (unpacked(s["c"]) * s["step"]) ** 2
    low, high = s["s_log"]
    sigma = np.exp(low + unpacked(s["s"]) / 254.0 * (high - low))
    observed = model + unpacked(s["r"]) * s["unit"] * sigma
    assert np.abs((observed - pattern.observed) / pattern.sigma).max() < 0.1
    assert np.abs((model - pattern.calculated) / pattern.sigma).max() < 0.05
    np.testing.assert_allclose(sigma, pattern.sigma, rtol=0.02)


def test_a_fit_that_is_far_off_keeps_its_differences(rng):
    columns = pages.pattern(rng, 400).T
    pattern = Pattern(columns[0], 1e7 * columns[1], columns[2], columns[4], columns[5])
    s = _stored(pattern)
    ratio = unpacked(s["r"]) * s["unit"]
    expected = (pattern.observed - pattern.calculated) / pattern.sigma
    np.testing.assert_allclose(ratio, expected, rtol=0.03)  # sigma has 255 levels


def test_coarser_points_are_means_and_never_span_a_gap():
    x = np.array([1.0, 1.1, 1.2, 2.0, 2.1, 2.2, 2.3])
    one = np.ones(7)
    coarse = _coarser(Pattern(x, np.arange(7.0), one, one, one), 2)
    np.testing.assert_allclose(coarse.two_theta, [1.05, 1.2, 2.05, 2.25])
    np.testing.assert_allclose(coarse.observed, [0.5, 2.0, 3.5, 5.5])
    np.testing.assert_allclose(coarse.sigma, [0.5**0.5, 1.0, 0.5**0.5, 0.5**0.5])


def test_720_histograms_stay_below_10_megabytes(tmp_path):
    pages.refinement(tmp_path / "out", 10, 72, n_points=1500)
    page = midas.write_report(tmp_path / "a.html", tmp_path / "out")
    assert page.stat().st_size < LARGEST
    text = page.read_text(encoding="utf-8")
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])
    assert len(data["fits"]["fit0"]["curves"]) == 685  # all but those that were skipped
    assert "mean of" not in text.split('id="data"')[0]  # nothing was made coarser


def test_curves_that_have_no_room_are_left_out_and_it_says_which(tmp_path, monkeypatch):
    folder = pages.refinement(tmp_path, 6, 12, n_points=100)
    monkeypatch.setattr("midas.refine.report_page.CURVE_POINTS", 3000)
    summary = read_summary(folder)
    part = refinement_part(summary, folder)
    kept = {int(k) for k in part.data["fits"]["fit"]["curves"]}
    status = [h["status"] for h in summary["histograms"]]
    assert len(kept) == 30
    assert {k for k, s in enumerate(status) if s in ("failed", "partial")} <= kept
    assert "30 of 68 histograms" in part.body


def test_of_several_caked_files_each_histogram_finds_its_own_curves(tmp_path):
    from midas.refine.several import write_joined

    summaries = []
    for name, n_points in (("a", 40), ("b", 60)):
        summary = read_summary(pages.refinement(tmp_path / name, 1, 3, n_points=n_points))
        summaries.append({**summary, "data_file": str(tmp_path / f"{name}.zarr.zip")})
    fits = refinement_part(write_joined(summaries, tmp_path), tmp_path).data["fits"]["fit"]
    assert fits["file"] == ["a.zarr.zip"] * 3 + ["b.zarr.zip"] * 3
    assert [unpacked(fits["axes"][fits["curves"][str(k)]["x"]]).size for k in range(6)] == [40] * 3 + [60] * 3
    assert fits["place"] == [[k // 3, k % 3] for k in range(6)]


def test_what_the_batch_says_stands_in_the_verdict(tmp_path):
    folder = pages.refinement(tmp_path, 1, 3, n_points=50)
    summary = {**read_summary(folder), "remarks": ["all cells are 0.50 % larger <b>"]}
    body = refinement_part(summary, folder).body
    assert "all cells are 0.50 % larger &lt;b&gt;" in body.split("<h3>")[0]


def test_a_failed_fit_never_lends_its_values_to_a_map(tmp_path):
    folder = pages.refinement(tmp_path, 3, 12, n_points=50)
    summary = read_summary(folder)
    fits = refinement_part(summary, folder).data["fits"]["fit"]
    values = unpacked(fits["quantities"][0]["value"])
    for value, entry in zip(values, summary["histograms"], strict=True):
        assert np.isfinite(value) == (entry["status"] in ("success", "partial"))


def test_many_sums_are_thinned_out_and_it_says_so():
    part = cake_parts([pages.cake(150, n_radius=900)])[0]
    cake = part.data["cakes"]["cake0"]
    assert np.prod(cake["levels"]["n"]) <= 1_300_000
    assert "of 150 sums, at even distances" in part.body
    assert cake["labels"][-1].startswith("frame 149")


def test_of_a_long_scan_some_sums_are_read_and_all_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr("midas.cake.report._MOST_SUMS", 6)
    path = pages.cake(11).to_zarr(tmp_path / "a.zarr.zip")
    part = cake_parts([path])[0]
    assert "11 sums, 2θ" in part.body
    assert "6 of 11 sums" in part.body
    labels = part.data["cakes"]["cake0"]["labels"]
    assert [label.split(",")[0] for label in labels] == [f"frame {k}" for k in (0, 2, 4, 6, 8, 10)]


def test_cakes_of_other_bins_get_a_section_of_their_own(tmp_path):
    files = [pages.cake(2, n_radius=n).to_zarr(tmp_path / f"{n}.zarr.zip") for n in (50, 50, 60)]
    parts = cake_parts(files, failed=[("c.h5", "it is empty")])
    assert [p.title for p in parts] == ["Integration 1", "Integration 2"]
    assert "it is empty" in parts[0].body
    assert "1 FAILED" in parts[0].body


def test_names_cannot_break_out_of_the_page(tmp_path):
    bad = "</script><b>&"
    assert "<" not in _json({"a": bad})
    path = write_page(tmp_path / "a.html", bad, [Part(bad, "")], Provenance(command=bad, settings={bad: bad}))
    assert bad not in path.read_text(encoding="utf-8")


def test_inputs_have_their_hashes_and_missing_ones_are_named(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    entries = input_entries([("image", tmp_path / "a"), ("mask", ""), ("dark", tmp_path / "none")])
    assert [(e["role"], e["sha256"] and e["sha256"][:8]) for e in entries] == [("image", "ba7816bf"), ("dark", None)]
    text = write_page(tmp_path / "a.html", "t", [], Provenance(inputs=entries)).read_text(encoding="utf-8")
    assert "not there when the report was written" in text
    assert "too large" not in text


def test_inputs_too_large_to_hash_say_so(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"abc")
    monkeypatch.setattr("midas.report.provenance.MOST_HASHED", 2)
    about = Provenance(inputs=input_entries([("image", tmp_path / "a")]))
    text = write_page(tmp_path / "a.html", "t", [], about).read_text(encoding="utf-8")
    assert "too large to be hashed" in text


@pytest.mark.parametrize(
    ("name", "said"),
    [("a.pdf", "ends in .html"), ("missing/a.html", "folder does not exist"), ("folder.html", "a folder of that name")],
)
def test_places_that_cannot_be_are_refused_with_what_to_do(tmp_path, name, said):
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(InputError, match=said):
        check_report(tmp_path / name)


def test_without_plotly_one_sentence_says_how_to_get_it(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("midas.report.page.importlib.util.find_spec", lambda _: None)
    words = ["refine", "x.zarr.zip", "--cif", "a.cif", "--report", str(tmp_path / "a.html")]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert 'pip install "midas-xrd[report]"' in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ["calibrate", "a.tif"],
        ["integrate", "a.h5", "-paramFN", "ps.txt"],
        ["run", "-dataFN", "a.h5", "-paramFN", "ps.txt", "--skip-refinement"],
        ["demo"],
    ],
)
def test_every_command_refuses_a_bad_name_before_it_looks_at_the_data(words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*words, "--report", "a.txt"]) == 2
    assert "a report is HTML" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_nothing_to_report_and_things_that_are_none_are_refused(tmp_path):
    with pytest.raises(InputError, match="nothing to report"):
        midas.write_report(tmp_path / "a.html")
    with pytest.raises(InputError, match="int cannot be reported"):
        midas.write_report(tmp_path / "a.html", 3)
    with pytest.raises(InputError, match="NoneType cannot be reported"):
        midas.write_report(tmp_path / "a.html", None, pages.cake(2))
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_report_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "a.html"
    path.write_text("old", encoding="utf-8")
    cake = pages.cake(2)
    with pytest.raises(ValueError, match="shape"):
        replace(cake, intensity=cake.intensity[:, :3]).report(path)
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_curves_read_back_are_those_written(tmp_path, rng):
    folder = pages.refinement(tmp_path, 1, 2, n_points=60)
    pattern = read_pattern(folder, 0)
    np.testing.assert_allclose(pattern.observed, pages.pattern(np.random.default_rng(7), 60)[:, 1])
    assert len(pattern.ticks["CeO2"]) == 12
