"""What the user can mend: errors that become one line on stderr and an exit code, never a traceback.

Raised anywhere in `cli/`, printed by `main.main`. Exit codes, which scripts may rely on: 2 when the command
line itself cannot be read (an unknown option, a value of the wrong form), 1 when it is understood but cannot
be satisfied (too few cores, a file that is not there). `flux run` tells the two apart in the same way.
"""

from __future__ import annotations

from collections.abc import Iterable


class CommandError(Exception):
    """Understood, but it cannot be done: the message names the thing, the value and the remedy."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class UsageError(CommandError):
    """The command line cannot be read."""

    def __init__(self, message: str) -> None:
        super().__init__(message, 2)


def warn(message: str) -> None:
    """Say something on stderr that does not stop the job."""
    import sys

    print(f"flux-pmix: warning: {message}", file=sys.stderr)


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ", did you mean X?" for the known word most like `word`, or an empty string."""
    from difflib import get_close_matches  # 7 ms, and only ever on the way out

    found = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f", did you mean {found[0]}?" if found else ""
