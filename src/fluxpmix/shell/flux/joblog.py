"""How another Flux job ends, read from the log of events that Flux keeps of it (RFC 21).

`jobs.py` has one for each job that it minds. Any job of the same user's may be watched; the log can be read also of
one that is over.
"""

from __future__ import annotations

from collections.abc import Callable

from fluxpmix.shell.flux.api import Shell
from fluxpmix.shell.flux.eventlog import EventLog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class JobLog:
    """Calls `ended(wait_status, kind, note)` once, when a job is over.

    The status is None where it never ran; `kind` and `note` are those of the exception that ended it, or empty.
    """

    def __init__(self, api: Shell, job: int, ended: Callable[[int | None, str, str], None]) -> None:
        self._tell = ended
        self._status: int | None = None
        self._kind = self._note = ""
        self._log = EventLog(api, job, b"eventlog", self._event, lambda _error: self._over())

    def stop(self) -> None:
        """Read no more."""
        self._log.stop()

    def _event(self, name: str, context: dict[str, Any]) -> None:
        if name == "exception" and context.get("severity") == 0 and not self._kind:
            self._kind, self._note = str(context.get("type", "")), str(context.get("note", ""))
        elif name == "finish":
            self._status = int(context.get("status", 0))
        elif name == "clean":
            self._over()

    def _over(self) -> None:
        tell, self._tell = self._tell, lambda *_: None
        self.stop()
        tell(self._status, self._kind, self._note)
