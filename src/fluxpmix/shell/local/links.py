"""Job shell to job shell: a connection for each pair that has something to say, opened by who has it first.

The launcher binds every shell's socket in the job's private directory before it forks, so nobody waits
for a peer to be there. Both ends prove that they know the job's key (HMAC over the other's random
challenge), and the kernel must say that the peer has the job owner's user id.
"""

from __future__ import annotations

import _socket
import hmac
import os
from collections.abc import Callable
from struct import Struct

from fluxpmix.host.effects import Buffer, Frame, Level
from fluxpmix.pmix.light import partial
from fluxpmix.shell.local.reactor import READ, Reactor
from fluxpmix.shell.stream import Stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_HELLO = Struct("!I16s")  # rank and challenge
_CREDENTIALS = Struct("iII")  # struct ucred
_KEY_DIGEST = "blake2b"
_PROOF_SIZE = 64
KEY_SIZE = 32


def path(directory: str, shell: int) -> str:
    """Return the path of a shell's socket."""
    return f"{directory}/shell-{shell}.sock"


def listen(directory: str, shell: int) -> _socket.socket:
    """Bind and return the socket on which a shell hears its peers."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    with _Short(directory) as short:
        sock.bind(path(short, shell))
    sock.listen(128)
    return sock


class _Short:
    """A path to a directory that fits a socket address, however deep the directory is."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._fd = -1

    def __enter__(self) -> str:
        if len(os.fsencode(self._directory)) < 80:
            return self._directory
        self._fd = os.open(self._directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        return f"/proc/self/fd/{self._fd}"

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)


class Links:
    """The connections of one shell to its peers."""

    def __init__(
        self,
        reactor: Reactor,
        me: int,
        size: int,
        directory: str,
        key: bytes,
        listener: _socket.socket | None,
        on_frame: Callable[[int, Buffer], None],
        on_lost: Callable[[int, str], None],
        log: Callable[[Level, str], None],
    ) -> None:
        self._reactor = reactor
        self._me = me
        self._size = size
        self._directory = directory
        self._key = key
        self._listener = listener
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._log = log
        # By peer: the connection that we send on, ours or theirs; and all that they opened.
        self._out: dict[int, _Handshake] = {}
        self._in: set[_Handshake] = set()
        if listener is not None:
            listener.setblocking(False)
            reactor.watch(listener.fileno(), READ, self._accept)

    def send(self, shell: int, frame: Frame) -> None:
        """Send one frame to a peer, in order; connects where no connection is yet."""
        link = self._out.get(shell)
        if link is None:
            sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
            try:
                with _Short(self._directory) as short:
                    sock.connect(path(short, shell))
                _check_owner(sock)
            except OSError as error:
                sock.close()
                self._on_lost(shell, f"cannot connect to its socket: {error.strerror}")
                return
            link = self._out[shell] = _Handshake(self, sock, self._me, shell)
        link.send(frame)

    def close(self) -> None:
        """Close every connection."""
        for link in {*self._out.values(), *self._in}:
            link.stream.flush()
            link.stream.close()
        self._out.clear()
        self._in.clear()
        if self._listener is not None:
            self._reactor.forget(self._listener.fileno())
            self._listener.close()
            self._listener = None

    def _accept(self, _events: int) -> None:
        assert self._listener is not None
        try:
            fd, _ = self._listener._accept()  # type: ignore[attr-defined]
        except OSError:
            return
        sock = _socket.socket(fileno=fd)
        try:
            _check_owner(sock)
        except OSError as error:
            self._log(Level.WARNING, f"refused a connection to this shell: {error.strerror}")
            sock.close()
            return
        self._in.add(_Handshake(self, sock, self._me, None))

    # -- told by a connection --

    @property
    def reactor(self) -> Reactor:
        """The loop that carries the connections."""
        return self._reactor

    def proof(self, who: int, whom: int, challenge: bytes) -> bytes:
        """Return what proves that shell `who` knows the key, to `whom` who sent `challenge`."""
        text = b"fluxpmix link %d %d " % (who, whom) + challenge
        return hmac.digest(self._key, text, _KEY_DIGEST)

    def known(self, shell: int) -> bool:
        """Whether there may be such a peer."""
        return 0 <= shell < self._size and shell != self._me

    def proved(self, link: _Handshake, peer: int) -> None:
        """A connection that a peer opened is good: send on it, unless there is one of our own."""
        self._out.setdefault(peer, link)

    def frame(self, shell: int, frame: Buffer) -> None:
        """Take a frame of a peer that has proved who it is."""
        self._on_frame(shell, frame)

    def refuse(self, link: _Handshake, reason: str) -> None:
        """Close a connection whose other end is not who it should be."""
        self._log(Level.WARNING, f"refused a connection to this shell: {reason}")
        link.stream.close()
        self._in.discard(link)

    def ended(self, link: _Handshake, reason: str) -> None:
        """A connection is gone: with the peer, where it was ours to it."""
        self._in.discard(link)
        if link.peer is not None and self._out.get(link.peer) is link:
            del self._out[link.peer]
            self._on_lost(link.peer, reason)


class _Handshake:
    """One connection: hello and proof each way, then frames.

    Where both ends have opened one at once, each sends on its own.
    """

    def __init__(self, links: Links, sock: _socket.socket, me: int, peer: int | None) -> None:
        self._links = links
        self._me = me
        self.peer = peer
        self._opened = peer is not None
        self._challenge = os.urandom(16)
        self._proved = False
        self._waiting: list[Iterable[Buffer]] = []
        self.stream = Stream(links.reactor, sock, self._take, partial(links.ended, self), links.reactor.at_end)
        if self._opened:
            self.stream.send((_HELLO.pack(me, self._challenge),))

    def send(self, frame: Frame) -> None:
        """Send a frame, now or when the peer has proved itself."""
        if self._proved:
            self.stream.send(frame)
        else:
            self._waiting.append(frame)

    def _take(self, message: Buffer) -> None:
        if self._proved:
            assert self.peer is not None
            self._links.frame(self.peer, message)
        elif self._opened:
            self._answer(message)
        elif self.peer is None:
            self._greet(message)
        else:
            self._judge(message)

    def _greet(self, message: Buffer) -> None:
        """At the accepting end: a hello. Answer with our proof and a challenge of our own."""
        if len(message) != _HELLO.size:
            self._links.refuse(self, "no greeting")
            return
        peer, challenge = _HELLO.unpack(message)
        if not self._links.known(peer):
            self._links.refuse(self, f"there is no peer shell {peer}")
            return
        self.peer = peer
        self.stream.send((self._links.proof(self._me, peer, challenge), self._challenge))

    def _answer(self, message: Buffer) -> None:
        """At the opening end: the peer's proof and challenge."""
        assert self.peer is not None
        proof, challenge = bytes(message[:_PROOF_SIZE]), bytes(message[_PROOF_SIZE:])
        if not hmac.compare_digest(proof, self._links.proof(self.peer, self._me, self._challenge)):
            self._links.refuse(self, f"shell {self.peer} does not know the job's key")
            return
        self._proved = True
        self.stream.send((self._links.proof(self._me, self.peer, challenge),))
        for frame in self._waiting:
            self.stream.send(frame)
        self._waiting.clear()

    def _judge(self, message: Buffer) -> None:
        """At the accepting end: the opener's proof."""
        assert self.peer is not None
        expected = self._links.proof(self.peer, self._me, self._challenge)
        if not hmac.compare_digest(bytes(message), expected):
            self._links.refuse(self, f"who says to be shell {self.peer} does not know the job's key")
            return
        self._proved = True
        self._links.proved(self, self.peer)


def _check_owner(sock: _socket.socket) -> None:
    """Raise PermissionError unless the other end belongs to this user."""
    peer = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(peer)
    if uid != os.geteuid():
        raise PermissionError(1, f"its other end belongs to user {uid}")
