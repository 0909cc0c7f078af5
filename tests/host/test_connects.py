"""What must hold of connect and disconnect over shells."""

from __future__ import annotations

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
