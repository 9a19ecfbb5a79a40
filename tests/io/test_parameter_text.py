"""Whatever text is read comes back byte for byte, and what is changed changes alone."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from midas.errors import InputError, OutputError
from midas.io.parameter_table import PARAMETER_KEYS, find_key
from midas.io.parameters import parse_params, read_params

FEW = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SPELLINGS = sorted(s for row in PARAMETER_KEYS.values() for s in (row.name, *row.aliases))
ENDS = st.sampled_from(["\n", "\r\n", "\r"])
# Form feed, vertical tab, next line, line separator: ends of lines for str.splitlines, not for a parameter file.
REMARKS = st.text(st.characters(blacklist_characters="\r\n\0", blacklist_categories=("Cs",)), max_size=12)
WORDS = st.text("abcXYZ_0123456789./-", min_size=1, max_size=8)


@pytest.fixture(autouse=True)
def _quiet(caplog):
    caplog.set_level(logging.ERROR, "midas")


def values_of(row):
    one = {
        float: st.floats(allow_nan=False, allow_infinity=False),
        int: st.integers(-(10**9), 10**9),
        str: WORDS,
    }[row.kind]
    return st.tuples(*[one] * row.count)


@st.composite
def known_lines(draw):
    spelling = draw(st.sampled_from(SPELLINGS))
    row = find_key(spelling)
    values = draw(values_of(row))
    gap = st.sampled_from([" ", "  ", "\t"])
    words = "".join(draw(gap) + (v if isinstance(v, str) else repr(v)) for v in values)
    tail = draw(st.sampled_from(["", " ", ";", " ;", "; "]))
    return draw(st.sampled_from(["", " ", "\t"])) + spelling + words + tail


@st.composite
def texts(draw):
    line = st.one_of(known_lines(), st.just(""), WORDS.map(lambda w: f"Zz{w} some words"), st.just("   "))
    parts = []
    for content in draw(st.lists(line, max_size=12)):
        comment = draw(st.one_of(st.just(""), REMARKS.map(lambda r: f"#{r}")))
        parts.append(content + comment + draw(ENDS))
    last = draw(st.one_of(st.just(""), known_lines()))
    return draw(st.sampled_from(["", "\ufeff"])) + "".join(parts) + last


@FEW
@given(text=texts(), junk=st.binary(max_size=8))
def test_a_file_written_back_is_the_same_bytes(text, junk):
    junk = junk.replace(b"\0", b"").replace(b"\n", b"").replace(b"\r", b"")
    content = text.encode() + b"\n# " + junk  # comments in any encoding
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "a.txt"), Path(folder, "b.txt")
        source.write_bytes(content)
        read_params(source).write(target)
        assert target.read_bytes() == content


@FEW
@given(text=texts(), data=st.data())
def test_an_update_changes_its_own_key_alone(text, data):
    before = parse_params(text)
    row = data.draw(st.sampled_from(list(PARAMETER_KEYS.values())))
    rows = data.draw(st.lists(values_of(row), max_size=3)) if row.repeatable else [data.draw(values_of(row))]
    value = rows if row.repeatable else rows[0] if row.count > 1 else rows[0][0]
    after = before.updated({row.name: value})
    found = after.get(row.name)
    if row.repeatable:
        assert found == (tuple(v for r in rows for v in r) if row.count == 1 else tuple(rows))
    else:
        assert found == value
    others = [line.text.rstrip("\r\n") for line in before.lines if line.key != row.name]
    kept = [line.text.rstrip("\r\n") for line in after.lines if line.key != row.name]
    assert kept == others
    assert parse_params(after.text()).lines == after.lines  # what is written reads back as it is
    assert after.updated({row.name: value}).text() == after.text()


@pytest.mark.parametrize(
    ("line", "change", "expected"),
    [
        ("  pxY\t200;  # GE\r\n", {"px": 100}, "  pxY\t100.0;  # GE\r\n"),
        ("BC 1  2 ; # beam", {"BC": (3, 4.5)}, "BC 3.0 4.5 ; # beam"),
        ("Lsd 1e6 microns # L\n", {"Lsd": 2e6}, "Lsd 2000000.0 microns # L\n"),
        ("Lsd 1e6 # as it was typed\n", {"Lsd": 1000000.0}, "Lsd 1e6 # as it was typed\n"),
        ("Folder /a b/c ; # runs\n", {"Folder": "/d"}, "Folder /d ; # runs\n"),
        ("FileStem a,b,\n", {"FileStem": "c"}, "FileStem c\n"),
        ("ImTransOpt 1 2 # both\n", {"ImTransOpt": [1, 2]}, "ImTransOpt 1 2 # both\n"),
        ("ImTransOpt 1 # a\nImTransOpt 2 # b\n", {"ImTransOpt": [1, 3]}, "ImTransOpt 1 # a\nImTransOpt 3 # b\n"),
        ("ImTransOpt 1 # a\n# z\n", {"ImTransOpt": [2, 3]}, "ImTransOpt 2 # a\nImTransOpt 3\n# z\n"),
        ("pxY 1\npxZ 1\n", {"px": 2}, "pxY 2.0\npxZ 2.0\n"),
        ("# top\r\npx 1", {"Lsd": 5}, "# top\r\npx 1\r\nLsd 5.0\r\n"),
        ("\ufeffpx 1\n", {"px": 2}, "\ufeffpx 2.0\n"),
    ],
)
def test_updates_in_place(line, change, expected):
    assert parse_params(line).updated(change).text() == expected


@pytest.mark.parametrize("name", ["a#b", " a", "a ", "a\nLsd 5", "a;", "", "a\rb"])
def test_what_cannot_stand_in_a_file_is_refused(name):
    with pytest.raises(InputError, match=r"Folder is .*cannot stand in a parameter file"):
        parse_params("").updated({"Folder": name})
    with pytest.raises(InputError, match="cannot stand"):
        parse_params("Folder b # c\n").updated({"Folder": name})


def test_a_form_feed_ends_no_line():
    p = parse_params("# a\x0cpx 100\u2028px 5\npx 200\n")
    assert p.pixel_size == 200.0
    assert len(p.lines) == 2


def test_writing_to_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(OutputError, match="folder does not exist"):
        parse_params("px 1\n").write(tmp_path / "no" / "p.txt")
