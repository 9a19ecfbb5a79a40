"""Two directives: every public name of a module with its docstring, and every captured help text."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList

import midas

HOME = Path(__file__).resolve().parents[1]
GROUPS = ("Functions", "Classes", "Errors", "Values")


def group_of(value: Any) -> str:
    """Return the heading under which a public object stands."""
    if inspect.isclass(value):
        return "Errors" if issubclass(value, Exception) else "Classes"
    return "Functions" if callable(value) else "Values"


def lines_for(module: str) -> list[str]:
    """Return reStructuredText that documents all of a module's `__all__`, by groups, in alphabetical order.

    What `midas` itself offers is documented there alone, and only named elsewhere.
    """
    home = importlib.import_module(module)
    names = sorted(name for name in home.__all__ if not name.startswith("_"))
    known = set(midas.__all__) if module != "midas" else set()
    groups: dict[str, list[str]] = {heading: [] for heading in GROUPS}
    for name in names:
        if name not in known:
            groups[group_of(getattr(home, name))].append(name)
    lines = []
    for heading, members in groups.items():
        if members:
            lines += [f".. rubric:: {heading}", ""]
        for name in members:
            lines += [f".. {_DIRECTIVES[heading]}:: {module}.{name}"]
            lines += ["   :members:", ""] if heading == "Classes" else [""]
    shared = [f":py:obj:`~midas.{name}`" for name in names if name in known]
    return [*lines, f"Also here: {', '.join(shared)}.", ""] if shared else lines


_DIRECTIVES = {"Functions": "autofunction", "Classes": "autoclass", "Errors": "autoexception", "Values": "autodata"}


class PublicNames(Directive):
    """`.. public-names:: midas.cake`."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return what autodoc makes of the names."""
        parent = nodes.Element()
        lines = lines_for(self.arguments[0])
        self.state.nested_parse(StringList(lines, source=self.arguments[0]), self.content_offset, parent)
        return parent.children


class CapturedHelp(Directive):
    """`.. captured-help::`: a section for each file of docs/cli."""

    def run(self) -> list[nodes.Node]:
        """Return the sections, `midas` first."""
        found: list[nodes.Node] = []
        for path in sorted((HOME / "cli").glob("*.txt"), key=lambda p: (p.stem != "midas", p.stem)):
            _, _, text = path.read_text(encoding="utf-8").partition("\n")
            title = "midas" if path.stem == "midas" else f"midas {path.stem.replace('-', ' ')}"
            section = nodes.section(ids=[nodes.make_id(f"help {title}")])
            section += nodes.title(text=title)
            section += nodes.literal_block(text, text, language="none")
            found.append(section)
            self.state.document.settings.env.note_dependency(str(path))
        return found


def escape_bars(app: Any, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Keep reStructuredText from reading |x| as a substitution."""
    lines[:] = [line if line.lstrip().startswith((">>>", "...")) else line.replace("|", r"\|") for line in lines]
    if what in _FIELDS:
        _before_napoleon[name] = list(lines)


def undo_napoleon(app: Any, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Keep napoleon from reading "Shape (n,): ..." of a field as its type."""
    if what in _FIELDS:
        lines[:] = _before_napoleon.pop(name)


_FIELDS = ("attribute", "data", "property")
_before_napoleon: dict[str, list[str]] = {}


def setup(app: Any) -> dict[str, bool]:
    """Register both."""
    app.add_directive("public-names", PublicNames)
    app.add_directive("captured-help", CapturedHelp)
    app.connect("autodoc-process-docstring", escape_bars, priority=100)
    app.connect("autodoc-process-docstring", undo_napoleon, priority=900)
    return {"parallel_read_safe": True}
