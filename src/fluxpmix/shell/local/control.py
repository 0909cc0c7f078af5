"""What the launcher and a job shell say to each other, over a socket pair that the shell inherits.

Messages are tuples of plain values. They travel by `marshal`: both ends are the same interpreter, and no
one else has the socket.
"""

from __future__ import annotations

import marshal
from collections.abc import Callable

from fluxpmix.host.effects import Buffer
from fluxpmix.shell.stream import Stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from typing import Any

    from fluxpmix.shell.local.reactor import Reactor

# From a shell
STARTED = 1  # [(rank, pid), ...]
EXITED = 2  # rank, wait status
OUTPUT = 3  # rank, stream (1 or 2), bytes
RAISE = 4  # message, exit code: a job exception
LOG = 5  # level, message
FAILED = 6  # message, exit code: this shell cannot start its tasks
NO_LIBRARY = 14  # this shell finds no libpmix to use
TRACE = 17  # bytes: what this shell has recorded, where a trace is wanted
DRAINED = 7  # all tasks are gone and have no more output
TOOK = 8  # bytes of input that a task has taken
SPAWNED = 15  # first number, ordinal, node of each rank, its parent's first number or None: a job's tasks are started
DROPPED = 16  # first number: it has come to nothing, and how its tasks end does not matter
AGAIN = 22  # number: this task, which has ended, is about to start again
CLOSED = 13  # whether this shell can have another job: it is done with this one, and exits if not
EXTEND = 20  # number of the request, seconds: the job shall run longer
# To a shell
EXTENDED = 21  # number of the request or 0, seconds that are left to the job or None
INPUT = 9  # bytes, ranks or None; no bytes: the end
SIGNAL = 10  # number, ranks or None
FINISH = 11  # end now: the job is over
LOST = 12  # shell, reason: a peer is gone


class Control:
    """One end. `on_message(kind, *values)` is called for each message, `on_end(reason)` once."""

    def __init__(
        self,
        reactor: Reactor,
        sock: socket,
        on_message: Callable[..., None],
        on_end: Callable[[str], None],
    ) -> None:
        self._on_message = on_message
        self.stream = Stream(reactor, sock, self._take, on_end)

    def send(self, kind: int, *values: Any) -> None:
        """Send one message."""
        self.stream.send((marshal.dumps((kind, *values)),))

    def _take(self, message: Buffer) -> None:
        self._on_message(*marshal.loads(message))
