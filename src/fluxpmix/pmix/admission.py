"""Who may connect: what an `admit` callable can do about a connection, and how libpmix is told.

Used by `server.py` and by the carriers' guards. libpmix takes a client's word for its user id, so a
guard asks the kernel instead, and a connection that it refuses has to go without harming the job:

* 4.2 leaves a rank's record freed but listed when it turns a client away itself; 5.0 and 6.1 do so
  when the upcall returns an error, and when a tool is refused. The next look at that record reads
  freed memory.
* A client that is cut off after it was let in counts as a lost process of the job: local collectives
  that wait for the real one shrink by one.

`sever` avoids both: it puts a connection that never speaks in the place of the client's, under the
same descriptor. The client sees its connection reset, nothing it sent is ever read, and libpmix
keeps a silent second connection of that rank, as it would for a child of the task.
"""

from __future__ import annotations

import os

# The far ends of severed connections. They stay open: their end would be that of a lost process.
_quiet: list[int] = []


class Severed(str):
    """A reason to refuse a client, given by an `admit` that has called `sever` on its connection."""

    __slots__ = ()


def sever(descriptor: int) -> None:
    """Take the connection on `descriptor` away from its peer, for good, and leave libpmix a silent one.

    To be called from `admit`, with the descriptor of the connection that is being admitted: nothing
    that the peer has sent or sends is read. Raises `OSError` where descriptors have run out.
    """
    import _socket

    near, far = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        _quiet.append(far.detach())
        os.dup2(near.fileno(), descriptor, inheritable=False)
    finally:
        near.close()


def release_severed() -> None:
    """Close what `sever` kept open: when the server is finalized."""
    while _quiet:
        os.close(_quiet.pop())
