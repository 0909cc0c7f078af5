"""libpmix's sockets: what they lack, and refusing whoever has told its name without harm to the job.

Used by `server.py` for whom `admit` refuses, and for tools that nobody serves. To be used only where
libpmix cannot be told: in all versions its own way of refusing frees records that it goes on using
(`gate.py` has the details). So the connection is taken away instead: one that never speaks takes its
place, under the same descriptor. The peer sees its connection closed, nothing it sent is ever read,
and libpmix keeps a silent second connection of that rank, as it would for a child of the task.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Collection, Iterator
from struct import unpack, unpack_from

from fluxpmix.pmix.light import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

# Descriptors that stay open until the server is finalized: the far ends of severed connections, whose
# end would look like a lost process, and numbers that must not be used again.
_kept: list[int] = []
_TCP_INFO_BYTES = 136
_BYTES_ACKED, _BYTES_RECEIVED = 120, 128  # of struct tcp_info, Linux 4.1 on
_TIOCOUTQ = 0x5411
_SIOCOUTQNSD = 0x894B
_CLOSE_WAIT = 8  # tcpi_state, its first byte
_PATIENCE = 10_000  # milliseconds


def listening_ports() -> tuple[int, ...]:
    """Return the TCP ports on which this process listens."""
    import _socket

    return tuple(
        sorted(
            probe.getsockname()[1]
            for _, probe in _tcp_sockets()
            if probe.getsockopt(_socket.SOL_SOCKET, _socket.SO_ACCEPTCONN)
        )
    )


def send_at_once(ports: Collection[int]) -> None:
    """Have what connects to this process's `ports` get every message at once (TCP_NODELAY).

    libpmix means to, but never calls its function for it (4.2 to 6.1): an event that follows another
    message would wait 40 ms for the peer's kernel. On Linux a connection inherits it from its listener.
    """
    import _socket

    for _, probe in _tcp_sockets():
        if probe.getsockopt(_socket.SOL_SOCKET, _socket.SO_ACCEPTCONN) and probe.getsockname()[1] in ports:
            probe.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)


def in_handshake(ports: Collection[int], known: Collection[int] = ()) -> int | None:
    """Return the descriptor of the connection that libpmix's thread is just taking in.

    To be called on that thread. A connection has been read from there, but is still in blocking
    mode. `known` are descriptors that are so for another reason. None: there is not exactly one.
    """
    import fcntl

    found = [
        descriptor
        for descriptor, probe in _tcp_sockets()
        if descriptor not in known
        and not fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_NONBLOCK
        and _has_been_read(probe, ports)
    ]
    return found[0] if len(found) == 1 else None


def newcomer(entered: deque[int], ports: Collection[int]) -> int | None:
    """Take from `entered`, oldest first, the connection that libpmix's thread is just taking in; as `in_handshake`.

    Those that were taken in before, or are gone, are taken out too. Meanwhile another thread may add some.
    """
    import _socket
    import fcntl

    for descriptor in tuple(entered):
        found, probe = False, None
        try:
            if not fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_NONBLOCK:
                probe = _socket.socket(fileno=os.dup(descriptor))
                found = _has_been_read(probe, ports)
                if not found:
                    continue  # it has still to be read from
        except OSError:
            pass  # gone
        finally:
            if probe is not None:
                probe.close()
        with suppress(ValueError):
            entered.remove(descriptor)
        if found:
            return descriptor
    return None


def sever(descriptor: int, *, let_in: bool = False) -> None:
    """Take the connection on `descriptor` away from its peer, and leave libpmix a silent one.

    `let_in`: the peer has been told that it is let in, and will ask for something. Only then is it
    hung up on: before, a 4.2 client would wait for ever for the answer. Raises `OSError` where
    descriptors have run out.
    """
    import _socket
    from _thread import start_new_thread

    near, far = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        if let_in:
            start_new_thread(_hang_up, (os.dup(descriptor),))
        _kept.append(far.detach())
        os.dup2(near.fileno(), descriptor, inheritable=False)
    finally:
        near.close()


def _hang_up(connection: int) -> None:
    """Close a connection when its peer has spoken, or has had the time to."""
    import select

    listening = select.poll()
    listening.register(connection, select.POLLIN)
    try:
        listening.poll(_PATIENCE)
    finally:
        os.close(connection)


def connections(ports: Collection[int]) -> dict[int, bool]:
    """Return the descriptors of the connections to `ports`, each with whether its peer has hung up."""
    import _socket

    found = {}
    for descriptor, probe in _tcp_sockets():
        try:
            probe.getpeername()
            if probe.getsockname()[1] in ports:
                found[descriptor] = probe.getsockopt(_socket.IPPROTO_TCP, _socket.TCP_INFO, 1)[0] == _CLOSE_WAIT
        except OSError:  # not, or no longer, connected
            continue
    return found


def bytes_taken(descriptor: int, ports: Collection[int]) -> int | None:
    """Return how many bytes the peer of a connection to one of `ports` has taken; None where it is none any more."""
    return _told(descriptor, ports, _BYTES_ACKED)


def bytes_sent(descriptor: int, ports: Collection[int]) -> int | None:
    """Return how many bytes have come from that peer."""
    return _told(descriptor, ports, _BYTES_RECEIVED)


def bytes_written(descriptor: int, ports: Collection[int]) -> tuple[int, int]:
    """Return how many bytes were written for that peer in all, and how many the kernel could not yet send."""
    taken = bytes_taken(descriptor, ports)
    if taken is None:
        return 0, 0
    return taken + bytes_waiting(descriptor), _held(descriptor, _SIOCOUTQNSD)


def bytes_waiting(descriptor: int) -> int:
    """Return how many bytes that were written for that peer it has not taken yet."""
    return _held(descriptor, _TIOCOUTQ)


def _held(descriptor: int, what: int) -> int:
    import fcntl

    try:
        (found,) = unpack("i", fcntl.ioctl(descriptor, what, bytes(4)))
    except OSError:
        return 0
    return int(found)


def _told(descriptor: int, ports: Collection[int], at: int) -> int | None:
    """Return what stands at `at` of the kernel's `struct tcp_info`."""
    import _socket

    try:
        probe = _socket.socket(fileno=os.dup(descriptor))
    except OSError:
        return None
    try:
        probe.getpeername()
        # The descriptor may be somebody else's by now, a Unix socket's for one.
        if probe.family not in (_socket.AF_INET, _socket.AF_INET6) or probe.getsockname()[1] not in ports:
            return None
        info = probe.getsockopt(_socket.IPPROTO_TCP, _socket.TCP_INFO, _TCP_INFO_BYTES)
        number: int = unpack_from("Q", info, at)[0]
        return number
    except OSError:
        return None
    finally:
        probe.close()


def shut(descriptor: int) -> None:
    """End a connection in both directions; its descriptor stays, for whoever has it to close."""
    import _socket

    try:
        probe = _socket.socket(fileno=os.dup(descriptor))
    except OSError:
        return
    try:
        probe.shutdown(_socket.SHUT_RDWR)
    except OSError:
        pass
    finally:
        probe.close()


def withhold(descriptor: int) -> None:
    """Keep a closed descriptor's number from being used again, unless it is already.

    Raises `OSError` where descriptors have run out.
    """
    import fcntl

    held = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    if held != descriptor:
        nothing, held = held, fcntl.fcntl(held, fcntl.F_DUPFD_CLOEXEC, descriptor)
        os.close(nothing)
    if held == descriptor:
        _kept.append(held)
    else:
        os.close(held)


def release_kept() -> None:
    """Close what `sever` and `withhold` keep open: when the server is finalized."""
    while _kept:
        os.close(_kept.pop())


def _has_been_read(probe: _socket.socket, ports: Collection[int]) -> bool:
    """Whether this is a connection to one of `ports` from which something was read already."""
    import _socket
    import fcntl
    import termios

    try:
        probe.getpeername()
        if probe.getsockname()[1] not in ports:
            return False
        info = probe.getsockopt(_socket.IPPROTO_TCP, _socket.TCP_INFO, _TCP_INFO_BYTES)
        (waiting,) = unpack("i", fcntl.ioctl(probe.fileno(), termios.FIONREAD, bytes(4)))
    except OSError:
        return False
    received: int = unpack_from("Q", info, _BYTES_RECEIVED)[0]
    unread: int = waiting
    return received > unread


def _tcp_sockets() -> Iterator[tuple[int, _socket.socket]]:
    """Yield this process's TCP sockets: each descriptor, with a socket object until the next."""
    import _socket
    from _stat import S_ISSOCK

    for name in os.listdir("/proc/self/fd"):
        try:
            if not S_ISSOCK(os.fstat(int(name)).st_mode):
                continue
            probe = _socket.socket(fileno=os.dup(int(name)))
        except OSError:
            continue
        try:
            if probe.family in (_socket.AF_INET, _socket.AF_INET6) and probe.type == _socket.SOCK_STREAM:
                yield int(name), probe
        finally:
            probe.close()
