"""Hosts of one job on a network that a test can make as bad as it likes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from fluxpmix.host.effects import Drop, Effect, Log, Prepare, Raise, Register, Reply, Send, Start
from fluxpmix.host.host import Host
from fluxpmix.host.sized import Appetite
from fluxpmix.job.model import App, Job, Node, Session
from fluxpmix.job.taskmap import TaskMap
from fluxpmix.pmix import attributes
from fluxpmix.pmix.types import RANK_WILDCARD, Info, Infos, Proc
from fluxpmix.pmix.upcalls import ClientConnected, ClientFinalized, Fence, Upcall

NSPACE = "job"


def make_job(counts: Sequence[int]) -> Job:
    """A job with `counts[n]` tasks on node n."""
    nodes = tuple(Node(node, f"n{node}", slots=max(1, count)) for node, count in enumerate(counts))
    total = sum(counts)
    app = App(0, ("prog",), "/", total)
    return Job(NSPACE, "f1", Session(1, total), nodes, (app,), TaskMap.block(counts), "key")


def procs(*ranks: int) -> tuple[Proc, ...]:
    return tuple(Proc(NSPACE, rank) for rank in ranks) or (Proc(NSPACE, RANK_WILDCARD),)


def joined(payload: Any) -> Any:
    """What libpmix makes of a payload of buffers; others are as they are."""
    if isinstance(payload, (tuple, list)) and all(isinstance(part, (bytes, memoryview)) for part in payload):
        return b"".join(payload)
    return payload


class Network:
    """`shells` hosts; messages between a pair stay in order, pairs are served as `choose` says."""

    def __init__(
        self,
        counts: Sequence[int],
        fanout: int = 4,
        timeout: float | None = None,
        exchange: str = "tree",
        oversubscribe: bool = True,
        large: int = 60,
        often: bool = False,
    ) -> None:
        self.job = make_job(counts)
        self.hosts = [
            Host(
                self.job,
                n,
                fanout=fanout,
                default_timeout=timeout,
                exchange=exchange,
                appetite=Appetite(large, large),
                oversubscribe=oversubscribe,
            )
            for n in range(len(counts))
        ]
        if often:
            for host in self.hosts:
                host.collectives._appetite.moved(large, among_peers=True)
        self.now = 0.0
        self.queues: dict[tuple[int, int], deque[bytes]] = {}
        self.replies: dict[int, tuple[int, Any]] = {}
        self.answered: list[int] = []
        self.raised: list[Raise] = []
        self.logs: list[Log] = []
        self.sent = self.sent_bytes = 0
        self.lost: set[int] = set()
        self.launches: deque[tuple[int, Prepare | Register | Start | Drop]] = deque()
        self.dropped: list[tuple[int, int, bool]] = []
        self._ids = 0

    def perform(self, shell: int, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                assert effect.shell != shell, "a host must not write to itself"
                frame = b"".join(effect.frame)
                self.sent += 1
                self.sent_bytes += len(frame)
                if shell not in self.lost and effect.shell not in self.lost:
                    self.queues.setdefault((shell, effect.shell), deque()).append(frame)
            elif isinstance(effect, Reply):
                assert effect.upcall not in self.replies, "an upcall was answered twice"
                self.replies[effect.upcall] = (int(effect.status), joined(effect.payload))
                self.answered.append(effect.upcall)
            elif isinstance(effect, Raise):
                self.raised.append(effect)
            elif isinstance(effect, Log):
                self.logs.append(effect)
            elif isinstance(effect, Prepare | Register | Start | Drop):
                self.launch(shell, effect)

    def launch(self, shell: int, effect: Prepare | Register | Start | Drop) -> None:
        """Do a step of a launch, and tell the host when the test says so: by `carry_out`."""
        self.launches.append((shell, effect))

    def carry_out(self, status: int = 0, why: str = "") -> None:
        """Do the first step that is to be done, with this outcome."""
        shell, effect = self.launches.popleft()
        host, first = self.hosts[shell], effect.launch.first
        if isinstance(effect, Prepare):
            self.perform(shell, host.outcomes.prepared(first, b"packed", status, why, self.now))
        elif isinstance(effect, Register | Start):
            if isinstance(effect, Start) and not status:
                for rank in effect.launch.job.ranks(shell):
                    self.perform(shell, host.task_started(first + rank, 1000 + first + rank, self.now))
            step = 1 if isinstance(effect, Register) else 2
            self.perform(shell, host.outcomes.launched(first, step, status, why, self.now))
        else:
            self.dropped.append((shell, first, effect.started))

    def upcall(self, shell: int, make: Callable[[int], Upcall]) -> int:
        self._ids += 1
        self.perform(shell, self.hosts[shell].upcall(make(self._ids), self.now))
        return self._ids

    def fence(
        self,
        shell: int,
        who: tuple[Proc, ...] = procs(),
        data: bytes = b"",
        collect: bool = True,
        timeout: int | None = None,
        extra: Infos = (),
    ) -> int:
        infos = [*extra]
        if collect:
            infos.append(Info(attributes.COLLECT_DATA, True))
        if timeout is not None:
            infos.append(Info(attributes.TIMEOUT, timeout))
        return self.upcall(shell, lambda id_: Fence(id_, who, tuple(infos), data))

    def connect(self, rank: int) -> None:
        shell = self.job.taskmap.node_of(rank)
        self.upcall(shell, lambda id_: ClientConnected(id_, Proc(NSPACE, rank)))

    def finalize(self, rank: int) -> None:
        shell = self.job.taskmap.node_of(rank)
        self.upcall(shell, lambda id_: ClientFinalized(id_, Proc(NSPACE, rank)))

    def exit(self, rank: int, status: int = 9) -> None:
        shell = self.job.taskmap.node_of(rank)
        self.perform(shell, self.hosts[shell].task_exited(rank, status, self.now))

    def lose(self, shell: int) -> None:
        """Shell `shell` is gone; its peers are told."""
        self.lost.add(shell)
        for pair in [pair for pair in self.queues if shell in pair]:
            del self.queues[pair]
        for peer, host in enumerate(self.hosts):
            if peer not in self.lost:
                self.perform(peer, host.shell_lost(shell, "killed", self.now))

    def deliver(self, pair: tuple[int, int]) -> None:
        source, target = pair
        frame = self.queues[pair].popleft()
        if not self.queues[pair]:
            del self.queues[pair]
        if target not in self.lost:
            self.perform(target, self.hosts[target].receive(source, memoryview(frame), self.now))

    def run(self, choose: Callable[[list[tuple[int, int]]], tuple[int, int]] | None = None) -> None:
        """Deliver everything that is under way."""
        while self.queues:
            pairs = sorted(self.queues)
            self.deliver(pairs[0] if choose is None else choose(pairs))

    def pass_time(self, seconds: float) -> None:
        """Let time pass, waking hosts at their deadlines and delivering what they say."""
        end = self.now + seconds
        while True:
            moments = [
                host.deadline
                for shell, host in enumerate(self.hosts)
                if shell not in self.lost and host.deadline is not None
            ]
            if not moments or min(moments) > end:
                break
            self.now = max(self.now, min(moments))
            for shell, host in enumerate(self.hosts):
                if shell not in self.lost and host.deadline is not None and host.deadline <= self.now:
                    self.perform(shell, host.tick(self.now))
            self.run()
        self.now = end

    @property
    def idle(self) -> bool:
        return all(host.idle for shell, host in enumerate(self.hosts) if shell not in self.lost)
