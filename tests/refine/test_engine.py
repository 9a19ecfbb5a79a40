from __future__ import annotations

import re
from pathlib import Path

import pytest

import midas.refine
from midas.errors import InputError
from midas.refine import run_refinement
from midas.refine.dispatch import WorkerPool
from midas.refine.engine import Engine

OF_GSAS2 = re.compile(
    r"G2Project|GSASIIscriptable|Pref\.Ori|Mustrain|HStrain|Polariz\.|SH/L['\"]|varyList|Rvals|['\"]wR['\"]"
)
ALLOWED = ("worker.py", "locate.py")


def test_pool_of_workers_takes_the_seat(fake_engine):
    with WorkerPool(fake_engine, 1) as pool:
        assert isinstance(pool, Engine)


def test_names_of_gsas2_stay_in_its_worker():
    folder = Path(midas.refine.__file__).parent
    others = [p for p in folder.glob("*.py") if p.name not in ALLOWED and not p.name.startswith("gsas2_")]
    assert len(others) > 10
    for path in others:
        assert OF_GSAS2.search(path.read_text(encoding="utf-8")) is None, path.name


def test_unknown_engine_is_named(tmp_path):
    with pytest.raises(InputError, match="the engine is 'topas'; expected one of gsas2"):
        run_refinement("x.zarr.zip", ["a.cif"], tmp_path / "out", engine="topas")
