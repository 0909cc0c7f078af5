"""What must hold of groups over shells, on networks good and bad."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shaking import trouble
from simulator import Network, procs

from fluxpmix.host import frames
from fluxpmix.host.effects import Effect, Notify
from fluxpmix.host.frames import NO_DIGEST, Message, Tag
from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import DataArray, DataType, GroupOperation, Info, Proc, Range, find
from fluxpmix.pmix.upcalls import Group, NotifyEvent

EXISTS, TIMEOUT, DIED = int(Status.ERR_EXISTS), int(Status.ERR_TIMEOUT), int(Status.ERR_PROC_TERM_WO_SYNC)
LOST = int(Status.ERR_LOST_CONNECTION)


class Grouped(Network):
    """Hosts that are asked for groups, and what they tell their clients."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.told: list[tuple[int, int, int]] = []  # shell, status, whose

    def perform(self, shell: int, effects: list[Effect]) -> None:
        events = [one for one in effects if isinstance(one, Notify) and one.status == Status.GROUP_MEMBER_FAILED]
        self.told += [(shell, one.status, one.source.rank) for one in events]
        super().perform(shell, effects)

    def construct(self, shell: int, name: str, who: tuple[Proc, ...] = procs(), **directives: Any) -> int:
        infos = tuple(Info(getattr(a, key), value) for key, value in directives.items())
        return self.upcall(shell, lambda id_: Group(id_, GroupOperation.CONSTRUCT, name, who, infos))

    def destruct(self, shell: int, name: str, who: tuple[Proc, ...] = procs(), **directives: Any) -> int:
        infos = tuple(Info(getattr(a, key), value) for key, value in directives.items())
        return self.upcall(shell, lambda id_: Group(id_, GroupOperation.DESTRUCT, name, who, infos))

    def outcome(self, id_: int) -> int:
        return self.replies[id_][0]

    def member_ranks(self, id_: int) -> list[int]:
        return [proc.rank for proc in find(self.replies[id_][1], a.GROUP_MEMBERSHIP).items]

    def context(self, id_: int) -> int:
        return int(find(self.replies[id_][1], a.GROUP_CONTEXT_ID))

    @property
    def bound(self) -> int:
        return sum(host.bound for shell, host in enumerate(self.hosts) if shell not in self.lost)


def test_members_get_each_others_data_and_one_context() -> None:
    network = Grouped([2, 1, 3])
    ids = [network.construct(n, "g", GROUP_ASSIGN_CONTEXT_ID=True, GROUP_ENDPT_DATA=b"%d;" % n) for n in range(3)]
    network.run()
    assert {find(network.replies[id_][1], a.GROUP_ENDPT_DATA) for id_ in ids} == {b"0;1;2;"}
    assert len({network.context(id_) for id_ in ids}) == 1
    assert all(network.member_ranks(id_) == list(range(6)) for id_ in ids)
    assert network.bound == 3
    ids = [network.destruct(n, "g") for n in range(3)]
    network.run()
    assert [network.outcome(id_) for id_ in ids] == [0, 0, 0]
    assert network.bound == 0 and network.idle


def test_without_a_wish_for_a_context_there_is_none() -> None:
    network = Grouped([1])
    id_ = network.construct(0, "g")
    assert [info.key for info in network.replies[id_][1]] == [a.GROUP_MEMBERSHIP]


@pytest.mark.parametrize("directive", [{"GROUP_BOOTSTRAP": 2}, {"GROUP_ADD_MEMBERS": DataArray(DataType.PROC, ())}])
def test_a_group_whose_members_are_not_all_named_is_refused_at_once(directive: dict[str, Any]) -> None:
    network = Grouped([1, 1])
    id_ = network.construct(0, "g", procs()[:1], **directive)
    assert network.outcome(id_) == Status.ERR_NOT_SUPPORTED
    assert network.bound == 0 and network.idle


def test_a_name_in_use_is_refused_to_all_and_free_afterwards() -> None:
    network = Grouped([1, 1, 1])
    first = [network.construct(n, "g", procs(0, 1)) for n in (0, 1)]
    network.run()
    second = [network.construct(n, "g", procs(1, 2)) for n in (1, 2)]
    network.run()
    assert [network.outcome(id_) for id_ in first + second] == [0, 0, EXISTS, EXISTS]
    for n in (0, 1):
        network.destruct(n, "g", procs(0, 1))
    network.run()
    third = [network.construct(n, "g", procs(1, 2)) for n in (1, 2)]
    network.run()
    assert [network.outcome(id_) for id_ in third] == [0, 0]


@pytest.mark.parametrize(
    ("who", "status"),
    [
        ((Proc("elsewhere", 0),), Status.ERR_NOT_FOUND),
        (procs(0, 99), Status.ERR_BAD_PARAM),
        (procs(0, 0), Status.ERR_BAD_PARAM),
        (procs(1), Status.ERR_BAD_PARAM),
    ],
)
def test_members_that_make_no_sense_are_refused(who: tuple[Proc, ...], status: int) -> None:
    network = Grouped([1, 1])
    id_ = network.construct(0, "g", who)
    assert network.outcome(id_) == status
    assert network.idle and network.bound == 0


def test_what_is_required_and_unknown_is_refused_to_all() -> None:
    network = Grouped([1, 1])
    odd = (Info("pmix.odd", True, required=True),)
    ids = [network.upcall(0, lambda id_: Group(id_, GroupOperation.CONSTRUCT, "g", procs(), odd))]
    ids.append(network.construct(1, "g"))
    network.run()
    assert {network.outcome(id_) for id_ in ids} == {Status.ERR_NOT_SUPPORTED}


def test_a_member_that_never_comes_ends_it_for_all_in_time() -> None:
    network = Grouped([1, 1, 1])
    ids = [network.construct(n, "g", TIMEOUT=2) for n in (0, 2)]
    network.run()
    network.pass_time(3)
    assert [network.outcome(id_) for id_ in ids] == [TIMEOUT, TIMEOUT]
    assert network.bound == 0


def test_the_end_of_a_member_is_told_where_it_was_asked_for() -> None:
    network = Grouped([2, 1, 1])
    for n in range(3):
        network.construct(n, "quiet")
        network.construct(n, "told", GROUP_NOTIFY_TERMINATION=n == 1)
    network.run()
    network.exit(0)
    network.run()
    network.pass_time(0)
    failed = int(Status.GROUP_MEMBER_FAILED)
    assert sorted(network.told) == [(0, failed, 0), (1, failed, 0), (2, failed, 0)]
    network.lose(2)
    assert sorted(network.told[3:]) == [(0, failed, 3), (1, failed, 3)]
    for rank in (1, 2):
        network.exit(rank)
    network.run()
    network.pass_time(0)
    assert network.bound == 0


def test_a_member_that_ends_before_others_have_their_group_is_told() -> None:
    network = Grouped([1, 1, 1], fanout=1)
    for n in (2, 1, 0):
        network.construct(n, "g", GROUP_NOTIFY_TERMINATION=True)
        if n:
            network.deliver((n, n - 1))
    network.exit(0)  # the root has it, the others not yet
    network.deliver((0, 2))
    network.run()
    network.pass_time(0)
    failed = int(Status.GROUP_MEMBER_FAILED)
    assert sorted(network.told) == [(1, failed, 0), (2, failed, 0)]


@pytest.mark.parametrize("finalizes", [False, True])
def test_optional_members_may_end_before_they_come(finalizes: bool) -> None:
    network = Grouped([1, 1, 2, 1])
    for rank in range(5):
        network.connect(rank)
    if finalizes:
        network.finalize(1)
        network.finalize(4)
    network.exit(1, 0)
    ids = [network.construct(n, "g", GROUP_OPTIONAL=True) for n in (0, 2)]
    network.run()
    network.exit(4, 0)
    network.pass_time(10)
    assert [network.member_ranks(id_) for id_ in ids] == [[0, 2, 3], [0, 2, 3]]
    ids = [network.destruct(n, "g", procs(0, 2, 3)) for n in (0, 2)]
    network.run()
    assert network.idle and network.bound == 0


def test_the_end_of_a_member_that_is_not_optional_is_everybodys() -> None:
    network = Grouped([1, 1])
    network.exit(1)
    id_ = network.construct(0, "g")
    network.pass_time(5)
    assert network.outcome(id_) == DIED


@pytest.mark.parametrize("tag", [Tag.MEMBER, Tag.GONE, Tag.ABSENT])
@pytest.mark.parametrize("blob", [b"", b"x", b"job\x000-99", b"t\0\0\0\0", None])
def test_garbage_about_groups_disturbs_nothing(tag: Tag, blob: bytes | None) -> None:
    network = Grouped([1, 1])
    ids = [network.construct(n, "g") for n in (0, 1)]
    blocks = () if blob is None else ((1, blob),)
    frame = b"".join(frames.encode(Message(tag, 0, 1, NO_DIGEST, 0, blocks)))
    network.perform(0, network.hosts[0].receive(1, frame, 0.0))
    network.run()
    assert [network.outcome(id_) for id_ in ids] == [0, 0]


@settings(deadline=None, max_examples=100)
@given(shells=st.integers(1, 8), names=st.integers(1, 6), seed=st.integers(0, 2**32).map(random.Random))
def test_groups_of_the_same_processes_made_at_once_in_any_order_stay_apart(
    shells: int, names: int, seed: random.Random
) -> None:
    network = Grouped([1] * shells, fanout=seed.randint(1, 4), exchange=seed.choice(["tree", "bruck"]))
    todo = {shell: [f"g{number}" for number in range(names)] for shell in range(shells)}
    for each in todo.values():
        seed.shuffle(each)
    ids: dict[int, str] = {}
    while any(todo.values()) or network.queues:
        ready = [shell for shell, left in todo.items() if left]
        if ready and (not network.queues or seed.random() < 0.5):
            shell = seed.choice(ready)
            name = todo[shell].pop()
            data = f"{name}.{shell};".encode()
            ids[network.construct(shell, name, GROUP_ASSIGN_CONTEXT_ID=True, GROUP_ENDPT_DATA=data)] = name
        else:
            network.deliver(seed.choice(sorted(network.queues)))
    for id_, name in ids.items():
        expected = "".join(f"{name}.{shell};" for shell in range(shells)).encode()
        assert find(network.replies[id_][1], a.GROUP_ENDPT_DATA) == expected
    assert len({network.context(id_) for id_ in ids}) == names
    assert network.idle


@settings(deadline=None, max_examples=300)
@given(
    shells=st.integers(2, 10),
    troubles=st.lists(st.sampled_from(["lose message", "repeat message", "die", "lose shell"]), max_size=4),
    optional=st.booleans(),
    seed=st.integers(0, 2**32).map(random.Random),
)
def test_whatever_goes_wrong_no_group_hangs_or_stays(
    shells: int, troubles: list[str], optional: bool, seed: random.Random
) -> None:
    network = Grouped([2] * shells, fanout=seed.randint(1, 4), exchange=seed.choice(["tree", "bruck"]))
    for rank in range(2 * shells):
        network.connect(rank)
    dead: set[int] = set()
    ids: list[tuple[int, int]] = []
    for make in (network.construct, network.destruct):
        waiting = list(range(shells))
        seed.shuffle(waiting)
        while waiting or network.queues:
            action = seed.random()
            if troubles and action < 0.1:
                trouble(network, troubles.pop(), seed, dead)
            elif waiting and action < 0.5:
                shell = waiting.pop()
                # A shell without a process has nobody who could ask.
                if shell not in network.lost and not {2 * shell, 2 * shell + 1} <= dead:
                    kind = {"GROUP_OPTIONAL": True, "GROUP_FT_COLLECTIVE": True} if optional else {}
                    ids.append((shell, make(shell, "g", GROUP_NOTIFY_TERMINATION=True, TIMEOUT=10, **kind)))
            elif network.queues:
                network.deliver(seed.choice(sorted(network.queues)))
        network.pass_time(60)
    for shell, id_ in ids:
        assert shell in network.lost or network.outcome(id_) in (0, TIMEOUT, DIED, LOST, EXISTS)
    assert network.idle
    for rank in range(2 * shells):
        if rank not in dead and rank // 2 not in network.lost:
            network.finalize(rank)
            network.exit(rank, 0)
    network.run()
    network.pass_time(1)
    assert network.bound == 0 and network.idle


def test_a_name_that_is_too_long_to_be_a_namespace_is_refused() -> None:
    network = Grouped([1, 1])
    ids = [network.construct(n, "g" * 256) for n in (0, 1)]
    ids += [network.construct(n, "g" * 255) for n in (0, 1)]
    network.run()
    assert [network.outcome(id_) for id_ in ids] == [Status.ERR_BAD_PARAM, Status.ERR_BAD_PARAM, 0, 0]


class Invited(Grouped):
    """Hosts whose processes raise the events that libpmix makes groups of."""

    def event(self, rank: int, status: Status, group: str, *who: int) -> None:
        infos = [Info(str(a.GROUP_ID), group)]
        if who:
            infos.append(Info(str(a.EVENT_CUSTOM_RANGE), DataArray(DataType.PROC, procs(*who))))
        range_ = Range.CUSTOM if who else Range.SESSION
        source = Proc("job", rank)
        shell = self.job.taskmap.node_of(rank)
        self.upcall(shell, lambda id_: NotifyEvent(id_, int(status), source, range_, tuple(infos)))
        self.run()

    def known(self, shell: int) -> dict[str, list[int]]:
        return {name: [proc.rank for proc in found] for name, found in self.hosts[shell].groups.items()}


def test_groups_made_by_invitation_are_known_where_their_members_are() -> None:
    network = Invited([2, 1, 1])
    network.event(1, Status.GROUP_CONSTRUCT_COMPLETE, "team", 1, 2)
    assert [network.known(shell) for shell in range(3)] == [{"team": [1, 2]}, {"team": [1, 2]}, {}]
    network.event(2, Status.GROUP_LEFT, "team")
    network.event(3, Status.GROUP_LEFT, "team")
    assert [network.known(shell) for shell in range(3)] == [{"team": [1]}, {}, {}]
    network.exit(1, 0)
    assert network.bound == 0


def test_events_that_make_no_sense_make_no_group() -> None:
    network = Invited([1, 1])
    network.event(0, Status.GROUP_CONSTRUCT_COMPLETE, "not in it", 1)
    network.event(0, Status.GROUP_CONSTRUCT_COMPLETE, "nobody")
    network.event(0, Status.GROUP_CONSTRUCT_COMPLETE, "out of range", 0, 9)
    network.event(0, Status.GROUP_LEFT, "unknown")
    assert network.bound == 0


def test_a_group_by_invitation_does_not_keep_its_name_from_others() -> None:
    network = Invited([1, 1, 1])
    network.event(0, Status.GROUP_CONSTRUCT_COMPLETE, "g", 0, 1, 2)
    ids = [network.construct(n, "g", procs(0, 1)) for n in (0, 1)]
    network.run()
    assert [network.outcome(id_) for id_ in ids] == [0, 0]
    assert network.known(0) == {"g": [0, 1]}


def test_a_member_that_left_is_none_any_more_and_its_end_is_not_told() -> None:
    network = Invited([1, 1, 1])
    for n in range(3):
        network.construct(n, "g", GROUP_NOTIFY_TERMINATION=True)
    network.run()
    network.event(2, Status.GROUP_LEFT, "g")
    assert network.known(0) == {"g": [0, 1]}
    network.exit(2)
    network.run()
    network.pass_time(0)
    assert network.told == []
