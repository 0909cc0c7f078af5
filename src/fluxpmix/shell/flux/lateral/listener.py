"""The other end of links: listens for peers of the job, takes what they send, and acknowledges it.

Used by `lateral/__init__.py`. A connection counts for nothing until it has shown the job's certificate and said
which shell it is.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from socket import create_server, socket

from fluxpmix.host.effects import Buffer, Level
from fluxpmix.shell.flux.api import Shell
from fluxpmix.shell.flux.handle import Request
from fluxpmix.shell.flux.lateral.address import own_address
from fluxpmix.shell.flux.lateral.certificate import Certificate
from fluxpmix.shell.flux.lateral.link import NUMBER, RANK
from fluxpmix.shell.flux.lateral.polling import Polling
from fluxpmix.shell.local.reactor import READ
from fluxpmix.shell.tls import Identity, TlsStream

_AT_ONCE = 1 << 20  # bytes since the last acknowledgement, from which on the next goes at once; else it goes
_AFTER = 1.0  # seconds later: whoever waits in a fence has better to do
_COMPLAINTS = 20  # refused connections that are logged


class Listener:
    """Where the links of other shells end."""

    def __init__(
        self,
        api: Shell,
        polling: Polling,
        certificate: Certificate,
        me: int,
        size: int,
        receive: Callable[[int, Buffer], None],
    ) -> None:
        """`receive(shell, message)` gets what comes from the other shells of the job's `size`."""
        self._api = api
        self._polling = polling
        self._certificate = certificate
        self._me = me
        self._size = size
        self._receive = receive
        self._socket: socket | None = None
        self._endpoint = b""
        self._connections: set[_Connection] = set()
        self._timer = api.timer(self._acknowledge)
        self._owing = False
        self._refused = 0

    def serve(self, request: Request) -> None:
        """A peer asks where this shell listens."""
        if not self._is_peer(request.payload):
            request.refuse(errno.EPROTO, "no request of a peer shell for a link")
            return
        kept = request.keep()

        def answer(problem: str) -> None:
            try:
                if not problem:
                    self._listen()
                    kept.respond(self._endpoint)
            except OSError as error:
                problem = str(error)
            if problem:
                kept.refuse(errno.ENOTSUP, problem)
            kept.drop()

        self._certificate.when_here(answer)

    def hear(self, connection: _Connection, message: Buffer) -> None:
        """Take what a peer sends; the first message says who it is."""
        if connection.shell < 0:
            if self._is_peer(message):
                (connection.shell,) = RANK.unpack(message)
            else:
                self.forget(connection, "it does not say which shell it is")
            return
        self._receive(connection.shell, message)
        connection.owed = bytes(message[: NUMBER.size])
        connection.bytes += len(message)
        if connection.bytes >= _AT_ONCE:
            connection.acknowledge()
        elif not self._owing:
            self._owing = True
            self._api.set_timer(self._timer, _AFTER)

    def forget(self, connection: _Connection, reason: str) -> None:
        """A peer has closed its link, or somebody is no peer."""
        connection.stream.close()
        self._connections.discard(connection)
        if connection.shell < 0:
            self._refused += 1
            if self._refused <= _COMPLAINTS:
                self._api.log(Level.WARNING, f"refused a connection to this shell: {reason}")

    def close(self) -> None:
        """Stop listening and close what is open."""
        self._api.stop_watching(self._timer)
        self._acknowledge()
        for connection in self._connections:
            connection.stream.close()
        self._connections.clear()
        if self._socket is not None:
            self._polling.forget(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _is_peer(self, message: Buffer) -> bool:
        shell = RANK.unpack(message)[0] if len(message) == RANK.size else self._me
        return 0 <= shell < self._size and shell != self._me

    def _listen(self) -> None:
        if self._socket is not None:
            return
        host, family = own_address(self._api.attribute("tbon.endpoint"), self._api.attribute("tbon.parent-endpoint"))
        sock = create_server((host, 0), family=family, backlog=self._size)
        sock.setblocking(False)
        self._endpoint = f"{host} {sock.getsockname()[1]}".encode()
        self._polling.watch(sock.fileno(), READ, self._accept)
        self._socket = sock

    def _accept(self, _events: int) -> None:
        assert self._socket is not None and self._certificate.identity is not None
        try:
            sock, _ = self._socket.accept()
        except OSError:
            return
        if sum(one.shell < 0 for one in self._connections) >= self._size:
            sock.close()  # somebody opens more than there are shells, and says nothing
            return
        connection = _Connection(self, self._polling, self._certificate.identity, sock)
        self._connections.add(connection)
        connection.stream.start()

    def _acknowledge(self) -> None:
        self._owing = False
        for connection in self._connections:
            if connection.owed:
                connection.acknowledge()


class _Connection:
    """A link that another shell has opened."""

    def __init__(self, listener: Listener, polling: Polling, identity: Identity, sock: socket) -> None:
        self._listener = listener
        self.shell = -1  # not known yet
        self.owed = b""  # the number of the last message, if it is not acknowledged
        self.bytes = 0  # that came since the last acknowledgement
        self.stream = TlsStream(polling, identity.wrap(sock, False), self._opened, self._hear, self._ended)

    def acknowledge(self) -> None:
        """Tell the sender what has come."""
        self.stream.send((self.owed,))
        self.owed, self.bytes = b"", 0

    def _opened(self) -> None:
        """Both ends have shown that they are of the job; now it says which shell it is."""

    def _hear(self, message: Buffer) -> None:
        self._listener.hear(self, message)

    def _ended(self, reason: str) -> None:
        self._listener.forget(self, reason)
