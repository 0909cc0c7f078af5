"""What must hold of jobs as data: parts that contradict each other are refused, and queries agree."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobs import make_job

from fluxpmix.job.model import App, Job, Node, Session, new_credential
from fluxpmix.job.taskmap import TaskMap
from fluxpmix.pmix.record import replace

placements = st.lists(st.integers(0, 3), min_size=1, max_size=12)


@st.composite
def jobs(draw: st.DrawFn) -> Job:
    """A job of up to four applications on up to five nodes, with or without others beside it."""
    taskmap = TaskMap.nodes(draw(placements))
    cuts = sorted(draw(st.sets(st.integers(1, taskmap.ntasks), max_size=3)) - {taskmap.ntasks})
    sizes = [high - low for low, high in zip([0, *cuts], [*cuts, taskmap.ntasks], strict=True)]
    before = tuple(draw(st.lists(st.integers(0, 9), max_size=4)))
    session = Session(1, 64, draw(st.integers(0, 99)), before)
    return make_job(taskmap, *sizes, session=session, nnodes=taskmap.nnodes + draw(st.integers(0, 1)))


@given(jobs())
def test_every_rank_is_on_one_node_and_in_one_application(job: Job) -> None:
    assert sorted(rank for node in job.nodes for rank in job.ranks(node.id)) == list(range(job.size))
    for rank in range(job.size):
        app = job.app_of(rank)
        assert 0 <= rank - job.app_first_rank(app.index) < app.size


@given(jobs())
def test_columns_say_of_all_ranks_what_queries_say_of_one(job: Job) -> None:
    apps = job.appnum_column()
    for rank in range(job.size):
        node, app = job.taskmap.node_of(rank), job.app_of(rank)
        local = list(job.ranks(node)).index(rank)
        assert (apps if isinstance(apps, int) else apps[rank]) == app.index
        assert job.app_rank_column()[rank] == rank - job.app_first_rank(app.index)
        assert job.global_rank_column()[rank] == job.session.rank_offset + rank
        assert job.node_rank_column()[rank] == job.procs_before(node) + local


@given(jobs())
def test_node_ranks_of_a_node_are_distinct_and_follow_those_of_earlier_jobs(job: Job) -> None:
    ranks = job.node_rank_column()
    for node in job.nodes:
        start = job.procs_before(node.id)
        assert [ranks[rank] for rank in job.ranks(node.id)] == list(range(start, start + len(job.ranks(node.id))))


@pytest.mark.parametrize(("tasks", "slots", "crowded"), [(1, 1, False), (2, 1, True), (4, 4, False), (0, 0, False)])
def test_a_node_is_oversubscribed_when_it_has_more_tasks_than_slots(tasks: int, slots: int, crowded: bool) -> None:
    job = make_job(TaskMap.block([1, tasks]), slots=slots, nnodes=2)
    assert job.oversubscribed(job.nodes[1]) == crowded


def test_a_job_travels_by_pickle() -> None:
    job = make_job(TaskMap.cyclic([2, 2]), 1, 3)
    again = pickle.loads(pickle.dumps(job))
    assert again == job and again.taskmap.encode() == job.taskmap.encode()


GOOD = make_job(TaskMap.block([2, 1]))
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no application": ({"apps": ()}, "at least one application and one node"),
    "no node": ({"nodes": ()}, "at least one application and one node"),
    "fewer tasks than the map": ({"apps": (App(0, ("a",), "/", 2),)}, "applications have 2 tasks, the task map 3"),
    "an empty application": (
        {"apps": (App(0, ("a",), "/", 3), App(1, ("a",), "/", 0))},
        "an application has one process or more",
    ),
    "a map of more nodes": ({"nodes": (Node(0, "n0"),)}, "the task map names node 1, but there are 1 nodes"),
    "nodes out of order": ({"nodes": (Node(1, "n1"), Node(0, "n0"))}, "nodes are numbered from 0"),
    "applications out of order": ({"apps": (App(1, ("a",), "/", 3),)}, "applications are numbered from 0"),
    "one host twice": ({"nodes": (Node(0, "vm"), Node(1, "vm"))}, "host names must be unique"),
    "no namespace": ({"nspace": ""}, "a namespace has 1 to 255 bytes"),
    "a long namespace": ({"nspace": "é" * 128}, "a namespace has 1 to 255 bytes"),
    "more processes than a node rank counts": ({"session": Session(1, 9, 0, (2**16 - 1,))}, "node 0 has more than"),
}


@pytest.mark.parametrize("name", WRONG)
def test_parts_that_contradict_each_other_are_refused_by_the_job_s_name(name: str) -> None:
    changes, message = WRONG[name]
    with pytest.raises(ValueError, match=message) as caught:
        replace(GOOD, **changes)
    assert str(caught.value).startswith(f"job {GOOD.jobid}: ")


def test_the_most_processes_that_a_node_rank_counts_are_allowed() -> None:
    job = make_job(TaskMap.block([2**16]))
    assert job.node_rank_column()[-1] == 2**16 - 1
    with pytest.raises(ValueError, match="node 0 has more than 65536 processes"):
        make_job(TaskMap.block([2**16 + 1]))


def test_a_rank_that_is_not_there_is_refused_by_name() -> None:
    for rank in (-1, 3):
        with pytest.raises(ValueError, match=f"no rank {rank} among 3"):
            GOOD.app_of(rank)


def test_a_node_without_tasks_has_none() -> None:
    job = make_job(TaskMap.block([1]), nnodes=2)
    assert not job.ranks(1) and list(job.ranks(0)) == [0]


def test_a_job_never_changes() -> None:
    with pytest.raises(AttributeError, match="frozen"):
        GOOD.nspace = "other"  # type: ignore[misc]


def test_credentials_are_256_random_bits_as_text() -> None:
    keys = {new_credential() for _ in range(50)}
    assert len(keys) == 50
    assert all(len(bytes.fromhex(key)) == 32 for key in keys)
