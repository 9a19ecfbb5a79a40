"""What the worker puts in the place of functions of GSAS-II: mends change numbers, shortcuts do not."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from midas.refine import batch, batch_run, gsas2_mends, gsas2_shortcuts, worker
from midas.refine.dispatch import WorkerPool
from midas.refine.lineouts import iterate_lineouts, read_instrument
from midas.refine.phases import check_phases

X = np.linspace(3.0, 18.0, 2000)
WAVELENGTH = 0.413263
CELLS = {
    "m-3m": ("'F m -3 m'", (5.41, 5.41, 5.41, 90, 90, 90), ["0::A0"]),
    "6/mmm": ("'P 63/m m c'", (2.66, 2.66, 4.95, 90, 90, 120), ["0::A0", "0::A2"]),
    "4/mmm": ("'P 42/m n m'", (4.59, 4.59, 2.96, 90, 90, 90), ["0::A0", "0::A2"]),
    "mmm": ("'P m m m'", (4.0, 5.0, 6.0, 90, 90, 90), ["0::A0", "0::A1", "0::A2"]),
    "-3mR": ("'R -3 m :R'", (4.13, 4.13, 4.13, 55, 55, 55), ["0::A0", "0::A3"]),
}


def cif_of(group, cell):
    names = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
    lines = [f"_cell_{name} {value}" for name, value in zip(names, cell, strict=True)]
    lines += [f"_symmetry_space_group_name_H-M {group}", "loop_", "_atom_site_label", "_atom_site_type_symbol"]
    lines += [f"_atom_site_fract_{axis}" for axis in "xyz"]
    lines += ["_atom_site_occupancy", "_atom_site_U_iso_or_equiv", "Ti Ti 0 0 0 1 0.005"]
    return "\n".join(["data_phase", *lines, ""])


@pytest.fixture
def job_of(cake_of, tmp_path):
    """Return a function that makes the job of a pattern and CIFs."""

    def make(pattern, cifs, index=0, **changes):
        cake = cake_of([np.random.default_rng(7 + index).poisson(pattern * 160.0) / 8.0], X)
        cake.instrument.update({"SH_L": 0.0, "U": 6.0, "V": -1.0, "W": 4.5, "X": 0.8, "Y": 2.0})
        instrument, radius = read_instrument(dict(cake.instrument))
        options = batch.BatchOptions(check_phases(cifs), tmp_path, export=False)
        job = batch_run.make_job(next(iterate_lineouts(cake)), instrument, radius, options)
        return replace(job, index=index, **changes)

    return make


@pytest.mark.gsas2
@pytest.mark.parametrize("laue", CELLS)
def test_derivatives_by_the_cell_are_those_of_the_pattern(laue, gsas2, job_of, synthetic, tmp_path):
    group, cell, names = CELLS[laue]
    cif = tmp_path / "phase.cif"
    cif.write_text(cif_of(group, cell), encoding="utf-8")
    ideal = 3.0 + 20.0 * synthetic.pattern(synthetic.CEO2_CIF.format(a=5.412), X, WAVELENGTH)
    (tmp_path / "job.json").write_text(json.dumps(job_of(ideal, [cif]).to_message()), encoding="utf-8")
    home = tmp_path / "home"
    home.mkdir()
    folder = gsas2.argv[-1] if "--path" in gsas2.argv else ""
    script = Path(__file__).with_name("derivatives.py")
    argv = [gsas2.argv[0], str(script), worker.__file__, str(home), folder, str(tmp_path / "job.json"), *names, ":0:W"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    # 5e-2: profiles are single precision, which shows in small differences; GSAS-II's own are off by a third and more
    assert found == {name: pytest.approx(1.0, abs=5e-2) for name in (*names, ":0:W")}


@pytest.mark.gsas2
def test_shortcuts_change_nothing(gsas2, job_of, synthetic, tmp_path):
    cifs = [
        synthetic.write_cif(tmp_path / "CeO2.cif", synthetic.CEO2_CIF, 5.41165),
        synthetic.write_cif(tmp_path / "LaB6.cif", synthetic.LAB6_CIF, 4.156826),
    ]
    parts = [(synthetic.CEO2_CIF.format(a=5.412), 0.7), (synthetic.LAB6_CIF.format(a=4.157), 0.3)]
    job = job_of(3.0 + 20.0 * synthetic.mixture(parts, X, WAVELENGTH), cifs)
    results = []
    for more in ((), ("--plain",)):
        with WorkerPool(replace(gsas2, argv=(*gsas2.argv, *more)), 1, time_limit=100) as pool:
            results.append(pool.refine(job))
    short, plain = results
    assert short.status == "success", short
    # Not to the last bit: GSAS-II's structure factors are those of the evaluation before, of which there are fewer.
    assert short.r_wp == pytest.approx(plain.r_wp, rel=1e-8)
    for a, b in zip(short.phases, plain.phases, strict=True):
        assert a.cell["a"].value == pytest.approx(b.cell["a"].value, rel=1e-10)
        assert a.cell["a"].esd == pytest.approx(b.cell["a"].esd, rel=1e-6)
        assert a.weight_fraction.value == pytest.approx(b.weight_fraction.value, rel=1e-8)
        assert a.weight_fraction.esd == pytest.approx(b.weight_fraction.esd, rel=1e-6)
    for name, value in short.instrument.items():
        assert value.value == pytest.approx(plain.instrument[name].value, rel=1e-6), name
    outcomes = [[(s.name, s.outcome, s.refined) for s in r.stages] for r in results]
    assert outcomes[0] == outcomes[1]


def test_floors_of_the_asymmetry_are_lowered_and_nothing_else():
    lowered = gsas2_mends.max_but_for_asymmetry
    assert lowered(0.0, 0.002) == lowered(0.0, 0.0005) == gsas2_mends.ASYMMETRY_FLOOR
    assert lowered(0.01, 0.002) == 0.01
    assert lowered(0.0, 0.003) == 0.003
    assert lowered([1, 5, 2]) == 5
    assert lowered([], default=3) == 3


def test_a_misfit_is_computed_once_for_the_same_values_of_the_same_fit():
    calls = []

    def misfit(values, HistoPhases, parmDict):
        calls.append(tuple(values))
        return np.asarray(values) * 2.0

    once = gsas2_shortcuts.not_twice(misfit)
    data, more = [], {}
    first = once(np.array([1.0]), data, more)
    first[:] = 0.0
    assert once(np.array([1.0]), data, more) == [2.0]
    assert calls == [(1.0,)]
    once(np.array([1.0]), [], more)
    once(np.array([2.0]), data, more)
    once(np.array([1.0]), data, more)
    assert calls == [(1.0,), (1.0,), (2.0,), (1.0,)]
    once(np.array([]), data, more)
    once(np.array([]), data, more)
    assert len(calls) == 6


def test_masks_stay_where_something_is_masked():
    values = np.arange(3.0)
    assert type(gsas2_shortcuts.plain(np.ma.array(values))) is np.ndarray
    assert np.ma.is_masked(gsas2_shortcuts.plain(np.ma.array(values, mask=[0, 1, 0])))


def test_functions_with_other_arguments_are_left_alone(monkeypatch):
    import sys
    from types import ModuleType

    math, files, elements = (ModuleType(f"GSASII{name}") for name in ("strMath", "files", "Elem"))
    read: list[str] = []

    def orbitals(El):
        read.append(El)
        return [{"BindEn": 40.4}]

    elements.GetXsectionCoeff = orbitals
    monkeypatch.setitem(sys.modules, "GSASIIElem", elements)
    math.errRefine = other = lambda x, HistoPhases: None
    files.get_python_versions = lambda packagelist: [["Python", "3"]]
    monkeypatch.setitem(sys.modules, "GSASIIstrMath", math)
    monkeypatch.setitem(sys.modules, "GSASIIfiles", files)
    assert gsas2_shortcuts.install("") == ["get_python_versions", "GetXsectionCoeff"]
    elements.GetXsectionCoeff("CE")[0]["BindEn"] = 0.0  # whoever changes one changes its own
    assert elements.GetXsectionCoeff("CE") == [{"BindEn": 40.4}]
    assert read == ["CE"]
    assert math.errRefine is other
    assert files.get_python_versions([]) == [["Python", "3"]]


@pytest.mark.parametrize(("theirs", "expected"), [(0.0, 9.0), (4.0, 4.0)])
def test_a_gsas2_that_counts_what_follows_is_left_alone(theirs, expected):
    followers = gsas2_mends.Followers()
    positions = followers.by_position(lambda refl, im, wave, A, pfx: (np.array([4.0, 4.0, 1.0, 0.0, 0.0, 0.0]), 0.0))

    def derivatives(args):
        by_a0 = positions(None, 0, 0.2, None, "0::")[0][0]
        return np.array([[by_a0]]), {"0::A1": np.array([theirs]), "0::A2": np.array([theirs])}

    phases = {"CeO2": {"pId": 0, "General": {"SGData": {"SGLaue": "m3m"}}}}
    args = [{}, None, ["0::A0"], None, phases, None, None, None, ["0::A1", "0::A2"]]
    for _ in range(2):
        assert followers.derivatives(derivatives)(args)[0][0, 0] == expected
