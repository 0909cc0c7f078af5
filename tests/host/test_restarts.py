"""What must hold of checkpoints and restarts over shells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from simulator import NSPACE, Network, procs

from fluxpmix.host.capabilities import checkpoints, failures, restarts
from fluxpmix.host.effects import Effect, Hear, Notify, Recount, Restart, Retire, Signal
from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import Info, Proc, find
from fluxpmix.pmix.upcalls import JobControl

KILLED = 9
OK = (0, None)


class Restarting(Network):
    """Hosts whose tasks are killed and started as they say; `refuse` are those that cannot be started again."""

    def __init__(self, counts: Sequence[int], **more: Any) -> None:
        super().__init__(counts, **more)
        self.retired: list[int] = []
        self.started: list[tuple[int, int, str]] = []
        self.counts: dict[int, dict[int, int]] = {}  # by shell
        self.told: list[tuple[int, int, Proc]] = []
        self.signals: list[tuple[int, tuple[int, ...]]] = []
        self.refuse: set[int] = set()
        for rank in range(self.job.size):
            self.perform(self.shell(rank), self.hosts[self.shell(rank)].task_started(rank, 100 + rank, 0.0))
            self.connect(rank)
        self.told.clear()

    def shell(self, rank: int) -> int:
        return self.job.taskmap.node_of(rank)

    def perform(self, shell: int, effects: list[Effect]) -> None:
        super().perform(shell, effects)
        for effect in effects:
            if isinstance(effect, Retire):
                self.retired += effect.numbers
            elif isinstance(effect, Restart):
                assert self.shell(effect.number) == shell
                self.started.append((effect.number, effect.count, effect.checkpoint))
                status = int(Status.ERR_JOB_EXE_NOT_FOUND) if effect.number in self.refuse else 0
                host = self.hosts[shell]
                if not status:
                    self.perform(shell, host.task_started(effect.number, 200 + effect.number, self.now))
                self.perform(shell, host.outcomes.restarted(effect.number, status, "no such file", self.now))
            elif isinstance(effect, Recount):
                self.counts.setdefault(shell, {})[effect.proc.rank] = effect.count
            elif isinstance(effect, Notify):
                self.told.append((shell, effect.status, effect.source))
            elif isinstance(effect, Signal):
                self.signals.append((effect.signum, tuple(effect.ranks or ())))

    def reap(self) -> None:
        """Who was killed is gone."""
        retired, self.retired = self.retired, []
        for rank in retired:
            self.exit(rank, KILLED)
        self.run()

    def ask(self, targets: Sequence[Proc], requestor: int, **directives: Any) -> int:
        infos = tuple(Info(getattr(a, name), value) for name, value in directives.items())
        id_ = self.upcall(self.shell(requestor), lambda id_: JobControl(id_, Proc(NSPACE, requestor), targets, infos))
        self.run()
        return id_

    def restart(self, *ranks: int, name: str | None = "", requestor: int = 0, **more: Any) -> int:
        return self.ask(procs(*ranks), requestor, JOB_CTRL_RESTART=name, **more)

    def checkpoint(self, *ranks: int, name: str = "one", requestor: int = 0, **more: Any) -> int:
        return self.ask(procs(*ranks), requestor, JOB_CTRL_CHECKPOINT=name, **more)

    def complete(self, *ranks: int) -> None:
        for rank in ranks:
            shell = self.shell(rank)
            self.perform(shell, self.hosts[shell].outcomes.told(Proc(NSPACE, rank), (), self.now))
        self.run()


@pytest.mark.parametrize("ranks", [(3,), (0,), (1, 4), (), (2, 3)])
@pytest.mark.parametrize("requestor", [0, 4])
def test_those_that_live_are_ended_and_start_again_and_nobody_hears_of_a_failure(
    ranks: tuple[int, ...], requestor: int
) -> None:
    network = Restarting([2, 2, 1])
    meant = list(ranks or range(5))
    for count in (1, 2):
        id_ = network.restart(*ranks, requestor=requestor)
        assert sorted(network.retired) == meant and id_ not in network.replies
        network.reap()
        assert network.replies[id_] == OK
        assert sorted(network.started) == [(rank, count, "") for rank in meant]
        assert network.counts == {shell: dict.fromkeys(meant, count) for shell in range(3)}
        assert {status for _, status, _ in network.told} <= {int(Status.EVENT_PROC_TERMINATED)}
        network.started.clear()
    network.pass_time(1)
    assert all(host.get(failures).ended == () for host in network.hosts)
    assert network.idle and not network.raised


def test_one_that_has_died_is_started_again_once_all_have_heard_of_its_death_and_forgotten_it() -> None:
    network = Restarting([1, 1, 1])
    network.exit(2, KILLED)
    held = network.queues.pop((2, 0))  # to the first shell, which tells all
    id_ = network.restart(2, requestor=1)
    network.pass_time(0.5)
    assert id_ not in network.replies and not network.started
    network.queues[2, 0] = held
    network.run()
    network.pass_time(0.1)
    assert network.replies[id_] == OK and network.started == [(2, 1, "")]
    heard = [(shell, status) for shell, status, source in network.told if source.rank == 2]
    assert sorted(heard) == [(0, Status.ERR_PROC_ABORTED_BY_SIG), (1, Status.ERR_PROC_ABORTED_BY_SIG)]
    network.connect(2)
    fences = [network.fence(shell, data=bytes([65 + shell])) for shell in range(3)]
    network.run()
    assert [network.replies[fence] for fence in fences] == [(0, b"ABC")] * 3


def test_a_fence_that_waits_for_the_old_incarnation_fails_and_one_that_begins_then_has_the_new() -> None:
    network = Restarting([1, 1, 1])
    old = [network.fence(shell) for shell in (0, 1)]
    network.run()
    id_ = network.restart(2)
    network.reap()
    assert network.replies[id_] == OK
    assert {network.replies[fence][0] for fence in old} == {int(Status.ERR_PROC_TERM_WO_SYNC)}
    network.connect(2)
    new = [network.fence(shell, data=b"x") for shell in (2, 0, 1)]
    network.run()
    assert [network.replies[fence] for fence in new] == [(0, b"xxx")] * 3


def test_what_libpmix_hands_up_before_the_new_incarnation_has_come_ends_without_it() -> None:
    network = Restarting([2, 1])
    network.restart(1, requestor=2)
    network.reap()
    fences = [network.fence(0), network.fence(1)]
    network.run()
    assert {network.replies[fence][0] for fence in fences} == {int(Status.ERR_PROC_TERM_WO_SYNC)}
    network.connect(1)
    fences = [network.fence(0), network.fence(1)]
    network.run()
    assert {network.replies[fence][0] for fence in fences} == {0}


@pytest.mark.parametrize(
    ("by", "signals"), [({}, []), ({"JOB_CTRL_CHECKPOINT_SIGNAL": 10}, [(10, (0, 1)), (10, (2,))])]
)
def test_a_checkpoint_is_there_when_all_have_taken_it(by: dict[str, Any], signals: list[Any]) -> None:
    network = Restarting([2, 1])
    id_ = network.checkpoint(**by)
    triggered = [shell for shell, status, _ in network.told if status == Status.JCTRL_CHECKPOINT]
    assert sorted(network.signals) == signals and triggered == ([] if by else [0, 1])
    network.complete(0, 2)
    assert id_ not in network.replies
    refused = network.restart(2, name="one")
    assert network.replies[refused][0] == Status.ERR_NOT_FOUND
    network.complete(1)
    assert network.replies[id_] == OK
    network.restart(2, name="one")
    network.reap()
    assert network.started == [(2, 1, "one")]
    unknown = network.restart(1, name="two")
    assert network.replies[unknown][0] == Status.ERR_NOT_FOUND and network.idle


@pytest.mark.parametrize(
    ("directives", "seconds"),
    [
        ({}, 60),
        ({"TIMEOUT": 3}, 3),
        ({"JOB_CTRL_CHECKPOINT_EVENT": True, "JOB_CTRL_CHECKPOINT_TIMEOUT": 2}, 2),
    ],
)
def test_a_checkpoint_that_is_not_taken_in_time_is_none(directives: dict[str, Any], seconds: int) -> None:
    network = Restarting([1, 1])
    id_ = network.checkpoint(**directives)
    network.complete(0)
    network.pass_time(seconds - 0.1)
    assert id_ not in network.replies
    network.pass_time(0.2)
    assert network.replies[id_][0] == Status.ERR_TIMEOUT
    network.complete(1)
    assert network.replies[network.restart(0, name="one")][0] == Status.ERR_NOT_FOUND
    assert network.idle


def test_one_that_ends_has_not_taken_the_checkpoint_and_one_that_has_ended_cannot() -> None:
    network = Restarting([1, 1])
    id_ = network.checkpoint()
    network.exit(1, KILLED)
    network.run()
    assert network.replies[id_][0] == Status.ERR_PROC_CHECKPOINT
    assert network.replies[network.checkpoint(1)][0] == Status.ERR_NOT_FOUND and network.idle


def test_who_cannot_be_restarted_is_refused_and_nobody_is_ended() -> None:
    network = Restarting([1, 1, 1])
    network.finalize(2)
    network.exit(2, 0)
    network.run()
    assert network.replies[network.restart(1, 2)][0] == Status.ERR_NOT_FOUND  # it has ended as it should
    first = network.restart(1)
    second = network.restart(0, 1)
    assert network.replies[second][0] == Status.ERR_RESOURCE_BUSY and network.retired == [1]
    network.reap()
    assert network.replies[first] == OK
    network.hosts[1].get(restarts)._obstacle = "the option is not set"
    assert network.replies[network.restart(1)][0] == Status.ERR_NOT_SUPPORTED
    assert "the option is not set" in network.logs[-1].message
    assert network.replies[network.ask((Proc(NSPACE, 7),), 0, JOB_CTRL_RESTART="")][0] == Status.ERR_NOT_FOUND
    assert network.idle


def test_the_answer_comes_in_time_and_the_restart_all_the_same() -> None:
    network = Restarting([1, 1])
    id_ = network.restart(1, TIMEOUT=2, JOB_CTRL_ID="mine")
    network.pass_time(2.1)
    assert network.replies[id_] == (int(Status.ERR_TIMEOUT), None)
    network.reap()
    assert network.started == [(1, 1, "")] and network.idle
    infos = network.replies[network.restart(0, JOB_CTRL_ID="mine")] if network.reap() else None
    assert infos is None


def test_one_that_does_not_start_has_ended_and_the_request_says_why() -> None:
    network = Restarting([1, 1])
    network.refuse = {1}
    id_ = network.restart(1)
    network.reap()
    network.pass_time(0.1)
    assert network.replies[id_][0] == Status.ERR_JOB_EXE_NOT_FOUND
    assert all(host.get(failures).ended == (1,) for host in network.hosts)
    assert "could not be started again: no such file" in network.logs[-1].message


def test_a_shell_that_is_lost_ends_the_wait_for_it() -> None:
    network = Restarting([1, 1, 1])
    ids = [network.restart(2), network.checkpoint(1, name="two")]
    network.lose(2)
    network.run()
    assert network.replies[ids[0]][0] == Status.ERR_LOST_CONNECTION
    network.lose(1)
    assert network.replies[ids[1]][0] == Status.ERR_LOST_CONNECTION
    assert network.replies[network.restart(1)][0] == Status.ERR_LOST_CONNECTION and network.idle


def test_the_event_that_triggers_a_checkpoint_names_it_and_is_not_kept_for_others() -> None:
    host = Restarting([1]).hosts[0]
    infos = (Info(a.JOB_CTRL_CHECKPOINT, "one"), Info(a.JOB_CTRL_CHECKPOINT_EVENT, True))
    effects = host.upcall(JobControl(7, Proc(NSPACE, 0), (), infos), 0.0)
    hears, told = (effect for effect in effects if isinstance(effect, Hear | Notify))
    assert hears == Hear(int(Status.JCTRL_CHECKPOINT_COMPLETE)) and told.status == Status.JCTRL_CHECKPOINT
    assert find(told.infos, a.JOB_CTRL_CHECKPOINT) == "one" and find(told.infos, a.EVENT_DO_NOT_CACHE) is True
    assert host.get(checkpoints).has("one", 0) is False
