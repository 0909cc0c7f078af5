"""Flux jobs that outlive the first, in the simulator: whoever hears of its end when, all that was asked is answered."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from simulator import NSPACE, Network

from fluxpmix.host.effects import Effect, Place, Submit, Welcome, Withdraw
from fluxpmix.host.host import Host
from fluxpmix.host.submission import Arrival
from fluxpmix.host.world import World
from fluxpmix.job.model import Node
from fluxpmix.job.taskmap import TaskMap
from fluxpmix.pmix import attributes
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import RANK_WILDCARD, AppSpec, DataType, Info, Persistence, Proc
from fluxpmix.pmix.upcalls import Allocate, JobControl, Lookup, Publish, Spawn

ADDED = ("job2", "job3")


class Jobs(Network):
    """A first job, and Flux jobs that it has spawned, each with shells of its own."""

    def __init__(self, *counts: tuple[int, ...]) -> None:
        super().__init__(counts[0])
        place = Place(1, "first", tuple(range(len(counts[0]))))
        self.hosts = [
            Host(self.job, shell, fanout=2, oversubscribe=True, place=place) for shell in range(len(counts[0]))
        ]
        self.first_numbers = {NSPACE: 0}
        self.withdrawn: list[Withdraw] = []
        self.submitted: list[tuple[int, Submit]] = []
        for name, ranks in zip(ADDED, counts[1:], strict=False):
            self.spawn(0, NSPACE, Info(attributes.ALLOC_NUM_NODES, len(ranks)), count=sum(ranks))
            self.settle()
            self.arrive(name, ranks)
            self.settle()

    def perform(self, shell: int, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Submit):
                self.submitted.append((shell, effect))
            elif isinstance(effect, Withdraw):
                self.withdrawn.append(effect)
            elif isinstance(effect, Welcome):
                self.welcome(effect)
            else:
                super().perform(shell, [effect])

    def arrive(self, name: str, counts: tuple[int, ...]) -> None:
        """The shells of the Flux job that was submitted are up."""
        shell, submit = self.submitted.pop()
        nodes = tuple(Node(node, f"{name}-{node}", slots=max(1, count)) for node, count in enumerate(counts))
        arrival = Arrival(name, Place(100, name, tuple(range(len(counts)))), nodes, TaskMap.block(counts))
        self.perform(shell, self.hosts[shell].outcomes.joined(submit.ticket, arrival, self.now))

    def welcome(self, effect: Welcome) -> None:
        world = World.decode(effect.world)
        own = world.own
        self.first_numbers[own.job.nspace] = own.first
        for shell in own.shells:
            assert shell == len(self.hosts)
            self.hosts.append(Host(world.root, shell, fanout=2, oversubscribe=True, place=own.place, world=world))
        for shell in own.shells:
            for rank in own.job.ranks(shell):
                self.perform(shell, self.hosts[shell].task_started(own.first + rank, 1, self.now))
            self.perform(shell, self.hosts[shell].outcomes.launched(own.first, 2, 0, "", self.now))

    def settle(self, chance: random.Random | None = None) -> None:
        while self.queues or self.launches:
            if self.queues:
                self.deliver(chance.choice(sorted(self.queues)) if chance else min(self.queues))
            else:
                self.carry_out()

    def shells_of(self, nspace: str) -> range:
        member = self.hosts[-1].directory.get(nspace)
        assert member is not None
        return member.shells

    def shells_with(self, shell: int) -> range:
        return next(one.shells for one in self.hosts[-1].directory.members if shell in one.shells)

    def leave(self, nspace: str) -> list[tuple[int, int]]:
        """The processes of a job end, and its shells leave. Returns who is still to be told: (peer, shell)."""
        shells = self.shells_of(nspace)
        for shell in shells:
            for rank in self.hosts[shell].directory.numbers_on(shell):
                self.perform(shell, self.hosts[shell].task_exited(rank, 0, self.now))
        self.run_within(shells)
        for shell in shells:
            self.perform(shell, self.hosts[shell].close(self.now))
            self.lost.add(shell)
        return [(peer, shell) for peer in range(len(self.hosts)) for shell in shells if peer not in self.lost]

    def run_within(self, shells: range) -> None:
        """Deliver what shells of one job say to each other: they wait for that."""
        while pairs := [pair for pair in sorted(self.queues) if pair[0] in shells and pair[1] in shells]:
            self.deliver(pairs[0])

    def tell(self, peer: int, shell: int) -> None:
        """A shell hears that another has left: what all of its job have sent it came before."""
        for pair in [(each, peer) for each in self.shells_with(shell)]:
            while pair in self.queues:
                self.deliver(pair)
        self.perform(peer, self.hosts[peer].shell_lost(shell, "it has left", self.now))

    # -- requests ----------------------------------------------------------------------------------

    def spawn(self, shell: int, nspace: str, *directives: Info, count: int = 1) -> int:
        apps = (AppSpec("prog", ("prog",), maxprocs=count),)
        return self.upcall(shell, lambda id_: Spawn(id_, Proc(nspace, 0), directives, apps))

    def publish(self, shell: int, proc: Proc, key: str, persistence: Persistence = Persistence.SESSION) -> int:
        infos = (Info(key, f"by {proc.nspace}", DataType.STRING), Info(attributes.PERSISTENCE, int(persistence)))
        infos += (Info(attributes.USERID, 7),)
        return self.upcall(shell, lambda id_: Publish(id_, proc, infos))

    def lookup(self, shell: int, proc: Proc, key: str, waits: bool = False) -> int:
        infos = (Info(attributes.USERID, 7), *((Info(attributes.WAIT, 1),) if waits else ()))
        return self.upcall(shell, lambda id_: Lookup(id_, proc, (key,), infos))

    def define(self, shell: int, nspace: str, name: str) -> int:
        infos = (Info(attributes.JOB_CTRL_DEFINE_PSET, name),)
        return self.upcall(shell, lambda id_: JobControl(id_, Proc(nspace, 0), (Proc(nspace, RANK_WILDCARD),), infos))

    def found(self, asked: int) -> Any:
        status, values = self.replies[asked]
        return [each.value.data for each in values] if status == 0 else Status(status)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 1 << 30))
def test_what_is_asked_while_the_first_job_ends_is_answered_all_the_same(seed: int) -> None:
    chance = random.Random(seed)
    network = Jobs((1, 1), (1, 1), (1,))
    two, three = (network.shells_of(name)[0] for name in ADDED)
    mine, theirs, first = Proc("job2", 0), Proc("job3", 0), Proc(NSPACE, 0)
    for key, proc, shell in (("a", first, 0), ("b", mine, two), ("c", theirs, three), ("d", theirs, three)):
        network.publish(shell, proc, key)
    network.publish(0, first, "of the first", Persistence.APPLICATION)
    network.publish(three, theirs, "for its life", Persistence.PROCESS)
    waits = network.lookup(two, mine, "late", waits=True)
    network.settle()
    untold = network.leave(NSPACE)
    asked: dict[str, int] = {}
    requests = {
        "spawn": lambda: network.spawn(three, "job3"),
        "spawn too": lambda: network.spawn(two, "job2"),
        "late": lambda: network.publish(three, theirs, "late"),
        "set": lambda: network.define(three, "job3", "set"),
        "its set": lambda: network.define(two, "job2", "its set"),
        **{key: (lambda key=key: network.lookup(three, theirs, key)) for key in ("a", "b", "of the first")},
        **{f"{key}.": (lambda key=key: network.lookup(two, mine, key)) for key in ("c", "d", "for its life")},
    }
    steps: list[Any] = [*requests, *untold]
    chance.shuffle(steps)
    for step in steps:
        if isinstance(step, str):
            asked[step] = requests[step]()
        else:
            network.tell(*step)
        for _ in range(chance.randrange(4)):
            if network.queues:
                network.deliver(chance.choice(sorted(network.queues)))
    network.settle(chance)
    assert network.replies[asked["late"]][0] == 0 and network.found(waits) == ["by job3"]
    assert {network.replies[asked[each]][0] for each in ("set", "its set")} == {0}
    assert sorted(network.replies[asked[each]] for each in ("spawn", "spawn too")) == [(0, "job.11"), (0, "job.12")]
    assert network.found(asked["of the first"]) is Status.ERR_NOT_FOUND
    again = {key: network.lookup(three, theirs, key) for key in ("a", "b", "c", "d", "for its life")}
    network.settle()
    assert {key: network.found(number) for key, number in again.items()} == {
        "a": [f"by {NSPACE}"],
        "b": ["by job2"],
        "c": ["by job3"],
        "d": ["by job3"],
        "for its life": ["by job3"],
    }
    assert all(host.counters["malformed"] == 0 for host in network.hosts) and network.idle


def test_the_next_takes_over_from_the_second() -> None:
    network = Jobs((1,), (1, 1), (1,))
    network.publish(0, Proc(NSPACE, 0), "kept")
    network.settle()
    for nspace in (NSPACE, "job2"):
        for each in network.leave(nspace):
            network.tell(*each)
        network.settle()
    three = network.shells_of("job3")[0]
    asked = (
        network.lookup(three, Proc("job3", 0), "kept"),
        network.spawn(three, "job3"),
        network.define(three, "job3", "s"),
    )
    network.settle()
    assert network.found(asked[0]) == [f"by {NSPACE}"]
    assert [network.replies[each][0] for each in asked[1:]] == [0, 0]


def test_an_allocation_is_given_back_to_whoever_has_taken_over() -> None:
    network = Jobs((1,), (1,))
    two = network.shells_of("job2")[0]
    new = (Info(attributes.ALLOC_NUM_NODES, 1), Info(attributes.ALLOC_CHILD_SEP, True))
    asked = network.upcall(0, lambda id_: Allocate(id_, Proc(NSPACE, 0), 1, new))
    network.arrive("job3", (1,))
    network.settle()
    assert network.replies[asked][0] == 0
    for each in network.leave(NSPACE):
        network.tell(*each)
    back = (Info(attributes.ALLOC_ID, "job3"),)
    for status in (0, int(Status.ERR_NOT_FOUND)):  # but once
        asked = network.upcall(two, lambda id_: Allocate(id_, Proc("job2", 0), 3, back))
        network.settle()
        assert network.replies[asked][0] == status
    (withdrawn,) = network.withdrawn
    assert (withdrawn.ticket, withdrawn.job) == (0, 100)


def test_a_shell_that_does_not_lead_a_job_decides_nothing() -> None:
    network = Jobs((1, 1), (1, 1))
    before = network.hosts[3].counters["malformed"]
    frame = next(iter(_asking(network)))
    network.perform(3, network.hosts[3].receive(1, memoryview(frame), 0.0))
    assert network.hosts[3].counters["malformed"] == before + 1


def _asking(network: Jobs) -> list[bytes]:
    """The frame with which shell 1 asks for a spawn."""
    network.upcall(1, lambda id_: Spawn(id_, Proc(NSPACE, 1), (), (AppSpec("prog", ("prog",), maxprocs=1),)))
    return list(network.queues.pop((1, 0)))


def test_ordinary_ends_are_told_before_a_job_leaves() -> None:
    """Those that stay hear of no failure, and of no lost node."""
    network = Jobs((1, 1), (1,))
    told: list[int] = []
    for peer, shell in network.leave(NSPACE):
        for frame in network.queues.pop((shell, peer), ()):
            told += statuses(network.hosts[peer].receive(shell, memoryview(frame), 0.0))
        told += statuses(network.hosts[peer].shell_lost(shell, "it has left", 0.0))
    assert set(told) == {int(Status.EVENT_PROC_TERMINATED)}


def statuses(effects: list[Effect]) -> list[int]:
    return [effect.status for effect in effects if type(effect).__name__ == "Notify"]
