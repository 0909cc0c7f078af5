"""The opening end of a link: finds out where the peer listens, connects, sends, and keeps what is not acknowledged.

Used by `lateral/__init__.py`, which decides what becomes of messages that do not arrive.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable, Sequence
from socket import AF_INET, AF_INET6, SO_ERROR, SOCK_STREAM, SOL_SOCKET, socket
from struct import Struct
from time import monotonic

from fluxpmix.host.effects import Buffer
from fluxpmix.shell.flux.api import Shell
from fluxpmix.shell.flux.handle import ShellError
from fluxpmix.shell.flux.lateral.certificate import Certificate
from fluxpmix.shell.flux.lateral.polling import Polling
from fluxpmix.shell.local.reactor import WRITE
from fluxpmix.shell.tls import TlsStream

NUMBER = Struct("!Q")  # before a message, and the whole of its acknowledgement
RANK = Struct("!I")  # of who opens a link: asking where to, and as its first message
_PATIENCE = 3.0  # seconds for an acknowledgement, and for a link to open
_SLOWEST = 10e6  # and a second more for each so many bytes under way


class Link:
    """One link to a peer. It ends for good; `on_end(reason)` is told, once, and `waiting` is what did not arrive."""

    def __init__(
        self,
        api: Shell,
        polling: Polling,
        certificate: Certificate,
        me: int,
        on_open: Callable[[], None],
        on_end: Callable[[str], None],
    ) -> None:
        self._api = api
        self._polling = polling
        self._certificate = certificate
        self._me = me
        self._on_open = on_open
        self._on_end = on_end
        self._connecting: socket | None = None
        self._stream: TlsStream | None = None
        self._where = "its service"
        self._since = monotonic()  # the first began to wait, or the last acknowledgement came
        self._bytes = 0  # that wait
        self.waiting: deque[Sequence[Buffer]] = deque()
        self.closed = False

    @property
    def patience(self) -> float | None:
        """When something will be late, as `monotonic` counts; None: nothing is awaited."""
        return self._since + _PATIENCE + self._bytes / _SLOWEST if self.waiting else None

    def open(self, topic: bytes, broker: int) -> None:
        """Ask the peer's service where it listens, and connect."""

        def ask(problem: str) -> None:
            if problem:
                self.end(problem)
            elif not self.closed:
                try:
                    self._api.call(topic, broker, RANK.pack(self._me), self._answered)
                except ShellError as error:
                    self.end(str(error))

        self._certificate.when_here(ask)

    def send(self, message: Sequence[Buffer]) -> None:
        """Send a message, now or when the link is open; it begins with its number."""
        if not self.waiting:
            self._since = monotonic()
        self.waiting.append(message)
        self._bytes += sum(map(len, message))
        if self._stream is not None and self._stream.open:
            self._stream.send(message)

    def late(self) -> None:
        """An acknowledgement has not come in time."""
        self.end(f"no answer from {self._where} for {monotonic() - self._since:.1f} s")

    def end(self, reason: str) -> None:
        """Give up."""
        if not self.closed:
            self.close()
            self._on_end(reason)

    def close(self) -> None:
        """Close what is open; `on_end` is not called."""
        self.closed = True
        if self._connecting is not None:
            self._polling.forget(self._connecting.fileno())
            self._connecting.close()
            self._connecting = None
        if self._stream is not None:
            self._stream.close()

    def _answered(self, error: int, answer: bytes) -> None:
        host, _, port = answer.decode("ascii", "replace").partition(" ")
        if self.closed:
            return
        if error or not port.isdigit():
            self.end(os.strerror(error) if error else "it does not say where it listens")
            return
        self._where = f"{host} port {port}"
        sock = socket(AF_INET6 if ":" in host else AF_INET, SOCK_STREAM)
        sock.setblocking(False)
        code = sock.connect_ex((host, int(port)))
        if code not in (0, errno.EINPROGRESS):
            sock.close()
            self.end(f"{self._where}: {os.strerror(code)}")
            return
        self._polling.watch(sock.fileno(), WRITE, self._connected)
        self._connecting = sock

    def _connected(self, _events: int) -> None:
        """The connection is there, or refused."""
        sock, identity = self._connecting, self._certificate.identity
        assert sock is not None and identity is not None
        code = sock.getsockopt(SOL_SOCKET, SO_ERROR)
        if code:
            self.end(f"{self._where}: {os.strerror(code)}")
            return
        self._polling.forget(sock.fileno())
        self._connecting = None
        wrapped = identity.wrap(sock, True)
        self._stream = TlsStream(self._polling, wrapped, self._opened, self._acknowledged, self._broken)
        self._stream.start()

    def _opened(self) -> None:
        """Both ends have shown who they are: say which shell this is, and what waits."""
        assert self._stream is not None
        self._on_open()
        self._stream.send((RANK.pack(self._me),))
        for message in self.waiting:
            self._stream.send(message)

    def _acknowledged(self, message: Buffer) -> None:
        """Messages have arrived: they do, and are acknowledged, in their order."""
        number = NUMBER.unpack(message)[0] if len(message) == NUMBER.size else -1
        self._since = monotonic()
        while self.waiting and NUMBER.unpack(self.waiting[0][0])[0] <= number:
            self._bytes -= sum(map(len, self.waiting.popleft()))

    def _broken(self, reason: str) -> None:
        self.end(f"{self._where}: {reason}")
