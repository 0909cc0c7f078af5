"""What a connection says first: who it wants to be, read before libpmix reads a byte of it.

`gate.py` keeps connections here whose judge wants to hear that. libpmix (4.2, 5.0 and 6.1) reads the first
message of a connection in one go and serves nobody meanwhile, so one that is slow to speak waits here until all
of it has come. It is looked at and left where it is. The message: what security module, its credential, what
kind of process; for tools the user and group; for whoever has a name, that name; the version of its libpmix, and
the format in which it packs data: `v41` for the one that came with 4.1.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from struct import Struct, error, unpack_from
from time import monotonic, sleep

from fluxpmix.pmix.enumeration import IntEnum
from fluxpmix.pmix.light import suppress
from fluxpmix.pmix.record import Record
from fluxpmix.pmix.types import Proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from typing import Any

_HEADER = Struct("=iII4x")  # who, tag, bytes that follow; in the machine's order
_LARGEST = 131072  # bytes that libpmix accepts there
_PATIENCE = 10.0  # seconds to say it
_MOST = 64  # connections that may be waited for
_STEP = 0.01  # seconds between looks at one that has said only a part


class Kind(IntEnum):
    """What a process says that it is."""

    CLIENT = 0
    LEGACY_TOOL = 1
    LEGACY_LAUNCHER = 2
    TOOL = 3
    NAMED_TOOL = 4
    CLIENT_TOOL = 5  # a process that a server has started
    LAUNCHER = 6
    NAMED_LAUNCHER = 7
    CLIENT_LAUNCHER = 8
    SINGLETON = 9
    SCHEDULER = 10


# Processes that no server needs to have started.
TOOLS = frozenset(
    (Kind.LEGACY_TOOL, Kind.LEGACY_LAUNCHER, Kind.TOOL, Kind.NAMED_TOOL, Kind.LAUNCHER, Kind.NAMED_LAUNCHER)
)
_NAMELESS = frozenset((Kind.LEGACY_TOOL, Kind.LEGACY_LAUNCHER, Kind.TOOL, Kind.LAUNCHER))


class Greeting(Record):
    """What a process says of itself: how it proves who it is, what it is, and its name (None: it wants one).

    `format` is the version of libpmix with which its format came, (0, 0) where it does not say.
    """

    security: str
    kind: Kind
    proc: Proc | None
    format: tuple[int, int] = (0, 0)


def parse(message: bytes) -> Greeting:
    """Return what a first message says, the header left out. Raises `ValueError` where it makes no sense."""
    try:
        at = message.index(b"\0") + 1
        security = message[: at - 1].decode("ascii", "replace")
        (length,) = unpack_from("!I", message, at)
        at += 4 + length
        kind = Kind(message[at])
        at += 1
        if kind is not Kind.CLIENT:
            at += 8  # user and group
        proc = None
        if kind not in _NAMELESS:
            end = message.index(b"\0", at)
            (rank,) = unpack_from("!I", message, end + 1)
            proc = Proc(message[at:end].decode("utf-8", "surrogateescape"), rank)
            at = end + 5
        return Greeting(security, kind, proc, _format(message[at:]))
    except (IndexError, error) as problem:
        raise ValueError(f"it is cut short: {problem}") from None


def _format(rest: bytes) -> tuple[int, int]:
    """Return the format that a first message names, behind the version."""
    _version, _, rest = rest.partition(b"\0")
    digits = rest.partition(b"\0")[0].removeprefix(b"v")
    return (int(digits[:1]), int(digits[1:] or 0)) if digits.isdigit() else (0, 0)


class Waiting:
    """Connections that have not said who they are. `heard(descriptor, greeting)` is called, on a thread of
    this class's, for each that has; one that says nothing in time, or nonsense, is closed."""

    def __init__(self, heard: Callable[[int, Greeting], None]) -> None:
        from _thread import allocate_lock

        self._heard = heard
        self._lock = allocate_lock()
        self._sockets: dict[int, tuple[_socket.socket, float]] = {}
        self._running = False

    def add(self, descriptor: int) -> None:
        """Wait for a connection, which is this object's from now on."""
        import _socket
        from _thread import start_new_thread

        sock = _socket.socket(fileno=descriptor)
        with self._lock:
            if len(self._sockets) >= _MOST:
                self._sockets.pop(min(self._sockets))[0].close()  # the one that has been silent longest, or nearly
            self._sockets[descriptor] = (sock, monotonic() + _PATIENCE)
            start, self._running = not self._running, True
        if start:
            start_new_thread(self._run, ())

    def close(self) -> None:
        """Close what is still waited for."""
        with self._lock:
            for sock, _ in self._sockets.values():
                sock.close()
            self._sockets.clear()

    def _run(self) -> None:
        while self._look():
            sleep(_STEP)

    def _look(self) -> bool:
        """Look at every connection once. Returns whether there is still one."""
        spoken: list[tuple[int, Greeting]] = []
        with self._lock:
            for descriptor, (sock, until) in list(self._sockets.items()):
                try:
                    message = _first_message(sock)
                    if message is not None:
                        greeting = parse(message)
                        spoken.append((descriptor, greeting))
                    elif monotonic() < until:
                        continue
                    else:
                        sock.close()
                except (OSError, ValueError):
                    sock.close()
                del self._sockets[descriptor]
                if spoken and spoken[-1][0] == descriptor:
                    sock.detach()
            self._running = bool(self._sockets)
            more = self._running
        for descriptor, greeting in spoken:
            try:
                self._heard(descriptor, greeting)
            except OSError:
                with suppress(OSError):
                    os.close(descriptor)
        return more


def _first_message(sock: Any) -> bytes | None:
    """Return the first message of a connection, None while it has not come. Raises `OSError`, `ValueError`."""
    import _socket

    flags = _socket.MSG_PEEK | _socket.MSG_DONTWAIT
    try:
        head = sock.recv(_HEADER.size, flags)
        if not head:
            raise ValueError("it hung up")
        if len(head) < _HEADER.size:
            return None
        size = _HEADER.unpack(head)[2]
        if size > _LARGEST:
            raise ValueError(f"a first message of {size} bytes")
        message: bytes = sock.recv(_HEADER.size + size, flags)
    except BlockingIOError:
        return None
    return message[_HEADER.size :] if len(message) == _HEADER.size + size else None
