"""What must hold of the events by which processes hear of others' ends."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shaking import shake
from simulator import NSPACE
from telling import Told

from fluxpmix.host import frames, wire
from fluxpmix.host.effects import Notify
from fluxpmix.host.frames import Message, Tag
from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import Proc, find, is_true
from fluxpmix.pmix.upcalls import Abort

SIGNALLED = int(Status.ERR_PROC_ABORTED_BY_SIG)
UNFINALIZED = int(Status.ERR_PROC_TERM_WO_SYNC)
NONZERO = int(Status.ERR_EXIT_NONZERO_TERM)
ORDINARY = int(Status.EVENT_PROC_TERMINATED)
ABORTED = int(Status.ERR_PROC_ABORTED)
NODE_DOWN = int(Status.EVENT_NODE_DOWN)
JOB_END = int(Status.EVENT_JOB_END)


def running(counts: list[int], fanout: int = 4) -> Told:
    network = Told(counts, fanout)
    for rank in range(network.job.size):
        network.connect(rank)
    return network


def told(network: Told, rank: int) -> dict[int, list[int]]:
    """By shell: with which statuses it told its processes of the end of `rank`."""
    found: dict[int, list[int]] = {}
    for shell, event in network.told:
        if find(event.infos, a.EVENT_AFFECTED_PROC) == Proc(NSPACE, rank):
            found.setdefault(shell, []).append(event.status)
    return found


def one(network: Told, shell: int, status: int) -> Notify:
    (event,) = [event for at, event in network.told if (at, event.status) == (shell, status)]
    return event


@pytest.mark.parametrize(
    ("finalizes", "wait_status", "status", "code", "text"),
    [
        (False, 9, SIGNALLED, 137, "was killed by signal 9"),
        (False, 0x80 | 11, SIGNALLED, 139, "was killed by signal 11"),
        (False, 0, UNFINALIZED, 0, "exited with code 0 and had not finalized"),
        (False, 3 << 8, UNFINALIZED, 3, "exited with code 3 and had not finalized"),
        (True, 4 << 8, NONZERO, 4, "exited with code 4"),
        (True, 0, ORDINARY, 0, "exited with code 0"),
    ],
)
@pytest.mark.parametrize("rank", [0, 3])
def test_all_shells_hear_how_a_process_ended(
    rank: int, finalizes: bool, wait_status: int, status: int, code: int, text: str
) -> None:
    network = running([2, 2, 2])
    if finalizes:
        network.finalize(rank)
    network.exit(rank, wait_status)
    network.run()
    network.pass_time(0.09)
    assert told(network, rank) == {shell: [status] for shell in range(3)}
    event = one(network, 2, status)
    assert event.source == Proc(NSPACE, rank)
    assert find(event.infos, a.EXIT_CODE) == code
    assert find(event.infos, a.PROC_TERM_STATUS) == status
    assert find(event.infos, a.EVENT_TEXT_MESSAGE) == f"rank {rank} {text}"
    assert is_true(event.infos, a.EVENT_NON_DEFAULT) == (status in (ORDINARY, NONZERO))
    assert network.idle


def test_of_one_that_aborts_it_is_told_so() -> None:
    network = running([2, 1])
    network.upcall(0, lambda id_: Abort(id_, Proc(NSPACE, 0), 7, "", (Proc(NSPACE, 1),)))  # refused
    network.upcall(1, lambda id_: Abort(id_, Proc(NSPACE, 2), 7, "", ()))
    network.exit(2, 7 << 8)
    network.exit(0)
    network.run()
    network.pass_time(0.09)
    assert told(network, 0) == {0: [SIGNALLED]}
    event = one(network, 0, ABORTED)
    assert (find(event.infos, a.EXIT_CODE), find(event.infos, a.EVENT_TEXT_MESSAGE)) == (7, "rank 2 called PMIx_Abort")


def test_a_death_is_told_at_once() -> None:
    network = running([2, 2, 2])
    network.exit(5)
    network.run()
    assert sorted(told(network, 5)) == [0, 1, 2] and network.now == 0


def test_many_deaths_cost_a_few_messages() -> None:
    network = running([50] * 20)
    network.run()
    for rank in range(100, 950):
        network.finalize(rank)
        network.exit(rank, 1 << 8)
    network.run()
    network.pass_time(0.09)
    assert all(told(network, rank).keys() >= {0, 1, 19} for rank in range(100, 950))
    assert network.sent < 5 * 20


def test_a_job_that_ends_costs_no_message_and_tells_nobody_but_tools() -> None:
    network = running([2, 2])
    for rank in (3, 2, 1, 0):
        network.finalize(rank)
        network.exit(rank, 0)
    assert not network.sent
    network.pass_time(1)
    assert [(shell, event.status) for shell, event in network.told if event.status != ORDINARY] == [(0, JOB_END)]
    assert find(network.told[-1][1].infos, a.JOB_TERM_STATUS) == 0
    assert network.idle


def test_the_end_of_a_job_tells_how_it_failed_first() -> None:
    network = running([1, 1])
    network.exit(1, 9)
    network.run()
    network.exit(0, 3 << 8)
    network.run()
    network.pass_time(1)
    assert find(one(network, 0, JOB_END).infos, a.JOB_TERM_STATUS) == SIGNALLED


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_of_a_lost_node_every_shell_tells_its_processes(lost: int) -> None:
    network = running([2, 2, 2])
    network.exit(2 * lost)
    network.run()
    network.lose(lost)
    network.run()
    network.pass_time(1)
    others = [shell for shell in range(3) if shell != lost]
    assert {shell: told(network, 2 * lost)[shell] for shell in others} == {shell: [SIGNALLED] for shell in others}
    assert told(network, 2 * lost + 1) == {shell: [ABORTED] for shell in others}
    for shell in others:
        event = one(network, shell, NODE_DOWN)
        assert find(event.infos, a.HOSTNAME) == f"n{lost}" and find(event.infos, a.NODEID) == lost
        assert [proc.rank for proc in find(event.infos, a.EVENT_AFFECTED_PROCS).items] == [2 * lost, 2 * lost + 1]
        assert is_true(event.infos, a.EVENT_NON_DEFAULT)
    network.exit(2 * others[0])
    network.run()
    assert told(network, 2 * others[0]) == {shell: [SIGNALLED] for shell in others}


def test_what_the_first_shell_took_with_it_is_told_again() -> None:
    network = running([1, 2, 2])
    network.exit(2)
    del network.queues[1, 0]
    network.lose(0)
    network.run()
    network.pass_time(0.05)
    assert told(network, 2) == {1: [SIGNALLED], 2: [SIGNALLED]}


def test_when_nobody_is_left_on_a_node_nobody_is_told() -> None:
    network = running([1, 1, 1])
    network.exit(1)
    network.exit(2)
    network.run()
    network.pass_time(1)
    assert {shell for shell, _ in network.told} == {0}
    assert network.idle


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_whatever_frames_do_each_end_is_told_at_most_once_and_without_loss_once(data: st.DataObject) -> None:
    shells = data.draw(st.integers(1, 6))
    counts = data.draw(st.lists(st.integers(1, 3), min_size=shells, max_size=shells))
    lossy = data.draw(st.booleans())
    network = running(counts, data.draw(st.integers(1, 3)))
    ranks = data.draw(st.permutations(range(network.job.size)))
    dead: list[int] = []
    for rank in ranks[: data.draw(st.integers(1, network.job.size))]:
        if data.draw(st.booleans()):
            network.finalize(rank)
        network.exit(rank, data.draw(st.sampled_from([0, 9, 256])))
        dead.append(rank)
        shake(network, data, lossy)
    network.run()
    network.pass_time(1)
    # A shell tells until its last process is gone: those of `alive` have one to the end.
    alive = [shell for shell in range(shells) if not set(network.job.ranks(shell)) <= set(dead)]
    for rank in dead:
        heard = told(network, rank)
        assert all(len(statuses) == 1 for statuses in heard.values())
        if not lossy:
            assert set(alive) <= set(heard)
    assert network.idle and all(host.deadline is None for host in network.hosts)


def ends(*content: Any) -> bytes:
    return wire.encode(content)


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"?",
        wire.encode(5),
        ends(1),
        ends((1, SIGNALLED, 137)),
        ends((1, 77, 0, 0)),
        ends((9, SIGNALLED, 137, 9)),
        ends((1, SIGNALLED, 999, 9)),
        ends((1, SIGNALLED, 137, -1)),
        ends((1, SIGNALLED, "x", 9)),
        ends((2, SIGNALLED, 137, 9)),
    ],
)
def test_a_frame_that_tells_of_no_end_is_dropped(blob: bytes) -> None:
    network = running([1, 1, 1])
    frame = b"".join(frames.encode(Message(Tag.ENDS, 0, 0, frames.NO_DIGEST, 0, ((1, blob),))))
    network.perform(0, network.hosts[0].receive(1, memoryview(frame), 0.0))
    assert not network.told and not network.queues
    assert network.hosts[0].counters["malformed"] == 1
