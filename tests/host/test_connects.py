"""What must hold of connect and disconnect over shells."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from shaking import trouble
from simulator import Network, procs

from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import Info, Proc
from fluxpmix.pmix.upcalls import Connect, Disconnect, Upcall


class Connected(Network):
    """Hosts that are asked to connect and disconnect."""

    def all(self, kind: type[Upcall], who: tuple[Proc, ...] = procs(), shells: tuple[int, ...] = (0, 1, 2)) -> set[int]:
        infos = (Info(a.TIMEOUT, 3),)
        ids = [self.upcall(shell, lambda id_: kind(id_, who, infos)) for shell in shells]  # type: ignore[call-arg]
        self.run()
        self.pass_time(5)
        return {self.replies[id_][0] for id_ in ids}

    @property
    def bound(self) -> int:
        return sum(host.bound for shell, host in enumerate(self.hosts) if shell not in self.lost)


def test_a_set_is_disconnected_as_often_as_it_was_connected() -> None:
    network = Connected([2, 1, 1])
    assert network.all(Disconnect) == {Status.ERR_INVALID_OPERATION}
    assert network.all(Connect) == network.all(Connect) == {0}
    assert network.all(Connect, procs(0, 2), (0, 1)) == {0}
    assert network.bound == 5
    assert network.all(Disconnect) == network.all(Disconnect) == {0}
    assert network.all(Disconnect) == {Status.ERR_INVALID_OPERATION}
    assert network.bound == 2 and network.idle


def test_one_that_never_comes_ends_it_in_time() -> None:
    network = Connected([1, 1, 1])
    assert network.all(Connect, shells=(0, 2)) == {Status.ERR_TIMEOUT}
    assert network.bound == 0


def test_one_that_is_gone_ends_it() -> None:
    network = Connected([1, 1, 1])
    network.exit(1)
    assert network.all(Connect, shells=(0, 2)) == {Status.ERR_PROC_TERM_WO_SYNC}
    network.lose(1)
    assert network.all(Connect, shells=(0, 2)) == {Status.ERR_LOST_CONNECTION}
    assert network.idle


def test_who_does_not_exist_cannot_be_connected() -> None:
    network = Connected([1, 1, 1])
    assert network.all(Connect, (Proc("elsewhere", 0),)) == {Status.ERR_NOT_FOUND}
    assert network.all(Connect, procs(0, 99)) == {Status.ERR_BAD_PARAM}
    assert network.all(Connect, procs(1), (0,)) == {Status.ERR_BAD_PARAM}


def test_nothing_stays_of_processes_that_are_gone() -> None:
    network = Connected([2, 1, 1])
    assert network.all(Connect) == {0}
    for rank in range(4):
        network.finalize(rank)
        network.exit(rank, 0)
    network.run()
    assert network.bound == 0 and network.idle


ENDS = {
    *(0, int(Status.ERR_TIMEOUT), int(Status.ERR_PROC_TERM_WO_SYNC), int(Status.ERR_LOST_CONNECTION)),
    int(Status.ERR_INVALID_OPERATION),  # to part where connecting has failed
}


@settings(deadline=None, max_examples=200)
@given(
    shells=st.integers(2, 8),
    troubles=st.lists(st.sampled_from(["lose message", "repeat message", "die", "lose shell"]), max_size=4),
    rounds=st.integers(1, 3),
    seed=st.integers(0, 2**32).map(random.Random),
)
def test_whatever_goes_wrong_no_connection_hangs_or_stays(
    shells: int, troubles: list[str], rounds: int, seed: random.Random
) -> None:
    network = Connected([2] * shells, fanout=seed.randint(1, 4))
    for rank in range(2 * shells):
        network.connect(rank)
    some = tuple(sorted(seed.sample(range(2 * shells), seed.randint(1, 2 * shells))))
    sets = [(procs(), set(range(shells))), (procs(*some), {rank // 2 for rank in some})]
    dead: set[int] = set()
    ids: list[tuple[int, int]] = []
    clean = not troubles
    for kind in (Connect, Disconnect) * rounds:
        waiting = [(shell, who) for who, members in sets for shell in members]
        seed.shuffle(waiting)
        while waiting or network.queues:
            action = seed.random()
            if troubles and action < 0.1:
                trouble(network, troubles.pop(), seed, dead)
            elif waiting and action < 0.5:
                shell, who = waiting.pop()
                here = {proc.rank for proc in who if proc.rank // 2 == shell} or {2 * shell, 2 * shell + 1}
                if shell not in network.lost and not here <= dead:
                    directives = (Info(a.TIMEOUT, 10),)
                    ids.append((shell, network.upcall(shell, lambda id_: kind(id_, who, directives))))  # noqa: B023
            elif network.queues:
                network.deliver(seed.choice(sorted(network.queues)))
        network.pass_time(60)
        if clean:
            assert network.bound == (sum(len(members) for _, members in sets) if kind is Connect else 0) or some == ()
    outcomes = {network.replies[id_][0] for shell, id_ in ids if shell not in network.lost}
    assert outcomes <= ENDS and (not clean or outcomes == {0})
    for rank in range(2 * shells):
        if rank not in dead and rank // 2 not in network.lost:
            network.finalize(rank)
            network.exit(rank, 0)
    network.run()
    network.pass_time(1)
    assert network.bound == 0 and network.idle
