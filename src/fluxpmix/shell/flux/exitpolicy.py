"""What the end of a spawned task does to the job: flux-shell's exit-timeout and exit-on-error, for spawned jobs.

flux-shell applies them to the tasks that it started itself; `spawned.py` has this for those that it did not. A spawned
job has so long for all its tasks to end after the first of them has, on whichever node.
"""

from __future__ import annotations

from fluxpmix.job import duration
from fluxpmix.pmix.light import partial
from fluxpmix.shell.flux.api import Shell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_DEFAULT = 30.0  # seconds, flux-shell's


class ExitPolicy:
    """Ends the job where its options say so; one for all spawned jobs of a shell."""

    def __init__(self, api: Shell) -> None:
        self._api = api
        self._at_once = bool(api.option("exit-on-error"))
        given = api.option("exit-timeout")
        # What cannot be read flux-shell has refused.
        self._seconds = _DEFAULT if given is None else duration.timeout(str(given))
        self._timers: dict[int, Any] = {}  # by job: its first number

    def task_ended(self, first: int, how: str, code: int) -> None:
        """A task of the job with that first number has ended; `how` says which task, and how."""
        if code and self._at_once:
            self._api.end_job(f"{how}, and -o exit-on-error ends the job", code)
        elif self._seconds is not None and first not in self._timers:
            text = f"{how} {self._seconds:g} s ago, but others of its job still run; -o exit-timeout=none would wait"
            self._timers[first] = self._api.timer(partial(self._api.end_job, text, code or 1))
            self._api.set_timer(self._timers[first], self._seconds)

    def job_ended(self, first: int) -> None:
        """All tasks of that job have ended, on all nodes."""
        timer = self._timers.pop(first, None)
        if timer is not None:
            self._api.stop_watching(timer)

    def close(self) -> None:
        """Nothing follows any more."""
        for first in list(self._timers):
            self.job_ended(first)
