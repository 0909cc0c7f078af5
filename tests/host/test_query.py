"""What must hold of queries over shells."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulator import NSPACE, Network

from fluxpmix.host import frames, wire
from fluxpmix.host.answers import KEYS
from fluxpmix.host.directory import Directory
from fluxpmix.host.effects import Effect, Measure
from fluxpmix.host.frames import Message, Tag
from fluxpmix.host.supported import ANSWERED, SUPPORTED
from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.record import replace
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import RANK_WILDCARD, Info, Proc, QueryItem
from fluxpmix.pmix.upcalls import Query

OF_THE_SYSTEM = {a.QUERY_NAMESPACES, a.QUERY_SUPPORTED_KEYS, a.QUERY_SPAWN_SUPPORT, a.TIME_REMAINING}
NOT_FOUND = int(Status.ERR_NOT_FOUND)
PARTIAL = int(Status.ERR_PARTIAL_SUCCESS)
SERVER = Proc(f"{NSPACE}.shell", 0)  # libpmix says that its server asks


class Asked(Network):
    """Hosts that are asked; each has a memory of its own, and each task more."""

    def perform(self, shell: int, effects: list[Effect]) -> None:
        super().perform(shell, effects)
        for one in effects:
            if isinstance(one, Measure):
                tasks = tuple((number, pid << 20) for number, pid in one.tasks)
                self.perform(shell, self.hosts[shell].outcomes.measured(one.token, shell + 1 << 20, tasks, self.now))

    def query(self, shell: int, *keys: str, **qualifiers: Any) -> int:
        infos = tuple(Info(getattr(a, name), value) for name, value in qualifiers.items())
        return self.upcall(shell, lambda id_: Query(id_, SERVER, (QueryItem(keys, infos),)))

    def answer(self, id_: int) -> dict[str, Any]:
        self.run()
        status, payload = self.replies[id_]
        assert status in (0, PARTIAL)
        return {info.key: info.value for info in payload}

    def start(self) -> None:
        for rank in range(self.job.size):
            shell = self.job.taskmap.node_of(rank)
            self.perform(shell, self.hosts[shell].task_started(rank, 1000 + rank, self.now))


def table(answer: Any) -> list[tuple[int, str, int, int, int]]:
    return [(one.proc.rank, one.hostname, one.pid, one.exit_code, one.state) for one in answer.items]


def test_a_process_table_tells_of_all_processes_what_became_of_them() -> None:
    network = Asked([2, 2, 2])
    before = network.query(1, a.QUERY_PROC_TABLE)
    assert [state for *_, state in table(network.answer(before)[a.QUERY_PROC_TABLE])] == [1] * 6
    network.start()
    for rank in range(5):
        network.connect(rank)
    network.finalize(1)
    network.exit(1, 0)
    network.finalize(2)
    network.exit(2, 3 << 8)
    network.exit(3, 9)
    network.exit(4, 0)
    network.run()
    answer = network.answer(network.query(1, a.QUERY_PROC_TABLE, NSPACE=NSPACE))[a.QUERY_PROC_TABLE]
    assert table(answer) == [
        (0, "n0", 1000, 0, 6),
        (1, "n0", 1001, 0, 20),
        (2, "n1", 1002, 3, 62),
        (3, "n1", 1003, 137, 54),
        (4, "n2", 1004, 0, 55),
        (5, "n2", 1005, 0, 5),
    ]
    assert all(one.executable == "prog" for one in answer.items)
    assert network.idle


def test_a_local_table_asks_nobody() -> None:
    network = Asked([1, 2])
    network.start()
    for id_ in (
        network.query(1, a.QUERY_LOCAL_PROC_TABLE),
        network.query(1, a.QUERY_PROC_TABLE, QUERY_LOCAL_ONLY=True),
    ):
        (answer,) = network.answer(id_).values()
        assert [rank for rank, *_ in table(answer)] == [1, 2]
    assert network.sent == 0


def test_many_keys_about_all_processes_are_collected_once() -> None:
    network = Asked([1, 1, 1])
    network.answer(network.query(0, a.QUERY_PROC_TABLE, a.QUERY_JOB_STATUS, a.PROC_PID, RANK=1))
    assert network.sent == 4


@pytest.mark.parametrize(
    ("wait_status", "finalizes", "status"),
    [
        (0, True, 0),
        (0, False, Status.ERR_JOB_TERM_WO_SYNC),
        (2 << 8, True, Status.ERR_JOB_NON_ZERO_TERM),
        (15, False, Status.ERR_JOB_ABORTED_BY_SIG),
    ],
)
def test_the_status_of_a_job_tells_how_a_process_failed(wait_status: int, finalizes: bool, status: int) -> None:
    network = Asked([1, 1])
    network.start()
    network.connect(1)
    if finalizes:
        network.finalize(1)
    network.exit(1, wait_status)
    network.run()
    assert network.answer(network.query(0, a.QUERY_JOB_STATUS)) == {a.QUERY_JOB_STATUS: int(status)}


def test_what_is_asked_of_one_process() -> None:
    network = Asked([1, 1])
    network.start()
    network.connect(1)
    for qualifiers in ({"RANK": 1}, {"NSPACE": NSPACE, "RANK": 1}, {"PROCID": Proc(NSPACE, 1)}):
        answer = network.answer(network.query(0, a.PROC_STATE_STATUS, a.PROC_PID, a.EXIT_CODE, **qualifiers))
        assert answer == {a.PROC_STATE_STATUS: 6, a.PROC_PID: 1001}
    network.exit(1, 7 << 8)
    network.run()
    assert network.answer(network.query(0, a.EXIT_CODE, RANK=1)) == {a.EXIT_CODE: 7}
    network.run()
    for rank in (2, RANK_WILDCARD):
        id_ = network.query(0, a.PROC_PID, RANK=rank)
        network.run()
        assert network.replies[id_][0] == NOT_FOUND


def test_what_is_asked_of_the_job() -> None:
    network = Asked([2, 0, 1])
    answer = network.answer(
        network.query(
            *(0, a.QUERY_NAMESPACES, a.JOB_SIZE, a.NUM_NODES, a.JOB_NUM_APPS, a.UNIV_SIZE, a.SESSION_ID, a.JOBID),
            *(a.NODE_LIST, a.QUERY_RESOLVE_NODE),
        )
    )
    assert answer == {
        a.QUERY_NAMESPACES: NSPACE,
        a.JOB_SIZE: 3,
        a.NUM_NODES: 3,
        a.JOB_NUM_APPS: 1,
        a.UNIV_SIZE: 3,
        a.SESSION_ID: 1,
        a.JOBID: "f1",
        a.NODE_LIST: "n0,n2",
        a.QUERY_RESOLVE_NODE: "n0,n2",
    }
    (one,) = network.answer(network.query(0, a.QUERY_NAMESPACE_INFO))[a.QUERY_NAMESPACE_INFO].items
    assert (one.key, [(info.key, info.value) for info in one.value.items]) == (
        a.JOB_INFO_ARRAY,
        [(a.NSPACE, NSPACE), (a.JOBID, "f1"), (a.CMD_LINE, "prog")],
    )


@pytest.mark.parametrize(("host", "ranks"), [("n0", (0, 1)), ("n2", (2,)), (None, (0, 1)), ("n1", None), ("x", None)])
def test_the_peers_on_a_node_are_its_processes(host: str | None, ranks: tuple[int, ...] | None) -> None:
    network = Asked([2, 0, 1])
    qualifiers = {"HOSTNAME": host} if host else {}
    id_ = network.query(0, a.QUERY_RESOLVE_PEERS, NSPACE=NSPACE, **qualifiers)
    if ranks is None:
        assert network.replies[id_][0] == NOT_FOUND
    else:
        assert [proc.rank for proc in network.answer(id_)[a.QUERY_RESOLVE_PEERS].items] == list(ranks)


def test_the_time_that_is_left_is_what_the_carrier_says() -> None:
    network = Asked([1])
    assert network.replies[network.query(0, a.TIME_REMAINING)][0] == NOT_FOUND
    network.now = 40.0
    network.hosts[0].time_limit(100.5, network.now)
    assert network.answer(network.query(0, a.TIME_REMAINING)) == {a.TIME_REMAINING: 60}
    network.now = 200.0
    assert network.answer(network.query(0, a.TIME_REMAINING)) == {a.TIME_REMAINING: 0}


@pytest.mark.parametrize("key", sorted({*KEYS} - OF_THE_SYSTEM))
def test_of_an_unknown_namespace_nothing_is_known(key: str) -> None:
    network = Asked([1, 1])
    id_ = network.query(0, key, NSPACE="another", RANK=0)
    network.run()
    assert network.replies[id_] == (NOT_FOUND, None)


def test_a_spawned_job_is_known_by_its_place_too() -> None:
    """`JOB.1` is the first, also where it is a Flux job that has an id of its own."""
    job = Network([1, 1]).job
    directory = Directory(job)
    child = directory.add(replace(job, nspace="f2ABC"), job.size, 1)
    assert directory.called(f"{NSPACE}.1") is child is directory.called("f2ABC")
    assert directory.called(NSPACE) is directory.first
    assert {directory.called(f"{NSPACE}.{other}") for other in ("", "0", "2", "01", "9" * 5000)} == {None}


def test_some_answers_are_a_partial_success_and_none_is_not_found() -> None:
    network = Asked([1])
    id_ = network.query(0, a.JOB_SIZE, "pmix.unheard.of")
    assert network.answer(id_) == {a.JOB_SIZE: 1} and network.replies[id_][0] == PARTIAL
    assert network.replies[network.query(0, "pmix.unheard.of")] == (NOT_FOUND, None)


@pytest.mark.parametrize("loses", ["message", "shell"])
def test_a_shell_that_does_not_answer_leaves_its_rows_without_a_state(loses: str) -> None:
    network = Asked([1, 1, 1])
    network.start()
    id_ = network.query(0, a.QUERY_PROC_TABLE)
    if loses == "shell":
        network.lose(2)
    else:
        del network.queues[0, 2]
    network.run()
    network.pass_time(6)
    answer = network.answer(id_)
    assert [state for *_, state in table(answer[a.QUERY_PROC_TABLE])] == [5, 5, 0]
    assert network.replies[id_][0] == PARTIAL
    assert network.idle


@pytest.mark.parametrize(
    "rows",
    [(), 5, ((1, 2, 3),), ((0, 1, 1, 1),), ((9, 1, 1, 1),), (("1", 1, 1, 1),), ((1, 1, 1, 1), None)],
)
def test_a_table_that_makes_no_sense_is_dropped(rows: Any) -> None:
    network = Asked([1, 1])
    id_ = network.query(0, a.QUERY_PROC_TABLE)
    block = (1, wire.encode((rows, (), ())))
    frame = b"".join(frames.encode(Message(Tag.ROWS, 0, 1, frames.NO_DIGEST, 0, (block,))))
    network.perform(0, network.hosts[0].receive(1, frame, 0.0))
    assert (id_ in network.replies) == (rows == ())
    assert network.hosts[0].counters["malformed"] == (rows != ())


def test_every_key_that_is_answered_is_registered_as_supported() -> None:
    assert tuple(KEYS) == ANSWERED and set(KEYS) <= set(SUPPORTED["PMIx_Query_info"])
    network = Asked([1])
    (told,) = network.answer(network.query(0, a.QUERY_SUPPORTED_KEYS)).values()
    assert told.split(",") == list(KEYS)


@settings(deadline=None, max_examples=100)
@given(
    shells=st.integers(1, 6),
    troubles=st.lists(st.sampled_from(["lose message", "repeat message", "lose shell"]), max_size=3),
    seed=st.integers(0, 2**32).map(random.Random),
)
def test_whatever_goes_wrong_every_query_is_answered(shells: int, troubles: list[str], seed: random.Random) -> None:
    network = Asked([1] * shells)
    network.start()
    ids = {network.query(shell, a.QUERY_PROC_TABLE): shell for shell in range(shells)}
    while network.queues:
        pair = seed.choice(sorted(network.queues))
        trouble = troubles.pop() if troubles and seed.random() < 0.3 else ""
        if trouble == "repeat message":
            network.queues[pair].append(network.queues[pair][-1])
        elif trouble == "lose message":
            del network.queues[pair]
        elif trouble == "lose shell" and len(network.lost) < shells - 1 and pair[0] not in network.lost:
            network.lose(pair[0])
        else:
            network.deliver(pair)
    network.pass_time(10)
    for id_, shell in ids.items():
        if shell not in network.lost:
            rows = table(network.answer(id_)[a.QUERY_PROC_TABLE])
            assert all((pid, state) in ((1000 + rank, 5), (0, 0)) for rank, _, pid, _, state in rows)
    assert network.idle


def _memory(answer: dict[str, Any]) -> list[tuple[Any, ...]]:
    arrays = [each.value.items for each in answer[a.QUERY_MEMORY_USAGE].items]
    return [tuple(info.value for info in infos) for infos in arrays]


def test_the_memory_of_shells_and_tasks_is_told_by_node() -> None:
    network = Asked([2, 1])
    network.start()
    ids = [network.query(shell, a.QUERY_MEMORY_USAGE) for shell in (0, 1)]
    assert [_memory(network.answer(id_)) for id_ in ids] == [[("n0", 1, 1000.5), ("n1", 2, 1002)]] * 2
    one = network.query(0, a.QUERY_MEMORY_USAGE, PROCID=Proc(NSPACE, 2))
    assert _memory(network.answer(one)) == [("n1", 2, 1002)]
    here = network.query(1, a.QUERY_MEMORY_USAGE, QUERY_LOCAL_ONLY=True)
    assert _memory(network.answer(here)) == [("n1", 2, 1002)]
    there = network.query(0, a.QUERY_MEMORY_USAGE, HOSTNAME="n1")
    assert _memory(network.answer(there)) == [("n1", 2, 1002)]


def test_the_memory_of_a_lost_shell_is_missing() -> None:
    network = Asked([1, 1])
    network.start()
    id_ = network.query(0, a.QUERY_MEMORY_USAGE)
    network.lose(1)
    assert network.replies[id_][0] == PARTIAL and network.idle


@pytest.mark.parametrize("memory", [5, (1,), ("a", ()), (1, (2,)), (1, ((0, "x"),)), (1, ((0, 1, 2),))])
def test_memory_that_makes_no_sense_is_dropped(memory: Any) -> None:
    network = Asked([1, 1])
    id_ = network.query(0, a.QUERY_MEMORY_USAGE)
    block = (1, wire.encode(((), (), memory)))
    frame = b"".join(frames.encode(Message(Tag.ROWS, 0, 1, frames.NO_DIGEST, 0, (block,))))
    network.perform(0, network.hosts[0].receive(1, frame, 0.0))
    assert id_ not in network.replies and network.hosts[0].counters["malformed"] == 1
