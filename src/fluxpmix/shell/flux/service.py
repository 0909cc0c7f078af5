"""What the shells of a job say to each other: binary requests to Flux's own service of each shell.

Used by `plugin.py`. A message is a header of ours and then bytes as they are, no JSON and no base64. Flux
delivers them in order between two shells, with the user id of whoever sent one: those of other users are refused;
another process of the job's owner may still send anything, so what comes is checked. Shells wait for each
other at the end (`Leaving`): one that left early could not say that its tasks will never fence again.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from struct import Struct
from time import monotonic

from fluxpmix.host.effects import Buffer
from fluxpmix.pmix.light import partial
from fluxpmix.shell.flux.api import Shell
from fluxpmix.shell.flux.handle import Request, ShellError

# The service's methods; the last two are for `lateral`.
MESSAGE, END, ALIVE, LINK, CERTIFICATE = "pmix-message", "pmix-end", "pmix-alive", "pmix-link", "pmix-certificate"
JOIN = "pmix-join"  # asks to be a shell among the job's (`jobs.py`)
# Kinds of messages: of the host, of the first shell at start, of who is lost, for want of a link (`lateral`),
# of what a job joins (`jobs.py`).
FRAME, SETUP, LOST, LATERAL, WELCOME = 1, 2, 3, 4, 5
_HEADER = Struct("!4sBBxxI")  # magic, version, kind, the sender's shell rank
_MAGIC, _VERSION = b"fpmx", 1
LARGEST = (1 << 31) - 1  # bytes of a message; Flux's local connector writes its size in 32 bits, unchecked
_FIRST_LOOK, _LAST_LOOK = 1.0, 60.0  # seconds between looks at whether the others are still there


class BadMessage(ValueError):
    """A message that no shell of this version would send."""


class TooLarge(ShellError):
    """A message that Flux cannot carry."""


class Peers:
    """The other shells: sends to them, and hands over what they send.

    They are those of the job and, where Flux jobs have been spawned, of these: in the order of their ranks each has a
    service of its job's, at a broker.
    """

    def __init__(
        self,
        api: Shell,
        rank: int,
        brokers: Sequence[int],
        service: str,
        receive: Callable[[int, int, Buffer], None],
    ) -> None:
        """`receive(kind, shell, payload)` gets what peers send; `brokers` are the shells' brokers."""
        self._api = api
        self._rank = rank
        self._service = service
        self._receive = receive
        self._topic = self.topic(MESSAGE)
        self._shells = [(self._topic, broker) for broker in brokers]
        self._leaders = {0}  # the first of each Flux job
        self._early: list[Buffer] | None = None  # what came too early for one that is still to join the others
        self._awaited: tuple[int, list[Buffer]] | None = None  # a kind, and its message once it is there
        self._last: tuple[object, bytes] = (None, b"")  # what was sent last, and as what
        api.serve(self._topic, self._serve)

    def topic(self, method: str) -> bytes:
        """Return the topic of a method of the job's service."""
        return f"{self._service}.{method}".encode()

    @property
    def count(self) -> int:
        """How many shells are known."""
        return len(self._shells)

    def add(self, base: int, service: str, brokers: Sequence[int]) -> None:
        """Know the shells of a further job, ranks from `base` on."""
        while len(self._shells) < base:  # of a job that came to nothing
            self._shells.append((b"", 0))
        topic = f"{service}.{MESSAGE}".encode()
        self._shells[base : base + len(brokers)] = [(topic, broker) for broker in brokers]
        self._leaders.add(base)

    def await_world(self) -> None:
        """Keep messages until `begin`: this shell is to join others, which may know it before it does."""
        self._early = []

    def begin(self) -> None:
        """Hand over what has come so far."""
        early, self._early = self._early or [], None
        for message in early:
            try:
                self._receive(*self.parse(message))
            except BadMessage as error:
                self._api.complain(f"refused a message to the job's service: {error}")

    def join(self, rank: int, service: str, brokers: Sequence[int]) -> None:
        """Be shell `rank` from now on, among those of a first job at `service`, and others to be added."""
        self._rank, self._shells, self._leaders = rank, [], set()
        self.add(0, service, brokers)

    def send(self, shell: int, kind: int, parts: Sequence[Buffer]) -> int:
        """Send one message, given in parts; returns its size in bytes. Raises `ShellError`."""
        whose, payload = self._last
        if whose is not parts:  # the same result goes to all children
            size = _HEADER.size + sum(map(len, parts))
            if size > LARGEST:
                raise TooLarge(
                    f"a message of {size} bytes to shell {shell}: one has at most {LARGEST}; put less before a fence, "
                    "or fence without PMIX_COLLECT_DATA, and what is asked for is fetched alone"
                )
            payload = b"".join((_HEADER.pack(_MAGIC, _VERSION, kind, self._rank), *parts))
            self._last = (parts, payload)
        topic, broker = self._shells[shell]
        if topic:
            self._api.send(topic, broker, payload)
        return len(payload)

    def wait_for(self, kind: int, timeout: float) -> Buffer:
        """Wait for the message of this kind from the first shell, before there is a reactor. Raises `ShellError`."""
        end = monotonic() + timeout
        came: list[Buffer] = []
        self._awaited = kind, came
        while not came:
            if not self._api.wait_for_request(self._topic, max(0.0, end - monotonic()), self._serve):
                raise ShellError(f"no word from the job's first shell for {timeout:g} s")
        self._awaited = None
        return came[0]

    def parse(self, message: Buffer) -> tuple[int, int, Buffer]:
        """Return (kind, sender, payload) of a message. Raises `BadMessage`."""
        if len(message) < _HEADER.size:
            raise BadMessage(f"{len(message)} bytes are too few")
        magic, version, kind, shell = _HEADER.unpack_from(message)
        if magic != _MAGIC:
            raise BadMessage("it is not of fluxpmix")
        if version != _VERSION:
            raise BadMessage(f"version {version}, not {_VERSION}: every shell must run the same fluxpmix")
        if kind == WELCOME and self._awaited is not None:  # from whoever decides (`host/succession.py`)
            return kind, shell, memoryview(message)[_HEADER.size :]
        if not (0 <= shell < len(self._shells) and shell != self._rank):
            raise BadMessage(f"there is no peer shell {shell}")
        if kind not in (FRAME, SETUP, LOST, LATERAL) or (kind in (SETUP, LOST) and shell not in self._leaders):
            raise BadMessage(f"kind {kind} from shell {shell}")
        return kind, shell, memoryview(message)[_HEADER.size :]

    def _is_awaited(self, message: Buffer) -> bool:
        kind = _HEADER.unpack_from(message)[2] if len(message) >= _HEADER.size else 0
        return self._awaited is not None and kind == self._awaited[0]

    def _serve(self, request: Request) -> None:
        if self._early is not None and not self._is_awaited(request.payload):
            self._early.append(bytes(request.payload))
            return
        try:
            kind, shell, payload = self.parse(request.payload)
            if self._awaited is not None and kind != self._awaited[0]:
                raise BadMessage(
                    f"kind {kind} from shell {shell}, where one of kind {self._awaited[0]} must come first"
                )
        except BadMessage as error:
            self._api.complain(f"refused a message to the job's service: {error}")
            request.refuse(errno.EPROTO, str(error))
            return
        if self._awaited is not None:
            self._awaited[1].append(payload)
        else:
            self._receive(kind, shell, payload)


class Leaving:
    """When this shell may go: when all tasks of all shells have ended.

    Each shell tells shell 0 that its tasks are done and stays for the answer, which comes when all are.
    Nobody waits for ever: who is awaited is looked for now and then.
    """

    def __init__(
        self, api: Shell, peers: Peers, rank: int, brokers: Sequence[int], lost: Callable[[int, str], None]
    ) -> None:
        self._api = api
        self._peers = peers
        self._rank = rank
        self._brokers = brokers
        self._lost = lost
        self._awaited = set(range(1, len(brokers))) if rank == 0 else {0}
        self._asking: list[Request] = []
        self._finished = False
        self._held = len(brokers) > 1
        self._look = _FIRST_LOOK
        if self._held:
            api.hold("pmix")
            self._timer = api.timer(self._look_round)
            api.serve(peers.topic(ALIVE), lambda request: request.respond())
            if rank == 0:
                api.serve(peers.topic(END), self._shell_finished)

    @property
    def waits(self) -> bool:
        """Whether tasks of other shells may still run."""
        return self._held

    def finished(self) -> None:
        """This shell's tasks have ended."""
        self._finished = True
        if self._held and self._rank:
            self._api.call(self._peers.topic(END), self._brokers[0], self._rank.to_bytes(4, "big"), self._released)
        self._check()
        if self._held:
            self._api.set_timer(self._timer, self._look)

    def shell_lost(self, shell: int) -> None:
        """Do not wait for it."""
        self._awaited.discard(shell)
        self._check()

    def close(self) -> None:
        """The shell leaves, whoever is awaited."""
        self._awaited.clear()
        self._finished = True
        self._check()

    def _shell_finished(self, request: Request) -> None:
        shell = int.from_bytes(request.payload, "big") if len(request.payload) == 4 else 0
        if not 0 < shell < len(self._brokers):
            request.refuse(errno.EPROTO, "there is no such shell")
            return
        self._asking.append(request.keep())
        self._awaited.discard(shell)
        self._check()

    def _released(self, error: int, _payload: bytes) -> None:
        if error:  # Flux tells nobody that the first shell is gone
            self._lost(0, "it has left")
        self._awaited.clear()
        self._check()

    def _check(self) -> None:
        if not self._held or not self._finished or self._awaited:
            return
        self._held = False
        asking, self._asking = self._asking, []
        for request in asking:
            request.respond()
            request.drop()
        self._api.stop_watching(self._timer)
        self._api.release("pmix")

    def _look_round(self) -> None:
        for shell in sorted(self._awaited):
            self._api.call(self._peers.topic(ALIVE), self._brokers[shell], b"", partial(self._looked, shell))
        self._look = min(2 * self._look, _LAST_LOOK)
        self._api.set_timer(self._timer, self._look)

    def _looked(self, shell: int, error: int, _payload: bytes) -> None:
        if error and shell in self._awaited:
            self._lost(shell, "it has left")
            self.shell_lost(shell)
