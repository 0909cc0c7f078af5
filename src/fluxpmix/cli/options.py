"""Command-line options as data, their parser and their help page.

Used by every subcommand. Not argparse, because `flux run` behaves otherwise (options end at the first
non-option, long options are never abbreviated) and because argparse takes 7 ms to import, a third of the
time that a person waits for the first task.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from fluxpmix.cli.errors import UsageError, nearest
from fluxpmix.pmix.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Option(Record):
    """One option: how it is spelled, what becomes of its value, and its line of help.

    `convert` turns the text into the value and raises ValueError("what is expected instead").
    An option without `metavar` takes no value: it counts, so that -vv is 2.
    """

    names: tuple[str, ...]  # "-n", "--ntasks"; the last is the one that errors name
    metavar: str | None
    help: str | None  # None: understood but not shown
    group: str = "Options"
    convert: Callable[[str], Any] | None = None
    repeats: bool = False  # collect the values in a list, in the order given
    dest: str = ""  # where the value goes; empty: the long name

    @property
    def key(self) -> str:
        """The name of the value among the parsed ones."""
        return self.dest or self.names[-1].lstrip("-")


class Given(Record):
    """One option as it was typed: `words` are its own spelling, `text` its value before conversion."""

    key: str
    text: str
    words: tuple[str, ...]


class Parsed(Record):
    """What `parse` made of a command line."""

    values: Mapping[str, Any]
    given: tuple[Given, ...]
    rest: tuple[str, ...]  # the first non-option and all that follows
    dashes: bool = False  # whether "--" ended the options


def parse(options: Sequence[Option], arguments: Sequence[str], hints: Mapping[str, str] | None = None) -> Parsed:
    """Read options up to the first non-option or "--".

    `hints` are options that do not exist here, each with what to do instead. Raises `UsageError`.
    """
    return _Parser(options, hints or {}).parse(arguments)


class _Parser:
    """The state of one `parse`."""

    def __init__(self, options: Sequence[Option], hints: Mapping[str, str]) -> None:
        self._table = {name: option for option in options for name in option.names}
        self._hints = hints
        self._values: dict[str, Any] = {}
        self._given: list[Given] = []

    def parse(self, arguments: Sequence[str]) -> Parsed:
        at = 0
        while at < len(arguments):
            argument = arguments[at]
            if argument == "--":
                return Parsed(self._values, tuple(self._given), tuple(arguments[at + 1 :]), dashes=True)
            if not argument.startswith("-") or argument == "-":
                break
            take = self._long if argument.startswith("--") else self._short
            at += take(argument, arguments[at + 1 : at + 2])
        return Parsed(self._values, tuple(self._given), tuple(arguments[at:]))

    def _long(self, argument: str, following: Sequence[str]) -> int:
        """Take `--name`, `--name=value` or `--name value`; return how many words that was."""
        name, equals, text = argument.partition("=")
        option = self._find(name)
        if option.metavar is None:
            if equals:
                raise UsageError(f"{name} takes no value, {text!r} was given: write {name} alone")
            self._count(option, argument)
            return 1
        if equals:
            self._store(option, name, text, (argument,))
            return 1
        text = _value(option, name, following)
        self._store(option, name, text, (argument, text))
        return 2

    def _short(self, argument: str, following: Sequence[str]) -> int:
        """Take a cluster such as `-lu`, `-vv`, `-n4` or `-n 4`; return as `_long` does."""
        for at, letter in enumerate(argument[1:], 1):
            name = f"-{letter}"
            option = self._find(name)
            if option.metavar is None:
                self._count(option, name)
                continue
            if text := argument[at + 1 :]:
                self._store(option, name, text, (name + text,))
                return 1
            text = _value(option, name, following)
            self._store(option, name, text, (name, text))
            return 2
        return 1

    def _find(self, name: str) -> Option:
        option = self._table.get(name)
        if option is not None:
            return option
        if name in self._hints:
            raise UsageError(f"{name}: {self._hints[name]}")
        guess = nearest(name, self._table) if name.startswith("--") else ""
        raise UsageError(f"unknown option {name}{guess or '; --help lists the options'}")

    def _count(self, option: Option, word: str) -> None:
        self._values[option.key] = self._values.get(option.key, 0) + 1
        self._given.append(Given(option.key, "", (word,)))

    def _store(self, option: Option, name: str, text: str, words: tuple[str, ...]) -> None:
        try:
            value = option.convert(text) if option.convert else text
        except ValueError as error:
            raise UsageError(f"{name} {text!r}: {error}") from None
        if option.repeats:
            self._values.setdefault(option.key, []).append(value)
        else:
            self._values[option.key] = value
        self._given.append(Given(option.key, text, words))


def _value(option: Option, name: str, following: Sequence[str]) -> str:
    if following and (following[0] == "-" or not following[0].startswith("-")):
        return following[0]
    joined = f"{name}={option.metavar}" if name.startswith("--") else f"{name}{option.metavar}"
    found = f"; for one that starts with a dash write {joined}" if following else ""
    raise UsageError(f"{name} needs a value: {name} {option.metavar}{found}")


def count(text: str) -> int:
    """Convert a number of things, 1 or more."""
    if not (text.isascii() and text.isdigit()) or not text.strip("0"):
        raise ValueError("a whole number, 1 or more, is expected")
    if len(text) > 9:
        raise ValueError("a number below 1000000000 is expected")
    return int(text)


def help_page(usage: str, purpose: str, options: Sequence[Option], tail: str = "") -> str:
    """Return the help: usage, purpose, options by group in the order of the table, and `tail`."""
    lines = [f"usage: {usage}", purpose, ""] if purpose else [f"usage: {usage}", ""]
    group = ""
    for option in options:
        if option.help is None:
            continue
        if option.group != group:
            group = option.group
            lines.append(f"{group}:")
        lines.append(f"  {_spelling(option):<29} {option.help}")
    return "\n".join([*lines, *([tail] if tail else [])])


def _spelling(option: Option) -> str:
    short = [name for name in option.names if not name.startswith("--")]
    long = [name for name in option.names if name.startswith("--")]
    equals = "=" if long else " "
    value = f"{equals}{option.metavar}" if option.metavar else ""
    indent = "" if short else "    "
    return indent + ", ".join([*short, *long]) + value
