"""Listening to what a Flux job's tasks print, while a tool or a process wants to hear it.

The output is read from Flux's log of it (`outputlog.py`), which comes late: at the job's end the shell is held until
all of it has been heard, or for some seconds nothing has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fluxpmix.host.effects import Level
from fluxpmix.job import idset
from fluxpmix.shell.flux.api import Shell
from fluxpmix.shell.flux.outputlog import COMPLETE, OutputLog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fluxpmix.shell.base import Driver

_HELD_FOR = "pmix output"  # what the shell is held for
_LAST_WORDS = 3.0  # seconds between looks at whether what has been printed comes back from Flux
_SILENCE = 3  # looks at which nothing had come, and then nothing will
_STREAMS = (1, 2)


class Listening:
    """What stands between a shell and the log of its job's output.

    `driver` is given the output; `waits()` is whether the shell stays for something else in any case.
    """

    def __init__(self, api: Shell, driver: Driver, waits: Callable[[], bool]) -> None:
        self._api = api
        self._driver = driver
        self._waits = waits
        self._log: OutputLog | None = None  # while somebody listens
        self._left: set[tuple[int, int]] = set()  # the job's own tasks' streams that have not ended
        self._ended: set[tuple[int, int]] = set()  # those of spawned tasks that have
        self._timer: Any = None  # while the shell is held for them
        self._pieces = 0  # that have come since it was last looked
        self._silent = 0  # looks at which none had

    def set(self, on: bool) -> None:
        """Listen, or no longer."""
        if on and self._log is None:
            info = self._api.info()
            own = self._numbers(idset.encode(range(info["ntasks"])))
            self._left = {(number, stream) for number in own for stream in _STREAMS}
            self._ended.clear()
            self._log = OutputLog(self._api, info["jobid"], self._heard, self._redirected, self._over)
        elif not on and self._log is not None:
            self._log.stop()
            self._log = None
            self._let_go()

    def hold(self) -> None:
        """Keep the shell until all that the job has printed is heard, or no more comes: Flux logs it with a delay."""
        if self._log is not None and not self._complete:
            self._timer = self._api.timer(self._late)
            self._api.set_timer(self._timer, _LAST_WORDS)
            self._api.hold(_HELD_FOR)

    def close(self) -> None:
        """Read no more."""
        if self._log is not None:
            self._log.stop()

    @property
    def _complete(self) -> bool:
        """Whether there is no more to come, of spawned jobs either."""
        return not self._left and all(
            (number, stream) in self._ended for number in self._driver.spawned() for stream in _STREAMS
        )

    def _numbers(self, names: str) -> Sequence[int]:
        return self._driver.numbers(names)

    def _heard(self, names: str, stream: int, data: bytes) -> None:
        self._pieces += 1
        for number in self._numbers(names):
            self._driver.task_output(number, stream, data)
            if not data:
                self._end(number, stream)

    def _redirected(self, names: str, stream: int, path: str) -> None:
        what = "stdout" if stream == 1 else "stderr"
        self._api.log(Level.NOTICE, f"{what} goes to {path}: tools do not see it")
        for number in self._numbers(names):
            self._end(number, stream)

    def _end(self, number: int, stream: int) -> None:
        if (number, stream) in self._left:
            self._left.discard((number, stream))
        else:
            self._ended.add((number, stream))
        if self._timer is not None and self._complete:
            self._let_go()

    def _over(self, code: int) -> None:
        if code != COMPLETE:
            self._api.log(Level.WARNING, f"the job's output cannot be read for tools: error {code}")
        self._left.clear()
        self._let_go()

    def _late(self) -> None:
        """Stay while there may be more: as long as something comes, or somebody prints."""
        self._silent = 0 if self._pieces or self._waits() else self._silent + 1
        self._pieces = 0
        if self._silent < _SILENCE:
            self._api.set_timer(self._timer, _LAST_WORDS)
        else:
            self._let_go()

    def _let_go(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            self._api.stop_watching(timer)
            self._api.release(_HELD_FOR)
