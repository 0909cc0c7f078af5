"""What must hold of the two ways in which a collective's bytes move."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulator import Network

from fluxpmix.host import bruck, frames
from fluxpmix.host.collective import EXCHANGES
from fluxpmix.host.frames import Message, Tag
from fluxpmix.host.host import Host
from fluxpmix.host.sized import Appetite
from fluxpmix.pmix import attributes
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import Info


@settings(deadline=None)
@given(shells=st.integers(1, 200), fanout=st.integers(1, 40), empty=st.sets(st.integers(0, 199)))
def test_the_tree_hands_out_all_blobs_in_order_whichever_are_empty(shells: int, fanout: int, empty: set[int]) -> None:
    network = Network([1] * shells, fanout)
    blobs = [b"" if shell in empty else b"%d;" % shell for shell in range(shells)]
    ids = [network.fence(shell, data=blobs[shell]) for shell in range(shells)]
    network.run()
    assert [network.replies[id_] for id_ in ids] == [(0, b"".join(blobs))] * shells


@pytest.mark.parametrize(("shells", "fanout"), [(100, 2), (100, 3), (1000, 10), (64, 16)])
def test_a_frame_has_as_many_blocks_as_there_are_levels_however_many_shells(shells: int, fanout: int) -> None:
    network = Network([1] * shells, fanout)
    for shell in range(shells):
        network.fence(shell, data=b"x")
    most = 0
    while network.queues:
        pair = next(iter(network.queues))
        message = frames.decode(network.queues[pair][0], shells)
        most = max(most, len(message.blocks))
        assert message.tag is Tag.UP or len(message.blocks) == 1
        network.deliver(pair)
    assert most <= shells.bit_length() and fanout ** (most - 1) <= shells


@given(members=st.integers(1, 100_000))
def test_the_plan_gathers_every_member_once_from_different_peers(members: int) -> None:
    steps = bruck.plan(members)
    assert sum(count for _, count in steps) == members - 1
    assert len({offset for offset, _ in steps}) == len(steps)
    has = 1
    for offset, count in steps:
        assert offset == has and count in (1, has)
        has += count
    assert sum(count > 1 for _, count in steps) <= members.bit_length() - 1
    assert len(steps) <= 2 * (members.bit_length() - 1)


@pytest.mark.parametrize("shells", [*range(1, 20), 31, 32, 33, 100])
def test_peers_hand_out_all_blobs_in_the_order_of_the_shells(shells: int) -> None:
    network = Network([1] * shells, exchange="bruck")
    blobs = [b"" if shell % 5 == 3 else b"%d;" % shell for shell in range(shells)]
    ids = [network.fence(shell, data=blobs[shell]) for shell in range(shells)]
    network.run()
    assert [network.replies[id_] for id_ in ids] == [(0, b"".join(blobs))] * shells
    assert network.idle


def test_no_peer_carries_more_than_the_data_itself() -> None:
    network = Network([1] * 37, exchange="bruck")
    for shell in range(37):
        network.fence(shell, data=bytes(1000))
    network.run()
    steps = len(bruck.plan(37))
    assert network.sent == 37 * steps
    assert network.sent_bytes <= 37 * (36 * 1000 + steps * 60)


def test_a_barrier_goes_over_the_tree_whatever_the_exchange() -> None:
    network = Network([1] * 8, exchange="bruck")
    for shell in range(8):
        network.fence(shell, data=b"x" * 100, collect=False)
    network.run()
    assert set(network.replies.values()) == {(0, b"")}
    assert network.sent == 2 * 7


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_a_thousand_fences_in_a_row_stand_without_a_pause(exchange: str) -> None:
    network = Network([1] * 16, exchange=exchange, large=5 * 16)  # "auto": some are
    left = dict.fromkeys(range(16), 1000)
    shell_of: dict[int, int] = {}
    expected: dict[int, bytes] = {}

    def enter(shell: int) -> None:
        number = 1000 - left[shell]
        left[shell] -= 1
        id_ = network.fence(shell, data=b"%d.%d;" % (number, shell))
        shell_of[id_] = shell
        expected[id_] = b"".join(b"%d.%d;" % (number, each) for each in range(16))

    for shell in range(16):
        enter(shell)
    while network.answered or network.queues:
        if network.answered:
            id_ = network.answered.pop()
            assert network.replies.pop(id_) == (0, expected.pop(id_))
            if left[shell_of[id_]]:
                enter(shell_of[id_])
        else:
            network.deliver(next(reversed(network.queues)))
    assert not expected and not any(left.values()) and network.idle


@pytest.mark.parametrize("gone", range(6))
def test_a_lost_peer_ends_the_exchange_for_all(gone: int) -> None:
    network = Network([1] * 6, exchange="bruck")
    ids = [network.fence(shell, data=b"x") for shell in range(6) if shell != gone]
    network.lose(gone)
    network.run()
    assert {network.replies[id_][0] for id_ in ids} == {int(Status.ERR_LOST_CONNECTION)}
    assert network.idle


def test_peers_that_wait_in_vain_name_who_is_missing() -> None:
    network = Network([2] * 5, exchange="bruck")
    ids = [network.fence(shell, data=b"x", timeout=5) for shell in range(5) if shell != 3]
    network.run()
    network.pass_time(6)
    assert {network.replies[id_][0] for id_ in ids} == {int(Status.ERR_TIMEOUT)}
    assert any("shell 3" in log.message and "6-7" in log.message for log in network.logs)


def test_shells_that_disagree_on_whether_there_is_data_are_told() -> None:
    network = Network([1] * 4, exchange="bruck")
    ids = [network.fence(shell, data=b"x", collect=shell != 2) for shell in range(4)]
    network.run()
    assert {network.replies[id_][0] for id_ in ids} == {int(Status.ERR_BAD_PARAM)}
    assert network.idle


@pytest.mark.parametrize(
    ("source", "blocks"),
    [
        (1, ((2, b"x"),)),  # a run that starts elsewhere
        (1, ((0, b"x"), (1, b"x"))),  # the ring is not closed yet
        (3, ((3, b"x"),)),  # no peer of shell 0's
    ],
)
def test_a_step_that_makes_no_sense_is_refused(source: int, blocks: tuple[tuple[int, bytes], ...]) -> None:
    network = Network([1] * 5, exchange="bruck")
    network.fence(0, data=b"a")
    sent = frames.decode(network.queues[0, 4][0], 5)
    assert sent.tag is Tag.STEP
    bad = Message(Tag.STEP, sent.operation, 0, sent.digest, 0, blocks)
    network.perform(0, network.hosts[0].receive(source, b"".join(frames.encode(bad)), 0.0))
    assert network.hosts[0].counters["malformed"] == 1


def test_an_unknown_exchange_is_named() -> None:
    network = Network([1])
    with pytest.raises(ValueError, match=r"exchange 'ring': one of auto, tree, bruck"):
        Host(network.job, 0, exchange="ring")


@pytest.mark.parametrize(("large", "tag"), [(0, Tag.DOWN), (1, Tag.STEP), (8, Tag.STEP)])
@pytest.mark.parametrize("often", [False, True])
@pytest.mark.parametrize("fanout", [1, 3, 16])
@pytest.mark.parametrize("shells", [2, 3, 9, 30])
def test_data_go_among_peers_where_one_has_much(shells: int, fanout: int, often: bool, large: int, tag: Tag) -> None:
    network = Network([1] * shells, fanout, exchange="auto", large=1000 * shells, often=often)
    blobs = [bytes([shell]) * (1000 if shell < large else 999) for shell in range(shells)]
    ids = [network.fence(shell, data=blobs[shell]) for shell in range(shells)]
    tags = set()
    while network.queues:
        pair = next(iter(network.queues))
        tags.add(frames.decode(network.queues[pair][0], shells).tag)
        network.deliver(pair)
    assert [network.replies[id_] for id_ in ids] == [(0, b"".join(blobs))] * shells
    assert tag in tags and (Tag.DOWN in tags) != (Tag.STEP in tags)
    assert network.idle


def test_data_that_come_again_and_again_are_worth_links_sooner() -> None:
    appetite = Appetite(first=1000, again=100)
    for size in (99, 100, 99):
        appetite.moved(size, among_peers=False)
    assert appetite.wants(1000) and not appetite.wants(999)
    appetite.moved(100, among_peers=False)
    assert appetite.wants(100) and not appetite.wants(99)
    once = Appetite(first=1000, again=100)
    once.moved(1, among_peers=True)
    assert once.wants(100)
    assert not Appetite(1, 1, possible=lambda: False).wants(1000)


def test_much_data_again_and_again_need_no_question() -> None:
    network = Network([1] * 8, exchange="auto", large=800)
    sent = []
    for _ in range(3):
        network.sent = 0
        for shell in range(8):
            network.fence(shell, data=bytes(100))
        network.run()
        sent.append(network.sent)
    assert sent == [24 + 14, 24, 24], "the question is 7 messages up and 7 down"


def test_a_shell_that_does_not_ask_does_so_when_its_peers_are_slow_to_join_in() -> None:
    network = Network([1] * 8, fanout=2, exchange="auto", large=800, often=True)
    blobs = [bytes([shell]) * (100 if shell == 3 else 1) for shell in range(8)]
    ids = [network.fence(shell, data=blobs[shell]) for shell in range(8)]
    held = {pair: network.queues.pop(pair) for pair in list(network.queues) if pair[0] == 3}
    network.pass_time(0.1)
    told = [each for host in network.hosts for each in host.collectives._series.values()]
    assert all(one.movement._begun for series in told for one in series.open.values()), "and the root has said so"
    network.queues.update(held)
    network.run()
    assert [network.replies[id_] for id_ in ids] == [(0, b"".join(blobs))] * 8
    assert network.idle


@pytest.mark.parametrize("often", [False, True])
def test_a_failure_beside_large_data_is_everybodys(often: bool) -> None:
    network = Network([1] * 9, 2, exchange="auto", large=1000, often=often)
    failed = (Info(attributes.LOCAL_COLLECTIVE_STATUS, int(Status.ERR_PROC_TERM_WO_SYNC)),)
    ids = [network.fence(shell, data=bytes(500), extra=failed if shell == 4 else ()) for shell in range(9)]
    network.run()
    assert [network.replies[id_] for id_ in ids] == [(int(Status.ERR_PROC_TERM_WO_SYNC), b"")] * 9
    assert network.idle
    assert often or network.sent_bytes < 9 * 500, "where it is asked first, no data move"


@pytest.mark.parametrize("tag", [Tag.LARGE, Tag.AMONG])
def test_word_of_large_data_that_brings_data_is_refused(tag: Tag) -> None:
    network = Network([1] * 3, exchange="auto")
    for shell in range(2):
        network.fence(shell, data=b"a")
    source, target = (0, 1) if tag is Tag.AMONG else (1, 0)
    sent = frames.decode(network.queues[1, 0][0], 3)
    bad = Message(tag, sent.operation, 0, sent.digest, 0, ((source, b"x"),))
    network.perform(target, network.hosts[target].receive(source, b"".join(frames.encode(bad)), 0.0))
    assert network.hosts[target].counters["malformed"] == 1
