"""`_core.pyi` says of the compiled module what is true: the same names, arguments and defaults, in both directions."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import midas
from midas import _core

STUBS = ast.parse((Path(midas.__file__).parent / "_core.pyi").read_text(encoding="utf-8"))
Argument = tuple[str, bool, str | None]
"""Name, whether it is by keyword only, and its default as text."""


def public(thing: object) -> set[str]:
    return {name for name in vars(thing) if not name.startswith("_")}


def stub_names() -> dict[str, ast.AST]:
    """What the stubs declare, but for imports and names of types."""
    found: dict[str, ast.AST] = {}
    for node in STUBS.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[node.target.id] = node
    return found


def stub_arguments(node: ast.FunctionDef) -> list[Argument]:
    spec = node.args
    plain = [*spec.posonlyargs, *spec.args]
    defaults = [None] * (len(plain) - len(spec.defaults)) + list(spec.defaults)
    pairs = [(a, d, False) for a, d in zip(plain, defaults, strict=True)]
    pairs += [(a, d, True) for a, d in zip(spec.kwonlyargs, spec.kw_defaults, strict=True)]
    return [(a.arg, by_keyword, None if d is None else ast.unparse(d)) for a, d, by_keyword in pairs]


def compiled_arguments(function: object) -> list[Argument]:
    """What pybind11 wrote into the first line of a docstring: `name(a: type, *, b: type = 0) -> type`."""
    line = (function.__doc__ or "").strip().splitlines()[0]
    parts, depth, quoted, part = [], 0, False, ""
    for letter in line[line.index("(") + 1 :]:
        quoted ^= letter == '"'
        if not quoted and letter in "([{":
            depth += 1
        elif not quoted and letter in ")]}":
            depth -= 1
        if depth < 0 or (letter == "," and depth == 0 and not quoted):
            parts.append(part.strip())
            part = ""
            if depth < 0:
                break
        else:
            part += letter
    found: list[Argument] = []
    by_keyword = False
    for text in filter(None, parts):
        if text == "*":
            by_keyword = True
            continue
        declared, equals, default = text.partition(" = ")
        found.append((declared.partition(":")[0], by_keyword, default if equals else None))
    return found


def same(stub: list[Argument], compiled: list[Argument]) -> bool:
    """A default that the stubs write as `...` may be any."""
    if [a[:2] for a in stub] != [a[:2] for a in compiled]:
        return False
    for (_, _, said), (_, _, true) in zip(stub, compiled, strict=True):
        if (said is None) != (true is None):
            return False
        if said not in (None, "...") and value(said) != value(true):
            return False
    return True


def value(text: str | None) -> object:
    """The value of a literal; pybind11 writes tuples and C++'s vectors as lists."""
    found = ast.literal_eval(text or "")
    return tuple(found) if isinstance(found, list) else found


FUNCTIONS = [
    pytest.param(node, getattr(_core, name, None), id=name)
    for name, node in stub_names().items()
    if isinstance(node, ast.FunctionDef)
] + [
    pytest.param(method, getattr(getattr(_core, name, None), method.name, None), id=f"{name}.{method.name}")
    for name, node in stub_names().items()
    if isinstance(node, ast.ClassDef)
    for method in node.body
    if isinstance(method, ast.FunctionDef)
    and not any(isinstance(d, ast.Name) and d.id == "property" for d in method.decorator_list)
]


def test_each_name_of_the_module_is_in_the_stubs_and_each_of_the_stubs_in_the_module():
    assert set(stub_names()) == public(_core)


@pytest.mark.parametrize("name", [n for n, node in stub_names().items() if isinstance(node, ast.ClassDef)])
def test_classes_have_the_same_members(name):
    members = {n.name: n for n in stub_names()[name].body if isinstance(n, ast.FunctionDef)}
    assert {n for n in members if not n.startswith("_")} == public(getattr(_core, name))
    properties = {n for n, value in vars(getattr(_core, name)).items() if isinstance(value, property)}
    said = {n for n, node in members.items() if any(ast.unparse(d) == "property" for d in node.decorator_list)}
    assert said == properties
    fixed = {n for n, value in vars(getattr(_core, name)).items() if isinstance(value, staticmethod)}
    assert {n for n, m in members.items() if any(ast.unparse(d) == "staticmethod" for d in m.decorator_list)} == fixed


@pytest.mark.parametrize(("node", "compiled"), FUNCTIONS)
def test_functions_take_the_same_arguments_with_the_same_defaults(node, compiled):
    assert compiled is not None
    true = compiled_arguments(compiled)
    assert same(stub_arguments(node), true), true


def test_a_stub_that_is_wrong_is_found():
    true = compiled_arguments(_core.eta_bins)
    assert true == [("eta_step", False, None)]
    for stub in ("def eta_bins(step: float): ...", "def eta_bins(eta_step: float = 5.0): ...",
                 "def eta_bins(*, eta_step: float): ...", "def eta_bins(): ..."):  # fmt: skip
        assert not same(stub_arguments(ast.parse(stub).body[0]), true)


@pytest.mark.parametrize("name", [n for n, node in stub_names().items() if isinstance(node, ast.AnnAssign)])
def test_constants_are_of_the_type_that_is_said(name):
    said = stub_names()[name].annotation
    plain = said.value if isinstance(said, ast.Subscript) else said
    assert type(getattr(_core, name)).__name__ == plain.id
