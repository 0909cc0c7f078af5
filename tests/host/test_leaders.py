"""What must hold of the leaders of groups."""

from __future__ import annotations

from typing import Any

from simulator import procs
from test_groups import Invited

from fluxpmix.host.effects import Effect, Notify
from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import find


class Led(Invited):
    """Hosts, and what they tell their processes of leaders: the shell, whose end, of which group, to whom."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.failures: list[tuple[int, int, str, list[int]]] = []
        self.missed: list[tuple[int, int, str, list[int]]] = []  # members that leaders are told of

    def perform(self, shell: int, effects: list[Effect]) -> None:
        for one in effects:
            if isinstance(one, Notify) and one.status in (Status.GROUP_LEADER_FAILED, Status.GROUP_MEMBER_FAILED):
                whom = [proc.rank for proc in find(one.infos, a.EVENT_CUSTOM_RANGE).items]
                told = self.failures if one.status == Status.GROUP_LEADER_FAILED else self.missed
                told.append((shell, one.source.rank, find(one.infos, a.GROUP_ID), whom))
        super().perform(shell, effects)

    def make(self, *leading: int) -> None:
        ids = [self.construct(n, "g", **({"GROUP_LEADER": True} if n in leading else {})) for n in range(4)]
        self.run()
        assert [self.outcome(id_) for id_ in ids] == [0] * 4


def test_the_end_of_a_leader_is_told_to_all_members_once() -> None:
    network = Led([1, 1, 1, 1])
    network.make(1)
    network.exit(1, 3 << 8)
    network.run()
    assert network.failures == [(shell, 1, "g", [0, 2, 3]) for shell in (0, 2, 3)]
    network.exit(0, 3 << 8)
    network.run()
    assert len(network.failures) == 3, "it never led"


def test_of_several_leaders_each_is_told() -> None:
    network = Led([1, 1, 1, 1])
    network.make(0, 2)
    network.exit(0, 9)
    network.exit(2, 9)
    network.run()
    # A shell does not know who else has ended meanwhile; to tell those does no harm.
    assert {(shell, leader) for shell, leader, _, _ in network.failures if shell in (1, 3)} == {
        *((1, 0), (1, 2)),
        *((3, 0), (3, 2)),
    }


def test_a_leader_that_finalizes_or_leaves_or_ends_its_group_is_missed_by_nobody() -> None:
    for way in ("finalizes", "leaves", "destructs"):
        network = Led([1, 1, 1, 1])
        network.make(1)
        if way == "finalizes":
            network.connect(1)
            network.finalize(1)
        elif way == "leaves":
            network.event(1, Status.GROUP_LEFT, "g")
        else:
            for shell in range(4):
                network.destruct(shell, "g")
            network.run()
        network.exit(1, 0)
        network.run()
        assert network.failures == [], way


def test_a_leader_of_a_lost_shell_is_told_by_each_shell_to_its_own() -> None:
    network = Led([1, 2, 1, 1])
    network.event(1, Status.GROUP_INVITED, "g", 0, 2, 3)
    network.lose(1)
    network.run()
    assert network.failures == [(0, 1, "g", [0]), (2, 1, "g", [3])]


def test_a_member_that_says_so_leads_from_then_on_and_no_stranger_does() -> None:
    network = Led([1, 1, 1, 1])
    network.event(0, Status.GROUP_INVITED, "g", 0, 1, 2)
    network.event(3, Status.GROUP_LEADER_SELECTED, "g", 0, 1, 2)
    network.event(1, Status.GROUP_INVITE_DECLINED, "other", 0)
    network.event(2, Status.GROUP_LEADER_SELECTED, "g", 0, 1, 2)
    network.exit(0, 9)
    network.run()
    assert network.failures == [], "it leads no more"
    network.exit(2, 9)
    network.run()
    assert [failure[:3] for failure in network.failures if failure[0] == 1] == [(1, 2, "g")]


def test_who_declined_is_not_told() -> None:
    network = Led([1, 1, 1, 1])
    network.event(0, Status.GROUP_INVITED, "g", 0, 1, 2)
    network.event(1, Status.GROUP_INVITE_DECLINED, "g", 0)
    network.exit(0, 9)
    network.run()
    assert network.failures == [(2, 0, "g", [2])]


def test_an_aborted_construction_is_led_by_nobody() -> None:
    network = Led([1, 1, 1, 1])
    network.event(0, Status.GROUP_INVITED, "g", 0, 1, 2)
    network.event(0, Status.GROUP_CONSTRUCT_ABORT, "g", 0, 1, 2)
    network.exit(0, 9)
    network.run()
    assert network.failures == []


def test_of_several_members_on_a_node_nobody_knows_which_one_leads() -> None:
    network = Led([2, 1])
    ids = [network.construct(n, "g", procs(0, 1, 2), GROUP_LEADER=True) for n in range(2)]
    network.run()
    assert [network.outcome(id_) for id_ in ids] == [0, 0]
    assert ["which member on this node leads" in log.message for log in network.logs] == [True]
    network.exit(2, 9)
    network.run()
    assert network.failures == [(0, 2, "g", [0, 1])]


def test_who_invites_is_told_of_those_who_can_join_no_more() -> None:
    network = Led([1, 1, 1, 1, 1])
    for rank in range(5):
        network.connect(rank)
    network.event(0, Status.GROUP_INVITED, "g", 0, 1, 2, 3, 4)
    network.exit(1, 9)
    network.finalize(2)
    network.exit(2, 0)
    network.run()
    assert network.missed == [(0, 1, "g", [0]), (0, 2, "g", [0])]
    network.lose(3)
    network.run()
    assert network.missed[2:] == [(0, 3, "g", [0])]
    network.event(0, Status.GROUP_CONSTRUCT_COMPLETE, "g", 0, 4)
    network.exit(4, 9)
    network.run()
    assert len(network.missed) == 3 and network.failures == []


def test_who_declined_is_not_missed() -> None:
    network = Led([1, 1, 1])
    network.event(0, Status.GROUP_INVITED, "g", 0, 1, 2)
    network.event(1, Status.GROUP_INVITE_DECLINED, "g", 0)
    network.exit(1, 9)
    network.run()
    assert network.missed == []
