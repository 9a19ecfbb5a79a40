"""Fixtures that every room uses."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from midas.errors import RefinementError
from midas.refine.dispatch import EngineCommand
from midas.refine.locate import find_gsas2

THREADS = (1, 2, 7)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real detector images: beside the project, or where MIDAS_SHARED says."""
    project = Path(__file__).resolve().parents[1]
    named = os.environ.get("MIDAS_SHARED")
    folder = Path(named) / "data" if named else project.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(
            "the real detector images are not here; put them in ../shared/data beside the project, "
            "or name their parent folder in MIDAS_SHARED"
        )
    return folder


@pytest.fixture(params=THREADS)
def n_threads(request: pytest.FixtureRequest) -> int:
    """Each thread count that results are compared over."""
    return int(request.param)


@pytest.fixture
def rng() -> np.random.Generator:
    """A seeded generator."""
    return np.random.default_rng(7)


@pytest.fixture(scope="session")
def gsas2() -> EngineCommand:
    """A working GSAS-II, or a skip that says how to get one."""
    try:
        return find_gsas2()
    except RefinementError as error:
        pytest.skip(str(error))
