"""Which way a message to another shell takes: through Flux (`service.py`), or over a link of its own (`lateral`).

Used by `plugin.py`, which it hands the frames of the other shells' hosts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fluxpmix.host.effects import Buffer, Frame, Level
from fluxpmix.shell.flux.api import Shell
from fluxpmix.shell.flux.handle import ShellError
from fluxpmix.shell.flux.service import CERTIFICATE, FRAME, LATERAL, LINK, LOST, Peers, TooLarge

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fluxpmix.shell.flux.lateral import Lateral


class Mail:
    """What goes between the shells of the job."""

    def __init__(
        self,
        api: Shell,
        rank: int,
        brokers: Sequence[int],
        service: str,
        laterally: bool,
        receive: Callable[[int, Buffer], None],
        lost: Callable[[int, str], None],
    ) -> None:
        """`receive(shell, frame)` gets frames, `lost(shell, reason)` what the first shell says of others.

        `brokers` are the shells' brokers, `service` the job's service at each; `laterally`: large data may take
        links of their own.
        """
        self._api = api
        self._rank = rank
        self._brokers = brokers
        self._size = len(brokers)  # of the job itself, which may join others
        self._leads = rank == 0
        self._base = 0
        self._held: dict[int, list[tuple[int, Sequence[Buffer]]]] = {}  # for shells that are still to be heard of
        self._laterally = laterally and len(brokers) > 1
        self._receive = receive
        self._lost = lost
        self._lateral: Lateral | None = None  # from the first time on that it is wanted
        self._tracing = api.option("verbose") in (2, 3)
        self.peers = Peers(api, rank, brokers, service, self._take)
        if len(brokers) > 1:
            api.serve(self.peers.topic(LINK), lambda request: self._links().listener.serve(request))
            if self._leads:
                api.serve(self.peers.topic(CERTIFICATE), lambda request: self._links().certificate.serve(request))

    def add(self, base: int, service: str, brokers: Sequence[int]) -> None:
        """Know the shells of a further job."""
        self.peers.add(base, service, brokers)
        for shell in range(base, base + len(brokers)):
            for kind, parts in self._held.pop(shell, ()):
                self._send(shell, kind, parts)

    def join(self, base: int, service: str, brokers: Sequence[int]) -> None:
        """Be the shells from `base` on among others; links of their own are for those of one job."""
        self._base, self._laterally = base, False
        self._rank += base
        self.peers.join(self._rank, service, brokers)

    def send(self, shell: int, frame: Frame, lateral: bool) -> None:
        """Send a frame to a peer shell, if it is `lateral` over a link."""
        if lateral and self._laterally and shell < self._size:
            try:
                size = self._links().send(shell, frame)
            except ImportError as error:  # a Python without ssl
                self._api.log(Level.NOTICE, f"no direct links to other shells, so data go through Flux: {error}")
                self._laterally = False
            else:
                self._trace(f"sent {size} bytes to shell {shell}")
                return
        self._send(shell, FRAME, frame)

    def shell_lost(self, shell: int, reason: str) -> None:
        """Peer `shell` is gone; shell 0 tells the others, who are not told by Flux."""
        if self._lateral is not None:
            self._lateral.shell_lost(shell)
        if self._leads:
            mine = range(self._base, self._base + self._size)
            for peer in range(self.peers.count) if shell in mine else mine:
                if peer not in (shell, self._rank):
                    self.peers.send(peer, LOST, (shell.to_bytes(4, "big"), reason.encode()))

    def close(self) -> None:
        """Close the links."""
        if self._lateral is not None:
            self._trace(f"lateral links: {self._lateral.counters}")
            self._lateral.close()

    def _take(self, kind: int, shell: int, payload: Buffer) -> None:
        if kind == FRAME:
            self._trace(f"got {len(payload)} bytes from shell {shell}")
            self._receive(shell, payload)
        elif kind == LATERAL:
            self._links().take(shell, payload)
        elif kind == LOST:
            lost = int.from_bytes(payload[:4], "big")
            if lost < self.peers.count and lost != self._rank:
                self._lost(lost, bytes(payload[4:]).decode(errors="replace"))

    def _links(self) -> Lateral:
        """Return the links to other shells: most jobs have no data for them. Raises ImportError without ssl."""
        if self._lateral is None:
            from fluxpmix.shell.flux.lateral import Lateral

            topics = self.peers.topic(LINK), self.peers.topic(CERTIFICATE)
            self._lateral = Lateral(self._api, self._rank, self._brokers, topics, self._came, self._send_instead)
        return self._lateral

    def _came(self, shell: int, frame: Buffer) -> None:
        self._take(FRAME, shell, frame)

    def _send_instead(self, shell: int, message: Sequence[Buffer]) -> None:
        self._send(shell, LATERAL, message)

    def _send(self, shell: int, kind: int, parts: Sequence[Buffer]) -> None:
        """Send a message through Flux."""
        if shell >= self.peers.count:  # one of a job that this shell is still to be told of
            self._held.setdefault(shell, []).append((kind, tuple(map(bytes, parts))))
            return
        try:
            self._trace(f"sent {self.peers.send(shell, kind, parts)} bytes to shell {shell}")
        except TooLarge as error:  # others wait for it
            self._api.end_job(f"pmix: {error}", 1)
        except ShellError as error:
            self._api.log(Level.ERROR, str(error))

    def _trace(self, line: str) -> None:
        if self._tracing:
            self._api.log(Level.TRACE, line)
