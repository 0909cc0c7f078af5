"""One PMIx server for many jobs, one after another: libpmix can be a server only once in a process.

A job shell that a launcher's pool keeps warm has a `Keeper`; each of its jobs' `JobServer` takes the server
from it and gives it back. What libpmix asks goes to the job that has the server.
"""

from __future__ import annotations

from collections.abc import Callable

from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import Proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fluxpmix.pmix.gate import Judge, Verdict
    from fluxpmix.pmix.server import Server
    from fluxpmix.pmix.upcalls import Upcall

    Ask = Callable[[Upcall], None]


class Keeper:
    """Keeps a server, in a directory of its own that outlives the jobs."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.identity = Proc("", 0)  # the server's, named after its first job
        self._server: Server | None = None
        self._on_upcall: Ask | None = None
        self._gate: Judge | None = None
        self._spoiled = False

    def take(self, identity: Proc, on_upcall: Ask, gate: Judge | None, make: Callable[[Ask, Judge], Server]) -> Server:
        """Return the server for a job's time; `make` makes it for the first one."""
        self._on_upcall, self._gate = on_upcall, gate
        if self._server is None:
            self.identity = identity
            self._server = make(self._ask, self._admit)
        return self._server

    def give_back(self) -> None:
        """The job is over: it is asked nothing more."""
        self._on_upcall = self._gate = None

    def spoil(self) -> None:
        """Something of the job stays in the server: no other job shall have it."""
        self._spoiled = True

    @property
    def sound(self) -> bool:
        """Whether the server can serve another job as it served the first."""
        return not self._spoiled and self._server is not None and self._server.is_clean

    def _ask(self, upcall: Upcall) -> None:
        if self._on_upcall is not None:
            self._on_upcall(upcall)
        elif self._server is not None:
            self._server.reply(upcall.id, Status.ERR_NOT_AVAILABLE)

    def _admit(self, descriptor: int) -> Verdict:
        if self._on_upcall is None:
            return "no job is running"
        return None if self._gate is None else self._gate(descriptor)
