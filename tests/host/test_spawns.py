"""PMIx_Spawn in the simulator: any order of messages and outcomes ends in one state on all shells."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulator import NSPACE, Network

from fluxpmix.host import wire
from fluxpmix.host.capabilities import failures
from fluxpmix.host.frames import NO_DIGEST, Message, Tag, encode
from fluxpmix.host.placement import place
from fluxpmix.host.publication import Refused
from fluxpmix.host.spawnrequest import Policy, read
from fluxpmix.job.model import Node
from fluxpmix.pmix import attributes
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import RANK_WILDCARD, AppSpec, Envar, Info, Infos, Proc, Range
from fluxpmix.pmix.upcalls import DirectModex, Fence, NotifyEvent, Spawn

SUCCESS = (0, "job.1")


def spawn(network: Network, shell: int, count: int = 2, directives: Infos = (), command: str = "prog") -> int:
    rank = network.job.ranks(shell)[0]
    apps = (AppSpec(command, (command,), maxprocs=count),)
    return network.upcall(shell, lambda id_: Spawn(id_, Proc(NSPACE, rank), tuple(directives), apps))


def settle(network: Network) -> None:
    """Let all messages arrive and all steps be done."""
    network.run()
    while network.launches:
        network.carry_out()
        network.run()


def known(network: Network) -> list[tuple[str, int]]:
    """The jobs that shells know, the same on all of them."""
    found = [sorted((one.job.nspace, one.first) for one in host.directory.members) for host in network.hosts]
    assert all(each == found[0] for each in found)
    return found[0]


@pytest.mark.parametrize("counts", [(1,), (2, 2), (1, 1, 1, 1, 1)])
def test_a_job_is_registered_everywhere_before_any_task_of_it_is_started(counts: tuple[int, ...]) -> None:
    network = Network(counts, fanout=2)
    asked = spawn(network, len(counts) - 1, 3)
    started = []
    network.run()
    while network.launches:
        _, effect = network.launches[0]
        started.append(type(effect).__name__)
        network.carry_out()
        network.run()
    registered = started.index("Start") if "Start" in started else len(started)
    assert started[:registered] == ["Prepare"] + ["Register"] * len(counts)
    assert network.replies[asked] == SUCCESS and network.idle
    assert known(network) == [(NSPACE, 0), ("job.1", sum(counts))]


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 5), st.lists(st.tuples(st.integers(0, 4), st.integers(1, 6)), min_size=1, max_size=5), st.data())
def test_spawns_at_once_end_in_one_state_on_all_shells(
    shells: int, wanted: list[tuple[int, int]], data: st.DataObject
) -> None:
    """Whatever the order of messages and steps, and whichever steps fail."""
    network = Network((2,) * shells, fanout=2)
    asked = [spawn(network, shell % shells, count) for shell, count in wanted]
    chance = random.Random(data.draw(st.integers(0, 1 << 30)))
    while network.queues or network.launches:
        if network.launches and (not network.queues or chance.random() < 0.5):
            network.launches.rotate(chance.randrange(len(network.launches)) if _may_turn(network) else 0)
            fails = chance.random() < 0.1
            network.carry_out(int(Status.ERR_JOB_EXE_NOT_FOUND) if fails else 0, "it is not there" if fails else "")
        else:
            network.deliver(chance.choice(sorted(network.queues)))
    assert network.idle
    replies = [network.replies[each] for each in asked]
    names = [name for status, name in replies if status == 0]
    assert len(set(names)) == len(names)
    jobs = known(network)
    assert set(names) <= {name for name, _ in jobs}
    numbers = [number for member in network.hosts[0].directory.members for number in member.numbers]
    assert len(set(numbers)) == len(numbers)


def _may_turn(network: Network) -> bool:
    """Steps of different shells and jobs are done in any order; those of one job on one shell in theirs."""
    keys = [(shell, effect.launch.first) for shell, effect in network.launches]
    return len(set(keys)) == len(keys)


@pytest.mark.parametrize("step", ["Prepare", "Register", "Start"])
@pytest.mark.parametrize("asker", [0, 2])
def test_a_step_that_fails_is_undone_everywhere(step: str, asker: int) -> None:
    network = Network((1, 1, 1))
    asked = spawn(network, asker, 3)
    network.run()
    failed = False
    while network.launches:
        shell, effect = network.launches[0]
        fails = not failed and type(effect).__name__ == step and (step == "Prepare" or shell == 1)
        failed = failed or fails
        network.carry_out(int(Status.ERR_JOB_EXE_NOT_FOUND) if fails else 0, "no" if fails else "")
        network.run()
    assert network.replies[asked] == (int(Status.ERR_JOB_EXE_NOT_FOUND), None) and network.idle
    if step != "Start":
        assert known(network) == [(NSPACE, 0)]
        assert all(not started for _, _, started in network.dropped)
    else:
        assert sorted(network.dropped) == [(shell, 3, True) for shell in range(3)]
    again = spawn(network, asker, 3)
    settle(network)
    assert network.replies[again] == (0, "job.2")


def test_it_ends_in_time_where_a_shell_does_not_answer() -> None:
    network = Network((1, 1))
    asked = spawn(network, 1, 2, [Info(attributes.SPAWN_TIMEOUT, 3)])
    network.run()
    network.carry_out()
    network.pass_time(4)
    assert network.replies[asked] == (int(Status.ERR_TIMEOUT), None)


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_it_ends_with_a_shell_that_is_lost(lost: int) -> None:
    network = Network((1, 1, 1))
    asker = 0 if lost == 2 else 2
    asked = spawn(network, asker, 3)
    network.run()
    network.lose(lost)
    network.run()
    assert network.replies[asked] == (int(Status.ERR_LOST_CONNECTION), None)


def test_a_shell_that_has_only_to_know_of_it_may_be_lost() -> None:
    network = Network((1, 1, 1))
    asked = spawn(network, 0, 1)
    network.run()
    network.lose(2)
    settle(network)
    assert network.replies[asked] == SUCCESS


def test_a_shell_that_leaves_tells_those_that_stay_of_its_own_ends() -> None:
    """They wait for the end of the whole job, where another job's processes make them stay."""
    network = Network((1, 1))
    spawn(network, 0, 1)
    settle(network)
    network.exit(1, 0)
    assert network.hosts[0].get(failures).ended == ()
    network.perform(1, network.hosts[1].close(network.now))
    network.run()
    network.lost.add(1)
    network.pass_time(1)
    assert network.hosts[0].get(failures).ended == (1,)


def test_fences_and_gets_reach_over_jobs() -> None:
    network = Network((1, 1, 1))
    spawn(network, 1, 2)
    settle(network)
    child = [Proc("job.1", rank) for rank in range(2)]
    where = network.hosts[0].directory
    both = (Proc(NSPACE, 2), Proc("job.1", RANK_WILDCARD))
    shells = where.shells(both)
    fences = [
        network.upcall(shell, lambda id_: Fence(id_, both, (Info(attributes.COLLECT_DATA, True),), b"x"))
        for shell in shells
    ]
    settle(network)
    assert [network.replies[each] for each in fences] == [(0, b"x" * len(shells))] * len(shells)
    for proc in child:
        (home,) = where.shells((proc,))
        other = (home + 1) % 3
        get = network.upcall(other, lambda id_, p=proc: DirectModex(id_, p, (Info(attributes.REQUIRED_KEY, "k"),)))
        network.run()
        assert get not in network.replies
        network.perform(home, network.hosts[home].task_exited(where.number(proc), 9, network.now))
        network.run()
        assert network.replies[get][0] == int(Status.ERR_PROC_TERM_WO_SYNC)


def test_events_of_a_namespace_stay_in_it() -> None:
    network = Network((1, 1, 1, 1))
    spawn(network, 3, 2)
    settle(network)
    before = network.sent
    source = Proc("job.1", 0)
    network.upcall(0, lambda id_: NotifyEvent(id_, -400, source, Range.NAMESPACE, ()))
    network.run()
    targets = network.hosts[0].directory.shells((Proc("job.1", RANK_WILDCARD),))
    assert network.sent - before == len(set(targets) - {0})


# -- garbage -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "tag", "body"),
    [
        (1, Tag.SPAWN, None),
        (1, Tag.SPAWN, (Proc(NSPACE, 1), (), (("prog", ("prog",), (), None, "two", ()),))),
        (1, Tag.SPAWN, (Proc(NSPACE, 1), (), ((1, 2, 3),))),
        (1, Tag.SPAWNED, "job.7"),
        (1, Tag.LAUNCHED, 5),
        (2, Tag.LAUNCH, (None, (2, 3, None))),
        (1, Tag.LAUNCH, (None, (9, 3, None))),
        (1, Tag.LAUNCH, "what"),
    ],
)
def test_garbage_is_refused_and_starts_nothing(source: int, tag: Tag, body: Any) -> None:
    network = Network((1, 1, 1))
    frame = encode(Message(tag, 0, 1, NO_DIGEST, 0, ((source, wire.encode(body)),)))
    network.perform(0, network.hosts[0].receive(source, b"".join(frame), 0.0))
    network.run()
    assert network.hosts[0].counters["malformed"] == 1
    assert not network.launches and known(network) == [(NSPACE, 0)]


def test_a_launch_that_makes_no_sense_is_refused() -> None:
    network = Network((1, 1))
    body = ((1, Proc(NSPACE, 0), 0, False, False), (None, "k", "[[0,1,1,1]]", (), ()), (), (), b"")
    frame = encode(Message(Tag.LAUNCH, 0, 1, NO_DIGEST, 0, ((0, wire.encode((None, (1, 2, body)))),)))
    network.perform(1, network.hosts[1].receive(0, b"".join(frame), 0.0))
    assert network.hosts[1].counters["malformed"] == 1 and not network.launches


# -- requests ------------------------------------------------------------------------------------------


def nodes(*slots: int) -> tuple[Node, ...]:
    return tuple(Node(at, f"n{at}", slots=each) for at, each in enumerate(slots))


@pytest.mark.parametrize(
    ("slots", "busy", "policy", "column"),
    [
        ((4, 4), (1, 1), Policy(), [0, 0, 0, 1]),
        ((4, 4), (1, 1), Policy(by="node"), [0, 1, 0, 1]),
        ((4, 4), (1, 1), Policy(by="node", rank_by="slot"), [0, 0, 1, 1]),
        ((4, 4), (3, 0), Policy(per_node=2), None),
        ((4, 4), (2, 0), Policy(per_node=2), [0, 0, 1, 1]),
        ((4, 4), (0, 0), Policy(hosts=(("n1", None),)), [1, 1, 1, 1]),
        ((4, 4), (0, 0), Policy(hosts=(("n1", 1), ("n0", None))), [1, 0, 0, 0]),
        ((2, 1), (0, 0), Policy(), None),
    ],
)
def test_processes_go_to_free_slots(
    slots: tuple[int, ...], busy: tuple[int, ...], policy: Policy, column: list[int] | None
) -> None:
    if column is None:
        with pytest.raises(Refused) as refused:
            place((4,), (policy,), nodes(*slots), busy, False)
        assert refused.value.status == int(Status.ERR_OUT_OF_RESOURCE)
    else:
        assert list(place((4,), (policy,), nodes(*slots), busy, False).node_column()) == column


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=4),
    st.lists(st.integers(1, 5), min_size=1, max_size=3),
    st.sampled_from(["slot", "node"]),
    st.booleans(),
)
def test_places_are_within_slots_or_shared_evenly(
    slots: list[int], sizes: list[int], by: str, oversubscribe: bool
) -> None:
    there = nodes(*slots)
    try:
        counts = place(sizes, [Policy(by=by)] * len(sizes), there, [0] * len(slots), oversubscribe).counts()
    except Refused:
        assert not oversubscribe and sum(sizes) > sum(slots)
        return
    counts += [0] * (len(slots) - len(counts))
    assert sum(counts) == sum(sizes)
    over = [count - each for count, each in zip(counts, slots, strict=True)]
    if sum(sizes) <= sum(slots):
        assert max(over) <= 0
    else:
        assert min(over) >= 0 and max(over) - min(over) <= 1


def test_variables_are_changed_as_asked() -> None:
    infos = (
        Info(attributes.PREPEND_ENVAR, Envar("PATH", "/new")),
        Info(attributes.APPEND_ENVAR, Envar("LIST", "z", ";")),
        Info(attributes.ADD_ENVAR, Envar("KEPT", "new")),
        Info(attributes.ADD_ENVAR, Envar("ADDED", "new")),
        Info(attributes.FIRST_ENVAR, Envar("ORDER", "b")),
        Info(attributes.UNSET_ENVAR, "GONE"),
        Info(attributes.PREFIX, "/opt/it"),
    )
    app = AppSpec("prog", ("prog",), env=("OWN=1", "KEPT=old"), directives=infos)
    (command,) = read(Proc(NSPACE, 0), (), (app,)).commands
    base = {"PATH": "/bin", "LIST": "a", "GONE": "x", "ORDER": "a:b:c"}
    assert command.environment(base) == {
        "PATH": "/opt/it/bin:/new:/bin",
        "LD_LIBRARY_PATH": "/opt/it/lib",
        "LIST": "a;z",
        "OWN": "1",
        "KEPT": "old",
        "ADDED": "new",
        "ORDER": "b:a:c",
    }


@pytest.mark.parametrize(
    ("directives", "status"),
    [
        ([Info(attributes.MAPBY, "slot:oversubscribe"), Info(attributes.NO_OVERSUBSCRIBE, True)], "ERR_BAD_PARAM"),
        ([Info(attributes.MAPBY, "ppr:x:node")], "ERR_BAD_PARAM"),
        ([Info(attributes.PPR, "2:core")], "ERR_NOT_SUPPORTED"),
        ([Info(attributes.RANKBY, "moon")], "ERR_NOT_SUPPORTED"),
        ([Info(attributes.HOST, "n0:many")], "ERR_BAD_PARAM"),
        ([Info(attributes.SET_ENVAR, "NAME")], "ERR_BAD_PARAM"),
        ([Info(attributes.PRELOAD_FILES, "a,b")], "ERR_NOT_SUPPORTED"),
        ([Info(attributes.STDIN_TGT, "moon")], "ERR_BAD_PARAM"),
        ([Info(attributes.STDIN_TGT, 1)], "ERR_BAD_PARAM"),
        ([Info(attributes.STDIN_TGT, Proc("other", 1))], "ERR_BAD_PARAM"),
    ],
)
def test_requests_that_make_no_sense_are_refused(directives: list[Info], status: str) -> None:
    with pytest.raises(Refused) as refused:
        read(Proc(NSPACE, 0), tuple(directives), (AppSpec("prog"),))
    assert refused.value.status == int(Status[status])
