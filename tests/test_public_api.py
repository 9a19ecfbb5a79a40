"""Everything in `midas.__all__` says what it is: meaning, shapes, errors and an example that runs."""

from __future__ import annotations

import ast
import dataclasses
import doctest
import inspect
import re
import textwrap
import time

import pytest

import midas
import midas.testing

NAMES = [name for name in midas.__all__ if name != "__version__"]
PUBLIC = [pytest.param(getattr(midas, name), id=name) for name in NAMES]
PUBLIC += [pytest.param(getattr(midas.testing, name), id=f"testing.{name}") for name in midas.testing.__all__]
PUBLIC = [param for param in PUBLIC if callable(param.values[0])]


def is_error(thing: object) -> bool:
    return isinstance(thing, type) and issubclass(thing, Exception)


FUNCTIONS = [param for param in PUBLIC if inspect.isfunction(param.values[0])]
CLASSES = [param for param in PUBLIC if dataclasses.is_dataclass(param.values[0])]
WITH_EXAMPLE = [param for param in PUBLIC if not is_error(param.values[0])]
WITH_PHYSICS = ["Corrections", "Geometry", "PeakProfile", "RobustOptions", "calibrate", "calibrant", "simulate",
                "fit_peaks", "integrate", "rings", "build_map"]  # fmt: skip
"""What rests on formulas, whose docstring says where from."""


def sections(thing: object) -> dict[str, str]:
    """The sections of a NumPy docstring by their titles; the first is ''."""
    parts = re.split(r"^(\w[\w ]*)\n-+\n", inspect.getdoc(thing) or "", flags=re.MULTILINE)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def field_texts(kind: type) -> dict[str, str]:
    """What stands under each field of a class, and of those it inherits from."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__[:-1]):
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0].body
        for line, below in zip(body, [*body[1:], None], strict=True):
            if isinstance(line, ast.AnnAssign) and isinstance(below, ast.Expr):
                found[line.target.id] = ast.literal_eval(below.value) if isinstance(below.value, ast.Constant) else ""
    return found


def test_the_list_is_short_sorted_and_whole():
    assert sorted(midas.__all__) == midas.__all__
    assert len(midas.__all__) <= 60
    assert len(set(midas.__all__)) == len(midas.__all__)


@pytest.mark.parametrize("thing", PUBLIC)
def test_it_begins_with_a_sentence(thing):
    first = sections(thing)[""].partition("\n")[0]
    assert re.match(r"[A-Z`2].*", first), first
    assert re.search(r"[.:;,\w]$", first)
    paragraph = sections(thing)[""].split("\n\n")[0]
    assert paragraph.rstrip().endswith("."), paragraph


@pytest.mark.parametrize("thing", FUNCTIONS)
def test_a_function_explains_each_argument_and_its_errors(thing):
    said, signature = sections(thing), inspect.signature(thing)
    assert signature.return_annotation is not inspect.Signature.empty
    for name, parameter in signature.parameters.items():
        assert parameter.annotation is not inspect.Parameter.empty, name
    if "Parameters" in said:
        named = {n for line in re.findall(r"^(\w[\w, ]*)$", said["Parameters"], re.MULTILINE) for n in line.split(", ")}
        assert named == set(signature.parameters)
    else:
        missing = [n for n in signature.parameters if not re.search(rf"\b{n}s?\b|\b{n.split('_')[-1]}\b", said[""])]
        assert not missing, missing
    if thing.__name__ != "geometry_pulls":
        assert re.search(r"^\w+Error", said.get("Raises", ""), re.MULTILINE), "it has no section Raises"


@pytest.mark.parametrize("kind", CLASSES)
def test_a_class_explains_each_field_and_the_shape_of_each_array(kind):
    below, above = field_texts(kind), sections(kind).get("Parameters", "")
    of_all = sections(kind)[""]
    for field in dataclasses.fields(kind):
        if field.name.startswith("_") or (not field.repr and field.name in ("core", "layout")):
            continue
        text = below.get(field.name, "")
        if not text and field.name.endswith("_sigma") and "(`_sigma`)" in of_all:
            continue
        if not text:
            match = re.search(rf"^{field.name}\n((?:    .*\n?)+)", above, re.MULTILINE)
            assert match, f"{field.name} is explained neither under it nor in Parameters"
            text = match[1]
        if re.search(r"NDArray|\w+Array\b", str(field.type)):
            assert re.search(r"[Ss]hape|[Aa]s `", text) or "Arrays have shape" in of_all, (
                f"{field.name}: an array without its shape"
            )


@pytest.mark.parametrize("name", WITH_PHYSICS)
def test_what_rests_on_formulas_names_their_source(name):
    text = inspect.getdoc(getattr(midas, name))
    assert re.search(r"J\. |\(19\d\d\)|\(20\d\d\)|International Tables|certificate|\w+\.hpp", text)


@pytest.mark.parametrize("thing", WITH_EXAMPLE)
def test_its_example_runs_in_a_second(thing, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    finder = doctest.DocTestFinder(recurse=False, exclude_empty=True)
    module = inspect.getmodule(thing)
    tests = [t for t in finder.find(thing, thing.__name__, module=module, globs=dict(vars(module))) if t.examples]
    assert tests, "it has no example"
    (test,) = tests
    assert any(not e.options.get(doctest.SKIP) for e in test.examples), "its example does not run"
    said: list[str] = []
    start = time.process_time()
    doctest.DocTestRunner(verbose=False).run(test, out=said.append)
    seconds = time.process_time() - start
    assert not said, "".join(said)
    assert seconds < 5.0  # a second, on a machine that is not busy and has all packages loaded
