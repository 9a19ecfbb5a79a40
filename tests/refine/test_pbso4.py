"""The X-ray pattern of PbSO4 in GSAS-II's own tests, read from where GSAS-II lies, refined stage by stage by us."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from midas.refine import Stage
from midas.refine.dispatch import WorkerPool
from midas.refine.job import Instrument, PhaseFile, RefinementJob

pytestmark = pytest.mark.gsas2

FINAL_R_WP = 13.16483
"""Rwp [%] of the X-ray pattern at the last stage of GSAS-II's test_scriptref.py, limits 16 to 110 deg."""
FIRST_R_WP = 45.811562
"""The same after background and scale."""
LIMITS = (16.0, 110.0)


@pytest.fixture
def inputs(gsas2):
    """The folder of the test's files, or a skip that says what is missing."""
    folder = Path(gsas2.folder).parent / "tests" / "testinp"
    if not (folder / "PBSO4.XRA").is_file():
        pytest.skip(f"{folder} has no PBSO4.XRA; this GSAS-II came without its tests")
    stated = (folder.parent / "test_scriptref.py").read_text(encoding="utf-8")
    assert all(f"{figure}" in stated for figure in (FIRST_R_WP, FINAL_R_WP)), "the test beside the data has changed"
    return folder


def read_pattern(path):
    """Return 2θ [deg], counts and sigma of a pattern of constant steps: start and step in centidegrees, 10I8."""
    lines = path.read_text(encoding="ascii").splitlines()
    start, step = (float(v) / 100.0 for v in lines[1].split()[5:7])
    counts = np.array([float(line[i : i + 8]) for line in lines[2:] for i in range(0, len(line.rstrip()), 8)])
    counts = counts[: int(lines[1].split()[2])]
    return start + step * np.arange(len(counts)), counts, np.sqrt(np.maximum(counts, 1.0))


def write_instrument(source, path):
    """Write the values of the old instrument file in the present format; widths become those of its first function."""
    values = dict(re.findall(r"^INS  1 ?([A-Z0-9]+) +(.*?) *$", source.read_text(encoding="ascii"), flags=re.MULTILINE))
    lam1, lam2, zero, _, polarization, _, ratio = (float(v) for v in values["ICONS"].split())
    u, v, w, _ = (float(n) for n in values["PRCF11"].split())
    x, y, *_ = (float(n) for n in values["PRCF12"].split())
    found = {"Type": "PXC", "Bank": 1.0, "Lam1": lam1, "Lam2": lam2, "I(L2)/I(L1)": ratio, "Zero": zero / 100.0,
             "Polariz.": polarization, "U": u, "V": v, "W": w, "X": x, "Y": y, "Z": 0.0, "SH/L": 0.002}  # fmt: skip
    lines = [f"{key}:{value}" for key, value in found.items()]
    path.write_text("\n".join(["#GSAS-II instrument parameter file", *lines, ""]), encoding="utf-8")
    return path


RECIPE = (
    Stage("background and scale", ("background", "scale"), required=True),
    Stage("unit cell", ("cell", "zero"), required=True),
    Stage("size and microstrain", ("size", "microstrain"), alternatives=(("microstrain",),)),
    Stage("atoms", ("coordinates", "uiso"), alternatives=(("uiso",), ("coordinates",))),
    Stage("preferred orientation", ("harmonics",), order=2),
)


def test_pbso4_reaches_the_final_rwp_of_the_engines_own_test(inputs, gsas2, tmp_path):
    x, y, sigma = read_pattern(inputs / "PBSO4.XRA")
    assert (x[0], x[-1], len(x)) == (10.0, 160.0, 6001)
    job = RefinementJob(
        index=0,
        sum_index=0,
        eta_index=0,
        two_theta=x,
        intensity=y,
        sigma=sigma,
        instrument=Instrument(1.5405),
        phases=(PhaseFile("PbSO4", inputs / "PbSO4-Wyckoff.cif"),),
        stages=RECIPE,
        output_dir=tmp_path,
        azimuth=0.0,  # a diffractometer, its polarization as GSAS-II has it there
        limits=LIMITS,
        instrument_file=write_instrument(inputs / "INST_XRY.PRM", tmp_path / "xry.instprm"),
        broadening={"size": 1.0, "microstrain": 1000.0},  # where the engine's own test starts
    )
    with WorkerPool(gsas2, 1) as pool:
        result = pool.refine(job)
    assert result.status == "success", result.reason
    assert [s.outcome for s in result.stages] == ["kept"] * len(RECIPE)
    assert result.stages[0].r_wp == pytest.approx(FIRST_R_WP, rel=1e-3)  # the same points, weights and model
    assert result.r_wp <= FINAL_R_WP
    for name, value in {"C(2,0)": 0.127, "C(2,2)": 0.094}.items():  # there, with a neutron pattern beside it
        assert result.phases[0].texture[name].value == pytest.approx(value, abs=0.04)
