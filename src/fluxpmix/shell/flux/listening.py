"""Listening to what a Flux job's tasks print, while a tool or a process wants to hear it.

The output is read from Flux's log of it (`outputlog.py`), which comes late: at the job's end the shell is held until
all of it has been heard, but not for long.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fluxpmix.shell.flux.api import Shell
from fluxpmix.shell.flux.outputlog import OutputLog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_HELD_FOR = "pmix output"  # what the shell is held for
_LAST_WORDS = 3.0  # seconds that what has been printed may take to come back from Flux


class Listening:
    """What stands between a shell and the log of its job's output.

    `heard(rank, stream, data)` gets the output and `numbers` reads the names of tasks in it, as `OutputLog` says;
    `waits()` is whether the shell stays for something else in any case.
    """

    def __init__(
        self,
        api: Shell,
        heard: Callable[[int, int, bytes], None],
        numbers: Callable[[str], Sequence[int]],
        waits: Callable[[], bool],
    ) -> None:
        self._api = api
        self._heard = heard
        self._numbers = numbers
        self._waits = waits
        self._log: OutputLog | None = None  # while somebody listens
        self._timer: Any = None  # while the shell is held for them

    def set(self, on: bool) -> None:
        """Listen, or no longer."""
        if on and self._log is None:
            info = self._api.info()
            job, size = info["jobid"], info["ntasks"]
            self._log = OutputLog(self._api, job, size, self._heard, self._let_go, self._numbers)
        elif not on and self._log is not None:
            self._log.stop()
            self._log = None
            self._let_go()

    def hold(self) -> None:
        """Keep the shell until all that the job has printed is heard, but not for long: Flux logs it with a delay."""
        if self._log is not None and not self._log.complete:
            self._timer = self._api.timer(self._late)
            self._api.set_timer(self._timer, _LAST_WORDS)
            self._api.hold(_HELD_FOR)

    def close(self) -> None:
        """Read no more."""
        if self._log is not None:
            self._log.stop()

    def _late(self) -> None:
        if self._waits():
            self._api.set_timer(self._timer, _LAST_WORDS)
        else:
            self._let_go()

    def _let_go(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            self._api.stop_watching(timer)
            self._api.release(_HELD_FOR)
