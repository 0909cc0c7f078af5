"""Messages over a stream socket: a length, then the bytes. Never blocks, never joins what it sends.

Used by `local/links.py` between job shells, by `local/control.py` between the launcher and its shells, and, with TLS
around it (`tls.py`), by `flux/lateral.py`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from struct import Struct

from fluxpmix.host.effects import Buffer
from fluxpmix.shell.local.reactor import READ, WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from typing import Protocol
else:
    Protocol = object

_LENGTH = Struct("!Q")
_READ_SIZE = 1 << 18
_MOST_PARTS = 64
LARGEST = 1 << 40  # bytes in one message; more is not a length but garbage


class Watches(Protocol):
    """What watches descriptors: `local/reactor.py`'s loop, or flux-shell's."""

    def watch(self, fd: int, events: int, call: Callable[[int], None]) -> None:
        """Call `call(events)` when `fd` is ready."""

    def modify(self, fd: int, events: int) -> None:
        """Wait for other events on `fd`."""

    def forget(self, fd: int) -> None:
        """Do not watch `fd` any more."""


class Stream:
    """One end of a connection. `on_message(message)` and, once, `on_end(reason)` are called in the loop."""

    def __init__(
        self,
        reactor: Watches,
        sock: socket,
        on_message: Callable[[Buffer], None],
        on_end: Callable[[str], None],
        at_end: Callable[[Callable[[], None]], None] | None = None,
    ) -> None:
        """`at_end(call)` makes a call at the end of the loop's turn: what one turn sends then goes together."""
        sock.setblocking(False)
        self._reactor = reactor
        self._socket = sock
        self._fd = sock.fileno()
        self._on_message = on_message
        self._on_end = on_end
        self._at_end = at_end
        self._input = memoryview(bytearray(_READ_SIZE))
        self._have = 0  # bytes in `_input`
        self._body: memoryview | None = None  # a large message under way
        self._got = 0
        self._output: deque[memoryview] = deque()
        self._events = READ
        self._paused = False
        self.queued = 0  # bytes that are still to be sent
        self.on_drained: Callable[[], None] | None = None
        reactor.watch(self._fd, self._events, self._ready)

    @property
    def closed(self) -> bool:
        """Whether the connection is gone."""
        return self._fd < 0

    def send(self, parts: Iterable[Buffer]) -> None:
        """Send one message made of `parts`; what does not fit now goes when it does."""
        if self._fd < 0:
            return
        views = [memoryview(part).cast("B") for part in parts if len(part)]
        size = sum(len(view) for view in views)
        idle = not self._output
        self._output.append(memoryview(_LENGTH.pack(size)))
        self._output.extend(views)
        self.queued += _LENGTH.size + size
        if idle and self._at_end is not None:
            self._at_end(self.flush)
        elif idle:
            self._flush()

    def flush(self) -> None:
        """Send what fits now of what is queued."""
        if self._fd >= 0:
            self._flush()

    def pause(self, paused: bool) -> None:
        """Stop or go on reading."""
        self._paused = paused
        self._listen()

    def close(self) -> None:
        """Close the connection; `on_end` is not called."""
        if self._fd >= 0:
            self._reactor.forget(self._fd)
            self._socket.close()
            self._fd = -1
            self._output.clear()
            self.queued = 0

    def _receive(self, room: memoryview) -> int:
        """Read into `room` what there is; returns how much. Raises BlockingIOError for nothing, OSError."""
        return self._socket.recv_into(room)

    def _transmit(self, parts: deque[memoryview]) -> int:
        """Send of the first parts what fits now; returns how much. Raises BlockingIOError for nothing, OSError."""
        return self._socket.sendmsg([parts[i] for i in range(min(len(parts), _MOST_PARTS))])

    def _ready(self, events: int) -> None:
        if events & WRITE:
            self._flush()
        if events & ~WRITE and self._fd >= 0 and not self._paused:
            self._read()

    def _end(self, reason: str) -> None:
        if self._fd >= 0:
            self.close()
            self._on_end(reason)

    def _read(self) -> None:
        body = self._body
        try:
            count = self._receive(self._input[self._have :] if body is None else body[self._got :])
        except BlockingIOError:
            return
        except OSError as error:
            self._end(error.strerror or str(error))
            return
        if not count:
            self._end("the connection was closed")
        elif self._body is not None:
            self._got += count
            if self._got == len(self._body):
                body, self._body, self._got = self._body, None, 0
                self._on_message(body)
        else:
            self._have += count
            self._split()

    def _split(self) -> None:
        """Hand over the messages in the input; a large one goes on in memory of its own."""
        at = 0
        while self._have - at >= _LENGTH.size and self._fd >= 0:
            (size,) = _LENGTH.unpack_from(self._input, at)
            if size > LARGEST:
                self._end(f"a message of {size} bytes was announced")
                return
            start, end = at + _LENGTH.size, at + _LENGTH.size + size
            if end <= self._have:
                self._on_message(bytes(self._input[start:end]))
                at = end
            elif _LENGTH.size + size > _READ_SIZE // 2:
                self._body = memoryview(bytearray(size))
                self._got = self._have - start
                self._body[: self._got] = self._input[start : self._have]
                self._have = at = 0
                return
            else:
                break
        if at:
            left = self._have - at
            self._input[:left] = bytes(self._input[at : self._have])
            self._have = left

    def _flush(self) -> None:
        while self._output:
            try:
                sent = self._transmit(self._output)
            except BlockingIOError:
                break
            except OSError as error:
                self._end(error.strerror or str(error))
                return
            self.queued -= sent
            while sent:
                first = self._output[0]
                if sent >= len(first):
                    sent -= len(first)
                    self._output.popleft()
                else:
                    self._output[0] = first[sent:]
                    sent = 0
        self._listen()
        if not self._output and self.on_drained is not None:
            self.on_drained()

    def _listen(self) -> None:
        if self._fd < 0:
            return
        self._listen_for((0 if self._paused else READ) | (WRITE if self._output else 0))

    def _listen_for(self, events: int) -> None:
        if events != self._events:
            self._events = events
            self._reactor.modify(self._fd, events)
