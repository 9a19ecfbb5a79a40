"""Pages in a real browser: they open by themselves, plots draw, and what can be clicked does what it says."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import report_pages as pages

import midas
from midas.report.encode import packed

SHAPE = (300, 340)
TRUTH = midas.Geometry(distance=2e5, beam_center=(160.0, 155.0), pixel_size=200, wavelength=0.25, tilts=(0, 0.5, -0.4))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A page of everything: calibration, 12 sums, 720 histograms."""
    folder = tmp_path_factory.mktemp("whole")
    options = midas.SimulationOptions(peak_counts=2000.0, background=50.0, dtype="uint16")
    image = midas.simulate(TRUTH, midas.Detector(SHAPE, 200), "CeO2", options=options, seed=1).image
    calibration = midas.calibrate(image, {"wavelength": 0.25, "pixel_size": 200, "calibrant": "CeO2"})
    pages.refinement(folder / "out", 10, 72, n_points=400)
    return midas.write_report(folder / "a.html", calibration, pages.cake(12), folder / "out", command="midas x")


@pytest.fixture(scope="module")
def page(browser, whole):
    """That page, open; each test brings about what it looks at."""
    browser.open(whole)
    return browser


def drawn(page, name):
    """Return how many lines, points, bars and maps a figure shows."""
    return page.run(
        f"document.querySelectorAll('#{name} .scatterlayer .js-line, #{name} .point, #{name} image').length"
    )


def test_it_opens_alone_and_without_complaint(page, whole):
    assert page.errors == []
    assert page.requests == [whole.resolve().as_uri()]
    assert page.run("document.getElementById('trouble').hidden")


@pytest.mark.parametrize("kind", ["noise", "long runs", "text", "short", "nothing"])
def test_the_browser_unpacks_what_python_packs(page, kind, rng):
    values = {
        "noise": rng.integers(0, 256, 90_000),
        "long runs": np.repeat([7, 0, 255], 40_000),
        "text": np.tile(np.arange(97, 123), 500),
        "short": np.array([1, 2, 3]),
        "nothing": np.zeros(0),
    }[kind]
    weighted = "v.reduce((s, x, i) => s + x * (i % 977), 0)"
    for number_kind in ("u1", "f8"):
        spec = json.dumps(packed(values, number_kind))
        found = page.run(f"(() => {{ const v = unpack({spec}); return [v.length, {weighted}]; }})()")
        assert found == [len(values), int((values * (np.arange(len(values)) % 977)).sum())]
    spec = json.dumps(packed(values, "u2", delta=True))
    assert page.run(f"unpack({spec}).reduce((s, x) => s + x, 0)") == int(values.sum())


def test_the_verdict_stands_first_and_the_command_last(page):
    assert page.run("document.querySelector('main .verdict strong').textContent") == "GOOD"
    assert page.run("document.querySelector('main .verdict').getBoundingClientRect().bottom < innerHeight")
    assert page.run("document.querySelector('section:last-of-type pre').textContent") == "midas x"


def test_every_plot_shows_its_data(page):
    names = json.loads(page.run("JSON.stringify([...document.querySelectorAll('.plot')].map((e) => e.id))"))
    assert len(names) == 13
    for name in names:
        assert drawn(page, name) > 0, name
        height = page.run(f"document.querySelector('#{name} .main-svg').getBoundingClientRect().height")
        assert height > 200, name


def test_the_image_changes_its_scale_and_keeps_its_counts(page):
    def state():
        return page.run("(() => { const t = document.getElementById('cal0-image').data[0];"
                        " return [t.zmax, t.text[10][20], t.z[10][20]]; })()")  # fmt: skip

    log, count, level = state()
    page.click(".choice[data-for=cal0-image] button[data-value=linear]")
    linear, same, plain = state()
    assert same == count
    assert 10**log == pytest.approx(linear, rel=1e-5)
    assert plain == pytest.approx(count, rel=1e-5)
    assert level == pytest.approx(math.log10(count), rel=1e-4)


def test_the_slider_moves_the_sum(page):
    profile = "document.getElementById('cake1-0-profile').data[0].y"
    middle = f"{profile}.indexOf(Math.max(...{profile}))"
    first = page.run(middle)
    assert page.run("document.getElementById('cake1-0-name').textContent") == "frame 0, ω 0 deg"
    page.run("(() => { const s = document.getElementById('cake1-0-slider'); s.value = 7;"
             " s.dispatchEvent(new Event('input')); })()")  # fmt: skip
    page.until("document.getElementById('cake1-0-name').textContent === 'frame 7, ω 3.5 deg'")
    # The ring of a sum lies 4 px further out than that of the one before; counts are noisy.
    assert abs(page.run(middle) - first - 28) <= 2
    peak = "document.getElementById('cake1-0-map').data[0].text[5]"
    assert abs(page.run(f"{peak}.indexOf(Math.max(...{peak}))") - first - 28) <= 2


def test_the_waterfall_is_lines_or_a_map(page):
    assert page.run("document.getElementById('cake1-0-waterfall').data.length") == 12
    page.click(".choice[data-for=cake1-0-waterfall] button[data-value=map]")
    page.until("document.getElementById('cake1-0-waterfall').data[0].type === 'heatmap'")


def column(page, number):
    rows = "[...document.querySelectorAll('#fit2-table tbody tr')]"
    return json.loads(page.run(f"JSON.stringify({rows}.map((r) => r.cells[{number}].textContent))"))


def test_sorting_sorts_any_column_both_ways(page):
    heads = json.loads(
        page.run("JSON.stringify([...document.querySelectorAll('#fit2-table th')].map((h) => h.textContent))")
    )
    assert heads[:6] == ["histogram", "η [deg]", "ω [deg]", "status", "Rwp [%]", "GOF"]
    rwp = [float(v) for v in column(page, 4)]
    assert rwp == sorted(rwp, reverse=True)
    assert rwp[0] > 34
    for number in (1, 4, 5, heads.index("CeO2 a [Å]")):
        for _ in range(2):
            page.click(f"#fit2-table th:nth-child({number + 1}) button")
            up = page.run(f"document.querySelector('#fit2-table th:nth-child({number + 1})').ariaSort") == "ascending"
            values = [float(v.split("(")[0]) for v in column(page, number)]
            assert values == sorted(values, reverse=not up)


def test_a_click_on_a_row_shows_its_fit(page):
    page.click("#fit2-table th:nth-child(1) button")
    page.click("#fit2-table th:nth-child(1) button")
    page.run("document.getElementById('fit2-filter').value = 'success'")
    page.run("document.getElementById('fit2-filter').dispatchEvent(new Event('change'))")
    wanted = column(page, 0)[3]
    page.click("#fit2-table tbody tr:nth-child(4) td")
    page.until(f"document.getElementById('fit2-name').textContent.startsWith('histogram {wanted},')")
    assert page.run("document.querySelector('#fit2-table tr.chosen').cells[0].textContent") == wanted
    names = json.loads(page.run("JSON.stringify(document.getElementById('fit2-plot').data.map((t) => t.name))"))
    assert {"observed", "calculated", "background", "CeO2"} <= set(names)
    assert page.run("document.getElementById('fit2-plot').data[2].y.length") == 400
    page.until("document.getElementById('fit2-name').getBoundingClientRect().top < innerHeight / 2")


def test_the_curves_shown_are_those_of_the_file(page, whole):
    from midas.refine.plot import read_pattern

    page.run("(() => { const rows = [...document.querySelectorAll('#fit2-table tbody tr')]; rows[0].click(); })()")
    index = int(page.run("document.querySelector('#fit2-table tr.chosen').cells[0].textContent"))
    pattern = read_pattern(whole.parent / "out", index)
    shown = json.loads(page.run("JSON.stringify(document.getElementById('fit2-plot').data[2].customdata)"))
    assert max(abs(a - b) / s for a, b, s in zip(shown, pattern.observed, pattern.sigma, strict=True)) < 0.1


def test_a_histogram_without_curves_says_so(page):
    page.run("document.getElementById('fit2-filter').value = 'skipped'")
    page.run("document.getElementById('fit2-filter').dispatchEvent(new Event('change'))")
    page.click("#fit2-table tbody tr:nth-child(1) td")
    page.until("document.querySelector('#fit2-plot .annotation') !== null")
    assert "nothing was fitted" in page.run("document.querySelector('#fit2-plot .annotation').textContent")


def test_a_click_on_the_map_shows_the_fit_of_that_place(page):
    failed = "document.getElementById('fit2-map').data.find((t) => t.name && t.name.includes('failed'))"
    assert page.run(f"{failed}.x.length") == 65
    page.click("#fit2-map .nsewdrag", where=(0.5 + 0.25 / 72, 0.55))
    page.until(
        "/^histogram (36\\d|43\\d|50\\d|39\\d|32\\d|46\\d),/.test(document.getElementById('fit2-name').textContent)"
    )
    name = page.run("document.getElementById('fit2-name').textContent")
    assert "η 2.5 deg" in name or "η -2.5 deg" in name or "η 7.5 deg" in name


def test_it_prints_with_every_plot_inside_of_the_paper(page):
    paper = page.pdf()
    assert paper.startswith(b"%PDF")
    assert paper.count(b"/Type /Page\n") in range(4, 30)
    assert page.errors == []


def test_a_phone_shows_it_without_scrolling_sideways(browser, whole):
    browser.open(whole, width=390, height=844, phone=True)
    assert browser.errors == []
    assert browser.run("document.documentElement.scrollWidth") == 390
    wide = "[...document.querySelectorAll('.plot')].filter((e) => e.getBoundingClientRect().right > 391).length"
    assert browser.run(wide) == 0
