"""`midas completion`: a script, made from the parsers, with which a shell completes commands, options and choices.

The script is static: completing starts no Python and needs no package. File names are left to the shell.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field

_WHERE = {
    "bash": "midas completion bash > ~/.local/share/bash-completion/completions/midas",
    "zsh": "midas completion zsh > ~/.midas.zsh; echo source ~/.midas.zsh >> ~/.zshrc",
    "fish": "midas completion fish > ~/.config/fish/completions/midas.fish",
}
"""How each shell is told, once."""


@dataclass(frozen=True)
class _Option:
    """An option, or a positional argument without names."""

    names: tuple[str, ...]
    help: str
    takes_value: bool
    choices: tuple[str, ...]


@dataclass(frozen=True)
class _Command:
    """A command, or what may be said before one."""

    words: tuple[str, ...]
    options: tuple[_Option, ...]
    actions: dict[str, str] = field(default_factory=dict)
    """The commands that may follow, and what they do."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "completion",
        help="print what makes a shell complete commands and options",
        description="Print a script with which a shell completes the commands, options and choices of midas when Tab "
        "is pressed. Make it anew after an update.",
        usage="%(prog)s {bash,zsh,fish}",
        epilog="Once, for new shells:\n" + "\n".join(f"  {shell}: {line}" for shell, line in _WHERE.items()),
    )
    parser.add_argument_group("shell").add_argument("shell", choices=tuple(_WHERE), help="bash, zsh or fish")


def run(args: argparse.Namespace) -> int:
    """Print the script and return the exit status."""
    print({"bash": bash_script, "zsh": zsh_script, "fish": fish_script}[args.shell](), end="")
    return 0


def bash_script() -> str:
    """Return a script for bash: words known to the parsers, and file names wherever anything else is meant."""
    commands = list(_commands())
    follow, offered, chosen = [], [], []
    for command in commands:
        name = " ".join(command.words)
        follow += [
            f"      '{name}:{word}') command='{' '.join((*command.words, word))}' ;;" for word in command.actions
        ]
        options = " ".join(name for option in command.options for name in option.names)
        offered.append(
            f"    '{name}') options={shlex.quote(options)} actions={shlex.quote(' '.join(command.actions))} ;;"
        )
        for option in command.options:
            if option.choices:
                names = "|".join(f"'{name}:{n}'" for n in option.names) or f"'{name}:'"
                chosen.append(f"    {names}) choices={shlex.quote(' '.join(option.choices))} ;;")
    return _BASH.format(follow="\n".join(follow), offered="\n".join(offered), chosen="\n".join(chosen))


def zsh_script() -> str:
    """Return a script for zsh, which takes bash's."""
    return "autoload -U +X compinit && compinit -u\nautoload -U +X bashcompinit && bashcompinit\n" + bash_script()


def fish_script() -> str:
    """Return a script for fish, which shows what each option is for."""
    lines = ["# Made by midas completion fish."]
    for command in _commands():
        here = _fish_condition(command)
        for word, what in command.actions.items():
            lines.append(f"complete -c midas -n {here} -f -a {word} -d {_fish_quoted(what)}")
        for option in command.options:
            flags = " ".join(
                f"-l {name[2:]}" if name.startswith("--") else f"-{'s' if len(name) == 2 else 'o'} {name[1:]}"
                for name in option.names
            )
            value = f" -x -a {_fish_quoted(' '.join(option.choices))}" if option.choices else " -r"
            lines.append(
                f"complete -c midas -n {here} {flags}{value if option.takes_value else ''} "
                f"-d {_fish_quoted(option.help)}".replace("  ", " ")
            )
    return "\n".join([*lines, ""])


def _fish_condition(command: _Command) -> str:
    if not command.words:
        return _fish_quoted("__fish_use_subcommand")
    seen = [f"__fish_seen_subcommand_from {word}" for word in command.words]
    unseen = [f"not __fish_seen_subcommand_from {' '.join(command.actions)}"] if command.actions else []
    return _fish_quoted("; and ".join([*seen, *unseen]))


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _commands() -> Iterator[_Command]:
    """Yield the program itself, then each command and the actions of commands."""
    from midas.calibration.options import AUTO
    from midas.cli import build_parser
    from midas.crystal.calibrants import CALIBRANT_NAMES

    waiting: list[tuple[tuple[str, ...], argparse.ArgumentParser]] = [((), build_parser())]
    while waiting:
        words, parser = waiting.pop(0)
        options, actions = [], {}
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                actions = {a.dest: _short(a.help) for a in action._choices_actions}
                waiting += [((*words, word), action.choices[word]) for word in actions]
            elif action.help != argparse.SUPPRESS:
                names = tuple(action.option_strings)
                known = (*CALIBRANT_NAMES, AUTO) if "--calibrant" in names else ()
                choices = tuple(str(choice) for choice in action.choices or known)
                if names or choices:
                    options.append(_Option(names, _short(action.help), action.nargs != 0, choices))
        yield _Command(words, tuple(options), actions)


def _short(text: str | None) -> str:
    """Return the first clause of a help text."""
    return (text or "").replace("%(default)s", "").split(" (default")[0].split(";")[0].strip()


_BASH = r"""# Made by midas completion.
_midas() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}"
  local command="" options="" actions="" choices="" i
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "$command:${{COMP_WORDS[i]}}" in
{follow}
    esac
  done
  case "$command" in
{offered}
  esac
  case "$before" in -*) ;; *) before="" ;; esac
  case "$command:$before" in
{chosen}
  esac
  COMPREPLY=()
  case "$current" in
    -*) COMPREPLY=($(compgen -W "$options" -- "$current")) ;;
    *) if [ -n "$choices" ]; then
         COMPREPLY=($(compgen -W "$choices" -- "$current"))
       elif [ -z "$before" ] && [ -n "$actions" ]; then
         COMPREPLY=($(compgen -W "$actions" -- "$current"))
       fi ;;
  esac
}}
complete -o bashdefault -o default -F _midas midas
"""
