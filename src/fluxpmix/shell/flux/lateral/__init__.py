"""Links straight from shell to shell, for data that are too large to pass through Flux's brokers.

Used by `plugin.py`, from the first message on that the host calls lateral: blobs of large fences and of large
direct modex. A link (`link.py`, `listener.py`) is a TLS connection, opened when it is first wanted. What both ends
prove who they are with (`certificate.py`), and where a shell listens, they learn through the job's service.

Every message is numbered and acknowledged. What is not acknowledged in time goes through Flux instead, and the
other end drops what it then gets twice: a network that lets no such link through costs time, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic

from fluxpmix.host.effects import Buffer, Level
from fluxpmix.pmix.light import partial
from fluxpmix.shell.flux.api import Shell
from fluxpmix.shell.flux.lateral.certificate import Certificate
from fluxpmix.shell.flux.lateral.link import NUMBER, Link
from fluxpmix.shell.flux.lateral.listener import Listener
from fluxpmix.shell.flux.lateral.polling import Polling

_AGAIN = 60.0  # seconds until a link that failed is tried once more


class Lateral:
    """The links of one shell: those it opened, on which it sends, and those of others, on which it listens."""

    def __init__(
        self,
        api: Shell,
        me: int,
        brokers: Sequence[int],
        topics: tuple[bytes, bytes],
        receive: Callable[[int, Buffer], None],
        instead: Callable[[int, Sequence[Buffer]], None],
    ) -> None:
        """`receive(shell, frame)` gets what peers send; `instead(shell, parts)` sends through Flux.

        What is sent `instead` is to be given to `take` over there. `topics` are those of the job's service at which
        a shell is asked where it listens, and shell 0 for the certificate; requests go to `listener` and
        `certificate`.
        """
        self._api = api
        self._me = me
        self._brokers = brokers
        self._topic = topics[0]
        self._receive = receive
        self._instead = instead
        self._polling = Polling(api)
        self.certificate = Certificate(api, topics[1], brokers[0] if me else None)
        self.listener = Listener(api, self._polling, self.certificate, me, len(brokers), self.take)
        self._links: dict[int, Link] = {}
        self._numbers = [0] * len(brokers)  # of the next message to each
        self._got: dict[int, _Got] = {}
        self._failed: dict[int, float] = {}  # when
        self._proved = False  # whether a link has ever been open
        self._timer = api.timer(self._look)
        self.counters = {"sent": 0, "sent instead": 0, "received": 0, "repeated": 0}

    def send(self, shell: int, frame: Sequence[Buffer]) -> int:
        """Send one message; returns its size in bytes. Raises `ShellError` where Flux cannot take it either."""
        message = (NUMBER.pack(self._numbers[shell]), *frame)
        self._numbers[shell] += 1
        link = self._links.get(shell)
        if link is None and self._wanted(shell):
            link = self._opened(shell)
        if link is None or link.closed:
            self._send_instead(shell, message)
        else:
            self.counters["sent"] += 1
            link.send(message)
            self._watch()
        return sum(map(len, message))

    def take(self, shell: int, message: Buffer) -> None:
        """Take what came from a peer, by a link or through Flux: once."""
        if len(message) < NUMBER.size:
            raise ValueError(f"a lateral message of {len(message)} bytes from shell {shell}")
        (number,) = NUMBER.unpack_from(message)
        if self._got.setdefault(shell, _Got()).enter(number):
            self.counters["received"] += 1
            self._receive(shell, memoryview(message)[NUMBER.size :])
        else:
            self.counters["repeated"] += 1

    def shell_lost(self, shell: int) -> None:
        """Peer `shell` is gone: nothing need reach it any more."""
        link = self._links.pop(shell, None)
        if link is not None:
            link.close()

    def close(self) -> None:
        """Close every link."""
        for link in self._links.values():
            link.close()
        self._links.clear()
        self.listener.close()
        self._api.stop_watching(self._timer)
        self._polling.close()

    def _wanted(self, shell: int) -> bool:
        """Whether to try a link now: not soon after one failed, where all links may be forbidden."""
        last = self._failed.get(shell) if self._proved else max(self._failed.values(), default=None)
        return last is None or monotonic() - last > _AGAIN

    def _opened(self, shell: int) -> Link:
        link = Link(self._api, self._polling, self.certificate, self._me, self._works, partial(self._link_ended, shell))
        self._links[shell] = link
        link.open(self._topic, self._brokers[shell])
        return link

    def _works(self) -> None:
        self._proved = True

    def _link_ended(self, shell: int, reason: str) -> None:
        """Send what was to take a link through Flux; at a job's end, peers leave and there is nothing to send."""
        waiting = self._links.pop(shell).waiting
        self._failed[shell] = monotonic()
        level = Level.NOTICE if waiting else Level.DEBUG
        self._api.log(level, f"no direct link to shell {shell}, so data go through Flux: {reason}")
        for message in waiting:
            self._send_instead(shell, message)

    def _send_instead(self, shell: int, message: Sequence[Buffer]) -> None:
        self.counters["sent instead"] += 1
        self._instead(shell, message)

    def _watch(self) -> None:
        """See to it that `_look` runs when the first acknowledgement may be late."""
        ends = [link.patience for link in self._links.values() if link.patience is not None]
        if ends:
            self._api.set_timer(self._timer, max(min(ends) - monotonic(), 0.01))

    def _look(self) -> None:
        now = monotonic()
        for link in list(self._links.values()):
            if link.patience is not None and now >= link.patience:
                link.late()
        self._watch()


class _Got:
    """The numbers of the messages that have come from one peer."""

    __slots__ = ("_beyond", "_next")

    def __init__(self) -> None:
        self._next = 0
        self._beyond: set[int] = set()

    def enter(self, number: int) -> bool:
        """Return whether it is new."""
        if number < self._next or number in self._beyond:
            return False
        self._beyond.add(number)
        while self._next in self._beyond:
            self._beyond.remove(self._next)
            self._next += 1
        return True
