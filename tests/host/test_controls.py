"""What must hold of job control over shells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shaking import shake
from simulator import NSPACE, Network, procs

from fluxpmix.host import frames, wire
from fluxpmix.host.effects import Effect, Signal
from fluxpmix.host.frames import Message, Tag
from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import DataArray, DataType, Info, Proc
from fluxpmix.pmix.upcalls import JobControl

NOT_FOUND = (int(Status.ERR_NOT_FOUND), None)
USR1 = 10


class Controlled(Network):
    """Hosts that signal their tasks."""

    def __init__(self, counts: Sequence[int]) -> None:
        super().__init__(counts)
        self.signals: dict[int, list[int]] = {}  # by rank

    def perform(self, shell: int, effects: list[Effect]) -> None:
        super().perform(shell, effects)
        for effect in effects:
            if isinstance(effect, Signal):
                assert effect.ranks and set(effect.ranks) <= set(self.job.ranks(shell))
                for rank in effect.ranks:
                    self.signals.setdefault(rank, []).append(effect.signum)

    def control(self, targets: Sequence[Proc], *infos: Info, requestor: int = 0) -> int:
        shell = self.job.taskmap.node_of(requestor)
        return self.upcall(shell, lambda id_: JobControl(id_, Proc(NSPACE, requestor), tuple(targets), infos))

    def signal(self, *ranks: int, signum: int = USR1, **more: Any) -> int:
        extra = [Info(getattr(a, name), value) for name, value in more.items()]
        return self.control(procs(*ranks), Info(a.JOB_CTRL_SIGNAL, signum), *extra)


@pytest.mark.parametrize(
    ("info", "signum"),
    [
        (Info(a.JOB_CTRL_KILL, True), 9),
        (Info(a.JOB_CTRL_TERMINATE, True), 15),
        (Info(a.JOB_CTRL_PAUSE, True), 19),
        (Info(a.JOB_CTRL_PAUSE, None), 19),
        (Info(a.JOB_CTRL_RESUME, True), 18),
        (Info(a.JOB_CTRL_SIGNAL, 12), 12),
    ],
)
@pytest.mark.parametrize(
    ("targets", "ranks"),
    [((), [0, 1, 2, 3, 4]), (procs(), [0, 1, 2, 3, 4]), (procs(1, 3), [1, 3]), (procs(4), [4]), (procs(0, 1), [0, 1])],
)
def test_those_that_are_meant_get_the_signal_on_their_shells(
    targets: tuple[Proc, ...], ranks: list[int], info: Info, signum: int
) -> None:
    network = Controlled([2, 0, 1, 2])
    id_ = network.control(targets, info)
    network.run()
    assert network.signals == {rank: [signum] for rank in ranks}
    assert network.replies[id_] == (0, None)
    assert network.idle


def test_the_answer_comes_when_all_have_done_it_and_carries_the_id() -> None:
    network = Controlled([1, 1, 1])
    id_ = network.signal(JOB_CTRL_ID="mine")
    network.deliver((0, 1))
    network.deliver((1, 0))
    assert id_ not in network.replies
    again = network.signal(2, JOB_CTRL_ID="mine")
    assert network.replies[again][0] == Status.ERR_EXISTS
    network.run()
    assert network.replies[id_] == (0, (Info(a.JOB_CTRL_ID, "mine"),))
    assert network.signals == {0: [USR1], 1: [USR1], 2: [USR1]}


@pytest.mark.parametrize(
    ("infos", "status"),
    [
        ((), Status.ERR_NOT_SUPPORTED),
        ((Info("some.thing", True),), Status.ERR_NOT_SUPPORTED),
        ((Info(a.JOB_CTRL_KILL, False),), Status.ERR_NOT_SUPPORTED),
        ((Info(a.JOB_CTRL_RESTART, 1),), Status.ERR_BAD_PARAM),
        ((Info(a.JOB_CTRL_RESTART, "1"), Info(a.JOB_CTRL_KILL, True)), Status.ERR_BAD_PARAM),
        ((Info(a.JOB_CTRL_RESTART, "1"), Info(a.JOB_CTRL_CHECKPOINT, "1")), Status.ERR_BAD_PARAM),
        ((Info(a.JOB_CTRL_RESTART, "1"), Info("some.thing", 1, required=True)), Status.ERR_NOT_SUPPORTED),
        ((Info(a.JOB_CTRL_CHECKPOINT, ""),), Status.ERR_BAD_PARAM),
        ((Info(a.JOB_CTRL_CHECKPOINT_EVENT, True),), Status.ERR_BAD_PARAM),
        ((Info(a.JOB_CTRL_CHECKPOINT, "1"), Info(a.JOB_CTRL_CHECKPOINT_SIGNAL, 65)), Status.ERR_BAD_PARAM),
        (
            (
                Info(a.JOB_CTRL_CHECKPOINT, "1"),
                Info(a.JOB_CTRL_CHECKPOINT_METHOD, DataArray(DataType.INFO, (Info("some.thing", True),))),
            ),
            Status.ERR_NOT_SUPPORTED,
        ),
        ((Info(a.JOB_CTRL_PREEMPTIBLE, True),), Status.ERR_NOT_SUPPORTED),
        ((Info(a.JOB_CTRL_SIGNAL, 0),), Status.ERR_BAD_PARAM),
        ((Info(a.JOB_CTRL_SIGNAL, -9),), Status.ERR_BAD_PARAM),
        ((Info(a.JOB_CTRL_SIGNAL, 65),), Status.ERR_BAD_PARAM),
        ((Info(a.JOB_CTRL_SIGNAL, "KILL"),), Status.ERR_BAD_PARAM),
        ((Info(a.JOB_CTRL_SIGNAL, None),), Status.ERR_BAD_PARAM),
        ((Info(a.JOB_CTRL_SIGNAL, 9), Info(a.JOB_CTRL_ID, 5)), Status.ERR_BAD_PARAM),
        ((Info(a.JOB_CTRL_PAUSE, True), Info(a.JOB_CTRL_RESUME, True)), Status.ERR_BAD_PARAM),
        ((Info(a.JOB_CTRL_KILL, True), Info("some.thing", 1, required=True)), Status.ERR_NOT_SUPPORTED),
        ((Info(a.JOB_CTRL_CANCEL, "no such"),), Status.ERR_NOT_FOUND),
    ],
)
def test_what_cannot_be_done_is_refused_and_the_log_says_why(infos: tuple[Info, ...], status: Status) -> None:
    network = Controlled([1, 1])
    id_ = network.control(procs(), *infos)
    assert network.replies[id_] == (int(status), None)
    assert not network.signals and not network.sent
    assert "rank 0 is refused: " in network.logs[-1].message


@pytest.mark.parametrize("target", [Proc(NSPACE, 9), Proc("other", 0), Proc(NSPACE, 0xFFFFFFFD)])
def test_a_process_that_nobody_knows_is_not_found(target: Proc) -> None:
    network = Controlled([1, 1])
    id_ = network.control([Proc(NSPACE, 1), target], Info(a.JOB_CTRL_KILL, True))
    assert network.replies[id_] == NOT_FOUND and not network.signals


def test_a_process_that_is_gone_is_not_found() -> None:
    network = Controlled([2, 2])
    for rank in (1, 2, 3):
        network.exit(rank, 0)
    network.run()
    for ranks, status in (((1,), NOT_FOUND), ((2, 3), NOT_FOUND), ((0, 3), (0, None)), ((), (0, None))):
        id_ = network.signal(*ranks)
        network.run()
        assert network.replies[id_] == status
    assert network.signals == {0: [USR1, USR1]}


def test_a_shell_that_does_not_answer_ends_the_wait_in_time() -> None:
    network = Controlled([1, 1])
    ids = [network.signal(1), network.signal(1, TIMEOUT=2)]
    network.queues.clear()
    network.pass_time(2.1)
    assert network.replies[ids[1]][0] == Status.ERR_TIMEOUT and ids[0] not in network.replies
    network.pass_time(5)
    assert network.replies[ids[0]][0] == Status.ERR_TIMEOUT
    assert network.idle


def test_a_lost_shell_is_not_waited_for() -> None:
    network = Controlled([1, 1, 1])
    ids = [network.signal(1), network.signal(1, 2)]
    network.lose(1)
    network.run()
    assert [network.replies[id_] for id_ in ids] == [NOT_FOUND, (0, None)]
    after = network.signal(1)
    assert network.replies[after] == NOT_FOUND and network.idle


@pytest.mark.parametrize("name", ["mine", None])
def test_a_request_under_way_can_be_cancelled_by_its_requestor(name: str | None) -> None:
    network = Controlled([2, 1])
    id_ = network.signal(2, JOB_CTRL_ID="mine")
    cancel = Info(a.JOB_CTRL_CANCEL, name)
    assert network.replies[network.control((), cancel, requestor=1)][0] == NOT_FOUND[0]
    assert network.replies[network.control((), cancel)] == (0, None)
    assert network.replies[id_] == (int(Status.ERR_JOB_CANCELED), None)
    network.run()
    assert network.idle


def test_at_the_end_all_is_answered() -> None:
    network = Controlled([1, 1])
    id_ = network.signal(1)
    network.perform(0, network.hosts[0].close(0.0))
    assert network.replies[id_][0] == Status.ERR_LOST_CONNECTION


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_whatever_frames_do_a_signal_is_sent_at_most_once_and_all_is_answered(data: st.DataObject) -> None:
    shells = data.draw(st.integers(2, 6))
    network = Controlled([1] * shells)
    asked: list[tuple[int, int, set[int]]] = []
    lossy = data.draw(st.booleans())
    for number in range(data.draw(st.integers(1, 8))):
        ranks = data.draw(st.sets(st.integers(0, shells - 1), min_size=1))
        asked.append((network.signal(*ranks, signum=number + 1), number + 1, ranks))
        shake(network, data, lossy)
    network.run()
    network.pass_time(6)
    for id_, signum, ranks in asked:
        for rank in range(shells):
            times = network.signals.get(rank, []).count(signum)
            assert times == (rank in ranks) or (lossy and times == 0)
        assert network.replies[id_][0] == 0 or (lossy and network.replies[id_][0] == Status.ERR_TIMEOUT)
    assert network.idle and all(host.deadline is None for host in network.hosts)


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"?",
        *(
            wire.encode(order)
            for order in (5, (9,), (0, None), (99, None), (9, 1), (9, (1,)), (9, ("x",)), (True, None))
        ),
    ],
)
def test_a_frame_that_asks_for_nothing_is_dropped(blob: bytes) -> None:
    network = Controlled([1, 1])
    frame = b"".join(frames.encode(Message(Tag.CONTROL, 0, 1, frames.NO_DIGEST, 0, ((1, blob),))))
    network.perform(0, network.hosts[0].receive(1, memoryview(frame), 0.0))
    assert not network.signals and not network.queues
    assert network.hosts[0].counters["malformed"] == 1
