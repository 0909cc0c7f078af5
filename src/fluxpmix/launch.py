"""`fluxpmix.run`: a parallel job from inside a Python program, as `flux-pmix run` starts one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fluxpmix.shell.local.request import Request


def run(command: Sequence[str], /, **options: Any) -> int:
    """Run `command` as a parallel job on this machine and return its exit code.

    Keyword arguments are the long options of `flux-pmix run`, with underscores:
    `run(["./prog", "arg"], ntasks=4, nodes=2, label_io=True, setopt={"exit-timeout": "5s"}, env=["-LD_*"])`.
    True gives an option without a value, a sequence gives one several times, None and False leave it out.
    The tasks write to this process's standard output and error (descriptors 1 and 2), and read its input.

    Raises `ValueError` for options that make no sense, `LaunchError` (from `fluxpmix`) for a job that cannot
    start, whose `exit_code` is the one that `flux-pmix run` would end with, and `LibraryError` where there
    is no libpmix. Ctrl-C interrupts the tasks, and `KeyboardInterrupt` comes when they have ended.
    """
    from fluxpmix.shell.local import apart

    return apart.run(request_for(command, options))


def request_for(command: Sequence[str], options: Mapping[str, Any]) -> Request:
    """Return what `run` asks of a launcher. Raises as it does."""
    from fluxpmix.cli.errors import CommandError, UsageError
    from fluxpmix.cli.run import request
    from fluxpmix.shell.local.request import LaunchError

    if isinstance(command, str):
        raise ValueError(f"command {command!r}: a sequence of words is expected, e.g. [{command!r}]")
    try:
        return request([*_words(options), "--", *command])
    except UsageError as error:
        raise ValueError(str(error)) from None
    except CommandError as error:
        raise LaunchError(str(error), error.exit_code) from None


def _words(options: Mapping[str, Any]) -> list[str]:
    words: list[str] = []
    for name, value in options.items():
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, Mapping):
            value = [f"{key}={each}" for key, each in value.items()]
        many = value if isinstance(value, (list, tuple)) else [value]
        for each in many:
            if each is True:
                words.append(option)
            elif each is not None and each is not False:
                words.append(f"{option}={each}")
    return words
