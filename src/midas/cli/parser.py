"""The argument parser of every command: help of one layout, and refusals that name the nearest known word."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

_NUMBER = re.compile(r"-(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$", re.IGNORECASE)


class _HelpFormatter(argparse.HelpFormatter):
    """Texts filled as argparse does, but by lines of their own; the value of an option said once, after its names."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(argparse.HelpFormatter._fill_text(self, line, width, indent) for line in text.split("\n"))

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        value = self._format_args(action, self._get_default_metavar_for_optional(action))
        return f"{', '.join(action.option_strings)} {value}"


class CommandParser(argparse.ArgumentParser):
    """A parser that takes no abbreviations and refuses in one sentence.

    Options are known by their whole names: `-out x` is refused, where argparse would read `-o ut` and lose the x.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        options.setdefault("formatter_class", _HelpFormatter)
        super().__init__(*args, **{**options, "allow_abbrev": False})
        self._negative_number_matcher = _NUMBER  # argparse's takes -1e-3 for an option

    def error(self, message: str) -> NoReturn:
        """End the program with one sentence and where to read on."""
        see = " See" if message.endswith("?") else "; see"
        self.exit(2, f"{self.prog}: {message}{see} {self.prog} --help\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as argparse does, after options that are not known have been refused."""
        if args is not None:
            self._refuse_unknown(list(args))
        return super().parse_known_args(args, namespace)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse all words; those that nothing takes are refused by name."""
        found, more = self.parse_known_args(args, namespace)
        if more:
            named = f"{self.prog} {found.command}" if getattr(found, "command", None) else self.prog
            words = " ".join(more)
            self.exit(2, f"{named}: nothing takes {words}; leave it out, or see {named} --help\n")
        return found

    def _refuse_unknown(self, words: Sequence[str]) -> None:
        known = [name for action in self._actions for name in action.option_strings]
        commands = {word for a in self._actions if isinstance(a, argparse._SubParsersAction) for word in a.choices}
        for word in words:
            if word == "--" or word in commands:
                return  # the rest is not ours
            name = word.partition("=")[0]
            if not word.startswith("-") or word == "-" or " " in word or _NUMBER.match(word) or name in known:
                continue
            self.error(f"there is no option {name}{did_you_mean(name, known)}")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        known = [str(choice) for choice in action.choices]
        near = did_you_mean(str(value), known)
        if isinstance(action, argparse._SubParsersAction):
            listed = "" if near else f"; there are {', '.join(known)}"
            self.error(f"there is no {str(action.metavar or 'command').lower()} {value!r}{near}{listed}")
        raise argparse.ArgumentError(action, f"{value!r} is not known; expected {' or '.join(known)}{near}")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a question that names the nearest known word, or nothing.

    Dashes and capitals are of no account: --datafn is near -dataFN.

    Examples
    --------
    >>> did_you_mean("--datafn", ["-dataFN", "-dataLoc"])
    '; did you mean -dataFN?'
    >>> did_you_mean("--colour", ["-dataFN"])
    ''
    """
    plain = {_plain(name): name for name in known if len(name) > 2 or len(word) <= 2}
    near = difflib.get_close_matches(_plain(word), plain, n=1, cutoff=0.6)
    if not near:
        near = [name for name in plain if name and len(_plain(word)) > 2 and name.startswith(_plain(word))][:1]
    return f"; did you mean {plain[near[0]]}?" if near else ""


def _plain(word: str) -> str:
    return word.lower().replace("-", "")
