"""What a Flux job's tasks print, read from the log that Flux keeps of it: for tools that pull output.

flux-shell lets one reader alone have a task's output, its own output plugin, which writes it to the job's log
`guest.output` (RFC 24) every half second. `plugin.py` has this read it while somebody listens, from its beginning,
so that one who comes late misses nothing. What a job prints to files (--output) is not there: that is said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fluxpmix.host.effects import Level
from fluxpmix.shell.flux.api import Shell
from fluxpmix.shell.flux.eventlog import EventLog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_STREAMS = {"stdout": 1, "stderr": 2}
_NO_DATA = 61  # ENODATA: the log is complete


class OutputLog:
    """The output of a job of `size` tasks; `heard(rank, stream, data)` gets it, empty data at a stream's end.

    `over()` is called once, when all streams have ended. `numbers` reads the names of tasks in the log.
    """

    def __init__(
        self,
        api: Shell,
        job: int,
        size: int,
        heard: Callable[[int, int, bytes], None],
        over: Callable[[], None],
        numbers: Callable[[str], Sequence[int]],
    ) -> None:
        self._api = api
        self._heard = heard
        self._over = over
        self._numbers = numbers
        self._left = {(number, stream) for number in numbers(f"0-{size - 1}") for stream in _STREAMS.values()}
        self._log = EventLog(api, job, b"guest.output", self._event, self._failed)

    @property
    def complete(self) -> bool:
        """Whether there is no more to come."""
        return not self._left

    def stop(self) -> None:
        """Read no more."""
        self._log.stop()

    def _event(self, name: str, context: dict[str, Any]) -> None:
        if name == "data":
            self._data(context)
        elif name == "redirect":
            path = context.get("path", "a file")
            self._api.log(Level.NOTICE, f"{context.get('stream')} goes to {path}: tools do not see it")
            for rank in self._numbers(str(context.get("rank", ""))):
                self._end(rank, _STREAMS.get(context.get("stream", ""), 0))

    def _data(self, context: dict[str, Any]) -> None:
        stream = _STREAMS.get(context.get("stream", ""))
        if stream is None:
            return
        text = context.get("data", "")
        if context.get("encoding") == "base64":
            from binascii import a2b_base64

            data = a2b_base64(text)
        else:
            data = text.encode("utf-8", "surrogateescape")
        for rank in self._numbers(str(context.get("rank", ""))):
            if data:
                self._heard(rank, stream, data)
            if context.get("eof"):
                self._heard(rank, stream, b"")
                self._end(rank, stream)

    def _end(self, rank: int, stream: int) -> None:
        self._left.discard((rank, stream))
        if not self._left:
            self._over()

    def _failed(self, code: int) -> None:
        if code != _NO_DATA:
            self._api.log(Level.WARNING, f"the job's output cannot be read for tools: error {code}")
        if self._left:
            self._left.clear()
            self._over()
