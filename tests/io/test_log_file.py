"""The library's log in a file: what goes into it, and what it leaves as it was."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from midas.errors import OutputError
from midas.io.log_file import log_onto, log_to


@pytest.mark.parametrize(
    ("level", "expected"),
    [(logging.NOTSET, ["info"]), (logging.DEBUG, ["debug", "info"]), (logging.ERROR, ["info"])],
)
def test_the_log_holds_info_and_what_was_asked_for_beyond(tmp_path: Path, level: int, expected: list[str]) -> None:
    logger = logging.getLogger("midas")
    before = logger.level
    logger.setLevel(level)
    try:
        for _ in range(2):
            with log_onto(tmp_path / "a.log"):
                logging.getLogger("midas.cake").debug("debug")
                logging.getLogger("midas.cake").info("info")
            assert logger.level == level
    finally:
        logger.setLevel(before)
    lines = (tmp_path / "a.log").read_text().splitlines()
    assert [line.rpartition(" - ")[2] for line in lines] == 2 * expected
    assert all(" - midas.cake - " in line for line in lines)


def test_a_log_is_there_when_all_went_well(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="on the way"), log_to(tmp_path / "a.log"):
        raise ValueError("on the way")
    assert not list(tmp_path.iterdir())
    with log_to(tmp_path / "a.log"):
        logging.getLogger("midas").warning("told")
    assert (tmp_path / "a.log").read_text().endswith(" - midas - WARNING - told\n")


def test_a_log_that_cannot_be_written(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match=r"cannot write .*a\.log: .*; name another file"),
        log_onto(tmp_path / "no/a.log"),
    ):
        pass
