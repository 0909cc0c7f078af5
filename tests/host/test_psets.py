"""What must hold of process sets over shells, on networks good and bad."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shaking import shake
from simulator import NSPACE, Network, make_job, procs

from fluxpmix.host.effects import DefineSet, Effect
from fluxpmix.host.frames import NO_DIGEST, Message, Tag, encode
from fluxpmix.host.host import Host
from fluxpmix.host.wire import encode as packed
from fluxpmix.job.model import ProcessSet
from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.record import replace
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import DataArray, Info, Proc, QueryItem, find
from fluxpmix.pmix.upcalls import JobControl, Query

EXISTS, BAD, LOST = int(Status.ERR_EXISTS), int(Status.ERR_BAD_PARAM), int(Status.ERR_LOST_CONNECTION)
TIMEOUT, NOT_FOUND = int(Status.ERR_TIMEOUT), int(Status.ERR_NOT_FOUND)


class Named(Network):
    """Hosts that are asked for process sets, and what each of their libpmix is told of them."""

    def __init__(self, counts: list[int], **sets: tuple[int, ...]) -> None:
        super().__init__(counts)
        self.job = replace(make_job(counts), psets=tuple(ProcessSet(*item) for item in sets.items()))
        self.hosts = [Host(self.job, shell) for shell in range(len(counts))]
        self.told: list[dict[str, tuple[int, ...]]] = [dict(sets) for _ in counts]  # from the registration

    def perform(self, shell: int, effects: list[Effect]) -> None:
        for one in effects:
            if isinstance(one, DefineSet) and one.members is not None:
                assert one.name not in self.told[shell], "a set is told once"
                self.told[shell][one.name] = tuple(proc.rank for proc in one.members)
            elif isinstance(one, DefineSet):
                del self.told[shell][one.name]
        super().perform(shell, effects)

    def define(self, shell: int, name: Any, who: tuple[Proc, ...] = procs(), **more: Any) -> int:
        infos = (Info(a.JOB_CTRL_DEFINE_PSET, name), *(Info(getattr(a, key), value) for key, value in more.items()))
        first = Proc(NSPACE, next(iter(self.job.ranks(shell))))
        return self.upcall(shell, lambda id_: JobControl(id_, first, who, infos))

    def ask(self, shell: int, key: str, name: str | None = None) -> Any:
        qualifiers = () if name is None else (Info(a.PSET_NAME, name),)
        item = QueryItem((key,), qualifiers)
        id_ = self.upcall(shell, lambda id_: Query(id_, Proc(NSPACE, 0), (item,)))
        status, found = self.replies[id_]
        value = find(found or (), key)
        return status if status else [proc.rank for proc in value.items] if isinstance(value, DataArray) else value

    def outcome(self, id_: int) -> int:
        return self.replies[id_][0]


def test_whoever_is_answered_can_count_on_all_knowing() -> None:
    network = Named([2, 1, 1])
    id_ = network.define(2, "late", procs(3, 0), JOB_CTRL_ID="mine")
    while id_ not in network.replies:
        network.deliver(next(iter(network.queues)))
    assert network.replies[id_] == (0, (Info(a.JOB_CTRL_ID, "mine"),))
    assert network.told == [{"late": (0, 3)}] * 3
    assert [network.ask(shell, a.QUERY_PSET_MEMBERSHIP, "late") for shell in range(3)] == [[0, 3]] * 3
    network.run()
    assert network.idle


def test_the_sets_of_the_job_are_known_from_the_beginning() -> None:
    network = Named([1, 1], left=(0,), all=(0, 1))
    assert network.ask(1, a.QUERY_NUM_PSETS) == 2
    assert network.ask(1, a.QUERY_PSET_NAMES) == "left,all"
    assert network.ask(1, a.QUERY_PSET_MEMBERSHIP, "left") == [0]
    assert network.ask(1, a.QUERY_PSET_MEMBERSHIP, "none") == NOT_FOUND
    assert network.ask(1, a.QUERY_PSET_MEMBERSHIP) == NOT_FOUND


def test_one_name_means_one_set() -> None:
    network = Named([1, 1, 1], left=(0,))
    ids = [network.define(1, "new", procs(0, 1)), network.define(2, "new", procs(1, 2))]
    ids += [
        network.define(2, "new", procs(1, 0)),
        network.define(0, "left", procs(1)),
        network.define(2, "left", procs(0)),
    ]
    network.run()
    outcomes = [network.outcome(id_) for id_ in ids]
    assert sorted(outcomes[:2]) == [EXISTS, 0]
    assert outcomes[3:] == [EXISTS, 0]
    assert network.told[0] == network.told[1] == network.told[2]
    assert network.idle


def test_all_are_meant_where_nobody_is_named() -> None:
    network = Named([2, 2])
    id_ = network.define(1, "all", ())
    network.run()
    assert network.outcome(id_) == 0 and network.told == [{"all": (0, 1, 2, 3)}] * 2


@pytest.mark.parametrize(
    ("name", "who", "more", "status"),
    [
        ("", procs(0), {}, BAD),
        ("a,b", procs(0), {}, BAD),
        ("a\0b", procs(0), {}, BAD),
        ("x" * 512, procs(0), {}, BAD),
        (7, procs(0), {}, BAD),
        ("new", procs(9), {}, NOT_FOUND),
        ("new", (Proc("elsewhere", 0),), {}, NOT_FOUND),
        ("new", procs(0), {"JOB_CTRL_KILL": True}, BAD),
        ("new", procs(0), {"JOB_CTRL_SIGNAL": 10}, BAD),
    ],
)
def test_what_makes_no_sense_is_refused(name: Any, who: tuple[Proc, ...], more: dict[str, Any], status: int) -> None:
    network = Named([1, 1])
    id_ = network.define(1, name, who, **more)
    assert network.outcome(id_) == status
    assert network.idle and not network.queues


def test_a_set_is_no_more_once_all_its_members_have_ended() -> None:
    network = Named([1, 1, 2], pair=(0, 1), all=(0, 1, 2, 3))
    network.define(2, "other", procs(2, 3))
    network.run()
    network.exit(1, 0)
    network.run()
    assert network.ask(2, a.QUERY_PSET_NAMES) == "pair,all,other"
    network.exit(0, 0)
    network.exit(2, 0)
    network.run()
    assert network.ask(1, a.QUERY_PSET_NAMES) == "all,other"
    assert network.told == [{"all": (0, 1, 2, 3), "other": (2, 3)}] * 3


def test_a_set_of_those_that_are_gone_is_gone_again() -> None:
    network = Named([1, 1, 1])
    network.exit(1, 0)
    id_ = network.define(0, "late", procs(1))
    network.run()
    assert network.outcome(id_) == 0
    assert network.told == [{}, {}, {}] and network.ask(2, a.QUERY_NUM_PSETS) == 0
    assert network.idle


def test_a_lost_shell_holds_nobody_up() -> None:
    network = Named([1, 1, 1], there=(2,))
    first = network.define(1, "one", procs(0, 1))
    network.lose(2)
    network.run()
    assert network.outcome(first) == 0 and network.told[:2] == [{"one": (0, 1)}] * 2
    second = network.define(1, "two", procs(0, 1))
    network.lose(0)
    third = network.define(1, "three", procs(1))
    assert [network.outcome(id_) for id_ in (second, third)] == [LOST, LOST]
    assert network.idle


def test_garbage_is_refused_and_changes_nothing() -> None:
    network = Named([1, 1, 1])
    for tag in (Tag.PSET_WANTED, Tag.PSET, Tag.PSET_LEFT):
        for body in (b"", b"junk", packed(7), packed(("a,b", procs(0))), packed(("a", (1,))), packed(("a", procs(9)))):
            frame = b"".join(encode(Message(tag, 0, 1, NO_DIGEST, 0, ((1, body),))))
            for shell in (0, 2):
                network.perform(shell, network.hosts[shell].receive(1, frame, 0.0))
    for tag in (Tag.PSET_DECIDED, Tag.PSET):
        frame = b"".join(encode(Message(tag, 0, 1, NO_DIGEST, 0, ((1, packed(("a", procs(0)))),))))
        network.perform(2, network.hosts[2].receive(1, frame, 0.0))
    assert network.told == [{}, {}, {}] and network.idle and not network.queues
    assert network.hosts[2].counters["malformed"] == 20


@settings(deadline=None, max_examples=200)
@given(data=st.data(), counts=st.lists(st.integers(1, 2), min_size=1, max_size=6), lossy=st.booleans())
def test_whatever_the_network_does_a_name_means_the_same_everywhere(
    data: st.DataObject, counts: list[int], lossy: bool
) -> None:
    network = Named(counts)
    size = sum(counts)
    asked: list[tuple[int, int, str, tuple[int, ...]]] = []
    for _ in range(data.draw(st.integers(1, 6))):
        shell = data.draw(st.sampled_from([n for n in range(len(counts)) if n not in network.lost]))
        ranks = tuple(sorted(data.draw(st.sets(st.integers(0, size - 1), min_size=1))))
        name = data.draw(st.sampled_from("ab"))
        asked.append((network.define(shell, name, procs(*ranks)), shell, name, ranks))
        shake(network, data, lossy)
        if len(network.lost) < len(counts) - 1 and data.draw(st.integers(0, 5)) == 0:
            network.lose(data.draw(st.sampled_from([n for n in range(len(counts)) if n not in network.lost])))
    network.run()
    network.pass_time(60)
    for id_, shell, name, ranks in asked:
        if shell in network.lost:
            continue
        status = network.outcome(id_)
        assert status in (0, EXISTS, TIMEOUT, LOST)
        if status == 0 and not network.lost:
            assert all(told[name] == ranks for told in network.told)
        if not lossy and not network.lost:
            assert status in (0, EXISTS)
    assert network.idle
