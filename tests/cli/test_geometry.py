"""What must hold of nodes, tasks and cores: `flux run`'s rules, and refusals that say what to ask for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxpmix.cli.errors import CommandError, UsageError
from fluxpmix.cli.geometry import Asked, Geometry, Machine, Scheme, even, lay_out, scheme
from fluxpmix.job.taskmap import TaskMap

MACHINE = Machine("vm", cores=4, gpus=0, max_procs=100_000)


def ask(machine: Machine = MACHINE, **asked: Any) -> Geometry:
    if "n" in asked:
        n = asked.pop("n")
        asked["ntasks"] = n if isinstance(n, tuple) else (n,)
    if "taskmap" in asked:
        asked["scheme"] = scheme(asked.pop("taskmap"))
    return lay_out(Asked(**asked), machine)


# What is asked for; then the tasks of each node, and the cores of a task.
ALLOWED: list[tuple[dict[str, Any], list[int], int]] = [
    ({}, [1], 1),
    ({"n": 4}, [4], 1),
    ({"n": 9}, [9], 1),  # tasks may share cores
    ({"nodes": 3}, [1, 1, 1], 1),
    ({"nodes": 3, "exclusive": True}, [1, 1, 1], 1),
    ({"nodes": 2, "n": 3}, [2, 1], 1),
    ({"nodes": 3, "n": 8}, [3, 3, 2], 1),
    ({"nodes": 2, "n": 2, "cores_per_task": 4}, [1, 1], 4),
    ({"n": (2, None, 3)}, [6], 1),
    ({"n": (2, 1), "nodes": 2}, [2, 1], 1),
    ({"cores": 4}, [4], 1),
    ({"cores": 4, "nodes": 2}, [2, 2], 1),
    ({"cores": 4, "nodes": 2, "tasks_per_node": 1}, [1, 1], 2),
    ({"cores": 2, "tasks_per_core": 3}, [6], 1),
    ({"nodes": 2, "tasks_per_node": 3}, [3, 3], 1),
    ({"nodes": 2, "tasks_per_node": 2}, [2, 2], 2),
    ({"nodes": 2, "tasks_per_core": 2}, [8, 8], 1),
    ({"n": 4, "oversubscribe": False}, [4], 1),
    ({"taskmap": "manual:[[0,2,2,1]]"}, [2, 2], 1),
    ({"taskmap": "manual:0,2;1", "n": 3}, [2, 1], 1),
    ({"taskmap": "manual:0;1-3", "nodes": 2, "n": 4}, [1, 3], 1),
]
REFUSED: list[tuple[dict[str, Any], list[str]]] = [
    ({"nodes": 3, "n": 2}, ["node count must not be greater than task count", "-n 2", "-N 3", "ask for -n 3 or more"]),
    ({"nodes": 4, "n": (1, None)}, ["-n 1 : -n 1", "gives 2 task(s) for -N 4 nodes"]),
    ({"cores_per_task": 5}, ["unsatisfiable request", "5 core(s)", "a node has 4", "ask for -c 4 or less"]),
    ({"cores": 5}, ["unsatisfiable request", "5 core(s) on a node", "ask for --cores=4 or less"]),
    ({"cores": 12, "nodes": 2}, ["unsatisfiable request", "6 core(s) on a node", "ask for --cores=8 or less"]),
    ({"cores": 5, "nodes": 2}, ["--cores=5", "-N 2", "ask for 6 cores"]),
    ({"gpus_per_task": 1}, ["unsatisfiable request", "-g needs 1 GPU(s)", "no GPU was found", "leave -g out"]),
    ({"nodes": 1, "gpus_per_node": 2}, ["--gpus-per-node needs 2 GPU(s)", "leave --gpus-per-node out"]),
    ({"n": 5, "oversubscribe": False}, ["need 5 slot(s)", "only 4", "ask for -n 4 or less", "-o oversubscribe=on"]),
    ({"n": 2, "cores_per_task": 3, "oversubscribe": False}, ["2 slot(s) of 3 core(s)", "only 1 such", "ask for -n 1"]),
    ({"n": 99_999}, ["unsatisfiable request", "99999 task(s)", "100000 processes", "kernel"]),
    ({"n": 70_000}, ["70000 task(s) on 1 node(s)", "65536 on a node", "ask for -N 2 or more"]),
    ({"n": 2, "cores": 2}, ["per-resource options can't be used with per-task options", "--cores", "-n"]),
    ({"nodes": 2, "cores_per_task": 1, "tasks_per_node": 2}, ["--tasks-per-node was given with -c"]),
    ({"tasks_per_node": 2}, ["--tasks-per-node needs a node or core count", "add -N N or --cores=N"]),
    ({"tasks_per_core": 2}, ["--tasks-per-core needs a node or core count"]),
    ({"cores": 4, "gpus_per_node": 1}, ["--gpus-per-node needs a node count: add -N N"]),
    ({"nodes": 1, "tasks_per_node": 1, "tasks_per_core": 1}, ["contradict each other: give one of the two"]),
    ({"exclusive": True}, ["-x takes whole nodes and needs a node count: add -N N"]),
    ({"cores": 4, "n": (None, None)}, ["--cores counts the tasks of the whole job", "2 applications", "-n instead"]),
    ({"taskmap": "manual:0-2;3", "n": 3, "nodes": 2}, ["'manual:0-2;3'", "4 task(s) on 2 node(s)", "-N 2 -n 4"]),
    ({"taskmap": "manual:0;1", "n": 3, "nodes": 3}, ["the map has 2 task(s) on 2 node(s), the job has 3 on 3"]),
    ({"taskmap": "manual:0;;1-2", "n": 3, "nodes": 3}, ["no task is on node 1", "every node needs one"]),
    ({"taskmap": "manual:[[0,1,2000000000,1]]"}, ["2000000000 task(s) on 1 node(s)", "kernel"]),
    ({"taskmap": "manual:[[5,1,1,1]]"}, ["the task map gives 1 task(s) for -N 6 nodes"]),
]


@pytest.mark.parametrize(("asked", "counts", "cores"), ALLOWED, ids=lambda value: str(value) if value != {} else "none")
def test_what_can_be_is_laid_out(asked: dict[str, Any], counts: list[int], cores: int) -> None:
    made = ask(**asked)
    assert (made.taskmap.counts(), made.cores_per_task) == (counts, cores)
    assert sum(made.sizes) == made.taskmap.ntasks
    assert len(made.hosts) == len(made.slots) == len(counts)
    crowded = sum(counts) * cores > MACHINE.cores
    assert [slots < count for slots, count in zip(made.slots, counts, strict=True)] == [crowded] * len(counts)


@pytest.mark.parametrize(("asked", "said"), REFUSED, ids=lambda value: str(value) if type(value) is dict else "")
def test_what_cannot_be_is_refused_with_what_to_ask_for(asked: dict[str, Any], said: list[str]) -> None:
    with pytest.raises(CommandError) as caught:
        ask(**asked)
    assert caught.value.exit_code == 1
    assert [part for part in said if part not in str(caught.value)] == []


@given(st.integers(1, 40), st.integers(1, 10), st.integers(1, 8), st.sampled_from(["block", "cyclic", "cyclic:3"]))
def test_tasks_are_spread_evenly_and_slots_are_shared_out(n: int, nodes: int, cores: int, taskmap: str) -> None:
    if nodes > n:
        return
    made = ask(Machine("vm", cores), n=n, nodes=nodes, taskmap=taskmap)
    assert made.taskmap.counts() == even(n, nodes)
    assert sum(made.slots) == cores if n <= cores else sum(made.slots) <= cores
    assert min(made.slots) >= 0


@given(st.integers(0, 100), st.integers(1, 20))
def test_even_shares_differ_by_one_at_most_and_the_first_get_more(things: int, places: int) -> None:
    shares = even(things, places)
    assert (sum(shares), len(shares)) == (things, places)
    assert shares == sorted(shares, reverse=True) and shares[0] - shares[-1] <= 1


def test_one_node_has_the_host_s_name_and_several_are_numbered() -> None:
    assert ask().hosts == ("vm",)
    assert ask(nodes=3).hosts == ("vm0", "vm1", "vm2")


def test_gpus_that_are_there_can_be_asked_for() -> None:
    machine = Machine("vm", cores=4, gpus=2)
    assert ask(machine, n=2, gpus_per_task=1).sizes == (2,)
    assert ask(machine, nodes=1, gpus_per_node=2).sizes == (1,)
    with pytest.raises(CommandError, match=r"-g needs 3 GPU\(s\) on a node, but only 2 GPU\(s\) were found"):
        ask(machine, n=3, gpus_per_task=1)


@pytest.mark.parametrize(
    ("text", "raw"),
    [("block", "0-1;2-3"), ("cyclic", "0,2;1,3"), ("cyclic:2", "0-1;2-3"), ("manual:[[1,1,2,1],[0,1,2,1]]", "2-3;0-1")],
)
def test_each_scheme_places_tasks(text: str, raw: str) -> None:
    assert ask(n=4, nodes=2, taskmap=text).taskmap == TaskMap.parse(raw)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "one of block, cyclic[:N], manual:MAP, hostfile:FILE is expected"),
        ("cylic", "did you mean cyclic?"),
        ("block:2", "block takes no value"),
        ("cyclic:", "the stride is a whole number, 1 or more"),
        ("cyclic:0", "the stride is a whole number, 1 or more"),
        ("cyclic:-1", "the stride is a whole number, 1 or more"),
        ("manual", "manual needs a value"),
        ("manual:", "manual needs a value"),
        ("manual:0,2", "'0,2'"),
        ("manual:[[0,1]]", "a map is written like [[0,2,2,1]] or 0-1;2-3"),
        ("hostfile", "hostfile needs a value"),
    ],
)
def test_a_scheme_that_is_none_is_refused_with_what_is_expected(text: str, said: str) -> None:
    with pytest.raises(ValueError) as caught:
        scheme(text)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "raw"), [("vm1\nvm0\n", "1,3;0,2"), ("vm0\nvm0\nvm1\nvm1", "0-1;2-3"), (" vm[0-1] \n\n", "0,2;1,3")]
)
def test_a_host_file_places_task_after_task_and_starts_again_at_its_end(text: str, raw: str) -> None:
    made = ask(n=4, nodes=2, scheme=Scheme("hostfile", text))
    assert made.taskmap == TaskMap.parse(raw)


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("", CommandError, "no task is on 'vm0'"),
        ("vm0", CommandError, "no task is on 'vm1' in the first 2 line(s)"),
        ("vm0\nvm0\nvm1", CommandError, "no task is on 'vm1' in the first 2 line(s)"),
        ("vm0\nvm7", CommandError, "'vm7' is no node of this job, whose nodes are vm[0-1]"),
        ("vm0\nvm[1", UsageError, "'vm[1'"),
    ],
)
def test_a_host_file_that_does_not_fit_is_refused(text: str, error: type[CommandError], said: str) -> None:
    with pytest.raises(CommandError) as caught:
        ask(nodes=2, scheme=Scheme("hostfile", text))
    assert type(caught.value) is error
    assert str(caught.value).startswith("--taskmap hostfile: ") and said in str(caught.value)
