"""What must hold of fences over shells, told by examples."""

from __future__ import annotations

import pytest
from simulator import NSPACE, Network, procs

from fluxpmix.pmix import attributes
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import Info, Proc

TERM_WO_SYNC = int(Status.ERR_PROC_TERM_WO_SYNC)


@pytest.mark.parametrize("shells", [1, 2, 3, 4, 7, 16, 64])
@pytest.mark.parametrize("fanout", [1, 2, 4, 16])
def test_every_shell_gets_all_blocks_in_the_order_of_the_shells(shells: int, fanout: int) -> None:
    network = Network([1] * shells, fanout)
    ids = [network.fence(shell, data=b"%d;" % shell) for shell in reversed(range(shells))]
    network.run()
    expected = b"".join(b"%d;" % shell for shell in range(shells))
    assert [network.replies[id_] for id_ in ids] == [(0, expected)] * shells
    assert network.idle


def test_a_barrier_carries_nothing_whatever_was_committed() -> None:
    network = Network([1] * 8)
    for shell in range(8):
        network.fence(shell, data=b"x" * 100_000, collect=False)
    network.run()
    assert set(network.replies.values()) == {(0, b"")}
    assert network.sent_bytes < 1000


def test_a_directive_without_a_value_collects() -> None:
    network = Network([1, 1])
    bare = (Info(attributes.COLLECT_DATA, None),)
    ids = [network.fence(shell, data=b"ab"[shell : shell + 1], collect=False, extra=bare) for shell in (0, 1)]
    network.run()
    assert [network.replies[id_] for id_ in ids] == [(0, b"ab")] * 2


def test_the_next_fence_may_start_before_a_slow_shell_has_left_the_last() -> None:
    network = Network([1, 1, 1], fanout=1)
    first = [network.fence(shell, data=b"1") for shell in range(3)]
    network.deliver((2, 1))
    network.deliver((1, 0))
    network.deliver((0, 1))
    assert first[1] in network.replies and first[2] not in network.replies
    second = [network.fence(0, data=b"2"), network.fence(1, data=b"2")]
    network.run()
    second.append(network.fence(2, data=b"2"))
    network.run()
    assert [network.replies[id_] for id_ in first] == [(0, b"111")] * 3
    assert [network.replies[id_] for id_ in second] == [(0, b"222")] * 3
    assert network.idle


def test_overlapping_subsets_do_not_meet() -> None:
    network = Network([1] * 4)
    left = [network.fence(shell, procs(0, 1), b"l") for shell in (0, 1)]
    middle = [network.fence(shell, procs(1, 2), b"m") for shell in (2, 1)]
    network.run()
    assert [network.replies[id_][1] for id_ in (*left, *middle)] == [b"ll", b"ll", b"mm", b"mm"]


def test_the_order_in_which_participants_are_named_does_not_matter() -> None:
    network = Network([1, 1])
    ids = [network.fence(0, procs(0, 1), b"a"), network.fence(1, procs(1, 0), b"b")]
    network.run()
    assert [network.replies[id_] for id_ in ids] == [(0, b"ab")] * 2


def test_a_fence_that_runs_out_of_time_ends_everywhere_and_names_who_was_missing() -> None:
    network = Network([2] * 4)
    ids = [network.fence(shell, timeout=5) for shell in (0, 1, 2)]
    network.run()
    network.pass_time(4.9)
    assert not network.replies
    network.pass_time(0.2)
    assert [network.replies[id_][0] for id_ in ids] == [int(Status.ERR_TIMEOUT)] * 3
    assert any("shell 3" in log.message and "6-7" in log.message for log in network.logs)
    late = network.fence(3, timeout=5)
    assert network.replies[late][0] == int(Status.ERR_TIMEOUT)
    again = [network.fence(shell) for shell in range(4)]
    network.run()
    assert [network.replies[id_][0] for id_ in again] == [0] * 4
    assert network.idle


def test_a_process_that_dies_before_a_fence_fails_it_for_all() -> None:
    network = Network([1] * 5)
    for rank in range(5):
        network.connect(rank)
    before = [network.fence(shell) for shell in (0, 1)]
    network.exit(4)
    network.run()
    after = [network.fence(shell) for shell in (2, 3)]
    network.run()
    assert [network.replies[id_][0] for id_ in (*before, *after)] == [TERM_WO_SYNC] * 4
    assert network.idle


def test_a_process_that_dies_after_its_contribution_fails_nothing() -> None:
    network = Network([1] * 3)
    for rank in range(3):
        network.connect(rank)
    ids = [network.fence(2, data=b"c")]
    network.exit(2)
    ids += [network.fence(shell, data=b"ab"[shell : shell + 1]) for shell in (0, 1)]
    network.run()
    assert [network.replies[id_] for id_ in ids] == [(0, b"abc")] * 3


def test_a_process_that_left_in_good_order_is_not_waited_for() -> None:
    network = Network([1] * 3)
    for rank in range(3):
        network.connect(rank)
    network.finalize(2)
    network.exit(2, 0)
    sent = network.sent
    assert sent == 0, "an ordinary end costs no message"
    ids = [network.fence(shell) for shell in (0, 1)]
    network.run()
    network.pass_time(2)
    assert [network.replies[id_][0] for id_ in ids] == [TERM_WO_SYNC] * 2


def test_a_participant_that_libpmix_lost_fails_the_fence() -> None:
    network = Network([2, 1])
    lost = (Info(attributes.LOCAL_COLLECTIVE_STATUS, int(Status.ERR_LOST_CONNECTION)),)
    ids = [network.fence(0, extra=lost), network.fence(1)]
    network.run()
    assert [network.replies[id_][0] for id_ in ids] == [TERM_WO_SYNC] * 2


@pytest.mark.parametrize("fanout", [1, 2, 16])
@pytest.mark.parametrize("gone", [0, 2, 5])
def test_a_lost_shell_ends_what_it_takes_part_in_and_nothing_else(fanout: int, gone: int) -> None:
    network = Network([1] * 6, fanout)
    ids = {shell: network.fence(shell) for shell in range(6) if shell != gone}
    others = [rank for rank in range(6) if rank != gone][:2]
    apart = [network.fence(rank, procs(*others), b"x") for rank in others]
    network.lose(gone)
    network.run()
    assert {network.replies[id_][0] for id_ in ids.values()} == {int(Status.ERR_LOST_CONNECTION)}
    assert [network.replies[id_] for id_ in apart] == [(0, b"xx")] * 2
    later = network.fence(others[0])
    assert network.replies[later][0] == int(Status.ERR_LOST_CONNECTION)
    assert network.idle


@pytest.mark.parametrize(
    ("who", "status"),
    [
        ((Proc("other", 0),), Status.ERR_NOT_FOUND),
        (procs(0, 99), Status.ERR_BAD_PARAM),
        (procs(1), Status.ERR_BAD_PARAM),
    ],
    ids=["unknown namespace", "rank out of range", "nobody here"],
)
def test_participants_that_make_no_sense_are_answered(who: tuple[Proc, ...], status: Status) -> None:
    network = Network([1, 1])
    assert network.replies[network.fence(0, who)][0] == int(status)
    assert network.idle


def test_a_required_directive_that_is_unknown_is_refused() -> None:
    network = Network([1, 1])
    id_ = network.fence(0, extra=(Info("pmix.no.such", 1, required=True),))
    assert network.replies[id_][0] == int(Status.ERR_NOT_SUPPORTED)


def test_the_end_of_the_job_answers_what_is_open() -> None:
    network = Network([1, 1])
    id_ = network.fence(0, (Proc(NSPACE, 0), Proc(NSPACE, 1)))
    network.perform(0, network.hosts[0].close(network.now))
    assert network.replies[id_][0] == int(Status.ERR_LOST_CONNECTION)
    assert network.hosts[0].idle
