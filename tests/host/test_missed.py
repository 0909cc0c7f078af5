"""Members of a group that end before they construct it: the construction fails, and the others hear who it was."""

from __future__ import annotations

from typing import Any

from simulator import procs
from test_groups import DIED, LOST, Grouped

from fluxpmix.host.effects import Effect, Notify
from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import find

FAILED = int(Status.GROUP_MEMBER_FAILED)


class Told(Grouped):
    """Hosts, and to whom each member's end is told: shell, whose end, of which group, to whom here."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.missed: list[tuple[int, int, str, list[int]]] = []

    def perform(self, shell: int, effects: list[Effect]) -> None:
        for one in effects:
            if isinstance(one, Notify) and one.status == FAILED:
                whom = [proc.rank for proc in find(one.infos, a.EVENT_CUSTOM_RANGE).items]
                mine = [rank for rank in whom if self.job.taskmap.node_of(rank) == shell]
                self.missed.append((shell, one.source.rank, find(one.infos, a.GROUP_ID), mine))
        super().perform(shell, effects)

    def settle(self) -> None:
        self.run()
        self.pass_time(1.0)


def test_all_who_construct_hear_of_it_and_those_whom_libpmix_keeps_waiting() -> None:
    """Rank 2 has called, but its node's call to the host needed rank 3's."""
    network = Told([1, 1, 2])
    ids = [network.construct(n, "g", GROUP_ASSIGN_CONTEXT_ID=True) for n in range(2)]
    network.run()
    network.exit(3, 9)
    network.settle()
    assert [network.outcome(id_) for id_ in ids] == [DIED, DIED]
    assert sorted(network.missed) == [(0, 3, "g", [0]), (1, 3, "g", [1]), (2, 3, "g", [2])]
    assert network.idle and network.bound == 0


def test_who_comes_after_the_end_hears_of_it_too() -> None:
    network = Told([1, 1, 1])
    network.exit(2, 3 << 8)
    network.settle()
    assert network.missed == []
    ids = [network.construct(n, "g") for n in range(2)]
    network.settle()
    assert [network.outcome(id_) for id_ in ids] == [DIED, DIED]
    assert sorted(network.missed) == [(0, 2, "g", [0]), (1, 2, "g", [1])]


def test_a_leader_hears_of_it_alone_as_far_as_is_known() -> None:
    network = Told([1, 2, 1])
    ids = [network.construct(0, "g", procs(0, 3), GROUP_LEADER=True)]
    network.exit(3, 9)
    network.settle()
    assert [network.outcome(id_) for id_ in ids] == [DIED]
    assert network.missed == [(0, 3, "g", [0])]


def test_the_members_of_a_lost_node_are_all_named() -> None:
    network = Told([1, 2])
    id_ = network.construct(0, "g")
    network.lose(1)
    network.settle()
    assert network.outcome(id_) == LOST
    assert network.missed == [(0, 1, "g", [0]), (0, 2, "g", [0])]


def test_where_members_are_optional_nobody_is_missed() -> None:
    network = Told([1, 1, 1])
    ids = [network.construct(n, "g", GROUP_OPTIONAL=True) for n in range(2)]
    network.exit(2, 9)
    network.settle()
    assert [network.outcome(id_) for id_ in ids] == [0, 0] and network.missed == []
    assert network.idle


def test_the_end_of_a_job_forgets_what_was_to_be_told() -> None:
    network = Told([1, 1])
    network.construct(0, "g")
    network.run()
    network.exit(1, 9)
    network.run()
    assert not network.hosts[0].idle
    for host in network.hosts:
        host.close(0.0)
        assert host.idle and host.deadline is None
