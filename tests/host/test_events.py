"""What must hold of events over shells."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulator import NSPACE
from telling import MINE, Told

from fluxpmix.host import frames, wire
from fluxpmix.host.event import TOLD
from fluxpmix.host.frames import Message, Tag
from fluxpmix.host.spread import Window
from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import DataArray, DataType, Info, Infos, Proc, Range
from fluxpmix.pmix.upcalls import RegisterEvents


def custom(*ranks: int) -> Info:
    items = tuple(Proc(NSPACE, rank) for rank in ranks)
    return Info(str(a.EVENT_CUSTOM_RANGE), DataArray(DataType.PROC, items), DataType.DATA_ARRAY)


ONE = Info(str(a.EVENT_CUSTOM_RANGE), Proc(NSPACE, 3), DataType.PROC)


@pytest.mark.parametrize(
    ("range_", "infos", "shells"),
    [
        (Range.SESSION, (), [0, 2, 3]),
        (Range.GLOBAL, (), [0, 2, 3]),
        (Range.UNDEF, (), [0, 2, 3]),
        (Range.NAMESPACE, (), [0, 3]),
        (Range.LOCAL, (), []),
        (Range.PROC_LOCAL, (), []),
        (Range.RM, (), []),
        (Range.CUSTOM, (custom(0, 3, 4),), [0, 3]),
        (Range.CUSTOM, (custom(2),), []),
        (Range.CUSTOM, (ONE,), [3]),
        (Range.SESSION, (Info(str(a.EVENT_STAYS_LOCAL), True, DataType.BOOL),), []),
    ],
)
def test_the_range_says_which_shells_hear_of_an_event(range_: Range, infos: Infos, shells: list[int]) -> None:
    network = Told([2, 1, 0, 2])
    id_ = network.notify(2, range_, *infos)
    network.run()
    assert network.replies[id_][0] == 0
    assert network.shells() == shells
    for _, event in network.told:
        assert (event.source, event.range, event.infos[:-1]) == (Proc(NSPACE, 2), range_, infos)
        assert event.infos[-1].key == TOLD


def test_what_libpmix_hands_back_is_not_told_again() -> None:
    network = Told([1, 1])
    id_ = network.notify(0, Range.SESSION, Info(TOLD, True, DataType.BOOL))
    assert network.replies[id_][0] == 0 and not network.sent


def test_a_registration_is_answered() -> None:
    network = Told([1, 1])
    for codes in (None, (MINE,), (int(Status.ERR_NODE_DOWN),)):
        id_ = network.upcall(0, lambda id_, codes=codes: RegisterEvents(id_, codes, ()))  # type: ignore[misc]
        assert network.replies[id_] == (0, None)


def test_values_travel_as_they_are_and_addresses_not_at_all() -> None:
    network = Told([1, 1])
    infos = (
        Info("a", b"\0\xff", DataType.BYTE_OBJECT),
        Info("b", -5, DataType.INT64),
        Info("c", DataArray(DataType.INFO, (Info("d", "é", DataType.STRING),)), DataType.DATA_ARRAY),
    )
    network.notify(0, Range.SESSION, infos[0], Info(str(a.EVENT_RETURN_OBJECT), 4096, DataType.POINTER), *infos[1:])
    network.run()
    ((_, event),) = network.told
    assert event.infos[:-1] == infos


@pytest.mark.parametrize(
    ("infos", "status"),
    [
        ((custom(9),), Status.ERR_BAD_PARAM),
        ((Info(str(a.EVENT_CUSTOM_RANGE), Proc("other", 0), DataType.PROC),), Status.ERR_NOT_FOUND),
        ((custom(1), Info("p", 1, DataType.POINTER, True)), Status.ERR_NOT_SUPPORTED),
    ],
)
def test_what_cannot_be_told_is_refused(infos: Infos, status: Status) -> None:
    network = Told([1, 1])
    assert network.replies[network.notify(0, Range.CUSTOM, *infos)][0] == status
    assert not network.sent


def test_events_of_one_process_arrive_in_their_order() -> None:
    network = Told([1, 1, 1])
    for number in range(50):
        network.notify(0, status=MINE - number)
    network.run()
    for shell in (1, 2):
        assert [event.status for at, event in network.told if at == shell] == [MINE - n for n in range(50)]


@pytest.mark.parametrize("shells", [2, 5, 6, 23])
@pytest.mark.parametrize("sender", [0, 1, -1])
@pytest.mark.parametrize("fanout", [1, 2, 4])
def test_over_the_tree_all_others_hear_of_it_once(shells: int, sender: int, fanout: int) -> None:
    network = Told([1] * shells, fanout)
    sender %= shells
    network.notify(sender)
    assert network.sent <= fanout
    network.run()
    assert network.shells() == [shell for shell in range(shells) if shell != sender]
    assert network.sent == shells - 1


def test_those_behind_a_lost_shell_hear_of_it_all_the_same() -> None:
    network = Told([1] * 12, fanout=2)
    for shell in (1, 3, 4):
        network.lose(shell)
    network.told.clear()
    network.notify(0)
    network.run()
    assert network.shells() == [2, 5, 6, 7, 8, 9, 10, 11]


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_frames_that_come_late_and_again_are_told_once(data: st.DataObject) -> None:
    shells = data.draw(st.integers(2, 8))
    network = Told([1] * shells, data.draw(st.integers(1, 4)))
    raised = data.draw(st.lists(st.integers(0, shells - 1), min_size=1, max_size=12))
    for number, rank in enumerate(raised):
        network.notify(rank, status=MINE - number)
    while network.queues:
        pair = data.draw(st.sampled_from(sorted(network.queues)))
        queue = network.queues[pair]
        queue.rotate(-data.draw(st.integers(0, len(queue) - 1)))
        if data.draw(st.booleans()) and len(queue) < 40:
            queue.append(queue[0])
        network.deliver(pair)
    for number, rank in enumerate(raised):
        assert network.shells(MINE - number) == [shell for shell in range(shells) if shell != rank]
    assert network.idle and all(host.counters["malformed"] == 0 for host in network.hosts)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_frames_that_are_lost_are_told_at_most_once_and_hold_up_nothing(data: st.DataObject) -> None:
    shells = data.draw(st.integers(2, 8))
    network = Told([1] * shells, data.draw(st.integers(1, 4)))
    for number in range(data.draw(st.integers(1, 10))):
        network.notify(data.draw(st.integers(0, shells - 1)), status=MINE - number)
        while network.queues:
            pair = data.draw(st.sampled_from(sorted(network.queues)))
            if data.draw(st.booleans()):
                network.deliver(pair)
            else:
                del network.queues[pair]
        heard = network.shells(MINE - number)
        assert len(heard) == len(set(heard))
    assert network.idle and all(host.deadline is None for host in network.hosts)


@given(st.lists(st.integers(0, 2000), max_size=200), st.integers(0, (1 << 32) - 1))
def test_a_window_takes_each_number_once(numbers: list[int], start: int) -> None:
    window, taken = Window(), set()
    window.take(start)
    newest = 0
    for number in numbers:
        if window.take((start + number) & 0xFFFFFFFF):
            assert number not in taken and number > newest - 1024
            taken.add(number)
        else:
            assert number in taken or number == 0 or number <= newest - 1024
        newest = max(newest, number)


def event(*content: object) -> bytes:
    return wire.encode(content)


GOOD = (MINE, Proc(NSPACE, 1), int(Range.SESSION), ())


@pytest.mark.parametrize(
    ("sender", "blob"),
    [
        (1, b""),
        (1, b"garbage"),
        (1, event(None)),
        (1, event(None, GOOD[:3])),
        (1, event(None, (1 << 40, *GOOD[1:]))),
        (1, event(None, (MINE, "x", 4, ()))),
        (1, event(None, (*GOOD[:2], 99, ()))),
        (1, event(None, (*GOOD[:3], ("x",)))),
        (1, event((2,), GOOD)),
        (1, event((2, 0), GOOD)),
        (1, event((0, 7), GOOD)),
        (1, event((0, "x"), GOOD)),
        (1, event("5", GOOD)),
        (2, event(None, GOOD)),
        (0, event(None, GOOD)),
    ],
)
def test_a_frame_that_is_no_event_is_dropped(sender: int, blob: bytes) -> None:
    network = Told([1, 1, 1])
    frame = b"".join(frames.encode(Message(Tag.EVENT, 0, 1, frames.NO_DIGEST, 0, ((sender, blob),))))
    network.perform(0, network.hosts[0].receive(1, memoryview(frame), 0.0))
    assert not network.told and not network.sent
    assert network.hosts[0].counters["malformed"] == 1
    network.notify(1)
    network.run()
    assert network.shells() == [0, 2]
