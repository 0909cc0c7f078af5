"""What must hold of processes that wait for a debugger: who is told, when, and who is let go."""

from __future__ import annotations

from collections.abc import Sequence

from simulator import NSPACE, Network, procs

from fluxpmix.host import frames
from fluxpmix.host.effects import Effect, Notify, Signal
from fluxpmix.host.frames import Message, Tag
from fluxpmix.host.host import Host
from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import RANK_WILDCARD, DataArray, DataType, Info, Proc, Range
from fluxpmix.pmix.upcalls import NotifyEvent

READY, RELEASE = int(Status.READY_FOR_DEBUG), int(Status.DEBUGGER_RELEASE)
SIGCONT = 18


class Stopped(Network):
    """Hosts whose processes wait for a debugger."""

    def __init__(self, counts: Sequence[int], stop: str) -> None:
        super().__init__(counts)
        self.hosts = [Host(self.job, shell, fanout=2, stop=stop) for shell in range(len(counts))]
        self.told: list[tuple[int, Proc]] = []  # shell and source
        self.continued: list[int] = []

    def perform(self, shell: int, effects: list[Effect]) -> None:
        super().perform(shell, effects)
        for effect in effects:
            if isinstance(effect, Notify) and effect.status == READY:
                self.told.append((shell, effect.source))
            elif isinstance(effect, Signal):
                assert effect.signum == SIGCONT and effect.ranks is not None
                self.continued += effect.ranks

    def start(self, rank: int) -> None:
        shell = self.job.taskmap.node_of(rank)
        self.perform(shell, self.hosts[shell].task_started(rank, 100 + rank, self.now))

    def ready(self, rank: int) -> None:
        shell = self.job.taskmap.node_of(rank)
        infos = (Info(a.BREAKPOINT, "pmix-init"), Info(a.EVENT_CUSTOM_RANGE, Proc("", 0)))  # as 5.0 has it
        event = self.upcall(shell, lambda id_: NotifyEvent(id_, READY, Proc(NSPACE, rank), Range.CUSTOM, infos))
        assert self.replies[event] == (0, None)

    def release(self, shell: int, who: tuple[Proc, ...]) -> None:
        infos = (Info(a.EVENT_CUSTOM_RANGE, DataArray(DataType.PROC, who)),)
        self.upcall(shell, lambda id_: NotifyEvent(id_, RELEASE, Proc("tool", 0), Range.CUSTOM, infos))
        self.run()


def test_every_shell_is_told_once_and_only_when_all_are_there() -> None:
    network = Stopped([2, 0, 1], "init")
    for rank in (2, 0, 0):
        network.ready(rank)
        network.run()
    assert not network.told
    network.ready(1)
    network.run()
    assert sorted(network.told) == [(shell, Proc(NSPACE, RANK_WILDCARD)) for shell in range(3)]


def test_those_that_are_started_stopped_are_ready_and_are_continued_when_released() -> None:
    network = Stopped([1, 2], "exec")
    for rank in range(3):
        network.start(rank)
    network.run()
    assert len(network.told) == 2
    network.release(0, procs(1))
    assert network.continued == [1]
    network.release(1, procs())
    assert sorted(network.continued) == [0, 1, 2]
    network.release(0, procs())
    assert len(network.continued) == 3, "each once"


def test_nobody_is_continued_who_was_not_stopped() -> None:
    network = Stopped([1, 1], "init")
    network.start(0)
    network.release(0, procs())
    assert not network.continued


def test_a_count_from_a_shell_that_should_not_send_it_is_dropped() -> None:
    network = Stopped([1, 1, 1], "init")
    frame = b"".join(map(bytes, frames.encode(Message(Tag.READY, 0, 0, frames.NO_DIGEST))))
    network.perform(1, network.hosts[1].receive(2, frame, 0.0))
    assert network.hosts[1].counters["malformed"] == 1
