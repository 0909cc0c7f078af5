"""What must hold of a job's registration: all that the PMIx Standard requires, in its container, typed.

The tables below are the lists of the Standard 4.2, section 17.2.3 (PMIx_server_register_nspace), with
the keys and types of its attributes, written down apart from the code that they are held against.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import pytest
from jobs import NSPACE, make_facts, make_job

from fluxpmix.job.model import Job, Session
from fluxpmix.job.registration import MAPS, TABLE, Need, Registration, registration
from fluxpmix.job.taskmap import TaskMap
from fluxpmix.pmix.types import DataArray, DataType, Info, Proc, Regex, Rows

STRING, U16, U32, RANK, BOOL = DataType.STRING, DataType.UINT16, DataType.UINT32, DataType.PROC_RANK, DataType.BOOL
SESSION = {"pmix.session.id": U32, "pmix.univ.size": U32}
TOP = {"pmix.nmap": DataType.REGEX, "pmix.pmap": DataType.REGEX}
JOB = {"pmix.srv.nspace": STRING, "pmix.srv.rank": RANK, "pmix.nspace": STRING, "pmix.jobid": STRING}
JOB |= {"pmix.job.size": U32, "pmix.max.size": U32, "pmix.session.id": U32, "pmix.job.napps": U32}
APP = {"pmix.appnum": U32, "pmix.app.size": U32, "pmix.max.size": U32, "pmix.aldr": RANK}
APP |= {"pmix.wdir": STRING, "pmix.app.argv": STRING}
NODE = {"pmix.nodeid": U32, "pmix.hname": STRING, "pmix.alias": STRING, "pmix.local.size": U32, "pmix.node.size": U32}
NODE |= {"pmix.lldr": RANK, "pmix.lpeers": STRING, "pmix.ndosub": BOOL}
OWN_NODE = {"pmix.tmpdir": STRING, "pmix.nsdir": STRING, "pmix.lprocs": DataType.DATA_ARRAY}
PROC = {"pmix.rank": RANK, "pmix.appnum": U32, "pmix.apprank": RANK, "pmix.grank": RANK, "pmix.lrank": U16}
PROC |= {"pmix.nrank": U16, "pmix.nodeid": U32, "pmix.reinc": U32, "pmix.spawned": BOOL}
LOCAL_PROC = {"pmix.pdir": STRING}
BOUND_PROC = {"pmix.locstr": STRING, "pmix.pkgrank": U16, "pmix.cpuset": STRING}
CONTAINERS = {"pmix.ssn.arr", "pmix.job.arr", "pmix.app.arr", "pmix.node.arr", "pmix.pdata"}

SHAPES: dict[str, Callable[[], Job]] = {
    "one task": lambda: make_job(TaskMap.block([1])),
    "2x4 cyclic": lambda: make_job(TaskMap.cyclic([4, 4])),
    "three applications": lambda: make_job(TaskMap.block([3, 3]), 2, 1, 3),
    "three applications, cyclic": lambda: make_job(TaskMap.cyclic([3, 2, 2]), 1, 5, 1),
    "oversubscribed": lambda: make_job(TaskMap.block([9, 2]), slots=4),
    "a node without tasks": lambda: make_job(TaskMap.block([2, 0, 1]), nnodes=4),
    "after other jobs": lambda: make_job(TaskMap.cyclic([2, 1]), session=Session(7, 8, 5, (3, 0))),
    "spawned": lambda: make_job(TaskMap.block([2]), spawned=True, parent=Proc("f1", 0)),
}
CASES = [
    pytest.param(make(), shell, bound, id=f"{name}-{shell}-{'bound' if bound else 'free'}")
    for name, make in SHAPES.items()
    for shell, bound in product(range(len(make().nodes)), (False, True))
]
each_case = pytest.mark.parametrize(("job", "shell", "bound"), CASES)
FITS: dict[DataType, Callable[[Any], bool]] = {
    STRING: lambda value: isinstance(value, str) and bool(value),
    BOOL: lambda value: isinstance(value, bool),
    U16: lambda value: type(value) is int and 0 <= value < 2**16,
    U32: lambda value: type(value) is int and 0 <= value < 2**32,
    RANK: lambda value: type(value) is int and 0 <= value < 2**32,
    DataType.REGEX: lambda value: isinstance(value, Regex),
    DataType.DATA_ARRAY: lambda value: isinstance(value, DataArray) and value.type is DataType.PROC,
}


def flat(infos: list[Info | Rows]) -> Iterator[tuple[str, Any]]:
    """Key and value of every top-level info, columns written out as the arrays that they stand for."""
    for info in infos:
        if isinstance(info, Info):
            yield info.key, info.value
            continue
        for row in range(info.count):
            cells = ((c, c.values[row] if isinstance(c.values, array) else c.values) for c in info.columns)
            yield info.key, [Info(column.key, value, column.type) for column, value in cells]


def arrays(job: Job, shell: int, bound: bool, key: str) -> list[list[Info]]:
    return [value for each, value in flat(registration(job, make_facts(job, shell, bound)).infos()) if each == key]


def check(items: list[Info], required: dict[str, DataType]) -> None:
    for key, type_ in required.items():
        found = {(info.type or info.key.type): info.value for info in items if info.key == key}  # type: ignore[attr-defined]
        assert list(found) == [type_], f"{key} is wanted, as {type_.name}"
        assert FITS[type_](found[type_]), f"{key} is {found[type_]!r}"


@each_case
def test_all_that_the_standard_requires_is_in_its_container(job: Job, shell: int, bound: bool) -> None:
    (session,) = arrays(job, shell, bound, "pmix.ssn.arr")
    (its_job,) = arrays(job, shell, bound, "pmix.job.arr")
    apps, nodes, procs = (arrays(job, shell, bound, f"pmix.{each}") for each in ("app.arr", "node.arr", "pdata"))
    check(session, SESSION)
    check(its_job, JOB)
    assert (len(apps), len(nodes)) == (len(job.apps), len(job.nodes))
    for items in apps:
        check(items, APP)
    for node, items in enumerate(nodes):
        idle = {"pmix.lldr", "pmix.lpeers"} if not job.ranks(node) else set()
        check(items, {key: type_ for key, type_ in NODE.items() if key not in idle})
        assert not idle & {info.key for info in items}
    check(nodes[shell], OWN_NODE)
    for items in procs:
        check(items, PROC)
    for rank in job.ranks(shell):
        check(procs[rank], LOCAL_PROC | (BOUND_PROC if bound else {}))


@each_case
def test_maps_and_what_libpmix_looks_for_at_the_top_are_there_once(job: Job, shell: int, bound: bool) -> None:
    top = [Info(k, v) for k, v in flat(registration(job, make_facts(job, shell, bound)).infos()) if k not in CONTAINERS]
    check(top, TOP | {"pmix.job.size": U32, "pmix.max.size": U32, "pmix.tmpdir": STRING, "pmix.nsdir": STRING})
    assert len({info.key for info in top}) == len(top)


@each_case
def test_an_array_begins_with_what_names_its_subject(job: Job, shell: int, bound: bool) -> None:
    firsts = {key: [(items[0].key, items[0].value) for items in arrays(job, shell, bound, key)] for key in CONTAINERS}
    assert firsts["pmix.ssn.arr"] == [("pmix.session.id", 7)]
    assert firsts["pmix.app.arr"] == [("pmix.appnum", app.index) for app in job.apps]
    assert firsts["pmix.node.arr"] == [("pmix.nodeid", node.id) for node in job.nodes]
    assert firsts["pmix.pdata"] == [("pmix.rank", rank) for rank in range(job.size)]  # all ranks, in order


@each_case
def test_process_rows_say_where_each_rank_is(job: Job, shell: int, bound: bool) -> None:
    seen: dict[str, int] = {}
    for rank, items in enumerate(arrays(job, shell, bound, "pmix.pdata")):
        values = {str(info.key): info.value for info in items}
        node, app = job.taskmap.node_of(rank), job.app_of(rank)
        assert values["pmix.nodeid"] == node and values["pmix.appnum"] == app.index
        assert values["pmix.apprank"] == seen.get(f"app{app.index}", 0)
        assert values["pmix.lrank"] == seen.get(f"node{node}", 0)
        assert values["pmix.nrank"] == values["pmix.lrank"] + job.procs_before(node)
        assert values["pmix.grank"] == rank + job.session.rank_offset
        assert values["pmix.spawned"] == job.spawned and values["pmix.reinc"] == 0
        for name in (f"app{app.index}", f"node{node}"):
            seen[name] = seen.get(name, 0) + 1


@each_case
def test_only_the_shell_s_own_node_and_ranks_have_what_only_it_knows(job: Job, shell: int, bound: bool) -> None:
    own = {*OWN_NODE, *LOCAL_PROC, *BOUND_PROC, "pmix.lcpus"}
    for node, items in enumerate(arrays(job, shell, bound, "pmix.node.arr")):
        assert bool(own & {info.key for info in items}) == (node == shell)
    for rank, items in enumerate(arrays(job, shell, bound, "pmix.pdata")):
        keys = {info.key for info in items}
        assert bool(own & keys) == (rank in job.ranks(shell))
        assert bool(BOUND_PROC.keys() & keys) == (bound and rank in job.ranks(shell))


def values(job: Job, key: str, container: str = "pmix.node.arr") -> list[Any]:
    return [info.value for items in arrays(job, 0, True, container) for info in items if info.key == key]


def test_nodes_say_who_runs_there_and_whether_they_are_crowded() -> None:
    job = SHAPES["oversubscribed"]()
    assert values(job, "pmix.ndosub") == [True, False]
    assert values(job, "pmix.max.size") == [9, 4]
    assert values(job, "pmix.lpeers") == ["0,1,2,3,4,5,6,7,8", "9,10"]
    assert values(SHAPES["2x4 cyclic"](), "pmix.lldr") == [0, 1]
    assert values(SHAPES["2x4 cyclic"](), "pmix.lprocs")[0].items == tuple(Proc(NSPACE, rank) for rank in (0, 2, 4, 6))
    assert values(SHAPES["after other jobs"](), "pmix.node.size") == [5, 1]
    assert values(SHAPES["three applications"](), "pmix.aldr", "pmix.app.arr") == [0, 2, 3]
    assert values(SHAPES["oversubscribed"](), "pmix.univ.size", "pmix.ssn.arr") == [13]


def test_bound_tasks_say_their_cores_and_places_in_their_package() -> None:
    job = SHAPES["2x4 cyclic"]()
    assert values(job, "pmix.lcpus") == ["hwloc:0:hwloc:1:hwloc:2:hwloc:3"]
    assert values(job, "pmix.pkgrank", "pmix.pdata") == [0, 1, 0, 1]


def test_only_a_spawned_job_has_a_parent() -> None:
    assert values(SHAPES["spawned"](), "pmix.parent", "pmix.job.arr") == [Proc("f1", 0)]
    assert not values(SHAPES["one task"](), "pmix.parent", "pmix.job.arr")


def test_the_table_marks_as_required_what_the_standard_requires() -> None:
    always = {line.attribute for line in (*TABLE, *MAPS) if line.need is Need.REQUIRED}
    assert always == {*SESSION, *TOP, *JOB, *APP, *NODE, *OWN_NODE, *PROC, *LOCAL_PROC} - {"pmix.job.napps"}


@each_case
def test_the_printed_rows_name_every_attribute_that_is_registered(job: Job, shell: int, bound: bool) -> None:
    made: Registration = registration(job, make_facts(job, shell, bound))
    types = {str(line.attribute): line.attribute.name for line in (*TABLE, *MAPS)}
    registered = {types[k] for k, _ in flat(made.infos()) if k not in CONTAINERS}
    registered |= {types[i.key] for key, items in flat(made.infos()) if key in CONTAINERS for i in items}
    assert {attribute for _, _, attribute, _, _ in made.rows()} == registered


def test_ranks_of_other_nodes_go_as_columns_however_many() -> None:
    job = make_job(TaskMap.cyclic([100] * 1_000))
    start = time.process_time()
    infos = registration(job, make_facts(job, 500)).infos()
    assert sum(info.key == "pmix.pdata" for info in infos if isinstance(info, Info)) == 100
    assert sum(info.count for info in infos if isinstance(info, Rows)) == 99_900
    assert time.process_time() - start < 5
