"""How the tasks of a job ended: what it means to the job's exit code, and the words for it.

`launcher.py` adds each task that counts; tasks have numbers, as in `jobs.py`.
"""

from __future__ import annotations

import os

from fluxpmix.shell.local import tasks


class Ends:
    """Of all tasks that have ended, by number."""

    def __init__(self) -> None:
        self._codes: dict[int, int] = {}  # what its end means to the job's exit code
        self._signals: dict[int, int] = {}  # what killed it

    def __bool__(self) -> bool:
        return bool(self._codes)

    def add(self, number: int, wait_status: int) -> int:
        """Take a task's end, as `waitpid` has it, and return its exit code."""
        code = self._codes[number] = tasks.exit_code(wait_status)
        if os.WIFSIGNALED(wait_status):
            self._signals[number] = os.WTERMSIG(wait_status)
        return code

    def forget(self, number: int) -> None:
        """A task is about to start again: how it ended is nobody's exit code."""
        self._codes.pop(number, None)
        self._signals.pop(number, None)

    def code(self, number: int) -> int:
        """Return a task's exit code."""
        return self._codes[number]

    @property
    def worst(self) -> int:
        """The highest exit code; 1 where no task has ended."""
        return max(self._codes.values(), default=1)

    def with_code(self, code: int) -> list[int]:
        """Return the tasks that had this exit code."""
        return [number for number, each in self._codes.items() if each == code]

    def how(self, number: int, *more: int) -> str:
        """Say how a task ended, and others that ended in the same way."""
        signum = self._signals.get(number)
        if signum is None:
            return f"exited with exit code {self._codes[number]}"
        return f"{'were' if more else 'was'} killed by {signal_name(signum)}"


def signal_name(signum: int) -> str:
    """Return a signal's name and what it is, in words."""
    from signal import Signals, strsignal  # dear, and rarely asked for

    try:
        return f"{Signals(signum).name} ({strsignal(signum)})"
    except ValueError:
        return f"signal {signum}"
