from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from midas.refine.remarks import batch_remarks, cell_remark, correlation_remark, eta_remarks, ring_remarks
from midas.refine.report import summary_lines
from midas.refine.several import joined_summary
from midas.refine.summary import collect

A = {"CeO2": 5.41165, "LaB6": 4.156826}
REFERENCE = {name: dict.fromkeys("abc", a) for name, a in A.items()}


def histogram(changes, *, status="success", esd=1e-4, correlations=(), c=0.0):
    """Return the entry of a histogram whose cells differ from the CIFs' by these shares, c by `c` more."""
    phases = [
        {
            "name": name,
            "present": True,
            "cell": {"a": a * (1 + change), "b": a * (1 + change), "c": a * (1 + change + c)},
            "cell_esd": {"a": esd},
            "scale": {"value": 1.0, "esd": 0.1},
            "weight_fraction": {"value": 0.5, "esd": 0.1},
        }
        for (name, a), change in zip(A.items(), changes, strict=False)
    ]
    for phase in phases:
        phase["cell"] |= {"alpha": 90.0, "beta": 90.0, "gamma": 90.0, "volume": 1.0}
        phase["cell_esd"] |= dict.fromkeys(("b", "c", "alpha", "beta", "gamma", "volume"))
    return {"histogram_index": 0, "sum_index": 0, "status": status, "Rwp": 5.0, "reason": None, "phases": phases,
            "correlations": [list(c) for c in correlations], "eta": 0.0, "omega": 0.0}  # fmt: skip


def test_one_phase_off_in_all_histograms_is_told():
    words = cell_remark([histogram([0.005 + 1e-4 * k]) for k in range(-2, 3)], {"CeO2": REFERENCE["CeO2"]})
    assert words.startswith("all cells of CeO2 are 0.50 % larger than in the CIF: wavelength or distance?")


def test_two_phases_alike_are_stronger():
    words = cell_remark([histogram([-0.005, -0.0051])], REFERENCE)
    assert "CeO2 and LaB6 alike, are 0.50 % smaller" in words or "0.51 % smaller" in words
    assert "seldom" in words


@pytest.mark.parametrize(
    "histograms",
    [
        [histogram([0.0009, 0.0009])],  # samples differ by as much
        [histogram([0.005, 0.0])],  # one phase alone: pressure on it, or another composition
        [histogram([0.005, -0.005])],
        [histogram([0.005, 0.005], c=0.004)],  # c moves and a does not
        [histogram([x, x]) for x in (-0.006, -0.001, 0.003, 0.005, 0.009)],  # strain, not a scale
        [histogram([0.005, 0.005], status="failed")],
        [histogram([0.005, 0.005], esd=None)],  # cells that were not refined
        [],
    ],
)
def test_what_is_no_common_scale_is_not_told(histograms):
    assert cell_remark(histograms, REFERENCE) is None


def test_a_minor_phase_agrees_within_its_esd():
    loose = histogram([0.005, 0.008])
    loose["phases"][1]["cell_esd"]["a"] = 0.006
    assert cell_remark([loose], REFERENCE) is not None
    loose["phases"][1]["cell_esd"]["a"] = 0.0004
    assert cell_remark([loose], REFERENCE) is None


def test_the_pairs_correlated_most_often_are_named():
    pairs = [("u", "w", -0.98), ("x", "y", -0.99), ("CeO2 cell A0", "sh_l", 0.97), ("v", "w", 0.96)]
    entries = [histogram([0.0], correlations=pairs[:n]) for n in (1, 2, 4)]
    words = correlation_remark([*entries, histogram([0.0], status="failed", correlations=pairs)])
    assert words == (
        "correlated by more than 0.95: u and w (3 of 3), x and y (2 of 3), CeO2 cell A0 and sh_l (1 of 3); "
        "1 more pairs in the summary"
    )
    assert correlation_remark([histogram([0.0])]) is None


def test_remarks_stand_in_the_summary_and_under_the_table():
    entry = histogram([0.005, 0.005], correlations=[("u", "w", -0.98)])
    summary = collect("x.zarr.zip", [entry], {"reference_cells": REFERENCE})
    assert len(summary["remarks"]) == 2
    lines = summary_lines(summary)
    text = " ".join(" ".join(lines).split())
    assert all(words in text for words in summary["remarks"])
    assert max(map(len, lines)) <= 80
    joined = joined_summary([summary, summary], Path("out"))
    assert joined["remarks"][0] == summary["remarks"][0]
    assert batch_remarks([], {}) == []


def test_rings_that_differ_in_few_fits_are_chance():
    def entry(factor, ring):
        return {"status": "success", "phases": [{"name": "Ni", "ring_scatter": factor, "unlike_ring": ring}]}

    good = [entry(1.0, None)] * 19
    assert ring_remarks([*good, entry(2.5, 7.1)]) == []
    assert ring_remarks([*good[:9], {**entry(4.0, 9.0), "status": "failed"}]) == []
    [words] = ring_remarks([*good[:2], entry(2.5, 7.098), entry(3.5, 7.104), entry(3.0, 9.0)])
    assert words.startswith("rings differ on the cell of Ni in 3 of 5 fits, mostly that at 7.10 deg: its esds were ")
    assert "made 3.0 times as large" in words


@pytest.mark.parametrize(
    ("once", "twice", "etas", "told"),
    [
        (3e-4, 0.0, range(-170, 180, 20), True),
        (3e-4, 5e-4, range(-170, 180, 20), True),
        (0.0, 5e-4, range(-170, 180, 20), False),
        (5e-5, 0.0, range(-170, 180, 20), False),
        (3e-4, 0.0, range(-60, 61, 10), False),  # half of the ring is not there
        (3e-4, 0.0, range(-150, 180, 90), False),
    ],
)
def test_cells_that_change_once_around_are_told(once, twice, etas, told):
    rng, histograms = np.random.default_rng(7), []
    for eta in etas:
        t = np.radians(eta)
        for _ in range(3):  # sums
            change = once * np.cos(t - 0.5) + twice * np.cos(2.0 * t) + rng.normal(0.0, 2e-5)
            cell = {"a": 5.4 * (1.0 + change)}
            phases = [{"name": "Ni", "present": True, "cell": cell, "cell_esd": {"a": 1e-4}}]
            histograms.append({"status": "success", "eta": float(eta), "phases": phases})
    remarks = eta_remarks(histograms)
    assert bool(remarks) == told
    if told:
        before, _, after = remarks[0].partition(" once around the beam, largest at η = ")
        assert before == "cells of Ni change by 3.0e-04"
        assert float(after.split(" deg")[0]) == pytest.approx(np.degrees(0.5), abs=3.0)
