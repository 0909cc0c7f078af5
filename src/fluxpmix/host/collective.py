"""One allgather among shells, whatever for: the state machine behind fences (and later connects, groups).

A collective is named by its operation, its participants *and* a generation: the same processes may start
the next one before a slow shell has left the last. How the bytes move is a `Movement`: a barrier goes up and
down a tree (`tree.py`), data may go among peers (`bruck.py`), or as their size wants (`sized.py`); all shells
choose alike, by the directive and the number of members. Blobs are ordered by shell rank, so all shells hand out
the same bytes.
A frame of a generation that is over is dropped and counted; it never starts a collective.

Every one ends: with all contributions, at its deadline, with a shell that is lost, or with a process that
died before it contributed. What ends it early is told to every member.
"""

from __future__ import annotations

from _blake2 import blake2b  # hashlib's own, without the 3 ms that it takes to import OpenSSL's
from collections.abc import Callable, Sequence

from fluxpmix.host.bruck import Bruck
from fluxpmix.host.directory import Directory
from fluxpmix.host.effects import Buffer, Effect, Level, Log, Send
from fluxpmix.host.frames import DIGEST_SIZE, Message, Tag, encode
from fluxpmix.host.movement import Key, Movement, among
from fluxpmix.host.sized import Appetite, Sized
from fluxpmix.host.tree import Tree
from fluxpmix.job import idset
from fluxpmix.pmix.status import Status, describe
from fluxpmix.pmix.types import Proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias


# Told once, when a collective ends: its status and buffers that joined are the blobs in the order of the shells.
Done: TypeAlias = Callable[[int, Sequence[Buffer]], Effect]

SUCCESS = int(Status.SUCCESS)
# How long a shell is waited for before it is asked whether it will ever contribute (seconds).
PATIENCE = 1.0
SHORT_PATIENCE = 0.02  # how long a movement may keep to itself what it need not say
# How collectives with data move: over the tree, among peers (Bruck's exchange), or as their size wants.
EXCHANGES = ("auto", "tree", "bruck")


class Collective:
    """One generation, as one shell sees it."""

    __slots__ = ("deadline", "done", "key", "members", "movement", "probe_at", "procs", "signature", "timeout")

    def __init__(
        self,
        key: Key,
        procs: tuple[Proc, ...],
        signature: bytes,
        members: tuple[int, ...],
        movement: Movement,
        done: Done,
        timeout: float | None,
        now: float,
    ) -> None:
        self.key = key
        self.procs = procs
        self.signature = signature
        self.members = members
        self.movement = movement
        self.done = done
        self.timeout = timeout
        self.deadline = None if timeout is None else now + timeout
        self.probe_at = now + (SHORT_PATIENCE if movement.quiet else PATIENCE)


class _Series:
    """All generations of one key: the next one to start here, the open, the early and the failed."""

    __slots__ = ("early", "failed", "next", "open")

    def __init__(self) -> None:
        self.next = 0
        self.open: dict[int, Collective] = {}
        # Of generations that have not started here: what others sent, and why they failed.
        self.early: dict[int, dict[tuple[int, Tag], Message]] = {}
        self.failed: dict[int, int] = {}


class Collectives:
    """Every collective of one shell. Methods append the effects they want to `out`."""

    def __init__(
        self,
        directory: Directory,
        me: int,
        fanout: int,
        exchange: str = "tree",
        appetite: Appetite | None = None,
    ) -> None:
        """`appetite` is this shell's for moving data among peers, where "auto" leaves it the choice."""
        if fanout < 1:
            raise ValueError(f"fan-out {fanout}: at least 1")
        if exchange not in EXCHANGES:
            raise ValueError(f"exchange {exchange!r}: one of {', '.join(EXCHANGES)}")
        self._directory = directory
        self._me = me
        self._fanout = fanout
        self._exchange = exchange
        self._appetite = appetite or Appetite()
        self._series: dict[Key, _Series] = {}
        self._names: dict[bytes, bytes] = {}
        self._running = 0
        self._dead: set[int] = set()
        self._awaited: set[int] = set()  # who is started again, and has not come yet
        self._lost: set[int] = set()
        self._denied: dict[int, list[tuple[Key, int]]] = {}  # by process: what it was said never to contribute to
        self.counters = {"completed": 0, "failed": 0, "retired": 0, "refused": 0}

    @property
    def idle(self) -> bool:
        """Whether nothing is under way here."""
        return not self._running and not any(series.early for series in self._series.values())

    @property
    def deadline(self) -> float | None:
        """When `tick` wants to be called."""
        if not self._running:
            return None
        return min(
            moment
            for series in self._series.values()
            for each in series.open.values()
            for moment in (each.deadline, each.probe_at)
            if moment is not None
        )

    # -- what happens ------------------------------------------------------------------------------

    def contribute(
        self,
        operation: int,
        procs: tuple[Proc, ...],
        blob: Buffer | None,
        status: int,
        timeout: float | None,
        done: Done,
        now: float,
        out: list[Effect],
    ) -> None:
        """Enter this shell's contribution to the next generation; `blob` None: it has no data.

        Raises `directory.UnknownProc`, or ValueError where this shell has none of the participants.
        """
        members = self._directory.shells(procs)
        if not among(members, self._me):
            raise ValueError("none of the participants is here")
        signature = self._directory.signature(procs)
        key = (operation, self._digest(signature))
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = _Series()
        generation = series.next
        series.next += 1
        failed = series.failed.pop(generation, None)
        lost = sorted(self._lost.intersection(members)) if self._lost else []
        if failed is None and lost:
            out.append(Log(Level.ERROR, f"{_shells(lost)} of this collective are lost"))
            failed = int(Status.ERR_LOST_CONNECTION)
        if failed is not None:
            series.early.pop(generation, None)
            self.counters["failed"] += 1
            out.append(done(failed, ()))
            return
        absent = self._dead | self._awaited
        if status == SUCCESS and absent and absent.intersection(self._directory.ranks_on(procs, self._me)):
            # libpmix leaves out who died before the first came; the survivors must hear of it all the same.
            status = int(Status.ERR_PROC_TERM_WO_SYNC)
        movement = self._movement(key, generation, members, blob, status)
        one = Collective(key, procs, signature, members, movement, done, timeout, now)
        series.open[generation] = one
        self._running += 1
        for (source, _), message in series.early.pop(generation, {}).items():
            complaint = self._take(series, generation, one, source, message, b"", out)
            if complaint is not None:
                self.counters["refused"] += 1
                out.append(Log(Level.WARNING, f"dropped an early frame from shell {source}: {complaint}"))
            if generation not in series.open:
                break
        if generation in series.open:
            self._advance(series, generation, one, out)
        if generation in series.open and self._dead:
            self._probe_dead(generation, one, self._dead, out)

    def receive(self, source: int, message: Message, frame: Buffer, out: list[Effect]) -> str | None:
        """Take a frame from shell `source`. Returns what is wrong with it, if something is."""
        if message.tag is Tag.PROBE:
            return self._receive_probe(message, out)
        key = (message.operation, message.digest)
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = _Series()
        generation = message.generation
        if generation < series.next:
            one = series.open.get(generation)
            if one is None:
                self.counters["retired"] += 1
                return None
            complaint = self._take(series, generation, one, source, message, frame, out)
            if complaint is None and generation in series.open:
                self._advance(series, generation, one, out)
            return complaint
        if message.tag in (Tag.DOWN, Tag.AMONG):
            return "a result of a collective that this shell has not entered"
        if message.tag is Tag.FAIL:
            series.failed.setdefault(generation, message.status or int(Status.ERROR))
            series.early.pop(generation, None)
            return None
        if generation in series.failed:
            self.counters["retired"] += 1
            return None
        early = series.early.setdefault(generation, {})
        if (source, message.tag) in early:
            return "a second contribution to the same collective"
        early[source, message.tag] = message
        return None

    def died(self, rank: int, out: list[Effect]) -> None:
        """Process `rank` is gone: what still needs it cannot complete."""
        if rank in self._dead:
            return
        self._dead.add(rank)
        for series in list(self._series.values()):
            for generation, one in list(series.open.items()):
                self._probe_dead(generation, one, (rank,), out)

    def arrived(self, rank: int) -> None:
        """Process `rank` of this shell called PMIx_Init."""
        self._awaited.discard(rank)

    def revived(self, rank: int) -> None:
        """Process `rank` is about to start again: it contributes to what begins from now on.

        Where nobody of this shell had begun what ended by its death, nobody will: its next one is that after. What
        libpmix hands up before it has come was begun without it, and ends as before.
        """
        self._dead.discard(rank)
        self._awaited.add(rank)
        for key, generation in self._denied.pop(rank, ()):
            series = self._series[key]
            if series.failed.pop(generation, None) is not None:
                series.next = max(series.next, generation + 1)

    def shell_lost(self, shell: int, out: list[Effect]) -> None:
        """Peer `shell` is gone: end everything that it takes part in."""
        self._lost.add(shell)
        for series in list(self._series.values()):
            for generation, one in list(series.open.items()):
                if among(one.members, shell):
                    self._fail(series, generation, one, int(Status.ERR_LOST_CONNECTION), out)
            for generation in [
                each for each, sources in series.early.items() if any(shell == source for source, _ in sources)
            ]:
                del series.early[generation]
                series.failed.setdefault(generation, int(Status.ERR_LOST_CONNECTION))

    def tick(self, now: float, out: list[Effect]) -> None:
        """End what has run out of time, and ask those that are long awaited."""
        for series in list(self._series.values()):
            for generation, one in list(series.open.items()):
                if one.deadline is not None and one.deadline <= now:
                    out.append(Log(Level.ERROR, self._late(one)))
                    self._fail(series, generation, one, int(Status.ERR_TIMEOUT), out)
                elif one.probe_at <= now and one.movement.remind():
                    one.probe_at = now + PATIENCE
                    self._advance(series, generation, one, out)
                elif one.probe_at <= now:
                    one.probe_at = now + 2 * (PATIENCE + now - one.probe_at)
                    probe = encode(self._probe(generation, one))
                    out.extend(Send(shell, probe) for shell in one.movement.unheard())

    def abandon(self, status: int, out: list[Effect]) -> None:
        """End all that is open, here alone: the job is over."""
        for series in self._series.values():
            for generation, one in list(series.open.items()):
                self._finish(series, generation, one, status, (), out)
            series.early.clear()

    # -- steps -------------------------------------------------------------------------------------

    def _movement(
        self, key: Key, generation: int, members: Sequence[int], blob: Buffer | None, status: int
    ) -> Movement:
        """Choose how to move: by what every participant knows alike, so by nothing of this shell's own."""
        if blob is not None and self._exchange == "bruck":
            return Bruck(key, generation, members, self._me, blob, status)
        if blob is not None and self._exchange == "auto":
            return Sized(key, generation, members, self._me, blob, status, self._fanout, self._appetite)
        return Tree(key, generation, members, self._me, blob, status, self._fanout)

    def _take(
        self,
        series: _Series,
        generation: int,
        one: Collective,
        source: int,
        message: Message,
        frame: Buffer,
        out: list[Effect],
    ) -> str | None:
        """Enter what a member says about an open collective."""
        if message.tag is not Tag.FAIL and message.tag in one.movement.takes:
            return one.movement.take(source, message, frame)
        if not among(one.members, source):
            return "a frame from a shell that takes no part"
        if message.tag is Tag.FAIL:
            self._finish(series, generation, one, message.status or int(Status.ERROR), (), out)
            return None
        out.append(Log(Level.ERROR, f"a collective with data here, and without in shell {source}, or the other way"))
        self._fail(series, generation, one, int(Status.ERR_BAD_PARAM), out)
        return None

    def _advance(self, series: _Series, generation: int, one: Collective, out: list[Effect]) -> None:
        """Send what can be sent by now, and end the collective once its outcome is there."""
        outcome = one.movement.advance(out)
        if outcome is not None:
            self._finish(series, generation, one, *outcome, out)

    def _receive_probe(self, message: Message, out: list[Effect]) -> str | None:
        """Say at once that a contribution will never come, where a process of ours died before it."""
        if len(message.blocks) != 1:
            return "a probe without participants"
        signature = bytes(message.blocks[0][1])
        if blake2b(signature, digest_size=DIGEST_SIZE).digest() != message.digest:
            return "a probe whose participants are not those of its collective"
        try:
            procs = self._directory.parse(signature)
            members = self._directory.shells(procs)
        except LookupError as error:
            return str(error)
        except ValueError as error:
            return str(error)
        if not among(members, self._me):
            return "a probe about processes that are not here"
        key = (message.operation, message.digest)
        series = self._series.setdefault(key, _Series())
        if message.generation < series.next or message.generation in series.failed:
            return None
        dead = self._dead.intersection(self._directory.ranks_on(procs, self._me))
        if dead:
            status = int(Status.ERR_PROC_TERM_WO_SYNC)
            series.failed[message.generation] = status
            self._denied.setdefault(min(dead), []).append((key, message.generation))
            series.early.pop(message.generation, None)
            self._tell(key, message.generation, members, status, out)
        return None

    def _probe_dead(self, generation: int, one: Collective, ranks: Sequence[int] | set[int], out: list[Effect]) -> None:
        shells = {self._directory.shell_of(rank) for rank in ranks if self._directory.includes(one.procs, rank)}
        shells -= {self._me}
        out.extend(Send(shell, encode(self._probe(generation, one))) for shell in sorted(shells))

    def _probe(self, generation: int, one: Collective) -> Message:
        operation, digest = one.key
        return Message(Tag.PROBE, operation, generation, digest, 0, ((self._me, one.signature),))

    def _fail(self, series: _Series, generation: int, one: Collective, status: int, out: list[Effect]) -> None:
        self._tell(one.key, generation, one.members, status, out)
        self._finish(series, generation, one, status, (), out)

    def _tell(self, key: Key, generation: int, members: Sequence[int], status: int, out: list[Effect]) -> None:
        frame = encode(Message(Tag.FAIL, key[0], generation, key[1], status))
        out.extend(Send(shell, frame) for shell in members if shell != self._me and shell not in self._lost)

    def _finish(
        self,
        series: _Series,
        generation: int,
        one: Collective,
        status: int,
        blobs: Sequence[Buffer],
        out: list[Effect],
    ) -> None:
        del series.open[generation]
        self._running -= 1
        self.counters["completed" if status == SUCCESS else "failed"] += 1
        out.append(one.done(status, blobs))

    def _digest(self, signature: bytes) -> bytes:
        found = self._names.get(signature)
        if found is None:
            if len(self._names) > 1024:
                self._names.clear()
            found = self._names[signature] = blake2b(signature, digest_size=DIGEST_SIZE).digest()
        return found

    def _late(self, one: Collective) -> str:
        awaited = one.movement.awaited()
        ranks = [rank for shell in awaited for rank in self._directory.ranks_on(one.procs, shell)]
        return (
            f"{describe(Status.ERR_TIMEOUT)}: a collective was not complete after {one.timeout:g} s; "
            f"waiting for {_shells(awaited)} (ranks {idset.encode(ranks)}, or shells behind them)"
        )


def _shells(shells: Sequence[int]) -> str:
    return f"shell{'s' if len(shells) != 1 else ''} {idset.encode(shells)}"
