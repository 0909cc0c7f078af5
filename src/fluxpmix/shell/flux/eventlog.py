"""One of the logs of events that Flux keeps of a job (RFC 18), read from its beginning while it grows.

`joblog.py` reads how a job ends, `outputlog.py` what its tasks print.
"""

from __future__ import annotations

from collections.abc import Callable

from fluxpmix.shell.flux.api import Shell
from fluxpmix.shell.flux.jsontext import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class EventLog:
    """Calls `event(name, context)` for each, and `over(errno)` when no more will come (ENODATA: it is complete)."""

    def __init__(
        self,
        api: Shell,
        job: int,
        path: bytes,
        event: Callable[[str, dict[str, Any]], None],
        over: Callable[[int], None],
    ) -> None:
        """`path` is the log's name: "eventlog" or e.g. "guest.output"."""
        self._api = api
        self._event = event
        self._tell = over
        request = b'{"id":%d,"path":"%s","flags":0}\0' % (job, path)
        self._token: Any = api.stream(b"job-info.eventlog-watch", request, self._came, self._over)

    def stop(self) -> None:
        """Read no more."""
        token, self._token = self._token, None
        if token is not None:
            self._api.stop_stream(token)

    def _came(self, payload: bytes) -> None:
        answer = loads(payload.rstrip(b"\0").decode("utf-8", "surrogateescape"))
        for line in str(answer.get("event", "")).splitlines():
            event = loads(line)
            self._event(str(event.get("name")), event.get("context", {}))

    def _over(self, code: int) -> None:
        self._token = None
        self._tell(code)
