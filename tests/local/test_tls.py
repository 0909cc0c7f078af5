"""What must hold of streams inside TLS, and of who may be at their ends. Real sockets, one loop."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fluxpmix.shell.local.reactor import Reactor
from fluxpmix.shell.tls import Identity, TlsStream, new_identity

pytest.importorskip("cryptography", reason="cryptography makes the certificates")
PATIENCE = 30.0


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    one = Reactor()
    yield one
    one.close()


@pytest.fixture(scope="module")
def pem() -> bytes:
    return new_identity()


class End:
    """One end of a connection, and what it was told."""

    def __init__(self, reactor: Reactor, identity: Identity, sock: socket.socket, opened: bool) -> None:
        self.opens = 0
        self.messages: list[bytes] = []
        self.ends: list[str] = []
        self.stream = TlsStream(reactor, identity.wrap(sock, opened), self._open, self._take, self.ends.append)
        self.stream.start()

    def _open(self) -> None:
        self.opens += 1

    def _take(self, message: Any) -> None:
        self.messages.append(bytes(message))


def connected() -> tuple[socket.socket, socket.socket]:
    listener = socket.create_server(("127.0.0.1", 0))
    one = socket.create_connection(listener.getsockname())
    other, _ = listener.accept()
    listener.close()
    return one, other


def until(reactor: Reactor, what: Callable[[], Any]) -> None:
    def look() -> None:
        if what():
            reactor.stop()
        else:
            reactor.call_later(0.005, look)

    late: list[bool] = []
    timer = reactor.call_later(PATIENCE, lambda: (late.append(True), reactor.stop()))
    look()
    if not what():
        reactor.run()
    timer.cancel()
    assert not late, "it did not happen"


def test_messages_of_any_size_pass_both_ways_in_their_order(reactor: Reactor, pem: bytes) -> None:
    one, other = connected()
    opener, listener = End(reactor, Identity(pem), one, True), End(reactor, Identity(pem), other, False)
    sizes = [0, 1, 8, 1000, 16376, 16384, 16385, 100_000, 5_000_000, 3]
    sent = [bytes([number]) * size for number, size in enumerate(sizes)]
    for message in sent[:5]:
        opener.stream.send((message,))  # before it is open: it waits
    until(reactor, lambda: opener.opens and listener.opens)
    for message in sent[5:]:
        opener.stream.send((message[: len(message) // 2], message[len(message) // 2 :]))
    for message in reversed(sent):
        listener.stream.send((message,))
    until(reactor, lambda: len(opener.messages) == len(listener.messages) == len(sent))
    assert listener.messages == sent and opener.messages == sent[::-1]
    assert opener.opens == listener.opens == 1
    opener.stream.close()
    until(reactor, lambda: listener.ends)
    assert listener.stream.closed and not opener.ends


def test_nothing_is_readable_on_the_way(reactor: Reactor, pem: bytes) -> None:
    one, middle_one = connected()
    other, middle_other = connected()
    opener, listener = End(reactor, Identity(pem), one, True), End(reactor, Identity(pem), other, False)
    seen = bytearray()
    for source, target in ((middle_one, middle_other), (middle_other, middle_one)):
        source.setblocking(False)

        def carry(_events: int, source: socket.socket = source, target: socket.socket = target) -> None:
            data = source.recv(1 << 16)
            seen.extend(data)
            target.sendall(data)

        reactor.watch(source.fileno(), 1, carry)
    opener.stream.send((b"the secret of the job",))
    until(reactor, lambda: listener.messages)
    assert listener.messages == [b"the secret of the job"]
    assert len(seen) > 100 and b"secret" not in seen
    for end in (opener, listener):
        end.stream.close()
    for sock in (middle_one, middle_other):
        reactor.forget(sock.fileno())
        sock.close()


@pytest.mark.parametrize("stranger", ["opens", "listens"])
def test_a_stranger_is_refused_before_a_message(reactor: Reactor, pem: bytes, stranger: str) -> None:
    one, other = connected()
    ours, theirs = Identity(pem), Identity(new_identity())
    opener = End(reactor, theirs if stranger == "opens" else ours, one, True)
    listener = End(reactor, theirs if stranger == "listens" else ours, other, False)
    opener.stream.send((b"hello",))
    until(reactor, lambda: opener.ends and listener.ends)
    assert not listener.messages and not listener.opens
    assert any("certificate" in reason.lower() for reason in (*opener.ends, *listener.ends))


def test_what_is_no_tls_is_refused(reactor: Reactor, pem: bytes) -> None:
    one, other = connected()
    listener = End(reactor, Identity(pem), other, False)
    one.sendall(b"GET / HTTP/1.1\r\nHost: shell\r\n\r\n")
    until(reactor, lambda: listener.ends)
    assert not listener.opens and listener.stream.closed
    one.close()


@pytest.mark.parametrize("text", [b"", b"-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n"])
def test_what_is_no_identity_is_refused(text: bytes) -> None:
    with pytest.raises((OSError, ValueError)):
        Identity(text)
