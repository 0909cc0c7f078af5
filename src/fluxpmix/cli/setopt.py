"""`-o/--setopt KEY[=VAL]`: which shell options there are on one machine, and what their values may be.

One line an option; `run.py` reads the result. `flux run` passes over options that it does not know; here
a name that nobody reads is refused, because it is nearly always a slip that changes what runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from fluxpmix.cli.errors import UsageError, nearest
from fluxpmix.job.duration import alert, operation_limit, timeout
from fluxpmix.pmix.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


_SWITCH = {"on": True, "true": True, "yes": True, "off": False, "false": False, "no": False}


def _switch(value: Any) -> bool:
    if isinstance(value, (bool, int)) and value in (0, 1):
        return bool(value)
    if isinstance(value, str) and value.lower() in _SWITCH:
        return _SWITCH[value.lower()]
    raise ValueError("on or off is expected")


def _level(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 3:
        return value
    raise ValueError("a level from 0 to 3 is expected")


def _pmi(value: Any) -> str:
    if isinstance(value, str) and "pmix" in value.split(","):
        return value
    raise ValueError("pmix is the only PMI that a job gets here; leave the option out or write pmi=pmix")


def _text(value: Any) -> str:
    if isinstance(value, str) and value and "\0" not in value:
        return value
    raise ValueError("a name is expected")


def _timeout(value: Any) -> float | None:
    return timeout(str(value))


def _output_mode(value: Any) -> str:
    if value in ("truncate", "append"):
        return str(value)
    raise ValueError("truncate or append is expected")


def _affinity(value: Any) -> str:
    from fluxpmix.job import idset

    if value in (0, 1):  # and so true and false
        return "on" if value else "off"
    if value in ("on", "off", "per-task"):
        return str(value)
    if isinstance(value, str) and value.startswith("map:") and value != "map:":
        if not all(idset.parse(cores) for cores in value[4:].split(";")):
            raise ValueError("a task needs a core: map:0-1;2-3 gives the first local task 0 and 1, the second 2 and 3")
        return value
    raise ValueError("on, off, per-task or map:0-1;2-3 (the cores of each local task) is expected")


def _security(value: Any) -> str:
    if value in ("native", "munge"):
        return str(value)
    raise ValueError("native or munge is expected")


def _fanout(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 2 <= value <= 65536:
        return value
    raise ValueError("a whole number from 2 to 65536 is expected")


def _exchange(value: Any) -> str:
    if value in ("auto", "tree", "bruck"):
        return str(value)
    raise ValueError("auto, tree or bruck is expected")


def _ranks(value: Any) -> tuple[int, ...]:
    from fluxpmix.job import idset

    if isinstance(value, list) and all(type(rank) is int for rank in value):
        value = ",".join(map(str, value))
    return idset.parse(str(value))


def _stop(value: Any) -> str:
    if value in ("exec", "init", "app"):
        return str(value)
    raise ValueError("exec, init or app is expected: where tasks wait for a debugger")


class ShellOption(Record):
    """One option: its dotted name, how its value is checked, and a line of help."""

    name: str
    check: Callable[[Any], Any]
    help: str


SHELL_OPTIONS = (
    ShellOption("pmi", _pmi, "LIST: PMI services, among which pmix (default pmix)"),
    ShellOption("mpi", _text, "NAME: programming model, told to libpmix, e.g. ompi"),
    ShellOption("verbose", _level, "0 to 3: what the job's shells say on stderr"),
    ShellOption("cpu-affinity", _affinity, "on, off, per-task, map:0-1;2-3 (default off)"),
    ShellOption("exit-timeout", _timeout, "FSD or none: how long the rest may outlive the first task (30s)"),
    ShellOption("exit-on-error", _switch, "end the job at once when a task fails"),
    ShellOption("nosetpgrp", _switch, "leave tasks in the job shell's process group"),
    ShellOption("output.mode", _output_mode, "truncate or append: how output files are opened"),
    ShellOption("oversubscribe", _switch, "on or off: whether tasks may share cores (default on)"),
    ShellOption("libpmix", _text, "PATH: the libpmix to use"),
    ShellOption("pmix.alert", alert, "FSD or off: tell PMIx clients that long before the time limit (default 60s)"),
    ShellOption("pmix.exchange", _exchange, "tree, bruck, or auto by size: how fences with data move (default tree)"),
    ShellOption("pmix.fanout", _fanout, "N: children of a node of the tree over the shells (default 16)"),
    ShellOption("pmix.pset.NAME", _ranks, "RANKS: a process set, e.g. pmix.pset.left=0-3"),
    ShellOption("pmix.stop", _stop, "exec, init or app: where tasks wait for a debugger"),
    ShellOption("pmix.timeout", operation_limit, "FSD or none: limit of an operation that sets none (default none)"),
    ShellOption("security", _security, "native or munge: how clients prove who they are"),
)
SET = "pmix.pset."  # what follows is the name of a process set
_BY_NAME = {option.name: option for option in SHELL_OPTIONS}


def assign(settings: Iterable[str]) -> dict[str, Any]:
    """Read `KEY[=VAL]` settings in order, the last of a key wins. Returns checked values by dotted key.

    Raises UsageError that names the setting and the remedy.
    """
    options: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        option = _BY_NAME.get(f"{SET}NAME" if key.startswith(SET) and key != SET else key)
        if option is None:
            guess = nearest(key, _BY_NAME)
            raise UsageError(
                f"-o {setting}: no shell option is called {key!r}{guess or '; there are ' + ', '.join(_BY_NAME)}"
            )
        try:
            options[key] = option.check(value(text) if equals else 1)
        except ValueError as error:
            raise UsageError(f"-o {setting}: {error}") from None
    return options


def help_text() -> str:
    """Return the list that `-o help` prints."""
    return "\n".join(["Shell options (-o NAME=VALUE):", *(f"  {each.name:<14} {each.help}" for each in SHELL_OPTIONS)])


def value(text: str) -> Any:
    """Return a setting's value: JSON where the text is JSON, else the text."""
    if text.isascii() and text.isdigit() and len(text) < 19 and (text == "0" or text[0] != "0"):
        return int(text)
    if text[:1] not in '{["-' and text not in ("true", "false", "null") and not text[:1].isdigit():
        return text  # no JSON starts so: spares everybody the import
    import json

    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
