"""What must hold of published data over shells: by examples, and on a network that does its worst."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulator import NSPACE, Network

from fluxpmix.host import frames, wire
from fluxpmix.host.frames import Message, Tag
from fluxpmix.job.model import App, Job, Node, Session
from fluxpmix.job.taskmap import TaskMap
from fluxpmix.pmix import attributes
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.structures import Coord, DeviceDistance, Endpoint, Geometry, ProcInfo
from fluxpmix.pmix.types import (
    RANK_WILDCARD,
    DataArray,
    DataType,
    Envar,
    Info,
    Infos,
    Persistence,
    Proc,
    Range,
    Regex,
    Timeval,
    Value,
)
from fluxpmix.pmix.upcalls import Lookup, Publish, Unpublish

NOT_FOUND = int(Status.ERR_NOT_FOUND)
TIMEOUT = int(Status.ERR_TIMEOUT)
LOST = int(Status.ERR_LOST_CONNECTION)
DIED = int(Status.ERR_PROC_TERM_WO_SYNC)
DUPLICATE = int(Status.ERR_DUPLICATE_KEY)
PARTIAL = int(Status.ERR_PARTIAL_SUCCESS)
DENIED = int(Status.ERR_NO_PERMISSIONS)
BAD = int(Status.ERR_BAD_PARAM)


class Published(Network):
    """Hosts whose processes publish numbers."""

    def publish(
        self,
        rank: int,
        values: dict[str, Any],
        range_: Range | None = None,
        persistence: Persistence | None = None,
        timeout: int | None = None,
        uid: int = 7,
        extra: Iterable[Info] = (),
        nspace: str = NSPACE,
    ) -> int:
        infos = [Info(key, value, DataType.INT64) for key, value in values.items()]
        if persistence is not None:
            infos.append(Info(attributes.PERSISTENCE, int(persistence), DataType.PERSIST))
        infos += [*extra, *self.directives(range_, timeout, uid)]
        return self.of(rank, lambda id_: Publish(id_, Proc(nspace, rank), tuple(infos)))

    def lookup(
        self,
        rank: int,
        *keys: str,
        range_: Range | None = None,
        wait: int | None = None,
        timeout: int | None = None,
        uid: int = 7,
        extra: Iterable[Info] = (),
    ) -> int:
        infos = [*extra, *self.directives(range_, timeout, uid)]
        if wait is not None:
            infos.append(Info(attributes.WAIT, wait, DataType.INT))
        return self.of(rank, lambda id_: Lookup(id_, Proc(NSPACE, rank), keys, tuple(infos)))

    def unpublish(
        self, rank: int, *keys: str, range_: Range | None = None, timeout: int | None = None, uid: int = 7
    ) -> int:
        infos = self.directives(range_, timeout, uid)
        return self.of(rank, lambda id_: Unpublish(id_, Proc(NSPACE, rank), keys or None, infos))

    def directives(self, range_: Range | None, timeout: int | None, uid: int) -> Infos:
        infos = [] if range_ is None else [Info(attributes.RANGE, int(range_), DataType.DATA_RANGE)]
        if timeout is not None:
            infos.append(Info(attributes.TIMEOUT, timeout, DataType.INT))
        return (*infos, Info(attributes.USERID, uid, DataType.UINT32))

    def of(self, rank: int, make: Callable[[int], Any]) -> int:
        return self.upcall(self.job.taskmap.node_of(rank), make)

    def done(self, id_: int) -> int:
        """Deliver all, and return the status of a request."""
        self.run()
        return self.replies[id_][0]

    def found(self, id_: int) -> dict[str, tuple[int, Any]]:
        """Deliver all, and return what a lookup found: publisher's rank and value by key."""
        self.run()
        status, payload = self.replies[id_]
        assert status in (0, PARTIAL)
        return {one.key: (one.proc.rank, one.value.data) for one in payload}

    @property
    def stored(self) -> int:
        return sum(host.stored for shell, host in enumerate(self.hosts) if shell not in self.lost)


KEYS = [f"key-{number}" for number in range(12)]


def test_what_one_publishes_all_find() -> None:
    network = Published([1] * 4)
    assert network.done(network.publish(0, {key: number for number, key in enumerate(KEYS)})) == 0
    for rank in range(4):
        assert network.found(network.lookup(rank, *KEYS)) == {key: (0, number) for number, key in enumerate(KEYS)}
    assert network.idle and network.stored == 12


def test_keys_are_spread_over_the_shells() -> None:
    network = Published([1] * 4)
    network.done(network.publish(0, dict.fromkeys((f"key-{number}" for number in range(400)), 1)))
    assert all(60 < host.stored < 140 for host in network.hosts)


def test_many_keys_travel_together() -> None:
    network = Published([1] * 4)
    network.done(network.publish(0, dict.fromkeys(KEYS, 1)))
    assert network.sent <= 6
    before = network.sent
    network.found(network.lookup(1, *KEYS))
    assert network.sent - before <= 6


def test_a_lookup_of_some_that_are_there_finds_those() -> None:
    network = Published([1] * 3)
    network.done(network.publish(0, {"a": 1}))
    id_ = network.lookup(2, "a", "b")
    assert network.found(id_) == {"a": (0, 1)}
    assert network.replies[id_][0] == PARTIAL
    assert network.done(network.lookup(2, "b", "c")) == NOT_FOUND


def test_a_duplicate_in_the_same_range_is_refused_and_nothing_of_it_stays() -> None:
    network = Published([1] * 4)
    network.done(network.publish(0, {"key-3": 1}))
    assert network.done(network.publish(1, dict.fromkeys(KEYS, 2))) == DUPLICATE
    assert network.stored == 1
    assert network.done(network.publish(0, {"key-3": 2})) == DUPLICATE
    assert network.found(network.lookup(1, "key-3")) == {"key-3": (0, 1)}
    assert network.idle


def test_duplicates_in_different_ranges_stand_side_by_side_and_the_narrowest_is_found() -> None:
    network = Published([2, 1])
    for range_ in (Range.GLOBAL, Range.SESSION, Range.NAMESPACE, Range.LOCAL, Range.PROC_LOCAL):
        assert network.done(network.publish(0, {"k": int(range_)}, range_)) == 0
    assert network.done(network.publish(2, {"k": 22}, Range.LOCAL)) == 0, "another node's range is another"
    assert network.found(network.lookup(0, "k")) == {"k": (0, int(Range.PROC_LOCAL))}
    assert network.found(network.lookup(1, "k")) == {"k": (0, int(Range.LOCAL))}
    assert network.found(network.lookup(2, "k")) == {"k": (2, 22)}


@pytest.mark.parametrize(
    ("range_", "readers"),
    [
        (None, {0, 1, 2}),
        (Range.UNDEF, {0, 1, 2}),
        (Range.GLOBAL, {0, 1, 2}),
        (Range.SESSION, {0, 1, 2}),
        (Range.NAMESPACE, {0, 1, 2}),
        (Range.LOCAL, {0, 1}),
        (Range.PROC_LOCAL, {0}),
        (Range.RM, {0}),
    ],
)
def test_only_who_is_in_the_publishers_range_finds(range_: Range | None, readers: set[int]) -> None:
    network = Published([2, 1])
    network.done(network.publish(0, {"k": 5}, range_))
    assert {rank for rank in range(3) if network.done(network.lookup(rank, "k")) == 0} == readers


@pytest.mark.parametrize(
    ("range_", "publishers"),
    [(Range.GLOBAL, {0, 1, 2}), (Range.LOCAL, {0, 1}), (Range.PROC_LOCAL, {0}), (Range.RM, set())],
)
def test_a_lookup_finds_only_publishers_in_its_own_range(range_: Range, publishers: set[int]) -> None:
    network = Published([2, 1])
    for rank in range(3):
        network.done(network.publish(rank, {f"of-{rank}": rank}))
    found = {rank for rank in range(3) if network.done(network.lookup(0, f"of-{rank}", range_=range_)) == 0}
    assert found == publishers


def test_a_custom_range_is_the_processes_that_it_names() -> None:
    network = Published([1] * 4)
    named = DataArray(DataType.PROC, (Proc(NSPACE, 1), Proc(NSPACE, 2)))
    custom = [Info(attributes.EVENT_CUSTOM_RANGE, named, DataType.DATA_ARRAY)]
    network.done(network.publish(0, {"k": 5}, Range.CUSTOM, extra=custom))
    assert {rank for rank in range(4) if network.done(network.lookup(rank, "k")) == 0} == {0, 1, 2}
    network.done(network.publish(3, {"of-3": 5}))
    assert network.done(network.lookup(0, "of-3", range_=Range.CUSTOM, extra=custom)) == NOT_FOUND
    assert network.done(network.publish(0, {"k": 6}, Range.CUSTOM, extra=custom)) == DUPLICATE
    everybody = [Info(attributes.EVENT_CUSTOM_RANGE, Proc(NSPACE, RANK_WILDCARD), DataType.PROC)]
    assert network.done(network.lookup(0, "of-3", range_=Range.CUSTOM, extra=everybody)) == 0
    assert network.done(network.publish(0, {"k": 6}, Range.CUSTOM)) == BAD, "a custom range wants its processes"


def test_another_user_finds_only_what_it_may() -> None:
    network = Published([1, 1])
    network.done(network.publish(0, {"mine": 1}))
    allowed = [Info(attributes.ACCESS_USERIDS, DataArray(DataType.UINT32, (8, 9)), DataType.DATA_ARRAY)]
    permissions = [Info(attributes.ACCESS_PERMISSIONS, DataArray(DataType.INFO, tuple(allowed)), DataType.DATA_ARRAY)]
    network.done(network.publish(0, {"ours": 2}, extra=permissions))
    assert network.done(network.lookup(1, "mine", uid=8)) == DENIED
    assert network.found(network.lookup(1, "ours", uid=8)) == {"ours": (0, 2)}
    assert network.done(network.lookup(1, "ours", uid=10)) == DENIED
    assert network.found(network.lookup(1, "mine", "ours", uid=9)) == {"ours": (0, 2)}
    assert network.found(network.lookup(1, "mine", "ours")) == {"mine": (0, 1), "ours": (0, 2)}
    assert network.done(network.lookup(1, "mine", "none", uid=8)) == NOT_FOUND


def test_a_user_id_that_a_process_states_itself_does_not_count() -> None:
    network = Published([1, 1])
    network.done(network.publish(0, {"mine": 1}))
    lie = [Info(attributes.USERID, 7, DataType.UINT32)]
    assert network.done(network.lookup(1, "mine", uid=8, extra=lie)) == DENIED


def test_what_is_there_for_one_reading_is_read_once() -> None:
    network = Published([1] * 3)
    network.done(network.publish(0, {"k": 1}, persistence=Persistence.FIRST_READ))
    ids = [network.lookup(rank, "k") for rank in (1, 2)]
    network.run()
    assert sorted(network.replies[id_][0] for id_ in ids) == [NOT_FOUND, 0]
    assert network.stored == 0


def test_a_lookup_that_waits_is_answered_the_moment_the_last_key_is_there() -> None:
    network = Published([1] * 4)
    id_ = network.lookup(3, *KEYS, wait=0)
    for key in KEYS:
        network.run()
        assert id_ not in network.replies
        network.publish(0, {key: 1})
    assert network.found(id_) == dict.fromkeys(KEYS, (0, 1))
    assert network.now == 0.0 and network.idle


def test_a_lookup_that_waits_for_some_keys_is_answered_with_so_many() -> None:
    network = Published([1] * 4)
    id_ = network.lookup(3, *KEYS, wait=2)
    network.done(network.publish(0, {KEYS[7]: 7}))
    assert id_ not in network.replies
    network.done(network.publish(1, {KEYS[2]: 2}))
    assert network.found(id_) == {KEYS[7]: (0, 7), KEYS[2]: (1, 2)}
    assert network.idle, "nobody waits for the others any more"


def test_a_lookup_that_waits_ends_at_its_timeout() -> None:
    network = Published([1] * 4)
    network.done(network.publish(0, {"key-1": 1}))
    id_ = network.lookup(3, *KEYS, wait=0, timeout=5)
    network.run()
    network.pass_time(4.9)
    assert id_ not in network.replies
    network.pass_time(0.2)
    assert network.replies[id_] == (TIMEOUT, None)
    assert network.idle


def test_a_value_for_one_reading_that_came_too_late_goes_back() -> None:
    network = Published([1] * 4)
    network.done(network.publish(0, dict.fromkeys(KEYS[1:], 4), persistence=Persistence.FIRST_READ))
    id_ = network.lookup(3, *KEYS, wait=0, timeout=5)
    network.pass_time(6)
    assert network.replies[id_] == (TIMEOUT, None)
    network.run()
    assert network.stored == 11 and network.idle
    assert network.found(network.lookup(1, *KEYS)) == dict.fromkeys(KEYS[1:], (0, 4))


def test_one_value_for_one_reading_answers_one_of_those_who_wait() -> None:
    network = Published([1] * 4)
    ids = [network.lookup(rank, "k", wait=0) for rank in (1, 2, 3)]
    network.run()
    network.done(network.publish(0, {"k": 1}, persistence=Persistence.FIRST_READ))
    assert sum(id_ in network.replies for id_ in ids) == 1
    network.done(network.publish(0, {"k": 2}))
    assert all(network.replies[id_][0] == 0 for id_ in ids)
    assert network.idle


def test_unpublish_takes_back_what_the_process_published_in_that_range() -> None:
    network = Published([1] * 3)
    network.done(network.publish(0, {"a": 1, "b": 2}))
    network.done(network.publish(0, {"a": 3}, Range.NAMESPACE))
    assert network.done(network.unpublish(1, "a")) == NOT_FOUND, "it is another's"
    assert network.done(network.unpublish(0, "a", "nothing")) == 0
    assert network.found(network.lookup(2, "a", "b")) == {"a": (0, 3), "b": (0, 2)}
    assert network.done(network.unpublish(0, "a")) == NOT_FOUND, "in the session's range there is none"
    assert network.done(network.unpublish(0, "a", range_=Range.NAMESPACE)) == 0
    assert network.done(network.publish(1, {"a": 4})) == 0
    assert network.stored == 2


def test_unpublish_without_keys_takes_back_all_of_the_process() -> None:
    network = Published([1] * 3)
    network.done(network.publish(0, dict.fromkeys(KEYS, 1)))
    network.done(network.publish(0, {"local": 1}, Range.LOCAL))
    network.done(network.publish(1, {"other": 1}))
    assert network.done(network.unpublish(0)) == 0
    assert network.found(network.lookup(2, *KEYS, "local", "other")) == {"other": (1, 1)}
    assert network.stored == 1


@pytest.mark.parametrize("connects", [True, False])
def test_what_a_process_published_for_its_life_ends_with_it(connects: bool) -> None:
    network = Published([1] * 3)
    if connects:
        network.connect(0)
    network.done(network.publish(0, dict.fromkeys(KEYS, 1), persistence=Persistence.PROCESS))
    network.done(network.publish(0, {"stays": 1}))
    network.exit(0)
    network.run()
    assert network.found(network.lookup(2, *KEYS, "stays")) == {"stays": (0, 1)}


def test_what_was_published_for_an_application_ends_with_its_last_process() -> None:
    network = Published([2, 2])
    apps = (App(0, ("a",), "/", 3), App(1, ("b",), "/", 1))
    nodes = tuple(Node(node, f"n{node}", slots=2) for node in range(2))
    job = Job(NSPACE, "f1", Session(1, 4), nodes, apps, TaskMap.block([2, 2]), "key")
    network.hosts = [type(host)(job, shell) for shell, host in enumerate(network.hosts)]
    network.done(network.publish(0, {"app": 1, "too": 2}))
    network.done(network.publish(0, {"session": 3}, persistence=Persistence.SESSION))
    network.done(network.publish(3, {"other": 4}))
    for rank in (0, 2):
        network.exit(rank, 0)
        network.run()
        assert network.done(network.lookup(3, "app")) == 0
    network.exit(1, 0)
    network.run()
    assert network.found(network.lookup(3, "app", "too", "session", "other")) == {"session": (0, 3), "other": (3, 4)}
    assert network.idle


def test_the_death_of_who_waits_ends_the_wait_everywhere() -> None:
    network = Published([1] * 4)
    id_ = network.lookup(3, *KEYS, wait=0)
    network.run()
    network.exit(3)
    assert network.done(id_) == DIED
    assert network.idle
    assert network.done(network.lookup(3, "k")) == DIED


def test_a_lost_shell_ends_what_waits_for_its_answer() -> None:
    network = Published([1] * 4)
    keys = [f"key-{number}" for number in range(40)]
    network.done(network.publish(0, dict.fromkeys(keys, 1)))
    waiting = network.lookup(0, *(f"other-{n}" for n in range(20)), wait=0)
    network.run()
    network.lose(2)
    network.pass_time(1)
    there = network.found(network.lookup(0, *keys))
    assert 0 < len(there) < len(keys)
    gone = [key for key in keys if key not in there]
    assert network.done(network.lookup(0, *gone)) == LOST
    assert network.done(network.publish(1, dict.fromkeys((f"new-{n}" for n in range(20)), 1))) == LOST
    assert network.done(network.lookup(0, *(f"new-{n}" for n in range(20)))) in (LOST, NOT_FOUND)
    assert network.replies[waiting] == (LOST, None)
    assert network.idle


@pytest.mark.parametrize("what", ["publish", "lookup", "unpublish"])
def test_a_request_that_a_lost_message_leaves_open_ends_at_its_timeout(what: str) -> None:
    network = Published([1] * 4)
    calls = {
        "publish": lambda: network.publish(0, dict.fromkeys(KEYS, 1), timeout=3),
        "lookup": lambda: network.lookup(0, *KEYS, timeout=3),
        "unpublish": lambda: network.unpublish(0, *KEYS, timeout=3),
    }
    id_ = calls[what]()
    network.queues.pop(next(iter(network.queues)))
    network.run()
    network.pass_time(4)
    assert network.replies[id_] == (TIMEOUT, None)
    network.run()
    assert network.idle and network.stored == 0


@pytest.mark.parametrize(
    "extra",
    [
        [Info(attributes.RANGE, 99, DataType.DATA_RANGE)],
        [Info(attributes.RANGE, int(Range.INVALID), DataType.DATA_RANGE)],
        [Info(attributes.PERSISTENCE, 99, DataType.PERSIST)],
        [Info("k" * 512, 1, DataType.INT)],
        [Info("", 1, DataType.INT)],
        [Info("k", None)],
        [Info("pointer", 1234, DataType.POINTER)],
        [Info(attributes.RANGE, "far", DataType.STRING)],
        [Info(attributes.PERSISTENCE, "long", DataType.STRING)],
        [Info("huge", bytes(1 << 31), DataType.BYTE_OBJECT)],  # never touched: it takes no memory
        [Info(f"half {n}", bytes(3 << 29), DataType.BYTE_OBJECT) for n in (1, 2)],
        [Info("deep", DataArray(DataType.POINTER, (1,)), DataType.DATA_ARRAY)],
    ],
)
def test_what_cannot_be_published_is_refused(extra: list[Info]) -> None:
    network = Published([1, 1])
    assert network.done(network.publish(0, {"fine": 1}, extra=extra)) == BAD
    assert network.stored == 0 and network.idle


def test_requests_that_make_no_sense_are_refused() -> None:
    network = Published([1, 1])
    assert network.done(network.publish(0, {})) == BAD
    assert network.done(network.lookup(0)) == BAD
    assert network.done(network.lookup(0, "k" * 512)) == BAD
    assert network.done(network.publish(0, {"k": 1}, nspace="another")) == NOT_FOUND
    required = [Info("pmix.unheard.of", 1, DataType.INT, required=True)]
    assert network.done(network.lookup(0, "k", extra=required)) == int(Status.ERR_NOT_SUPPORTED)
    assert network.idle


def test_the_end_of_the_job_answers_all() -> None:
    network = Published([1, 1])
    id_ = network.lookup(0, *KEYS, wait=0)
    network.run()
    for host in network.hosts:
        network.perform(network.hosts.index(host), host.close(network.now))
    assert network.replies[id_] == (LOST, None)
    assert network.idle and network.stored == 0


# -- on the wire -----------------------------------------------------------------------------------

TEXT = st.text(max_size=5)
NUMBERS = st.integers(-(2**63), 2**64 - 1)
PROCS = st.builds(Proc, TEXT, st.integers(0, 2**32 - 1))
PLAIN = st.one_of(
    *(st.none(), st.booleans(), NUMBERS, st.floats(allow_nan=False), TEXT, st.binary(max_size=9), PROCS),
    st.builds(Envar, TEXT, TEXT, TEXT),
    st.builds(Timeval, NUMBERS, NUMBERS),
    st.builds(Regex, st.binary(max_size=9)),
    st.builds(ProcInfo, PROCS, st.none() | TEXT, TEXT, NUMBERS, NUMBERS, NUMBERS),
    st.builds(Geometry, NUMBERS, TEXT, TEXT, st.tuples(st.builds(Coord, NUMBERS, st.tuples(NUMBERS)))),
    st.builds(DeviceDistance, TEXT, TEXT, NUMBERS, NUMBERS, NUMBERS),
    st.builds(Endpoint, TEXT, TEXT, st.binary(max_size=9)),
)
TYPES = st.sampled_from([each for each in DataType if each.name not in ("POINTER", "TOPO", "PROC_CPUSET")])
VALUES = st.recursive(
    PLAIN,
    lambda inner: st.one_of(
        st.builds(Value, TYPES, inner),
        st.builds(Info, TEXT, inner, TYPES, st.booleans()),
        st.builds(DataArray, TYPES, st.lists(inner, max_size=4).map(tuple)),
        st.lists(inner, max_size=4).map(tuple),
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(VALUES)
def test_a_value_comes_off_the_wire_as_it_went_on(value: Any) -> None:
    back = wire.decode(wire.encode(value))
    assert back == value and repr(back) == repr(value)


@settings(deadline=None)
@given(VALUES, st.integers(0, 10_000), st.integers(1, 255))
def test_a_damaged_value_is_another_value_or_an_error(value: Any, at: int, flip: int) -> None:
    data = bytearray(wire.encode(value))
    data[at % len(data)] ^= flip
    with suppress(wire.WireError):
        wire.decode(bytes(data))
    with pytest.raises(wire.WireError):
        wire.decode(wire.encode(value)[:-1])


@settings(deadline=None)
@given(st.binary(max_size=60), st.sampled_from([tag for tag in Tag if 8 <= tag <= 14]), st.integers(-3, 3))
def test_garbage_is_counted_and_changes_nothing(body: bytes, tag: Tag, status: int) -> None:
    network = Published([1, 1])
    network.done(network.publish(0, {"k": 1}))
    message = Message(tag, 0, 1, frames.NO_DIGEST, status, ((0, body),))
    network.perform(1, network.hosts[1].receive(0, b"".join(frames.encode(message)), 0.0))
    assert network.hosts[1].counters["malformed"] == 1
    assert network.found(network.lookup(1, "k")) == {"k": (0, 1)}


@settings(deadline=None)
@given(VALUES, st.sampled_from([tag for tag in Tag if 8 <= tag <= 14]))
def test_a_body_of_anything_never_raises(value: Any, tag: Tag) -> None:
    network = Published([1, 1])
    message = Message(tag, 0, 1, frames.NO_DIGEST, 0, ((0, wire.encode(value)),))
    network.perform(1, network.hosts[1].receive(0, b"".join(frames.encode(message)), 0.0))


def test_an_answer_to_another_question_is_none() -> None:
    network = Published([1, 1])
    id_ = network.lookup(0, *KEYS, wait=1)
    network.queues.clear()
    packed = wire.encode(Value(DataType.INT64, 1))
    for key, value in (("other", packed), (KEYS[0], wire.encode(1)), (KEYS[0], b"x")):
        body = wire.encode((((key, Proc(NSPACE, 1), value, None),), (), True))
        message = Message(Tag.FOUND, 0, 1, frames.NO_DIGEST, 0, ((1, body),))
        network.perform(0, network.hosts[0].receive(1, b"".join(frames.encode(message)), 0.0))
    assert id_ not in network.replies
    assert network.hosts[0].counters["malformed"] == 3


# -- at its worst ----------------------------------------------------------------------------------

ENDS = {0, PARTIAL, NOT_FOUND, DUPLICATE, TIMEOUT, LOST, DIED}
TROUBLES = ["lose message", "repeat message", "die", "lose shell"]


@settings(deadline=None, max_examples=300)
@given(
    shells=st.integers(1, 6),
    steps=st.integers(1, 25),
    troubles=st.lists(st.sampled_from(TROUBLES), max_size=3),
    seed=st.integers(0, 2**32).map(random.Random),
)
def test_whatever_goes_wrong_nobody_hangs_and_no_data_is_wrong(
    shells: int, steps: int, troubles: list[str], seed: random.Random
) -> None:
    network = Published([1] * shells)
    todo = [seed.choice(["publish", "lookup", "wait", "unpublish"]) for _ in range(steps)] + troubles
    seed.shuffle(todo)
    asked: dict[int, int] = {}
    published: dict[int, str] = {}  # value: its key
    dead: set[int] = set()
    while todo or network.queues:
        action = seed.choice(["act", "deliver", "deliver", "pass"])
        if action == "deliver" and network.queues:
            network.deliver(seed.choice(sorted(network.queues)))
        elif action == "pass":
            network.now += seed.random()
        elif action == "act" and todo:
            act(network, todo.pop(), seed, asked, published, dead)
    network.pass_time(60)
    for id_, rank in asked.items():
        if rank in network.lost:
            continue
        status, payload = network.replies[id_]
        assert status in ENDS
        assert status != DIED or rank in dead
        for one in payload or ():
            assert published[one.value.data] == one.key, "a value under a key where nobody published it"
    if not troubles:
        read_once = [one.value.data for _, payload in network.replies.values() for one in payload or ()]
        assert all(read_once.count(value) == 1 for value in read_once if value % 2), "read twice"
    network.run()
    assert network.idle
    for rank in range(shells):
        if rank not in network.lost | dead:
            network.unpublish(rank)
    network.run()
    if not troubles:
        assert network.stored == 0


def act(
    network: Published,
    what: str,
    seed: random.Random,
    asked: dict[int, int],
    published: dict[int, str],
    dead: set[int],
) -> None:
    rank = seed.randrange(len(network.hosts))
    keys = seed.sample(KEYS[:5], seed.randint(1, 3))
    timeout = seed.randint(1, 10)
    if what in TROUBLES:
        trouble(network, what, seed, dead)
    elif rank in network.lost | dead:
        return
    elif what == "publish":
        once = seed.random() < 0.5
        values = {}
        for key in keys:
            values[key] = 2 * len(published) + once
            published[values[key]] = key
        persistence = Persistence.FIRST_READ if once else seed.choice([Persistence.PROCESS, Persistence.SESSION])
        asked[network.publish(rank, values, persistence=persistence, timeout=timeout)] = rank
    elif what == "unpublish":
        asked[network.unpublish(rank, *seed.choice([keys, []]), timeout=timeout)] = rank
    else:
        wait = seed.randint(0, 3) if what == "wait" else None
        asked[network.lookup(rank, *keys, wait=wait, timeout=timeout)] = rank


def trouble(network: Published, what: str, seed: random.Random, dead: set[int]) -> None:
    shell = seed.randrange(len(network.hosts))
    if what == "die" and shell not in network.lost | dead:
        dead.add(shell)
        network.exit(shell)
    elif what == "lose shell" and shell not in network.lost and len(network.lost) < len(network.hosts) - 1:
        network.lose(shell)
    elif what.endswith("message") and network.queues:
        pair = seed.choice(sorted(network.queues))
        if what == "repeat message":
            network.queues[pair].append(network.queues[pair][-1])
        else:
            network.queues[pair].popleft()
            if not network.queues[pair]:
                del network.queues[pair]
