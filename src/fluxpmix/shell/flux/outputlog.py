"""What a Flux job's tasks print, read from the log that Flux keeps of it (`guest.output`, RFC 24).

flux-shell lets one reader alone have a task's output, its own output plugin, which writes it to that log every half
second. It is read from its beginning, so that one who comes late misses nothing: by `listening.py` for tools that pull
output, by `joboutput.py` for the parent of a spawned job.
"""

from __future__ import annotations

from collections.abc import Callable

from fluxpmix.shell.flux.api import Shell
from fluxpmix.shell.flux.eventlog import EventLog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_STREAMS = {"stdout": 1, "stderr": 2}
COMPLETE = 61  # ENODATA: the log's end, where it has one


class OutputLog:
    """The output of a job: `heard(names, stream, data)` gets it, empty data at a stream's end (1 or 2).

    `names` are those of tasks in the log: ranks of the job as an idset, or one of a spawned task, as 1.0. What goes to
    a file (--output) is not there: `redirected(names, stream, path)` says so. `over(errno)` is called once, with
    `COMPLETE` when the job has ended and all is read.
    """

    def __init__(
        self,
        api: Shell,
        job: int,
        heard: Callable[[str, int, bytes], None],
        redirected: Callable[[str, int, str], None],
        over: Callable[[int], None],
    ) -> None:
        self._heard = heard
        self._redirected = redirected
        self._log = EventLog(api, job, b"guest.output", self._event, over)

    def stop(self) -> None:
        """Read no more."""
        self._log.stop()

    def _event(self, name: str, context: dict[str, Any]) -> None:
        stream = _STREAMS.get(context.get("stream", ""))
        names = str(context.get("rank", ""))
        if stream is None:
            return
        if name == "data":
            data = _data(context)
            if data:
                self._heard(names, stream, data)
            if context.get("eof"):
                self._heard(names, stream, b"")
        elif name == "redirect":
            self._redirected(names, stream, str(context.get("path", "a file")))


def _data(context: dict[str, Any]) -> bytes:
    text = str(context.get("data", ""))
    if context.get("encoding") != "base64":
        return text.encode("utf-8", "surrogateescape")
    from binascii import a2b_base64

    return a2b_base64(text)
