"""What must hold of task maps (Flux RFC 34): every form says the same, and a million tasks are quick."""

from __future__ import annotations

import time
from collections.abc import Callable

import libflux
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxpmix.job import idset
from fluxpmix.job.taskmap import FORMS, TaskMap

small = st.integers(1, 3)
block_lists = st.lists(st.tuples(st.integers(0, 3), small, small, small), max_size=5)
all_counts = st.lists(st.integers(0, 6), max_size=6)
full_counts = st.lists(st.integers(1, 6), min_size=1, max_size=6)
READ = {
    "": "",
    "[]": "",
    '{"version":1,"map":[]}': "",
    "[[0,2,1,2]]": "0,2;1,3",
    '{"version":1,"map":[[0,2,1,2]]}': "0,2;1,3",
    "(vector,(0,2,1),(0,2,1))": "0,2;1,3",
    " (vector, (0,2,1), (0,2,1), ) ": "0,2;1,3",
    "0,2;1,3": "0,2;1,3",
    "[0,2];[1,3]": "0,2;1,3",
    "[[0,2,2,1],[0,1,1,1]]": "0-1,4;2-3",
    "[[1,1,1,1],[0,1,1,1]]": "1;0",
    "[[0,6,1,2],[4,2,1,2]]": "0,6;1,7;2,8;3,9;4,10,12,14;5,11,13,15",
    "0;;1": "0;;1",  # a node of the job may have no task
}
REFUSED = """{ } {} {"version":1} {"version":1,"map":{}} {"version":2,"map":[[1,1,1,1]]} {"version":true,"map":[]}
null 4 [1] [1,2] [[]] [[0,1,1,1],1] [["0","1","1","1"]] [[0,1,1.0,1]] [[-1,1,1,1]] [[0,1,1,0]] [[0,1,1]] [[0,1,1,1,1]]
[[0,1,true,1]] vector,(1,1,1) (vector) (vector,) (vector,(1,1)) (vector,(1,1,0)) (vector,(1,1,²)) ((1,1,1)) block
1 0,0 0;0 0-1;1-2 0-1;10-11 3-4;0-1 -1 0;a"""


def whose(map_: TaskMap) -> list[int]:
    """The node of each task, by the definition of a block."""
    return [
        node
        for nodeid, nnodes, ppn, repeat in map_.blocks
        for _ in range(repeat)
        for node in range(nodeid, nodeid + nnodes)
        for _ in range(ppn)
    ]


def test_every_task_is_where_the_blocks_put_it() -> None:
    assert list(TaskMap([[0, 2, 2, 1], [0, 1, 1, 1], [2, 1, 1, 2]]).node_column()) == [0, 0, 1, 1, 0, 2, 2]


@given(block_lists)
def test_joining_blocks_moves_no_task(blocks: list[tuple[int, int, int, int]]) -> None:
    apart = [node for block in blocks for node in whose(TaskMap([block]))]
    assert whose(TaskMap(blocks)) == apart


@given(block_lists)
def test_all_queries_agree(blocks: list[tuple[int, int, int, int]]) -> None:
    map_ = TaskMap(blocks)
    nodes = whose(map_)
    assert list(map_.node_column()) == [map_.node_of(task) for task in range(map_.ntasks)] == nodes
    assert map_.counts() == [nodes.count(node) for node in range(map_.nnodes)]
    for node in range(map_.nnodes):
        tasks = list(map_.tasks(node))
        assert tasks == [task for task, its in enumerate(nodes) if its == node]
        assert [map_.local_rank_column()[task] for task in tasks] == list(range(len(tasks)))


@given(block_lists, st.sampled_from(FORMS))
def test_what_was_written_in_any_form_is_read_back(blocks: list[tuple[int, int, int, int]], form: str) -> None:
    map_ = TaskMap(blocks)
    again = TaskMap.parse(map_.encode(form))
    assert again == map_ and hash(again) == hash(map_)


@given(st.lists(st.integers(0, 3), max_size=12), st.lists(st.integers(0, 3), max_size=12))
def test_maps_are_equal_when_they_place_alike(one: list[int], two: list[int]) -> None:
    assert (TaskMap.nodes(one) == TaskMap.nodes(two)) == (one == two)


@pytest.mark.parametrize(("text", "raw"), READ.items())
def test_every_form_of_the_rfc_is_read(text: str, raw: str) -> None:
    assert TaskMap.parse(text).encode("raw") == raw


@pytest.mark.parametrize("text", [*REFUSED.split(), "0; 1", "[" * 100_000], ids=lambda text: text[:20])
def test_what_is_no_map_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        TaskMap.parse(text)
    assert repr(text) in str(caught.value)


@given(st.text('0123,;-[](){}vector "', max_size=16))
def test_any_text_is_read_or_refused_by_name(text: str) -> None:
    try:
        map_ = TaskMap.parse(text)
    except ValueError as error:
        assert repr(text) in str(error) or repr(text.strip()) in str(error)
    else:
        assert TaskMap.parse(map_.encode()) == map_


@given(all_counts)
def test_block_puts_consecutive_tasks_on_a_node(counts: list[int]) -> None:
    assert whose(TaskMap.block(counts)) == [node for node, count in enumerate(counts) for _ in range(count)]


@given(all_counts, st.integers(1, 4))
def test_cyclic_deals_tasks_round_until_each_node_has_its_own(counts: list[int], stride: int) -> None:
    dealt: list[int] = []
    for start in range(0, max(counts, default=0), stride):
        dealt += [node for node, count in enumerate(counts) for _ in range(min(stride, max(count - start, 0)))]
    assert whose(TaskMap.cyclic(counts, stride)) == dealt


@given(full_counts)
def test_raw_text_becomes_the_blocks_that_block_makes(counts: list[int]) -> None:
    map_ = TaskMap.block(counts)
    assert TaskMap.parse(map_.encode("raw")).blocks == map_.blocks


def test_what_is_not_there_is_refused_by_name() -> None:
    map_ = TaskMap.block([2, 2])
    for ask, name in ((map_.node_of, "4"), (map_.tasks, "2"), (map_.node_of, "-1"), (map_.encode, "'xml'")):
        with pytest.raises(ValueError, match=name):
            ask("xml" if ask == map_.encode else int(name))  # type: ignore[operator]
    with pytest.raises(ValueError, match="cyclic:0"):
        TaskMap.cyclic([1], 0)


def test_local_ranks_end_where_sixteen_bits_do() -> None:
    assert TaskMap.block([2**16]).local_rank_column()[-1] == 2**16 - 1
    with pytest.raises(ValueError, match="PMIX_LOCAL_RANK"):
        TaskMap.block([2**16 + 1]).local_rank_column()


MILLION: dict[str, tuple[Callable[[], TaskMap], str]] = {
    "block": (lambda: TaskMap.block([100] * 10_000), "[[0,10000,100,1]]"),
    "cyclic": (lambda: TaskMap.cyclic([100] * 10_000), "[[0,10000,1,100]]"),
    "cyclic:3": (lambda: TaskMap.cyclic([100] * 10_000, 3), "[[0,10000,3,33],[0,10000,1,1]]"),
    "uneven": (lambda: TaskMap.cyclic([101] * 5_000 + [99] * 5_000), "[[0,10000,1,99],[0,5000,1,2]]"),
    "one node after another": (lambda: TaskMap.nodes(task // 100 for task in range(10**6)), "[[0,10000,100,1]]"),
    "host file": (lambda: TaskMap.nodes(task % 10_000 for task in range(10**6)), "[[0,10000,1,100]]"),
    "one task, then two": (lambda: TaskMap.block([1] + [2] * 499_999), "[[0,1,1,1],[1,499999,2,1]]"),
}


@pytest.mark.parametrize("name", MILLION)
def test_a_million_tasks_are_a_short_text_and_quick(name: str) -> None:
    make, text = MILLION[name]
    start = time.process_time()
    map_ = make()
    assert map_.encode("list") == text
    assert TaskMap.parse(text) == map_
    nodes, local = map_.node_column(), map_.local_rank_column()
    assert len(nodes) == len(local) == map_.ntasks >= 999_999
    assert sum(map_.counts()) == map_.ntasks
    assert len(map_.tasks(map_.nnodes - 1)) == map_.counts()[-1]
    assert time.process_time() - start < 10


def test_a_million_tasks_pass_through_raw_text() -> None:
    map_ = TaskMap.cyclic([100] * 10_000)
    start = time.process_time()
    assert TaskMap.parse(map_.encode("raw-deranged")).blocks == map_.blocks
    assert TaskMap.parse("0-2147483647").blocks == ((0, 1, 2**31, 1),)
    assert time.process_time() - start < 20


@pytest.mark.flux
@pytest.mark.skipif(not libflux.PRESENT, reason="no flux on PATH")
class TestFlux:
    @given(block_lists, st.sampled_from(sorted(libflux.FORMS)))
    def test_each_reads_what_the_other_writes(self, blocks: list[tuple[int, int, int, int]], form: str) -> None:
        map_ = TaskMap(blocks)
        if not map_.blocks or 0 in map_.counts():
            return  # Flux writes no raw text of such maps
        text, raw = map_.encode("wrapped"), map_.encode("raw")
        assert libflux.taskmap(map_.encode(form), "raw") == raw
        assert TaskMap.parse(libflux.taskmap(text, form) or "") == map_

    @given(st.text("012,;-", max_size=10))
    def test_flux_reads_whatever_raw_text_we_read_alike(self, text: str) -> None:
        try:
            map_ = TaskMap.parse(text)
        except ValueError:
            return
        if map_.blocks and 0 not in map_.counts():
            assert libflux.taskmap(text, "raw") == ";".join(idset.encode(map_.tasks(n)) for n in range(map_.nnodes))
