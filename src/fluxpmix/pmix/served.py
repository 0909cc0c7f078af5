"""The connections that a server serves: which is whose, what has gone over each, and how one is taken away.

`server.py` has one `Connections`. libpmix says nothing of them; the kernel does (`admission.py`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from fluxpmix.pmix.admission import (
    bytes_sent,
    bytes_taken,
    bytes_waiting,
    bytes_written,
    in_handshake,
    newcomer,
    sever,
    shut,
)
from fluxpmix.pmix.types import Proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable


class Connections:
    """By process: those of tools, and where there is a gate the last of each client. `ports` are the server's."""

    def __init__(self) -> None:
        self.ports: tuple[int, ...] = ()
        self._asking: dict[int, int | None] = {}  # of tools that are still to be let in: by upcall
        self._tools: dict[Proc, int] = {}
        self._clients: dict[Proc, int] = {}

    # -- who is there ------------------------------------------------------------------------------

    def in_handshake(self) -> int | None:
        """Return the connection that libpmix's thread is just taking in, on that thread; None: it cannot be told."""
        return in_handshake(self.ports, [one for one in self._asking.values() if one is not None])

    def tool_asks(self, upcall: int, connection: int | None) -> None:
        """A tool wants to be let in, by that upcall."""
        self._asking[upcall] = connection

    def is_asking(self, upcall: int) -> bool:
        """Whether that upcall is a tool's that is still to be let in."""
        return upcall in self._asking

    def answered(self, upcall: int, tool: Proc | None) -> int | None:
        """Note that an upcall is answered: where it let a tool in, under which name. Returns a tool's connection."""
        connection = self._asking.pop(upcall, None)
        if connection is not None and tool is not None:
            self._tools[tool] = connection
        return connection

    def client_came(self, client: Proc, entered: deque[int]) -> None:
        """A client is let in, on libpmix's thread: `entered` are connections that the gate has let through."""
        connection = newcomer(entered, self.ports)
        if connection is not None:
            self._clients[client] = connection

    def forget(self, client: Proc) -> None:
        """A client is no longer served."""
        self._clients.pop(client, None)

    # -- what goes over them -----------------------------------------------------------------------

    def progress(self, lost: Callable[[Proc], None]) -> dict[Proc, tuple[int, int]]:
        """Return how many bytes each tool and client has taken so far, and how many the kernel still holds for it.

        Those that are gone are left out; `lost(tool)` is told: libpmix may say so much later.
        """
        found = {}
        for proc, connection in (*self._clients.items(), *self._tools.items()):
            taken = bytes_taken(connection, self.ports)
            if taken is not None:
                found[proc] = taken, bytes_waiting(connection)
            elif proc in self._tools:
                del self._tools[proc]
                lost(proc)
        return found

    def tools_written(self) -> tuple[int, int]:
        """Return how much libpmix has written for tools in all, and what waits in the kernel."""
        found = [bytes_written(connection, self.ports) for connection in list(self._tools.values())]
        return sum(written for written, _ in found), sum(unsent for _, unsent in found)

    def heard_from(self, proc: Proc) -> int | None:
        """Return how many bytes a client or tool has sent so far; None where its connection is not known, or is gone.

        Whatever it asks for counts, and so does each heartbeat (PMIx_Heartbeat). Clients' are known where a gate is.
        """
        connection = self._clients.get(proc, self._tools.get(proc))
        return None if connection is None else bytes_sent(connection, self.ports)

    # -- how they end ------------------------------------------------------------------------------

    def hang_up(self, tool: Proc) -> bool:
        """End the connection of a tool, if it is one; libpmix hears of it as of one that has gone."""
        connection = self._tools.pop(tool, None)
        if connection is not None:
            shut(connection)
        return connection is not None


def cut(connection: int | None, on_error: Callable[[BaseException], None], *, let_in: bool = False) -> bool:
    """Take a connection away from whoever is at its other end; see `sever`."""
    if connection is None:
        return False
    try:
        sever(connection, let_in=let_in)
    except OSError as error:
        on_error(error)
        return False
    return True
