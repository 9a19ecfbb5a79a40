"""Which instrument file wins over a caked file's values, and that it is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from midas.errors import InputError
from midas.io.gsas_zarr import write_cake_file
from midas.refine.batch import run_refinement
from midas.refine.overrides import check_instprm, override_beside, override_notes
from midas.refine.report import summary_lines
from midas.refine.several import joined_summary

X = np.arange(3.0, 6.0, 0.02)
TEXT = "#GSAS-II instrument parameter file\nType:PXC\nLam:0.4132\n"


def test_override_in_either_spelling(tmp_path):
    data = tmp_path / "x.zarr.zip"
    assert override_beside(data) is None
    (tmp_path / "x.instprm").touch()
    assert override_beside(data) == tmp_path / "x.instprm"
    (tmp_path / "x.zarr.instprm").touch()
    assert override_beside(data) == tmp_path / "x.zarr.instprm"


def test_what_is_used_and_what_is_not_is_said(tmp_path):
    data = tmp_path / "x.zarr.zip"
    assert override_notes(None, data) == ()
    (tmp_path / "x.instprm").touch()
    assert override_notes(None, data) == (
        "instrument parameters of x.instprm, beside the data, win over those of x.zarr.zip",
    )
    (tmp_path / "x.zarr.instprm").touch()
    used, left = override_notes(None, data)
    assert "x.zarr.instprm, beside the data, win" in used
    assert left == "x.instprm, beside x.zarr.zip, is not used: x.zarr.instprm has the name that counts first"
    used, *left = override_notes(tmp_path / "b.instprm", data)
    assert "b.instprm win over" in used
    assert len(left) == 2
    assert all(note.endswith("b.instprm was named") for note in left)
    used, *left = override_notes(tmp_path / "x.instprm", data)  # named, and beside the data
    assert [note.split(",")[0] for note in left] == ["x.zarr.instprm"]
    (tmp_path / "x.zarr.samprm").touch()
    assert "x.zarr.samprm, beside x.zarr.zip, is not used" in override_notes(None, data)[-1]


def test_summary_and_terminal_tell_of_it(fake_engine, cake_of, synthetic, tmp_path, monkeypatch):
    cif = synthetic.write_cif(tmp_path / "CeO2.cif", synthetic.CEO2_CIF, 5.41165)
    data = write_cake_file(tmp_path / "x.zarr.zip", cake_of([np.full(len(X), 100.0)], X))
    (tmp_path / "x.instprm").write_text(TEXT, encoding="utf-8")
    monkeypatch.setattr("midas.refine.batch.start_gsas2", lambda *_: (fake_engine, ()))
    summary = run_refinement(data, [cif], tmp_path / "out")
    assert summary["instprm"] == str(tmp_path / "x.instprm")
    (note,) = summary["override_notes"]
    assert note in " ".join(line.strip() for line in summary_lines(summary))
    assert joined_summary([summary, summary], Path("out"))["override_notes"] == [note]


@pytest.mark.parametrize(("name", "words"), [("nowhere.instprm", "does not exist"), (".", "is a folder; name a file")])
def test_a_named_file_that_is_none(name, words, tmp_path):
    with pytest.raises(InputError, match=words):
        check_instprm(tmp_path / name, tmp_path / "x.zarr.zip")
