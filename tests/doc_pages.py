"""Runs the examples of a page of docs: its commands, its Python, and what they print.

A page is read from top to bottom in one empty folder and one namespace.

- ``bash``: calls of midas, run in this process; each has to end with exit status 0.
- ``python``: executed.
- ``text`` right after one of these: what it prints on standard output. ``...`` stands for anything; a number may differ
  by two in its last digit.
- ``sh``: calls of midas that are only parsed, between other words of the shell that are not looked at.

A comment before a block says more: ``<!-- exit status 1 -->``, ``<!-- file: name -->`` (the block is written to that
file), ``<!-- needs GSAS-II -->``, ``<!-- not run -->``.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from midas.cli import build_parser, main

DOCS = Path(__file__).resolve().parents[1] / "docs"
_BLOCK = re.compile(
    r"(?:^<!-- (?P<comment>[^\n]*?) -->\n+)?^```(?P<kind>[\w-]+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)
_NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?(?![\w.]*\w)")
_COMMENTS = re.compile(r"exit status \d|file: \S+|needs GSAS-II|not run")
_VOLATILE = (
    (r"(iterations, )[\d.]+ s$", r"\1... s"),
    (r"^(  wrote \S+, ).*$", r"\1..."),
    (r"( frames? in )[\d.]+ s$", r"\1... s"),
)
ENGINE = "needs GSAS-II"


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    kind: str
    code: str
    comment: str
    line: int
    """Where its code begins."""
    start: int
    """Of its code, in the page's text."""
    printed: Block | None = None
    """The ``text`` block right after it."""


def blocks_of(text: str) -> list[Block]:
    """Return the blocks that are run or parsed, in order."""
    found: list[Block] = []
    end = 0
    for match in _BLOCK.finditer(text):
        kind, code, comment = match["kind"], match["code"], match["comment"] or ""
        start = match.start("code")
        block = Block(kind, code, comment, text.count("\n", 0, start) + 1, start)
        follows = not text[end : match.start()].strip()
        if kind == "text" and found and follows and found[-1].kind in ("bash", "python") and not comment:
            last = found[-1]
            found[-1] = Block(last.kind, last.code, last.comment, last.line, last.start, block)
        elif kind in ("bash", "python", "sh") or comment.startswith("file:"):
            found.append(block)
        end = match.end()
    return found


def commands_of(code: str) -> Iterator[list[str]]:
    """Yield the words of every call of midas, without the program's name."""
    for line in code.replace("\\\n", " ").splitlines():
        for call in re.split(r"&&|;|\|", line):
            try:
                words = shlex.split(re.sub(r"\$\w+", "4", call), comments=True)  # what the shell would put there
            except ValueError:
                continue
            if words and Path(words[0]).name == "midas":
                yield words[1:]


class PageRun:
    """Runs a page in the present folder."""

    def __init__(self, path: Path, *, engine: bool, write: bool = False) -> None:
        self.path, self.engine, self.write = path, engine, write
        self.text = path.read_text(encoding="utf-8")
        self.names: dict[str, object] = {"__name__": "__main__"}
        self.left_out = 0
        self.problems: list[str] = []

    def run(self) -> None:
        """Run every block; what is printed otherwise than the page says is in `problems`, or written to the page."""
        try:
            self._run_all()
        finally:
            if self.write:
                self.path.write_text(self.text, encoding="utf-8")

    def _run_all(self) -> None:
        shift = 0
        for block in blocks_of(self.text):
            where = f"{self.path.name}, line {block.line}"
            assert not block.comment or _COMMENTS.fullmatch(block.comment), f"{where}: comment {block.comment!r}"
            if block.comment.startswith("file:"):
                Path(block.comment.partition(": ")[2]).write_text(block.code, encoding="utf-8")
            elif block.comment == "not run" and block.kind == "python":
                compile(block.code, where, "exec")
            elif block.kind == "sh" or block.comment == "not run":
                for words in commands_of(block.code):
                    build_parser(words[0]).parse_args(words)
            elif block.comment == ENGINE and not self.engine:
                self.left_out += 1
            else:
                printed = self._run(block, where)
                if block.printed is not None and not same_text(printed, block.printed.code):
                    self.problems.append(f"{where} prints\n{printed}\nnot\n{block.printed.code}")
                    if self.write:
                        shift += self._replace(block.printed, printed, shift)

    def _run(self, block: Block, where: str) -> str:
        stream = io.StringIO()
        with contextlib.redirect_stdout(stream):
            if block.kind == "python":
                exec(compile("\n" * (block.line - 1) + block.code, str(self.path), "exec"), self.names)
            else:
                wanted = int(block.comment.rpartition(" ")[2]) if block.comment.startswith("exit") else 0
                calls = list(commands_of(block.code))
                lines = [line for line in block.code.replace("\\\n", " ").splitlines() if line.strip()]
                assert len(calls) == len(lines), f"{where}: only calls of midas are run, one on a line"
                for words in calls:
                    status = main(words)
                    assert status == wanted, f"{where}: midas {shlex.join(words)} ends with {status}, not {wanted}"
        return "".join(f"{line.rstrip()}\n" for line in stream.getvalue().splitlines())

    def _replace(self, block: Block, printed: str, shift: int) -> int:
        """Put what was printed into the page, without what changes from run to run; return how much longer it is."""
        for pattern, text in _VOLATILE:
            printed = re.sub(pattern, text, printed, flags=re.MULTILINE)
        start = block.start + shift
        self.text = self.text[:start] + printed + self.text[start + len(block.code) :]
        return len(printed) - len(block.code)


def same_text(printed: str, expected: str) -> bool:
    """Return whether texts agree: ``...`` is anything, numbers may differ by two in the last digit written.

    >>> same_text("a 1.234 in 3 s", "a 1.235 in ...")
    True
    >>> same_text("a 1.234", "a 1.27")
    False
    """
    pattern, numbers = "", []
    for k, part in enumerate(expected.rstrip("\n").split("...")):
        pattern += ".*?" if k else ""
        end = 0
        for match in _NUMBER.finditer(part):
            pattern += re.escape(part[end : match.start()]) + f"({_NUMBER.pattern})"
            numbers.append(match[0])
            end = match.end()
        pattern += re.escape(part[end:])
    pattern = re.sub(r"(?:\\ )+", r"\\ +", pattern)  # columns may be a digit wider
    found = re.fullmatch(pattern, printed.rstrip("\n"), re.DOTALL)
    return found is not None and all(_near(a, b) for a, b in zip(found.groups(), numbers, strict=True))


def _near(value: str, written: str) -> bool:
    if value == written:
        return True
    mantissa, _, exponent = written.partition("e")
    digits = len(mantissa.partition(".")[2])
    step = 10.0 ** (int(exponent or 0) - digits)
    return bool(digits) and abs(float(value) - float(written)) < 2.5 * step
